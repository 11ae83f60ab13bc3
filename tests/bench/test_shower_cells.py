"""The bench of cells of energy and angle: cells, turns, ratios, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.validation import shower_cells as bench
from fastsim.errors import FastsimError
from fastsim.formats.calochallenge import Showers
from generators.showers.cascade.grid import Grid
from tests.helpers.showers import electron_binning, store, toy_showers

ECAL = electron_binning()


def some(num: int, seed: int) -> Showers:
    rng = np.random.default_rng(seed)
    showers = toy_showers(num, ECAL, rng, energy=(1e3, 1e4), response=0.03, quantum=0.1)
    direction = np.column_stack([rng.uniform(0, 0.7, num), rng.uniform(-4, 4, num)])
    return Showers(showers.incident, showers.voxels, direction=direction)


def test_cells_hold_their_energies_and_angles() -> None:
    showers = some(200, 1)
    rows = bench.rows_of(showers, (2.0, 5.0), (0.2, 0.5))
    assert 10 < len(rows) < 150
    inside = showers[rows]
    assert inside.direction is not None
    energy, theta = inside.incident / 1e3, inside.direction[:, 0]
    assert energy.min() >= 2 and energy.max() < 5 and theta.min() >= 0.2 and theta.max() <= 0.5


def test_showers_are_turned_until_they_lean_along_x() -> None:
    showers, grid = some(50, 2), Grid.of(ECAL)
    assert showers.direction is not None
    # all energy in the sector that each leans to
    sector = np.floor((showers.direction[:, 1] + np.pi) / (2 * np.pi / 16)).astype(int) % 16
    voxels = np.zeros((50, 45, 16, 9), np.float32)
    voxels[np.arange(50), 3, sector, 2] = 1.0
    around = bench.turned(Showers(showers.incident, voxels.reshape(50, -1), direction=showers.direction), grid)
    assert around.direction is not None and abs(around.direction[:, 1]).max() <= np.pi / 16 + 1e-9
    found = around.voxels.reshape(50, 45, 16, 9)[:, 3, :, 2].argmax(1)
    assert set(found) <= {7, 8}, "the sectors on both sides of alpha = 0"
    straight = Showers(showers.incident, showers.voxels)
    assert bench.turned(straight, grid) is straight


def test_ratios_are_those_of_the_samples() -> None:
    a = some(400, 3)
    response, resolution, _ = bench.ratios(a, Showers(a.incident, 1.2 * a.voxels, direction=a.direction))
    value, error = map(float, response.split(" ± "))
    assert value == pytest.approx(1.2, abs=5 * error) and 0 < error < 0.05
    assert float(resolution.split(" ± ")[0]) > 1.0


def test_what_is_no_pair_of_samples_of_geant4_is_refused(tmp_path: Path) -> None:
    made = store(tmp_path / "model.h5", some(5, 4), ECAL, model="pb-si-cascade")
    with pytest.raises(FastsimError, match=r"model.h5: made by pb-si-cascade; give Geant4's"):
        bench.read_truth([made])
    same = store(tmp_path / "a.h5", some(5, 5), ECAL)
    with pytest.raises(FastsimError, match=r"a.h5: its showers, of seed 1, are there twice"):
        bench.read_truth([same, same])
    with pytest.raises(FastsimError, match=r"both hold Geant4's showers of e- with seed 1"):
        bench.main(["--real", str(same), "--null", str(same)])
