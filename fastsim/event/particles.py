"""Partons, and the ragged sets of particles that they become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsim.event.arrays import Floats, Ints, Ragged
from fastsim.event.kinematics import p4_from_pt_eta_phi_m
from fastsim.event.species import PARTON_MASSES


@dataclass(frozen=True)
class Partons:
    """N partons: ``pdg_id`` (N,) and four-momenta ``p4`` (N, 4) as (E, px, py, pz) in GeV.

    >>> partons = Partons.from_pt_eta_phi([21, -2], [100.0, 50.0], [0.0, 1.0], [0.0, 2.0])
    >>> len(partons), partons[:1].p4.tolist()
    (2, [[100.0, 100.0, 0.0, 0.0]])
    """

    pdg_id: Ints
    p4: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "pdg_id", np.asarray(self.pdg_id, dtype=np.int64))
        object.__setattr__(self, "p4", np.asarray(self.p4, dtype=np.float64).reshape(-1, 4))
        if len(self.pdg_id) != len(self.p4):
            raise ValueError(f"{len(self.pdg_id)} PDG ids but {len(self.p4)} four-momenta")

    def __len__(self) -> int:
        return len(self.pdg_id)

    def __getitem__(self, rows: slice | NDArray[np.generic]) -> Partons:
        return Partons(self.pdg_id[rows], self.p4[rows])

    @classmethod
    def from_pt_eta_phi(cls, pdg_id: ArrayLike, pt: ArrayLike, eta: ArrayLike, phi: ArrayLike) -> Partons:
        """Return partons from pT (GeV), pseudorapidity and azimuth (rad), each (N,).

        Their masses are those that the Pythia gun gives its partons (:data:`fastsim.event.species.PARTON_MASSES`).
        """
        ids = np.asarray(pdg_id, dtype=np.int64)
        m = np.array([PARTON_MASSES[abs(int(i))] for i in ids], dtype=np.float64)
        return cls(ids, p4_from_pt_eta_phi_m(pt, eta, phi, m))

    @staticmethod
    def concatenate(batches: Sequence[Partons]) -> Partons:
        """Return the partons of at least one batch as one batch."""
        return Partons(np.concatenate([b.pdg_id for b in batches]), np.concatenate([b.p4 for b in batches]))


@dataclass(frozen=True)
class ParticleSet(Ragged):
    """A ragged batch of N particle sets holding M particles in all.

    ``offsets`` (N+1,), ``pdg_id`` (M,), ``p4`` (M, 4) as (E, px, py, pz) in GeV: set i is the slice
    ``offsets[i]:offsets[i+1]``.

    >>> sets = ParticleSet([0, 2, 2], [211, 22], [[1.0, 0.0, 0.0, 0.9], [2.0, 0.0, 0.0, 2.0]])
    >>> len(sets), sets.counts.tolist(), sets.sums()[0].tolist()
    (2, [2, 0], [3.0, 0.0, 0.0, 2.9])
    """

    offsets: Ints
    pdg_id: Ints
    p4: Floats

    _item_columns: ClassVar[tuple[str, ...]] = ("pdg_id", "p4")
    _items: ClassVar[str] = "particles"

    def __post_init__(self) -> None:
        object.__setattr__(self, "pdg_id", np.asarray(self.pdg_id, dtype=np.int64))
        object.__setattr__(self, "p4", np.asarray(self.p4, dtype=np.float64).reshape(-1, 4))
        if len(self.pdg_id) != len(self.p4):
            raise ValueError(f"{len(self.pdg_id)} PDG ids but {len(self.p4)} four-momenta")
        self._check()

    def sums(self) -> Floats:
        """Return the total four-momentum of each set, shape (N, 4), in GeV."""
        total = np.zeros((len(self), 4))
        filled = self.counts > 0
        if filled.any():
            total[filled] = np.add.reduceat(self.p4, self.offsets[:-1][filled], axis=0)
        return total

    @staticmethod
    def empty(num_sets: int = 0) -> ParticleSet:
        """Return ``num_sets`` sets without particles."""
        return ParticleSet(np.zeros(num_sets + 1, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)))

    @classmethod
    def concatenate(cls, batches: Sequence[ParticleSet]) -> ParticleSet:
        """Return the sets of all batches as one batch."""
        return cls(**cls._joined(batches)) if batches else cls.empty()
