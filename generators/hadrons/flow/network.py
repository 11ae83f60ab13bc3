"""The velocity of the flow: what is given of sets, as a network takes it, and the network that places their tokens.

References:
    Lipman et al., Flow matching for generative modeling, 2022, arXiv:2210.02747.
    Tancik et al., Fourier features let networks learn high frequency functions, 2020, arXiv:2006.10739.
    Qu, Li, Qian, Particle transformer for jet tagging (pair features in attention), 2022, arXiv:2202.03772.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastsim.event import Floats, Ints, offsets_from_counts, ragged_indices
from generators.hadrons.flow.coordinates import K0, JetFrame, encode, length, sums
from generators.hadrons.latent import FEATURES, NUM_TOTAL, Latent
from generators.hadrons.tokens import CARRIER, CONTENT, FLAVOURS, NUM_CONTENT, TYPE, TYPES, TokenSample
from generators.nn.flow_matching import Solver, interpolate, preconditioning
from generators.nn.sets import Layout, NetworkConfig, Pairs, SetDenoiser

_NUM_TYPES = len(TYPES)
_NUM_COORDINATES = 3
_FOURIER = torch.tensor([1.0, 2.0, 4.0])
"""Wave numbers of the coordinates' Fourier features."""
_TIME_WAVES = torch.arange(1, 9) * torch.pi / 2
"""Wave numbers of the noise level's Fourier features."""
_STATE_FEATURES = (
    "cos_phi",
    "sin_phi",
    "stretched",  # s of the coordinates
    "log_tan_theta",
    "rapidity",
    "log_z",
    "log_energy_over_leading_1",
    "log_energy_over_leading_2",
    "saturated_1",  # tanh of the two before, steep about the leading energies
    "saturated_2",
)
_TOKEN_FEATURES = (*_STATE_FEATURES, "log_mass", "log_mass_over_energy", "is_carrier")
"""What a token is told besides its coordinates and their Fourier features; its :data:`CONTENT` follows."""
_SET_FEATURES = (
    "log_sum_energy",
    "log_sum_pz",
    "log_sum_z2",
    "log_sum_pt",
    "log_sum_pt_tan_theta",
    "balance_x",  # asinh of the sums of px and py
    "balance_y",
    "log_highest_z",
    "log_highest_z_over_leading",
)
"""Energies and momenta of these features are over E*."""
_PAIR_FEATURES = ("log_kt_i", "log_kt_j", "log_p_ratio", "rapidity_difference")
"""Of tokens i and j: transverse momentum of each about the other's direction, ratio of momenta, pseudorapidities."""
_CONTEXT = (
    *("log_pt", "log_scale", "log_energy_fraction", "log_mass_fraction", "log_velocity", "log_transverse_momentum"),
    *("log_size", "log_free_mass"),
)
"""First columns of a context; one-hot flavours, the latent's extras and log(1 + counts of types) follow."""
_LOG_ENERGY_FRACTION = _CONTEXT.index("log_energy_fraction")
_LOG_Z1, _LOGIT_Z2, _LOG_Z_CARRIER = (
    len(_CONTEXT) + len(FLAVOURS) + FEATURES.index(name) - NUM_TOTAL for name in ("z1", "z2", "z_carrier")
)
_NUM_CONTEXT = len(_CONTEXT) + len(FLAVOURS) + len(FEATURES) - NUM_TOTAL + _NUM_TYPES
_VELOCITY_OFFSET, _FREE_MASS_OFFSET = 1e-3, 1e-4
_LEAST_Z, _LARGEST_LOGIT = 1e-3, 8.0
"""Bounds of the momentum fraction that the latent gives the carrier, and of its logit."""


