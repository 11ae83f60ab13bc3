"""Production: events in chunks of fixed size, one seed a chunk, summaries.

A chunk is the unit of computation and of randomness: chunk c of a run draws everything from
``default_rng(SeedSequence([seed, c]))`` and is always computed whole, then cut to the events asked for. So an event
depends on the run's seed and its own number alone, not on slices, restarts, threads or workers.

What computes a chunk is a task, a function of a job ``(chunk, input)`` that can be pickled; :class:`Crew` says where.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError, InvalidEvent
from fastsim.event import HardEvents, ParticleSet, Partons, RunInfo
from fastsim.event.gun import Gun, Shots
from fastsim.event.rng import chunk_rng
from fastsim.formats import lhe
from fastsim.sources.pipeline import Step

if TYPE_CHECKING:
    from fastsim.production.manifest import ChunkRow

EVENTS_PER_CHUNK = 512
"""Events of an LHE file that are computed together."""
EVENTS_PER_BLOCK = 16
"""Events that :func:`in_blocks` gives at once, and whose showers a model draws together; divides a chunk's size."""
PARTONS_PER_CHUNK = 4096
"""Partons of a gun that are computed together."""

AHEAD = 2
"""Jobs in hand for each thread: some wait while one that takes long is the next to be written."""

C = TypeVar("C")
J = TypeVar("J")
R = TypeVar("R")
Progress = Callable[[int, int | None], None]
"""Called with the events done and their total, None where that is not known."""
Draw = Callable[[Partons, np.random.Generator], tuple[ParticleSet, dict[str, NDArray[Any]]]]
"""Particle sets of N gun partons, and named arrays (N, ...) of what else there is to tell or to save."""


def available_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class Summary:
    """What a run did.

    ``notes`` counts the events or partons that took a special way (fallbacks, redraws...), ``sum_weights`` and
    ``sum_weights2`` are of the nominal weight, ``held`` counts the events that were there from a run before;
    ``visible`` is the energy of the calorimeter's ``cells``, ``incident`` that of single showers' particles, in MeV.
    """

    output: str = ""
    source: str = ""
    events: int = 0
    partons: int = 0
    particles: int = 0
    cells: int = 0
    visible: float = 0.0
    incident: float = 0.0
    seconds: float = 0.0
    sum_weights: float = 0.0
    sum_weights2: float = 0.0
    held: int = 0
    cross_section: tuple[float, float] = (0.0, 0.0)
    notes: dict[str, int] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter, repr=False)

    def add(self, chunk: ChunkRow, *, held: bool = False) -> None:
        """Counts one chunk; ``held`` if it was there from a run before."""
        self.events += chunk.events
        self.held += chunk.events if held else 0
        self.partons += chunk.partons
        self.particles += chunk.particles
        self.cells += chunk.cells
        self.visible += chunk.visible
        self.incident += chunk.incident
        self.sum_weights += chunk.sum_weights
        self.sum_weights2 += chunk.sum_weights2
        self.seconds = time.perf_counter() - self.started
        for key, value in chunk.notes.items():
            self.notes[key] = self.notes.get(key, 0) + value

    @property
    def computed(self) -> int:
        """Events that were not there from a run before."""
        return self.events - self.held

    def rows(self) -> list[tuple[str, str]]:
        """The summary as names and formatted values, for a table."""
        new = self.computed
        rate = new / self.events / self.seconds if self.events and self.seconds > 0 else 0.0
        rates = f"{_rounded(self.events * rate)} events/s, {_rounded(self.partons * rate)} partons/s"
        resumed = f" ({new:,} in this run)" if self.held else ""
        per_event = self.particles / self.events if self.events else 0.0
        rows = [
            ("output", self.output),
            ("source", self.source),
            ("events", f"{self.events:,}{resumed}"),
            ("partons", f"{self.partons:,}"),
            ("final particles", f"{self.particles:,} ({per_event:.1f} an event)"),
            ("sum of weights", f"{self.sum_weights:.6g} (of squares {self.sum_weights2:.6g})"),
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


def single_threaded() -> None:
    """Keeps torch, where it is in use, to one thread for each operation of this thread: jobs run side by side."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Runs torch with one thread an operation, since chunks run side by side, and puts the number back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_order(
    function: Callable[[J], R], jobs: Iterator[J], threads: int, *, aside: bool = False
) -> Generator[R, None, None]:
    """Results of independent jobs in their order, from threads that work ahead of the reader.

    One thread is this one, unless ``aside``: a job in this thread is lost when a signal comes, one aside is finished.

    What the iterator of the jobs raises comes after the results of the jobs before. Jobs that have begun are ended
    when the generator is closed.
    """
    if threads == 1 and not aside:
        yield from map(function, jobs)
        return
    pending: deque[Future[R]] = deque()
    failure: Exception | None = None
    with ThreadPoolExecutor(threads, initializer=single_threaded) as pool:
        try:
            while failure is None:
                try:
                    pending.append(pool.submit(function, next(jobs)))
                except StopIteration:
                    break
                except Exception as error:
                    failure = error
                if len(pending) > AHEAD * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
    if failure is not None:
        raise failure


def part_range(part: tuple[int, int], first_event: int, num_events: int, size: int) -> tuple[int, int]:
    """First event and number of events of part (i, n) of a range, cut at borders of chunks of ``size`` events.

    >>> [part_range((i, 3), 0, 10, 4) for i in range(3)]
    [(0, 4), (4, 4), (8, 2)]

    Raises:
        FastsimError: if the part is not one of 0 to n - 1.
    """
    number, num_parts = part
    if not 0 <= number < num_parts:
        raise FastsimError(f"part {number}/{num_parts}: parts are numbered from 0 to n - 1")
    first_chunk, stop = first_event // size, first_event + num_events
    num_chunks = -(-stop // size) - first_chunk
    low, high = (first_chunk + num_chunks * k // num_parts for k in (number, number + 1))
    start = min(max(low * size, first_event), stop)
    return start, min(max(high * size, first_event), stop) - start


@dataclass(frozen=True)
class Chunk(Generic[C]):
    """A chunk that is done: its number, its content, and the seconds that it took; ``held`` if an earlier run's."""

    number: int
    content: C
    seconds: float = 0.0
    held: bool = False


Task = Callable[[tuple[int, Any]], C]
"""Computes the content of a chunk from its number and its input; may run in another process."""


class Keeper(Protocol):
    """Where finished chunks are kept, so that a run that was stopped goes on from them."""

    def load(self, number: int) -> tuple[Any, float] | None:
        """Content and seconds of a chunk that is there."""

    def save(self, number: int, content: Any, seconds: float) -> None: ...


@dataclass(frozen=True)
class EventTask:
    """A Step on a batch of events: job (chunk, batch)."""

    step: Step
    seed: int

    def __call__(self, job: tuple[int, HardEvents]) -> HardEvents:
        chunk, batch = job
        return self.step.step(batch, rng=chunk_rng(self.seed, chunk))


@dataclass(frozen=True)
class BlockTask:
    """A Step on a block of events: job (number, events).

    They draw from (seed, number of the first event, 1), or ``apart``, each by itself, from (seed, its number, 1).
    """

    step: Step
    seed: int
    apart: bool

    def __call__(self, job: tuple[int, HardEvents]) -> HardEvents:
        events = job[1]
        return HardEvents.concatenate([self._drawn(e) for e in events.chunks(1)]) if self.apart else self._drawn(events)

    def _drawn(self, events: HardEvents) -> HardEvents:
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, int(events.number[0]), 1]))
        return self.step.step(events, rng=rng)


