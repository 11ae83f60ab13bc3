"""The latent z of a hadron set: what all its tokens share, drawn before any of them.

    p(z | parton) = prod_s p(c_s | c_<s, parton) * p(t | c, parton) * p(e | t, c, parton)

with c the token counts by species (autoregressive categoricals), t three features that fix the total
four-momentum, and e four more that describe the leading tokens and the width (conditional spline flows).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import silu

from fastsim.event import Floats, Ints
from generators.flows import SplineFlow
from generators.hadrons.tokens import FLAVOURS, SPECIES, SPECIES_MASS, TokenSample, parton_energy

NUM_TOTAL = 3
FEATURES: tuple[str, ...] = ("mass", "parallel", "across", "z1", "z2", "girth", "ptd")
"""log (M - sum m)/E; logit p_par/E; log p_perp/E; log z1; logit z2/z1; log girth; logit pTD. E is the parton's.
The first ``NUM_TOTAL`` fix the total four-momentum up to its azimuth; the others are the extras."""

# counts are drawn in this order: frequent species first, so that the rare ones know the size of the set
_ORDER = np.argsort([(0 if abs(s) == 211 else 1 if s == 111 else 2) for s in SPECIES], kind="stable")
_SMALL = 1e-6
_MAX_REDRAWS = 20


@dataclass(frozen=True)
class Latent:
    """``counts`` (N, S) tokens by species; ``total`` (N, 4) their four-momentum in the axis frame, GeV;
    ``features`` (N, 7) in the order of :data:`FEATURES`."""

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
        counts: Ints = sample.counts()
        p = np.sqrt((total[:, 1:] ** 2).sum(-1))
        mass = np.sqrt(np.maximum((total[:, 0] - p) * (total[:, 0] + p), 0))
        least = counts @ SPECIES_MASS
        z = sample.p4[:, 0] / energy[index]
        order = np.lexsort((-z, index))
        rank = np.arange(len(z)) - sample.offsets[index]
        z1, z2 = np.full(num, _SMALL), np.zeros(num)
        z1[index[rank == 0]] = z[order][rank == 0]
        z2[index[rank == 1]] = z[order][rank == 1]
        theta = np.arctan2(np.hypot(sample.p4[:, 1], sample.p4[:, 2]), sample.p4[:, 3])
        sum_z = np.bincount(index, z, num)
        features = np.stack(
            [
                np.log(np.maximum((mass - least) / energy, _SMALL)),
                _logit(total[:, 3] / energy),
                np.log(np.hypot(total[:, 1], total[:, 2]) / energy + _SMALL),
                np.log(np.maximum(z1, _SMALL)),
                _logit(z2 / z1),
                np.log(np.bincount(index, z * theta, num) / sum_z + _SMALL),
                _logit(np.sqrt(np.bincount(index, z**2, num)) / sum_z),
            ],
            -1,
        )
        return cls(counts, total, features)


def _logit(x: Floats) -> Floats:
    x = np.clip(x, 1e-7, 1 - 1e-7)
    result: Floats = np.log(x) - np.log1p(-x)
    return result


def total_momentum(features: Floats, counts: Ints, energy: Floats, azimuth: Floats) -> Floats:
    """Four-momentum (N, 4) in GeV of sets with the given features; ``azimuth`` (N,) of the momentum across."""
    mass = counts @ SPECIES_MASS
    mass = mass + np.where(counts.sum(-1) > 1, energy * np.exp(np.minimum(features[:, 0], 1.0)), 0.0)
    parallel = energy / (1 + np.exp(-features[:, 1]))
    across = energy * np.maximum(np.exp(np.minimum(features[:, 2], 1.0)) - _SMALL, 0)
    momentum = np.stack([across * np.cos(azimuth), across * np.sin(azimuth), parallel], -1)
    e = np.sqrt((momentum**2).sum(-1) + mass**2)
    return np.concatenate([e[:, None], momentum], -1)


def total_log_jacobian(latent: Latent, energy: Floats) -> Floats:
    """log of dt / d^4P for the three total features t and a uniform azimuth, shape (N,), P in GeV.

    d^4P = d^3p dM^2 / 2E with d^3p = p_perp dp_perp dp_par dphi; energies (N,) are the partons'. A set of a
    single token has no dM^2: its mass feature is not a degree of freedom.
    """
    p = latent.total
    across, parallel = np.hypot(p[:, 1], p[:, 2]), p[:, 3]
    e2 = p[:, 0] ** 2
    mass = np.sqrt(np.maximum(e2 - (p[:, 1:] ** 2).sum(-1), 1e-12))
    free = np.maximum(mass - latent.counts @ SPECIES_MASS, _SMALL * energy)
    x = np.clip(parallel / energy, 1e-7, 1 - 1e-7)
    # dt0/dM^2 = 1 / (2 M free); dt1/dp_par = 1 / (E x (1 - x)); dt2/dp_perp = 1 / (p_perp + small E)
    mass_term = np.where(latent.counts.sum(-1) > 1, -np.log(2 * mass * free), 0.0)
    return np.asarray(
        mass_term
        + np.log(2 * p[:, 0])
        - np.log(energy * x * (1 - x))
        - np.log(across + _SMALL * energy)
        - np.log(2 * np.pi * np.maximum(across, _SMALL * energy))
    )


class CountModel(nn.Module):
    """Autoregressive categoricals p(c_s | c_<s, condition), one small network a species.

    Args:
        num_condition: C; width: of each network; max_pions: largest count of pi+, pi- and pi0;
        max_others: of every other species.
    """

    mask: Tensor

    def __init__(self, num_condition: int, *, width: int, max_pions: int, max_others: int) -> None:
        super().__init__()
        num_species = len(SPECIES)
        self.limits = np.where(np.isin(np.abs(SPECIES), (111, 211)), max_pions, max_others)
        num_inputs = num_condition + 2 * num_species
        self.first = nn.Parameter(torch.randn(num_species, num_inputs, width) / num_inputs**0.5)
        self.first_bias = nn.Parameter(torch.zeros(num_species, width))
        self.second = nn.Parameter(torch.randn(num_species, width, width) / width**0.5)
        self.second_bias = nn.Parameter(torch.zeros(num_species, width))
        # species with the same number of outputs share a batched product
        groups = [(limit, np.flatnonzero(self.limits == limit)) for limit in np.unique(self.limits)]
        self._groups = [(int(limit), torch.from_numpy(rows)) for limit, rows in groups]
        self.last = nn.ParameterList([torch.zeros(len(rows), width, limit + 1) for limit, rows in self._groups])
        self.last_bias = nn.ParameterList(
            [-0.05 * torch.arange(limit + 1.0).repeat(len(rows), 1) for limit, rows in self._groups]
        )
        mask = torch.ones(num_species, num_inputs, 1)
        place = np.argsort(_ORDER)
        for s in range(num_species):
            hidden = torch.from_numpy(place >= place[s])
            mask[s, num_condition : num_condition + num_species][hidden] = 0
            mask[s, num_condition + num_species :][hidden] = 0
        self.register_buffer("mask", mask, persistent=False)

    @staticmethod
    def _inputs(condition: Tensor, counts: Tensor) -> Tensor:
        c = counts.float()
        return torch.cat([condition, torch.log1p(c), c / 16], -1)

    def log_prob(self, condition: Tensor, counts: Tensor) -> Tensor:
        """log p(counts | condition), shape (N,)."""
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.training):
            x = self._inputs(condition, counts).expand(len(SPECIES), -1, -1)
            x = silu(torch.bmm(x, self.first * self.mask) + self.first_bias[:, None])
            x = silu(torch.bmm(x, self.second) + self.second_bias[:, None])
            total = torch.zeros(len(counts))
            for (limit, rows), weight, bias in zip(self._groups, self.last, self.last_bias, strict=True):
                logits = (torch.bmm(x[rows], weight) + bias[:, None]).float()
                chosen = counts[:, rows].clamp(max=limit).T[..., None]
                log_probs = logits.gather(-1, chosen)[..., 0] - torch.logsumexp(logits, -1)
                total = total + log_probs.sum(0)
        return total

    @torch.no_grad()
    def sample(self, condition: Tensor, rng: torch.Generator) -> Tensor:
        """Counts (N, S) given the condition (N, C)."""
        counts = torch.zeros(len(condition), len(SPECIES), dtype=torch.long)
        outputs = {
            int(s): (weight[k], bias[k])
            for (_, rows), weight, bias in zip(self._groups, self.last, self.last_bias, strict=True)
            for k, s in enumerate(rows)
        }
        for s in _ORDER.tolist():
            x = self._inputs(condition, counts)
            x = silu(torch.addmm(self.first_bias[s], x, self.first[s] * self.mask[s]))
            x = silu(torch.addmm(self.second_bias[s], x, self.second[s]))
            weight, bias = outputs[s]
            cumulative = torch.softmax(torch.addmm(bias, x, weight), -1).cumsum(-1)
            u = torch.rand(len(x), 1, generator=rng) * cumulative[:, -1:]
            counts[:, s] = torch.searchsorted(cumulative, u, right=True)[:, 0].clamp(max=bias.shape[0] - 1)
        return counts


class LatentModel(nn.Module):
    """p(z | flavour, pT, extra conditions).

    Args:
        num_extra: further inputs of the condition vector (for example tune parameters).
        count_width, flow_width: network sizes; max_pions, max_others: largest counts of a
            pion species and of any other.
    """

    def __init__(
        self,
        *,
        num_extra: int = 0,
        count_width: int = 48,
        flow_width: int = 96,
        max_pions: int = 160,
        max_others: int = 47,
        num_bins: int = 12,
    ) -> None:
        super().__init__()
        self.num_extra = num_extra
        num_condition = len(FLAVOURS) + 3 + num_extra
        num_species = len(SPECIES)
        self.count_model = CountModel(num_condition, width=count_width, max_pions=max_pions, max_others=max_others)
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

    def sample(self, flavour: Ints, pt: Floats, rng: torch.Generator, extra: Floats | None = None) -> Latent:
        """One latent a parton; ``flavour`` of FLAVOURS, ``pt`` in GeV, each (N,)."""
        condition = self.condition(flavour, pt, extra)
        counts = self.count_model.sample(condition, rng)
        empty = torch.nonzero(counts.sum(-1) == 0)[:, 0]
        while len(empty):  # a hemisphere holds at least one particle
            counts[empty] = self.count_model.sample(condition[empty], rng)
            empty = empty[counts[empty].sum(-1) == 0]
        with torch.no_grad():
            context = self._context(condition, counts)
            total = self._sample_total(context, counts.numpy(), parton_energy(flavour, pt), rng)
            extras = self.extras_flow.sample(self._with_total(context, total), rng)
        features = torch.cat([total, extras], -1).numpy()
        azimuth = 2 * np.pi * torch.rand(len(counts), generator=rng, dtype=torch.float64).numpy()
        energy = parton_energy(flavour, pt)
        return Latent(counts.numpy(), total_momentum(features, counts.numpy(), energy, azimuth), features)

    def _sample_total(self, context: Tensor, counts: Ints, energy: Floats, rng: torch.Generator) -> Tensor:
        """Features of the total momentum, redrawn where no opposite hemisphere could balance it.

        That one has the four-momentum (2E, 0) - P, so that E_P + |p_P| <= 2E: the far tails of a flow do not know.
        """
        total = self.total_flow.sample(context, rng)
        pending = np.arange(len(counts))
        for _ in range(_MAX_REDRAWS):
            rows = torch.from_numpy(pending)
            p = total_momentum(total[rows].numpy(), counts[pending], energy[pending], np.zeros(len(pending)))
            reach = p[:, 0] + np.sqrt((p[:, 1:] ** 2).sum(-1))
            pending = pending[reach > 2 * energy[pending]]
            if len(pending) == 0:
                break
            rows = torch.from_numpy(pending)
            total[rows] = self.total_flow.sample(context[rows], rng)
        return total
