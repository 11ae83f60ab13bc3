"""What every network keeps to: finite, normalised densities, gradients everywhere, weights that come back, seeds.

A new density joins by an entry in ``DENSITIES``, a network without a density by one in ``NETWORKS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from generators.hadrons.count_shapes import may_carry
from generators.hadrons.counts import CountModel
from generators.hadrons.flow.network import FlowConfig, SetFlow, coordinates
from generators.hadrons.flow.sampler import sample_flow
from generators.hadrons.flow.train import given_of
from generators.hadrons.gun import token_sample
from generators.hadrons.latent import FEATURES, Latent
from generators.hadrons.latent_model import LatentModel
from generators.hadrons.tokens import FLAVOURS, NUM_CONTENT, SPECIES, TokenSample, parton_energy
from generators.hadrons.tree.inputs import COS_THETA, PHI
from generators.hadrons.tree.model import make_net
from generators.hadrons.tree.network import SplittingNet, Splittings
from generators.hadrons.tree.splittings import splittings
from generators.hadrons.tree.train import resample
from generators.nn.flows import SplineFlow
from generators.nn.sets import Layout, NetworkConfig, SetDenoiser
from generators.showers.cascade.splits import Rows, SplitNet

NUM = 48


@cache
def sample() -> TokenSample:
    """Draw token sets of all flavours with Pythia."""
    rng = np.random.default_rng(1)
    return token_sample(rng.choice([1, 2, 3, 4, 5, 21], 30), np.exp(rng.uniform(3.0, 7.0, 30)), seed=3)


@cache
def splitting_rows() -> Splittings:
    return splittings(sample())[0]


@cache
def latent_batch(model: LatentModel) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    latent = Latent.of(sample())
    condition = model.condition(sample().flavour, sample().pt, sample().scale)
    known = (torch.from_numpy(latent.counts), torch.from_numpy(latent.carrier))
    return condition, *known, torch.from_numpy(latent.features).float()


def shaken(net: nn.Module, seed: int = 5, size: float = 0.1) -> Any:
    """Move the weights of a network away from their zeros."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=rng))
    return net.eval()


@dataclass(frozen=True)
class Density:
    """How the contract reaches a density: its rows are numbers 0 to N - 1 of a fixed batch.

    Attributes:
        build: a new network with its scales set.
        log_prob: of the given rows.
        num_rows: N.
        total: the integral or sum of exp(log_prob) over all outcomes of one condition.
        draw: arrays drawn with a seed, the first with one row for each of ``num_draws`` conditions; None where drawing
            is the business of another class.
    """

    build: Callable[[], Any]
    log_prob: Callable[[Any, Tensor], Tensor]
    num_rows: Callable[[], int]
    total: Callable[[Any], float]
    draw: Callable[[Any, int], tuple[Any, ...]] | None = None
    num_draws: int = NUM


# --- spline flow ---

CONTEXT = torch.linspace(-1, 1, 2 * NUM).view(NUM, 2)


def spline_flow(num_features: int) -> SplineFlow:
    torch.manual_seed(1)
    flow: SplineFlow = shaken(SplineFlow(num_features, 2, width=16, num_bins=5))
    flow.set_scales(torch.linspace(-2, 3, 50)[:, None].repeat(1, num_features))
    return flow


def spline_total(flow: SplineFlow) -> float:
    """Integrate over all of R^D for one context."""
    axis = torch.linspace(-15, 16, 401 if flow.num_features == 2 else 4001)
    grid = torch.cartesian_prod(*[axis] * flow.num_features).view(-1, flow.num_features)
    cell = float(axis[1] - axis[0]) ** flow.num_features
    return float(flow.log_prob(grid, CONTEXT[:1].expand(len(grid), -1)).exp().sum()) * cell


