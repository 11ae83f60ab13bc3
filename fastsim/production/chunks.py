"""Chunks of fixed size, one seed a chunk: the unit of computation and of randomness.

Chunk c of a run draws everything from ``default_rng(SeedSequence([seed, c]))`` and is always computed whole, then cut
to the events asked for. So an event depends on the run's seed and its own number alone, not on slices, restarts,
threads or workers.

What computes a chunk is a task, a function of a job ``(chunk, input)`` that can be pickled; :class:`ChunkRunner` says
where. A block is a smaller piece, of 16 events, for steps that take long.
"""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastsim.event import HardEvents
from fastsim.event.gun import Gun
from fastsim.event.rng import chunk_rng
from fastsim.production.options import ALL_EVENTS, EventRange
from fastsim.sources.pipeline import Step

EVENTS_PER_CHUNK = 512
"""Events of a file that are computed together."""
EVENTS_PER_BLOCK = 16
"""Events of a block, whose showers a model draws together; divides a chunk's size."""
PARTONS_PER_CHUNK = 4096
"""Partons of a gun that are computed together."""

JOBS_PER_THREAD = 2
"""Jobs that are begun or wait for each thread: others go on while one that takes long is the next to be written."""

C = TypeVar("C")
J = TypeVar("J")
R = TypeVar("R")


def single_threaded() -> None:
    """Keep torch, where it is in use, to one thread for each operation of this thread: jobs run side by side."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


_threads_before: list[int | None] = []
"""Of each run that goes on, torch's number of threads before; None while torch is not loaded."""


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Run torch with one thread an operation, since chunks run side by side, and put the number back.

    Torch is not loaded for that: a source that loads it on the way says so (:func:`torch_is_loaded`).
    """
    _threads_before.append(None)
    if "torch" in sys.modules:
        torch_is_loaded()
    try:
        yield
    finally:
        before = _threads_before.pop()
        if before is not None:
            sys.modules["torch"].set_num_threads(before)


def torch_is_loaded() -> None:
    """Have torch use one thread an operation from now on, if a run goes on."""
    if _threads_before and _threads_before[-1] is None:
        _threads_before[-1] = sys.modules["torch"].get_num_threads()
        single_threaded()


def in_order(
    function: Callable[[J], R], jobs: Iterator[J], threads: int, *, in_thread: bool = False
) -> Generator[R, None, None]:
    """Yield the results of independent jobs in their order, from threads that work ahead of the reader.

    An error that the iterator of the jobs raises is raised after the results of the jobs before it. When the generator
    is closed, jobs that have begun are finished and the others dropped.

    Args:
        function: computes a job's result.
        jobs: the jobs.
        threads: number of threads.
        in_thread: start a thread also if ``threads`` is 1; by default jobs then run in the calling thread, where a
            signal ends the job that is being computed. In a thread of its own it is finished.
    """
    if threads == 1 and not in_thread:
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
                if len(pending) > JOBS_PER_THREAD * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
    if failure is not None:
        raise failure


@dataclass(frozen=True)
class Chunk(Generic[C]):
    """A finished chunk.

    Attributes:
        number: place of the chunk in the run, from 0.
        content: its events or showers.
        seconds: time that its computation took.
        resumed: whether it was computed by an earlier run that was stopped.
        notes: counts, by name, of what belongs to the chunk but is not in its content, such as bad events.
    """

    number: int
    content: C
    seconds: float = 0.0
    resumed: bool = False
    notes: Mapping[str, int] = field(default_factory=dict)


Task = Callable[[tuple[int, Any]], C]
"""Computes the content of a chunk from its number and its input; may run in another process."""


class ChunkStore(Protocol):
    """A place that keeps finished chunks, so that a run that was stopped goes on from them."""

    def load(self, number: int) -> tuple[Any, float] | None:
        """Return content and seconds of a chunk, None if it is not there."""

    def save(self, number: int, content: Any, seconds: float) -> None:
        """Keep the content of a chunk, and the seconds that its computation took."""


@dataclass(frozen=True)
class EventTask:
    """The task of running a Step on a batch of events: job (chunk, batch)."""

    step: Step
    seed: int

    def __call__(self, job: tuple[int, HardEvents]) -> HardEvents:
        chunk, batch = job
        return self.step.step(batch, rng=chunk_rng(self.seed, chunk))


@dataclass(frozen=True)
class GunTask:
    """The task of shooting a gun's partons, one an event, and running a Step: job (chunk, number of partons)."""

    gun: Gun
    step: Step
    seed: int

    def __call__(self, job: tuple[int, int]) -> HardEvents:
        chunk, size = job
        rng = chunk_rng(self.seed, chunk)
        partons = self.gun.partons(rng, size)
        return self.step.step(HardEvents.of_partons(partons, first_number=chunk * size), rng=rng)


