"""Charge and baryon number shifted by exchanging species."""

from __future__ import annotations

import numpy as np

from fastsim.event import Decayed, History, ParticleSet
from fastsim.event.kinematics import mass, on_shell
from fastsim.event.species import baryon_numbers, charges, masses
from generators.rests.content import shift_content

IDS = np.array([211, -211, 211, -211, 321, -321, 130, 310, 2212, 2112, -2212, -2112])


def sets(num: int, rng: np.random.Generator) -> ParticleSet:
    ids = np.tile(np.repeat(IDS, 3), num)
    p4 = on_shell(np.concatenate([np.zeros((len(ids), 1)), rng.normal(0, 0.5, (len(ids), 3))], axis=1), masses(ids))
    return ParticleSet(np.arange(num + 1) * 3 * len(IDS), ids, p4)


def quantum_numbers(particles: ParticleSet) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    size = len(particles)
    return tuple(  # type: ignore[return-value]
        np.bincount(particles.index, values, minlength=size)
        for values in (charges(particles.pdg_id), baryon_numbers(particles.pdg_id))
    )


def test_shifts_are_exact_and_keep_momenta(rng: np.random.Generator) -> None:
    before = sets(400, rng)
    charge, baryon_number = rng.integers(-4, 5, 400), rng.integers(-2, 3, 400)
    after, done = shift_content(before, charge, baryon_number, rng)
    assert done.all()
    old, new = quantum_numbers(before), quantum_numbers(after)
    assert np.array_equal(new[0] - old[0], charge) and np.array_equal(new[1] - old[1], baryon_number)
    assert np.array_equal(after.p4[:, 1:], before.p4[:, 1:])
    assert np.allclose(mass(after.p4), masses(after.pdg_id), atol=1e-6)
    unchanged = (charge == 0) & (baryon_number == 0)
    assert unchanged.any() and np.array_equal(after[unchanged].pdg_id, before[unchanged].pdg_id)


def test_shifts_do_not_change_yields_on_average(rng: np.random.Generator) -> None:
    """Up as often as down: as many kaons, and as many charged ones, as before."""
    before = sets(4000, rng)
    after, _ = shift_content(before, np.tile([1, -1], 2000), np.tile([1, 1, -1, -1], 1000), rng)
    for kinds in ((321,), (130, 310), (2212, 2112), (2212,)):
        numbers = [np.isin(np.abs(s.pdg_id), kinds).sum() for s in (before, after)]
        assert abs(numbers[1] - numbers[0]) < 5 * np.sqrt(4000), kinds
    assert 7800 < (after.pdg_id != before.pdg_id).sum() <= 8000  # some change twice


def test_neutral_kaons_change_with_the_k_zeros_before_them(rng: np.random.Generator) -> None:
    """The record of Pythia has K0 -> K0S for each K0S: as many of these become charged as kaons become neutral."""
    num = 2000
    ids = np.tile([321, -321, 321, -321, 130, 310, 130, 310], num)
    momenta = np.concatenate([np.zeros((len(ids), 1)), rng.normal(0, 0.5, (len(ids), 3))], axis=1)
    p4, ends = on_shell(momenta, masses(ids)), np.arange(num + 1)
    neutral = np.isin(ids, (130, 310))
    decayed = Decayed(
        4 * ends, np.tile([311, -311, -311, 311], num), p4[neutral], np.full(4 * num, -1), np.zeros((4 * num, 4))
    )
    mother = np.full(len(ids), -1)
    mother[neutral] = np.tile(np.arange(4), num)
    before = ParticleSet(8 * ends, ids, p4, History(decayed, mother, np.zeros((len(ids), 4))))
    after, done = shift_content(before, np.tile([1, -1], num // 2), np.zeros(num, np.int64), rng)
    assert done.all() and after.history is not None
    charged = (np.abs(after.pdg_id) == 321).sum()
    assert abs(charged - 4 * num) < 5 * np.sqrt(num)
    made = np.flatnonzero(neutral & (np.abs(after.pdg_id) == 321))
    assert len(made) > num / 3
    above = after.history.mother[made] + after.history.decayed.offsets[after.index[made]]
    assert np.array_equal(after.history.decayed.pdg_id[above], after.pdg_id[made])
    assert np.array_equal(after.history.decayed.p4[above], after.p4[made])
    assert (np.abs(after.history.decayed.pdg_id) == 321).sum() == len(made)


def test_products_of_decays_stay_and_what_cannot_be_shifted_is_said(rng: np.random.Generator) -> None:
    kaon = Decayed(np.array([0, 1]), np.array([310]), np.ones((1, 4)), np.array([-1]), np.zeros((1, 4)))
    pions = ParticleSet(
        np.array([0, 2]), np.array([321, 2212]), np.ones((2, 4)), History(kaon, np.zeros(2, np.int64), np.zeros((2, 4)))
    )
    same, done = shift_content(pions, np.array([1]), np.array([0]), rng)
    assert not done.any() and np.array_equal(same.pdg_id, pions.pdg_id)
    assert shift_content(ParticleSet.empty(2), np.array([0, 1]), np.array([0, 0]), rng)[1].tolist() == [True, False]
