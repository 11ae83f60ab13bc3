"""Draws from a :class:`generators.nn.flows.SplineFlow`: each hidden unit is evaluated once, splines are compiled.

A hidden unit of degree d sees the features up to d, and feature d + 1 depends on units up to degree d. So features and
units are computed in turn; nflows evaluates its whole network again for every feature.
"""

from __future__ import annotations

from math import exp, log1p, sqrt

import numpy as np

from fastsim.compiled import compiled_sums, compiled_sums_inside
from fastsim.event import Floats, Ints
from generators.nn.compiled_network import Array, Weights, dense, part, silu
from generators.nn.sampling import exponentials

TAIL = 6.0
"""Beyond this many standard deviations the splines are the identity."""
_LEAST = (1e-3, 1e-3, 1e-3)
"""Smallest width, height and slope of a bin, those of nflows."""
_ROWS = 64
"""Rows at a time."""


@compiled_sums_inside
def _layer(weights: Array, first: int, x: Array, wide: int, out: Array) -> int:
    """Fill ``out`` (K, ``wide``) with a linear layer of ``x`` (K, I), whose weights and biases begin at ``first``.

    Returns:
        Where those of the next layer begin.
    """
    middle, last = first + x.shape[1] * wide, first + (x.shape[1] + 1) * wide
    if x.shape[1] > 0:
        dense(x, weights[first:middle].reshape(x.shape[1], wide), weights[middle:last], out)
    else:
        for k in range(len(out)):
            for o in range(wide):
                out[k, o] = weights[first + o]
    return last


@compiled_sums_inside
def _take(values: Array, start: int, end: int, out: Array) -> None:
    """Copy the columns from ``start`` to ``end`` of rows (K, W) to ``out`` (K, end - start)."""
    for k in range(len(values)):
        for o in range(end - start):
            out[k, o] = values[k, start + o]


@compiled_sums_inside
def _put(values: Array, start: int, out: Array) -> None:
    """Copy rows (K, W) to the columns of ``out`` from ``start`` on."""
    for k in range(len(values)):
        for o in range(values.shape[1]):
            out[k, start + o] = values[k, o]


@compiled_sums_inside
def _add(values: Array, start: int, out: Array) -> None:
    """Add columns of rows (K, V), from ``start`` on, to ``out`` (K, W)."""
    for k in range(len(out)):
        for o in range(out.shape[1]):
            out[k, o] += values[k, start + o]


