"""Batches as awkward arrays, whose four-momenta have the behaviours of scikit-hep's vector where that is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastsim.errors import MissingLibrary
from fastsim.event.arrays import Ints

_COORDINATES = frozenset(
    {"x", "y", "z", "t", "px", "py", "pz", "E", "e", "energy", "M", "m", "mass", "pt", "rho"}
    | {"phi", "theta", "eta", "tau"}
)
"""The fields that vector takes for coordinates; a column of such a name gets an underscore: ``mass_``."""


def records(batch: Any, columns: Sequence[str]) -> Any:
    """Return N records, whose fields are columns (N, ...) of a batch; ``p4`` becomes the fields of a Momentum4D."""
    ak = _awkward()
    fields: dict[str, Any] = {}
    for name in columns:
        values = np.ascontiguousarray(getattr(batch, name))
        if name == "p4":
            fields |= {key: np.ascontiguousarray(values[:, k]) for k, key in enumerate(("E", "px", "py", "pz"))}
        else:
            fields[f"{name}_" if name in _COORDINATES and "p4" in columns else name] = values
    return _array(
        ak.contents.RecordArray(
            [ak.contents.NumpyArray(values) for values in fields.values()],
            list(fields),
            parameters={"__record__": "Momentum4D"} if "p4" in columns else None,
        )
    )


def lists(offsets: Ints, items: Any) -> Any:
    """Return N lists of M items: list i has the items ``offsets[i]:offsets[i+1]``."""
    ak = _awkward()
    return _array(ak.contents.ListOffsetArray(ak.index.Index64(offsets), ak.to_layout(items)))


def with_fields(array: Any, columns: Mapping[str, Any]) -> Any:
    """Return records of four-momenta with further fields: arrays of as many entries."""
    for name, values in columns.items():
        array = _awkward().with_field(array, values, f"{name}_" if name in _COORDINATES else name)
    return array


def side_by_side(fields: Mapping[str, Any]) -> Any:
    """Return N records, whose fields are arrays of N entries, NumPy's or awkward's."""
    ak = _awkward()
    return _array(ak.contents.RecordArray([ak.to_layout(values) for values in fields.values()], list(fields)))


def _array(layout: Any) -> Any:
    try:
        from vector.backends.awkward import behavior
    except ImportError:
        behavior = None
    return _awkward().Array(layout, behavior=behavior)


def _awkward() -> Any:
    try:
        import awkward
    except ImportError as error:
        raise MissingLibrary('awkward is not installed: pip install "awkward>=2.5"') from error
    return awkward
