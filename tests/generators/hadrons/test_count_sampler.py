"""Compiled draws of counts follow the densities of the count model, of which they are a copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import fastsim
from generators.hadrons.count_sampler import CountSampler
from generators.hadrons.count_shapes import NUM_SIDE, ORDER
from generators.hadrons.counts import CountModel, _count_log_probs
from generators.hadrons.latent import conditions, side_of
from generators.hadrons.tokens import CONTENT, FLAVOURS, NUM_CONTENT, NUM_GROUPS, SPECIES, TYPE_SPECIES, TYPES
from generators.hadrons.tree.model import PrimaryTree
from generators.nn.compiled_network import SILU, CompiledNetwork, activation, linear_step, weights_of

NUM = 40_000


@pytest.fixture(scope="module")
def model() -> CountModel:
    torch.manual_seed(4)
    model = CountModel(len(FLAVOURS) + NUM_SIDE, width=12, max_size=40, max_pions=12, max_others=5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def _condition(flavour: int, num: int) -> torch.Tensor:
    return torch.eye(len(FLAVOURS) + NUM_SIDE)[FLAVOURS.index(flavour)].expand(num, -1)


def _trial(model: CountModel, condition: torch.Tensor, seed: int, missing: NDArray[np.int64] | None = None) -> Any:
    return _tried(CountSampler(weights_of(model)), condition, seed, missing)


def _tried(
    sampler: CountSampler, condition: torch.Tensor, seed: int, missing: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    size, carrier = sampler.first(condition.numpy(), rng)
    counts, good = sampler.trial(condition.numpy(), size, carrier, rng, missing)
    return counts, carrier, good


def _agrees(found: NDArray[np.int64], p: NDArray[np.float64]) -> bool:
    """Return whether counts follow probabilities: chi2 of the bins with 20 entries or more, the rest as one."""
    num = found.sum()
    big = p * num > 20
    observed = np.append(found[big], found[~big].sum())
    expected = np.append(p[big], p[~big].sum()) * num
    expected = np.maximum(expected, 1e-3)
    chi2 = ((observed - expected) ** 2 / np.maximum(expected, 1)).sum()
    return bool(chi2 < big.sum() + 5 * np.sqrt(2 * big.sum() + 2) + 3)


def test_sizes_and_carriers_are_drawn_from_their_densities(model: CountModel) -> None:
    condition = _condition(2, NUM)
    counts, carrier, good = _trial(model, condition, 1)
    size = counts.sum(1)
    assert good.all() and size.min() >= 1 and (counts >= 0).all()
    with torch.no_grad():
        p = model._size_log_probs(condition[:1])[0].exp().double().numpy()
    assert _agrees(np.bincount(size - 1, minlength=len(p)), p / p.sum())
    often = int(np.bincount(size).argmax())
    first = torch.cat([condition[:1], model._columns(torch.tensor([often]))], -1)
    with torch.no_grad():
        p = model._carrier_logits(first, None)[0].softmax(-1).double().numpy()
    found = np.bincount(carrier[size == often], minlength=len(SPECIES) + 1)
    assert _agrees(found, p / p.sum()) and found[p == 0].sum() == 0


def test_counts_are_drawn_from_corrected_binomials(model: CountModel) -> None:
    """Of the type drawn first, whose inputs are all known."""
    sampler, kind = CountSampler(weights_of(model)), ORDER[0]
    out = sampler._outputs(np.random.default_rng(1).normal(size=(1, model.first.shape[1])).astype(np.float32), kind)
    assert out.shape[1] == 7
    for left in (0, 1, 3, 9):
        expected = _count_log_probs(torch.from_numpy(out), torch.tensor([left]), -1).exp().double().numpy()[0]
        number = sampler.draw(np.repeat(out, NUM, 0), np.full(NUM, left), np.random.default_rng(left).random(NUM))
        assert _agrees(np.bincount(number, minlength=6), expected)
        assert number.max() <= left


def test_networks_are_those_of_the_density(model: CountModel) -> None:
    """The outputs for each type, given sets that were drawn, are those that the density is made of."""
    num = 64
    condition = _condition(5, num)
    states: dict[int, NDArray[np.float32]] = {}

    class Spy(CountSampler):
        """Draws the common types one by one, by the networks' own functions."""

        def _outputs(self, inputs: NDArray[np.float32], kind: int) -> NDArray[np.float32]:
            if kind not in self._networks:
                place = ORDER.index(kind) - NUM_GROUPS
                weights, starts, widths = self._common
                steps, first = [], starts[place]
                inputs = np.ascontiguousarray(inputs[:, : self._seen(kind)])
                for rows, columns in ((inputs.shape[1], self._width), (self._width,) * 2, (self._width, widths[place])):
                    end = first + rows * columns
                    layer = linear_step(weights[first:end].reshape(rows, columns).T, weights[end : end + columns])
                    steps += [layer, *activation(SILU)]
                    first = end + columns
                states[kind] = CompiledNetwork(steps[:-1])(inputs)
            else:
                states[kind] = super()._outputs(inputs, kind)
            return states[kind]

        def _draw_common(self, u: Any, moved: Any, state: Any, good: Any, *, forced: bool) -> None:
            for kind, numbers in zip(ORDER[NUM_GROUPS:-1], u, strict=True):
                number = self.draw(self._outputs(state[-1], kind), state[0], numbers)
                self._take(number, kind, int(TYPE_SPECIES[kind]), state)

    counts, carrier, _ = _tried(Spy(weights_of(model)), condition, 2)
    at_once = _trial(model, condition, 2)
    assert np.array_equal(counts, at_once[0]) and np.array_equal(carrier, at_once[1])
    with torch.no_grad():
        types, content = model._of_types(torch.from_numpy(counts), torch.from_numpy(carrier))
        order = torch.tensor([0, *ORDER])
        place = np.argsort([0, *ORDER])
        of_order = types[:, order]
        size = types.sum(-1)
        left = (size[:, None] - (torch.cumsum(of_order, -1) - of_order))[:, place].T
        need = -(torch.cumsum(content[:, order], 1) - content[:, order])[:, place].transpose(0, 1)
        own = torch.cat([model._columns(left), model._need_columns(need)], -1).transpose(1, 2)
        encoded = model._count_columns(types).transpose(1, 2).flatten(1)
        hidden = model._hidden(model._before(model._shared(condition, size, torch.from_numpy(carrier)), own, encoded))
        for (_, rows), weight, bias in zip(model._groups, model.last, model.last_bias, strict=True):
            out = torch.bmm(weight.transpose(1, 2), hidden[rows]) + bias[..., None]
            for kind, expected in zip(rows.tolist(), out.transpose(1, 2).numpy(), strict=True):
                off = np.abs(states[kind] - expected).max()
                assert off < 1e-4 * max(1.0, np.abs(expected).max()), TYPES[kind]
    assert set(states) == set(ORDER[:-1])


