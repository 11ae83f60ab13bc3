"""The latent z of a hadron set: counts, total momentum and shape, drawn before any of its tokens.

    p(z | parton) = p(n | parton) prod_s p(c_s | c_<s, n, parton) * p(t | c, parton) * p(e | t, c, parton)

with n the number of tokens and c their counts by species (autoregressive categoricals), t three features that fix the
total four-momentum up to its azimuth, and e four more, the extras, that describe the leading tokens and the width
(conditional spline flows). The features t respect the kinematics of a pair of hemispheres with energy 2E at rest: any
value is possible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import silu

from fastsim.event import Floats, Ints
from generators.hadrons.tokens import FLAVOURS, SPECIES, SPECIES_MASS, TokenSample, parton_energy
from generators.nn.flows import SplineFlow
from generators.nn.sampling import pick

FEATURES: tuple[str, ...] = ("mass", "recoil", "angle", "z1", "z2", "girth", "ptd")
"""logit of the mass, as a fraction of what the tokens' masses leave of 2E; logit of the opposite hemisphere's mass, as
a fraction of what is left of 2E then; logit (1 - cos theta)/2 of the momentum's angle to the parton axis; log z1; logit
z2/z1; log girth; logit pTD. E is the parton's energy, z1 and z2 are the largest energies of tokens over E."""
MASS, RECOIL, ANGLE = range(3)
"""Columns of the features of the total four-momentum."""
NUM_TOTAL = 3
"""The first features fix the total four-momentum up to its azimuth; the others are the extras."""

# counts are drawn in this order: rare species first; pi0 make up the number of tokens
_ORDER = np.argsort([(1 if abs(s) == 211 else 2 if s == 111 else 0) for s in SPECIES], kind="stable")
_LAST = int(_ORDER[-1])
_SMALL, _LEAST_LOGIT = 1e-6, -14.0
_MAX_ANGLE = 0.499 * np.pi
_LARGEST_COUNT = 255
"""Most pi0 of a set: the tree holds counts in bytes. It is three times the most that was ever seen."""
_SIZE_SCALE, _COUNT_SCALE = 32, 16
"""Counts enter the networks as log(1 + n) and as n over these."""


@dataclass(frozen=True)
class Latent:
    """The latents of N token sets.

    Attributes:
        counts: tokens of each species, (N, S).
        total: four-momenta of the sets in the axis frame, in GeV, (N, 4).
        features: columns :data:`FEATURES`, (N, 7); the first ``NUM_TOTAL``, (N, 3), where the extras were not drawn.
    """

    counts: Ints
    total: Floats
    features: Floats

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def extras(self) -> Floats:
        """The features that do not belong to the total four-momentum, (N, 4)."""
        return self.features[:, NUM_TOTAL:]

    def __getitem__(self, rows: slice | NDArray[np.generic]) -> Latent:
        return Latent(self.counts[rows], self.total[rows], self.features[rows])

    @classmethod
    def of(cls, sample: TokenSample) -> Latent:
        """Compute the latents of token sets, each with at least one token."""
        index, num = sample.index, len(sample)
        energy = parton_energy(sample.flavour, sample.pt)
        total: Floats = np.stack([np.bincount(index, sample.p4[:, k], num) for k in range(4)], -1).astype(np.float64)
        counts: Ints = sample.species_counts()
        p = np.sqrt((total[:, 1:] ** 2).sum(-1))
        mass = np.sqrt(np.maximum((total[:, 0] - p) * (total[:, 0] + p), 0))
        rest = 2 * energy - total[:, 0]
        recoil = np.sqrt(np.maximum((rest - p) * (rest + p), 0))
        least = counts @ SPECIES_MASS
        angle = np.arctan2(np.hypot(total[:, 1], total[:, 2]), total[:, 3].copy())
        z = sample.p4[:, 0] / energy[index]
        order = np.lexsort((-z, index))
        rank = np.arange(len(z)) - sample.offsets[index]
        z1, z2 = np.full(num, _SMALL), np.zeros(num)
        z1[index[rank == 0]] = z[order][rank == 0]
        z2[index[rank == 1]] = z[order][rank == 1]
        theta = np.arctan2(np.hypot(sample.p4[:, 1], sample.p4[:, 2]), sample.p4[:, 3].copy())
        sum_z = np.bincount(index, z, num)
        features = np.stack(
            [
                _logit((mass - least) / (2 * energy - least)),
                _logit(recoil / (2 * energy - mass)),
                2 * np.log(np.tan(np.clip(angle, _SMALL, _MAX_ANGLE) / 2)),
                np.log(np.maximum(z1, _SMALL)),
                _logit(z2 / z1),
                np.log(np.bincount(index, z * theta, num) / sum_z + _SMALL),
                _logit(np.sqrt(np.bincount(index, z**2, num)) / sum_z),
            ],
            -1,
        )
        return cls(counts, total, features)


