"""The frame of a parton, in which its hadrons depend on flavour and transverse momentum alone.

The axis frame: boosted along the beam so that the parton has rapidity 0, then rotated so that it flies
along +z. The parton's hemisphere is pz > 0; rotations about z and reflections are exact symmetries.
"""

from __future__ import annotations

import numpy as np

from fastsim.event.arrays import Floats, Ints
from fastsim.event.kinematics import phi, pt
from fastsim.event.particles import Partons
from fastsim.event.species import PARTON_MASSES


def rapidity(partons: Partons) -> Floats:
    """Return the rapidities (N,) of partons that keep their momentum and get the masses of the Pythia gun's partons."""
    m = np.zeros(len(partons))
    for flavour in np.unique(np.abs(partons.pdg_id)):
        m[np.abs(partons.pdg_id) == flavour] = PARTON_MASSES[int(flavour)]
    transverse = pt(partons.p4)
    y: Floats = np.arcsinh(partons.p4[:, 3] / np.hypot(transverse, m))
    return y


def to_lab(p4: Floats, offsets: Ints, partons: Partons) -> Floats:
    """Move momenta from the axis frames of partons to the frame in which the partons' momenta are given.

    Args:
        p4: four-momenta in GeV, one parton after the other, shape (M, 4).
        offsets: parton i has the rows ``offsets[i]:offsets[i+1]`` of ``p4``, shape (N+1,).
        partons: N partons.

    Returns:
        Four-momenta in GeV, shape (M, 4).
    """
    counts = np.diff(offsets)
    angle, y = phi(partons.p4), rapidity(partons)
    c, s, ch, sh = (np.repeat(f(x), counts) for f, x in ((np.cos, angle), (np.sin, angle), (np.cosh, y), (np.sinh, y)))
    # axes of the frame: z is the parton's transverse direction n, x the beam, y = z cross x
    px, py, pz = p4[:, 3] * c + p4[:, 2] * s, p4[:, 3] * s - p4[:, 2] * c, p4[:, 1]
    return np.stack([p4[:, 0] * ch + pz * sh, px, py, pz * ch + p4[:, 0] * sh], axis=-1)


def to_axis(p4: Floats, offsets: Ints, partons: Partons) -> Floats:
    """Move momenta to the axis frames of their partons: the inverse of :func:`to_lab`.

    Args:
        p4: four-momenta in GeV, one parton after the other, shape (M, 4).
        offsets: parton i has the rows ``offsets[i]:offsets[i+1]`` of ``p4``, shape (N+1,).
        partons: N partons.

    Returns:
        Four-momenta in GeV, shape (M, 4).
    """
    counts = np.diff(offsets)
    angle = np.repeat(phi(partons.p4), counts)
    y = np.repeat(rapidity(partons), counts)
    ch, sh = np.cosh(y), np.sinh(y)
    energy, pz = p4[:, 0] * ch - p4[:, 3] * sh, p4[:, 3] * ch - p4[:, 0] * sh
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([energy, pz, p4[:, 1] * s - p4[:, 2] * c, p4[:, 1] * c + p4[:, 2] * s], axis=-1)
