"""Inputs of runs: an LHE file or stream, a gun, or a file of events that hold particles."""

from __future__ import annotations

import io
import logging
import math
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, cast

import numpy as np

from fastsim.errors import FastsimError, InvalidEvent
from fastsim.event import HardEvents, Ints, RunInfo
from fastsim.event.gun import Gun
from fastsim.event.hard import UNKNOWN
from fastsim.formats import lhe
from fastsim.formats.atomic import HEPMC_ENDINGS, PathLike
from fastsim.formats.events import holds_particles, read_events
from fastsim.formats.lheh5 import is_lheh5, refusal
from fastsim.production.chunks import EVENTS_PER_CHUNK, HERE, PARTONS_PER_CHUNK, Chunk, ChunkRunner, EventTask, GunTask
from fastsim.production.options import EventRange, RunOptions, num_chunks_of, slice_range
from fastsim.production.summary import BAD_EVENTS, REJECTED_EVENTS
from fastsim.shipped import sha256_of
from fastsim.sources.pipeline import Step

logger = logging.getLogger(__name__)

StepOfRun = Callable[[RunInfo], Step]
"""Makes a Step that needs the run information of the input, such as its beams."""
EventChunks = Generator[Chunk[HardEvents], None, None]
"""Finished chunks of events, in order."""


