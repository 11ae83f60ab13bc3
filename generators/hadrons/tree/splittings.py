"""Splittings of clustering trees: their surroundings, coordinates and two-body kinematics.

A node X of the tree goes to A and B. This module turns trees into rows for
:class:`generators.hadrons.tree.network.SplittingNet` and back: what a splitting may know (:func:`context`), the
coordinates it is described by (:func:`splittings`), and the children's momenta from them (:func:`split`).
Compiled, because training and sampling go through it row by row.
"""

from __future__ import annotations

from math import atan2, hypot, log, sqrt, tan

import numpy as np
import torch
from numpy.typing import NDArray

from fastsim.event import Floats, Ints
from generators.hadrons.tokens import FLAVOURS, SPECIES_MASS, TokenSample, parton_energy
from generators.hadrons.tree.clustering import Nodes, cluster
from generators.hadrons.tree.network import Splittings
from generators.nn.compiled import compiled, compiled_inside

_LOGIT_LIMIT = 16.0
_EPS = 1e-300
Vector = tuple[float, float, float]
_AXIS = (0.0, 0.0, 1.0)
_NUM_SCALARS = 24
# the columns that are logarithms, in the order in which their arguments are made
_LOGS = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 18, 10, 11, 13, 14, 16])
_NUM_LOGS = len(_LOGS)
NUM_CONTEXT = _NUM_SCALARS + 5 + 5 + len(FLAVOURS) + 6


@compiled
def _least_mass(counts: NDArray[np.uint8], masses: Floats, out: Floats) -> None:
    for k in range(len(counts)):
        total = 0.0
        for s in range(counts.shape[1]):
            total += counts[k, s] * masses[s]
        out[k] = total


def least_mass(counts: NDArray[np.uint8]) -> Floats:
    """Sum of the masses (K,) of the tokens in ``counts`` (K, S), GeV."""
    out = np.empty(len(counts))
    _least_mass(counts, SPECIES_MASS, out)
    return out


@compiled_inside
def _across_axes(towards: Vector, z: Vector) -> tuple[Vector, Vector]:
    """Axes x, y across a unit vector z, x in the plane of ``towards``."""
    x = _across(towards, z)
    if _dot(x, x) < 1e-20:  # parallel: any direction across will do
        smallest = min(abs(z[0]), abs(z[1]), abs(z[2]))
        if abs(z[0]) == smallest:
            x = _across((1.0, 0.0, 0.0), z)
        elif abs(z[1]) == smallest:
            x = _across((0.0, 1.0, 0.0), z)
        else:
            x = _across(_AXIS, z)
    x = _across(_unit(x), z)  # again: nearly parallel vectors leave rounding along z
    x = _unit(x)
    return x, (z[1] * x[2] - z[2] * x[1], z[2] * x[0] - z[0] * x[2], z[0] * x[1] - z[1] * x[0])


@compiled_inside
def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@compiled_inside
def _unit(v: Vector) -> Vector:
    length = sqrt(_dot(v, v))
    if length < _EPS:
        length = _EPS
    return v[0] / length, v[1] / length, v[2] / length


@compiled_inside
def _across(v: Vector, z: Vector) -> Vector:
    """The part of a vector across a unit vector."""
    along = _dot(v, z)
    return v[0] - along * z[0], v[1] - along * z[1], v[2] - along * z[2]


@compiled_inside
def _half_tangent(a: Vector, b: Vector) -> float:
    """tan(theta/2) of the angle between unit vectors, accurate when small; 1e12 stands for more."""
    minus, plus = (a[0] - b[0], a[1] - b[1], a[2] - b[2]), (a[0] + b[0], a[1] + b[1], a[2] + b[2])
    far = sqrt(_dot(minus, minus))
    return far / max(sqrt(_dot(plus, plus)), 1e-12 * far)


