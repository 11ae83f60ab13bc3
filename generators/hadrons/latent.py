"""The latent z of a hadron set: what all its tokens share, drawn before any of them.

    p(z | parton) = p(n | parton) prod_s p(c_s | c_<s, n, parton) * p(t | c, parton) * p(e | t, c, parton)

with n the number of tokens and c their counts by species (autoregressive categoricals), t three features that
fix the total four-momentum, and e four more that describe the leading tokens and the width (conditional spline
flows). The features t respect the kinematics of a pair of hemispheres of energy 2E at rest: any value is possible.
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

NUM_TOTAL = 3
FEATURES: tuple[str, ...] = ("mass", "recoil", "angle", "z1", "z2", "girth", "ptd")
"""logit of the mass, within what the tokens' masses leave of 2E; logit of the opposite hemisphere's mass, within
what is left of 2E then; logit (1 - cos theta)/2 of the momentum's angle to the parton axis; log z1; logit z2/z1;
log girth; logit pTD. E is the parton's energy. The first ``NUM_TOTAL`` fix the total four-momentum up to its azimuth;
the others are the extras."""

# counts are drawn in this order: rare species first; pi0 make up the number of tokens
_ORDER = np.argsort([(1 if abs(s) == 211 else 2 if s == 111 else 0) for s in SPECIES], kind="stable")
_LAST = int(_ORDER[-1])
_SMALL, _LEAST_LOGIT = 1e-6, -14.0
_MAX_ANGLE = 0.499 * np.pi


@dataclass(frozen=True)
class Latent:
    """``counts`` (N, S) tokens by species; ``total`` (N, 4) their four-momentum in the axis frame, GeV;
    ``features`` (N, 7) in the order of :data:`FEATURES`, or (N, 3) of a model without extras."""

    counts: Ints
    total: Floats
    features: Floats

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def extras(self) -> Floats:
        """The features beyond the total four-momentum, (N, 4)."""
        return self.features[:, NUM_TOTAL:]

    def __getitem__(self, rows: slice | NDArray[np.generic]) -> Latent:
        return Latent(self.counts[rows], self.total[rows], self.features[rows])

    @classmethod
    def of(cls, sample: TokenSample) -> Latent:
        """The latents of known token sets (each with at least one token)."""
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
    """Four-momentum (N, 4) in GeV of sets with the given features.

    Args:
        features: (N, 3) or more, in the order of FEATURES; counts: (N, S); energy: (N,) of the partons, GeV;
        azimuth: (N,) of the momentum about the parton, rad.
    """
    least = counts @ SPECIES_MASS
    full = 2 * energy
    free = np.where(counts.sum(-1) > 1, np.maximum(full - least, 0.0), 0.0)
    mass = least + free * _sigmoid(np.maximum(features[:, 0], _LEAST_LOGIT))
    left = np.maximum(full - mass, 0.0)
    recoil = left * _sigmoid(features[:, 1])
    product = (left - recoil) * (full + mass + recoil) * (left + recoil) * (full + mass - recoil)
    p = np.sqrt(np.maximum(product, 0.0)) / (2 * full)
    angle = np.minimum(2 * np.arctan(np.exp(0.5 * features[:, 2])), _MAX_ANGLE)
    across = p * np.sin(angle)
    momentum = np.stack([across * np.cos(azimuth), across * np.sin(azimuth), p * np.cos(angle)], -1)
    e = np.sqrt(p**2 + mass**2)
    return np.concatenate([e[:, None], momentum], -1)


def total_log_jacobian(latent: Latent, energy: Floats) -> Floats:
    """log of dt / d^4P for the three total features t and a uniform azimuth, shape (N,), P in GeV.

    With M and M' the masses of the set and of the opposite hemisphere, d^4P = p/8E dM^2 dM'^2 dcos(theta) dphi;
    energies E (N,) are the partons'. A set of a single token has no dM^2: its mass feature is not a degree of freedom.
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
    """The number of tokens n, then autoregressive categoricals p(c_s | c_<s, n, condition), a small network each.

    A count never exceeds the tokens that are left; pi0, last, are what is left.

    Args:
        num_condition: C; width: of each network; max_size: largest number of tokens; max_pions: largest count of
            pi+ and pi-; max_others: of every other species.
    """

    mask: Tensor

    def __init__(self, num_condition: int, *, width: int, max_size: int, max_pions: int, max_others: int) -> None:
        super().__init__()
        num_species = len(SPECIES)
        self.size = nn.Sequential(
            nn.Linear(num_condition, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, max_size)
        )
        limits = np.where(np.abs(SPECIES) == 211, max_pions, max_others)
        num_inputs = num_condition + 4 + 2 * num_species
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
        # before[s, t]: whether the count of t is known when that of s is drawn
        place = np.argsort(_ORDER)
        before = torch.from_numpy(place[None, :] < place[:, None])
        mask = torch.cat([torch.ones(num_species, num_condition + 4), before, before], 1)
        self.register_buffer("mask", mask[..., None], persistent=False)

    @staticmethod
    def _columns(n: Tensor) -> Tensor:
        """Two columns (..., 2) that tell a count."""
        return torch.stack([torch.log1p(n.float()), n.float() / 32], -1)

    def _inputs(self, condition: Tensor, counts: Tensor, size: Tensor, left: Tensor) -> Tensor:
        """Inputs (..., N, num_inputs) of networks that see ``left`` (..., N) tokens of ``size`` still to be named."""
        c = counts.float()
        shared = torch.cat([torch.log1p(c), c / 16], -1)
        seen = torch.cat([condition, self._columns(size)], -1)
        both = [x.expand(*left.shape, x.shape[-1]) for x in (seen, shared)]
        return torch.cat([both[0], self._columns(left), both[1]], -1)

    def log_prob(self, condition: Tensor, counts: Tensor) -> Tensor:
        """log p(counts | condition) of sets with at least one token, (N,); counts above the largest count as it."""
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
        """Counts (N, S) given the condition (N, C), at least one token each; matrix products in bfloat16."""

        def draw(logits: Tensor) -> Tensor:
            u = torch.rand(len(logits), generator=rng, dtype=torch.float64)
            return torch.from_numpy(pick(torch.softmax(logits, -1).numpy(), u.numpy())[0])

        with torch.autocast("cpu", dtype=torch.bfloat16):
            size = 1 + draw(self.size(condition).float())
        counts = torch.zeros(len(condition), len(SPECIES), dtype=torch.long)
        left = size.clone()
        inputs = self._inputs(condition, counts, size, left).bfloat16()
        start = condition.shape[1] + 2
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
            inputs[:, start : start + 2] = self._columns(left).bfloat16()
            inputs[:, start + 2 + s] = torch.log1p(counts[:, s].float()).bfloat16()
            inputs[:, start + 2 + len(SPECIES) + s] = (counts[:, s] / 16).bfloat16()
        counts[:, _LAST] = left.clamp(max=255)  # the tree's limit, three times what was ever seen
        return counts


