"""Response and resolution: closed forms, errors against repeated samples, bins, agreement of two samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metrics.sample import Sample
from metrics.showers.features import showers_sample
from metrics.showers.response import energy_edges, response, response_differences
from tests.helpers.showers import electron_binning, toy_showers


def _sample(ratio: NDArray[Any], energy: NDArray[Any], weights: NDArray[Any] | None = None) -> Sample:
    return Sample("showers", {"E_tot/E_inc": ratio}, ratio[:, None], {"energy": energy}, weights)


def _gaussian(rng: np.random.Generator, num: int, *, mean: float = 0.8, stochastic: float = 0.1) -> Sample:
    energy = np.exp(rng.uniform(0.0, np.log(100.0), num))
    return _sample(mean * (1 + stochastic / np.sqrt(energy) * rng.normal(size=num)), energy)


def test_response_and_resolution_of_gaussians(rng: np.random.Generator) -> None:
    found = response(_gaussian(rng, 40_000), np.array([1.0, 10.0, 100.0]))
    assert found.num.sum() == 40_000
    assert found.energy == pytest.approx([9 / np.log(10), 90 / np.log(10)], rel=0.02)
    assert np.abs((found.response - 0.8) / found.response_error).max() < 3.5
    assert np.abs(found.linearity).max() < 5e-3
    # log-uniform energies: the mean of 0.01 / E over a bin is 0.01 (1/E_1 - 1/E_2) / log(E_2 / E_1)
    expected = np.sqrt(0.01 * np.array([0.9, 0.09]) / np.log(10))
    assert np.abs((found.resolution - expected) / found.resolution_error).max() < 3.5
    assert found.robust == pytest.approx(expected, rel=0.1)


def test_errors_are_the_spread_of_repeated_samples(rng: np.random.Generator) -> None:
    energy = np.full(400, 5.0)
    found = [response(_sample(rng.gamma(20.0, 0.05, 400), energy), seed=i) for i in range(150)]
    for name in ("response", "resolution", "robust"):
        values = np.array([getattr(f, name)[0] for f in found])
        errors = np.array([getattr(f, f"{name}_error")[0] for f in found])
        assert errors.mean() == pytest.approx(values.std(), rel=0.25), name


def test_tails_move_the_resolution_but_not_the_robust_one(rng: np.random.Generator) -> None:
    ratio = rng.normal(1.0, 0.02, 5000)
    clean = response(_sample(ratio, np.full(5000, 3.0)))
    ratio[:50] = 0.3
    tails = response(_sample(ratio, np.full(5000, 3.0)))
    assert tails.resolution[0] > 2 * clean.resolution[0]
    assert tails.robust[0] == pytest.approx(clean.robust[0], rel=0.05)
    assert clean.robust[0] == pytest.approx(clean.resolution[0], rel=0.1)


def test_toy_calorimeter_has_the_resolution_of_its_sampling(rng: np.random.Generator) -> None:
    binning = electron_binning(20, 6, 4)
    sample = showers_sample(toy_showers(1500, binning, rng, quantum=20.0, energy=(1e3, 1.05e3)), binning)
    found = response(sample, np.array([0.9, 1.1]))
    assert found.resolution[0] == pytest.approx(np.sqrt(2 * 20 / 1025), rel=0.1)
    assert found.response[0] == pytest.approx(0.98, abs=0.03)


def test_weights(rng: np.random.Generator) -> None:
    sample = _gaussian(rng, 500)
    times = rng.integers(0, 3, 500)
    repeated, weighted = (
        sample[np.repeat(np.arange(500), times)],
        _sample(sample.observables["E_tot/E_inc"], sample.condition["energy"], times.astype(np.float64)),
    )
    edges = np.array([1.0, 10.0, 100.0])
    one, other = response(repeated, edges), response(weighted, edges)
    for name in ("energy", "response", "resolution"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-9), name
    assert other.robust == pytest.approx(one.robust, rel=0.05)
    with pytest.raises(ValueError, match="go down to -1: the resolution needs non-negative weights"):
        response(_sample(np.ones(4), np.ones(4), np.array([1.0, -1.0, 1.0, 1.0])))


def test_edges() -> None:
    discrete = 2.0 ** np.arange(-2, 13)
    edges = energy_edges(np.repeat(discrete, 3))
    assert edges == pytest.approx(2.0 ** (np.arange(-2, 14) - 0.5))
    assert energy_edges(np.full(7, 50.0)).tolist() == [25.0, 100.0]
    continuous = np.geomspace(1.0, 1000.0, 777) * 1.0000001
    edges = energy_edges(continuous)
    assert len(edges) == 11 and (edges[0], edges[-1]) == (continuous[0], continuous[-1])
    assert response(_sample(np.ones(777), continuous)).num.sum() == 777
    for bad in ([], [1.0, np.nan], [0.0, 1.0]):
        with pytest.raises(ValueError, match="need energies, all positive and finite"):
            energy_edges(np.array(bad))


def test_bins_with_too_few_showers_are_nan() -> None:
    found = response(_sample(np.array([0.9, 1.1, 1.0]), np.array([1.0, 1.5, 5.0])), np.array([1.0, 2.0, 4.0, 8.0]))
    assert found.num.tolist() == [2, 0, 1]
    assert found.response[[0, 2]] == pytest.approx([1.0, 1.0]) and np.isnan(found.response[1])
    assert found.resolution[0] == pytest.approx(0.1) and np.isnan(found.resolution[1:]).all()
    assert found.linearity[[0, 2]] == pytest.approx([0.0, 0.0])
    dark = response(_sample(np.zeros(9), np.ones(9)))
    assert dark.response[0] == 0 and np.isnan(dark.resolution[0])
    sure = response(_sample(np.ones(9), np.ones(9)))
    assert [sure.resolution[0], sure.resolution_error[0], sure.robust[0]] == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)


def test_differences_of_equal_and_of_wrong_samples(rng: np.random.Generator) -> None:
    real, alike = _gaussian(rng, 6000), _gaussian(rng, 5000)
    for result in response_differences(real, alike).values():
        assert abs(result.sigmas) < 4 and result.p_value is not None and result.p_value > 0.01
    shifted = response_differences(real, _gaussian(rng, 5000, mean=0.84))
    assert shifted["response difference"].value == pytest.approx(0.05, abs=4e-3)
    assert shifted["response difference"].sigmas > 10
    broad = response_differences(real, _gaussian(rng, 5000, stochastic=0.13))
    assert broad["resolution difference"].value == pytest.approx(0.3, abs=0.06)
    assert broad["resolution difference"].sigmas > 5 > broad["response difference"].sigmas


def test_differences_are_those_of_the_responses(rng: np.random.Generator) -> None:
    real, generated = _gaussian(rng, 900), _gaussian(rng, 800)
    edges = np.array([1.0, 5.0, 20.0, 100.0, 200.0])
    one, other = response(real, edges), response(generated, edges)
    found = response_differences(real, generated, edges)
    for name, column in (("response difference", "response"), ("resolution difference", "resolution")):
        expected = np.nanmean(np.abs(getattr(other, column)[:3] / getattr(one, column)[:3] - 1))
        assert found[name].value == pytest.approx(expected, rel=1e-9)


def test_errors(rng: np.random.Generator) -> None:
    good = _gaussian(rng, 100)
    jets = Sample("arrays", {"x": np.ones(3)}, np.ones((3, 1)))
    with pytest.raises(ValueError, match="the sample is of arrays: response needs showers"):
        response(jets)
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        response(_sample(np.array([1.0, np.nan]), np.ones(2)))
    with pytest.raises(ValueError, match="must be two or more and increase"):
        response(good, np.array([2.0, 1.0]))
    with pytest.raises(ValueError, match="no bin of the incident energy has 30 events in both"):
        response_differences(good, good[:20])
    with pytest.raises(ValueError, match="no visible energy, or no width"):
        response_differences(_sample(np.zeros(99), np.ones(99)), _sample(np.zeros(99), np.ones(99)))
