"""Few numbers of rows for matrix products: each new shape costs a new kernel, and half a megabyte that is kept."""

from __future__ import annotations

import numpy as np

from fastsim.event import Ints


def padded_number(num: int) -> int:
    """A number of rows, little above ``num``, out of a few.

    >>> padded_number(5), padded_number(1000), padded_number(1030)
    (64, 1024, 1152)
    """
    step = max(64, 1 << max(num.bit_length() - 4, 0))
    return -(-num // step) * step


def padded(rows: Ints) -> Ints:
    """Rows (P,) that begin with the given ones, the last repeated."""
    result: Ints = rows[np.minimum(np.arange(padded_number(len(rows))), len(rows) - 1)]
    return result
