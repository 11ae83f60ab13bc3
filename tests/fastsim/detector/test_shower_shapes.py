"""Shapes of whole showers: hand-made showers with known answers, brute force, symmetries, unequal layers."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsim.detector.binning import Binning, Layer
from fastsim.detector.shower_shapes import SIDE_STEPS, ShowerShapes, shower_shapes
from fastsim.errors import FastsimError
from tests.helpers.showers import electron_binning, mixed_binning, toy_showers

FINE = electron_binning(10, 60, 64)
"""Ten layers of fine voxels: 0.7 mm rings."""


def points(*deposits: tuple[int, float, float, float], binning: Binning = FINE) -> NDArray[np.float32]:
    """One shower with deposits (layer, eta, phi, energy), each in the voxel that holds the point."""
    voxels = np.zeros((1, binning.num_voxels), np.float32)
    for place, eta, phi, energy in deposits:
        layer, part = binning.parts[place]
        ring = int(np.searchsorted(layer.r_edges, np.hypot(eta, phi), side="right")) - 1
        sector = int((np.arctan2(phi, eta) + np.pi) / (2 * np.pi) * layer.num_alpha) % layer.num_alpha
        voxels[0, part.start + sector * layer.num_r + ring] += energy
    return voxels


def one(voxels: NDArray[np.float32], binning: Binning = FINE) -> dict[str, float]:
    shapes = shower_shapes(voxels, binning)
    return {f.name: float(getattr(shapes, f.name)[0]) for f in fields(shapes) if f.name != "sides"}


def test_a_shower_displaced_by_a_known_amount() -> None:
    """The same spot in every layer: on one side, at its distance, without tilt, wander or width."""
    spot = [(layer, 12.0, 9.0, 1.0 + layer) for layer in range(10)]
    shape = one(points(*spot))
    assert shape["displacement"] == pytest.approx(1.0)
    assert shape["displacement_cos"] == pytest.approx(0.8, abs=0.03)
    assert shape["displacement_sin"] == pytest.approx(0.6, abs=0.03)
    assert shape["centre"] == pytest.approx(15.0, abs=0.35)
    assert shape["centre_eta"] == pytest.approx(12.0, abs=0.6) and shape["centre_phi"] == pytest.approx(9.0, abs=0.6)
    for name in ("tilt", "wander", "radius_spread", "major_axis", "ellipticity"):
        assert shape[name] == pytest.approx(0.0, abs=1e-5), name
    assert shape["radius"] == pytest.approx(shape["centre"])
    assert shape["clusters"] == 1 and shape["layer_clusters"] == 10 and shape["largest_cluster"] == pytest.approx(1.0)
    assert shower_shapes(points(*spot), FINE).sides[0] == pytest.approx(np.ones(len(SIDE_STEPS)))


def test_a_tilted_line() -> None:
    """The spot moves by 3 mm a layer: tilt of 3, no wander. Or it goes to and fro by 4 mm: a wander of 4, no tilt."""
    line = one(points(*((layer, 3.0 * layer + 1.0, 0.1, 2.0) for layer in range(10))))
    assert line["tilt_eta"] == pytest.approx(3.0, abs=0.05) and line["tilt_phi"] == pytest.approx(0.0, abs=0.15)
    assert line["tilt"] == pytest.approx(np.hypot(line["tilt_eta"], line["tilt_phi"]))
    assert line["wander"] < 0.5
    assert line["major_axis"] == pytest.approx(3.0 * np.sqrt((10**2 - 1) / 12), rel=0.02)
    assert line["minor_axis"] < 0.5 and line["ellipticity"] > 0.98
    assert line["growth"] > 0.99
    # + - - + + - - +: no slope
    zigzag = one(points(*((layer, 20.0 + (-1.0) ** ((layer + 1) // 2) * 4.0, 0.1, 2.0) for layer in range(8))))
    assert zigzag["wander"] == pytest.approx(4.0, abs=0.4) and zigzag["tilt"] < 0.1


def test_a_showers_sides_that_alternate() -> None:
    """Layers that lean left and right in turn: neighbours are opposite, every other layer is alike."""
    leaning = points(*((layer, (-1.0) ** layer * 5.0, 0.1, 1.0) for layer in range(10)))
    assert shower_shapes(leaning, FINE).sides[0] == pytest.approx([-1.0, 1.0, 1.0, 1.0], abs=0.01)


def test_a_symmetric_shower_leans_nowhere() -> None:
    binning = electron_binning(6, 5, 16)
    rings = np.random.default_rng(3).gamma(2.0, size=(1, 6, 1, 5))
    even = np.broadcast_to(rings, (1, 6, 16, 5)).reshape(1, -1)
    shape = one(even, binning)
    for name in ("displacement", "centre", "tilt", "wander", "ellipticity"):
        assert shape[name] == pytest.approx(0.0, abs=1e-7), name
    assert shape["major_axis"] == pytest.approx(shape["minor_axis"])
    layer = binning.layers[0]
    energy = rings[0, :, 0]
    radius = (energy * layer.r[:5]).sum() / energy.sum()
    assert shape["radius"] == pytest.approx(radius)
    assert shape["radius_spread"] == pytest.approx(np.sqrt((energy * (layer.r[:5] - radius) ** 2).sum() / energy.sum()))
    # isotropic: each axis has half the mean square radius
    assert shape["major_axis"] == pytest.approx(np.sqrt((energy * layer.r[:5] ** 2).sum() / energy.sum() / 2))
    assert shape["core"] == pytest.approx(energy[:, 0].sum() / energy.sum())
    assert shape["core_two"] == pytest.approx(energy[:, :2].sum() / energy.sum())
    assert shape["clusters"] == 1 and shape["layer_clusters"] == 6
    assert shape["voxels"] == 480 and shape["front_voxels"] == shape["back_voxels"] == 160
    assert shape["inner_voxels"] == 6 * 16 * 3 and shape["outer_voxels"] == 6 * 16 * 2


def test_two_spots_in_a_layer_are_two_clusters_and_an_ellipse() -> None:
    shape = one(points((4, 10.0, 0.1, 3.0), (4, -10.0, 0.1, 1.0)))
    assert shape["clusters"] == shape["layer_clusters"] == shape["voxels"] == 2
    assert shape["largest_cluster"] == pytest.approx(0.75)
    assert shape["major_axis"] == pytest.approx(20.0 * np.sqrt(0.75 * 0.25), rel=0.05)
    assert shape["ellipticity"] > 0.99 and shape["tilt"] == 0.0


def test_along_the_depth() -> None:
    """Energies 0 0 1 6 2 1: start, maximum, mean, spread, and quantiles by linear interpolation."""
    binning = electron_binning(6, 2, 4)
    layers = np.array([0.0, 0.0, 1.0, 6.0, 2.0, 1.0])
    shape = one(np.repeat(layers / 8, 8)[None], binning)
    middles = np.arange(6) + 0.5
    assert shape["start"] == 2 and shape["maximum"] == 3
    assert shape["depth"] == pytest.approx(mean := (layers * middles).sum() / 10)
    assert shape["length"] == pytest.approx(np.sqrt((layers * (middles - mean) ** 2).sum() / 10))
    assert shape["depth_10"] == pytest.approx(3.0) and shape["depth_90"] == pytest.approx(5.0)
    half = one(np.repeat(np.array([4.0, 0.0, 0.0, 0.0, 0.0, 0.0]) / 8, 8)[None], binning)
    assert half["depth_10"] == pytest.approx(0.1) and half["depth_90"] == pytest.approx(0.9)
    assert half["length"] == 0.0 and half["tilt"] == 0.0 and half["start"] == 0


@pytest.mark.parametrize("binning", [mixed_binning(), electron_binning(5, 3, 6)])
def test_brute_force(binning: Binning, rng: np.random.Generator) -> None:
    """Deposit by deposit, with NumPy's weighted means, covariances and straight lines."""
    voxels = toy_showers(20, binning, rng, energy=(1e3, 1e5)).voxels
    shapes = shower_shapes(voxels, binning)
    d = np.concatenate([np.full(layer.num_voxels, k + 0.5) for k, (layer, _) in enumerate(binning.parts)])
    r, alpha = (np.concatenate([getattr(layer, x) for layer, _ in binning.parts]) for x in ("r", "alpha"))
    sided = np.concatenate([np.full(layer.num_voxels, layer.num_alpha > 1) for layer, _ in binning.parts])
    for row, energy in enumerate(voxels.astype(np.float64)):
        assert shapes.radius[row] == pytest.approx(np.average(r, weights=energy))
        covariance = np.cov(np.stack([r, d]), aweights=energy, ddof=0)
        assert shapes.radius_spread[row] == pytest.approx(np.sqrt(covariance[0, 0]))
        assert shapes.length[row] == pytest.approx(np.sqrt(covariance[1, 1]))
        assert shapes.growth[row] == pytest.approx(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))
        w, a, x = energy[sided], alpha[sided], d[sided]
        place = np.stack([r[sided] * np.cos(a), r[sided] * np.sin(a)])
        assert shapes.displacement_cos[row] == pytest.approx(np.average(np.cos(a), weights=w))
        assert shapes.displacement_sin[row] == pytest.approx(np.average(np.sin(a), weights=w))
        assert shapes.centre_eta[row] == pytest.approx(np.average(place[0], weights=w), abs=1e-9)
        eigenvalues = np.linalg.eigvalsh(np.cov(place, aweights=w, ddof=0))
        assert [shapes.minor_axis[row], shapes.major_axis[row]] == pytest.approx(np.sqrt(eigenvalues))
        assert shapes.ellipticity[row] == pytest.approx(np.diff(eigenvalues)[0] / eigenvalues.sum())
        layers = np.unique(x[w > 0])
        weight = np.array([w[x == k].sum() for k in layers])
        centres = np.array([np.average(place[:, x == k], axis=1, weights=w[x == k]) for k in layers])
        degree = min(len(layers) - 1, 1)  # one layer has no slope
        fits = [[0.0, *np.polyfit(layers, centres[:, k], degree, w=np.sqrt(weight))][-2:] for k in (0, 1)]
        assert [shapes.tilt_eta[row], shapes.tilt_phi[row]] == pytest.approx([fits[0][0], fits[1][0]], abs=1e-9)
        away = sum((centres[:, k] - np.polyval(fits[k], layers)) ** 2 for k in (0, 1))
        assert shapes.wander[row] == pytest.approx(np.sqrt(np.average(away, weights=weight)), abs=1e-6)
        side = np.array([[(w * f(a))[x == k].sum() for f in (np.cos, np.sin)] for k in np.unique(x)])
        size = np.hypot(*side.T)
        expected = [
            (side[:-k] * side[k:]).sum() / s if (s := (size[:-k] * size[k:]).sum()) else 0.0 for k in SIDE_STEPS
        ]
        assert shapes.sides[row] == pytest.approx(expected, abs=1e-9)


