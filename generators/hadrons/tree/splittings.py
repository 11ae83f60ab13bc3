"""Splittings of clustering trees: their coordinates and two-body kinematics.

A node X of the tree, of mass M, splits into A and B. This module turns trees into rows for
:class:`generators.hadrons.tree.network.SplittingNet` and back: the coordinates that describe splittings
(:func:`splittings`), in the frames of :mod:`generators.hadrons.tree.context`, and the children's momenta from them
(:func:`split`). The loops over splittings are compiled.
"""

from __future__ import annotations

from dataclasses import replace
from math import atan2, hypot, log, sqrt, tan
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled, compiled_inside
from fastsim.event import Floats, Ints
from generators.hadrons.tokens import TokenSample, parton_energy
from generators.hadrons.tree.clustering import Nodes, build_trees
from generators.hadrons.tree.context import context, set_features
from generators.hadrons.tree.inputs import COS_THETA, M_A, M_B, NUM_VARIABLES, PHI
from generators.hadrons.tree.vectors import AXIS, EPS, Vector, dot, perpendicular, unit

if TYPE_CHECKING:
    from generators.hadrons.tree.network import Splittings

_LOGIT_LIMIT = 16.0


@compiled_inside
def _breakup(mass: float, m1: float, m2: float) -> float:
    product = (mass - m1 - m2) * (mass + m1 + m2) * (mass - m1 + m2) * (mass + m1 - m2)
    return sqrt(max(product, 0.0)) / (2 * max(mass, EPS))


@compiled
def breakup(mass: Floats, m1: Floats, m2: Floats) -> Floats:
    """Compute the momentum p* (K,) in GeV of two-body decays from masses (K,) in GeV; zero at and below threshold."""
    out = np.empty(len(mass))
    for k in range(len(mass)):
        out[k] = _breakup(mass[k], m1[k], m2[k])
    return out


def split(
    p4: Floats, mass: Floats, axes: Floats, m_a: Floats, m_b: Floats, cos: Floats, phi: Floats
) -> tuple[Floats, Floats]:
    """Compute the four-momenta of A and B in GeV, each (K, 4), from the two-body kinematics in the nodes' rest frames.

    Args:
        p4: four-momenta of the nodes in GeV, (K, 4).
        mass: masses of the nodes in GeV, (K,).
        axes: axes of their rest frames, as :func:`context` returns them, (K, 3, 3).
        m_a: masses of A in GeV, (K,).
        m_b: masses of B in GeV, (K,).
        cos: cos(theta*) of A about the axes z, (K,).
        phi: phi* of A about the axes z, from x, in rad, (K,).
    """
    a, b = np.empty_like(p4), np.empty_like(p4)
    _split(p4, mass, axes, m_a, m_b, cos, phi, a, b)
    return a, b


@compiled
def _split(
    p4: Floats,
    mass: Floats,
    axes: Floats,
    m_a: Floats,
    m_b: Floats,
    cos: Floats,
    phi: Floats,
    a: Floats,
    b: Floats,
) -> None:
    """Fill the momenta ``a`` and ``b`` (K, 4) for :func:`split`."""
    for k in range(len(p4)):
        own, m = (p4[k, 1], p4[k, 2], p4[k, 3]), mass[k]
        momentum = sqrt(dot(own, own))
        z = AXIS if momentum == 0 else unit(own)
        star = _breakup(m, m_a[k], m_b[k])
        sin = sqrt(max(1 - cos[k] * cos[k], 0.0))
        u_x, u_y, u_z = star * sin * np.cos(phi[k]), star * sin * np.sin(phi[k]), star * cos[k]
        q = (
            u_x * axes[k, 0, 0] + u_y * axes[k, 1, 0] + u_z * axes[k, 2, 0],
            u_x * axes[k, 0, 1] + u_y * axes[k, 1, 1] + u_z * axes[k, 2, 1],
            u_x * axes[k, 0, 2] + u_y * axes[k, 1, 2] + u_z * axes[k, 2, 2],
        )
        across, parallel = perpendicular(q, z), dot(q, z)
        gamma, gamma_beta = p4[k, 0] / m, momentum / m
        _place_child(a, k, 1.0, m_a[k], star, gamma, gamma_beta, parallel, across, z)
        _place_child(b, k, -1.0, m_b[k], star, gamma, gamma_beta, parallel, across, z)


@compiled_inside
def _place_child(
    out: Floats,
    k: int,
    sign: float,
    m: float,
    star: float,
    gamma: float,
    gamma_beta: float,
    parallel: float,
    across: Vector,
    z: Vector,
) -> None:
    """Fill ``out[k]`` with the momentum of a child of mass ``m`` from its momentum ``star`` in the rest frame."""
    along = sign * gamma * parallel + gamma_beta * sqrt(star * star + m * m)
    x, y, z_ = sign * across[0] + along * z[0], sign * across[1] + along * z[1], sign * across[2] + along * z[2]
    out[k, 0], out[k, 1], out[k, 2], out[k, 3] = sqrt(m * m + x * x + y * y + z_ * z_), x, y, z_


@compiled_inside
def _logit(x: float) -> float:
    x = min(max(x, 1e-9), 1 - 1e-9)
    return min(max(log(x) - log(1 - x), -_LOGIT_LIMIT), _LOGIT_LIMIT)


