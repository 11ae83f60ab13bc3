"""Helicity couplings of f fbar -> gamma*/Z or W -> f' fbar', in the limit of massless fermions.

References:
    Particle Data Group, Electroweak model and constraints on new physics (couplings of the standard model).
"""

from __future__ import annotations

import numpy as np

from fastsim.event import Floats

SIN2_THETA = 0.2312
"""Square of the sine of the effective weak mixing angle; Pythia has the same."""
MASS_Z, WIDTH_Z = 91.1876, 2.4952
"""Mass and width of the Z in GeV."""


def is_annihilation(first: int, second: int) -> bool:
    """Tell whether two incoming species (PDG ids) are a fermion and an antifermion."""
    return first * second < 0 and all(1 <= abs(k) <= 6 or 11 <= abs(k) <= 16 for k in (first, second))


def couplings(fermion: int) -> tuple[float, Floats]:
    """Return the charge Q of a fermion, and its couplings T3 - Q sin^2 to the Z, left and right, (2,)."""
    isospin = 0.5 if fermion % 2 == 0 else -0.5
    charge = isospin - 0.5 if fermion > 10 else isospin + 1 / 6
    return charge, np.array([isospin, 0.0]) - charge * SIN2_THETA


def asymmetry(first: int, second: int) -> float:
    """Return the product of the left-right asymmetries 2 v a / (v^2 + a^2) of Z -> f fbar of two fermions f."""
    left, right = np.stack([couplings(first)[1], couplings(second)[1]], axis=1) ** 2
    return float(np.prod((left - right) / (left + right)))


def helicity_rates(first: int, second: int, s: Floats) -> Floats:
    """Return |c_ab|^2 of f fbar -> gamma*/Z -> f' fbar', where f has helicity a and f' helicity b, shape (N, 2, 2).

    The cross-section of these helicities is proportional to |c_ab|^2 (1 + cos theta)^2 if they are equal, and to
    |c_ab|^2 (1 - cos theta)^2 if not; theta is the angle between f and f' in the rest frame of the pair, and

        c_ab = Q_f Q_f' + g_f^a g_f'^b / (sin^2 cos^2) s / (s - m_Z^2 + i m_Z Gamma_Z).

    Args:
        first: PDG id of f, positive.
        second: PDG id of f', positive.
        s: squared masses of the pairs in GeV^2, (N,).
    """
    (charge, g), (charge_2, g_2) = couplings(first), couplings(second)
    propagator = s / (s - MASS_Z**2 + 1j * MASS_Z * WIDTH_Z)
    z = np.outer(g, g_2) / (SIN2_THETA * (1 - SIN2_THETA))
    rates: Floats = np.abs(charge * charge_2 + z * propagator[:, None, None]) ** 2
    return rates


W_RATES: Floats = np.array([[1.0, 0.0], [0.0, 0.0]])
"""The rates of :func:`helicity_rates` for a W, which couples to left-handed fermions alone."""


def angular_rates(rates: Floats, cos_theta: Floats) -> Floats:
    """Return rates (2, 2) or (N, 2, 2) of :func:`helicity_rates` times (1 +- cos theta)^2, shape (N, 2, 2).

    Args:
        rates: the rates.
        cos_theta: cosines of the angle between f and f', (N,).
    """
    cosine = cos_theta[:, None, None]
    value: Floats = rates * (1 + np.array([[1.0, -1.0], [-1.0, 1.0]]) * cosine) ** 2
    return value
