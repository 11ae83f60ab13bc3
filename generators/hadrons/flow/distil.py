"""Distillation of the hadrons' flow to few evaluations: see :mod:`generators.nn.distillation`."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from fastsim.errors import FastsimError
from generators.hadrons.flow.network import FlowBatch, SetFlow, weighted_error
from generators.nn.distillation import Distillation, adopt, mean_velocity, window
from generators.nn.flow_matching import interpolate


class Student(nn.Module):
    """A flow that learns from a teacher: the module that a training loop is given.

    Args:
        flow: the student, whose config has its noise levels.
        teacher: the teacher, whose weights stay as they are.
        substeps: see :class:`~generators.nn.distillation.Distillation`.
    """

    def __init__(self, flow: SetFlow, teacher: SetFlow, substeps: int) -> None:
        super().__init__()
        self.flow, self.substeps = flow, substeps
        self._teacher = [teacher]  # in a list: not a part of this module, and so of no checkpoint

    def loss(self, batch: FlowBatch) -> Tensor:
        """Compute the weighted squared error of the mean velocities over the student's steps.

        The step of each set is the one that its noise level in ``batch`` falls into.
        """
        (teacher,), conditions = self._teacher, batch.conditions
        index = conditions.layout.index
        start, end = window(batch.sigma, self.flow.config.levels)
        x = interpolate(batch.x, batch.noise, start[index, None])
        target = mean_velocity(
            lambda y, sigma: teacher(y, sigma, conditions),
            x,
            start,
            end,
            substeps=self.substeps,
            spread=lambda value: value[index, None],
        )
        error = self.flow(x, start, conditions) - target
        return weighted_error(error, conditions.layout, self.flow.config.length_power)


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
    adopt(flow, teacher, card.name, where, further=further)
    return Student(flow, teacher, distillation.substeps)
