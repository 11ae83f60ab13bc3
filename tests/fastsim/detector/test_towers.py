"""Towers: places and ids, against rotations written another way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fastsim.detector.towers import Towers, unit_vectors
from fastsim.errors import FastsimError
from tests.helpers.calorimeter import TOWERS


def directions(eta: NDArray[Any], phi: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.stack([np.cos(phi), np.sin(phi), np.sinh(eta)], axis=-1) / np.cosh(eta)[:, None])


def test_every_id_is_the_cell_of_its_middle() -> None:
    cell = np.arange(TOWERS.num_cells)
    eta, phi, layer = TOWERS.centres(cell)
    assert np.array_equal(TOWERS.cell(eta, phi, layer), cell)
    assert (np.abs(eta) < 3).all() and (np.abs(phi) < np.pi).all() and set(layer) == {0, 1}


def test_phi_goes_round_and_eta_ends() -> None:
    eta, phi = np.array([0.0, 0.0, 0.0, -3.0, 3.0, 2.999, np.inf]), np.array([np.pi, -np.pi, 3 * np.pi, 0, 0, 0, 0])
    cell = TOWERS.cell(eta, phi, np.zeros(7, np.int64))
    assert cell[0] == cell[1] == cell[2] >= 0
    assert cell[3] >= 0 and cell[4] == -1 and cell[5] >= 0 and cell[6] == -1


def test_front_face_is_a_closed_cylinder() -> None:
    eta = np.array([0.0, 1.0, np.arcsinh(2.0), 2.5, -2.5])
    distance = TOWERS.distance(directions(eta, np.linspace(0, 2, 5)))
    barrel = 1500 * np.cosh(eta)
    assert distance[:3] == pytest.approx(barrel[:3]), "the corner is at sinh(eta) = 2"
    assert distance[3:] == pytest.approx(3000 / np.tanh(2.5))
    assert TOWERS.distance(np.array([[0.0, 0.0, -1.0]])) == pytest.approx(3000)


@given(st.integers(0, 2**32))
def test_deposits_are_where_a_rotation_puts_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = 50
    eta, phi = rng.uniform(-2.8, 2.8, size), rng.uniform(-np.pi, np.pi, size)
    layer, r, alpha = rng.integers(0, 3, size), rng.uniform(0, 200, size), rng.uniform(-9, 9, size)
    direction = directions(eta, phi)
    depth = np.array([50.0, 200.0, 500.0])[layer]
    local = np.stack([r * np.cos(alpha), r * np.sin(alpha), TOWERS.distance(direction) + depth], axis=-1)
    theta = np.arccos(np.tanh(eta))
    there = Rotation.from_euler("ZY", np.stack([phi, theta], axis=-1)).apply(local)
    length = np.linalg.norm(there, axis=1)
    expected = TOWERS.cell(np.arctanh(there[:, 2] / length), np.arctan2(there[:, 1], there[:, 0]), (layer > 0) * 1)
    found = TOWERS.locate(direction, layer, r, alpha)
    assert (found == expected).mean() > 0.97, "but for rounding at walls"
    axis = TOWERS.locate(direction, layer, 0 * r, alpha)
    assert (axis == TOWERS.cell(eta, phi, (layer > 0) * 1)).mean() > 0.97


def test_a_turn_by_whole_towers_moves_all_cells_by_as_many(rng: np.random.Generator) -> None:
    eta, phi = rng.uniform(-2, 2, 300), rng.uniform(-np.pi, np.pi, 300)
    layer, r, alpha = rng.integers(0, 3, 300), rng.uniform(0, 200, 300), rng.uniform(-np.pi, np.pi, 300)
    before = TOWERS.locate(directions(eta, phi), layer, r, alpha)
    after = TOWERS.locate(directions(eta, phi + 5 * TOWERS.steps[1]), layer, r, alpha)
    assert np.array_equal((before % 64 + 5) % 64, after % 64) and np.array_equal(before // 64, after // 64)


def test_along_the_beam_nothing_breaks() -> None:
    beam = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    layer = np.zeros(2, np.int64)
    assert (TOWERS.locate(beam, layer, np.zeros(2), np.zeros(2)) == -1).all()
    assert (TOWERS.locate(beam, layer, np.full(2, 1000.0), np.ones(2)) >= 0).all(), "1 m off the beam, eta is 1.8"


def test_text_reads_back_and_nonsense_is_refused() -> None:
    assert Towers.from_json(TOWERS.to_json()) == TOWERS
    for text in ("", "[1]", '{"detector": "toy"}', '{"colour": 1}'):
        with pytest.raises(FastsimError, match="does not describe any"):
            Towers.from_json(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segments": (1, 1)}, r"segments \(1, 1\) must be positive and share out 3 layers"),
        ({"segments": (0, 3)}, "segments"),
        ({"segments": ()}, "segments"),
        ({"radius_mm": 0.0}, "radius_mm is 0, must be positive"),
        ({"eta_max": float("nan")}, "eta_max is nan"),
        ({"depths_mm": (1.0, -1.0, 1.0)}, "depths_mm is -1"),
        ({"num_eta": 0}, "0 x 64"),
        ({"num_eta": 2**20, "num_phi": 2**20}, "cells at most"),
    ],
)
def test_impossible_towers_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FastsimError, match=message):
        replace(TOWERS, **changes)


def test_directions_of_momenta() -> None:
    direction, moves = unit_vectors(np.array([[5.0, 0.0, 3.0, 4.0], [1.0, 0.0, 0.0, 0.0]]))
    assert direction[0] == pytest.approx([0.0, 0.6, 0.8]) and moves.tolist() == [True, False]
