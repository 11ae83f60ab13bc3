"""Training of the diffusion model's flow: batches, the coupling of noise to data, validation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fastsim.event import Ints, ragged_indices
from generators.hadrons.flow.model import FlowBatch, FlowConfig, SetFlow, context_numbers, coordinates
from generators.hadrons.latent import Latent
from generators.hadrons.observables import distance
from generators.hadrons.tokens import SPECIES, TokenSample
from generators.nn.flow_matching import draw_sigma
from generators.training.loop import FitResult, TrainingConfig, fit

_NUM_SPECIES = len(SPECIES)
_SETS_PER_BLOCK = 40_000
"""Sets whose coordinates are computed at once, and from which the scales are taken."""


@dataclass(frozen=True)
class FlowTraining:
    """How the flow is trained.

    Attributes:
        flow: config of the flow.
        batch_size: token sets in a step.
        num_validation: token sets, the last of the sample, that are held out for validation.
        num_validated: how many of them a validation takes.
        loop: length and rates.
    """

    flow: FlowConfig
    batch_size: int = 160
    num_validation: int = 6000
    num_validated: int = 2000
    loop: TrainingConfig = field(default_factory=lambda: TrainingConfig(num_steps=9000))


def fit_flow(flow: SetFlow, sample: TokenSample, config: FlowTraining, seed: int, run_dir: Path) -> FitResult:
    """Train the flow; the checkpoint with the smallest W1 of jet observables of held-out sets is kept.

    A validation draws tokens for the true latents of the held-out sets.

    Args:
        flow: a new flow; its scales are taken from ``sample``.
        sample: all token sets; the last ``config.num_validation`` are held out.
        config: how to train.
        seed: decides batches and validation noise, but not the initial weights.
        run_dir: folder of checkpoints and logs; a run in it is resumed.
    """
    training, held_out = sample[: len(sample) - config.num_validation], sample[len(sample) - config.num_validation :]
    held_out = held_out[: config.num_validated]
    latent, held_out_latent = Latent.of(training), Latent.of(held_out)
    flow.set_scales(training[:_SETS_PER_BLOCK], latent[:_SETS_PER_BLOCK])
    batches = TrainingSet(flow, training, latent, num_sets=config.batch_size, seed=seed)

    def validate(module: nn.Module) -> dict[str, float]:
        assert isinstance(module, SetFlow)
        noise = torch.Generator().manual_seed(seed)
        return distance(held_out, module.tokens(held_out.flavour, held_out.pt, held_out_latent, noise))

    return fit(flow, batches, config.loop, run_dir, validate=validate, select="w1")


class TrainingSet:
    """Training batches of a flow: the batch of a step is a function of the step alone.

    Args:
        flow: gives the standardisation (call ``flow.set_scales`` before).
        sample: training data.
        latent: its true latents.
        num_sets: sets in a batch, of all lengths.
        seed: decides order, noise, noise levels and reflections.
    """

    def __init__(self, flow: SetFlow, sample: TokenSample, latent: Latent, *, num_sets: int, seed: int) -> None:
        self.flow, self.num_sets, self.seed, self.offsets = flow, num_sets, seed, sample.offsets
        self.x = np.empty((len(sample.species), 3), np.float32)
        self.species = np.empty(len(sample.species), np.int64)
        self.energy = np.empty(len(sample))
        for start in range(0, len(sample), _SETS_PER_BLOCK):
            rows = slice(start, start + _SETS_PER_BLOCK)
            part = sample[rows]
            order = np.lexsort((part.species, part.index))
            x, self.energy[rows], _ = coordinates(part, latent[rows])
            flat = slice(sample.offsets[start], sample.offsets[start] + len(order))
            self.x[flat], self.species[flat] = x[order], part.species[order]
        self.context = context_numbers(sample.flavour, sample.pt, latent).astype(np.float32)
        self._epoch, self._order = -1, np.zeros(0, dtype=np.int64)

    def rows(self, step: int) -> Ints:
        """Return the numbers of the sets of a step: every epoch goes through a new permutation of all sets."""
        steps = max(1, len(self.energy) // self.num_sets)
        epoch, place = divmod(step, steps)
        if epoch != self._epoch:
            self._order = np.random.default_rng([self.seed, 0, epoch]).permutation(len(self.energy))
            self._epoch = epoch
        return self._order[place * self.num_sets : (place + 1) * self.num_sets]

    def __call__(self, step: int) -> FlowBatch:
        """Return the batch of a step."""
        rows, rng = self.rows(step), np.random.default_rng([self.seed, 1, step])
        config = self.flow.config
        flat = ragged_indices(self.offsets, rows)
        counts = np.diff(self.offsets)[rows]
        conditions = self.flow.conditions(self.context[rows], self.energy[rows], counts, self.species[flat])
        spread, mean = conditions.spread.numpy(), conditions.mean.numpy()
        x = self.x[flat].copy()
        x[:, 0] -= mean
        x /= spread
        x[:, 2] *= np.repeat(rng.choice(np.array([-1.0, 1.0], dtype=np.float32), len(rows)), counts)
        noise = rng.standard_normal(x.shape, dtype=np.float32)
        noise = couple(noise, x, np.repeat(np.arange(len(rows)), counts), self.species[flat], config.coupling)
        sigma = draw_sigma(len(rows), config.time_mean, config.time_width, rng).astype(np.float32)
        return FlowBatch(torch.from_numpy(x), torch.from_numpy(noise), torch.from_numpy(sigma), conditions)


def couple(
    noise: NDArray[np.float32], x: NDArray[np.float32], index: Ints, species: Ints, kind: str
) -> NDArray[np.float32]:
    """Permute noise among the tokens of each set and species, so that it lies closer to the data.

    The noise of a set stays Gaussian, and the paths from noise to data get straighter.

    Args:
        noise: normal numbers, (T, 3).
        x: data, (T, 3).
        index: the set of each token, in order, (T,).
        species: of the tokens, in order within a set, (T,).
        kind: "none"; "sorted", which orders both by their first coordinate; or "assignment", the optimal transport.

    Returns:
        The permuted noise, (T, 3).

    References:
        Tong et al., Improving and generalizing flow-based generative models with minibatch optimal transport, 2023,
        arXiv:2302.00482.
    """
    if kind == "none":
        return noise
    group = index * _NUM_SPECIES + species
    if kind == "sorted":
        result = np.empty_like(noise)
        result[np.lexsort((x[:, 0], group))] = noise[np.lexsort((noise[:, 0], group))]
        return result
    from scipy.optimize import linear_sum_assignment

    starts = np.flatnonzero(np.diff(group, prepend=-1))
    ends = np.append(starts[1:], len(group))
    result = noise.copy()
    for start, end in zip(starts, ends, strict=True):
        if end - start > 1:
            # minimal sum of |x - noise|^2 is maximal sum of products
            rows, columns = linear_sum_assignment(x[start:end] @ noise[start:end].T, maximize=True)
            result[start + rows] = noise[start + columns]
    return result
