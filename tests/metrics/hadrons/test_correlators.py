"""Energy correlations against closed forms, sums over triples, and FastJet's contrib."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsim.event import ParticleSet
from fastsim.event.kinematics import p4_from_pt_eta_phi_m
from metrics.hadrons.correlators import (
    EEC_EDGES,
    energy_correlations,
    energy_energy_correlator,
    generalized_e3,
    generalized_e3_padded,
)
from metrics.hadrons.efp import efps
from metrics.hadrons.jets import Jets, relative
from tests.helpers.jets import partons_of, toy_sets


def by_hand(z: NDArray[Any], eta: NDArray[Any], phi: NDArray[Any]) -> float:
    """Compute 2e3 of one set, triple by triple."""
    total = 0.0
    for triple in combinations(range(len(z)), 3):
        sides = sorted(np.hypot(eta[i] - eta[j], phi[i] - phi[j]) for i, j in combinations(triple, 2))
        total += z[list(triple)].prod() * sides[0] * sides[1]
    return float(total / z.sum() ** 3)


def set_of(pt: list[float], eta: list[float], phi: list[float], parton_phi: float = 0.0) -> Jets:
    """Make one set of photons about a parton of 100 GeV."""
    p4 = p4_from_pt_eta_phi_m(pt, eta, phi, 0.0)
    parton = partons_of([21], [100.0], [0.0], [parton_phi])
    return relative(ParticleSet(np.array([0, len(pt)]), np.full(len(pt), 22), p4), parton)


def test_generalized_e3_is_the_sum_over_triples_whatever_the_order_and_padding(rng: np.random.Generator) -> None:
    z, eta, phi = rng.random((3, 6, 9))
    expected = [by_hand(*one) for one in zip(z, eta, phi, strict=True)]
    np.testing.assert_allclose(generalized_e3_padded(z, eta, phi), expected, rtol=1e-12)
    order = rng.permutation(9)
    np.testing.assert_allclose(generalized_e3_padded(z[:, order], eta[:, order], phi[:, order]), expected, rtol=1e-12)
    padded = [np.pad(x, ((0, 0), (0, 4))) for x in (z, eta, phi)]
    np.testing.assert_allclose(generalized_e3_padded(*padded), expected, rtol=1e-12)
    np.testing.assert_allclose(generalized_e3_padded(7.0 * z, 2.0 * eta, 2.0 * phi), 4.0 * np.array(expected))


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (5, 2)])
def test_the_arguments_are_left_alone(shape: tuple[int, int], rng: np.random.Generator) -> None:
    z, eta, phi = rng.random((3, *shape))
    before = z.copy()
    found = generalized_e3_padded(z, eta, phi)
    np.testing.assert_array_equal(z, before)
    assert shape[1] > 2 or not found.any()


def test_agrees_with_fastjet_contrib(rng: np.random.Generator) -> None:
    from metrics.hadrons.clustering import cluster_sequence

    jets = relative(*toy_sets(30, 12.0, rng))
    massless = p4_from_pt_eta_phi_m(jets.pt_rel, jets.eta_rel, jets.phi_rel, 0.0)
    sequence = cluster_sequence(jets.offsets, massless, "cambridge_algorithm", 1000.0)

    def contrib(**options: object) -> NDArray[Any]:
        return np.asarray(sequence.exclusive_jets_energy_correlator(njets=1, beta=1, **options))

    e2, e3 = energy_correlations(efps(jets, max_particles=500, dtype=np.float64))
    generalized = generalized_e3(jets, max_particles=500, dtype=np.float64)
    np.testing.assert_allclose(e2, contrib(func="generalized", npoint=2), rtol=1e-6)
    np.testing.assert_allclose(e3, contrib(func="generalized", npoint=3), rtol=1e-6)
    np.testing.assert_allclose(generalized, contrib(func="generalized", npoint=3, angles=2), rtol=1e-6)
    np.testing.assert_allclose(generalized / e2**2, contrib(func="n2"), rtol=1e-6)


def test_leading_particles_and_single_precision(rng: np.random.Generator) -> None:
    jets = relative(*toy_sets(200, 30.0, rng))
    exact = generalized_e3(jets, max_particles=10, dtype=np.float64)
    for i in range(5):
        own = slice(jets.offsets[i], jets.offsets[i] + 10)
        assert exact[i] == pytest.approx(by_hand(jets.pt_rel[own], jets.eta_rel[own], jets.phi_rel[own]))
    rounded = generalized_e3(jets, max_particles=10)
    assert rounded.dtype == np.float32
    np.testing.assert_allclose(rounded, exact, rtol=1e-5)


def test_two_particles_have_one_angle() -> None:
    jets = set_of([60.0, 30.0], [0.0, 0.0], [0.1, -0.1])
    e2, e3 = energy_correlations(efps(jets, dtype=np.float64))
    np.testing.assert_allclose((e2[0], e3[0]), (60 * 30 / 90**2 * 0.2, 0.0), atol=1e-12)
    found = energy_energy_correlator(jets, edges=np.array([0.05, 0.15, 0.25]))
    np.testing.assert_allclose(found, [[0.0, 2 * 0.6 * 0.3]], rtol=1e-6)


def test_energy_energy_correlator_takes_azimuth_the_short_way_round() -> None:
    jets = set_of([60.0, 30.0], [0.0, 0.0], [3.1, -3.1])
    assert np.ptp(jets.phi_rel) > 6
    found = energy_energy_correlator(jets, edges=np.array([0.08, 0.09]))
    np.testing.assert_allclose(found, [[0.36]], rtol=1e-6)


def test_energy_energy_correlator_counts_every_pair(rng: np.random.Generator) -> None:
    jets = relative(*toy_sets(40, 15.0, rng))
    everything = energy_energy_correlator(jets, edges=np.array([0.0, 0.1, 0.5, 100.0]))
    expected = jets.sum(jets.pt_rel) ** 2 - jets.sum(jets.pt_rel**2)
    np.testing.assert_allclose(everything.sum(axis=1), expected, rtol=1e-5, atol=1e-12)
    own = slice(jets.offsets[3], jets.offsets[4])
    z, eta, phi = jets.pt_rel[own], jets.eta_rel[own], jets.phi_rel[own]
    theta = np.hypot(eta[:, None] - eta, phi[:, None] - phi)
    bins = np.histogram(theta, EEC_EDGES, weights=z[:, None] * z)[0]
    np.testing.assert_allclose(energy_energy_correlator(jets)[3], bins, rtol=1e-5, atol=1e-9)
    leading = energy_energy_correlator(jets, edges=np.array([0.0, 100.0]), max_particles=2)[3]
    assert leading == pytest.approx(2 * z[0] * z[1])


def test_empty_sets_have_zeros(rng: np.random.Generator) -> None:
    partons = partons_of([21, 21], [100.0, 100.0], [0.0, 0.0], [0.0, 0.0])
    for jets in (relative(ParticleSet.empty(2), partons), relative(ParticleSet.empty(0), partons[:0])):
        assert not generalized_e3(jets).any()
        assert energy_energy_correlator(jets).shape == (len(jets), len(EEC_EDGES) - 1)
        assert not np.stack(energy_correlations(efps(jets))).any()
