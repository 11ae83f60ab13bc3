"""Permutation nulls: exact p-values on small samples, calibration on equal ones, errors."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metrics.result import MetricResult
from metrics.statistics.permutation import Null, permutation_null, split_error


def test_null_matches_all_relabellings_of_a_small_sample() -> None:
    pooled = np.array([0.3, 1.7, 2.2, 4.1, 5.9, 8.0])

    def difference(is_real: NDArray[Any]) -> float:
        return float(pooled[is_real].mean() - pooled[~is_real].mean())

    exact = []
    for chosen in combinations(range(6), 2):
        exact.append(difference(np.isin(np.arange(6), chosen)))
    null = permutation_null(difference, 2, 4, num_permutations=4000, rng=np.random.default_rng(1))
    assert null.mean == pytest.approx(np.mean(exact), abs=4 * np.std(exact) / np.sqrt(4000))
    assert null.std == pytest.approx(np.std(exact), rel=0.05)
    assert set(np.round(null.draws, 9)) == set(np.round(exact, 9))
    # 5 of the 15 relabellings are at least as large as the third largest difference
    value = sorted(exact)[-5]
    assert null.p_value(value) == pytest.approx(5 / 15, abs=0.03)
    assert null.p_value(value, worse="low") == pytest.approx(11 / 15, abs=0.03)


def test_p_value_is_uniform_between_equal_samples_and_small_between_unequal_ones() -> None:
    rng = np.random.default_rng(2)

    def p_value(shift: float) -> float:
        pooled = np.concatenate([rng.normal(shift, 1, 30), rng.normal(0, 1, 50)])

        def distance(is_real: NDArray[Any]) -> float:
            return float(abs(pooled[is_real].mean() - pooled[~is_real].mean()))

        null = permutation_null(distance, 30, 50, num_permutations=99, rng=rng)
        return null.p_value(distance(np.arange(80) < 30))

    equal = np.array([p_value(0.0) for _ in range(300)])
    for level in (0.1, 0.3, 0.5, 0.8):
        assert abs(np.mean(equal <= level) - level) < 3.5 * np.sqrt(level * (1 - level) / 300)
    assert p_value(3.0) == pytest.approx(0.01)


def test_sizes_of_the_sides_are_kept_and_the_seed_decides() -> None:
    seen: list[tuple[int, int]] = []

    def sizes(is_real: NDArray[Any]) -> float:
        seen.append((len(is_real), int(is_real.sum())))
        return float(np.flatnonzero(is_real)[0])

    nulls = [permutation_null(sizes, 3, 7, num_permutations=20, rng=np.random.default_rng(s)) for s in (0, 0, 1)]
    assert set(seen) == {(10, 3)}
    assert np.array_equal(nulls[0].draws, nulls[1].draws)
    assert not np.array_equal(nulls[0].draws, nulls[2].draws)


def test_p_value_counts_ties_as_bad_and_is_never_zero() -> None:
    null = Null(np.array([1.0, 1.0, 2.0, 3.0]))
    assert null.p_value(1.0) == 1.0
    assert null.p_value(3.0) == pytest.approx(2 / 5)
    assert null.p_value(9.0) == pytest.approx(1 / 5)
    assert null.p_value(1.0, worse="low") == pytest.approx(3 / 5)
    assert null.p_value(0.0, worse="low") == pytest.approx(1 / 5)


def test_of_two_sided_statistics_both_tails_are_bad() -> None:
    null = Null(np.array([-2.0, -1.0, 1.0, 2.0]))
    for value in (1.5, -1.5):
        assert null.p_value(value, worse="both") == pytest.approx(3 / 5)
        result = MetricResult("ratio", value, 0.1, 0.0, 0.5, 10, 10, 0, worse="both")
        assert result.excess == 3
        assert result.sigmas == 2 * value


@pytest.mark.parametrize(
    ("sizes", "permutations", "value", "message"),
    [
        ((0, 5), 10, 1.0, "both sides, got 0 and 5"),
        ((5, 0), 10, 1.0, "both sides, got 5 and 0"),
        ((5, 5), 1, 1.0, "num_permutations is 1"),
        ((5, 5), 10, np.nan, "is nan: it has to be finite"),
        ((5, 5), 10, np.inf, "is inf: it has to be finite"),
    ],
)
def test_errors(sizes: tuple[int, int], permutations: int, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        permutation_null(lambda _: value, *sizes, num_permutations=permutations, rng=np.random.default_rng(0))


@pytest.mark.parametrize("num_batches", [2, 5])
def test_split_error_of_means_is_sigma_over_root_n(num_batches: int, rng: np.random.Generator) -> None:
    real, generated = rng.normal(0, 1, 400), rng.normal(0, 3, 900)

    def statistic(r: NDArray[Any], g: NDArray[Any]) -> NDArray[Any]:
        return np.array([real[r].mean(), real[r].mean() - generated[g].mean()])

    found = split_error(statistic, 400, 900, num_batches=num_batches, num_repeats=200, rng=rng)
    expected = [real.std() / 20, np.sqrt(real.var() / 400 + generated.var() / 900)]
    np.testing.assert_allclose(found, expected, rtol=0.15)
