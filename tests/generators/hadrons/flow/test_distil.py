"""Distillation: the student starts as its teacher and learns what its few steps have to do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fastsim.errors import FastsimError
from generators.hadrons.flow.distil import Student, student_of
from generators.hadrons.flow.model import PrimaryFlow
from generators.hadrons.flow.network import SetFlow
from generators.hadrons.flow.train import FlowTraining, TrainingSet, fit_flow
from generators.hadrons.latent_model import LatentModel
from generators.hadrons.tokens import TokenSample
from generators.nn.distillation import Distillation
from generators.nn.flow_matching import integrate
from generators.training.loop import TrainingConfig
from tests.helpers.flow import CONFIG, DOMAIN, LATENT

LEVELS = (1.0, 0.5, 0.15, 0.0)
STUDENT = replace(CONFIG, levels=LEVELS, solver="euler", num_inference_steps=3)


@pytest.fixture
def teacher(model: PrimaryFlow, tmp_path: Path) -> str:
    return str(model.save(tmp_path / "teacher", version="1", training={}))


def test_a_student_learns_the_steps_of_its_teacher(
    model: PrimaryFlow, teacher: str, sample: TokenSample, tmp_path: Path
) -> None:
    student = SetFlow(STUDENT)
    loop = TrainingConfig(num_steps=60, learning_rate=2e-3, warmup=5, ema_decay=0.9, log_every=10)
    training = FlowTraining(STUDENT, batch_size=32, num_validation=20, num_validated=10, loop=loop)
    fit_flow(student, sample, replace(training, distil=Distillation(teacher)), 1, tmp_path / "run")
    batch = TrainingSet(student, sample, num_sets=len(sample), seed=2)(0)
    num = len(batch.sigma)

    def end(flow: SetFlow, levels: tuple[float, ...]) -> Tensor:
        def velocity(x: Tensor, sigma: float) -> Tensor:
            result: Tensor = flow(x, torch.full((num,), sigma), batch.conditions)
            return result

        with torch.no_grad():
            return integrate(velocity, batch.noise, levels=levels)

    truth = end(model.flow, tuple(np.linspace(1, 0, 101)))
    error, before = ((end(flow, LEVELS) - truth).square().mean() for flow in (student, model.flow))
    assert error < 0.5 * before


def test_the_loss_is_zero_for_a_path_that_is_straight(
    flow: SetFlow, sample: TokenSample, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = TrainingSet(flow, sample, num_sets=30, seed=1)(0)
    student = SetFlow(STUDENT)
    monkeypatch.setattr(SetFlow, "forward", lambda self, x, sigma, conditions: torch.full_like(x, 0.7))
    assert float(Student(student, flow, substeps=2).loss(batch)) == pytest.approx(0.0, abs=1e-8)


def test_a_student_takes_its_own_number_of_steps() -> None:
    flow, latent = SetFlow(STUDENT), LatentModel(**LATENT)
    model = PrimaryFlow("s", DOMAIN, latent, flow, latent_config=LATENT)
    assert model.num_inference_steps == 3
    assert PrimaryFlow.build("s", DOMAIN, json.loads(json.dumps(model.config()))).flow.config == STUDENT
    with pytest.raises(FastsimError, match="num_inference_steps = 8: s was distilled to 3"):
        PrimaryFlow("s", DOMAIN, latent, flow, num_inference_steps=8)


def test_what_cannot_teach_is_refused(teacher: str) -> None:
    with pytest.raises(FastsimError, match="c: a student needs 'levels'"):
        student_of(SetFlow(CONFIG), Distillation(teacher), "c")
    with pytest.raises(FastsimError, match="c: teacher hadron-tree is a primary-tree model"):
        student_of(SetFlow(STUDENT), Distillation("hadron-tree"), "c")
    wide = replace(STUDENT, network=replace(STUDENT.network, width=64))
    with pytest.raises(FastsimError, match="c: teacher tiny has a network of other sizes"):
        student_of(SetFlow(wide), Distillation(teacher), "c")


def test_a_student_goes_on_from_its_weights_where_its_scales_are_its_teachers(model: PrimaryFlow, teacher: str) -> None:
    own = SetFlow(STUDENT)
    own.load_state_dict(model.flow.state_dict())
    with torch.no_grad():
        for weight in own.parameters():
            weight.add_(0.1)
    before = [weight.clone() for weight in own.parameters()]
    student = student_of(own, Distillation(teacher), "c", further=True)
    assert all(map(torch.equal, student.flow.parameters(), before))
    with torch.no_grad():
        next(own.buffers()).add_(0.1)
    with pytest.raises(FastsimError, match="c: teacher tiny has other scales than the student: distil anew"):
        student_of(own, Distillation(teacher), "c", further=True)


@pytest.mark.parametrize("levels", [(1.0,), (0.9, 0.0), (1.0, 0.5), (1.0, 0.5, 0.5, 0.0)])
def test_levels_fall_from_one_to_zero(levels: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="noise levels fall from 1 to 0"):
        integrate(lambda x, sigma: x, torch.zeros(1, 1), levels=levels)