def _sigmoid(x: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-x))
    return result


def _logit(x: Floats) -> Floats:
    x = np.clip(x, 1e-7, 1 - 1e-7)
    result: Floats = np.log(x) - np.log1p(-x)
    return result


def total_momentum(features: Floats, counts: Ints, energy: Floats, azimuth: Floats) -> Floats:
    """Compute the four-momenta (N, 4) in GeV of sets with the given features.

    Args:
        features: columns :data:`FEATURES`, the first three at least, (N, 3) or wider.
        counts: tokens of each species, (N, S).
        energy: of the partons, in GeV, (N,).
        azimuth: of the momenta about the partons, in rad, (N,).
    """
    least = counts @ SPECIES_MASS
    full = 2 * energy
    free = np.where(counts.sum(-1) > 1, np.maximum(full - least, 0.0), 0.0)
    mass = least + free * _sigmoid(np.maximum(features[:, MASS], _LEAST_LOGIT))
    left = np.maximum(full - mass, 0.0)
    recoil = left * _sigmoid(features[:, RECOIL])
    product = (left - recoil) * (full + mass + recoil) * (left + recoil) * (full + mass - recoil)
    p = np.sqrt(np.maximum(product, 0.0)) / (2 * full)
    angle = np.minimum(2 * np.arctan(np.exp(0.5 * features[:, ANGLE])), _MAX_ANGLE)
    across = p * np.sin(angle)
    momentum = np.stack([across * np.cos(azimuth), across * np.sin(azimuth), p * np.cos(angle)], -1)
    e = np.sqrt(p**2 + mass**2)
    return np.concatenate([e[:, None], momentum], -1)


def total_log_jacobian(latent: Latent, energy: Floats) -> Floats:
    """Compute log(dt / d^4P) for the three features t of the total momentum P in GeV and a uniform azimuth, (N,).

    With M and M' the masses of the set and of the opposite hemisphere, d^4P = p/8E dM^2 dM'^2 dcos(theta) dphi.
    A set of a single token has no dM^2: its mass feature is not a degree of freedom.

    Args:
        latent: of N sets.
        energy: E of the partons, in GeV, (N,).
    """
    total = latent.total
    p = np.sqrt((total[:, 1:] ** 2).sum(-1))
    mass = np.sqrt(np.maximum((total[:, 0] - p) * (total[:, 0] + p), 1e-12))
    rest = 2 * energy - total[:, 0]
    recoil = np.sqrt(np.maximum((rest - p) * (rest + p), 1e-12))
    free = np.maximum(mass - latent.counts @ SPECIES_MASS, _SMALL * energy)
    left = np.maximum(2 * energy - mass, _SMALL * energy)
    beyond = np.maximum(left - recoil, _SMALL * energy)
    sin2 = np.maximum((total[:, 1:3] ** 2).sum(-1), (_SMALL * p) ** 2) / p**2
    by_mass = np.where(latent.counts.sum(-1) > 1, np.log((1 / free + 1 / left) / (2 * mass)), 0.0)
    by_recoil = np.log((1 / recoil + 1 / beyond) / (2 * recoil))
    return np.asarray(by_mass + by_recoil + np.log(2 / sin2) - np.log(2 * np.pi * p / (8 * energy)))


