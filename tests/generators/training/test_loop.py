"""The training loop: learns, resumes to the same weights, keeps the best average."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from generators.training.loop import FitResult, TrainingConfig, fit


class Line(nn.Module):
    """Least squares on y = 3 x - 1."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.hidden = nn.Linear(1, 32)
        self.middle = nn.Linear(32, 32)
        self.out = nn.Linear(32, 1)

    def loss(self, batch: Tensor) -> dict[str, Tensor]:
        x = self.middle(torch.tanh(self.hidden(batch)))
        error = self.out(torch.tanh(x)) - (3 * batch - 1)
        return {"loss": (error**2).mean(), "bias": error.mean()}


def batches(step: int) -> Tensor:
    return torch.randn(64, 1, generator=torch.Generator().manual_seed(step))


class Killed(Exception):
    pass


def killed_at(last: int) -> Any:
    def give(step: int) -> Tensor:
        if step == last:
            raise Killed
        return batches(step)

    return give


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_loss_falls(tmp_path: Path, optimizer: Any, precision: Any) -> None:
    config = TrainingConfig(200, learning_rate=1e-2, warmup=20, precision=precision, optimizer=optimizer, log_every=10)
    model = Line()
    before = float(model.loss(batches(10_000))["loss"].detach())
    assert fit(model, batches, config, tmp_path) == FitResult(200, None, None)
    assert float(model.loss(batches(10_000))["loss"].detach()) < 0.05 * before
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert {row["name"] for row in rows} == {"loss", "bias", "grad_norm", "steps_per_second"}
    assert [int(row["step"]) for row in rows if row["name"] == "loss"] == list(range(10, 201, 10))
    assert list(tmp_path.glob("events.out.tfevents*"))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_resume_after_a_kill_gives_the_same_weights(tmp_path: Path, optimizer: Any) -> None:
    config = TrainingConfig(60, warmup=5, checkpoint_every=20, log_every=10, optimizer=optimizer)
    whole, broken = Line(), Line()
    fit(whole, batches, config, tmp_path / "whole")
    with pytest.raises(Killed):
        fit(broken, killed_at(47), config, tmp_path / "broken")
    resumed = Line()
    fit(resumed, batches, config, tmp_path / "broken")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    steps = [int(r["step"]) for r in csv.DictReader((tmp_path / "broken" / "log.csv").open()) if r["name"] == "loss"]
    assert steps == [10, 20, 30, 40, 50, 60]
    assert not list(tmp_path.rglob("*.part"))


def test_best_average_is_kept(tmp_path: Path) -> None:
    seen: list[tuple[float, dict[str, Tensor]]] = []

    def validate(model: nn.Module) -> dict[str, float]:
        figure = {0: 3.0, 1: 1.0, 2: 2.0}[len(seen)]
        seen.append((figure, {k: v.clone() for k, v in model.state_dict().items()}))
        return {"distance": figure}

    model = Line()
    config = TrainingConfig(30, validate_every=10)
    assert fit(model, batches, config, tmp_path, validate=validate, select="distance") == FitResult(30, 20, 1.0)
    for name, value in seen[1][1].items():
        assert torch.equal(value, model.state_dict()[name])
    with pytest.raises(ValueError, match="no figure 'mass' in the validation: it has distance"):
        fit(Line(), batches, config, tmp_path / "other", validate=lambda m: {"distance": 0.0}, select="mass")


def test_time_budget_stops_at_a_checkpoint(tmp_path: Path) -> None:
    assert fit(Line(), batches, TrainingConfig(50, max_minutes=0.0), tmp_path).step == 1
    assert fit(Line(), batches, TrainingConfig(50), tmp_path).step == 50


def test_schedule_is_flat_then_falls_to_zero() -> None:
    config = TrainingConfig(1000, warmup=100, decay_fraction=0.2)
    assert config.rate(49) == 0.5
    assert config.rate(100) == config.rate(799) == 1.0
    assert config.rate(900) == pytest.approx(0.5)
    assert config.rate(1000) == 0.0
    longer = TrainingConfig(2000, warmup=100, decay_fraction=0.2)
    assert all(config.rate(step) == longer.rate(step) for step in range(800))


def test_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="loss is nan at step 0"):
        fit(Line(), lambda step: torch.full((4, 1), math.nan), TrainingConfig(10), tmp_path)


def test_a_training_says_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fastsim.cli.progress import training_notes

    config = TrainingConfig(40, warmup=5, log_every=10, validate_every=20)
    with training_notes():
        fit(Line(), batches, config, tmp_path / "latent", validate=lambda _: {"nll": 1.25})
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"fastsim: latent: step 10 of 40, loss [\d.]+, [\d.e+]+ steps/s, \d+ s left", lines[0])
    assert lines[1:] == [f"fastsim: latent: validation at step {step}: nll 1.25" for step in (20, 40)], (
        "in a log a line a minute, and every validation"
    )
