"""Runs of events: from an input, through Steps in chunks and blocks, to an output."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from fastsim.errors import FastsimError
from fastsim.event import RunInfo
from fastsim.formats.atomic import PathLike
from fastsim.formats.output import open_writer
from fastsim.production.chunks import EVENTS_PER_BLOCK, ChunkRunner, run_blocks
from fastsim.production.inputs import EventChunks, EventFileInput, GunInput, Input, StepOfRun
from fastsim.production.manifest import versions
from fastsim.production.options import EventRange, RunOptions
from fastsim.production.run import Run
from fastsim.production.summary import Summary
from fastsim.sources.pipeline import Pipeline, Step

COUNTED_BYTES = 50_000_000
"""Larger files are not counted only to show how far a run is."""


@dataclass(frozen=True)
class Stages:
    """The Steps that a run takes its events through, and what its output says about them.

    Attributes:
        source: name of the source of the events, for the summary.
        step: the Step to run chunk by chunk; None if the input already has what ``blocks`` needs.
        blocks: a Step that takes longer, run after ``step`` in blocks of events; None if there is none.
        provenance: named texts in the output that say how it was made.
        settings: what else decides the content of the output, as JSON values.
        reads: files that the Steps were read from, which the run must not write.
        per_event_seeds: whether each event has a seed of its own in the blocks.
        of_run: makes ``step`` from the run information of the input, where it needs that; None if it is given.
    """

    source: str
    step: Step | None
    blocks: Step | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    reads: tuple[PathLike, ...] = ()
    per_event_seeds: bool = False
    of_run: StepOfRun | None = None

    def check(self, given: Input) -> None:
        """Raise FastsimError if the Steps cannot start from an input."""
        if isinstance(given, EventFileInput) and self.step is not None:
            raise FastsimError(f"{given.path}: has hadrons, not partons; run the step calorimeter alone")
        carries = frozenset({"hadrons"}) if self.of_run is not None else given.carries
        steps = [step for step in (self.step, self.blocks) if step is not None]
        Pipeline(steps, given=carries)  # says what is missing

    def reading(self, files: tuple[PathLike, ...]) -> Stages:
        """Return a copy with other files that the Steps were read from."""
        return replace(self, reads=files)

    @property
    def unit(self) -> int | None:
        """Events at whose multiples a run may be cut; None for the input's chunks."""
        return None if self.blocks is None else EVENTS_PER_BLOCK


def run_events(given: Input, output: PathLike, stages: Stages, options: RunOptions) -> Summary:
    """Take the events of an input through Steps, and write them.

    Args:
        given: the input.
        output: path; its ending names the format; ``"-"`` for HepMC3 on standard output.
        stages: the Steps.
        options: seed, range, workers, and whether to resume a run or to replace an output.

    Returns:
        What was written: counts, weights, time.

    Raises:
        FastsimError: its subclasses say what is wrong with input, output or a Step; finished chunks are kept.
    """
    from fastsim import __version__

    stages.check(given)
    if options.skip_bad_events:
        given = given.skipping_bad_events()
    events = given.range(options, unit=stages.unit)
    tool = {"tool": "fastsim", "version": __version__, "seed": str(options.seed)}
    settings = {**given.settings(), **stages.provenance, "seed": options.seed, "versions": versions()}
    if stages.blocks is not None:
        settings["block"] = EVENTS_PER_BLOCK
        if stages.per_event_seeds:  # blocks begin where the range does: they belong to runs of the same range alone
            settings |= events.settings
    settings |= stages.settings
    reads = (*given.paths, *stages.reads)
    with Run(output, settings, options, events, rereadable=given.rereadable, reads=reads) as run:
        if (finished := run.summary(Summary)) is not None:
            return finished
        as_sets = isinstance(given, GunInput) and stages.blocks is None
        with _chunks(given, stages, options, events, run.runner) as (info, chunks):
            info = replace(info, provenance=_provenance(info, {**tool, **stages.provenance}, as_sets))
            summary = Summary(output=run.output, source=stages.source, cross_section=info.cross_section)
            with (
                open_writer(run.output, info, force=run.replaces, gun=as_sets) as writer,
                run.contents(chunks, summary, _total(given, events, options)) as batches,
            ):
                for batch in batches:
                    if len(batch):
                        writer.write(batch)
            run.commit(summary)
        return summary


def _total(given: Input, events: EventRange, options: RunOptions) -> int | None:
    """Return the number of events of the run, for the one who watches it; None where that is not known or slow to find.

    To count the events of a file takes as long as to read through it.
    """
    sizes = [os.path.getsize(path) for path in given.paths]
    if options.progress is None or not given.rereadable or sum(sizes) > COUNTED_BYTES:
        return events.num
    try:
        left = max(given.count() - events.first, 0)
    except (FastsimError, OSError):  # a bad file is refused where it is read
        return events.num
    return left if events.num is None else min(events.num, left)


@contextmanager
def _chunks(
    given: Input, stages: Stages, options: RunOptions, events: EventRange, runner: ChunkRunner
) -> Iterator[tuple[RunInfo, EventChunks]]:
    """Give the run information and the finished events, chunk by chunk or block by block."""
    seed = options.seed
    if stages.blocks is None:
        yield given.chunks(stages.of_run or stages.step, seed, events, runner=runner)
        return
    # the events that blocks start from are computed in threads and not stored: that is quick, and blocks are stored
    align = 1 if stages.per_event_seeds else EVENTS_PER_BLOCK
    step = stages.of_run or stages.step
    info, chunks = given.chunks(step, seed, events, runner=ChunkRunner(options.num_threads), align=align)
    with closing(chunks):
        yield (
            info,
            run_blocks(
                chunks,
                stages.blocks,
                seed=seed,
                events=events,
                per_event_seeds=stages.per_event_seeds,
                by_number=given.places_are_numbers,
                runner=runner,
            ),
        )


def _provenance(info: RunInfo, own: Mapping[str, str], as_sets: bool) -> dict[str, str]:
    """Return the provenance of the output: that of the input, whose tool and seed are renamed, and the run's own."""
    of_input = {f"input_{key}": info.provenance[key] for key in ("tool", "version", "seed") if key in info.provenance}
    values = {**info.provenance, **of_input, **own}
    if as_sets:  # the gun is last in these files since 0.1: the order of attributes is in their bytes
        values["gun"] = values.pop("gun")
    return values
