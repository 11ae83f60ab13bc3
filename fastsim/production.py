"""Production: events in chunks of fixed size, one seed a chunk, summaries.

A chunk is the unit of computation and of randomness: chunk c of a run draws everything from
``default_rng(SeedSequence([seed, c]))`` and is always computed whole, then cut to the events asked for. So an event
depends on the run's seed and its own number alone, not on slices, restarts, threads or workers.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError, InvalidEvent
from fastsim.event import Floats, HardEvents, ParticleSet, Partons, RunInfo
from fastsim.formats import lhe
from fastsim.gun import Gun
from fastsim.pipeline import Step

EVENTS_PER_CHUNK = 512
"""Events of an LHE file that are computed together."""
EVENTS_PER_BLOCK = 16
"""Events that :func:`event_by_event` gives at once."""
PARTONS_PER_CHUNK = 4096
"""Partons of a gun that are computed together."""

J = TypeVar("J")
R = TypeVar("R")
Progress = Callable[[int, int | None], None]
"""Called with the events done and their total, None where that is not known."""
Draw = Callable[[Partons, np.random.Generator], tuple[ParticleSet, dict[str, NDArray[Any]]]]
"""Particle sets of N gun partons, and named arrays (N, ...) of what else there is to tell or to save."""


def available_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chunk_rng(seed: int, chunk: int) -> np.random.Generator:
    """The source of all randomness of one chunk of a run."""
    return np.random.default_rng(np.random.SeedSequence([seed, chunk]))


@dataclass
class Summary:
    """What a run did.

    ``notes`` counts the events or partons that took a special way (fallbacks, redraws...); ``visible`` is the energy of
    the calorimeter's ``cells`` in MeV.
    """

    output: str = ""
    source: str = ""
    events: int = 0
    partons: int = 0
    particles: int = 0
    cells: int = 0
    visible: float = 0.0
    seconds: float = 0.0
    sum_weights: float = 0.0
    cross_section: tuple[float, float] = (0.0, 0.0)
    notes: dict[str, int] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter, repr=False)

    def add(self, events: int, partons: int, particles: int, weights: Floats, notes: dict[str, int]) -> None:
        """Counts one chunk; ``weights`` are the nominal ones of its events."""
        self.events += events
        self.partons += partons
        self.particles += particles
        self.sum_weights += float(weights.sum())
        self.seconds = time.perf_counter() - self.started
        for key, value in notes.items():
            self.notes[key] = self.notes.get(key, 0) + value

    def add_events(self, events: HardEvents) -> None:
        """Counts a batch of events that have their particles."""
        notes = events.notes
        particles = 0 if events.particles is None else len(events.particles.pdg_id)
        if events.cells is not None:
            self.cells += len(events.cells.id)
            self.visible += float(events.cells.sums().sum())
        self.add(len(events), notes.pop("partons", 0), particles, events.weights[:, 0], notes)

    def rows(self) -> list[tuple[str, str]]:
        """The summary as names and formatted values, for a table."""
        rate = 1 / self.seconds if self.seconds > 0 else 0.0
        rates = f"{_rounded(self.events * rate)} events/s, {_rounded(self.partons * rate)} partons/s"
        per_event = self.particles / self.events if self.events else 0.0
        rows = [
            ("output", self.output),
            ("source", self.source),
            ("events", f"{self.events:,}"),
            ("partons", f"{self.partons:,}"),
            ("final particles", f"{self.particles:,} ({per_event:.1f} an event)"),
            ("sum of weights", f"{self.sum_weights:.6g}"),
            (
                "time",
                f"{self.seconds:.1f} s ({rates})",
            ),
        ]
        if self.cross_section[0]:
            rows.insert(2, ("cross-section", "{:.5g} ± {:.2g} pb".format(*self.cross_section)))
        if self.cells:
            visible = f"{1e-3 * self.visible / self.events:.4g} GeV"
            rows.insert(-2, ("cells", f"{self.cells:,} ({self.cells / self.events:.1f} with {visible} an event)"))
        return rows + [(key.replace("_", " "), f"{value:,}") for key, value in sorted(self.notes.items())]


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _alone() -> None:
    """Keeps torch, where it is in use, to one thread for each operation of this thread: jobs run side by side."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def in_order(function: Callable[[J], R], jobs: Iterator[J], threads: int) -> Iterator[R]:
    """Results of independent jobs in their order, from ``threads`` threads (1: this one), with one job more in hand.

    What the iterator of the jobs raises comes after the results of the jobs before.
    """
    if threads == 1:
        yield from map(function, jobs)
        return
    pending: deque[Future[R]] = deque()
    failure: Exception | None = None
    with ThreadPoolExecutor(threads, initializer=_alone) as pool:
        try:
            while failure is None:
                try:
                    pending.append(pool.submit(function, next(jobs)))
                except StopIteration:
                    break
                except Exception as error:
                    failure = error
                if len(pending) > threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
    if failure is not None:
        raise failure


