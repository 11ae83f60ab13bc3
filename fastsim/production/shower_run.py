"""Runs that make single showers in a calorimeter: which of them, the file, the summary."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastsim.detector.binning import Binning
from fastsim.errors import FastsimError
from fastsim.formats.atomic import PathLike
from fastsim.formats.calochallenge import Showers, Writer, binning_path
from fastsim.production.chunks import Chunk, Summary, part_range
from fastsim.production.manifest import ChunkRow
from fastsim.production.run import Plan, Run

MAX_SHOWERS = 100_000_000
"""More than this in one run are refused."""

Chunks = Generator[Chunk[Showers], None, None]


@dataclass
class ShowerSummary(Summary):
    """What a run did; ``busy`` are the seconds of all workers, ``computed_energy`` the MeV of what was not held.

    ``by_energy``: the time grows with the energy, as Geant4's does, and is told by GeV.
    """

    busy: float = 0.0
    computed_energy: float = 0.0
    by_energy: bool = False

    def add(self, chunk: ChunkRow, *, held: bool = False) -> None:
        """Counts one chunk; ``held`` if it was there from a run before."""
        super().add(chunk, held=held)
        if not held:
            self.busy += chunk.seconds
            self.computed_energy += chunk.incident

    def rows(self) -> list[tuple[str, str]]:
        """The summary as names and formatted values, for a table."""
        resumed = f" ({self.computed:,} in this run)" if self.held else ""
        rows = [("output", self.output), ("source", self.source), ("showers", f"{self.events:,}{resumed}")]
        if self.incident > 0:
            rows.append(("visible energy", f"{100 * self.visible / self.incident:.3f}% of the incident"))
        time = f"{self.seconds:.1f} s"
        if self.computed and self.seconds > 0:
            time += f" ({self.computed / self.seconds:,.1f} showers/s"
            cost = f", {1e6 * self.busy / self.computed_energy:.1f} ms a GeV and worker" if self.by_energy else ""
            time += f"{cost})"
        return [*rows, ("time", time)]


def shower_range(
    num: int, *, first: int = 0, num_events: int | None = None, part: tuple[int, int] | None = None, size: int
) -> dict[str, Any]:
    """Which of ``num`` showers a run makes, as its plan says it.

    Args:
        num: showers of the whole.
        first: number of the first one wanted.
        num_events: how many at most.
        part: (i, n) for part i of n of what is left, cut at borders of chunks.
        size: of a chunk.

    Raises:
        FastsimError: if there is no such shower, or no such part.
    """
    if not 1 <= num <= MAX_SHOWERS:
        raise FastsimError(f"num is {num}, must be 1 to {MAX_SHOWERS:,} showers")
    if first < 0 or (num_events is not None and num_events < 0):
        raise FastsimError(f"first_event={first}, num_events={num_events}: none may be negative")
    if first >= num:
        raise FastsimError(f"first shower {first} asked, but there are {num} (numbered from 0)")
    count = num - first if num_events is None else min(num_events, num - first)
    if part is None:
        return {"first_event": first, "num_events": count}
    start, held = part_range(part, first, count, size)
    return {"first_event": start, "num_events": held, "whole": (first, count)}


def numbers_of(plan: Plan, size: int) -> range:
    """The numbers of the chunks of ``size`` showers that a plan's range touches."""
    assert plan.num_events is not None
    stop = plan.first_event + plan.num_events
    return range(plan.first_event // size, -(-stop // size) if plan.num_events else 0)


def cut(chunk: Chunk[Showers], plan: Plan, size: int) -> Chunk[Showers]:
    """Of a chunk that begins where all of its number do, what lies in the plan's range."""
    assert plan.num_events is not None
    start, stop = chunk.number * size, plan.first_event + plan.num_events
    return replace(chunk, content=chunk.content[max(plan.first_event - start, 0) : min(stop - start, size)])


def write_run(
    output: PathLike,
    plan: Plan,
    summary: ShowerSummary,
    chunks: Callable[[Run], Chunks],
    *,
    made: Mapping[str, Any],
    versions: Mapping[str, str] | None = None,
    num_voxels: int,
    binning: Binning | None,
) -> ShowerSummary:
    """Writes a run's showers as a CaloChallenge HDF5 file, with the binning (.xml) beside it.

    Args:
        output: the file.
        plan: which showers, who computes them.
        summary: to be filled.
        chunks: gives what lies in the range, chunk by chunk.
        made: how the showers are made: an attribute of the file, and what a run that goes on must have in common.
        versions: of packages, which it must have in common too.
        num_voxels, binning: of the showers; see :class:`fastsim.formats.calochallenge.Writer`.

    Raises:
        FastsimError: if something given is wrong, or the output cannot be written; finished chunks are kept.
    """
    assert plan.num_events is not None
    settings = dict(made) if versions is None else {**made, "versions": dict(versions)}
    told = {**made, "first_event": plan.first_event} if plan.first_event else made
    with Run(output, settings, plan, beside=[binning_path(output)]) as run:
        if (done := run.summary(ShowerSummary)) is not None:
            return done
        with (
            Writer(
                output,
                num=plan.num_events,
                num_voxels=num_voxels,
                binning=binning,
                settings=told,
                force=run.replaces,
            ) as writer,
            run.contents(chunks(run), summary, plan.num_events) as batches,
        ):
            for showers in batches:
                writer.write(showers)
        run.commit(summary)
    return summary