class LatentModel(nn.Module):
    """p(z | flavour, pT, extra conditions).

    Args:
        num_extra: further inputs of the condition vector (for example tune parameters).
        count_width, flow_width: network sizes; max_size, max_pions, max_others: largest number of tokens, and
            counts of pi+ or pi- and of any other species but pi0; num_bins: of the splines.
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
        """Condition vector (N, C) in float32; ``extra`` (N, num_extra)."""
        log_pt = (np.log(pt) - np.log(200.0)) / np.log(10.0)
        columns = [(flavour[:, None] == np.array(FLAVOURS)).astype(float), np.stack([log_pt, log_pt**2, log_pt**3], -1)]
        if self.num_extra:
            if extra is None or extra.shape != (len(pt), self.num_extra):
                raise ValueError(f"this latent model needs {self.num_extra} extra conditions for each parton")
            columns.append(extra)
        return torch.from_numpy(np.concatenate(columns, -1)).float()

    def _context(self, condition: Tensor, counts: Tensor) -> Tensor:
        c = counts.float()
        n, least = c.sum(-1, keepdim=True), c @ torch.from_numpy(SPECIES_MASS).float()[:, None]
        return self.context(torch.cat([condition, torch.log1p(c), c / 16, torch.log1p(n), torch.log1p(least)], -1))  # type: ignore[no-any-return]

    def set_scales(self, features: Tensor) -> None:
        """Fixes the standardisation of the flows from training features (N, 7)."""
        self.total_flow.set_scales(features[:, :NUM_TOTAL])
        self.extras_flow.set_scales(features[:, NUM_TOTAL:])

    def _with_total(self, context: Tensor, total: Tensor) -> Tensor:
        return torch.cat([context, ((total - self.total_flow.mean) / self.total_flow.std).to(context.dtype)], -1)

    def log_prob(self, condition: Tensor, counts: Tensor, features: Tensor) -> dict[str, Tensor]:
        """The factors log p of "counts", "total" and "extras", each (N,)."""
        context = self._context(condition, counts)
        total, extras = features[:, :NUM_TOTAL], features[:, NUM_TOTAL:]
        return {
            "counts": self.count_model.log_prob(condition, counts),
            "total": self.total_flow.log_prob(total, context),
            "extras": self.extras_flow.log_prob(extras, self._with_total(context, total)),
        }

    def loss(self, batch: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
        """Negative log-likelihood a set, and its three parts."""
        parts = {name: -value.mean() for name, value in self.log_prob(*batch).items()}
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    def sample(
        self, flavour: Ints, pt: Floats, rng: torch.Generator, extra: Floats | None = None, *, extras: bool = True
    ) -> Latent:
        """One latent a parton; ``flavour`` of FLAVOURS, ``pt`` in GeV, each (N,); with or without its extras."""
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
