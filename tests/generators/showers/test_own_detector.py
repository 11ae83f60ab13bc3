"""A detector of one's own, and showers of any origin: from files over a training to showers and cells of events."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import fastsim
from fastsim.detector.binning import Binning, Layer
from fastsim.detector.detector import load_detector
from fastsim.detector.incidents import Incidents
from fastsim.detector.towers import Towers
from fastsim.errors import FastsimError, OutOfDomain
from fastsim.event import HardEvents
from fastsim.formats.calochallenge import read_showers
from fastsim.shipped import data_folder
from fastsim.sources import cards
from generators.showers.cascade.latent import COLUMNS
from generators.showers.cascade.source import CascadeModel
from generators.showers.data import SimulatedSet, shower_sets
from tests.helpers.showers import IRREGULAR, store, toy_showers

SIZE = {"width": 16, "depth": 2, "num_components": 2}
STAGE = {
    "num_showers": 32,
    "num_splits": 200,
    "loop": {"num_steps": 20, "learning_rate": 5e-3, "warmup": 2, "log_every": 20},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a detector, and 200 showers of photons and 100 of electrons in it, as other programs write them."""
    (tmp_path / "mine.toml").write_text(IRREGULAR)
    detector = load_detector(tmp_path / "mine.toml")
    for seed, (particle, num) in enumerate((("gamma", 100), ("gamma", 100), ("e-", 100))):
        binning = detector.binning(particle)
        assert binning is not None
        showers = toy_showers(num, binning, np.random.default_rng(seed), energy=(1e3, 5e4), response=0.03, quantum=1.0)
        path = store(tmp_path / f"showers_{particle}_{seed}.h5", showers, binning)
        with h5py.File(path, "a") as file:
            del file.attrs["settings"]
    return tmp_path


