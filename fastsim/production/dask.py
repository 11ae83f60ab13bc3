"""Chunks on the workers of a Dask cluster (the extra ``dask``)."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from fastsim.errors import FastsimError
from fastsim.extras import library
from fastsim.production.chunks import single_threaded
from fastsim.production.manifest import versions
from fastsim.production.processes import Note

J = TypeVar("J")
R = TypeVar("R")

PATIENCE = 5
"""Seconds in which something has to answer at the address of the scheduler."""
TIMEOUT = 30
"""Seconds that the scheduler may take to answer, and a first worker to connect to it."""


def check_address(address: str) -> None:
    """Refuse the address of a scheduler at which nothing can listen, before anything is loaded.

    Raises:
        FastsimError: if it is not like ``tcp://host:8786``, or nothing answers there within some seconds.
    """
    match = re.fullmatch(r"(?:(tcp|tls|ucx|ws|wss)://)?(\[[0-9a-fA-F:]+\]|[^:/\s]+):(\d{1,5})/?", address)
    if not match:
        raise FastsimError(f"scheduler {address!r}: give an address such as tcp://host:8786")
    if match[1] in (None, "tcp", "tls"):
        try:
            socket.create_connection((match[2].strip("[]"), int(match[3])), timeout=PATIENCE).close()
        except (OSError, OverflowError, UnicodeError) as error:
            raise FastsimError(
                f"no Dask scheduler answers at {address} ({error}); start one: dask scheduler"
            ) from error


class Cluster:
    """A connection to the scheduler of a Dask cluster; it takes ``num`` chunks at a time, two a thread of the workers.

    The task goes to each worker once. A chunk whose worker leaves is given to another, as often as the
    scheduler allows (``distributed.scheduler.allowed-failures``, 3).

    Args:
        address: address of the scheduler, such as ``tcp://host:8786``.
        note: called with the numbers of workers and threads.

    Raises:
        FastsimError: if no scheduler answers there, or it has no workers, or they have other versions.
    """

    def __init__(self, address: str, note: Note = lambda *_, **__: None) -> None:
        check_address(address)
        client = library("distributed").Client
        try:
            self._client = client(address, timeout=TIMEOUT, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise FastsimError(
                f"no Dask scheduler answers at {address} ({error}); start one: dask scheduler"
            ) from error
        try:
            self._client.wait_for_workers(1, timeout=TIMEOUT)
        except TimeoutError as error:
            self.close()
            raise FastsimError(
                f"the scheduler at {address} has no workers; start some: dask worker {address}"
            ) from error
        own_versions = versions()
        for worker, worker_versions in self._client.run(versions).items():
            if worker_versions != own_versions:
                self.close()
                raise FastsimError(
                    f"worker {worker} has {worker_versions}, but this is {own_versions}; install the same versions"
                )
        threads = self._client.nthreads()
        self.num = 2 * sum(threads.values())
        note("cluster", scheduler=address, workers=len(threads), threads=sum(threads.values()))

    @contextmanager
    def send(self, task: Callable[[J], R]) -> Iterator[Callable[[J], R]]:
        """Send a task to the workers, and give the function that has them compute a job of it.

        Raises:
            FastsimError: if the task cannot be sent; of the function, if several workers die on one job.
        """
        from distributed import KilledWorker

        try:
            shipped = self._client.scatter(task, broadcast=True, hash=False)
        except Exception as error:
            raise FastsimError(f"the model cannot be sent to the cluster ({error}); use threads") from error

        def compute(job: J) -> R:
            future = self._client.submit(_call, shipped, job, pure=False)
            try:
                return future.result()  # type: ignore[no-any-return]
            except KilledWorker as error:
                raise FastsimError(
                    f"workers of the cluster died on the same chunk, one after the other: {error}"
                ) from error

        yield compute

    def close(self) -> None:
        """Disconnect from the cluster; its workers stay."""
        self._client.close(timeout=5)


def _call(task: Callable[[J], R], job: J) -> R:
    """Compute a job on a worker, with one thread for each operation of torch, since chunks run side by side."""
    single_threaded()
    return task(job)
