"""Draws of trees: few by compiled networks in float32, many by torch."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from fastsim.event import Floats
from fastsim.production.chunks import torch_is_loaded
from fastsim.startup import starting
from generators.hadrons.tokens import TokenSample
from generators.hadrons.tree.growth import sample_tree
from generators.hadrons.tree.sampler import CompiledSampler
from generators.nn.compiled_network import Weights

_NARROW, _FEW = 96, 1024
"""Width of narrow networks, which are always as fast without torch; most sets that wide ones draw without it."""


class TreeDraws:
    """Draws the momenta of tokens.

    Torch is loaded when many sets are drawn for the first time.

    Args:
        weights: of the :class:`~generators.hadrons.tree.network.SplittingNet`, by name.
        precision: of torch's matrix products, "bfloat16" or "float32".
    """

    def __init__(self, weights: Weights, precision: str) -> None:
        self._weights, self._precision = weights, precision
        self._few = np.inf if len(weights["embed.bias"]) <= _NARROW else _FEW

    @cached_property
    def _compiled(self) -> CompiledSampler:
        return CompiledSampler(self._weights)

    @cached_property
    def _torch(self) -> CompiledSampler:
        with starting():
            from generators.hadrons.tree.torch_sampler import TorchSampler

            torch_is_loaded()
            return TorchSampler(self._weights, self._precision)

    def momenta(self, tokens: TokenSample, energy: Floats, total: Floats, rng: np.random.Generator) -> Floats:
        """Draw the momenta (M, 4) in GeV of tokens; see :func:`~generators.hadrons.tree.growth.sample_tree`."""
        sampler = self._compiled if len(tokens) <= self._few else self._torch
        return sample_tree(sampler, tokens, energy, total, rng)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is made of the weights."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_compiled", "_torch")}
