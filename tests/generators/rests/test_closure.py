"""Rests that are given the momenta which hard processes leave them."""

from __future__ import annotations

import numpy as np

from fastsim.event import Decayed, History, ParticleSet
from fastsim.event.kinematics import mass, on_shell, pt, rapidity
from generators.rests.closure import close, follow
from generators.rests.rests import Rests

BEAMS = np.array([13000.0, 0.0, 0.0, 0.0])


def rest(rng: np.random.Generator, hard: np.ndarray) -> Rests:  # type: ignore[type-arg]
    """Return a made-up rest of 31 particles along a plateau, and what it leaves."""
    y, m = np.linspace(-9.0, 9.0, 31), 0.14
    kick = rng.normal(0, 0.4, (31, 2))
    transverse = np.sqrt(m**2 + (kick**2).sum(axis=1))
    p4 = np.stack([transverse * np.cosh(y), *kick.T, transverse * np.sinh(y)], axis=-1)
    particles = ParticleSet(np.array([0, 31]), np.full(31, 211), p4)
    recoil = hard.copy()
    recoil[1:3] = -particles.sums()[0, 1:3]
    return Rests(particles, on_shell(recoil[None], mass(hard[None])))


def test_momentum_closes_and_masses_and_transverse_momenta_stay(rng: np.random.Generator) -> None:
    hard = on_shell(np.array([[0.0, 0.0, 0.0, 300.0]]), np.array([200.0]))
    one = rest(rng, hard[0])
    particles, moved, closed = close(one, hard, hard, BEAMS)
    assert closed.all()
    np.testing.assert_allclose(particles.sums() + moved, BEAMS[None], atol=1e-9)
    np.testing.assert_allclose(mass(moved), 200.0, rtol=1e-12)
    np.testing.assert_allclose(mass(particles.p4), mass(one.particles.p4), atol=1e-6)
    np.testing.assert_array_equal(particles.p4[:, 1:3], one.particles.p4[:, 1:3])
    # particles move by a rapidity that is linear in their own
    shift = rapidity(particles.p4) - rapidity(one.particles.p4)
    slope, _ = np.polyfit(rapidity(one.particles.p4), shift, 1)
    assert abs(slope) > 0.01
    np.testing.assert_allclose(np.diff(shift, 2), 0.0, atol=1e-7)


def test_a_hard_process_without_room_is_refused(rng: np.random.Generator) -> None:
    hard = on_shell(np.array([[0.0, 0.0, 0.0, 300.0]]), np.array([200.0]))
    one = rest(rng, hard[0])
    everything = on_shell(np.array([[0.0, 0.0, 0.0, 6499.0]]), np.array([6400.0]))
    assert not close(one, hard, everything, BEAMS)[2].any()
    nothing = Rests(ParticleSet.empty(1), hard)
    assert not close(nothing, hard, hard, BEAMS)[2].any()


def test_hard_processes_follow_their_recoil(rng: np.random.Generator) -> None:
    p4 = on_shell(rng.normal(0, 20, (6, 4)), np.full(6, 0.14))
    decayed = Decayed(np.array([0, 1, 1]), np.array([511]), p4[:1], np.array([-1]), np.zeros((1, 4)))
    history = History(decayed, np.array([0, -1, -1, -1, -1, -1]), 3.0 * p4)
    sets = ParticleSet(np.array([0, 3, 6]), np.full(6, 211), p4, history)
    before = sets.sums()
    after = on_shell(before + rng.normal(0, 10, (2, 4)), mass(before))
    moved = follow(sets, before, after)
    np.testing.assert_allclose(moved.sums(), after, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(mass(moved.p4), 0.14, atol=1e-6)
    np.testing.assert_allclose(moved.history.vertex, 3.0 * moved.p4)  # type: ignore[union-attr]
    np.testing.assert_allclose(moved.history.decayed.p4[0], moved.p4[0])  # type: ignore[union-attr]
    assert not np.allclose(pt(moved.p4), pt(p4))
