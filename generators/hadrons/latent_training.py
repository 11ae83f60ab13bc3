"""Training of the latent model: half of the sets know their opposite hemisphere, half do not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from generators.hadrons.count_shapes import NUM_SIDE, least_masses
from generators.hadrons.latent import MASS, NUM_TOTAL, RECOIL, Latent, side_of, total_features
from generators.hadrons.latent_model import LatentModel
from generators.hadrons.latent_responses import fit_responses
from generators.hadrons.latent_scoring import score_latent
from generators.hadrons.scoring import Scoring
from generators.hadrons.tokens import TokenSample, parton_energy
from generators.training.loop import FitResult, TrainingConfig, fit


@dataclass(frozen=True)
class LatentTraining:
    """How the latent model is trained.

    Attributes:
        batch_size: token sets in a step.
        counts, totals: whether the counts, and the total momenta with the extras, are trained when a model is trained
            further.
        composition: whether all of the counts are trained then, and not the numbers of tokens alone.
        network: sizes of the networks.
        loop: length and rates.
        scoring: how the weights of the parameters of tunes are fitted; then nothing else is trained.
        responses: how what these parameters do to counts directly (:mod:`generators.hadrons.responses`) is fitted,
            after ``scoring`` if that is given too; then nothing else is trained.
    """

    batch_size: int = 2048
    counts: bool = True
    totals: bool = True
    composition: bool = True
    network: dict[str, int] = field(default_factory=dict)
    loop: TrainingConfig = field(default_factory=lambda: TrainingConfig(num_steps=8000))
    scoring: Scoring | None = None
    responses: Scoring | None = None


_SETS_PER_BLOCK = 100_000
"""Sets whose latents are computed at once: whole pairs."""


class LatentRows:
    """The latents of a sample of pairs, alone and given their opposite sets; the features of sets without a degree of
    freedom (a single token has no mass of its own) are noise, so that the flows learn nothing from them.
    """

    def __init__(self, model: LatentModel, sample: TokenSample, seed: int) -> None:
        features, columns = [], []
        for start in range(0, len(sample), _SETS_PER_BLOCK):
            part = sample[start : start + _SETS_PER_BLOCK]
            opposite = np.arange(len(part)) ^ 1
            alone = Latent.of(part)
            least = least_masses(alone.counts)
            paired = total_features(alone.total, least, parton_energy(part.flavour, part.pt), least[opposite])
            features.append([alone.features, np.concatenate([paired, alone.extras], -1)])
            columns.append(
                (
                    torch.from_numpy(alone.counts.astype(np.uint8)),
                    torch.from_numpy(alone.carrier),
                    torch.from_numpy(alone.content.astype(np.int8)),
                    model.condition(part.flavour, part.pt, part.scale, part.tune),
                    torch.from_numpy(side_of(alone.content, alone.counts[opposite]).astype(np.float32)),
                )
            )
        parts = (torch.cat(column) for column in zip(*columns, strict=True))
        self.counts, self.carrier, self.content, self.condition, self.side = parts
        self.opposite = torch.arange(len(sample)) ^ 1
        rng, single = np.random.default_rng(seed), self.counts.sum(-1).numpy() == 1
        self.features = []
        for blocks in zip(*features, strict=True):
            values = np.concatenate(blocks)
            for column, rows in ((MASS, single), (RECOIL, single[self.opposite.numpy()])):
                x = values[:, column]
                x[rows] = rng.normal(x[~rows].mean(), x[~rows].std(), int(rows.sum()))
            self.features.append(torch.from_numpy(values).float())

    def batch(self, rows: Tensor, rng: np.random.Generator) -> tuple[Tensor, ...]:
        """Return what :meth:`LatentModel.loss` takes; every other row, at random, knows its opposite set."""
        second = torch.from_numpy(rng.random(len(rows)) < 0.5)
        condition = self.condition[rows].clone()
        condition[:, -NUM_SIDE:] = torch.where(second[:, None], self.side[rows], 0.0)
        features = torch.where(second[:, None], self.features[1][rows], self.features[0][rows])
        missing = torch.where(second[:, None], self.content[rows].long(), 0)
        beyond = torch.where(second[:, None], self.counts[self.opposite[rows]].long(), 0)
        return condition, self.counts[rows].long(), self.carrier[rows], features, missing, second, beyond


def fit_latent(model: LatentModel, sample: TokenSample, config: LatentTraining, seed: int, run_dir: Path) -> FitResult:
    """Train p(z | parton); the checkpoint with the best likelihood of the held-out sets is kept.

    The last tenth of the sample, 20,000 sets at most, is held out. A run in ``run_dir`` is resumed.
    """
    rows = LatentRows(model, sample, seed)
    model.set_scales(rows.features[0][: _num_training(sample)])
    return _fit(model, rows, sample, config, seed, run_dir)


def tune_latent(
    model: LatentModel, sample: TokenSample, config: LatentTraining, seed: int, run_dir: Path, *, extras: bool
) -> FitResult:
    """Train a latent model further, whose scales stay as they are; without its ``extras`` if nothing needs these.

    See :func:`fit_latent`.
    """
    rows = LatentRows(model, sample, seed)
    if config.scoring is not None or config.responses is not None:
        chosen, num = torch.arange(len(sample)), _num_training(sample)
        fits = [(score_latent, config.scoring), (fit_responses, config.responses)]
        results = [
            fit_to(model, rows, chosen[:num], chosen[num:], how, seed) for fit_to, how in fits if how is not None
        ]
        return results[-1]
    module: LatentModel | _Parts = model
    if not (extras and config.counts and config.totals and config.composition):
        module = _Parts(model, config, extras=extras and config.totals)
    of_counts = {id(weight) for weight in model.count_model.parameters()}
    trained = {id(weight) for weight in model.parameters()} - of_counts if config.totals else set()
    if config.counts:
        trained |= of_counts if config.composition else {id(weight) for weight in model.count_model.size.parameters()}
    left = [weight for weight in model.parameters() if weight.requires_grad and id(weight) not in trained]
    for weight in left:
        weight.requires_grad_(False)
    result = _fit(module, rows, sample, config, seed, run_dir)
    for weight in left:
        weight.requires_grad_(True)
    return result


class _Parts(nn.Module):
    """The factors of a latent model that a config names; extras too, or not."""

    def __init__(self, model: LatentModel, config: LatentTraining, *, extras: bool) -> None:
        super().__init__()
        self.model, self.config, self.extras = model, config, extras

    def loss(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Compute the mean negative log-likelihood: see :meth:`LatentModel.loss`."""
        condition, counts, carrier, features, missing, forced, opposite = batch
        count_model, parts = self.model.count_model, {}
        if self.config.counts and self.config.composition:
            parts["counts"] = -count_model.log_prob(condition, counts, carrier, missing, forced).mean()
        elif self.config.counts:
            parts["size"] = -count_model.size_log_prob(condition, counts.sum(-1)).mean()
        if self.config.totals:
            parts["total"] = -self.model.total_log_prob(condition, counts, carrier, features, opposite).mean()
        if self.extras:
            parts["extras"] = -self.model.extras_log_prob(condition, counts, carrier, features, opposite).mean()
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}


