"""The density of whole events at any tune: sets of a gun, singlets, hemispheres that reconstruction has moved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fastsim
from bench.fine_tuning import write_pairs
from fastsim.errors import FastsimError, InvalidEvent
from fastsim.event import HardEvents, Partons
from fastsim.sources.hadrons import PartonPairs
from generators.hadrons.event_density import EventDensity, checked_model
from generators.hadrons.likelihood import tokens_of_pairs, with_carriers
from generators.hadrons.primary import particles_of_pairs
from generators.hadrons.step import CARRIER, DRAWN, Hadronize
from generators.hadrons.tree.density import TreeDensity
from generators.hadrons.tree.model import PrimaryTree
from tests.helpers.tunes import tilted

ZERO, OTHER = np.zeros(2), np.array([0.2, -0.15])


@pytest.fixture(scope="module")
def model() -> PrimaryTree:
    return tilted(["aLund", "alphaS"], size=0.08)


def shot(model: PrimaryTree, num: int, seed: int) -> HardEvents:
    """Sets of a gun as events."""
    rng = np.random.default_rng(seed)
    ids, pt = rng.choice([2, -5, 21], num), rng.uniform(20, 60, num)
    partons = Partons.from_pt_eta_phi(ids, pt, np.zeros(num), rng.uniform(-3, 3, num))
    return HardEvents.of_partons(partons, model.sample(partons, rng=seed))


def test_sets_of_a_gun_have_the_likelihood_of_the_model(model: PrimaryTree) -> None:
    events = shot(model, 30, 1)
    assert events.particles is not None
    density = EventDensity.of(model, events)
    partons = Partons(events.pdg_id, events.p4)
    for vector, tune in ((ZERO, "Monash"), (OTHER, model.at("aLund=0.76 alphaS=0.135"))):
        source = model if tune == "Monash" else tune
        assert isinstance(source, PrimaryTree)
        expected = source.log_likelihood(partons, events.particles)
        np.testing.assert_allclose(density(source.vector), expected, atol=2e-3)
        assert source.vector == pytest.approx(vector)
    # what is unlikely at one tune may be left out
    few = density.likely(ZERO)
    np.testing.assert_allclose(few(ZERO), density(ZERO), atol=0.02)
    np.testing.assert_allclose(few(OTHER) - few(ZERO), density(OTHER) - density(ZERO), atol=0.02)
    np.testing.assert_allclose(density.block(10, 20)(OTHER), density(OTHER)[10:20], atol=1e-4)
    value, score = density.gradient(ZERO)
    np.testing.assert_allclose(value, density(ZERO), atol=1e-3)
    step, slack = np.array([0.005, 0.0]), 0.05 * np.abs(score[:, 0]).max()
    sides = np.stack([density(step) - density(ZERO), density(ZERO) - density(-step)]) / 0.005
    # where the density has a kink, its slopes on the two sides differ, and the score is one of them or between
    assert (np.ptp(sides, axis=0) < slack).mean() > 0.8
    assert (score[:, 0] > sides.min(0) - slack).all() and (score[:, 0] < sides.max(0) + slack).all()


def test_one_reading_of_a_set_gives_weights_of_the_right_mean(model: PrimaryTree) -> None:
    """Readings are as frequent as they are likely, and so the ratio of one has the ratio of the sums as its mean."""
    num = 40
    ids = np.array([2, 2, -1, 3, -2, 2, 1, 21])
    partons = Partons.from_pt_eta_phi(ids, np.full(len(ids), 45.0), np.zeros(len(ids)), np.zeros(len(ids)))
    ((_, density),) = EventDensity.of(model, HardEvents.of_partons(partons, model.sample(partons, rng=5))).parts
    summed, rng, ratios = density(ZERO), np.random.default_rng(3), []
    for _ in range(num):
        one, value = density.drawn(ZERO, rng)
        assert (value <= summed + 1e-3).all()
        ratios.append(np.exp(one(OTHER) - value))
    np.testing.assert_allclose(one(ZERO), value, atol=1e-3)
    again = density.log_ratios(ZERO, [OTHER, ZERO], np.random.default_rng(3))
    np.testing.assert_allclose(np.exp(again[0]), ratios[0], rtol=1e-3)
    np.testing.assert_allclose(again[1], 0, atol=1e-4)
    np.testing.assert_allclose(one.log_ratios(ZERO, [OTHER], rng)[0], one(OTHER) - one(ZERO), atol=1e-3)
    found = np.array(ratios)
    spread = found.std(axis=0)
    assert (spread > 1e-3).sum() >= 3  # light quarks have several readings
    pulls = (found.mean(axis=0) - np.exp(density(OTHER) - summed)) / (spread / num**0.5 + 2e-3)
    assert np.abs(pulls).max() < 4.5
    assert spread[ids == 21] == pytest.approx(0, abs=1e-6)  # which nothing carries


def test_singlets_know_their_carriers_or_sum_over_them(model: PrimaryTree) -> None:
    num = 20
    ids = np.resize([[2, -2], [5, -5], [21, 21]], (num, 2))
    pairs = PartonPairs(ids, np.full(num, 91.2))
    tokens = model.draw_pair_tokens(pairs, np.random.default_rng(3))
    tokens = tokens[np.arange(2 * num).reshape(2, -1).T.ravel()]
    known = EventDensity.of_tokens(model, tokens, pairs=True)(OTHER)
    found, whole = tokens_of_pairs(pairs, particles_of_pairs(tokens[np.r_[0 : 2 * num : 2, 1 : 2 * num : 2]], pairs))
    assert whole.all()
    copies, source = with_carriers(found)
    summed = TreeDensity(model, copies, pairs=True, source=source)(OTHER)
    # a token that is drawn beyond its hemisphere is taken for one of the other
    inside = np.bincount(tokens.index[tokens.p4[:, 3] <= 0], minlength=2 * num).reshape(-1, 2).sum(axis=1) == 0
    assert inside.sum() > 0.8 * num and (known <= summed + 5e-3)[inside].all()
    gluons = np.flatnonzero(inside & (ids[:, 0] == 21))  # which nothing carries
    np.testing.assert_allclose(known[gluons], summed[gluons], atol=5e-3)
    # the sum over all pairs of carriers, one after the other
    one = slice(0, 2)
    mine, at = with_carriers(found[one])
    first, second = np.flatnonzero(at == 0), np.flatnonzero(at == 1)
    every = mine[np.array([[i, j] for i in first for j in second]).ravel()]
    values = TreeDensity(model, every, pairs=True)(OTHER)
    assert summed[0] == pytest.approx(np.logaddexp.reduce(values), abs=5e-3)


def test_hemispheres_are_moved_back_and_weights_have_mean_one(model: PrimaryTree, examples: Path) -> None:
    partons = fastsim.read(examples / "pp_dijet.lhe.gz", num_events=60)
    assert isinstance(partons, HardEvents)
    events = Hadronize(model, fastsim.load_model("pythia")).step(partons, rng=np.random.default_rng(5))
    assert set(DRAWN) <= set(events.hard_columns)
    density = EventDensity.of(model, events)
    assert not density.void.any() and (density.elsewhere <= 2).all()
    near = np.array([0.03, 0.0])
    ratio = np.exp(density(near) - density(ZERO))
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(len(ratio))
    bare = replace(events, hard_columns={k: v for k, v in events.hard_columns.items() if k not in DRAWN})
    with pytest.raises(InvalidEvent, match="needs the columns drawn_e, drawn_px"):
        EventDensity.of(model, bare)


@pytest.mark.parametrize("singlets", [False, True])
def test_events_say_which_hadrons_carry_the_quarks(
    model: PrimaryTree, examples: Path, tmp_path: Path, singlets: bool
) -> None:
    """The shares of the recorded readings in the sums over all are on average those of readings drawn by shares."""
    path = examples / "pp_dijet.lhe.gz"
    if singlets:
        path = tmp_path / "ee.lhe"
        write_pairs(path, 120, 3)
    done = tmp_path / "done.h5"
    fastsim.generate(path, done, model=model, seed=4, event="hard", num_events=120)
    events = fastsim.read(done, history=True)
    assert isinstance(events, HardEvents)
    bare = replace(events, hard_columns={k: v for k, v in events.hard_columns.items() if k != CARRIER})
    found, expected, variance = [], [], []
    for (_, one), (_, every) in zip(
        EventDensity.of(model, events).parts, EventDensity.of(model, bare).parts, strict=True
    ):
        group = len(np.unique(every._source)) // len(every)
        shares = [np.bincount(every._source, every._shares(every._values(ZERO)) ** k) for k in (2, 3)]
        mean, square = (each.reshape(-1, group).prod(axis=1) for each in shares)
        # a hadron that is drawn beyond its hemisphere may be the carrier of the other: that is not known
        single = (np.bincount(one._source) == 1).reshape(-1, group).all(axis=1)
        assert single.mean() > 0.9 and len(every._source) > 1.5 * len(one._source)
        found.append(np.exp(one(ZERO) - every(ZERO))[single])
        expected.append(mean[single])
        variance.append((square - mean**2)[single])
    share, error = np.concatenate(found), np.sqrt(np.concatenate(variance).sum())
    assert (share < 1.01).all() and 0.2 < np.concatenate(expected).mean() < 0.95
    assert abs(share.sum() - np.concatenate(expected).sum()) < 4 * error


def test_only_models_of_tunes_have_other_tunes() -> None:
    with pytest.raises(FastsimError, match="hadron-tree-tunes has"):
        checked_model(fastsim.load_model("hadron-tree-small"))
    with pytest.raises(FastsimError, match="'pythia' has no density"):
        checked_model(fastsim.load_model("pythia"))
