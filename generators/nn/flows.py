"""Conditional normalising flows. The only module that imports nflows.

References:
    Durkan, Bekasov, Murray, Papamakarios, Neural spline flows, 2019, arXiv:1906.04032.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

_TAIL = 6.0


class SplineFlow(nn.Module):
    """Autoregressive rational-quadratic spline flow p(x | context) of standardised features.

    Args:
        num_features: D; num_context: C; width: of the masked networks; num_layers, num_bins: of the splines.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, num_features: int, num_context: int, *, width: int = 64, num_layers: int = 2, num_bins: int = 12
    ) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nflows 0.14 is unmaintained and warns about its own imports
            from nflows.transforms import (
                CompositeTransform,
                MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
                ReversePermutation,
            )
        layers: list[nn.Module] = []
        for number in range(num_layers):
            if number:
                layers.append(ReversePermutation(num_features))
            layers.append(
                MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                    num_features,
                    width,
                    context_features=num_context,
                    num_bins=num_bins,
                    tails="linear",
                    tail_bound=_TAIL,
                    num_blocks=2,
                    activation=nn.functional.silu,
                )
            )
        self.num_features = num_features
        self.transform = CompositeTransform(layers)
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("std", torch.ones(num_features))

    def set_scales(self, x: Tensor) -> None:
        """Fix the standardisation from training features (N, D)."""
        self.mean.copy_(x.mean(0))
        self.std.copy_(x.std(0).clamp_min(1e-6))

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        """Return the log-density of features (N, D) given context (N, C), shape (N,)."""
        noise, log_det = self.transform((x - self.mean) / self.std, context)
        normal = -0.5 * (noise**2 + torch.log(torch.tensor(2 * torch.pi))).sum(-1)
        return normal + log_det - self.std.log().sum()  # type: ignore[no-any-return]

    @torch.no_grad()
    def sample(self, context: Tensor, rng: torch.Generator) -> Tensor:
        """Draw features (N, D) in float64 given context (N, C).

        Splines are inverted in float64: in float32 their discriminant can round below zero, an AssertionError in
        nflows. Its own inverse evaluates all D splines D times; here each is evaluated once, when its turn comes.
        """
        x = torch.randn(len(context), self.num_features, generator=rng, dtype=torch.float64)
        for layer in reversed(self.transform._transforms):
            x = self._inverse(layer, x, context) if hasattr(layer, "autoregressive_net") else layer.inverse(x)[0]
        result: Tensor = x * self.std.double() + self.mean.double()
        return result

    def _inverse(self, layer: Any, y: Tensor, context: Tensor) -> Tensor:
        x = torch.zeros_like(y)
        for column in range(self.num_features):
            params = layer.autoregressive_net(x.float(), context).double()
            own = params.unflatten(-1, (self.num_features, -1))[:, column].contiguous()
            x[:, column : column + 1], _ = layer._elementwise_inverse(y[:, column : column + 1], own)
        return x
