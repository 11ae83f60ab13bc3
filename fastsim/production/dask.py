"""Chunks on the workers of a Dask cluster (the extra ``dask``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from fastsim.errors import FastsimError
from fastsim.production.chunks import single_threaded
from fastsim.production.manifest import versions
from fastsim.production.processes import Note

J = TypeVar("J")
R = TypeVar("R")

SECONDS = 30
"""How long the scheduler may take to answer, and a first worker to be there."""


class Cluster:
    """A connection to a scheduler; ``num`` chunks are in hand at a time, two for each thread of the workers.

    The task goes to each worker once. A chunk whose worker leaves is given to another, as often as the
    scheduler allows (``distributed.scheduler.allowed-failures``, 3).

    Args:
        address: of the scheduler, ``tcp://host:8786``.
        note: told what the cluster has.

    Raises:
        FastsimError: if no scheduler answers there, or it has no workers, or they have other versions.
    """

    def __init__(self, address: str, note: Note = lambda *_, **__: None) -> None:
        from distributed import Client

        try:
            self._client = Client(address, timeout=SECONDS, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise FastsimError(
                f"no Dask scheduler answers at {address} ({error}); start one: dask scheduler"
            ) from error
        try:
            self._client.wait_for_workers(1, timeout=SECONDS)
        except TimeoutError as error:
            self.close()
            raise FastsimError(
                f"the scheduler at {address} has no workers; start some: dask worker {address}"
            ) from error
        mine = versions()
        for worker, theirs in self._client.run(versions).items():
            if theirs != mine:
                self.close()
                raise FastsimError(f"worker {worker} has {theirs}, but this is {mine}; install the same versions")
        threads = self._client.nthreads()
        self.num = 2 * sum(threads.values())
        note("cluster", scheduler=address, workers=len(threads), threads=sum(threads.values()))

    @contextmanager
    def send(self, task: Callable[[J], R]) -> Iterator[Callable[[J], R]]:
        """Ships a task to the workers; gives the function that has them compute its jobs."""
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
        """Leaves the cluster; its workers stay."""
        self._client.close(timeout=5)


def _call(task: Callable[[J], R], job: J) -> R:
    """On a worker: one thread for each operation of torch, since chunks run side by side."""
    single_threaded()
    return task(job)
