"""The diffusion model: symmetries, exactness, gradients, training, weights on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fastsim.errors import FastsimError, OutOfDomain, WeightsError
from fastsim.event import Partons
from fastsim.event.kinematics import mass_squared
from fastsim.sources import cards
from fastsim.sources.domains import QUARKS_AND_GLUONS, Domain
from generators.hadrons.flow.model import DiffusionModel, FlowConfig, SetFlow, context_numbers
from generators.hadrons.flow.train import FlowTraining, TrainingSet, couple, fit_flow
from generators.hadrons.latent import Latent, LatentModel
from generators.hadrons.tokens import SPECIES, SPECIES_MASS, TokenSample
from generators.nn.quantise import pack, unpack
from generators.nn.sets import Layout, NetworkConfig, SetDenoiser
from generators.reference.pythia import token_sample
from generators.training.config import from_dict
from generators.training.loop import TrainingConfig

NETWORK = NetworkConfig(
    width=32, heads=2, registers=2, context_width=32, blocks=("attention", "mean"), precision="float32"
)
CONFIG = FlowConfig(num_extras=4, network=NETWORK, num_inference_steps=4, solver="euler")
LATENT = {"count_width": 8, "flow_width": 16, "num_bins": 4}


@pytest.fixture(scope="module")
def sample() -> TokenSample:
    rng = np.random.default_rng(1)
    return token_sample(rng.choice([1, 4, 5, 21], 80), np.exp(rng.uniform(3.2, 7, 80)), seed=2)


@pytest.fixture
def flow(sample: TokenSample) -> SetFlow:
    """Make a flow whose weights are not zero."""
    result = SetFlow(CONFIG)
    result.set_scales(sample, Latent.of(sample))
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    return result


def denoiser() -> SetDenoiser:
    torch.manual_seed(4)
    network = SetDenoiser(5, 3, 4, 2, NETWORK)
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


def test_gradient_reaches_every_parameter(flow: SetFlow, sample: TokenSample) -> None:
    batches = TrainingSet(flow, sample, Latent.of(sample), num_sets=64, seed=1)
    torch.autograd.backward(flow.loss(batches(0))["loss"])
    present = torch.unique(torch.cat([batches(0).conditions.species]))
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if name == "network.embedding.weight":
            assert (parameter.grad[present].abs().sum(dim=1) > 0).all()
        else:
            assert parameter.grad.abs().sum() > 0, name


def test_batches_are_a_function_of_the_step(flow: SetFlow, sample: TokenSample) -> None:
    latent = Latent.of(sample)
    one, other = (TrainingSet(flow, sample, latent, num_sets=16, seed=1) for _ in range(2))
    one(0), one(11)
    assert torch.equal(one(25).noise, other(25).noise)
    assert torch.equal(one(25).x, other(25).x)
    epoch = np.concatenate([one.rows(step) for step in range(10, 20)])
    assert len(np.unique(epoch)) == len(epoch) == 160


def test_standardised_coordinates_have_unit_spread(flow: SetFlow, sample: TokenSample) -> None:
    x = TrainingSet(flow, sample, Latent.of(sample), num_sets=160, seed=1)(0).x
    assert torch.allclose(x.mean(dim=0), torch.zeros(3), atol=0.1)
    assert torch.allclose(x.std(dim=0), torch.ones(3), atol=0.25)


@pytest.mark.parametrize("kind", ["sorted", "assignment"])
def test_coupling_permutes_noise_within_kinds_and_shortens_paths(kind: str) -> None:
    rng = np.random.default_rng(6)
    index, species = np.repeat([0, 1, 2], [30, 1, 20]), np.repeat([4, 7, 4, 5], [30, 1, 12, 8])
    x, noise = (rng.normal(size=(51, 3)).astype(np.float32) for _ in range(2))
    paired = couple(noise, x, index, species, kind)
    for start, end in ((0, 30), (30, 31), (31, 43), (43, 51)):
        assert np.array_equal(np.sort(paired[start:end], axis=0), np.sort(noise[start:end], axis=0))
        assert len(np.unique(paired[start:end], axis=0)) == end - start
    columns = slice(0, 1) if kind == "sorted" else slice(0, 3)
    assert ((paired - x)[:, columns] ** 2).sum() < 0.5 * ((noise - x)[:, columns] ** 2).sum()
    assert couple(noise, x, index, species, "none") is noise


def test_tokens_have_the_latents_counts_and_total(flow: SetFlow, sample: TokenSample) -> None:
    latent = Latent.of(sample)
    tokens = flow.tokens(sample.flavour, sample.pt, latent, torch.Generator().manual_seed(7))
    assert np.array_equal(tokens.species_counts(), latent.counts)
    total = np.add.reduceat(tokens.p4, tokens.offsets[:-1], axis=0)
    assert (np.abs(total - latent.total) / latent.total[:, :1]).max() < 1e-9
    shell = np.abs(mass_squared(tokens.p4) - SPECIES_MASS[tokens.species] ** 2)
    assert (shell < 1e-9 * tokens.p4[:, 0] ** 2 + 1e-9).all()
    assert (tokens.p4[:, 3] > 0).mean() > 0.999


def test_turning_the_latent_turns_the_set(flow: SetFlow, sample: TokenSample) -> None:
    latent = Latent.of(sample)
    c, s = np.cos(1.1), np.sin(1.1)
    turn = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1.0]])
    straight = flow.tokens(sample.flavour, sample.pt, latent, torch.Generator().manual_seed(8))
    turned_latent = replace(latent, total=latent.total @ turn.T)
    turned = flow.tokens(sample.flavour, sample.pt, turned_latent, torch.Generator().manual_seed(8))
    energy = straight.p4[:, :1]
    assert (np.abs(straight.p4 @ turn.T - turned.p4) / energy).max() < 1e-3


def model(flow: SetFlow) -> DiffusionModel:
    torch.manual_seed(9)
    latent = LatentModel(**LATENT)
    return DiffusionModel("tiny", Domain(QUARKS_AND_GLUONS, 20, 2000), latent, flow, latent_config=LATENT).eval()


PARTONS = Partons.from_pt_eta_phi(
    np.array([21, -2, 5, -4]), np.array([30.0, 500.0, 100.0, 1500.0]), np.array([0.0, 2.0, -1.0, 0.3]), np.arange(4.0)
)


def test_same_seed_same_hadrons(flow: SetFlow) -> None:
    diffusion = model(flow)
    first, second, third = (diffusion.sample(PARTONS, rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.p4, second.p4)
    assert np.array_equal(first.pdg_id, second.pdg_id)
    assert first.p4.shape != third.p4.shape or not np.allclose(first.p4, third.p4)
    assert len(first) == 4
    assert np.isfinite(first.p4).all()
    assert set(np.abs(first.pdg_id)) <= {abs(i) for i in SPECIES} - {111, 221, 3212}


def test_parton_outside_the_domain_is_refused(flow: SetFlow) -> None:
    soft = Partons.from_pt_eta_phi(np.array([21]), np.array([5.0]), np.zeros(1), np.zeros(1))
    with pytest.raises(OutOfDomain, match="pT = 5 GeV"):
        model(flow).sample(soft, rng=np.random.default_rng(1))


def test_card_and_weights_round_trip(flow: SetFlow, tmp_path: Path) -> None:
    diffusion = model(flow)
    card, weights = cards.load(diffusion.save(tmp_path, version="1", training={"seed": 1}))
    loaded = DiffusionModel.from_card(card, weights)
    assert loaded.flow.config == flow.config
    for name, value in diffusion.state_dict().items():
        rounding = value.abs().amax() / 250 if name.startswith("flow.network") else 1e-6
        assert torch.allclose(loaded.state_dict()[name].double(), value.double(), rtol=1e-3, atol=float(rounding)), name
    reloaded = DiffusionModel.from_card(card, weights)
    first, second = (m.sample(PARTONS, rng=np.random.default_rng(1)) for m in (loaded, reloaded))
    assert np.array_equal(first.p4, second.p4)
    few = DiffusionModel.from_card(card, weights, num_inference_steps=2)
    assert few.num_inference_steps == 2
    assert few.config() == loaded.config()


def test_eight_bits_hold_every_row_to_its_scale() -> None:
    weight = torch.randn(5, 200, generator=torch.Generator().manual_seed(11)) * torch.tensor([[1e-3, 0, 1, 1e3, 1]]).T
    packed = pack({"a": weight, "b": weight}, {"a"})
    assert packed["a"].dtype == torch.int8
    error = (unpack(packed)["a"] - weight).abs().amax(dim=1)
    assert (error <= 1.001 * weight.abs().amax(dim=1) / 254).all()
    assert set(unpack(packed)) == {"a", "b"}
    assert torch.equal(unpack(packed)["b"], weight)


def test_unknown_keys_are_refused(flow: SetFlow, tmp_path: Path) -> None:
    values = json.loads(json.dumps(asdict(CONFIG)))
    with pytest.raises(FastsimError, match=r"flow\.network: unknown key 'depth'; known are blocks, "):
        from_dict(FlowConfig, {**values, "network": {"depth": 3}}, "flow")
    training = FlowTraining(CONFIG, loop=TrainingConfig(7))
    assert from_dict(FlowTraining, json.loads(json.dumps(asdict(training))), "flow") == training
    card, weights = cards.load(model(flow).save(tmp_path, version="1", training={}))
    for config in ({**card.config, "depth": 1}, {**card.config, "flow": {**values, "depth": 1}}):
        with pytest.raises(WeightsError, match=r"do not fit: .*unknown key 'depth'"):
            DiffusionModel.from_card(replace(card, config=config), weights)


def test_training_lowers_the_loss_and_validates(sample: TokenSample, tmp_path: Path) -> None:
    torch.manual_seed(10)
    flow = SetFlow(CONFIG)
    loop = TrainingConfig(num_steps=120, learning_rate=3e-3, warmup=10, ema_decay=0.9, log_every=10)
    result = fit_flow(flow, sample, FlowTraining(CONFIG, 32, 20, 10, loop), 1, tmp_path)
    assert result.step == result.best_step == 120
    rows = [line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines()]
    losses = [float(row[3]) for row in rows if row[2] == "loss"]
    assert np.mean(losses[-3:]) < 0.92 * losses[0]
    assert any(row[2] == "validation/w1" for row in rows)


def test_context_does_not_depend_on_azimuth(sample: TokenSample) -> None:
    latent = Latent.of(sample)
    total = latent.total.copy()
    total[:, 1], total[:, 2] = -latent.total[:, 2], latent.total[:, 1]
    numbers = context_numbers(sample.flavour, sample.pt, latent)
    assert np.allclose(numbers, context_numbers(sample.flavour, sample.pt, replace(latent, total=total)))
