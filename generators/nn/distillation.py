r"""Distillation of a flow to few evaluations: one step of the student does what many steps of its teacher do.

The noise levels :math:`1 = \sigma_0 > \dots > \sigma_K` are those between the steps of the student. It starts as a copy
of the teacher, and learns at :math:`\sigma_k` the mean velocity of the teacher's path to :math:`\sigma_{k+1}`,

.. math:: u(x_{\sigma_k}, \sigma_k) = \frac{x_{\sigma_k} - x_{\sigma_{k+1}}}{\sigma_k - \sigma_{k+1}},

from noisy data :math:`x_{\sigma_k}`, so that windows are learned apart, without passing errors on. A map that is
deterministic is learned here, where the teacher learned a mean: narrow features stay narrow.

References:
    Yan et al., PeRFlow: piecewise rectified flow, 2024, arXiv:2405.07510.
    Salimans, Ho, Progressive distillation for fast sampling of diffusion models, 2022, arXiv:2202.00512.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fastsim.errors import FastsimError

Velocity = Callable[[Tensor, Tensor], Tensor]
"""Velocities of states x, at the noise levels (N,) of their N sets or showers."""
Spread = Callable[[Tensor], Tensor]
"""Gives values (N,) the shape in which they are multiplied with states."""


@dataclass(frozen=True)
class Distillation:
    """Where a student learns from.

    Attributes:
        teacher: name or card of a diffusion model of the same sizes.
        substeps: steps of the teacher's path within one of the student, each two evaluations.
    """

    teacher: str
    substeps: int = 2


def window(sigma: Tensor, levels: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Find the steps of a student that noise levels (N,) fall into: where they start and end, (N,) each.

    >>> window(torch.tensor([0.7, 0.5, 0.1]), [1.0, 0.5, 0.2])
    (tensor([1.0000, 0.5000, 0.5000]), tensor([0.5000, 0.2000, 0.2000]))
    """
    edges = sigma.new_tensor(levels)
    step = (sigma[:, None] <= edges[:-1]).sum(1) - 1
    return edges[step], edges[step + 1]


@torch.no_grad()
def mean_velocity(teacher: Velocity, x: Tensor, start: Tensor, end: Tensor, *, substeps: int, spread: Spread) -> Tensor:
    """Compute the mean velocity of a teacher's path from states x at noise levels ``start`` (N,) to ``end`` (N,).

    Args:
        teacher: gives velocities.
        x: states of N sets or showers.
        start, end: noise levels.
        substeps: midpoint steps.
        spread: gives noise levels the shape of states.
    """
    y = x
    for number in range(substeps):
        # even steps of the square root: closer together near the data, where paths bend
        here, there = (torch.lerp(start.sqrt(), end.sqrt(), (number + k) / substeps).square() for k in (0, 1))
        middle = (here + there) / 2
        half = y + spread(middle - here) * teacher(y, here)
        y = y + spread(there - here) * teacher(half, middle)
    return (x - y) / spread(start - end)


def adopt(student: nn.Module, teacher: nn.Module, name: str, where: str | Path, *, further: bool) -> None:
    """Let a student start as a copy of its teacher, or go on from the weights that it has.

    Args:
        student: of the teacher's sizes.
        teacher: whose weights stay as they are from now on.
        name: of the teacher, for messages.
        where: file and section for messages.
        further: whether the student keeps its weights, when its teacher has learned more since.

    Raises:
        FastsimError: if a student with weights has other scales than the teacher.
    """
    teacher.requires_grad_(False)
    if not further:
        student.load_state_dict(teacher.state_dict())
    elif any(not torch.equal(own, of) for own, of in zip(student.buffers(), teacher.buffers(), strict=True)):
        raise FastsimError(f"{where}: teacher {name} has other scales than the student: distil anew, without 'init'")