def test_a_turn_and_a_mirror_keep_all_but_the_directions(rng: np.random.Generator) -> None:
    binning = electron_binning(6, 4, 8)
    showers = toy_showers(40, binning, rng).voxels
    cube = showers.reshape(-1, 6, 8, 4)
    turned, mirrored = np.roll(cube, 1, axis=2).reshape(40, -1), cube[:, :, ::-1].reshape(40, -1)
    before, *after = (shower_shapes(v, binning) for v in (showers, turned, mirrored))
    with_direction = {
        f"{name}_{axis}" for name in ("displacement", "centre", "tilt") for axis in ("cos", "sin", "eta", "phi")
    }
    for name in (f.name for f in fields(ShowerShapes) if f.name not in with_direction):
        for other in after:
            assert getattr(other, name) == pytest.approx(getattr(before, name), abs=1e-6), name
    angle = 2 * np.pi / 8
    eta = np.cos(angle) * before.tilt_eta - np.sin(angle) * before.tilt_phi
    assert after[0].tilt_eta == pytest.approx(eta, abs=1e-9)
    assert after[1].displacement_sin == pytest.approx(-before.displacement_sin, abs=1e-9)


def test_scale_of_energy_changes_nothing(rng: np.random.Generator) -> None:
    binning = mixed_binning()
    showers = toy_showers(30, binning, rng).voxels
    before, after = (shower_shapes(v, binning) for v in (showers, 4 * showers))
    for f in fields(before):
        assert getattr(after, f.name) == pytest.approx(getattr(before, f.name), rel=1e-12), f.name


