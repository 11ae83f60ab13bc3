"""Parts of Pythia's sets that are drawn anew: what is kept is Pythia's, and every set keeps its four-momentum."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.validation.splittings import Splits, made
from fastsim.event import Floats
from generators.hadrons.tree.model import make_net
from generators.hadrons.tree.sampler import CompiledSampler
from generators.nn.compiled_network import weights_of


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Splits(made([2, 21], (60.0, 200.0), 20, 5))


@pytest.fixture(scope="module")
def net() -> CompiledSampler:
    torch.manual_seed(1)
    return CompiledSampler(weights_of(make_net({"width": 8, "num_blocks": 1, "head_width": 8})))


def _sums(splits: Splits, p4: Floats) -> Floats:
    return np.stack([np.bincount(splits.sample.index, p4[:, k], len(splits.sample)) for k in range(4)], -1)


@pytest.mark.parametrize("at_least", [3, 6, 256])
def test_every_set_keeps_its_momentum_and_tokens_of_splittings_that_are_kept_are_pythias(
    splits: Splits, net: CompiledSampler, at_least: int
) -> None:
    sample, tree = splits.sample, splits.tree
    p4 = splits.regrown(net, at_least, np.random.default_rng(1))
    np.testing.assert_allclose(_sums(splits, p4), _sums(splits, sample.p4), rtol=1e-6, atol=1e-4)
    parents = tree.parent[np.flatnonzero(tree.size == 1)]
    kept = (parents < 0) | (tree.size[parents] >= at_least)
    np.testing.assert_allclose(p4[kept], sample.p4[kept], rtol=1e-6, atol=1e-6)
    assert at_least > 3 or kept.any()
    changed = np.abs(p4 - sample.p4).max(1) > 1e-3
    assert changed[~kept].mean() > 0.9


def test_pythias_pairs_have_the_energies_of_their_tokens(splits: Splits) -> None:
    pairs = np.flatnonzero(splits.size == 2)
    tree = splits.tree
    assert (tree.size[splits.a[pairs]] == 1).all()
    np.testing.assert_array_equal(tree.counts[splits.a], splits.counts_a)
    summed = tree.p4[splits.a, 0] + tree.p4[splits.b, 0]
    np.testing.assert_allclose(summed, tree.p4[splits.nodes, 0])
    charge = splits.charge_of(splits.counts, np.arange(len(splits.nodes)))
    np.testing.assert_allclose(charge, splits.charge, atol=1e-6)