@compiled_inside
def _tangent(e: float, p: float, m: float, half: float) -> float:
    """tan(theta*/2) of a massless direction, as a node sees it in its rest frame, from tan(theta/2) in the lab."""
    return min(max(half, 1e-12), 1e12) * (e + p) / m


@compiled_inside
def _seen(tangent: float) -> tuple[float, float]:
    """sin and cos of theta* from tan(theta*/2)."""
    square = tangent * tangent
    return 2 * tangent / (1 + square), (1 - square) / (1 + square)


@compiled_inside
def _local(x: Vector, y: Vector, z: Vector, v: Vector) -> tuple[float, float, float, float, float]:
    """Components in the local frame, and the azimuth by itself: a collimated node sees directions by it alone.

    None for a root's uncle, which flies exactly backwards.
    """
    v_x, v_y = _dot(x, v), _dot(y, v)
    across = hypot(v_x, v_y)
    turn_x, turn_y = 0.0, 0.0
    if across > 1e-9:
        turn_x, turn_y = v_x / across, v_y / across
    return v_x, v_y, _dot(z, v), turn_x, turn_y


@compiled_inside
def _turned(v: Vector, x: Vector, y: Vector, z: Vector) -> Vector:
    """The vector whose components along the axes x, y, z are ``v``."""
    return (
        v[0] * x[0] + v[1] * y[0] + v[2] * z[0],
        v[0] * x[1] + v[1] * y[1] + v[2] * z[1],
        v[0] * x[2] + v[1] * y[2] + v[2] * z[2],
    )


@compiled
def _context(
    p4: Floats,
    mass: Floats,
    counts: NDArray[np.uint8],
    size: Ints,
    left: Ints,
    right: Ints,
    parent: Ints,
    set_index: Ints,
    energy: Floats,
    masses: Floats,
    rows: Ints,
    axes: Floats,
    tangents: Floats,
    logs: Floats,
    out: NDArray[np.float32],
) -> None:
    # the arguments of logarithms go to ``logs``, by _LOGS; the tangents of half the angles to sibling, uncle and axis
    for k in range(len(rows)):
        i = rows[k]
        m, n, e_parton = mass[i], size[i], energy[set_index[i]]
        e, own = p4[i, 0], (p4[i, 1], p4[i, 2], p4[i, 3])
        square = _dot(own, own)
        least = 0.0
        for s in range(counts.shape[1]):
            least += counts[i, s] * masses[s]
        # the recoiling hemisphere is the sibling of a root, and the uncle of its children
        up = parent[i]
        above = parent[up] if up >= 0 else -1
        top = i if up < 0 else up
        other_e, other = 2 * e_parton - p4[top, 0], (-p4[top, 1], -p4[top, 2], -p4[top, 3])
        sib_e, sib, unc_e, unc = other_e, other, other_e, other
        if up < 0:
            sib_mass, sib_n = sqrt(max(other_e * other_e - _dot(other, other), 0.0)), 1
        else:
            j = right[up] if left[up] == i else left[up]
            sib_e, sib, sib_mass, sib_n = p4[j, 0], (p4[j, 1], p4[j, 2], p4[j, 3]), mass[j], size[j]
        if above >= 0:
            j = right[above] if left[above] == up else left[above]
            unc_e, unc = p4[j, 0], (p4[j, 1], p4[j, 2], p4[j, 3])
        to_sib, to_unc = _unit(sib), _unit(unc)
        # the node's own frame: z along its momentum, x in the plane of the sibling
        z = _AXIS if square == 0 else _unit(own)
        x, y = _across_axes(_AXIS if up < 0 else to_sib, z)
        half_sib, half_unc, half_axis = _half_tangent(z, to_sib), _half_tangent(z, to_unc), _half_tangent(z, _AXIS)
        tangents[0, k], tangents[1, k], tangents[2, k] = half_sib, half_unc, half_axis
        free = max(m - least, 1e-6)
        logs[0, k], logs[1, k], logs[2, k], logs[3, k], logs[4, k] = e / e_parton, e, m, m / e, n
        logs[5, k], logs[6, k], logs[7, k] = free, free / m, max(sib_e / e_parton, 1e-9)
        logs[8, k], logs[9, k], logs[10, k] = sib_mass + 0.01, sib_n, max(unc_e / e_parton, 1e-9)
        out[k, 15] = own[2] / e
        out[k, 17] = 1.0 if up < 0 else 0.0
        out[k, 24], out[k, 25], out[k, 26], out[k, 27], out[k, 28] = _local(x, y, z, to_unc)
        axis_x, axis_y, axis_z, turn_x, turn_y = _local(x, y, z, _AXIS)
        out[k, 29], out[k, 30], out[k, 31], out[k, 32], out[k, 33] = axis_x, axis_y, axis_z, turn_x, turn_y
        # the rest frame: z* along the node's flight, or along the parton's axis where that is seen ahead
        p = sqrt(square)
        tangent = _tangent(e, p, m, half_axis)
        sin_axis, cos_axis = _seen(tangent)
        core = cos_axis > 0
        to_sib_star = (0.0, 0.0, -1.0)
        if up >= 0:
            sin_sib, cos_sib = _seen(_tangent(e, p, m, half_sib))
            to_sib_star = (sin_sib, 0.0, cos_sib)
        z_star = (sin_axis * turn_x, sin_axis * turn_y, cos_axis) if core else _AXIS
        x_star, y_star = _across_axes(to_sib_star if core else (1.0, 0.0, 0.0), z_star)
        axes[k, 0, 0], axes[k, 0, 1], axes[k, 0, 2] = _turned(x_star, x, y, z)
        axes[k, 1, 0], axes[k, 1, 1], axes[k, 1, 2] = _turned(y_star, x, y, z)
        axes[k, 2, 0], axes[k, 2, 1], axes[k, 2, 2] = _turned(z_star, x, y, z)
        across = hypot(x_star[2], y_star[2])
        seen = core and across > 1e-9
        logs[11, k] = tangent
        out[k, 19] = 1.0 if core else 0.0
        out[k, 20] = _dot(to_sib_star, z_star)
        out[k, 21] = z_star[2]
        out[k, 22] = x_star[2] / across if seen else 0.0
        out[k, 23] = y_star[2] / across if seen else 0.0


