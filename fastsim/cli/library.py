"""``fastsim library``: files of Pythia's rests of collisions, or of its minimum-bias collisions, to draw from."""

from __future__ import annotations

from pathlib import Path

import click

from fastsim.cli.options import debug_option


class _Range(click.ParamType[tuple[float, float]]):
    """The type of an option ``LOW:HIGH``."""

    name = "range"

    def convert(
        self, value: str | tuple[float, float], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        try:
            low, high = (float(word) for word in value.split(":"))
        except ValueError:
            self.fail(f"{value!r} is no range: write LOW:HIGH, such as 8:2500", param, ctx)
        return low, high


@click.command("library", short_help="Rests of collisions or minimum bias, to draw from.")
@click.argument("kind", type=click.Choice(("rests", "pileup")))
@click.argument("input", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option("--energy", type=float, metavar="GEV", help="Centre-of-mass energy of the protons, without INPUT.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="File (.h5); by default in the machine's cache.")
@click.option("-n", "--num", type=click.IntRange(1), default=6000, show_default=True, help="How many.")
@click.option(
    "--scale",
    type=_Range(),
    metavar="LOW:HIGH",
    default="8:2500",
    show_default=True,
    help="Scales of the hard process in GeV, for rests without INPUT.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all randomness.")
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True, help="Worker processes; 0: none.")
@click.option("--force", is_flag=True, help="Replace an output that exists.")
@debug_option
def command(
    kind: str,
    input: str | None,
    energy: float | None,
    output: str | None,
    num: int,
    scale: tuple[float, float],
    seed: int,
    workers: int,
    force: bool,
) -> None:
    """Make a file that whole collisions are drawn from, with Pythia, and print its path.

    rests: what collisions hold besides the hadrons of their hard partons, for fastsim generate --event full --rest
    FILE; for the first events of INPUT, an LHE file, or for all proton collisions of an energy: less close to any one
    process. pileup: minimum-bias collisions, for --pileup MU --pileup-events FILE.

    Without -o it goes to the machine's cache (FASTSIM_CACHE, else the user's), where fastsim generate looks for that of
    its input and otherwise makes it at the first run: do this ahead of time for the nodes of clusters.

    \b
    Examples:
      fastsim library rests events.lhe.gz
      fastsim library rests --energy 13000 -n 20000 -o rests.h5 --workers 4
      fastsim library pileup --energy 13600
    """
    if (energy is None) == (input is None) or (kind == "pileup" and input is not None):
        raise click.UsageError("give --energy, or for rests the LHE file to make them for")
    from fastsim import collisions
    from fastsim.cli.progress import progress

    with progress("running Pythia", "collisions") as report:
        path = None if output is None else Path(output)
        if kind == "rests":
            made = collisions.make_rests(
                path,
                input,
                energy=energy,
                num=num,
                scale=scale,
                seed=seed,
                workers=workers,
                force=force,
                progress=report,
            )
        else:
            assert energy is not None
            made = collisions.make_minimum_bias(
                path, energy=energy, num=num, seed=seed, workers=workers, force=force, progress=report
            )
    click.echo(made)
