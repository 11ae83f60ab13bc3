"""Compiled loops of the densities of :mod:`generators.hadrons.counts` under many conditions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled, compiled_inside, compiled_sums_inside
from fastsim.event import Ints
from generators.hadrons.count_shapes import CORRECTION
from generators.nn.compiled_network import tanh
from generators.nn.elementary import exponential, logarithm

Array = NDArray[np.float32]
_HALF, _MOST, _NEVER = np.float32(0.5), np.float32(CORRECTION), np.float32(-1e30)


@compiled_sums_inside
def _enter(before: Array, moved: Array, out: Array) -> None:
    """Fill ``out`` with the activation of hidden states (W, N) to which the same is added everywhere, (W,)."""
    for i in range(out.shape[0]):
        for n in range(out.shape[1]):
            half = _HALF * (before[i, n] + moved[i])
            out[i, n] = half + half * tanh(half)


@compiled_sums_inside
def _activate(x: Array, bias: Array) -> None:
    """Replace hidden states (W, N) by the activation of themselves plus ``bias`` (W,)."""
    for i in range(x.shape[0]):
        for n in range(x.shape[1]):
            half = _HALF * (x[i, n] + bias[i])
            x[i, n] = half + half * tanh(half)


@compiled_sums_inside
def _correct(out: Array, bias: Array, odds: Array, ways: Array, top: Array) -> None:
    """Replace outputs (1 + C, N), odds and then corrections, by the logits of counts 0, 1, ..., the first row aside.

    Args:
        out: outputs of the last layer without its ``bias`` (1 + C,).
        odds: what is added to the odds, (N,).
        ways: logarithms of binomial coefficients but for a constant, (C, N).
        top: the largest logits, to fill, (N,).
    """
    for n in range(out.shape[1]):
        out[0, n] += bias[0] + odds[n]
        top[n] = _NEVER
    for c in range(len(ways)):
        for n in range(out.shape[1]):
            x = _MOST * tanh((out[1 + c, n] + bias[1 + c]) / _MOST) + np.float32(c) * out[0, n] + ways[c, n]
            out[1 + c, n] = x
            top[n] = max(top[n], x)


@compiled_sums_inside
def _add_chosen(logits: Array, top: Array, number: Ints, drawn: NDArray[np.bool_], total: Array, out: Array) -> None:
    """Add to ``out`` (N,) the log-probabilities of the counts ``number`` (N,) that are ``drawn``, from logits (C, N)."""
    for n in range(len(total)):
        total[n] = np.float32(0)
    for c in range(len(logits)):
        for n in range(len(total)):
            total[n] += exponential(logits[c, n] - top[n])
    for n in range(len(total)):
        total[n] = logarithm(total[n])
    for n in range(len(total)):
        if drawn[n]:
            out[n] += logits[number[n], n] - top[n] - total[n]


@compiled_inside
def _product(weight: Array, x: Array, out: Array) -> None:
    np.dot(weight, x, out)


@compiled
def add_counts(
    members: Ints,
    before: Array,
    moved: Array,
    second: Array,
    second_bias: Array,
    last: Array,
    last_bias: Array,
    odds: Array,
    left: Ints,
    number: Ints,
    drawn: NDArray[np.bool_],
    log_factorials: Array,
    out: Array,
) -> None:
    """Add to ``out`` (V, N) the log-probabilities of the counts of G types under V conditions of N sets.

    Args:
        members: the types, (G,).
        before: first layers of all types without their activation, (T, W, N).
        moved: what the conditions add to them, (V, T, W).
        second: second layers of all types, as (O, I), (T, W, W).
        second_bias: theirs, (T, W).
        last: last layers of the G types, as (O, I): odds, and corrections of counts, (G, 1 + C, W).
        last_bias: theirs, (G, 1 + C).
        odds: what is added to the odds of all types, (T, V, N).
        left: tokens left for each of the G types, (G, N).
        number: counts, none above the tokens left, (G, N).
        drawn: which of them are drawn, (G, N).
        log_factorials: of 0, 1, ..., as many as there may be tokens.
        out: what is added to.
    """
    width, num = before.shape[1], before.shape[2]
    one, two = np.empty((width, num), np.float32), np.empty((width, num), np.float32)
    limit = last.shape[1] - 1
    ways, made = np.empty((limit, num), np.float32), np.empty((limit + 1, num), np.float32)
    top, total = np.empty(num, np.float32), np.empty(num, np.float32)
    for g in range(len(members)):
        t, most = members[g], 0
        for n in range(num):
            most = max(most, left[g, n])
        counts = min(most + 1, limit)
        if counts < 2:  # none are left
            continue
        for c in range(counts):
            for n in range(num):
                rest = left[g, n] - c
                ways[c, n] = -log_factorials[c] - log_factorials[rest] if rest >= 0 else _NEVER
        for v in range(len(moved)):
            _enter(before[t], moved[v, t], one)
            _product(second[t], one, two)
            _activate(two, second_bias[t])
            _product(last[g, : counts + 1], two, made[: counts + 1])
            _correct(made[: counts + 1], last_bias[g], odds[t, v], ways[:counts], top)
            _add_chosen(made[1 : counts + 1], top, number[g], drawn[g], total, out[v])
