"""Profiles along and across showers: closed forms, weights, choice of layers, errors."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.formats import calochallenge as module
from fastsim.formats.calochallenge import Showers
from metrics.sample import Sample
from metrics.showers.features import showers_sample
from metrics.showers.profiles import longitudinal_profile, radial_profile
from tests.helpers.showers import electron_binning, mixed_binning, toy_showers


def test_known_showers() -> None:
    binning = electron_binning(3, 2, 4)
    voxels = np.zeros((2, 3, 4, 2), np.float32)
    voxels[0, 1, :, 0], voxels[1, 1, 2, 1], voxels[:, 2, 0, 1] = 1.0, 8.0, 3.0
    sample = showers_sample(Showers(np.full(2, 1e3), voxels.reshape(2, -1)), binning)
    along = longitudinal_profile(sample)
    assert along.mean == pytest.approx([0.0, 6.0, 3.0]) and along.edges.tolist() == [0, 1, 2, 3]
    assert along.error == pytest.approx([0.0, 2 / np.sqrt(2), 0.0])
    across = radial_profile(sample)
    assert across.mean == pytest.approx([2.0, 7.0]) and across.edges == pytest.approx([0.0, 20.925, 41.85])
    assert radial_profile(sample, [2]).mean == pytest.approx([0.0, 3.0])


def test_shares_of_the_incident_energy() -> None:
    """1 GeV with 4 and 6 MeV in two layers, 100 GeV with 200 MeV in the second: each shower counts alike."""
    binning = electron_binning(2, 1, 1)
    voxels = np.array([[4.0, 6.0], [0.0, 200.0]], np.float32)
    sample = showers_sample(Showers(np.array([1e3, 1e5]), voxels), binning)
    along = longitudinal_profile(sample, over_incident=True)
    assert along.mean == pytest.approx([0.002, 0.004]) and along.error == pytest.approx(np.array([2e-3, 2e-3]) / 2**0.5)


def test_sums_and_chunks(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    binning = electron_binning(6, 5, 4)
    sample = showers_sample(toy_showers(37, binning, rng), binning)
    total = np.mean(sample.observables["E_tot/E_inc"] * sample.condition["energy"] * 1e3)
    whole = radial_profile(sample)
    assert whole.mean.sum() == pytest.approx(total) == pytest.approx(longitudinal_profile(sample).mean.sum())
    monkeypatch.setattr(module, "CHUNK_VALUES", 120 * 5)
    assert radial_profile(sample).mean == pytest.approx(whole.mean)
    parts = sum(radial_profile(sample, [k]).mean for k in range(6))
    assert parts == pytest.approx(whole.mean)


def test_error_is_that_of_the_mean(rng: np.random.Generator) -> None:
    binning = electron_binning(4, 3, 2)
    sample = showers_sample(toy_showers(200, binning, rng), binning)
    energy = sample.observables["E_layer 2 / MeV"]
    assert longitudinal_profile(sample).error[2] == pytest.approx(energy.std() / np.sqrt(200))


def test_weights_of_either_sign(rng: np.random.Generator) -> None:
    binning = electron_binning(4, 3, 2)
    showers = toy_showers(60, binning, rng)
    twice = Showers(np.append(showers.incident, showers.incident[:9]), np.append(showers.voxels, showers.voxels[:9], 0))
    signed = showers_sample(twice, binning, weights=np.repeat([1.0, -1.0], [60, 9]))
    kept = showers_sample(showers[9:], binning)
    for profile in (longitudinal_profile, radial_profile):
        assert profile(signed).mean == pytest.approx(profile(kept).mean)
        assert (profile(signed).error > profile(kept).error).all()


def test_errors(rng: np.random.Generator) -> None:
    showers, binning = toy_showers(5, mixed_binning(), rng), mixed_binning()
    sample = showers_sample(showers, binning)
    with pytest.raises(ValueError, match="have different rings: name layers of the same"):
        radial_profile(sample)
    with pytest.raises(ValueError, match=r"layers \[2\]: those with voxels are \[0, 1, 3, 12\]"):
        radial_profile(sample, [2])
    with pytest.raises(ValueError, match=r"layers \[\]"):
        radial_profile(sample, [])
    assert len(radial_profile(sample, [1]).mean) == 3
    with pytest.raises(ValueError, match="does not hold its showers"):
        radial_profile(showers_sample(iter([showers]), binning), [1])
    for empty in (sample[:0], showers_sample(showers, binning, weights=np.array([1.0, -1, 0, 0, 0]))):
        with pytest.raises(ValueError, match="needs showers whose weights sum to more than 0"):
            longitudinal_profile(empty)
    with pytest.raises(ValueError, match="no binning"):
        longitudinal_profile(Sample("arrays", {}, np.zeros((3, 1))))