@pytest.mark.parametrize("flavour", [2, 5])
def test_quantum_numbers_that_are_asked_for_are_kept(model: CountModel, flavour: int) -> None:
    num = NUM  # of a network that has learned nothing few sets have them
    missing = np.zeros((num, NUM_CONTENT), np.int64)
    missing[:, 0], missing[:, 1] = -1, 1  # a positive pion's
    counts, carrier, good = _trial(model, _condition(flavour, num), 3, missing)
    assert good.any()
    assert ((counts @ CONTENT == missing).all(1) == good).all()
    assert (counts[np.arange(num)[carrier < len(SPECIES)], carrier[carrier < len(SPECIES)]] > 0).all()


def test_rare_species_are_drawn_within_their_group(model: CountModel) -> None:
    counts, carrier, _ = _trial(model, _condition(21, 3000), 5)
    types = model.of_types(torch.from_numpy(counts), torch.from_numpy(carrier)).numpy()
    slow, _ = model._of_types(torch.from_numpy(counts), torch.from_numpy(carrier))
    assert (types == slow.numpy()).all() and types[:, 1 : 1 + NUM_GROUPS].sum() > 100
    assert (types.sum(1) == counts.sum(1)).all() and (types >= 0).all()


@pytest.mark.parametrize("tune", [None, (len(FLAVOURS) + 3, len(FLAVOURS) + 5)])
def test_densities_under_several_conditions_are_those_of_each(tune: tuple[int, int] | None) -> None:
    """In compiled loops, beside the code that learns: of sets of both hemispheres, with rare species and without."""
    torch.manual_seed(7)
    num = 700
    model = CountModel(len(FLAVOURS) + 5 + NUM_SIDE, width=12, max_size=40, max_pions=12, max_others=5, tune=tune)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.eval()
    flavour = torch.arange(num) % len(FLAVOURS)
    condition = torch.cat([torch.eye(len(FLAVOURS))[flavour], torch.rand(num, 5 + NUM_SIDE)], -1)
    counts, carrier = model.sample(condition, np.random.default_rng(3))
    counts[:5, SPECIES.index(211)] += 21  # more than the networks know
    forced = torch.arange(num) % 2 == 1
    missing = torch.where(forced[:, None], torch.from_numpy(counts.numpy() @ CONTENT), 0)
    steps = torch.zeros(3, condition.shape[1])
    steps[1:, len(FLAVOURS) + 3 : len(FLAVOURS) + 5] = torch.tensor([[0.5, -0.3], [-1.0, 0.8]])
    sets = counts, carrier, missing, forced
    found = model.log_probs(condition, steps, *sets)
    wanted = torch.stack([model.log_prob(condition + step, *sets).detach() for step in steps])
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), atol=2e-4, rtol=2e-6)
    assert (found[1:] - found[0]).abs().mean() > 0.1
    types = model.of_types(counts, carrier)
    assert (types[:, 1 : 1 + NUM_GROUPS].sum(1) > 0).sum() > 20 and int(types.max()) > 20
    with torch.no_grad():
        np.testing.assert_allclose(model.log_prob(condition, *sets).numpy(), found[0].numpy(), rtol=1e-6)


