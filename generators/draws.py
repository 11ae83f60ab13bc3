"""Compiled draws from discrete distributions, one for each row."""

from __future__ import annotations

from math import exp

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Floats, Ints
from generators.compiled import compiled

_MAX_TRIES = 1000


@compiled
def pick(weights: NDArray[np.float32], u: Floats) -> tuple[Ints, Floats]:
    """An index a row by inversion of the cumulative sum, and how far into its bin the inversion fell.

    Args:
        weights: (K, B), not negative, each row with a positive sum; u: (K,) uniform on [0, 1).

    Returns:
        Indices (K,), never of weight zero, and fractions (K,) on [0, 1]: uniform, given the index.
    """
    index, fraction = np.zeros(len(u), np.int64), np.zeros(len(u))
    for k in range(len(u)):
        total = 0.0
        for b in range(weights.shape[1]):
            total += weights[k, b]
        left = u[k] * total
        for b in range(weights.shape[1]):
            w = float(weights[k, b])
            if w > 0:
                index[k], fraction[k] = b, min(left / w, 1.0)
                if left < w:
                    break
                left -= w
    return index, fraction


@compiled
def _binomial(n: int, p: float, u: float) -> int:
    """Inversion: n is a count of tokens of one species, a few."""
    if p > 0.5:
        return n - _binomial(n, 1 - p, u)
    term: float = (1 - p) ** n
    odds = p / (1 - p)
    k = 0
    while k < n:
        u -= term
        if u < 0:
            break
        term *= odds * (n - k) / (k + 1)
        k += 1
    return k


@compiled
def share(
    weights: NDArray[np.float32],
    logits: NDArray[np.float32],
    counts: NDArray[np.uint8],
    least: int,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Parts of multisets from mixtures of products of binomials, truncated to ``least`` members on either side.

    Args:
        weights: (K, C) of the components, not negative; logits: (K, C, S) of a member's being in the part;
        counts: (K, S) members by kind, at least 2 ``least`` in all; rng: all randomness.

    Returns:
        The parts (K, S). A row that is refused 1,000 times gets its first ``least`` members.
    """
    out = np.zeros_like(counts)
    for k in range(len(counts)):
        n = 0
        for s in range(counts.shape[1]):
            n += counts[k, s]
        total = 0.0
        for c in range(weights.shape[1]):
            total += weights[k, c]
        for attempt in range(_MAX_TRIES + 1):
            left, component = rng.random() * total, 0
            while component < weights.shape[1] - 1 and left >= weights[k, component]:
                left -= weights[k, component]
                component += 1
            size = 0
            for s in range(counts.shape[1]):
                if counts[k, s] > 0:
                    if attempt < _MAX_TRIES:
                        p = 1 / (1 + exp(-logits[k, component, s]))
                        out[k, s] = _binomial(int(counts[k, s]), p, rng.random())
                    else:
                        out[k, s] = min(int(counts[k, s]), least - size)
                    size += out[k, s]
            if least <= size <= n - least:
                break
    return out
