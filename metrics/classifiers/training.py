"""The training of a classifier network, its early stop, and the test on events that it has not seen.

Of each sample 60% train, 20% choose when to stop and 20% are judged. The loss is the cross-entropy, with both classes
of equal total weight, so that D / (1 - D) of the best network is the ratio of densities whatever the sizes. An
exponential average of the weights is kept, and the one with the least loss on the second part is the classifier. Its
logits are then scaled by one factor, the temperature, again for the least loss on that part: this calibrates an
over-confident network, and leaves its AUC as it is.

This module imports torch: import it inside the functions that need it.

References:
    Krause et al. 2024, arXiv:2410.21611 (60/20/20). Guo et al. 2017, arXiv:1706.04599 (temperature).
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit
from torch import Tensor, nn

from metrics.classifiers.trees import MIN_EVENTS, ClassifierTest, judge
from metrics.statistics.weights import event_weights

_ONE_AT_A_TIME = threading.Lock()

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Inputs = Callable[[Ints], tuple[Tensor, ...]]
"""The arguments of a network for the given rows: real events first, then generated ones."""
Prepare = Callable[[Ints], tuple[nn.Module, Inputs]]
"""A network and its inputs, given the training rows: whatever is fitted to data is fitted to these."""

PARTS = (0.6, 0.2)
"""Shares of the events that train and that choose when to stop."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    AdamW's learning rate rises over the first twentieth of the steps and falls by a half cosine to zero.

    Attributes:
        num_epochs: epochs at most, which the learning rate is planned for.
        batch_size: events of a batch; fewer where an epoch would have less than 16 batches.
        learning_rate: the largest.
        patience: epochs without a better loss on the stopping part after which training ends.
        weight_decay: of AdamW.
        ema_decay: of the exponential average of the weights.
    """

    num_epochs: int
    batch_size: int
    learning_rate: float
    patience: int
    weight_decay: float = 0.01
    ema_decay: float = 0.99

    def rate(self, step: int, num_steps: int) -> float:
        """Compute the learning rate of a step, of ``num_steps`` in all.

        Args:
            step: number of the step, from 0.
            num_steps: steps of all epochs.
        """
        rise = min(1.0, 20.0 * (step + 1) / num_steps)
        return self.learning_rate * rise * 0.5 * (1.0 + math.cos(math.pi * step / num_steps))


def network_test(
    name: str,
    num_real: int,
    num_generated: int,
    prepare: Prepare,
    schedule: Schedule,
    *,
    seed: int,
    real_weights: NDArray[Any] | None = None,
    generated_weights: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> ClassifierTest:
    """Train a network to tell generated from real events and judge it on held-out ones.

    torch's random state and number of threads are as before on return. The result is the same for the same seed on the
    same machine with the same number of threads (a matrix product rounds as its threads share it out).

    Args:
        name: of the result.
        num_real, num_generated: N and N' events.
        prepare: makes the network, which returns logits (n,), and its inputs.
        schedule: of the training.
        seed: of the split, the first weights, batches, dropout, bootstrap and permutations.
        real_weights, generated_weights: event weights (N,) and (N',), none negative.
        num_threads: of torch; default as it is set.

    Returns:
        The test of the held-out fifth of the events.

    Raises:
        ValueError: if a sample has fewer than 30 events, a weight is negative, or the loss diverges.
    """
    sizes = (num_real, num_generated)
    if min(sizes) < MIN_EVENTS:
        raise ValueError(
            f"the classifier test needs at least {MIN_EVENTS} events a sample, got {num_real} and {num_generated}"
        )
    weights = [
        event_weights("a classifier", "real", real_weights, sizes[0], negative=False),
        event_weights("a classifier", "generated", generated_weights, sizes[1], negative=False),
    ]
    rng = np.random.default_rng(seed)
    orders = [np.split(rng.permutation(n), (np.cumsum(PARTS) * n).astype(int)) for n in sizes]
    train, stop = (np.concatenate([orders[0][k], num_real + orders[1][k]]) for k in (0, 1))
    balanced = np.concatenate([w / w[order[0]].sum() for w, order in zip(weights, orders, strict=True)])
    balanced *= len(train) / 2.0
    labels = np.repeat([1.0, 0.0], sizes)
    before = torch.get_num_threads()
    # threads share torch's generator and number of threads: one training at a time
    with _ONE_AT_A_TIME, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        torch.set_num_threads(num_threads or before)
        try:
            model, inputs = prepare(train)
            model = _fit(model, inputs, labels, balanced, train, stop, schedule, rng)
            factor = _inverse_temperature(_logits(model, inputs, stop), labels[stop], balanced[stop])
            held_out = (orders[0][2], num_real + orders[1][2])
            scores = [expit(factor * _logits(model, inputs, rows)) for rows in held_out]
        finally:
            torch.set_num_threads(before)
    return judge(
        name,
        scores[0],
        scores[1],
        num_real=num_real,
        num_generated=num_generated,
        seed=seed,
        real_weights=None if real_weights is None else weights[0][orders[0][2]],
        generated_weights=None if generated_weights is None else weights[1][orders[1][2]],
    )


def _fit(
    model: nn.Module,
    inputs: Inputs,
    labels: Floats,
    weights: Floats,
    train: Ints,
    stop: Ints,
    schedule: Schedule,
    rng: np.random.Generator,
) -> nn.Module:
    """Train, and return the averaged network with the least loss on the stopping rows."""
    target, weight = (torch.from_numpy(x).float() for x in (labels, weights))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=schedule.weight_decay)
    average = copy.deepcopy(model).eval().requires_grad_(False)
    best, least, waited, step = average, math.inf, 0, 0
    num_batches = math.ceil(len(train) / min(schedule.batch_size, max(32, len(train) // 16)))
    for _ in range(schedule.num_epochs):
        model.train()
        for rows in np.array_split(rng.permutation(train), num_batches):
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step, schedule.num_epochs * num_batches)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(_loss(model(*inputs(rows)), target[rows], weight[rows]))
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
            # the average starts short, so that early epochs do not see the initial weights
            decay = min(schedule.ema_decay, (1.0 + step) / (10.0 + step))
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1.0 - decay)
        loss = float(_loss(torch.from_numpy(_logits(average, inputs, stop)).float(), target[stop], weight[stop]))
        if not math.isfinite(loss):
            raise ValueError(f"the classifier's loss is {loss} after {step} steps: its inputs hold outliers")
        waited += 1
        if loss < least:
            best, least, waited = copy.deepcopy(average), loss, 0
        if waited == schedule.patience:
            break
    return best


def _loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Compute the weighted cross-entropy."""
    return nn.functional.binary_cross_entropy_with_logits(logits, target, weight)


def _logits(model: nn.Module, inputs: Inputs, rows: Ints) -> Floats:
    """Compute logits of the rows, in their order."""
    with torch.no_grad():
        pieces = np.array_split(rows, math.ceil(len(rows) / 500))
        return np.concatenate([model(*inputs(piece)).double().numpy() for piece in pieces])


def _inverse_temperature(logits: Floats, labels: Floats, weights: Floats) -> float:
    """Find the positive factor of the logits, between e^-3 and e^3, with the least cross-entropy."""

    def loss(log_factor: float) -> float:
        z = math.exp(log_factor) * logits
        return float(weights @ (np.logaddexp(0.0, z) - labels * z))

    return math.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x)