class Input(ABC):
    """The events that a run starts from.

    Attributes:
        carries: what its events have, in the words of :class:`fastsim.sources.pipeline.Step`: "partons" or "hadrons".
        chunk_size: number of events in a chunk.
        places_are_numbers: whether ranges mean the numbers of events; else their places in the file.
    """

    carries: frozenset[str]
    chunk_size: int = EVENTS_PER_CHUNK
    places_are_numbers: ClassVar[bool] = True

    @property
    def rereadable(self) -> bool:
        """Whether it can be read a second time, as resuming a run takes it."""
        return True

    @property
    def paths(self) -> tuple[PathLike, ...]:
        """The files that it is read from."""
        return ()

    def skipping_bad_events(self) -> Input:
        """Return the same input without the events that are none.

        Raises:
            FastsimError: if it has no such events.
        """
        raise FastsimError("only events of a Les Houches file can be skipped as bad ones")

    def beams(self) -> RunInfo | None:
        """Return the run information of an input whose events begin with partons in beams; None for others.

        Raises:
            FastsimError: if the input cannot be read, or is no such input.
        """
        return None

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what in the input decides the content of a chunk, as JSON values; for a stream that is not known."""

    @abstractmethod
    def count(self) -> int:
        """Return the number of its events.

        Raises:
            FastsimError: if it is a stream, whose number is not known before it is read.
        """

    @abstractmethod
    def chunks(
        self,
        step: Step | StepOfRun | None,
        seed: int,
        events: EventRange,
        *,
        runner: ChunkRunner = HERE,
        align: int = 1,
    ) -> tuple[RunInfo, EventChunks]:
        """Return the run information, and the events after a Step, chunk by chunk.

        Args:
            step: usually a Pipeline that provides hadrons, or a function that makes the Step from the run information;
                None for the events as they are.
            seed: seed of the run; event i is the same for any range.
            events: the events wanted.
            runner: computes the chunks; the result does not depend on it.
            align: further events are given on both sides, up to multiples of it; a chunk's size is a multiple of it.

        Raises:
            InvalidEvent: in the iteration, for a bad event, after the good events before it.
            FastsimError: if there are no events from ``events.first`` on.
        """

    def range(self, options: RunOptions, *, unit: int | None = None) -> EventRange:
        """Return the events that the options ask for.

        Args:
            options: range and slice of the run.
            unit: slices are cut at multiples of it; by default it is the chunk's size.

        Raises:
            FastsimError: if a slice of a stream is asked for, or the range begins after the last event.
        """
        first, num = options.first_event, options.num_events
        if options.slice is None:
            return EventRange(first, num)
        size = self.count()
        if first > size:
            raise FastsimError(f"first event {first} asked, but there are {size} (numbered from 0)")
        num = size - first if num is None else min(num, size - first)
        unit = unit or self.chunk_size
        if options.slice[1] > (most := num_chunks_of(first, num, unit)):
            logger.warning(
                "%d slices of %d events: chunks have %d events and are computed whole, so that more than %d slices "
                "compute some of them more than once",
                options.slice[1],
                num,
                unit,
                most,
            )
        return EventRange(*slice_range(options.slice, first, num, unit), whole=(first, num))


@dataclass(frozen=True)
class LheInput(Input):
    """An LHE file (plain or .gz), or a binary stream of one.

    Attributes:
        source: path or stream.
        skip_bad_events: leave out events that are none, and count them; by default the first one ends the run.
    """

    source: PathLike | BinaryIO
    skip_bad_events: bool = False

    carries = frozenset({"partons"})

    @property
    def rereadable(self) -> bool:
        return isinstance(self.source, str | os.PathLike) and not _is_pipe(self.source)

    @property
    def paths(self) -> tuple[PathLike, ...]:
        return _files(self.source) if isinstance(self.source, str | os.PathLike) else ()

    def settings(self) -> dict[str, Any]:
        skipping = {"skip_bad_events": True} if self.skip_bad_events else {}
        return _file_settings(self.paths, self.chunk_size) | skipping

    def skipping_bad_events(self) -> LheInput:
        return replace(self, source=self._to_read, skip_bad_events=True)

    def beams(self) -> RunInfo:
        if self._once is None:
            return lhe.run_info(self.source)
        run = lhe.run_info(cast("BinaryIO", self._once))  # of which no second time is asked
        self._once.rewind()
        return run

    @property
    def _to_read(self) -> PathLike | BinaryIO:
        return self.source if self._once is None else cast("BinaryIO", self._once)

    @cached_property
    def _once(self) -> _Beginning | None:
        """What can be read only once, as a stream whose beginning can be read twice; None for a file."""
        if self.rereadable:
            return None
        source: Any = self.source
        if not isinstance(source, str | os.PathLike):
            return source if isinstance(source, _Beginning) else _Beginning(source)
        try:
            return _Beginning(open(source, "rb"))
        except OSError as error:
            raise FastsimError(f"{os.fspath(source)}: cannot open: {error.strerror}; give an existing file") from error

    @cached_property
    def _size(self) -> int:
        return lhe.count(cast("PathLike", self.source))

    def count(self) -> int:
        if not self.rereadable:
            raise FastsimError("a stream has no slices: give a file")
        return self._size

    def chunks(
        self,
        step: Step | StepOfRun | None,
        seed: int,
        events: EventRange,
        *,
        runner: ChunkRunner = HERE,
        align: int = 1,
    ) -> tuple[RunInfo, EventChunks]:
        assert step is not None
        size, first, stop = self.chunk_size, events.first, events.stop
        first_chunk = first // size
        wanted = None if stop is None else (-(-stop // size) - first_chunk) * size
        if events.num == 0:
            wanted = 1  # to read the run information; no event is computed
        left_out = _LeftOut(events, self.skip_bad_events)
        run, batches = lhe.read(
            self._to_read,
            chunk_size=size,
            first_event=first_chunk * size,
            num_events=wanted,
            on_bad=left_out.bad,
        )
        run = self._with_cross_section(run)
        step = step if isinstance(step, Step) else step(run)

        def jobs() -> Iterator[tuple[int, HardEvents]]:
            for batch in left_out.checked(batches, size) if events.num != 0 else ():
                if int(batch.number[-1]) >= first:
                    yield int(batch.number[0]) // size, batch
                if stop is not None and left_out.seen >= stop:
                    break
            if left_out.failure is not None:
                raise left_out.failure
            if events.num != 0 and left_out.seen <= first:
                raise FastsimError(f"first event {first} asked, but the file holds {left_out.seen} (numbered from 0)")

        def chunks() -> EventChunks:
            chunk_number = first_chunk
            try:
                with closing(runner.run(EventTask(step, seed), jobs())) as finished:
                    for chunk in finished:
                        chunk_number = chunk.number
                        number = chunk.content.number
                        notes = left_out.notes((chunk_number + 1) * size, number)
                        last = math.inf if stop is None else -(-stop // align)
                        keep = (number // align >= first // align) & (number // align < last)
                        if left_out.failure is not None:
                            keep &= number < left_out.end
                        yield replace(chunk, content=chunk.content[keep], notes=notes)
                if notes := left_out.notes(math.inf, np.zeros(0, np.int64)):
                    yield Chunk(chunk_number + 1, run.no_events(), notes=notes)
            except InvalidEvent as error:  # the reader names the file, a Step does not know it
                if str(error).startswith("event ") and self.paths:
                    raise InvalidEvent(f"{os.fspath(self.paths[0])}, {error}") from error
                raise
            except FastsimError as error:  # the reader was asked for the start of the chunk
                raise FastsimError(str(error).replace(f"event {first_chunk * size} ", f"event {first} ")) from None

        return run, chunks()

    def _with_cross_section(self, run: RunInfo) -> RunInfo:
        """Return the run information with the mean weight as cross-section, where the file has none and says so."""
        if not any(process[0] == UNKNOWN for process in run.processes):
            return run
        name = os.path.basename(os.fspath(self.paths[0])) if self.paths else "stream"
        if abs(run.weight_strategy) == lhe.MEAN_WEIGHT_STRATEGY and self.rereadable:
            run = lhe.with_mean_weights(run, self.paths[0])
            logger.warning(
                "%s: gives no cross-section (XSECUP is -1); the mean weight, %.5g +- %.2g pb, stands for it, as IDWTUP "
                "%d says",
                name,
                *run.cross_section,
                run.weight_strategy,
            )
        else:
            logger.warning("%s: gives no cross-section (XSECUP is -1): none is written", name)
        return run


class _Beginning(io.RawIOBase):
    """A binary stream whose beginning, what was read before it was rewound, is read twice; it closes nothing.

    Args:
        stream: the stream.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._again = stream, io.BytesIO()
        self._kept: bytearray | None = bytearray()
        self.name = getattr(stream, "name", "")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what there is, at most as much as the buffer takes; 0 at the end."""
        if num := self._again.readinto(buffer):
            return num
        read = getattr(self._stream, "read1", self._stream.read)  # waits for no more than there is
        data = read(len(buffer)) or b""
        if self._kept is not None:
            self._kept += data
        buffer[: len(data)] = data
        return len(data)

    def rewind(self) -> None:
        """Begin again, for the last time."""
        if self._kept is not None:
            self._again = io.BytesIO(self._kept)
            self._kept = None

    def close(self) -> None:
        """Do nothing: a reader of the beginning is not the last one."""


class _LeftOut:
    """Decides about bad events, and counts the events of a range that are not in the output.

    A bad event is left out of its chunk in any case, so that the others of the chunk are the same whether it is
    skipped, ends the run, or lies outside the range.

    Args:
        events: the range that the run writes; bad events around it do not matter.
        skip: whether bad events in the range are skipped; else the first one ends the run.

    Attributes:
        seen: number of events that were read, up to the last one.
        failure: what is wrong with the event that ends the run, if there is one.
        end: number of that event, or of the first one after the range.
    """

    MAX_REPORTED = 10

    def __init__(self, events: EventRange, skip: bool) -> None:
        self._events, self._skip = events, skip
        self._bad: list[int] = []
        self._good: list[int] = []
        self._num_bad = 0
        self.seen = 0
        self.failure: InvalidEvent | None = None
        self.end = math.inf if events.stop is None else events.stop

    def _inside(self, number: int) -> bool:
        return self._events.first <= number < self.end

    def bad(self, number: int, error: InvalidEvent) -> bool:
        """Take note of a bad event; it is left out for now, whatever becomes of the run."""
        self.seen = max(self.seen, number + 1)
        if not self._inside(number):
            return True
        if not self._skip:
            self.failure, self.end = error, number
        else:
            self._bad.append(number)
            self._num_bad += 1
            if self._num_bad <= self.MAX_REPORTED:
                more = "; further ones are only counted" if self._num_bad == self.MAX_REPORTED else ""
                logger.warning("left out: %s%s", error, more)
        return True

    def checked(self, batches: Iterator[HardEvents], size: int) -> Iterator[HardEvents]:
        """Yield batches of good events up to the chunk of ``size`` events in which the run ends.

        What is wrong with a file, such as its end in the middle of an event, becomes :attr:`failure` too.
        """
        try:
            for batch in batches:
                if self.failure is not None and int(batch.number[0]) // size > self.end // size:
                    return
                self.seen = max(self.seen, int(batch.number[-1]) + 1)
                self._good += [int(number) for number in batch.number if self._inside(int(number))]
                yield batch
                if self.failure is not None:
                    return
        except InvalidEvent as error:
            if self.failure is None:
                self.failure = error

    def notes(self, end: float, written: Ints) -> dict[str, int]:
        """Return the counts of the events before ``end`` that were not counted yet.

        Args:
            end: number of the first event after the chunk.
            written: numbers of the events that came out of the Step; all others of the chunk it left out.
        """
        good, bad = ([n for n in numbers if n < end] for numbers in (self._good, self._bad))
        self._good, self._bad = ([n for n in numbers if n >= end] for numbers in (self._good, self._bad))
        rejected = len(good) - sum(self._inside(int(number)) for number in written)
        return {key: count for key, count in ((BAD_EVENTS, len(bad)), (REJECTED_EVENTS, rejected)) if count}


@dataclass(frozen=True)
class GunInput(Input):
    """A gun that shoots one parton an event."""

    gun: Gun

    carries = frozenset({"partons"})
    chunk_size = PARTONS_PER_CHUNK

    def settings(self) -> dict[str, Any]:
        # parton i is the same whatever their number: it is no setting
        return {"gun": str(replace(self.gun, num=1)).removesuffix(" num=1"), "chunk": self.chunk_size}

    def count(self) -> int:
        return self.gun.num

    def range(self, options: RunOptions, *, unit: int | None = None) -> EventRange:
        """Return the events that the options ask for; their number, which the settings leave out, is always known."""
        events = super().range(options, unit=unit)
        remaining = self.gun.num - events.first
        if remaining <= 0:
            return events
        return replace(events, num=remaining if events.num is None else min(remaining, events.num))

    def chunks(
        self,
        step: Step | StepOfRun | None,
        seed: int,
        events: EventRange,
        *,
        runner: ChunkRunner = HERE,
        align: int = 1,
    ) -> tuple[RunInfo, EventChunks]:
        assert isinstance(step, Step)
        size = self.chunk_size
        stop = self.gun.num if events.stop is None else min(self.gun.num, events.stop)
        if events.first > 0 and events.first >= self.gun.num and events.num != 0:
            raise FastsimError(f"first event {events.first} asked, but the gun shoots {self.gun.num} (numbered from 0)")
        numbers = range(events.first // size, -(-stop // size) if stop > events.first else 0)
        first, last = events.first // align * align, -(-stop // align) * align

        def chunks() -> EventChunks:
            jobs = ((number, size) for number in numbers)
            with closing(runner.run(GunTask(self.gun, step, seed), jobs)) as finished:
                for chunk in finished:
                    start = chunk.number * size
                    cut = slice(max(first - start, 0), min(last - start, size))
                    yield replace(chunk, content=chunk.content[cut])

        return RunInfo(provenance={"gun": str(self.gun)}), chunks()


@dataclass(frozen=True)
class EventFileInput(Input):
    """A file whose events hold final particles: HepMC of any origin, or HDF5 or ROOT that fastsim wrote.

    Attributes:
        path: the file.
        final_status: status codes of the final particles of a HepMC file.
    """

    path: PathLike
    final_status: tuple[int, ...] = (1,)

    carries = frozenset({"hadrons"})
    places_are_numbers = False

    @property
    def rereadable(self) -> bool:
        return not _is_pipe(self.path)

    @property
    def paths(self) -> tuple[PathLike, ...]:
        return _files(self.path)

    def settings(self) -> dict[str, Any]:
        settings = _file_settings(self.paths, self.chunk_size)
        return settings if self.final_status == (1,) else {**settings, "final_status": list(self.final_status)}

    def count(self) -> int:
        if not self.rereadable:
            raise FastsimError("a stream has no slices: give a file")
        return sum(len(batch) for batch in self._read()[1])

    def chunks(
        self,
        step: Step | StepOfRun | None,
        seed: int,
        events: EventRange,
        *,
        runner: ChunkRunner = HERE,
        align: int = 1,
    ) -> tuple[RunInfo, EventChunks]:
        run, batches = self._read(
            first_event=events.first, num_events=events.num, align=align, chunk_size=self.chunk_size
        )
        assert step is None, "steps on events with hadrons run in blocks"
        return run, (Chunk(number, batch) for number, batch in enumerate(batches))

    def _read(self, **options: int | None) -> tuple[RunInfo, Iterator[HardEvents]]:
        return read_events(self.path, final_status=self.final_status, **options)  # type: ignore[arg-type]


InputLike = str | os.PathLike[str] | Gun | BinaryIO | Input
"""A path, ``"-"`` for stdin, a gun or its text, a binary stream, or an input that was opened already."""


def open_input(given: InputLike, *, final_status: Sequence[int] = (1,)) -> Input:
    """Return the input that a path, a gun or its text, or a stream stands for: the one place where this is decided.

    Args:
        given: the input.
        final_status: status codes of the final particles of a HepMC file.

    Raises:
        FastsimError: if a gun's text is wrong, status codes are given for another input than a HepMC file, or a file
            holds Les Houches events in HDF5.
    """
    if isinstance(given, str | os.PathLike) and is_lheh5(given):
        raise refusal(os.fspath(given))
    status = tuple(final_status)
    if status != (1,):
        if not isinstance(given, str | os.PathLike) or not os.fspath(given).lower().endswith(HEPMC_ENDINGS):
            raise FastsimError(f"{given}: only HepMC files (.hepmc3, .hepmc) have particles of another final status")
        return EventFileInput(given, status)
    if isinstance(given, Input):
        return given
    if isinstance(given, Gun):
        return GunInput(given)
    if isinstance(given, str) and given == "-":
        return LheInput(sys.stdin.buffer)
    if isinstance(given, str) and ("flavour=" in given or "pt=" in given) and not os.path.exists(given):
        return GunInput(Gun.parse(given))
    if isinstance(given, str | os.PathLike) and holds_particles(given):
        return EventFileInput(given)
    return LheInput(given)


def _is_pipe(path: PathLike) -> bool:
    """Return whether a path is that of a pipe or device, which can be read once only."""
    return os.path.exists(path) and not os.path.isfile(path)


def _files(path: PathLike) -> tuple[PathLike, ...]:
    """Return the path where a file is, and nothing where none is, or a pipe or device."""
    return (path,) if os.path.isfile(path) else ()


def _file_settings(paths: tuple[PathLike, ...], chunk_size: int) -> dict[str, Any]:
    """Return name and checksum of the file at ``paths``, which is empty for a stream, and the chunk's size."""
    if not paths:
        return {"input": "stream", "chunk": chunk_size}
    path = Path(paths[0])
    return {"input": path.name, "input_sha256": sha256_of(path), "chunk": chunk_size}
