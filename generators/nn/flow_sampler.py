"""Draws from a :class:`generators.nn.flows.SplineFlow`: each hidden unit is evaluated once, splines are compiled.

A hidden unit of degree d sees the features up to d, and feature d + 1 depends on units up to degree d. So features and
units are computed in turn; nflows evaluates its whole network again for every feature.
"""

from __future__ import annotations

from math import exp, log1p, sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear, silu

from fastsim.event import Floats
from generators.nn.compiled import compiled_sums
from generators.nn.sampling import exponentials


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
    """Inverts the transforms of a flow with a copy of its weights.

    Args:
        transforms: the transforms of the flow, autoregressive ones of splines and reversals of the features.
        num_features: D.
    """

    def __init__(self, transforms: Any, num_features: int) -> None:
        with torch.no_grad():
            self._layers = [
                _Layer(each, num_features) if hasattr(each, "autoregressive_net") else None
                for each in reversed(transforms)
            ]
            own = [layer for layer in self._layers if layer is not None]
            self._of_context = (
                torch.cat([layer.of_context[0] for layer in own]),
                torch.cat([layer.of_context[1] for layer in own]),
            )

    @torch.no_grad()
    def invert(self, noise: Floats, context: Tensor) -> Floats:
        """Compute the standardised features (N, D) that noise (N, D) stands for, given contexts (N, C)."""
        x = noise
        given = iter(linear(context, *self._of_context).chunk(sum(layer is not None for layer in self._layers), dim=1))
        for layer in self._layers:
            x = np.ascontiguousarray(x[:, ::-1]) if layer is None else layer.invert(x, next(given))
        return x


class _Layer:
    """One autoregressive transform: a masked network of residual blocks, and a spline for each feature.

    Hidden units are sorted by their degree.
    """

    def __init__(self, transform: Any, num_features: int) -> None:
        net = transform.autoregressive_net
        degrees = net.initial_layer.degrees.long()  # some ways to load weights make numbers of all buffers
        order = torch.argsort(degrees, stable=True)
        ends = torch.cumsum(torch.bincount(degrees, minlength=num_features), 0).tolist()
        # feature d, from 0 on, is the first to depend on the units of degree d
        self._units = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]

        def masked(layer: Any, columns: Tensor | None = None) -> Tensor:
            weight: Tensor = (layer.weight * layer.mask).detach()
            return weight if columns is None else weight[:, columns]

        self._first = masked(net.initial_layer)[order], net.initial_layer.bias.detach()[order]
        self._blocks = [
            [(masked(layer, order)[order].contiguous(), layer.bias.detach()[order]) for layer in block.linear_layers]
            for block in net.blocks
        ]
        of_context = [net.context_layer, *(block.context_layer for block in net.blocks)]
        self.of_context = (
            torch.cat([layer.weight.detach()[order] for layer in of_context]),
            torch.cat([layer.bias.detach()[order] for layer in of_context]),
        )
        self._last = (
            masked(net.final_layer, order).view(num_features, -1, len(order)),
            net.final_layer.bias.detach().clone().view(num_features, -1),
        )
        self._tail, self._num_bins = transform.tail_bound, transform.num_bins
        self._least = transform.min_bin_width, transform.min_bin_height, transform.min_derivative

    def invert(self, y: Floats, given: Tensor) -> Floats:
        """Invert the transform of y (N, D); ``given`` (N, ...) is what the layers add for the contexts."""
        x, num, width = np.empty_like(y), len(y), len(self._first[1])
        of_first, *of_blocks = given.chunk(given.shape[1] // width, dim=1)
        # what the linear layers see of the units so far: before each of them, and before the last layer
        seen = [torch.empty(num, width) for _ in range(2 * len(self._blocks) + 1)]
        for column in range(y.shape[1]):
            units, end = self._units[column], self._units[column].stop
            if units.start < end:
                features = torch.from_numpy(x[:, :column]).float()
                hidden = linear(features, self._first[0][units, :column], self._first[1][units])
                hidden += silu(of_first[:, units])
                for k, ((w0, b0), (w1, b1)) in enumerate(self._blocks):
                    seen[2 * k][:, units] = silu(hidden)
                    inner = linear(seen[2 * k][:, :end], w0[units, :end], b0[units])
                    seen[2 * k + 1][:, units] = silu(inner.add_(of_blocks[k][:, units]), inplace=True)
                    hidden += linear(seen[2 * k + 1][:, :end], w1[units, :end], b1[units])
                seen[-1][:, units] = hidden
            params = linear(seen[-1][:, :end], self._last[0][column][:, :end], self._last[1][column])
            self._invert_splines(params.contiguous().numpy(), y, column, x)
        return x

    def _invert_splines(self, params: NDArray[np.float32], y: Floats, column: int, x: Floats) -> None:
        power, rest, widths, heights = (np.empty(self._num_bins, np.float32) for _ in range(4))
        _invert(params, y, column, self._tail, self._least, power.view(np.int32), power, rest, widths, heights, x)