@compiled
def _place(
    logs: Floats, columns: Ints, of_set: NDArray[np.float32], set_index: Ints, rows: Ints, out: NDArray[np.float32]
) -> None:
    first = out.shape[1] - of_set.shape[1]
    for k in range(len(rows)):
        for i in range(len(columns)):
            out[k, columns[i]] = logs[i, k]
        for i in range(of_set.shape[1]):
            out[k, first + i] = of_set[set_index[rows[k]], i]


def set_features(flavour: Ints, energy: Floats, total: Floats, n: Ints) -> NDArray[np.float32]:
    """What all nodes of a set see: flavour, log E of the parton, and the latent's total momentum, (N, G).

    Args:
        flavour: (N,) of FLAVOURS; energy: (N,) of the partons, GeV; total: (N, 4), GeV; n: (N,) tokens.
    """
    onehot = flavour[:, None] == np.array(FLAVOURS)
    scaled = total / energy[:, None]
    mass2 = np.maximum(scaled[:, 0] ** 2 - (scaled[:, 1:] ** 2).sum(-1), 1e-12)
    across = np.hypot(scaled[:, 1], scaled[:, 2])
    columns = [np.log(energy), np.log(n), scaled[:, 0], scaled[:, 3], 0.5 * np.log(mass2), np.log(across + 1e-4)]
    return np.concatenate([onehot, np.stack(columns, -1)], axis=-1, dtype=np.float32)


