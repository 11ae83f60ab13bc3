"""A transformer over the layers of a shower: one token a layer, whose features are the voxels of it and its neighbours.

Tokens attend to each other with scores that depend on how many layers lie between them too; what a shower shares
modulates every block (adaLN, one projection for all blocks). A token is too narrow to hold what each voxel's own value
means for it, such as that it is noise on nothing: so voxels enter through units of their own too, and the outputs are
those of a small network of each voxel's value, whose hidden units the token shifts.

References:
    Vaswani et al., Attention is all you need, 2017, arXiv:1706.03762.
    Peebles, Xie, DiT (adaLN), 2022, arXiv:2212.09748.
    Chen et al., PixArt-alpha (one projection for all blocks), 2023, arXiv:2310.00426.
    Favaro et al., CaloDREAM (calorimeter patches as tokens), 2024, arXiv:2405.09629.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class LayerNetworkConfig:
    """Sizes of a :class:`LayerNetwork`.

    Attributes:
        width: of a token's hidden state.
        depth: blocks.
        heads: of an attention.
        expansion: width of the hidden layer of an MLP over ``width``.
        reach: layers in front and behind whose voxels a token sees.
        lifts: units through which each voxel enters beside its value.
        hidden: units of each voxel's network.
    """

    width: int = 160
    depth: int = 5
    heads: int = 5
    expansion: float = 3.0
    reach: int = 2
    lifts: int = 2
    hidden: int = 8


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift, F.layer_norm(x, (x.shape[-1],)), 1 + scale)


class _Block(nn.Module):
    """Attention between layers, then an MLP on each; the identity when new."""

    def __init__(self, num_layers: int, config: LayerNetworkConfig) -> None:
        super().__init__()
        width, hidden = config.width, int(config.width * config.expansion)
        self.heads = config.heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = _zero(nn.Linear(width, width))
        self.up, self.down = nn.Linear(width, hidden), _zero(nn.Linear(hidden, width))
        self.modulation = nn.Parameter(torch.zeros(4, width))
        self.distance = nn.Parameter(torch.zeros(config.heads, 2 * num_layers - 1))

    def forward(self, x: Tensor, modulation: Tensor, between: Tensor) -> Tensor:
        """Compute (N, L, width) from tokens, modulations (N, 4, width) and the places of distances (L, L)."""
        num, length, width = x.shape
        shift, scale, shift_mlp, scale_mlp = (modulation + self.modulation)[:, :, None, :].to(x.dtype).unbind(1)
        heads = self.query_key_value(_modulated(x, shift, scale)).view(num, length, 3, self.heads, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + self.distance[:, between].to(query.dtype)
        mixed = scores.softmax(-1).to(value.dtype) @ value
        x = x + self.out(mixed.transpose(1, 2).reshape(num, length, width))
        result: Tensor = x + self.down(F.gelu(self.up(_modulated(x, shift_mlp, scale_mlp)), approximate="tanh"))
        return result


class LayerNetwork(nn.Module):
    """From patches, features of layers, and what a shower shares, to outputs for each voxel.

    Args:
        num_layers: L.
        num_places: P, of a patch.
        num_features: F, of a layer.
        num_context: C, of a shower.
        num_outputs: O, of a voxel.
        config: sizes.
    """

    between: Tensor

    def __init__(
        self,
        num_layers: int,
        num_places: int,
        num_features: int,
        num_context: int,
        num_outputs: int,
        config: LayerNetworkConfig,
    ) -> None:
        super().__init__()
        self.config = config
        width, sees = config.width, 2 * config.reach + 1
        self.lift_weight = nn.Parameter(torch.randn(config.lifts))
        self.lift_bias = nn.Parameter(torch.linspace(-1, 1, config.lifts))
        self.enter = nn.Linear(sees * (num_places + num_features) + config.lifts * num_places, width)
        self.place = nn.Parameter(0.02 * torch.randn(num_layers, width))
        self.context = nn.Sequential(
            nn.Linear(num_context, 2 * width), nn.SiLU(), nn.Linear(2 * width, width), nn.SiLU()
        )
        self.modulation = _zero(nn.Linear(width, 4 * width))
        self.blocks = nn.ModuleList(_Block(num_layers, config) for _ in range(config.depth))
        self.last = _zero(nn.Linear(width, 2 * width))
        self.leave = nn.Linear(width, num_places * config.hidden)
        self.own = nn.Parameter(torch.randn(num_places, config.hidden))
        self.outputs = _zero(nn.Linear(config.hidden, num_outputs))
        layers = torch.arange(num_layers)
        self.register_buffer("between", layers[:, None] - layers + num_layers - 1, persistent=False)

    def forward(self, patches: Tensor, features: Tensor, context: Tensor) -> Tensor:
        """Compute outputs (N, L, P, O) from patches (N, L, P), features (N, L, F) and contexts (N, C)."""
        num, num_layers = patches.shape[:2]
        reach, dtype = self.config.reach, self.place.dtype  # weights may be of lower precision than what is given
        patches, features, context = patches.to(dtype), features.to(dtype), context.to(dtype)
        lifted = F.silu(patches[..., None] * self.lift_weight + self.lift_bias).flatten(2)
        known = F.pad(torch.cat([patches, features], dim=2), (0, 0, reach, reach))
        seen = torch.cat([*(known[:, step : step + num_layers] for step in range(2 * reach + 1)), lifted], dim=2)
        shared = self.context(context)
        modulation = self.modulation(shared).view(num, 4, -1)
        x = self.enter(seen) + self.place
        for block in self.blocks:
            x = block(x, modulation, self.between)
        shift, scale = self.last(shared)[:, None].chunk(2, dim=2)
        x = self.leave(_modulated(x, shift.to(x.dtype), scale.to(x.dtype)))
        hidden = F.silu(torch.addcmul(x.view(*patches.shape, -1), patches[..., None].to(x.dtype), self.own.to(x.dtype)))
        result: Tensor = self.outputs(hidden)
        return result
