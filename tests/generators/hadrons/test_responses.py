"""What parameters of tunes do to counts directly: features, densities and draws, and a fit to sets of Pythia."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import fastsim
from fastsim.errors import InvalidValue
from generators.hadrons.count_sampler import CountSampler
from generators.hadrons.counts import CountModel
from generators.hadrons.gun import BLOCK, token_sample
from generators.hadrons.latent import NUM_CONDITION
from generators.hadrons.latent_responses import fit_responses
from generators.hadrons.latent_training import LatentRows
from generators.hadrons.responses import num_responses, responses, stages
from generators.hadrons.scoring import Scoring
from generators.hadrons.tokens import SPECIES, TokenSample
from generators.hadrons.tree.density import TreeDensity
from generators.hadrons.tree.model import PrimaryTree
from generators.nn.compiled_network import weights_of

NAMES = ["aLund", "StoUD"]
TUNE = slice(NUM_CONDITION, NUM_CONDITION + len(NAMES))
FEW = ("StringFlav:probStoUD = 0.1",)
MANY = ("StringFlav:probStoUD = 0.4",)
OWN = "latent_model.count_model.responses."


@pytest.fixture(scope="module")
def sample() -> TokenSample:
    """Hemispheres of u and b pairs with few strange hadrons where their StoUD is -1, and many where it is 1."""
    num = 6 * BLOCK
    tokens = token_sample(np.tile([2, 5], num // 2), np.full(num, 40.0), seed=3, settings=[FEW, MANY] * 3)
    tune = np.tile(np.repeat([-1.0, 1.0], 2 * BLOCK), 3)[:, None]
    return replace(tokens, tune=np.concatenate([0 * tune, tune], 1))


def _model() -> PrimaryTree:
    """Return the default model with responses to two parameters, which are zero."""
    init = fastsim.load_model("hadron-tree")
    assert isinstance(init, PrimaryTree)
    own = {"latent": {**init.config()["latent"], "responses": True}, "tune": NAMES}
    model = PrimaryTree.build("own", init.domain, {**init.config(), **own})
    model.take_weights(init)
    return model.eval()


def _fitted(model: PrimaryTree, sample: TokenSample) -> int:
    rows, num = LatentRows(model.latent_model, sample, 1), 8 * BLOCK
    chosen = torch.arange(len(sample))
    config = Scoring(2, (0.01, 0.1, 1.0))
    return fit_responses(model.latent_model, rows, chosen[:num], chosen[num:], config, 1).step


def test_features_vanish_at_monash_and_are_the_same_with_and_without_torch() -> None:
    condition = np.random.default_rng(1).normal(size=(7, NUM_CONDITION + 3)).astype(np.float32)
    tune = slice(NUM_CONDITION, NUM_CONDITION + 3)
    features = responses(condition, tune)
    assert features.shape == (7, num_responses(3)) and stages(3)[-1] == num_responses(3)
    np.testing.assert_allclose(responses(torch.from_numpy(condition), tune).numpy(), features, rtol=1e-6)
    np.testing.assert_array_equal(features[:, :3], condition[:, tune])
    np.testing.assert_allclose(features[:, -1], condition[:, NUM_CONDITION + 2] ** 2, rtol=1e-6)
    condition[:, tune] = 0.0
    assert not responses(condition, tune).any()


def test_strangeness_is_learned_and_nothing_else_changes(sample: TokenSample) -> None:
    model, held_out = _model(), sample[8 * BLOCK :]
    held_out = held_out[np.flatnonzero(held_out.counts > 1)]
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    monash = model.log_density(held_out, 0 * held_out.tune)
    assert _fitted(model, sample) >= 1
    gain = model.log_density(held_out, held_out.tune) - monash
    assert gain.mean() > 5 * gain.std() / len(gain) ** 0.5
    np.testing.assert_array_equal(model.log_density(held_out, 0 * held_out.tune), monash)
    changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
    assert f"{OWN}types" in changed and all(name.startswith(OWN) for name in changed)
    strange = np.isin(np.abs(SPECIES), (311, 321))
    given = np.full(4000, 2), np.full(4000, 40.0), np.full(4000, 40.0)
    made = [
        model.latent_sampler.sample(*given, np.random.default_rng(1), np.tile([0.0, x], (4000, 1)), extras=False)
        for x in (-1.0, 1.0)
    ]
    few, many = (float((each.counts @ strange).mean()) for each in made)
    kaons, up = sample.species_counts() @ strange, sample.flavour == 2
    few_of_pythia, many_of_pythia = (kaons[up & (sample.tune[:, 1] == x)].mean() for x in (-1.0, 1.0))
    # of rare types few sets say little
    assert 0.3 < np.log(many / few) / np.log(many_of_pythia / few_of_pythia) < 1.2


def test_densities_of_many_tunes_are_those_of_each(sample: TokenSample) -> None:
    model, generator = _model(), torch.Generator().manual_seed(1)
    for name, weight in model.state_dict().items():
        if name.startswith(OWN) and weight.is_floating_point():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    model.eval()
    tunes = np.array([[0.0, 0.0], [0.0, 0.9], [0.7, 0.9]])
    for pairs in (False, True):
        density = TreeDensity(model, sample[:24], pairs=pairs)
        np.testing.assert_allclose(
            density.at(tunes), [density(np.tile(t, (len(density), 1))) for t in tunes], atol=2e-4
        )


def test_draws_follow_the_density() -> None:
    """Mean sizes, and carriers, of a small network whose responses are large."""
    torch.manual_seed(3)
    model = CountModel(
        NUM_CONDITION + 13, width=8, max_size=30, max_pions=9, max_others=5, tune=(TUNE.start, TUNE.stop)
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    model.eval()
    num = 20_000
    condition = torch.zeros(num, NUM_CONDITION + 13)
    condition[:, 1], condition[:, TUNE] = 1.0, torch.tensor([0.8, -0.6])
    sampler, rng = CountSampler(weights_of(model)), np.random.default_rng(5)
    size, carrier = sampler.first(condition.numpy(), rng)
    expected = float(model.mean_size(condition[:1]))
    monash = float(model.mean_size(torch.where(torch.arange(condition.shape[1]) < NUM_CONDITION, condition[:1], 0.0)))
    assert abs(size.mean() - expected) < 5 * size.std() / num**0.5 and abs(expected - monash) > 0.1
    counts, _ = sampler.trial(condition.numpy(), size, carrier, rng, None)
    with torch.no_grad():
        free = torch.zeros(num, 8), torch.zeros(num, dtype=torch.bool)
        drawn = (torch.from_numpy(counts), torch.from_numpy(carrier))
        own = model.log_prob(condition, *drawn, *free)
        scaled: dict[str, torch.Tensor] = {
            k: 1.1 * v if k.startswith("responses.") and v.is_floating_point() else v
            for k, v in model.state_dict().items()
        }
        model.load_state_dict(scaled)
        other = model.log_prob(condition, *drawn, *free)
    ratio = (other - own).exp().double()  # of one under what it was drawn from
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / num**0.5 and ratio.std() > 0.02


def test_a_latent_without_responses_has_nothing_to_fit(sample: TokenSample) -> None:
    model = fastsim.load_model("hadron-tree")
    assert isinstance(model, PrimaryTree)
    with pytest.raises(InvalidValue, match="responses: the model depends on no tune"):
        _fitted(model, sample)
