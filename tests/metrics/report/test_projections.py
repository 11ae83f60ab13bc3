"""Projections of voxels keep the energy, and average jet images have the errors of repeated samples."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.detector.binning import Layer
from metrics.hadrons.jets import relative
from metrics.report.pictures import label, looks
from metrics.report.plots_jets import PIXELS, image
from metrics.report.projections import (
    along_and_across,
    along_and_around,
    face_on,
    mean_voxels,
    reach,
    ring_edges,
    ring_shares,
    side_view,
)
from tests.helpers.jets import toy_sets
from tests.helpers.showers import mixed_binning, toy_showers


def test_projections_keep_the_energy_of_every_layer(rng: np.random.Generator) -> None:
    binning = mixed_binning()
    voxels = rng.random(binning.num_voxels)
    energy = [voxels[part].sum() for _, part in binning.parts]
    across = along_and_across(voxels, binning) @ np.diff(ring_edges(binning))
    around = along_and_around(voxels, binning)
    np.testing.assert_allclose(across, energy)
    np.testing.assert_allclose(around.sum(axis=1) * 2 * np.pi / around.shape[1], energy)
    half = 60.0
    face = face_on(voxels, binning, half, pixels=601)
    assert face.sum() * (2 * half / 601) ** 2 == pytest.approx(sum(energy), rel=0.01)


def test_a_voxel_is_seen_where_it_is() -> None:
    binning = mixed_binning()
    layer, part = binning.parts[1]
    for voxel in range(layer.num_voxels):
        voxels = np.zeros(binning.num_voxels)
        voxels[part.start + voxel] = 3.0
        face = face_on(voxels, binning, 30.0, pixels=61)
        eta, phi = layer.eta[voxel], layer.phi[voxel]
        assert face[int((phi + 30) / 60 * 61), int((eta + 30) / 60 * 61)] > 0
        across = along_and_across(voxels, binning)
        assert across[1, np.searchsorted(ring_edges(binning), layer.r[voxel]) - 1] > 0
        assert np.all(np.delete(across, 1, axis=0) == 0)
        around = along_and_around(voxels, binning)[1]
        assert around[int((layer.alpha[voxel] + np.pi) / (2 * np.pi) * len(around))] > 0


def test_shares_of_a_ring_sum_to_1() -> None:
    shares = ring_shares(Layer(0, (0.0, 4.0, 10.0), 1), np.array([0.0, 2.0, 4.0, 5.0, 10.0, 20.0]))
    np.testing.assert_allclose(shares, [[0.5, 0.5, 0, 0, 0], [0, 0, 1 / 6, 5 / 6, 0]])


def test_mean_voxels_with_weights_and_reach(rng: np.random.Generator) -> None:
    binning = mixed_binning()
    showers = toy_showers(40, binning, rng)
    weights = np.where(rng.random(40) < 0.2, -1.0, 1.5)
    expected = (weights[:, None] * showers.voxels).sum(axis=0) / weights.sum()
    np.testing.assert_allclose(mean_voxels(showers, weights), expected, rtol=1e-5)
    inner = np.zeros(binning.num_voxels)
    inner[0] = 1.0
    assert reach(inner, binning) == ring_edges(binning)[np.searchsorted(ring_edges(binning), 5.0)]


def test_an_average_image_counts_sets_not_particles(rng: np.random.Generator) -> None:
    jets = relative(*toy_sets(30, 8.0, rng))
    weights = np.where(rng.random(30) < 0.2, -1.0, 1.0)
    found = image(jets, weights, 0.5)
    limits = [[-0.5, 0.5], [-0.5, 0.5]]
    each = np.stack(
        [
            np.histogram2d(one.phi_rel, one.eta_rel, PIXELS, limits, weights=one.pt_rel)[0]
            for one in (jets[i : i + 1] for i in range(len(jets)))
        ]
    )
    mean = np.tensordot(weights, each, 1) / weights.sum()
    error = np.sqrt(np.tensordot(weights**2, (each - mean) ** 2, 1)) / weights.sum()
    np.testing.assert_allclose(found.mean, mean, atol=1e-12)
    np.testing.assert_allclose(found.error, error, atol=1e-9)


def test_an_image_of_empty_sets_is_dark(rng: np.random.Generator) -> None:
    jets = relative(*toy_sets(5, 0.01, rng))
    assert len(jets.pt_rel) == 0
    found = image(jets, None, 1.0)
    assert not found.mean.any() and not found.error.any()


def test_names_are_drawn_literally_and_looks_differ() -> None:
    from matplotlib.mathtext import MathTextParser

    names = ["real", "_hidden", "a$b$c", "x" * 80, "one", "two", "three"]
    found = looks(names)
    assert len({(look.colour, look.dash) for look in found.values()}) == len(names)
    assert not found["_hidden"].label.startswith("_")
    assert len(found["x" * 80].label) <= 27
    assert label("50%_$") == r"50%_\$"
    assert label("a\x01\n\udc80b") == "a???b"
    assert MathTextParser("path").parse(label("a$b$c")) is not None


def test_the_side_view_keeps_energy_and_side(rng: np.random.Generator) -> None:
    """All energy within reach, layer by layer; a voxel at alpha near 0 lies at eta near its radius."""
    binning = mixed_binning()
    voxels = rng.gamma(1.0, size=binning.num_voxels)
    half = 60.0
    view = side_view(voxels, binning, half)
    energies = [voxels[part].sum() for _, part in binning.parts]
    assert view.sum(axis=1) * (2 * half / 61) == pytest.approx(energies)
    layer, part = binning.parts[1]
    one = np.zeros(binning.num_voxels)
    one[part.start + 3 * layer.num_r + 2] = 1.0  # the sector from 0 to 60 degrees, 8 to 20 mm
    middles = (np.arange(61) + 0.5) * 2 * half / 61 - half
    seen = middles[side_view(one, binning, half)[1] > 0]
    assert seen.min() > 3.0 and seen.max() < 21.0
