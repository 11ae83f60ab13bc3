"""The rests of hadron collisions, and what they may be turned into by symmetry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Floats, Ints, ParticleSet


@dataclass(frozen=True, eq=False)
class Rests:
    """The rests of N hadron collisions.

    Attributes:
        particles: all particles but those of the hard process, one set a collision, with their history.
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

    def turned(self, angle: Floats, mirrored: NDArray[np.bool_]) -> Rests:
        """Return the rests turned about the beam by angles (N,), those of a mask (N,) before by pi about the x axis."""
        return Rests(turned(self.particles, angle, mirrored), _turned(self.recoil, angle, mirrored))


def turned(particles: ParticleSet, angle: Floats, mirrored: NDArray[np.bool_]) -> ParticleSet:
    """Return N sets turned about the beam by angles (N,), those of a mask (N,) before by pi about the x axis."""
    index, history = particles.index, particles.history
    if history is not None:
        before = history.decayed
        rows = before.index
        decayed = replace(
            before,
            p4=_turned(before.p4, angle[rows], mirrored[rows]),
            vertex=_turned(before.vertex, angle[rows], mirrored[rows]),
        )
        history = replace(history, decayed=decayed, vertex=_turned(history.vertex, angle[index], mirrored[index]))
    return replace(particles, p4=_turned(particles.p4, angle[index], mirrored[index]), history=history)


def _turned(vectors: Floats, angle: Floats, mirrored: NDArray[np.bool_]) -> Floats:
    """Return four-vectors (N, 4) turned by pi about the x axis where a mask (N,) says so, then by angles about z."""
    sign = np.where(mirrored, -1.0, 1.0)
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = vectors[:, 1], sign * vectors[:, 2]
    return np.stack([vectors[:, 0], cos * x - sin * y, sin * x + cos * y, sign * vectors[:, 3]], axis=-1)
