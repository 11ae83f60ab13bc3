"""Patches of layers, and deposits that are drawn in them: exact sums, exact zeros, and the distribution asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kstest

from generators.showers.cascade.grid import Grid
from generators.showers.flow.patches import Patches, draw_deposits

GRID = Grid(((0.0, 2.0, 6.0), (0.0, 6.0), (0.0, 1.0, 3.0, 9.0)), 4)


def drawn(parameters: NDArray[Any], layers: NDArray[Any], tries: int = 1, seed: int = 1) -> NDArray[np.float32]:
    """Draw deposits in GRID, or in as many places as the parameters have, with a unit of 0.01 MeV."""
    rng, shape = np.random.default_rng(seed), parameters.shape[:3]
    each = (*shape[:2], tries, shape[2])
    normal, uniform = rng.standard_normal(each, np.float32), rng.random((*each, 2), np.float32)
    out = np.full(shape, np.nan, np.float32)
    patches = Patches(GRID, 0.01, 1.0)
    mask = patches.mask if shape[1:] == patches.shape else np.ones(shape[1:], np.bool_)
    draw_deposits(parameters.astype(np.float32), layers.astype(np.float32), mask, normal, uniform, 0.01, out)
    return out


def test_voxels_of_irregular_layers_have_places() -> None:
    patches = Patches(GRID, 0.01, 1.3)
    assert patches.shape == (3, 12) and patches.mask.sum() == GRID.num_voxels == 24
    voxels = np.arange(1, 49, dtype=np.float32).reshape(2, 24)
    arranged = patches.patches(voxels)
    assert (arranged[:, 1, 4:] == 0).all() and (arranged[:, ~patches.mask] == 0).all()
    np.testing.assert_array_equal(arranged[:, 1, :4], voxels[:, 8:12])
    np.testing.assert_array_equal(patches.voxels(arranged), voxels)


def test_no_deposit_is_zero_and_others_are_logarithms() -> None:
    patches = Patches(GRID, 0.01, 2.0)
    found = patches.compressed(np.array([0.0, 0.01, 10.0], np.float32))
    np.testing.assert_allclose(found, [0.0, 0.5 * np.log(2), 0.5 * np.log(1001)], rtol=1e-6)


def test_deposits_add_up_to_their_layers_and_zeros_are_exact() -> None:
    rng = np.random.default_rng(3)
    parameters = rng.normal(0, 1.5, (50, 3, 12, 7))
    layers = rng.exponential(2.0, (50, 3)) * (rng.random((50, 3)) < 0.8)
    found = drawn(parameters, layers, tries=3)
    assert np.isfinite(found).all() and (found[layers == 0] == 0).all()
    np.testing.assert_allclose(found.sum(2), layers, rtol=1e-5)
    mask = Patches(GRID, 0.01, 1.0).mask
    assert (found[:, ~mask] == 0).all() and 0.3 < (found[:, mask] == 0).mean() < 0.8


def test_a_layer_with_energy_has_a_deposit() -> None:
    """Where all voxels are empty in every try, the energy lies in the likeliest."""
    parameters = np.full((1, 3, 12, 4), -50.0)
    parameters[0, 2, 7, 0] = -40.0
    parameters[0, 1, 9, 0] = 30.0  # no voxel of this layer
    found = drawn(parameters, np.array([[1.0, 2.0, 3.0]]), tries=2)[0]
    assert found[2, 7] == 3.0 and found[1, :4].max() == 2.0 and np.count_nonzero(found) == 3


def test_deposits_follow_their_distribution() -> None:
    """One voxel a layer with nothing to be scaled to: shares of a mixture of two log normals, and of none."""
    num = 4000
    parameters = np.zeros((num, 1, 2, 7))
    parameters[:, 0, 0] = [np.log(0.4 / 0.6), np.log(0.25), np.log(0.75), 1.0, 4.0, np.log(0.1), np.log(0.5)]
    parameters[:, 0, 1] = [50.0, 0.0, -50.0, 12.0, 0.0, -9.0, 0.0]  # exp(12) units, which fix the scale
    most = 0.01 * np.exp(12.0)
    found = drawn(parameters, np.full((num, 1), most))[:, 0]
    some = found[:, 0] > 0
    assert some.mean() == pytest.approx(0.4, abs=4 * 0.5 / num**0.5)
    logs = np.log(found[some, 0] / found[some, 1]) + 12.0
    narrow = np.abs(logs - 1.0) < 0.6
    assert narrow.mean() == pytest.approx(0.25, abs=0.05)
    assert kstest((logs[narrow] - 1.0) / 0.1, "norm").pvalue > 1e-3
    assert kstest((logs[logs > 2.2] - 4.0) / 0.5, "norm").pvalue > 1e-3


def test_the_best_try_is_nearest_to_the_layer() -> None:
    """With more tries, sums before scaling are nearer to the layers: deposits keep their distribution better."""
    num = 2000
    parameters = np.zeros((num, 1, 4, 4))
    parameters[..., 0], parameters[..., 2], parameters[..., 3] = 50.0, 3.0, np.log(0.5)
    layers = np.full((num, 1), 4 * 0.01 * np.exp(3.0 + 0.125))
    spreads = [np.log(drawn(parameters, layers, tries=tries)).std() for tries in (1, 8)]
    # scaling to the sum takes a quarter of the variance of four voxels
    assert spreads[0] == pytest.approx(0.5 * np.sqrt(0.75), abs=0.03)
    assert spreads[1] > spreads[0] - 0.03
