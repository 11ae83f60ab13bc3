"""Training of the tree model's splitting density: rows, batches, validation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fastsim.event import Floats
from generators.hadrons.observables import distance
from generators.hadrons.scoring import Scoring
from generators.hadrons.tokens import TYPE_CONTENT, TokenSample, parton_energy
from generators.hadrons.tree.carrier_means import HEAVY, match_all_means, match_means
from generators.hadrons.tree.context import FEATURES
from generators.hadrons.tree.growth import sample_tree
from generators.hadrons.tree.network import SplittingNet, Splittings
from generators.hadrons.tree.scoring import held_out_value, score_tunes
from generators.hadrons.tree.sharing import numbers_of
from generators.hadrons.tree.splittings import splittings
from generators.hadrons.tree.torch_sampler import TorchSampler
from generators.nn.compiled_network import weights_of
from generators.training.loop import FitResult, TrainingConfig, fit

_log = logging.getLogger(__name__)

_SETS_PER_BLOCK = 40_000
"""Sets whose splittings are computed at once."""
_SETS_PER_DRAW = 2000
"""Sets that are generated at once in a validation."""
_SETS_FOR_DIRECTIONS = 40_000
"""Sets that say how weights of parameters change the mean energies of carriers, and what that costs."""
_ROWS_FOR_SCALES, _STEP_OF_SCALES = 1_000_000, 2**31 - 1
"""Splittings that the scales are taken from: those of a step that no training reaches."""
_ROWS_PER_VALIDATION_BATCH = 16_384
_BARYON_NUMBER = numbers_of(TYPE_CONTENT)[:, 1]
_FACES_BARYON = FEATURES.index("baryon_number_partner_is_there")
_LOG_FRACTION, _HARD = FEATURES.index("log_energy_fraction"), 0.3

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class TreeTraining:
    """How the splitting density is trained.

    Attributes:
        batch_size: splittings in a step.
        num_validation: token sets, the last of the sample, that are held out for validation.
        network: sizes of the :class:`~generators.hadrons.tree.network.SplittingNet`.
        baryon_share: of the splittings in a step that are drawn from :func:`baryon_rows`.
        hard_share: of those that are drawn from :func:`hard_rows`; the rest is drawn from all splittings.
        loop: length and rates.
        pairs: length and rates of a second training, of the network for nodes of two tokens alone; the first one then
            trains the rest on all nodes. Without it, both networks are trained together, each on its own nodes.
        scoring: how the weights of parameters that act on carriers alone are fitted; then nothing else is trained.
        carrier_means: the ridge with which these weights are moved to where the mean energies of carriers change as in
            the sample (:mod:`generators.hadrons.tree.carrier_means`), last; then nothing else is trained either.
        all_means: the ridge with which the weights of all other parameters are moved there, after that.
    """

    batch_size: int = 8192
    num_validation: int = 8000
    network: dict[str, Any] = field(default_factory=dict)
    baryon_share: float = 0.0
    hard_share: float = 0.0
    loop: TrainingConfig = field(default_factory=lambda: TrainingConfig(num_steps=20_000))
    pairs: TrainingConfig | None = None
    scoring: Scoring | None = None
    carrier_means: float | None = None
    all_means: float | None = None


def split_validation(sample: TokenSample, num: int) -> tuple[TokenSample, TokenSample]:
    """Split a sample into training and validation sets: the last ``num``, which are whole events of the last shard."""
    return sample[: len(sample) - num], sample[len(sample) - num :]


def compact_splittings(sample: TokenSample) -> Splittings:
    """Compute all splittings of a sample in compact types (context in float16), 174 bytes each.

    The sets of every block of 40,000 are mirrored at random, by the number of the block's first set.
    """
    num, filled = int(np.maximum(np.diff(sample.offsets) - 1, 0).sum()), 0
    columns: list[Tensor] = []
    for start in range(0, len(sample), _SETS_PER_BLOCK):
        rows, _, _ = splittings(sample[start : start + _SETS_PER_BLOCK], seed=start)
        part = (rows.context.half(), rows.counts, rows.counts_a, rows.least, rows.variables)
        columns = columns or [torch.empty(num, *x.shape[1:], dtype=x.dtype) for x in part]
        for column, x in zip(columns, part, strict=True):  # in place: they are most of the memory
            column[filled : filled + len(rows)] = x
        filled += len(rows)
    return Splittings(*columns)


def in_float32(rows: Splittings) -> Splittings:
    """Return splittings with their context in float32, as the network takes it."""
    return Splittings(rows.context.float(), rows.counts, rows.counts_a, rows.least, rows.variables)


def baryon_rows(rows: Splittings) -> Rows:
    """Find the splittings (R,) of nodes that hold a baryon and an antibaryon, or a baryon whose partner left before.

    They are a third of all. Like those of :func:`hard_rows` they are known before a node splits: the density given the
    node does not depend on how often they are drawn.
    """
    counts, faces = rows.counts.numpy(), rows.context[:, _FACES_BARYON].numpy() > 0
    holds = counts[:, _BARYON_NUMBER > 0].any(1) & counts[:, _BARYON_NUMBER < 0].any(1)
    return np.flatnonzero(holds | faces)


def hard_rows(rows: Splittings) -> Rows:
    """Find the splittings (R,) of nodes with much of the parton's energy: few of all, they make hard hadrons."""
    return np.flatnonzero(rows.context[:, _LOG_FRACTION].numpy() > np.log(_HARD))


