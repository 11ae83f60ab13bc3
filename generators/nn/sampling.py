"""Compiled draws from discrete distributions, one for each row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled, compiled_inside, compiled_sums, compiled_sums_inside
from fastsim.event import Floats, Ints
from generators.nn.elementary import float_of

_GROUP = 8
"""Bins whose weights are summed first: the search goes through sums of eight, then through eight weights."""
_HALF, _BIAS, _LOG2E = np.float32(0.5), np.float32(127), np.float32(1.4426950408889634)
"""The exponent of a float32 is stored with 127 added; exp(x) = 2^(x log2(e))."""
_LEAST_LOGIT = np.float32(-80)
"""Least logit below the row's largest; lower ones count as that."""
# 2^f - 1 = f (c0 + f (c1 + ...)), |f| <= 1/2, with the coefficients ln(2)^n / n!: accurate to a few roundings
_C0, _C1, _C2 = np.float32(0.6931471805599453), np.float32(0.2402265069591007), np.float32(0.05550410866482158)
_C3, _C4, _C5 = np.float32(0.009618129107628477), np.float32(0.0013333558146428443), np.float32(0.00015403530393381608)


def pick_bin(logits: NDArray[np.float32], u: Floats, edges: Floats) -> tuple[Ints, Floats]:
    """Draw a bin for each row from the softmax of its logits, and a value uniform in that bin.

    Probabilities below exp(-80) of the largest count as that.

    Args:
        logits: finite, (K, B).
        u: uniform on [0, 1), (K,).
        edges: of the bins, (B + 1,).

    Returns:
        Bins (K,) and values (K,).
    """
    num = logits.shape[1]
    groups = -(-num // _GROUP)
    index, value = np.empty(len(u), np.int64), np.empty(len(u))
    w, sums = np.zeros(groups * _GROUP, np.float32), np.empty(groups, np.float32)
    _pick_bin(logits, u, edges, w, sums, index, value)
    return index, value


@compiled_sums_inside
def exponentials(logits: NDArray[np.float32], num: int, w: NDArray[np.float32]) -> None:
    """Fill ``w`` with exp(x - largest x) of the first ``num`` logits x, 2^whole 2^rest, at least exp(-80)."""
    top = logits[0]
    for b in range(num):
        top = max(top, logits[b])
    for b in range(num):
        t = max(logits[b] - top, _LEAST_LOGIT) * _LOG2E + _BIAS
        whole = np.int32(t + _HALF)
        f, power = t - np.float32(whole), float_of(np.int32(whole << 23))
        w[b] = power + power * f * (_C0 + f * (_C1 + f * (_C2 + f * (_C3 + f * (_C4 + f * _C5)))))


@compiled_sums
def _pick_bin(
    logits: NDArray[np.float32],
    u: Floats,
    edges: Floats,
    w: NDArray[np.float32],
    sums: NDArray[np.float32],
    index: Ints,
    value: Floats,
) -> None:
    """Fill ``index`` and ``value`` (K,) for :func:`pick_bin`; the others are its working memory for one row."""
    num, groups = logits.shape[1], len(sums)
    for k in range(len(u)):
        exponentials(logits[k], num, w)
        total = 0.0
        for g in range(groups):
            part = np.float32(0)
            for b in range(_GROUP):
                part += w[_GROUP * g + b]
            sums[g] = part
            total += float(part)
        left, group = u[k] * total, 0
        while group < groups - 1 and left >= sums[group]:
            left -= sums[group]
            group += 1
        chosen, last = _GROUP * group, min(_GROUP * group + _GROUP, num) - 1
        while chosen < last and left >= w[chosen]:
            left -= w[chosen]
            chosen += 1
        index[k] = chosen
        value[k] = edges[chosen] + (edges[chosen + 1] - edges[chosen]) * min(left / w[chosen], 1.0)


def pick_logits(logits: NDArray[np.float32], u: Floats) -> Ints:
    """Draw an index for each row from the softmax of its logits (K, B), with u uniform on [0, 1), (K,)."""
    return pick_bin(logits, u, np.arange(logits.shape[1] + 1.0))[0]


def pick(weights: NDArray[np.float32], u: Floats) -> tuple[Ints, Floats]:
    """Draw an index for each row by inversion of the cumulative sum, and say how far into its bin the inversion fell.

    Args:
        weights: not negative, each row with a positive sum, (K, B).
        u: uniform on [0, 1), (K,).

    Returns:
        Indices (K,), never of weight zero, and fractions (K,) on [0, 1]: uniform, given the index.
    """
    index, fraction = np.zeros(len(u), np.int64), np.zeros(len(u))
    _pick(weights, u, index, fraction)
    return index, fraction


@compiled
def _pick(weights: NDArray[np.float32], u: Floats, index: Ints, fraction: Floats) -> None:
    """Fill ``index`` and ``fraction`` (K,) for :func:`pick`."""
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


@compiled_inside
def binomial(n: int, p: float, u: float) -> int:
    """Draw from Bin(n, p) by inversion with u uniform on [0, 1); n is a few, the tokens of one species."""
    flipped = p > 0.5
    if flipped:
        p = 1 - p
    term, power, exponent = 1.0, 1 - p, n  # term = (1 - p)^n
    while exponent > 0:
        if exponent & 1:
            term *= power
        exponent >>= 1
        power *= power
    odds = p / (1 - p)
    k = 0
    while k < n:
        u -= term
        if u < 0:
            break
        term *= odds * (n - k) / (k + 1)
        k += 1
    return n - k if flipped else k
