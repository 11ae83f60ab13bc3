"""Ragged arrays: rows of different lengths as one flat column and the offsets of the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from operator import index
from types import SimpleNamespace
from typing import Any, ClassVar, Self, TypeGuard, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsim.errors import InvalidValue

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
RowNumber = int | np.integer[Any]
"""The number of a row, from 0, or from the end if it is negative."""
Rows = slice | NDArray[np.generic] | Sequence[int] | Sequence[bool]
"""What chooses some rows of a batch: a slice, a mask, or indices."""


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


def ragged_items(offsets: Ints, rows: Ints) -> Ints | slice:
    """Return what chooses the items of the chosen rows: a slice, of which arrays give views, where these lie together.

    >>> ragged_items(np.array([0, 2, 2, 3]), np.array([1, 2]))
    slice(2, 3, None)
    """
    if len(rows) and (np.diff(rows) == 1).all():
        return slice(int(offsets[rows[0]]), int(offsets[rows[-1] + 1]))
    return ragged_indices(offsets, rows)


def ints(name: str, values: ArrayLike) -> Ints:
    """Return the values as an int64 array (N,); ``name`` is for the message.

    Raises:
        InvalidValue: if they are no whole numbers, or not in one row.
    """
    try:
        array = np.asarray(values)
        whole = array.astype(np.int64)
        if array.dtype.kind in "iub" or not array.size or (array.dtype.kind == "f" and (whole == array).all()):
            if whole.ndim == 1:
                return whole
            raise InvalidValue(f"{name}: has shape {whole.shape}, must be a list or an array of one dimension")
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, InvalidValue):
            raise
    raise InvalidValue(f"{name}: {_short(values)} is no array of whole numbers")


def floats(name: str, values: ArrayLike) -> Floats:
    """Return the values as a float64 array of the same shape; ``name`` is for the message.

    Raises:
        InvalidValue: if they are no numbers, or rows differ in length.
    """
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"{name}: {_short(values)} is no array of numbers") from error


def four_momenta(name: str, values: ArrayLike) -> Floats:
    """Return four-momenta as a float64 array (N, 4); one of shape (4,) is a row of its own.

    Raises:
        InvalidValue: if they are no numbers, or not four in a row.
    """
    p4 = floats(name, values)
    if p4.size % 4 or (p4.size and p4.shape[-1] != 4):
        raise InvalidValue(f"{name}: has shape {p4.shape}, must be (N, 4): E, px, py, pz in GeV")
    return p4.reshape(-1, 4)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def same(one: object, other: object) -> bool:
    """Return whether two values, such as batches, mappings or arrays (NaN equal to NaN), hold the same.

    >>> same({"x": np.array([1.0, np.nan])}, {"x": np.array([1.0, np.nan])}), same(np.zeros(2), np.zeros(3))
    (True, False)
    """
    if one is None or other is None:  # an array that is compared with None gives an array
        return one is other
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == other.dtype.kind == "f")
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def same_fields(one: object, other: object) -> bool:
    """Return whether two objects are of one dataclass and :func:`same` in each field."""
    return type(one) is type(other) and all(
        same(getattr(one, field.name), getattr(other, field.name))
        for field in fields(one)  # type: ignore[arg-type]
    )


def row_number(row: RowNumber, size: int) -> int:
    """Return the number, from 0, of a row that may be counted from the end.

    Raises:
        IndexError: if there is no such row.
    """
    number = index(row)
    if not -size <= number < size:
        raise IndexError(f"row {number} of {size}")
    return number % size


def is_number(rows: object) -> TypeGuard[RowNumber]:
    """Return whether rows are chosen by one whole number, which gives a row and not a batch."""
    return isinstance(rows, int | np.integer) and not isinstance(rows, bool)


class Row(SimpleNamespace):
    """One row of a batch, such as an event: the columns of its items as arrays (n, ...), its own entries as scalars."""

    def __repr__(self) -> str:
        return f"Row({', '.join(vars(self))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Row) and same(vars(self), vars(other))


class Ragged:
    """A batch of N rows of different lengths: ``offsets`` (N+1,), and columns with one entry for each of M items.

    Row i has the items ``offsets[i]:offsets[i+1]``: ``batch[i]`` gives it, a slice, a mask or indices give a batch, and
    a loop goes over the rows. Batches are equal if all their entries are.

    The subclasses are frozen dataclasses whose fields are the offsets, columns of shape (M, ...) that ``_item_columns``
    names, columns of shape (N, ...) that ``_row_columns`` names, and fields that belong to the whole batch.

    Raises:
        InvalidValue: if the offsets do not begin at 0 and end at M, or the columns differ in length.
    """

    offsets: Ints
    _item_columns: ClassVar[tuple[str, ...]] = ()
    _row_columns: ClassVar[tuple[str, ...]] = ()
    _items: ClassVar[str] = "items"
    _rows: ClassVar[str] = "events"

    def _check(self) -> None:
        """Convert the offsets to int64 and refuse columns that do not fit them."""
        object.__setattr__(self, "offsets", ints("offsets", self.offsets))
        lengths = {name: len(getattr(self, name)) for name in self._item_columns}
        size = next(iter(lengths.values()))
        if any(length != size for length in lengths.values()):
            listed = ", ".join(f"{length} {name}" for name, length in lengths.items())
            raise InvalidValue(f"columns of different lengths: {listed}")
        if len(self.offsets) < 1 or self.offsets[0] != 0 or self.offsets[-1] != size:
            raise InvalidValue(f"offsets must start at 0 and end at the number of {self._items}")

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

    def __iter__(self) -> Iterator[Any]:
        return (self[row] for row in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return same_fields(self, other) if isinstance(other, type(self)) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        num_items = int(self.offsets[-1])
        return f"<{type(self).__name__}: {len(self):,} {self._rows}, {num_items:,} {self._items}>"

    def row(self, number: RowNumber) -> Any:
        """Return one row, counted from 0, or from the end if the number is negative.

        Raises:
            IndexError: if there is no such row.
        """
        k = row_number(number, len(self))
        items = slice(self.offsets[k], self.offsets[k + 1])
        return Row(
            **{name: getattr(self, name)[k] for name in self._row_columns},
            **{name: getattr(self, name)[items] for name in self._item_columns},
        )

    def to_awkward(self) -> Any:
        """Return an awkward array of N records: columns of the rows as fields, columns of the items as lists.

        Four-momenta are records named Momentum4D with px, py, pz, E; where the package vector is installed, they know
        pt, eta, phi, mass, deltaR and the like.

        Raises:
            MissingLibrary: if awkward is not installed.
        """
        from fastsim.event.awkward_arrays import lists, records, side_by_side

        items = lists(self.offsets, records(self, self._item_columns))
        if not self._row_columns:
            return items
        return side_by_side({name: getattr(self, name) for name in self._row_columns} | {self._items: items})

    @overload
    def __getitem__(self, rows: RowNumber) -> Any: ...

    @overload
    def __getitem__(self, rows: Rows) -> Self: ...

    def __getitem__(self, rows: RowNumber | Rows) -> Any:
        """Return the row of a number, or the batch of the rows of a slice, a mask or an array of indices."""
        return self.row(rows) if is_number(rows) else self.batch(rows)

    def batch(self, rows: Any) -> Self:
        """Return the batch of the rows of a slice, a mask or an array of indices."""
        chosen = np.arange(len(self), dtype=np.int64)[rows]
        flat = ragged_items(self.offsets, chosen)
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
