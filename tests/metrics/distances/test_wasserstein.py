"""W1 against closed forms and SciPy."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from metrics import w1, wasserstein_1
from metrics.distances import wasserstein


@given(st.floats(-100, 100), st.integers(1, 50))
def test_a_shift_is_its_distance(shift: float, size: int) -> None:
    x = np.linspace(0, 1, size)
    assert wasserstein_1(x, x + shift) == pytest.approx(abs(shift), abs=1e-9)


def test_agrees_with_scipy_also_with_weights(rng: np.random.Generator) -> None:
    x, y, u, v = rng.normal(size=300), rng.normal(1, 2, 170), rng.uniform(size=300), rng.uniform(size=170)
    assert wasserstein_1(x, y) == pytest.approx(wasserstein_distance(x, y), rel=1e-12)
    assert wasserstein_1(x, y, u, v) == pytest.approx(wasserstein_distance(x, y, u, v), rel=1e-12)


def test_bootstrap_error_is_the_spread_over_samples(rng: np.random.Generator) -> None:
    # a shift of 0.5 sigma, N = 500: the error of a difference of means
    found = w1(rng.normal(size=500), rng.normal(0.5, 1, 500), num_bootstrap=200)
    assert found.value == pytest.approx(0.5, abs=0.2)
    assert found.error == pytest.approx(np.sqrt(2 / 500), rel=0.25)


def test_correlated_values_are_resampled_by_group(rng: np.random.Generator) -> None:
    x, y = np.repeat(rng.normal(size=200), 25), np.repeat(rng.normal(1, 1, 200), 25)
    groups = np.repeat(np.arange(200), 25)
    alone = w1(x, y, num_bootstrap=100)
    grouped = w1(x, y, real_groups=groups, generated_groups=groups, num_bootstrap=100)
    assert grouped.value == alone.value
    assert grouped.error / alone.error == pytest.approx(5.0, rel=0.3)


def test_negative_weights_count_on_the_other_side(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=300), rng.normal(1, 2, 170)
    u, v = rng.normal(0.5, 1, 300), rng.normal(0.5, 1, 170)
    p, q = u / u.sum(), v / v.sum()
    ends, places = np.concatenate([p, -q]), np.concatenate([x, y])
    positive = ends > 0
    mass = ends[positive].sum()
    expected = mass * wasserstein_distance(places[positive], places[~positive], ends[positive], -ends[~positive])
    assert wasserstein_1(x, y, u, v) == pytest.approx(expected, rel=1e-9)


def test_the_null_is_what_equal_samples_give(rng: np.random.Generator) -> None:
    found = [w1(rng.normal(size=300), rng.normal(size=900), seed=s) for s in range(40)]
    values = np.array([f.value for f in found])
    assert np.mean([f.null_value for f in found]) == pytest.approx(values.mean(), rel=0.15)
    assert np.mean([f.null_error for f in found]) == pytest.approx(values.std(), rel=0.35)
    assert 0.02 < np.mean([f.p_value is not None and f.p_value < 0.2 for f in found]) < 0.4
    assert (found[0].num_real, found[0].num_generated) == (300, 900)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
def test_pieces_change_nothing(
    weighted: bool, grouped: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = rng.normal(size=900), rng.normal(0.1, 1, 700).round(1)
    options: dict[str, Any] = {}
    if weighted:
        options |= {"real_weights": rng.normal(0.7, 0.5, 900), "generated_weights": rng.uniform(size=700)}
    if grouped:
        options |= {"real_groups": rng.integers(0, 90, 900), "generated_groups": rng.integers(5, 60, 700)}
    whole = w1(x, y, **options)
    monkeypatch.setattr(wasserstein, "PIECE", 100)
    parts = w1(x, y, **options)
    for name in ("value", "error", "null_value", "null_error", "p_value"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-9), name


def test_memory_beside_the_values_is_bounded(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wasserstein, "PIECE", 2**14)
    x, y = rng.normal(size=(2, 2**20)).astype(np.float32)
    groups = np.repeat(np.arange(2**12, dtype=np.int32), 2**8)
    tracemalloc.start()
    w1(x, y, real_groups=groups, generated_groups=groups, num_bootstrap=2, num_permutations=2)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # all values sorted at once would take more than 50 bytes each
    assert most < 12 * 2**21


def test_bad_input_is_refused() -> None:
    x = np.arange(3.0)
    with pytest.raises(ValueError, match="non-empty"):
        wasserstein_1(x, x[:0])
    with pytest.raises(ValueError, match="positive sum"):
        wasserstein_1(x, x, np.array([1.0, -2.0, 1.0]))
    with pytest.raises(ValueError, match="one weight an event"):
        wasserstein_1(x, x, np.ones(2))
    with pytest.raises(ValueError, match="finite"):
        wasserstein_1(x, np.array([np.inf, 0.0]))
