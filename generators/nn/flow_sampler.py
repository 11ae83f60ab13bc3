"""Draws from a :class:`generators.nn.flows.SplineFlow`: each hidden unit is evaluated once, splines are compiled.

A hidden unit of degree d sees the features up to d, and feature d + 1 depends on units up to degree d. So features and
units are computed in turn; nflows evaluates its whole network again for every feature.
"""

from __future__ import annotations

from math import exp, log1p, sqrt

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled_sums
from fastsim.event import Floats
from generators.nn.compiled_network import Array, Weights, part, product, swish
from generators.nn.sampling import exponentials

TAIL = 6.0
"""Beyond this many standard deviations the splines are the identity."""
_LEAST = (1e-3, 1e-3, 1e-3)
"""Smallest width, height and slope of a bin, those of nflows."""


@compiled_sums
def _invert(
    params: NDArray[np.float32],
    y: Floats,
    column: int,
    tail: float,
    least: tuple[float, float, float],
    bits: NDArray[np.int32],
    power: NDArray[np.float32],
    rest: NDArray[np.float32],
    widths: NDArray[np.float32],
    heights: NDArray[np.float32],
    x: Floats,
) -> None:
    """Invert the rational-quadratic splines of one feature, the ``column`` of ``y`` and ``x`` (N, D).

    ``params`` (N, 3 B - 1) are logits of the widths and heights of the B bins and what gives the slopes at the inner
    knots; ``least`` are the smallest width, height and slope. Beyond ``tail`` splines are the identity. The rest is
    working memory of one row.
    """
    num = len(heights)
    least_width, least_height, least_slope = least
    for k in range(len(y)):
        value = y[k, column]
        if not -tail < value < tail:
            x[k, column] = value
            continue
        exponentials(params[k, :num], num, bits, power, rest, widths)
        exponentials(params[k, num : 2 * num], num, bits, power, rest, heights)
        all_widths, all_heights = 0.0, 0.0
        for b in range(num):
            all_widths += widths[b]
            all_heights += heights[b]
        by_width = 2 * tail * (1 - least_width * num) / all_widths
        by_height = 2 * tail * (1 - least_height * num) / all_heights
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
        x[k, column] = left + min(root, 1.0) * width


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
        own = [layer for layer in self._layers if layer is not None]
        self._of_context = tuple(np.concatenate([layer.of_context[k] for layer in own], -1) for k in (0, 1))

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
        weight, bias = self._of_context
        x, given = noise, product(context, weight, bias)
        width = given.shape[1] // sum(layer is not None for layer in self._layers)
        start = 0
        for layer in self._layers:
            if layer is None:
                x = np.ascontiguousarray(x[:, ::-1])
            else:
                x = layer.invert(x, given[:, start : start + width])
                start += width
        return x


class _Layer:
    """One autoregressive transform: a masked network of residual blocks, and a spline for each feature.

    Hidden units are sorted by their degree.
    """

    def __init__(self, weights: Weights, num_features: int) -> None:
        degrees = weights["initial_layer.degrees"].astype(np.int64)
        order = np.argsort(degrees, kind="stable")
        ends = np.cumsum(np.bincount(degrees, minlength=num_features)).tolist()
        # feature d, from 0 on, is the first to depend on the units of degree d
        self._units = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        self._width = len(order)

        def masked(name: str) -> Array:
            result: Array = np.multiply(weights[f"{name}.weight"], weights[f"{name}.mask"], dtype=np.float32)
            return result

        def rows(weight: Array, bias: Array, units: slice, end: int) -> tuple[Array, Array]:
            """Return the part of a layer from the first ``end`` inputs to some units, as products take it."""
            return np.ascontiguousarray(weight[units, :end].T), np.ascontiguousarray(bias[units])

        first, first_bias = masked("initial_layer")[order], weights["initial_layer.bias"][order]
        num_blocks = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
        names = [f"blocks.{block}.linear_layers.{k}" for block in range(num_blocks) for k in (0, 1)]
        inner = [(masked(name)[order][:, order], weights[f"{name}.bias"][order]) for name in names]
        last = masked("final_layer")[:, order].reshape(num_features, -1, len(order))
        last_bias = weights["final_layer.bias"].reshape(num_features, -1)
        self._first, self._inner, self._last = [], [], []
        for column, units in enumerate(self._units[:num_features]):
            self._first.append(rows(first, first_bias, units, column))
            self._inner.append([rows(*layer, units, units.stop) for layer in inner])
            self._last.append(rows(last[column], last_bias[column], slice(None), units.stop))
        of_context = ["context_layer", *(f"blocks.{block}.context_layer" for block in range(num_blocks))]
        self.of_context = (
            np.concatenate([weights[f"{name}.weight"][order].T for name in of_context], 1),
            np.concatenate([weights[f"{name}.bias"][order] for name in of_context]),
        )
        self._num_bins = (last.shape[1] + 1) // 3

    def invert(self, y: Floats, given: Array) -> Floats:
        """Invert the transform of y (N, D); ``given`` (N, ...) is what the layers add for the contexts."""
        x, num, width = np.empty_like(y), len(y), self._width
        # what the linear layers see of the units so far: before each of them, and before the last layer
        seen = [np.empty((num, 0), np.float32) for _ in range(given.shape[1] // width * 2 - 1)]

        def with_units(place: int, values: Array) -> Array:
            seen[place] = np.concatenate([seen[place], values], 1)
            return seen[place]

        for column in range(y.shape[1]):
            units = self._units[column]
            if units.start < units.stop:
                hidden = product(x[:, :column].astype(np.float32), *self._first[column])
                hidden += swish(np.ascontiguousarray(given[:, units]))
                for k in range(0, len(self._inner[column]), 2):
                    inner = product(with_units(k, swish(hidden.copy())), *self._inner[column][k])
                    start = (k // 2 + 1) * width
                    inner += given[:, start + units.start : start + units.stop]
                    hidden += product(with_units(k + 1, swish(inner)), *self._inner[column][k + 1])
                with_units(-1, hidden)
            params = product(seen[-1], *self._last[column])
            self._invert_splines(params, y, column, x)
        return x

    def _invert_splines(self, params: Array, y: Floats, column: int, x: Floats) -> None:
        power, rest, widths, heights = (np.empty(self._num_bins, np.float32) for _ in range(4))
        _invert(params, y, column, TAIL, _LEAST, power.view(np.int32), power, rest, widths, heights, x)
