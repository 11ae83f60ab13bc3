"""Anomaly detection on a toy whose likelihood ratio is known: a Gaussian whose mean moves with the mass, and a peak."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsim.anomaly import Anode, Bounds, anode, fit_density
from fastsim.errors import InvalidValue

Floats = NDArray[np.float64]

REGION = (2.0, 3.0)


def _background(num: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Masses, uniform in 0 to 5, and two features: Gaussians about 0.3 m and 0, of widths 1 and 0.7."""
    mass = rng.uniform(0.0, 5.0, num)
    return np.stack([0.3 * mass + rng.normal(size=num), 0.7 * rng.normal(size=num)], axis=1), mass


def _signal(num: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    mass = rng.normal(2.5, 0.1, num)
    return np.stack([2.5 + 0.25 * rng.normal(size=num), 1.0 + 0.25 * rng.normal(size=num)], axis=1), mass


def _log_normal(x: Floats, mean: Floats | float, std: float) -> Floats:
    return np.asarray(-0.5 * ((x - mean) / std) ** 2 - np.log(std * np.sqrt(2 * np.pi)))


def _log_background(x: Floats, mass: Floats) -> Floats:
    return np.asarray(_log_normal(x[:, 0], 0.3 * mass, 1.0) + _log_normal(x[:, 1], 0.0, 0.7))


@pytest.fixture(scope="module")
def found() -> Anode:
    rng = np.random.default_rng(1)
    parts = [_background(10_000, rng), _signal(600, rng)]
    features, mass = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return anode(features, mass, REGION, num_steps=150, width=24, num_layers=2, seed=3)


def test_the_score_orders_events_as_the_true_likelihood_ratio_does(found: Anode) -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(2)
    x = np.concatenate([_signal(300, rng)[0], _background(300, rng)[0]])
    m = np.full(len(x), 2.5)
    ratio = _log_normal(x, np.array([2.5, 1.0]), 0.25).sum(1) - _log_background(x, m)
    # log R saturates at 0 where there is no signal: its order says something only where there is some
    some = ratio > -2.0
    assert some.sum() > 300
    score = found.score(x, m).mean(axis=0)
    assert spearmanr(score[some], ratio[some]).statistic > 0.8
    assert score[some & (ratio > 1.0)].mean() > score[~some].mean() + 0.5


def test_the_sidebands_give_the_density_in_the_region(found: Anode) -> None:
    rng = np.random.default_rng(4)
    x, m = _background(4000, rng)
    inside = (m > 2.0) & (m < 3.0)
    x, m = x[inside], m[inside]
    assert np.mean(found.background.log_prob(x, m) - _log_background(x, m)) == pytest.approx(0.0, abs=0.06)
    # at another place in the region the mean has moved
    shifted = x + np.array([0.5, 0.0])
    assert found.background.log_prob(shifted, m).mean() < found.background.log_prob(x, m).mean() - 0.05


def test_events_of_the_region_are_scored_by_the_density_that_they_did_not_train(found: Anode) -> None:
    rng = np.random.default_rng(1)
    parts = [_background(10_000, rng), _signal(600, rng)]
    features, mass = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    np.testing.assert_array_equal(found.rows, np.flatnonzero((mass >= 2.0) & (mass < 3.0)))
    assert set(found.fold) == {0, 1}
    every = found.score(features[found.rows], mass[found.rows])
    np.testing.assert_allclose(found.scores, every[found.fold, np.arange(len(found.rows))], rtol=1e-5)
    signal = found.rows >= 10_000
    assert found.scores[signal].mean() > found.scores[~signal].mean() + 0.5


def test_a_density_is_normalised_in_the_features_as_given() -> None:
    from scipy.integrate import trapezoid

    rng = np.random.default_rng(5)
    x = rng.uniform(10.0, 14.0, (2000, 1)) + 0.1 * rng.normal(size=(2000, 1))
    density = fit_density(x, rng.normal(size=2000), num_steps=60, width=16, num_layers=1)
    low, high = density.bounds.low[0], density.bounds.high[0]
    grid = np.linspace(low, high, 4001)[:, None]
    values = np.exp(density.log_prob(grid, np.zeros(len(grid))))
    assert trapezoid(values, grid[:, 0]) == pytest.approx(1.0, abs=0.03)
    assert np.exp(density.log_prob([[12.0]], [0.0]))[0] == pytest.approx(0.25, rel=0.25)


def test_a_seed_repeats_the_scores() -> None:
    rng = np.random.default_rng(6)
    x, m = _background(1500, rng)
    runs = [anode(x, m, REGION, num_steps=10, width=8, num_layers=1, seed=seed).scores for seed in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_bounds_are_outside_of_all_events() -> None:
    x = np.array([[0.0, 5.0], [1.0, 9.0]])
    z, log_det = Bounds.of(x).unbounded(x)
    assert np.isfinite(z).all()
    low, high = -0.01, 1.01
    u = (1.0 - low) / (high - low)
    assert z[1, 0] == pytest.approx(np.log(u / (1 - u)))
    widths = np.array([1.02, 4.08])
    np.testing.assert_allclose(log_det, -np.log(widths * u * (1 - u)).sum() * np.ones(2))


def _data() -> tuple[Floats, Floats]:
    return _background(1000, np.random.default_rng(7))


@pytest.mark.parametrize(
    ("region", "options", "words"),
    [
        ((6.0, 7.0), {}, r"region: 6 to 7: the region has 0 of 1000 events"),
        ((-1.0, 2.0), {}, r"the sideband below has 0 of 1000"),
        ((3.0, 5.5), {}, r"the sideband above has 0 of 1000"),
        ((3.0, 2.0), {}, r"the lower limit comes first"),
        ((2.0, 3.0), {"sidebands": (2.5, 4.0)}, r"sidebands: 2.5 to 4 do not reach beyond the region 2 to 3"),
        ((2.0, 3.0), {"num_folds": 1}, r"num_folds: 1"),
        ((2.0, 2.7), {"num_folds": 2}, r"folds of \d+ events leave fewer than 100 to fit"),
    ],
)
def test_a_region_that_cannot_be_searched_is_refused(
    region: tuple[float, float], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidValue, match=words):
        anode(*_data(), region, num_steps=1, **options)


def test_values_that_are_not_finite_are_named() -> None:
    x, m = _data()
    x[17, 1] = np.nan
    with pytest.raises(InvalidValue, match=r"features: event 17 is \[.*nan\]"):
        anode(x, m, REGION)
    x, m = _data()
    m[3] = np.inf
    with pytest.raises(InvalidValue, match=r"mass: event 3 is \[inf\]"):
        anode(x, m, REGION)


def test_arrays_that_do_not_fit_are_refused() -> None:
    x, m = _data()
    with pytest.raises(InvalidValue, match="mass: 999 values for 1000 events"):
        anode(x, m[:-1], REGION)
    with pytest.raises(InvalidValue, match=r"features: shape \(1000,\)"):
        anode(x[:, 0], m, REGION)
    with pytest.raises(InvalidValue, match="features: no events"):
        anode(x[:0], m[:0], REGION)
    with pytest.raises(InvalidValue, match="features: no columns"):
        anode(x[:, :0], m, REGION)
    x[:, 1] = 2.0
    with pytest.raises(InvalidValue, match="features: column 1 is 2 for all events"):
        anode(x, m, (1.5, 3.5))
    with pytest.raises(InvalidValue, match="features: 99 events"):
        fit_density(x[:99], m[:99])


def test_a_density_refuses_other_features(found: Anode) -> None:
    with pytest.raises(InvalidValue, match="features: 3 columns, but the density has 2"):
        found.background.log_prob(np.zeros((2, 3)), [2.5, 2.5])
