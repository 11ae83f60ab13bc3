"""What splittings see of their surroundings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastsim
from fastsim.event import Floats, Ints
from generators.hadrons.gun import token_sample
from generators.hadrons.tokens import parton_energy
from generators.hadrons.tree import growth
from generators.hadrons.tree.clustering import Nodes
from generators.hadrons.tree.sharing import TYPE_NUMBERS
from generators.hadrons.tree.splittings import FEATURES, context, splittings


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
    context, old = rows.context.numpy(), 0
    for which, name in enumerate(("charge", "baryon_number", "strangeness")):
        there = context[:, FEATURES.index(f"{name}_partner_is_there")]
        generation = np.rint(np.exp(context[:, FEATURES.index(f"log_{name}_partner_generation")]))
        size = np.rint(np.exp(context[:, FEATURES.index(f"log_{name}_partner_size")]))
        angle = context[:, FEATURES.index(f"log_{name}_partner_angle")]
        for row, node in enumerate(nodes):
            own, ancestor, found = tree.numbers[node, which], node, []
            while tree.parent[ancestor] >= 0:  # all siblings on the way up
                found.append(_sibling(tree, ancestor))
                ancestor = tree.parent[ancestor]
            balanced = [k for k, other in enumerate(found) if own * tree.numbers[other, which] < -0.5]
            assert bool(there[row]) == bool(balanced)
            if not balanced:
                assert (generation[row], size[row], angle[row]) == (1, 1, pytest.approx(0, abs=1e-5))
                continue
            assert generation[row] == balanced[0] + 1
            part = _part(tree, node, found[balanced[0]], which, balanced[0] - 1)
            assert size[row] == tree.size[part]
            assert angle[row] == pytest.approx(np.log(_angle(tree, node, part) + 1e-6), abs=1e-3)
            old += balanced[0] >= 2 and part != found[balanced[0]]
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


def _sibling(tree: Nodes, node: int) -> int:
    up = tree.parent[node]
    return int(tree.right[up] if tree.left[up] == node else tree.left[up])


def _angle(tree: Nodes, one: int, two: int) -> float:
    a, b = (tree.p4[node, 1:] / np.linalg.norm(tree.p4[node, 1:]) for node in (one, two))
    return float(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b))


def _part(tree: Nodes, node: int, found: int, which: int, levels: int) -> int:
    """Return the part of ``found`` that balances ``node``, the nearer where both do, ``levels`` down at most."""
    for _ in range(levels):
        if tree.size[found] < 3:
            break
        children = [tree.left[found], tree.right[found]]
        able = [child for child in children if tree.numbers[child, which] * tree.numbers[node, which] < -0.5]
        found = min(able, key=lambda child: _angle(tree, node, child))
    return found
