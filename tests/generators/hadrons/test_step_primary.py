"""Whole events from the model of primary hadrons: exact singlets, decays in the lab, origins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import fastsim
from fastsim.errors import InvalidEvent
from fastsim.event import HardEvents
from fastsim.event.species import charges
from generators.hadrons.step import Hadronize, HadronizeSets, decayed
from generators.hadrons.tree.model import PrimaryTree
from generators.reference.pythia import PythiaGun
from tests.helpers.partons import spread

MASS = 91.2


@pytest.fixture(scope="module")
def model() -> PrimaryTree:
    loaded = fastsim.load_model("hadron-tree")
    assert isinstance(loaded, PrimaryTree)
    return loaded


def z_events(num: int, flavour: int, *, boost: float) -> HardEvents:
    """e+ e- -> Z -> q qbar, the Z with a momentum of its own along x."""
    rng = np.random.default_rng(1)
    cos, phi = rng.uniform(-1, 1, num), rng.uniform(0, 2 * np.pi, num)
    sin = np.sqrt(1 - cos**2)
    unit = np.stack([sin * np.cos(phi), sin * np.sin(phi), cos], -1) * MASS / 2
    energy = np.full(num, MASS / 2)
    quark, anti = (np.concatenate([energy[:, None], s * unit], -1) for s in (1, -1))
    gamma, move = np.cosh(boost), np.sinh(boost)

    def moved(p: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return np.stack([gamma * p[:, 0] + move * p[:, 1], gamma * p[:, 1] + move * p[:, 0], p[:, 2], p[:, 3]], -1)

    quark, anti = moved(quark), moved(anti)
    z = quark + anti
    p4 = np.stack([z / 2, z / 2, z, quark, anti], axis=1).reshape(-1, 4)
    return HardEvents(
        number=np.arange(num),
        offsets=5 * np.arange(num + 1),
        pdg_id=np.tile([11, -11, 23, flavour, -flavour], num),
        status=np.tile([-1, -1, 2, 1, 1], num),
        mothers=np.tile([[-1, -1], [-1, -1], [0, 1], [2, 2], [2, 2]], (num, 1)),
        colours=np.tile([[0, 0], [0, 0], [0, 0], [501, 0], [0, 501]], (num, 1)),
        p4=p4,
        mass=np.tile([0.0, 0.0, MASS, 0.0, 0.0], num),
        weights=np.ones((num, 1)),
        process=np.ones(num, np.int64),
        scale=np.full(num, MASS),
    )


@pytest.mark.parametrize("flavour", [1, 5])
def test_every_z_keeps_its_momentum_and_its_charge(model: PrimaryTree, flavour: int) -> None:
    events = z_events(60, flavour, boost=0.4)
    made = Hadronize(model, PythiaGun()).step(events, rng=np.random.default_rng(2))
    particles, origin = made.particles, made.origin
    assert particles is not None and origin is not None
    np.testing.assert_allclose(particles.sums(), events.p4[2::5], rtol=1e-9, atol=1e-7)
    total = np.bincount(particles.index, charges(particles.pdg_id), 60)
    np.testing.assert_allclose(total, 0.0, atol=1e-9)
    assert set(np.unique(origin)) == {3, 4} and len(origin) == len(particles.pdg_id)
    first = particles.p4[origin == 3].sum(axis=0), events.p4[3::5].sum(axis=0)
    assert abs(first[0][0] / first[1][0] - 1) < 0.1, "hadrons belong to the parton that they fly with"
    assert (made.hard_columns["hadrons_from"][events.status == 1] == 0).all()
    history = particles.history
    assert history is not None
    beauty = (np.abs(history.decayed.pdg_id) // 100 % 10 == 5).sum()
    assert (beauty > 50) == (flavour == 5)


def test_tags_that_close_no_singlet_are_named(model: PrimaryTree) -> None:
    events = z_events(20, 2, boost=0.0)
    events = replace(events, colours=np.tile([[0, 0], [0, 0], [0, 0], [501, 0], [0, 502]], (20, 1)))
    with pytest.raises(InvalidEvent, match="event 0: colour tag 501 is carried by 1 leg"):
        Hadronize(model, PythiaGun()).step(events, rng=np.random.default_rng(2))


def test_a_final_particle_belongs_to_the_parton_of_its_mother(model: PrimaryTree) -> None:
    partons = spread([5, 21, -5, 2], [60.0, 40.0, 80.0, 50.0])
    primary = model.primary(partons, rng=3)
    origin = primary.index * 10 + 7
    particles, moved = decayed(model, primary, origin, np.random.default_rng(1))
    np.testing.assert_array_equal(moved, particles.index * 10 + 7)
    # several partons in one event: the hadrons of each sum to what they were
    together = replace(primary, offsets=primary.offsets[[0, -1]])
    particles, moved = decayed(model, together, primary.index, np.random.default_rng(1))
    sums = np.stack([np.bincount(moved, particles.p4[:, k], 4) for k in range(4)], -1)
    np.testing.assert_allclose(sums, primary.sums(), rtol=1e-9, atol=1e-7)


def test_a_guns_sets_keep_the_history_and_those_of_the_fallback_have_one(model: PrimaryTree) -> None:
    partons = spread([2, 5, 21], [50.0, 2.0, 60.0])
    made = HadronizeSets(model, PythiaGun()).step(HardEvents.of_partons(partons), rng=np.random.default_rng(1))
    assert made.notes["fallback_partons"] == 1 and made.particles is not None
    history = made.particles.history
    assert history is not None
    assert (history.decayed.counts > 0).all()
    ids = np.abs(history.decayed.pdg_id[history.decayed.index == 1])
    assert ((ids // 100 % 10 == 5) | (ids // 1000 % 10 == 5)).any(), "the b hadron of the soft b quark"