def tree_batches(
    rows: Splittings, batch_size: int, seed: int, shares: Sequence[tuple[Rows, float]] = ()
) -> Callable[[int], Splittings]:
    """Return a function that draws ``batch_size`` random rows for a step: the same for the same (seed, step).

    ``shares`` are sets of rows and the parts of a batch that are drawn from them; the rest is drawn from all rows.
    """
    drawn = [(each, round(share * batch_size)) for each, share in shares if len(each)]

    def batch(step: int) -> Splittings:
        rng = np.random.default_rng(np.random.SeedSequence([seed, step]))
        parts = [each[rng.integers(0, len(each), num)] for each, num in drawn]
        parts.append(rng.integers(0, len(rows), batch_size - sum(num for _, num in drawn)))
        return in_float32(rows.rows(torch.from_numpy(np.concatenate(parts))))

    return batch


def resample(net: SplittingNet, sample: TokenSample, seed: int) -> TokenSample:
    """Draw new trees for the tokens and total momenta that the sets of ``sample`` have."""
    total: Floats = np.stack([np.bincount(sample.index, sample.p4[:, k], len(sample)) for k in range(4)], -1)
    energy = parton_energy(sample.flavour, sample.pt)
    rng, sampler = np.random.default_rng(seed), TorchSampler(weights_of(net))
    momenta = []
    for start in range(0, len(sample), _SETS_PER_DRAW):
        rows = slice(start, start + _SETS_PER_DRAW)
        momenta.append(sample_tree(sampler, sample[rows], energy[rows], total[rows], rng))
    return replace(sample, p4=np.concatenate(momenta))


def _fit_carriers(
    net: SplittingNet, training: TokenSample, held_out: TokenSample, config: TreeTraining, seed: int
) -> FitResult:
    """Fit the weights of parameters that act on carriers alone: see :class:`TreeTraining`."""
    steps = 0
    value: float | None = None
    if config.scoring is not None:
        result = score_tunes(net, training, held_out, config.scoring)
        steps, value = result.step, result.best_value
    if config.carrier_means is not None:
        before = held_out_value(net, held_out)  # refuses a network without gates
        match_means(net, training, resample(net, training, seed), config.carrier_means)
        after = value = held_out_value(net, held_out)
        _log.info("means: a held-out set is %.2g better than before", before - after)
        steps += 1
    if config.all_means is not None:
        drawn = resample(net, training[np.flatnonzero(np.isin(training.flavour, HEAVY))], seed)
        match_all_means(net, training, drawn, config.all_means, _SETS_FOR_DIRECTIONS, seed)
        steps += 1
    return FitResult(steps, steps, value)


def fit_tree(
    net: SplittingNet,
    sample: TokenSample,
    config: TreeTraining,
    seed: int,
    run_dir: Path,
    keep_scales: bool = False,
) -> FitResult:
    """Train the splitting density; the checkpoint with the best likelihood of the held-out sets is kept.

    The Wasserstein distances of observables are logged too, but are too noisy to choose by: 6,000 sets give them to
    0.001, and models differ by less.

    Args:
        net: the network; its scales are taken from ``sample``, or kept.
        sample: all token sets, the last ``config.num_validation`` of which are held out.
        config: how to train.
        seed: decides the batches and the sets that a validation draws.
        run_dir: folder of checkpoints and logs; a run in it is resumed.
        keep_scales: train a network further, with the scales that it has.
    """
    torch.manual_seed(seed)
    training, held_out = split_validation(sample, config.num_validation)
    if config.scoring is not None or config.carrier_means is not None or config.all_means is not None:
        return _fit_carriers(net, training, held_out, config, seed)
    rows = compact_splittings(training)
    if not keep_scales:
        net.set_scales(tree_batches(rows, min(len(rows), _ROWS_FOR_SCALES), seed)(_STEP_OF_SCALES))
    check = in_float32(compact_splittings(held_out))

    def validate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, SplittingNet)
        batches = torch.split(torch.arange(len(check)), _ROWS_PER_VALIDATION_BATCH)
        with torch.no_grad():
            total = sum(float(model.log_prob(check.rows(r)).sum()) for r in batches)
        return {"nll": -total / len(held_out), **distance(held_out, resample(model, held_out, seed))}

    pair = net.pair
    chosen = ((baryon_rows, config.baryon_share), (hard_rows, config.hard_share))
    shares = [(find(rows), share) for find, share in chosen if share > 0]
    batches = tree_batches(rows, config.batch_size, seed, shares)
    if pair is None or config.pairs is None:
        return fit(net, batches, config.loop, run_dir, validate=validate, select="nll")
    net.pair = None
    fit(net, batches, config.loop, run_dir, validate=validate, select="nll")
    net.pair = pair
    rows = rows.rows(torch.nonzero(rows.counts.sum(-1, dtype=torch.int32) == 2)[:, 0])
    of_pair = {id(weight) for weight in pair.parameters()}
    others = [weight for weight in net.parameters() if weight.requires_grad and id(weight) not in of_pair]
    for weight in others:
        weight.requires_grad_(False)
    batches = tree_batches(rows, config.batch_size, seed)
    result = fit(net, batches, config.pairs, run_dir / "pairs", validate=validate, select="nll")
    for weight in others:
        weight.requires_grad_(True)
    return result
