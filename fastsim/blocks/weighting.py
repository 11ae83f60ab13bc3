r"""Weights of several losses in one sum, fixed or found while training.

Each weighting is a module: called with losses :math:`L_i` it gives the sum to differentiate. Its state is part of the
training's, so that a run that was stopped goes on exactly.

References:
    Kendall, Gal, Cipolla, Multi-task learning using uncertainty to weigh losses, 2017, arXiv:1705.07115.
    Chen et al., GradNorm: gradient normalization for adaptive loss balancing, 2017, arXiv:1711.02257.
    Liu, Johns, Davison, End-to-end multi-task learning with attention (dynamic weight average), 2018, arXiv:1803.10704.
    Du et al., Adapting auxiliary losses using gradient similarity, 2018, arXiv:1812.02224.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd import grad

from fastsim.errors import PipelineError


class Weighting(nn.Module):
    """The sum of L losses, each with weight 1.

    Args:
        num: L.
        goal: numbers of the losses that the figure of merit is about; the others are there to help.
    """

    def __init__(self, num: int, goal: Sequence[int] = ()) -> None:
        super().__init__()
        self.num, self.goal = num, tuple(goal)

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

    def __init__(self, num: int, goal: Sequence[int] = ()) -> None:
        super().__init__(num, goal)
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
        goal: see :class:`Weighting`; this one weighs all alike.
        alpha: how strongly losses that fall slowly are raised.
    """

    first: Tensor

    def __init__(self, num: int, goal: Sequence[int] = (), *, alpha: float = 1.5) -> None:
        super().__init__(num, goal)
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
        norms = [_gradient(loss, shared).norm() for loss in losses]
        sizes = weights * torch.stack(norms).detach()
        rates = now / self.first
        target = sizes.detach().mean() * (rates / rates.mean()) ** self.alpha
        return (weights.detach() * losses).sum() + (sizes - target).abs().sum()


class DynamicAverage(Weighting):
    r"""Weights from how each loss fell between the last two windows of steps (Liu et al. 2018).

    .. math:: w_i = L \, \mathrm{softmax}_i(r_i / T), \quad r_i = \bar L_i(t - 1) / \bar L_i(t - 2)

    Args:
        num: L.
        goal: see :class:`Weighting`; this one weighs all alike.
        window: steps of a window.
        temperature: T.
    """

    sums: Tensor
    before: Tensor
    current: Tensor
    steps: Tensor

    def __init__(self, num: int, goal: Sequence[int] = (), *, window: int = 50, temperature: float = 2.0) -> None:
        super().__init__(num, goal)
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


class GradientCosine(Weighting):
    r"""The goal's losses as they are, the others as far as their gradients point the same way (Du et al. 2018).

    .. math::
        \mathcal{L} = L_{goal} + \sum_i w_i L_i, \quad
        w_i = \max\left(0, \frac{g_{goal} \cdot g_i}{\lVert g_{goal} \rVert \lVert g_i \rVert}\right), \quad
        g = \nabla_W L

    on the batch of the step. What an auxiliary loss adds is never against the goal to first order, so that the goal
    ends where it would alone. There is nothing to tune. The cosine does not see sizes: the given weight of an auxiliary
    loss should make it no larger than the goal's. Parameters of its own are scaled with it, which Adam undoes.

    Args:
        num: L.
        goal: numbers of the goal's losses, the sum of which is :math:`L_{goal}`; without any, all weights are 1.
    """

    current: Tensor

    def __init__(self, num: int, goal: Sequence[int] = ()) -> None:
        super().__init__(num, goal)
        self.register_buffer("current", torch.ones(num))

    def weights(self) -> Tensor:
        """Return :math:`w_i`; 1 for the goal."""
        return self.current.clone()

    def forward(self, losses: Tensor, shared: Sequence[Tensor]) -> Tensor:
        """Compute the scalar to differentiate."""
        weights = torch.ones(self.num)
        if self.goal:
            wanted = _gradient(losses[list(self.goal)].sum(), shared)
            for k in set(range(self.num)) - set(self.goal):
                weights[k] = torch.cosine_similarity(wanted, _gradient(losses[k], shared), dim=0).clamp_min(0.0)
        self.current.copy_(weights)
        return (weights * losses).sum()


def _gradient(loss: Tensor, by: Sequence[Tensor]) -> Tensor:
    """Compute the gradient of a loss by several tensors, as one vector; zero where it does not depend on them."""
    if not loss.requires_grad:
        return torch.cat([torch.zeros_like(p).flatten() for p in by])
    found = grad(loss, by, retain_graph=True, allow_unused=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(by, found, strict=True)])


WEIGHTINGS: dict[str, type[Weighting]] = {
    "fixed": Weighting,
    "uncertainty": Uncertainty,
    "gradnorm": GradNorm,
    "dynamic-average": DynamicAverage,
    "gradient-cosine": GradientCosine,
}
NEED_A_GOAL = ("gradient-cosine",)
"""Those that are about one loss, which the others help."""


def weighting(name: str, num: int, goal: Sequence[int] = ()) -> Weighting:
    """Return a new weighting of ``num`` losses.

    Args:
        name: one of :data:`WEIGHTINGS`.
        num: of losses.
        goal: numbers of those that the figure of merit is about.

    Raises:
        PipelineError: if there is none of this name.
    """
    if name not in WEIGHTINGS:
        raise PipelineError(f"unknown weighting {name!r}: there are {', '.join(WEIGHTINGS)}")
    return WEIGHTINGS[name](num, goal)
