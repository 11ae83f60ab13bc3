"""Sequences of layers as one compiled function on rows of float32 numbers, without torch.

A call costs microseconds where one of torch's modules costs tens; of many rows, what the layers hand on stays in the
processor's cache. Networks a few dozen units wide are faster so whatever the number of rows, wider ones where there are
few: torch's products in bfloat16 are faster than those in float32 here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled, compiled_inside, compiled_sums_inside
from fastsim.event import Ints

Array = NDArray[np.float32]
Weights = Mapping[str, NDArray[Any]]
"""Weights and buffers of a module by the names that torch gives them: float32 numbers, and indices."""
LINEAR, RELU, SILU, NORMALISE, KEEP, ADD = range(6)
"""Steps: a linear layer; activations; mean 0 and variance 1, scaled and shifted; remember the rows; add what was."""
Step = tuple[int, int, Array]
"""A step, how many numbers a row has after it, and its weights in the order in which they are read."""

_ROWS = 32
"""Rows at a time."""
_SERIAL = 200_000
"""Products of this many multiplications or fewer are computed by one thread (OpenBLAS: 262,144): what a row becomes,
and the time of the others, would else depend on the number of threads."""
_EPS = 1e-5
"""What torch's layers add to a variance."""
_ONE, _HALF = np.float32(1), np.float32(0.5)
_A1, _A3, _A5 = np.float32(4.89352455891786e-03), np.float32(6.37261928875436e-04), np.float32(1.48572235717979e-05)
_A7, _A9 = np.float32(5.12229709037114e-08), np.float32(-8.60467152213735e-11)
_A11, _A13 = np.float32(2.00018790482477e-13), np.float32(-2.76076847742355e-16)
_B0, _B2, _B4 = np.float32(4.89352518554385e-03), np.float32(2.26843463243900e-03), np.float32(1.18534705686654e-04)
_B6, _TANH_IS_ONE = np.float32(1.19825839466702e-06), np.float32(7.9)
"""Coefficients of tanh as a rational function (Eigen's ``generic_fast_tanh_float``), accurate to a few roundings."""


@compiled_sums_inside
def tanh(x: Any) -> Any:
    """Return tanh(x), all of it in float32 and without a branch."""
    x = min(max(x, -_TANH_IS_ONE), _TANH_IS_ONE)
    y = x * x
    above = x * (_A1 + y * (_A3 + y * (_A5 + y * (_A7 + y * (_A9 + y * (_A11 + y * _A13))))))
    below = _B0 + y * (_B2 + y * (_B4 + y * _B6))
    return above / below


@compiled_sums_inside
def _row_product(x: Array, row: int, weight: Array, out: Array) -> None:
    """Fill a row of ``out`` with the product of that row of ``x`` and ``weight``."""
    inputs, width, i = weight.shape[0], weight.shape[1], 0
    for o in range(width):
        out[row, o] = np.float32(0)
    while i + 4 <= inputs:
        a, b, c, d = x[row, i], x[row, i + 1], x[row, i + 2], x[row, i + 3]
        for o in range(width):
            out[row, o] += a * weight[i, o] + b * weight[i + 1, o] + c * weight[i + 2, o] + d * weight[i + 3, o]
        i += 4
    while i < inputs:
        a = x[row, i]
        for o in range(width):
            out[row, o] += a * weight[i, o]
        i += 1


@compiled_sums_inside
def add_bias(bias: Array, out: Array) -> None:
    """Add ``bias`` (O,) to rows (K, O)."""
    for k in range(len(out)):
        for o in range(len(bias)):
            out[k, o] += bias[o]


