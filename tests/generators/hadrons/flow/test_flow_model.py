"""The diffusion model: symmetries, exactness, gradients, training, weights on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fastsim.errors import FastsimError, OutOfDomain, WeightsError
from fastsim.event import Floats, Partons
from fastsim.event.kinematics import mass_squared
from fastsim.sources import cards
from generators.hadrons.flow.model import PrimaryFlow
from generators.hadrons.flow.network import FlowConfig, SetFlow
from generators.hadrons.flow.sampler import sample_flow
from generators.hadrons.flow.train import FlowTraining, TrainingSet, couple, fit_flow, given_of
from generators.hadrons.latent import Latent
from generators.hadrons.tokens import CARRIER, IDS, TYPES, TokenSample, parton_energy
from generators.training.config import from_dict
from generators.training.loop import TrainingConfig
from tests.helpers.flow import CONFIG

PARTONS = Partons.from_pt_eta_phi(
    np.array([21, -2, 5, -4, 1]),
    np.array([30.0, 500.0, 100.0, 1500.0, 5.5]),
    np.array([0.0, 2.0, -1.0, 0.3, 0.0]),
    np.arange(5.0),
)


def sampled(flow: SetFlow, sample: TokenSample, latent: Latent, seed: int) -> Floats:
    energy = parton_energy(sample.flavour, sample.pt)
    return sample_flow(flow, sample, energy, latent, torch.Generator().manual_seed(seed))


def test_gradient_reaches_every_parameter(flow: SetFlow, sample: TokenSample) -> None:
    batch = TrainingSet(flow, sample, num_sets=64, seed=1)(0)
    torch.autograd.backward(flow.loss(batch)["loss"])
    present = torch.unique(batch.conditions.kind)
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if name == "network.embedding.weight":
            assert (parameter.grad[present].abs().sum(dim=1) > 0).all()
        else:
            assert parameter.grad.abs().sum() > 0, name


def test_batches_are_a_function_of_the_step(flow: SetFlow, sample: TokenSample) -> None:
    one, other = (TrainingSet(flow, sample, num_sets=16, seed=1) for _ in range(2))
    one(0), one(11)
    assert torch.equal(one(25).noise, other(25).noise)
    assert torch.equal(one(25).x, other(25).x)
    steps = len(sample) // 16
    epoch = np.concatenate([one.rows(step) for step in range(steps, 2 * steps)])
    assert len(np.unique(epoch)) == len(epoch) == 16 * steps


def test_standardised_coordinates_have_unit_spread(flow: SetFlow, sample: TokenSample) -> None:
    batch = TrainingSet(flow, sample, num_sets=len(sample), seed=1)(0)
    assert torch.allclose(batch.x.mean(dim=0), torch.zeros(3), atol=0.1)
    assert torch.allclose(batch.x.std(dim=0), torch.ones(3), atol=0.25)
    # the latent says what the carrier's energy is: its first coordinate is the small rest
    carrier = batch.conditions.kind >= len(TYPES)
    assert carrier.sum() == (sample.types == CARRIER).sum()
    assert (batch.conditions.spread[carrier, 0] < 0.3 * batch.conditions.spread[~carrier, 0].median()).all()


def test_coupling_permutes_noise_among_equal_tokens_and_shortens_paths() -> None:
    rng = np.random.default_rng(6)
    index, species = np.repeat([0, 1, 2, 3], [30, 2, 20, 6]), np.repeat([4, 7, 4, 5, 9], [30, 2, 12, 8, 6])
    mass = np.where(species == 9, rng.uniform(0.7, 0.8, 58), 0.1).astype(np.float32)
    carrier = np.arange(58) == 51
    x, noise = (rng.normal(size=(58, 3)).astype(np.float32) for _ in range(2))
    paired = couple(noise, x, index, species, carrier, mass)
    for start, end in ((0, 30), (30, 32), (32, 44), (44, 51)):
        assert np.array_equal(np.sort(paired[start:end], axis=0), np.sort(noise[start:end], axis=0))
        assert len(np.unique(paired[start:end], axis=0)) == end - start
    # carriers and tokens with masses of their own keep their noise: it must not depend on what is given
    assert np.array_equal(paired[51:], noise[51:])
    before, after = (((n - x)[:51] ** 2).sum() for n in (noise, paired))
    assert after < 0.5 * before
    pair = slice(30, 32)
    assert ((paired - x)[pair] ** 2).sum() <= ((noise[pair][::-1] - x[pair]) ** 2).sum() + 1e-5


def test_tokens_have_the_latents_total_and_their_masses(flow: SetFlow, sample: TokenSample) -> None:
    latent = Latent.of(sample)
    p4 = sampled(flow, sample, latent, 7)
    total = np.add.reduceat(p4, sample.offsets[:-1], axis=0)
    assert (np.abs(total - latent.total) / latent.total[:, :1]).max() < 1e-9
    assert (np.abs(mass_squared(p4) - sample.mass**2) < 1e-9 * p4[:, 0] ** 2 + 1e-9).all()
    assert (p4[:, 3] > 0).mean() > 0.999


def test_turning_the_latent_turns_the_set(flow: SetFlow, sample: TokenSample) -> None:
    latent = Latent.of(sample)
    c, s = np.cos(1.1), np.sin(1.1)
    turn = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1.0]])
    straight = sampled(flow, sample, latent, 8)
    turned = sampled(flow, sample, replace(latent, total=latent.total @ turn.T), 8)
    assert (np.abs(straight @ turn.T - turned) / straight[:, :1]).max() < 1e-3
    given = given_of(sample)
    total = torch.from_numpy(latent.total @ turn.T)
    torch.testing.assert_close(replace(given, total=total).context(), given.context())


def test_results_do_not_depend_on_the_batches(flow: SetFlow, sample: TokenSample) -> None:
    latent = Latent.of(sample)
    first = sampled(flow, sample, latent, 1)
    flow.config = replace(flow.config, batch_tokens=100)
    np.testing.assert_allclose(sampled(flow, sample, latent, 1), first, rtol=1e-2, atol=1e-3 * first[:, 0].max())


def test_same_seed_same_hadrons(model: PrimaryFlow) -> None:
    first, second, third = (model.sample(PARTONS, rng=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.p4, second.p4) and np.array_equal(first.pdg_id, second.pdg_id)
    assert first.p4.shape != third.p4.shape or not np.allclose(first.p4, third.p4)
    assert len(first) == 5 and np.isfinite(first.p4).all()
    primary = model.primary(PARTONS, rng=1)
    assert set(primary.pdg_id) <= set(IDS) and len(primary.pdg_id) < len(first.pdg_id)


def test_parton_outside_the_domain_is_refused(model: PrimaryFlow) -> None:
    soft = Partons.from_pt_eta_phi(np.array([21]), np.array([3.0]), np.zeros(1), np.zeros(1))
    with pytest.raises(OutOfDomain, match="pT = 3 GeV"):
        model.sample(soft, rng=1)
    with pytest.raises(OutOfDomain, match="pT = 3 GeV"):
        model.draft(soft, rng=1)


def test_card_and_weights_round_trip(model: PrimaryFlow, tmp_path: Path) -> None:
    card, weights = cards.load(model.save(tmp_path, version="1", training={"seed": 1}))
    loaded = PrimaryFlow.from_card(card, weights)
    assert loaded.flow.config == model.flow.config
    for name, value in model.state_dict().items():
        rounding = value.abs().amax() / 250 if name.startswith("flow.network") else 1e-6
        assert torch.allclose(loaded.state_dict()[name].double(), value.double(), rtol=1e-3, atol=float(rounding)), name
    first, second = (PrimaryFlow.from_card(card, weights).sample(PARTONS, rng=1) for _ in range(2))
    assert np.array_equal(first.p4, second.p4)
    few = PrimaryFlow.from_card(card, weights, num_inference_steps=2)
    assert few.num_inference_steps == 2
    assert few.config() == loaded.config()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused(model: PrimaryFlow, tmp_path: Path) -> None:
    card, weights = cards.load(model.save(tmp_path, version="1", training={}))
    with pytest.raises(FastsimError, match=r"device 'cuda': torch .* sees no CUDA device; use 'cpu'"):
        PrimaryFlow.from_card(card, weights, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_agrees_with_the_cpu(model: PrimaryFlow) -> None:
    expected = model.primary(PARTONS, rng=1)
    model.move("cuda")
    found = model.primary(PARTONS, rng=1)
    assert np.array_equal(found.pdg_id, expected.pdg_id)
    np.testing.assert_allclose(found.p4, expected.p4, rtol=1e-3, atol=1e-3)


def test_unknown_keys_are_refused(model: PrimaryFlow, tmp_path: Path) -> None:
    values = json.loads(json.dumps(asdict(CONFIG)))
    with pytest.raises(FastsimError, match=r"flow\.network: unknown key 'depth'; known are blocks, "):
        from_dict(FlowConfig, {**values, "network": {"depth": 3}}, "flow")
    training = FlowTraining(CONFIG, loop=TrainingConfig(7))
    assert from_dict(FlowTraining, json.loads(json.dumps(asdict(training))), "flow") == training
    card, weights = cards.load(model.save(tmp_path, version="1", training={}))
    for config in ({**card.config, "depth": 1}, {**card.config, "flow": {**values, "depth": 1}}):
        with pytest.raises(WeightsError, match=r"do not fit: .*unknown key 'depth'"):
            PrimaryFlow.from_card(replace(card, config=config), weights)


def test_training_lowers_the_loss_and_validates(sample: TokenSample, tmp_path: Path) -> None:
    torch.manual_seed(10)
    flow = SetFlow(CONFIG)
    loop = TrainingConfig(num_steps=100, learning_rate=6e-3, warmup=10, ema_decay=0.9, log_every=10)
    training = FlowTraining(CONFIG, batch_size=32, num_validation=20, num_validated=10, loop=loop)
    result = fit_flow(flow, sample, training, 1, tmp_path)
    assert result.step == result.best_step == 100
    rows = [line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines()]
    losses = [float(row[3]) for row in rows if row[2] == "loss"]
    assert np.mean(losses[-3:]) < 0.95 * losses[0]
    assert any(row[2] == "validation/w1" for row in rows)
