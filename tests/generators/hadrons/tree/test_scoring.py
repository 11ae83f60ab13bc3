"""Weights of parameters that act on carriers alone, fitted to sets on which something acts strongly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import fastsim
from fastsim.errors import InvalidValue
from generators.hadrons.gun import BLOCK, token_sample
from generators.hadrons.scoring import Scoring
from generators.hadrons.tokens import TokenSample
from generators.hadrons.tree.model import PrimaryTree, make_net
from generators.hadrons.tree.scoring import score_tunes
from generators.hadrons.tree.splittings import NUM_CONTEXT
from generators.hadrons.tree.train import TreeTraining, fit_tree

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