def spline(num_features: int) -> Density:
    x = torch.linspace(-3, 4, NUM * num_features).view(NUM, num_features)
    return Density(
        build=lambda: spline_flow(num_features),
        log_prob=lambda flow, rows: flow.log_prob(x[rows], CONTEXT[rows]),
        num_rows=lambda: NUM,
        total=spline_total,
        draw=lambda flow, seed: (flow.sample(CONTEXT, torch.Generator().manual_seed(seed)),),
    )


# --- counts and latent ---


@cache
def small_sets() -> tuple[Tensor, Tensor]:
    """List the counts of all sets of one or two tokens, and their carriers, of a u quark."""
    num = len(SPECIES)
    first, second = torch.triu_indices(num, num + 1, 0)  # with species S, which is no token
    some = first < num
    first, second = first[some], second[some]
    counts = torch.zeros(len(first), num + 1, dtype=torch.long)
    counts += nn.functional.one_hot(first, num + 1) + nn.functional.one_hot(second, num + 1)
    choices = [torch.full_like(first, num), first, torch.where(second == first, -1, second)]
    allowed = torch.from_numpy(may_carry()[1])
    kept = [torch.nonzero((c >= 0) & allowed[c] & ((c < num) | (c == choices[0])))[:, 0] for c in choices[:2]]
    third = choices[2]
    kept.append(torch.nonzero((third >= 0) & (third < num) & allowed[third.clamp(min=0)])[:, 0])
    rows = torch.cat(kept)
    return counts[rows, :-1], torch.cat([c[k] for c, k in zip(choices, kept, strict=True)])


SOME_SETS = torch.linspace(0, 1, 400)
UP = torch.cat([torch.eye(len(FLAVOURS))[1].expand(400, -1), torch.linspace(-1, 1, 800).view(400, 2)], 1)
"""Conditions of u quarks."""


