"""The network on packed sets: permutations, sets that do not see each other, pairs of tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from generators.nn.sets import Layout, NetworkConfig, Pairs, SetDenoiser

NETWORK = NetworkConfig(
    width=32, heads=2, registers=2, context_width=32, blocks=("attention", "mean"), precision="float32"
)


def denoiser(config: NetworkConfig = NETWORK) -> SetDenoiser:
    torch.manual_seed(4)
    network = SetDenoiser(5, 3, 4, 2, config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network


def test_network_is_equivariant_and_sets_do_not_see_each_other() -> None:
    network = denoiser()
    counts = np.array([7, 1, 30, 12, 2])
    total = int(counts.sum())
    x, kinds, context = torch.randn(total, 5), torch.randint(0, 3, (total,)), torch.randn(5, 4)
    out = network(x, kinds, context, Layout.of(counts, NETWORK))
    ends = np.cumsum(counts)
    order = np.concatenate([e - c + np.random.default_rng(5).permutation(c) for c, e in zip(counts, ends, strict=True)])
    assert torch.allclose(network(x[order], kinds[order], context, Layout.of(counts, NETWORK)), out[order], atol=1e-5)
    for number, (count, end) in enumerate(zip(counts, ends, strict=True)):
        own = slice(end - count, end)
        alone = network(x[own], kinds[own], context[number : number + 1], Layout.of(counts[[number]], NETWORK))
        assert torch.allclose(alone, out[own], atol=1e-5)


def test_tokens_of_a_set_see_each_other_and_their_context() -> None:
    network = denoiser()
    layout = Layout.of(np.array([4, 3]), NETWORK)
    x, kinds, context = torch.randn(7, 5), torch.zeros(7, dtype=torch.long), torch.randn(2, 4)
    out = network(x, kinds, context, layout)
    moved = x.clone()
    moved[0] += 1
    change = (network(moved, kinds, context, layout) - out).abs().amax(dim=1)
    assert (change[:4] > 1e-4).all()
    assert (change[4:] < 1e-6).all()
    shifted = context + torch.tensor([[0.0], [1.0]])
    change = (network(x, kinds, shifted, layout) - out).abs().amax(dim=1)
    assert (change[:4] < 1e-6).all()
    assert (change[4:] > 1e-4).all()


def test_layout_finds_every_token_once() -> None:
    counts = np.array([3, 200, 17, 1, 17, 45])
    layout = Layout.of(counts, NETWORK)
    assert torch.equal(layout.queries[layout.place], torch.arange(int(counts.sum())))
    assert sum(sets for sets, _ in layout.shapes) == len(counts)
    values = torch.arange(float(counts.sum()))[:, None]
    parts = layout.padded(values)
    assert [p.shape[:2] for p in parts] == list(layout.shapes)
    assert torch.equal(torch.cat([p.flatten(0, 1) for p in parts])[layout.place], values)


def pairs_of(positions: Tensor, layout: Layout) -> list[Pairs]:
    """Say of each pair of tokens where the second lies from the first, in two dimensions."""
    padded = layout.padded(positions)
    return [Pairs((p[:, None] - p[:, :, None]).norm(dim=-1)[..., None], p[:, None] - p[:, :, None]) for p in padded]


def test_pairs_move_and_turn_what_the_tokens_get() -> None:
    config = replace(NETWORK, blocks=("attention",), pair_features=1)
    network = denoiser(config)
    counts = np.array([6, 3, 20])
    layout, total = Layout.of(counts, config), int(counts.sum())
    x, kinds, context = torch.randn(total, 5), torch.zeros(total, dtype=torch.long), torch.randn(3, 4)
    positions = torch.randn(total, 2)
    out = network(x, kinds, context, layout, pairs_of(positions, layout))
    # a shift of all positions is not seen, a move of one token is, by its own set
    shifted = network(x, kinds, context, layout, pairs_of(positions + 3.0, layout))
    assert torch.allclose(out, shifted, atol=1e-5)
    moved = positions.clone()
    moved[0] += 1.0
    change = (network(x, kinds, context, layout, pairs_of(moved, layout)) - out).abs().amax(dim=1)
    assert (change[:6] > 1e-5).all() and (change[6:] < 1e-6).all()
    # the features alone do not know the direction, the arrows do
    turned = network(x, kinds, context, layout, pairs_of(positions @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), layout))
    assert not torch.allclose(out, turned, atol=1e-3)
    order = np.concatenate([np.random.default_rng(1).permutation(6), np.arange(6, total)])
    permuted = network(x[order], kinds, context, layout, pairs_of(positions[order], layout))
    assert torch.allclose(permuted, out[order], atol=1e-5)
