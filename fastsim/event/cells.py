"""The cells of a calorimeter that saw energy, event by event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import InvalidValue
from fastsim.event.arrays import Floats, Ints, Ragged


@dataclass(frozen=True, eq=False, repr=False)
class Cells(Ragged):
    """The calorimeter cells that saw energy in each of E events.

    ``offsets`` (E+1,), ``id`` (M,) increasing in each event, ``energy`` (M,) in MeV, float32: event i has the slice
    ``offsets[i]:offsets[i+1]``, and ``cells[i]`` gives its ``id`` and ``energy``.
    :class:`fastsim.detector.towers.Towers` says what an id means.

    >>> cells = Cells([0, 2, 3], [1, 5, 2], [0.5, 2.0, 1.0])
    >>> cells, cells[0].energy.tolist(), cells.sums().tolist()
    (<Cells: 2 events, 3 cells>, [0.5, 2.0], [2.5, 1.0])
    """

    offsets: Ints
    id: Ints
    energy: NDArray[np.float32]

    _item_columns: ClassVar[tuple[str, ...]] = ("id", "energy")
    _items: ClassVar[str] = "cells"

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", np.asarray(self.id, dtype=np.int64))
        object.__setattr__(self, "energy", np.asarray(self.energy, dtype=np.float32))
        if self.id.shape != self.energy.shape or self.id.ndim != 1:
            raise InvalidValue(f"{len(self.id)} cell ids but {len(self.energy)} energies")
        self._check()

    def sums(self) -> Floats:
        """Return the energy of each event in MeV, shape (E,)."""
        return np.bincount(self.index, weights=self.energy, minlength=len(self)).astype(np.float64)

    @staticmethod
    def empty(num_events: int = 0) -> Cells:
        """Return ``num_events`` events without cells."""
        return Cells(np.zeros(num_events + 1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))

    @classmethod
    def concatenate(cls, batches: Sequence[Cells]) -> Cells:
        """Return the events of all batches as one batch."""
        return cls(**cls._joined(batches)) if batches else cls.empty()
