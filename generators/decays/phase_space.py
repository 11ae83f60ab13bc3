"""Decays into two to four bodies in the rest frame of what decays, compiled: phase space and lepton pairs.

References:
    James, Monte Carlo phase space, 1968, CERN 68-15 (the M-generator).
    Kroll, Wada, Internal pair production associated with the emission of high-energy gamma rays, 1955, Phys. Rev. 98,
    1355.
"""

from __future__ import annotations

from math import cos, pi, sin, sqrt

import numpy as np

from fastsim.compiled import compiled_inside
from fastsim.event import Floats

_PAIR_MARGIN = 1.000001
"""Least mass of a virtual photon, in units of the sum of the masses of its leptons."""
_MAX_TRIES = 1000


@compiled_inside
def breakup(mass: float, m1: float, m2: float) -> float:
    """Return the momentum p* = sqrt((M^2 - (m1 + m2)^2) (M^2 - (m1 - m2)^2)) / 2M in GeV; 0 below threshold."""
    product = (mass - m1 - m2) * (mass + m1 + m2) * (mass - m1 + m2) * (mass + m1 - m2)
    return sqrt(max(product, 0.0)) / (2 * mass)


@compiled_inside
def boost(q: Floats, row: int, m: float, px: float, py: float, pz: float, mass: float) -> None:
    """Boost ``q[row]``, a particle of mass m in the rest frame of a momentum with that mass, to where that is measured.

    The energy is computed from the momentum, so that rounding leaves the particle on its mass shell.
    """
    energy = sqrt(px * px + py * py + pz * pz + mass * mass)
    along = (px * q[row, 1] + py * q[row, 2] + pz * q[row, 3]) / (energy + mass)
    scale = (q[row, 0] + along) / mass
    q[row, 1] += scale * px
    q[row, 2] += scale * py
    q[row, 3] += scale * pz
    q[row, 0] = sqrt(q[row, 1] ** 2 + q[row, 2] ** 2 + q[row, 3] ** 2 + m * m)


@compiled_inside
def two_body(q: Floats, i: int, j: int, p: float, m1: float, m2: float, rng: np.random.Generator) -> None:
    """Fill rows i and j of ``q`` with an isotropic pair of opposite momenta p, energies first."""
    cosine, angle = 2 * rng.random() - 1, 2 * pi * rng.random()
    across = p * sqrt(1 - cosine * cosine)
    x, y, z = across * cos(angle), across * sin(angle), p * cosine
    q[i, 0], q[i, 1], q[i, 2], q[i, 3] = sqrt(p * p + m1 * m1), x, y, z
    q[j, 0], q[j, 1], q[j, 2], q[j, 3] = sqrt(p * p + m2 * m2), -x, -y, -z


@compiled_inside
def three_body(q: Floats, mass: float, m: Floats, rng: np.random.Generator) -> None:
    """Fill rows 0 to 2 of ``q`` with momenta flat in phase space: the density of m23 is p1* p23*."""
    low, free = m[1] + m[2], mass - m[0] - m[1] - m[2]
    # half the product of the greatest momenta, which are not reached together, is a bound (James 1968)
    bound = 0.5 * breakup(mass, m[0], low) * breakup(low + free, m[1], m[2])
    while True:
        pair = low + free * rng.random()
        p1, p23 = breakup(mass, m[0], pair), breakup(pair, m[1], m[2])
        if p1 * p23 >= bound * rng.random():
            break
    two_body(q, 1, 2, p23, m[1], m[2], rng)
    two_body(q, 0, 3, p1, m[0], pair, rng)
    for row in (1, 2):
        boost(q, row, m[row], q[3, 1], q[3, 2], q[3, 3], pair)


