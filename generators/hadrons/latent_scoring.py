"""Weights of the parameters of tunes in a latent model, by Fisher scoring (:mod:`generators.hadrons.scoring`).

The log-density of a latent is a sum, of a factor for the number of tokens, the carrier, the count of each type, the
species of the rare ones and the total momentum. No weight serves two of them: each is a regression of its own, for each
parameter, and sets that are left out say how much of it to believe.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fastsim.errors import InvalidValue
from generators.hadrons.latent import NUM_CONDITION
from generators.hadrons.latent_model import LatentModel
from generators.hadrons.scoring import Scoring, solved
from generators.training.loop import FitResult

if TYPE_CHECKING:
    from generators.hadrons.latent_training import LatentRows

_log = logging.getLogger(__name__)

_SETS, FOLDS = 2048, 4
"""Sets whose densities are computed at once, and parts of the sample each of which judges what the others fit."""
_LEAST = 100.0
"""Least ridge: weights change by a tenth where the sample says nothing, as of counts that are always zero."""


@dataclass
class _Sums:
    """Of a layer with B factors, for C columns, of each fold: gradients (K, B, C, W), informations (K, B, C, W, W)."""

    gradient: Tensor
    information: Tensor


def score_latent(
    model: LatentModel, rows: LatentRows, training: Tensor, held_out: Tensor, config: Scoring, seed: int
) -> FitResult:
    """Fit the weights of the parameters of tunes; all others stay as they are.

    Args:
        model: a latent model with further conditions.
        rows: latents of a sample.
        training: the rows to fit to.
        held_out: the rows that judge whether a step is made.
        config: steps and ridges.
        seed: decides which sets know the opposite ones.

    Returns:
        The steps made, and the mean negative log-density of a held-out latent.

    Raises:
        InvalidValue: if the model depends on no tune.
    """
    if not model.num_extra:
        raise InvalidValue("scoring: the model depends on no tune")
    model.eval()
    started = best = -_log_density(model, rows, held_out, seed)
    steps = 0
    for number in range(1, config.rounds + 1):
        before = {name: weight.detach().clone() for name, weight in model.state_dict().items()}
        sums = _information(model, rows, training, seed)
        gains = [_step(model, layer, each, config.ridges) for layer, each in sums.items()]
        value = -_log_density(model, rows, held_out, seed)
        _log.info(
            "scoring: step %d: %.3g a held-out set better than before, %.3g expected",
            *(number, best - value, sum(gains) / len(training)),
        )
        if value >= best:
            model.load_state_dict(before)
            break
        best, steps = value, number
    _log.info("scoring: %d sets, %.3g a held-out set better than at the start", len(training), started - best)
    model.eval()
    return FitResult(steps, steps, best)


def _step(model: LatentModel, layer: nn.Module, sums: _Sums, ridges: tuple[float, ...]) -> float:
    """Change the weights of a layer by a step, with the ridges that do best; return the gain that folds expect."""
    total_gradient, total = sums.gradient.sum(0), sums.information.sum(0)
    gains, steps = [torch.zeros(total_gradient.shape[:-1], dtype=torch.float64)], [torch.zeros_like(total_gradient)]
    for ridge in ridges:
        gain = torch.zeros_like(gains[0])
        for gradient, information in zip(sums.gradient, sums.information, strict=True):
            step = solved(total - information, total_gradient - gradient, ridge, _LEAST)
            gain += (gradient * step).sum(-1) - 0.5 * (step[..., None, :] @ information @ step[..., None])[..., 0, 0]
        gains.append(gain)
        steps.append(solved(total, total_gradient, ridge, _LEAST))
    best, chosen = torch.stack(gains).max(0)
    step = torch.stack(steps).gather(0, chosen[None, ..., None].expand(1, *total_gradient.shape))[0]
    columns = slice(NUM_CONDITION, NUM_CONDITION + model.num_extra)
    if isinstance(layer, nn.Linear):
        layer.weight.data[:, columns] += step[0].T.float()
    else:
        model.count_model.first.data[:, columns] += step.float()
    return float(best.sum())


def at_once(chosen: Tensor) -> int:
    """Return of how many rows the log-densities are computed at once."""
    return min(_SETS, max(len(chosen) // FOLDS, 1))


def batches(rows: LatentRows, chosen: Tensor, seed: int) -> Iterator[tuple[Tensor, ...]]:
    """Yield what :meth:`LatentModel.log_prob` takes; which sets know the opposite ones is the same every time."""
    rng = np.random.default_rng(seed)
    for some in torch.split(chosen, at_once(chosen)):
        yield rows.batch(some, rng)


def _log_prob(model: LatentModel, batch: tuple[Tensor, ...]) -> Tensor:
    """Compute the log-densities (N,) of counts and total momenta: the extras are not fitted."""
    condition, counts, carrier, features, missing, forced, opposite = batch
    of_counts = model.count_model.log_prob(condition, counts, carrier, missing, forced)
    return of_counts + model.total_log_prob(condition, counts, carrier, features, opposite)


@torch.no_grad()
def _log_density(model: LatentModel, rows: LatentRows, chosen: Tensor, seed: int) -> float:
    total = sum(float(_log_prob(model, batch).double().sum()) for batch in batches(rows, chosen, seed))
    return total / len(chosen)


def _information(model: LatentModel, rows: LatentRows, chosen: Tensor, seed: int) -> dict[nn.Module, _Sums]:
    """Sum gradients and Fisher informations of the first layers; folds are runs of rows, and so of tunes."""
    caught: list[tuple[nn.Module, Tensor, Tensor]] = []
    columns = slice(NUM_CONDITION, NUM_CONDITION + model.num_extra)
    counts = model.count_model
    layers = [counts.size[0], counts.carrier[0], counts.composition[0], counts.entered, model.context[0]]
    sums: dict[nn.Module, _Sums] = {}

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...], result: Tensor) -> Tensor:
        caught.append((layer, inputs[0].detach(), result.detach().requires_grad_(True)))
        return caught[-1][2]

    hooks = [layer.register_forward_hook(keep) for layer in layers]
    num = -(-len(chosen) // at_once(chosen))
    try:
        for number, batch in enumerate(batches(rows, chosen, seed)):
            _log_prob(model, batch).sum().backward()  # type: ignore[no-untyped-call]
            for layer, inputs, result in caught:
                assert result.grad is not None
                of_types = layer is counts.entered
                values = (batch[0] if of_types else inputs)[:, columns]
                scores = result.grad.transpose(1, 2) if of_types else result.grad[None]  # (B, N, W)
                if layer not in sums:
                    shape = FOLDS, len(scores), model.num_extra, scores.shape[2]
                    zeros = (
                        torch.zeros(*shape, dtype=torch.float64),
                        torch.zeros(*shape, shape[-1], dtype=torch.float64),
                    )
                    sums[layer] = _Sums(*zeros)
                own, fold = sums[layer], number * FOLDS // num
                own.gradient[fold] += torch.einsum("nc,bnw->bcw", values, scores).double()
                for column, value in enumerate(values.T):
                    seen = torch.nonzero(value)[:, 0]
                    some = scores[:, seen] * value[seen, None]
                    own.information[fold, :, column] += (some.transpose(1, 2) @ some).double()
            caught.clear()
            model.zero_grad(set_to_none=True)
    finally:
        for hook in hooks:
            hook.remove()
    return sums