@dataclass(frozen=True)
class FlowConfig:
    """Network, training distribution and sampler of a :class:`SetFlow`.

    Attributes:
        network: sizes of the network; the number of its pair features is put in.
        coupling: of noise to data among the tokens of one set and narrow species, in training: "assignment" solves
            the optimal transport.
        time_mean: mean of logit(sigma) in training.
        time_width: standard deviation of logit(sigma) in training.
        length_power: a token of a set of n weighs n^(-length_power) in the loss.
        solver: see :func:`generators.nn.flow_matching.scheduler`.
        num_inference_steps: network evaluations at most.
        levels: noise levels between the steps of a flow that was distilled to these, from 1 to 0; else none.
        shift: see :func:`generators.nn.flow_matching.scheduler`.
        batch_tokens: largest number of tokens in a batch when sampling.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    coupling: Literal["none", "assignment"] = "assignment"
    time_mean: float = 0.0
    time_width: float = 1.0
    length_power: float = 0.5
    solver: Solver = "rk2"
    num_inference_steps: int = 16
    levels: tuple[float, ...] = ()
    shift: float = 1.0
    batch_tokens: int = 8192


@dataclass(frozen=True)
class Given:
    """What the flow is given of N sets with M tokens: float64 tensors, in which results are differentiable.

    Attributes:
        flavour: of the partons, one of ``tokens.FLAVOURS``, (N,).
        pt: of the partons in GeV, (N,).
        scale: where their showers start, in GeV, (N,).
        energy: half of the masses of the pairs in GeV, (N,).
        total: four-momenta of the sets in the axis frame in GeV, (N, 4).
        extras: of the latents, (N, 5).
        counts: tokens of each set, (N,).
        species: of the tokens, (M,).
        carrier: which of them carry the parton's quark, (M,).
        mass: of the tokens in GeV, (M,).
    """

    flavour: Tensor
    pt: Tensor
    scale: Tensor
    energy: Tensor
    total: Tensor
    extras: Tensor
    counts: Ints
    species: Tensor
    carrier: Tensor
    mass: Tensor

    @classmethod
    def of(cls, tokens: TokenSample, energy: Floats, latent: Latent) -> Given:
        """Gather what is given of token sets, whose momenta are not looked at.

        Args:
            tokens: N sets.
            energy: half of the masses of the pairs in GeV, (N,).
            latent: of the sets, with extras.
        """
        of_sets = (tokens.pt, tokens.scale, energy, latent.total, latent.extras)
        pt, scale, half, total, extras = (torch.as_tensor(np.asarray(a, dtype=np.float64)) for a in of_sets)
        species, carrier = torch.as_tensor(tokens.species), torch.as_tensor(tokens.carrier)
        mass = torch.as_tensor(np.asarray(tokens.mass, dtype=np.float64))
        flavour = torch.as_tensor(np.asarray(tokens.flavour))
        return cls(flavour, pt, scale, half, total, extras, np.asarray(tokens.counts), species, carrier, mass)

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.pt.device

    def to(self, device: str | torch.device) -> Given:
        """Return the same on a device."""
        return self._mapped(lambda of_sets: of_sets.to(device), lambda of_tokens: of_tokens.to(device), self.counts)

    @property
    def index(self) -> Tensor:
        """The set of each token, (M,)."""
        return torch.from_numpy(np.repeat(np.arange(len(self)), self.counts)).to(self.device)

    @property
    def frame(self) -> JetFrame:
        """The jet frames of the sets."""
        return JetFrame.of(self.total)

    @property
    def types(self) -> Tensor:
        """The type of each token, (M,)."""
        return torch.where(self.carrier, CARRIER, torch.from_numpy(TYPE).to(self.device)[self.species])

    def context(self) -> Tensor:
        """Compute the contexts (N, C) before standardisation: parton, total momentum, extras and counts."""
        num, index = len(self), self.index
        across = length(self.total[:, 1], self.total[:, 2])
        velocity = across / self.total[:, 0]
        p2 = (self.total[:, 1:] ** 2).sum(-1)
        mass = (self.total[:, 0] ** 2 - p2).clamp(min=1e-6).sqrt()
        free = (1 - sums(self.mass, index, num) / mass).clamp(min=0.0)
        types = torch.bincount(index * _NUM_TYPES + self.types, minlength=num * _NUM_TYPES).view(num, _NUM_TYPES)
        columns = [
            self.pt.log(),
            (self.scale / self.pt).clamp(1e-3, 1.0).log(),
            (self.total[:, 0] / self.energy).log(),
            (mass / self.frame.energy).log(),
            (velocity + _VELOCITY_OFFSET).log(),
            torch.asinh(across / K0),
            torch.from_numpy(np.log(self.counts)).to(self.device),
            (free + _FREE_MASS_OFFSET).log(),
        ]
        one_hot = self.flavour[:, None] == torch.tensor(FLAVOURS, device=self.device)
        return torch.cat([torch.stack(columns, 1), one_hot.double(), self.extras, torch.log1p(types.double())], 1)

    def rows(self, rows: Ints) -> Given:
        """Return some of the sets."""
        flat = torch.from_numpy(ragged_indices(offsets_from_counts(self.counts), rows))
        number = torch.from_numpy(rows)
        return self._mapped(lambda of_sets: of_sets[number], lambda of_tokens: of_tokens[flat], self.counts[rows])

    def _mapped(self, sets: Callable[[Tensor], Tensor], tokens: Callable[[Tensor], Tensor], counts: Ints) -> Given:
        """Return what functions of the columns of sets and of those of tokens give."""
        return Given(
            flavour=sets(self.flavour),
            pt=sets(self.pt),
            scale=sets(self.scale),
            energy=sets(self.energy),
            total=sets(self.total),
            extras=sets(self.extras),
            counts=counts,
            species=tokens(self.species),
            carrier=tokens(self.carrier),
            mass=tokens(self.mass),
        )


def coordinates(sample: TokenSample, given: Given) -> Tensor:
    """Compute the coordinates (M, 3) of the tokens of a sample of whose sets ``given`` is known."""
    frame, index = given.frame, given.index
    p4 = torch.from_numpy(np.asarray(sample.p4, dtype=np.float64))
    return encode(frame.from_axis_frame(p4, index), frame.energy[index])


@dataclass(frozen=True)
class Conditions:
    """The conditions of N sets with T tokens, as the network takes them, in float32.

    Coordinates are ``spread`` times x, x of unit variance, plus ``mean`` for the first one.

    Attributes:
        kind: row of the embedding of each token, (T,).
        fixed: features of the tokens that do not depend on their momenta, (T, 3 + 8).
        context: of the sets, standardised, (N, C).
        energy: E* of the sets in GeV, (N,).
        leading: log of the two leading energies over E*, (N, 2).
        mass: of the tokens in GeV, (T,).
        mean: of the first coordinate, (T,).
        spread: of the coordinates, (T, 3).
        layout: which tokens belong to which set.
    """

    kind: Tensor
    fixed: Tensor
    context: Tensor
    energy: Tensor
    leading: Tensor
    mass: Tensor
    mean: Tensor
    spread: Tensor
    layout: Layout


@dataclass(frozen=True)
class FlowBatch:
    """A training batch: data ``x`` and ``noise`` (T, 3), noise levels ``sigma`` (N,) of the sets, their conditions."""

    x: Tensor
    noise: Tensor
    sigma: Tensor
    conditions: Conditions


def _leading(context: Tensor) -> Tensor:
    """Compute the log of the two leading energies over E* (N, 2), for tokens along the set's momentum."""
    first = context[:, _LOG_Z1] - context[:, _LOG_ENERGY_FRACTION]
    return torch.stack([first, first + F.logsigmoid(context[:, _LOGIT_Z2])], 1)