class CountModel(nn.Module):
    """p(n | condition) prod_s p(c_s | c_<s, n, condition): categorical distributions, each from a small network.

    A count never exceeds the tokens that are left; the pi0, which come last, are what is left.

    Args:
        num_condition: C, the length of a condition.
        width: of each network.
        max_size: largest number of tokens n.
        max_pions: largest count of pi+ and of pi-.
        max_others: largest count of each other species but pi0.
    """

    mask: Tensor

    def __init__(self, num_condition: int, *, width: int, max_size: int, max_pions: int, max_others: int) -> None:
        super().__init__()
        num_species = len(SPECIES)
        self.size = nn.Sequential(
            nn.Linear(num_condition, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, max_size)
        )
        limits = np.where(np.abs(SPECIES) == 211, max_pions, max_others)
        self._num_shared = num_condition + 2  # inputs that do not change as counts are drawn
        num_inputs = self._num_shared + 2 + 2 * num_species
        self.first = nn.Parameter(torch.randn(num_species, num_inputs, width) / num_inputs**0.5)
        self.first_bias = nn.Parameter(torch.zeros(num_species, width))
        self.second = nn.Parameter(torch.randn(num_species, width, width) / width**0.5)
        self.second_bias = nn.Parameter(torch.zeros(num_species, width))
        # species with the same number of outputs share a batched product
        groups = [
            (limit, np.flatnonzero((limits == limit) & (np.arange(num_species) != _LAST)))
            for limit in np.unique(limits)
        ]
        self._groups = [(int(limit), torch.from_numpy(rows)) for limit, rows in groups]
        self.last = nn.ParameterList([torch.zeros(len(rows), width, limit + 1) for limit, rows in self._groups])
        self.last_bias = nn.ParameterList(
            [-0.05 * torch.arange(limit + 1.0).repeat(len(rows), 1) for limit, rows in self._groups]
        )
        # known[s, t]: whether the count of t is known when that of s is drawn
        place = np.argsort(_ORDER)
        known = torch.from_numpy(place[None, :] < place[:, None])
        mask = torch.cat([torch.ones(num_species, self._num_shared + 2), known, known], 1)
        self.register_buffer("mask", mask[..., None], persistent=False)

    @staticmethod
    def _columns(n: Tensor) -> Tensor:
        """Encode numbers of tokens (...) as inputs (..., 2)."""
        return torch.stack([torch.log1p(n.float()), n.float() / _SIZE_SCALE], -1)

    def _inputs(self, condition: Tensor, counts: Tensor, size: Tensor, left: Tensor) -> Tensor:
        """Compute the inputs (..., N, num_inputs) of the species' networks.

        In this order: the condition, the number of tokens, the number that is left, and log(1 + c) and c / 16 of all
        counts; the mask hides the counts that a species must not see.

        Args:
            condition: (N, C).
            counts: of the species, (N, S).
            size: tokens of each set, (N,).
            left: tokens whose species is not known yet, (..., N).
        """
        c = counts.float()
        encoded = torch.cat([torch.log1p(c), c / _COUNT_SCALE], -1)
        shared = torch.cat([condition, self._columns(size)], -1)
        shared, encoded = (x.expand(*left.shape, x.shape[-1]) for x in (shared, encoded))
        return torch.cat([shared, self._columns(left), encoded], -1)

    def log_prob(self, condition: Tensor, counts: Tensor) -> Tensor:
        """Compute log p(counts | condition) (N,) of counts (N, S), at least one token each, given conditions (N, C).

        Counts above the largest that the networks know count as that.
        """
        size = counts.sum(-1)
        known = torch.cumsum(counts[:, _ORDER], -1) - counts[:, _ORDER]
        left = (size[:, None] - known).T[np.argsort(_ORDER)]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.training):
            sizes = torch.log_softmax(self.size(condition).float(), -1)
            total = sizes.gather(-1, (size - 1).clamp(max=sizes.shape[-1] - 1)[:, None])[:, 0]
            x = self._inputs(condition, counts, size, left)
            x = silu(torch.bmm(x, self.first * self.mask) + self.first_bias[:, None])
            x = silu(torch.bmm(x, self.second) + self.second_bias[:, None])
            for (limit, rows), weight, bias in zip(self._groups, self.last, self.last_bias, strict=True):
                logits = (torch.bmm(x[rows], weight) + bias[:, None]).float()
                beyond = torch.arange(limit + 1) > left[rows][..., None]
                logits = logits.masked_fill(beyond, -torch.inf)
                chosen = counts[:, rows].clamp(max=limit).T[..., None]
                log_probs = logits.gather(-1, chosen)[..., 0] - torch.logsumexp(logits, -1)
                total = total + log_probs.sum(0)
        return total

    @torch.no_grad()
    def sample(self, condition: Tensor, rng: torch.Generator) -> Tensor:
        """Draw counts (N, S), at least one token each, given conditions (N, C); matrix products are in bfloat16."""

        def draw(logits: Tensor) -> Tensor:
            u = torch.rand(len(logits), generator=rng, dtype=torch.float64)
            return torch.from_numpy(pick(torch.softmax(logits, -1).numpy(), u.numpy())[0])

        with torch.autocast("cpu", dtype=torch.bfloat16):
            size = 1 + draw(self.size(condition).float())
        counts = torch.zeros(len(condition), len(SPECIES), dtype=torch.long)
        left = size.clone()
        inputs = self._inputs(condition, counts, size, left).bfloat16()
        left_column, log_column = self._num_shared, self._num_shared + 2
        scaled_column = log_column + len(SPECIES)
        first, second = (self.first * self.mask).bfloat16(), self.second.bfloat16()
        outputs = {
            int(s): (weight[k].bfloat16(), bias[k])
            for (_, rows), weight, bias in zip(self._groups, self.last, self.last_bias, strict=True)
            for k, s in enumerate(rows)
        }
        for s in _ORDER[:-1].tolist():
            x = silu(inputs @ first[s] + self.first_bias[s].bfloat16())
            x = silu(x @ second[s] + self.second_bias[s].bfloat16())
            weight, bias = outputs[s]
            beyond = torch.arange(len(bias)) > left[:, None]
            counts[:, s] = draw(((x @ weight).float() + bias).masked_fill(beyond, -torch.inf))
            left -= counts[:, s]
            inputs[:, left_column:log_column] = self._columns(left).bfloat16()
            inputs[:, log_column + s] = torch.log1p(counts[:, s].float()).bfloat16()
            inputs[:, scaled_column + s] = (counts[:, s] / _COUNT_SCALE).bfloat16()
        counts[:, _LAST] = left.clamp(max=_LARGEST_COUNT)
        return counts