def context(tree: Nodes, rows: Ints, energy: Floats, of_set: NDArray[np.float32]) -> tuple[NDArray[np.float32], Floats]:
    """What the splittings of nodes are conditioned on, and the frames they are described in.

    Scalars and directions of the node, its sibling and its parent's sibling ("uncle"); for a root these are the
    recoiling hemisphere, as is the uncle of its children.

    Args:
        tree: with the nodes' ancestors and their children in place; rows: (K,) nodes of two tokens or more;
        energy: of the partons (N,), GeV; of_set: :func:`set_features`.

    Returns:
        Features (K, NUM_CONTEXT), and axes (K, 3, 3) of the nodes' rest frames, rows x, y, z, in lab orientation. z is
        the node's direction of flight, x towards its sibling (of a root: the parton's axis). Where the parton's axis
        is seen ahead in the rest frame, z is that direction: hadrons crowd about the axis, whatever the node's own
        direction, and so they do it at the pole.
    """
    out, axes = np.empty((len(rows), NUM_CONTEXT), dtype=np.float32), np.empty((len(rows), 3, 3))
    links = (tree.left, tree.right, tree.parent, tree.set_index)
    tangents, logs = np.empty((3, len(rows))), np.empty((_NUM_LOGS, len(rows)))
    nodes = (tree.p4, tree.mass, tree.counts, tree.size)
    _context(*nodes, *links, energy, SPECIES_MASS, rows, axes, tangents, logs, out)
    # a row at a time these would be most of the work
    e, m, (to_sibling, to_uncle, to_axis) = logs[1], logs[2], 2 * np.arctan(tangents)
    across = e * to_sibling
    logs[12], logs[13], logs[14] = to_sibling + 1e-6, across + 1e-4, to_uncle + 1e-6
    logs[15], logs[16] = to_axis + 1e-6, m / (across + 1e-3)
    np.log(logs, out=logs)
    logs[11] = np.clip(-2 * logs[11], -12.0, 12.0)
    _place(logs, _LOGS, of_set, tree.set_index, rows, out)
    return out, axes


@compiled_inside
def _breakup(mass: float, m1: float, m2: float) -> float:
    product = (mass - m1 - m2) * (mass + m1 + m2) * (mass - m1 + m2) * (mass + m1 - m2)
    return sqrt(max(product, 0.0)) / (2 * max(mass, _EPS))


@compiled
def breakup(mass: Floats, m1: Floats, m2: Floats) -> Floats:
    """Momentum p* (K,) of two-body decays in GeV; zero at and below threshold."""
    out = np.empty(len(mass))
    for k in range(len(mass)):
        out[k] = _breakup(mass[k], m1[k], m2[k])
    return out


