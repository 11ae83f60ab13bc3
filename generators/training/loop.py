"""One training loop for every model: average of the weights, schedule, exact resume, logs, best checkpoint.

The folder of a run holds ``checkpoint.pt`` (weights, their average, optimisers, step), ``best.pt`` (the averaged
weights with the best validation value), ``log.csv`` with a row (step, minutes, name, value) for each figure, and
TensorBoard events.

References:
    Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024.
    Liu et al., Muon is scalable for LLM training, 2025, arXiv:2502.16982.
"""

from __future__ import annotations

import copy
import csv
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

_log = logging.getLogger(__name__)
"""Says at level INFO where a training is: a line every ``log_every`` steps (attribute ``often``), and validations."""

Validate = Callable[[nn.Module], Mapping[str, float]]


@dataclass(frozen=True)
class TrainingConfig:
    """How long and how fast to train.

    The learning rate rises linearly over ``warmup`` steps, stays, and falls by a half cosine to zero over the last
    ``decay_fraction`` of ``num_steps`` (1: the usual cosine). A run whose rate is still flat may be resumed with
    another ``num_steps``.

    Attributes:
        num_steps: length of the training.
        learning_rate: the highest.
        warmup: steps in which the rate rises.
        decay_fraction: of the steps, in which the rate falls.
        ema_decay: weight of the past in the exponential moving average of the weights.
        grad_clip: largest norm of the gradient.
        weight_decay: of all parameters.
        log_every: steps between rows of the log.
        checkpoint_every: steps between checkpoints.
        validate_every: steps between validations; 0: at the end only.
        precision: of the loss; "bfloat16" runs it under autocast.
        optimizer: "muon" orthogonalises the updates of weight matrices (Jordan et al. 2024) and leaves vectors and
            tables to AdamW.
        max_minutes: ends a run early, at a checkpoint, without changing the schedule.
    """

    num_steps: int
    learning_rate: float = 1e-3
    warmup: int = 200
    decay_fraction: float = 1.0
    ema_decay: float = 0.999
    grad_clip: float = 1.0
    weight_decay: float = 0.0
    log_every: int = 50
    checkpoint_every: int = 1000
    validate_every: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    optimizer: Literal["adamw", "muon"] = "adamw"
    max_minutes: float | None = None

    def rate(self, step: int) -> float:
        """Return the learning rate of a step over the highest.

        >>> TrainingConfig(num_steps=100, warmup=10).rate(4), TrainingConfig(num_steps=100, warmup=10).rate(100)
        (0.5, 0.0)
        """
        start = max(self.warmup, self.num_steps * (1.0 - self.decay_fraction))
        if step < start:
            return min(1.0, (step + 1) / max(self.warmup, 1))
        progress = min(1.0, (step - start) / max(self.num_steps - start, 1))
        return 0.5 * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class FitResult:
    """Where a run ended: its last step, and the step and value of its best validation (None without one)."""

    step: int
    best_step: int | None
    best_value: float | None


def write_atomically(value: Any, path: Path) -> None:
    """Save a value with ``torch.save`` under a temporary name, then rename it: a kill leaves the old file whole."""
    temporary = path.with_suffix(path.suffix + ".part")
    torch.save(value, temporary)
    os.replace(temporary, path)


