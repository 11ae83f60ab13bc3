"""The density of token sets as a function of the tune: gradients, pairs, readings, models that begin with another."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fastsim
from fastsim.errors import FastsimError, InvalidValue
from generators.hadrons.count_shapes import least_masses
from generators.hadrons.gun import token_sample
from generators.hadrons.latent import Latent, side_of, total_features
from generators.hadrons.likelihood import with_carriers
from generators.hadrons.tokens import TokenSample, parton_energy
from generators.hadrons.tree.density import TreeDensity
from generators.hadrons.tree.model import PrimaryTree
from tests.helpers.partons import spread

NAMES = ["aLund", "alphaS"]


@pytest.fixture(scope="module")
def shipped() -> PrimaryTree:
    loaded = fastsim.load_model("hadron-tree")
    assert isinstance(loaded, PrimaryTree)
    return loaded


@pytest.fixture(scope="module")
def begun(shipped: PrimaryTree) -> PrimaryTree:
    """A model of tunes as it is before it has learned anything."""
    model = PrimaryTree.build("tunes", shipped.domain, {**shipped.config(), "tune": NAMES})
    model.take_weights(shipped)
    return model.eval()


@pytest.fixture(scope="module")
def model(begun: PrimaryTree, shipped: PrimaryTree) -> PrimaryTree:
    """A model of tunes whose weights depend on them."""
    model = PrimaryTree.build("tunes", shipped.domain, {**shipped.config(), "tune": NAMES})
    state = begun.state_dict()
    generator = torch.Generator().manual_seed(1)
    for name in state:
        wider = state[name].shape != shipped.state_dict()[name].shape
        if wider and not name.endswith((".mean", ".std")):
            state[name] = state[name] + 0.02 * torch.randn(state[name].shape, generator=generator)
    model.load_state_dict(state)
    return model.eval()


@pytest.fixture(scope="module")
def sample() -> TokenSample:
    return token_sample(np.array([2, 5, 21, 4] * 6), np.full(24, 45.6), seed=3)


def test_a_model_that_begins_with_another_is_that_at_every_tune(
    begun: PrimaryTree, shipped: PrimaryTree, sample: TokenSample
) -> None:
    partons = spread([1, -5, 21, 4], [20.0, 60.0, 100.0, 45.0])
    wanted = shipped.sample(partons, rng=2)
    for at in (begun, begun.at("aLund=0.4 alphaS=0.14")):
        assert at.sample(partons, rng=2) == wanted
        np.testing.assert_allclose(at.log_prob(sample), shipped.log_prob(sample), rtol=1e-4)


def test_a_model_at_another_tune_shares_its_weights(model: PrimaryTree, sample: TokenSample) -> None:
    other = model.at("aLund=0.5")
    assert other.net is model.net and other.latent_model is model.latent_model
    assert str(model.tune) == "Monash" and str(other.tune) == "aLund=0.5"
    np.testing.assert_allclose(other.vector, [-0.45, 0.0])
    assert other.provenance["tune"] == "aLund=0.5"
    np.testing.assert_array_equal(other.log_prob(sample), model.log_density(sample, other.vector))
    assert (other.log_prob(sample) != model.log_prob(sample)).all()
    partons = spread([1, 5], [20.0, 60.0])
    assert other.sample(partons, rng=1) != model.sample(partons, rng=1)
    assert other.at(None).sample(partons, rng=1) == model.sample(partons, rng=1)
    per_set = np.zeros((len(sample), 2))
    per_set[1] = other.vector
    mixed = model.log_density(sample, per_set)
    np.testing.assert_allclose(mixed[1], other.log_prob(sample)[1], rtol=1e-5)
    np.testing.assert_allclose(mixed[2:], model.log_prob(sample)[2:], rtol=1e-5)


def test_what_a_model_does_not_know_is_refused(model: PrimaryTree, shipped: PrimaryTree, sample: TokenSample) -> None:
    with pytest.raises(FastsimError, match="model 'tunes' does not know sigma: it has aLund, alphaS"):
        model.at("sigma=0.3")
    with pytest.raises(FastsimError, match="model 'hadron-tree' is of one tune"):
        shipped.at("aLund=0.5")
    with pytest.raises(InvalidValue, match=r"vectors of tunes of shape \(3,\) for 48 sets: give \(2,\) or \(48, 2\)"):
        model.log_density(sample, np.zeros(3))
    with pytest.raises(InvalidValue, match="47 token sets are no pairs"):
        TreeDensity(model, sample[:47], pairs=True)
    fewer = PrimaryTree.build("tunes", shipped.domain, shipped.config())
    with pytest.raises(ValueError, match="tunes depends on aLund, and this model does not"):
        fewer.take_weights(model)


def test_more_parameters_are_added_by_name(model: PrimaryTree, sample: TokenSample) -> None:
    wider = PrimaryTree.build("wider", model.domain, {**model.config(), "tune": ["aLund", "bLund", "alphaS"]})
    wider.take_weights(model)
    wider.eval()
    own, others = np.array([0.3, -0.4]), np.array([0.3, 0.9, -0.4])
    np.testing.assert_allclose(wider.log_density(sample, others), model.log_density(sample, own), rtol=1e-4)


@pytest.mark.parametrize("pairs", [False, True])
def test_the_score_is_the_derivative(model: PrimaryTree, sample: TokenSample, pairs: bool) -> None:
    density = TreeDensity(model, sample, pairs=pairs)
    at, step = np.array([0.3, -0.2]), 0.005
    values, slopes = density.gradient(at)
    assert values.shape == (len(density),) and slopes.shape == (len(density), 2)
    np.testing.assert_allclose(values, density(at), rtol=1e-5)
    for k in range(2):
        shift = np.zeros(2)
        shift[k] = step
        difference = (density(at + shift) - density(at - shift)) / (2 * step)
        near = np.abs(slopes[:, k] - difference) < 0.01 + 0.02 * np.abs(slopes[:, k]).max()
        assert near.mean() > 0.9  # a step may cross a kink of the networks
        assert slopes[:, k].mean() == pytest.approx(difference.mean(), abs=0.01)


@pytest.mark.parametrize("pairs", [False, True])
def test_several_tunes_at_once_have_the_densities_of_each(model: PrimaryTree, sample: TokenSample, pairs: bool) -> None:
    """What the tunes share is computed once: the log-density of one after the other, from its derivative's code."""
    density = TreeDensity(model, sample, pairs=pairs)
    tunes = np.array([[0.0, 0.0], [0.9, -0.3], [-0.6, 1.1]])
    wanted = np.stack([density.gradient(tune)[0] for tune in tunes])
    found = density.at(tunes)
    assert found.shape == (3, len(density))
    np.testing.assert_allclose(found - found[0], wanted - wanted[0], atol=1e-4)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert np.abs(found[1:] - found[0]).mean() > 0.1
    with pytest.raises(InvalidValue, match=r"vectors of tunes of shape \(3,\)"):
        density.at(np.zeros((2, 3)))


