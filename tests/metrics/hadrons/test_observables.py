"""Observables against hand-made sets."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.event import ParticleSet
from fastsim.event.kinematics import mass, p4_from_pt_eta_phi_m
from metrics.hadrons import efp
from metrics.hadrons.jets import relative
from metrics.hadrons.observables import (
    FLOW_EDGES,
    GROUPS,
    OBSERVABLES,
    SPECIES,
    energy_flow,
    group_counts,
    observables,
    species_counts,
)
from metrics.hadrons.sample import Features, features
from metrics.hadrons.subjettiness import subjettiness
from tests.helpers.jets import partons_of, toy_sets


@pytest.fixture
def pair() -> Features:
    """Make a parton of 100 GeV with a pi+ of 60 and a photon of 30 GeV, 0.5 apart in azimuth, and one empty set."""
    p4 = p4_from_pt_eta_phi_m([30.0, 60.0], [0.0, 0.0], [0.4, -0.1], [0.0, 0.13957])
    partons = partons_of([2, 21], [100.0, 100.0], [0.0, 0.0], [0.0, 0.0])
    return features(ParticleSet(np.array([0, 2, 2]), np.array([22, 211]), p4), partons, dtype=np.float64)


def test_two_particles(pair: Features) -> None:
    value = {name: pair.column(name)[0] for name in OBSERVABLES}
    p4 = p4_from_pt_eta_phi_m([30.0, 60.0], [0.0, 0.0], [0.4, -0.1], [0.0, 0.13957])
    expected = {
        "multiplicity": 2,
        "charged": 1,
        "mass": mass(p4.sum(axis=0)) / 100,
        "girth": (30 * 0.4 + 60 * 0.1) / 90,
        "ptd": np.hypot(30, 60) / 90,
        "z1": 0.6,
        "z2": 0.3,
        "tau21": 0.0,
        "c2": 0.0,
        "d2": 0.0,
        "sum_pt": 0.9,
        "net_phi": 0.3 * np.sin(0.4) - 0.6 * np.sin(0.1),
        "net_y": 0.0,
        "e2": 60 * 30 / 90**2 * 0.5,
        "e3": 0.0,
        "n2": 0.0,
        "tau32": 0.0,
    }
    for name, number in expected.items():
        assert value[name] == pytest.approx(number, abs=1e-9), name


def test_an_empty_set_has_zeros_and_no_nan(pair: Features) -> None:
    assert not pair.observables[1].any()
    assert not pair.efps[1].any()


def test_three_equal_particles_have_the_ratios_of_a_triangle() -> None:
    angle = 0.1
    p4 = p4_from_pt_eta_phi_m(30.0, [0.0, angle, angle / 2], [0.0, 0.0, angle * np.sqrt(0.75)], 0.0)
    sets = ParticleSet(np.array([0, 3]), np.array([22, 22, 22]), p4)
    found = features(sets, partons_of([21], [90.0], [0.0], [0.0]), dtype=np.float64)
    e2, e3 = 3 * angle / 9, angle**3 / 27
    assert found.column("c2")[0] == pytest.approx(e3 / e2**2)
    assert found.column("d2")[0] == pytest.approx(e3 / e2**3)
    assert found.column("e2")[0] == pytest.approx(e2)
    assert found.column("e3")[0] == pytest.approx(e3)
    assert found.column("n2")[0] == pytest.approx((angle**2 / 27) / e2**2)


def test_ratios_of_subjettiness(rng: np.random.Generator) -> None:
    jets = relative(*toy_sets(50, 30.0, rng))
    tau = subjettiness(jets, num_axes=3)
    columns = dict(zip(OBSERVABLES, observables(jets, efp.efps(jets)).T, strict=True))
    np.testing.assert_allclose(columns["tau21"], tau[:, 1] / tau[:, 0])
    np.testing.assert_allclose(columns["tau32"], tau[:, 2] / tau[:, 1])


def test_counts_flow_and_sums_agree(rng: np.random.Generator) -> None:
    sets, partons = toy_sets(100, 30.0, rng)
    jets = relative(sets, partons)
    counts = species_counts(jets)
    np.testing.assert_array_equal(counts.sum(axis=1), sets.counts)
    np.testing.assert_array_equal(group_counts(counts).sum(axis=1), sets.counts)
    quarks = partons.pdg_id > 0
    plus = SPECIES.index(211), SPECIES.index(-211)
    charged = [np.bincount(sets.index[sets.pdg_id == i], minlength=100) for i in (211, -211)]
    np.testing.assert_array_equal(counts[quarks][:, plus], np.stack(charged, axis=1)[quarks])
    np.testing.assert_array_equal(counts[~quarks][:, plus], np.stack(charged[::-1], axis=1)[~quarks])
    near = np.hypot(jets.eta_rel, jets.phi_rel) < FLOW_EDGES[-1]
    np.testing.assert_allclose(energy_flow(jets).sum(axis=1), jets.sum(jets.pt_rel * near), rtol=1e-5)
    np.testing.assert_allclose(efp.efps(jets, max_particles=500)[:, 0], jets.sum(jets.pt_rel), rtol=1e-5)


def test_unknown_species_are_counted_as_other(rng: np.random.Generator) -> None:
    sets, partons = toy_sets(5, 10.0, rng)
    odd = ParticleSet(sets.offsets, np.full(len(sets.pdg_id), 1000022), sets.p4)
    counts = species_counts(relative(odd, partons))
    np.testing.assert_array_equal(counts[:, -1], sets.counts)
    assert set(sum(GROUPS.values(), ())) == set(SPECIES)
