"""Fisher scoring, for weights whose effect is lost in the noise of small steps.

What a parameter of tunes changes is a few thousandths of the log-density of a set. A network depends on it through one
vector W, which the parameter's value x adds to the result of the first layer as x W. With the derivatives J of the
log-density by that result, a whole sample gives

    gradient = sum x J,    Fisher information F = sum x^2 J J^T,    W <- W + (F + ridge)^-1 gradient,

a regression with as many unknowns as the layer is wide, whose noise the ridge bounds.

References:
    Amari, Natural gradient works efficiently in learning, Neural Computation 10, 251, 1998.
    Hoerl, Kennard, Ridge regression: biased estimation for nonorthogonal problems, Technometrics 12, 55, 1970.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Caught = dict[nn.Module, tuple[Tensor, Tensor]]
"""Of layers, what they were given in some columns, and what they made of all, which a gradient goes back to."""


@dataclass(frozen=True)
class Scoring:
    """How weights are fitted.

    Attributes:
        rounds: steps at most; a step that does not make held-out sets more likely is not made, and is the last.
        ridges: what is tried in each step, in units of the mean eigenvalue of the Fisher information.
    """

    rounds: int = 3
    ridges: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)


def solved(
    information: Tensor, gradient: Tensor, ridge: float, least: float = torch.finfo(torch.float64).tiny
) -> Tensor:
    """Return (F + ridge <F> + least)^-1 g, (..., W), with the mean eigenvalues <F> of informations F (..., W, W)."""
    size = gradient.shape[-1]
    scale = ridge * information.diagonal(dim1=-2, dim2=-1).mean(-1) + least
    damped = information + scale[..., None, None] * torch.eye(size, dtype=information.dtype)
    solution: Tensor = torch.linalg.solve(damped, gradient)
    return solution


@contextmanager
def catching(layers: Sequence[nn.Linear], columns: int | Tensor) -> Iterator[Caught]:
    """Keep the last inputs and results of layers while the context lasts.

    Args:
        layers: the layers.
        columns: of their inputs, those that are kept.
    """
    caught: Caught = {}

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...], result: Tensor) -> Tensor:
        caught[layer] = inputs[0].detach()[:, columns], result.detach().requires_grad_(True)
        return caught[layer][1]

    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield caught
    finally:
        for hook in hooks:
            hook.remove()