@dataclass(frozen=True)
class GunTask:
    """A gun's partons and their sets: job (chunk, how many partons a chunk has)."""

    gun: Gun
    draw: Draw
    seed: int

    def __call__(self, job: tuple[int, int]) -> Shots:
        chunk, size = job
        rng = chunk_rng(self.seed, chunk)
        partons = self.gun.partons(rng, size)
        return Shots(partons, *self.draw(partons, rng))


@dataclass(frozen=True)
class Crew:
    """Who computes chunks: ``num`` at a time, here or where ``send`` has tasks done; ``keeper`` gets finished ones."""

    num: int = 1
    send: Callable[[Task[Any]], AbstractContextManager[Task[Any]]] = nullcontext
    keeper: Keeper | None = None

    def run(self, task: Task[C], jobs: Iterator[tuple[int, Any]]) -> Generator[Chunk[C], None, None]:
        """The chunks of the jobs in their order."""
        with self.send(task) as compute:

            def chunk(job: tuple[int, Any]) -> Chunk[C]:
                held = None if self.keeper is None else self.keeper.load(job[0])
                if held is not None:
                    return Chunk(job[0], *held, held=True)
                started = time.perf_counter()
                content = compute(job)
                seconds = time.perf_counter() - started
                if self.keeper is not None:
                    self.keeper.save(job[0], content, seconds)
                return Chunk(job[0], content, seconds)

            with closing(in_order(chunk, jobs, self.num, aside=self.keeper is not None)) as chunks:
                yield from chunks


