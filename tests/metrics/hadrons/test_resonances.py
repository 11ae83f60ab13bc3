"""Peaks against samples with a known number of resonances."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsim.event import ParticleSet, Partons, offsets_from_counts
from fastsim.event.kinematics import p4_from_pt_eta_phi_m
from fastsim.event.species import masses
from metrics.hadrons.candidates import Candidates, combined
from metrics.hadrons.jets import Jets, relative
from metrics.hadrons.resonances import (
    PEAKS,
    grouped_ratios,
    grouped_spectra,
    mass_spectra,
    pairs_in_windows,
    peak_ratios,
)


def decayed(mass: float, daughters: tuple[int, int], num: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return four-momenta (num, 2, 4) of the daughters of particles of 40 GeV along x that decay isotropically."""
    m = masses(np.array(daughters))
    p = np.sqrt((mass**2 - (m[0] + m[1]) ** 2) * (mass**2 - (m[0] - m[1]) ** 2)) / (2 * mass)
    cos, phi = rng.uniform(-1, 1, num), rng.uniform(0, 2 * np.pi, num)
    sin = np.sqrt(1 - cos**2)
    direction = np.stack([cos, sin * np.cos(phi), sin * np.sin(phi)], axis=1)
    out = np.zeros((num, 2, 4))
    gamma = np.hypot(40.0, mass) / mass
    for k, sign in enumerate((1, -1)):
        energy, p3 = np.hypot(p, m[k]), sign * p * direction
        out[:, k, 0] = gamma * (energy + 40.0 / np.hypot(40.0, mass) * p3[:, 0])
        out[:, k, 1] = gamma * (p3[:, 0] + 40.0 / np.hypot(40.0, mass) * energy)
        out[:, k, 2:] = p3[:, 1:]
    return out


def sets_with(name: str, num: int, share: float, rng: np.random.Generator, pions: float = 3.0) -> Jets:
    """Make sets of pions and photons at random, and in a share of them one resonance of known mass."""
    ids, mass = {"phi": ((321, -321), 1.0195), "K*0": ((321, -211), 0.8955), "pi0": ((22, 22), 0.13498)}[name]
    counts = rng.poisson(pions, num)
    soft_ids = rng.choice([211, -211, 22, 321, -321], counts.sum())
    soft = p4_from_pt_eta_phi_m(
        rng.exponential(5.0, counts.sum()) + 0.5,
        rng.normal(0, 0.1, counts.sum()),
        rng.normal(0, 0.1, counts.sum()),
        masses(soft_ids),
    )
    has = rng.random(num) < share
    own = decayed(mass, ids, int(has.sum()), rng).reshape(-1, 4)
    index = np.concatenate([np.repeat(np.arange(num), counts), np.repeat(np.flatnonzero(has), 2)])
    order = np.argsort(index, kind="stable")
    pdg_id = np.concatenate([soft_ids, np.tile(ids, int(has.sum()))])[order]
    p4 = np.concatenate([soft, own])[order]
    partons = Partons.from_pt_eta_phi([2] * num, [100.0] * num, [0.0] * num, [0.0] * num)
    return relative(ParticleSet(offsets_from_counts(np.bincount(index, minlength=num)), pdg_id, p4), partons)


@pytest.mark.parametrize("name", ["phi", "K*0", "pi0"])
def test_the_area_counts_the_resonances(name: str, rng: np.random.Generator) -> None:
    jets = sets_with(name, 4000, 0.5, rng)
    peak = PEAKS[name]
    spectrum = mass_spectra(jets)[name]
    values = spectrum @ peak.area
    error = values.std() * np.sqrt(len(values))
    assert values.sum() == pytest.approx(2000, abs=4 * error)
    assert error < 150


def test_ratio_of_areas_and_its_null(rng: np.random.Generator) -> None:
    real, half, none = (sets_with("phi", 3000, share, rng) for share in (0.4, 0.2, 0.0))
    found = {r.name: r for r in peak_ratios(real, half)}["peak phi"]
    assert found.value == pytest.approx(0.5, abs=4 * found.error)
    assert 0.01 < found.error < 0.1
    assert found.excess > 5
    assert found.worse == "both"
    assert found.null_value == pytest.approx(1, abs=0.05)
    missing = {r.name: r for r in peak_ratios(real, none)}["peak phi"]
    assert abs(missing.value) < 4 * missing.error
    assert "peak phi" not in {r.name for r in peak_ratios(none, real)}  # nothing to compare with
    equal = {r.name: r for r in peak_ratios(real, sets_with("phi", 3000, 0.4, rng))}["peak phi"]
    assert abs(equal.sigmas) < 4


