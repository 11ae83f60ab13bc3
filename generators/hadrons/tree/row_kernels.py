"""Compiled loops of :mod:`generators.hadrons.tree.tune_rows`: densities of splittings for what each tune adds.

Products of matrices are BLAS's. Rows are taken some at a time, and what is between two products is one pass over them
while they are in the processor's cache. Scales and shifts of normalisations are in the weights of the layers that
follow.
"""

from __future__ import annotations

from math import exp, log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled, compiled_inside, compiled_sums_inside
from fastsim.event import Ints
from generators.hadrons.tree.inputs import COS_THETA, NUM_VARIABLES, PHI
from generators.hadrons.tree.sharing_density import entry_outputs, log_contents
from generators.nn.compiled_network import add_bias, tanh
from generators.nn.elementary import exponential

Array = NDArray[np.float32]
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)


@compiled_inside
def _product(x: Array, weight: Array, out: Array) -> None:
    """Fill ``out`` (K, O) with x W."""
    if len(x) > 0:
        np.dot(x, weight, out)


@compiled_sums_inside
def _activate(x: Array, bias: Array, plain: bool) -> None:
    """Replace rows (K, W) by the activation of themselves plus ``bias`` (W,)."""
    for k in range(len(x)):
        if plain:
            for i in range(x.shape[1]):
                x[k, i] = max(x[k, i] + bias[i], _ZERO)
        else:
            for i in range(x.shape[1]):
                half = _HALF * (x[k, i] + bias[i])
                x[k, i] = half + half * tanh(half)


@compiled_sums_inside
def _activate_with(x: Array, bias: Array, added: Array, plain: bool) -> None:
    """Replace rows (K, W) by the activation of themselves plus ``bias`` (W,) and others."""
    for k in range(len(x)):
        if plain:
            for i in range(x.shape[1]):
                x[k, i] = max(x[k, i] + bias[i] + added[k, i], _ZERO)
        else:
            for i in range(x.shape[1]):
                half = _HALF * (x[k, i] + bias[i] + added[k, i])
                x[k, i] = half + half * tanh(half)


@compiled_sums_inside
def _begin(product: Array, moved: Array, shift: Array, scale: Array, out: Array) -> None:
    """Fill ``out`` with silu((product + moved) scale + shift) of rows (K, W), of which each has a scale (K,)."""
    for k in range(len(product)):
        s = scale[k]
        for i in range(product.shape[1]):
            half = _HALF * ((product[k, i] + moved[i]) * s + shift[i])
            out[k, i] = half + half * tanh(half)


@compiled_sums_inside
def _add(first: Array, step: Array, out: Array, plain: bool) -> None:
    """Fill ``out`` with rows (K, W) plus a step (W,), with its positive part for plain blocks."""
    for k in range(len(first)):
        for i in range(first.shape[1]):
            x = first[k, i] + step[i]
            out[k, i] = max(x, _ZERO) if plain else x


@compiled_sums_inside
def _add_to(x: Array, more: Array, bias: Array, plain: bool) -> None:
    """Add to rows (K, W) others plus ``bias`` (W,), or the positive part of that for plain blocks."""
    for k in range(len(x)):
        for i in range(x.shape[1]):
            y = more[k, i] + bias[i]
            x[k, i] += max(y, _ZERO) if plain else y


@compiled_sums_inside
def _normalise(x: Array, more: float, out: Array) -> None:
    """Fill ``out`` with rows (K, W) less their mean over their deviation; ``more`` is added to the variance."""
    width = x.shape[1]
    for k in range(len(x)):
        total = _ZERO
        for i in range(width):
            total += x[k, i]
        mean, square = total / np.float32(width), _ZERO
        for i in range(width):
            square += (x[k, i] - mean) * (x[k, i] - mean)
        scale = _ONE / np.float32(sqrt(square / np.float32(width) + np.float32(more)))
        for i in range(width):
            out[k, i] = (x[k, i] - mean) * scale


