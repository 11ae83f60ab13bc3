"""Worker processes of this machine that compute chunks.

:class:`Processes` is called with a job, from as many threads as there are workers, and returns its result. The task, a
model with its settings, goes to each worker once, the jobs one by one. A job whose worker dies is given to another.

This module imports little: a worker process sets its numerical libraries to one thread before it loads them.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from typing import Any, Generic, Self, TypeVar

from fastsim.errors import FastsimError

J = TypeVar("J")
R = TypeVar("R")

ATTEMPTS = 3
"""How many workers may die on one chunk before the run ends with an error."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

NO_GUARD = (
    "worker processes import the script that started them: put what it does below the line "
    "'if __name__ == \"__main__\":', or use threads"
)

NO_GUARD_STATUS = 97
"""Exit status of a worker process that finds itself running the script anew."""


def end_if_importing_script() -> None:
    """End a worker process in which a run begins while it imports the script that started it."""
    # what multiprocessing itself looks at before it starts a process
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        os._exit(NO_GUARD_STATUS)


Note = Callable[..., None]
"""Called with the name of what happened and named facts, for the log."""


class Processes(Generic[J, R]):
    """Worker processes that compute ``task(job)``; call it from ``num`` threads at most.

    Args:
        task: the function to compute; it is sent to each process once.
        num: number of threads that will call, and so of processes at most.
        note: called when a worker dies.

    Raises:
        FastsimError: if the task cannot be sent to another process; when called, if :data:`ATTEMPTS` workers die on a
            job, or if the task raises it.
    """

    def __init__(self, task: Callable[[J], R], num: int, note: Note = lambda *_, **__: None) -> None:
        try:
            self._task = pickle.dumps(task)
        except Exception as error:
            raise FastsimError(f"the model cannot be sent to worker processes ({error}); use threads") from error
        self.num = num
        self._note = note
        self._context = multiprocessing.get_context("spawn")  # the parent may hold torch threads
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._all: set[_Worker] = set()

    def __call__(self, job: J) -> R:
        for _ in range(ATTEMPTS):
            worker = self._take()
            try:
                result, error = worker.ask(job)
            except (EOFError, OSError):
                status = worker.end()
                self._all.discard(worker)
                self._note("worker died", exit_status=status)
                if status == NO_GUARD_STATUS:
                    raise FastsimError(NO_GUARD) from None
                continue
            self._idle.put(worker)
            if error is not None:
                raise error
            return result  # type: ignore[no-any-return]
        raise FastsimError(
            f"{ATTEMPTS} workers died on the same chunk (exit status {status}); "
            "if the system ended them for lack of memory, use fewer workers"
        )

    def _take(self) -> _Worker:
        try:
            return self._idle.get_nowait()
        except Empty:
            worker = _Worker(self._context, self._task)
            self._all.add(worker)
            return worker

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in list(self._all):
            worker.end()


class _Worker:
    """A worker process, and the pipe to it."""

    def __init__(self, context: Any, task: bytes) -> None:
        self._connection, workers_end = context.Pipe()
        self._process = context.Process(target=_work, args=(workers_end,), daemon=True)
        self._process.start()
        workers_end.close()
        self._task: bytes | None = task

    def ask(self, job: Any) -> tuple[Any, Exception | None]:
        """Have the process compute a job; return its result and None, or None and the error that the task raised.

        Raises:
            EOFError, OSError: if the process is gone.
        """
        if self._task is not None:
            self._connection.send_bytes(self._task)
            self._task = None
        self._connection.send(job)
        answer: tuple[Any, Exception | None] = self._connection.recv()
        return answer

    def end(self) -> int | None:
        """End the process and return its exit status: the negative number of a signal that ended it."""
        self._connection.close()
        self._process.join(1.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        # a thread that starts a process collects the status of all that ended, and notes it a moment later
        deadline = time.monotonic() + 1.0
        while self._process.exitcode is None and time.monotonic() < deadline:
            time.sleep(0.001)
        return self._process.exitcode  # type: ignore[no-any-return]


def _work(jobs: Connection) -> None:
    """Run a worker process: load the task, then answer each job with (result, None) or (None, error)."""
    # batch systems and terminals signal all processes of a job: when to stop is the parent's business
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        task = pickle.loads(jobs.recv_bytes())
        while True:
            jobs.send(_answer(task, jobs.recv()))
    except (EOFError, OSError):  # the parent has no more jobs, or is gone
        pass


def _answer(task: Callable[[Any], Any], job: Any) -> tuple[Any, Exception | None]:
    """Compute a job; errors that are no FastsimError come with their traceback as text."""
    try:
        return task(job), None
    except FastsimError as error:
        return None, error
    except Exception:
        return None, RuntimeError(traceback.format_exc())
