"""The density of a part of a node's tokens: normalised, drawn as it says, and charges are balanced."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import product

import numpy as np
import pytest
import torch

from generators.hadrons.tokens import TYPES
from generators.hadrons.tree.model import make_net
from generators.hadrons.tree.network import SplittingNet
from generators.hadrons.tree.sampler import CompiledSampler
from generators.hadrons.tree.sharing import MAX_LOGIT, ORDER, TYPE_NUMBERS, share
from generators.hadrons.tree.sharing_density import log_prob
from generators.hadrons.tree.torch_sampler import TorchSampler
from generators.nn.compiled_network import weights_of

TOKENS = {"carrier": 1, "211": 2, "-211": 1, "2212": 1, "-2112": 1, "321": 1}


@pytest.fixture(scope="module")
def net() -> SplittingNet:
    torch.manual_seed(3)
    net = make_net({"width": 16, "num_blocks": 1, "head_width": 8, "num_bins": 4, "num_components": 3})
    for module in (net.kind, net.mixture, net.balance):
        torch.nn.init.normal_(module.weight, std=0.5)
    return net


def _node(num: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the context and the counts of ``num`` equal nodes."""
    torch.manual_seed(5)
    counts = torch.zeros(num, len(TYPES), dtype=torch.uint8)
    for name, n in TOKENS.items():
        counts[:, TYPES.index(name)] = n
    net = make_net({"width": 4, "head_width": 4})
    context = torch.randn(1, net.embed.in_features - 2 * len(TYPES)).repeat(num, 1)
    context[:, net.carrier] = torch.tensor([1.0, 0.0, 1.0])
    return context, counts


def _parts(counts: torch.Tensor) -> list[torch.Tensor]:
    """Return the contents that A may have: single where there is a single one."""
    ranges = [range(int(c) + 1) for c in counts]
    parts = [torch.tensor(part, dtype=torch.uint8) for part in product(*ranges)]
    n = int(counts.sum())
    return [p for p in parts if 1 <= int(p.sum()) <= n - 2 or (int(p.sum()) == n - 1 == 1)]


def _with_torch(net: SplittingNet) -> CompiledSampler:
    return TorchSampler(weights_of(net), "float32")


def _without_torch(net: SplittingNet) -> CompiledSampler:
    return CompiledSampler(weights_of(net))


def _draws_follow_density(net: SplittingNet, sampler: CompiledSampler) -> None:
    """Assert that the contents of equal nodes have probabilities that sum to one, and those of the draws."""
    num = 40_000
    context, counts = _node(num)
    parts = _parts(counts[0])
    wide = len(parts)
    with torch.no_grad():
        hidden = net.encode(context[:wide], counts[:wide])
        p = net.content_log_prob(hidden, context[:wide], counts[:wide], torch.stack(parts)).exp().double().numpy()
    assert p.sum() == pytest.approx(1, abs=1e-4)
    numbers = context.numpy(), counts.numpy()
    drawn, both = sampler.content(sampler.encode(*numbers), *numbers, np.random.default_rng(1))
    assert np.array_equal(both, np.flatnonzero(drawn.sum(1) >= 2))
    place = {tuple(part.tolist()): k for k, part in enumerate(parts)}
    found = np.bincount([place[tuple(row)] for row in drawn.tolist()], minlength=wide)
    big = p * num > 20
    chi2 = ((found - p * num) ** 2 / (p * num * (1 - p)))[big].sum()
    assert abs(chi2 - big.sum()) < 5 * np.sqrt(2 * big.sum())
    assert found[~big].sum() == pytest.approx(p[~big].sum() * num, abs=5 * np.sqrt(p[~big].sum() * num) + 1)


@pytest.mark.parametrize("make", [_with_torch, _without_torch])
def test_the_probabilities_of_all_contents_sum_to_one_and_are_those_of_the_draws(
    net: SplittingNet, make: Callable[[SplittingNet], CompiledSampler]
) -> None:
    _draws_follow_density(net, make(net))


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("pair_width", [None, 12])
def test_both_samplers_have_the_same_densities(plain: bool, pair_width: int | None) -> None:
    torch.manual_seed(4)
    sizes = {"width": 24, "num_blocks": 2, "head_width": 8, "num_bins": 10, "num_components": 3}
    net = make_net({**sizes, "plain": plain, "pair_width": pair_width})
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    node, held = _node(40)
    counts = held.numpy()
    counts_a = np.zeros_like(counts)
    counts_a[:, TYPES.index("211")] = 1
    least, bins = np.full((40, 2), 0.5), np.tile([3, 10], (40, 1))
    context = (node + torch.randn(node.shape)).numpy()
    found = []
    for sampler in (_with_torch(net), _without_torch(net)):
        hidden = sampler.with_content(sampler.encode(context, counts), counts, counts_a, least)
        heads = sampler.heads(hidden)
        angles, pairs = sampler.angles(heads, bins), sampler.pair_angles(context, counts, counts_a, least)
        rng = np.random.default_rng(2)
        draws = [*sampler.masses_b(heads, rng), *sampler.masses_a(hidden, bins[:, 0], np.arange(0, 40, 3), rng)]
        draws += [*sampler.draw(angles, rng), *sampler.draw(pairs, rng)]
        found.append([np.asarray(hidden), angles.cos, pairs.cos, *draws])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


