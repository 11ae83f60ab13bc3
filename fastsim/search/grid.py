"""Search by training every combination, or some drawn at random; in processes side by side if wanted.

References:
    Bergstra, Bengio, Random search for hyper-parameter optimization, JMLR 13 (2012) 281.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def run(chosen: Sequence[Combination], evaluate: Evaluate, trials: Trials, *, workers: int = 0) -> list[Trial]:
    """Evaluate combinations, and return their trials in order.

    Args:
        chosen: the combinations.
        evaluate: trains and judges one; with workers it is sent to other processes.
        trials: keeps what is done.
        workers: processes that evaluate side by side; 0 for this one.
    """
    missing = [combination for combination in chosen if trials.of(combination) is None]
    if workers and missing:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        with ProcessPoolExecutor(min(workers, len(missing)), mp_context=get_context("spawn")) as pool:
            for trial in pool.map(evaluate, missing):
                trials.add(trial)
    kept = trials.keeping(evaluate)
    return [kept(combination) for combination in chosen]
