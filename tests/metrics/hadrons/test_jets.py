"""Coordinates relative to the parton and their symmetries."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.event import ParticleSet, Partons
from fastsim.event.kinematics import boost, mass, pt
from fastsim.event.species import conjugate
from metrics.hadrons.efp import efps
from metrics.hadrons.jets import padded_batches, relative
from tests.helpers.jets import partons_of, toy_sets


def test_a_particle_along_its_parton_sits_at_the_origin() -> None:
    partons = partons_of([21, 21], [100.0, 50.0], [1.2, -2.0], [3.1, -3.1])
    jets = relative(ParticleSet(np.array([0, 1, 2]), np.array([22, 22]), partons.p4 * [[0.5], [0.25]]), partons)
    np.testing.assert_allclose(jets.pt_rel, [0.5, 0.25])
    np.testing.assert_allclose(np.stack([jets.eta_rel, jets.phi_rel]), 0.0, atol=1e-12)
    np.testing.assert_allclose(jets.p4_rel[0], [0.5, 0.5, 0.0, 0.0], atol=1e-12)


def test_azimuth_wraps_around() -> None:
    partons = partons_of([21], [100.0], [0.0], [3.1])
    particles = partons_of([21], [100.0], [0.0], [-3.1])
    jets = relative(ParticleSet(np.array([0, 1]), np.array([22]), particles.p4), partons)
    np.testing.assert_allclose(jets.phi_rel, [2 * np.pi - 6.2])


def test_particles_fall_in_pt_within_each_set(rng: np.random.Generator) -> None:
    particles, partons = toy_sets(40, 20.0, rng)
    jets = relative(particles, partons)
    for i in range(len(jets)):
        own = jets.pt_rel[jets.offsets[i] : jets.offsets[i + 1]]
        assert np.all(np.diff(own) <= 0)
        rows = slice(particles.offsets[i], particles.offsets[i + 1])
        np.testing.assert_allclose(np.sort(own), np.sort(pt(particles.p4[rows])) / pt(partons.p4)[i])


def test_features_do_not_depend_on_order_azimuth_or_conjugation(rng: np.random.Generator) -> None:
    particles, partons = toy_sets(20, 20.0, rng)
    shuffled = np.concatenate(
        [rng.permutation(np.arange(a, b)) for a, b in zip(particles.offsets[:-1], particles.offsets[1:], strict=True)]
    )
    c, s = np.cos(1.0), np.sin(1.0)
    turn = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
    moved = ParticleSet(particles.offsets, conjugate(particles.pdg_id[shuffled]), particles.p4[shuffled] @ turn.T)
    first = relative(particles, partons)
    second = relative(moved, Partons(conjugate(partons.pdg_id), partons.p4 @ turn.T))
    np.testing.assert_array_equal(second.pdg_id, first.pdg_id)
    np.testing.assert_allclose(second.p4_rel, first.p4_rel, atol=1e-12)
    np.testing.assert_allclose(efps(second, dtype=np.float64), efps(first, dtype=np.float64), rtol=1e-9)


def test_p4_rel_does_not_depend_on_a_longitudinal_boost(rng: np.random.Generator) -> None:
    particles, partons = toy_sets(20, 20.0, rng)
    beta = np.array([0.0, 0.0, 0.6])
    boosted = ParticleSet(particles.offsets, particles.pdg_id, boost(particles.p4, beta))
    second = relative(boosted, Partons(partons.pdg_id, boost(partons.p4, beta)))
    np.testing.assert_allclose(second.p4_rel, relative(particles, partons).p4_rel, atol=1e-9)


def test_batches_cover_every_set_once_and_keep_the_leading_particles(rng: np.random.Generator) -> None:
    jets = relative(*toy_sets(300, 30.0, rng))
    seen = np.zeros(len(jets), int)
    for rows, z, _, _ in padded_batches(jets, 10, np.float64, num_pairs=2_000):
        seen[rows] += 1
        assert z.shape[1] <= 10
        for row, values in zip(rows, z, strict=True):
            kept = jets.pt_rel[jets.offsets[row] : jets.offsets[row + 1]][:10]
            np.testing.assert_array_equal(values[: len(kept)], kept)
            assert not values[len(kept) :].any()
    assert np.all(seen == 1)


def test_bad_input_is_refused(rng: np.random.Generator) -> None:
    particles, partons = toy_sets(3, 5.0, rng)
    with pytest.raises(ValueError, match="3 particle sets but 2 partons"):
        relative(particles, partons[:2])
    particles.p4[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        relative(particles, partons)


def test_compact_sets_keep_momenta_and_masses(rng: np.random.Generator) -> None:
    jets = relative(*toy_sets(30, 20.0, rng))
    small = jets.compact()
    assert small.pt_rel.dtype == np.float32
    np.testing.assert_allclose(small.p4_rel, jets.p4_rel, rtol=1e-6, atol=1e-7)
    masses = [mass(p4) * j.parton_pt[j.index] for j in (small, jets) for p4 in (j.p4_rel,)]
    np.testing.assert_allclose(masses[0], masses[1], rtol=1e-3, atol=1e-4)
