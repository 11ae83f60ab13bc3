"""A tree as a source alone draws what the model draws, and does without torch where sets are few."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import fastsim
from fastsim import registry
from fastsim.errors import WeightsError
from fastsim.event import Partons
from fastsim.sources import cards
from fastsim.sources.hadrons import PartonPairs
from generators.hadrons.tree.model import PrimaryTree
from generators.hadrons.tree.source import TreeSource

EXAMPLE = Path("data/examples/pp_dijet.lhe.gz")
RUN = """
import sys
from fastsim import generate
generate(sys.argv[1], sys.argv[2], seed=1, num_events=3, threads=int(sys.argv[3]), event="hard")
print("torch" in sys.modules)
"""


def _partons(num: int) -> Partons:
    ids = np.resize([1, -2, 4, 5, 21], num)
    return Partons.from_pt_eta_phi(ids, np.linspace(6.0, 30.0, num), np.linspace(-2, 2, num), np.zeros(num))


@pytest.mark.parametrize("num", [5, 1025])
def test_sets_are_those_of_the_model(num: int) -> None:
    """Few sets are drawn by compiled networks, many by torch."""
    source, model = registry.load_for_run("hadron-tree"), fastsim.load_model("hadron-tree")
    assert isinstance(source, TreeSource) and isinstance(model, PrimaryTree)
    assert (source.name, source.domain, source.provenance) == (model.name, model.domain, model.provenance)
    given = _partons(num)
    assert source.sample(given, rng=1) == model.sample(given, rng=1)


def test_singlets_and_tunes_are_those_of_the_model() -> None:
    source = registry.load_for_run("hadron-tree-tunes", tune="aLund=0.5 rFactB=0.7")
    model = fastsim.load_model("hadron-tree-tunes", tune="aLund=0.5 rFactB=0.7")
    assert source.provenance == model.provenance
    pairs = PartonPairs(np.array([[2, -2], [21, 21], [-5, 5]]), np.array([91.2, 60.0, 91.2]))
    one, other = (each.draw_pairs(pairs, np.random.default_rng(3)) for each in (source, model))
    assert one == other
    monash = registry.load_for_run("hadron-tree-tunes").draw_pairs(pairs, np.random.default_rng(3))
    assert one != monash


def test_a_copy_for_another_process_draws_the_same() -> None:
    source, given = registry.load_for_run("hadron-tree-small"), _partons(20)
    before = source.sample(given, rng=2)
    assert pickle.loads(pickle.dumps(source)).sample(given, rng=2) == before


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_of_few_events_loads_no_torch(threads: int, tmp_path: Path) -> None:
    words = [sys.executable, "-c", RUN, str(EXAMPLE), str(tmp_path / "events.hepmc3"), str(threads)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_weights_that_do_not_fit_their_card_are_refused() -> None:
    card, weights = cards.load("hadron-tree")
    wrong = replace(card, config={**card.config, "tune": ["aLund"]})
    with pytest.raises(WeightsError, match="weights and card of hadron-tree do not fit"):
        TreeSource.from_card(wrong, weights)


def test_other_devices_are_refused_as_of_the_model() -> None:
    with pytest.raises(fastsim.FastsimError, match="cuda"):
        registry.load_for_run("hadron-tree", device="cuda")


def test_weights_that_change_are_followed() -> None:
    model, given = fastsim.load_model("hadron-tree-small"), _partons(10)
    assert isinstance(model, PrimaryTree)
    before = model.sample(given, rng=1)
    assert model.sample(given, rng=1) == before
    with torch.no_grad():
        model.latent_model.count_model.size.get_parameter("4.bias")[0] += 1.0
    assert model.sample(given, rng=1).counts.sum() > before.counts.sum()
