"""Binning XML: the challenge's files, the position of every voxel, round trip, errors of one line."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from fastsim.detector import binning as module
from fastsim.detector.binning import Binning, Layer, read_binning
from fastsim.errors import FastsimError
from tests.helpers.showers import electron_binning, mixed_binning

DATASETS = {
    "1_photons": ("photon", 22, 368, [0, 1, 2, 3, 12], [1, 2]),
    "1_pions": ("pion", 211, 533, [0, 1, 2, 3, 12, 13, 14], [1, 2, 12, 13]),
    "2": ("electron", 11, 6480, list(range(45)), list(range(45))),
    "3": ("electron", 11, 40500, list(range(45)), list(range(45))),
}


@pytest.mark.parametrize("dataset", DATASETS)
def test_files_of_the_challenge(shared: Path, tmp_path: Path, dataset: str) -> None:
    particle, pid, num_voxels, ids, in_alpha = DATASETS[dataset]
    binning = read_binning(shared / "calochallenge" / f"binning_dataset_{dataset}.xml")
    assert (binning.particle, binning.pid, binning.num_voxels) == (particle, pid, num_voxels)
    assert [layer.id for layer, _ in binning.parts] == ids
    assert [layer.id for layer, _ in binning.parts if layer.binned_in_alpha] == in_alpha
    (tmp_path / "again.xml").write_text(binning.to_xml())
    assert read_binning(tmp_path / "again.xml", particle) == binning


def test_toy_binning_is_dataset_2(shared: Path) -> None:
    assert electron_binning() == read_binning(shared / "calochallenge" / "binning_dataset_2.xml")


def test_r_runs_fastest_then_alpha_then_the_layer() -> None:
    binning = mixed_binning()
    expected = []
    for layer in binning.layers:
        for j in range(layer.num_alpha):
            alpha = -math.pi + (j + 0.5) * 2 * math.pi / layer.num_alpha
            for i in range(layer.num_r):
                r = (layer.r_edges[i] + layer.r_edges[i + 1]) / 2
                expected.append((layer.id, r, r * math.cos(alpha), r * math.sin(alpha)))
    found: list[tuple[float, ...]] = []
    for layer, rows in binning.parts:
        assert rows == slice(len(found), len(found) + layer.num_voxels)
        found += zip([layer.id] * layer.num_voxels, layer.r, layer.eta, layer.phi, strict=True)
    assert binning.num_voxels == len(found) == 3 + 18 + 12 + 1
    assert np.array(found) == pytest.approx(np.array(expected), abs=1e-12)


def test_one_sector_has_no_direction() -> None:
    layer = Layer(0, (0.0, 5.0, 10.0), 1)
    assert layer.eta == pytest.approx([2.5, 7.5])
    assert layer.phi == pytest.approx([0.0, 0.0], abs=1e-12)
    assert not layer.binned_in_alpha
    assert not Layer(0, (0.0,), 8).binned_in_alpha


def test_edges_survive_the_round_trip_exactly(tmp_path: Path) -> None:
    layers = (Layer(3, (0.1, 1 / 3, 2.0), 7), Layer(1, (0.0,), 1))
    binning = Binning('e & "gamma"', -11, layers)
    path = tmp_path / "b.xml"
    path.write_text(binning.to_xml())
    assert read_binning(path) == binning


def _xml(layer: str = '<Layer id="0" r_edges="0,1" n_bin_alpha="1"/>', bin_: str = 'pid="11" name="electron"') -> str:
    return f"<Bins><Bin {bin_}>{layer}</Bin></Bins>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<Bins><Bin", "is not XML in UTF-8"),
        ("", "is not XML in UTF-8"),
        (b"\xff\xfe\x00<", "is not XML in UTF-8"),
        ('<!DOCTYPE x [<!ENTITY a "b">]>' + _xml(), "document type or entities"),
        (_xml('<Layer id="0" r_edges="&a;" n_bin_alpha="1"/>'), "is not XML in UTF-8: undefined entity"),
        ("<Bins/>", "name a particle; its binnings are for: none"),
        ("<Bins>" + 2 * '<Bin name="x"/>' + '<Bin name="y"/></Bins>', "name a particle; its binnings are for: x, y"),
        (_xml('<Layer id="0" r_edges="0,2,1" n_bin_alpha="1"/>'), "layer 0: r_edges 0,2,1 must increase"),
        (_xml('<Layer id="0" r_edges="0,1,1" n_bin_alpha="1"/>'), "layer 0: r_edges 0,1,1 must increase"),
        (_xml('<Layer id="4" r_edges="-1,1" n_bin_alpha="1"/>'), "layer 4: r_edges -1,1 must be finite"),
        (_xml('<Layer id="4" r_edges="0,nan" n_bin_alpha="1"/>'), "layer 4: r_edges 0,nan must be finite"),
        (_xml('<Layer id="4" r_edges="0,inf" n_bin_alpha="1"/>'), "layer 4: r_edges 0,inf must be finite"),
        (_xml('<Layer id="4" r_edges="0,x" n_bin_alpha="1"/>'), "not a number: could not convert .* 'x'"),
        (_xml('<Layer id="4" r_edges="0,1" n_bin_alpha="0"/>'), "layer 4: n_bin_alpha is 0"),
        (_xml('<Layer id="4" r_edges="0,1" n_bin_alpha="1.5"/>'), "not a number"),
        (_xml('<Layer id="4" r_edges="0,1"/>'), "attribute 'n_bin_alpha' is missing"),
        (_xml(bin_='name="electron"'), "attribute 'pid' is missing"),
        (_xml(2 * '<Layer id="4" r_edges="0,1" n_bin_alpha="1"/>'), r"layer ids \[4, 4\] are not unique"),
        (_xml('<Layer id="4" r_edges="0" n_bin_alpha="1"/>'), "0 voxels, expected 1 to"),
        (_xml('<Layer id="4" r_edges="0,1" n_bin_alpha="99999999"/>'), "99999999 voxels, expected 1 to"),
    ],
)
def test_bad_files_are_one_clear_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / "bad.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FastsimError, match=message) as error:
        read_binning(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_other_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "good.xml"
    path.write_text(_xml())
    assert read_binning(path).num_voxels == read_binning(path, "electron").num_voxels == 1
    with pytest.raises(FastsimError, match="no particle 'pion'; its binnings are for: electron"):
        read_binning(path, "pion")
    with pytest.raises(FastsimError, match=r"none\.xml: cannot be read: No such file"):
        read_binning(tmp_path / "none.xml")
    with pytest.raises(FastsimError, match="file: showers of 5 voxels, but the binning of electron has 1"):
        read_binning(path).check(5, "file")
    monkeypatch.setattr(module, "MAX_BYTES", 20)
    with pytest.raises(FastsimError, match="larger than 20 bytes"):
        read_binning(path)
