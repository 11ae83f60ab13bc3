"""Compiled draws from discrete distributions, one for each row."""

from __future__ import annotations

from math import exp

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Floats, Ints
from generators.nn.compiled import compiled, compiled_inside, compiled_sums

_MAX_TRIES = 1000
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

    Exponentials are computed as 2^whole, written into the bits of a float32, times a polynomial for 2^rest.
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
    bits, rest = np.empty(num, np.int32), np.empty(num, np.float32)
    w, sums = np.zeros(groups * _GROUP, np.float32), np.empty(groups, np.float32)
    _pick_bin(logits, u, edges, bits, bits.view(np.float32), rest, w, sums, index, value)
    return index, value


@compiled_sums
def _pick_bin(
    logits: NDArray[np.float32],
    u: Floats,
    edges: Floats,
    bits: NDArray[np.int32],
    power: NDArray[np.float32],
    rest: NDArray[np.float32],
    w: NDArray[np.float32],
    sums: NDArray[np.float32],
    index: Ints,
    value: Floats,
) -> None:
    """Fill ``index`` and ``value`` (K,) for :func:`pick_bin`; the others are its working memory for one row."""
    num, groups = logits.shape[1], len(sums)
    for k in range(len(u)):
        top = logits[k, 0]
        for b in range(num):
            top = max(top, logits[k, b])
        for b in range(num):
            t = max(logits[k, b] - top, _LEAST_LOGIT) * _LOG2E + _BIAS
            whole = np.int32(t + _HALF)
            bits[b] = whole << 23
            rest[b] = t - np.float32(whole)
        for b in range(num):
            f = rest[b]
            w[b] = power[b] + power[b] * f * (_C0 + f * (_C1 + f * (_C2 + f * (_C3 + f * (_C4 + f * _C5)))))
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


def share(
    weights: NDArray[np.float32],
    logits: NDArray[np.float32],
    counts: NDArray[np.uint8],
    least: int,
    rng: np.random.Generator,
    limit: float = 80.0,
) -> NDArray[np.uint8]:
    """Draw parts of multisets from mixtures of products of binomials, with ``least`` members or more on either side.

    A draw with fewer is refused; a row that is refused 1,000 times gets its first ``least`` members.

    Args:
        weights: of the components, not negative, (K, C).
        logits: of the probability that a member of a kind is in the part, (K, C, S).
        counts: members of each kind, at least 2 ``least`` in all, (K, S).
        least: fewest members of the part and of the rest.
        rng: all randomness.
        limit: largest size of a logit; larger ones count as that.

    Returns:
        Members of each kind in the part, (K, S).
    """
    out = np.zeros_like(counts)
    _share(weights, logits, counts, least, rng, limit, out)
    return out


@compiled
def _share(
    weights: NDArray[np.float32],
    logits: NDArray[np.float32],
    counts: NDArray[np.uint8],
    least: int,
    rng: np.random.Generator,
    limit: float,
    out: NDArray[np.uint8],
) -> None:
    """Fill ``out`` (K, S), of zeros, for :func:`share`."""
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
                        p = 1 / (1 + exp(-min(max(logits[k, component, s], -limit), limit)))
                        out[k, s] = binomial(int(counts[k, s]), p, rng.random())
                    else:
                        out[k, s] = min(int(counts[k, s]), least - size)
                    size += out[k, s]
            if least <= size <= n - least:
                break