@compiled
def _variables(
    p4: Floats,
    mass: Floats,
    size: Ints,
    axes: Floats,
    rows: Ints,
    a: Ints,
    b: Ints,
    m_a: Floats,
    m_b: Floats,
    least_a: Floats,
    least_b: Floats,
) -> NDArray[np.float32]:
    """Compute the coordinates (K, 4) of splittings of the nodes ``rows`` into ``a`` and ``b``, NaN where not free.

    ``p4``, ``mass`` and ``size`` are those of all nodes; ``axes`` (K, 3, 3), ``m_a``, ``m_b``, ``least_a`` and
    ``least_b`` (K,) belong to the rows.
    """
    out = np.full((len(rows), NUM_VARIABLES), np.nan, dtype=np.float32)
    for k in range(len(rows)):
        own, m, one = p4[rows[k]], mass[rows[k]], p4[a[k]]
        if size[b[k]] >= 2:
            out[k, M_B] = _logit((m_b[k] - least_b[k]) / max(m - least_a[k] - least_b[k], EPS))
        if size[a[k]] >= 2:
            out[k, M_A] = _logit((m_a[k] - least_a[k]) / max(m - m_b[k] - least_a[k], EPS))
        flight = (own[1], own[2], own[3])
        p = sqrt(dot(flight, flight))
        z = AXIS if p == 0 else unit(flight)
        q = (one[1], one[2], one[3])
        along, across = (own[0] * dot(z, q) - p * one[0]) / m, perpendicular(q, z)
        q = (across[0] + along * z[0], across[1] + along * z[1], across[2] + along * z[2])
        x = (axes[k, 0, 0], axes[k, 0, 1], axes[k, 0, 2])
        y = (axes[k, 1, 0], axes[k, 1, 1], axes[k, 1, 2])
        pole = (axes[k, 2, 0], axes[k, 2, 1], axes[k, 2, 2])
        theta = atan2(hypot(dot(x, q), dot(y, q)), dot(pole, q))
        logit = -2 * log(max(tan(theta / 2), EPS))
        out[k, COS_THETA] = min(max(logit, -_LOGIT_LIMIT), _LOGIT_LIMIT)
        out[k, PHI] = atan2(dot(y, q), dot(x, q))
    return out


def splittings(sample: TokenSample, *, seed: int | None = None) -> tuple[Splittings, Nodes, Ints]:
    """Compute all splittings of the clustering trees of a sample.

    The variables of a row, NaN where a child is a single token and its mass is not free, are logit t_B, logit t_A,
    logit (1 + cos theta*)/2 and phi*, with t_B = (m_B - min m_B) / (M - min m_A - min m_B) and
    t_A = (m_A - min m_A) / (M - m_B - min m_A), where the least masses are the sums of the tokens' masses, and with the
    direction of A in the axes of :func:`context`. A is the single token where there is one, otherwise the child of
    lower energy; of two tokens it is the one whose type comes first.

    Args:
        sample: token sets, none empty.
        seed: mirror each set with probability 1/2, an exact symmetry (rotations about the axis leave rows as they are);
            None: no mirroring.

    Returns:
        The rows, the trees, and the nodes (K,) that split.
    """
    import torch

    from generators.hadrons.tree.network import Splittings

    p4 = sample.p4.copy()
    if seed is not None:
        mirror = np.random.default_rng(seed).integers(0, 2, len(sample)) * 2.0 - 1.0
        p4[:, 2] *= mirror[sample.index]
    tree = build_trees(replace(sample, p4=p4))
    rows = np.flatnonzero(tree.left >= 0)
    energy = parton_energy(sample.flavour, sample.pt)
    ratio = sample.scale / sample.pt
    known = sample.flavour, energy, tree.p4[tree.roots], sample.counts, ratio, sample.carriers
    of_set = set_features(*known, sample.tune)
    left, right = tree.left[rows], tree.right[rows]
    n_left, n_right = tree.size[left], tree.size[right]
    kind = tree.counts.argmax(-1)
    by_energy = tree.p4[left, 0] <= tree.p4[right, 0]
    by_type = np.where(kind[left] == kind[right], by_energy, kind[left] < kind[right])
    by_size = np.where((n_left == 1) | (n_right == 1), n_left == 1, by_energy)
    left_is_a = np.where((n_left == 1) & (n_right == 1), by_type, by_size)
    a, b = np.where(left_is_a, left, right), np.where(left_is_a, right, left)
    least_a, least_b = tree.least[a], tree.least[b]
    # a leaf's mass is its own, not the rounding of E^2 - p^2
    m_a = np.where(tree.size[a] == 1, least_a, np.maximum(tree.mass[a], least_a))
    m_b = np.where(tree.size[b] == 1, least_b, np.maximum(tree.mass[b], least_b))
    features, axes = context(tree, rows, energy, of_set)
    values = _variables(tree.p4, tree.mass, tree.size, axes, rows, a, b, m_a, m_b, least_a, least_b)
    least = np.stack([least_a, least_b], -1, dtype=np.float32)
    columns = (features, tree.counts[rows], tree.counts[a], least, values)
    return Splittings(*(torch.from_numpy(column) for column in columns)), tree, rows
