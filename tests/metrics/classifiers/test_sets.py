"""The network classifiers on samples whose difference is known: power, invariances, weights, repeatability."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import norm

from fastsim.errors import FastsimError
from fastsim.event import offsets_from_counts
from fastsim.event.kinematics import boost
from fastsim.formats.calochallenge import Showers
from metrics.classifiers import catalogue
from metrics.classifiers.catalogue import NETWORKS, network_auc
from metrics.classifiers.set_network import Pairs, SetNetwork
from metrics.classifiers.sets import _prepare, set_auc
from metrics.classifiers.training import _inverse_temperature
from metrics.classifiers.voxels import mlp_auc, voxel_auc
from metrics.hadrons import classifier_inputs
from metrics.hadrons.jets import Jets, relative
from metrics.registry import metrics_for
from tests.helpers.jets import toy_sets

FAST: dict[str, Any] = {"num_epochs": 5, "num_threads": 1}


def toys(num: int, seed: int, *, width: float = 0.3) -> Jets:
    return relative(*toy_sets(num, 12.0, np.random.default_rng(seed), width=width))


def logits(jets: Jets, max_paired: int, rows: NDArray[Any]) -> NDArray[Any]:
    """Compute logits of an untrained network with inputs standardised by all sets."""
    torch.manual_seed(0)
    model, inputs = _prepare(jets, np.arange(len(jets)), True, max_paired)
    with torch.no_grad():
        output: NDArray[Any] = model.eval()(*inputs(rows)).numpy()
    return output


def lorentz(p4: NDArray[Any]) -> NDArray[Any]:
    """Make a fixed rotation about a skew axis, then a boost."""
    axis, angle = np.array([0.6, -0.48, 0.64]), 1.1
    cross = np.cross(np.eye(3), axis)
    rotation = np.eye(3) - np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    turned = np.concatenate([p4[:, :1], p4[:, 1:] @ rotation.T], axis=1)
    return boost(turned, np.broadcast_to(np.array([0.5, -0.3, 0.6]), (len(p4), 3)))


@pytest.mark.parametrize("pairwise", [False, True])
def test_wider_sets_are_found_and_equal_ones_are_not(pairwise: bool) -> None:
    real, same, wider = toys(400, 1), toys(400, 2), toys(400, 3, width=0.45)
    equal = set_auc(real, same, pairwise=pairwise, **FAST)
    assert abs(equal.auc.value - 0.5) < 3.5 * equal.auc.null_error
    found = set_auc(real, wider, pairwise=pairwise, **FAST)
    assert found.auc.value > 0.8 and found.auc.p_value is not None and found.auc.p_value < 0.01
    assert len(found.real_scores) == len(found.generated_scores) == 80
    assert np.mean(found.real_scores) > 0.5 > np.mean(found.generated_scores)


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_network_of_the_catalogue_is_a_judge(kind: str) -> None:
    real, same, wider = toys(300, 1), toys(300, 2), toys(300, 3, width=0.6)
    options: dict[str, Any] = {"num_epochs": 6, "num_threads": 1, "width": 16, "max_particles": 16}
    equal = network_auc(real, same, kind, **options)
    assert equal.auc.name == f"auc:{kind}" and abs(equal.auc.value - 0.5) < 3.5 * equal.auc.null_error
    found = network_auc(real, wider, kind, **options)
    assert found.auc.value > 0.7 and found.auc.p_value is not None and found.auc.p_value < 0.01
    np.testing.assert_array_equal(network_auc(real, wider, kind, **options).real_scores, found.real_scores)


def test_the_lorentz_network_as_a_judge_sees_invariants_alone() -> None:
    jets = toys(40, 4)
    rows = np.arange(len(jets))
    torch.manual_seed(0)
    model, inputs = catalogue._prepare(jets, rows, "lorentz", True, 12, 16)
    features, mask, p4 = inputs(rows)
    turned = torch.from_numpy(lorentz(p4.numpy().reshape(-1, 4).astype(float)).reshape(p4.shape)).float()
    with torch.no_grad():
        torch.testing.assert_close(model(features, mask, turned), model(features, mask, p4), atol=1e-3, rtol=1e-3)
    assert not torch.allclose(turned, p4, atol=0.1)


def test_an_unknown_judge_is_refused_and_all_leaves_judges_out() -> None:
    with pytest.raises(ValueError, match="no network 'mlp': there are deep-sets"):
        network_auc(toys(40, 1), toys(40, 2), "mlp")
    with pytest.raises(FastsimError, match="no metric 'auc:cnn'"):
        metrics_for("jets", ["auc:cnn"])
    assert metrics_for("jets", ["auc:mixer"]) == ["auc:mixer"]
    assert not any(name.startswith("auc:") for name in metrics_for("jets", ["all"]))


@pytest.mark.parametrize("pairwise", [False, True])
def test_correlated_pairs_are_found_where_single_particles_agree(pairwise: bool) -> None:
    # the same particles, dealt out to sets afresh: only what particles share with their set differs
    rng = np.random.default_rng(0)
    num, size = 600, 8

    def sets(width: float) -> Jets:
        centre = np.repeat(rng.normal(0.0, np.sqrt(0.5**2 - width**2), (num, 2)), size, axis=0)
        eta, phi = (centre + rng.normal(0.0, width, (num * size, 2))).T
        pt = np.full(num * size, 1.0 / size)
        offsets, pz = np.arange(num + 1) * size, pt * np.sinh(eta)
        return Jets(offsets, np.full(len(pt), 22), pt, eta, phi, pz, 0.0 * pt, np.ones(num, int), np.full(num, 100.0))

    assert set_auc(sets(0.5), sets(0.35), pairwise=pairwise, **FAST).auc.value > 0.8


@pytest.mark.parametrize("max_paired", [0, 6])
def test_score_is_blind_to_order_batch_and_padding(max_paired: int) -> None:
    jets = toys(60, 4)
    rows = np.arange(60)
    together = logits(jets, max_paired, rows)
    alone = np.concatenate([logits(jets, max_paired, rows[k : k + 1]) for k in range(0, 60, 7)])
    np.testing.assert_allclose(together[::7], alone, atol=1e-5)
    # shuffle the particles behind the leading ones
    rng = np.random.default_rng(0)
    rank = np.concatenate([np.arange(n) for n in jets.counts])
    order = np.lexsort((np.where(rank < max_paired, rank, max_paired + rng.random(len(rank))), jets.index))
    names = ("pdg_id", "pt_rel", "eta_rel", "phi_rel", "pz_rel", "m_rel")
    shuffled = replace(jets, **{name: getattr(jets, name)[order] for name in names})
    np.testing.assert_allclose(together, logits(shuffled, max_paired, rows), atol=1e-5)


def test_pairwise_inputs_and_score_do_not_change_under_a_lorentz_transformation() -> None:
    jets = toys(40, 5)
    total = classifier_inputs.momentum(jets.p4_rel, jets.offsets)
    size = 5
    chosen = jets.counts >= size
    leading = jets.offsets[:-1][chosen, None] + np.arange(size)
    slots = torch.from_numpy(leading)

    def everything(p4: NDArray[Any], total: NDArray[Any], references: NDArray[Any]) -> list[NDArray[Any]]:
        particles, sets = classifier_inputs.invariants(p4, jets.offsets, jets.pdg_id, references)
        pairs = classifier_inputs.pair_invariants(p4[leading], total[chosen])
        torch.manual_seed(0)
        model = SetNetwork(6, classifier_inputs.NUM_SPECIES, 9, 4)
        with torch.no_grad():
            score = model(
                torch.from_numpy(particles).float(),
                torch.from_numpy(classifier_inputs.species(jets)),
                torch.from_numpy(jets.index),
                torch.from_numpy(jets.counts),
                torch.from_numpy(sets).float(),
                Pairs(torch.from_numpy(pairs).float(), slots, torch.ones(slots.shape, dtype=torch.bool)),
            )
        return [particles, sets, pairs, score.numpy()]

    references = classifier_inputs.REFERENCES
    before = everything(jets.p4_rel, total, references)
    after = everything(lorentz(jets.p4_rel), lorentz(total), lorentz(references))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)
    # the references are needed: without turning them, the inputs do change
    fixed = everything(lorentz(jets.p4_rel), lorentz(total), references)
    assert not np.allclose(before[0], fixed[0], atol=0.1)


def test_the_condition_is_seen_only_where_asked() -> None:
    real, generated = (
        relative(*toy_sets(400, 12.0, np.random.default_rng(k), flavours=(f,))) for k, f in ((1, 1), (2, 3))
    )
    assert set_auc(real, generated, **FAST).auc.value > 0.99
    blind = set_auc(real, generated, condition=False, **FAST).auc
    assert abs(blind.value - 0.5) < 3.5 * blind.null_error


def test_weights_undo_a_bias_and_negative_ones_are_refused(rng: np.random.Generator) -> None:
    # generated is N(1, 1) reweighted to N(0, 1)
    x, y = rng.normal(size=(2500, 1)), rng.normal(1.0, 1.0, size=(2500, 1))
    weights = np.exp(0.5 - y[:, 0])
    plain = mlp_auc(x, y, hidden=32, num_epochs=10)
    assert plain.auc.value == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.04)
    undone = mlp_auc(x, y, hidden=32, num_epochs=10, generated_weights=weights)
    assert abs(undone.auc.value - 0.5) < 3.5 * undone.auc.null_error
    with pytest.raises(ValueError, match="go down to -1: a classifier needs non-negative"):
        set_auc(toys(40, 1), toys(40, 2), real_weights=np.full(40, -1.0))


def test_scores_are_probabilities_whatever_the_sizes(rng: np.random.Generator) -> None:
    # log w = log p_real / p_generated = 1/2 - x for N(0, 1) against N(1, 1), with sizes 1:3
    x, y = rng.normal(size=(2000, 1)), rng.normal(1.0, 1.0, size=(6000, 1))
    test = mlp_auc(x, y, hidden=64, num_epochs=20)
    assert np.mean(test.weights()) == pytest.approx(1.0, abs=0.15)
    assert np.std(np.log(test.weights())) == pytest.approx(1.0, abs=0.2)
    score, share, error = test.calibration(5)
    assert np.all(np.abs(score - share) < 4 * error + 0.03)


def test_temperature_makes_logits_honest(rng: np.random.Generator) -> None:
    logit = rng.normal(0.0, 2.0, 20_000)
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-logit))).astype(float)
    assert _inverse_temperature(3.0 * logit, labels, np.ones(20_000)) == pytest.approx(1 / 3, rel=0.05)


@pytest.mark.parametrize("pairwise", [False, True])
def test_a_seed_repeats_and_torch_is_left_alone(pairwise: bool) -> None:
    real, generated = toys(60, 1), toys(90, 2)
    torch.manual_seed(7)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    options: dict[str, Any] = {"pairwise": pairwise, "num_epochs": 2, "num_threads": 1}
    first = set_auc(real, generated, seed=3, **options)
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads
    torch.manual_seed(8)
    np.testing.assert_array_equal(set_auc(real, generated, seed=3, **options).real_scores, first.real_scores)
    assert not np.array_equal(set_auc(real, generated, seed=4, **options).real_scores, first.real_scores)


@pytest.mark.parametrize("pairwise", [False, True])
def test_empty_sets_and_bad_momenta(pairwise: bool) -> None:
    jets = toys(40, 1)
    counts = np.concatenate([[0], jets.counts[1:]])
    first = jets.counts[0]
    names = ("pdg_id", "pt_rel", "eta_rel", "phi_rel", "pz_rel", "m_rel")
    without_first = {name: getattr(jets, name)[first:] for name in names}
    hollow = replace(jets, offsets=offsets_from_counts(counts), **without_first)
    nothing = replace(jets, offsets=np.zeros(41, np.int64), **{name: getattr(jets, name)[:0] for name in names})
    for other in (hollow, nothing):
        test = set_auc(jets, other, pairwise=pairwise, num_epochs=1, num_threads=1)
        assert np.isfinite(test.real_scores).all() and np.isfinite(test.generated_scores).all()
    broken = jets.pz_rel.copy()
    broken[3] = np.nan
    with pytest.raises(ValueError, match="generated sets hold NaN"):
        set_auc(jets, replace(jets, pz_rel=broken))
    with pytest.raises(ValueError, match="at least 30 events a sample, got 40 and 29"):
        set_auc(jets, jets[:29])


def test_joined_samples_keep_their_order() -> None:
    real, generated = toys(5, 1), toys(7, 2)
    joined = Jets.concatenate([real, generated])
    np.testing.assert_array_equal(joined[:5].pt_rel, real.pt_rel)
    np.testing.assert_array_equal(joined[slice(5, None)].p4_rel, generated.p4_rel)


def showers(num: int, rng: np.random.Generator, share: float) -> Showers:
    """Draw showers with all of the incident energy in 12 voxels, ``share`` of it on average in the first six."""
    incident = np.exp(rng.uniform(np.log(1e3), np.log(1e6), num))
    first = rng.beta(50 * share, 50 * (1 - share), num)
    parts = np.concatenate([rng.dirichlet(np.ones(6), num) * x[:, None] for x in (first, 1 - first)], axis=1)
    return Showers(incident, (parts * incident[:, None]).astype(np.float32))


def test_showers(rng: np.random.Generator) -> None:
    real, same, other = (showers(1000, rng, share) for share in (0.5, 0.5, 0.6))
    options: dict[str, Any] = {"hidden": 64, "num_epochs": 10, "num_threads": 1}
    equal = voxel_auc(real, same, **options).auc
    assert equal.name == "auc_voxels" and abs(equal.value - 0.5) < 3.5 * equal.null_error
    # the best AUC is that of the share itself, Phi(0.1 / (sqrt 2 sigma)) with sigma = 0.07
    assert voxel_auc(real, other, **options).auc.value > 0.75
    with pytest.raises(FastsimError, match="real: shower 0 has an incident energy of 0"):
        voxel_auc(Showers(np.zeros(1000), real.voxels), real)


def test_features_of_a_fully_connected_network(rng: np.random.Generator) -> None:
    real, generated = rng.normal(size=(2, 300, 3))
    constant = np.full((300, 1), 0.1)
    found = mlp_auc(np.hstack([real, constant]), np.hstack([generated + 3e6, constant]), hidden=16, num_epochs=5)
    assert found.auc.value > 0.99
    for bad, message in ((real[:, :2], "expected"), (np.full_like(real, np.nan), "NaN or infinity"), (real[:9], "30")):
        with pytest.raises(ValueError, match=message):
            mlp_auc(real, bad, hidden=16)
