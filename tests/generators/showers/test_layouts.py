"""The CaloChallenge's own layouts: both kinds of models learn from files with its binnings, draw, and are judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import fastsim
from fastsim.cli import main
from fastsim.detector.binning import read_binning
from fastsim.errors import FastsimError
from fastsim.formats.calochallenge import Showers, read_showers, write_showers
from tests.helpers.showers import toy_showers

PARTICLES = {"1_photons": "gamma", "1_pions": "pi+", "3": "e-"}
SIZE = {"width": 16, "depth": 2, "num_components": 2}
LOOP = {"num_steps": 10, "learning_rate": 5e-3, "warmup": 2, "log_every": 10}
STAGE = {"num_showers": 16, "num_splits": 200, "loop": LOOP}
SIZES = {**dict.fromkeys(("response", "layers", "rings", "sectors"), SIZE), "latent": {"width": 16, "num_bins": 4}}
STAGES = dict.fromkeys(("response", "latent", "layers", "rings", "sectors"), STAGE)
NETWORK = {"width": 16, "depth": 1, "heads": 2, "hidden": 4}
FLOW = {
    "num_validation": 20,
    "batch_size": 16,
    "network": {"denoiser": NETWORK, "decoder": NETWORK, "num_components": 2},
    "denoiser": LOOP,
    "decoder": LOOP,
}


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in this process: others would have to import torch first."""
    for kind in ("cascade", "flow"):
        monkeypatch.setattr(f"generators.showers.{kind}.train.available_cpus", lambda: 1)


def layout(folder: Path, shared: Path, name: str, num: int = 90) -> Path:
    """Copy a binning of the challenge, and write showers in its voxels beside it as the challenge's files hold them."""
    binning = folder / f"binning_dataset_{name}.xml"
    binning.write_bytes((shared / "calochallenge" / binning.name).read_bytes())
    for seed, file in enumerate(("train", "test")):
        showers = toy_showers(num, read_binning(binning), np.random.default_rng(seed), energy=(1e3, 3e4), quantum=30.0)
        write_showers(folder / f"{file}.h5", showers)
    return binning


def config(folder: Path, binning: Path, **values: Any) -> Path:
    path = folder / f"{values['name']}.json"
    data = {"files": "train.h5", "binning": binning.name}
    path.write_text(json.dumps({"detector": binning.name, "energy": [1, 30], "data": data, **values}))
    return path


def cascade(folder: Path, binning: Path, **changes: Any) -> Path:
    section = {"num_validation": 20, "network": SIZES, **STAGES}
    return config(folder, binning, **{"name": "cascade", "kind": "cascade", "cascade": section, **changes})


@pytest.mark.parametrize("name", PARTICLES)
def test_from_the_challenges_files_to_a_verdict(tmp_path: Path, shared: Path, name: str) -> None:
    binning = layout(tmp_path, shared, name)
    cards = [fastsim.train(cascade(tmp_path, binning), tmp_path / "runs" / "cascade")]
    for rings in (True,) if name == "3" else (False, True):  # a flow of 40,500 voxels takes minutes to learn nothing
        flow: dict[str, Any] = {**FLOW, "rings": rings}
        values = {"name": f"flow-{rings}", "kind": "shower-flow", "first": str(cards[0]), "flow": flow}
        cards.append(fastsim.train(config(tmp_path, binning, **values), tmp_path / "runs" / f"flow-{rings}"))
    files = []
    for card in cards:
        files.append(tmp_path / f"{card.stem}.h5")
        fastsim.showers(
            files[-1], detector=binning, particle=PARTICLES[name], energy=(1, 30), num=60, model=card, seed=2
        )
        drawn, layers = read_showers(files[-1], read_binning(binning)), read_binning(binning).parts
        assert len(drawn) == 60 and (drawn.voxels.sum(1) > 0).mean() > 0.5 and (drawn.voxels == 0).any()
        # the last layers are empty in most showers, and these models have learned for a second
        assert np.mean([(drawn.voxels[:, part] > 0).any() for _, part in layers]) > 0.5
    options = ["--binning", str(binning), "--metrics", "auc,response", "-o", str(tmp_path / "verdict.json")]
    assert main(["evaluate", str(tmp_path / "test.h5"), *map(str, files), *options]) == 0
    verdict = (tmp_path / "verdict.json").read_text()
    assert all(f'"{word}' in verdict for word in ("auc", "response"))


def test_a_binning_that_does_not_fit_is_said_in_one_line(tmp_path: Path, shared: Path) -> None:
    binning = layout(tmp_path, shared, "1_photons", num=30)
    other = tmp_path / "binning_dataset_3.xml"
    other.write_bytes((shared / "calochallenge" / other.name).read_bytes())
    pions = tmp_path / "binning_dataset_1_pions.xml"
    pions.write_bytes((shared / "calochallenge" / pions.name).read_bytes())
    uneven = tmp_path / "uneven.xml"
    uneven.write_text(binning.read_text().replace('n_bin_alpha="10"', 'n_bin_alpha="5"', 1))
    with h5py.File(tmp_path / "train.h5") as file:
        voxels = file["showers"][:]
    write_showers(tmp_path / "wide.h5", Showers(np.full(30, 2e3), np.pad(voxels, ((0, 0), (0, 7)))))
    for changes, message in (
        (
            {"data": {"files": "wide.h5", "binning": binning.name}},
            "showers of 375 voxels, but the binning of photon",
        ),
        (
            {"data": {"files": "train.h5", "binning": other.name}},
            "45 layers with voxels, but detector binning_dat",
        ),
        (
            {"data": {"files": "train.h5", "binning": pions.name}},
            "7 layers with voxels, but detector binning_data",
        ),
        ({"detector": uneven.name}, r"layer 1 has .* in 10 sectors, but in detector uneven .* in 5 sectors"),
        ({"detector": uneven.name, "data": {"files": "train.h5", "binning": uneven.name}}, "showers of 368 voxels"),
        ({"detector": "absent.xml"}, "absent.xml"),
        ({"data": {"particle": "gamma", "num": 3, "seed": 1}}, "materials and depths, which Geant4 needs"),
    ):
        with pytest.raises(FastsimError, match=message) as caught:
            fastsim.train(cascade(tmp_path, binning, **changes), tmp_path / "runs" / "wrong")
        assert "\n" not in str(caught.value)
