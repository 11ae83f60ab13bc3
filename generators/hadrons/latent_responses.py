"""Fit of what parameters of tunes do to counts directly (:mod:`generators.hadrons.responses`), by Fisher scoring.

Mean and width of sqrt(n), the logit of each carrier and the odds of each type are regressions of their own on the
features. Folds of the sample choose how many features each has, and its ridge; sets that are left out say whether the
step is made.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fastsim.errors import InvalidValue
from generators.hadrons.counts import Responses
from generators.hadrons.latent_model import LatentModel
from generators.hadrons.latent_scoring import FOLDS, batches
from generators.hadrons.responses import responses, stages
from generators.hadrons.scoring import Scoring, solved
from generators.training.loop import FitResult

if TYPE_CHECKING:
    from generators.hadrons.latent_training import LatentRows

_log = logging.getLogger(__name__)

_LEAST = 100.0
"""Least ridge: responses change by a tenth where the sample says nothing, as those of carriers that are never seen."""
_WORTH = 2.0
"""Least gain in log-likelihood that folds have to expect of an output's step: the best of many gains some by noise."""
_Sums = tuple[Tensor, Tensor]
"""Of O outputs, of each fold: gradients (K, O, R) and informations (K, O, R, R)."""


def fit_responses(
    model: LatentModel, rows: LatentRows, training: Tensor, held_out: Tensor, config: Scoring, seed: int
) -> FitResult:
    """Fit the responses of counts to the parameters of tunes; all other weights stay as they are.

    Args:
        model: a latent model with responses.
        rows: latents of a sample.
        training: the rows to fit to.
        held_out: the rows that judge whether a step is made.
        config: steps and ridges.
        seed: decides which sets know the opposite ones.

    Returns:
        The steps made, and the mean negative log-density of the counts of a held-out latent.

    Raises:
        InvalidValue: if the model has no responses.
    """
    own = model.count_model.responses
    if own is None:
        raise InvalidValue("responses: the model depends on no tune")
    model.eval()
    started = best = -_log_density(model, rows, held_out, seed)
    steps = 0
    for number in range(1, config.rounds + 1):
        before = {name: weight.detach().clone() for name, weight in own.state_dict().items()}
        expected, used = 0.0, []
        for weight, (gradient, information) in zip(
            (own.size, own.carrier, own.types), _information(model, own, rows, training, seed), strict=True
        ):
            for output in range(len(weight)):
                gain, step = _step(gradient[:, output], information[:, output], config.ridges, _stages(own, weight))
                weight.data[output] += step.to(weight.dtype)
                expected += gain
                used.append(int((step != 0).sum()))
        value = -_log_density(model, rows, held_out, seed)
        _log.info(
            "responses: step %d: %.3g a held-out set better than before, %.3g expected; %d of %d outputs move, by %d "
            "numbers; those of the size by %d and %d",
            *(number, best - value, expected / len(training), sum(n > 0 for n in used), len(used), sum(used)),
            *used[:2],
        )
        if value >= best:
            own.load_state_dict(before)
            break
        best, steps = value, number
    _log.info("responses: %d sets, %.3g a held-out set better than at the start", len(training), started - best)
    model.eval()
    return FitResult(steps, steps, best)


def _stages(own: Responses, weight: Tensor) -> list[int]:
    num_tune = own.carrier.shape[1]
    return [n for n in stages(num_tune) if n <= weight.shape[1]]


def _step(gradient: Tensor, information: Tensor, ridges: tuple[float, ...], nested: list[int]) -> tuple[float, Tensor]:
    """Return the gain that folds expect of an output's step (R,), and the step, with what features and ridge do best.

    Args:
        gradient: of each fold, (K, R).
        information: of each fold, (K, R, R).
        ridges: in units of the features' own informations.
        nested: how many of the features, the first ones, are tried.
    """
    scale = (information.sum(0).diagonal() + _LEAST).rsqrt()
    gradient, information = gradient * scale, information * scale[:, None] * scale
    least = torch.diag(_LEAST * scale**2)
    best, step, found = _WORTH, torch.zeros_like(scale), False
    for num in nested:
        g, f, own = gradient[:, :num], information[:, :num, :num], least[:num, :num]
        for ridge in ridges:
            gain = 0.0
            for one_g, one_f in zip(g, f, strict=True):
                moved = solved(f.sum(0) - one_f + own, g.sum(0) - one_g, ridge)
                gain += float(one_g @ moved - 0.5 * moved @ one_f @ moved)
            if gain > best:
                best, step, found = gain, torch.zeros_like(scale), True
                step[:num] = solved(f.sum(0) + own, g.sum(0), ridge) * scale[:num]
    return best if found else 0.0, step


@torch.no_grad()
def _log_density(model: LatentModel, rows: LatentRows, chosen: Tensor, seed: int) -> float:
    total = sum(float(_log_prob(model, batch).double().sum()) for batch in batches(rows, chosen, seed))
    return total / len(chosen)


def _log_prob(model: LatentModel, batch: tuple[Tensor, ...]) -> Tensor:
    condition, counts, carrier, _, missing, forced, _ = batch
    return model.count_model.log_prob(condition, counts, carrier, missing, forced)


def _information(
    model: LatentModel, own: Responses, rows: LatentRows, chosen: Tensor, seed: int
) -> tuple[_Sums, _Sums, _Sums]:
    """Sum gradients and Fisher informations of sizes, carriers and types.

    Folds take batches in turn: whole blocks of events of a tune, so that no two know the same tune, of every part of
    the sample, so that each knows all flavours.
    """
    caught: list[tuple[Tensor, ...]] = []

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...], result: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        caught.append(tuple(each.detach().requires_grad_(True) for each in result))
        return caught[-1]

    sums = tuple(
        (
            torch.zeros(FOLDS, *weight.shape, dtype=torch.float64),
            torch.zeros(FOLDS, *weight.shape, weight.shape[1], dtype=torch.float64),
        )
        for weight in (own.size, own.carrier, own.types)
    )
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in learned:  # gradients go back to what responses add alone
        weight.requires_grad_(False)
    hook = own.register_forward_hook(keep)
    try:
        for number, batch in enumerate(batches(rows, chosen, seed)):
            _log_prob(model, batch).sum().backward()  # type: ignore[no-untyped-call]
            features = responses(batch[0], slice(*own.tune.tolist()))
            of_size, of_carrier, of_types = (each.grad for each in caught.pop())
            assert of_size is not None and of_carrier is not None and of_types is not None
            fold = number % FOLDS
            for (gradient, information), scores in zip(sums, (of_size.T, of_carrier.T, of_types), strict=True):
                seen = features[:, : gradient.shape[2]]
                gradient[fold] += (scores @ seen).double()
                for output, score in enumerate(scores):
                    some = torch.nonzero(score)[:, 0]
                    if len(some):
                        each = seen[some] * score[some, None]
                        information[fold, output] += (each.T @ each).double()
    finally:
        hook.remove()
        for weight in learned:
            weight.requires_grad_(True)
    return sums  # type: ignore[return-value]
