r"""Distillation of a flow to few evaluations: one step of the student does what many steps of its teacher do.

The noise levels :math:`1 = \sigma_0 > \dots > \sigma_K = 0` are those between the steps of the student. It starts as a
copy of the teacher, and learns at :math:`\sigma_k` the mean velocity of the teacher's path to :math:`\sigma_{k+1}`,

.. math:: u(x_{\sigma_k}, \sigma_k) = \frac{x_{\sigma_k} - x_{\sigma_{k+1}}}{\sigma_k - \sigma_{k+1}},

from noisy data :math:`x_{\sigma_k}`, so that windows are learned apart, without passing errors on. A map that is
deterministic is learned here, where the teacher learned a mean: narrow features stay narrow.

References:
    Yan et al., PeRFlow: piecewise rectified flow, 2024, arXiv:2405.07510.
    Salimans, Ho, Progressive distillation for fast sampling of diffusion models, 2022, arXiv:2202.00512.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fastsim.errors import FastsimError
from generators.hadrons.flow.network import Conditions, FlowBatch, SetFlow, weighted_error
from generators.nn.flow_matching import interpolate


@dataclass(frozen=True)
class Distillation:
    """Where a student learns from.

    Attributes:
        teacher: name or card of a diffusion model of the same sizes.
        substeps: steps of the teacher's path within one of the student, each two evaluations.
    """

    teacher: str
    substeps: int = 2


class Student(nn.Module):
    """A flow that learns from a teacher: the module that a training loop is given.

    Args:
        flow: the student, whose config has its noise levels.
        teacher: the teacher, whose weights stay as they are.
        substeps: see :class:`Distillation`.
    """

    def __init__(self, flow: SetFlow, teacher: SetFlow, substeps: int) -> None:
        super().__init__()
        self.flow, self.substeps = flow, substeps
        self._teacher = [teacher]  # in a list: not a part of this module, and so of no checkpoint

    def loss(self, batch: FlowBatch) -> Tensor:
        """Compute the weighted squared error of the mean velocities over the student's steps.

        The step of each set is the one that its noise level in ``batch`` falls into.
        """
        levels = batch.x.new_tensor(self.flow.config.levels)
        step = (batch.sigma[:, None] <= levels[:-1]).sum(1) - 1
        start, end = levels[step], levels[step + 1]
        index = batch.conditions.layout.index
        x = interpolate(batch.x, batch.noise, start[index, None])
        with torch.no_grad():
            target = (x - self._path(x, start, end, batch.conditions)) / (start - end)[index, None]
        return weighted_error(
            self.flow(x, start, batch.conditions) - target, batch.conditions.layout, self.flow.config.length_power
        )

    def _path(self, x: Tensor, start: Tensor, end: Tensor, conditions: Conditions) -> Tensor:
        """Follow the teacher from states x (T, 3) at noise levels ``start`` (N,) to ``end`` (N,), by midpoint steps."""
        (teacher,), index = self._teacher, conditions.layout.index
        for number in range(self.substeps):
            # even steps of the square root: closer together near the data, where paths bend
            here, there = (torch.lerp(start.sqrt(), end.sqrt(), (number + k) / self.substeps).square() for k in (0, 1))
            middle = (here + there) / 2
            half = x + (middle - here)[index, None] * teacher(x, here, conditions)
            x = x + (there - here)[index, None] * teacher(half, middle, conditions)
        return x


def student_of(flow: SetFlow, distillation: Distillation, where: str | Path, *, further: bool = False) -> Student:
    """Return a student that starts as a copy of its teacher, or goes on from the weights that it has.

    Args:
        flow: of the student.
        distillation: names the teacher.
        where: file and section for messages.
        further: whether the student keeps its weights, when its teacher has learned more since.

    Raises:
        FastsimError: if the teacher is no diffusion model of primary hadrons, or one of other sizes or other scales
            than a student with weights, or the student has no noise levels.
    """
    from fastsim.sources import cards
    from generators.hadrons.flow.model import PrimaryFlow

    if not flow.config.levels:
        raise FastsimError(f"{where}: a student needs 'levels' in its flow, the noise levels between its steps")
    card, weights = cards.load(distillation.teacher)
    if card.kind != PrimaryFlow.kind:
        raise FastsimError(f"{where}: teacher {card.name} is a {card.kind} model, not {PrimaryFlow.kind}")
    teacher = PrimaryFlow.from_card(card, weights).flow
    if teacher.config.network != flow.config.network:
        raise FastsimError(f"{where}: teacher {card.name} has a network of other sizes: {teacher.config.network}")
    if teacher.config.levels:
        raise FastsimError(f"{where}: teacher {card.name} is a student itself")
    if not further:
        flow.load_state_dict(teacher.state_dict())
    elif any(not torch.equal(own, of) for own, of in zip(flow.buffers(), teacher.buffers(), strict=True)):
        raise FastsimError(
            f"{where}: teacher {card.name} has other scales than the student: distil anew, without 'init'"
        )
    return Student(flow, teacher.requires_grad_(False), distillation.substeps)
