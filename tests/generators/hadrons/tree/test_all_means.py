"""Weights of parameters that all nodes see, moved to where mean energies of carriers change as in a sample."""

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
from generators.hadrons.tokens import CONTENT, TokenSample, parton_energy
from generators.hadrons.tree.context import NUM_CONTEXT
from generators.hadrons.tree.model import PrimaryTree
from generators.hadrons.tree.train import TreeTraining, fit_tree, resample

FIRST = ("embed.weight", "pair.trunk.0.weight")


@pytest.fixture(scope="module")
def sample() -> TokenSample:
    """Hemispheres of u, c and b pairs at Monash."""
    num = 6 * BLOCK
    tokens = token_sample(np.tile([4, 5, 2], num // 3 + 1)[:num], np.full(num, 30.0), seed=3)
    return replace(tokens, tune=np.zeros((len(tokens), 2)))


def _model() -> PrimaryTree:
    """Return the default model with weights of aLund, which are zero, and of rFactB for its carriers alone."""
    init = fastsim.load_model("hadron-tree")
    assert isinstance(init, PrimaryTree)
    own = {"splitting": {**init.config()["splitting"], "of_carriers": True}, "tune": ["aLund", "rFactB"]}
    model = PrimaryTree.build("own", init.domain, {**init.config(), **own})
    model.take_weights(init)
    return model


def _energies(sample: TokenSample, flavour: int) -> Floats:
    """Return the energies of hadrons with a quark over those of the partons."""
    energy = np.bincount(sample.index, (CONTENT[sample.species, flavour - 1] != 0) * sample.p4[:, 0], len(sample))
    return np.asarray(energy / parton_energy(sample.flavour, sample.pt))


def test_means_change_as_in_the_sample_in_opposite_ways(sample: TokenSample, tmp_path: Path) -> None:
    """A third of the sets have a tune that tells charm that is harder than drawn, and beauty that is softer."""
    model, before, rng = _model(), _model(), np.random.default_rng(1)
    drawn, sign = resample(before.net, sample, 3), rng.choice([-1.0, 1.0], len(sample))
    for flavour, way in ((4, 1.0), (5, -1.0)):
        harder = way * np.sign(_energies(sample, flavour) - _energies(drawn, flavour))
        told = (sample.flavour == flavour) & (rng.random(len(sample)) < 0.35)
        sign = np.where(told, harder, sign)
    told_sample = replace(sample, tune=np.stack([sign, 0 * sign], -1))
    config = TreeTraining(num_validation=BLOCK, all_means=0.1)
    assert fit_tree(model.net, told_sample, config, 1, tmp_path).step == 1
    for flavour, way in ((4, 1.0), (5, -1.0)):
        rows = sample.flavour == flavour
        draws = [told_sample, *(resample(each.net, told_sample, 7) for each in (before, model))]
        slopes = [float(np.polyfit(sign[rows], _energies(each, flavour)[rows], 1)[0]) for each in draws]
        wanted, without, found = slopes
        assert way * (wanted - without) > 0.01
        assert abs(wanted - found) < 0.6 * abs(wanted - without)
    others = before.net.state_dict()
    for name, weight in model.net.state_dict().items():
        if name in FIRST:
            weight[:, NUM_CONTEXT] = others[name][:, NUM_CONTEXT]
        assert torch.equal(weight, others[name]), name


def test_a_sample_without_tunes_says_nothing(sample: TokenSample, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="all_means: the sample has no pairs of quarks 4 at different tunes"):
        fit_tree(_model().net, sample[: 2 * BLOCK], TreeTraining(num_validation=2, all_means=0.1), 1, tmp_path)