@compiled_sums_inside
def _scale_and_add(x: Array, scale: Array, added: Array, out: Array) -> None:
    """Fill ``out`` with rows (K, W) times ``scale`` (W,) plus others."""
    for k in range(len(x)):
        for i in range(x.shape[1]):
            out[k, i] = x[k, i] * scale[i] + added[k, i]


@compiled_sums_inside
def _add_chosen(logits: Array, bias: Array, chosen: Ints, out: Array) -> None:
    """Add to ``out`` (K,) the log-probabilities of choices (K,) with logits (K, B) plus ``bias`` (B,)."""
    for k in range(len(logits)):
        row, top = logits[k], np.float32(-np.inf)
        for b in range(len(bias)):
            row[b] += bias[b]
        for b in range(len(bias)):
            top = max(top, row[b])
        total = _ZERO
        for b in range(len(bias)):
            total += exponential(row[b] - top)
        out[k] += row[chosen[k]] - top - np.float32(log(float(total)))


@compiled_inside
def _add_contents(
    logits: Array,
    first: int,
    num_shared: int,
    start: Ints,
    types: Ints,
    kind: Ints,
    alone: NDArray[np.bool_],
    of_parts: Array,
    out: Array,
) -> None:
    """Add to ``out`` the log-probabilities of contents of A of nodes of three tokens or more.

    Args:
        logits: of the kinds, (K, 1 + T).
        first: number of the first node in the arrays of all nodes, which follow.
        num_shared: how many of the nodes, the first ones, may have two composite children.
        start: first entry of each node.
        types: of the entries.
        kind: of A where it is a single token.
        alone: whether it is.
        of_parts: log-probabilities of the mixture, (K,).
        out: (K,) or more.
    """
    for k in range(len(logits)):
        row, node, value, total = logits[k], first + k, -np.inf, 0.0
        of_mixture = float(row[0]) if k < num_shared else -np.inf
        top = of_mixture
        for e in range(start[node], start[node + 1]):
            top = max(top, float(row[1 + types[e]]))
        for e in range(start[node], start[node + 1]):
            total += exp(float(row[1 + types[e]]) - top)
        if alone[node]:
            value = float(row[kind[node]])
        if k < num_shared:
            total += exp(of_mixture - top)
            other = of_mixture + of_parts[k]
            larger = max(value, other)
            value = larger + log(1 + exp(min(value, other) - larger))
        out[k] += value - top - log(total)


class RowWeights(NamedTuple):
    """Weights of a network of splittings, those of layers as (I, O).

    Attributes:
        plain: whether its blocks are plain.
        more: what the normalisations add to a variance: of each block but the first, of the trunk, of the content's.
        inner: first layers of blocks, but for that of a first block that begins with a normalisation, (B, W, W).
        inner_bias: theirs, (B, W).
        outer: second layers of blocks, none of plain ones, (B, W, W).
        outer_bias: theirs, (B, W).
        kind: of the kinds of A, (W, 1 + T).
        kind_bias: (1 + T,).
        mixture: of the components' weights, and of the balances number by number, (W, 7 C).
        mixture_bias: (7 C,).
        types: of the base log-odds of each type, (T, W, C).
        types_bias: (T, C).
        content_scale: what hidden states are multiplied by before those of the content are added, (W,).
        content: both layers of the content's block, (2, W, W).
        content_bias: theirs, (2, W).
        heads: first layers of the variables, (4, W, H).
        heads_bias: theirs, (4, H).
        outputs: second layers of the variables, (4, H, B).
        outputs_bias: theirs, (4, B).
    """

    plain: bool
    more: Array
    inner: Array
    inner_bias: Array
    outer: Array
    outer_bias: Array
    kind: Array
    kind_bias: Array
    mixture: Array
    mixture_bias: Array
    types: Array
    types_bias: Array
    content_scale: Array
    content: Array
    content_bias: Array
    heads: Array
    heads_bias: Array
    outputs: Array
    outputs_bias: Array