def config(folder: Path, **changes: Any) -> Path:
    """Write a config for a few steps of training, with some keys changed."""
    stages = dict.fromkeys(("response", "latent", "layers", "rings", "sectors"), STAGE)
    sizes = dict.fromkeys(("response", "layers", "rings", "sectors"), SIZE)
    values = {
        "name": "mine-cascade",
        "kind": "cascade",
        "detector": "mine.toml",
        "energy": [1, 50],
        "data": [
            {"files": ["showers_gamma_*.h5"], "binning": "showers_gamma_0.xml"},
            {"files": "showers_e-_2.h5"},
        ],
        "cascade": {"num_validation": 30, "network": {**sizes, "latent": {"width": 16, "num_bins": 4}}, **stages},
        **changes,
    }
    path = folder / "mine.json"
    path.write_text(json.dumps(values))
    return path


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in this process: others would have to import torch first."""
    monkeypatch.setattr("generators.showers.cascade.train.available_cpus", lambda: 1)


def test_from_files_to_cells(folder: Path, one_process: None) -> None:
    card = fastsim.train(config(folder), folder / "runs" / "mine")
    read, _ = cards.read(card)
    assert read.config["detector"] == "mine" and read.config["geometry"]["absorber"] == "G4_W"
    assert read.training["showers"] == 300 and set(read.training["stages"]) == set(SIZE_STAGES)
    # single showers, with their latents
    settings: dict[str, Any] = {"detector": folder / "mine.toml", "particle": "gamma", "energy": (1, 50), "seed": 3}
    fastsim.showers(folder / "a.h5", **settings, num=20, model=card, latent=True)
    fastsim.showers(folder / "b.h5", **settings, num=20, model=card)
    one, two = read_showers(folder / "a.h5"), read_showers(folder / "b.h5")
    np.testing.assert_array_equal(one.voxels, two.voxels)
    assert one.latent is not None and one.latent.shape == (20, len(COLUMNS)) and two.latent is None
    np.testing.assert_allclose(one.latent[:, 0], one.voxels.sum(1), rtol=1e-4)
    with h5py.File(folder / "a.h5") as file:
        assert tuple(file["latent"].attrs["columns"]) == COLUMNS
    # cells of events in towers of this detector
    fastsim.generate(
        data_folder() / "examples" / "pp_dijet.lhe.gz",
        folder / "cells.h5",
        steps="hadrons,calorimeter",
        shower_model=card,
        num_events=2,
    )
    batch = fastsim.read(folder / "cells.h5")
    assert isinstance(batch, HardEvents) and batch.cells is not None
    with h5py.File(folder / "cells.h5") as file:
        towers = Towers.from_json(file.attrs["calorimeter"])
    assert towers.detector == "mine" and towers.depths_mm == (2.5,) * 4 + (4.5,) * 2 and towers.segments == (4, 2)
    assert len(batch.cells.id) > 20 and (batch.cells.energy > 0).all() and batch.cells.id.max() < towers.num_cells
    # a detector of the same name and cells, but of other materials
    other = folder / "other"
    other.mkdir()
    (other / "mine.toml").write_text(IRREGULAR.replace("G4_W", "G4_Pb"))
    with pytest.raises(OutOfDomain, match="model 'mine-cascade' makes showers in another detector of the name mine"):
        fastsim.showers(folder / "c.h5", **{**settings, "detector": other / "mine.toml"}, num=2, model=card)
    with pytest.raises(OutOfDomain, match="makes showers in mine, not in pb-si-ecal"):
        fastsim.showers(folder / "c.h5", **{**settings, "detector": "pb-si-ecal"}, num=2, model=card)
    assert not (folder / "c.h5").exists()


SIZE_STAGES = ("response", "latent", "layers", "rings", "sectors")


def test_a_training_goes_on_from_a_card(folder: Path, one_process: None) -> None:
    """Stages that are null stay as they are."""
    first = fastsim.train(config(folder), folder / "runs" / "first")
    rest = {"response": None, "latent": STAGE, "layers": STAGE, "rings": None, "sectors": STAGE}
    path = config(folder, name="second", init=str(first), cascade={"num_validation": 30, **rest})
    second = fastsim.train(path, folder / "runs" / "second")
    one, two = (fastsim.load_showers(card) for card in (first, second))
    assert isinstance(one, CascadeModel) and isinstance(two, CascadeModel)
    for stage, same in (("response", True), ("rings", True), ("sectors", False)):
        weights = [model.cascade.net(stage).head.weight for model in (one, two)]
        assert bool((weights[0] == weights[1]).all()) == same
    read, _ = cards.read(second)
    assert read.training["init"]["name"] == "mine-cascade" and set(read.training["stages"]) == {
        "latent",
        "layers",
        "sectors",
    }
    with pytest.raises(FastsimError, match=r"cascade\.response is null: without init every stage is trained"):
        fastsim.train(config(folder, cascade={"num_validation": 30, **rest}), folder / "runs" / "third")


def test_calibrated_showers_may_show_more_than_their_particle_had(folder: Path, one_process: None) -> None:
    for path in folder.glob("showers_*.h5"):
        with h5py.File(path, "a") as file:
            file["showers"][:] = file["showers"][:] / 0.03
    model = fastsim.load_showers(fastsim.train(config(folder), folder / "runs" / "mine"))
    assert isinstance(model, CascadeModel) and 1.2 < model.cascade.ceiling < 3
    hits = Incidents.perpendicular(22, np.geomspace(1, 50, 300))
    share = model.sample(hits, rng=1).sum(1) / (1e3 * hits.energy)
    assert (share > 1).any() and (share <= model.cascade.ceiling * 1.001).all()


def damaged(folder: Path, key: str, row: int | slice, value: float) -> None:
    with h5py.File(folder / "showers_gamma_1.h5", "a") as file:
        file[key][row] = value


def wrong_binning(folder: Path, layers: int = 6, edges: tuple[float, ...] = (0.0, 5.0, 20.0), sectors: int = 4) -> None:
    first = tuple(Layer(k, edges, sectors) for k in range(4))
    last = tuple(Layer(k, (0.0, 20.0), sectors) for k in range(4, layers))
    (folder / "showers_gamma_0.xml").write_text(Binning("gamma", 22, first + last).to_xml())


def of_detector(folder: Path, **settings: Any) -> None:
    values = {"detector": {"name": "mine"}, "particle": "gamma", "theta": 0.0, **settings}
    with h5py.File(folder / "showers_gamma_1.h5", "a") as file:
        file.attrs["settings"] = json.dumps(values)


BAD: dict[str, tuple[Callable[[Path], None], dict[str, Any], str]] = {
    "other number of voxels": (
        lambda f: wrong_binning(f, sectors=8),
        {},
        "has 2 rings up to 20 mm in 8 sectors, but in",
    ),
    "other edges": (
        lambda f: wrong_binning(f, edges=(0.0, 6.0, 20.0)),
        {},
        "give the detector that these showers are in",
    ),
    "other layers": (lambda f: wrong_binning(f, layers=5), {}, "5 layers with voxels, but detector mine has 6"),
    "NaN": (lambda f: damaged(f, "showers", 7, np.nan), {}, r"showers_gamma_1.h5: shower 7 has a voxel of nan MeV"),
    "negative": (lambda f: damaged(f, "showers", 7, -1), {}, "shower 7 has a voxel of -1.0 MeV"),
    "no energy": (lambda f: damaged(f, "incident_energies", 3, 0), {}, "shower 3 has an incident energy of 0.0 MeV"),
    "energy outside": (
        lambda f: damaged(f, "incident_energies", 3, 9e4),
        {},
        r"shower 3 has 90 GeV, outside the 1 to 50 GeV of the config \(1 of 100",
    ),
    "empty": (lambda f: damaged(f, "showers", slice(60), 0), {}, "60 of 100 showers have no deposit"),
    "other detector": (lambda f: of_detector(f, detector={"name": "yours"}), {}, "showers in detector yours, but the"),
    "other particle": (lambda f: of_detector(f, particle="e-"), {}, "showers of e-, but the binning is that of gamma"),
    "other direction": (lambda f: of_detector(f, theta=0.2), {}, "showers at theta 0.2 rad"),
    "no such file": (lambda f: None, {"data": {"files": ["a*.h5"]}}, r"no file 'a\*.h5'"),
    "no files": (lambda f: None, {"data": {"files": []}}, "files is empty"),
    "unknown key": (lambda f: None, {"data": {"files": ["a"], "num": 3}}, "or files and binning, not files, num"),
    "no data": (lambda f: None, {"data": []}, "data is an object, or a list of objects"),
    "no detector": (lambda f: None, {"detector": "yours.toml"}, "yours.toml: cannot be read"),
    "energies": (lambda f: None, {"energy": [5, 1]}, r"energy is \[5, 1\]: must be \[lowest, highest\] in GeV"),
    "energies of a set": (
        lambda f: None,
        {"data": {"particle": "e-", "num": 9, "seed": 1, "energy": [0.5, 9]}},
        r"data: energy \[0.5, 9\] GeV of e- is outside the 1 to 50 GeV of the config",
    ),
    "no energies of a set": (
        lambda f: None,
        {"data": {"particle": "e-", "num": 9, "seed": 1, "energy": 9}},
        "data: energy is 9: must be",
    ),
    "no such likeness": (lambda f: None, {"like": {"e+": "pi+"}}, r"json: like: e\+ as pi\+: known are"),
    "no such start": (lambda f: None, {"init": "nothing"}, "unknown model 'nothing'"),
    "other start": (lambda f: None, {"init": "hadron-tree-small"}, "give a cascade"),
    "unfit start": (
        lambda f: None,
        {"init": "pb-si-cascade"},
        "45 layers of 9 rings and 16 sectors, and the detector 6",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_trained_on_is_said_in_one_line(folder: Path, case: str, one_process: None) -> None:
    spoil, changes, words = BAD[case]
    spoil(folder)
    with pytest.raises(FastsimError, match=words) as caught:
        fastsim.train(config(folder, **changes), folder / "runs" / "mine")
    assert "\n" not in str(caught.value)
    assert not list((folder / "runs").glob("**/*.pt"))


def test_sets_of_geant4_and_of_files_go_together(folder: Path) -> None:
    detector = load_detector(folder / "mine.toml")
    data = [{"files": "showers_gamma_0.h5"}, {"particle": "e-", "num": 10, "seed": 1}]
    data.append({"particle": "e-", "num": 10, "seed": 2, "energy": [1, 5]})
    sets = shower_sets(data, detector, (1.0, 50.0), folder / "mine.json")
    assert [each.particle for each in sets] == ["gamma", "e-", "e-"]
    assert [each.gun.energy for each in sets if isinstance(each, SimulatedSet)] == [(1.0, 50.0), (1.0, 5.0)]


def test_showers_with_directions_are_learned(folder: Path, one_process: None) -> None:
    """A model of files with angles knows them; it starts a model along the normal; what does not fit is refused."""
    rng = np.random.default_rng(8)
    for path in sorted(folder.glob("showers_*.h5")):
        with h5py.File(path, "a") as file:
            num = len(file["showers"])
            file["incident_theta"], file["incident_phi"] = rng.uniform(0, 0.6, (num, 1)), rng.uniform(-3, 3, (num, 1))
    with pytest.raises(FastsimError, match=r"showers at theta up to 0\.\d+ rad, but the config is for 0 rad at most"):
        fastsim.train(config(folder), folder / "runs" / "normal")
    for value in ("steep", 1.6, -0.1, True):
        with pytest.raises(FastsimError, match=r"max_theta is .*: must be an angle in rad, from 0 to less than pi/2"):
            fastsim.train(config(folder, max_theta=value), folder / "runs" / "normal")
    data = [{"particle": "gamma", "num": 10, "seed": 1, "theta": [0, 0.7]}]
    with pytest.raises(
        FastsimError, match=r"theta is \[0, 0\.7\]: must be \[lowest, highest\] in rad within the 0 to 0.6"
    ):
        fastsim.train(config(folder, max_theta=0.6, data=data), folder / "runs" / "normal")
    card = fastsim.train(config(folder, max_theta=0.6), folder / "runs" / "tilted")
    model = fastsim.load_showers(card)
    assert model.domain.max_theta == 0.6
    settings: dict[str, Any] = {"detector": folder / "mine.toml", "particle": "gamma", "energy": (1, 50), "num": 20}
    fastsim.showers(folder / "t.h5", **settings, model=card, theta=(0.0, 0.6), phi=(0.0, 6.28), latent=True)
    drawn = read_showers(folder / "t.h5")
    assert drawn.direction is not None and drawn.direction[:, 0].max() > 0.3 and drawn.latent is not None
    photons = fastsim.Incidents(np.full(20, 22), np.full(20, 10.0), np.linspace(0, 0.6, 20), np.zeros(20))
    latent = model.latent(photons, rng=1)
    showers = model.sample(photons, rng=1, latent=latent)
    np.testing.assert_allclose(showers.sum(1), latent[:, 0], rtol=1e-4)
    with pytest.raises(OutOfDomain, match=r"theta up to 0\.6 rad"):
        model.sample(replace(photons, theta=photons.theta + 0.1))
    # the weights along the normal begin a model that knows no angles
    for path in folder.glob("showers_*.h5"):
        with h5py.File(path, "a") as file:
            del file["incident_theta"], file["incident_phi"]
    again = fastsim.train(config(folder, init="runs/tilted/mine-cascade.json"), folder / "runs" / "again")
    normal = fastsim.load_showers(again)
    assert normal.domain.max_theta == 0.0 and normal.sample(photons[:1], rng=1).shape == (1, 40)
