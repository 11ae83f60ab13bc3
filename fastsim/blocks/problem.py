"""A problem: a chain, its data, losses and a figure of merit; and what is trained of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from fastsim.blocks.block import Block
from fastsim.blocks.chain import Chain
from fastsim.blocks.losses import Loss
from fastsim.blocks.noise import with_noise
from fastsim.blocks.weighting import NEED_A_GOAL, Weighting, weighting
from fastsim.errors import PipelineError

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
Combination = dict[str, str]
"""The label of a candidate for the name of each choice."""


def tensors(data: Mapping[str, Any], place: str) -> TensorDict:
    """Return named arrays (N, ...) as tensors; numbers become float32, whole numbers and truth values stay.

    Args:
        data: the arrays, or tensors.
        place: begins the message.

    Raises:
        PipelineError: if there are none, they differ in length, or are no arrays of numbers.
    """
    if not isinstance(data, Mapping):
        raise PipelineError(f"{place}: is a {type(data).__name__}: give arrays by name")
    values = {}
    for name, array in data.items():
        try:
            values[name] = torch.as_tensor(np.asarray(array))
        except (TypeError, ValueError) as error:
            raise PipelineError(f"{place}: {name!r} is no array of numbers: {error}") from error
    lengths = {name: len(value) if value.dim() else 0 for name, value in values.items()}
    if not values or len(set(lengths.values())) != 1 or not next(iter(lengths.values())):
        raise PipelineError(f"{place}: arrays of one length are needed, one entry an event, not {lengths}")
    values = {name: value.float() if value.is_floating_point() else value for name, value in values.items()}
    return TensorDict(values, batch_size=[next(iter(lengths.values()))])


@dataclass(frozen=True)
class Problem:
    """What is trained, on what, and how it is judged.

    Attributes:
        chain: the blocks, with choices or without.
        data: events for training, validation (for choosing) and test (for the figure that is reported).
        losses: of the outputs; their sum is minimised.
        figure: the figure of merit.
        batch_size: events of a batch.
        weighting: name of how the losses are weighted.
        seed: of new weights and of the order of events.
    """

    chain: Chain
    data: Mapping[str, TensorDict]
    losses: tuple[Loss, ...]
    figure: Loss
    batch_size: int = 256
    weighting: str = "fixed"
    seed: int = 0

    def __post_init__(self) -> None:
        missing = [split for split in SPLITS if split not in self.data]
        if missing:
            raise PipelineError(f"the data has no {missing[0]!r}: give {', '.join(SPLITS)}")
        if not self.losses:
            raise PipelineError("there are no losses: nothing would be trained")
        if not any(loss.weight for loss in self.losses):
            raise PipelineError("the weights of all losses are 0: nothing would be trained")
        wanted = [name for loss in (*self.losses, self.figure) for name in loss.names]
        for split in SPLITS:
            self._check(split, wanted)
        for loss in self.losses:
            if not loss.trainable:
                raise PipelineError(f"loss {loss.name!r}: {loss.kind} is a figure of merit, not a loss")
        weighting(self.weighting, len(self.losses))
        if self.weighting in NEED_A_GOAL and not self.goal(self.losses):
            raise PipelineError(
                f"weighting {self.weighting!r}: no loss is of {self.figure.of!r}, which the figure of merit is of, so "
                f"there is none that the others could help: they are of {', '.join(loss.of for loss in self.losses)}"
            )

    def _check(self, split: str, wanted: Sequence[str]) -> None:
        """Raise PipelineError if the data of a split lack what blocks or losses need, or are not finite there."""
        data = self.data[split]
        try:
            self.chain.requiring({name: tuple(value.shape[1:]) for name, value in data.items()}, wanted)
        except PipelineError as error:
            raise PipelineError(f"data {split!r}: {error}") from error
        for name in sorted({*self.chain.inputs, *wanted} & set(data.keys())):
            finite = torch.isfinite(data[name]).flatten(1).all(1) if data[name].dim() > 1 else data[name].isfinite()
            if not finite.all():
                raise PipelineError(f"data {split!r}: {name!r} is not finite in {int((~finite).sum())} events")

    def goal(self, losses: Sequence[Loss]) -> tuple[int, ...]:
        """Return the numbers of the losses that the figure of merit is about: those of the same output."""
        return tuple(k for k, loss in enumerate(losses) if loss.of == self.figure.of)

    @property
    def space(self) -> dict[str, tuple[str, ...]]:
        """The labels of the candidates of each choice."""
        return {name: choice.labels for name, choice in self.chain.choices().items()}

    def with_chain(self, chain: Chain) -> Problem:
        """Return the problem with another chain."""
        return replace(self, chain=chain)

    def batch(self, step: int, split: str = TRAIN, size: int | None = None) -> TensorDictBase:
        """Return the batch of a step, a function of the seed and the step alone: each event once an epoch.

        Args:
            step: number of the step, from 0.
            split: "train", "validation" or "test".
            size: events of the batch, by default :attr:`batch_size`; no more than there are.
        """
        data = self.data[split]
        size = min(size or self.batch_size, len(data))
        epoch, place = divmod(step, len(data) // size)
        order = np.random.default_rng([self.seed, SPLITS.index(split), epoch]).permutation(len(data))
        rows = torch.from_numpy(order[place * size : (place + 1) * size])
        return with_noise(self.chain.inputs, data[rows], [self.seed, SPLITS.index(split), step])

    def parts(self, split: str, size: int = 4096) -> Iterator[TensorDictBase]:
        """Yield the events of a split in their order, in parts of at most ``size`` that may be written to."""
        data = self.data[split]
        for first in range(0, len(data), size):
            part = data[first : first + size].clone(recurse=False)
            yield with_noise(self.chain.inputs, part, [self.seed, SPLITS.index(split), first])

    def value(self, split: str, chain: Block | None = None) -> tuple[float, float]:
        """Compute the figure of merit on a split, and its standard error where that is known, else NaN.

        Args:
            split: "train", "validation" or "test".
            chain: by default the chain of the problem; it is used in evaluation mode.
        """
        chain = self.chain if chain is None else chain
        training = chain.training
        chain.eval()
        with torch.no_grad():
            parts = [chain(part) for part in self.parts(split)]
            whole = {name: torch.cat([part[name] for part in parts]) for name in self.figure.names}
        chain.train(training)
        try:
            return self.figure.measured(whole)
        except PipelineError as error:
            raise PipelineError(f"data {split!r}: {error}") from error

    def score(self, split: str, chain: Block | None = None) -> float:
        """Compute the figure of merit with the sign with which more is better."""
        value = self.value(split, chain)[0]
        return value if self.figure.rises else -value


class Joint(nn.Module):
    """All blocks of a problem, trained together with the weighted sum of the losses.

    Args:
        problem: the problem; its chain is trained.
        only: names of the losses to use; by default all.
    """

    def __init__(self, problem: Problem, only: Sequence[str] | None = None) -> None:
        super().__init__()
        self.chain = problem.chain
        self.losses = tuple(loss for loss in problem.losses if only is None or loss.name in only)
        self.weighting: Weighting = weighting(problem.weighting, len(self.losses), problem.goal(self.losses))

    def loss(self, batch: TensorDictBase) -> dict[str, Tensor]:
        """Compute the scalar "loss" to differentiate, each loss, and each weight.

        Raises:
            PipelineError: if a loss is not finite; the message names it, and the first block whose output is not.
        """
        results = self.chain(batch.clone(recurse=False))
        losses = torch.stack([loss.weight * loss(results) for loss in self.losses])
        finite = torch.isfinite(losses)
        if not finite.all():
            raise PipelineError(self._not_finite(self.losses[int((~finite).nonzero()[0, 0])], losses[~finite], results))
        total = self.weighting(losses, self._shared())
        parts = {loss.name: value for loss, value in zip(self.losses, losses.detach(), strict=True)}
        if len(parts) > 1:
            weights = self.weighting.weights()
            parts |= {f"weight/{loss.name}": w for loss, w in zip(self.losses, weights, strict=True)}
        return {"loss": total, **parts}

    def _not_finite(self, loss: Loss, values: Tensor, results: TensorDictBase) -> str:
        """Say which block made a loss that is not finite."""
        said = f"loss {loss.name!r} is {values[0].item()}"
        for block in self.chain:
            if not all(torch.isfinite(results[key]).all() for key in block.outputs):
                return f"{said}: block {block.name!r} is the first to give what is not finite; lower learning_rate"
        giver = next((block.name for block in self.chain if loss.of in block.outputs), None)
        size = results[loss.of].abs().max().item()
        source = "the data" if giver is None else f"block {giver!r}"
        return f"{said}: {loss.of!r} of {source} is as large as {size:.3g}; lower learning_rate"

    def _shared(self) -> list[Tensor]:
        """Return the parameters of the first block, which the losses of later blocks reach too."""
        for block in self.chain:
            parameters: list[Tensor] = [p for p in block.parameters() if p.requires_grad]
            if parameters:
                return parameters
        return []
