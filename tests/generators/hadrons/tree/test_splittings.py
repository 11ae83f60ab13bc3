"""What splittings see of their surroundings."""

from __future__ import annotations

import numpy as np

from generators.hadrons.gun import token_sample
from generators.hadrons.tree.sharing import TYPE_NUMBERS
from generators.hadrons.tree.splittings import FEATURES, splittings


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