@compiled_inside
def four_body(q: Floats, mass: float, m: Floats, rng: np.random.Generator) -> None:
    """Fill rows 0 to 3 of ``q`` with momenta flat in phase space; rows 4 and 5 are working memory."""
    free = mass - m[0] - m[1] - m[2] - m[3]
    m34, m234 = m[2] + m[3], m[1] + m[2] + m[3]
    bound = breakup(mass, m[0], m234) * breakup(m234 + free, m[1], m34) * breakup(m34 + free, m[2], m[3])
    while True:
        a, b = rng.random(), rng.random()
        triple, pair = m234 + free * max(a, b), m34 + free * min(a, b)
        p1, p2, p34 = breakup(mass, m[0], triple), breakup(triple, m[1], pair), breakup(pair, m[2], m[3])
        if p1 * p2 * p34 >= bound * rng.random():
            break
    two_body(q, 2, 3, p34, m[2], m[3], rng)
    two_body(q, 1, 4, p2, m[1], pair, rng)
    two_body(q, 0, 5, p1, m[0], triple, rng)
    for row in (2, 3):
        boost(q, row, m[row], q[4, 1], q[4, 2], q[4, 3], pair)
    for row in (1, 2, 3):
        boost(q, row, m[row], q[5, 1], q[5, 2], q[5, 3], triple)


@compiled_inside
def vector_dominance(s: float, least: float, rho: Floats) -> float:
    """Return the weight of a virtual photon of squared mass s: Kroll and Wada's, times Pythia's form factor of the rho.

    Args:
        s: squared mass in GeV^2.
        least: squared least mass, of the leptons at rest, in GeV^2.
        rho: squares of mass and width of the rho in GeV^2, (2,).
    """
    shape = rho[0] * (rho[0] + rho[1]) / ((s - rho[0]) ** 2 + rho[0] * rho[1])
    return float((1 + 0.5 * least / s) * sqrt(1 - least / s) * shape)


@compiled_inside
def pair_mass(mass: float, others: float, lepton: float, rho: Floats, rng: np.random.Generator) -> float:
    """Draw the mass in GeV of the lepton pair of a decay X -> others l+ l-; 0 after too many tries."""
    least, most = (2 * _PAIR_MARGIN * lepton) ** 2, (mass - others) ** 2
    for _ in range(_MAX_TRIES):
        s = least * (most / least) ** rng.random()
        if vector_dominance(s, least, rho) * (1 - s / most) ** 3 >= rng.random():
            return sqrt(s)
    return 0.0


@compiled_inside
def two_pair_masses(mass: float, l1: float, l2: float, rho: Floats, rng: np.random.Generator) -> tuple[float, float]:
    """Draw the masses in GeV of both lepton pairs of a decay X -> l1+ l1- l2+ l2-; zeros after too many tries."""
    least1, least2 = (2 * _PAIR_MARGIN * l1) ** 2, (2 * _PAIR_MARGIN * l2) ** 2
    most1, most2 = (mass - sqrt(least2)) ** 2, (mass - sqrt(least1)) ** 2
    for _ in range(_MAX_TRIES):
        s1 = least1 * (most1 / least1) ** rng.random()
        s2 = least2 * (most2 / least2) ** rng.random()
        m1, m2 = sqrt(s1), sqrt(s2)
        p = 2 * breakup(mass, m1, m2) / mass if m1 + m2 < mass else 0.0
        if vector_dominance(s1, least1, rho) * vector_dominance(s2, least2, rho) * p**3 >= rng.random():
            return m1, m2
    return 0.0, 0.0


@compiled_inside
def lepton_pair(q: Floats, photon: int, i: int, j: int, mass: float, lepton: float, rng: np.random.Generator) -> None:
    """Fill rows i and j of ``q`` with the leptons of the virtual photon in another row (which may be one of them).

    About the photon's direction, cos(theta) has the density 1 + c^2 + r (1 - c^2), r = (2 m_l / m_ll)^2.
    """
    x, y, z = q[photon, 1], q[photon, 2], q[photon, 3]
    ratio = (2 * _PAIR_MARGIN * lepton / mass) ** 2
    p = sqrt(max(mass * mass / 4 - lepton * lepton, 0.0))
    length = sqrt(x * x + y * y + z * z)
    while True:
        two_body(q, i, j, p, lepton, lepton, rng)
        c = (x * q[i, 1] + y * q[i, 2] + z * q[i, 3]) / (length * p)
        if 1 + c * c + ratio * (1 - c * c) >= 2 * rng.random():
            break
    boost(q, i, lepton, x, y, z, mass)
    boost(q, j, lepton, x, y, z, mass)
