"""Charge and baryon number shifted by exchanging species."""

from __future__ import annotations

import numpy as np

from fastsim.event import ParticleSet
from fastsim.event.kinematics import mass, on_shell
from fastsim.event.species import baryon_numbers, charges, masses
from generators.rests.content import shift_content

IDS = np.array([211, -211, 211, -211, 321, -321, 311, -311, 2212, 2112, -2212, -2112])


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
    for kinds in ((321,), (311,), (2212, 2112), (2212,)):
        numbers = [np.isin(np.abs(s.pdg_id), kinds).sum() for s in (before, after)]
        assert abs(numbers[1] - numbers[0]) < 5 * np.sqrt(4000), kinds
    assert 7800 < (after.pdg_id != before.pdg_id).sum() <= 8000  # some change twice


def test_pions_shift_the_charge_where_nothing_else_is_left(rng: np.random.Generator) -> None:
    quiet = ParticleSet(np.array([0, 4]), np.array([211, 111, 321, -211]), np.ones((4, 4)))
    shifted, done = shift_content(quiet, np.array([-3]), np.array([0]), rng)
    assert done.all() and shifted.pdg_id[2] == 311
    assert charges(shifted.pdg_id).sum() == charges(quiet.pdg_id).sum() - 3


def test_what_cannot_be_shifted_is_said(rng: np.random.Generator) -> None:
    photons = ParticleSet(np.array([0, 2]), np.array([211, 22]), np.ones((2, 4)))
    same, done = shift_content(photons, np.array([1]), np.array([0]), rng)
    assert not done.any() and np.array_equal(same.pdg_id, photons.pdg_id)
    assert shift_content(ParticleSet.empty(2), np.array([0, 1]), np.array([0, 0]), rng)[1].tolist() == [True, False]
