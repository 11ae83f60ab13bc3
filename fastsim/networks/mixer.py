r"""A mixer: perceptrons across the particles in turn with perceptrons on each particle.

The places of a mixer are not equal. Particles are brought into the order of their transverse momentum first (of their
first feature where there are no four-momenta), so that the order in which they are given does not matter.

References:
    Tolstikhin et al., MLP-Mixer: an all-MLP architecture for vision, 2021, arXiv:2105.01601.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from fastsim.networks.layers import Shape, dense
from fastsim.networks.sets import SetNetwork


class Mixer(SetNetwork):
    """``num_layers`` mixings of the ``num_places`` hardest particles; those beyond keep to themselves."""

    def __init__(
        self,
        num_features: int,
        outputs: Mapping[str, Shape],
        *,
        width: int = 64,
        num_layers: int = 2,
        num_places: int = 32,
        latent: str | None = None,
    ) -> None:
        super().__init__(num_features, outputs, width=width, latent=latent)
        self.num_places = num_places
        self.enter = dense([num_features, width, width])
        self.across = nn.ModuleList(dense([num_places, 2 * num_places, num_places]) for _ in range(num_layers))
        self.each = nn.ModuleList(dense([width, 2 * width, width]) for _ in range(num_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * num_layers))

    def encode(self, features: Tensor, mask: Tensor, p4: Tensor) -> Tensor:
        """Return the particles, in the order given, after all mixings."""
        pt_squared = p4[..., 1] ** 2 + p4[..., 2] ** 2
        height = torch.where((pt_squared > 0).any(1, keepdim=True), pt_squared, features[..., 0])
        order = height.masked_fill(~mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
        rows = torch.arange(len(mask), device=mask.device)[:, None]
        inside = mask[rows, order][..., None]
        x = self.enter(features[rows, order]) * inside
        size = x.shape[1]
        used = min(size, self.num_places)
        for number, (across, each) in enumerate(zip(self.across, self.each, strict=True)):
            # padding is zero before particles are mixed, so that it has no influence
            normed = (self.norms[2 * number](x) * inside)[:, :used]
            places = pad(normed.transpose(1, 2), (0, self.num_places - used))
            mixed = across(places)[..., :used].transpose(1, 2)
            x = x + pad(mixed, (0, 0, 0, size - used)) * inside
            x = x + each(self.norms[2 * number + 1](x)) * inside
        return torch.zeros_like(x).index_put((rows, order), x)
