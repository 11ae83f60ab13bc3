"""Runs of events: from an input, through Steps in chunks and blocks, to an output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from fastsim.errors import FastsimError
from fastsim.event import RunInfo
from fastsim.formats.atomic import PathLike
from fastsim.formats.output import open_writer
from fastsim.production.chunks import EVENTS_PER_BLOCK, ChunkRunner, run_blocks
from fastsim.production.inputs import Chunks, EventFileInput, GunInput, Input
from fastsim.production.manifest import versions
from fastsim.production.options import EventRange, RunOptions
from fastsim.production.run import Run
from fastsim.production.summary import Summary
from fastsim.sources.pipeline import Pipeline, Step


@dataclass(frozen=True)
class Stages:
    """What a run does to its events.

    Attributes:
        source: what makes the events, for the summary.
        step: computed chunk by chunk; None where the input has what the blocks need.
        blocks: a Step that takes longer, computed after it in blocks of events; None if there is none.
        provenance: what the output says about how it was made.
        settings: what else decides its content.
        reads: files that the Steps were read from, which the run must not write.
        per_event_seeds: whether each event draws by itself in the blocks.
        prepare: a context manager around reading the input, which gives the input and the Step to use instead.
    """

    source: str
    step: Step | None
    blocks: Step | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    reads: tuple[PathLike, ...] = ()
    per_event_seeds: bool = False
    prepare: Callable[[Input], AbstractContextManager[tuple[Input, Step]]] | None = None

    def check(self, given: Input) -> None:
        """Raise FastsimError if the Steps cannot start from an input."""
        if isinstance(given, EventFileInput) and self.step is not None:
            raise FastsimError(f"{given.path}: has hadrons, not partons; run the step calorimeter alone")
        steps = [step for step in (self.step, self.blocks) if step is not None]
        Pipeline(steps, given=given.carries)  # says what is missing

    def reading(self, files: tuple[PathLike, ...]) -> Stages:
        """Return the same stages, whose Steps were read from some files."""
        return replace(self, reads=files)

    @property
    def unit(self) -> int | None:
        """Events at whose multiples a run may be cut; None for the input's chunks."""
        return None if self.blocks is None else EVENTS_PER_BLOCK


def run_events(given: Input, output: PathLike, stages: Stages, options: RunOptions) -> Summary:
    """Write what some Steps make of the events of an input.

    Args:
        given: the input.
        output: path; its ending names the format; ``"-"`` for HepMC3 on standard output.
        stages: the Steps.
        options: range, workers, what becomes of what is there.

    Raises:
        FastsimError: its subclasses say what is wrong with input, output or a Step; finished chunks are kept.
    """
    from fastsim import __version__

    stages.check(given)
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
        if (done := run.summary(Summary)) is not None:
            return done
        as_sets = isinstance(given, GunInput) and stages.blocks is None
        with _chunks(given, stages, options, events, run.runner) as (info, chunks):
            info = replace(info, provenance=_provenance(info, {**tool, **stages.provenance}, as_sets))
            summary = Summary(output=run.output, source=stages.source, cross_section=info.cross_section)
            with (
                open_writer(run.output, info, force=run.replaces, gun=as_sets) as writer,
                run.contents(chunks, summary, events.num) as batches,
            ):
                for batch in batches:
                    writer.write(batch)
            run.commit(summary)
        return summary


@contextmanager
def _chunks(
    given: Input, stages: Stages, options: RunOptions, events: EventRange, runner: ChunkRunner
) -> Iterator[tuple[RunInfo, Chunks]]:
    """Give the run information and the finished events, chunk by chunk or block by block."""
    seed = options.seed
    if stages.prepare is not None:
        with stages.prepare(given) as (prepared, step):
            yield prepared.chunks(step, seed, events, runner=runner)
        return
    if stages.blocks is None:
        yield given.chunks(stages.step, seed, events, runner=runner)
        return
    # what the blocks start from is made in threads, and not kept: it is quick, and they are kept themselves
    align = 1 if stages.per_event_seeds else EVENTS_PER_BLOCK
    info, before = given.chunks(stages.step, seed, events, runner=ChunkRunner(options.num_threads), align=align)
    with closing(before):
        batches = (chunk.content for chunk in before)
        yield (
            info,
            run_blocks(
                batches,
                stages.blocks,
                seed=seed,
                events=events,
                per_event_seeds=stages.per_event_seeds,
                runner=runner,
            ),
        )


def _provenance(info: RunInfo, made: Mapping[str, str], as_sets: bool) -> dict[str, str]:
    """Return what the output says about how it was made, and what made the input, where that is something else."""
    before = {f"input_{key}": info.provenance[key] for key in ("tool", "version", "seed") if key in info.provenance}
    values = {**info.provenance, **before, **made}
    if as_sets:  # the gun is last in these files since 0.1: the order of attributes is in their bytes
        values["gun"] = values.pop("gun")
    return values
