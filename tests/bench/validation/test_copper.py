"""Figures of showers in copper: ratios with their errors, profiles, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.validation import copper as validate
from fastsim.detector.detector import load_detector
from fastsim.errors import FastsimError
from tests.helpers.showers import store, toy_showers

COPPER = load_detector("copper")


def sample(num: int, seed: int, scale: float = 1.0, width: float = 0.1) -> validate.Fractions:
    """Draw showers of falling layers and rings, whose response fluctuates."""
    rng = np.random.default_rng(seed)
    energy = np.exp(rng.uniform(np.log(0.1), np.log(200), num))
    x = scale * (0.2 + 0.01 * np.log(energy)) * (1 + width * rng.standard_normal(num))
    shape = np.exp(-np.arange(10.0))
    layers = x[:, None] * shape / shape.sum()
    return validate.Fractions(energy, layers, layers[:, :6] * (1 + 0.05 * rng.standard_normal((num, 6))))


def test_a_model_that_is_off_is_found_off() -> None:
    real = {"pi+": sample(3000, 1), "pi-": sample(3000, 2)}
    same = {"pi+": sample(3000, 3), "pi-": sample(3000, 4)}
    off = {"pi+": sample(3000, 5, 1.05, 0.2), "pi-": sample(3000, 6, 1.05, 0.2)}
    fits, differs = (validate.compare(real, other, 0.1, 200.5) for other in (same, off))
    for found, response, resolution in ((fits, 1.0, 1.0), (differs, 1.05, 2.0)):
        for (value, error), expected in ((found.response, response), (found.resolution, resolution)):
            assert 0 < error < 0.05 * expected and value == pytest.approx(expected, abs=4 * error)
    assert abs(fits.layers[0]) <= 0.02 and differs.layers[0] == pytest.approx(0.05, abs=0.02)
    results = validate.compare_all(real, {"off": off, "none": {}})
    assert set(results["pi+, pi-", "1-10"]) == {"Geant4", "off"} and "off | " in validate.markdown(results)
    figure = validate.card_figures(results, "off")["resolution-off/pi+-1-10"]
    assert figure.value > 0.5 > figure.null and validate.card_figures(results, "none") == {}


def test_only_bins_that_hold_the_energy_count() -> None:
    a = np.tile([90.0, 9.0, 1.0], (100, 1)) + np.random.default_rng(0).normal(0, 0.01, (100, 3))
    b = a * [1.0, 1.1, 5.0]
    worst, error, beyond = validate.deviations(a, b)
    assert worst == pytest.approx(0.1, rel=0.02) and error < 0.01
    assert beyond == pytest.approx(np.sqrt(0.01 / 2), rel=0.05)


def test_fractions_are_of_the_kinetic_energy() -> None:
    binning = COPPER.binning("pi+")
    assert binning is not None
    showers = toy_showers(20, binning, np.random.default_rng(0), energy=(1e3, 1e5))
    found = validate.fractions(COPPER, 211, showers.incident / 1e3, showers.voxels)
    visible = showers.voxels.sum(axis=1, dtype=np.float64) / showers.incident
    np.testing.assert_allclose(found.visible, visible, rtol=1e-6)
    np.testing.assert_allclose(found.rings.sum(axis=1), visible, rtol=1e-6)
    assert found.layers.shape == (20, 40) and found.rings.shape == (20, 17)


def test_showers_of_a_model_are_no_reference(tmp_path: Path) -> None:
    binning = COPPER.binning("pi+")
    assert binning is not None
    showers = toy_showers(5, binning, np.random.default_rng(0), energy=(1e3, 1e5))
    store(tmp_path / "a.h5", showers, binning, detector={"name": "copper"}, energy=[0.1, 200.0], model="cascade")
    with pytest.raises(FastsimError, match=r"a\.h5: give showers of Geant4 in copper"):
        validate.read_real([tmp_path / "a.h5"])
