"""The options of ``fastsim reference`` and ``fastsim generate`` that make calorimeter showers instead of hadrons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

NEEDED = ("detector", "particle", "energy", "num")
GUN = (*NEEDED, "theta", "phi")
"""Names of :func:`gun_options`."""


class EnergyRange(click.ParamType[tuple[float, float]]):
    """``LOW:HIGH``, or one energy, in GeV."""

    name = "GeV"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        low, colon, high = str(value).partition(":")
        try:
            return float(low), float(high if colon else low)
        except ValueError:
            self.fail(f"{value!r} is not LOW:HIGH or one energy in GeV, for example 1:100", param, ctx)


def gun_options(function: F) -> F:
    """Detector, particle, energies, number and direction."""
    decorators: list[Callable[[Any], Any]] = [
        click.option(
            "--detector", metavar="NAME|PATH", help="Showers in pb-si-ecal, copper, copper-towers or a .toml file."
        ),
        click.option("--particle", metavar="NAME", help="What hits the detector: e-, gamma, pi+, K0L, pbar..."),
        click.option(
            "--energy", metavar="LOW:HIGH", type=EnergyRange(), help="Its kinetic energy in GeV, log-uniform."
        ),
        click.option("--num", metavar="N", type=click.IntRange(1), help="How many showers."),
        click.option("--theta", metavar="RAD", type=float, help="Angle to the detector's axis.  [default: 0]"),
        click.option("--phi", metavar="RAD", type=float, help="Azimuth of the direction.  [default: 0]"),
    ]
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


def shower_options(function: F) -> F:
    """Those of :func:`gun_options`, and where Geant4's data is."""
    decorators: list[Callable[[Any], Any]] = [
        gun_options,
        click.option(
            "--geant4-data",
            metavar="DIR",
            type=click.Path(path_type=Path),
            help="Folder of Geant4's data sets (or FASTSIM_GEANT4_DATA).",
        ),
    ]
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


def asked(shower: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether showers are wanted.

    Args:
        shower: values of :func:`shower_options` or :func:`gun_options`, by name.
        other: values, by name, that are for events only.

    Raises:
        click.UsageError: if an option that is needed is not given, or one that does not go with the others is.
    """
    given = [name for name, value in shower.items() if value not in (None, False)]
    if shower["detector"] is None:
        if given:
            raise click.UsageError(f"{_option(given[0])} needs --detector")
        return False
    missing = [_option(name) for name in NEEDED if shower[name] is None]
    if missing:
        raise click.UsageError(f"--detector needs {', '.join(missing)} too")
    wrong = [name for name, value in other.items() if value not in (None, False, 0)]
    if wrong:
        name = wrong[0].upper() if wrong[0] == "input" else _option(wrong[0])
        raise click.UsageError(f"{name} does not go with --detector")
    return True


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _gun(shower: Mapping[str, Any]) -> dict[str, Any]:
    """What is shot, as the library's functions take it."""
    return {name: shower[name] for name in NEEDED} | {name: shower[name] or 0.0 for name in ("theta", "phi")}


def run(shower: Mapping[str, Any], output: str, *, plan: Mapping[str, Any]) -> None:
    """Makes the showers with Geant4, with progress and a summary."""
    from fastsim import api
    from fastsim.cli.progress import progress
    from fastsim.cli.summary import show

    more = {**plan, "workers": max(1, plan["workers"]), "data": shower["geant4_data"]}
    with progress("running Geant4", "showers") as report:
        summary = api.reference_showers(output, **_gun(shower), **more, progress=report)
    show(summary)


def generate(shower: Mapping[str, Any], output: str, *, model: str | None, plan: Mapping[str, Any]) -> None:
    """Makes the showers with a model, with progress and a summary."""
    from fastsim import api
    from fastsim.cli.progress import progress
    from fastsim.cli.summary import show

    with progress("generating", "showers") as report:
        summary = api.generate_showers(output, **_gun(shower), model=model, **plan, progress=report)
    show(summary)
