"""The Kolmogorov-Smirnov distance against SciPy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from metrics.distances.kolmogorov import ks_distances


def test_scipy_agrees(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=150), rng.normal(0.5, 1.0, 90)
    found = ks_distances({"x": x}, {"x": y})[0]
    assert found.name == "ks x"
    # at quantiles of the pooled values rather than at every value
    assert found.value == pytest.approx(ks_2samp(x, y).statistic, abs=0.01)
    whole = ks_distances({"x": np.round(x, 1)}, {"x": np.round(y, 1)})[0]
    assert whole.value == pytest.approx(ks_2samp(np.round(x, 1), np.round(y, 1)).statistic, abs=1e-12)


def test_whole_numbers_by_hand() -> None:
    real, generated = np.repeat([-1.0, 0.0, 1.0], [10, 20, 30]), np.repeat([-1.0, 0.0, 1.0], [30, 20, 10])
    assert ks_distances({"q": real}, {"q": generated})[0].value == pytest.approx(1 / 3)


def test_the_null_holds_and_a_shift_is_seen(rng: np.random.Generator) -> None:
    samples = [{"a": rng.normal(shift, 1, 800), "b": rng.poisson(3, 800)} for shift in (0.0, 0.0, 0.3)]
    assert all(abs(r.sigmas) < 4 for r in ks_distances(samples[0], samples[1]))
    assert ks_distances(samples[0], samples[2])[0].sigmas > 5


def test_weights_replace_events(rng: np.random.Generator) -> None:
    x, y = rng.integers(0, 9, 200).astype(float), rng.integers(0, 9, 300).astype(float)
    times = rng.integers(1, 4, 300)
    weighted = ks_distances({"x": x}, {"x": y}, generated_weights=times.astype(float))[0]
    repeated = ks_distances({"x": x}, {"x": np.repeat(y, times)})[0]
    assert weighted.value == pytest.approx(repeated.value, abs=1e-12)


def test_items_of_events_move_together(rng: np.random.Generator) -> None:
    """Events of ten equal items carry the information of one item each: their null is as wide."""
    x, y = rng.normal(size=300), rng.normal(size=300)
    alone = ks_distances({"x": x}, {"x": y})[0]
    groups = np.repeat(np.arange(300), 10)
    many = ks_distances(
        {"x": np.repeat(x, 10)},
        {"x": np.repeat(y, 10)},
        real_groups=groups,
        generated_groups=groups,
        num_events=(300, 300),
    )[0]
    assert many.value == pytest.approx(alone.value, abs=0.01)
    assert many.null_value == pytest.approx(alone.null_value, rel=0.1)


def test_constants_say_nothing_and_bad_values_are_refused() -> None:
    zeros = np.zeros(100)
    assert ks_distances({"x": zeros}, {"x": zeros}) == []
    assert ks_distances({"x": np.arange(100.0)}, {"y": np.arange(100.0)}) == []
    with pytest.raises(ValueError, match="x of the generated sample holds NaN"):
        ks_distances({"x": zeros}, {"x": np.where(np.arange(100) == 3, np.nan, 0.0)})
    with pytest.raises(ValueError, match="at least 2"):
        ks_distances({"x": zeros[:1]}, {"x": zeros})
