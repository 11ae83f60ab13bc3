"""One histogram a set: the form of fragmentation functions, energy flow and energy-energy correlators.

Summed over sets they are the spectrum; kept by set, the error of every bin is the spread over sets, so that the
correlations between particles of one set are in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def sum_per_set(index: NDArray[Any], values: NDArray[Any], num_sets: int) -> NDArray[np.float64]:
    """Sum the values (M,) that belong to each set, or each block of sets, shape (N,).

    Args:
        index: the set each value belongs to, (M,).
        values: (M,).
        num_sets: N.
    """
    return np.bincount(index, values, num_sets).astype(np.float64)


def histogram_per_set(
    index: NDArray[Any],
    values: NDArray[Any],
    edges: NDArray[Any],
    num_sets: int,
    weights: NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """Fill one histogram for each set with the values that belong to it.

    Args:
        index: the set each value belongs to, (M,).
        values: (M,); those below the first edge, at or above the last, or NaN are left out.
        edges: increasing, (bins + 1,).
        num_sets: N.
        weights: of the values, (M,); default 1.

    Returns:
        Sums of weights, shape (N, bins).

    >>> histogram_per_set(np.array([0, 0, 2]), np.array([0.5, 1.0, 0.1]), np.array([0.0, 1.0, 2.0]), 3).tolist()
    [[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]]
    """
    bins = len(edges) - 1
    place = np.searchsorted(edges, values, side="right") - 1
    inside = (place >= 0) & (place < bins)
    flat = np.bincount(
        index[inside] * bins + place[inside],
        weights=None if weights is None else weights[inside],
        minlength=num_sets * bins,
    )
    return flat.reshape(num_sets, bins).astype(np.float64)
