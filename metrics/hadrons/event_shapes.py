r"""Shapes of whole events at rest, such as e+e- -> hadrons: thrust, sphericity, C parameter and their kin.

Thrust is T = max_n sum_i |p_i . n| / sum_i |p_i|. At its maximum n lies along sum_i s_i p_i with s_i the sign of
p_i . n; from each of 16 starts, the sums of the five hardest particles with all signs, this is iterated until nothing
changes, and the largest is kept (as in Pythia 6, which starts from fewer). The major is the same across the thrust
axis, the minor the sum along what is left; oblateness is their difference. With

    S^{ab} = sum_i p_i^a p_i^b |p_i|^{r-2} / sum_i |p_i|^r

and its eigenvalues l1 >= l2 >= l3: sphericity S = 3/2 (l2 + l3) and aplanarity 3/2 l3 for r = 2, and
C = 3 (l1 l2 + l1 l3 + l2 l3) for r = 1. The heavy jet mass is the larger squared mass of the two hemispheres about the
thrust axis over the squared visible energy.

References:
    Brandt et al. 1964, Phys. Lett. 12, 57; Farhi 1977, Phys. Rev. Lett. 39, 1587 (thrust). Bjorken, Brodsky 1970,
    Phys. Rev. D 1, 1416 (sphericity). Parisi 1978, Phys. Lett. B 74, 65 (C). Clavelli 1979, Phys. Lett. B 85, 111 (jet
    masses). Sjostrand, Mrenna, Skands 2006, arXiv:hep-ph/0603175, section 15.2 (the iteration).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fastsim.event import ParticleSet
from fastsim.event.arrays import ragged_indices
from fastsim.event.kinematics import mass_squared
from metrics.hadrons.histograms import sum_per_set

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EVENT_SHAPES: dict[str, str] = {
    "thrust": "1 - T",
    "thrust_major": "thrust across the thrust axis",
    "thrust_minor": "thrust across thrust axis and major axis",
    "oblateness": "major - minor",
    "sphericity": "3/2 (l2 + l3), r = 2",
    "aplanarity": "3/2 l3, r = 2",
    "c_parameter": "3 (l1 l2 + l1 l3 + l2 l3), r = 1",
    "heavy_mass": "larger squared mass of the hemispheres / squared visible energy",
}
"""Names and meanings; 0 for events of one or no particle."""
NUM_SEEDS = 5
"""Hardest particles whose sums with all signs begin the search of the thrust axis."""
MAX_ITERATIONS = 50


@dataclass(frozen=True)
class Axes:
    """Axes of N events.

    Attributes:
        thrust: unit vectors along the thrust axis, (N, 3).
        major, minor: across it, (N, 3).
        sphericity: unit vectors of the three eigenvalues for r = 2, the largest first, (N, 3, 3).
    """

    thrust: Floats
    major: Floats
    minor: Floats
    sphericity: Floats


def event_shapes(particles: ParticleSet) -> tuple[Floats, Axes]:
    """Compute the shapes of N events in their rest frame.

    Args:
        particles: those of each event that count, p4 in GeV: of charged particles, the charged shapes.

    Returns:
        Shapes in the order of :data:`EVENT_SHAPES`, shape (N, 8), and the axes.
    """
    num, index = len(particles), particles.index
    p = particles.p4[:, 1:]
    size = np.sqrt(np.sum(p**2, axis=1))
    total = sum_per_set(index, size, num)
    thrust, along = _thrust_axis(p, size, index, num)
    across = p - np.sum(p * thrust[index], axis=1)[:, None] * thrust[index]
    major, along_major = _thrust_axis(across, np.sqrt(np.sum(across**2, axis=1)), index, num)
    minor = np.cross(thrust, major)
    along_minor = sum_per_set(index, np.abs(np.sum(p * minor[index], axis=1)), num)
    values, vectors = _tensor(p, size, index, num, 2)
    linear = _tensor(p, size, index, num, 1)[0]
    energy = sum_per_set(index, particles.p4[:, 0], num)
    forward = np.sum(p * thrust[index], axis=1) > 0
    masses = [
        mass_squared(np.stack([sum_per_set(index[side], c, num) for c in particles.p4[side].T], axis=1))
        for side in (forward, ~forward)
    ]
    several = particles.counts > 1
    columns = {
        "thrust": 1.0 - _ratio(along, total),
        "thrust_major": _ratio(along_major, total),
        "thrust_minor": _ratio(along_minor, total),
        "oblateness": _ratio(along_major - along_minor, total),
        "sphericity": 1.5 * (values[:, 1] + values[:, 2]),
        "aplanarity": 1.5 * values[:, 2],
        "c_parameter": 3.0 * (linear[:, 0] * linear[:, 1] + linear[:, 0] * linear[:, 2] + linear[:, 1] * linear[:, 2]),
        "heavy_mass": _ratio(np.maximum(*masses), energy**2),
    }
    shapes = np.stack([np.where(several, np.maximum(columns[name], 0.0), 0.0) for name in EVENT_SHAPES], axis=1)
    return shapes, Axes(thrust, major, minor, vectors)


def _thrust_axis(p: Floats, size: Floats, index: Ints, num: int) -> tuple[Floats, Floats]:
    """Find the axes (N, 3) that maximise sum |p . n|, and the maxima (N,)."""
    order = np.lexsort((-size, index))
    counts = np.bincount(index, minlength=num)
    first = np.cumsum(counts) - counts
    offsets = np.append(first, len(index))
    seeds = np.zeros((num, NUM_SEEDS, 3))
    for place in range(NUM_SEEDS):
        has = counts > place
        seeds[has, place] = p[order[first[has] + place]]
    filled = np.flatnonzero(counts > 0)
    best, axis = np.zeros(num), np.zeros((num, 3))
    for signs in product((1.0, -1.0), repeat=NUM_SEEDS - 1):
        vector = np.einsum("k,nkc->nc", np.array([1.0, *signs]), seeds[filled])
        events, value = filled, np.full(len(filled), -1.0)
        for _ in range(MAX_ITERATIONS):
            rows = ragged_indices(offsets, events)
            own = p[rows]
            of = np.repeat(np.arange(len(events)), counts[events])
            side = np.where(np.einsum("mc,mc->m", own, vector[of]) < 0, -1.0, 1.0)
            starts = np.cumsum(counts[events]) - counts[events]
            vector = np.add.reduceat(side[:, None] * own, starts, axis=0)
            before, value = value, np.sqrt(np.sum(vector**2, axis=1))
            better = value > best[events]
            best[events[better]], axis[events[better]] = value[better], vector[better]
            moving = value > before * (1 + 1e-12)
            if not moving.any():
                break
            events, vector, value = events[moving], vector[moving], value[moving]
    return axis / np.maximum(best, 1e-300)[:, None], best


def _tensor(p: Floats, size: Floats, index: Ints, num: int, power: int) -> tuple[Floats, Floats]:
    """Compute eigenvalues (N, 3) and eigenvectors (N, 3, 3), rows, of the momentum tensor, the largest first."""
    weight = np.divide(1.0, size, out=np.zeros(len(size)), where=size > 0) ** (2 - power)
    norm = np.maximum(sum_per_set(index, size**power, num), 1e-300)
    tensor = np.zeros((num, 3, 3))
    for a in range(3):
        for b in range(a, 3):
            tensor[:, a, b] = tensor[:, b, a] = sum_per_set(index, p[:, a] * p[:, b] * weight, num) / norm
    values, vectors = np.linalg.eigh(tensor)
    return values[:, ::-1], vectors.transpose(0, 2, 1)[:, ::-1]


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)
