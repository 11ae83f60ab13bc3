"""The rests of hadron collisions, and what they may be turned into by symmetry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import for_kernels
from fastsim.event import Decayed, Floats, History, Ints, ParticleSet, offsets_from_counts, ragged_indices
from fastsim.event.kinematics import phi, pt
from generators.rests.conditions import Conditions
from generators.rests.moves import put_turned


@dataclass(frozen=True, eq=False)
class Rests:
    """The rests of N hadron collisions.

    Attributes:
        particles: all primary hadrons, and what else there is but the hard process, one set a collision.
        recoil: four-momenta of the hard processes after they recoiled, in GeV, (N, 4).
    """

    particles: ParticleSet
    recoil: Floats

    def __len__(self) -> int:
        return len(self.recoil)

    def __getitem__(self, rows: Ints) -> Rests:
        """Return some of the rests, by their indices."""
        return Rests(self.particles[rows], self.recoil[rows])

    @classmethod
    def empty(cls) -> Rests:
        """Return no rests."""
        return cls(ParticleSet.empty(), np.zeros((0, 4)))

    @classmethod
    def concatenate(cls, batches: Sequence[Rests]) -> Rests:
        """Return the rests of at least one batch as one batch."""
        particles = ParticleSet.concatenate([batch.particles for batch in batches])
        return cls(particles, np.concatenate([batch.recoil for batch in batches]))

    def aligned(self, conditions: Conditions, rng: np.random.Generator) -> Rests:
        """Return the N rests turned about the beam as radiation lies in collisions of N conditions."""
        angle = conditions.azimuths(pt(self.recoil), rng) - phi(-self.recoil)
        return self.turned(np.arange(len(self)), angle, np.zeros(len(self), bool))

    def turned(self, rows: Ints, angle: Floats, mirrored: NDArray[np.bool_]) -> Rests:
        """Return R of the rests turned about the beam.

        Args:
            rows: which of them, (R,).
            angle: angles in rad, (R,).
            mirrored: which of the R are turned before by pi about the x axis, (R,).
        """
        recoil = _turned(self.recoil, np.arange(len(self) + 1), rows, angle, mirrored)
        return Rests(turned(self.particles, rows, angle, mirrored), recoil)


def turned(particles: ParticleSet, rows: Ints, angle: Floats, mirrored: NDArray[np.bool_]) -> ParticleSet:
    """Return R of N sets turned about the beam, as :meth:`Rests.turned` does."""
    history, offsets = particles.history, particles.offsets
    flat = ragged_indices(offsets, rows)
    if history is not None:
        before = history.decayed
        chosen = ragged_indices(before.offsets, rows)
        p4, vertex = (_turned(vectors, before.offsets, rows, angle, mirrored) for vectors in (before.p4, before.vertex))
        starts = offsets_from_counts(before.counts[rows])
        decayed = Decayed(starts, before.pdg_id[chosen], p4, before.mother[chosen], vertex)
        history = History(decayed, history.mother[flat], _turned(history.vertex, offsets, rows, angle, mirrored))
    p4 = _turned(particles.p4, offsets, rows, angle, mirrored)
    return ParticleSet(offsets_from_counts(particles.counts[rows]), particles.pdg_id[flat], p4, history)


def _turned(vectors: Floats, offsets: Ints, rows: Ints, angle: Floats, mirrored: NDArray[np.bool_]) -> Floats:
    """Return the four-vectors of R of N sets, (M, 4) in all, turned as :meth:`Rests.turned` does."""
    out = np.empty((int((offsets[rows + 1] - offsets[rows]).sum()), 4))
    sign = np.where(mirrored, -1.0, 1.0)
    put_turned(for_kernels(vectors), offsets, rows, np.cos(angle), np.sin(angle), sign, out)
    return out
