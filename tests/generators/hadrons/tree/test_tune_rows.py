"""The densities of splittings at many tunes, beside those of the network with which it learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from generators.hadrons.gun import token_sample
from generators.hadrons.tokens import CARRIER, TYPES
from generators.hadrons.tree.context import FEATURES, NUM_CONTEXT
from generators.hadrons.tree.model import make_net
from generators.hadrons.tree.network import Splittings
from generators.hadrons.tree.splittings import splittings
from generators.hadrons.tree.tune_rows import log_probs

TUNE = ("aLund", "rFactB")


@pytest.fixture(scope="module")
def rows() -> Splittings:
    """More rows than fit a block, with two columns for a tune."""
    sample = token_sample(np.array([2, 5, 21, 4, 3] * 60), np.full(300, 60.0), seed=3)
    return splittings(replace(sample, tune=np.zeros((len(sample), 2))))[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"width": 24, "num_blocks": 2, "pair_width": 16, "pair_blocks": 2},
        {"width": 24, "num_blocks": 1},
        {"width": 24, "num_blocks": 2, "plain": True, "pair_width": 16},
        {"width": 24, "num_blocks": 2, "pair_width": 16, "of_carriers": True},
    ],
)
def test_all_tunes_at_once_have_the_densities_of_the_network(rows: Splittings, settings: dict[str, Any]) -> None:
    torch.manual_seed(1)
    net = make_net({"head_width": 16, "num_bins": 20, "num_components": 4, **settings}, TUNE)
    with torch.no_grad():
        for parameter in net.parameters():  # blocks are the identity when new, and tables zero
            parameter.add_(0.1 * torch.randn_like(parameter))
        net.set_scales(rows)
        net.mean[-2:], net.std[-2:] = 0.1, 0.5
    assert (net.gates is not None) == settings.get("of_carriers", False)
    tunes = torch.tensor([[0.0, 0.0], [0.9, -0.3], [-0.6, 1.1]])
    found = log_probs(net, rows, tunes)
    for tune, values in zip(tunes, found, strict=True):
        context = torch.cat([rows.context[:, :-2], tune.expand(len(rows), 2)], -1)
        wanted = net.log_prob(replace(rows, context=context)).detach()  # with gradients: through torch alone
        np.testing.assert_allclose(values.numpy(), wanted.numpy(), atol=1e-4, rtol=1e-5)
    assert (found[1:] - found[0]).abs().mean() > 0.01


def test_many_tokens_do_not_vanish() -> None:
    """Probabilities of a node of 250 tokens, whose factors have a product that float32 cannot hold."""
    from generators.hadrons.tree.sharing_density import Present, log_prob

    counts, part = torch.zeros(1, len(TYPES), dtype=torch.uint8), torch.zeros(1, len(TYPES), dtype=torch.uint8)
    counts[0, -1], counts[0, -2], part[0, -1], part[0, -2] = 200, 50, 90, 20
    carrier, balance = torch.zeros(1, 3), torch.zeros(1, 2, 6)
    odds = torch.tensor([[0.01, -0.2], [-0.3, 0.1]])  # of the two types, two components
    present = Present(counts, part, carrier)
    found = present.log_content(torch.tensor([[0.3, -0.1]]), odds, balance)
    logits = torch.zeros(1, 2, len(TYPES))
    logits[0, :, -2], logits[0, :, -1] = odds[0], odds[1]
    weights = torch.log_softmax(torch.tensor([[0.3, -0.1]]), -1)
    wanted = log_prob(weights, logits, balance, counts, part, carrier)
    assert found.item() == pytest.approx(wanted.item(), abs=1e-3) and np.isfinite(found.item())


def test_what_acts_on_carriers_of_beauty_changes_no_other_node(rows: Splittings) -> None:
    torch.manual_seed(2)
    net = make_net({"width": 24, "head_width": 16, "num_bins": 20, "pair_width": 16, "of_carriers": True}, TUNE)
    net.set_scales(rows)
    net.mean[-2:], net.std[-2:] = 0.0, 1.0
    changed = []
    for column in (-2, -1):
        context = rows.context.clone().requires_grad_(True)
        with torch.no_grad():
            context[:, column] = 0.7
        inputs = net.inputs(context, rows.counts)
        # with gradients through torch, without them through compiled code
        np.testing.assert_allclose(inputs.detach(), net.inputs(context.detach(), rows.counts), atol=1e-5)
        changed.append((inputs != net.inputs(rows.context, rows.counts)).any(1))
        (slope,) = torch.autograd.grad(inputs[:, NUM_CONTEXT + 2 + column].sum(), context)
        assert torch.equal(slope[:, column] != 0, changed[-1])
    beauty = rows.context[:, FEATURES.index("flavour_5")] > 0
    assert changed[0].all() and torch.equal(changed[1], beauty & (rows.counts[:, CARRIER] > 0))
    assert 0 < changed[1].sum() < beauty.sum()
