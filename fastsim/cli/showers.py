"""``fastsim showers``: single calorimeter showers, from a model or from Geant4."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from fastsim.cli.options import checked_model, complete_model, decorated, output_option, run_options

F = TypeVar("F", bound=Callable[..., Any])

NEEDED = ("detector", "particle", "energy")
"""The options that a command needs to make showers, besides their number."""


class Range(click.ParamType[tuple[float, float]]):
    """The type of an option ``LOW:HIGH``, or one number.

    Args:
        words: what one number is.
        example: of a range.
    """

    name = "range"

    def __init__(self, words: str, example: str) -> None:
        self.words, self.example = words, example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        low, colon, high = str(value).partition(":")
        try:
            return float(low), float(high if colon else low)
        except ValueError:
            self.fail(f"{value!r} is not LOW:HIGH or {self.words}, for example {self.example}", param, ctx)


def shower_options(*, required: bool) -> Callable[[F], F]:
    """Return a decorator that adds options for detector, particle, energies, number and direction.

    Args:
        required: whether the command needs them; else the options are not shown in its help.
    """
    hidden = not required

    def decorate(function: F) -> F:
        return decorated(
            function,
            [
                click.option(
                    "--detector",
                    metavar="NAME|PATH",
                    required=required,
                    hidden=hidden,
                    help="pb-si-ecal, copper, copper-towers, a .toml file or a binning (.xml).",
                ),
                click.option(
                    "--particle",
                    metavar="NAME",
                    required=required,
                    hidden=hidden,
                    help="What hits the detector: e-, gamma, pi+, K0L, pbar...",
                ),
                click.option(
                    "--energy",
                    metavar="LOW:HIGH",
                    type=Range("one energy in GeV", "1:100"),
                    required=required,
                    hidden=hidden,
                    help="Its kinetic energy in GeV, log-uniform.",
                ),
                click.option(
                    "--num",
                    metavar="N",
                    type=click.IntRange(1),
                    hidden=True,
                    help="How many showers in all, of which --first-event, --num-events and --slice choose.",
                ),
                click.option(
                    "--theta",
                    metavar="LOW:HIGH",
                    type=Range("one angle in rad", "0:0.78"),
                    hidden=hidden,
                    help="Angle to the detector's axis in rad, uniform.  [default: 0]",
                ),
                click.option(
                    "--phi",
                    metavar="LOW:HIGH",
                    type=Range("one angle in rad", "0:6.28"),
                    hidden=hidden,
                    help="Azimuth of the direction in rad, uniform.  [default: 0]",
                ),
            ],
        )

    return decorate


@click.command("showers", short_help="Single showers in a calorimeter.")
@output_option("HDF5 (.h5) file of the CaloChallenge; its binning (.xml) is written beside it.")
@shower_options(required=True)
@click.option(
    "--model",
    metavar="NAME|PATH",
    shell_complete=complete_model,
    callback=checked_model,
    help="Shipped model, path of a card (.json) or library (.h5), or geant4.",
)
@click.option(
    "--geant4-data",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of Geant4's data sets (or FASTSIM_GEANT4_DATA).",
)
@click.option("--latent", is_flag=True, help="Save what the model drew each shower from, too.")
@click.option(
    "--num-inference-steps", metavar="N", type=click.IntRange(1), help="Network evaluations of a diffusion model."
)
@run_options(
    events=False, threads=True, workers="Worker processes instead of threads; of Geant4 where it makes the showers."
)
def command(
    output: str,
    model: str | None,
    geant4_data: Path | None,
    latent: bool,
    num_inference_steps: int | None,
    options: dict[str, Any],
    **gun: Any,
) -> None:
    """Make showers of single particles in a calorimeter, from a model or, with --model geant4, from Geant4.

    The model is by default the one that ships for the detector; -n says how many. With one seed, shower i has the same
    energy for every model and for Geant4.

    \b
    Examples:
      fastsim showers --detector pb-si-ecal --particle gamma --energy 1:100 -n 500 -o showers.h5
      fastsim showers --detector pb-si-ecal --particle e- --energy 1:100 -n 20000 -o g4.h5 --model geant4 --workers 2
      fastsim showers --detector pb-si-ecal --particle gamma --energy 1:100 -n 500 -o lib.h5 --model library.h5
      fastsim showers --detector pb-si-ecal --particle e- --energy 1:100 --theta 0:0.78 --phi 0:6.28 -n 500 -o tilted.h5
    """
    make(
        output,
        gun,
        model=model,
        geant4_data=geant4_data,
        options=options,
        latent=latent,
        num_inference_steps=num_inference_steps,
    )


def asked(gun: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether the options of ``generate`` or ``reference`` ask for showers, as they could in fastsim 0.1.

    Args:
        gun: values of the options of :func:`shower_options`, by name.
        other: values, by name, of options that are for events only.

    Raises:
        click.UsageError: if an option that is needed is not given, or one that does not go with the others is.
    """
    given = [name for name, value in gun.items() if value is not None]
    if gun["detector"] is None:
        if given:
            raise click.UsageError(f"{_option(given[0])} needs --detector")
        return False
    missing = [_option(name) for name in (*NEEDED, "num") if gun[name] is None]
    if missing:
        raise click.UsageError(f"--detector needs {', '.join(missing)} too")
    wrong = [name for name, value in other.items() if value not in (None, False, 0)]
    if wrong:
        name = wrong[0].upper() if wrong[0] == "input" else _option(wrong[0])
        raise click.UsageError(f"{name} does not go with --detector")
    return True


def _option(name: str) -> str:
    """Return an option as users type it."""
    return f"--{name.replace('_', '-')}"


def make(
    output: str,
    gun: Mapping[str, Any],
    *,
    model: str | None,
    geant4_data: Path | None,
    options: Mapping[str, Any],
    latent: bool = False,
    num_inference_steps: int | None = None,
) -> None:
    """Make showers while a bar shows the progress, and print a summary.

    Args:
        output: path of the output.
        gun: values of the options of :func:`shower_options`, by name.
        model: name or path of the model, or "geant4"; None for the model that ships for the detector.
        geant4_data: folder of Geant4's data sets.
        options: the options of the run.
        latent: whether to save what the model drew each shower from.
        num_inference_steps: network evaluations of a diffusion model.
    """
    from fastsim import api
    from fastsim.cli.progress import progress
    from fastsim.cli.summary import show

    if gun["num"] is None and options["num_events"] is None:
        raise click.UsageError("Missing option '-n' / '--num-events': how many showers?")
    target: dict[str, Any] = {name: gun[name] for name in (*NEEDED, "num")}
    target |= {name: gun[name] or 0.0 for name in ("theta", "phi")}
    with progress("running Geant4" if model == "geant4" else "generating", "showers") as report:
        summary = api.showers(
            output,
            **target,
            model=model,
            geant4_data=geant4_data,
            latent=latent,
            num_inference_steps=num_inference_steps,
            **options,
            progress=report,
        )
    show(summary)


def make_as_before(
    output: str, gun: Mapping[str, Any], *, model: str | None, geant4_data: Path | None, options: Mapping[str, Any]
) -> None:
    """Make showers, as :func:`make` does, for ``generate`` or ``reference``, and print which command does it now."""
    make(output, gun, model=model, geant4_data=geant4_data, options=options)
    geant4 = " --model geant4" if model == "geant4" else ""
    click.echo(f"fastsim: 'fastsim showers{geant4}' is the command for this now; the old one goes on working", err=True)
