r"""Cross-attention between two scales: constituents attend to subjets, and subjets to constituents.

Subjets are given as a second set, or found inside, as seeded cones are: the hardest particle is the first axis, the
hardest one further than ``subjet_radius`` from all axes so far is the next, up to ``num_subjets``; each particle
belongs to the nearest axis in rapidity and azimuth.

References:
    Hammad, Moretti, Nojiri, Multi-scale cross-attention transformer encoder for event classification, 2024,
    arXiv:2401.00452.
    Vaswani et al., Attention is all you need, 2017, arXiv:1706.03762.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from fastsim.errors import PipelineError
from fastsim.networks.attention import Attention, closed
from fastsim.networks.layers import Shape, dense
from fastsim.networks.pairs import rapidity_azimuth, wrapped
from fastsim.networks.sets import SetNetwork


class CrossAttention(SetNetwork):
    """``num_layers`` of self-attention at each scale and cross-attention both ways.

    Args:
        num_features: of a constituent.
        outputs: shapes of the outputs by name.
        width: of hidden vectors.
        num_layers: of each of the four attentions.
        num_heads: of an attention.
        num_subjets: that are found inside, at most.
        subjet_radius: distance in rapidity and azimuth that two axes keep; 0 takes the hardest particles.
        num_subjet_features: of a subjet, where these are given; None where they are found inside.
        latent: name of the output that is a latent, which the other outputs of the set are read off.
    """

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
        subjet_radius: float = 0.2,
        num_subjet_features: int | None = None,
        latent: str | None = None,
    ) -> None:
        if width % num_heads:
            raise ValueError(f"width={width} is no multiple of num_heads={num_heads}")
        super().__init__(num_features, outputs, width=width, latent=latent)
        self.num_subjets, self.subjet_radius, self.num_subjet_features = num_subjets, subjet_radius, num_subjet_features
        self.enter = dense([num_features, width, width])
        self.enter_subjet = dense([num_subjet_features or 4 + num_features, width, width])
        self.within, self.within_subjets, self.up, self.down = (
            nn.ModuleList(Attention(width, num_heads) for _ in range(num_layers)) for _ in range(4)
        )

    @classmethod
    def of_shapes(cls, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape], **options: Any) -> Self:
        """Make the network for the inputs of all networks of sets, or for these and subjets ("m", G) with mask ("m",).

        Raises:
            PipelineError: if the inputs are others.
        """
        names = list(inputs)
        if len(names) != 5:
            return super().of_shapes(inputs, outputs, **options)
        subjets, mask = (inputs[name] for name in names[3:])
        if len(subjets) != 2 or not isinstance(subjets[1], int) or len(mask) != 1:
            raise PipelineError(f'subjets are given as ("m", G) and their mask as ("m",), not {subjets} and {mask}')
        first = {name: inputs[name] for name in names[:3]}
        return super().of_shapes(first, outputs, num_subjet_features=subjets[1], **options)

    def forward(
        self,
        features: Tensor,
        mask: Tensor,
        p4: Tensor | None = None,
        subjets: Tensor | None = None,
        subjet_mask: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Compute the outputs in their order, as every network of sets does.

        Args:
            features: of the constituents, (N, K, F).
            mask: which entries are constituents, (N, K), bool.
            p4: four-momenta in GeV, (N, K, 4); subjets that are given make them needless.
            subjets: features of the subjets, (N, S, G), where they are given.
            subjet_mask: which entries are subjets, (N, S), bool.
        """
        if subjets is None or subjet_mask is None:
            return super().forward(features, mask, p4)
        mask, subjet_mask = mask.bool(), subjet_mask.bool()
        features = features.masked_fill(~mask[..., None], 0.0)
        subjets = subjets.masked_fill(~subjet_mask[..., None], 0.0)
        return self.read_off(self._attend(features, mask, subjets, subjet_mask), mask)

    def encode(self, features: Tensor, mask: Tensor, p4: Tensor) -> Tensor:
        """Return the constituents after they have attended to each other and to subjets that are found inside."""
        return self._attend(features, mask, *self._subjets(features, mask, p4))

    def _attend(self, features: Tensor, mask: Tensor, of_subjets: Tensor, filled: Tensor) -> Tensor:
        x: Tensor = self.enter(features)
        subjets: Tensor = self.enter_subjet(of_subjets)
        bias, bias_subjets = closed(mask, x.dtype), closed(filled, x.dtype)
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
        place = rapidity_azimuth(p4)
        rows = torch.arange(len(mask), device=mask.device)
        num = min(self.num_subjets, mask.shape[1])
        free, distances, found = mask, [], []
        for _ in range(num):
            axis = pt.masked_fill(~free, -torch.inf).argmax(1)
            found.append(free.any(1))
            difference = place - place[rows, axis][:, None]
            distances.append(difference[..., 0] ** 2 + wrapped(difference[..., 1]) ** 2)
            # also the axis itself, whatever the rounding
            taken = (distances[-1] <= self.subjet_radius**2) | torch.nn.functional.one_hot(axis, mask.shape[1]).bool()
            free = free & ~taken
        distance, filled = torch.stack(distances, dim=-1), torch.stack(found, dim=1)
        nearest = distance.masked_fill(~filled[:, None], torch.inf).argmin(-1)
        belongs = torch.nn.functional.one_hot(nearest, num).to(p4.dtype) * mask[..., None]
        total = torch.einsum("nks,nkd->nsd", belongs, p4)
        means = torch.einsum("nks,nkf->nsf", belongs, features) / belongs.sum(1).clamp_min(1)[..., None]
        pt_squared = total[..., 1] ** 2 + total[..., 2] ** 2
        mass_squared = total[..., 0] ** 2 - (total[..., 1:] ** 2).sum(-1)
        share = pt_squared.clamp_min(1e-16).sqrt() / (pt * mask).sum(1, keepdim=True).clamp_min(1e-8)
        logs = torch.stack([pt_squared, total[..., 0] ** 2, mass_squared], dim=-1).clamp_min(1e-6).log()
        return torch.cat([logs, share[..., None], means], dim=-1), filled
