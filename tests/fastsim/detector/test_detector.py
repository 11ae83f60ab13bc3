"""Detectors: what ships, the maps from cells to voxels, the binning, and what TOML files may not say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastsim.detector.binning import read_binning
from fastsim.detector.detector import PARTICLES, Detector, Section, available, load_detector
from fastsim.detector.shower_gun import ShowerGun
from fastsim.detector.towers import towers_of
from fastsim.errors import FastsimError
from fastsim.production.options import RunOptions
from fastsim.shipped import data_folder
from generators.reference.geant4_run import make_showers
from generators.reference.geant4_showers import Geant4Showers

POLAR = "num_layers = 4\nabsorber_mm = 2.0\nactive_mm = 0.5\ncell_mm = 5.0\nrings = [1, 2]\nnum_alpha = 3\n"
HEAD = 'absorber = "G4_Pb"\nactive = "G4_Si"\nphysics = "em"\nparticles = ["e-"]\nmin_energy = 1\nmax_energy = 10\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_what_ships() -> None:
    assert available() == ["copper", "copper-towers", "pb-si-ecal"]
    copper = load_detector("copper")
    assert set(copper.particles) == set(PARTICLES) and (copper.min_energy, copper.max_energy) == (0.1, 200.0)
    assert copper.absorber == copper.active and copper.physics == "FTFP_BERT"
    layers = [section.group for section in copper.sections]
    assert layers == sorted(layers) and copper.depth_mm > 10 * 153, "10 interaction lengths of copper"


def test_ecal_has_the_voxels_of_the_challenges_dataset_2(shared: Path) -> None:
    theirs = read_binning(shared / "calochallenge" / "binning_dataset_2.xml")
    detector = load_detector("pb-si-ecal")
    ours = detector.binning("e-")
    assert ours is not None and ours.layers == theirs.layers and ours.pid == theirs.pid
    assert detector.num_voxels == ours.num_voxels == 6480


@pytest.mark.parametrize("name", ["1_photons", "1_pions", "3"])
def test_a_binning_is_a_detector_of_which_nothing_else_is_known(shared: Path, name: str) -> None:
    path = shared / "calochallenge" / f"binning_dataset_{name}.xml"
    theirs, detector = read_binning(path), load_detector(path)
    ours = detector.binning({22: "gamma", 211: "pi+", 11: "e-"}[theirs.pid])
    assert ours is not None and ours.layers == theirs.layers and detector.num_voxels == theirs.num_voxels
    assert detector.name == path.stem and Detector.from_dict(json.loads(json.dumps(detector.as_dict()))) == detector
    assert "layout" not in load_detector("copper").as_dict()
    with pytest.raises(FastsimError, match=f"detector {path.stem}: a binning says nothing of its materials and depths"):
        towers_of(detector)
    with pytest.raises(FastsimError, match="which Geant4 needs: give its description"):
        make_showers(ShowerGun(detector, "gamma", (1, 10)), "a.h5", num=1, options=RunOptions())
    with pytest.raises(FastsimError, match="which Geant4 needs: give its description"):
        Geant4Showers(detector)


def test_what_is_no_layout_is_said(tmp_path: Path) -> None:
    (tmp_path / "copper.xml").write_text("<Bins/>")
    (tmp_path / "mine.xml").write_text("<Bins>")
    for name, message in (("copper", "copper is the name of a detector that ships"), ("mine", "mine.xml")):
        with pytest.raises(FastsimError, match=message):
            load_detector(tmp_path / f"{name}.xml")
    with pytest.raises(FastsimError, match=r"absent.xml"):
        load_detector(tmp_path / "absent.xml")
    values = {**load_detector("copper").as_dict(), "layout": [{"id": 0, "r_edges": [0, 1], "num_alpha": 1}]}
    with pytest.raises(FastsimError, match="has sections and a layout: give one of them"):
        Detector.from_dict(values)
    with pytest.raises(FastsimError, match="layout are objects in a list"):
        Detector.from_dict({**values, "layout": 3})


def test_binning_of_groups_and_rings(tmp_path: Path) -> None:
    detector = load_detector(written(tmp_path, f"{HEAD}[[section]]\n{POLAR}group = 2\n[[section]]\n{POLAR}"))
    binning = detector.binning("e-")
    assert binning is not None and [layer.id for layer in binning.layers] == [0, 1, 2, 3, 4, 5]
    assert {layer.r_edges for layer in binning.layers} == {(0.0, 5.0, 15.0)}
    assert detector.num_voxels == binning.num_voxels == 6 * 2 * 3
    assert detector.name == "mine" and detector.depth_mm == 20.0


def test_voxel_of_cell_against_loops() -> None:
    section = Section(6, 1.0, 1.0, 1.0, group=3, rings=(1, 2, 1), num_alpha=2)
    ring_of = [0, 1, 1, 2]
    wanted = [(layer // 3 * 2 + row) * 3 + ring_of[cell] for layer in range(6) for row in range(2) for cell in range(4)]
    assert section.voxel_of_cell().tolist() == wanted
    box = Section(4, 1.0, 1.0, 1.0, group=2, num_x=3, num_y=2)
    assert box.voxel_of_cell().tolist() == [*range(6), *range(6), *range(6, 12), *range(6, 12)]
    assert np.bincount(box.voxel_of_cell()).tolist() == [2] * 12


def test_a_box_has_no_challenge_binning(tmp_path: Path) -> None:
    box = POLAR.replace("rings = [1, 2]\nnum_alpha = 3", "num_x = 4\nnum_y = 5")
    detector = load_detector(written(tmp_path, f"{HEAD}[[section]]\n{box}"))
    assert detector.binning("e-") is None and detector.num_voxels == 80


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("absorber =", "absorbor =", "unknown key 'absorbor'; detector has absorber, active"),
        ("rings =", "ring =", "unknown key 'ring'; section has absorber_mm"),
        ('absorber = "G4_Pb"\n', "", "missing 1 required"),
        ("num_layers = 4\n", "", "missing 1 required"),
        ('"em"', '"QGSP"', "physics 'QGSP' is none of em, FTFP_BERT"),
        ('["e-"]', '["e-", "x"]', "particles ['x'] are none of e-, e+"),
        ('["e-"]', '["e-", "n"]', "physics 'em' has no interactions of n"),
        ("min_energy = 1", "min_energy = -1", "min_energy is -1, must be a positive number"),
        ("min_energy = 1", "min_energy = nan", "min_energy is nan, must be a positive number"),
        ("min_energy = 1", "min_energy = 20", "min_energy 20 is above 10"),
        ("min_energy = 1", 'min_energy = "1"', "min_energy is '1', must be a positive number"),
        ("min_energy = 1", "msc_step_limit = 'Fine'\nmin_energy = 1", "msc_step_limit 'Fine' is none of Minimal"),
        ("min_energy = 1", "step_fraction = 2\nmin_energy = 1", "fractions, 1 at most"),
        ("absorber_mm = 2.0", "absorber_mm = 0", "absorber_mm is 0, must be a positive length"),
        ("cell_mm = 5.0", "cell_mm = inf", "cell_mm is inf, must be a positive length"),
        ("num_layers = 4", "num_layers = 4.5", "must be whole numbers"),
        ("num_layers = 4", "num_layers = 4\ngroup = 3", "4 layers in groups of 3"),
        ("num_layers = 4", "num_layers = 40000000", "cells, at most 1,000,000"),
        ("rings = [1, 2]", "rings = [1, 0]", "give rings and num_alpha, or num_x and num_y"),
        ("num_alpha = 3", "num_x = 3", "give rings and num_alpha, or num_x and num_y"),
        ("[[section]]", "[section]", "sections are written [[section]]"),
        ("[[section]]", "[[section", "is not TOML"),
    ],
)
def test_bad_files(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = f"{HEAD}[[section]]\n{POLAR}"
    load_detector(written(tmp_path, text))
    with pytest.raises(FastsimError) as error:
        load_detector(written(tmp_path, text.replace(old, new, 1)))
    assert message in str(error.value) and str(error.value).startswith(str(tmp_path)) and "\n" not in str(error.value)


def test_a_name_that_ships_is_of_one_detector_alone(tmp_path: Path) -> None:
    text = (data_folder() / "detectors" / "pb-si-ecal.toml").read_text(encoding="utf-8")
    path = tmp_path / "pb-si-ecal.toml"
    path.write_text(text)
    assert load_detector(path) == load_detector("pb-si-ecal")
    path.write_text(text.replace("absorber_mm = 2.5", "absorber_mm = 10.0"))
    with pytest.raises(FastsimError, match="the name of a detector that ships, and this is another"):
        load_detector(path)


def test_no_section_or_a_mixture(tmp_path: Path) -> None:
    with pytest.raises(FastsimError, match="has no section"):
        load_detector(written(tmp_path, HEAD))
    box = Section(1, 1.0, 1.0, 1.0, num_x=3, num_y=2)
    detector = load_detector("pb-si-ecal")
    with pytest.raises(FastsimError, match="do not mix"):
        replace(detector, sections=(*detector.sections, box))


def test_unknown_detectors(tmp_path: Path) -> None:
    with pytest.raises(FastsimError, match=r"no detector 'ecal'; there are copper, copper-towers, pb-si-ecal, or give"):
        load_detector("ecal")
    with pytest.raises(FastsimError, match=r"none\.toml: cannot be read: No such file"):
        load_detector(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("particle", "low", "high", "message"),
    [
        ("pi+", 1.0, 2.0, "particle 'pi\\+' is none of e-, e\\+, gamma"),
        ("e-", 0.05, 2.0, "energies 0.05:2 GeV are outside its 0.1:100 GeV"),
        ("e-", 1.0, 101.0, "energies 1:101 GeV are outside"),
        ("e-", 0.0, 2.0, "must be finite, positive"),
        ("e-", -1.0, 2.0, "must be finite, positive"),
        ("e-", float("nan"), 2.0, "must be finite, positive"),
        ("e-", 1.0, float("inf"), "must be finite, positive"),
        ("e-", 3.0, 2.0, "the lower one first"),
    ],
)
def test_what_a_detector_is_not_meant_for(particle: str, low: float, high: float, message: str) -> None:
    detector: Detector = load_detector("pb-si-ecal")
    with pytest.raises(FastsimError, match=message):
        detector.check(particle, low, high)
