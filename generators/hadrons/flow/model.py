"""The diffusion model: kinematics of a hadron set by flow matching, given its parton and latent.

The latent holds the counts of a set by species, its total four-momentum and its leading energy fractions
(:mod:`generators.hadrons.latent`). The flow places the tokens in the set's jet frame, in the coordinates of
:mod:`generators.hadrons.flow.coordinates`, and a projection makes the total exact. Short-lived tokens then decay.

References:
    Lipman et al., Flow matching for generative modeling, 2022, arXiv:2210.02747.
    Tancik et al., Fourier features let networks learn high frequency functions, 2020, arXiv:2006.10739.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fastsim.event import Floats, Ints, offsets_from_counts, ragged_indices
from fastsim.event.kinematics import mass_squared
from fastsim.sources.domains import Domain
from generators.hadrons.flow.coordinates import K0, JetFrame, decode, encode, pin_leading, project
from generators.hadrons.latent import FEATURES, NUM_TOTAL, Latent, LatentModel
from generators.hadrons.source import HadronModel
from generators.hadrons.tokens import FLAVOURS, SPECIES, SPECIES_MASS, TokenSample, parton_energy
from generators.nn.flow_matching import Solver, integrate, interpolate, preconditioning
from generators.nn.quantise import pack, unpack
from generators.nn.sets import Layout, NetworkConfig, SetDenoiser
from generators.training.config import from_dict

_NUM_SPECIES = len(SPECIES)
_NUM_COORDINATES = 3
_FOURIER = torch.tensor([1.0, 2.0, 4.0])
"""Wave numbers of the coordinates' Fourier features."""
_TIME_WAVES = torch.arange(1, 9) * torch.pi / 2
"""Wave numbers of the noise level's Fourier features."""
_TOKEN_FEATURES = (
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
_CONTEXT = ("log_pt", "log_energy_fraction", "log_mass_fraction", "log_velocity", "transverse_momentum", "log_size")
"""First columns of a context; one-hot flavours, the latent's extras and log(1 + counts) follow."""
_LOG_ENERGY_FRACTION, _LOG_VELOCITY = _CONTEXT.index("log_energy_fraction"), _CONTEXT.index("log_velocity")
_LOG_Z1, _LOGIT_Z2 = (len(_CONTEXT) + len(FLAVOURS) + FEATURES.index(name) - NUM_TOTAL for name in ("z1", "z2"))
_VELOCITY_OFFSET = 1e-3
_SPREAD, _LOG_RADIUS_X, _SLOPE_X, _LOG_RADIUS_Y, _SLOPE_Y = range(5)
"""Entries of the buffer ``radii``: spread of the first coordinate; radii of the others, log r = a + b log E*."""


@dataclass(frozen=True)
class FlowConfig:
    """Network, training distribution and sampler of a :class:`SetFlow`.

    Attributes:
        num_extras: features of the latent that do not belong to the total momentum.
        network: sizes of the network.
        coupling: of noise to data among the tokens of one set and species, in training: "assignment" solves the optimal
            transport, "sorted" orders both by their first coordinate.
        time_mean: mean of logit(sigma) in training.
        time_width: standard deviation of logit(sigma) in training.
        length_power: a token of a set of n weighs n^(-length_power) in the loss.
        solver: see :func:`generators.nn.flow_matching.scheduler`.
        num_inference_steps: network evaluations at most.
        shift: see :func:`generators.nn.flow_matching.scheduler`.
        pinned: how many of the most energetic tokens, 0 to 2, take the energies that the latent gives them.
        batch_tokens: largest number of tokens in a batch when sampling.
    """

    num_extras: int
    network: NetworkConfig = field(default_factory=NetworkConfig)
    coupling: Literal["none", "sorted", "assignment"] = "assignment"
    time_mean: float = 0.0
    time_width: float = 1.0
    length_power: float = 0.5
    solver: Solver = "heun"
    num_inference_steps: int = 16
    shift: float = 1.0
    pinned: int = 1
    batch_tokens: int = 8192


@dataclass(frozen=True)
class Conditions:
    """The conditions of N sets with T tokens, as the network takes them.

    Coordinates are ``spread`` times x, x of unit variance, plus ``mean`` for the first one.

    Attributes:
        species: of the tokens, (T,).
        context: of the sets, standardised, (N, C).
        energy: E* of the sets in GeV, (N,).
        leading: log of the two leading energies over E*, (N, 2).
        mass: of the tokens in GeV, (T,).
        mean: of the first coordinate, (T,).
        spread: of the coordinates, (T, 3).
        layout: which tokens belong to which set.
    """

    species: Tensor
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


def context_numbers(flavour: Ints, pt: Floats, latent: Latent) -> Floats:
    """Compute the contexts (N, C) before standardisation: parton, total momentum, extras and counts.

    Args:
        flavour: of the partons, one of ``tokens.FLAVOURS``, (N,).
        pt: of the partons in GeV, (N,).
        latent: of the sets, with extras.
    """
    frame = JetFrame.of(latent.total)
    mass = np.sqrt(np.maximum(mass_squared(latent.total), 1e-6))
    parton = parton_energy(flavour, pt)
    columns = [
        np.log(pt),
        np.log(frame.energy / parton),
        np.log(mass / frame.energy),
        np.log(frame.velocity + _VELOCITY_OFFSET),
        frame.velocity * frame.energy,
        np.log(latent.counts.sum(axis=1)),
    ]
    one_hot = np.asarray(flavour)[:, None] == np.array(FLAVOURS)
    return np.concatenate([np.stack(columns, axis=1), one_hot, latent.extras, np.log1p(latent.counts)], axis=1)


def _leading(numbers: Tensor) -> Tensor:
    """Compute the log of the two leading energies in the jet frame over E* (N, 2), for tokens along the axis.

    ``numbers`` (N, C) is the result of :func:`context_numbers`, with log z1 and logit z2/z1 among the extras.
    """
    velocity = numbers[:, _LOG_VELOCITY].exp() - _VELOCITY_OFFSET
    first = numbers[:, _LOG_Z1] - numbers[:, _LOG_ENERGY_FRACTION] + 0.5 * torch.log1p(-(velocity**2))
    return torch.stack([first, first + F.logsigmoid(numbers[:, _LOGIT_Z2])], dim=1)


class SetFlow(nn.Module):
    """Conditional flow over the coordinates of all tokens of a set.

    ``flow(x, sigma, conditions)`` is the velocity u = E[noise - data | x].
    """

    context_mean: Tensor
    context_spread: Tensor
    species_mean: Tensor
    slopes: Tensor
    radii: Tensor

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        num_context = len(_CONTEXT) + len(FLAVOURS) + config.num_extras + _NUM_SPECIES
        self.network = SetDenoiser(
            _NUM_COORDINATES * (1 + 2 * len(_FOURIER)) + len(_TOKEN_FEATURES),
            _NUM_SPECIES,
            num_context + 2 * len(_TIME_WAVES) + 1 + len(_SET_FEATURES),
            _NUM_COORDINATES,
            config.network,
        )
        self.register_buffer("context_mean", torch.zeros(num_context))
        self.register_buffer("context_spread", torch.ones(num_context))
        # mean of the first coordinate: that of the species plus slopes on (log E*, log n)
        self.register_buffer("species_mean", torch.zeros(_NUM_SPECIES))
        self.register_buffer("slopes", torch.zeros(2))
        self.register_buffer("radii", torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0]))

    def set_scales(self, sample: TokenSample, latent: Latent) -> None:
        """Set means and spreads of coordinates and contexts from a training sample and its latents."""
        numbers = context_numbers(sample.flavour, sample.pt, latent)
        self.context_mean.copy_(torch.from_numpy(numbers.mean(axis=0)))
        self.context_spread.copy_(torch.from_numpy(np.maximum(numbers.std(axis=0), 1e-2)))
        x, energy, index = coordinates(sample, latent)
        regressors = np.stack([np.log(energy), np.log(np.diff(sample.offsets))], axis=1)[index]
        totals = np.bincount(sample.species, minlength=_NUM_SPECIES) + 1.0

        def centred(values: Floats) -> tuple[Floats, Floats]:
            means = np.bincount(sample.species, values, minlength=_NUM_SPECIES) / totals
            return means, values - means[sample.species]

        parts = [centred(column) for column in (regressors[:, 0], regressors[:, 1], x[:, 0])]
        design = np.stack([parts[0][1], parts[1][1]], axis=1)
        slopes = np.linalg.lstsq(design, parts[2][1], rcond=None)[0]
        means = parts[2][0] - slopes[0] * parts[0][0] - slopes[1] * parts[1][0]
        residual = parts[2][1] - design @ slopes
        radii = [float(residual.std())]
        for axis in (1, 2):
            slope, offset = np.polyfit(regressors[:, 0], np.log(x[:, axis] ** 2 + 1e-3), 1)
            scale = np.sqrt(np.mean(x[:, axis] ** 2 / np.exp(offset + slope * regressors[:, 0])))
            radii += [float(np.log(scale) + offset / 2), float(slope / 2)]
        self.species_mean.copy_(torch.from_numpy(means))
        self.slopes.copy_(torch.from_numpy(slopes))
        self.radii.copy_(torch.tensor(radii))

    def conditions(self, context: NDArray[np.floating[Any]], energy: Floats, counts: Ints, species: Ints) -> Conditions:
        """Compute the conditions of sets.

        Args:
            context: result of :func:`context_numbers`, (N, C).
            energy: E* of the sets in GeV, (N,).
            counts: tokens of each set, (N,).
            species: of the tokens, (T,).
        """
        numbers = torch.from_numpy(np.asarray(context, dtype=np.float32))
        kinds, log_energy = torch.from_numpy(species), torch.from_numpy(np.log(energy).astype(np.float32))
        layout = Layout.of(counts, self.config.network)
        regressors = torch.stack([log_energy, layout.counts.float().log()], dim=1)
        mean = self.species_mean[kinds] + (regressors @ self.slopes)[layout.index]
        spread = torch.stack(
            [
                self.radii[_SPREAD].expand(len(energy)),
                torch.exp(self.radii[_LOG_RADIUS_X] + self.radii[_SLOPE_X] * log_energy),
                torch.exp(self.radii[_LOG_RADIUS_Y] + self.radii[_SLOPE_Y] * log_energy),
            ],
            dim=1,
        )
        return Conditions(
            kinds,
            ((numbers - self.context_mean) / self.context_spread).clamp(-6, 6),
            log_energy.exp(),
            _leading(numbers),
            torch.from_numpy(SPECIES_MASS.astype(np.float32))[kinds],
            mean,
            spread[layout.index],
            layout,
        )

    def forward(self, x: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        """Compute the velocities (T, 3) at noisy coordinates x (T, 3), noise levels sigma (N,) and conditions."""
        layout = conditions.layout
        level = sigma[layout.index, None]
        c_in, c_skip, c_out = preconditioning(level)
        tokens, sums = _features(x, conditions)
        waves = x[:, :, None] * _FOURIER
        features = torch.cat([c_in * x, waves.sin().flatten(1), waves.cos().flatten(1), tokens], dim=1)
        time = sigma[:, None] * _TIME_WAVES
        log_noise = torch.log(sigma[:, None] + 1e-2)
        context = torch.cat([conditions.context, time.sin(), time.cos(), log_noise, sums], dim=1)
        result: Tensor = c_skip * x + c_out * self.network(features, conditions.species, context, layout)
        return result

    def loss(self, batch: FlowBatch) -> dict[str, Tensor]:
        """Compute the weighted squared error of the velocity, "loss", and its parts.

        "early" and "late" are the errors, unweighted, of sets with a noise level above and below 0.5.
        """
        layout = batch.conditions.layout
        x = interpolate(batch.x, batch.noise, batch.sigma[layout.index, None])
        error = (self(x, batch.sigma, batch.conditions) - (batch.noise - batch.x)).square().sum(dim=1)
        of_sets = layout.sum(error) / layout.counts
        weight = layout.counts.float() ** (1 - self.config.length_power)
        early = (batch.sigma > 0.5).float()
        return {
            "loss": (of_sets * weight).sum() / weight.sum(),
            "early": (of_sets * early).sum() / early.sum().clamp(min=1),
            "late": (of_sets * (1 - early)).sum() / (1 - early).sum().clamp(min=1),
        }

    @torch.no_grad()
    def tokens(
        self,
        flavour: Ints,
        pt: Floats,
        latent: Latent,
        noise: torch.Generator,
        *,
        num_inference_steps: int | None = None,
        solver: Solver | None = None,
        shift: float | None = None,
    ) -> TokenSample:
        """Draw token sets in the axis frame.

        Args:
            flavour: of the partons, one of ``tokens.FLAVOURS``, (N,).
            pt: of the partons in GeV, (N,).
            latent: of the sets, with extras.
            noise: all randomness.
            num_inference_steps: instead of the config's, as for the other keywords.
            solver: of the flow.
            shift: of the noise levels.
        """
        counts = latent.counts.sum(axis=1)
        offsets = offsets_from_counts(counts)
        species = np.repeat(np.tile(np.arange(_NUM_SPECIES), len(counts)), latent.counts.reshape(-1))
        start = torch.randn(len(species), 3, generator=noise)
        context, frame = context_numbers(flavour, pt, latent), JetFrame.of(latent.total)
        x = np.zeros((len(species), 3))
        for rows in _batches(counts, self.config.batch_tokens):
            flat = ragged_indices(offsets, rows)
            conditions = self.conditions(context[rows], frame.energy[rows], counts[rows], species[flat])

            def velocity(state: Tensor, sigma: float, conditions: Conditions = conditions) -> Tensor:
                result: Tensor = self(state, torch.full((len(conditions.context),), sigma), conditions)
                return result

            end = integrate(
                velocity,
                start[flat],
                solver=solver or self.config.solver,
                num_inference_steps=num_inference_steps or self.config.num_inference_steps,
                shift=self.config.shift if shift is None else shift,
            )
            scaled = end * conditions.spread
            scaled[:, 0] += conditions.mean
            x[flat] = scaled.double().numpy()
        index = np.repeat(np.arange(len(counts)), counts)
        mass = SPECIES_MASS[species]
        p4 = decode(x, frame.energy[index], mass)
        if self.config.pinned:
            leading = _leading(torch.from_numpy(context))[:, : self.config.pinned].numpy()
            p4 = pin_leading(p4, mass, offsets, frame, leading)
        p4 = project(p4, mass, offsets, frame)
        return TokenSample(np.asarray(flavour), np.asarray(pt), offsets, species, frame.to_axis_frame(p4, index))


def _features(x: Tensor, conditions: Conditions) -> tuple[Tensor, Tensor]:
    """Compute physical features of tokens and of sets from noisy coordinates (T, 3), read as if they were data.

    Returns:
        The columns ``_TOKEN_FEATURES``, (T, 10), and ``_SET_FEATURES``, (N, 9).
    """
    layout = conditions.layout
    raw = x * conditions.spread
    logit = raw[:, 0] + conditions.mean
    stretched = raw[:, 1:].norm(dim=1).clamp(min=1e-6)
    unit = raw[:, 1:] / stretched[:, None]
    log_z = F.logsigmoid(logit)
    z, log_energy = log_z.exp(), conditions.energy.log()[layout.index]
    log_sinh = stretched + torch.log(-torch.expm1(-2 * stretched)) - np.log(2.0)
    log_tan = (log_sinh + np.log(K0) - log_z - log_energy).clamp(-12, 12)
    tangent = log_tan.exp()
    cos = torch.rsqrt(1 + tangent**2)
    across = z * cos * tangent
    rapidity = torch.asinh(1 / tangent)
    energy = torch.sqrt(z**2 + (conditions.mass / conditions.energy[layout.index]) ** 2)
    ratio = (energy.log()[:, None] - conditions.leading[layout.index]).clamp(-9, 9)
    columns = [unit[:, 0], unit[:, 1], stretched / 3, log_tan / 3, rapidity / 3, log_z / 3]
    token = torch.cat([torch.stack(columns, dim=1), ratio / 3, torch.tanh(4 * ratio)], dim=1)
    sums = layout.sum(
        torch.stack([energy, z * cos, z**2, across, across * tangent, across * unit[:, 0], across * unit[:, 1]], dim=1)
    )
    logs = torch.log(sums[:, :5] + 1e-6)
    balance = torch.asinh(10 * sums[:, 5:])
    largest = torch.log(layout.maximum(z) + 1e-6)[:, None]
    return token, torch.cat([logs, balance, largest, (largest - conditions.leading[:, :1]).clamp(-3, 3)], dim=1)


def coordinates(sample: TokenSample, latent: Latent) -> tuple[Floats, Floats, Ints]:
    """Compute the coordinates (M, 3) of a sample's tokens, E* (N,) of its sets, and the set of each token (M,)."""
    index = sample.index
    frame = JetFrame.of(latent.total)
    return encode(frame.from_axis_frame(sample.p4, index), frame.energy[index]), frame.energy, index


def _batches(counts: Ints, limit: int) -> Iterator[Ints]:
    """Yield the numbers of sets in batches of at most ``limit`` tokens (or one set), similar lengths together."""
    order = np.argsort(counts, kind="stable")
    first = 0
    while first < len(order):
        ends = np.cumsum(counts[order[first:]])
        last = first + max(1, int(np.searchsorted(ends, limit, side="right")))
        yield order[first:last]
        first = last


class DiffusionModel(HadronModel):
    """The diffusion model as a source of hadrons.

    Args:
        name: of the model.
        domain: the partons that it is valid for.
        latent: draws counts, total momentum and extras.
        flow: places the tokens.
        latent_config: sizes of the latent model, for the card.
        num_inference_steps: network evaluations at most, instead of the flow config's.
    """

    kind = "diffusion"
    load_options = frozenset({"num_inference_steps"})

    def __init__(
        self,
        name: str,
        domain: Domain,
        latent: LatentModel,
        flow: SetFlow,
        *,
        latent_config: Mapping[str, Any] | None = None,
        num_inference_steps: int | None = None,
    ) -> None:
        super().__init__(name, domain, latent, "float32")  # the network lowers its own precision
        self.flow, self._latent_config = flow, dict(latent_config or {})
        self.num_inference_steps = num_inference_steps or flow.config.num_inference_steps

    @classmethod
    def build(cls, name: str, domain: Domain, config: Mapping[str, Any]) -> DiffusionModel:
        """Make an untrained model from ``latent`` (sizes), ``flow`` and perhaps ``num_inference_steps``.

        Raises:
            ValueError: if a key is unknown.
        """
        unknown = set(config) - {"latent", "flow", "num_inference_steps"}
        if unknown:
            raise ValueError(f"unknown key {sorted(unknown)[0]!r}: a diffusion model takes latent, flow")
        sizes = config.get("latent", {})
        latent = LatentModel(**sizes)  # first: a seed then gives it the same weights in every model
        flow = SetFlow(from_dict(FlowConfig, config["flow"], "flow"))
        steps = config.get("num_inference_steps")
        return cls(name, domain, latent, flow, latent_config=sizes, num_inference_steps=steps)

    def config(self) -> dict[str, Any]:
        """Return what :meth:`build` needs to make a model of the same sizes, as JSON values."""
        flow = asdict(self.flow.config)
        flow["network"]["blocks"] = list(flow["network"]["blocks"])
        return {"latent": self._latent_config, "flow": flow}

    def place(self, flavour: Ints, pt: Floats, latent: Latent, rng: torch.Generator) -> TokenSample:
        """Draw token sets with the latents' counts and total momenta; see :meth:`HadronModel.place`."""
        return self.flow.tokens(flavour, pt, latent, rng, num_inference_steps=self.num_inference_steps)

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights to save: the flow's matrices in eight bits, the others as for other hadron models."""
        packed = {f"flow.{n}" for n, p in self.flow.named_parameters() if p.dim() == 2 and p.shape[1] >= 64}
        exact = {name: value for name, value in self.state_dict().items() if name in packed}
        return {name: value.contiguous() for name, value in pack({**super().tensors(), **exact}, packed).items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights as any module does, also packed ones as :meth:`tensors` returns them."""
        return super().load_state_dict(unpack(state_dict), strict, assign)
