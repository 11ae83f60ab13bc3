"""Correlations between layers: numpy's, weights, and the distance of two samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsim.formats.calochallenge import Showers
from metrics.sample import Sample
from metrics.showers.correlation import correlation_distance, layer_correlations
from metrics.showers.features import layer_energies, showers_sample
from tests.helpers.showers import electron_binning, toy_showers

BINNING = electron_binning(6, 2, 2)


@pytest.fixture
def sample(rng: np.random.Generator) -> Sample:
    return showers_sample(toy_showers(800, BINNING, rng), BINNING)


def _of_layers(fractions: NDArray[Any], weights: NDArray[Any] | None = None) -> Sample:
    """Make showers whose layers hold these fractions of 1 GeV."""
    voxels = np.zeros((len(fractions), BINNING.num_voxels), np.float32)
    voxels[:, ::4] = 1e3 * fractions
    return showers_sample(Showers(np.full(len(fractions), 1e3), voxels), BINNING, weights=weights)


def test_matches_numpy(sample: Sample) -> None:
    x = layer_energies(sample) / sample.condition["energy"][:, None]
    assert layer_correlations(sample) == pytest.approx(np.corrcoef(x.T), abs=1e-9)


def test_constant_layers_are_uncorrelated(rng: np.random.Generator) -> None:
    x = rng.uniform(size=(50, 6))
    x[:, 2], x[:, 4] = 0.0, 0.3
    rho = layer_correlations(_of_layers(x))
    assert np.array_equal(np.diagonal(rho), np.ones(6))
    assert np.array_equal(rho[[2, 4]], np.eye(6)[[2, 4]])


def test_weights_of_either_sign(rng: np.random.Generator) -> None:
    x = rng.uniform(size=(60, 6))
    kept = layer_correlations(_of_layers(x[9:]))
    signed = _of_layers(np.append(x, x[:9], 0), np.repeat([1.0, -1.0], [60, 9]))
    assert layer_correlations(signed) == pytest.approx(kept, abs=1e-6)
    with pytest.raises(ValueError, match="negative weights outweigh"):
        layer_correlations(_of_layers(x, np.where(np.abs(x[:, 0] - 0.5) > 0.3, -0.9, 1.0)))


def test_distance(sample: Sample, rng: np.random.Generator) -> None:
    other = showers_sample(toy_showers(700, BINNING, rng), BINNING)
    found = correlation_distance(sample, other)
    difference = (layer_correlations(sample) - layer_correlations(other))[~np.eye(6, dtype=bool)]
    assert found.value == pytest.approx(np.sqrt(np.mean(difference**2)), rel=1e-9)
    assert abs(found.sigmas) < 4 and found.null_value > 0 and found.error > 0
    assert correlation_distance(sample, sample[::-1]).value == pytest.approx(0.0, abs=1e-9)


def test_layers_of_other_showers_are_found_out(rng: np.random.Generator) -> None:
    """Give each layer the right distribution, but of another shower: only the correlation is lost."""
    real = _of_layers(rng.dirichlet(np.ones(6), 1500))
    x = rng.dirichlet(np.ones(6), 1500)
    alike, mixed = _of_layers(x), _of_layers(np.stack([rng.permutation(c) for c in x.T], axis=1))
    # equal parts of a whole have correlations of -1/5
    assert correlation_distance(real, mixed).value == pytest.approx(0.2, abs=0.02)
    assert correlation_distance(real, mixed).sigmas > 10
    assert abs(correlation_distance(real, alike).sigmas) < 4


def test_errors(sample: Sample, rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="at least 2 showers, got 1"):
        layer_correlations(sample[:1])
    with pytest.raises(ValueError, match="at least 2 events a sample, got 800 and 0"):
        correlation_distance(sample, sample[:0])
    with pytest.raises(ValueError, match="has no binning"):
        layer_correlations(Sample("arrays", {}, np.zeros((3, 1))))
    single = electron_binning(1, 2, 2)
    one = showers_sample(toy_showers(9, single, rng), single)
    with pytest.raises(ValueError, match="at least two layers"):
        correlation_distance(one, one)
