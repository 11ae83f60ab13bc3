"""Latents of tunes: what acts on one quark's hadron is an input for its flavour alone; weights fitted at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import fastsim
from fastsim.errors import InvalidValue
from generators.hadrons.gun import BLOCK, token_sample
from generators.hadrons.latent import NUM_CONDITION
from generators.hadrons.latent_scoring import score_latent
from generators.hadrons.latent_training import LatentRows
from generators.hadrons.scoring import Scoring
from generators.hadrons.tokens import TokenSample
from generators.hadrons.tree.density import TreeDensity
from generators.hadrons.tree.model import PrimaryTree

NAMES = ["aLund", "rFactB"]
HARD = ("StringZ:aLund = 0.3", "StringZ:bLund = 1.4", "StringZ:rFactB = 0.6")
SOFT = ("StringZ:aLund = 1.1", "StringZ:bLund = 0.6", "StringZ:rFactB = 1.1")
FIRST = {"first", "size.0.weight", "carrier.0.weight", "composition.0.weight"}


@pytest.fixture(scope="module")
def sample() -> TokenSample:
    """Hemispheres of b pairs with few hadrons where their rFactB is -1, and many where it is 1."""
    num = 6 * BLOCK
    tokens = token_sample(np.full(num, 5), np.full(num, 30.0), seed=3, settings=[HARD, SOFT] * 3)
    tune = np.tile(np.repeat([-1.0, 1.0], 2 * BLOCK), 3)[:, None]
    return replace(tokens, tune=np.concatenate([0 * tune, tune], 1))


def _model() -> PrimaryTree:
    """Return the default model with weights of two parameters, which are zero."""
    init = fastsim.load_model("hadron-tree")
    assert isinstance(init, PrimaryTree)
    own = {"latent": {**init.config()["latent"], "of_carriers": True}, "tune": NAMES}
    model = PrimaryTree.build("own", init.domain, {**init.config(), **own})
    model.take_weights(init)
    return model.eval()


def _scored(model: PrimaryTree, sample: TokenSample, ridges: tuple[float, ...]) -> int:
    rows, num = LatentRows(model.latent_model, sample, 1), 8 * BLOCK
    chosen = torch.arange(len(sample))
    return score_latent(model.latent_model, rows, chosen[:num], chosen[num:], Scoring(2, ridges), 1).step


def test_what_parameters_do_is_learned_and_nothing_else_changes(sample: TokenSample) -> None:
    model, held_out = _model(), sample[8 * BLOCK :]
    held_out = held_out[np.flatnonzero(held_out.counts > 1)]
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    monash = model.log_density(held_out, 0 * held_out.tune)
    assert _scored(model, sample, (0.1, 1.0, 10.0)) >= 1
    gain = model.log_density(held_out, held_out.tune) - monash
    assert gain.mean() > 5 * gain.std() / len(gain) ** 0.5
    np.testing.assert_array_equal(model.log_density(held_out, 0 * held_out.tune), monash)
    own = {f"latent_model.count_model.{name}" for name in FIRST} | {"latent_model.context.0.weight"}
    for name, weight in model.state_dict().items():
        if name in own:
            changed = (weight != before[name]).nonzero()[:, 1].unique().tolist()
            assert changed == [NUM_CONDITION + 1], name  # aLund is zero everywhere
        else:
            assert torch.equal(weight, before[name]), name


def test_a_step_that_does_not_help_held_out_sets_is_not_made(sample: TokenSample) -> None:
    """Half of the sets are said to be of the other tune: there is nothing to learn."""
    model = _model()
    tune = np.where(np.arange(len(sample)) % 4 < 2, 1.0, -1.0)[:, None]
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    assert _scored(model, replace(sample, tune=np.concatenate([tune, tune], 1)), (1e-4,)) == 0
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_a_latent_without_tunes_has_nothing_to_fit(sample: TokenSample) -> None:
    model = fastsim.load_model("hadron-tree")
    assert isinstance(model, PrimaryTree)
    with pytest.raises(InvalidValue, match="scoring: the model depends on no tune"):
        _scored(model, sample, (1.0,))


def test_gates() -> None:
    """Of mixed flavours rFactB moves b alone: densities of one and of many tunes, pairs of them, and draws."""
    model, generator = _model(), torch.Generator().manual_seed(1)
    state = model.state_dict()
    names = *(f"latent_model.count_model.{name}" for name in FIRST), "latent_model.context.0.weight"
    weights = [state[name].narrow(1, NUM_CONDITION, 2) for name in names]
    for own in weights:
        own += 0.05 * torch.randn(own.shape, generator=generator)
    model.eval()
    sets = token_sample(np.array([2, 5, 21, 4] * 6), np.full(24, 45.6), seed=3)
    tunes = np.array([[0.0, 0.0], [0.0, 0.9], [0.7, 0.9]])
    for pairs in (False, True):
        density = TreeDensity(model, sets, pairs=pairs)
        each = density.at(tunes)
        np.testing.assert_allclose(each, [density(np.tile(t, (len(density), 1))) for t in tunes], atol=2e-4)
        beauty = (sets.flavour == 5)[:: 1 + pairs]
        np.testing.assert_array_equal(each[0, ~beauty], each[1, ~beauty])
        assert (each[0, beauty] != each[1, beauty]).all() and (each[1] != each[2]).all()
    for own in weights:  # few sets of tokens change with few weights
        own *= 20
    sampler = model.latent_sampler
    for rows, changed in ((sets.flavour != 5, False), (sets.flavour == 5, True)):  # each with random numbers of its own
        given = sets.flavour[rows], sets.pt[rows], sets.scale[rows]
        one, other = (
            sampler.sample(*given, np.random.default_rng(1), np.tile(tune, (int(rows.sum()), 1)), extras=False)
            for tune in tunes[:2]
        )
        assert (one.counts != other.counts).any() == changed
