"""Padding of matrix products to few numbers of rows: each new shape costs a new kernel, which keeps half a megabyte."""

from __future__ import annotations

import numpy as np

from fastsim.event import Ints


def padded_number(num: int) -> int:
    """Return the smallest number of rows from ``num`` on out of a small set.

    It is 8, 16, 32 or a multiple of 64, and at most an eighth more than ``num`` where ``num`` is large.

    >>> padded_number(5), padded_number(40), padded_number(1000), padded_number(1030)
    (8, 64, 1024, 1152)
    """
    if num <= 32:
        return max(8, 1 << (num - 1).bit_length())
    step = max(64, 1 << max(num.bit_length() - 4, 0))
    return -(-num // step) * step


def padded(rows: Ints) -> Ints:
    """Return the given row numbers (K,), the last one repeated up to the padded number (P,)."""
    result: Ints = rows[np.minimum(np.arange(padded_number(len(rows))), len(rows) - 1)]
    return result
