"""Masses of broad hadrons, as Pythia 8 draws them.

The line shape is a Breit-Wigner in m^2 whose width grows from a threshold m_thr (Pythia's default,
``ParticleData:modeBreitWigner = 4``):

    dP / dm^2 ~ m Gamma(m) / ((m^2 - m0^2)^2 + (m Gamma(m))^2),
    Gamma(m) = Gamma0 sqrt((m^2 - m_thr^2) / (m0^2 - m_thr^2))

within the range of masses of the species. Where Gamma(m) lifts it by more than ``ParticleData:maxEnhanceBW`` = 2.5
above the one of fixed width, it is cut there.

References:
    Bierlich et al., A comprehensive guide to the physics and usage of PYTHIA 8.3, 2022, arXiv:2203.11601.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import atan, inf, pi, sqrt, tan

import numpy as np

from fastsim.compiled import compiled, compiled_inside
from fastsim.errors import FastsimError
from fastsim.event import Floats, Ints
from generators.decays.data import Species, particle_data

MAX_ENHANCEMENT = 2.5
NUM_PARAMETERS = 5


def line_shape(species: Species) -> tuple[float, ...]:
    """Return what :func:`draw_mass` needs of a species: m0 and Gamma0 (GeV), m_thr^2 (GeV^2), and two angles.

    With an angle evenly between the two, m0^2 + m0 Gamma0 tan(angle) follows the Breit-Wigner of fixed width within
    the species' range of masses. For narrow species, all but m0 are zero.
    """
    if species.width == 0:
        return species.mass, 0.0, 0.0, 0.0, 0.0
    low, high = species.mass_range
    scale = species.mass * species.width
    top = high if high > low else inf  # as Pythia reads a range that is none
    angles = [atan((m**2 - species.mass**2) / scale) if m < inf else pi / 2 for m in (low, top)]
    return species.mass, species.width, species.threshold**2, angles[0], angles[1]


@compiled_inside
def draw_mass(shape: Floats, rng: np.random.Generator) -> float:
    """Draw a mass in GeV from the parameters (5,) of :func:`line_shape`."""
    m0, width = shape[0], shape[1]
    if width == 0.0:
        return float(m0)
    s0, w0 = m0 * m0, m0 * width
    while True:
        s = s0 + w0 * tan(shape[3] + (shape[4] - shape[3]) * rng.random())
        running = sqrt(max(s, 0.0) * max(s - shape[2], 0.0) / (s0 - shape[2])) * width
        fixed_density = w0 / ((s - s0) ** 2 + w0**2)
        density = running / ((s - s0) ** 2 + running**2)
        if density >= MAX_ENHANCEMENT * fixed_density * rng.random():
            return sqrt(max(s, 0.0))


@compiled
def _fill(shapes: Floats, kind: Ints, rng: np.random.Generator, masses: Floats) -> None:
    """Fill ``masses`` (M,) from line shapes (K, 5), of which ``kind`` (M,) says which."""
    for i in range(len(masses)):
        masses[i] = draw_mass(shapes[kind[i]], rng)


def draw_masses(pdg_id: Ints, rng: np.random.Generator) -> Floats:
    """Draw the mass of each hadron or lepton, (M,) in GeV: the nominal one of narrow species.

    Args:
        pdg_id: PDG ids, (M,).
        rng: all randomness.

    Raises:
        FastsimError: if Pythia does not know a species.
    """
    ids, kind = np.unique(np.asarray(pdg_id, dtype=np.int64), return_inverse=True)
    return draw_masses_of(line_shapes(ids.tolist()), kind.astype(np.int64), rng)


def draw_masses_of(shapes: Floats, kind: Ints, rng: np.random.Generator) -> Floats:
    """Draw masses (M,) in GeV from line shapes (K, 5), of which ``kind`` (M,) says which; see :func:`draw_masses`."""
    masses = np.empty(len(kind))
    _fill(shapes, kind, rng, masses)
    return masses


def line_shapes(ids: Iterable[int]) -> Floats:
    """Return the parameters of :func:`line_shape` of K species by their PDG ids, (K, 5); of photons they are zero.

    Raises:
        FastsimError: if Pythia does not know a species.
    """
    data = particle_data()
    for pdg_id in ids:
        if pdg_id not in data and pdg_id != 22:
            raise FastsimError(f"PDG id {pdg_id}: no hadron or lepton whose mass Pythia knows")
    rows = [line_shape(data[i]) if i != 22 else (0.0,) * NUM_PARAMETERS for i in ids]
    return np.array(rows, dtype=np.float64).reshape(-1, NUM_PARAMETERS)
