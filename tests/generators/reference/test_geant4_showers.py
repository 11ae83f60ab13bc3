"""Geant4 as a source of showers: any mixture, the same bits for any number of workers, one clear line when it fails."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastsim.detector.detector import PARTICLES, Section, load_detector
from fastsim.detector.incidents import Incidents
from fastsim.errors import FastsimError, OutOfDomain
from fastsim.sources.showers import ShowerSource
from generators.reference.geant4 import DATA_SETS, DATA_VARIABLE
from generators.reference.geant4_showers import SHORT_LIVED, Geant4Showers, shares

COPPER = load_detector("copper")


@pytest.fixture(scope="module")
def data(shared: Path) -> Path:
    return shared / "geant4" / "copper"


@pytest.fixture(scope="module")
def source(data: Path) -> Iterator[Geant4Showers]:
    showers = Geant4Showers(COPPER, data=data)
    yield showers
    showers.close()


def mixture(num: int) -> Incidents:
    rng = np.random.default_rng(3)
    ids = rng.choice([*(pdg_id for pdg_id, _ in PARTICLES.values()), *SHORT_LIVED], num)
    theta, phi = rng.uniform(0, 0.5, num), rng.uniform(-np.pi, np.pi, num)
    return Incidents(ids, np.exp(rng.uniform(np.log(2e-3), np.log(0.3), num)), theta, phi)


def test_any_mixture_whatever_the_workers_and_the_calls_before(source: Geant4Showers, data: Path) -> None:
    assert isinstance(source, ShowerSource) and source.detector == "copper"
    incidents = mixture(110)
    assert len(shares(incidents.energy)) > 1, "more than one job"
    first = source.sample(incidents, rng=np.random.default_rng(1))
    assert first.shape == (110, 4000) and first.dtype == np.float32 and (first >= 0).all() and first.any(axis=1).any()
    # annihilation and decay set free more than the kinetic energy
    assert (first.sum(axis=1) < 1e3 * (incidents.energy + 2.0)).all()
    other = Geant4Showers(COPPER, data=data, workers=2)
    try:
        assert np.array_equal(other.sample(incidents, rng=np.random.default_rng(1)), first)
    finally:
        other.close()
    few = incidents[:9]
    one, repeated, two = (source.sample(few, rng=np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(one, repeated) and not np.array_equal(one, two)


def test_electrons_leave_the_scored_part_of_the_thickness(source: Geant4Showers) -> None:
    electrons = Incidents.perpendicular(11, np.full(40, 1.0))
    visible = source.sample(electrons, rng=np.random.default_rng(5)).sum(axis=1) / 1000
    assert visible.mean() == pytest.approx(0.2, abs=4 * visible.std() / np.sqrt(40))


def test_directions_are_each_particles_own(source: Geant4Showers, data: Path) -> None:
    """Muons stay near their own lines, about which voxels lie; one along the normal is the same among tilted ones."""
    theta, phi = np.array([0.3, 0.0, 0.5, 0.3]), np.array([0.5, 0.0, 2.5, -2.0])
    incidents = Incidents(np.full(4, 13), np.full(4, 10.0), theta, phi)
    showers = source.sample(incidents, rng=np.random.default_rng(1))
    assert (showers.sum(axis=1) > 0).all()
    for layer, part in source.binning(13).parts[10:25:5]:  # 150 mm deep and more: 45 mm beside the normal
        deposits = showers[:, part].astype(float)
        assert (deposits @ layer.r < 20 * deposits.sum(axis=1)).all()
    other = Geant4Showers(COPPER, data=data)
    try:
        alone = other.sample(incidents[:2], rng=np.random.default_rng(1))
    finally:
        other.close()
    assert np.array_equal(alone, showers[:2])


def test_particles_have_a_binning_each(source: Geant4Showers) -> None:
    assert source.binning(-211) == COPPER.binning("pi-")
    assert source.binning(310).pid == 310 and source.binning(310).num_voxels == 4000
    with pytest.raises(OutOfDomain, match="takes no particle 15"):
        source.binning(15)


@pytest.mark.parametrize(
    ("pdg_id", "energy", "theta"), [(15, 1.0, 0.0), (11, 1e-4, 0.0), (22, 1e6, 0.0), (13, 1.0, 1.55)]
)
def test_what_is_outside_is_refused(source: Geant4Showers, pdg_id: int, energy: float, theta: float) -> None:
    outside = Incidents(np.array([22, pdg_id]), np.array([1.0, energy]), np.array([0.0, theta]), np.zeros(2))
    assert source.domain.contains(outside).tolist() == [True, False]
    with pytest.raises(OutOfDomain, match=r"particle 1 \(.* GeV, theta .* is outside the domain of geant4"):
        source.sample(outside, rng=np.random.default_rng(1))


def test_no_particles_start_nothing(data: Path) -> None:
    source = Geant4Showers(COPPER, data=data)
    none = Incidents.perpendicular(22, np.zeros(0))
    assert source.sample(none, rng=np.random.default_rng(1)).shape == (0, 4000)
    source.close()
    source.close()


def test_a_worker_that_dies_is_one_line_and_the_next_call_works(data: Path) -> None:
    source = Geant4Showers(COPPER, data=data)
    incidents = mixture(5)
    before = source.sample(incidents, rng=np.random.default_rng(1))
    (geant4,) = source._geant4.values()
    (worker,) = geant4._workers.values()
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.join()
    with pytest.raises(FastsimError, match=r"^Geant4 stopped: .*; its log is .*geant4-0\.log$") as error:
        source.sample(incidents, rng=np.random.default_rng(1))
    assert "\n" not in str(error.value) and worker.log.is_file()
    assert np.array_equal(source.sample(incidents, rng=np.random.default_rng(1)), before)
    source.close()
    shutil.rmtree(worker.log.parent.parent)


def test_what_is_missing_is_said_at_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FastsimError, match="workers is 0"):
        Geant4Showers(COPPER, data=data, workers=0)
    box = Section(num_layers=2, absorber_mm=5.0, active_mm=1.0, cell_mm=10.0, num_x=8, num_y=6)
    with pytest.raises(FastsimError, match=r"its voxels lie in \(x, y\)"):
        Geant4Showers(replace(COPPER, sections=(box,)), data=data)
    for name in (*DATA_SETS, "GEANT4_DATA_DIR", DATA_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(FastsimError, match="not found: G4EMLOW"):
        Geant4Showers(COPPER)
    monkeypatch.setattr("generators.reference.geant4_showers.find_spec", lambda name: None)
    with pytest.raises(FastsimError, match=r"pip install 'fastsim-hep\[geant4\]'"):
        Geant4Showers(COPPER, data=data)