def _given_logit(context: Tensor, energy: Tensor, mass: Tensor, index: Tensor) -> Tensor:
    """Compute the first coordinate (T,) that tokens have with the energy that the latent gives the carrier."""
    fraction = (context[:, _LOG_Z_CARRIER] - context[:, _LOG_ENERGY_FRACTION]).exp()[index]
    z = (fraction**2 - (mass / energy[index]) ** 2).clamp(_LEAST_Z**2, 1.0).sqrt().clamp(max=1 - 1e-6)
    return (z.log() - torch.log1p(-z)).clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT)


class SetFlow(nn.Module):
    """Conditional flow over the coordinates of all tokens of a set.

    ``flow(x, sigma, conditions)`` is the velocity u = E[noise - data | x].
    """

    context_mean: Tensor
    context_spread: Tensor
    type_mean: Tensor
    slopes: Tensor
    log_spread: Tensor
    carrier_spread: Tensor

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.network = SetDenoiser(
            _NUM_COORDINATES * (1 + 2 * len(_FOURIER)) + len(_TOKEN_FEATURES) + NUM_CONTENT,
            2 * _NUM_TYPES,  # each type, and each type as a carrier
            _NUM_CONTEXT + 2 * len(_TIME_WAVES) + 1 + len(_SET_FEATURES),
            _NUM_COORDINATES,
            config.network,
        )
        self.register_buffer("context_mean", torch.zeros(_NUM_CONTEXT))
        self.register_buffer("context_spread", torch.ones(_NUM_CONTEXT))
        # mean of the first coordinate: that of the type plus slopes on (log E*, log n)
        self.register_buffer("type_mean", torch.zeros(_NUM_TYPES))
        self.register_buffer("slopes", torch.zeros(2))
        # log of the spread of each coordinate: columns of 1, log E*, log n
        self.register_buffer("log_spread", torch.zeros(3, _NUM_COORDINATES))
        self.register_buffer("carrier_spread", torch.ones(()))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.context_mean.device

    def set_scales(self, given: Given, x: Tensor) -> None:
        """Set means and spreads of contexts and coordinates from training sets and the coordinates x (M, 3)."""
        context, index, types, rest = given.context(), given.index, given.types, ~given.carrier
        self.context_mean.copy_(context.mean(0))
        self.context_spread.copy_(context.std(0).clamp(min=1e-2))
        energy = given.frame.energy
        regressors = torch.stack([energy.log(), torch.from_numpy(np.log(given.counts))], 1)[index]
        said = _given_logit(context, energy, given.mass, index)
        columns = torch.cat([regressors, (x[:, 0] - torch.where(rest, 0.0, said))[:, None]], 1)
        totals = torch.bincount(types, minlength=_NUM_TYPES) + 1.0
        means = sums(columns, types, _NUM_TYPES) / totals[:, None]
        centred = columns - means[types]
        slopes = torch.linalg.lstsq(centred[rest, :2], centred[rest, 2:]).solution[:, 0]
        self.slopes.copy_(slopes)
        self.type_mean.copy_(means[:, 2] - means[:, :2] @ slopes)
        self.type_mean[CARRIER] = means[CARRIER, 2]
        residual = centred[:, 2] - centred[:, :2] @ slopes
        if not bool(rest.all()):
            self.carrier_spread.copy_(centred[~rest, 2].std().clamp(min=1e-2))
        design = torch.cat([torch.ones_like(regressors[:, :1]), regressors], 1)
        for column, values in enumerate((residual, x[:, 1], x[:, 2])):
            rows = rest if column == 0 else torch.ones_like(rest)
            square = values[rows] ** 2
            fit = torch.linalg.lstsq(design[rows], (square + 1e-3).log()[:, None]).solution[:, 0]
            fit[0] += (square / (design[rows] @ fit).exp()).mean().log()  # so that the mean is 1, not that of the logs
            self.log_spread[:, column].copy_(fit / 2)

    def conditions(
        self, context: Tensor, energy: Tensor, counts: Ints, species: Tensor, carrier: Tensor, mass: Tensor
    ) -> Conditions:
        """Compute the conditions of sets, in float32.

        Args:
            context: result of :meth:`Given.context`, (N, C).
            energy: E* of the sets in GeV, (N,).
            counts: tokens of each set, (N,).
            species: of the tokens, (T,).
            carrier: which of them carry the parton's quark, (T,).
            mass: of the tokens in GeV, (T,).
        """
        numbers, energy, mass = context.float(), energy.float(), mass.float()
        layout = Layout.of(counts, self.config.network).to(energy.device)
        index, log_energy = layout.index, energy.log()
        regressors = torch.stack([log_energy, layout.counts.float().log()], 1)
        own = torch.from_numpy(TYPE).to(energy.device)[species]
        types = torch.where(carrier, CARRIER, own)
        base = torch.where(carrier, _given_logit(numbers, energy, mass, index), (regressors @ self.slopes)[index])
        spread = (self.log_spread[0] + regressors @ self.log_spread[1:]).exp()[index]
        first = torch.where(carrier, self.carrier_spread, spread[:, 0])
        log_mass = (mass + 0.1).log()
        fixed = torch.cat(
            [
                torch.stack([log_mass, (log_mass - log_energy[index]) / 3, carrier.float()], 1),
                torch.from_numpy(CONTENT).to(energy.device)[species].float(),
            ],
            1,
        )
        return Conditions(
            own + _NUM_TYPES * carrier,
            fixed,
            ((numbers - self.context_mean) / self.context_spread).clamp(-6, 6),
            energy,
            _leading(numbers),
            mass,
            self.type_mean[types] + base,
            torch.cat([first[:, None], spread[:, 1:]], 1),
            layout,
        )

    def set_precision(self, precision: Literal["float32", "bfloat16"]) -> None:
        """Set the precision of the matrix products: "float32" for derivatives that differences can be held against."""
        network = replace(self.config.network, precision=precision)
        self.config, self.network.config = replace(self.config, network=network), network

    def conditions_of(self, given: Given) -> Conditions:
        """Compute the conditions of what is given of sets."""
        return self.conditions(
            given.context(), given.frame.energy, given.counts, given.species, given.carrier, given.mass
        )

    def forward(self, x: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        """Compute the velocities (T, 3) at noisy coordinates x (T, 3), noise levels sigma (N,) and conditions."""
        layout = conditions.layout
        level = sigma[layout.index, None]
        c_in, c_skip, c_out = preconditioning(level)
        tokens, of_sets, pairs = _features(x, conditions, with_pairs=self.config.network.pair_features > 0)
        waves = x[:, :, None] * _FOURIER.to(x.device)
        features = torch.cat([c_in * x, waves.sin().flatten(1), waves.cos().flatten(1), tokens, conditions.fixed], 1)
        time = sigma[:, None] * _TIME_WAVES.to(x.device)
        log_noise = torch.log(sigma[:, None] + 1e-2)
        context = torch.cat([conditions.context, time.sin(), time.cos(), log_noise, of_sets], 1)
        result: Tensor = c_skip * x + c_out * self.network(features, conditions.kind, context, layout, pairs)
        return result

    def loss(self, batch: FlowBatch) -> dict[str, Tensor]:
        """Compute the weighted squared error of the velocity, "loss", and its parts.

        "early" and "late" are the errors, unweighted, of sets with a noise level above and below 0.5.
        """
        layout = batch.conditions.layout
        x = interpolate(batch.x, batch.noise, batch.sigma[layout.index, None])
        error = self(x, batch.sigma, batch.conditions) - (batch.noise - batch.x)
        of_sets = layout.sum(error.detach().square().sum(dim=1)) / layout.counts
        early = (batch.sigma > 0.5).float()
        return {
            "loss": weighted_error(error, layout, self.config.length_power),
            "early": (of_sets * early).sum() / early.sum().clamp(min=1),
            "late": (of_sets * (1 - early)).sum() / (1 - early).sum().clamp(min=1),
        }


def weighted_error(error: Tensor, layout: Layout, length_power: float) -> Tensor:
    """Compute the mean squared error of tokens (T, 3), those of a set of n with the weight n^(-length_power)."""
    of_sets = layout.sum(error.square().sum(dim=1)) / layout.counts
    weight = layout.counts.float() ** (1 - length_power)
    return (of_sets * weight).sum() / weight.sum()


def _features(x: Tensor, conditions: Conditions, *, with_pairs: bool) -> tuple[Tensor, Tensor, list[Pairs] | None]:
    """Compute physical features of tokens, sets and pairs from noisy coordinates (T, 3), read as if they were data.

    Returns:
        The columns ``_STATE_FEATURES``, (T, 10), and ``_SET_FEATURES``, (N, 9), and the pairs of each bucket.
    """
    layout = conditions.layout
    index = layout.index
    raw = x * conditions.spread
    logit = raw[:, 0] + conditions.mean
    stretched = (raw[:, 1] ** 2 + raw[:, 2] ** 2 + 1e-12).sqrt()
    unit = raw[:, 1:] / stretched[:, None]
    log_z = F.logsigmoid(logit).clamp(min=-16)
    z, log_energy = log_z.exp(), conditions.energy.log()[index]
    log_sinh = stretched + torch.log(-torch.expm1(-2 * stretched)) - np.log(2.0)
    log_tan = (log_sinh + np.log(K0) - log_z - log_energy).clamp(-12, 12)
    tangent = log_tan.exp()
    cos = torch.rsqrt(1 + tangent**2)
    sin = cos * tangent
    across = z * sin
    rapidity = torch.asinh(1 / tangent)
    energy = torch.sqrt(z**2 + (conditions.mass / conditions.energy[index]) ** 2)
    ratio = (energy.log()[:, None] - conditions.leading[index]).clamp(-9, 9)
    columns = [unit[:, 0], unit[:, 1], stretched / 3, log_tan / 3, rapidity / 3, log_z / 3]
    token = torch.cat([torch.stack(columns, 1), ratio / 3, torch.tanh(4 * ratio)], 1)
    totals = layout.sum(
        torch.stack([energy, z * cos, z**2, across, across * tangent, across * unit[:, 0], across * unit[:, 1]], 1)
    )
    logs = torch.log(totals[:, :5] + 1e-6)
    balance = torch.asinh(10 * totals[:, 5:])
    largest = torch.log(layout.maximum(z) + 1e-6)[:, None]
    of_sets = torch.cat([logs, balance, largest, (largest - conditions.leading[:, :1]).clamp(-3, 3)], 1)
    if not with_pairs:
        return token, of_sets, None
    log_p = log_z + log_energy
    direction = sin[:, None] * unit
    padded = layout.padded(torch.cat([direction, log_p[:, None], rapidity[:, None]], 1))
    return token, of_sets, [_pairs(part) for part in padded]


def _pairs(tokens: Tensor) -> Pairs:
    """Compute the pairs of a bucket from (direction x, y, log p, rapidity) of its tokens, (sets, length, 4)."""
    difference = tokens[:, None, :, :] - tokens[:, :, None, :]  # of j and i, at [:, i, j]
    distance = (difference[..., :2].square().sum(-1) + 1e-14).sqrt()
    relative = distance * (tokens[..., 2].exp() / K0)[:, :, None]
    own = torch.asinh(relative)
    other = torch.asinh(distance * (tokens[..., 2].exp() / K0)[:, None, :])
    features = torch.stack([own / 3, other / 3, difference[..., 2] / 3, difference[..., 3] / 3], -1)
    return Pairs(features, (own / (3 * distance))[..., None] * difference[..., :2])
