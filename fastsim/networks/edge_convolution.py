r"""Edge convolutions on the nearest neighbours of each particle, as in ParticleNet.

.. math:: x'_i = \frac{1}{k} \sum_{j \in N_k(i)} h(x_i, x_j - x_i) + W x_i

Neighbours are near in rapidity and azimuth in the first layer, and near in the features themselves later on.

References:
    Qu, Gouskos, ParticleNet: jet tagging via particle clouds, 2019, arXiv:1902.08570.
    Wang et al., Dynamic graph CNN for learning on point clouds, 2018, arXiv:1801.07829.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from fastsim.networks.layers import Shape, dense
from fastsim.networks.pairs import rapidity_azimuth, wrapped
from fastsim.networks.sets import SetNetwork


class EdgeConvolution(SetNetwork):
    """``num_layers`` edge convolutions over ``num_neighbours`` neighbours, or all others where there are fewer."""

    needs_p4: ClassVar[bool] = True

    def __init__(
        self,
        num_features: int,
        outputs: Mapping[str, Shape],
        *,
        width: int = 64,
        num_layers: int = 2,
        num_neighbours: int = 8,
        latent: str | None = None,
    ) -> None:
        super().__init__(num_features, outputs, width=width, latent=latent)
        self.num_neighbours = num_neighbours
        sizes = [num_features, *[width] * num_layers]
        self.edges = nn.ModuleList(dense([2 * size, width, width]) for size in sizes[:-1])
        self.shortcuts = nn.ModuleList(nn.Linear(size, width) for size in sizes[:-1])
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(num_layers))

    def encode(self, features: Tensor, mask: Tensor, p4: Tensor) -> Tensor:
        """Return the features after all convolutions."""
        place = rapidity_azimuth(p4)
        difference = place[:, :, None] - place[:, None]
        distance = difference[..., 0] ** 2 + wrapped(difference[..., 1]) ** 2
        x = features
        for number, (edge, shortcut, norm) in enumerate(zip(self.edges, self.shortcuts, self.norms, strict=True)):
            if number:
                distance = (x[:, :, None] - x[:, None]).square().sum(-1)
            x = gelu(norm(self._convolve(x, distance, mask, edge) + shortcut(x)))
        return x

    def _convolve(self, x: Tensor, distance: Tensor, mask: Tensor, edge: nn.Module) -> Tensor:
        """Return the mean (N, K, width) of the edge function over the nearest other particles."""
        size = mask.shape[1]
        itself = torch.eye(size, dtype=torch.bool, device=x.device)
        far = distance.masked_fill(itself | ~mask[:, None], torch.inf)
        nearest = far.topk(min(self.num_neighbours, size), dim=-1, largest=False)
        real = torch.isfinite(nearest.values)
        rows = torch.arange(len(x), device=x.device)[:, None, None]
        neighbours = x[rows, nearest.indices]
        own = x[:, :, None].expand_as(neighbours)
        messages = edge(torch.cat([own, neighbours - own], dim=-1)).masked_fill(~real[..., None], 0.0)
        result: Tensor = messages.sum(2) / real.sum(2).clamp_min(1)[..., None]
        return result
