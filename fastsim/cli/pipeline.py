"""``fastsim pipeline``: train, search, run and draw pipelines of blocks that a TOML file describes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fastsim.cli.options import debug_option, scheduler_option

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
set_option = click.option(
    "--set",
    "changes",
    metavar="KEY=VALUE",
    multiple=True,
    help="Replace a value of the file, such as data.num=1000 (may be repeated).",
)


@click.group("pipeline", short_help="Train, search, compare, run and draw pipelines of blocks.")
@debug_option
def command() -> None:
    """Train, search, compare, run and draw pipelines of blocks that a TOML file describes.

    \b
    Examples:
      fastsim pipeline show examples/tau_pairs.toml
      fastsim pipeline train examples/tau_pairs.toml -o runs/tau-pairs
      fastsim pipeline search examples/tau_pairs.toml --method spos -o runs/tau-search
      fastsim pipeline compare examples/tau_pairs.toml -o runs/tau-ways
      fastsim pipeline trade-off examples/tau_pairs.toml --loss taus -o runs/tau-ratios
    """


@command.command("show")
@click.argument("file", type=FILE)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Also draw it, as SVG.")
@set_option
@debug_option
def show(file: Path, output: Path | None, changes: tuple[str, ...]) -> None:
    """Print the blocks of FILE, a pipeline (.toml) or the card of a trained one (.json): names and shapes."""
    from fastsim import pipelines

    text, svg = pipelines.show(file, _changes(changes))
    click.echo(text)
    if output is not None:
        output.write_text(svg, encoding="utf-8")


@command.command("train")
@click.argument("file", type=FILE)
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="[default: runs/<name of FILE>]")
@click.option("--choose", metavar="BLOCK=LABEL", multiple=True, help="A candidate; by default the first of each block.")
@click.option(
    "--init",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Card of a trained chain: blocks of the same names start from its weights.",
)
@set_option
@debug_option
def train(
    file: Path, output: Path | None, choose: tuple[str, ...], init: Path | None, changes: tuple[str, ...]
) -> None:
    """Train the blocks of FILE together, and write card and weights; a run that was stopped goes on."""
    from fastsim import pipelines
    from fastsim.cli.progress import training_notes

    combination = dict(_pair(entry) for entry in choose)
    with training_notes():
        trial, card = pipelines.train(
            file, output or Path("runs") / file.stem, changes=_changes(changes), combination=combination, init=init
        )
    error = "" if trial.error != trial.error else f" +- {trial.error:.4f}"
    click.echo(f"{trial.value:.4f}{error} on the test events, {trial.seconds:.0f} s of processor time", err=True)
    click.echo(str(card))


@command.command("search")
@click.argument("file", type=FILE)
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="[default: runs/<name>-search]")
@click.option("--method", help="grid, random, tpe, spos, asng or darts.  [default: as FILE says]")
@click.option("--workers", type=click.IntRange(0), default=0, help="Processes that train combinations side by side.")
@scheduler_option
@click.option(
    "--cost",
    type=click.Choice(["flops", "time"]),
    default="flops",
    show_default=True,
    help="What the score is weighed against: operations, or processor time, an event.",
)
@set_option
@debug_option
def search(
    file: Path,
    output: Path | None,
    method: str | None,
    workers: int,
    scheduler: str | None,
    cost: str,
    changes: tuple[str, ...],
) -> None:
    """Find the best candidates of the blocks of FILE; a search that was stopped goes on."""
    from fastsim import pipelines
    from fastsim.cli.progress import training_notes
    from fastsim.search import pareto

    with training_notes():
        found = pipelines.search(
            file,
            output or Path("runs") / f"{file.stem}-search",
            method=method,
            changes=_changes(changes),
            workers=workers,
            scheduler=scheduler,
            cost=cost,
        )
    click.echo("\n".join(pareto.table(found.trials, found.figure, pareto.COSTS[cost])))
    click.echo(f"best by {found.method}: {found.best.label}, {found.seconds:.0f} s of processor time")


seeds_option = click.option("--seeds", type=click.IntRange(1), default=5, show_default=True, help="Seeds of each way.")
choose_option = click.option(
    "--choose", metavar="BLOCK=LABEL", multiple=True, help="A candidate; by default the first of each block."
)
workers_option = click.option("--workers", type=click.IntRange(0), default=0, help="Processes that train side by side.")


@command.command("compare")
@click.argument("file", type=FILE)
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="[default: runs/<name>-compare]")
@seeds_option
@choose_option
@workers_option
@scheduler_option
@set_option
@debug_option
def compare(
    file: Path,
    output: Path | None,
    seeds: int,
    choose: tuple[str, ...],
    workers: int,
    scheduler: str | None,
    changes: tuple[str, ...],
) -> None:
    """Train FILE in the ways of its table [ways], each with several seeds: a table and a picture."""
    from fastsim import pipeline_comparison

    folder = output or Path("runs") / f"{file.stem}-compare"
    _show_points(
        file,
        folder,
        changes,
        lambda given: pipeline_comparison.compare(
            file,
            folder,
            num_seeds=seeds,
            changes=given,
            combination=dict(map(_pair, choose)),
            workers=workers,
            scheduler=scheduler,
        ),
    )


@command.command("trade-off")
@click.argument("file", type=FILE)
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="[default: runs/<n>-trade-off]")
@click.option("--loss", required=True, help="Name of the loss whose weight is scanned.")
@click.option("--ratios", default="0,0.01,0.1,1,10", show_default=True, help="Its weight over that of the others.")
@click.option("--weighting", multiple=True, help="Also an adaptive weighting, as gradient-cosine (may be repeated).")
@seeds_option
@choose_option
@workers_option
@scheduler_option
@set_option
@debug_option
def trade_off(
    file: Path,
    output: Path | None,
    loss: str,
    ratios: str,
    weighting: tuple[str, ...],
    seeds: int,
    choose: tuple[str, ...],
    workers: int,
    scheduler: str | None,
    changes: tuple[str, ...],
) -> None:
    """Scan the ratio of the losses of FILE: the figure of merit against it, with errors, as table and picture."""
    from fastsim import pipeline_comparison

    try:
        values = [float(ratio) for ratio in ratios.split(",")]
    except ValueError:
        raise click.BadParameter(f"{ratios!r}: give numbers with commas between them", param_hint="--ratios") from None
    folder = output or Path("runs") / f"{file.stem}-trade-off"
    _show_points(
        file,
        folder,
        changes,
        lambda given: pipeline_comparison.trade_off(
            file,
            folder,
            loss=loss,
            ratios=values,
            weightings=weighting,
            changes=given,
            num_seeds=seeds,
            combination=dict(map(_pair, choose)),
            workers=workers,
            scheduler=scheduler,
        ),
    )


def _show_points(file: Path, folder: Path, changes: tuple[str, ...], found: Callable[[dict[str, Any]], Any]) -> None:
    """Print the table of a comparison."""
    from fastsim.cli.progress import training_notes
    from fastsim.pipeline_file import read
    from fastsim.search import points

    given = _changes(changes)
    with training_notes():
        result = found(given)
    click.echo("\n".join(points.table(result, read(file, given).values["figure"]["kind"])))
    click.echo(str(folder / "comparison.svg"), err=True)


@command.command("run")
@click.argument("card", type=FILE)
@click.argument("input", type=FILE)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of random inputs (noise...) that INPUT lacks.")
@debug_option
def run(card: Path, input: Path, output: Path, seed: int) -> None:
    """Run the trained chain of CARD on the arrays of INPUT (HDF5), and write them with its outputs."""
    from fastsim import pipelines

    num = pipelines.run(card, input, output, seed=seed)
    click.echo(f"{output}: {num:,} events", err=True)


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator:
        raise click.BadParameter(f"{text!r}: give NAME=VALUE")
    return key.strip(), value.strip()


def _changes(entries: tuple[str, ...]) -> dict[str, Any]:
    """Return the values of ``--set``, read as TOML where they are, else as text."""
    import tomllib

    changes: dict[str, Any] = {}
    for key, value in map(_pair, entries):
        try:
            changes[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            changes[key] = value
    return changes
