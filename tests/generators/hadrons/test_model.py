"""The model of primary hadrons: exact singlets, latents, likelihood, physics of the shipped weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import fastsim
from fastsim.errors import FastsimError
from fastsim.event import kinematics
from fastsim.sources.domains import QUARKS_AND_GLUONS, Domain
from fastsim.sources.hadrons import PartonPairs
from generators.hadrons.gun import token_sample
from generators.hadrons.latent import Latent, side_of, tokens_of, total_momentum
from generators.hadrons.latent_model import LatentModel
from generators.hadrons.tokens import CONTENT, MIN_MASS, SPECIES, TokenSample, parton_content, species_index
from generators.hadrons.tree.model import PrimaryTree
from generators.reference.pythia import PythiaGun
from tests.helpers.partons import spread

PAIRS = [((2, -2), 91.2), ((-1, 1), 11.0), ((21, 21), 125.0), ((4, -3), 80.4), ((-5, 5), 125.0), ((3, -3), 3000.0)]


@pytest.fixture(scope="module")
def model() -> PrimaryTree:
    loaded = fastsim.load_model("hadron-tree")
    assert isinstance(loaded, PrimaryTree)
    return loaded


@pytest.fixture(scope="module")
def sample() -> TokenSample:
    flavour = np.array([1, 2, 3, 4, 5, 21] * 60)
    return token_sample(flavour, np.geomspace(6.0, 500.0, len(flavour)), seed=5)


@pytest.mark.parametrize(("ids", "mass"), PAIRS)
def test_singlets_are_exact(model: PrimaryTree, ids: tuple[int, int], mass: float) -> None:
    size = 40
    hadrons = model.draw_pairs(PartonPairs(np.array([ids] * size), np.full(size, mass)), np.random.default_rng(1))
    np.testing.assert_allclose(hadrons.sums(), [[mass, 0, 0, 0]] * size, atol=1e-9 * mass)
    species = species_index(hadrons.pdg_id)
    content = np.stack([np.bincount(hadrons.index, CONTENT[species, k], size) for k in range(8)], -1)
    wanted = parton_content(np.array(ids[:1])) + parton_content(np.array(ids[1:]))
    assert (content == wanted).all()
    m = kinematics.mass(hadrons.p4)
    assert (m > MIN_MASS[species] - 1e-6 * hadrons.p4[:, 0] - 1e-9).all()


def test_antiquarks_first_or_second_are_one_distribution(model: PrimaryTree) -> None:
    size = 600
    means = []
    for ids in ((4, -4), (-4, 4)):
        pairs = PartonPairs(np.array([ids] * size), np.full(size, 91.2))
        hadrons = model.draw_pairs(pairs, np.random.default_rng(3))
        # charmed hadrons fly with the charm quark
        charm = hadrons.p4[species_content(hadrons.pdg_id, 3) > 0]
        means.append(charm[:, 3].mean())
    assert means[0] > 5 and means[1] < -5
    assert abs(means[0] + means[1]) < 2.0


def species_content(pdg_id: np.ndarray, quark: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(CONTENT[species_index(pdg_id), quark])


def test_latents_go_round(model: PrimaryTree, sample: TokenSample) -> None:
    latent = Latent.of(sample)
    energy = np.hypot(sample.pt, [{1: 0.33, 2: 0.33, 3: 0.5, 4: 1.5, 5: 4.8, 21: 0.0}[int(f)] for f in sample.flavour])
    least, none = latent.counts @ MIN_MASS, np.zeros(len(sample))
    azimuth = np.arctan2(latent.total[:, 2].copy(), latent.total[:, 1].copy())
    several = sample.counts > 1
    again = total_momentum(latent.features, least, none + np.nan, energy, azimuth, none, none + np.nan)
    np.testing.assert_allclose(again[several], latent.total[several], rtol=2e-4, atol=2e-4)
    tokens = tokens_of(latent, sample.flavour, sample.pt, sample.scale, np.random.default_rng(1))
    assert (tokens.species_counts() == latent.counts).all()
    has = latent.carrier < len(SPECIES)
    assert (tokens.carriers[has] == latent.carrier[has]).all() and (tokens.carriers[~has] == -1).all()
    p = np.linalg.norm(latent.total[:, 1:], axis=1)
    mass = np.sqrt(np.maximum((latent.total[:, 0] - p) * (latent.total[:, 0] + p), 0))
    assert (np.bincount(tokens.index, tokens.mass, len(tokens)) <= mass * (1 + 1e-9) + 1e-9).all()


def test_a_likelihood_prefers_the_right_parton(model: PrimaryTree, sample: TokenSample) -> None:
    rows = np.flatnonzero((sample.counts > 1) & (sample.flavour == 5) & (sample.pt > 20))
    chosen = sample[rows]
    right = model.log_prob(chosen)
    wrong = model.log_prob(type(chosen)(**{**vars(chosen), "flavour": np.full(len(rows), 1)}))
    assert np.isfinite(right).all()
    assert (right > wrong).mean() > 0.9


def test_a_system_too_light_for_its_flavours_is_refused() -> None:
    latent = LatentModel(count_width=8, flow_width=8, max_size=8)
    one = np.array([5])
    with pytest.raises(FastsimError, match="too light for its flavours"):
        latent.sampler.sample_pairs(
            one[:, None].repeat(2, 1),
            np.array([0.1]),
            np.array([0.1]),
            np.array([0.2]),
            np.zeros((1, 8), np.int64),
            np.array([[1, -1]]),
            np.random.default_rng(1),
        )


def test_flows_see_the_opposite_set_in_training_and_in_draws(sample: TokenSample) -> None:
    torch.manual_seed(5)
    model = LatentModel(count_width=8, flow_width=8, max_size=60)
    latent, opposite = Latent.of(sample), np.arange(len(sample)) ^ 1
    side = side_of(latent.content, latent.counts[opposite])
    condition = model.condition(sample.flavour, sample.pt, sample.scale, side=side)
    own, other = torch.from_numpy(latent.counts), torch.from_numpy(latent.counts[opposite])
    with torch.no_grad():
        trained = model._context(condition, own, torch.from_numpy(latent.carrier), other).numpy()
        without = model._context(condition, own, torch.from_numpy(latent.carrier)).numpy()
    drawn = model.sampler._context(condition.numpy(), latent.counts, latent.carrier, latent.counts[opposite])
    np.testing.assert_allclose(drawn, trained, rtol=1e-4, atol=1e-5)
    assert np.abs(trained - without).max() > 0.01


def test_a_first_hemisphere_without_a_second_is_drawn_anew(model: PrimaryTree, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, failures = model.latent_sampler, iter([np.array([2, 5]), np.array([1])])
    attempt = sampler._counts.attempt

    def failing(*args: Any) -> Any:
        counts, carrier, failed = attempt(*args)
        return (counts, carrier, failed) if args[2] is None else (counts, carrier, next(failures, failed))

    monkeypatch.setattr(sampler._counts, "attempt", failing)
    pairs = PartonPairs(np.array([[21, 21]] * 8), np.full(8, 2000.0))
    hadrons = model.draw_pairs(pairs, np.random.default_rng(1))
    assert next(failures, None) is None
    np.testing.assert_allclose(hadrons.sums(), [[2000.0, 0, 0, 0]] * 8, atol=1e-6)
    assert (hadrons.counts > 1).all()


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown key 'splittings'"):
        PrimaryTree.build("x", Domain(QUARKS_AND_GLUONS, 5.0, 2000.0), {"splittings": {}})


def test_the_shipped_model_has_what_pythia_has(model: PrimaryTree) -> None:
    size = 1500
    for flavour, pt in ((2, 100.0), (5, 60.0), (21, 60.0)):
        partons = spread([flavour] * size, [pt] * size)
        ours, theirs = model.primary(partons, rng=1), PythiaGun().draw(partons, np.random.default_rng(2))
        counts = model.sample(partons, rng=1).counts
        error = np.hypot(counts.std(), theirs.counts.std()) / size**0.5
        assert abs(counts.mean() - theirs.counts.mean()) < 5 * error
        assert (ours.counts > 0).all()
    history = theirs.history
    assert history is not None and len(history.decayed.pdg_id) > size


def test_decays_bring_b_hadrons_and_vertices(model: PrimaryTree) -> None:
    sets = model.sample(spread([5] * 200, [60.0] * 200), rng=4)
    assert sets.history is not None
    made = np.abs(sets.history.decayed.pdg_id)
    beauty = np.bincount(sets.history.decayed.index[(made // 100 % 10 == 5) | (made // 1000 % 10 == 5)], minlength=200)
    assert (beauty > 0).mean() > 0.95
    moved = np.linalg.norm(sets.history.vertex[:, 1:], axis=1)
    assert 0.5 < np.median(moved[moved > 0.05]) < 20.0