class LatentModel(nn.Module):
    """p(z | flavour, pT, extra conditions).

    Args:
        num_extra: further numbers of a condition (for example tune parameters).
        count_width: width of the networks of the :class:`CountModel`.
        flow_width: width of the networks of the flows.
        max_size: see :class:`CountModel`.
        max_pions: see :class:`CountModel`.
        max_others: see :class:`CountModel`.
        num_bins: of the flows' splines.
    """

    def __init__(
        self,
        *,
        num_extra: int = 0,
        count_width: int = 48,
        flow_width: int = 96,
        max_size: int = 400,
        max_pions: int = 127,
        max_others: int = 47,
        num_bins: int = 12,
    ) -> None:
        super().__init__()
        self.num_extra = num_extra
        num_condition = len(FLAVOURS) + 3 + num_extra
        num_species = len(SPECIES)
        self.count_model = CountModel(
            num_condition, width=count_width, max_size=max_size, max_pions=max_pions, max_others=max_others
        )
        self.context = nn.Sequential(
            nn.Linear(num_condition + 2 * num_species + 2, flow_width), nn.SiLU(), nn.Linear(flow_width, flow_width)
        )
        num_extras = len(FEATURES) - NUM_TOTAL
        self.total_flow = SplineFlow(NUM_TOTAL, flow_width, width=flow_width, num_bins=num_bins)
        self.extras_flow = SplineFlow(num_extras, flow_width + NUM_TOTAL, width=flow_width, num_bins=num_bins)

    def condition(self, flavour: Ints, pt: Floats, extra: Floats | None = None) -> Tensor:
        """Compute the conditions (N, C) in float32.

        Args:
            flavour: of the partons, one of ``tokens.FLAVOURS``, (N,).
            pt: of the partons, in GeV, (N,).
            extra: further conditions, (N, num_extra).

        Raises:
            ValueError: if ``extra`` has another shape.
        """
        log_pt = (np.log(pt) - np.log(200.0)) / np.log(10.0)
        columns = [(flavour[:, None] == np.array(FLAVOURS)).astype(float), np.stack([log_pt, log_pt**2, log_pt**3], -1)]
        if self.num_extra:
            if extra is None or extra.shape != (len(pt), self.num_extra):
                raise ValueError(f"this latent model needs {self.num_extra} extra conditions for each parton")
            columns.append(extra)
        return torch.from_numpy(np.concatenate(columns, -1)).float()

    def _context(self, condition: Tensor, counts: Tensor) -> Tensor:
        """Compute the context (N, flow_width) of the flows from conditions (N, C) and counts (N, S)."""
        c = counts.float()
        n, least = c.sum(-1, keepdim=True), c @ torch.from_numpy(SPECIES_MASS).float()[:, None]
        columns = [condition, torch.log1p(c), c / _COUNT_SCALE, torch.log1p(n), torch.log1p(least)]
        context: Tensor = self.context(torch.cat(columns, -1))
        return context

    def set_scales(self, features: Tensor) -> None:
        """Set the standardisation of the flows from training features (N, 7)."""
        self.total_flow.set_scales(features[:, :NUM_TOTAL])
        self.extras_flow.set_scales(features[:, NUM_TOTAL:])

    def _with_total(self, context: Tensor, total: Tensor) -> Tensor:
        """Extend a context (N, flow_width) by the standardised features of the total momentum (N, 3)."""
        return torch.cat([context, ((total - self.total_flow.mean) / self.total_flow.std).to(context.dtype)], -1)

    def log_prob(self, condition: Tensor, counts: Tensor, features: Tensor) -> dict[str, Tensor]:
        """Compute the factors of log p(z | condition): "counts", "total" and "extras", each (N,).

        Args:
            condition: result of :meth:`condition`, (N, C).
            counts: tokens of each species, (N, S).
            features: columns :data:`FEATURES`, (N, 7).
        """
        context = self._context(condition, counts)
        total, extras = features[:, :NUM_TOTAL], features[:, NUM_TOTAL:]
        return {
            "counts": self.count_model.log_prob(condition, counts),
            "total": self.total_flow.log_prob(total, context),
            "extras": self.extras_flow.log_prob(extras, self._with_total(context, total)),
        }

    def loss(self, batch: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
        """Compute the mean negative log-likelihood of a set, "loss", and its three parts.

        Args:
            batch: condition, counts and features, as :meth:`log_prob` takes them.
        """
        parts = {name: -value.mean() for name, value in self.log_prob(*batch).items()}
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    def sample(
        self, flavour: Ints, pt: Floats, rng: torch.Generator, extra: Floats | None = None, *, extras: bool = True
    ) -> Latent:
        """Draw one latent for each parton.

        Args:
            flavour: of the partons, one of ``tokens.FLAVOURS``, (N,).
            pt: of the partons, in GeV, (N,).
            rng: all randomness.
            extra: further conditions, (N, num_extra).
            extras: whether to draw the features beyond the total four-momentum too.
        """
        condition = self.condition(flavour, pt, extra)
        counts = self.count_model.sample(condition, rng)
        with torch.no_grad():
            context = self._context(condition, counts)
            total = self.total_flow.sample(context, rng)
            features = total.numpy()
            if extras:
                more = self.extras_flow.sample(self._with_total(context, total), rng)
                features = torch.cat([total, more], -1).numpy()
        azimuth = 2 * np.pi * torch.rand(len(counts), generator=rng, dtype=torch.float64).numpy()
        energy = parton_energy(flavour, pt)
        return Latent(counts.numpy(), total_momentum(features, counts.numpy(), energy, azimuth), features)
