"""One network that has all candidates, trained once: what SPOS, ASNG and DARTS share.

This module imports torch: import it inside the functions that need it.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from fastsim.blocks.chain import Chain
from fastsim.blocks.problem import TRAIN, VALIDATION, Combination, Joint, Problem
from fastsim.errors import PipelineError
from fastsim.networks.layers import Standardise
from fastsim.search.trial import combinations

CALIBRATION = 8
"""Batches of 1024 training events that the statistics of one path are taken of."""


class Supernet(ABC):
    """Trains the weights of all candidates together, and finds the best combination by them.

    Args:
        problem: its chain has the choices; it is trained.
        num_steps: steps of the training.
        learning_rate: highest, of AdamW with a cosine.

    Raises:
        PipelineError: if there is nothing to choose.
    """

    name: ClassVar[str]

    def __init__(self, problem: Problem, *, num_steps: int, learning_rate: float = 1e-3) -> None:
        combinations(problem.space)
        self.problem, self.num_steps, self.learning_rate = problem, num_steps, learning_rate
        self.choices = problem.chain.choices()
        self.joint = Joint(problem)
        self.optimizer = torch.optim.AdamW(self.joint.parameters(), lr=learning_rate)
        self.settings: dict[str, Any] = {
            "num_steps": num_steps,
            "learning_rate": learning_rate,
            "seed": problem.seed,
            "batch_size": problem.batch_size,
        }
        """What decides the result; a checkpoint of others is refused."""
        self.seconds = 0.0
        """Processor time of the search so far."""

    def rng(self, step: int) -> np.random.Generator:
        """Return the randomness of a step, which a run that was stopped gets again."""
        return np.random.default_rng([self.problem.seed, step, 7])

    def loss(self, batch: TensorDict) -> Tensor:
        """Compute the joint loss on the path that is set."""
        return self.joint.loss(batch)["loss"]

    def set_path(self, combination: Combination) -> None:
        """Let every choice run one candidate."""
        for name, label in combination.items():
            self.choices[name].path = label

    def descend(self, step: int, gradient_of: Tensor) -> None:
        """Take one step of the optimiser down a loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * step / self.num_steps))
        self.optimizer.zero_grad(set_to_none=True)
        gradient_of.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.joint.parameters(), 1.0)
        self.optimizer.step()

    @abstractmethod
    def update(self, step: int) -> None:
        """Take one step: of the weights, and of what chooses."""

    @abstractmethod
    def ranked(self) -> list[Combination]:
        """Return combinations that the trained network holds for good, the best first.

        Shared weights do not order what lies close together: those at the top are to be trained on their own.
        """

    def state(self) -> dict[str, Any]:
        """Return what chooses, as far as it is not among the weights, for the checkpoint."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:  # noqa: B027 (nothing to take is no omission)
        """Take what :meth:`state` returned."""

    def run(self, folder: Path | None = None, *, checkpoint_every: int = 200) -> list[Combination]:
        """Train, and return :meth:`ranked`; the same seed gives the same, also after a kill.

        Args:
            folder: for a checkpoint, from which a run that was stopped goes on; None for none.
            checkpoint_every: steps between checkpoints.
        """
        file = None if folder is None else folder / f"{self.name}.pt"
        done = 0
        if file is not None and file.exists():
            state = torch.load(file, weights_only=True)
            if state.get("settings") != self.settings:
                raise PipelineError(f"{file}: is of a search with other settings; give another folder, or remove it")
            self.joint.load_state_dict(state["joint"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.load_state(state["own"])
            done, self.seconds = state["done"], state["seconds"]
        started, before = time.process_time(), self.seconds
        self.joint.train()
        for step in range(done, self.num_steps):
            self.update(step)
            self.seconds = before + time.process_time() - started
            if file is not None and ((step + 1) % checkpoint_every == 0 or step + 1 == self.num_steps):
                self._save(file, step + 1)
        found = self.ranked()
        self.seconds = before + time.process_time() - started
        return found

    def _save(self, file: Path, done: int) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "settings": self.settings,
            "done": done,
            "seconds": self.seconds,
            "joint": self.joint.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "own": self.state(),
        }
        partial = file.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(file)

    def validation_batch(self, step: int, size: int | None = None) -> TensorDict:
        """Return the batch of validation events of a step; of ``size`` events, by default as many as trained on."""
        return self.problem.batch(step, VALIDATION, size)

    def calibrated(self, combination: Combination) -> Chain:
        """Return the chain of a combination, of the shared modules, with statistics of its own inputs.

        What standardises its inputs has seen those of all paths mixed. For one path its running mean and variance are
        taken anew, of training events (Guo et al. 2019, section 3.4, for batch normalisation).
        """
        chain = self.problem.chain.chosen(combination)
        norms = [module for module in chain.modules() if isinstance(module, Standardise)]
        if not norms:
            return chain
        for norm in norms:
            norm.reset_running_stats()
        chain.train()
        with torch.no_grad():
            for number, part in enumerate(self.problem.parts(TRAIN, 1024)):
                if number == CALIBRATION:
                    break
                chain(part)
        return chain


def labels_of(problem: Problem, rows: Sequence[int]) -> Combination:
    """Return the combination whose candidates have the given numbers, one for each choice."""
    return {name: labels[row] for (name, labels), row in zip(problem.space.items(), rows, strict=True)}


def ranked_by(problem: Problem, weights: Sequence[Sequence[float]]) -> list[Combination]:
    """Return the combination of the largest weights and all that differ from it in one choice, by their product.

    Args:
        problem: its space has the candidates.
        weights: of the candidates of each choice, positive.
    """
    best = tuple(max(range(len(own)), key=own.__getitem__) for own in weights)
    found = {best: 1.0}
    for place, own in enumerate(weights):
        for row, weight in enumerate(own):
            if row != best[place]:
                found[(*best[:place], row, *best[place + 1 :])] = weight / own[best[place]]
    return [labels_of(problem, rows) for rows in sorted(found, key=found.__getitem__, reverse=True)]
