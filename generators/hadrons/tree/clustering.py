"""Cambridge clustering of token sets: the binary trees that the tree model factorises over.

The two momenta with the smallest d_ij = 1 - cos(theta_ij), in the axis frame, are replaced by their sum until one is
left. So each set of n tokens is one tree of n - 1 splittings, with the widest angle at the root, angular-ordered as
the QCD shower is.

References:
    Dokshitzer, Leder, Moretti, Webber, Better jet clustering algorithms, 1997, hep-ph/9707323.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled
from fastsim.event import Floats, Ints
from generators.hadrons.tokens import CONTENT, TYPES, TokenSample
from generators.hadrons.tree.sharing import TYPE_NUMBERS, numbers_of

LEAST_MASS = 1e-9
"""Least mass of a node over its energy: collinear photons would have none, and so no rest frame."""


@dataclass(frozen=True)
class Nodes:
    """All K nodes of the trees of N token sets.

    Attributes:
        p4: four-momenta in GeV, (K, 4).
        mass: masses in GeV, (K,).
        least: sums of the masses of the tokens that a node holds, in GeV, (K,).
        counts: tokens of each type that a node holds, (K, T).
        size: tokens that a node holds, (K,).
        numbers: charge, baryon number and strangeness of a node with its carrier, of groups what their members share,
            (K, 3).
        left: number of a child among all K nodes, -1 for a leaf, (K,).
        right: number of the other child, likewise, (K,).
        parent: number of the parent, -1 for a root, (K,).
        set_index: the set that a node belongs to, (K,).
        roots: number of each set's root, (N,).
    """

    p4: Floats
    mass: Floats
    least: Floats
    counts: NDArray[np.uint8]
    size: Ints
    numbers: Floats
    left: Ints
    right: Ints
    parent: Ints
    set_index: Ints
    roots: Ints


@compiled
def _cluster(
    offsets: Ints,
    types: Ints,
    p4: Floats,
    mass: Floats,
    node_p4: Floats,
    least: Floats,
    counts: NDArray[np.uint8],
    left: Ints,
    right: Ints,
    parent: Ints,
) -> None:
    """Fill the nodes of all trees; each set's closest neighbours are updated as its momenta merge."""
    for row in range(len(offsets) - 1):
        start, n = offsets[row], offsets[row + 1] - offsets[row]
        if n == 0:
            continue
        base = 2 * start - row
        unit = np.empty((2 * n - 1, 3))
        active = np.empty(n, dtype=np.int64)
        for i in range(n):
            node_p4[base + i] = p4[start + i]
            counts[base + i, types[start + i]] = 1
            least[base + i] = mass[start + i]
            p = np.sqrt(p4[start + i, 1] ** 2 + p4[start + i, 2] ** 2 + p4[start + i, 3] ** 2)
            for k in range(3):
                unit[i, k] = p4[start + i, 1 + k] / p
            active[i] = i
        near = np.empty(n, dtype=np.int64)
        distance = np.full(n, 1e9)
        for a in range(n):
            for b in range(a):
                d = 0.0
                for k in range(3):  # |u - v|^2 / 2 = 1 - cos without cancellation
                    d += (unit[a, k] - unit[b, k]) ** 2
                if d < distance[a]:
                    distance[a], near[a] = d, b
                if d < distance[b]:
                    distance[b], near[b] = d, a
        num = n
        for step in range(n - 1):
            a = int(np.argmin(distance[:num]))
            b = near[a]
            if b < a:
                a, b = b, a
            new = n + step
            ia, ib = active[a], active[b]
            left[base + new], right[base + new] = base + ia, base + ib
            parent[base + ia] = parent[base + ib] = base + new
            for k in range(4):
                node_p4[base + new, k] = node_p4[base + ia, k] + node_p4[base + ib, k]
            for k in range(counts.shape[1]):
                counts[base + new, k] = counts[base + ia, k] + counts[base + ib, k]
            least[base + new] = least[base + ia] + least[base + ib]
            q = node_p4[base + new]
            p = np.sqrt(q[1] ** 2 + q[2] ** 2 + q[3] ** 2)
            for k in range(3):
                unit[new, k] = q[1 + k] / p
            # slot a holds the new node; the last slot moves to b
            active[a] = new
            last = num - 1
            active[b], near[b], distance[b] = active[last], near[last], distance[last]
            num = last
            for c in range(num):
                if near[c] == last and b != last:
                    near[c] = b if c != b else near[c]
            distance[a] = 1e9
            for c in range(num):
                if c == a:
                    continue
                stale = near[c] == a or near[c] >= num or near[c] == b or c == b
                if stale:
                    distance[c] = 1e9
                    for e in range(num):
                        if e != c:
                            d = 0.0
                            for k in range(3):
                                d += (unit[active[c], k] - unit[active[e], k]) ** 2
                            if d < distance[c]:
                                distance[c], near[c] = d, e
                d = 0.0
                for k in range(3):
                    d += (unit[active[c], k] - unit[new, k]) ** 2
                if d < distance[c]:
                    distance[c], near[c] = d, a
                if d < distance[a]:
                    distance[a], near[a] = d, c


def numbers_of_carriers(carriers: Ints) -> Floats:
    """Compute charge, baryon number and strangeness (N, 3) of carriers, species (N,); -1 is none."""
    return numbers_of(np.where(carriers[:, None] >= 0, CONTENT[carriers], 0))


def numbers_of_nodes(counts: NDArray[np.uint8], carrier: Floats) -> Floats:
    """Compute charge, baryon number and strangeness (K, 3) of nodes.

    Args:
        counts: tokens of each type, (K, T).
        carrier: the numbers of the carriers of their sets, (K, 3).
    """
    return np.asarray(counts @ TYPE_NUMBERS + counts[:, :1] * carrier)


def build_trees(sample: TokenSample) -> Nodes:
    """Cluster all sets; the nodes of a set are its n leaves, then its n - 1 inner nodes, the root last.

    Raises:
        ValueError: if a set is empty (it has no tree).
    """
    sizes = np.diff(sample.offsets)
    if np.any(sizes == 0):
        raise ValueError(f"set {int(np.flatnonzero(sizes == 0)[0])} is empty: it has no tree")
    total: int = int(2 * sample.offsets[-1] - len(sample))
    node_p4 = np.zeros((total, 4))
    counts, least = np.zeros((total, len(TYPES)), dtype=np.uint8), np.zeros(total)
    left, right, parent = (np.full(total, -1, dtype=np.int64) for _ in range(3))
    tokens = (sample.offsets, sample.types, sample.p4, sample.mass)
    _cluster(*tokens, node_p4, least, counts, left, right, parent)
    momentum = np.sqrt(np.sum(node_p4[:, 1:] ** 2, axis=1))
    square = (node_p4[:, 0] - momentum) * (node_p4[:, 0] + momentum)
    mass = np.maximum(np.sqrt(np.maximum(square, 0.0)), LEAST_MASS * node_p4[:, 0])
    roots = np.cumsum(2 * sizes - 1) - 1
    size = counts.sum(1, dtype=np.int64)
    index = np.repeat(np.arange(len(sample)), 2 * sizes - 1)
    numbers = numbers_of_nodes(counts, numbers_of_carriers(sample.carriers)[index])
    return Nodes(node_p4, mass, least, counts, size, numbers, left, right, parent, index, roots)