def test_groups_of_sets_give_the_same_ratio(rng: np.random.Generator) -> None:
    real, generated = (sets_with("phi", 2010, share, rng) for share in (0.4, 0.3))
    whole = {r.name: r for r in peak_ratios(real, generated)}["peak phi"]
    groups = [grouped_spectra(jets) for jets in (real, generated)]
    assert groups[0].shape[0] == 101
    found = {r.name: r for r in grouped_ratios(*groups)}["peak phi"]
    assert found.value == pytest.approx(whole.value, rel=1e-5)
    assert found.error == pytest.approx(whole.error, rel=0.4)
    assert (found.num_real, found.num_generated) == (2010, 2010)


def test_weights_of_sets_count(rng: np.random.Generator) -> None:
    jets = sets_with("phi", 500, 0.4, rng)
    weights = rng.choice([-1.0, 1.0, 2.0], 500)
    groups = np.arange(500) % 7
    weighted = mass_spectra(jets, weights=weights, groups=groups, num_groups=7)["phi"]
    single = mass_spectra(jets)["phi"]
    expected = np.stack([weights[groups == g] @ single[groups == g] for g in range(7)])
    np.testing.assert_allclose(weighted, expected)
    few = pairs_in_windows(jets)[:, list(PEAKS).index("phi")]
    window = PEAKS["phi"].area == 1
    np.testing.assert_array_equal(few, single[:, window].sum(axis=1))


def test_like_signs_are_subtracted_and_charges_reversed() -> None:
    p4 = p4_from_pt_eta_phi_m([20.0, 20.0], [0.0, 0.0], [0.0, 0.03], [0.49368, 0.13957])
    partons = Partons.from_pt_eta_phi([21], [100.0], [0.0], [0.0])
    for ids, sign in (([321, -211], 1), ([-321, 211], 1), ([321, 211], -1), ([-321, -211], -1)):
        spectrum = mass_spectra(relative(ParticleSet(np.array([0, 2]), np.array(ids), p4), partons))["K*0"]
        assert spectrum.sum() == sign
    for ids, counts in (([321, -321], 1), ([321, 321], 0)):
        assert mass_spectra(relative(ParticleSet(np.array([0, 2]), np.array(ids), p4), partons))["phi"].sum() in (
            0,
            counts,
        )


def test_decays_in_steps() -> None:
    """A D*+ at rest relative to its daughters: D0 -> K- pi+ of 1.8648 GeV and a pion at rest, and the conjugate."""
    rng = np.random.default_rng(2)
    for sign in (1, -1):
        pair = decayed(1.8648, (-321, 211), 1, rng)[0]
        pion = pair.sum(axis=0) * 0.13957 / 1.8648
        p4 = np.concatenate([pair, pion[None]])
        ids = sign * np.array([-321, 211, 211])
        partons = Partons.from_pt_eta_phi([21], [60.0], [0.0], [0.0])
        found = mass_spectra(relative(ParticleSet(np.array([0, 3]), ids, p4), partons))
        peak = PEAKS["D*+"]
        assert found["D*+"].sum() == 1
        centre = 0.5 * (peak.bins[1:] + peak.bins[:-1])[found["D*+"][0] > 0]
        assert centre[0] == pytest.approx(0.1396, abs=0.001)
        assert found["D0"].sum() >= 1
        # with the conjugate pion there is no such decay
        other = mass_spectra(relative(ParticleSet(np.array([0, 3]), ids * [1, 1, -1], p4), partons))
        assert other["D*+"].sum() == 0


def test_combinations_hold_no_particle_twice() -> None:
    rows = np.arange(5)
    particles = Candidates(np.array([0, 0, 0, 1, 1]), np.ones((5, 4)), rows[:, None])
    pairs, _ = combined(particles, particles, 2, alike=True)
    assert [tuple(m) for m in pairs.members] == [(0, 1), (0, 2), (1, 2), (3, 4)]
    triples, first = combined(particles, pairs, 2)
    assert len(triples) == 3
    assert all(len(set(m)) == 3 for m in triples.members.tolist())
    np.testing.assert_array_equal(first, [0, 1, 2])


def test_values_that_are_not_finite_are_refused(rng: np.random.Generator) -> None:
    jets = sets_with("phi", 50, 0.4, rng)
    jets.pt_rel[3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        peak_ratios(jets, jets)