def events_in_chunks(
    source: lhe.Source,
    step: Step,
    *,
    seed: int,
    first_event: int = 0,
    num_events: int | None = None,
    threads: int = 1,
) -> tuple[RunInfo, Iterator[HardEvents]]:
    """The events of an LHE file after ``step``, chunk by chunk.

    Args:
        source: path of an LHE file, or a binary stream.
        step: usually a Pipeline that provides hadrons.
        seed: of the run; event i is the same whatever ``first_event`` and ``num_events`` are.
        first_event: number of the first event wanted.
        num_events: how many at most; None for all.
        threads: chunks that are computed at a time.

    Raises:
        InvalidEvent: for a bad file, after the good events before the bad one. FastsimError: if the file ends before
            ``first_event``.
    """
    size = EVENTS_PER_CHUNK
    first_chunk = first_event // size
    stop = None if num_events is None else first_event + num_events
    wanted = None if stop is None else (-(-stop // size) - first_chunk) * size
    if num_events == 0:
        wanted = 1  # to read the run information; no event is computed
    run, batches = lhe.read(source, chunk_size=size, first_event=first_chunk * size, num_events=wanted)

    def chunks() -> Iterator[HardEvents]:
        last = -1
        try:
            yield from cut(last)
        except InvalidEvent:
            raise
        except FastsimError as error:  # the reader was asked for the start of the chunk
            raise FastsimError(str(error).replace(f"event {first_chunk * size} ", f"event {first_event} ")) from None

    def cut(last: int) -> Iterator[HardEvents]:
        def wanted_batches() -> Iterator[tuple[int, HardEvents]]:
            nonlocal last
            for chunk, batch in enumerate(batches if num_events != 0 else (), start=first_chunk):
                last = int(batch.number[-1])
                if last >= first_event:
                    yield chunk, batch
                if stop is not None and last + 1 >= stop:
                    return
            if num_events != 0 and last < first_event:
                raise FastsimError(f"first event {first_event} asked, but the file holds {last + 1} (numbered from 0)")

        def compute(job: tuple[int, HardEvents]) -> HardEvents:
            chunk, batch = job
            inside = (batch.number >= first_event) & (batch.number < (math.inf if stop is None else stop))
            return step.step(batch, rng=chunk_rng(seed, chunk))[inside]

        yield from in_order(compute, wanted_batches(), threads)

    return run, chunks()


def event_by_event(batches: Iterator[HardEvents], step: Step, *, seed: int, threads: int = 1) -> Iterator[HardEvents]:
    """Batches of events after a Step that takes each event by itself, ``EVENTS_PER_BLOCK`` at a time.

    This is for Steps that cost seconds an event, as Geant4 does: no event is computed that was not asked for. Event i
    draws everything from (seed, i, 1), the last number setting it apart from the chunks.

    Args:
        batches: the events.
        step: what is done to them.
        seed: of the run.
        threads: blocks that are computed at a time.
    """

    def alone(event: HardEvents) -> HardEvents:
        rng = np.random.default_rng(np.random.SeedSequence([seed, int(event.number[0]), 1]))
        return step.step(event, rng=rng)

    def compute(block: HardEvents) -> HardEvents:
        return HardEvents.concatenate([alone(event) for event in block.chunks(1)])

    return in_order(compute, (block for batch in batches for block in batch.chunks(EVENTS_PER_BLOCK)), threads)


def gun_in_chunks(
    gun: Gun,
    draw: Draw,
    *,
    seed: int,
    first_event: int = 0,
    num_events: int | None = None,
    threads: int = 1,
) -> Iterator[tuple[Partons, ParticleSet, dict[str, NDArray[Any]]]]:
    """A gun's partons, their particle sets and what ``draw`` tells of them, chunk by chunk.

    Args:
        gun: what to shoot; ``num`` bounds the number of events.
        draw: makes the sets.
        seed: of the run; set i is the same whatever ``num``, ``first_event`` and ``num_events`` are.
        first_event: number of the first set wanted.
        num_events: how many at most; None for all.
        threads: chunks that are computed at a time.

    Raises:
        FastsimError: if the gun shoots no parton of number ``first_event``.
    """
    size = PARTONS_PER_CHUNK
    stop = gun.num if num_events is None else min(gun.num, first_event + num_events)
    if first_event > 0 and first_event >= gun.num:
        raise FastsimError(f"first event {first_event} asked, but the gun shoots {gun.num} (numbered from 0)")
    chunks = range(first_event // size, -(-stop // size) if stop > first_event else 0)

    def compute(chunk: int) -> tuple[Partons, ParticleSet, dict[str, NDArray[Any]]]:
        rng = chunk_rng(seed, chunk)
        partons = gun.partons(rng, size)
        particles, more = draw(partons, rng)
        cut = slice(max(first_event - chunk * size, 0), min(stop - chunk * size, size))
        return partons[cut], particles[cut], {key: values[cut] for key, values in more.items()}

    return in_order(compute, iter(chunks), threads)
