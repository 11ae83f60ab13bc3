"""Partons, and the ragged sets of particles that they become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsim.event.arrays import Floats, Ints, Ragged, ragged_indices
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
class Decayed(Ragged):
    """The particles of N sets that decayed, D in all: status 2 of an event record. Mothers come before daughters.

    Attributes:
        offsets: set i has the decayed particles ``offsets[i]:offsets[i+1]``, (N+1,).
        pdg_id: PDG ids, (D,).
        p4: four-momenta (E, px, py, pz) in GeV, (D, 4).
        mother: index, within the set's decayed particles, of the one that decayed into this one; -1 for a particle that
            the partons became, (D,).
        vertex: where they were made, (ct, x, y, z) in mm from the primary vertex, (D, 4).
    """

    offsets: Ints
    pdg_id: Ints
    p4: Floats
    mother: Ints
    vertex: Floats

    _item_columns: ClassVar[tuple[str, ...]] = ("pdg_id", "p4", "mother", "vertex")
    _items: ClassVar[str] = "decayed particles"

    def __post_init__(self) -> None:
        object.__setattr__(self, "pdg_id", np.asarray(self.pdg_id, dtype=np.int64))
        object.__setattr__(self, "p4", np.asarray(self.p4, dtype=np.float64).reshape(-1, 4))
        object.__setattr__(self, "mother", np.asarray(self.mother, dtype=np.int64))
        object.__setattr__(self, "vertex", np.asarray(self.vertex, dtype=np.float64).reshape(-1, 4))
        self._check()

    @classmethod
    def empty(cls, num_sets: int = 0) -> Decayed:
        """Return ``num_sets`` sets without decayed particles."""
        none = np.zeros(0, np.int64)
        return cls(np.zeros(num_sets + 1, np.int64), none, np.zeros((0, 4)), none, np.zeros((0, 4)))

    @classmethod
    def concatenate(cls, batches: Sequence[Decayed]) -> Decayed:
        """Return the sets of all batches as one batch."""
        return cls(**cls._joined(batches)) if batches else cls.empty()


@dataclass(frozen=True)
class History:
    """Where the M final particles of N sets come from.

    Attributes:
        decayed: the particles that decayed, N sets.
        mother: index, within the set's decayed particles, of the one that decayed into a final particle; -1 for one
            that the partons became, (M,).
        vertex: where the final particles were made, (ct, x, y, z) in mm from the primary vertex, (M, 4).
    """

    decayed: Decayed
    mother: Ints
    vertex: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "mother", np.asarray(self.mother, dtype=np.int64))
        object.__setattr__(self, "vertex", np.asarray(self.vertex, dtype=np.float64).reshape(-1, 4))

    @classmethod
    def unknown(cls, num_sets: int, num_particles: int) -> History:
        """Return the history of final particles of which nothing is known: all from the partons, nothing decayed."""
        return cls(Decayed.empty(num_sets), np.full(num_particles, -1), np.zeros((num_particles, 4)))


@dataclass(frozen=True)
class ParticleSet(Ragged):
    """A ragged batch of N particle sets holding M final particles in all.

    ``offsets`` (N+1,), ``pdg_id`` (M,), ``p4`` (M, 4) as (E, px, py, pz) in GeV: set i is the slice
    ``offsets[i]:offsets[i+1]``. ``history`` says what decayed into them, where that is known.

    >>> sets = ParticleSet([0, 2, 2], [211, 22], [[1.0, 0.0, 0.0, 0.9], [2.0, 0.0, 0.0, 2.0]])
    >>> len(sets), sets.counts.tolist(), sets.sums()[0].tolist()
    (2, [2, 0], [3.0, 0.0, 0.0, 2.9])
    """

    offsets: Ints
    pdg_id: Ints
    p4: Floats
    history: History | None = None

    _item_columns: ClassVar[tuple[str, ...]] = ("pdg_id", "p4")
    _items: ClassVar[str] = "particles"

    def __post_init__(self) -> None:
        object.__setattr__(self, "pdg_id", np.asarray(self.pdg_id, dtype=np.int64))
        object.__setattr__(self, "p4", np.asarray(self.p4, dtype=np.float64).reshape(-1, 4))
        if len(self.pdg_id) != len(self.p4):
            raise ValueError(f"{len(self.pdg_id)} PDG ids but {len(self.p4)} four-momenta")
        self._check()
        if self.history is not None and (
            len(self.history.mother) != len(self.pdg_id)
            or len(self.history.vertex) != len(self.pdg_id)
            or len(self.history.decayed) != len(self)
        ):
            raise ValueError("the history belongs to other particles: its numbers of particles or sets differ")

    def __getitem__(self, rows: slice | NDArray[np.generic]) -> Self:
        if self.history is None:
            return super().__getitem__(rows)
        chosen = np.arange(len(self), dtype=np.int64)[rows]
        flat = ragged_indices(self.offsets, chosen)
        history = History(self.history.decayed[chosen], self.history.mother[flat], self.history.vertex[flat])
        return replace(replace(self, history=None)[chosen], history=history)

    def without_history(self) -> ParticleSet:
        """Return the final particles alone."""
        return ParticleSet(self.offsets, self.pdg_id, self.p4)

    def of_decayed(self, values: Ints) -> Ints:
        """Carry values of the final particles up to those that decayed into them.

        Args:
            values: of each final particle (M,), such as the index of its parton: not negative, and the same for all
                that come from one decayed particle; -1 if not known.

        Returns:
            The value of each decayed particle (D,); -1 for one without final particles of known values.

        >>> kaon = Decayed([0, 1], [310], [[1.0, 0.0, 0.0, 0.8]], [-1], [[0.0, 0.0, 0.0, 0.0]])
        >>> pions = ParticleSet([0, 2], [211, -211], np.ones((2, 4)), History(kaon, [0, 0], np.ones((2, 4))))
        >>> pions.of_decayed(np.array([7, 7])).tolist()
        [7]
        """
        if self.history is None:
            return np.zeros(0, np.int64)
        decayed = self.history.decayed
        result: Ints = np.full(len(decayed.pdg_id), -1)
        above = self.history.mother + decayed.offsets[self.index]
        rows = np.flatnonzero(self.history.mother >= 0)
        np.maximum.at(result, above[rows], values[rows])
        inner = np.flatnonzero(decayed.mother >= 0)
        above = (decayed.mother + decayed.offsets[decayed.index])[inner]
        while (result[above] < result[inner]).any():  # a generation more each time
            np.maximum.at(result, above, result[inner])
        return result

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
        """Return the sets of all batches as one batch; the history is kept if all batches have one, or no sets."""
        if not batches:
            return cls.empty()
        known = [b.history for b in batches if b.history is not None]
        history = None
        if known and all(b.history is not None or len(b) == 0 for b in batches):
            history = History(
                Decayed.concatenate([h.decayed for h in known]),
                np.concatenate([h.mother for h in known]),
                np.concatenate([h.vertex for h in known]),
            )
        return cls(**cls._joined(batches), history=history)
