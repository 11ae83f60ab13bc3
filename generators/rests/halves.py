"""Rests made of two: what one has above a rapidity, and what another one has below it.

What is drawn whole from a library comes again, and classifiers recognise it. The two parts of a rest on either side of
a rapidity know of each other little more than what they share: how active the collision is, and the transverse
momentum, charge and baryon number that are divided between them. So the part below the cut is that of another rest
whose part *above* is like the one that is kept in these; of the conditions it sees those that are its own, the scale
and the momentum fraction of its beam. All are seen with the radiation, against which the hard process recoils, along
the x axis. That draws from the distribution of one part given the other, as the neighbourhood of stored rests has it:
a bootstrap of nearest neighbours.

A cut through a jet would make two of it. Each rest has a cut of its own, that of :data:`CUTS` around which it has the
least transverse momentum in hard particles, and goes together with rests of the same cut: among these the two parts
belong to the same population, and nothing is preferred.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastsim.event import Floats, Ints, ParticleSet, offsets_from_counts, ragged_indices
from fastsim.event.kinematics import phi, rapidity
from fastsim.event.species import baryon_numbers, charges
from generators.rests.conditions import Conditions
from generators.rests.rests import Rests

STEP, NUM_STEPS = 0.5, 7
"""Width in rapidity of the bins in which particles are counted, and their number on either side of 0."""
CUTS = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""The rapidities at which rests are cut: edges of bins, symmetric."""
NEAR = 3
"""Bins above the cut in which activity next to it is counted."""
HARD = 1.0
"""Transverse momentum in GeV above which a particle is hard."""
ACROSS, NUMBER, NEXT, SUM, CHARGE, BARYON_NUMBER = 1.5, 0.5, 0.5, 0.8, 1.5, 1.0
"""What counts as a unit of distance: transverse momentum in GeV, root of the number of particles above the cut and next
to it, root of the sum of hard transverse momenta in GeV, charge, baryon number."""
SCALE, X, LEFT = 3.0, 1.0, 4.0
"""What a unit of the logarithms of the scale, of the momentum fraction of the part below, and of what that leaves of
the beam counts."""
NEIGHBOURS, TOLERANCE = 3, 0.2
"""From how many of the nearest parts one is drawn, and how far, relatively, these may be from the nearest ones."""
BLOCK = 256
"""Rests that are measured at a time: less memory, which is quicker too."""
Pool = dict[float, tuple[Any, Ints]]
"""Of some rests, by cut: a tree of what goes with a part above it, and the places of these."""


