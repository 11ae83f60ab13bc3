"""Sets of particles, one an event or a parton, with the history of what decayed into them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, overload

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import InvalidValue
from fastsim.event.arrays import (
    Floats,
    Ints,
    Ragged,
    RowNumber,
    Rows,
    four_momenta,
    ints,
    offsets_from_counts,
    ragged_items,
    row_number,
    same_fields,
)
from fastsim.event.particles import FourMomenta, Particles


@dataclass(frozen=True, eq=False, repr=False)
class Decayed(FourMomenta, Ragged):
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
    _rows: ClassVar[str] = "sets"

    def __post_init__(self) -> None:
        object.__setattr__(self, "pdg_id", ints("PDG ids", self.pdg_id))
        object.__setattr__(self, "p4", four_momenta("four-momenta", self.p4))
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


@dataclass(frozen=True, eq=False, repr=False)
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

    def __eq__(self, other: object) -> bool:
        return same_fields(self, other) if isinstance(other, History) else NotImplemented

    def __repr__(self) -> str:
        return f"<History: {len(self.mother):,} final of {len(self.decayed.pdg_id):,} decayed particles>"


@dataclass(frozen=True, eq=False, repr=False)
class ParticleSet(FourMomenta, Ragged):
    """A ragged batch of N particle sets holding M final particles in all.

    ``offsets`` (N+1,), ``pdg_id`` (M,), ``p4`` (M, 4) as (E, px, py, pz) in GeV: set i is the slice
    ``offsets[i]:offsets[i+1]``, and ``sets[i]`` gives it as :class:`Particles`. ``history`` says what decayed into
    them, where that is known.

    >>> sets = ParticleSet([0, 2, 2], [211, 22], [[1.0, 0.0, 0.0, 0.9], [2.0, 0.0, 0.0, 2.0]])
    >>> len(sets), sets.counts.tolist(), sets.sums()[0].tolist(), sets
    (2, [2, 0], [3.0, 0.0, 0.0, 2.9], <ParticleSet: 2 sets, 2 particles>)
    >>> sets[0].pdg_id.tolist(), [len(particles) for particles in sets], sets[0][1].energy.item()
    ([211, 22], [2, 0], 2.0)
    """

    offsets: Ints
    pdg_id: Ints
    p4: Floats
    history: History | None = None

    _item_columns: ClassVar[tuple[str, ...]] = ("pdg_id", "p4")
    _items: ClassVar[str] = "particles"
    _rows: ClassVar[str] = "sets"

    def __post_init__(self) -> None:
        object.__setattr__(self, "pdg_id", ints("PDG ids", self.pdg_id))
        object.__setattr__(self, "p4", four_momenta("four-momenta", self.p4))
        if len(self.pdg_id) != len(self.p4):
            raise InvalidValue(f"{len(self.pdg_id)} PDG ids but {len(self.p4)} four-momenta")
        self._check()
        if self.history is not None and (
            len(self.history.mother) != len(self.pdg_id)
            or len(self.history.vertex) != len(self.pdg_id)
            or len(self.history.decayed) != len(self)
        ):
            raise InvalidValue("the history belongs to other particles: its numbers of particles or sets differ")

    @overload
    def __getitem__(self, rows: RowNumber) -> Particles: ...

    @overload
    def __getitem__(self, rows: Rows) -> Self: ...

    def __getitem__(self, rows: RowNumber | Rows) -> Any:
        return super().__getitem__(rows)

    def __iter__(self) -> Iterator[Particles]:
        return (self[row] for row in range(len(self)))

    def row(self, number: RowNumber) -> Particles:
        """Return the particles of one set, counted from 0, or from the end if the number is negative.

        Raises:
            IndexError: if there is no such set.
        """
        k = row_number(number, len(self))
        items = slice(self.offsets[k], self.offsets[k + 1])
        return Particles(self.pdg_id[items], self.p4[items])

    def batch(self, rows: Any) -> Self:
        """Return the batch of the sets of a slice, a mask or an array of indices."""
        everything = np.arange(len(self), dtype=np.int64)
        chosen = everything[rows]
        if np.array_equal(chosen, everything):
            return self  # nothing changes sets in place, and copies of all of a chunk cost
        if self.history is None:
            return super().batch(rows)
        flat = ragged_items(self.offsets, chosen)
        history = History(self.history.decayed[chosen], self.history.mother[flat], self.history.vertex[flat])
        return replace(replace(self, history=None).batch(chosen), history=history)

    def without_history(self) -> ParticleSet:
        """Return the final particles alone."""
        return ParticleSet(self.offsets, self.pdg_id, self.p4)

    def keeping(self, mask: NDArray[np.bool_]) -> ParticleSet:
        """Return the sets with those final particles alone that a mask (M,) names, and all decayed ones.

        >>> ParticleSet([0, 2], [211, 22], np.ones((2, 4))).keeping(np.array([False, True])).pdg_id.tolist()
        [22]
        """
        counts = np.bincount(self.index[mask], minlength=len(self))
        history = self.history
        if history is not None:
            history = replace(history, mother=history.mother[mask], vertex=history.vertex[mask])
        return ParticleSet(offsets_from_counts(counts), self.pdg_id[mask], self.p4[mask], history)

    def roots(self) -> tuple[Ints, Ints]:
        """Return what each particle comes from: the particle that the partons became and that led to it.

        Returns:
            For the final particles (M,) and for the decayed ones (D,) the row of that particle: k for row k of the
            decayed particles, D + k for row k of the final ones.
        """
        if self.history is None:
            return np.arange(len(self.pdg_id)), np.zeros(0, np.int64)
        before = self.history.decayed
        size = len(before.pdg_id)
        above = before.mother + before.offsets[before.index]
        root: Ints = np.where(before.mother < 0, np.arange(size), above)
        while ((further := root[root]) != root).any():
            root = further
        above = self.history.mother + before.offsets[self.index]
        own = size + np.arange(len(self.pdg_id))
        return np.where(self.history.mother < 0, own, np.append(root, 0)[above]), root

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

    @classmethod
    def overlaid(cls, batches: Sequence[ParticleSet]) -> ParticleSet:
        """Return N sets, the i-th with the particles of the i-th sets of all batches, one batch after the other.

        Where a batch has a history and another has none, nothing is known of the other's particles.

        Args:
            batches: at least one batch of N sets.

        >>> one, two = (ParticleSet([0, 1, 2], [k, k], np.ones((2, 4))) for k in (211, 22))
        >>> ParticleSet.overlaid([one, two]).pdg_id.tolist()
        [211, 22, 211, 22]
        """
        offsets, places = _side_by_side([batch.offsets for batch in batches])
        history = None
        if any(batch.history is not None for batch in batches):
            known = [b.history or History.unknown(len(b), len(b.pdg_id)) for b in batches]
            before = [history.decayed for history in known]
            starts, rows = _side_by_side([decayed.offsets for decayed in before])
            # mothers are counted from the first of their set
            shifts = np.cumsum([np.zeros(len(batches[0]), np.int64), *(d.counts for d in before)], axis=0)
            above, further = (
                [np.where(mother < 0, -1, mother + np.repeat(shift, counts)) for mother, shift, counts in of_all]
                for of_all in (
                    [(h.mother, s, b.counts) for h, s, b in zip(known, shifts[:-1], batches, strict=True)],
                    [(d.mother, s, d.counts) for d, s in zip(before, shifts[:-1], strict=True)],
                )
            )
            decayed = Decayed(
                starts,
                _placed([d.pdg_id for d in before], rows),
                _placed([d.p4 for d in before], rows),
                _placed(further, rows),
                _placed([d.vertex for d in before], rows),
            )
            history = History(decayed, _placed(above, places), _placed([h.vertex for h in known], places))
        ids, momenta = ([getattr(batch, name) for batch in batches] for name in ("pdg_id", "p4"))
        return cls(offsets, _placed(ids, places), _placed(momenta, places), history)


def _side_by_side(offsets: Sequence[Ints]) -> tuple[Ints, list[Ints]]:
    """Return the offsets of N sets that hold those of several batches, one after the other, and the places of these.

    Args:
        offsets: of each batch (N+1,).

    Returns:
        Offsets (N+1,), and for each batch the places of its items.
    """
    counts = [np.diff(of_batch) for of_batch in offsets]
    joined = offsets_from_counts(np.sum(counts, axis=0))
    start, places = joined[:-1], []
    for of_batch, num in zip(offsets, counts, strict=True):
        places.append(np.arange(of_batch[-1]) + np.repeat(start - of_batch[:-1], num))
        start = start + num
    return joined, places


def _placed(columns: Sequence[NDArray[Any]], places: Sequence[Ints]) -> NDArray[Any]:
    """Return one array with the items of several at their places."""
    joined = np.empty((sum(map(len, columns)), *columns[0].shape[1:]), columns[0].dtype)
    for column, place in zip(columns, places, strict=True):
        joined[place] = column
    return joined