def test_what_a_set_must_have_does_not_change_how_large_it_is() -> None:
    """Sizes of sets that have to have quantum numbers are what the network says, though not all trials have them."""
    num = 20000
    tree = fastsim.load_model("hadron-tree")
    assert isinstance(tree, PrimaryTree)
    shipped = tree.latent_model.count_model
    needed, opposite = np.zeros((1, NUM_CONTENT), np.int64), np.zeros((1, len(SPECIES)), np.int64)
    needed[0, 1:3] = 1, 2  # a cascade baryon's
    opposite[0, [SPECIES.index(-211), SPECIES.index(111)]] = 1
    condition = conditions(
        np.array([2]), np.array([10.0]), np.array([10.0]), np.zeros((1, 0)), side_of(needed, opposite)
    )
    many, missing = np.repeat(condition, num, 0), np.repeat(needed, num, 0)
    sampler, rng = CountSampler(weights_of(shipped)), np.random.default_rng(4)
    size, carrier = sampler.first(many, rng)
    _, good = sampler.trial(many, size, carrier, rng, missing)
    counts, _, failed = sampler.attempt(many, rng, missing, None)
    with torch.no_grad():
        p = shipped._size_log_probs(torch.from_numpy(condition))[0].exp().double().numpy()
    assert len(failed) == 0 and 0.05 < 1 - good.mean() < 0.9
    assert not _agrees(np.bincount(size[good] - 1, minlength=len(p)), p / p.sum())
    assert _agrees(np.bincount(counts.sum(1) - 1, minlength=len(p)), p / p.sum())
