"""What a student of a flow learns: the mean velocity of its teacher's path over one of its steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fastsim.errors import FastsimError
from generators.nn.distillation import adopt, mean_velocity, window
from generators.nn.flow_matching import euler_steps, integrate

WIDTH = 0.3


def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
    """The exact velocity of a Gaussian of width 0.3, at noise levels that are multiplied with states."""
    signal = 1 - sigma
    velocity: Tensor = (sigma - signal * WIDTH**2) / (signal**2 * WIDTH**2 + sigma**2) * x
    return velocity


def spread(level: Tensor) -> Tensor:
    return level[:, None]


def test_noise_levels_fall_into_the_steps_that_start_at_or_above_them() -> None:
    start, end = window(torch.tensor([1.0, 0.71, 0.7, 0.2, 0.15, 0.05]), (1.0, 0.7, 0.15))
    torch.testing.assert_close(start, torch.tensor([1.0, 1.0, 0.7, 0.7, 0.7, 0.7]))
    torch.testing.assert_close(end, torch.tensor([0.7, 0.7, 0.15, 0.15, 0.15, 0.15]))


def test_the_mean_velocity_leads_where_the_path_does() -> None:
    """A Gaussian's path is known: x keeps its place in units of the width at each noise level."""
    x, start, end = torch.randn(50, 4), torch.full((50,), 1.0), torch.linspace(0.1, 0.6, 50)
    exact = x * spread(((1 - end) ** 2 * WIDTH**2 + end**2).sqrt())
    errors = []
    for substeps in (1, 4, 16):
        u = mean_velocity(lambda y, s: gaussian(y, spread(s)), x, start, end, substeps=substeps, spread=spread)
        errors.append(float((x - spread(start - end) * u - exact).abs().max()))
    assert errors[2] < 1e-3 < errors[0] and errors[2] < 0.1 * errors[1] < 0.1 * errors[0]


def test_steps_of_a_student_stop_where_its_levels_do() -> None:
    """Mean velocities known exactly are followed to the level above 0, without the error of Euler's steps."""
    x, levels = torch.randn(50, 4), (1.0, 0.5, 0.15)

    def exact(y: Tensor, sigma: float) -> Tensor:
        end = levels[levels.index(sigma) + 1]
        here, there = (float(((1 - s) ** 2 * WIDTH**2 + s**2) ** 0.5) for s in (sigma, end))
        return y * ((1 - there / here) / (sigma - end))

    wanted = x * ((0.85 * WIDTH) ** 2 + 0.15**2) ** 0.5
    torch.testing.assert_close(integrate(exact, x, levels=levels, last=0.15), wanted, rtol=1e-4, atol=1e-5)
    assert [step.sigma for step in euler_steps(levels)] == [1.0, 0.5]
    with pytest.raises(ValueError, match=r"noise levels fall from 1 to 0\.15"):
        integrate(exact, x, levels=(1.0, 0.5, 0.2), last=0.15)


def test_a_student_starts_as_its_teacher_or_has_its_scales() -> None:
    student, teacher = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    with torch.no_grad():
        teacher.weight.mul_(2.0)
        teacher.running_mean.add_(1.0)  # type: ignore[union-attr]
    with pytest.raises(FastsimError, match=r"c\.json: teacher t has other scales than the student"):
        adopt(student, teacher, "t", "c.json", further=True)
    adopt(student, teacher, "t", "c.json", further=False)
    torch.testing.assert_close(student.weight, teacher.weight)
    assert student.weight.requires_grad and not teacher.weight.requires_grad
    with torch.no_grad():
        student.weight.add_(1.0)
    adopt(student, teacher, "t", "c.json", further=True)
    torch.testing.assert_close(student.weight, torch.full((3,), 3.0))
