"""Inputs of runs: an LHE file or stream, a gun, or a file of events that hold particles."""

from __future__ import annotations

import math
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from fastsim.errors import FastsimError, InvalidEvent
from fastsim.event import HardEvents, RunInfo
from fastsim.event.gun import Gun
from fastsim.formats import lhe
from fastsim.formats.atomic import HEPMC_ENDINGS, PathLike
from fastsim.formats.events import holds_particles, read_events
from fastsim.production.chunks import EVENTS_PER_CHUNK, HERE, PARTONS_PER_CHUNK, Chunk, ChunkRunner, EventTask, GunTask
from fastsim.production.options import EventRange, RunOptions, slice_range
from fastsim.shipped import sha256_of
from fastsim.sources.pipeline import Step

EventChunks = Generator[Chunk[HardEvents], None, None]
"""Finished chunks of events, in order."""


class Input(ABC):
    """The events that a run starts from.

    Attributes:
        carries: what its events have, in the words of :class:`fastsim.sources.pipeline.Step`: "partons" or "hadrons".
        chunk_size: number of events in a chunk.
    """

    carries: frozenset[str]
    chunk_size: int = EVENTS_PER_CHUNK

    @property
    def rereadable(self) -> bool:
        """Whether it can be read a second time, as resuming a run takes it."""
        return True

    @property
    def paths(self) -> tuple[PathLike, ...]:
        """The files that it is read from."""
        return ()

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
        self, step: Step | None, seed: int, events: EventRange, *, runner: ChunkRunner = HERE, align: int = 1
    ) -> tuple[RunInfo, EventChunks]:
        """Return the run information, and the events after a Step, chunk by chunk.

        Args:
            step: usually a Pipeline that provides hadrons; None for the events as they are.
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
        return EventRange(*slice_range(options.slice, first, num, unit or self.chunk_size), whole=(first, num))


@dataclass(frozen=True)
class LheInput(Input):
    """An LHE file (plain or .gz), or a binary stream of one.

    Attributes:
        source: path or stream.
        copy: a file to read instead of it: a copy with numbered events, for Pythia.
    """

    source: PathLike | BinaryIO
    copy: Path | None = None

    carries = frozenset({"partons"})

    @property
    def rereadable(self) -> bool:
        return isinstance(self.source, str | os.PathLike) and not _is_pipe(self.source)

    @property
    def paths(self) -> tuple[PathLike, ...]:
        return _files(self.source) if isinstance(self.source, str | os.PathLike) else ()

    def settings(self) -> dict[str, Any]:
        return _file_settings(self.paths, self.chunk_size)

    def count(self) -> int:
        if not self.rereadable:
            raise FastsimError("a stream has no slices: give a file")
        return lhe.count(self.source)  # type: ignore[arg-type]

    def chunks(
        self, step: Step | None, seed: int, events: EventRange, *, runner: ChunkRunner = HERE, align: int = 1
    ) -> tuple[RunInfo, EventChunks]:
        assert step is not None
        size, first, stop = self.chunk_size, events.first, events.stop
        first_chunk = first // size
        wanted = None if stop is None else (-(-stop // size) - first_chunk) * size
        if events.num == 0:
            wanted = 1  # to read the run information; no event is computed
        run, batches = lhe.read(
            self.copy or self.source, chunk_size=size, first_event=first_chunk * size, num_events=wanted
        )

        def jobs() -> Iterator[tuple[int, HardEvents]]:
            last = -1
            for chunk, batch in enumerate(batches if events.num != 0 else (), start=first_chunk):
                last = int(batch.number[-1])
                if last >= first:
                    yield chunk, batch
                if stop is not None and last + 1 >= stop:
                    return
            if events.num != 0 and last < first:
                raise FastsimError(f"first event {first} asked, but the file holds {last + 1} (numbered from 0)")

        def chunks() -> EventChunks:
            try:
                with closing(runner.run(EventTask(step, seed), jobs())) as finished:
                    for chunk in finished:
                        number = chunk.content.number // align
                        last = math.inf if stop is None else -(-stop // align)
                        yield replace(chunk, content=chunk.content[(number >= first // align) & (number < last)])
            except InvalidEvent:
                raise
            except FastsimError as error:  # the reader was asked for the start of the chunk
                raise FastsimError(str(error).replace(f"event {first_chunk * size} ", f"event {first} ")) from None

        return run, chunks()


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
        self, step: Step | None, seed: int, events: EventRange, *, runner: ChunkRunner = HERE, align: int = 1
    ) -> tuple[RunInfo, EventChunks]:
        assert step is not None
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
        self, step: Step | None, seed: int, events: EventRange, *, runner: ChunkRunner = HERE, align: int = 1
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
        FastsimError: if a gun's text is wrong, or status codes are given for another input than a HepMC file.
    """
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
