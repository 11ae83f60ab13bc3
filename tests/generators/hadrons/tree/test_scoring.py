"""Weights of parameters that act on carriers alone, fitted to sets on which something acts strongly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import fastsim
from fastsim.errors import InvalidValue
from fastsim.event import Floats
from generators.hadrons.gun import BLOCK, token_sample
from generators.hadrons.scoring import Scoring
from generators.hadrons.tokens import CONTENT, TokenSample, parton_energy
from generators.hadrons.tree.context import NUM_CONTEXT
from generators.hadrons.tree.model import PrimaryTree, make_net
from generators.hadrons.tree.scoring import score_tunes
from generators.hadrons.tree.train import TreeTraining, fit_tree, resample

HARD = ("StringZ:aLund = 0.3", "StringZ:bLund = 1.4", "StringZ:rFactB = 0.6")
SOFT = ("StringZ:aLund = 1.1", "StringZ:bLund = 0.6", "StringZ:rFactB = 1.1")


@pytest.fixture(scope="module")
def sample() -> TokenSample:
    """Hemispheres of b pairs whose beauty hadrons are hard where their rFactB is -1, and soft where it is 1."""
    num = 6 * BLOCK
    tokens = token_sample(np.full(num, 5), np.full(num, 30.0), seed=3, settings=[HARD, SOFT] * 3)
    tune = np.tile(np.repeat([-1.0, 1.0], 2 * BLOCK), 3)[:, None]
    return replace(tokens, tune=tune)


def _model() -> PrimaryTree:
    """Return the default model with weights of rFactB, which are zero."""
    init = fastsim.load_model("hadron-tree")
    assert isinstance(init, PrimaryTree)
    own = {"splitting": {**init.config()["splitting"], "of_carriers": True}, "tune": ["rFactB"]}
    model = PrimaryTree.build("own", init.domain, {**init.config(), **own})
    model.take_weights(init)
    return model


def test_what_the_parameter_does_is_learned_and_nothing_else_changes(sample: TokenSample) -> None:
    model = _model()
    training, held_out = sample[: 8 * BLOCK], sample[8 * BLOCK :]
    held_out = held_out[np.flatnonzero(held_out.counts > 1)]
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    monash = model.log_density(held_out, held_out.tune)
    result = score_tunes(model.net, training, held_out, Scoring(rounds=2, ridges=(0.1, 1.0)))
    gain = model.log_density(held_out, held_out.tune) - monash
    assert result.step >= 1
    assert gain.mean() > 5 * gain.std() / len(gain) ** 0.5
    np.testing.assert_array_equal(model.log_density(held_out, 0 * held_out.tune), monash)
    for name, weight in model.state_dict().items():
        if name in ("net.embed.weight", "net.pair.trunk.0.weight"):
            assert (weight[:, NUM_CONTEXT] != before[name][:, NUM_CONTEXT]).any()
            weight[:, NUM_CONTEXT] = before[name][:, NUM_CONTEXT]
        assert torch.equal(weight, before[name]), name


def test_a_step_that_does_not_help_held_out_sets_is_not_made(sample: TokenSample) -> None:
    """Half of the sets are said to be of the other tune: there is nothing to learn."""
    model = _model()
    tune = np.where(np.arange(len(sample)) % 4 < 2, 1.0, -1.0)[:, None]
    mixed = replace(sample, tune=tune)
    result = score_tunes(model.net, mixed[:100], mixed[100:], Scoring(rounds=2, ridges=(0.01,)))
    assert result.step == 0 and not model.net.embed.weight[:, NUM_CONTEXT].any()


def test_without_such_parameters_there_is_nothing_to_fit(sample: TokenSample, tmp_path: Path) -> None:
    net, config = make_net({"of_carriers": True}, ("aLund",)), TreeTraining(num_validation=2, scoring=Scoring())
    with pytest.raises(InvalidValue, match="no parameters that act on carriers alone"):
        fit_tree(net, sample[:4], config, 1, tmp_path)


def test_means_of_carriers_change_as_in_the_sample(sample: TokenSample, tmp_path: Path) -> None:
    """A third of the sets have a tune that tells carriers harder than drawn ones from softer."""
    model, before = _model(), _model()
    harder = np.sign(_energies(sample) - _energies(resample(before.net, sample, 3)))
    rng = np.random.default_rng(1)
    sign = np.where(rng.random(len(harder)) < 0.35, harder, rng.choice([-1.0, 1.0], len(harder)))
    sample = replace(sample, tune=sign[:, None])
    config = TreeTraining(num_validation=2 * BLOCK, carrier_means=0.1)
    assert fit_tree(model.net, sample, config, 1, tmp_path).step == 1
    draws = [sample, *(resample(each.net, sample, 7) for each in (before, model))]
    wanted, without, found = (float(np.polyfit(sign, _energies(each), 1)[0]) for each in draws)
    assert wanted - without > 0.01
    assert abs(wanted - found) < 0.6 * (wanted - without)
    others = before.net.state_dict()
    for name, weight in model.net.state_dict().items():
        if name in ("embed.weight", "pair.trunk.0.weight"):
            weight[:, NUM_CONTEXT] = others[name][:, NUM_CONTEXT]
        assert torch.equal(weight, others[name]), name


def _energies(sample: TokenSample) -> Floats:
    """Return the energies of beauty hadrons over those of the partons."""
    energy = np.bincount(sample.index, (CONTENT[sample.species, 4] != 0) * sample.p4[:, 0], len(sample))
    return np.asarray(energy / parton_energy(sample.flavour, sample.pt))


def test_means_need_parameters_that_act_on_carriers_and_carriers(sample: TokenSample, tmp_path: Path) -> None:
    config = TreeTraining(num_validation=2, carrier_means=0.1)
    with pytest.raises(InvalidValue, match="no parameters that act on carriers alone"):
        fit_tree(make_net({}, ("aLund",)), sample[:4], config, 1, tmp_path)
    with pytest.raises(InvalidValue, match="the sample has no pairs of quarks 5 at different tunes"):
        fit_tree(_model().net, sample[: 2 * BLOCK], config, 1, tmp_path)
