"""Search by training every combination, or some drawn at random; side by side, in processes or on a cluster, if wanted.

References:
    Bergstra, Bengio, Random search for hyper-parameter optimization, JMLR 13 (2012) 281.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing
from multiprocessing import get_context

import numpy as np

from fastsim.search.trial import Combination, Evaluate, Space, Trial, Trials, combinations


def grid(space: Space) -> list[Combination]:
    """Return all combinations."""
    return combinations(space)


def sampled(space: Space, num: int, seed: int) -> list[Combination]:
    """Return ``num`` different combinations drawn at random, or all if there are fewer.

    >>> len(sampled({"a": ["x", "y", "z"], "b": ["u", "v"]}, 4, seed=1))
    4
    """
    every = combinations(space)
    rows = np.random.default_rng(seed).permutation(len(every))[:num]
    return [every[row] for row in rows]


def run(
    chosen: Sequence[Combination],
    evaluate: Evaluate,
    trials: Trials,
    *,
    workers: int = 0,
    scheduler: str | None = None,
) -> list[Trial]:
    """Evaluate combinations, and return their trials in order.

    Args:
        chosen: the combinations.
        evaluate: trains and judges one; it is sent to workers and to a cluster.
        trials: keeps what is done.
        workers: processes that evaluate side by side; 0 for this one.
        scheduler: address of a Dask scheduler, whose workers evaluate side by side instead.

    Raises:
        FastsimError: if no scheduler answers there, or its workers die.
    """
    missing = [combination for combination in chosen if trials.of(combination) is None]
    if missing and (workers or scheduler is not None):
        for trial in _side_by_side(missing, evaluate, workers, scheduler):
            trials.add(trial)
    kept = trials.keeping(evaluate)
    return [kept(combination) for combination in chosen]


def _side_by_side(
    missing: Sequence[Combination], evaluate: Evaluate, workers: int, scheduler: str | None
) -> Iterator[Trial]:
    """Yield the trials of combinations as they are done, so that a kill loses only those under way."""
    with ExitStack() as stack:
        pool: Executor
        if scheduler is None:
            num = min(workers, len(missing))
            pool = stack.enter_context(ProcessPoolExecutor(num, mp_context=get_context("spawn")))
        else:
            from fastsim.production.dask import Cluster

            cluster = stack.enter_context(closing(Cluster(scheduler)))
            evaluate = stack.enter_context(cluster.send(evaluate))
            pool = stack.enter_context(ThreadPoolExecutor(min(cluster.num, len(missing))))
        futures = [pool.submit(evaluate, combination) for combination in missing]
        stack.callback(lambda: [future.cancel() for future in futures])
        for future in as_completed(futures):
            yield future.result()
