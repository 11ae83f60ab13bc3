r"""Soft drop: the hard core of a particle set, its mass, momentum sharing and opening angle.

The set is clustered by Cambridge/Aachen into one tree through FastJet. From its root, the softer branch is dropped and
the harder one followed until z > z_cut Delta R^beta, where z = min(pT_1, pT_2) / (pT_1 + pT_2) and Delta R is the
distance of the branches in (y, phi); R0 = 1. At that splitting z is z_g, Delta R is R_g, and what is left is the
groomed set. A set without such a splitting is groomed down to one particle: z_g = R_g = 0.

All trees are walked at once. FastJet lists a tree's nodes children first (``unique_history_order``): a running sum of
+1 a particle and -1 a merging is the number of branches waiting at each node, the first child of a node is the last
earlier node with as many, the second child is the node just before, and every branch is one stretch of particles,
whose momentum is a difference of cumulative sums.

References:
    Larkoski, Marzani, Soyez, Thaler 2014, arXiv:1402.2657. Cacciari, Salam, Soyez 2011, arXiv:1111.6097 (FastJet).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastsim.event import offsets_from_counts
from fastsim.event.kinematics import delta_phi, mass, phi, pt, rapidity
from metrics.hadrons.clustering import cluster_sequence
from metrics.hadrons.jets import Jets

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

GROOMED: dict[str, str] = {
    "groomed_mass": "soft-drop mass / pT of the parton",
    "zg": "z_g, momentum fraction of the softer branch",
    "rg": "R_g, distance of the branches",
}
"""Names and meanings of what :func:`soft_drop` returns; needs FastJet."""

CHUNK = 2_000
"""Sets that FastJet holds the clustering of at a time."""


def soft_drop(jets: Jets, *, z_cut: float = 0.1, beta: float = 0.0) -> dict[str, Floats]:
    """Compute soft-drop observables of each set, from all its particles.

    Args:
        jets: N sets relative to their partons.
        z_cut: the least momentum fraction at Delta R = 1, in [0, 0.5).
        beta: exponent of the angle, at least 0; 0 is the modified mass-drop condition.

    Returns:
        The observables :data:`GROOMED` by name, each (N,); 0 for empty sets.

    Raises:
        ValueError: if z_cut or beta is out of range.
        ImportError: if FastJet is not installed.
    """
    if not 0.0 <= z_cut < 0.5:
        raise ValueError(f"z_cut = {z_cut}: must be in [0, 0.5), no splitting passes above")
    if not 0.0 <= beta < np.inf:
        raise ValueError(f"beta = {beta}: must be at least 0 and finite")
    parts = [_soft_drop_chunk(jets[first : first + CHUNK], z_cut, beta) for first in range(0, max(len(jets), 1), CHUNK)]
    return {name: np.concatenate([part[k] for part in parts]) for k, name in enumerate(GROOMED)}


def _soft_drop_chunk(jets: Jets, z_cut: float, beta: float) -> tuple[Floats, Floats, Floats]:
    """Compute groomed mass, z_g and R_g, each (n,), of a few sets."""
    groomed_mass, z_g, r_g = np.zeros((3, len(jets)))
    # a particle along the beam has infinite rapidity: FastJet would not merge it
    p4 = jets.p4_rel[jets.pt_rel > 0]
    counts = np.bincount(jets.index[jets.pt_rel > 0], minlength=len(jets))
    jet = np.flatnonzero(counts)
    if len(jet) == 0:
        return groomed_mass, z_g, r_g
    particles, offsets, first_child = _trees(offsets_from_counts(counts[jet]), p4)
    steps = np.where(particles[:, None] >= 0, p4[particles], 0.0)
    momentum = np.concatenate([np.zeros((1, 4)), np.cumsum(steps, axis=0)])

    # the branch followed in each tree: nodes first ... last, of which last is its root
    first, last = offsets[:-1].copy(), offsets[1:] - 1
    walking = np.flatnonzero(particles[last] < 0)
    while len(walking):
        middle = first_child[last[walking]] + 1
        one = momentum[middle] - momentum[first[walking]]
        other = momentum[last[walking]] - momentum[middle]
        pt_one, pt_other = pt(one), pt(other)
        z = np.minimum(pt_one, pt_other) / (pt_one + pt_other)
        distance = np.hypot(rapidity(one) - rapidity(other), delta_phi(phi(one), phi(other)))
        passed = z > z_cut * distance**beta
        z_g[jet[walking[passed]]], r_g[jet[walking[passed]]] = z[passed], distance[passed]
        walking, middle, harder = walking[~passed], middle[~passed], (pt_one >= pt_other)[~passed]
        last[walking] = np.where(harder, middle, last[walking]) - 1
        first[walking] = np.where(harder, first[walking], middle)
        walking = walking[particles[last[walking]] < 0]
    # summed anew: a small mass does not survive the difference of long sums
    stretches = np.stack([first, last + 1], axis=1).ravel()
    groomed_mass[jet] = mass(np.add.reduceat(np.append(steps, np.zeros((1, 4)), axis=0), stretches)[::2])
    return groomed_mass, z_g, r_g


def _trees(offsets: Ints, p4: Floats) -> tuple[Ints, Ints, Ints]:
    """Cluster sets of one particle or more into Cambridge/Aachen trees, their nodes children first.

    Returns:
        The particle of each node, -1 where two branches merge, (K,); offsets of the trees (N+1,); and the first child
        of each merging, (K,).
    """
    import awkward as ak

    # a radius at which everything merges; FastJet allows no larger one
    sequence = cluster_sequence(offsets, p4, "cambridge_algorithm", 1000.0)
    counts = np.diff(offsets)
    tree = np.repeat(np.arange(len(counts)), 2 * counts)
    node = ak.to_numpy(ak.flatten(sequence.unique_history_order())).astype(np.int64)
    # the last node of each tree is its merging with the beam
    merged = node < 2 * counts[tree] - 1
    tree, node = tree[merged], node[merged]
    particles = np.where(node < counts[tree], node + offsets[tree], -1)
    # every tree ends at one waiting branch
    waiting = np.cumsum(np.where(particles >= 0, 1, -1)) - tree
    by_level = np.argsort(tree * (int(counts.max()) + 1) + waiting, kind="stable")
    first_child = np.zeros(len(node), dtype=np.int64)
    first_child[by_level[1:]] = by_level[:-1]
    return particles, offsets_from_counts(2 * counts - 1), first_child
