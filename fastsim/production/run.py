"""A run of production: its finished chunks, its log, its manifest, and what is left of it when it stops."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self, TypeVar

from fastsim.errors import FastsimError, InvalidEvent, Stopped
from fastsim.event import HardEvents
from fastsim.event.gun import Shots
from fastsim.formats.atomic import AtomicPath, PathLike, writing
from fastsim.formats.calochallenge import Showers
from fastsim.production.chunks import Chunk, Crew, Progress, Summary
from fastsim.production.manifest import ChunkRow, Manifest, manifest_path, plain
from fastsim.production.processes import Processes
from fastsim.production.store import Store, open_parts, parts_folder, remove_parts
from fastsim.shipped import sha256_of

C = TypeVar("C", HardEvents, Shots, Showers)
S = TypeVar("S", bound=Summary)
COUNTS = ("events", "partons", "particles", "cells", "visible", "incident", "sum_weights", "sum_weights2")
"""What chunks, summary and manifest all have."""


@dataclass(frozen=True)
class Plan:
    """Which events, who computes them, and what becomes of them.

    Attributes:
        seed: of the run.
        first_event: number of the first event wanted.
        num_events: how many at most.
        threads: chunks computed at a time in this process, where there are no workers.
        workers: worker processes; 0 for threads.
        scheduler: address of a Dask cluster instead.
        whole: first event and number of events of what the range is a part of, where that is known.
        reads: files that the run reads: none of them may be written.
        keep: finished chunks are kept beside the output while the run goes on, and a manifest after it.
        resume: go on from chunks that are there.
        force: replace an output that exists.
        log: where to write JSON lines of what happens.
        progress: called with (events done, total) after each chunk.
    """

    seed: int = 0
    first_event: int = 0
    num_events: int | None = None
    whole: tuple[int, int] | None = None
    reads: tuple[PathLike, ...] = ()
    threads: int = 1
    workers: int = 0
    scheduler: str | None = None
    keep: bool = False
    resume: bool = False
    force: bool = False
    log: PathLike | None = None
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.seed < 0 or self.first_event < 0 or (self.num_events is not None and self.num_events < 0):
            raise FastsimError(
                f"seed={self.seed}, first_event={self.first_event}, num_events={self.num_events}: none may be negative"
            )
        if self.threads < 1 or self.workers < 0:
            raise FastsimError(f"threads={self.threads}, workers={self.workers}: at least 1 thread, at least 0 workers")
        if self.workers and self.scheduler:
            raise FastsimError("give workers of this machine or the scheduler of a cluster, not both")

    @property
    def range(self) -> dict[str, Any]:
        return {"first_event": self.first_event, "num_events": self.num_events}


class Log:
    """JSON lines: one object for each thing that happens, with the time (UTC) and the name of the event."""

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


def _refuse_same(plan: Plan, written: Sequence[PathLike]) -> None:
    """Raises FastsimError where a run would write what it reads, or its log into its output."""
    targets = {os.path.realpath(path): os.fspath(path) for path in written}
    for path in plan.reads:
        if name := targets.get(os.path.realpath(path)):
            raise FastsimError(f"{name}: the run reads it; give another output")
        if plan.log is not None and os.path.realpath(plan.log) == os.path.realpath(path):
            raise FastsimError(f"{os.fspath(plan.log)}: the run reads it; give another file to the log")
    if plan.log is not None and (name := targets.get(os.path.realpath(plan.log))):
        raise FastsimError(f"{name}: cannot be output and log at once; give another file to the log")


class Run:
    """One run; a context manager around opening the output, writing it, and :meth:`commit`.

    Args:
        output: path of the output, ``-`` for standard output.
        settings: all that decides the content of a chunk.
        plan: see :class:`Plan`.
        again: whether the input can be read again.
        beside: other files that are written with the output.

    Raises:
        FastsimError: if the output, or a stopped run of it, is in the way.
    """

    def __init__(
        self,
        output: PathLike,
        settings: dict[str, Any],
        plan: Plan,
        *,
        again: bool = True,
        beside: Sequence[PathLike] = (),
    ) -> None:
        self.output = os.fspath(output)
        self._beside = beside
        self.plan = plan
        self.settings = plain(settings)
        self.rows: list[ChunkRow] = []
        self.replaces = plan.force
        self._to_file = plan.keep and self.output != "-"
        if plan.resume and not (self._to_file and again):
            raise FastsimError("only a run from a file or gun to a file can be resumed, not one from or to a stream")
        if self.output != "-":
            _refuse_same(plan, (self.output, *beside, manifest_path(self.output)))
        # of a link, beside the file that it names: two runs meet there, whatever they call it
        self._store = Store(parts_folder(os.path.realpath(self.output))) if self._to_file and again else None
        self._stack = ExitStack()
        self.log = Log(plan.log)
        self._stack.callback(self.log.close)

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException as error:
            self._leave(error)
            raise
        return self

    def _begin(self) -> None:
        plan, store = self.plan, self._store
        settings = {**plan.range, **self.settings}
        self.log("start", output=self.output, **settings, workers=plan.workers, resume=plan.resume)
        if store is None:
            return
        self.replaces = plan.force or (plan.resume and store.folder.exists())
        if self.complete is None:  # refused now rather than after hours
            AtomicPath(self.output, force=self.replaces).discard()
            AtomicPath(manifest_path(self.output), force=True).discard()
        if self.complete is None or store.folder.exists():
            lock = open_parts(store.folder, self.settings, resume=plan.resume, force=plan.force)
            self._stack.callback(lock.close)
            self._clean()
        if self.complete is not None:
            remove_parts(store.folder)

    def _clean(self) -> None:
        """Removes what a run of this output that was killed left half-written."""
        for name in (self.output, *self._beside, manifest_path(self.output)):
            path = Path(os.path.realpath(name))
            for left in path.parent.glob(f".{glob.escape(path.name)}.????????.tmp"):
                left.unlink(missing_ok=True)

    @cached_property
    def complete(self) -> Manifest | None:
        """The manifest of a run just like this one that is to be resumed and has nothing left to do."""
        path = Path(self.output)
        if self._store is None or not self.plan.resume or not path.is_file() or not manifest_path(path).is_file():
            return None
        try:
            manifest = Manifest.read(manifest_path(path))
        except FastsimError:
            return None
        same = plain({**self.plan.range, **self.settings}) == manifest.settings
        intact = path.stat().st_size == manifest.bytes and sha256_of(path) == manifest.sha256
        return manifest if same and intact else None

    def summary(self, kind: type[S]) -> S | None:
        """What the run just like this one did that is complete already, if there is one."""
        if self.complete is None:
            return None
        manifest = self.complete
        values = {name: getattr(manifest, name) for name in (*COUNTS, "cross_section", "notes", "source")}
        summary = kind(output=self.output, **values, held=manifest.events, seconds=0.0)
        self._log_end(summary)
        return summary

    @property
    def crew(self) -> Crew:
        """Who computes the chunks."""
        plan = self.plan
        if plan.scheduler:
            from fastsim.production.dask import Cluster

            cluster = Cluster(plan.scheduler, self.log)
            self._stack.callback(cluster.close)
            return Crew(cluster.num, cluster.send, self._store)
        if plan.workers:
            return Crew(plan.workers, partial(Processes, num=plan.workers, note=self.log), self._store)
        return Crew(plan.threads, keeper=self._store)

    @contextmanager
    def contents(
        self, chunks: Generator[Chunk[C], None, None], summary: Summary, total: int | None
    ) -> Iterator[Iterator[C]]:
        """The contents of the chunks, to be written one after the other; each is counted when the next is asked for.

        Raises:
            Stopped: for Ctrl-C or SIGTERM, if finished chunks are kept.
        """

        def counted() -> Iterator[C]:
            first = self.plan.first_event
            for chunk in chunks:
                yield chunk.content
                row = ChunkRow.of(chunk.number, first, chunk.content, chunk.seconds)
                first += row.events
                self.rows.append(row)
                summary.add(row, held=chunk.held)
                self.log("chunk", **{**vars(row), "held": chunk.held})
                if self.plan.progress is not None:
                    self.plan.progress(summary.events, total)

        try:
            try:
                yield counted()
            finally:
                chunks.close()  # ends the chunks that have begun, and keeps them
        except KeyboardInterrupt as error:
            if self._store is None or self._store.empty:
                raise
            kept = f"finished chunks are in {self._store.folder}, --resume goes on with them"
            raise Stopped(f"interrupted; {kept}") from error

    def _log_end(self, summary: Summary) -> None:
        self.log("end", **{k: v for k, v in vars(summary).items() if k not in ("output", "source", "started")})

    def commit(self, summary: Summary) -> None:
        """Writes the manifest of the finished output, and removes the chunks."""
        self._log_end(summary)
        if not self._to_file:
            return
        path = Path(self.output)
        Manifest(
            output=path.name,
            bytes=path.stat().st_size,
            sha256=sha256_of(path),
            settings=plain({**self.plan.range, **self.settings}),
            first_event=self.plan.first_event,
            whole=self.plan.whole,
            **{name: getattr(summary, name) for name in COUNTS},
            cross_section=summary.cross_section,
            notes=summary.notes,
            source=summary.source,
            seconds=round(summary.seconds, 3),
            chunks=self.rows,
        ).write(manifest_path(path))
        if self._store is not None:
            remove_parts(self._store.folder)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        # the events before a bad one are in .partial; an empty folder helps nobody
        if error is not None and self._store is not None and (isinstance(error, InvalidEvent) or self._store.empty):
            remove_parts(self._store.folder)
        self._leave(error)

    def _leave(self, error: BaseException | None) -> None:
        if error is not None:
            self.log("error", kind=type(error).__name__, message=str(error))
        self._stack.close()