class Rows(NamedTuple):
    """What is known of K nodes whatever the tune; those with two composite children first, those of two tokens last.

    Attributes:
        first: results of the first layer at no tune, (K, W).
        product: first layer of a first block that begins with a normalisation, of ``first`` less its mean, (K, W).
        shift: what this layer adds after the normalisation, (W,).
        num_more: how many nodes have three tokens or more.
        num_shared: how many of them may have two composite children.
        start: first entry of each node of three tokens or more, and the number of entries.
        rows: node of each entry; this and what follows up to ``alone``: see ``Present``.
        types: of the entries.
        by_type: the entries of each block of nodes, type by type.
        every: tokens of the entries.
        chosen: tokens of the entries in each part.
        shifts: what the balances are multiplied by.
        choose: logarithms of the numbers of ways to choose A.
        alone: whether A is a single token.
        kind: of A where it is a single token.
        content: what the content of A adds to the hidden states, (K, W).
        num_free: in how many nodes, the first ones, each variable is free, (4,).
        added: what is added to the first layers of the variables, those of one after those of another, (N, H).
        bins: of the variables, (4, K).
    """

    first: Array
    product: Array
    shift: Array
    num_more: int
    num_shared: int
    start: Ints
    rows: Ints
    types: Ints
    by_type: Ints
    every: Array
    chosen: Array
    shifts: Array
    choose: Array
    alone: NDArray[np.bool_]
    kind: Ints
    content: Array
    num_free: Ints
    added: Array
    bins: Ints


class PairWeights(NamedTuple):
    """Weights of a network of nodes of two tokens: blocks (B, W, W), and the layers of both angles, as (I, O)."""

    blocks: Array
    blocks_bias: Array
    cos: Array
    cos_bias: Array
    turn: Array
    turn_bias: Array
    phi: Array
    phi_bias: Array


