"""Geant4's showers: the laws of calorimetry, symmetries, directions, and where its data is looked for.

Statistical limits are 4 standard errors or wider, with fixed seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsim.detector.detector import Detector, Section, load_detector
from fastsim.detector.shower_gun import ShowerGun
from fastsim.errors import FastsimError
from fastsim.formats.calochallenge import Showers, read_showers
from fastsim.production.options import RunOptions
from generators.reference.geant4 import DATA_SETS, DATA_VARIABLE, data_environment
from generators.reference.geant4_run import make_showers

Shoot = Callable[..., Showers]

LEAD_X0, SILICON_X0 = 5.612, 93.70
"""Radiation lengths in mm (Particle Data Group)."""


@pytest.fixture(scope="module")
def shoot(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Shoot:
    """Return a function that shoots particles of one energy, once for all tests that ask for the same."""
    cache: dict[tuple[object, ...], Showers] = {}

    def shower(
        detector: Detector | str, particle: str, energy: float, num: int, theta: float = 0.0, phi: float = 0.0
    ) -> Showers:
        key = (detector, particle, energy, num, theta, phi)
        if key not in cache:
            target = load_detector(detector) if isinstance(detector, str) else detector
            output = tmp_path_factory.mktemp("showers") / "showers.h5"
            data = shared / "geant4" / ("em" if target.physics == "em" else "copper")
            gun = ShowerGun(target, particle, (energy, energy), theta=theta, phi=phi, seed=5)
            make_showers(gun, output, num=num, options=RunOptions(seed=gun.seed), data=data)
            cache[key] = read_showers(output, target.binning(particle))
        return cache[key]

    return shower


def fractions(showers: Showers) -> tuple[float, float, float]:
    """Visible over incident energy: mean, its standard error, and relative width."""
    ratio = showers.voxels.sum(1) / showers.incident
    return float(ratio.mean()), float(ratio.std() / math.sqrt(len(ratio))), float(ratio.std() / ratio.mean())


def depth(showers: Showers) -> tuple[float, float]:
    """Mean depth in radiation lengths in pb-si-ecal, with its standard error."""
    layers = showers.voxels.reshape(len(showers), 45, -1).sum(2)
    step = 2.5 / LEAD_X0 + 0.3 / SILICON_X0
    means = layers @ ((np.arange(45) + 0.9) * step) / layers.sum(1)
    return float(means.mean()), float(means.std() / math.sqrt(len(means)))


def test_a_block_of_lead_contains_the_shower(shoot: Shoot) -> None:
    """Everything scored: the deposits have to add up to the incident energy, in the right unit."""
    block = Section(num_layers=10, absorber_mm=0.001, active_mm=20.0, cell_mm=50.0, rings=(1, 1, 1, 1), num_alpha=2)
    detector = replace(load_detector("pb-si-ecal"), name="block", active="G4_Pb", sections=(block,))
    total, _, _ = fractions(shoot(detector, "e-", 1.0, 10))
    assert 0.97 < total < 1.0


def test_sampling_fraction_is_linear(shoot: Shoot) -> None:
    low, error_low, _ = fractions(shoot("pb-si-ecal", "e-", 1.0, 100))
    high, error_high, _ = fractions(shoot("pb-si-ecal", "e-", 8.0, 40))
    assert 0.0285 < low < 0.0320, "measured with other geometry code and the same Geant4: 0.0303-0.0307"
    assert abs(low - high) < 4 * math.hypot(error_low, error_high) + 0.01 * low


def test_resolution_falls_as_the_root_of_the_energy(shoot: Shoot) -> None:
    _, _, low = fractions(shoot("pb-si-ecal", "e-", 1.0, 100))
    _, _, high = fractions(shoot("pb-si-ecal", "e-", 8.0, 40))
    assert 0.10 < low < 0.17
    # widths of 100 and 40 showers are known to 7% and 11%
    assert 0.6 < high * math.sqrt(8.0) / low < 1.5


def test_showers_move_deeper_with_the_logarithm_of_the_energy(shoot: Shoot) -> None:
    low, error_low = depth(shoot("pb-si-ecal", "e-", 1.0, 100))
    high, error_high = depth(shoot("pb-si-ecal", "e-", 8.0, 40))
    assert abs(high - low - math.log(8.0)) < 4 * math.hypot(error_low, error_high) + 0.15


def test_photons_start_later_than_electrons(shoot: Shoot) -> None:
    """By 9/7 radiation lengths to the first pair, less what the electron loses on the way."""
    electron, _ = depth(shoot("pb-si-ecal", "e-", 1.0, 100))
    photon, _ = depth(shoot("pb-si-ecal", "gamma", 1.0, 100))
    assert 0.4 < photon - electron < 1.5


def test_showers_are_symmetric_in_alpha(shoot: Shoot) -> None:
    binning = load_detector("pb-si-ecal").binning("e-")
    assert binning is not None
    showers = shoot("pb-si-ecal", "e-", 1.0, 100)
    for axis in ("eta", "phi"):
        weights = np.concatenate([getattr(layer, axis) for layer, _ in binning.parts])
        means = showers.voxels @ weights / showers.voxels.sum(1)
        assert abs(means.mean()) < 4 * means.std() / 10
    sectors = showers.voxels.reshape(100, 45, 16, 9).sum((1, 3))
    assert (abs(sectors.mean(0) - sectors.mean()) < 4 * sectors.std(0) / 10).all()


def test_voxels_lie_about_the_line_of_flight(shoot: Shoot) -> None:
    """A tilted shower has its core in the inner rings of all layers, and is as deep along its line as others are."""
    theta = 0.6
    straight, tilted = shoot("pb-si-ecal", "e-", 2.0, 60), shoot("pb-si-ecal", "e-", 2.0, 60, theta, 2.0)
    binning = load_detector("pb-si-ecal").binning("e-")
    assert binning is not None and straight.direction is None and tilted.direction is not None
    assert (tilted.direction == [theta, 2.0]).all() and (tilted.incident == straight.incident).all()
    for showers in (straight, tilted):
        deposits = showers.voxels.sum(0, dtype=np.float64)
        for number in (5, 10, 15):
            layer, part = binning.parts[number]
            means = [np.average(values, weights=deposits[part]) for values in (layer.eta, layer.phi, layer.r)]
            assert math.hypot(*means[:2]) < 1.0 and means[2] < 9.0, "off the line it would be 15 mm and more"
    # the track of an electron stays in a sector of the first layer, and does not cross many of them
    sectors = [(s.voxels.reshape(60, 45, 16, 9)[:, 0, :, 0] > 0).sum(1).mean() for s in (straight, tilted)]
    assert sectors[1] < 1.5 * sectors[0] + 0.5
    (one, error), (other, error_tilted) = depth(straight), depth(tilted)
    assert other / math.cos(theta) == pytest.approx(one, abs=0.1 * one + 4 * math.hypot(error, error_tilted))


def test_wide_layers_are_those_of_the_cells_where_the_tilt_is_none(shoot: Shoot) -> None:
    """Energies, rings and numbers of voxels of both ways to score are the same within their errors."""
    samples = shoot("pb-si-ecal", "e-", 1.0, 150), shoot("pb-si-ecal", "e-", 1.0, 150, 1e-9)

    def columns(showers: Showers) -> NDArray[np.float64]:
        v = showers.voxels.reshape(150, 45, 16, 9).astype(np.float64)
        layers, rings = v.sum((2, 3))[:, 1:21:4], v.sum((1, 2))[:, :6]
        hits = [(v > limit).sum((1, 2, 3)) for limit in (5e-4, 0.08)]
        return np.column_stack([v.sum((1, 2, 3)), layers, rings, *hits])

    for one, other in zip(*(columns(sample).T for sample in samples), strict=True):
        error = np.sqrt((one.var() + other.var()) / 150)
        assert abs(one.mean() - other.mean()) < 4 * error


def test_copper_sees_pions_less_than_electrons_and_muons_as_tracks(shoot: Shoot) -> None:
    electron, error_e, width_e = fractions(shoot("copper", "e-", 5.0, 25))
    pion, error_pi, width_pi = fractions(shoot("copper", "pi-", 5.0, 50))
    assert electron - pion > 2 * math.hypot(error_e, error_pi) and 1.0 < electron / pion < 1.5
    assert width_pi > 2 * width_e
    assert electron == pytest.approx(3.0 / 15.0, rel=0.05), "one material: the scored part of the thickness"
    muons = shoot("copper", "mu-", 5.0, 20).voxels.sum(1)
    # minimum ionisation in copper: 1.403 MeV cm2/g x 8.96 g/cm3 x 33 cm of scored copper
    assert 0.9 < np.median(muons) / (1.403 * 8.96 * 33) < 1.5


@pytest.mark.parametrize("particle", ["K0L", "pbar", "n"])
def test_other_hadrons_leave_showers(shoot: Shoot, particle: str) -> None:
    showers = shoot("copper", particle, 2.0, 10)
    mean, _, _ = fractions(showers)
    assert 0.03 < mean < 0.4 and (showers.incident == 2000.0).all()


def test_data_is_looked_for_in_order(tmp_path: Path) -> None:
    for name in ("G4EMLOW8.7", "G4ENSDFSTATE3.0", "G4PARTICLEXS4.2"):
        (tmp_path / name).mkdir()
    own = tmp_path / "own"
    own.mkdir()
    by_folder = data_environment("FTFP_BERT", tmp_path, {"G4LEDATA": str(own), DATA_VARIABLE: "elsewhere"})
    assert by_folder["G4LEDATA"] == str(tmp_path / "G4EMLOW8.7")
    assert set(by_folder) == {*DATA_SETS, "GEANT4_DATA_DIR"}, "what has no path makes the bindings ask to download"
    assert data_environment("em", None, {DATA_VARIABLE: str(tmp_path)}) == by_folder
    by_geant4 = data_environment("em", None, {"GEANT4_DATA_DIR": str(tmp_path), "G4LEDATA": str(own)})
    assert by_geant4["G4LEDATA"] == str(own) and by_geant4["G4PARTICLEXSDATA"] == str(tmp_path / "G4PARTICLEXS4.2")


def test_missing_data_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "G4EMLOW8.7").mkdir()
    with pytest.raises(FastsimError, match=r"not found: G4ENSDFSTATE \(G4ENSDFSTATEDATA\); install .*--geant4-data"):
        data_environment("em", tmp_path, {})
    with pytest.raises(FastsimError, match=r"G4EMLOW \(G4LEDATA\) and .* and G4PARTICLEXS \(G4PARTICLEXSDATA\)"):
        data_environment("FTFP_BERT", None, {})
    with pytest.raises(FastsimError, match=r"none is not a folder"):
        data_environment("em", tmp_path / "none", {})
