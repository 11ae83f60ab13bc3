"""Significance improvement against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.errors import InvalidValue
from metrics.classifiers.significance import significance_improvement


def test_scores_with_a_known_curve_give_it_exactly() -> None:
    """Background scores at the quantiles of 1 - u, signal at those of 1 - u^4: eps_S = eps_B^(1/4)."""
    u = (np.arange(4000) + 0.5) / 4000
    cuts = np.array([0.5, 0.1, 0.01])
    found = significance_improvement(1.0 - u**4, 1.0 - u, cuts, num_bootstrap=2)
    np.testing.assert_allclose(found.signal_efficiency, cuts**0.25, atol=2e-3)
    np.testing.assert_allclose(found.value, cuts ** (0.25 - 0.5), rtol=5e-3)


def test_four_events_by_hand() -> None:
    found = significance_improvement([3.0, 1.0], [2.0, 0.0], [0.5, 1.0], num_bootstrap=2)
    np.testing.assert_array_equal(found.background_efficiency, [1.0, 0.5])
    # the loosest cut that keeps one background event, 2.0, keeps both signals
    np.testing.assert_array_equal(found.signal_efficiency, [1.0, 1.0])
    np.testing.assert_allclose(found.value, [1.0, np.sqrt(2.0)])


def test_scores_that_know_nothing_are_at_the_null() -> None:
    same = significance_improvement(np.zeros(50), np.zeros(400))
    np.testing.assert_allclose(same.value, same.null)
    rng = np.random.default_rng(1)
    found = significance_improvement(rng.normal(size=4000), rng.normal(size=20_000), [0.1, 0.01])
    assert (np.abs(found.value - found.null) < 4.0 * found.error).all()


def test_the_error_is_the_spread_of_independent_samples() -> None:
    """Signal is a Gaussian 2 sigma above the background's: 100 samples of 500 and 2000 events."""
    rng = np.random.default_rng(2)
    runs = [
        significance_improvement(rng.normal(2.0, 1.0, 500), rng.normal(size=2000), [0.01], num_bootstrap=15, seed=k)
        for k in range(100)
    ]
    spread = np.std([run.value[0] for run in runs], ddof=1)
    assert np.mean([run.error[0] for run in runs]) == pytest.approx(spread, rel=0.25)


def test_the_best_cut_is_where_the_value_is_largest() -> None:
    rng = np.random.default_rng(3)
    found = significance_improvement(rng.normal(3.0, 1.0, 2000), rng.normal(size=5000))
    assert found.value[found.best] == found.value.max() > 3.0
    assert found.background_efficiency[-1] == pytest.approx(10 / 5000)


def test_a_seed_repeats_the_error() -> None:
    rng = np.random.default_rng(4)
    signal, background = rng.normal(1.0, 1.0, 100), rng.normal(size=300)
    errors = [significance_improvement(signal, background, seed=seed).error for seed in (1, 1, 2)]
    np.testing.assert_array_equal(errors[0], errors[1])
    assert not np.array_equal(errors[0], errors[2])


def test_bad_input_is_named() -> None:
    with pytest.raises(InvalidValue, match="signal: no events"):
        significance_improvement([], [1.0])
    with pytest.raises(InvalidValue, match="background: score of event 1 is nan"):
        significance_improvement([1.0], [1.0, np.nan])
    with pytest.raises(
        InvalidValue, match=r"background_efficiency: 0.001: must be at most 1 and keep at least one of 10"
    ):
        significance_improvement([1.0], np.arange(10.0), [0.001, 0.5])
    with pytest.raises(InvalidValue, match=r"background_efficiency: 1\.5"):
        significance_improvement([1.0], np.arange(10.0), [1.5])
