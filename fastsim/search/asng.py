r"""ASNG-NAS: weights and the distribution of the choices are updated together, the latter along its natural gradient.

With one-hot :math:`c_i` drawn from categorical distributions of probabilities :math:`\theta`, and utilities
:math:`u_i` from the order of their losses,

.. math:: G = \frac{1}{\lambda} \sum_i u_i \, (c_i - \theta), \quad
          \theta \leftarrow \theta + \frac{\epsilon_\theta}{\lVert G \rVert_F} G

where :math:`\lVert \cdot \rVert_F` is the norm by the Fisher matrix. The trust region :math:`\epsilon_\theta =
\delta_\theta` shrinks when the direction of the gradient is mostly noise, and grows when it lasts.

References:
    Akimoto et al., Adaptive stochastic natural gradient method for one-shot neural architecture search, 2019,
    arXiv:1905.08537.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from fastsim.blocks.problem import Combination, Problem
from fastsim.search.supernet import Supernet, labels_of, ranked_by

Floats = NDArray[np.float64]


class CategoricalASNG:
    """Categorical distributions that follow the adaptive stochastic natural gradient.

    Args:
        sizes: the number of categories of each variable.
        alpha: how much of the gradient's length has to be signal for the trust region to grow.
        initial: the trust region at the start.
        largest: the trust region at most.
    """

    def __init__(
        self, sizes: Sequence[int], *, alpha: float = 1.5, initial: float = 1.0, largest: float = np.inf
    ) -> None:
        self.sizes = list(sizes)
        self.theta: list[Floats] = [np.full(size, 1.0 / size) for size in sizes]
        self.dimension = sum(size - 1 for size in sizes)
        self.alpha, self.largest = alpha, largest
        self.delta = initial
        self.signal = np.zeros(sum(sizes))
        self.gamma = 0.0
        # no category dies out: a probability keeps room for one draw in as many steps as the space has dimensions
        self.smallest = [1.0 / (max(self.dimension, 1) * max(size - 1, 1)) for size in sizes]
        self.smallest = [min(low, 0.5 / size) for low, size in zip(self.smallest, sizes, strict=True)]

    def draw(self, rng: np.random.Generator) -> list[int]:
        """Draw a category of each variable."""
        return [int(rng.choice(len(theta), p=theta)) for theta in self.theta]

    def update(self, drawn: Sequence[Sequence[int]], losses: Sequence[float]) -> None:
        """Move towards the drawn categories of small losses.

        Args:
            drawn: the categories of each sample.
            losses: of each sample, less is better; only their order counts.
        """
        order = np.argsort(np.argsort(losses, kind="stable"), kind="stable")
        num = len(losses)
        quarter = max(1, num // 4)
        utilities = np.where(order < quarter, 1.0, np.where(order >= num - quarter, -1.0, 0.0))
        if len(set(losses)) == 1:
            utilities = np.zeros(num)
        gradient, norm_squared = [], 0.0
        scaled = []
        for variable, theta in enumerate(self.theta):
            one_hot = np.eye(len(theta))[[sample[variable] for sample in drawn]]
            step = (utilities[:, None] * (one_hot - theta)).mean(0)
            gradient.append(step)
            # Fisher norm of a categorical distribution: sum of squares over probabilities
            norm_squared += float((step**2 / theta).sum())
            scaled.append(step / np.sqrt(theta))
        norm = np.sqrt(norm_squared) + 1e-12
        if norm_squared == 0.0:
            return
        epsilon = self.delta
        for variable, step in enumerate(gradient):
            self.theta[variable] = self._inside(variable, self.theta[variable] + epsilon * step / norm)
        # the running sum of normalised gradients tells signal from noise
        beta = min(self.delta / np.sqrt(self.dimension), 1.0)
        self.signal = (1 - beta) * self.signal + np.sqrt(beta * (2 - beta)) * np.concatenate(scaled) / norm
        self.gamma = float((1 - beta) ** 2 * self.gamma + beta * (2 - beta))
        grown = np.exp(beta * (float(self.signal @ self.signal) / self.alpha - self.gamma))
        self.delta = float(min(self.delta * grown, self.largest, np.sqrt(self.dimension)))

    def _inside(self, variable: int, theta: Floats) -> Floats:
        """Return probabilities that add up to one and are none too small."""
        low = self.smallest[variable]
        theta = np.maximum(theta, low)
        above = theta - low
        result: Floats = low + above * (1.0 - low * len(theta)) / above.sum()
        return result

    def most_likely(self) -> list[int]:
        """Return the category of the highest probability of each variable."""
        return [int(theta.argmax()) for theta in self.theta]


class ASNG(Supernet):
    """At each step two paths are drawn: both are trained, and the figure of merit of others moves the distribution.

    The order of two paths on one batch of validation events is mostly chance where candidates differ little, and before
    they are trained it says which one learns first. So the distribution stays uniform for a while, and moves on larger
    batches.

    Args:
        problem: its chain has the choices; it is trained.
        num_steps: steps of the training.
        learning_rate: of the weights, highest.
        warm_up: share of the steps in which the distribution stays as it is.
        evaluation_size: validation events that two paths are compared on.
    """

    name: ClassVar[str] = "asng"
    SAMPLES: ClassVar[int] = 2

    def __init__(
        self,
        problem: Problem,
        *,
        num_steps: int,
        learning_rate: float = 1e-3,
        warm_up: float = 0.5,
        evaluation_size: int = 2048,
    ) -> None:
        super().__init__(problem, num_steps=num_steps, learning_rate=learning_rate)
        self.distribution = CategoricalASNG([len(labels) for labels in problem.space.values()])
        self.warm_up, self.evaluation_size = warm_up, evaluation_size
        self.settings |= {"warm_up": warm_up, "evaluation_size": evaluation_size}

    def update(self, step: int) -> None:
        """Train the drawn paths on one batch, then compare others on a batch of validation events."""
        rng = self.rng(step)
        total = torch.zeros(())
        batch = self.problem.batch(step)
        for _ in range(self.SAMPLES):
            self.set_path(labels_of(self.problem, self.distribution.draw(rng)))
            total = total + self.loss(batch) / self.SAMPLES
        self.descend(step, total)
        if step < self.warm_up * self.num_steps:
            return
        drawn = [self.distribution.draw(rng) for _ in range(self.SAMPLES)]
        losses, batch = [], self.validation_batch(step, self.evaluation_size)
        with torch.no_grad():
            for rows in drawn:
                self.set_path(labels_of(self.problem, rows))
                figure = self.problem.figure
                value = float(figure(self.problem.chain(batch.clone(recurse=False))))
                losses.append(-value if figure.rises else value)
        self.distribution.update(drawn, losses)

    def ranked(self) -> list[Combination]:
        """Return the most likely combination, and those next to it."""
        return ranked_by(self.problem, [theta.tolist() for theta in self.distribution.theta])

    def state(self) -> dict[str, Any]:
        """Return the distribution."""
        d = self.distribution
        return {
            "theta": [torch.from_numpy(theta) for theta in d.theta],
            "delta": d.delta,
            "signal": torch.from_numpy(d.signal),
            "gamma": d.gamma,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take the distribution."""
        d = self.distribution
        d.theta = [theta.numpy() for theta in state["theta"]]
        d.delta, d.gamma, d.signal = state["delta"], state["gamma"], state["signal"].numpy()
