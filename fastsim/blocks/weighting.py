r"""Weights of several losses in one sum, fixed or found while training.

Each weighting is a module: called with losses :math:`L_i` it gives the sum to differentiate. Its state is part of the
training's, so that a run that was stopped goes on exactly.

References:
    Kendall, Gal, Cipolla, Multi-task learning using uncertainty to weigh losses, 2017, arXiv:1705.07115.
    Chen et al., GradNorm: gradient normalization for adaptive loss balancing, 2017, arXiv:1711.02257.
    Liu, Johns, Davison, End-to-end multi-task learning with attention (dynamic weight average), 2018, arXiv:1803.10704.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd import grad

from fastsim.errors import PipelineError

WeightingName = Literal["fixed", "uncertainty", "gradnorm", "dynamic-average"]


class Weighting(nn.Module):
    """The sum of L losses, each with weight 1.

    Args:
        num: L.
    """

    def __init__(self, num: int) -> None:
        super().__init__()
        self.num = num

    def weights(self) -> Tensor:
        """Return the weights (L,) as they are now."""
        return torch.ones(self.num)

    def forward(self, losses: Tensor, shared: Sequence[Tensor]) -> Tensor:
        """Compute the scalar to differentiate.

        Args:
            losses: (L,).
            shared: parameters that the losses share.
        """
        return losses.sum()


class Uncertainty(Weighting):
    r""":math:`\sum_i \frac12 (e^{-s_i} L_i + s_i)` with learned :math:`s_i = \ln \sigma_i^2` (Kendall et al. 2017)."""

    def __init__(self, num: int) -> None:
        super().__init__(num)
        self.log_variance = nn.Parameter(torch.zeros(num))

    def weights(self) -> Tensor:
        """Return :math:`e^{-s_i} / 2`."""
        return 0.5 * (-self.log_variance.detach()).exp()

    def forward(self, losses: Tensor, shared: Sequence[Tensor]) -> Tensor:
        """Compute the scalar to differentiate."""
        return 0.5 * ((-self.log_variance).exp() * losses + self.log_variance).sum()


class GradNorm(Weighting):
    r"""Weights that give the losses gradients of like size, larger for losses that fall slowly (Chen et al. 2017).

    .. math::
        G_i = w_i \lVert \nabla_W L_i \rVert, \quad
        \mathcal{L}_w = \sum_i \lvert G_i - \bar G r_i^{\alpha} \rvert, \quad
        r_i = \frac{L_i / L_i(0)}{\langle L_j / L_j(0) \rangle}

    with :math:`\bar G` and :math:`r_i` held fixed and :math:`\sum_i w_i = L`.

    Args:
        num: L.
        alpha: how strongly losses that fall slowly are raised.
    """

    first: Tensor

    def __init__(self, num: int, *, alpha: float = 1.5) -> None:
        super().__init__(num)
        self.alpha = alpha
        self.logits = nn.Parameter(torch.zeros(num))
        self.register_buffer("first", torch.zeros(num))

    def weights(self) -> Tensor:
        """Return :math:`w_i`."""
        return self.num * self.logits.detach().softmax(0)

    def forward(self, losses: Tensor, shared: Sequence[Tensor]) -> Tensor:
        """Compute the scalar to differentiate."""
        now = losses.detach()
        if not self.first.any():
            self.first.copy_(now)
        weights = self.num * self.logits.softmax(0)
        norms = []
        for loss in losses:
            found = grad(loss, shared, retain_graph=True, allow_unused=True)
            norms.append(torch.sqrt(sum((g.square().sum() for g in found if g is not None), torch.zeros(()))))
        sizes = weights * torch.stack(norms).detach()
        rates = now / self.first
        target = sizes.detach().mean() * (rates / rates.mean()) ** self.alpha
        return (weights.detach() * losses).sum() + (sizes - target).abs().sum()


class DynamicAverage(Weighting):
    r"""Weights from how each loss fell between the last two windows of steps (Liu et al. 2018).

    .. math:: w_i = L \, \mathrm{softmax}_i(r_i / T), \quad r_i = \bar L_i(t - 1) / \bar L_i(t - 2)

    Args:
        num: L.
        window: steps of a window.
        temperature: T.
    """

    sums: Tensor
    before: Tensor
    current: Tensor
    steps: Tensor

    def __init__(self, num: int, *, window: int = 50, temperature: float = 2.0) -> None:
        super().__init__(num)
        self.window, self.temperature = window, temperature
        self.register_buffer("sums", torch.zeros(num))
        self.register_buffer("before", torch.zeros(num))
        self.register_buffer("current", torch.ones(num))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def weights(self) -> Tensor:
        """Return :math:`w_i`."""
        return self.current.clone()

    def forward(self, losses: Tensor, shared: Sequence[Tensor]) -> Tensor:
        """Compute the scalar to differentiate."""
        weights = self.current.clone()
        if self.training:
            self.sums += losses.detach()
            self.steps += 1
            if int(self.steps) % self.window == 0:
                mean = self.sums / self.window
                if self.before.any():
                    self.current.copy_(self.num * (mean / self.before / self.temperature).softmax(0))
                self.before.copy_(mean)
                self.sums.zero_()
        return (weights * losses).sum()


WEIGHTINGS: dict[str, type[Weighting]] = {
    "fixed": Weighting,
    "uncertainty": Uncertainty,
    "gradnorm": GradNorm,
    "dynamic-average": DynamicAverage,
}


def weighting(name: str, num: int) -> Weighting:
    """Return a new weighting of ``num`` losses.

    Raises:
        PipelineError: if there is none of this name.
    """
    if name not in WEIGHTINGS:
        raise PipelineError(f"unknown weighting {name!r}: there are {', '.join(WEIGHTINGS)}")
    return WEIGHTINGS[name](num)
