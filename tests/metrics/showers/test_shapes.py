"""Observables of whole showers: names, units, the vector, and what a model without memory of sides looks like."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.detector.binning import Binning, Layer
from fastsim.detector.shower_shapes import shower_shapes
from fastsim.formats.calochallenge import Showers
from metrics.evaluation import evaluate
from metrics.report.meanings import observable_meaning
from metrics.sample import Sample
from metrics.showers.correlation import side_correlations
from metrics.showers.features import observable_groups, showers_sample
from metrics.showers.shapes import GROUP, SHAPES, shape_names, shape_observables, shape_vector
from tests.helpers.showers import electron_binning, mixed_binning, toy_showers

BINNING = electron_binning(6, 3, 8)


def without_memory(showers: Showers, binning: Binning, rng: np.random.Generator) -> Showers:
    """Turn every layer of every shower on its own: each layer as it was, none knows the side of another."""
    voxels = showers.voxels.copy()
    for layer, part in binning.parts:
        cube = voxels[:, part].reshape(len(voxels), layer.num_alpha, layer.num_r)
        turn = (np.arange(layer.num_alpha) - rng.integers(layer.num_alpha, size=(len(voxels), 1))) % layer.num_alpha
        voxels[:, part] = np.take_along_axis(cube, turn[:, :, None], axis=1).reshape(len(voxels), -1)
    return Showers(showers.incident, voxels)


def test_every_shape_is_an_observable(rng: np.random.Generator) -> None:
    binning = electron_binning(10, 3, 8)
    showers = toy_showers(30, binning, rng)
    sample, shapes = showers_sample(showers, binning), shower_shapes(showers.voxels, binning)
    assert observable_groups(binning)[GROUP] == tuple(SHAPES) == shape_names(binning)
    assert np.array_equal(sample.observables["tilt / (mm/layer)"], shapes.tilt)
    assert np.array_equal(sample.observables["sides 4 apart"], shapes.sides[:, 2])
    assert {(s.attribute, s.column) for s in SHAPES.values()} >= {("displacement", None), ("sides", 3)}
    assert all(observable_meaning(name) for name in SHAPES)
    vector = shape_vector(sample)
    assert vector.shape == (30, len(SHAPES) + 2)
    assert vector[:, -2] == pytest.approx(np.log10(showers.incident / 1e3))
    with pytest.raises(ValueError, match="the sample is of arrays and has no binning"):
        shape_observables(Sample("arrays", {}, np.zeros((3, 1))))


def test_what_needs_sides_is_left_out_without_them() -> None:
    whole = Binning("photon", 22, (Layer(0, (0.0, 5.0, 10.0), 1), Layer(1, (0.0, 8.0), 1)))
    assert not {"displacement", "tilt / (mm/layer)", "ellipticity", "sides 1 apart"} & set(shape_names(whole))
    assert {"radius / mm", "start", "clusters"} <= set(shape_names(whole))
    two = set(shape_names(mixed_binning()))
    assert {"tilt / (mm/layer)", "sides 1 apart"} <= two and "sides 2 apart" not in two


def test_side_correlations_against_pearson(rng: np.random.Generator) -> None:
    """Of components along both axes with equal spread: the mean of Pearson's correlations, weighted by variance."""
    sample = showers_sample(toy_showers(400, BINNING, rng), BINNING)
    rho = side_correlations(sample)
    groups = observable_groups(BINNING)
    axes = [np.stack([sample.observables[n] for n in groups[f"centre {a}"]], axis=1) for a in ("eta", "phi")]
    covariance = sum(np.cov(x.T, ddof=0) for x in axes)
    deviation = np.sqrt(np.diag(covariance))
    assert rho == pytest.approx(covariance / np.outer(deviation, deviation), abs=1e-9)
    assert rho[0, 1] > 0.1
    with pytest.raises(ValueError, match="at least two layers with several sectors"):
        side_correlations(showers_sample(toy_showers(9, whole := electron_binning(3, 2, 1), rng), whole))


def test_layers_that_do_not_know_each_others_side_are_seen(rng: np.random.Generator) -> None:
    """What layers show one by one is exact: only the shapes of whole showers tell the samples apart."""
    real, other = (toy_showers(700, BINNING, rng, energy=(1e4, 2e4), quantum=100.0) for _ in range(2))
    blind = showers_sample(without_memory(other, BINNING, rng), BINNING)
    one, null = showers_sample(real, BINNING), showers_sample(other, BINNING)
    evaluation, _ = evaluate(one, {"equal": null, "blind": blind}, metrics="shapes,correlation,separation,fpd_shapes")
    found = evaluation.results
    for name in (
        "shape displacement",
        "shape sides 1 apart",
        "side correlations",
        "fpd_shapes",
    ):
        assert found["blind"][name].sigmas > 5, name
        assert abs(found["equal"][name].sigmas) < 4, name
    for name in ("separation E_layer", "separation width r", "layer correlations", "shape radius / mm"):
        assert abs(found["blind"][name].sigmas) < 4, name