class Halves:
    """The parts of R rests and of their mirror images; place k is rest k, and R + k its image.

    Args:
        rests: the rests.
        conditions: their conditions.
    """

    def __init__(self, rests: Rests, conditions: Conditions) -> None:
        self._rests = rests
        self._y = rapidity(rests.particles.p4)
        blocks = (np.arange(k, min(k + BLOCK, len(rests))) for k in range(0, len(rests), BLOCK))
        upwards = np.concatenate([_measured(rests[rows]) for rows in blocks])
        downwards = upwards[:, ::-1].copy()
        np.negative(downwards[:, :, 1], out=downwards[:, :, 1])  # turned by pi about the x axis
        bins = np.concatenate([upwards, downwards])
        at = np.stack([_first(cut) for cut in CUTS])
        around = np.stack([bins[:, k - 1 : k + 1, -1].sum(axis=1) for k in at], axis=-1)
        best = around.argmin(axis=1)
        self.cut = np.array(CUTS)[best]
        above = np.arange(bins.shape[1]) >= at[best, None]
        near = above & (np.arange(bins.shape[1]) < at[best, None] + NEAR)
        sums = np.einsum("ij,ijk->ik", above.astype(float), bins)
        sums[:, 2], sums[:, -1] = np.sqrt(sums[:, 2]) / NUMBER, np.sqrt(sums[:, -1]) / SUM
        next_to = np.sqrt((bins[:, :, 2] * near).sum(axis=1)) / NEXT
        self._above = np.column_stack([sums, next_to])
        x = np.concatenate([conditions.x, conditions.x[:, ::-1]])
        self._below = _below(np.tile(conditions.scale, 2), x)

    def pool(self, places: Ints) -> Pool:
        """Return what :meth:`others` draws from: some of the rests and images, by their places."""
        from scipy.spatial import cKDTree

        cuts = self.cut[places]
        found = ((float(cut), places[cuts == cut]) for cut in np.unique(cuts))
        return {cut: (cKDTree(np.column_stack([self._below[own], self._above[own]])), own) for cut, own in found}

    def others(self, pool: Pool, places: Ints, conditions: Conditions, rng: np.random.Generator) -> Ints:
        """Draw the places of the rests whose parts below the cut go with parts above it.

        Args:
            pool: of the rests.
            places: of those with the parts above, which the pool has too, (N,).
            conditions: of the collisions that they are for, N.
            rng: draws them.

        Returns:
            The places, (N,): a rest's own if no other one has its cut.
        """
        others = places.copy()
        draw = rng.uniform(size=len(places))
        points = np.column_stack([_below(conditions.scale, conditions.x), self._above[places]])
        size = len(self._rests)
        for cut, (tree, known) in pool.items():
            asked = np.flatnonzero(self.cut[places] == cut)
            if len(asked) == 0:
                continue
            num = min(NEIGHBOURS + 2, len(known))  # a rest and its image may be among them
            found = known[tree.query(points[asked], k=num, eps=TOLERANCE)[1].reshape(len(asked), num)]
            same = found % size == (places[asked] % size)[:, None]
            order = np.argsort(same, axis=1, kind="stable")
            choice = np.minimum(num - same.sum(axis=1), NEIGHBOURS)
            rank = (draw[asked] * choice).astype(np.int64)
            drawn = np.take_along_axis(found, order, axis=1)[np.arange(len(asked)), rank]
            others[asked] = np.where(choice > 0, drawn, places[asked])
        return others

    def joined(self, places: Ints, angle: Floats) -> Rests:
        """Return N rests, each of a part above the cut of the first and a part below it; the recoil is the first's.

        Args:
            places: of the rests with the parts above and below, (N, 2).
            angle: by which they are turned about the beam, images before that by pi about the x axis, in rad, (N, 2).
        """
        size, at = len(self._rests), np.repeat(self.cut[places[:, 0]], 2)
        rows, mirrored = places.ravel() % size, places.ravel() >= size
        turned = self._rests.turned(rows, angle.ravel(), mirrored)
        offsets, both = self._rests.particles.offsets, turned.particles
        piece = np.repeat(np.arange(len(rows)), offsets[rows + 1] - offsets[rows])
        above = np.where(mirrored, -1.0, 1.0)[piece] * self._y[ragged_indices(offsets, rows)] > at[piece]
        keep = above == (piece % 2 == 0)
        joined = offsets_from_counts(np.bincount(piece[keep] // 2, minlength=len(places)))
        return Rests(ParticleSet(joined, both.pdg_id[keep], both.p4[keep]), turned.recoil[::2])


def _measured(rests: Rests) -> Floats:
    """Return what is counted of R rests, (R, bins, 6).

    These are momenta along and across the radiation, numbers, charges, baryon numbers, and hard transverse momenta.
    """
    particles, num = rests.particles, 2 * NUM_STEPS + 2
    edges = STEP * np.arange(-NUM_STEPS, NUM_STEPS + 1)
    place = particles.index * num + np.searchsorted(edges, rapidity(particles.p4))
    angle = -phi(-rests.recoil)
    cos, sin = np.cos(angle)[particles.index], np.sin(angle)[particles.index]
    px, py = particles.p4[:, 1], particles.p4[:, 2]
    transverse = np.hypot(px, py)
    columns = (
        (px * cos - py * sin) / ACROSS,
        (px * sin + py * cos) / ACROSS,
        np.ones(len(px)),
        charges(particles.pdg_id) / CHARGE,
        baryon_numbers(particles.pdg_id) / BARYON_NUMBER,
        np.where(transverse > HARD, transverse, 0.0),
    )
    counted = [np.bincount(place, column, minlength=len(rests) * num).astype(np.float64) for column in columns]
    return np.stack(counted, axis=-1).reshape(len(rests), num, len(columns))


def _first(cut: float) -> int:
    """Return the first bin above a cut."""
    return round(cut / STEP) + NUM_STEPS + 1


def _below(scale: Floats, x: Floats) -> Floats:
    """Return the coordinates (N, 3), for the parts below, of scales (N,) in GeV and momentum fractions x (N, 2)."""
    left = np.log1p(-np.minimum(x[:, 1], 1 - 1e-6))
    return np.column_stack([SCALE * np.log(scale), X * np.log(x[:, 1]), LEFT * left])
