r"""A network that knows four-momenta only by their invariants: its outputs do not change in a Lorentz transformation.

.. math::
    m_{ij} = \phi_e(h_i, h_j, \psi(|x_i - x_j|^2), \psi(\langle x_i, x_j \rangle)), \quad
    x'_i = x_i + c \sum_j \phi_x(m_{ij}) x_j, \quad
    h'_i = h_i + \phi_h(h_i, \sum_j w_{ij} m_{ij})

with :math:`\psi(a) = \mathrm{sgn}(a) \ln(|a| + 1)`. The vectors :math:`x_i` transform as four-momenta
do, and the hidden :math:`h_i` are scalars.

References:
    Gong et al., An efficient Lorentz equivariant graph neural network for jet tagging, 2022, arXiv:2201.08187.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from fastsim.networks.layers import Shape, dense
from fastsim.networks.sets import SetNetwork

_STEP = 1e-3
"""The factor c of the authors, which keeps the vectors from growing."""


def products(a: Tensor, b: Tensor) -> Tensor:
    """Compute the Minkowski products (...,) of four-vectors (..., 4), E first.

    >>> products(torch.tensor([5.0, 3.0, 0.0, 0.0]), torch.tensor([5.0, 3.0, 0.0, 0.0])).item()
    16.0
    """
    return a[..., 0] * b[..., 0] - (a[..., 1:] * b[..., 1:]).sum(-1)


class LorentzNetwork(SetNetwork):
    """``num_layers`` updates of scalars and four-vectors.

    Features are used only where ``scalars`` names their columns: charges and kinds are invariant, momenta and angles
    are not.
    """

    needs_p4: ClassVar[bool] = True

    def __init__(
        self,
        num_features: int,
        outputs: Mapping[str, Shape],
        *,
        width: int = 64,
        num_layers: int = 2,
        scalars: Sequence[int] = (),
        latent: str | None = None,
    ) -> None:
        if any(not 0 <= column < num_features for column in scalars):
            raise ValueError(f"scalars={list(scalars)}: the features have columns 0 to {num_features - 1}")
        super().__init__(num_features, outputs, width=width, latent=latent)
        self.scalars = list(scalars)
        self.enter = nn.Linear(len(scalars) + 1, width)
        self.edge = nn.ModuleList(dense([2 * width + 2, width, width]) for _ in range(num_layers))
        self.weight = nn.ModuleList(nn.Linear(width, 1) for _ in range(num_layers))
        # the last vectors are not used
        self.vector = nn.ModuleList(dense([width, width, 1]) for _ in range(num_layers - 1))
        self.hidden = nn.ModuleList(dense([2 * width, width, width]) for _ in range(num_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(num_layers))

    def encode(self, features: Tensor, mask: Tensor, p4: Tensor) -> Tensor:
        """Return the scalars of the particles after all updates."""
        x = p4
        h: Tensor = self.enter(
            torch.cat([_compressed(products(p4, p4))[..., None], features[..., self.scalars]], dim=-1)
        )
        size = mask.shape[1]
        others = (mask[:, :, None] & mask[:, None] & ~torch.eye(size, dtype=torch.bool, device=mask.device))[..., None]
        number_root = mask.sum(1).clamp_min(1).to(h.dtype).sqrt()[:, None, None]
        for number, (edge, weight, hidden, norm) in enumerate(
            zip(self.edge, self.weight, self.hidden, self.norms, strict=True)
        ):
            first, second = x[:, :, None], x[:, None]
            difference = first - second
            invariants = torch.stack([products(difference, difference), products(first, second)], dim=-1)
            pair = (len(h), size, size, self.width)
            scalars = (h[:, :, None].expand(pair), h[:, None].expand(pair))
            message = nn.functional.gelu(edge(torch.cat([*scalars, _compressed(invariants)], dim=-1)))
            if number < len(self.vector):
                push = self.vector[number](message).tanh() * others
                x = x + _STEP * (push * second).sum(2)
            gathered = (weight(message).sigmoid() * message * others).sum(2) / number_root
            h = h + hidden(torch.cat([norm(h), gathered], dim=-1))
        return h


def _compressed(invariants: Tensor) -> Tensor:
    """Compute sgn(a) ln(|a| + 1)."""
    return invariants.sign() * invariants.abs().log1p()