@compiled_sums
def _invert(
    weights: Array,
    ends: Ints,
    num_linear: int,
    tail: float,
    least: tuple[float, float, float],
    context: Array,
    y: Floats,
    work: Array,
    seen: Array,
    spline: Array,
    x: Floats,
) -> None:
    """Invert one transform of y (N, D), given contexts (N, C), some rows after another: these stay in the cache.

    Args:
        weights: of all layers in the order in which they are read: that of the contexts, then for each feature the
            first, inner and last ones.
        ends: of the hidden units of each degree, which are in order, (D,).
        num_linear: linear layers in the residual blocks.
        tail, least: see :func:`_invert_splines`.
        context: (N, C).
        y: (N, D).
        work: working memory of the rows at a time R, (7, R x the widest layer).
        seen: what layers see of the units so far, before each of the inner layers and the last, (layers, R, width).
        spline: see :func:`_invert_splines`, (2, B).
        x: (N, D), to fill.
    """
    num_features, width, num_bins = y.shape[1], seen.shape[2], spline.shape[1]
    given_wide, outputs = (1 + num_linear // 2) * width, 3 * num_bins - 1
    for start in range(0, len(y), seen.shape[1]):
        num = min(seen.shape[1], len(y) - start)
        given = work[0, : num * given_wide].reshape(num, given_wide)
        after = _layer(weights, 0, context[start : start + num], given_wide, given)
        first = 0
        for column in range(num_features):
            known = work[1, : num * column].reshape(num, column)
            units = ends[column] - first
            if units > 0:
                hidden, inner = work[2, : num * units].reshape(num, units), work[3, : num * units].reshape(num, units)
                change = work[4, : num * units].reshape(num, units)
                inputs = work[5, : num * ends[column]].reshape(num, ends[column])
                for k in range(num):
                    for c in range(column):
                        known[k, c] = x[start + k, c]
                after = _layer(weights, after, known, units, hidden)
                _take(given, first, ends[column], inner)
                silu(inner)
                _add(inner, 0, hidden)
                for block in range(num_linear // 2):
                    _take(hidden, 0, units, change)
                    silu(change)
                    _put(change, first, seen[2 * block])
                    _take(seen[2 * block, :num], 0, ends[column], inputs)
                    after = _layer(weights, after, inputs, units, inner)
                    _add(given, (block + 1) * width + first, inner)
                    silu(inner)
                    _put(inner, first, seen[2 * block + 1])
                    _take(seen[2 * block + 1, :num], 0, ends[column], inputs)
                    after = _layer(weights, after, inputs, units, change)
                    _add(change, 0, hidden)
                _put(hidden, first, seen[num_linear])
            first = ends[column]
            inputs = work[5, : num * first].reshape(num, first)
            _take(seen[num_linear, :num], 0, first, inputs)
            params = work[6, : num * outputs].reshape(num, outputs)
            after = _layer(weights, after, inputs, outputs, params)
            _invert_splines(params, first == 0, y, start, column, tail, least, spline, x)


@compiled_sums_inside
def _invert_splines(
    params: Array,
    same: bool,
    y: Floats,
    start: int,
    column: int,
    tail: float,
    least: tuple[float, float, float],
    work: Array,
    x: Floats,
) -> None:
    """Invert rational-quadratic splines of one feature, the ``column`` of rows of ``y`` and ``x`` from ``start`` on.

    ``params`` (K, 3 B - 1) are logits of the widths and heights of the B bins and what gives the slopes at the inner
    knots, the ``same`` for all rows or not; ``least`` are the smallest width, height and slope. Beyond ``tail`` splines
    are the identity. ``work`` (2, B) is working memory of one row.
    """
    num, widths, heights = work.shape[1], work[0], work[1]
    least_width, least_height, least_slope = least
    by_width, by_height = 0.0, 0.0
    for k in range(len(params)):
        value = y[start + k, column]
        if k == 0 or not same:
            exponentials(params[k, :num], num, widths)
            exponentials(params[k, num : 2 * num], num, heights)
            all_widths, all_heights = 0.0, 0.0
            for b in range(num):
                all_widths += widths[b]
                all_heights += heights[b]
            by_width = 2 * tail * (1 - least_width * num) / all_widths
            by_height = 2 * tail * (1 - least_height * num) / all_heights
        if not -tail < value < tail:
            x[start + k, column] = value
            continue
        left, bottom, b = -tail, -tail, 0
        width = 2 * tail * least_width + by_width * widths[0]
        height = 2 * tail * least_height + by_height * heights[0]
        while b < num - 1 and value >= bottom + height:
            b, left, bottom = b + 1, left + width, bottom + height
            width = 2 * tail * least_width + by_width * widths[b]
            height = 2 * tail * least_height + by_height * heights[b]
        before, after = 1.0, 1.0  # the slope of the tails
        if b > 0:
            raw = float(params[k, 2 * num + b - 1])
            before = least_slope + max(raw, 0.0) + log1p(exp(-abs(raw)))
        if b < num - 1:
            raw = float(params[k, 2 * num + b])
            after = least_slope + max(raw, 0.0) + log1p(exp(-abs(raw)))
        up, slope = value - bottom, height / width
        bend = before + after - 2 * slope
        second = up * bend + height * (slope - before)
        first = height * before - up * bend
        root = 2 * slope * up / (first + sqrt(max(first * first + 4 * second * slope * up, 0.0)))
        x[start + k, column] = left + min(root, 1.0) * width


class FlowSampler:
    """Inverts the transforms of a flow, and draws from it, with a copy of its weights and without torch.

    Args:
        weights: of the :class:`~generators.nn.flows.SplineFlow`, by name.
    """

    def __init__(self, weights: Weights) -> None:
        self._mean, self._std = weights["mean"].astype(np.float64), weights["std"].astype(np.float64)
        transforms = part(weights, "transform._transforms")
        places = sorted({int(name.split(".")[0]) for name in transforms}, reverse=True)
        # a transform without a network reverses the features
        self._layers = [
            _Layer(part(transforms, f"{place}.autoregressive_net"), self.num_features)
            if any(name.startswith(f"{place}.autoregressive_net.") for name in transforms)
            else None
            for place in places
        ]

    @property
    def num_features(self) -> int:
        """The number of features D."""
        return len(self._mean)

    def sample(self, context: Array, rng: np.random.Generator) -> Floats:
        """Draw features (N, D), one row for each context (N, C)."""
        return self.features(rng.standard_normal((len(context), self.num_features)), context)

    def features(self, noise: Floats, context: Array) -> Floats:
        """Compute the features (N, D) that noise (N, D) stands for, given contexts (N, C)."""
        result: Floats = self.invert(noise, context) * self._std + self._mean
        return result

    def invert(self, noise: Floats, context: Array) -> Floats:
        """Compute the standardised features (N, D) that noise (N, D) stands for, given contexts (N, C)."""
        x = np.ascontiguousarray(noise, dtype=np.float64)
        for layer in self._layers:
            x = np.ascontiguousarray(x[:, ::-1]) if layer is None else layer.invert(x, context)
        return x


class _Layer:
    """One autoregressive transform: a masked network of residual blocks, and a spline for each feature.

    Hidden units are sorted by their degree.
    """

    def __init__(self, weights: Weights, num_features: int) -> None:
        degrees = weights["initial_layer.degrees"].astype(np.int64)
        order = np.argsort(degrees, kind="stable")
        # feature d, from 0 on, is the first to depend on the units of degree d
        self._ends = np.cumsum(np.bincount(degrees, minlength=num_features))[:num_features]
        self._width = len(order)

        def masked(name: str) -> Array:
            result: Array = np.multiply(weights[f"{name}.weight"], weights[f"{name}.mask"], dtype=np.float32)
            return result

        def rows(weight: Array, bias: Array, units: slice, end: int) -> list[Array]:
            """Return the part of a layer from the first ``end`` inputs to some units, as it is read."""
            return [weight[units, :end].T.ravel(), bias[units]]

        first, first_bias = masked("initial_layer")[order], weights["initial_layer.bias"][order]
        num_blocks = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
        names = [f"blocks.{block}.linear_layers.{k}" for block in range(num_blocks) for k in (0, 1)]
        inner = [(masked(name)[order][:, order], weights[f"{name}.bias"][order]) for name in names]
        last = masked("final_layer")[:, order].reshape(num_features, -1, len(order))
        last_bias = weights["final_layer.bias"].reshape(num_features, -1)
        of_context = ["context_layer", *(f"blocks.{block}.context_layer" for block in range(num_blocks))]
        parts = [np.concatenate([weights[f"{name}.weight"][order].T for name in of_context], 1).ravel()]
        parts += [weights[f"{name}.bias"][order] for name in of_context]
        start = 0
        for column, end in enumerate(self._ends.tolist()):
            units, start = slice(start, end), end
            if units.start < units.stop:
                parts += rows(first, first_bias, units, column)
                parts += [each for layer in inner for each in rows(*layer, units, end)]
            parts += rows(last[column], last_bias[column], slice(None), end)
        self._weights = np.concatenate(parts).astype(np.float32)
        self._num_linear, self._num_bins = len(inner), (last.shape[1] + 1) // 3

    def invert(self, y: Floats, context: Array) -> Floats:
        """Invert the transform of y (N, D) given contexts (N, C)."""
        x, rows = np.empty_like(y), max(min(_ROWS, len(y)), 1)
        widest = max((1 + self._num_linear // 2) * self._width, 3 * self._num_bins)
        work = np.empty((7, rows * widest), np.float32)
        seen = np.empty((self._num_linear + 1, rows, self._width), np.float32)
        spline = np.empty((2, self._num_bins), np.float32)
        settings = self._weights, self._ends, self._num_linear, TAIL, _LEAST
        _invert(*settings, np.ascontiguousarray(context), y, work, seen, spline, x)
        return x