class _Extras(nn.Module):
    """The extras of a latent model, whose other parts are given."""

    def __init__(self, model: LatentModel) -> None:
        super().__init__()
        self.model = model

    def loss(self, batch: tuple[Tensor, ...]) -> Tensor:
        """Compute the mean negative log-likelihood of the extras: see :meth:`LatentModel.loss`."""
        condition, counts, carrier, features, _, _, opposite = batch
        return -self.model.extras_log_prob(condition, counts, carrier, features, opposite).mean()


def fit_extras(model: LatentModel, sample: TokenSample, config: LatentTraining, seed: int, run_dir: Path) -> FitResult:
    """Train the extras of a latent model whose other parts are trained, and leave these as they are.

    See :func:`fit_latent`.
    """
    rows = LatentRows(model, sample, seed)
    model.extras_flow.set_scales(rows.features[0][: _num_training(sample), NUM_TOTAL:])
    model.requires_grad_(False)
    model.extras_flow.requires_grad_(True)
    result = _fit(_Extras(model), rows, sample, config, seed, run_dir)
    model.requires_grad_(True)
    return result


def _num_training(sample: TokenSample) -> int:
    """Return how many sets are not held out."""
    return len(sample) - min(20_000, len(sample) // 10)


def _fit(
    model: LatentModel | _Parts | _Extras,
    rows: LatentRows,
    sample: TokenSample,
    config: LatentTraining,
    seed: int,
    run_dir: Path,
) -> FitResult:
    """Train a model on random rows, and keep the checkpoint with the best loss of those held out."""
    num_training = _num_training(sample)

    def batch(step: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng(np.random.SeedSequence([seed, step]))
        return rows.batch(torch.from_numpy(rng.integers(0, num_training, config.batch_size)), rng)

    def validate(module: nn.Module) -> dict[str, float]:
        assert isinstance(module, LatentModel | _Parts | _Extras)
        rng = np.random.default_rng(seed)
        with torch.no_grad():
            losses = module.loss(rows.batch(torch.arange(num_training, len(sample)), rng))
        losses = losses if isinstance(losses, dict) else {"loss": losses}
        return {name: float(value) for name, value in losses.items()}

    return fit(model, batch, config.loop, run_dir, validate=validate, select="loss")
