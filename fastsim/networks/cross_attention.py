r"""Cross-attention between two scales: constituents attend to subjets, and subjets to constituents.

Subjets are given, or found inside: then the ``num_subjets`` hardest particles are their axes, and each particle
belongs to the nearest axis in rapidity and azimuth, as seeded cones do it.

References:
    Hammad, Moretti, Nojiri, Multi-scale cross-attention transformer encoder for event classification, 2024,
    arXiv:2401.00452.
    Vaswani et al., Attention is all you need, 2017, arXiv:1706.03762.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from fastsim.networks.attention import CLOSED, Attention
from fastsim.networks.layers import Shape, dense
from fastsim.networks.pairs import rapidity_azimuth, wrapped
from fastsim.networks.sets import SetNetwork


class CrossAttention(SetNetwork):
    """``num_layers`` of self-attention at each scale and cross-attention both ways."""

    needs_p4: ClassVar[bool] = True

    def __init__(
        self,
        num_features: int,
        outputs: Mapping[str, Shape],
        *,
        width: int = 64,
        num_layers: int = 1,
        num_heads: int = 4,
        num_subjets: int = 3,
        latent: str | None = None,
    ) -> None:
        if width % num_heads:
            raise ValueError(f"width={width} is no multiple of num_heads={num_heads}")
        super().__init__(num_features, outputs, width=width, latent=latent)
        self.num_subjets = num_subjets
        self.enter = dense([num_features, width, width])
        self.enter_subjet = dense([4 + num_features, width, width])
        self.within, self.within_subjets, self.up, self.down = (
            nn.ModuleList(Attention(width, num_heads) for _ in range(num_layers)) for _ in range(4)
        )

    def encode(self, features: Tensor, mask: Tensor, p4: Tensor) -> Tensor:
        """Return the constituents after they have attended to each other and to the subjets."""
        of_subjets, filled = self._subjets(features, mask, p4)
        x: Tensor = self.enter(features)
        subjets: Tensor = self.enter_subjet(of_subjets)
        bias = torch.zeros_like(mask, dtype=x.dtype).masked_fill(~mask, CLOSED)[:, None, None]
        bias_subjets = torch.zeros_like(filled, dtype=x.dtype).masked_fill(~filled, CLOSED)[:, None, None]
        for within, within_subjets, up, down in zip(self.within, self.within_subjets, self.up, self.down, strict=True):
            x, subjets = within(x, x, bias), within_subjets(subjets, subjets, bias_subjets)
            subjets = up(subjets, x, bias)
            x = down(x, subjets, bias_subjets)
        return x

    def _subjets(self, features: Tensor, mask: Tensor, p4: Tensor) -> tuple[Tensor, Tensor]:
        """Return features of the subjets (N, S, 4 + F), and which of them there are (N, S).

        They are ln pT, ln E, ln m^2 and the share of pT, and the mean features of the particles.
        """
        pt = (p4[..., 1] ** 2 + p4[..., 2] ** 2).clamp_min(1e-16).sqrt()
        num = min(self.num_subjets, mask.shape[1])
        hardest = pt.masked_fill(~mask, -torch.inf).topk(num, dim=1)
        filled = torch.isfinite(hardest.values)
        rows = torch.arange(len(mask), device=mask.device)[:, None]
        place = rapidity_azimuth(p4)
        difference = place[:, :, None] - place[rows, hardest.indices][:, None]
        distance = difference[..., 0] ** 2 + wrapped(difference[..., 1]) ** 2
        nearest = distance.masked_fill(~filled[:, None], torch.inf).argmin(-1)
        belongs = torch.nn.functional.one_hot(nearest, num).to(p4.dtype) * mask[..., None]
        total = torch.einsum("nks,nkd->nsd", belongs, p4)
        means = torch.einsum("nks,nkf->nsf", belongs, features) / belongs.sum(1).clamp_min(1)[..., None]
        pt_squared = total[..., 1] ** 2 + total[..., 2] ** 2
        mass_squared = total[..., 0] ** 2 - (total[..., 1:] ** 2).sum(-1)
        share = pt_squared.clamp_min(1e-16).sqrt() / (pt * mask).sum(1, keepdim=True).clamp_min(1e-8)
        logs = torch.stack([pt_squared, total[..., 0] ** 2, mass_squared], dim=-1).clamp_min(1e-6).log()
        return torch.cat([logs, share[..., None], means], dim=-1), filled
