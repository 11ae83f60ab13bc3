r"""Attention among particles with a bias from each pair, as in the particle transformer.

.. math:: \mathrm{softmax}(Q K^T / \sqrt{d} + U) V

with :math:`U` computed from :math:`\ln \Delta, \ln k_T, \ln z, \ln m^2` of the pair. A class token then attends to the
particles and is what is read off for the set.

References:
    Qu, Li, Qian, Particle transformer for jet tagging, 2022, arXiv:2202.03772.
    Touvron et al., Going deeper with image transformers (class attention), 2021, arXiv:2103.17239.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from fastsim.networks.attention import CLOSED, Attention
from fastsim.networks.layers import Shape, dense
from fastsim.networks.pairs import pair_features
from fastsim.networks.sets import SetNetwork


class ParticleTransformer(SetNetwork):
    """``num_layers`` attentions with pair bias among the particles, then ``num_class_layers`` of the class token."""

    needs_p4: ClassVar[bool] = True

    def __init__(
        self,
        num_features: int,
        outputs: Mapping[str, Shape],
        *,
        width: int = 64,
        num_layers: int = 2,
        num_class_layers: int = 1,
        num_heads: int = 4,
        pair_width: int = 16,
        latent: str | None = None,
    ) -> None:
        if width % num_heads:
            raise ValueError(f"width={width} is no multiple of num_heads={num_heads}")
        super().__init__(num_features, outputs, width=width, latent=latent)
        self.enter = dense([num_features, width, width])
        self.pair = dense([4, pair_width, num_heads])
        self.layers = nn.ModuleList(Attention(width, num_heads) for _ in range(num_layers))
        self.class_token = nn.Parameter(torch.randn(width) * 0.02)
        self.class_layers = nn.ModuleList(Attention(width, num_heads) for _ in range(num_class_layers))

    def encode(self, features: Tensor, mask: Tensor, p4: Tensor) -> Tensor:
        """Return the particles after all attentions."""
        x: Tensor = self.enter(features)
        bias = self.pair(pair_features(p4)).permute(0, 3, 1, 2).masked_fill(~mask[:, None, None], CLOSED)
        for layer in self.layers:
            x = layer(x, x, bias)
        return x

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return the class token (N, width) after it has attended to itself and the particles."""
        token = self.class_token.expand(len(hidden), 1, -1)
        visible = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        bias = torch.zeros_like(visible, dtype=hidden.dtype).masked_fill(~visible, CLOSED)[:, None, None]
        for layer in self.class_layers:
            token = layer(token, torch.cat([token, hidden], dim=1), bias)
        return token[:, 0]
