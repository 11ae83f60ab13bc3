"""The binned fit, on histograms of a Gaussian whose samples and scores are exact."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fastsim.event import Floats
from fastsim.tuning.table_fit import Minimum, Prediction, minimise

EDGES = np.linspace(-3, 3, 25)
BOUNDS = np.full(2, -1.0), np.full(2, 1.0)
TRUTH = np.array([0.4, -0.15])
SIGMA = 0.003


def histogram(x: Floats) -> Floats:
    """What each value gives to the bins, (N, B)."""
    return np.asarray((x[:, None] >= EDGES[:-1]) & (x[:, None] < EDGES[1:]), dtype=np.float64)


def model(num: int, seed: int = 1, *, blind: bool = False) -> Callable[[Floats, int], Prediction]:
    """Samples of N(a, exp(2 b)); ``blind``: of the sum of both parameters alone, N(a + b, 1)."""

    def predict(point: Floats, number: int) -> Prediction:
        z = np.random.default_rng([seed, number]).normal(size=num)
        if blind:
            fills, scores = histogram(point.sum() + z), np.stack([z, z], -1)
        else:
            fills = histogram(point[0] + np.exp(point[1]) * z)
            scores = np.stack([z / np.exp(point[1]), z**2 - 1], -1)
        value = fills.mean(axis=0)
        return Prediction.of(value, fills - value, scores)

    return predict


def fit(seed: int, *, blind: bool = False, max_points: int = 8) -> Minimum:
    rng = np.random.default_rng(seed)
    exact = histogram(TRUTH[0] + np.exp(TRUTH[1]) * rng.normal(size=400_000)).mean(axis=0)
    data = exact + rng.normal(0, SIGMA, len(exact))
    sigma, weights = np.full(len(data), SIGMA), np.ones(len(data))
    predict = model(20_000, seed, blind=blind)
    return minimise(predict, data, sigma, weights, np.zeros(2), *BOUNDS, max_points=max_points)


def test_pulls_are_of_unit_size() -> None:
    pulls = []
    for seed in range(20):
        found = fit(seed)
        assert found.converged and found.num_points <= 6
        pulls.append((found.point - TRUTH) / np.sqrt(np.diag(found.covariance)))
    assert abs(np.mean(pulls)) < 4 / np.sqrt(40)
    assert 0.65 < np.std(pulls) < 1.35


def test_derivatives_are_those_of_the_model_without_the_bias_of_their_noise() -> None:
    found = model(50_000)(np.zeros(2), 0)
    middle = 0.5 * (EDGES[1:] + EDGES[:-1])
    density = np.exp(-0.5 * middle**2) / np.sqrt(2 * np.pi) * (EDGES[1] - EDGES[0])
    np.testing.assert_allclose(found.jacobian[:, 0], middle * density, atol=4e-3)
    np.testing.assert_allclose(found.fisher, np.diag([1.0, 2.0]), atol=0.1)
    # normal matrices of small samples are right in the mean
    weights, exact = 1 / density, np.sum(middle**2 * density)
    small = [model(400, seed)(np.zeros(2), 0) for seed in range(200)]
    corrected = np.mean([each.information(weights)[0, 0] for each in small])
    plain = np.mean([each.jacobian[:, 0] ** 2 @ weights for each in small])
    assert corrected == pytest.approx(exact, rel=0.05)
    assert plain > exact + 2 * abs(corrected - exact)


def test_a_direction_without_information_stays_where_it_is() -> None:
    found = fit(3, blind=True)
    assert found.directions.degenerate.shape == (2, 1)
    assert found.point[0] == pytest.approx(found.point[1], abs=1e-4)


def test_one_point_is_no_convergence() -> None:
    found = fit(1, max_points=1)
    assert not found.converged and found.num_points == 1
    np.testing.assert_array_equal(found.point, 0.0)
