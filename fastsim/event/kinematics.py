"""Relativistic kinematics on arrays of four-momenta (E, px, py, pz) in GeV."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def p4_from_pt_eta_phi_m(pt: ArrayLike, eta: ArrayLike, phi: ArrayLike, m: ArrayLike) -> Floats:
    """Return four-momenta in GeV, shape (..., 4), from pT (GeV), pseudorapidity, azimuth (rad) and mass (GeV)."""
    pt_, eta_, phi_, m_ = np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in (pt, eta, phi, m)))
    px, py, pz = pt_ * np.cos(phi_), pt_ * np.sin(phi_), pt_ * np.sinh(eta_)
    return np.stack([np.sqrt(px**2 + py**2 + pz**2 + m_**2), px, py, pz], axis=-1)


def pt(p4: Floats) -> Floats:
    """Return the transverse momentum in GeV, shape (...), of four-momenta (..., 4)."""
    value: Floats = np.hypot(p4[..., 1], p4[..., 2])
    return value


def phi(p4: Floats) -> Floats:
    """Return the azimuth in (-pi, pi], shape (...), of four-momenta (..., 4)."""
    # copies: numpy takes a strided column to reach past its end, and where the result happens to lie there it leaves
    # its vector loop for the C library's function, whose last bit differs: the same momenta would give two azimuths
    value: Floats = np.arctan2(np.asarray(p4[..., 2], order="C"), np.asarray(p4[..., 1], order="C"))
    return value


def eta(p4: Floats) -> Floats:
    """Return the pseudorapidity asinh(pz / pT), shape (...), of four-momenta (..., 4); infinite along the beam."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value: Floats = np.arcsinh(p4[..., 3] / pt(p4))
    return value


def rapidity(p4: Floats) -> Floats:
    """Return the rapidity y = asinh(pz / mT), shape (...), of four-momenta (..., 4) in GeV.

    mT^2 = pT^2 + m^2; this form of y is stable for large |y|.
    """
    mt = np.sqrt(np.maximum(pt(p4) ** 2 + mass_squared(p4), 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        value: Floats = np.arcsinh(p4[..., 3] / mt)
    return value


def mass_squared(p4: Floats) -> Floats:
    """Return the invariant mass squared E^2 - p^2 in GeV^2, computed as (E - |p|)(E + |p|), of momenta (..., 4)."""
    p = np.sqrt(np.sum(p4[..., 1:] ** 2, axis=-1))
    value: Floats = (p4[..., 0] - p) * (p4[..., 0] + p)
    return value


def mass(p4: Floats) -> Floats:
    """Return the invariant mass in GeV, shape (...), of four-momenta (..., 4); rounding below zero is cut to zero."""
    value: Floats = np.sqrt(np.maximum(mass_squared(p4), 0.0))
    return value


def delta_phi(a: Floats, b: Floats) -> Floats:
    """Return the difference a - b of azimuths (rad) in (-pi, pi]."""
    value: Floats = -((-(a - b) + np.pi) % (2 * np.pi) - np.pi)
    return value


def boost(p4: Floats, beta: Floats) -> Floats:
    """Boost ``p4`` (..., 4) actively by the velocities ``beta`` (..., 3): a particle at rest gets velocity beta."""
    b2 = np.sum(beta**2, axis=-1)
    gamma = 1.0 / np.sqrt(1.0 - b2)
    bp = np.sum(beta * p4[..., 1:], axis=-1)
    # (gamma - 1) / b2 = gamma^2 / (1 + gamma): no division by a vanishing velocity
    factor = gamma**2 / (1.0 + gamma) * bp + gamma * p4[..., 0]
    return np.concatenate([(gamma * (p4[..., 0] + bp))[..., None], p4[..., 1:] + factor[..., None] * beta], axis=-1)


def boost_to(p4: Floats, frame: Floats) -> Floats:
    """Boost ``p4`` (..., 4), given in the rest frame of the momenta ``frame`` (..., 4), to where ``frame`` is measured.

    Uses gamma = E/m and gamma*beta = p/m, which keeps precision at large gamma.
    """
    m = np.sqrt(np.maximum(mass_squared(frame), 1e-300))[..., None]
    u = frame[..., 1:] / m
    gamma = frame[..., :1] / m
    up = np.sum(u * p4[..., 1:], axis=-1, keepdims=True)
    energy = gamma * p4[..., :1] + up
    return np.concatenate([energy, p4[..., 1:] + u * (p4[..., :1] + up / (1.0 + gamma))], axis=-1)


def boost_from(p4: Floats, frame: Floats) -> Floats:
    """Boost ``p4`` (..., 4) to the rest frame of the momenta ``frame`` (..., 4): the inverse of :func:`boost_to`."""
    return boost_to(p4, frame * np.array([1.0, -1.0, -1.0, -1.0]))


def on_shell(p4: Floats, m: Floats) -> Floats:
    """Return the three-momenta of ``p4`` (..., 4) with the energies of particles of mass ``m`` (...), in GeV."""
    energy = np.sqrt(np.sum(p4[..., 1:] ** 2, axis=-1) + m**2)
    return np.concatenate([energy[..., None], p4[..., 1:]], axis=-1)


def rotate_between(vectors: Floats, start: Floats, end: Floats) -> Floats:
    """Turn vectors (N, 3) by the smallest rotations that take the unit vectors ``start`` (N, 3) to ``end`` (N, 3)."""
    cosine = np.sum(start * end, axis=-1, keepdims=True)
    axis = np.cross(start, end)
    along = np.sum(axis * vectors, axis=-1, keepdims=True)
    opposite = cosine < -1 + 1e-12
    factor = 1.0 / np.where(opposite, 1.0, 1.0 + cosine)
    turned = cosine * vectors + np.cross(axis, vectors) + along * factor * axis
    if opposite.any():  # any axis across does: turn by pi about it
        helper = np.where(np.abs(start[:, :1]) < 0.9, np.array([[1.0, 0.0, 0.0]]), np.array([[0.0, 1.0, 0.0]]))
        across = np.cross(start, helper)
        across /= np.linalg.norm(across, axis=-1, keepdims=True)
        turned = np.where(opposite, 2 * np.sum(across * vectors, axis=-1, keepdims=True) * across - vectors, turned)
    return np.asarray(turned)
