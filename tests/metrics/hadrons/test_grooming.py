"""Soft drop against hand-made sets and FastJet's contrib."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.event import ParticleSet, offsets_from_counts
from fastsim.event.kinematics import mass, p4_from_pt_eta_phi_m
from metrics.hadrons import grooming
from metrics.hadrons.clustering import cluster_sequence
from metrics.hadrons.grooming import GROOMED, soft_drop
from metrics.hadrons.jets import Jets, relative
from tests.helpers.jets import partons_of, toy_sets


def sets_of(*sets: list[tuple[float, float, float]]) -> Jets:
    """Make sets of photons, (pT/GeV, eta, phi) each, about partons of 100 GeV."""
    flat = np.array([particle for one in sets for particle in one]).reshape(-1, 3)
    particles = ParticleSet(
        offsets_from_counts(np.array([len(one) for one in sets], dtype=np.int64)),
        np.full(len(flat), 22),
        p4_from_pt_eta_phi_m(flat[:, 0], flat[:, 1], flat[:, 2], 0.0),
    )
    n = len(sets)
    return relative(
        particles,
        partons_of([21] * n, [100.0] * n, [0.0] * n, [0.0] * n),
    )


def pair_mass(z: float, other: float, angle: float) -> float:
    """Compute the mass of two massless particles at equal rapidity."""
    return float(np.sqrt(2 * z * other * (1 - np.cos(angle))))


def test_two_particles_pass_or_drop() -> None:
    hard, soft = (70.0, 0.0, 0.1), (20.0, 0.0, -0.2)
    found = soft_drop(sets_of([hard, soft], [hard, (7.0, 0.0, -0.2)]))
    assert list(found) == list(GROOMED)
    np.testing.assert_allclose(found["groomed_mass"], [pair_mass(0.7, 0.2, 0.3), 0.0], atol=1e-9)
    np.testing.assert_allclose(found["zg"], [20 / 90, 0.0])
    np.testing.assert_allclose(found["rg"], [0.3, 0.0])


def test_a_soft_wide_particle_is_groomed_away_unless_the_angle_lets_it_through() -> None:
    core, wide = [(50.0, 0.0, 0.0), (40.0, 0.0, 0.1)], (5.0, 0.0, 0.6)
    found = soft_drop(sets_of([*core, wide], core))
    for name in GROOMED:
        assert found[name][0] == pytest.approx(found[name][1])
    assert found["groomed_mass"][0] == pytest.approx(pair_mass(0.5, 0.4, 0.1))
    # z = 0.05 against 0.1 * 0.6^2 = 0.036
    loose = soft_drop(sets_of([*core, wide]), beta=2.0)
    pt = np.hypot(50.0 + 40.0 * np.cos(0.1), 40.0 * np.sin(0.1))
    np.testing.assert_allclose(loose["zg"], 5.0 / (5.0 + pt))
    np.testing.assert_allclose(loose["rg"], 0.6 - np.arcsin(40.0 * np.sin(0.1) / pt))


@pytest.mark.parametrize(("z_cut", "beta"), [(0.1, 0.0), (0.1, 1.0), (0.2, 0.0), (0.0, 0.0)])
def test_agrees_with_fastjet_contrib(z_cut: float, beta: float, rng: np.random.Generator) -> None:
    jets = relative(*toy_sets(150, 25.0, rng))
    expected = cluster_sequence(
        jets.offsets, jets.p4_rel, "cambridge_algorithm", 1000.0
    ).exclusive_jets_softdrop_grooming(njets=1, beta=beta, symmetry_cut=z_cut, R0=1.0)
    found = soft_drop(jets, z_cut=z_cut, beta=beta)
    np.testing.assert_allclose(found["groomed_mass"], np.asarray(expected.msoftdrop), atol=1e-7)
    # the contrib has -1 where nothing passes
    np.testing.assert_allclose(found["zg"], np.maximum(expected.symmetrysoftdrop, 0.0), atol=1e-9)
    np.testing.assert_allclose(found["rg"], np.maximum(expected.deltaRsoftdrop, 0.0), atol=1e-9)


def test_no_cut_keeps_the_whole_set(rng: np.random.Generator) -> None:
    jets = relative(*toy_sets(50, 25.0, rng))
    whole = mass(np.stack([jets.sum(jets.p4_rel[:, k]) for k in range(4)], axis=1))
    np.testing.assert_allclose(soft_drop(jets, z_cut=0.0)["groomed_mass"], whole, rtol=1e-9)


def test_neither_the_order_of_particles_nor_the_chunks_matter(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets, partons = toy_sets(60, 20.0, rng)
    before = soft_drop(relative(sets, partons))
    order = np.lexsort((rng.random(len(sets.index)), sets.index))
    monkeypatch.setattr(grooming, "CHUNK", 7)
    after = soft_drop(relative(ParticleSet(sets.offsets, sets.pdg_id[order], sets.p4[order]), partons))
    for name in GROOMED:
        np.testing.assert_allclose(after[name], before[name], atol=1e-9)


def test_empty_sets_single_particles_and_particles_along_the_beam() -> None:
    pion = p4_from_pt_eta_phi_m(50.0, 0.1, 0.0, 0.13957)
    beam = np.array([3.0, 0.0, 0.0, 3.0])
    p4 = np.array([pion, pion, beam, beam])
    sets = ParticleSet(np.array([0, 0, 1, 3, 4]), np.array([211, 211, 22, 22]), p4)
    partons = partons_of([21] * 4, [100.0] * 4, [0.0] * 4, [0.0] * 4)
    found = soft_drop(relative(sets, partons))
    np.testing.assert_allclose(found["groomed_mass"], [0.0, 0.0013957, 0.0013957, 0.0], rtol=1e-6)
    assert not found["zg"].any() and not found["rg"].any()
    assert all(len(v) == 0 for v in soft_drop(relative(sets[:0], partons[:0])).values())


def test_bad_settings_are_refused() -> None:
    jets = sets_of([(50.0, 0.0, 0.0)])
    with pytest.raises(ValueError, match=r"z_cut = 0.5"):
        soft_drop(jets, z_cut=0.5)
    with pytest.raises(ValueError, match="beta = -1"):
        soft_drop(jets, beta=-1.0)
