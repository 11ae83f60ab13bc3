r"""DARTS: the outputs of all candidates are mixed, and the weights of the mixture are learned on validation events.

.. math:: \bar o(x) = \sum_o \mathrm{softmax}(\alpha)_o \, o(x), \quad
          \min_\alpha L_{val}(w^*(\alpha), \alpha), \quad w^*(\alpha) = \mathrm{argmin}_w L_{train}(w, \alpha)

First order takes :math:`w^* = w`. Second order takes one step,
:math:`w' = w - \xi \nabla_w L_{train}(w, \alpha)`, so that

.. math:: \nabla_\alpha L = \nabla_\alpha L_{val}(w', \alpha) - \xi
          \frac{\nabla_\alpha L_{train}(w^+, \alpha) - \nabla_\alpha L_{train}(w^-, \alpha)}{2 \epsilon}, \quad
          w^\pm = w \pm \epsilon \nabla_{w'} L_{val}(w', \alpha)

References:
    Liu, Simonyan, Yang, DARTS: differentiable architecture search, 2018, arXiv:1806.09055.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd import grad

from fastsim.blocks.problem import Combination, Problem
from fastsim.errors import PipelineError
from fastsim.search.supernet import Supernet, ranked_by


class DARTS(Supernet):
    """At each step the mixture is learned on a batch of validation events, then the weights on one of training events.

    Args:
        problem: its chain has the choices; it is trained.
        num_steps: steps of the training.
        learning_rate: of the weights, highest.
        alpha_rate: learning rate of the mixture (Adam).
        order: 1 or 2.
    """

    name: ClassVar[str] = "darts"

    def __init__(
        self,
        problem: Problem,
        *,
        num_steps: int,
        learning_rate: float = 1e-3,
        alpha_rate: float = 1e-2,
        order: int = 1,
    ) -> None:
        if order not in (1, 2):
            raise PipelineError(f"order={order}: DARTS is of order 1 or 2")
        super().__init__(problem, num_steps=num_steps, learning_rate=learning_rate)
        self.order = order
        self.settings |= {"alpha_rate": alpha_rate, "order": order}
        self.alphas = {name: torch.zeros(len(labels), requires_grad=True) for name, labels in problem.space.items()}
        self.alpha_optimizer = torch.optim.Adam(list(self.alphas.values()), lr=alpha_rate, betas=(0.5, 0.999))

    def update(self, step: int) -> None:
        """Take a step of the mixture, and one of the weights."""
        train, validation = self.problem.batch(step), self.validation_batch(step)

        def loss(batch: Any) -> Callable[[], Tensor]:
            def value() -> Tensor:
                self._mix()
                return self.loss(batch)

            return value

        alphas = list(self.alphas.values())
        if self.order == 1:
            found = list(grad(loss(validation)(), alphas))
        else:
            weights = [p for p in self.joint.parameters() if p.requires_grad]
            rate = self.optimizer.param_groups[0]["lr"]
            found = second_order_gradient(loss(train), loss(validation), weights, alphas, rate)
        for alpha, gradient in zip(alphas, found, strict=True):
            alpha.grad = gradient
        self.alpha_optimizer.step()
        self.descend(step, loss(train)())

    def _mix(self) -> None:
        for name, alpha in self.alphas.items():
            self.choices[name].path = alpha.softmax(0)

    def ranked(self) -> list[Combination]:
        """Return the candidates of the largest weights, and the combinations next to them."""
        return ranked_by(self.problem, [alpha.detach().softmax(0).tolist() for alpha in self.alphas.values()])

    def state(self) -> dict[str, Any]:
        """Return the mixture and its optimiser."""
        alphas = {name: alpha.detach() for name, alpha in self.alphas.items()}
        return {"alphas": alphas, "optimizer": self.alpha_optimizer.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take the mixture and its optimiser."""
        for name, alpha in state["alphas"].items():
            self.alphas[name].data.copy_(alpha)
        self.alpha_optimizer.load_state_dict(state["optimizer"])


def second_order_gradient(
    train_loss: Callable[[], Tensor],
    validation_loss: Callable[[], Tensor],
    weights: Sequence[Tensor],
    alphas: Sequence[Tensor],
    rate: float,
) -> list[Tensor]:
    """Compute the gradient of the validation loss by alpha, through one step of the weights down the training loss.

    Args:
        train_loss: computes the training loss of the weights and alphas as they are.
        validation_loss: computes the validation loss.
        weights: changed meanwhile, and put back.
        alphas: what the gradient is by.
        rate: xi, the learning rate of the step.
    """

    def gradients(loss: Tensor, by: Sequence[Tensor]) -> list[Tensor]:
        found = grad(loss, by, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for p, g in zip(by, found, strict=True)]

    saved = [p.detach().clone() for p in weights]

    def shift(by: Sequence[Tensor], factor: float) -> None:
        with torch.no_grad():
            for parameter, value, direction in zip(weights, saved, by, strict=True):
                parameter.copy_(value + factor * direction)

    shift(gradients(train_loss(), weights), -rate)
    both = gradients(validation_loss(), [*weights, *alphas])
    by_weights, by_alphas = both[: len(weights)], both[len(weights) :]
    size = torch.sqrt(sum((g.square().sum() for g in by_weights), torch.zeros(())))
    epsilon = 0.01 / float(size.clamp_min(1e-12))
    shift(by_weights, epsilon)
    above = gradients(train_loss(), alphas)
    shift(by_weights, -epsilon)
    below = gradients(train_loss(), alphas)
    shift(by_weights, 0.0)
    return [g - rate * (a - b) / (2 * epsilon) for g, a, b in zip(by_alphas, above, below, strict=True)]