def test_blocks_are_parts_of_the_whole(model: PrimaryTree, sample: TokenSample) -> None:
    density = TreeDensity(model, sample, pairs=True)
    whole = density(np.array([0.2, 0.1]))
    parts = [density.block(slice(a, a + 7))(np.array([0.2, 0.1])) for a in range(0, len(density), 7)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-5)


def test_readings_are_summed(model: PrimaryTree, sample: TokenSample) -> None:
    copies, source = with_carriers(sample[:6])
    density = TreeDensity(model, copies, source=source)
    at = np.array([0.2, 0.1])
    each = model.log_density(copies, at)
    wanted = [np.logaddexp.reduce(each[source == k]) for k in range(6)]
    np.testing.assert_allclose(density(at), wanted, rtol=1e-5)
    _, slopes = density.gradient(at)
    _, of_each = TreeDensity(model, copies).gradient(at)
    shares = np.exp(each - np.array(wanted)[source])
    summed = np.stack([np.bincount(source, shares * of_each[:, k]) for k in range(2)], -1)
    np.testing.assert_allclose(slopes, summed, atol=2e-3)


def test_a_pair_has_one_total_momentum_and_given_counts(model: PrimaryTree, sample: TokenSample) -> None:
    """The factors one by one, as the pair is drawn; the splittings are those of the hemispheres."""
    at = np.array([0.4, -0.3])
    whole = TreeDensity(model, sample, pairs=True)
    alone = TreeDensity(model, sample)
    num = len(sample)
    vectors = np.tile(at, (num, 1))
    energy = parton_energy(sample.flavour, sample.pt)
    latent, opposite = Latent.of(sample), np.arange(num) ^ 1
    least = least_masses(latent.counts)
    net = model.latent_model
    known = torch.from_numpy(latent.counts), torch.from_numpy(latent.carrier)
    side = side_of(latent.content, latent.counts[opposite])
    free = net.condition(sample.flavour, sample.pt, sample.scale, vectors)
    given = net.condition(sample.flavour, sample.pt, sample.scale, vectors, side)
    features = np.concatenate([total_features(latent.total, least, energy, least[opposite]), latent.extras], -1)
    with torch.no_grad():
        first = net.log_prob(free, *known, torch.from_numpy(latent.features).float())
        content, forced = torch.from_numpy(latent.content), torch.ones(num, dtype=torch.bool)
        beyond = known[0][torch.from_numpy(opposite)]
        second = net.log_prob(given, *known, torch.from_numpy(features).float(), content, forced, beyond)
    ours = (first["counts"][0::2] + second["counts"][1::2] + second["total"][0::2]).double().numpy()
    theirs = (first["counts"] + first["total"]).double().numpy()
    # of both densities, take away what does not depend on the tune and the latent
    monash = np.zeros(2)
    change = whole(at) - whole(monash)
    change_alone = (alone(at) - alone(monash)).reshape(-1, 2).sum(-1)
    with torch.no_grad():
        zero = np.zeros((num, 2))
        free0 = net.condition(sample.flavour, sample.pt, sample.scale, zero)
        given0 = net.condition(sample.flavour, sample.pt, sample.scale, zero, side)
        first0 = net.log_prob(free0, *known, torch.from_numpy(latent.features).float())
        second0 = net.log_prob(given0, *known, torch.from_numpy(features).float(), content, forced, beyond)
    ours0 = (first0["counts"][0::2] + second0["counts"][1::2] + second0["total"][0::2]).double().numpy()
    theirs0 = (first0["counts"] + first0["total"]).double().numpy()
    wanted = (ours - ours0) + change_alone - (theirs - theirs0).reshape(-1, 2).sum(-1)
    np.testing.assert_allclose(change, wanted, atol=2e-3)
