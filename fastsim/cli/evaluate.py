"""``fastsim evaluate``: compare generated files with a real one."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastsim.cli.options import as_path, debug_option, final_status_option
from fastsim.errors import FastsimError, InvalidValue
from fastsim.extras import missing_text

if TYPE_CHECKING:
    from metrics.evaluation import Evaluation
    from metrics.levels import Judged, Level
    from metrics.sample import Sample

GATE_STATUS = 3
"""Exit status if a sample is above or below a limit that was given for a metric."""

_file = click.Path(exists=True, dir_okay=False)
_positive = click.FloatRange(0.0, min_open=True)


@click.command("evaluate", short_help="Compare generated files with a real one.")
@click.argument("real", type=_file)
@click.argument("generated", type=_file, nargs=-1, required=True)
@click.option("--null", type=_file, help="A second, independent real file: gives every null, in place of permutations.")
@click.option("--metrics", metavar="NAMES", help="Names by comma, or all. Default: the quick ones.")
@click.option(
    "--bins", metavar="TEXT", help='Bins of the condition: "flavour pt=20:60:200"; without edges, bins of its own.'
)
@click.option(
    "--protocol",
    type=click.Choice(("fastsim", "jetnet")),
    default="fastsim",
    show_default=True,
    help="Definitions and random draws; jetnet: those of JetNet 0.2.5.",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, allow_dash=True), help="Results as JSON; -: to stdout.")
@click.option("--report", metavar="DIR", type=click.Path(file_okay=False), help="Write a page with pictures there.")
@click.option(
    "-n",
    "--num-events",
    "--max-events",
    "max_events",
    metavar="N",
    type=click.IntRange(1),
    help="Read no more than N events of a file.",
)
@click.option("--binning", type=_file, help="Binning XML of CaloChallenge files. Default: the .xml beside each.")
@click.option(
    "--threshold",
    metavar="MEV",
    type=_positive,
    help="Voxels of showers, and cells, below it are empty, in all samples.",
)
@click.option("--radius", type=_positive, default=0.4, show_default=True, help="R of anti-kt jets in event files.")
@click.option("--pt-min", type=_positive, default=20.0, show_default=True, help="Least jet pT in event files, GeV.")
@click.option("--whole", is_flag=True, help="Take events of event files as they are, at rest, in place of their jets.")
@click.option(
    "--judge",
    "judged",
    type=click.Choice(("hadrons", "cells", "both")),
    help="What of event files is judged. Default: hadrons, and calorimeter cells if every file has them.",
)
@final_status_option
@click.option("--fail-above", metavar="METRIC=VALUE", multiple=True, help="Exit 3 if a sample's metric is above.")
@click.option("--fail-below", metavar="METRIC=VALUE", multiple=True, help="Exit 3 if a sample's metric is below.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all randomness.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Threads; results stay the same.")
@click.option("--force", is_flag=True, help="Replace outputs that exist.")
@debug_option
def command(
    real: str,
    generated: tuple[str, ...],
    null: str | None,
    metrics: str | None,
    bins: str | None,
    protocol: str,
    output: str | None,
    report: str | None,
    max_events: int | None,
    binning: str | None,
    threshold: float | None,
    radius: float,
    pt_min: float,
    whole: bool,
    judged: Judged | None,
    final_status: tuple[int, ...],
    fail_above: tuple[str, ...],
    fail_below: tuple[str, ...],
    seed: int,
    workers: int,
    force: bool,
) -> int:
    """Compare the events of GENERATED files with those of REAL: a table of metrics with errors and nulls.

    Files: particle sets in HDF5; events in HepMC, HDF5 or ROOT, clustered into jets; CaloChallenge showers in HDF5;
    jets in JetNet's HDF5 layout; NumPy arrays (.npy, .npz) of features (N, D) or padded particles (N, P, 3). Of events
    with calorimeter cells, these are judged too: results "cells ...".

    A metric whose library is not installed is left out, and the reason printed; the extra "evaluate" has them all.

    \b
    Examples:
      fastsim evaluate reference.h5 generated.h5 --bins flavour
      fastsim evaluate pythia.hepmc3 model.hepmc3 other.hepmc3 --report report
      fastsim evaluate geant4.h5 gen.h5 --binning binning.xml --metrics all -o result.json
      fastsim evaluate pythia-geant4.h5 chain.h5 --judge cells
      fastsim evaluate reference.h5 generated.h5 --fail-above auc=0.6 --fail-above fpd=1e-3
    """
    gates = [(*_gate(text, "--fail-above"), 1.0) for text in fail_above]
    gates += [(*_gate(text, "--fail-below"), -1.0) for text in fail_below]
    chosen = None if metrics is None else [m.strip() for m in metrics.split(",")]
    edges = parse_bins(bins)
    from fastsim.extras import installed, library
    from metrics.files import Reading, describe, refuse_equal_files, sample_names
    from metrics.levels import evaluate_levels, load_level, plan
    from metrics.registry import check_names

    given = (real, *generated, *([] if null is None else [null]))
    inputs = {os.path.realpath(path) for path in given}
    try:
        check_names(chosen, protocol)
        refuse_equal_files(given)
    except InvalidValue as error:
        raise click.UsageError(str(error)) from error
    names = sample_names((real, *generated))
    if report is not None:
        library("matplotlib"), library("mplhep")  # missing ones are named before the work, not after
    page = None if report is None else Path(report) / "index.html"
    for target in (output, page):
        if target not in (None, "-") and os.path.realpath(str(target)) in inputs:
            raise click.UsageError(f"{target} is an input")
    from rich.console import Console

    from fastsim.cli.progress import progress
    from fastsim.formats.atomic import AtomicPath, writing

    if page is not None:
        with writing(page):
            page.parent.mkdir(parents=True, exist_ok=True)
        AtomicPath(page, force=force).discard()  # refuses what cannot be written before the work, not after
    place = None if output in (None, "-") else AtomicPath(as_path(str(output)), force=force)
    try:
        reading = Reading(
            max_events,
            radius,
            pt_min,
            whole=whole,
            binning=None if binning is None else Path(binning),
            threshold=threshold,
            final_status=final_status,
        )
        chosen_levels = plan(given, judged)
        for note in chosen_levels.notes:
            click.echo(f"fastsim: {note}", err=True)
        samples: dict[Level, dict[str, Sample]] = {level: {} for level in chosen_levels.levels}
        nulls: dict[Level, Sample] = {}
        tasks = [(level, path) for level in samples for path in (*names, *([] if null is None else [null]))]
        with progress("reading", "files") as report_progress:
            for done, (level, path) in enumerate(tasks, start=1):
                if path == null:
                    nulls[level] = load_level(path, level, reading)
                else:
                    samples[level][names[path]] = load_level(path, level, reading)
                report_progress(done, len(tasks))
        every = [sample for by_name in samples.values() for sample in by_name.values()]
        if threshold is not None and "cells" not in samples and not any(sample.kind == "showers" for sample in every):
            raise click.UsageError("--threshold is of showers and of cells, which these files have not")
        if any(sample.kind == "jets" for sample in every) and not installed("fastjet"):
            click.echo(f"fastsim: soft-drop observables are left out: {missing_text('fastjet')}", err=True)
        if "cells" in samples and not installed("fastjet"):
            click.echo(f"fastsim: jets of towers are left out: {missing_text('fastjet')}", err=True)
        with progress("comparing", "metrics") as report_progress:
            try:
                evaluation, tests = evaluate_levels(
                    samples,
                    names[real],
                    metrics=chosen,
                    bins=edges,
                    nulls=nulls,
                    protocol=protocol,
                    seed=seed,
                    workers=workers,
                    progress=report_progress,
                )
            except ValueError as error:
                raise FastsimError(str(error)) from error
        if not any(evaluation.results.values()):
            raise FastsimError("nothing could be computed: " + "; ".join(sorted(set(evaluation.skipped.values()))))
        text = json.dumps(evaluation.to_dict(), indent=1)
        if place is not None:
            place.temporary.write_text(text + "\n", encoding="utf-8")
            place.commit()
    except BaseException:
        if place is not None:
            place.discard()
        raise
    from metrics.report.terminal import table

    if output == "-":
        click.echo(text)
    console = Console(stderr=output == "-")
    console = console if console.is_terminal else Console(stderr=output == "-", width=120)
    console.print(table(evaluation))
    if report is not None:
        from metrics.report.html import write

        provenance = {
            **{f"file {names.get(path, path)}": describe(path) for path in given},
            "command": shlex.join(["fastsim", *click.get_current_context().find_root().obj.get("args", [])]),
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        }
        with progress("drawing", "pictures") as report_progress:
            place_of_page = write(
                report,
                evaluation,
                next(iter(samples.values())),
                tests,
                provenance=provenance,
                progress=report_progress,
                cells=samples.get("cells") if len(samples) > 1 else None,
            )
        click.echo(f"report: {place_of_page}", err=True)
    failed = broken_gates(evaluation, gates)
    for line in failed:
        click.echo(f"fastsim: {line}", err=True)
    return GATE_STATUS if failed else 0


def parse_bins(text: str | None) -> dict[str, list[float] | None]:
    """Return the names of conditions with their bin edges, None where the text gives none.

    Raises:
        click.BadParameter: if an edge is no number.

    >>> parse_bins("flavour pt=20:60:200")
    {'flavour': None, 'pt': [20.0, 60.0, 200.0]}
    """
    bins: dict[str, list[float] | None] = {}
    for word in (text or "").split():
        name, equals, edges = word.partition("=")
        try:
            bins[name] = [float(edge) for edge in edges.split(":")] if equals else None
        except ValueError as error:
            raise click.BadParameter(f"{word!r}: expected NAME or NAME=EDGE:EDGE:...", param_hint="--bins") from error
    return bins


def _gate(text: str, option: str) -> tuple[str, float]:
    """Return metric and limit of METRIC=VALUE, the value of an option.

    Raises:
        click.BadParameter: if the text is not of that form.
    """
    name, equals, value = text.rpartition("=")
    try:
        if not (equals and name):
            raise ValueError
        return name, float(value)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: expected METRIC=VALUE, as auc=0.6", param_hint=option) from error


def broken_gates(evaluation: Evaluation, gates: Sequence[tuple[str, float, float]]) -> list[str]:
    """Return a line for each limit that a sample does not meet, or that cannot be judged.

    Args:
        evaluation: the results.
        gates: limits as (metric, value, sign); the metric must not be above the value for sign +1, or below for -1.

    Raises:
        FastsimError: if no sample has the metric.
    """
    lines = []
    for metric, limit, sign in gates:
        results: Mapping[str, Mapping[str, object]] = evaluation.results
        unknown = not any(metric in values for values in results.values())
        if unknown and not any(name.endswith(f": {metric.split()[0]}") for name in evaluation.skipped):
            known = ", ".join(sorted({name for values in results.values() for name in values}))
            raise FastsimError(f"no result {metric!r} to hold against {limit:g}; there are {known}")
        for sample, values in evaluation.results.items():
            if metric not in values:
                reason = evaluation.skipped.get(f"{sample}: {metric.split()[0]}", "it has none")
                lines.append(f"{sample}: {metric} was not computed: {reason}")
            elif not sign * values[metric].value <= sign * limit:
                side = "above" if sign > 0 else "below"
                lines.append(f"{sample}: {metric} = {values[metric].value:.4g} is {side} {limit:g}")
    return lines
