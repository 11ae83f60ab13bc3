"""Charges and quantum numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsim.event import ParticleSet, offsets_from_counts
from fastsim.event.kinematics import p4_from_pt_eta_phi_m
from metrics.hadrons.charges import CHARGES, axis_rapidity, charge_observables
from metrics.hadrons.content import CONTENT, content
from metrics.hadrons.jets import Jets, relative
from metrics.hadrons.quantum_numbers import QUANTUM_NUMBERS, quantum_number_observables
from tests.helpers.jets import partons_of, toy_sets


def sets_of(*sets: list[tuple[int, float, float]], parton: int = 2) -> Jets:
    """Make sets about partons of 100 GeV from (PDG id, pT in GeV, azimuth) of massless particles."""
    flat = [particle for particles in sets for particle in particles]
    ids, pt, phi = (np.array([p[k] for p in flat]) for k in range(3))
    p4 = p4_from_pt_eta_phi_m(pt, np.zeros(len(flat)), phi, np.zeros(len(flat)))
    partons = partons_of([parton] * len(sets), [100.0] * len(sets), [0.0] * len(sets), [0.0] * len(sets))
    offsets = offsets_from_counts(np.array([len(particles) for particles in sets]))
    return relative(ParticleSet(offsets, ids.astype(np.int64), p4), partons)


def named(jets: Jets) -> dict[str, NDArray[np.float64]]:
    columns = [*charge_observables(jets).T, *quantum_number_observables(jets).T]
    return dict(zip([*CHARGES, *QUANTUM_NUMBERS], columns, strict=True))


def test_charges_by_hand() -> None:
    found = named(sets_of([(22, 50.0, 0.0), (211, 25.0, 0.05), (-211, 16.0, 0.2), (321, 4.0, -0.5)]))
    assert found["charge"] == 1
    assert found["jet_charge_0.5"] == pytest.approx(0.5 - 0.4 + 0.2)
    assert found["jet_charge_1"] == pytest.approx(0.25 - 0.16 + 0.04)
    assert [float(found[f"charge_{place}"][0]) for place in range(3)] == [0, 1, -1]
    assert found["jet_charge_core"] == pytest.approx(0.5)
    assert found["jet_charge_middle"] == pytest.approx(-0.4)
    assert found["jet_charge_rim"] == pytest.approx(0.2)
    assert found["neighbours_pt"] == -1  # + - +
    assert found["neighbours_y"] == -1  # wide angles are slow along the axis: K+, pi-, pi+


def test_sets_of_antiquarks_are_conjugated() -> None:
    particles = [(211, 40.0, 0.0), (2212, 30.0, 0.1), (321, 20.0, 0.2), (-11, 5.0, 0.3), (310, 2.0, 0.1)]
    quark, antiquark = named(sets_of(particles)), named(sets_of(particles, parton=-2))
    for name in ("charge", "jet_charge_0.3", "charge_1", "baryon_number", "strangeness", "lepton_number", "lepton_1"):
        assert quark[name] == -antiquark[name] != 0, name


def test_quantum_numbers_by_hand() -> None:
    found = named(
        sets_of(
            [
                (2212, 30.0, 0.0),
                (-3122, 20.0, 0.3),
                (2112, 10.0, 0.0),
                (-321, 9.0, 0.6),
                (13, 5.0, 0.0),
                (-14, 4.0, 0.0),
            ],
            [(-2212, 30.0, 0.0), (310, 20.0, 0.1)],
        )
    )
    np.testing.assert_array_equal(found["baryon_number"], [1, -1])
    np.testing.assert_array_equal(found["baryons"], [3, 1])
    np.testing.assert_array_equal(found["baryon_pairs"], [1, 0])
    np.testing.assert_array_equal(found["baryon_1"], [1, -1])
    np.testing.assert_array_equal(found["strangeness"], [0, 0])  # anti-Lambda +1, K- -1
    np.testing.assert_array_equal(found["strange_pairs"], [1, 0])
    np.testing.assert_array_equal(found["strange_1"], [1, 0])
    np.testing.assert_array_equal(found["lepton_number"], [0, 0])
    np.testing.assert_array_equal(found["lepton_1"], [-1, 0])
    along = np.arctanh(np.cos([0.3, 0.6]))
    assert found["strange_gap"][0] == pytest.approx(along[0] - along[1])
    assert found["baryon_gap"][1] == 0


def test_rapidity_along_the_parton() -> None:
    along = axis_rapidity(sets_of([(22, 100.0, 0.0), (22, 50.0, 0.4), (22, 20.0, 3.0)]))
    assert 9 < along[0] < 11  # infinite for a massless particle on the axis: cut
    np.testing.assert_allclose(along[1:], np.arctanh(np.cos([0.4, 3.0])))


def test_content_is_finite_for_any_set(rng: np.random.Generator) -> None:
    particles, partons = toy_sets(200, 3.0, rng)
    found = content(relative(particles, partons))
    assert found.shape == (200, len(CONTENT))
    assert np.isfinite(found).all()
    empty = content(relative(ParticleSet.empty(2), partons[:2]))
    assert empty.shape == (2, len(CONTENT))
    assert not empty.any()
    assert content(relative(ParticleSet.empty(0), partons[:0])).shape == (0, len(CONTENT))
