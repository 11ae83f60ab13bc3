"""Candidates for what decayed: every combination of particles of a set that could be its daughters.

A candidate of one particle is the particle; candidates are combined with others of the same set, so that decays in
steps are candidates too (D*+ -> D0 pi+, D0 -> K- pi+).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastsim.event.arrays import offsets_from_counts, ragged_indices
from fastsim.event.kinematics import mass

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Candidates:
    """C combinations of n particles each, ordered by set.

    Attributes:
        index: the set of each, (C,).
        p4: summed four-momentum, in any one unit, (C, 4).
        members: numbers of their particles, (C, n).
    """

    index: Ints
    p4: Floats
    members: Ints

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: NDArray[np.generic]) -> Candidates:
        return Candidates(self.index[rows], self.p4[rows], self.members[rows])

    @property
    def mass(self) -> Floats:
        """Invariant mass in the unit of ``p4``, (C,)."""
        return mass(self.p4)

    @staticmethod
    def concatenate(parts: Sequence[Candidates]) -> Candidates:
        """Join candidates of equal numbers of particles, in the order of their sets."""
        index = np.concatenate([p.index for p in parts])
        order = np.argsort(index, kind="stable")
        p4, members = np.concatenate([p.p4 for p in parts]), np.concatenate([p.members for p in parts])
        return Candidates(index[order], p4[order], members[order])


def combined(one: Candidates, other: Candidates, num_sets: int, *, alike: bool = False) -> tuple[Candidates, Ints]:
    """Combine every candidate of one kind with every one of another kind in the same set.

    Combinations that hold a particle twice are left out.

    Args:
        one, other: candidates of the same N sets.
        num_sets: N.
        alike: the two kinds are one and the same: every combination then counts once.

    Returns:
        The combinations, and for each the row of ``one`` in it.
    """
    per_set = np.bincount(other.index, minlength=num_sets)
    first = np.repeat(np.arange(len(one)), per_set[one.index])
    second = ragged_indices(offsets_from_counts(per_set), one.index)
    kept = first < second if alike else np.ones(len(first), dtype=bool)
    for a in range(one.members.shape[1]):
        for b in range(other.members.shape[1]):
            kept &= one.members[first, a] != other.members[second, b]
    first, second = first[kept], second[kept]
    members = np.concatenate([one.members[first], other.members[second]], axis=1)
    return Candidates(one.index[first], one.p4[first] + other.p4[second], members), first