class _Log:
    """The log of a run as CSV and for TensorBoard; rows after ``step``, the last checkpoint, are dropped."""

    def __init__(self, run_dir: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:  # the extra "train" is not installed: the CSV has it all
            board = None
        else:
            board = SummaryWriter(str(run_dir), purge_step=step + 1)
        path = run_dir / "log.csv"
        rows = []
        if path.exists():
            with path.open(newline="") as file:
                rows = [row for row in list(csv.reader(file))[1:] if len(row) == 4 and int(row[0]) <= step]
        self._minutes = float(rows[-1][1]) if rows else 0.0
        self._start = time.monotonic()
        self._file = path.open("w", newline="")
        self._csv = csv.writer(self._file)
        self._csv.writerows([["step", "minutes", "name", "value"], *rows])
        self._board = board

    @property
    def minutes(self) -> float:
        """Minutes of training so far, those of resumed runs included."""
        return self._minutes + (time.monotonic() - self._start) / 60.0

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write the figures of a step."""
        for name, value in values.items():
            self._csv.writerow([step, f"{self.minutes:.3f}", name, f"{value:.6g}"])
            if self._board is not None:
                self._board.add_scalar(name, value, step)
        self._file.flush()

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def _duration(seconds: float) -> str:
    """Write a time in the unit that suits it.

    >>> _duration(40.2), _duration(600), _duration(3 * 3600)
    ('40 s', '10 min', '3.0 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _optimizers(model: nn.Module, config: TrainingConfig) -> list[torch.optim.Optimizer]:
    """Make the optimisers, which share the trainable parameters."""
    matrices = {
        f"{name}.weight" if name else "weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and min(module.weight.shape) >= 32
    }
    muon = [p for n, p in model.named_parameters() if config.optimizer == "muon" and n in matrices]
    chosen = {id(p) for p in muon}
    rest = [p for p in model.parameters() if id(p) not in chosen and p.requires_grad]
    lr, decay = config.learning_rate, config.weight_decay
    optimizers: list[torch.optim.Optimizer] = []
    if rest:
        optimizers.append(torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.99), weight_decay=decay))
    if muon:
        # "match_rms_adamw" scales the orthogonal update so that AdamW's learning rates carry over (Liu et al. 2025)
        optimizers.append(torch.optim.Muon(muon, lr=lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    return optimizers


def _loss(model: nn.Module, batch: Any, precision: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the loss of a batch, and other figures to log."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        result = model.loss(batch)  # type: ignore[operator]
    if isinstance(result, Tensor):
        return result, {}
    return result["loss"], {k: v.detach() for k, v in result.items() if k != "loss"}


def fit(
    model: nn.Module,
    batches: Callable[[int], Any],
    config: TrainingConfig,
    run_dir: str | Path,
    *,
    validate: Validate | None = None,
    select: str = "",
) -> FitResult:
    """Train a model, and leave it with its best averaged weights, in evaluation mode.

    The same arguments give the same weights whether or not the run was killed and started once more in ``run_dir``.

    Args:
        model: a module with ``loss(batch)`` returning a scalar, or a dict with the scalar "loss" and others to log.
            The loss must be a function of the batch: draw noise in ``batches``.
        batches: the batch of a step, a function of the step number only.
        config: length, rates, precision.
        run_dir: folder for checkpoints and logs; a run in it is resumed.
        validate: figures of the averaged model, called every ``validate_every`` steps and at the end.
        select: the validation figure to minimise; without it the last averaged weights are kept.

    Raises:
        ValueError: if the loss is not finite, or ``select`` is not among the validation figures.
    """
    folder = Path(run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, best_file = folder / "checkpoint.pt", folder / "best.pt"
    parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
    average = copy.deepcopy(model).eval().requires_grad_(False)
    trained = zip(average.parameters(), model.parameters(), strict=True)
    averaged: list[Tensor] = [mean for mean, parameter in trained if parameter.requires_grad]
    optimizers = _optimizers(model, config)
    step, best_step, best_value = 0, -1, math.inf
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        step, best_step, best_value = state["step"], state["best_step"], state["best_value"]

    def save() -> None:
        write_atomically(
            {
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                "step": step,
                "best_step": best_step,
                "best_value": best_value,
            },
            checkpoint,
        )

    log = _Log(folder, step)
    since, losses = time.monotonic(), 0.0
    model.train()
    try:
        while step < config.num_steps:
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = config.learning_rate * config.rate(step)
                optimizer.zero_grad(set_to_none=True)
            loss, parts = _loss(model, batches(step), config.precision)
            loss.backward()  # type: ignore[no-untyped-call]
            norm = nn.utils.clip_grad_norm_(parameters, config.grad_clip)
            if not math.isfinite(value := loss.detach().item()):
                raise ValueError(f"loss is {value} at step {step} of {folder}: lower learning_rate")
            for optimizer in optimizers:
                optimizer.step()
            step += 1
            # the average starts short, so that early validations do not see the initial weights
            torch._foreach_lerp_(averaged, parameters, 1.0 - min(config.ema_decay, (1.0 + step) / (10.0 + step)))
            losses += value
            if step % config.log_every == 0:
                rate = config.log_every / (time.monotonic() - since)
                means = {"loss": losses / config.log_every, "grad_norm": float(norm), "steps_per_second": rate}
                log.write(step, means | {name: float(value) for name, value in parts.items()})
                left = _duration((config.num_steps - step) / rate)
                facts = (folder.name, step, config.num_steps, means["loss"], rate, left)
                _log.info("%s: step %d of %d, loss %.5g, %.3g steps/s, %s left", *facts, extra={"often": True})
                since, losses = time.monotonic(), 0.0
            out_of_time = config.max_minutes is not None and log.minutes >= config.max_minutes
            last = step == config.num_steps or out_of_time
            due = config.validate_every > 0 and step % config.validate_every == 0
            if validate is not None and (due or last):
                for mean, buffer in zip(average.buffers(), model.buffers(), strict=True):
                    mean.copy_(buffer)
                figures = validate(average)
                log.write(step, {f"validation/{name}": value for name, value in figures.items()})
                shown = ", ".join(f"{name} {value:.5g}" for name, value in figures.items())
                _log.info("%s: validation at step %d: %s", folder.name, step, shown)
                if select and select not in figures:
                    raise ValueError(f"no figure {select!r} in the validation: it has {', '.join(sorted(figures))}")
                if select and figures[select] < best_value:
                    best_step, best_value = step, float(figures[select])
                    write_atomically(average.state_dict(), best_file)
            if step % config.checkpoint_every == 0 or last:
                save()
            if out_of_time:
                break
    finally:
        log.close()
    chosen = torch.load(best_file, weights_only=True) if best_step >= 0 else average.state_dict()
    model.load_state_dict(chosen)
    model.eval()
    return FitResult(step, best_step if best_step >= 0 else None, best_value if best_step >= 0 else None)