def some_sets(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the counts and carriers of some of 400 of the small sets."""
    counts, carrier = small_sets()
    chosen = (SOME_SETS * (len(counts) - 1)).long()[rows]
    return counts[chosen], carrier[chosen]


def free(num: int) -> tuple[Tensor, Tensor]:
    """Return the arguments that leave quantum numbers free."""
    return torch.zeros(num, NUM_CONTENT), torch.zeros(num, dtype=torch.bool)


def count_model() -> CountModel:
    torch.manual_seed(2)
    model: CountModel = shaken(CountModel(UP.shape[1], width=8, max_size=2, max_pions=2, max_others=2))
    return model


def count_total(model: CountModel) -> float:
    counts, carrier = small_sets()
    return sum(
        float(model.log_prob(UP[:1].expand(len(n), -1), n, k, *free(len(n))).exp().sum())
        for n, k in zip(torch.split(counts, 8192), torch.split(carrier, 8192), strict=True)
    )


COUNTS = Density(
    build=count_model,
    log_prob=lambda model, rows: model.log_prob(UP[rows], *some_sets(rows), *free(len(rows))),
    num_rows=lambda: len(UP),
    total=count_total,
    draw=lambda model, seed: model.sample(UP, np.random.default_rng(seed)),
    num_draws=len(UP),
)


def latent_model() -> LatentModel:
    torch.manual_seed(3)
    model: LatentModel = shaken(LatentModel(count_width=8, flow_width=16, max_size=60, num_bins=4), size=0.02)
    model.set_scales(torch.from_numpy(Latent.of(sample()).features).float())
    return model


def latent_log_prob(model: LatentModel, rows: Tensor) -> Tensor:
    return torch.stack(list(model.log_prob(*(column[rows] for column in latent_batch(model))).values())).sum(0)


def latent_total(model: LatentModel) -> float:
    """Integrate over the features of the total momentum, for one set."""
    condition, counts, carrier, _ = (column[:1] for column in latent_batch(model))
    flow = model.total_flow
    axis = torch.linspace(-6, 6, 61)
    grid = torch.cartesian_prod(axis, axis, axis) * flow.std + flow.mean
    context = model._context(condition, counts, carrier).expand(len(grid), -1)
    cell = float((axis[1] - axis[0]) ** 3 * flow.std.prod())
    return float(flow(context).log_prob(grid).exp().sum()) * cell


def latent_draw(model: LatentModel, seed: int) -> tuple[Any, ...]:
    given = (sample().flavour, sample().pt, sample().scale)
    latent = model.sample(*given, np.random.default_rng(seed))
    assert latent.features.shape[1] == len(FEATURES)
    return latent.counts, latent.total, latent.features


# --- splittings of the tree ---

SIZES = {"width": 24, "num_blocks": 1, "head_width": 16, "num_bins": 12, "num_components": 3}


def splitting_net(**more: Any) -> SplittingNet:
    torch.manual_seed(4)
    net: SplittingNet = shaken(make_net({**SIZES, **more}))
    net.set_scales(splitting_rows())
    return net


def splitting_total(net: SplittingNet) -> float:
    """Integrate over both angles of a node of two tokens."""
    rows = splitting_rows()
    pair = rows.rows(torch.nonzero(rows.counts.sum(-1) == 2)[:1, 0])
    edges = net.edges[[COS_THETA, PHI]]
    grid = torch.cartesian_prod(*((edges[:, 1:] + edges[:, :-1]) / 2))
    variables = pair.variables.repeat(len(grid), 1)
    variables[:, COS_THETA], variables[:, PHI] = grid.T
    wide = pair.rows(torch.zeros(len(grid), dtype=torch.long))
    batch = replace(wide, variables=variables)
    return float((net.log_prob(batch).exp() * torch.cartesian_prod(*torch.diff(edges)).prod(-1)).sum())


def splitting(**more: Any) -> Density:
    return Density(
        build=lambda: splitting_net(**more),
        log_prob=lambda net, rows: net.log_prob(splitting_rows().rows(rows)),
        num_rows=lambda: len(splitting_rows()),
        total=splitting_total,
        draw=lambda net, seed: (lambda tokens: (tokens.offsets[1:], tokens.p4))(resample(net, sample(), seed)),
        num_draws=60,
    )


# --- splits of the cascade ---


def split_rows(num: int) -> Rows:
    case = torch.arange(num) % 3
    ratio = torch.where(case == 0, torch.linspace(-4, 4, num), 0.0)
    return Rows(torch.linspace(-1, 1, 2 * num).view(num, 2), case, ratio)


def split_net(normal: bool) -> SplitNet:
    torch.manual_seed(6)
    net: SplitNet = shaken(SplitNet(2, width=8, depth=2, num_components=3, skip=True, normal=normal), size=0.3)
    return net


def split_total(net: SplitNet) -> float:
    """Integrate over the log-ratio, and add the probabilities of the cases in which one part has nothing."""
    x = torch.linspace(-80, 80, 40_001)
    features = split_rows(1).features
    both = net.log_prob(Rows(features.expand(len(x), 2), torch.zeros(len(x), dtype=torch.long), x)).exp()
    alone = net.log_prob(Rows(features.expand(2, 2), torch.tensor([1, 2]), torch.zeros(2))).exp()
    return float(torch.trapezoid(both, x) + alone.sum())


def split(normal: bool) -> Density:
    return Density(
        build=lambda: split_net(normal),
        log_prob=lambda net, rows: net.log_prob(split_rows(NUM).chosen(rows.numpy())),
        num_rows=lambda: NUM,
        total=split_total,
    )


DENSITIES = {
    "spline-1d": spline(1),
    "spline-2d": spline(2),
    "counts": COUNTS,
    "latent": Density(latent_model, latent_log_prob, lambda: len(sample()), latent_total, latent_draw, 60),
    "splitting": splitting(),
    "splitting-plain-pairs": splitting(plain=True, pair_width=12),
    "split-logistic": split(False),
    "split-normal": split(True),
}
DRAWN = [name for name, density in DENSITIES.items() if density.draw is not None]


# --- networks of flow matching, which are no densities ---

NETWORK = NetworkConfig(
    width=16, heads=2, registers=1, context_width=8, blocks=("attention", "mean"), precision="float32"
)


@dataclass(frozen=True)
class Network:
    """How the contract reaches a network without a density.

    Attributes:
        build: a new network.
        output: of a fixed batch of sets, or of those in the given slice; one row for each token.
        counts: tokens of each set.
    """

    build: Callable[[], Any]
    output: Callable[[Any, slice], Tensor]
    counts: Callable[[], Any]


DENOISER_COUNTS = np.array([3, 1, 8, 5])


def denoiser_output(net: SetDenoiser, sets: slice) -> Tensor:
    index = np.repeat(np.arange(4), DENOISER_COUNTS)
    tokens = torch.from_numpy(np.isin(index, np.arange(4)[sets]))
    x, context = torch.linspace(-1, 1, 17 * 5).view(17, 5), torch.linspace(-1, 1, 16).view(4, 4)
    layout = Layout.of(DENOISER_COUNTS[sets], NETWORK)
    result: Tensor = net(x[tokens], (torch.arange(17) % 3)[tokens], context[sets], layout)
    return result


def set_flow() -> SetFlow:
    torch.manual_seed(7)
    network = replace(NETWORK, pair_features=4)
    flow: SetFlow = shaken(SetFlow(FlowConfig(network=network, num_inference_steps=4)))
    given = given_of(sample())
    flow.set_scales(given, coordinates(sample(), given))
    return flow


def flow_output(flow: SetFlow, sets: slice) -> Tensor:
    part = sample()[sets]
    given = given_of(part)
    sigma = torch.linspace(0.1, 0.9, len(sample()))[sets]
    velocity: Tensor = flow(coordinates(part, given).float(), sigma, flow.conditions_of(given))
    return velocity


def denoiser() -> SetDenoiser:
    torch.manual_seed(8)
    net: SetDenoiser = shaken(SetDenoiser(5, 3, 4, 2, NETWORK))
    return net


NETWORKS = {
    "set-denoiser": Network(denoiser, denoiser_output, lambda: DENOISER_COUNTS),
    "set-flow": Network(set_flow, flow_output, lambda: sample().counts),
}


def has_gradients_everywhere(net: nn.Module, value: Tensor) -> None:
    torch.autograd.backward(value)
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("name", DENSITIES)
def test_log_prob_is_finite_and_does_not_depend_on_the_batch(name: str) -> None:
    density = DENSITIES[name]
    net, rows = density.build(), torch.arange(density.num_rows())
    with torch.no_grad():
        whole = density.log_prob(net, rows)
        assert whole.shape == rows.shape and torch.isfinite(whole).all()
        torch.testing.assert_close(density.log_prob(net, rows[5:17]), whole[5:17], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", DENSITIES)
def test_the_density_is_normalised(name: str) -> None:
    density = DENSITIES[name]
    with torch.no_grad():
        assert density.total(density.build()) == pytest.approx(1, abs=0.02 if name == "latent" else 2e-3)


# of one feature alone, the weights that take earlier features have nothing to take
@pytest.mark.parametrize("name", [name for name in DENSITIES if name != "spline-1d"])
def test_gradients_of_the_likelihood_reach_every_parameter(name: str) -> None:
    density = DENSITIES[name]
    net = density.build()
    has_gradients_everywhere(net, density.log_prob(net, torch.arange(density.num_rows())).mean())


@pytest.mark.parametrize("name", DENSITIES)
def test_weights_of_a_density_come_back(name: str) -> None:
    density = DENSITIES[name]
    net, other, rows = density.build(), shaken(density.build(), seed=9, size=0.3), torch.arange(density.num_rows())
    with torch.no_grad():
        assert not torch.equal(density.log_prob(net, rows), density.log_prob(other, rows))
        other.load_state_dict(net.state_dict())
        assert torch.equal(density.log_prob(net, rows), density.log_prob(other, rows))


@pytest.mark.parametrize("name", DRAWN)
def test_one_row_for_each_condition_and_the_same_for_the_same_seed(name: str) -> None:
    density = DENSITIES[name]
    assert density.draw is not None
    net = density.build()
    first, second, third = (tuple(map(np.asarray, density.draw(net, seed))) for seed in (1, 1, 2))
    assert len(first[0]) == density.num_draws
    assert all(np.isfinite(x).all() and np.array_equal(x, y) for x, y in zip(first, second, strict=True))
    assert any(x.shape != y.shape or not np.array_equal(x, y) for x, y in zip(first, third, strict=True))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_gradients_and_weights_that_come_back(name: str) -> None:
    network = NETWORKS[name]
    net, other = network.build(), shaken(network.build(), seed=9)
    every = slice(None)
    output = network.output(net, every)
    assert len(output) == network.counts().sum() and torch.isfinite(output).all()
    has_gradients_everywhere(net, (output**2).mean())
    assert not torch.equal(output, network.output(other, every))
    other.load_state_dict(net.state_dict())
    assert torch.equal(output, network.output(other, every))


@pytest.mark.parametrize("name", NETWORKS)
def test_sets_do_not_see_each_other(name: str) -> None:
    network = NETWORKS[name]
    net, ends = network.build(), np.cumsum(network.counts())
    with torch.no_grad():
        whole, some = network.output(net, slice(None)), network.output(net, slice(1, 3))
    torch.testing.assert_close(some, whole[ends[0] : ends[2]], rtol=1e-4, atol=1e-5)


def test_tokens_of_a_flow_follow_the_seed_and_not_the_batch() -> None:
    flow, tokens = set_flow(), sample()
    latent, energy = Latent.of(tokens), parton_energy(tokens.flavour, tokens.pt)

    def momenta(seed: int) -> NDArray[np.float64]:
        return sample_flow(flow, tokens, energy, latent, torch.Generator().manual_seed(seed))

    first, second, third = (momenta(seed) for seed in (1, 1, 2))
    assert np.array_equal(first, second) and not np.array_equal(first, third)
    flow.config = replace(flow.config, batch_tokens=100)
    np.testing.assert_allclose(momenta(1), first, rtol=1e-2, atol=1e-3 * float(first[:, 0].max()))


def test_a_flow_called_with_contexts_is_a_distribution() -> None:
    flow = spline_flow(2)
    given = flow(CONTEXT)
    assert given.batch_shape == (NUM,) and given.event_shape == (2,)
    x = given.sample(rng=torch.Generator().manual_seed(1))
    assert torch.equal(x, flow.sample(CONTEXT, torch.Generator().manual_seed(1)))
    assert torch.equal(given.log_prob(x.float()), flow.log_prob(x.float(), CONTEXT))
    many = given.sample((5, 3), rng=torch.Generator().manual_seed(2))
    assert many.shape == (5, 3, NUM, 2)
    log_prob = given.log_prob(many.float())
    assert log_prob.shape == (5, 3, NUM)
    torch.testing.assert_close(log_prob[4, 1], given.log_prob(many[4, 1].float()))
    torch.manual_seed(3)  # without a generator, torch's own
    again = given.sample()
    torch.manual_seed(3)
    assert torch.equal(again, given.sample())
    # an expectation under the density itself: the mean of q / p is 1
    draws = flow(CONTEXT[:1]).sample((20_000,), rng=torch.Generator().manual_seed(4)).float()
    width = 0.7 * flow.std
    narrow = -0.5 * ((draws - flow.mean) / width) ** 2 - width.log() - 0.5 * math.log(2 * math.pi)
    with torch.no_grad():
        ratio = (narrow.sum(-1) - flow(CONTEXT[:1]).log_prob(draws)).exp()
    assert float(ratio.mean()) == pytest.approx(1, abs=5 * float(ratio.std()) / len(ratio) ** 0.5 + 1e-3)
