"""The unbinned fit, on a Gaussian of unknown mean and width, and where the data do not say all."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.errors import FastsimError
from fastsim.event import Floats
from fastsim.tuning.likelihood_fit import Scores, maximise

NUM = 2000
BOUNDS = np.full(2, -1.0), np.full(2, 1.0)


def gaussian(x: Floats) -> Scores:
    """Scores of N(a, exp(2 b)) for a, b."""

    def scores(point: Floats, some: slice) -> tuple[Floats, Floats]:
        a, b = point
        z = (x[some] - a) / np.exp(b)
        return -0.5 * z**2 - b, np.stack([z / np.exp(b), z**2 - 1], -1)

    return scores


def test_pulls_of_mean_and_width_are_of_unit_size(rng: np.random.Generator) -> None:
    truth = np.array([0.3, -0.2])
    pulls = []
    for _ in range(40):
        x = rng.normal(truth[0], np.exp(truth[1]), NUM)
        found = maximise(gaussian(x), NUM, np.zeros(2), *BOUNDS)
        assert found.converged and found.gain > 0 and found.num_points < 12
        np.testing.assert_allclose(found.point, [x.mean(), np.log(x.std())], atol=2e-3)
        expected = np.diag([np.exp(2 * truth[1]), 0.5]) / NUM
        np.testing.assert_allclose(found.covariance, expected, atol=0.25 * expected.max())
        pulls.append((found.point - truth) / np.sqrt(np.diag(found.covariance)))
    assert 0.8 < np.std(pulls) < 1.2
    assert abs(np.mean(pulls)) < 4 / np.sqrt(80)


def test_the_covariance_covers_a_model_that_is_wrong(rng: np.random.Generator) -> None:
    # log-width of a Gaussian fitted to a Laplace distribution: Var = (kurtosis - 1) / 4N = 1.25 / N, not 0.5 / N
    x = rng.laplace(scale=np.sqrt(0.5), size=NUM)
    found = maximise(gaussian(x), NUM, np.zeros(2), *BOUNDS)
    assert found.covariance[1, 1] * NUM == pytest.approx(np.mean((x / x.std()) ** 4 - 1) / 4, rel=0.15)


def test_a_direction_without_information_stays_and_is_named(rng: np.random.Generator) -> None:
    x = rng.normal(0.4, 1.0, NUM)

    def scores(point: Floats, some: slice) -> tuple[Floats, Floats]:
        z = x[some] - point.sum()  # of the sum alone
        return -0.5 * z**2, np.stack([z, z], -1)

    found = maximise(scores, NUM, np.zeros(2), *BOUNDS)
    assert found.point.sum() == pytest.approx(x.mean(), abs=2e-3)
    assert found.point[0] - found.point[1] == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(np.abs(found.directions.degenerate), np.full((2, 1), np.sqrt(0.5)))
    assert np.isinf(np.diag(found.directions.spread(found.covariance))).all()


def test_a_maximum_beyond_the_range_is_at_its_edge(rng: np.random.Generator) -> None:
    found = maximise(gaussian(rng.normal(1.5, 1.0, NUM)), NUM, np.zeros(2), *BOUNDS)
    assert found.point[0] == 1.0 and -1 < found.point[1] < 1


def test_too_few_events_and_no_density(rng: np.random.Generator) -> None:
    with pytest.raises(FastsimError, match="99 events: a fit needs 100"):
        maximise(gaussian(rng.normal(size=99)), 99, np.zeros(2), *BOUNDS)
    x = rng.normal(size=NUM)
    x[7] = np.nan
    with pytest.raises(FastsimError, match="event 7"):
        maximise(gaussian(x), NUM, np.zeros(2), *BOUNDS)
