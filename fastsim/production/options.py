"""The options of a run: the seed, the range of events, the workers, and whether to resume or to replace an output."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self, TypedDict

from fastsim.errors import FastsimError
from fastsim.formats.atomic import PathLike

Progress = Callable[[int, int | None], None]
"""Called with the number of finished events and their total, None where that is not known."""


def available_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options that every run takes. The first four decide the result together with the model; the others do not.

    Attributes:
        seed: seed of all randomness; an event depends on it and on the event's number.
        first_event: number of the first event wanted, from 0.
        num_events: how many events at most; None for all.
        slice: (i, n) for slice i, from 0, of n slices of the range given above, with about as many events: it is cut
            between chunks. The n outputs, one after the other, are the output of the range.
        threads: chunks of events that are computed at a time; None for one a CPU, four at most.
        workers: worker processes that compute them instead of threads; 0 for threads.
        scheduler: address of a Dask cluster that computes them instead (``tcp://host:8786``).
        resume: go on with a run of the same settings that was stopped; a complete output is left as it is.
        force: replace an output that exists, and drop the finished chunks of a run that was stopped.
        skip_bad_events: leave out events of an LHE file that are none (such as a gluon of negative energy), and count
            them; by default the first one ends the run.
        log: file to which a JSON line is added for each thing that happens.
        progress: called with (finished events, total or None) after each chunk.

    Raises:
        FastsimError: if a value is out of range, or two do not go together.
    """

    seed: int = 0
    first_event: int = 0
    num_events: int | None = None
    slice: tuple[int, int] | None = None
    threads: int | None = None
    workers: int = 0
    scheduler: str | None = None
    resume: bool = False
    force: bool = False
    skip_bad_events: bool = False
    log: PathLike | None = None
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.seed < 0 or self.first_event < 0 or (self.num_events is not None and self.num_events < 0):
            raise FastsimError(
                f"seed={self.seed}, first_event={self.first_event}, num_events={self.num_events}: none may be negative"
            )
        if (self.threads is not None and self.threads < 1) or self.workers < 0:
            raise FastsimError(f"threads={self.threads}, workers={self.workers}: at least 1 thread, at least 0 workers")
        if self.workers and self.scheduler:
            raise FastsimError("give workers of this machine or the scheduler of a cluster, not both")
        if self.slice is not None and not 0 <= self.slice[0] < self.slice[1]:
            raise FastsimError(f"slice {self.slice[0]}/{self.slice[1]}: slices are numbered from 0 to n - 1")

    @classmethod
    def of(cls, keywords: Mapping[str, Any]) -> Self:
        """Return the options of a public function's keyword arguments; ``part`` is fastsim 0.1's name of ``slice``.

        Raises:
            TypeError: if there is no such option.

        >>> RunOptions.of({"seed": 1, "part": (0, 2)}).slice
        (0, 2)
        """
        values = dict(keywords)
        if "part" in values:
            values["slice"] = values.pop("part")
        known = [field.name for field in fields(cls)]
        if unknown := [name for name in values if name not in known]:
            raise TypeError(f"unexpected keyword argument {unknown[0]!r}; options of a run are {', '.join(known)}")
        return cls(**values)

    @property
    def num_threads(self) -> int:
        """The number of chunks that are computed at a time in this process."""
        return min(available_cpus(), 4) if self.threads is None else self.threads

    def replace(self, **changes: Any) -> Self:
        """Return the same options with some of them changed."""
        return replace(self, **changes)


class RunKeywords(TypedDict, total=False):
    """The keyword arguments that stand for :class:`RunOptions` in the public functions."""

    seed: int
    first_event: int
    num_events: int | None
    slice: tuple[int, int] | None
    part: tuple[int, int] | None
    threads: int | None
    workers: int
    scheduler: str | None
    resume: bool
    force: bool
    skip_bad_events: bool
    log: PathLike | None
    progress: Progress | None


@dataclass(frozen=True)
class EventRange:
    """The range of events that a run writes.

    Attributes:
        first: number of the first event.
        num: how many at most; None for all that there are.
        whole: first event and number of events of the range that this one is a slice of, where that is known.
    """

    first: int = 0
    num: int | None = None
    whole: tuple[int, int] | None = None

    @property
    def stop(self) -> int | None:
        """Number of the first event after the range; None without an end."""
        return None if self.num is None else self.first + self.num

    @property
    def settings(self) -> dict[str, int | None]:
        """The range as a manifest holds it."""
        return {"first_event": self.first, "num_events": self.num}


ALL_EVENTS = EventRange()
"""The range of all events that an input has."""


def slice_range(which: tuple[int, int], first_event: int, num_events: int, size: int) -> tuple[int, int]:
    """Return first event and number of events of slice (i, n) of a range.

    It is cut between chunks of ``size`` events, so that none is computed twice. If there are more slices than chunks
    it is cut between events: no slice is empty as long as there are as many events, but some compute a chunk for a
    part of it.

    >>> [slice_range((i, 3), 0, 10, 4) for i in range(3)]
    [(0, 4), (4, 4), (8, 2)]
    >>> [slice_range((i, 4), 0, 10, 4) for i in range(4)]
    [(0, 2), (2, 3), (5, 2), (7, 3)]
    """
    number, num_slices = which
    first_chunk, stop = first_event // size, first_event + num_events
    num_chunks = num_chunks_of(first_event, num_events, size)
    if num_slices > num_chunks:
        low, high = (first_event + num_events * k // num_slices for k in (number, number + 1))
        return low, high - low
    low, high = (first_chunk + num_chunks * k // num_slices for k in (number, number + 1))
    start = min(max(low * size, first_event), stop)
    return start, min(max(high * size, first_event), stop) - start


def num_chunks_of(first_event: int, num_events: int, size: int) -> int:
    """Return the number of chunks of ``size`` events that a range has events of."""
    return -(-(first_event + num_events) // size) - first_event // size if num_events else 0
