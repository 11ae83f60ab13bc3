"""Laws of relativistic kinematics, on momenta from soft to TeV."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastsim.event import kinematics as kin

Floats = NDArray[np.float64]
momentum = st.floats(-2000, 2000)
masses = st.floats(1e-3, 500)
betas = st.floats(-0.99, 0.99)


def vector(px: float, py: float, pz: float, m: float) -> Floats:
    return kin.on_shell(np.array([0.0, px, py, pz]), np.array(m))


vectors = st.builds(vector, momentum, momentum, momentum, masses)
frames = st.builds(vector, momentum, momentum, momentum, st.floats(1.0, 500.0))


@given(vectors, frames)
def test_boosting_there_and_back(p: Floats, frame: Floats) -> None:
    there = kin.boost_from(p, frame)
    scale = max(p[0], there[0]) * frame[0] / kin.mass(frame)
    np.testing.assert_allclose(kin.boost_to(there, frame), p, atol=1e-13 * scale + 1e-9)


@given(frames)
def test_a_frame_is_at_rest_in_itself(frame: Floats) -> None:
    rest = kin.boost_from(frame, frame)
    gamma = frame[0] / kin.mass(frame)
    np.testing.assert_allclose(rest, [float(kin.mass(frame)), 0, 0, 0], atol=1e-14 * gamma * frame[0] + 1e-12)


@given(vectors, vectors, frames)
def test_boosts_keep_invariants(p: Floats, q: Floats, frame: Floats) -> None:
    def dot(a: Floats, b: Floats) -> float:
        return float(a[0] * b[0] - a[1:] @ b[1:])

    a, b = kin.boost_to(p, frame), kin.boost_to(q, frame)
    assert dot(a, b) == pytest.approx(dot(p, q), abs=1e-13 * a[0] * b[0])


@given(vectors, betas)
def test_longitudinal_boosts_shift_rapidity(p: Floats, beta: float) -> None:
    moved = kin.boost(p, np.array([0.0, 0.0, beta]))
    # E^2 - p^2 of a light, fast particle has lost (E/m)^2 of the double's precision before rapidity sees it
    lost = 1e-14 * float(moved[0] ** 2 / max(kin.pt(p) ** 2 + kin.mass_squared(p), 1e-12))
    assert kin.rapidity(moved) == pytest.approx(kin.rapidity(p) + np.arctanh(beta), abs=1e-6 + lost)
    assert kin.pt(moved) == pytest.approx(kin.pt(p))
    assert moved[1:3] == pytest.approx(p[1:3])


@given(frames, betas, betas)
def test_both_boosts_agree(p: Floats, bx: float, bz: float) -> None:
    beta = np.array([bx, 0.0, bz]) / 1.5
    frame = np.concatenate([[1.0], beta])
    np.testing.assert_allclose(kin.boost(p, beta), kin.boost_to(p, frame), rtol=1e-9, atol=1e-9)


@given(vectors)
def test_mass_shell(p: Floats) -> None:
    shell = kin.on_shell(p, np.array(2.5))
    assert kin.mass_squared(shell) == pytest.approx(6.25, abs=1e-14 * shell[0] ** 2)
    np.testing.assert_array_equal(shell[1:], p[1:])


@given(st.floats(0.1, 3000), st.floats(-8, 8), st.floats(-3.1, 3.1), st.floats(0, 200))
def test_coordinates_round_trip(pt: float, eta: float, phi: float, m: float) -> None:
    p4 = kin.p4_from_pt_eta_phi_m(pt, eta, phi, m)
    assert kin.pt(p4) == pytest.approx(pt)
    assert kin.eta(p4) == pytest.approx(eta, abs=1e-12)
    assert kin.phi(p4) == pytest.approx(phi, abs=1e-12)
    assert kin.mass_squared(p4) == pytest.approx(m**2, abs=1e-14 * float(p4[0]) ** 2)


def test_rapidity_far_forward_keeps_its_precision() -> None:
    p4 = kin.p4_from_pt_eta_phi_m(1.0, 0.0, 0.3, 0.13957)
    forward = kin.p4_from_pt_eta_phi_m(1.0, 7.5, 0.3, 0.0)
    assert kin.rapidity(forward) == pytest.approx(7.5, abs=1e-8)
    assert kin.rapidity(p4) == 0.0


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_delta_phi_is_the_short_way(a: float, b: float) -> None:
    d = float(kin.delta_phi(np.array(a), np.array(b)))
    assert -np.pi < d <= np.pi + 1e-15
    assert np.cos(d) == pytest.approx(np.cos(a - b), abs=1e-12)
    assert np.sin(d) == pytest.approx(np.sin(a - b), abs=1e-12)


def test_known_numbers() -> None:
    p4 = np.array([5.0, 3.0, 0.0, 4.0])
    assert kin.mass(p4) == 0.0
    assert kin.pt(p4) == 3.0
    assert kin.eta(p4) == pytest.approx(np.log(3.0))
    assert float(kin.delta_phi(np.array(np.pi), np.array(0.0))) == pytest.approx(np.pi)
    assert kin.phi(np.array([1.0, -1.0, 0.0, 0.0])) == np.pi


def test_azimuths_do_not_depend_on_where_they_are_kept() -> None:
    """numpy's arctan2 of strided columns gives other bits where its result lies right behind them in memory."""
    momenta = np.random.default_rng(1).normal(size=(40, 4))
    expected = kin.phi(momenta)
    kept = []
    for size in np.random.default_rng(2).integers(1, 41, 4000):
        p4 = momenta[:size].copy()
        kept.append(kin.phi(p4))
        np.testing.assert_array_equal(kept[-1], expected[:size])