@dataclass(frozen=True)
class BlockTask:
    """The task of running a Step on a block of events: job (number of the block, events).

    The block has one seed, made of (seed, number of its first event, 1); with ``per_event_seeds`` each event has its
    own, made of (seed, its number, 1).
    """

    step: Step
    seed: int
    per_event_seeds: bool

    def __call__(self, job: tuple[int, HardEvents]) -> HardEvents:
        events = job[1]
        if not self.per_event_seeds:
            return self._run(events)
        return HardEvents.concatenate([self._run(event) for event in events.chunks(1)])

    def _run(self, events: HardEvents) -> HardEvents:
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, int(events.number[0]), 1]))
        return self.step.step(events, rng=rng)


@dataclass(frozen=True)
class ChunkRunner:
    """Computes chunks in threads, each of which may wait for a worker process.

    Attributes:
        num: number of threads, and so of chunks that are computed at a time.
        send: takes a task and returns a context manager that gives the function to call with each job: the task itself,
            or a function that has workers compute it.
        store: keeps finished chunks, which are not computed again; None to keep none.
    """

    num: int = 1
    send: Callable[[Task[Any]], AbstractContextManager[Task[Any]]] = nullcontext
    store: ChunkStore | None = None

    def run(self, task: Task[C], jobs: Iterator[tuple[int, Any]]) -> Generator[Chunk[C], None, None]:
        """Yield the chunks of the jobs in their order."""
        with self.send(task) as compute:

            def chunk(job: tuple[int, Any]) -> Chunk[C]:
                stored = None if self.store is None else self.store.load(job[0])
                if stored is not None:
                    return Chunk(job[0], *stored, resumed=True)
                started = time.perf_counter()
                content = compute(job)
                seconds = time.perf_counter() - started
                if self.store is not None:
                    self.store.save(job[0], content, seconds)
                return Chunk(job[0], content, seconds)

            with closing(in_order(chunk, jobs, self.num, in_thread=self.store is not None)) as chunks:
                yield from chunks


HERE = ChunkRunner()
"""Computes one chunk at a time in this thread."""


def run_blocks(
    batches: Iterator[Chunk[HardEvents]],
    step: Step,
    *,
    seed: int,
    events: EventRange = ALL_EVENTS,
    per_event_seeds: bool = False,
    by_number: bool = True,
    runner: ChunkRunner = HERE,
) -> Generator[Chunk[HardEvents], None, None]:
    """Run a Step that takes long on chunks of events, and yield the events in blocks of ``EVENTS_PER_BLOCK``.

    A block has the events whose places begin at a multiple of that number, is computed whole and then cut, as a chunk
    of a run is. Where an event costs seconds, as with Geant4, each event has a seed of its own: then only the events
    asked for are computed, and blocks begin where the chunks do.

    Args:
        batches: with ``per_event_seeds`` the events of the range; else also the events around it, up to multiples of
            ``EVENTS_PER_BLOCK``, as ``align`` of :meth:`fastsim.production.inputs.Input.chunks` gives them. A chunk's
            notes go to the first of its blocks.
        step: the Step to run on them.
        seed: seed of the run.
        events: the events wanted.
        per_event_seeds: whether each event has a seed of its own.
        by_number: whether the place of an event is its number; else places are counted from that of the first event.
        runner: computes the blocks; the result does not depend on it.
    """
    size = EVENTS_PER_BLOCK
    stop = math.inf if events.stop is None else events.stop
    # which events to keep of each block, and its notes
    waiting: deque[tuple[NDArray[np.bool_], dict[str, int]]] = deque()
    notes: dict[str, int] = {}

    def jobs() -> Iterator[tuple[int, HardEvents]]:
        start = events.first if per_event_seeds else events.first // size * size
        number = start // size
        for chunk in batches:
            content = chunk.content
            for key, count in chunk.notes.items():
                notes[key] = notes.get(key, 0) + count
            places = content.number if by_number else start + np.arange(len(content))
            start += len(content)
            block = np.arange(len(content)) // size if per_event_seeds else places // size
            for rows in np.split(np.arange(len(content)), np.flatnonzero(np.diff(block)) + 1):
                if len(rows):
                    waiting.append(((places[rows] >= events.first) & (places[rows] < stop), dict(notes)))
                    notes.clear()
                    yield number if per_event_seeds else int(block[rows[0]]), content[rows]
                    number += 1

    last = -1
    with closing(runner.run(BlockTask(step, seed, per_event_seeds), jobs())) as done:
        for block in done:
            keep, its_notes = waiting.popleft()
            last = block.number
            yield replace(block, content=block.content[np.flatnonzero(keep)], notes=its_notes)
    if notes:  # of events at the end, after which there are no good ones
        yield Chunk(last + 1, HardEvents.empty(with_cells=True), notes=notes)
