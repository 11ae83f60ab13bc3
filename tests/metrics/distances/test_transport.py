"""The energy mover's distance against EnergyFlow and closed forms; coverage and MMD against brute force and nulls."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from fastsim.event import offsets_from_counts
from metrics.distances.transport import coverage_and_mmd, emd, emd_matrix
from metrics.hadrons.jets import Jets


def toy_jets(num: int, rng: np.random.Generator, *, mean: float = 4.0, width: float = 0.2, total: float = 1.0) -> Jets:
    counts = 1 + rng.poisson(mean - 1, num)
    size = int(counts.sum())
    eta, phi = rng.normal(0, width, (2, size))
    pt = total * rng.exponential(1.0 / mean, size)
    pz, ids = pt * np.sinh(eta), np.full(num, 21)
    return Jets(offsets_from_counts(counts), np.full(size, 211), pt, eta, phi, pz, 0.0 * pt, ids, np.full(num, 500.0))


def table(jets: Jets, i: int) -> NDArray[Any]:
    rows = slice(jets.offsets[i], jets.offsets[i + 1])
    return np.stack([jets.pt_rel[rows], jets.eta_rel[rows], jets.phi_rel[rows]], axis=1)


@pytest.mark.parametrize("radius", [0.4, 1.0])
def test_agrees_with_energyflow(radius: float, rng: np.random.Generator) -> None:
    # the second sample has equal total pT in every other set, and sits across the cut in azimuth
    from energyflow.emd import emd as reference

    for k in range(30):
        one, other = rng.uniform(0.01, 1, (rng.integers(1, 40), 3)), rng.uniform(0.01, 1, (rng.integers(1, 40), 3))
        other[:, 2] = rng.uniform(-np.pi, np.pi, len(other))
        if k % 2:
            other[:, 0] *= one[:, 0].sum() / other[:, 0].sum()
        assert_allclose(emd(one, other, radius=radius), reference(one, other, R=radius, periodic_phi=True), rtol=1e-9)


def test_closed_forms() -> None:
    one = np.array([[0.7, 0.1, 3.1]])
    assert emd(one, one) == 0.0
    # across the cut in azimuth, angle 2 pi - 6.2
    assert emd(one, np.array([[0.7, 0.1, -3.1]])) == pytest.approx(0.7 * (2 * np.pi - 6.2))
    # moving 0.5 by an angle 0.5 at R = 0.5 costs as much as making it, and 0.2 is made
    assert emd(one, np.array([[0.5, 0.4, 2.7]]), radius=0.5) == pytest.approx(0.5 + 0.2)
    # a split along the line: half the pT moves by 0.1 and half by 0.3
    assert emd(np.array([[1.0, 0, 0]]), np.array([[0.5, 0.1, 0], [0.5, -0.3, 0]])) == pytest.approx(0.2)
    # a set without particles is its total pT away
    empty = np.empty((0, 3))
    assert emd(one, empty) == emd(empty, one) == pytest.approx(0.7)
    assert emd(empty, empty) == 0.0


def test_is_a_metric_and_blind_to_order_padding_and_rotation(rng: np.random.Generator) -> None:
    sets = [rng.uniform(0, 0.6, (n, 3)) for n in (7, 12, 4)]
    a, b, c = sets
    assert emd(a, b) == pytest.approx(emd(b, a), rel=1e-12)
    assert emd(a, c) <= emd(a, b) + emd(b, c)
    padded = np.concatenate([rng.permutation(b), np.zeros((5, 3)), [[0.0, np.inf, 0.0]]])
    assert emd(a, padded) == pytest.approx(emd(a, b), rel=1e-12)
    turned = [s + np.array([0.0, 0.0, 3.0]) for s in (a, b)]
    assert emd(*turned) == pytest.approx(emd(a, b), rel=1e-12)
    assert emd(*(s * [10.0, 1.0, 1.0] for s in (a, b))) == pytest.approx(10 * emd(a, b), rel=1e-12)


def test_matrix_holds_every_pair_and_keeps_the_leading_particles(rng: np.random.Generator) -> None:
    real, generated = toy_jets(5, rng, mean=6.0), toy_jets(3, rng, mean=6.0)
    found = emd_matrix(real, generated)
    assert found.shape == (5, 3)
    for i in range(5):
        for j in range(3):
            assert found[i, j] == pytest.approx(emd(table(real, i), table(generated, j)), rel=1e-12)
    cut = emd_matrix(real, generated, max_particles=2)
    leading = [t[np.argsort(-t[:, 0])[:2]] for t in (table(real, 4), table(generated, 1))]
    assert cut[4, 1] == pytest.approx(emd(*leading), rel=1e-12)
    assert emd_matrix(real[:0], generated).shape == (0, 3)


def test_coverage_and_mmd_of_one_batch_are_those_of_the_definition(rng: np.random.Generator) -> None:
    real, generated = toy_jets(12, rng), toy_jets(12, rng)
    found = coverage_and_mmd(real, generated, num=12, num_batches=1, num_permutations=50)
    distance = emd_matrix(real, generated)
    nearest = {min(range(12), key=lambda i: distance[i, j]) for j in range(12)}
    assert found["emd_coverage"].value == pytest.approx(len(nearest) / 12)
    assert found["emd_mmd"].value == pytest.approx(np.mean([min(row) for row in distance]), rel=1e-12)


def test_copies_a_collapse_and_a_shift(rng: np.random.Generator) -> None:
    real = toy_jets(60, rng)
    options: dict[str, Any] = {"num": 20, "num_batches": 1, "num_permutations": 199, "max_particles": 8}
    perfect = coverage_and_mmd(real[:20], real[:20], **options)
    assert (perfect["emd_coverage"].value, perfect["emd_mmd"].value) == (1.0, 0.0)
    assert perfect["emd_mmd"].p_value == 1.0
    # one good set over and over: coverage is 1 / num
    collapsed = coverage_and_mmd(real[:20], real[np.full(20, 30)], **options)["emd_coverage"]
    assert collapsed.value == pytest.approx(1 / 20)
    assert collapsed.p_value == pytest.approx(0.005)
    assert collapsed.excess > 3
    shifted = replace(real, eta_rel=real.eta_rel + 1.5)
    moved = coverage_and_mmd(real[:20], shifted[40:], **options)["emd_mmd"]
    assert moved.p_value == pytest.approx(0.005)
    assert moved.excess > 3


def test_p_values_and_errors_are_calibrated(rng: np.random.Generator) -> None:
    results = [
        coverage_and_mmd(
            toy_jets(24, rng, mean=1.0),
            toy_jets(24, rng, mean=1.0),
            num=12,
            num_batches=2,
            num_permutations=39,
            max_particles=2,
        )
        for _ in range(40)
    ]
    for name in ("emd_coverage", "emd_mmd"):
        values = np.array([r[name].value for r in results])
        nulls = np.array([r[name].null_value for r in results])
        assert values.mean() == pytest.approx(nulls.mean(), abs=4 * values.std() / np.sqrt(40))
        assert np.mean([r[name].null_error for r in results]) == pytest.approx(values.std(ddof=1), rel=0.4)
        assert np.sqrt(np.mean([r[name].error ** 2 for r in results])) == pytest.approx(values.std(ddof=1), rel=0.4)
        p_values = np.array([r[name].p_value for r in results])
        assert np.mean(p_values <= 0.2) < 0.2 + 3.5 * np.sqrt(0.2 * 0.8 / 40)
        assert np.mean(p_values <= 0.5) < 0.5 + 3.5 * np.sqrt(0.25 / 40)


def test_same_seed_same_result_and_order_of_particles_irrelevant(rng: np.random.Generator) -> None:
    real, generated = toy_jets(30, rng), toy_jets(25, rng)
    order = np.concatenate(
        [rng.permutation(np.arange(a, b)) for a, b in zip(real.offsets[:-1], real.offsets[1:], strict=True)]
    )
    shuffled = replace(
        real,
        **{name: getattr(real, name)[order] for name in ("pdg_id", "pt_rel", "eta_rel", "phi_rel", "pz_rel", "m_rel")},
    )
    options: dict[str, Any] = {"num": 8, "num_batches": 2, "max_particles": 3, "num_permutations": 20}
    first, second = (coverage_and_mmd(jets, generated, **options) for jets in (real, shuffled))
    other = coverage_and_mmd(real, generated, seed=1, **options)
    for name in first:
        assert first[name].value == pytest.approx(second[name].value, rel=1e-12)
        assert first[name].p_value == second[name].p_value
        assert first[name].num_real == first[name].num_generated == 16
    assert first["emd_mmd"].value != other["emd_mmd"].value


def test_empty_sets_are_sets(rng: np.random.Generator) -> None:
    empty = toy_jets(8, rng)[np.array([], int)]
    nothing = replace(empty, offsets=np.zeros(9, np.int64), parton_id=np.full(8, 21), parton_pt=np.full(8, 500.0))
    real = toy_jets(8, rng)
    found = coverage_and_mmd(real, nothing, num=8, num_batches=1, num_permutations=20, max_particles=None)
    assert found["emd_mmd"].value == pytest.approx(real.sum(real.pt_rel).mean())
    assert found["emd_coverage"].value == pytest.approx(1 / 8)


@pytest.mark.parametrize("column", ["pt_rel", "eta_rel", "phi_rel"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(column: str, value: float, rng: np.random.Generator) -> None:
    real, generated = toy_jets(8, rng), toy_jets(8, rng)
    getattr(generated, column)[3] = value
    with pytest.raises(ValueError, match=f"{value:g}.*needs finite values"):
        coverage_and_mmd(real, generated, num=4, num_batches=2)
    with pytest.raises(ValueError, match="needs finite values"):
        emd_matrix(real, generated)


def test_bad_input_is_refused(rng: np.random.Generator) -> None:
    jets = toy_jets(20, rng)
    with pytest.raises(ValueError, match=re.escape("shape (3, 2): expected pT, eta and phi")):
        emd(np.ones((3, 2)), np.ones((3, 3)))
    with pytest.raises(ValueError, match="no negative pT"):
        emd(np.array([[-1.0, 0, 0]]), np.ones((1, 3)))
    with pytest.raises(ValueError, match="radius is 0"):
        emd(np.ones((1, 3)), np.ones((1, 3)), radius=0)
    with pytest.raises(ValueError, match="500 sets of either sample, but there are 20 real and 5 generated"):
        coverage_and_mmd(jets, jets[:5])
    with pytest.raises(ValueError, match="500 sets of either sample, but there are 0 real and 20 generated"):
        coverage_and_mmd(jets[:0], jets)
    with pytest.raises(ValueError, match="max_particles is 0"):
        emd_matrix(jets, jets, max_particles=0)
    with pytest.raises(ValueError, match="num is 3 and num_batches 1"):
        coverage_and_mmd(jets, jets, num=3, num_batches=1)
    with pytest.raises(ValueError, match=r"weights from -1 to 1.*unweight"):
        coverage_and_mmd(jets, jets, num=4, num_batches=1, generated_weights=np.where(np.arange(20) < 3, -1.0, 1.0))


def test_equal_weights_are_no_weights(rng: np.random.Generator) -> None:
    jets = toy_jets(8, rng)
    options: dict[str, Any] = {"num": 4, "num_batches": 2, "num_permutations": 5}
    assert coverage_and_mmd(jets, jets, real_weights=np.full(8, 0.5), **options) == coverage_and_mmd(
        jets, jets, **options
    )


def test_pooled_samples_give_the_null(rng: np.random.Generator) -> None:
    # the null of the batch is over relabellings of its own sets, so exchanging the samples keeps it
    real, generated = toy_jets(10, rng), toy_jets(10, rng, width=0.5)
    options: dict[str, Any] = {"num": 10, "num_batches": 1, "num_permutations": 2000, "max_particles": 4}
    one, other = coverage_and_mmd(real, generated, **options), coverage_and_mmd(generated, real, **options)
    for name in one:
        tolerance = 5 * one[name].null_error / np.sqrt(2000)
        assert one[name].null_value == pytest.approx(other[name].null_value, abs=tolerance)


def test_a_broken_set_is_refused_whether_it_is_drawn_or_not(rng: np.random.Generator) -> None:
    jets = toy_jets(40, rng)
    broken = replace(jets, eta_rel=np.where(np.arange(len(jets.eta_rel)) == 0, np.nan, jets.eta_rel))
    for seed in range(3):
        with pytest.raises(ValueError, match=r"a particle has pT .* eta nan"):
            coverage_and_mmd(jets, broken, num=4, num_batches=1, seed=seed)
