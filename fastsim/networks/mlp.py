"""A multilayer perceptron on arrays: the plain candidate that others have to beat."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Self

import torch
from torch import Tensor, nn

from fastsim.errors import PipelineError
from fastsim.networks.layers import Outputs, Shape, Standardise, dense


class MLP(nn.Module):
    """Dense layers on all inputs, flattened and put behind one another.

    Inputs are standardised by batch normalisation without weights, so that quantities in GeV may enter as they are.

    Args:
        num_inputs: numbers of one event.
        outputs: shapes of the outputs by name.
        width: of a hidden layer.
        num_layers: hidden layers; 0 for a linear map.
        latent: name of the output that is a latent, which the others are read off (:class:`Outputs`).
    """

    def __init__(
        self,
        num_inputs: int,
        outputs: Mapping[str, Shape],
        *,
        width: int = 64,
        num_layers: int = 2,
        latent: str | None = None,
    ) -> None:
        super().__init__()
        self.standardise = Standardise(num_inputs)
        self.hidden = (
            nn.Sequential(dense([num_inputs, *[width] * num_layers]), nn.GELU()) if num_layers else nn.Identity()
        )
        self.outputs = Outputs(width if num_layers else num_inputs, outputs, latent)

    @classmethod
    def of_shapes(
        cls,
        inputs: Mapping[str, Shape],
        outputs: Mapping[str, Shape],
        *,
        width: int = 64,
        num_layers: int = 2,
        latent: str | None = None,
    ) -> Self:
        """Make the network for inputs and outputs of the given shapes.

        Raises:
            PipelineError: if a size is not fixed.
        """
        for name, shape in {**inputs, **outputs}.items():
            if any(isinstance(size, str) for size in shape):
                raise PipelineError(f"an mlp takes and gives arrays of fixed size, but {name!r} has shape {shape}")
        num = sum(prod(int(size) for size in shape) for shape in inputs.values())
        return cls(num, outputs, width=width, num_layers=num_layers, latent=latent)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs (N, ...) of inputs (N, ...)."""
        x = torch.cat([value.reshape(len(value), -1).to(torch.get_default_dtype()) for value in inputs], dim=1)
        return tuple(self.outputs(self.hidden(self.standardise(x))).values())