@compiled_inside
def multiply(x: Array, weight: Array, out: Array) -> None:
    """Fill ``out`` (K, O) with x W for ``x`` (K, I) and ``weight`` (I, O)."""
    num, start = len(x), 0
    step = max(_SERIAL // (weight.shape[0] * weight.shape[1]), 2)
    while start < num:
        end = min(start + step, num)
        if end - start == 1:  # BLAS would take another function, with threads
            _row_product(x, start, weight, out)
        else:
            np.dot(x[start:end], weight, out[start:end])
        start = end


@compiled_inside
def dense(x: Array, weight: Array, bias: Array, out: Array) -> None:
    """Fill ``out`` (K, O) with x W + b for ``x`` (K, I), ``weight`` (I, O) and ``bias`` (O,)."""
    multiply(x, weight, out)
    add_bias(bias, out)


@compiled_sums_inside
def silu(x: Array) -> None:
    """Replace rows (K, W) by x / (1 + exp(-x)) = x (1 + tanh(x/2)) / 2."""
    for k in range(len(x)):
        for i in range(x.shape[1]):
            half = _HALF * x[k, i]
            x[k, i] = half + half * tanh(half)


@compiled_sums_inside
def _normalise(x: Array, weights: Array) -> None:
    """Replace rows (K, W) by themselves less their mean, over their deviation, times scales, plus shifts.

    ``weights`` are W scales, W shifts, and what is added to the variance.
    """
    width, more = x.shape[1], weights[2 * x.shape[1]]
    for k in range(len(x)):
        total = np.float32(0)
        for i in range(width):
            total += x[k, i]
        mean = total / np.float32(width)
        total = np.float32(0)
        for i in range(width):
            total += (x[k, i] - mean) * (x[k, i] - mean)
        scale = _ONE / np.float32(sqrt(total / np.float32(width) + more))
        for i in range(width):
            x[k, i] = (x[k, i] - mean) * scale * weights[i] + weights[width + i]


@compiled_sums_inside
def _simple(step: int, x: Array, kept: Array) -> None:
    """Take one of the steps that change numbers one by one, or copy them."""
    for k in range(len(x)):
        for i in range(x.shape[1]):
            if step == RELU:
                x[k, i] = max(x[k, i], np.float32(0))
            elif step == KEEP:
                kept[k, i] = x[k, i]
            elif step == ADD:
                x[k, i] += kept[k, i]


@compiled
def _run(steps: Ints, weights: Array, widest: int, outputs: int, x: Array) -> Array:
    """Return what the steps make of x (K, I), (K, ``outputs``).

    ``steps`` (L, 2) are steps and widths after them, of which none is above ``widest``, ``weights`` those of all one
    after another.
    """
    rows, out = min(_ROWS, max(len(x), 1)), np.empty((len(x), outputs), np.float32)
    size = rows * max(widest, x.shape[1])
    one, two, kept = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    for start in range(0, len(x), rows):
        num, width, first = min(rows, len(x) - start), x.shape[1], 0
        now, other = one, two
        for k in range(num):
            for i in range(width):
                now[k * width + i] = x[start + k, i]
        for s in range(len(steps)):
            step, wide = steps[s, 0], steps[s, 1]
            values = now[: num * width].reshape(num, width)
            if step == LINEAR:
                middle, last = first + width * wide, first + (width + 1) * wide
                results = other[: num * wide].reshape(num, wide)
                dense(values, weights[first:middle].reshape(width, wide), weights[middle:last], results)
                now, other, first, width = other, now, last, wide
            elif step == SILU:
                silu(values)
            elif step == NORMALISE:
                _normalise(values, weights[first : first + 2 * width + 1])
                first += 2 * width + 1
            else:
                _simple(step, values, kept[: num * width].reshape(num, width))
        for k in range(num):
            for i in range(width):
                out[start + k, i] = now[k * width + i]
    return out


def weights_of(module: Any) -> dict[str, NDArray[Any]]:
    """Return a copy of the weights of a torch module by name: what is no integer in float32."""
    return {name: as_weights(x.detach().cpu().numpy()) for name, x in module.state_dict().items()}


def as_weights(values: NDArray[Any]) -> NDArray[Any]:
    """Return a copy of an array as weights are computed with: integers as they are, other numbers in float32."""
    return np.array(values, np.float32 if values.dtype.kind == "f" else values.dtype, order="C")


def part(weights: Weights, name: str) -> dict[str, NDArray[Any]]:
    """Return the weights of a submodule, by their names in it."""
    start = f"{name}."
    return {key.removeprefix(start): value for key, value in weights.items() if key.startswith(start)}


def linear_step(weight: Array, bias: Array) -> Step:
    """Return x W^T + b as a step, for ``weight`` (O, I) and ``bias`` (O,) as torch keeps them."""
    return LINEAR, len(bias), np.concatenate([weight.T.ravel(), bias]).astype(np.float32)


def linear(weights: Weights, name: str) -> list[Step]:
    """Return the steps of the linear layer of a name."""
    return [linear_step(weights[f"{name}.weight"], weights[f"{name}.bias"])]


def layer_norm(weights: Weights, name: str) -> list[Step]:
    """Return the steps of the layer normalisation of a name, with torch's usual constant."""
    scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return [(NORMALISE, len(scale), np.concatenate([scale, shift, [_EPS]]).astype(np.float32))]


def perceptron(weights: Weights, name: str, step: int) -> list[Step]:
    """Return the steps of a sequence of linear layers with the activation ``step`` between them."""
    places = sorted({int(key.split(".")[0]) for key in part(weights, name)})
    layers = [linear(weights, f"{name}.{place}") for place in places]
    return [*layers[0], *(each for layer in layers[1:] for each in (*activation(step), *layer))]


def activation(step: int) -> list[Step]:
    """Return the steps of an activation, :data:`RELU` or :data:`SILU`."""
    return [(step, 0, np.empty(0, np.float32))]


def around(steps: Sequence[Step]) -> list[Step]:
    """Return the steps of a block x + f(x), given those of f."""
    none = np.empty(0, np.float32)
    return [(KEEP, 0, none), *steps, (ADD, 0, none)]


class CompiledNetwork:
    """Steps that follow one another as a function on rows."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = np.array([(step, width) for step, width, _ in steps], np.int64)
        self._weights = np.concatenate([weights for _, _, weights in steps])
        self._num_outputs = next(width for _, width, _ in reversed(steps) if width)
        self._widest = int(self._steps[:, 1].max())

    def __call__(self, x: Array) -> Array:
        """Return what the steps make of x (K, I), (K, O)."""
        out: Array = _run(self._steps, self._weights, self._widest, self._num_outputs, x)
        return out
