"""Hits: energy deposits of simulated events in a calorimeter, whoever made them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import InvalidValue
from fastsim.event import Floats, Ints

_EVENTS = 2**32
"""More than a run has: Geant4's numbers of events are 32-bit integers."""


@dataclass(frozen=True, eq=False, repr=False)
class Hits:
    """N energy deposits.

    Attributes:
        run: numbers of the runs, (N,).
        event: numbers of the events in their run, (N,).
        layer: layers of the calorimeter, counted from the front, (N,).
        position: places in mm, (N, 3).
        energy: in MeV, (N,).
        time: in ns since the beginning of the event, (N,); NaN where it is not known.
        by_model: whether a model made the hit, not Geant4, (N,).

    Raises:
        InvalidValue: if the arrays do not have these shapes.

    >>> event, layer, energy = [1, 1, 4], [0, 0, 2], [2.0, 3.0, 4.0]
    >>> hits = Hits([0, 0, 0], event, layer, np.zeros((3, 3)), energy, np.zeros(3), [True, False, True])
    >>> len(hits), hits[hits.event == 1].energy.sum(), np.bincount(hits.event, hits.energy).tolist()
    (3, 5.0, [0.0, 5.0, 0.0, 0.0, 4.0])
    >>> hits.summed(np.array([7, 7, 7])).energy.tolist()
    [5.0, 4.0]
    """

    run: Ints
    event: Ints
    layer: Ints
    position: Floats
    energy: Floats
    time: Floats
    by_model: NDArray[np.bool_]

    def __post_init__(self) -> None:
        kinds = {"position": np.float64, "energy": np.float64, "time": np.float64, "by_model": np.bool_}
        for field in fields(self):
            values = np.asarray(getattr(self, field.name), dtype=kinds.get(field.name, np.int64))
            object.__setattr__(self, field.name, values)
            shape = (len(self.run), 3) if field.name == "position" else (len(self.run),)
            if values.shape != shape:
                raise InvalidValue(f"hits: {field.name} has shape {values.shape}, expected {shape}")

    @classmethod
    def empty(cls) -> Hits:
        """Return no hits."""
        none, nothing = np.zeros(0, np.int64), np.zeros(0)
        return cls(none, none, none, np.zeros((0, 3)), nothing, nothing, np.zeros(0, np.bool_))

    @classmethod
    def concatenate(cls, parts: Sequence[Hits]) -> Hits:
        """Return the hits of all parts, those of one event together; the order of its hits is kept."""
        parts = parts or [cls.empty()]
        whole = cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})
        later = np.diff(whole.run) * _EVENTS + np.diff(whole.event)
        if (later >= 0).all():
            return whole
        return whole[np.argsort(whole.run * _EVENTS + whole.event, kind="stable")]

    def summed(self, cell: Ints) -> Hits:
        """Return one hit for each cell of each event: the energies of hits in it added up.

        Position and layer are those of its hit with most energy, the time is the earliest that is known; a model made
        it if a model made one of its hits. Ordered by run, event and cell.

        Args:
            cell: number of the cell of each hit, (N,); hits of a negative one are left out.

        Raises:
            InvalidValue: if there is not one cell a hit.
        """
        cell = np.asarray(cell, dtype=np.int64)
        if cell.shape != self.run.shape:
            raise InvalidValue(f"{len(self)} hits, but cells of shape {cell.shape}")
        inside = cell >= 0
        kept, cell = self[inside], cell[inside]
        order = np.lexsort((-kept.energy, cell, kept.event, kept.run))
        kept, cell = kept[order], cell[order]
        keys = np.stack([kept.run, kept.event, cell])
        first = np.flatnonzero(np.concatenate([[True], (keys[:, 1:] != keys[:, :-1]).any(axis=0)])[: len(kept)])
        hits = kept[first]
        if not len(kept):
            return hits
        return Hits(
            hits.run,
            hits.event,
            hits.layer,
            hits.position,
            np.add.reduceat(kept.energy, first),
            np.fmin.reduceat(kept.time, first),
            np.logical_or.reduceat(kept.by_model, first),
        )

    def __len__(self) -> int:
        return len(self.run)

    def __getitem__(self, rows: slice | Ints | NDArray[np.bool_]) -> Hits:
        """Return the hits of a slice, a mask or an array of indices."""
        return Hits(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def __repr__(self) -> str:
        events = len(np.unique(np.stack([self.run, self.event]), axis=1).T)
        return f"<Hits: {len(self):,} in {events:,} events>"
