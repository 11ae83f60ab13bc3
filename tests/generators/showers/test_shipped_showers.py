"""The shower models that ship: small files with a recipe, and Geant4's showers within what a short run can tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastsim
from fastsim.cli import main
from fastsim.detector.incidents import Incidents
from fastsim.errors import FastsimError, OutOfDomain
from fastsim.event import Floats
from fastsim.formats.calochallenge import read_showers
from fastsim.registry import default_showers, load_showers
from fastsim.shipped import data_folder
from fastsim.sources import cards
from fastsim.sources.showers import ShowerSource

NAMES = cards.available(cards.SHOWERS)


def test_a_model_ships_for_the_default_detector() -> None:
    assert default_showers("pb-si-ecal", 11) in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_small_and_the_card_says_how_they_were_made(name: str) -> None:
    card, weights = cards.load(name)
    assert weights.stat().st_size <= 4_000_000
    config = data_folder() / "configs" / card.training["command"].split()[2]
    assert config.is_file()
    source = load_showers(name)
    assert isinstance(source, ShowerSource)


def test_a_model_by_name_samples_with_a_seed(tmp_path: Path) -> None:
    model = fastsim.load_showers("pb-si-cascade")
    photons = fastsim.Incidents.perpendicular(22, np.array([5.0, 50.0]))
    showers = model.sample(photons, seed=1)
    assert showers.shape == (2, 6480) and np.array_equal(model.sample(photons, seed=1), showers)
    assert not np.array_equal(model.sample(photons, seed=2), showers)
    with pytest.raises(
        OutOfDomain, match=r"particle 1 \(gamma, 500 GeV, .* outside the domain of pb-si-cascade: .* of 0.1 to 100 GeV"
    ):
        model.sample(fastsim.Incidents.perpendicular(22, np.array([5.0, 500.0])))
    # in a run it is the same as its name
    settings = {"detector": "pb-si-ecal", "particle": "gamma", "energy": [5, 50], "num": 3, "seed": 2}
    for name, given in (("a.h5", model), ("b.h5", "pb-si-cascade")):
        fastsim.generate_showers(tmp_path / name, model=given, **settings)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with pytest.raises(FastsimError, match=r"see fastsim showers, load_showers"):
        fastsim.load_model("pb-si-cascade")


@pytest.mark.parametrize(
    ("particle", "energy", "theta"),
    [("e-", 2.0, 0.0), ("gamma", 8.0, 0.0), ("e+", 1.5, 0.0), ("gamma", 0.3, 0.0), ("e-", 2.0, 0.7)],
)
def test_showers_are_geant4s(particle: str, energy: float, theta: float, shared: Path, tmp_path: Path) -> None:
    """Visible energy, deposits, depth and radius: means within four standard errors and 1%."""
    settings: dict[str, Any] = {
        "detector": "pb-si-ecal",
        "particle": particle,
        "energy": energy,
        "theta": theta,
        "phi": 2.0,
    }
    data = shared / "geant4" / "em"
    fastsim.showers(tmp_path / "r.h5", **settings, num=100, seed=3, model="geant4", geant4_data=data)
    fastsim.showers(tmp_path / "g.h5", **settings, num=1000, seed=4)
    samples = [read_showers(tmp_path / name).voxels.reshape(-1, 45, 16, 9) for name in ("r.h5", "g.h5")]
    layer, ring = np.arange(45)[:, None, None], np.arange(9)

    def observables(x: Floats) -> list[Floats]:
        total: Floats = x.sum((1, 2, 3))
        deposits: Floats = (x > 0.015).sum((1, 2, 3)).astype(np.float64)
        return [total, deposits, (x * layer).sum((1, 2, 3)) / total, (x * ring).sum((1, 2, 3)) / total]

    for real, generated in zip(*(observables(x.astype(np.float64)) for x in samples), strict=True):
        error = np.sqrt(real.var() / len(real) + generated.var() / len(generated))
        assert abs(generated.mean() - real.mean()) < 4 * error + 0.01 * real.mean()


def test_tilted_showers_of_the_default_are_shallower_and_lie_about_their_lines(tmp_path: Path) -> None:
    model = fastsim.load_showers("pb-si-cascade")
    assert model.domain.max_theta == 0.785 and model.domain.min_energy == 0.1
    energy, zero = np.full(300, 5.0), np.zeros(300)
    straight, tilted = (
        model.sample(Incidents(np.full(300, 11), energy, zero + theta, zero + 1.0), rng=1).reshape(300, 45, 16, 9)
        for theta in (0.0, 0.7)
    )
    depth = [np.average(np.arange(45) + 0.5, weights=v.sum((0, 2, 3))) for v in (straight, tilted)]
    assert depth[1] / depth[0] == pytest.approx(np.cos(0.7), rel=0.06)
    visible = [v.sum() / 300 for v in (straight, tilted)]
    assert visible[1] == pytest.approx(visible[0], rel=0.05)
    core = [v[..., 0].sum() / v.sum() for v in (straight, tilted)]
    assert core[1] == pytest.approx(core[0], abs=0.03)
    words = ["showers", "--detector", "pb-si-ecal", "--particle", "gamma", "--energy", "0.1:2", "-n", "20"]
    output = tmp_path / "tilted.h5"
    assert main([*words, "--theta", "0:0.78", "--phi", "0:6.28", "-o", str(output)]) == 0
    showers = read_showers(output)
    assert showers.direction is not None and 0.3 < showers.direction[:, 0].max() <= 0.78
    assert showers.voxels.any(axis=1).mean() > 0.8
    assert main([*words, "--theta", "0:0.9", "-o", str(tmp_path / "steep.h5")]) == 1
    assert not (tmp_path / "steep.h5").exists()
