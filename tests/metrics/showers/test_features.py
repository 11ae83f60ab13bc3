"""High-level features: brute force, closed forms, symmetries, memory, and what is refused."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from fastsim.errors import FastsimError, InvalidValue
from fastsim.formats import calochallenge as module
from fastsim.formats.calochallenge import Showers
from metrics.sample import Sample, check_alike
from metrics.showers.features import (
    ShowerFeatures,
    binning_of,
    layer_energies,
    observable_groups,
    shower_features,
    showers_of,
    showers_sample,
)
from metrics.showers.shapes import SHAPES, shape_names
from tests.helpers.showers import electron_binning, mixed_binning, toy_showers

BINNING = mixed_binning()


def _brute_force(shower: Showers, threshold: float) -> dict[str, float]:
    """Compute observables of one shower, voxel by voxel."""
    found = {"E_tot/E_inc": math.fsum(map(float, shower.voxels[0])) / float(shower.incident[0])}
    number = 0
    for layer in BINNING.layers:
        voxels = []
        for j in range(layer.num_alpha):
            alpha = -math.pi + (j + 0.5) * 2 * math.pi / layer.num_alpha
            for i in range(layer.num_r):
                r = (layer.r_edges[i] + layer.r_edges[i + 1]) / 2
                voxels.append((float(shower.voxels[0, number]), r * math.cos(alpha), r * math.sin(alpha), r))
                number += 1
        if not voxels:
            continue
        energy = math.fsum(e for e, *_ in voxels)
        found[f"E_layer {layer.id} / MeV"] = energy
        found[f"sparsity layer {layer.id}"] = sum(e > threshold for e, *_ in voxels) / len(voxels)
        for column, axis in ((1, "eta"), (2, "phi"), (3, "r")):
            if axis != "r" and layer.num_alpha == 1:
                continue
            centre = math.fsum(v[0] * v[column] for v in voxels) / energy if energy else 0.0
            variance = math.fsum(v[0] * (v[column] - centre) ** 2 for v in voxels) / energy if energy else 0.0
            found[f"centre {axis} layer {layer.id} / mm"] = centre
            found[f"width {axis} layer {layer.id} / mm"] = math.sqrt(variance)
    return found


@pytest.mark.parametrize("threshold", [0.0, 15.0])
def test_brute_force(rng: np.random.Generator, threshold: float) -> None:
    showers = toy_showers(40, BINNING, rng, energy=(100.0, 1e5))
    sample = showers_sample(showers, BINNING, threshold=threshold)
    for row in range(40):
        expected = _brute_force(showers[row : row + 1], threshold)
        assert sorted(expected) == sorted(set(sample.observables) - set(shape_names(BINNING)))
        for name, value in expected.items():
            assert sample.observables[name][row] == pytest.approx(value, rel=1e-9, abs=2e-6), name
    assert sample.condition["energy"] == pytest.approx(showers.incident / 1e3)
    assert sample.kind == "showers" and sample.events is showers and sample.binning == BINNING


def test_a_single_voxel_is_its_own_centre_with_zero_width() -> None:
    voxels = np.eye(BINNING.num_voxels, dtype=np.float32) * 7
    features = shower_features(Showers(np.full(len(voxels), 70.0), voxels), BINNING)
    in_alpha = [layer for layer, _ in BINNING.parts if layer.binned_in_alpha]
    for k, (layer, part) in enumerate(BINNING.parts):
        rows = np.arange(part.start, part.stop)
        assert features.energy[rows, k] == pytest.approx(7.0)
        assert features.energy[rows].sum(axis=1) == pytest.approx(7.0)
        assert features.centre_r[rows, k] == pytest.approx(layer.r)
        assert features.sparsity[rows, k] == pytest.approx(1 / layer.num_voxels)
        if layer.binned_in_alpha:
            column = in_alpha.index(layer)
            assert features.centre_eta[rows, column] == pytest.approx(layer.eta)
            assert features.centre_phi[rows, column] == pytest.approx(layer.phi)
    assert features.total == pytest.approx(7.0)
    for width in (features.width_eta, features.width_phi, features.width_r):
        assert np.abs(width).max() < 2e-6


def test_two_voxels_have_half_their_distance_as_width() -> None:
    layer, part = BINNING.parts[1]
    voxels = np.zeros((1, BINNING.num_voxels), np.float32)
    voxels[0, [part.start, part.start + 7]] = 5.0
    features = shower_features(Showers(np.ones(1), voxels), BINNING)
    assert features.centre_eta[0, 0] == pytest.approx((layer.eta[0] + layer.eta[7]) / 2)
    assert features.width_eta[0, 0] == pytest.approx(abs(layer.eta[0] - layer.eta[7]) / 2)
    assert features.width_phi[0, 0] == pytest.approx(abs(layer.phi[0] - layer.phi[7]) / 2)


def test_a_turn_by_one_sector_turns_the_centres_and_nothing_else(rng: np.random.Generator) -> None:
    binning = electron_binning(3, 4, 8)
    showers = toy_showers(50, binning, rng)
    turned = showers.voxels.reshape(50, 3, 8, 4)[:, :, np.roll(np.arange(8), 1)].reshape(50, -1)
    one, other = (shower_features(Showers(showers.incident, v), binning) for v in (showers.voxels, turned))
    angle = 2 * np.pi / 8
    eta = np.cos(angle) * one.centre_eta - np.sin(angle) * one.centre_phi
    assert other.centre_eta == pytest.approx(eta, abs=1e-9)
    for name in ("energy", "centre_r", "width_r", "sparsity"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), abs=1e-9)
    spread = [f.width_eta**2 + f.width_phi**2 for f in (one, other)]
    assert spread[0] == pytest.approx(spread[1], rel=1e-9)


def test_scale_of_energy_changes_energies_only(rng: np.random.Generator) -> None:
    showers = toy_showers(30, BINNING, rng)
    one, other = (shower_features(Showers(showers.incident, showers.voxels * k), BINNING) for k in (1, 4))
    assert other.energy == pytest.approx(4 * one.energy) and other.total == pytest.approx(4 * one.total)
    for name in ("centre_eta", "centre_phi", "width_eta", "width_phi", "centre_r", "width_r", "sparsity"):
        assert np.array_equal(getattr(other, name), getattr(one, name)), name


def test_showers_without_energy_are_finite() -> None:
    sample = showers_sample(Showers(np.full(3, 1e3), np.zeros((3, BINNING.num_voxels), np.float32)), BINNING)
    expected = {"start": len(BINNING.parts)}
    assert all(np.array_equal(v, np.full(3, expected.get(k, 0))) for k, v in sample.observables.items())
    assert sample.embedding[0, :6] == pytest.approx([3.0, -8.0, -8.0, -8.0, -8.0, 0.0])


def test_embedding_is_the_vector_of_the_challenge(rng: np.random.Generator) -> None:
    showers = toy_showers(20, BINNING, rng)
    sample, groups = showers_sample(showers, BINNING), observable_groups(BINNING)
    columns = [np.log10(showers.incident)]
    columns += [np.log10(sample.observables[k] + 1e-8) for k in groups["E_layer"]]
    for group in ("centre eta", "centre phi", "width eta", "width phi"):
        columns += [sample.observables[k] / 100 for k in groups[group]]
    assert np.array_equal(sample.embedding, np.stack(columns, axis=1))
    assert sample.embedding.shape == (20, 1 + 4 + 4 * 2)


def test_groups_name_every_observable_once(rng: np.random.Generator) -> None:
    binning = electron_binning()
    sample = showers_sample(toy_showers(2, binning, rng), binning)
    names = [name for group in observable_groups(binning).values() for name in group]
    assert names == list(sample.observables) and len(set(names)) == 361 + len(SHAPES)
    assert sample.embedding.shape == (2, 226)
    assert sample.classifier_inputs().shape == (2, 362 + len(SHAPES))


def test_parts_of_a_file_give_the_same_without_the_showers(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    showers = toy_showers(31, BINNING, rng)
    whole = showers_sample(showers, BINNING)
    monkeypatch.setattr(module, "CHUNK_VALUES", 34 * 4)
    for source in (showers, (showers[i : i + 9] for i in range(0, 31, 9))):
        parts = showers_sample(source, BINNING)
        assert parts.embedding == pytest.approx(whole.embedding, rel=1e-12)
    assert parts.events is None
    with pytest.raises(ValueError, match="does not hold its showers"):
        showers_of(parts)


def test_memory_is_bounded_by_the_features(rng: np.random.Generator) -> None:
    binning = electron_binning(10, 9, 16)
    part = toy_showers(1000, binning, rng)

    def parts(num: int) -> Iterator[Showers]:
        for _ in range(num):
            yield part

    def peak(num: int) -> int:
        tracemalloc.start()
        shower_features(parts(num), binning)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    features = 1000 * (2 + 8 * 10 + len(SHAPES)) * 8
    # twice, as the parts are joined at the end; the voxels of six parts would be 35 MB
    assert peak(7) - peak(1) < 2.5 * 6 * features


def test_empty_and_weights(rng: np.random.Generator) -> None:
    showers = toy_showers(5, BINNING, rng)
    empty = showers_sample(showers[:0], BINNING)
    assert len(empty) == 0 and empty.embedding.shape == (0, 13)
    weighted = showers_sample(showers, BINNING, weights=np.array([1, -1, 2, 1, 1]))
    assert weighted.weights is not None and weighted.weights.dtype == np.float64
    assert weighted[np.array([1])].weights == pytest.approx([-1.0])
    with pytest.raises(ValueError, match="columns of different lengths"):
        showers_sample(showers, BINNING, weights=np.ones(4))


def test_bad_showers_are_refused(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_VALUES", 34 * 4)
    showers = toy_showers(12, BINNING, rng)
    showers.voxels[9, 3] = np.nan
    for source in (showers, iter([showers[:5], showers[5:]])):
        with pytest.raises(FastsimError, match="shower 9 has a voxel of nan MeV"):
            shower_features(source, BINNING)
    with pytest.raises(FastsimError, match="showers of 34 voxels, but the binning of electron has 6480"):
        shower_features(showers[:3], electron_binning())
    arrays = Sample("arrays", {}, np.zeros((3, 1)))
    with pytest.raises(ValueError, match="the sample is of arrays and has no binning"):
        binning_of(arrays)


def test_layer_energies(rng: np.random.Generator) -> None:
    showers = toy_showers(6, BINNING, rng)
    features: ShowerFeatures = shower_features(showers, BINNING)
    assert np.array_equal(layer_energies(showers_sample(showers, BINNING)), features.energy)


def test_directions_are_conditions_and_do_not_go_with_none(rng: np.random.Generator) -> None:
    binning = electron_binning(6, 3, 8)
    straight = toy_showers(40, binning, rng)
    direction = np.column_stack([rng.uniform(0, 0.7, 40), rng.uniform(-3, 3, 40)])
    tilted = showers_sample(Showers(straight.incident, straight.voxels, direction=direction), binning)
    assert list(tilted.condition) == ["energy", "theta", "phi"]
    assert tilted.condition["theta"].tolist() == direction[:, 0].tolist()
    normal = showers_sample(straight, binning)
    assert list(normal.condition) == ["energy"]
    with pytest.raises(InvalidValue, match="one alone has theta, phi"):
        check_alike(tilted, normal)
    along = showers_sample(Showers(straight.incident, straight.voxels, direction=np.zeros((40, 2))), binning)
    assert list(along.condition) == ["energy"], "all along the normal"
