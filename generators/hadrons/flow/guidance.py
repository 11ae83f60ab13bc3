r"""Guidance: sets whose observable is larger, or smaller, than the model's own, with four-momenta still exact.

Wanted are latents and hadrons from p(z) p(x | z) exp(lambda O(x)). So each set takes one of a few latents, with a
probability in the ratio of exp(lambda O) of quick samples given these (sampling importance resampling, Rubin 1987), and
the score of its noisy state gets the gradient of the observable of the data that the network expects there,

.. math:: \nabla \log p_\sigma(x) + \lambda \nabla_x O(\hat x(x)), \qquad \hat x = x - \sigma u(x)

(Chung et al., Diffusion posterior sampling, 2022, arXiv:2209.14687). In terms of the velocity of flow matching,
u - lambda sigma / (1 - sigma) grad O. The momenta come from the coordinates by the projection onto the set's total, as
without guidance, and the observable is a function of these: so four-momenta stay exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Observable = Callable[[Tensor, Tensor, int], Tensor]
"""Observables (N,) of N sets as a differentiable function of the four-momenta (M, 4) in GeV of their hadrons in the
axis frames of the partons (along +z), the set of each hadron (M,), and N."""

Velocity = Callable[[Tensor, float], Tensor]

_LARGEST_WEIGHT = 20.0
"""Bound on sigma / (1 - sigma), which has no limit where there is only noise; the gradient vanishes there."""


def girth(p4: Tensor, index: Tensor, num: int) -> Tensor:
    """Compute sum E theta / sum E of N sets, theta the angles of the hadrons to the parton in rad, (N,).

    Args:
        p4: four-momenta in GeV in the axis frame, (M, 4).
        index: the set of each hadron, (M,).
        num: N.
    """
    square = p4[:, 1] ** 2 + p4[:, 2] ** 2
    across = torch.where(square > 0, square, 1.0).sqrt() * (square > 0)
    theta = torch.atan2(across, p4[:, 3])
    of_sets = [p4.new_zeros(num).index_add(0, index, values) for values in (p4[:, 0] * theta, p4[:, 0])]
    return of_sets[0] / of_sets[1]


@dataclass(frozen=True)
class Guidance:
    """An observable and how strongly it counts.

    Attributes:
        observable: to guide towards larger values; see :data:`Observable`.
        strength: lambda, in the inverse unit of the observable; negative for smaller values.
        candidates: latents that one is chosen of.
    """

    observable: Observable
    strength: float
    candidates: int = 4

    def choose(self, p4: Tensor, index: Tensor, rng: torch.Generator) -> Tensor:
        """Choose one of the candidates of each set, with probabilities in the ratio of exp(lambda O).

        Args:
            p4: four-momenta in GeV of samples of the candidates of N sets, one set's after another's, (M, 4).
            index: the candidate of each hadron, of N times ``candidates``, (M,).
            rng: all randomness.

        Returns:
            The numbers of the chosen candidates, (N,).
        """
        num = int(index[-1]) + 1
        values = self.strength * self.observable(p4, index, num).view(-1, self.candidates)
        uniform = torch.rand(values.shape, generator=rng, dtype=values.dtype)
        # the largest of logits plus Gumbel noise is a draw from their softmax
        best = (values - (-uniform.clamp(1e-300).log()).log()).argmax(1)
        return torch.arange(len(values)) * self.candidates + best

    def of(self, velocity: Velocity, placed: Callable[[Tensor], Tensor], index: Tensor, num: int) -> Velocity:
        """Return a guided velocity.

        Args:
            velocity: of the flow.
            placed: gives four-momenta (M, 4) of data coordinates (M, 3).
            index: the set of each token, (M,).
            num: number of sets.
        """

        def guided(state: Tensor, sigma: float) -> Tensor:
            with torch.enable_grad():
                leaf = state.detach().requires_grad_()
                u = velocity(leaf, sigma)
                values = self.observable(placed(leaf - sigma * u), index, num)
                (gradient,) = torch.autograd.grad(values.sum(), leaf)
            weight = min(sigma / max(1 - sigma, 1e-9), _LARGEST_WEIGHT)
            return u.detach() - self.strength * weight * gradient.to(u.dtype)

        return guided
