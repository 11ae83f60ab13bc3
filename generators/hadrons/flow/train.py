"""Training of the diffusion model's flow: batches, the coupling of noise to data, validation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fastsim.event import Ints, ragged_indices
from generators.hadrons.flow.distil import Student, student_of
from generators.hadrons.flow.network import FlowBatch, FlowConfig, Given, SetFlow, coordinates
from generators.hadrons.flow.sampler import sample_flow
from generators.hadrons.latent import Latent
from generators.hadrons.observables import distance
from generators.hadrons.tokens import SPECIES, TokenSample, parton_energy
from generators.nn.distillation import Distillation
from generators.nn.flow_matching import draw_sigma
from generators.training.loop import FitResult, TrainingConfig, fit

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
        distil: the teacher of a flow that is distilled to the noise levels in its config.
    """

    flow: FlowConfig = field(default_factory=FlowConfig)
    batch_size: int = 256
    num_validation: int = 6000
    num_validated: int = 2000
    loop: TrainingConfig = field(default_factory=lambda: TrainingConfig(num_steps=9000))
    distil: Distillation | None = None


def given_of(sample: TokenSample) -> Given:
    """Return what a flow is given of token sets of hemispheres, from their own latents."""
    return Given.of(sample, parton_energy(sample.flavour, sample.pt), Latent.of(sample))


def fit_flow(
    flow: SetFlow,
    sample: TokenSample,
    config: FlowTraining,
    seed: int,
    run_dir: Path,
    keep_scales: bool = False,
) -> FitResult:
    """Train the flow; the checkpoint with the smallest W1 of jet observables of held-out sets is kept.

    A validation draws tokens for the true latents of the held-out sets.

    Args:
        flow: a new flow; its scales are taken from ``sample``, or with the weights from its teacher.
        sample: all token sets; the last ``config.num_validation`` are held out.
        config: how to train.
        seed: decides batches and validation noise, but not the initial weights.
        run_dir: folder of checkpoints and logs; a run in it is resumed.
        keep_scales: train a flow further, with the weights and scales that it has.
    """
    training, held_out = sample[: len(sample) - config.num_validation], sample[len(sample) - config.num_validation :]
    held_out = held_out[: config.num_validated]
    latent, energy = Latent.of(held_out), parton_energy(held_out.flavour, held_out.pt)
    module: nn.Module = flow
    if config.distil is not None:
        module = student_of(flow, config.distil, run_dir, further=keep_scales)
    elif not keep_scales:
        first = training[:_SETS_PER_BLOCK]
        given = given_of(first)
        flow.set_scales(given, coordinates(first, given))
    batches = TrainingSet(flow, training, num_sets=config.batch_size, seed=seed)

    def validate(module: nn.Module) -> dict[str, float]:
        trained = module.flow if isinstance(module, Student) else module
        assert isinstance(trained, SetFlow)
        noise = torch.Generator().manual_seed(seed)
        return distance(held_out, replace(held_out, p4=sample_flow(trained, held_out, energy, latent, noise)))

    return fit(module, batches, config.loop, run_dir, validate=validate, select="w1")


class TrainingSet:
    """Training batches of a flow: the batch of a step is a function of the step alone.

    Args:
        flow: gives the standardisation (call ``flow.set_scales`` before).
        sample: training data.
        num_sets: sets in a batch, of all lengths.
        seed: decides order, noise, noise levels and reflections.
    """

    def __init__(self, flow: SetFlow, sample: TokenSample, *, num_sets: int, seed: int) -> None:
        self.flow, self.num_sets, self.seed, self.offsets = flow, num_sets, seed, sample.offsets
        self.x = np.empty((len(sample.species), 3), np.float32)
        self.species = np.empty(len(sample.species), np.uint8)
        self.carrier = np.empty(len(sample.species), np.bool_)
        self.mass = np.empty(len(sample.species), np.float32)
        self.energy = np.empty(len(sample), np.float32)
        context = []
        for start in range(0, len(sample), _SETS_PER_BLOCK):
            rows = slice(start, start + _SETS_PER_BLOCK)
            part = sample[rows]
            given = given_of(part)
            order = np.lexsort((part.carrier, part.species, part.index))
            flat = slice(sample.offsets[start], sample.offsets[start] + len(order))
            self.x[flat] = coordinates(part, given).numpy()[order]
            self.species[flat], self.carrier[flat], self.mass[flat] = (
                part.species[order],
                part.carrier[order],
                part.mass[order],
            )
            self.energy[rows] = given.frame.energy.numpy()
            context.append(given.context().float())
        self.context = torch.cat(context)
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
        species, carrier = self.species[flat].astype(np.int64), self.carrier[flat]
        conditions = self.flow.conditions(
            self.context[torch.from_numpy(rows)],
            torch.from_numpy(self.energy[rows]),
            counts,
            torch.from_numpy(species),
            torch.from_numpy(carrier),
            torch.from_numpy(self.mass[flat]),
        )
        spread, mean = conditions.spread.numpy(), conditions.mean.numpy()
        x = self.x[flat].copy()
        x[:, 0] -= mean
        x /= spread
        x[:, 2] *= np.repeat(rng.choice(np.array([-1.0, 1.0], dtype=np.float32), len(rows)), counts)
        noise = rng.standard_normal(x.shape, dtype=np.float32)
        if config.coupling == "assignment":
            noise = couple(noise, x, np.repeat(np.arange(len(rows)), counts), species, carrier, self.mass[flat])
        sigma = draw_sigma(len(rows), config.time_mean, config.time_width, rng).astype(np.float32)
        return FlowBatch(torch.from_numpy(x), torch.from_numpy(noise), torch.from_numpy(sigma), conditions)


def couple(
    noise: NDArray[np.float32],
    x: NDArray[np.float32],
    index: Ints,
    species: Ints,
    carrier: NDArray[np.bool_],
    mass: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Permute noise among the equal tokens of each set by optimal transport, so that it lies closer to the data.

    The noise of a set stays Gaussian, and the paths from noise to data get straighter. Tokens are equal if they are of
    one species and one mass and no carriers: masses and carriers are conditions, and noise that followed these would
    not be Gaussian any more.

    Args:
        noise: normal numbers, (T, 3).
        x: data, (T, 3).
        index: the set of each token, in order, (T,).
        species: of the tokens, in order within a set, (T,).
        carrier: which tokens are carriers, the last ones of their species in their sets, (T,).
        mass: of the tokens in GeV, (T,).

    Returns:
        The permuted noise, (T, 3).

    References:
        Tong et al., Improving and generalizing flow-based generative models with minibatch optimal transport, 2023,
        arXiv:2302.00482.
    """
    from scipy.optimize import linear_sum_assignment

    group = (index * len(SPECIES) + species) * 2 + carrier
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sizes = np.diff(starts, append=len(group))
    equal = (np.minimum.reduceat(mass, starts) == np.maximum.reduceat(mass, starts)) & ~carrier[starts]
    result = noise.copy()
    # of two tokens, exchange the noise if that is closer
    twins = starts[equal & (sizes == 2)]
    exchange = twins[((x[twins] - x[twins + 1]) * (noise[twins] - noise[twins + 1])).sum(-1) < 0]
    result[exchange], result[exchange + 1] = noise[exchange + 1], noise[exchange]
    several = equal & (sizes > 2)
    for start, size in zip(starts[several], sizes[several], strict=True):
        end = start + size
        # minimal sum of |x - noise|^2 is maximal sum of products
        rows, columns = linear_sum_assignment(x[start:end] @ noise[start:end].T, maximize=True)
        result[start + rows] = noise[start + columns]
    return result
