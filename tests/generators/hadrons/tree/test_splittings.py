"""What splittings see of their surroundings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastsim
from fastsim.event import Floats, Ints
from fastsim.event.kinematics import boost_from
from generators.hadrons.gun import token_sample
from generators.hadrons.latent import OF_CARRIER
from generators.hadrons.tokens import IDS, parton_energy
from generators.hadrons.tree import growth
from generators.hadrons.tree.clustering import Nodes
from generators.hadrons.tree.context import FEATURES, context, set_features
from generators.hadrons.tree.sharing import TYPE_NUMBERS
from generators.hadrons.tree.splittings import splittings
from generators.hadrons.tree.train import baryon_rows, hard_rows, tree_batches


def test_a_node_sees_the_quantum_numbers_of_its_sibling_and_its_uncle() -> None:
    rows, tree, nodes = splittings(token_sample(np.array([2, -5, 21] * 4), np.full(12, 80.0), seed=2))
    numbers = np.column_stack([tree.counts @ TYPE_NUMBERS, tree.counts[:, 0]])
    other = np.full(len(tree.parent), -1)
    split = tree.left >= 0
    other[tree.left[split]], other[tree.right[split]] = tree.right[split], tree.left[split]
    context = rows.context.numpy()
    for name, place in (("sibling", other[nodes]), ("uncle", other[tree.parent[nodes]])):
        place = np.where(tree.parent[nodes] < 0, -1, place)  # the recoil
        wanted = np.where(place[:, None] >= 0, numbers[place], 0)
        first = FEATURES.index(f"{name}_charge")
        assert FEATURES[first + 3] == f"{name}_has_carrier"
        np.testing.assert_allclose(context[:, first : first + 4], wanted)
        assert (np.abs(wanted) > 0).any(axis=0).all()


def test_a_node_sees_its_granduncle() -> None:
    sample = token_sample(np.array([2, -5, 21] * 4), np.full(12, 80.0), seed=2)
    (rows, tree, nodes), energy = splittings(sample), parton_energy(sample.flavour, sample.pt)
    first = FEATURES.index("granduncle_charge")
    context, old = rows.context.numpy()[:, first : first + 6], 0
    for row, node in enumerate(nodes):
        ancestor = node
        for _ in range(2):
            ancestor = tree.parent[ancestor] if ancestor >= 0 else -1
        wanted = np.zeros(6)
        if ancestor >= 0 and tree.parent[ancestor] >= 0:
            old += 1
            other = _sibling(tree, ancestor)
            wanted[:3], wanted[3] = tree.counts[other] @ TYPE_NUMBERS, tree.counts[other, 0]
            share = tree.p4[other, 0] / energy[tree.set_index[node]]
            wanted[4], wanted[5] = np.log(share), np.log(_angle(tree, node, other) + 1e-6)
        np.testing.assert_allclose(context[row], wanted, rtol=1e-4, atol=1e-4)
    assert 10 < old < len(nodes)


def test_the_partner_of_a_node_balances_it() -> None:
    """Where a baryon has left, however long ago, the node that holds the antibaryon knows when and where."""
    rows, tree, nodes = splittings(token_sample(np.array([2, -5, 21, 1] * 6), np.full(24, 200.0), seed=3))
    old = 0
    for which, name in enumerate(("charge", "baryon_number", "strangeness")):
        there, generation, size, angle = (
            rows.context[:, FEATURES.index(each)].numpy()
            for each in (
                f"{name}_partner_is_there",
                *(f"log_{name}_partner_{of}" for of in ("generation", "size", "angle")),
            )
        )
        for row, node in enumerate(nodes):
            part, ago = _partner(tree, node, which)
            assert bool(there[row]) == (part >= 0)
            if part < 0:
                assert generation[row] == size[row] == 0 and angle[row] == pytest.approx(0, abs=1e-5)
                continue
            assert generation[row] == pytest.approx(np.log(ago), abs=1e-6)
            assert size[row] == pytest.approx(np.log(tree.size[part]), abs=1e-6)
            assert angle[row] == pytest.approx(np.log(_angle(tree, node, part) + 1e-6), abs=1e-3)
            old += ago >= 3
    assert old > 20


def test_a_tree_that_grows_is_seen_as_the_finished_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a splitting is drawn with is what the density, and the training, compute from all momenta."""
    seen = []

    def watched(tree: Nodes, rows: Ints, energy: Floats, of_set: Any) -> Any:
        result = context(tree, rows, energy, of_set)
        seen.append((tree, rows, energy, of_set, *(array.copy() for array in result)))
        return result

    monkeypatch.setattr(growth, "context", watched)
    monkeypatch.setattr(growth, "_BLOCK", 16)  # blocks that hold nodes of two depths
    model = fastsim.load_model("hadron-tree-small")
    model.sample(fastsim.Partons.from_pt_eta_phi(np.tile([2, -5, 21, 3], 6), np.full(24, 300.0), 0.0, 0.0), seed=4)
    assert len(seen) > 20
    for tree, rows, energy, of_set, features, axes in seen:
        again, same_axes = context(tree, rows, energy, of_set)
        np.testing.assert_array_equal(features, again)
        np.testing.assert_array_equal(axes, same_axes)


