"""``fastsim evaluate`` on showers in the layouts of CaloChallenge datasets 1, 2 and 3, with the challenge's binnings.

The showers are made up (``tests/helpers/showers.py``: gamma profile along the depth, two exponentials across it).
"""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from fastsim.cli import main
from fastsim.detector.binning import Binning, read_binning
from fastsim.detector.shower_shapes import shower_shapes
from fastsim.formats.calochallenge import write_showers
from metrics.showers.shapes import SHAPES, shape_names
from tests.helpers.showers import toy_showers

LAYOUTS = {"1_photons": 368, "1_pions": 533, "2": 6480, "3": 40500}
"""Voxels by name of the binning file."""


def binning_of(shared: Path, name: str) -> tuple[Path, Binning]:
    path = shared / "calochallenge" / f"binning_dataset_{name}.xml"
    return path, read_binning(path)


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_shapes_exist_in_every_layout(shared: Path, name: str, rng: np.random.Generator) -> None:
    """Datasets 2 and 3 have all; 1 has two layers with sides (photons) or four (pions), so no sides 8 apart."""
    _, binning = binning_of(shared, name)
    assert binning.num_voxels == LAYOUTS[name]
    sided = sum(layer.binned_in_alpha for layer, _ in binning.parts)
    expected = len(SHAPES) - sum(shape.sides > sided for shape in SHAPES.values())
    assert len(shape_names(binning)) == expected
    assert ("sides 8 apart" in shape_names(binning)) == (name in ("2", "3"))
    assert {"displacement", "tilt / (mm/layer)", "clusters"} <= set(shape_names(binning))
    showers = toy_showers(4, binning, rng, energy=(1e4, 1e5)).voxels
    showers[0] = 0
    shapes = shower_shapes(showers, binning)
    assert shapes.start[0] == len(binning.parts) and shapes.voxels[0] == 0
    assert (shapes.radius[1:] > 0).all() and (shapes.clusters[1:] >= 1).all()


@pytest.mark.parametrize("name", ["1_photons", "1_pions"])
def test_evaluate_in_irregular_layers(shared: Path, name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    """Wider showers differ, equal ones agree, with empty showers among them; layers of one sector have no sides."""
    path, binning = binning_of(shared, name)
    for file, width in (("real", 1.0), ("equal", 1.0), ("wide", 1.5)):
        showers = toy_showers(300, binning, rng, energy=(1e4, 1e5), quantum=100.0, width=width)
        showers.voxels[:3] = 0
        write_showers(tmp_path / f"{file}.hdf5", showers)
    words = [
        "evaluate",
        *(str(tmp_path / f"{file}.hdf5") for file in ("real", "equal", "wide")),
        "--binning",
        str(path),
    ]
    assert main([*words, "--metrics", "shapes,correlation", "--threshold", "1", "-o", str(tmp_path / "r.json")]) == 0
    found = json.loads((tmp_path / "r.json").read_text())["results"]
    result = found["wide.hdf5"]["shape radius / mm"]
    assert result["value"] > result["null_value"] + 5 * result["null_error"]
    equal = found["equal.hdf5"]["shape radius / mm"]
    assert abs(equal["value"] - equal["null_value"]) < 4 * equal["null_error"]
    assert "side correlations" in found["wide.hdf5"]


def test_what_does_not_fit_is_one_line(
    shared: Path, tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    path, binning = binning_of(shared, "1_photons")
    for name in ("a", "b"):
        write_showers(tmp_path / f"{name}.hdf5", toy_showers(5, binning, rng))
    files = [str(tmp_path / f"{name}.hdf5") for name in ("a", "b")]

    def line(*words: str) -> str:
        assert main(["evaluate", *words]) == 1
        text = capsys.readouterr().err
        assert text.count("\n") == 1, text
        return text

    other, _ = binning_of(shared, "2")
    assert "showers of 368 voxels, but the binning of electron has 6480" in line(*files, "--binning", str(other))
    assert "no binning XML given, and none beside it (a.xml or binning.xml)" in line(*files)
    with h5py.File(files[1], "a") as file:
        file["showers"][3, 7] = np.nan
    assert "b.hdf5: shower 3 has a voxel of nan MeV" in line(*files, "--binning", str(path))
    with h5py.File(files[1], "a") as file:
        del file["showers"], file["incident_energies"]
        file["showers"], file["incident_energies"] = np.zeros((0, 368)), np.zeros((0, 1))
    assert "b.hdf5: no showers to read" in line(*files, "--binning", str(path))
