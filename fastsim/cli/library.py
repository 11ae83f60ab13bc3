"""``fastsim library``: files of Pythia's rests of collisions, or of its minimum-bias collisions, to draw from."""

from __future__ import annotations

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
@click.option(
    "-n",
    "--num",
    metavar="N",
    type=click.IntRange(1),
    help="How many.  [default: 6000 rests, at most one an event of INPUT; 4000 collisions]",
)
@click.option(
    "--scale",
    type=_Range(),
    metavar="LOW:HIGH",
    default="8:2500",
    show_default=True,
    help="Scales of the hard process in GeV, for rests without INPUT.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all randomness.")
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True, help="Made at a time; 0: one.")
@click.option("--force", is_flag=True, help="Replace an output that exists.")
@debug_option
def command(
    kind: str,
    input: str | None,
    energy: float | None,
    output: str | None,
    num: int | None,
    scale: tuple[float, float],
    seed: int,
    workers: int,
    force: bool,
) -> None:
    """Make a file that whole collisions are drawn from, with Pythia, and print its path.

    rests: what collisions hold besides the hadrons of their hard partons, for fastsim generate --event full --rest
    FILE; for the first events of INPUT, an LHE file, or for all proton collisions of an energy: less close to any one
    process. pileup: minimum-bias collisions, for --pileup MU --pileup-events FILE.

    Without -o they go to the machine's cache (FASTSIM_CACHE, else the user's), where fastsim generate looks for those
    of its input, as many as the events of the file need, and otherwise makes them at the first run: do this ahead of
    time for the nodes of clusters. One library serves all files of a process: give it -o, and runs --rest.

    \b
    Examples:
      fastsim library rests events.lhe.gz --workers 4
      fastsim library rests run_01.lhe.gz -o rests.h5
      fastsim library rests --energy 13000 -n 20000 -o rests.h5 --workers 4
      fastsim library pileup --energy 13600
    """
    if (energy is None) == (input is None) or (kind == "pileup" and input is not None):
        raise click.UsageError("give --energy, or for rests the LHE file to make them for")
    if kind == "rests" and output is None:
        if input is None:
            raise click.UsageError("give -o: the machine keeps rests of files of events alone")
        if num is not None or seed:
            raise click.UsageError("give -o: what the machine keeps for a file has a number and a seed of its own")
    from fastsim import collisions
    from fastsim.cli.progress import progress

    with progress("running Pythia", "collisions") as report:
        if output is None and input is not None:
            made, _ = collisions.keep_rests(input, workers=workers, progress=report)
        elif kind == "rests":
            assert output is not None
            made = [
                collisions.make_rests(
                    output,
                    input,
                    energy=energy,
                    num=num or 6000,
                    scale=scale,
                    seed=seed,
                    workers=workers,
                    force=force,
                    progress=report,
                )
            ]
        else:
            assert energy is not None
            made = [
                collisions.make_minimum_bias(
                    output, energy=energy, num=num or 4000, seed=seed, workers=workers, force=force, progress=report
                )
            ]
    if not made:
        click.echo("none: Pythia makes the rests of so few events as they come", err=True)
    for path in made:
        click.echo(path)
