"""Attention of particles to each other, without features of pairs: the plain encoder of transformers.

References:
    Vaswani et al., Attention is all you need, 2017, arXiv:1706.03762.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from fastsim.networks.attention import Attention, closed
from fastsim.networks.layers import Shape, dense
from fastsim.networks.sets import SetNetwork


class SelfAttention(SetNetwork):
    """``num_layers`` attentions among the particles."""

    def __init__(
        self,
        num_features: int,
        outputs: Mapping[str, Shape],
        *,
        width: int = 64,
        num_layers: int = 2,
        num_heads: int = 4,
        latent: str | None = None,
    ) -> None:
        if width % num_heads:
            raise ValueError(f"width={width} is no multiple of num_heads={num_heads}")
        super().__init__(num_features, outputs, width=width, latent=latent)
        self.enter = dense([num_features, width, width])
        self.layers = nn.ModuleList(Attention(width, num_heads) for _ in range(num_layers))

    def encode(self, features: Tensor, mask: Tensor, p4: Tensor) -> Tensor:
        """Return the particles after all attentions."""
        x: Tensor = self.enter(features)
        bias = closed(mask, x.dtype)
        for layer in self.layers:
            x = layer(x, x, bias)
        return x
