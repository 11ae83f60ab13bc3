"""Every source of hadrons keeps one contract: Pythia, a library, each model that ships, a made-up source."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastsim
from fastsim.errors import FastsimError, OutOfDomain
from fastsim.event import ParticleSet, Partons, kinematics, species
from fastsim.sources import cards
from fastsim.sources.hadrons import HadronSource
from generators.hadrons.library import Library
from tests.helpers.sources import Spray

FLAVOURS = [1, -2, 3, 4, -5, 5, 21, 21]


def partons(flavour: int | list[int] | None = None, *, eta: float = 0.3, phi: float = 1.0) -> Partons:
    ids = np.array(FLAVOURS if flavour is None else flavour).reshape(-1)
    size = len(ids)
    return Partons.from_pt_eta_phi(ids, np.geomspace(40.0, 150.0, size), np.full(size, eta), np.full(size, phi))


def library() -> Library:
    many = partons(FLAVOURS * 20)
    return Library((many, fastsim.load_model("pythia").sample(many, rng=1)))


SOURCES: dict[str, Callable[[], HadronSource]] = {
    "pythia": lambda: fastsim.load_model("pythia"),
    "library": library,
    "spray": lambda: Spray(20.0, 2000.0),
    **{name: lambda name=name: fastsim.load_model(name) for name in cards.available(cards.HADRONS)},  # type: ignore[misc]
}
IN_THE_AXIS_FRAME = [name for name in SOURCES if name != "spray"]
"""Sources that know the parton's flavour and pT alone: rotations and boosts are exact."""
CONJUGATING = [name for name in IN_THE_AXIS_FRAME if name != "pythia"]
"""Sources that draw an antiquark's set as the quark's, with antiparticles; Pythia draws it anew."""


@pytest.fixture(scope="module")
def made() -> dict[str, HadronSource]:
    return {}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, made: dict[str, HadronSource]) -> HadronSource:
    """Each source once, whatever the tests."""
    name: str = request.param
    if name not in made:
        made[name] = SOURCES[name]()
    return made[name]


def same(a: ParticleSet, b: ParticleSet) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("offsets", "pdg_id", "p4"))


def test_one_set_a_parton_of_known_species_on_their_mass_shells(source: HadronSource) -> None:
    sets = source.sample(partons(), rng=1)
    assert len(sets) == len(FLAVOURS) and (sets.counts > 0).all() and np.isfinite(sets.p4).all()
    off = np.abs(kinematics.mass_squared(sets.p4) - species.masses(sets.pdg_id) ** 2)
    assert (off <= 1e-9 * sets.p4[:, 0] ** 2 + 1e-12).all()
    ratio = kinematics.pt(sets.sums()) / kinematics.pt(partons().p4)
    assert (ratio > 0.2).all() and (ratio < 1.3).all(), "the hadrons carry the parton's momentum"


def test_a_seed_decides_and_none_does_not(source: HadronSource) -> None:
    first = source.sample(partons(), rng=1)
    assert same(first, source.sample(partons(), rng=1)) and same(first, source.sample(partons(), seed=1))
    assert same(first, source.sample(partons(), rng=np.random.default_rng(1)))
    assert not same(first, source.sample(partons(), rng=2))
    assert not same(source.sample(partons()), source.sample(partons()))
    rng = np.random.default_rng(1)
    assert not same(source.sample(partons(), rng=rng), source.sample(partons(), rng=rng)), "a Generator moves on"
    with pytest.raises(FastsimError, match="rng and seed are two names of one thing"):
        source.sample(partons(), rng=1, seed=1)
    with pytest.raises(FastsimError, match="give a Generator, a seed, or None"):
        source.sample(partons(), rng="one")  # type: ignore[arg-type]


def test_what_is_outside_the_domain_is_refused_alike(source: HadronSource) -> None:
    inside = partons()
    assert source.domain.contains(inside).all()
    soft, top = inside.p4.copy(), inside.pdg_id.copy()
    soft[3] *= 1e-3
    top[3] = 6
    for outside, what in ((Partons(inside.pdg_id, soft), "PDG id 4"), (Partons(top, inside.p4), "PDG id 6")):
        with pytest.raises(OutOfDomain, match=rf"parton 3 \({what}, pT = .* is outside the domain of {source.name}: "):
            source.sample(outside, rng=1)
        assert not source.domain.contains(outside)[3]


def test_nothing_in_nothing_out(source: HadronSource) -> None:
    assert len(source.sample(partons()[:0], rng=1)) == 0


def test_a_copy_for_another_process_is_the_same(source: HadronSource) -> None:
    copy = pickle.loads(pickle.dumps(source))
    assert same(copy.sample(partons(), rng=3), source.sample(partons(), rng=3))


def test_threads_do_not_meet(source: HadronSource) -> None:
    alone = [source.sample(partons(), rng=seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: source.sample(partons(), rng=seed), range(4)))
    assert all(map(same, alone, together))


@pytest.mark.parametrize("source", IN_THE_AXIS_FRAME, indirect=True)
def test_rotation_and_boost_along_the_beam_are_exact(source: HadronSource) -> None:
    here, there = source.primary(partons(), rng=5), source.primary(partons(eta=0.3, phi=-2.0), rng=5)
    assert np.array_equal(here.pdg_id, there.pdg_id)
    turned = kinematics.delta_phi(kinematics.phi(there.p4), kinematics.phi(here.p4))
    np.testing.assert_allclose(kinematics.delta_phi(turned, np.array(-3.0)), 0.0, atol=1e-6)
    np.testing.assert_allclose(kinematics.pt(here.p4), kinematics.pt(there.p4), rtol=1e-6)
    forward = source.primary(partons(eta=2.0), rng=5)
    shift = kinematics.rapidity(forward.p4) - kinematics.rapidity(here.p4)
    by_set = np.repeat(np.array([shift[start] for start in here.offsets[:-1]]), here.counts)
    np.testing.assert_allclose(shift, by_set, atol=1e-4)


@pytest.mark.parametrize("source", CONJUGATING, indirect=True)
def test_antiquarks_are_conjugated_quarks(source: HadronSource) -> None:
    quarks = source.primary(partons([1, 2, 3, 4, 5]), rng=6)
    anti = source.primary(partons([-1, -2, -3, -4, -5]), rng=6)
    assert np.array_equal(species.conjugate(quarks.pdg_id), anti.pdg_id)
    np.testing.assert_allclose(quarks.p4, anti.p4, rtol=1e-12)


def test_a_latent_goes_round_or_is_refused(source: HadronSource) -> None:
    if not source.has_latent:
        with pytest.raises(FastsimError, match=f"model '{source.name}' has no latent"):
            source.latent(partons(), rng=1)
        with pytest.raises(FastsimError, match=f"model '{source.name}' has no latent"):
            source.sample(partons(), rng=1, latent=object())
        return
    latent = source.latent(partons(), rng=7)
    sets, used = source.sample_with_latent(partons(), rng=7)
    assert same(sets, source.sample(partons(), rng=7, latent=latent))
    assert all(np.array_equal(value, vars(used)[name]) for name, value in vars(latent).items())
    with pytest.raises(FastsimError, match="8 latents for 3 partons"):
        source.sample(partons()[:3], rng=7, latent=latent)
    with pytest.raises(OutOfDomain):
        source.latent(Partons(partons().pdg_id, 1e-3 * partons().p4), rng=1)


def test_a_repr_says_name_kind_and_domain(source: HadronSource) -> None:
    said = repr(source)
    assert source.name in said and source.kind in said and str(source.domain) in said and "\n" not in said
