"""Resampling by blocks: against closed forms, against single events, and where blocks are few."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metrics.statistics.resampling import Draws, Resampling


def _difference(h: NDArray[Any], g: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(g[:, 1] / g[:, 0] - h[:, 1] / h[:, 0])


def _moments(x: NDArray[Any]) -> NDArray[Any]:
    return np.stack([np.ones(len(x)), x], axis=1)


@pytest.mark.parametrize("sizes", [(60, 90), (4000, 4000), (20_000, 1000), (2, 3)])
def test_sums_of_blocks_are_sums_of_events(rng: np.random.Generator, sizes: tuple[int, int]) -> None:
    resampling = Resampling(*sizes)
    for side, size in enumerate(sizes):
        values = rng.normal(size=(size, 3))
        sums = resampling.sums(side, values)
        members = resampling.members(side)
        assert len(sums) == len(members) == resampling.num_blocks[side]
        assert sorted(np.concatenate(members).tolist()) == list(range(size))
        assert np.ptp([len(m) for m in members]) <= 1
        assert sums[-1] == pytest.approx(values[members[-1]].sum(axis=0))
        assert sums.sum(axis=0) == pytest.approx(values.sum(axis=0))
    ratio = [size / blocks for size, blocks in zip(sizes, resampling.num_blocks, strict=True)]
    assert ratio[0] == pytest.approx(ratio[1], rel=0.15)


@pytest.mark.parametrize("sizes", [(150, 240), (5000, 8000), (20_000, 600)])
def test_error_and_null_of_a_difference_of_means(rng: np.random.Generator, sizes: tuple[int, int]) -> None:
    x, y = (rng.exponential(size=n) for n in sizes)
    resampling = Resampling(*sizes, num_bootstrap=2000, num_permutations=2000)
    draws = resampling.draws(resampling.sums(0, _moments(x)), resampling.sums(1, _moments(y)), _difference)
    result = resampling.result("difference", draws)
    assert result.value == pytest.approx(y.mean() - x.mean())
    assert result.error == pytest.approx(np.sqrt(x.var() / len(x) + y.var() / len(y)), rel=0.12)
    pooled = np.concatenate([x, y])
    assert result.null_error == pytest.approx(pooled.std() * np.sqrt(1 / len(x) + 1 / len(y)), rel=0.12)
    assert abs(result.null_value) < 4 * result.null_error / np.sqrt(2000)
    assert (result.num_real, result.num_generated) == sizes


def test_mean_of_draws_keeps_correlations(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=300), rng.normal(size=300)
    resampling = Resampling(300, 300)
    sums = [resampling.sums(side, _moments(v)) for side, v in enumerate((x, y))]
    one = resampling.draws(sums[0], sums[1], _difference)
    mean = Draws.mean([one, one])
    assert mean.value == one.value and np.array_equal(mean.bootstrap, one.bootstrap)
    opposite = Draws.mean([one, resampling.draws(sums[0], sums[1], lambda h, g: -_difference(h, g))])
    assert np.abs(opposite.null.draws).max() < 1e-12


def test_seed_decides(rng: np.random.Generator) -> None:
    x = rng.normal(size=400)
    results = []
    for seed in (0, 0, 1):
        resampling = Resampling(400, 400, seed=seed)
        sums = resampling.sums(0, _moments(x)), resampling.sums(1, _moments(x))
        results.append(resampling.result("x", resampling.draws(*sums, _difference)))
    assert results[0] == results[1] and results[0].error != results[2].error


def test_errors() -> None:
    with pytest.raises(ValueError, match="at least 2 events a sample, got 0 and 5"):
        Resampling(0, 5)
    with pytest.raises(ValueError, match="num_bootstrap is 1"):
        Resampling(5, 5, num_bootstrap=1)
    resampling, sums = Resampling(9, 9), np.ones((9, 1))
    with pytest.raises(ValueError, match="a resample leaves the statistic undefined"):
        resampling.draws(sums, sums, lambda h, _: np.full(len(h), np.nan))
