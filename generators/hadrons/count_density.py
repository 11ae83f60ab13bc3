"""Compiled loops of the densities of :mod:`generators.hadrons.counts` under many conditions."""

from __future__ import annotations

from math import log

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled, compiled_sums_inside
from fastsim.event import Ints
from generators.hadrons.count_shapes import CORRECTION
from generators.nn.compiled_network import tanh
from generators.nn.elementary import exponential, logarithm

Array = NDArray[np.float32]
_HALF, _MOST, _NEVER = np.float32(0.5), np.float32(CORRECTION), np.float32(-1e30)


@compiled_sums_inside
def _add_columns(values: Array, weights: Array, out: Array) -> None:
    """Add to ``out`` (W,) the product of a few values (J,), of which many are zero, and weights (J, W)."""
    for j in range(len(values)):
        if values[j] != 0:
            for i in range(len(out)):
                out[i] += values[j] * weights[j, i]


@compiled_sums_inside
def _add_two(one: float, of_one: Array, two: float, of_two: Array, out: Array) -> None:
    """Add to ``out`` (P, W) two arrays times numbers."""
    a, b = np.float32(one), np.float32(two)
    for p in range(out.shape[0]):
        for i in range(out.shape[1]):
            out[p, i] += a * of_one[p, i] + b * of_two[p, i]


@compiled
def enter(
    counts: Ints,
    carriers: Ints,
    missing: Array,
    type_of: Ints,
    content: Array,
    order: Ints,
    scales: tuple[float, float, float],
    of_own: Array,
    of_counts: Array,
    types: Ints,
    left: Ints,
    need: Array,
    out: Array,
) -> None:
    """Find the types that N sets hold, and add to ``out`` what they add to the first layers of the counts' networks.

    Args:
        counts: of the species, the carrier among them, (N, S).
        carriers: species of the carriers, S for none, (N,).
        missing: quantum numbers that the sets have to have, (N, 8).
        type_of: of the species, (S,).
        content: of the species and of none, (S + 1, 8).
        order: types in the order in which they are drawn, (T,), the carrier first.
        scales: that numbers of tokens, counts and quantum numbers are divided by as inputs.
        of_own: weights of the inputs of one type alone, (T, 10, W).
        of_counts: weights of the inputs log(1 + c) and c of each type for the networks in that order, (T, 2, T, W).
        types: counts of the types, to fill, (N, T).
        left: tokens left for each type, to fill, (T, N).
        need: what is missing when each type is drawn, to fill, (N, T, 8).
        out: what is added to, the networks in that order, (N, T, W).
    """
    num_types, own = len(order), np.empty(10, np.float32)
    held, running = np.empty((num_types, 8), np.float32), np.empty(8, np.float32)
    for n in range(len(counts)):
        rest = 0
        held[:], types[n], running[:] = 0, 0, 0
        for s in range(counts.shape[1]):
            number = counts[n, s]
            if number > 0:
                rest += number
                if s == carriers[n]:
                    number -= 1
                types[n, type_of[s]] += number
                for j in range(8):
                    held[type_of[s], j] += number * content[s, j]
        types[n, 0] = 1 if carriers[n] < counts.shape[1] else 0
        held[0] = content[carriers[n]]
        for p in range(num_types):
            t = order[p]
            number = types[n, t]
            left[t, n] = rest
            own[0], own[1] = log(1.0 + rest), rest / scales[0]
            for j in range(8):
                need[n, t, j] = missing[n, j] - running[j]
                own[2 + j] = need[n, t, j] / scales[2]
            _add_columns(own, of_own[t], out[n, p])
            if number > 0:
                rest -= number
                for j in range(8):
                    running[j] += held[t, j]
                one, two = log(1.0 + number), number / scales[1]
                _add_two(one, of_counts[t, 0, p + 1 :], two, of_counts[t, 1, p + 1 :], out[n, p + 1 :])


@compiled_sums_inside
def _activate(before: Array, place: int, moved: Array, out: Array) -> None:
    """Fill ``out`` with the activation of hidden states (N, T, W) of one type to which the same is added, (W,)."""
    for n in range(out.shape[0]):
        for i in range(out.shape[1]):
            half = _HALF * (before[n, place, i] + moved[i])
            out[n, i] = half + half * tanh(half)


@compiled_sums_inside
def _activate_with(x: Array, bias: Array) -> None:
    """Replace hidden states (N, W) by the activation of themselves plus ``bias`` (W,)."""
    for n in range(x.shape[0]):
        for i in range(x.shape[1]):
            half = _HALF * (x[n, i] + bias[i])
            x[n, i] = half + half * tanh(half)


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
    """Add to ``out`` (N,) the log-probabilities of counts ``number`` (N,) that are ``drawn``, from logits (C, N)."""
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


@compiled
def add_counts(
    members: Ints,
    place: Ints,
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
        place: of all types in the order in which they are drawn, (T,).
        before: first layers of all types, in that order, without their activation, (N, T, W).
        moved: what the conditions add to them, by type, (V, T, W).
        second: second layers of all types, (T, W, W).
        second_bias: theirs, (T, W).
        last: last layers of the G types, as (O, I): odds, and corrections of counts, (G, 1 + C, W).
        last_bias: theirs, (G, 1 + C).
        odds: what is added to the odds of all types, (T, V, N).
        left: tokens left for each type, (T, N).
        number: counts of the G types, none above the tokens left, (G, N).
        drawn: which of them are drawn, (G, N).
        log_factorials: of 0, 1, ..., as many as there may be tokens.
        out: what is added to.
    """
    num, width = len(before), before.shape[2]
    one, two = np.empty((num, width), np.float32), np.empty((num, width), np.float32)
    limit = last.shape[1] - 1
    ways, made = np.empty((limit, num), np.float32), np.empty((limit + 1, num), np.float32)
    top, total = np.empty(num, np.float32), np.empty(num, np.float32)
    for g in range(len(members)):
        t, most = members[g], 0
        for n in range(num):
            most = max(most, left[t, n])
        counts = min(most + 1, limit)
        if counts < 2:  # none are left
            continue
        for c in range(counts):
            for n in range(num):
                rest = left[t, n] - c
                ways[c, n] = -log_factorials[c] - log_factorials[rest] if rest >= 0 else _NEVER
        for v in range(len(moved)):
            _activate(before, place[t], moved[v, t], one)
            np.dot(one, second[t], two)
            _activate_with(two, second_bias[t])
            np.dot(last[g, : counts + 1], two.T, made[: counts + 1])
            _correct(made[: counts + 1], last_bias[g], odds[t, v], ways[:counts], top)
            _add_chosen(made[1 : counts + 1], top, number[g], drawn[g], total, out[v])
