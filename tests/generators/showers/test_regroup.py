"""Showers in the voxels of a coarser read-out: sums against loops, energies kept, and what does not nest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastsim.detector.detector import Detector, Section, load_detector
from fastsim.detector.shower_gun import ShowerGun
from fastsim.errors import FastsimError
from fastsim.production.options import RunOptions
from generators.reference.geant4 import DATA_VARIABLE
from generators.reference.geant4_run import make_showers
from generators.showers.data import shower_sets
from generators.showers.regroup import Regrouping
from generators.showers.stored import read_stored
from tests.helpers.showers import store, toy_showers

FINE = replace(
    load_detector("pb-si-ecal"),
    sections=(
        Section(4, 1.0, 0.5, 2.0, rings=(1, 1, 2), num_alpha=4),
        Section(2, 1.0, 0.5, 1.0, rings=(2, 6), num_alpha=4),
    ),
)  # fmt: skip


def with_sections(**changes: object) -> Detector:
    """FINE with its first section changed."""
    return replace(FINE, sections=(replace(FINE.sections[0], **changes), *FINE.sections[1:]))  # type: ignore[arg-type]


def test_sums_against_loops(rng: np.random.Generator) -> None:
    coarse = with_sections(group=2, rings=(1, 3), num_alpha=2)
    regroup = Regrouping.of(FINE, coarse)
    voxels = rng.exponential(size=(3, FINE.num_voxels)).astype(np.float32)
    wanted = np.zeros((3, coarse.num_voxels))
    for layer in range(4):
        for alpha in range(4):
            for ring in range(3):
                new = (layer // 2 * 2 + alpha // 2) * 2 + (0 if ring == 0 else 1)
                wanted[:, new] += voxels[:, (layer * 4 + alpha) * 3 + ring]
    wanted[:, 8:] = voxels[:, 48:]  # the second section is as it was
    sums = regroup(voxels)
    assert sums.dtype == np.float32 and np.allclose(sums, wanted, rtol=1e-6)
    assert np.array_equal(Regrouping.of(FINE, FINE)(voxels), voxels)


def test_cells_of_another_size_nest_by_their_edges() -> None:
    assert Regrouping.of(FINE, with_sections(cell_mm=4.0, rings=(1, 1))).voxel[:3].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("coarse", "message"),
    [
        (with_sections(absorber_mm=2.0), "differ in more than their voxels"),
        (replace(FINE, cut_mm=1.0), "differ in more than their voxels"),
        (with_sections(num_layers=2), "differ in more than their voxels"),
        (with_sections(num_alpha=3), "section 1: voxels of pb-si-ecal do not make up"),
        (with_sections(rings=(3, 1)), "section 1: voxels of"),
        (with_sections(rings=(1, 1)), "section 1: voxels of"),
        (with_sections(rings=(1, 1, 1, 1)), "section 1: voxels of"),
    ],
)
def test_what_does_not_nest(coarse: Detector, message: str) -> None:
    with pytest.raises(FastsimError, match=message):
        Regrouping.of(FINE, coarse)


def test_training_takes_the_showers_of_the_finer_detector(rng: np.random.Generator, tmp_path: Path) -> None:
    copper, towers = load_detector("copper"), load_detector("copper-towers")
    binning = copper.binning("pi+")
    assert binning is not None
    showers = toy_showers(7, binning, rng, energy=(200.0, 2e5), response=0.2)
    store(tmp_path / "copper_pi+_0.1-200_7_5.h5", showers, binning, detector={"name": "copper"}, energy=[0.1, 200.0])
    data = [{"particle": "pi+", "num": 7, "seed": 5}]
    (simulated,) = shower_sets(data, copper, (0.1, 200.0), tmp_path / "config.json")
    regrouped = simulated.read(towers, tmp_path)
    order = np.argsort(regrouped.energy)
    assert regrouped.energy[order] == pytest.approx(np.sort(showers.incident) / 1e3)
    wanted = Regrouping.of(copper, towers)(showers.voxels)[np.argsort(showers.incident)]
    assert np.array_equal(regrouped.voxels[order], wanted) and set(regrouped.pdg_id) == {211}


def test_a_model_of_the_coarser_voxels_makes_its_own(tmp_path: Path) -> None:
    copper, towers = load_detector("copper"), load_detector("copper-towers")
    data = {"particle": "mu-", "num": 4, "seed": 5, "model": "copper-towers", "energy": [1, 2]}
    (made,) = shower_sets(data, copper, (0.1, 200.0), tmp_path / "config.json", learned=towers)
    showers = made.read(towers, tmp_path)
    assert showers.voxels.shape == (4, towers.num_voxels) and (showers.voxels.sum(1) > 0).all()
    assert showers.energy.min() >= 1 and showers.energy.max() <= 2


def test_copper_towers_are_coppers_voxels_regrouped(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same seed in both detectors gives showers of the same kind: what differs is where steps end."""
    monkeypatch.setenv(DATA_VARIABLE, str(shared / "geant4" / "copper"))
    fine, coarse = load_detector("copper"), load_detector("copper-towers")
    regroup = Regrouping.of(fine, coarse)
    assert regroup.num_voxels == coarse.num_voxels and np.bincount(regroup.voxel).min() >= 4
    voxels = []
    for detector in (fine, coarse):
        make_showers(
            ShowerGun(detector, "e-", (2.0, 2.0), seed=1),
            tmp_path / f"{detector.name}.h5",
            num=40,
            options=RunOptions(seed=1),
        )
        voxels.append(read_stored(tmp_path / f"{detector.name}.h5").showers.voxels)
    one, other = regroup(voxels[0]), voxels[1]
    assert one.sum(1) == pytest.approx(voxels[0].sum(1), rel=1e-5)
    layers = [x[:, : 5 * 48].reshape(40, 5, 48).sum(2) for x in (one, other)]
    for a, b in (*zip(*(x.T for x in layers), strict=True), (one.sum(1), other.sum(1))):
        assert abs(a.mean() - b.mean()) < 5 * np.hypot(a.std(), b.std()) / np.sqrt(40)