def test_empty_showers_and_layers_without_sides() -> None:
    binning = mixed_binning()
    shapes = shower_shapes(np.zeros((3, binning.num_voxels), np.float32), binning)
    for f in fields(shapes):
        expected = 4.0 if f.name == "start" else 0.0
        assert (getattr(shapes, f.name) == expected).all(), f.name
    assert len(shower_shapes(np.zeros((0, binning.num_voxels)), binning).radius) == 0
    whole = Binning("photon", 22, (Layer(0, (0.0, 5.0, 10.0), 1), Layer(1, (0.0, 8.0), 1)))
    shape = one(np.array([[1.0, 1.0, 2.0]], np.float32), whole)
    assert shape["radius"] == pytest.approx((2.5 + 7.5 + 2 * 4.0) / 4) and shape["displacement"] == shape["tilt"] == 0.0
    assert shape["clusters"] == 1 and shape["core"] == pytest.approx(0.75)


def test_parts_give_what_the_whole_gives(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastsim.detector import shower_shapes as module

    binning = mixed_binning()
    showers = toy_showers(25, binning, rng).voxels
    whole = shower_shapes(showers, binning)
    monkeypatch.setattr(module, "_CHUNK_VALUES", 7 * binning.num_voxels)
    parts = shower_shapes(showers, binning)
    for f in fields(whole):
        assert getattr(parts, f.name) == pytest.approx(getattr(whole, f.name), rel=1e-12, abs=1e-12), f.name


def test_showers_of_another_binning_are_refused() -> None:
    with pytest.raises(FastsimError, match="showers of 7 voxels, but the binning of electron has 38400"):
        shower_shapes(np.zeros((2, 7)), FINE)
