"""Rests made of two: what one has above a rapidity, and what another one has below it.

Whatever is drawn from a library comes again, and trees recognise it. Across a cut in rapidity the two parts of a rest
know of each other little more than what they have in common: how active the collision is, and the transverse momentum,
charge and baryon number that they share between them. So the part below is taken from a rest whose part *above* is like
the one that is kept in these (:func:`features`), which draws from the conditional distribution as a neighbourhood of
stored rests has it. All are seen with the radiation, against which the hard process recoils, along the x axis.
"""

from __future__ import annotations

import numpy as np

from fastsim.event import Decayed, Floats, History, Ints, ParticleSet, offsets_from_counts, ragged_indices
from fastsim.event.kinematics import phi, rapidity
from fastsim.event.species import baryon_numbers, charges
from generators.rests.rests import Rests

STEP, NUM_STEPS = 0.5, 7
"""Cuts lie at multiples of ``STEP`` in rapidity, up to so many on either side of 0 for what is next to them."""
CUTS = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""The rapidities at which rests are cut."""
NEAR = 3
"""Steps above the cut in which activity next to it is counted."""
HARD_PT, HARD, AROUND = 1.0, 0.8, 3.0
ACROSS, NUMBER, NEXT, CHARGE, BARYON_NUMBER = 1.5, 0.5, 0.5, 1.5, 1.0
"""What counts as a unit of distance: transverse momentum in GeV, root of the number of particles above the cut and of
that next to it, charge, and baryon number."""


class Halves:
    """What the parts of R rests above the cuts are like.

    Args:
        rests: the rests.
    """

    def __init__(self, rests: Rests) -> None:
        self._rests = rests
        particles = rests.particles
        root, of_decayed = particles.roots()
        history = particles.history
        decayed = np.zeros((0, 4)) if history is None else history.decayed.p4
        y = rapidity(np.concatenate([decayed, particles.p4]))
        self._final, self._decayed = y[root], y[of_decayed]
        edges = STEP * np.arange(-NUM_STEPS, NUM_STEPS + 1)
        size, num = len(rests), len(edges) + 1
        place = particles.index * num + np.searchsorted(edges, self._final)
        angle = -phi(-rests.recoil)[particles.index]
        x, p = particles.p4[:, 1], particles.p4[:, 2]
        columns = (
            (x * np.cos(angle) - p * np.sin(angle)) / ACROSS,
            (x * np.sin(angle) + p * np.cos(angle)) / ACROSS,
            np.ones(len(x)),
            charges(particles.pdg_id) / CHARGE,
            baryon_numbers(particles.pdg_id) / BARYON_NUMBER,
            np.where((transverse := np.hypot(x, p)) > HARD_PT, transverse, 0.0),
        )
        sums = np.stack([np.bincount(place, column, minlength=size * num) for column in columns], axis=-1)
        upwards = sums.reshape(size, num, len(columns))
        downwards = upwards[:, ::-1].copy()  # turned by pi about the x axis
        downwards[:, :, 1] *= -1.0
        both = np.concatenate([upwards, downwards])
        self.features = {cut: self._features(both, cut) for cut in CUTS}
        self.cut = np.array(CUTS)[np.stack([self.features[cut][:, -1] for cut in CUTS], axis=-1).argmin(axis=1)]

    @staticmethod
    def _features(bins: Floats, cut: float) -> Floats:
        """Return what matters of rests, and of their mirror images, above a cut, (2 R, 6)."""
        first = round(cut / STEP) + NUM_STEPS + 1
        above = bins[:, first:].sum(axis=1)
        near = bins[:, first : first + NEAR, 2].sum(axis=1)
        above[:, 2] = np.sqrt(above[:, 2]) / NUMBER
        above[:, 5] = np.sqrt(above[:, 5]) / HARD
        around = bins[:, first - 1 : first + 1, 5].sum(axis=1)
        return np.column_stack([above, np.sqrt(near) / NEXT, np.sqrt(around) / AROUND])

    def joined(self, rows: Ints, angle: Floats, mirrored: np.ndarray, cut: Floats) -> ParticleSet:
        """Return N rests, each of a part above a cut and a part below it.

        Args:
            rows: which of the R rests have these, (N, 2).
            angle, mirrored: how they are turned before that, see :meth:`Rests.turned`, (N, 2).
            cut: rapidities, (N,).
        """
        rows, mirrored = rows.ravel(), mirrored.ravel()
        stored, both = self._rests.particles, self._rests.turned(rows, angle.ravel(), mirrored).particles
        sign, at = np.where(mirrored, -1.0, 1.0), np.repeat(cut, 2)

        def kept(y: Floats, offsets: Ints) -> tuple[np.ndarray, Ints]:
            piece = np.repeat(np.arange(len(rows)), offsets[rows + 1] - offsets[rows])
            above = sign[piece] * y[ragged_indices(offsets, rows)] > at[piece]
            keep = above == (piece % 2 == 0)
            return keep, offsets_from_counts(np.bincount(piece[keep] // 2, minlength=len(cut)))

        keep, offsets = kept(self._final, stored.offsets)
        history = both.history
        if history is not None and stored.history is not None:
            before = history.decayed
            chosen, starts = kept(self._decayed, stored.history.decayed.offsets)
            place = np.cumsum(chosen) - 1 - starts[before.index // 2]  # mothers are counted from the first of their set
            above = np.append(place, 0)[before.mother + before.offsets[before.index]]
            mother = np.where(before.mother < 0, -1, above)[chosen]
            decayed = Decayed(starts, before.pdg_id[chosen], before.p4[chosen], mother, before.vertex[chosen])
            above = np.append(place, 0)[history.mother + before.offsets[both.index]]
            history = History(decayed, np.where(history.mother < 0, -1, above)[keep], history.vertex[keep])
        return ParticleSet(offsets, both.pdg_id[keep], both.p4[keep], history)
