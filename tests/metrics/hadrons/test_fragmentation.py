"""Fragmentation functions against counts by hand."""

from __future__ import annotations

import numpy as np

from fastsim.event import ParticleSet
from fastsim.event.kinematics import p4_from_pt_eta_phi_m
from metrics.hadrons.fragmentation import Z_EDGES, fragmentation_functions
from metrics.hadrons.histograms import histogram_per_set
from metrics.hadrons.jets import relative
from metrics.hadrons.observables import SPECTRA
from tests.helpers.jets import partons_of, toy_sets


def test_particles_by_hand() -> None:
    p4 = p4_from_pt_eta_phi_m([30.0, 55.0, 0.01], [0.0, 0.1, 0.0], [0.4, -0.1, 0.0], 0.0)
    partons = partons_of([21, 21], [100.0, 100.0], [0.0, 0.0], [0.0, 0.0])
    jets = relative(ParticleSet(np.array([0, 0, 3]), np.array([22, -211, 22]), p4), partons)
    found = fragmentation_functions(jets, edges=np.array([0.01, 0.5, 1.0]))
    expected = {"all": [1, 1], "charged": [0, 1], "photon": [1, 0], "pi": [0, 1], "K": [0, 0]}
    for name, counts in expected.items():
        np.testing.assert_array_equal(found[name], [[0, 0], counts], err_msg=name)


def test_bins_hold_every_particle_within_the_edges(rng: np.random.Generator) -> None:
    jets = relative(*toy_sets(100, 30.0, rng))
    found = fragmentation_functions(jets)
    assert list(found) == ["all", "charged", *SPECTRA, "neutrino", "other"]
    inside = (jets.pt_rel >= Z_EDGES[0]) & (jets.pt_rel < Z_EDGES[-1])
    np.testing.assert_array_equal(found["all"].sum(axis=1), jets.sum(inside))
    pooled = np.histogram(jets.pt_rel[np.isin(jets.pdg_id, (211, -211))], Z_EDGES)[0]
    np.testing.assert_array_equal(found["pi"].sum(axis=0), pooled)


def test_no_sets_and_no_particles() -> None:
    partons = partons_of([21, 21], [100.0, 100.0], [0.0, 0.0], [0.0, 0.0])
    for num in (0, 2):
        found = fragmentation_functions(relative(ParticleSet.empty(num), partons[:num]))
        assert all(h.shape == (num, len(Z_EDGES) - 1) and not h.any() for h in found.values())


def test_values_outside_the_edges_and_nan_are_left_out() -> None:
    values = np.array([-1.0, 0.0, 1.999, 2.0, np.nan])
    found = histogram_per_set(np.zeros(5, int), values, np.array([0.0, 1.0, 2.0]), 2, np.arange(5.0))
    np.testing.assert_array_equal(found, [[1.0, 2.0], [0.0, 0.0]])
