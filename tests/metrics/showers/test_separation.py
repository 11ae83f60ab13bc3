"""Separation powers: closed forms, numpy's histograms, weights, calibration of the null, the challenge's bins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsim.detector.binning import Binning, Layer, read_binning
from fastsim.formats.calochallenge import Showers
from metrics.sample import Sample
from metrics.showers.features import observable_groups, showers_sample
from metrics.showers.separation import (
    histogram_edges,
    separation_power,
    separations,
    voxel_edges,
    voxel_separation,
)
from tests.helpers.showers import electron_binning, mixed_binning, toy_showers

EDGES = np.linspace(-3.0, 3.0, 31)


def _arrays(x: NDArray[Any], weights: NDArray[Any] | None = None, **more: NDArray[Any]) -> Sample:
    return Sample("arrays", {"x": x, **more}, x[:, None], weights=weights)


def _challenge(h: NDArray[Any], g: NDArray[Any], edges: NDArray[Any]) -> float:
    """Compute S as the challenge does: from densities times widths, with an offset in the denominator."""
    h, g = (np.histogram(x, edges, density=True)[0] * np.diff(edges) for x in (h, g))
    return float(0.5 * np.sum((h - g) ** 2 / (h + g + 1e-16)))


def test_closed_forms() -> None:
    a, b = np.array([1.0, 3.0, 0.0]), np.array([2.0, 2.0, 0.0])
    assert separation_power(a, b) == pytest.approx(0.5 * (0.0625 / 0.75 + 0.0625 / 1.25))
    assert separation_power(a, 5 * a) == 0.0
    assert separation_power(np.array([1, 0, 2]), np.array([0, 4, 0])) == pytest.approx(1.0)
    assert separation_power(np.zeros(3), np.zeros(3)) == 0.0
    assert separation_power(np.zeros(3), a) == separation_power(a, np.zeros(3)) == 1.0
    assert separation_power(np.stack([a, b]), np.stack([b, b])) == pytest.approx([float(separation_power(a, b)), 0.0])


def test_value_is_the_challenges(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=3000), rng.normal(0.2, 1.1, size=2000)
    x[:3], y[0] = (-3.0, 3.0, 0.0), 3.0  # on edges; others lie outside
    result = separations(_arrays(x), _arrays(y), {"x": EDGES})["separation x"]
    assert result.value == pytest.approx(_challenge(x, y, EDGES), rel=1e-12)
    assert (result.num_real, result.num_generated, result.name) == (3000, 2000, "separation x")
    open_edges = np.concatenate([[-np.inf], EDGES, [np.inf]])
    counted = separations(_arrays(x), _arrays(y), {"x": open_edges})["separation x"]
    wide = np.concatenate([[-99], EDGES, [99]])
    # np.histogram puts 3.0 into the last bin of closed edges, and beyond it where another bin follows
    assert counted.value == pytest.approx(_challenge(x, y, wide), rel=1e-12)


def test_equal_and_disjoint_samples(rng: np.random.Generator) -> None:
    x = rng.normal(size=500)
    same = separations(_arrays(x), _arrays(x[::-1]), {"x": EDGES})["separation x"]
    assert same.value == 0.0 and same.p_value == 1.0 and same.null_value > 0
    apart = separations(_arrays(-1 - x**2), _arrays(1 + x**2), {"x": np.linspace(-99, 99, 9)})["separation x"]
    assert apart.value == 1.0 and apart.error == 0.0 and apart.p_value == pytest.approx(1 / 201)


def test_null_is_that_of_equal_samples_and_p_values_are_uniform(rng: np.random.Generator) -> None:
    sizes = (2000, 1200)
    columns = [{f"x{i}": rng.uniform(size=n) for i in range(150)} for n in sizes]
    real, generated = (_arrays(rng.normal(size=n), **c) for n, c in zip(sizes, columns, strict=True))
    found = separations(real, generated, {name: np.linspace(0, 1, 21) for name in columns[0]})
    values = np.array([r.value for r in found.values()])
    expected = 19 / 4 * (1 / sizes[0] + 1 / sizes[1])
    assert np.mean([r.null_value for r in found.values()]) == pytest.approx(expected, rel=0.05)
    assert values.mean() == pytest.approx(expected, rel=0.1)
    assert np.mean([r.null_error for r in found.values()]) == pytest.approx(values.std(), rel=0.25)
    p = np.array([r.p_value for r in found.values()], dtype=np.float64)
    for level in (0.1, 0.5, 0.8):
        assert abs(np.mean(p <= level) - level) < 3.5 * np.sqrt(level * (1 - level) / 150)


def test_error_is_the_spread_of_repeated_samples(rng: np.random.Generator) -> None:
    draws = []
    for _ in range(60):
        x, y = rng.normal(size=1000), rng.normal(0.7, 1, size=1000)
        draws.append(separations(_arrays(x), _arrays(y), {"x": EDGES}, num_permutations=2)["separation x"])
    assert np.mean([r.error for r in draws]) == pytest.approx(np.std([r.value for r in draws]), rel=0.3)


def test_a_shift_is_found(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=4000), rng.normal(0.15, 1, size=4000)
    result = separations(_arrays(x), _arrays(y), {"x": EDGES})["separation x"]
    assert result.sigmas > 5 and result.p_value == pytest.approx(1 / 201)


def test_weights_of_either_sign(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=800), rng.normal(0.3, 1, size=600)
    plain = separations(_arrays(x), _arrays(y), {"x": EDGES})["separation x"]
    scaled = separations(_arrays(x, np.full(800, 2.5)), _arrays(y), {"x": EDGES})["separation x"]
    assert scaled.value == pytest.approx(plain.value, rel=1e-12)
    # every event of weight -1 cancels a copy of itself
    extra = rng.normal(1.0, 0.3, size=100)
    signed = np.concatenate([y, extra, extra]), np.repeat([1.0, 1.0, -1.0], [600, 100, 100])
    cancelled = separations(_arrays(x), _arrays(*signed), {"x": EDGES})["separation x"]
    assert cancelled.value == pytest.approx(plain.value, rel=1e-12)
    assert cancelled.error > plain.error
    with pytest.raises(ValueError, match="x: negative weights outweigh the others in a bin"):
        separations(_arrays(x), _arrays(y, np.where(np.abs(y) < 0.2, -2.0, 1.0)), {"x": EDGES})
    with pytest.raises(ValueError, match="generated weights sum to -600: the separation power needs a positive sum"):
        separations(_arrays(x), _arrays(y, np.full(600, -1.0)), {"x": EDGES})
    with pytest.raises(ValueError, match="generated weight of event 0 is not finite"):
        separations(_arrays(x), _arrays(y, np.full(600, np.nan)), {"x": EDGES})


def test_groups_are_means_with_their_correlations(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=500), rng.normal(size=500)
    real, generated = _arrays(x, a=x, b=x[::-1]), _arrays(y, a=y, b=y + 1)
    edges = dict.fromkeys(("x", "a", "b"), EDGES)
    groups = {"one": ("x",), "twice": ("x", "a"), "mixed": ("x", "b"), "unknown": ("x", "c")}
    found = separations(real, generated, edges, groups=groups)
    means, largest = (
        ["separation twice", "separation mixed"],
        ["largest separation twice", "largest separation mixed"],
    )
    assert list(found) == [*means, *largest, *(f"separation {k}" for k in ("x", "a", "b"))]
    worst = max((found["separation x"], found["separation b"]), key=lambda r: r.value)
    assert found["largest separation mixed"].value == worst.value
    # the null is that of the worst of two, not of the one that came out worst
    assert found["largest separation mixed"].null_value >= worst.null_value
    assert found["separation twice"].error == pytest.approx(found["separation x"].error)
    mean = (found["separation x"].value + found["separation b"].value) / 2
    assert found["separation mixed"].value == pytest.approx(mean)


def test_order_of_events_of_histograms_does_not_matter_and_the_seed_decides(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=900), rng.normal(size=900)
    one, again, other = (separations(_arrays(x), _arrays(y), {"x": EDGES}, seed=s)["separation x"] for s in (0, 0, 1))
    assert one == again and one.null_value != other.null_value
    shuffled = separations(_arrays(x[::-1]), _arrays(y), {"x": EDGES})["separation x"]
    assert shuffled.value == one.value


def test_errors(rng: np.random.Generator) -> None:
    x = rng.normal(size=50)
    good = _arrays(x)
    cases = [
        (good, _arrays(np.append(x, np.nan)), {"x": EDGES}, "'x' holds NaN or infinity"),
        (_arrays(np.append(x, np.inf)), good, {"x": EDGES}, "'x' holds NaN or infinity"),
        (good, _arrays(x[:0]), {"x": EDGES}, "at least 2 events a sample, got 50 and 0"),
        (good, _arrays(x, y=x), {"x": EDGES}, "differ in observables"),
        (good, good, {"z": EDGES}, "edges for 'z', which the samples do not have: x"),
        (good, good, {"x": EDGES[::-1]}, "edges of 'x' must be two or more and increase"),
        (good, good, {"x": EDGES[:1]}, "edges of 'x' must be two or more"),
    ]
    for real, generated, edges, message in cases:
        with pytest.raises(ValueError, match=message):
            separations(real, generated, edges)


def test_constant_and_empty_bins(rng: np.random.Generator) -> None:
    constant = _arrays(np.zeros(40))
    found = separations(constant, constant, {"x": EDGES})["separation x"]
    assert (found.value, found.error, found.null_error, found.p_value) == (0.0, 0.0, 0.0, 1.0)
    outside = _arrays(np.full(40, 99.0))
    assert separations(constant, outside, {"x": EDGES})["separation x"].value == 1.0
    assert separations(outside, outside, {"x": EDGES})["separation x"].value == 0.0


def _zeros_but(binning: Binning, values: NDArray[Any]) -> Sample:
    voxels = np.zeros((len(values), binning.num_voxels), np.float32)
    voxels[:, 0] = values
    return showers_sample(Showers(np.full(len(values), 1e3), voxels), binning)


def test_bins_are_the_challenges(shared: Path, rng: np.random.Generator) -> None:
    folder = shared / "calochallenge"
    pions = _zeros_but(read_binning(folder / "binning_dataset_1_pions.xml"), rng.uniform(20, 500, 30))
    edges = histogram_edges(pions)
    assert edges["E_tot/E_inc"] == pytest.approx(np.linspace(0.5, 1.5, 101))
    assert edges["centre eta layer 1 / mm"] == pytest.approx(np.linspace(-100, 100, 101))
    assert edges["centre phi layer 12 / mm"] == pytest.approx(np.linspace(-500, 500, 101))
    assert edges["width phi layer 2 / mm"] == pytest.approx(np.linspace(0, 100, 101))
    assert edges["width eta layer 13 / mm"] == pytest.approx(np.linspace(0, 400, 101))
    assert edges["sparsity layer 14"] == pytest.approx(np.linspace(0, 1, 20))
    top = pions.observables["E_layer 0 / MeV"].max()
    assert edges["E_layer 0 / MeV"] == pytest.approx(np.logspace(1, np.log10(top), 40))
    assert len(edges["E_layer 1 / MeV"]) == 2  # nothing above the threshold
    assert set(edges) == set(pions.observables)
    electrons = _zeros_but(electron_binning(), rng.uniform(20, 500, 30))
    edges = histogram_edges(electrons)
    assert edges["centre eta layer 44 / mm"] == pytest.approx(np.linspace(-30, 30, 101))
    assert edges["width phi layer 12 / mm"] == pytest.approx(np.linspace(0, 30, 101))
    assert edges["E_layer 0 / MeV"][0] == pytest.approx(0.0151515, rel=1e-5)
    assert len(voxel_edges(electrons)) == 50
    assert histogram_edges(electrons, readout=2.0)["E_layer 0 / MeV"][0] == pytest.approx(2.0)


def test_bins_of_other_detectors_count_everything(rng: np.random.Generator) -> None:
    binning = mixed_binning()
    sample = showers_sample(toy_showers(300, binning, rng, response=0.03), binning)
    edges = histogram_edges(sample)
    for name, bins in edges.items():
        counted = np.histogram(sample.observables[name], np.clip(bins, -1e9, 1e9))[0].sum()
        assert counted == 300, name
    assert 0 < edges["E_tot/E_inc"][1] < edges["E_tot/E_inc"][-2] < 0.1
    assert voxel_edges(sample)[-1] == np.inf
    empty = _zeros_but(binning, np.zeros(20))
    found = separations(empty, empty, histogram_edges(empty))
    assert all(r.value == 0 for r in found.values())


def test_a_wrong_shower_is_found_in_the_right_observables(rng: np.random.Generator) -> None:
    binning = electron_binning(6, 9, 8)
    kinds: tuple[dict[str, Any], ...] = ({}, {}, {"width": 1.1}, {"response": 1.05})
    real, alike, wide, bright = (showers_sample(toy_showers(1200, binning, rng, **k), binning) for k in kinds)
    groups = observable_groups(binning)
    edges = histogram_edges(real)
    good, wider, brighter = (separations(real, s, edges, groups=groups) for s in (alike, wide, bright))
    assert max(abs(good[f"separation {g}"].sigmas) for g in groups) < 4
    assert wider["separation centre r"].sigmas > 10
    assert brighter["separation E_tot/E_inc"].sigmas > 10
    assert abs(brighter["separation centre r"].sigmas) < 4


def test_voxel_spectrum(rng: np.random.Generator) -> None:
    binning = electron_binning(5, 9, 16)
    real, other = (
        showers_sample(toy_showers(300, binning, rng, quantum=q, energy=(5e3, 2e4)), binning) for q in (10.0, 15.0)
    )
    edges = voxel_edges(real, readout=0.5)
    found = voxel_separation(real, other, readout=0.5)
    assert isinstance(real.events, Showers) and isinstance(other.events, Showers)
    finite = np.append(edges[:-1], 1e9)
    expected = _challenge(real.events.voxels.ravel(), other.events.voxels.ravel(), finite)
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert found.sigmas > 5
    same = voxel_separation(real, real[::-1])
    assert same.value == 0.0 and same.name == "separation voxel energy"
    # the voxels of one shower vary together: the null of showers is wider than that of as many independent voxels
    varied = toy_showers(300, binning, rng)
    independent = 49 / 4 * 2 / np.count_nonzero(varied.voxels > 0.5)
    sample = showers_sample(varied, binning)
    assert voxel_separation(sample, sample, readout=0.5).null_value > 1.5 * independent


def test_voxel_spectrum_errors(rng: np.random.Generator) -> None:
    binning = mixed_binning()
    showers = toy_showers(10, binning, rng)
    sample, streamed = showers_sample(showers, binning), showers_sample(iter([showers]), binning)
    with pytest.raises(ValueError, match="does not hold its showers"):
        voxel_separation(sample, streamed)
    with pytest.raises(ValueError, match=r"readout is -1\.0 MeV, must be positive"):
        voxel_separation(sample, sample, readout=-1.0)
    with pytest.raises(ValueError, match="empty one"):
        voxel_edges(sample[:0])
    with pytest.raises(ValueError, match="empty one"):
        histogram_edges(sample[:0])
    broken = replace(sample, observables={**sample.observables, "sparsity layer 0": np.full(10, np.nan)})
    with pytest.raises(ValueError, match="'sparsity layer 0' holds NaN or infinity"):
        histogram_edges(broken)
    for value in (np.nan, np.inf):
        voxels = showers.voxels.copy()
        voxels[3, 2] = value
        broken = replace(sample, events=Showers(showers.incident, voxels))
        with pytest.raises(ValueError, match="voxel of the real sample is NaN or infinite"):
            voxel_separation(broken, sample)
        with pytest.raises(ValueError, match="voxel of the generated sample is NaN or infinite"):
            voxel_separation(sample, broken)
    other = Binning("photon", 22, (*binning.layers[:-1], Layer(12, (0.0, 60.0), 1)))
    with pytest.raises(ValueError, match="differ in binning"):
        voxel_separation(sample, showers_sample(showers, other))


def test_a_quieter_signed_null(rng: np.random.Generator) -> None:
    """Check that relabelling carries weights along: a sample with large weights has a wider null."""
    x, y = rng.normal(size=1000), rng.normal(size=1000)
    plain = separations(_arrays(x), _arrays(y), {"x": EDGES})["separation x"]
    weights = rng.choice([0.1, 5.0], 1000)
    wide = separations(_arrays(x, weights), _arrays(y, weights), {"x": EDGES})["separation x"]
    assert wide.null_value > 1.5 * plain.null_value