def test_directions_in_the_rest_frame_are_those_of_the_splitting() -> None:
    """A partner that flies as A does is seen where A is: massless, in the same axes."""
    sample = token_sample(np.array([2, -5, 21, 1] * 6), np.full(24, 200.0), seed=3)
    (rows, tree, nodes), energy = splittings(sample), parton_energy(sample.flavour, sample.pt)
    _, axes = context(tree, nodes, energy, np.zeros((len(sample), 0), np.float32))
    seen = 0
    for row, node in enumerate(nodes):
        partner, _ = _partner(tree, node, 0)
        if partner < 0:
            continue
        p4, momentum = tree.p4[node], tree.p4[partner].copy()
        momentum[0] = np.linalg.norm(momentum[1:])  # massless
        star = boost_from(momentum[None], p4[None])[0]
        x, y, z = axes[row] @ (star[1:] / star[0])
        value = dict(zip(FEATURES, rows.context[row].tolist(), strict=True))
        wanted = np.clip(np.log(np.sqrt((1 - z) / (1 + z))), np.log(1e-3), np.log(1e3))
        if abs(wanted) < 4:  # beyond, the boost itself loses digits
            seen += 1
            assert value["log_charge_partner_tangent_star"] == pytest.approx(wanted, abs=0.01)
            turn = np.hypot(x, y)
            assert value["charge_partner_cos_phi_star"] == pytest.approx(x / turn, abs=0.01)
            assert value["charge_partner_sin_phi_star"] == pytest.approx(y / turn, abs=0.01)
        share = 2 * boost_from(tree.p4[partner][None], p4[None])[0, 0] / tree.mass[node]
        assert value["log_charge_partner_energy_star"] == pytest.approx(np.log(share), abs=0.01)
    assert seen > 200


def _sibling(tree: Nodes, node: int) -> int:
    up = tree.parent[node]
    return int(tree.right[up] if tree.left[up] == node else tree.left[up])


def _angle(tree: Nodes, one: int, two: int) -> float:
    a, b = (tree.p4[node, 1:] / np.linalg.norm(tree.p4[node, 1:]) for node in (one, two))
    return float(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b))


def _partner(tree: Nodes, node: int, which: int) -> tuple[int, int]:
    """Return what balances a number of a node, -1 if nothing does, and how many generations ago it left."""
    ancestor, siblings = node, []
    while tree.parent[ancestor] >= 0:
        siblings.append(_sibling(tree, ancestor))
        ancestor = tree.parent[ancestor]
    able = [k for k, other in enumerate(siblings) if tree.numbers[other, which] * tree.numbers[node, which] < -0.5]
    if not able:
        return -1, 0
    found = siblings[able[0]]
    for _ in range(able[0] - 1):  # to the part of it that does, as far as a tree that grows knows it
        if tree.size[found] < 3:
            break
        children = [tree.left[found], tree.right[found]]
        balanced = [c for c in children if tree.numbers[c, which] * tree.numbers[node, which] < -0.5]
        found = min(balanced, key=lambda child: _angle(tree, node, child))
    return found, able[0] + 1


def test_carriers_of_one_quark_content_look_different() -> None:
    """A pion and a rho meson, a kaon and a K* are alike in all quantum numbers, and fragment to different momenta."""
    species = [IDS.tolist().index(pdg) for pdg in (111, 113, 221, 223, 321, 323, 511, 513)]
    num = len(species)
    ones, total = np.ones(num), np.tile([90.0, 1.0, 0.0, 88.0], (num, 1))
    quarks, size, tune = np.full(num, 2), np.full(num, 9), np.zeros((num, 0))
    of_set = set_features(quarks, 100 * ones, total, size, ones, np.array(species), tune)
    names = FEATURES[-of_set.shape[1] :]
    seen = of_set[:, [names.index("log_light_carrier_mass"), names.index("carrier_has_higher_spin")]]
    apart = np.abs(seen[:, None] - seen).max(-1) + 9 * np.eye(num)
    assert apart.min() > 0.1
    np.testing.assert_array_equal(seen[:, 1], [0, 1, 0, 1, 0, 1, 0, 1])
    # the flows of the latent see the same, and nothing of no carrier
    np.testing.assert_allclose(OF_CARRIER[species][:, 5:7], seen, rtol=1e-6)
    assert not OF_CARRIER[-1].any()
    none = set_features(quarks, 100 * ones, total, size, ones, np.full(num, -1), tune)
    assert not none[:, -6:].any()


def test_batches_hold_the_shares_that_are_asked_for() -> None:
    rows, tree, nodes = splittings(token_sample(np.array([2, -5, 21] * 20), np.full(60, 80.0), seed=2))
    baryons, hard = baryon_rows(rows), hard_rows(rows)
    energy = parton_energy(np.array([2, 5, 21]), np.full(3, 80.0))[tree.set_index[nodes] % 3]
    np.testing.assert_array_equal(hard, np.flatnonzero(tree.p4[nodes, 0] > 0.3 * energy))
    numbers = tree.numbers[:, 1]
    for row in baryons:  # a baryon is in the node, or was in what left its ancestors
        inside = TYPE_NUMBERS[:, 1] * tree.counts[nodes[row]]
        assert (inside.max() > 0 > inside.min()) or abs(numbers[nodes[row]]) > 0.5
    assert 0.02 < len(baryons) / len(rows) < 0.6 and 0.02 < len(hard) / len(rows) < 0.6
    draw = tree_batches(rows, 1000, 1, [(baryons, 0.3), (hard, 0.2)])
    batch = draw(5)
    assert len(batch) == 1000
    first, second = batch.context[:300], batch.context[300:500, FEATURES.index("log_energy_fraction")]
    known = {x.tobytes() for x in rows.context[baryons].numpy()}
    assert all(x.tobytes() in known for x in first.numpy())
    assert (second > np.log(0.3)).all()
    np.testing.assert_array_equal(batch.context, draw(5).context)
