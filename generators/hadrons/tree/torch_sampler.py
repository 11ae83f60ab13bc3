"""Draws of splittings whose networks torch computes, in bfloat16 if that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear, silu

from fastsim.event import Ints
from generators.hadrons.tree.sampler import Array, Bits, CompiledSampler, Layer
from generators.nn.compiled_network import ADD, KEEP, LINEAR, NORMALISE, RELU, SILU, Step, Weights
from generators.nn.padding import padded, padded_number


def _layer(step: Step, dtype: torch.dtype) -> Layer:
    """Return what a step other than KEEP and ADD does to rows, in place where that is safe."""
    kind, width, values = step
    if kind == RELU:
        return torch.relu_  # of a product that nothing else sees
    if kind == SILU:
        return partial(silu, inplace=True)
    numbers = torch.from_numpy(values)
    if kind == LINEAR:
        weight = numbers[:-width].reshape(-1, width).T.contiguous().to(dtype)
        return partial(_linear, weight, numbers[-width:].to(dtype))
    assert kind == NORMALISE
    scale, shift = numbers[:width].to(dtype), numbers[width : 2 * width].to(dtype)
    return partial(_layer_norm, scale, shift, float(values[-1]))


def _linear(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    return linear(x, weight, bias)


def _layer_norm(scale: Tensor, shift: Tensor, eps: float, x: Tensor) -> Tensor:
    return layer_norm(x, scale.shape, scale, shift, eps)


class TorchSampler(CompiledSampler):
    """Draws splittings with a copy of the weights in ``precision``, "bfloat16" or "float32"."""

    def __init__(self, weights: Weights, precision: str = "bfloat16") -> None:
        self._dtype, self._bits = torch.float32, torch.uint32
        if precision == "bfloat16":
            self._dtype, self._bits, self.shift = torch.bfloat16, torch.uint16, 16
        super().__init__(weights)

    def _function(self, steps: Sequence[Step]) -> Layer:
        layers = [(step[0], None if step[0] in (KEEP, ADD) else _layer(step, self._dtype)) for step in steps]

        def function(x: Tensor) -> Tensor:
            kept = x
            for kind, layer in layers:
                if layer is not None:
                    x = layer(x)
                elif kind == KEEP:
                    kept = x
                else:
                    x = x.add_(kept)
            return x

        return function

    def _rows(self, x: Array) -> Any:
        return torch.from_numpy(x).to(self._dtype)

    def _floats(self, x: Any) -> Array:
        result: Array = x.float().numpy()
        return result

    def padded(self, rows: Ints) -> Ints:
        return padded(rows)

    def _as_bits(self, x: Any) -> Bits:
        bits: Bits = x.view(self._bits).numpy()
        return bits

    def _empty(self, num: int, width: int) -> Any:
        return torch.empty(padded_number(num), width, dtype=self._dtype)