def test_a_part_that_is_refused_keeps_its_component(net: SplittingNet) -> None:
    net = deepcopy(net)
    with torch.no_grad():
        net.kind.bias[0] = 5.0
        net.mixture.weight.zero_()
        of_component = net.mixture.bias.view(3, -1)
        of_component.zero_()
        of_component[0, 1:] = 3.0  # gives everything away two times out of three, and is drawn anew
    _draws_follow_density(net, _with_torch(net))


def test_a_balance_keeps_charge_baryon_number_and_strangeness_of_a_part_small() -> None:
    num = 4000
    counts = np.zeros((num, len(TYPES)), dtype=np.uint8)
    for name in ("211", "-211", "321", "-321", "2212", "-2212"):
        counts[:, TYPES.index(name)] = 3
    logits = np.zeros((num, 1, len(TYPES)), dtype=np.float32)
    weights, carrier = np.ones((num, 1), dtype=np.float32), np.zeros((num, 3), dtype=np.float32)
    spread = []
    for strength in (0.0, 1.0):
        balance = np.full((num, 1, 6), strength, dtype=np.float32)
        part = share(weights, logits, balance, counts, carrier, np.random.default_rng(1))
        spread.append((part @ TYPE_NUMBERS).std(0))
    free, balanced = spread
    assert (balanced < 0.7 * free).all()


def test_a_part_is_never_nothing_nor_everything_even_where_all_draws_are() -> None:
    counts = np.zeros((1, len(TYPES)), dtype=np.uint8)
    counts[0, TYPES.index("211")] = counts[0, TYPES.index("22")] = 1
    logits = np.full((1, 1, len(TYPES)), -100 * MAX_LOGIT, dtype=np.float32)
    arguments = (np.ones((1, 1), np.float32), logits, np.zeros((1, 1, 6), np.float32), counts)
    part = share(*arguments, np.zeros((1, 3), np.float32), np.random.default_rng(1))
    assert part.sum() == 1


def test_the_carrier_comes_first_and_every_type_once() -> None:
    assert ORDER[0] == TYPES.index("carrier")
    assert sorted(ORDER) == list(range(len(TYPES)))
    assert [TYPES[t] for t in ORDER[-2:]] == ["211", "-211"]


def test_the_derivatives_of_a_part_are_those_of_finite_differences() -> None:
    rng = np.random.default_rng(4)
    counts = torch.from_numpy(rng.integers(0, 3, (3, len(TYPES)))).to(torch.uint8)
    part = (counts * torch.from_numpy(rng.random(counts.shape)) + 0.5).to(torch.uint8)
    weights = torch.log_softmax(torch.from_numpy(rng.normal(size=(3, 2))).float(), -1)
    carrier = torch.from_numpy(rng.integers(-1, 2, (3, 3))).float()
    logits = torch.from_numpy(0.3 * rng.normal(size=(3, 2, len(TYPES)))).float().requires_grad_()
    balance = torch.from_numpy(0.1 * rng.normal(size=(3, 2, 6))).float().requires_grad_()

    def total(logits: torch.Tensor, balance: torch.Tensor) -> torch.Tensor:
        return log_prob(weights, logits, balance, counts, part, carrier).sum()

    torch.autograd.backward(total(logits, balance))
    assert logits.grad is not None and balance.grad is not None
    step = 2e-3
    for _ in range(5):
        along = torch.randn_like(logits), torch.randn_like(balance)
        with torch.no_grad():
            ends = [total(logits + s * step * along[0], balance + s * step * along[1]) for s in (1, -1)]
            slope = float((logits.grad * along[0]).sum() + (balance.grad * along[1]).sum())
        assert float(ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=2e-2, abs=0.05)