def events_in_chunks(
    source: lhe.Source,
    step: Step,
    *,
    seed: int,
    first_event: int = 0,
    num_events: int | None = None,
    border: int = 1,
    crew: Crew = Crew(),
) -> tuple[RunInfo, Generator[Chunk[HardEvents], None, None]]:
    """The events of an LHE file after ``step``, chunk by chunk.

    Args:
        source: path of an LHE file, or a binary stream.
        step: usually a Pipeline that provides hadrons.
        seed: of the run; event i is the same whatever ``first_event`` and ``num_events`` are.
        first_event: number of the first event wanted.
        num_events: how many at most; None for all.
        border: more events are given on both sides of these, up to numbers that it divides; it divides a chunk's size.
        crew: who computes the chunks; the result does not depend on it.

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

    def jobs() -> Iterator[tuple[int, HardEvents]]:
        last = -1
        for chunk, batch in enumerate(batches if num_events != 0 else (), start=first_chunk):
            last = int(batch.number[-1])
            if last >= first_event:
                yield chunk, batch
            if stop is not None and last + 1 >= stop:
                return
        if num_events != 0 and last < first_event:
            raise FastsimError(f"first event {first_event} asked, but the file holds {last + 1} (numbered from 0)")

    def chunks() -> Generator[Chunk[HardEvents], None, None]:
        try:
            with closing(crew.run(EventTask(step, seed), jobs())) as done:
                for chunk in done:
                    number = chunk.content.number // border
                    last = math.inf if stop is None else -(-stop // border)
                    inside = (number >= first_event // border) & (number < last)
                    yield replace(chunk, content=chunk.content[inside])
        except InvalidEvent:
            raise
        except FastsimError as error:  # the reader was asked for the start of the chunk
            raise FastsimError(str(error).replace(f"event {first_chunk * size} ", f"event {first_event} ")) from None

    return run, chunks()


def in_blocks(
    batches: Iterator[HardEvents],
    step: Step,
    *,
    seed: int,
    first_event: int = 0,
    num_events: int | None = None,
    apart: bool = False,
    crew: Crew = Crew(),
) -> Generator[Chunk[HardEvents], None, None]:
    """Batches of events after a Step that takes longer than what made them, in blocks of ``EVENTS_PER_BLOCK``.

    A block begins at a multiple of that number, is computed whole and then cut, as a chunk of a run is. Where an event
    costs seconds, as with Geant4, the events are taken ``apart``: none is computed that was not asked for, and a block
    is of a batch's events as they come.

    Args:
        batches: the events of the range, if ``apart``. Else those beside it too, up to multiples of
            ``EVENTS_PER_BLOCK``, as ``border`` of :func:`events_in_chunks` gives them, and a multiple of that number in
            each batch but the last.
        step: what is done to them.
        seed: of the run.
        first_event: place of the first event wanted.
        num_events: how many at most; None for all.
        apart: whether each event draws by itself.
        crew: who computes the blocks; the result does not depend on it.
    """
    size = EVENTS_PER_BLOCK
    start = first_event if apart else first_event // size * size
    stop = math.inf if num_events is None else first_event + num_events
    blocks = (block for batch in batches for block in batch.chunks(size))
    with closing(crew.run(BlockTask(step, seed, apart), enumerate(blocks, start // size))) as done:
        for block in done:
            first, last = max(first_event - start, 0), int(min(stop - start, len(block.content)))
            start += len(block.content)
            yield replace(block, content=block.content[first:last])


def gun_in_chunks(
    gun: Gun,
    draw: Draw,
    *,
    seed: int,
    first_event: int = 0,
    num_events: int | None = None,
    border: int = 1,
    crew: Crew = Crew(),
) -> Generator[Chunk[Shots], None, None]:
    """A gun's partons, their particle sets and what ``draw`` tells of them, chunk by chunk.

    Args:
        gun: what to shoot; ``num`` bounds the number of events.
        draw: makes the sets.
        seed: of the run; set i is the same whatever ``num``, ``first_event`` and ``num_events`` are.
        first_event: number of the first set wanted.
        num_events: how many at most; None for all.
        border: more sets are given on both sides of these, up to numbers that it divides; it divides a chunk's size.
        crew: who computes the chunks; the result does not depend on it.

    Raises:
        FastsimError: if the gun shoots no parton of number ``first_event``.
    """
    size = PARTONS_PER_CHUNK
    stop = gun.num if num_events is None else min(gun.num, first_event + num_events)
    if first_event > 0 and first_event >= gun.num and num_events != 0:
        raise FastsimError(f"first event {first_event} asked, but the gun shoots {gun.num} (numbered from 0)")
    numbers = range(first_event // size, -(-stop // size) if stop > first_event else 0)
    first, last = first_event // border * border, -(-stop // border) * border

    def chunks() -> Generator[Chunk[Shots], None, None]:
        with closing(crew.run(GunTask(gun, draw, seed), ((number, size) for number in numbers))) as done:
            for chunk in done:
                start = chunk.number * size
                cut = slice(max(first - start, 0), min(last - start, size))
                yield replace(chunk, content=chunk.content[cut])

    return chunks()