@compiled
def other_rows(w: RowWeights, k: Rows, rows: int, steps: Array, moved: Array, scales: Array, out: Array) -> None:
    """Add to ``out`` (V, K) the densities of K nodes that have no network of their own.

    Args:
        w: weights.
        k: the nodes.
        rows: nodes that go through the network at once.
        steps: what tunes add to the first layer, (V, W).
        moved: what they add to ``k.product``, (V, W).
        scales: one over the deviations of the results of the first layer, (V, K).
        out: what is added to.
    """
    num, width = k.first.shape
    a, b = np.empty((rows, width), np.float32), np.empty((rows, width), np.float32)
    hidden = np.empty((rows, width), np.float32)
    head, logits = np.empty((rows, w.heads.shape[2]), np.float32), np.empty((rows, w.outputs.shape[2]), np.float32)
    kinds, mixture = np.empty((rows, len(w.kind_bias)), np.float32), np.empty((rows, len(w.mixture_bias)), np.float32)
    most, components = 1, w.types.shape[2]
    for r in range(0, k.num_shared, rows):
        most = max(most, k.start[min(r + rows, k.num_shared)] - k.start[r])
    given, odds = np.empty((rows, width), np.float32), np.empty((most, components), np.float32)
    made, of_parts = np.empty((rows, components), np.float32), np.empty(rows, np.float32)
    for r in range(0, num, rows):
        n = min(rows, num - r)
        of_more, of_shared = min(max(k.num_more - r, 0), n), min(max(k.num_shared - r, 0), n)
        x, y, h = a[:n], b[:n], hidden[:n]
        for t in range(len(steps)):
            total = out[t, r : r + n]
            if w.plain:
                _add(k.first[r : r + n], steps[t], x, True)
                for block in range(len(w.inner)):
                    _product(x, w.inner[block], y)
                    _add_to(x, y, w.inner_bias[block], True)
            else:
                _begin(k.product[r : r + n], moved[t], k.shift, scales[t, r : r + n], x)
                _add(k.first[r : r + n], steps[t], h, False)
                for block in range(len(w.outer)):
                    if block > 0:
                        _product(x, w.inner[block - 1], y)
                        _activate(y, w.inner_bias[block - 1], False)
                        _product(y, w.outer[block], x)
                    else:
                        _product(x, w.outer[block], y)
                    _add_to(h, x if block > 0 else y, w.outer_bias[block], False)
                    _normalise(h, w.more[block], x)
            # the content of A
            if of_shared > 0:
                _product(x[:of_shared], w.mixture, mixture[:of_shared])
                add_bias(w.mixture_bias, mixture[:of_shared])
                begin, end = k.start[r], k.start[r + of_shared]
                own = odds[: end - begin]
                weights = w.types, w.types_bias
                entry_outputs(x, k.by_type[begin:end], k.rows, k.types, (begin, r), *weights, given, made, own)
                parts = k.start, k.every, k.chosen, k.shifts, k.choose, k.alone
                log_contents(own, mixture[:of_shared], r, *parts, of_parts[:of_shared])
            if of_more > 0:
                _product(x[:of_more], w.kind, kinds[:of_more])
                add_bias(w.kind_bias, kinds[:of_more])
                _add_contents(kinds[:of_more], r, of_shared, k.start, k.types, k.kind, k.alone, of_parts, total)
            # what follows knows it
            _scale_and_add(x, w.content_scale, k.content[r : r + n], h)
            if w.plain:
                _product(h, w.content[0], x)
                _activate(x, w.content_bias[0], True)
                _product(x, w.content[1], y)
                _add_to(x, y, w.content_bias[1], True)
            else:
                _normalise(h, w.more[len(w.outer)], x)
                _product(x, w.content[0], y)
                _activate(y, w.content_bias[0], False)
                _product(y, w.content[1], x)
                _add_to(h, x, w.content_bias[1], False)
                _normalise(h, w.more[len(w.outer) + 1], x)
            place = r
            for v in range(NUM_VARIABLES):
                free = min(max(k.num_free[v] - r, 0), n)
                if free > 0:
                    _product(x[:free], w.heads[v], head[:free])
                    _activate_with(head[:free], w.heads_bias[v], k.added[place : place + free], w.plain)
                    _product(head[:free], w.outputs[v], logits[:free])
                    _add_chosen(logits[:free], w.outputs_bias[v], k.bins[v, r : r + free], total)
                place += k.num_free[v]


@compiled
def pair_rows(w: PairWeights, first: Array, previous: Array, bins: Ints, rows: int, steps: Array, out: Array) -> None:
    """Add to ``out`` (V, K) the densities of K nodes of two tokens that have a network of their own.

    Args:
        w: weights.
        first: results of the first layer at no tune, (K, W).
        previous: what is added to the last layer but one of phi*, (K, W).
        bins: of the variables, (4, K).
        rows: nodes that go through the network at once.
        steps: what tunes add to the first layer, (V, W).
        out: what is added to.
    """
    num, width = first.shape
    hidden, made = np.empty((rows, width), np.float32), np.empty((rows, width), np.float32)
    logits = np.empty((rows, len(w.cos_bias)), np.float32)
    for r in range(0, num, rows):
        n = min(rows, num - r)
        h, y = hidden[:n], made[:n]
        for t in range(len(steps)):
            total = out[t, r : r + n]
            _add(first[r : r + n], steps[t], h, True)
            for block in range(len(w.blocks)):
                _product(h, w.blocks[block], y)
                _add_to(h, y, w.blocks_bias[block], True)
            _product(h, w.cos, logits[:n])
            _add_chosen(logits[:n], w.cos_bias, bins[COS_THETA, r : r + n], total)
            _product(h, w.turn, y)
            _activate_with(y, w.turn_bias, previous[r : r + n], True)
            _product(y, w.phi, logits[:n])
            _add_chosen(logits[:n], w.phi_bias, bins[PHI, r : r + n], total)