def split(
    p4: Floats, mass: Floats, axes: Floats, m_a: Floats, m_b: Floats, cos: Floats, phi: Floats
) -> tuple[Floats, Floats]:
    """Four-momenta of A and B, each (K, 4), from the two-body kinematics in the rest frames of nodes.

    Args:
        p4: (K, 4) of the nodes; mass, m_a, m_b: (K,) in GeV; axes: (K, 3, 3) of :func:`context`; cos, phi: (K,)
            direction of A in them.
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
        momentum = sqrt(_dot(own, own))
        z = _AXIS if momentum == 0 else _unit(own)
        star = _breakup(m, m_a[k], m_b[k])
        sin = sqrt(max(1 - cos[k] * cos[k], 0.0))
        u_x, u_y, u_z = star * sin * np.cos(phi[k]), star * sin * np.sin(phi[k]), star * cos[k]
        q = (
            u_x * axes[k, 0, 0] + u_y * axes[k, 1, 0] + u_z * axes[k, 2, 0],
            u_x * axes[k, 0, 1] + u_y * axes[k, 1, 1] + u_z * axes[k, 2, 1],
            u_x * axes[k, 0, 2] + u_y * axes[k, 1, 2] + u_z * axes[k, 2, 2],
        )
        across, parallel = _across(q, z), _dot(q, z)
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
    out = np.full((len(rows), 4), np.nan, dtype=np.float32)
    for k in range(len(rows)):
        own, m, one = p4[rows[k]], mass[rows[k]], p4[a[k]]
        if size[b[k]] >= 2:
            out[k, 0] = _logit((m_b[k] - least_b[k]) / max(m - least_a[k] - least_b[k], _EPS))
        if size[a[k]] >= 2:
            out[k, 1] = _logit((m_a[k] - least_a[k]) / max(m - m_b[k] - least_a[k], _EPS))
        flight = (own[1], own[2], own[3])
        p = sqrt(_dot(flight, flight))
        z = _AXIS if p == 0 else _unit(flight)
        q = (one[1], one[2], one[3])
        along, across = (own[0] * _dot(z, q) - p * one[0]) / m, _across(q, z)
        q = (across[0] + along * z[0], across[1] + along * z[1], across[2] + along * z[2])
        x = (axes[k, 0, 0], axes[k, 0, 1], axes[k, 0, 2])
        y = (axes[k, 1, 0], axes[k, 1, 1], axes[k, 1, 2])
        pole = (axes[k, 2, 0], axes[k, 2, 1], axes[k, 2, 2])
        theta = atan2(hypot(_dot(x, q), _dot(y, q)), _dot(pole, q))
        logit = -2 * log(max(tan(theta / 2), _EPS))
        out[k, 2] = min(max(logit, -_LOGIT_LIMIT), _LOGIT_LIMIT)
        out[k, 3] = atan2(_dot(y, q), _dot(x, q))
    return out


def splittings(sample: TokenSample, *, seed: int | None = None) -> tuple[Splittings, Nodes, Ints]:
    """All splittings of the clustering trees of a sample, with the trees and the nodes (K,) that split.

    With a ``seed``, each set is mirrored with probability 1/2, an exact symmetry (rotations about the axis leave
    the rows as they are). The variables of a row, NaN where one does not exist:
    logit t_B = (m_B - min m_B) / (M - min m_A - min m_B), logit t_A = (m_A - min m_A) / (M - m_B - min m_A),
    logit (1 + cos theta*) / 2, phi*, both in the axes of :func:`context`.
    """
    p4 = sample.p4.copy()
    if seed is not None:
        mirror = np.random.default_rng(seed).integers(0, 2, len(sample)) * 2.0 - 1.0
        p4[:, 2] *= mirror[sample.index]
    tree = cluster(TokenSample(sample.flavour, sample.pt, sample.offsets, sample.species, p4))
    rows = np.flatnonzero(tree.left >= 0)
    energy = parton_energy(sample.flavour, sample.pt)
    of_set = set_features(sample.flavour, energy, tree.p4[tree.roots], np.diff(sample.offsets))
    left, right = tree.left[rows], tree.right[rows]
    n_left, n_right = tree.size[left], tree.size[right]
    species = tree.counts.argmax(-1)
    by_energy = tree.p4[left, 0] <= tree.p4[right, 0]
    by_species = np.where(species[left] == species[right], by_energy, species[left] < species[right])
    one_single = np.where((n_left == 1) | (n_right == 1), n_left == 1, by_energy)
    left_is_a = np.where((n_left == 1) & (n_right == 1), by_species, one_single)
    a, b = np.where(left_is_a, left, right), np.where(left_is_a, right, left)
    least_a, least_b = least_mass(tree.counts[a]), least_mass(tree.counts[b])
    # a leaf's mass is its species', not the rounding of E^2 - p^2
    m_a = np.where(tree.size[a] == 1, least_a, np.maximum(tree.mass[a], least_a))
    m_b = np.where(tree.size[b] == 1, least_b, np.maximum(tree.mass[b], least_b))
    features, axes = context(tree, rows, energy, of_set)
    values = _variables(tree.p4, tree.mass, tree.size, axes, rows, a, b, m_a, m_b, least_a, least_b)
    columns = (features, tree.counts[rows], tree.counts[a], values)
    return Splittings(*(torch.from_numpy(column) for column in columns)), tree, rows
