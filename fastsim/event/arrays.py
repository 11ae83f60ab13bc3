"""Ragged arrays: rows of different lengths as one flat column and the offsets of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def offsets_from_counts(counts: NDArray[np.integer[Any]]) -> Ints:
    """Return the offsets (N+1,) of a ragged array whose N rows have the given lengths.

    >>> offsets_from_counts(np.array([2, 0, 1])).tolist()
    [0, 2, 2, 3]
    """
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def ragged_indices(offsets: Ints, rows: NDArray[np.integer[Any]]) -> Ints:
    """Return the flat indices of the items of the chosen rows, row after row.

    >>> ragged_indices(np.array([0, 2, 2, 3]), np.array([2, 0])).tolist()
    [2, 0, 1]
    """
    starts, counts = offsets[rows], offsets[rows + 1] - offsets[rows]
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    shift: Ints = np.repeat(starts - ends + counts, counts)
    return np.arange(total, dtype=np.int64) + shift


class Ragged:
    """A batch of N rows of different lengths: ``offsets`` (N+1,), and columns with one entry for each of M items.

    Row i has the items ``offsets[i]:offsets[i+1]``. The subclasses are frozen dataclasses whose fields are the offsets,
    columns of shape (M, ...) that ``_item_columns`` names, columns of shape (N, ...) that ``_row_columns`` names, and
    fields that belong to the whole batch.

    Raises:
        ValueError: if the offsets do not begin at 0 and end at M, or the columns differ in length.
    """

    offsets: Ints
    _item_columns: ClassVar[tuple[str, ...]] = ()
    _row_columns: ClassVar[tuple[str, ...]] = ()
    _items: ClassVar[str] = "items"

    def _check(self) -> None:
        """Convert the offsets to int64 and refuse columns that do not fit them."""
        object.__setattr__(self, "offsets", np.asarray(self.offsets, dtype=np.int64))
        lengths = {name: len(getattr(self, name)) for name in self._item_columns}
        size = next(iter(lengths.values()))
        if any(length != size for length in lengths.values()):
            listed = ", ".join(f"{length} {name}" for name, length in lengths.items())
            raise ValueError(f"columns of different lengths: {listed}")
        if len(self.offsets) < 1 or self.offsets[0] != 0 or self.offsets[-1] != size:
            raise ValueError(f"offsets must start at 0 and end at the number of {self._items}")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> Ints:
        """The number of items in each row, shape (N,)."""
        return np.diff(self.offsets)

    @property
    def index(self) -> Ints:
        """The row that each item belongs to, shape (M,)."""
        return np.repeat(np.arange(len(self)), self.counts)

    def __getitem__(self, rows: slice | NDArray[np.generic]) -> Self:
        """Return the batch of the rows of a slice, a mask or an array of indices."""
        chosen = np.arange(len(self), dtype=np.int64)[rows]
        flat = ragged_indices(self.offsets, chosen)
        columns: dict[str, Any] = {name: getattr(self, name)[flat] for name in self._item_columns}
        columns |= {name: getattr(self, name)[chosen] for name in self._row_columns}
        others = {field.name: getattr(self, field.name) for field in fields(self) if field.init}  # type: ignore[arg-type]
        return type(self)(**{**others, "offsets": offsets_from_counts(self.counts[chosen]), **columns})

    @classmethod
    def _joined(cls, batches: Sequence[Ragged]) -> dict[str, Any]:
        """Return offsets and columns, by name, of the batch that holds the rows of at least one batch in order."""
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(batch, name) for batch in batches])
            for name in (*cls._item_columns, *cls._row_columns)
        }
        return {"offsets": offsets_from_counts(np.concatenate([batch.counts for batch in batches])), **columns}
