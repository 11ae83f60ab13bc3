"""Worker processes that run Geant4.

A worker is a fresh process, where Geant4 is initialised once. Every job runs in a fork of it, and so starts from the
same state whatever the worker did before. The result of a job is a file, which appears complete.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

from fastsim.detector.detector import Detector
from fastsim.errors import FastsimError
from generators.reference.geant4 import Calorimeter

J = TypeVar("J")


@dataclass
class _Worker:
    """A worker process, its log, and whether Geant4 has started in it."""

    process: Any
    log: Path
    ready: bool = False


class Geant4Workers(Generic[J]):
    """Worker processes that run Geant4; they stay between calls of :meth:`done`.

    Args:
        detector: the detector that Geant4 builds.
        environment: variables of the workers, as :func:`generators.reference.geant4.data_environment` returns them.
        work: computes one job in a fork, and writes its result; it and the jobs are sent to other processes.
        workers: number of workers at most; they are started when there are jobs for them.
        logs: folder of the files that Geant4 prints to, ``geant4-0.log`` and so on.
        max_theta: largest angle of flight in rad; see :class:`generators.reference.geant4.Calorimeter`.
    """

    def __init__(
        self,
        detector: Detector,
        environment: dict[str, str],
        work: Callable[[Calorimeter, J], None],
        *,
        workers: int,
        logs: Path,
        max_theta: float = 0.0,
    ) -> None:
        self._start = (detector, max_theta, environment, work)
        self._size = workers
        self._logs = logs
        self._workers: dict[Connection, _Worker] = {}

    def done(self, jobs: Sequence[J]) -> Generator[J, None, None]:
        """Do the jobs, and yield each when its result exists, in any order.

        The workers are closed if not all jobs were done: after an error, or when the loop over this is left.

        Raises:
            FastsimError: if Geant4 does not start, or stops.
        """
        waiting, running = iter(jobs), dict[Connection, J]()
        finished = False
        try:
            while len(self._workers) < min(self._size, len(jobs)):
                self._add()
            busy = []
            for connection, worker in self._workers.items():
                if not worker.ready or self._next(connection, waiting, running):
                    busy.append(connection)
            while busy:
                for answered in wait(busy):
                    assert isinstance(answered, Connection)
                    connection, worker = answered, self._workers[answered]
                    try:
                        problem = connection.recv()
                    except (EOFError, ConnectionResetError):
                        problem = _last_words(worker.log)
                    if problem:
                        raise FastsimError(f"{problem}; its log is {worker.log}")
                    worker.ready = True
                    job = running.pop(connection, None)
                    if not self._next(connection, waiting, running):
                        busy.remove(connection)
                    if job is not None:
                        yield job
            finished = True
        finally:
            if not finished:
                self.close()

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers.values():
            worker.process.terminate()
            worker.process.join()
        self._workers.clear()

    def _add(self) -> None:
        """Start a worker."""
        context = multiprocessing.get_context("spawn")  # Geant4 is initialised once a process, in a fresh one
        connection, workers_end = context.Pipe()
        log = self._logs / f"geant4-{len(self._workers)}.log"
        process = context.Process(target=_serve, args=(*self._start, log, workers_end), daemon=True)
        process.start()
        workers_end.close()
        self._workers[connection] = _Worker(process, log)

    def _next(self, connection: Connection, waiting: Iterator[J], running: dict[Connection, J]) -> bool:
        """Send a worker its next job, and return whether there was one."""
        for job in waiting:
            running[connection] = job
            with suppress(BrokenPipeError):  # a worker that has died: its end of the connection says so
                connection.send(job)
            return True
        return False


def _last_words(log: Path) -> str:
    """Say why Geant4 stopped: the text of the last exception in its log, or the last line if there is none."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    starts = [number for number, line in enumerate(lines) if line.startswith("*** G4Exception :")]
    reason = lines[starts[-1] : starts[-1] + 3] if starts else [line for line in lines if line.strip()][-1:]
    return f"Geant4 stopped: {' '.join(line.strip('* ') for line in reason) or 'it said nothing'}"


def _serve(
    detector: Detector,
    max_theta: float,
    environment: dict[str, str],
    work: Callable[[Calorimeter, Any], None],
    log: Path,
    jobs: Connection,
) -> None:
    """Run a worker: start Geant4, then do each job that comes in a fork.

    It sends None when it is ready and after each job, or a text that says what is wrong.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the parent ends the workers
    os.environ.update(environment)
    # Geant4 writes to the process's own standard output, which may be a pipe with results
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    try:
        calorimeter = Calorimeter(detector, max_theta)
        problem = None
        while True:
            jobs.send(problem)
            job = jobs.recv()
            child = os.fork()
            if child == 0:
                _run_and_exit(work, calorimeter, job)
            with _ended_by_sigterm(child):
                status = os.waitpid(child, 0)[1]
            problem = _last_words(log) if status else None
    except (EOFError, BrokenPipeError):
        pass
    except BaseException as error:
        traceback.print_exc()
        jobs.send(f"Geant4 did not start: {error}")
    os._exit(0)  # Geant4's destructors crash in the order that Python calls them


@contextmanager
def _ended_by_sigterm(child: int) -> Iterator[None]:
    """Let SIGTERM end the process of a job together with its worker."""

    def end(number: int, frame: FrameType | None) -> None:
        os.kill(child, signal.SIGKILL)
        os._exit(1)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run_and_exit(function: Any, *arguments: Any) -> None:
    """Call a function and end the process without any cleaning up, with status 0, or 1 if the function raised."""
    code = 1
    try:
        function(*arguments)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
