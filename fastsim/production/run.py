"""A run of production: its finished chunks, its log and its manifest, also when it is stopped and resumed."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self, TypeVar

from fastsim.errors import FastsimError, InvalidEvent, Stopped
from fastsim.event import HardEvents
from fastsim.formats.atomic import AtomicPath, PathLike, writing
from fastsim.formats.calochallenge import Showers
from fastsim.production.chunks import Chunk, ChunkRunner
from fastsim.production.manifest import ChunkRow, Manifest, manifest_path, plain
from fastsim.production.options import EventRange, RunOptions
from fastsim.production.processes import Processes, end_if_importing_script
from fastsim.production.store import Store, chunk_folder, open_chunks, remove_chunks
from fastsim.production.summary import Summary
from fastsim.shipped import sha256_of

C = TypeVar("C", HardEvents, Showers)
S = TypeVar("S", bound=Summary)


class Log:
    """A file of JSON lines, one for each thing that happens, with the time (UTC) and a name; without a path no file.

    Call it with the name and named facts to add a line.
    """

    def __init__(self, path: PathLike | None) -> None:
        self._file = None
        if path is not None:
            with writing(path):
                self._file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115

    def __call__(self, event: str, **facts: Any) -> None:
        if self._file is not None:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            with writing(self._file.name):
                self._file.write(json.dumps({"time": now, "event": event, **facts}) + "\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _refuse_same(reads: Sequence[PathLike], written: Sequence[PathLike], log: PathLike | None) -> None:
    """Raise FastsimError if a run would write a file that it reads, or its log into its output."""
    targets = {os.path.realpath(path): os.fspath(path) for path in written}
    for path in reads:
        if name := targets.get(os.path.realpath(path)):
            raise FastsimError(f"{name}: the run reads it; give another output")
        if log is not None and os.path.realpath(log) == os.path.realpath(path):
            raise FastsimError(f"{os.fspath(log)}: the run reads it; give another file to the log")
    if log is not None and (name := targets.get(os.path.realpath(log))):
        raise FastsimError(f"{name}: cannot be output and log at once; give another file to the log")


class Run:
    """A run: a context manager in which the output is opened and written, and at the end :meth:`commit` called.

    Args:
        output: path of the output, ``-`` for standard output.
        settings: all that decides the content of a chunk.
        options: seed, range, workers, and whether to resume a run or to replace an output.
        events: the range of events that the run writes.
        rereadable: whether the input can be read a second time, as resuming a run takes it.
        reads: files that the run reads: none of them may be written.
        companions: other files that are written with the output.

    Raises:
        FastsimError: if the output exists, or finished chunks of a stopped run of it do, and the options say neither to
            resume nor to replace.
    """

    def __init__(
        self,
        output: PathLike,
        settings: dict[str, Any],
        options: RunOptions,
        events: EventRange,
        *,
        rereadable: bool = True,
        reads: Sequence[PathLike] = (),
        companions: Sequence[PathLike] = (),
    ) -> None:
        end_if_importing_script()
        self.output = os.fspath(output)
        self.options, self.events = options, events
        self.settings = plain(settings)
        self.rows: list[ChunkRow] = []
        self.replaces = options.force
        self._companions = companions
        self._to_file = self.output != "-"
        if options.resume and not (self._to_file and rereadable):
            raise FastsimError("only a run from a file or gun to a file can be resumed, not one from or to a stream")
        if self._to_file:
            _refuse_same(reads, (self.output, *companions, manifest_path(self.output)), options.log)
        # for a link, beside the file that it points to: two runs that write one file find each other there
        self._store = Store(chunk_folder(os.path.realpath(self.output))) if self._to_file and rereadable else None
        self._stack = ExitStack()
        self.log = Log(options.log)
        self._stack.callback(self.log.close)

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException as error:
            self._leave(error)
            raise
        return self

    @property
    def _all_settings(self) -> dict[str, Any]:
        """The settings together with the range of events."""
        return {**self.events.settings, **self.settings}

    def _begin(self) -> None:
        options, store = self.options, self._store
        facts = {**self._all_settings, "workers": options.workers, "resume": options.resume}
        self.log("start", output=self.output, **facts)
        if store is None:
            return
        self.replaces = options.force or (options.resume and store.folder.exists())
        if self.complete is None:  # an output that cannot be written is refused now, not after hours
            AtomicPath(self.output, force=self.replaces).discard()
            AtomicPath(manifest_path(self.output), force=True).discard()
        if self.complete is None or store.folder.exists():
            lock = open_chunks(store.folder, self.settings, resume=options.resume, force=options.force)
            self._stack.callback(lock.close)
            self._clean()
        if self.complete is not None:
            remove_chunks(store.folder)

    def _clean(self) -> None:
        """Remove temporary files of a run of this output that was killed."""
        for name in (self.output, *self._companions, manifest_path(self.output)):
            path = Path(os.path.realpath(name))
            for temporary in path.parent.glob(f".{glob.escape(path.name)}.????????.tmp"):
                temporary.unlink(missing_ok=True)

    @cached_property
    def complete(self) -> Manifest | None:
        """The manifest of the output if it is to be resumed and is complete already; None otherwise."""
        path = Path(self.output)
        if self._store is None or not self.options.resume or not path.is_file() or not manifest_path(path).is_file():
            return None
        try:
            manifest = Manifest.read(manifest_path(path))
        except FastsimError:
            return None
        same = plain(self._all_settings) == manifest.settings
        intact = path.stat().st_size == manifest.bytes and sha256_of(path) == manifest.sha256
        return manifest if same and intact else None

    def summary(self, kind: type[S]) -> S | None:
        """Return the summary, of the class ``kind``, of an output that is complete already; None if it is not."""
        if self.complete is None:
            return None
        manifest = self.complete
        summary = kind(
            output=self.output,
            source=manifest.source,
            cross_section=manifest.cross_section,
            resumed_events=manifest.events,
            seconds=0.0,
            **manifest.counts(),
        )
        self.log("end", **summary.facts())
        return summary

    @property
    def runner(self) -> ChunkRunner:
        """The runner that the options ask for: threads, worker processes or a cluster."""
        options = self.options
        if options.scheduler:
            from fastsim.production.dask import Cluster

            cluster = Cluster(options.scheduler, self.log)
            self._stack.callback(cluster.close)
            return ChunkRunner(cluster.num, cluster.send, self._store)
        if options.workers:
            return ChunkRunner(options.workers, partial(Processes, num=options.workers, note=self.log), self._store)
        return ChunkRunner(options.num_threads, store=self._store)

    @contextmanager
    def contents(
        self, chunks: Generator[Chunk[C], None, None], summary: Summary, total: int | None
    ) -> Iterator[Iterator[C]]:
        """Give an iterator over the contents of the chunks, to be written one after the other.

        A chunk goes into summary, log and manifest when the next one is asked for, after it was written.

        Args:
            chunks: the finished chunks.
            summary: adds up the counts of the chunks.
            total: number of events of the run, where that is known.

        Raises:
            Stopped: after Ctrl-C or SIGTERM, if there are finished chunks to resume from.
        """

        def counted() -> Iterator[C]:
            first = self.events.first
            for chunk in chunks:
                yield chunk.content
                row = ChunkRow.of(chunk.number, first, chunk.content, chunk.seconds)
                row.note(chunk.notes)
                first += row.events + row.left_out
                self.rows.append(row)
                summary.add(row, seconds=row.seconds, resumed=chunk.resumed)
                self.log("chunk", **{**vars(row), "resumed": chunk.resumed})
                if self.options.progress is not None:
                    self.options.progress(summary.events, total)

        try:
            try:
                yield counted()
            finally:
                chunks.close()  # finishes the chunks that have begun, and stores them
        except KeyboardInterrupt as error:
            if self._store is None or self._store.empty:
                raise
            raise Stopped(
                f"interrupted; finished chunks are in {self._store.folder}, --resume goes on with them"
            ) from error

    def commit(self, summary: Summary) -> None:
        """Write the manifest of the finished output, and remove the chunks."""
        self.log("end", **summary.facts())
        if not self._to_file:
            return
        path = Path(self.output)
        Manifest(
            output=path.name,
            bytes=path.stat().st_size,
            sha256=sha256_of(path),
            settings=plain(self._all_settings),
            first_event=self.events.first,
            whole=self.events.whole,
            cross_section=summary.cross_section,
            source=summary.source,
            seconds=round(summary.seconds, 3),
            chunks=self.rows,
            **summary.counts(),
        ).write(manifest_path(path))
        if self._store is not None:
            remove_chunks(self._store.folder)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        # the events before a bad one are in the partial file; an empty folder is of no use
        if error is not None and self._store is not None and (isinstance(error, InvalidEvent) or self._store.empty):
            remove_chunks(self._store.folder)
        self._leave(error)

    def _leave(self, error: BaseException | None) -> None:
        if error is not None:
            self.log("error", kind=type(error).__name__, message=str(error))
        self._stack.close()
