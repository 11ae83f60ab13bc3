"""The latent z of a hadron set: which hadrons it holds, its total momentum and shape, drawn before any of its tokens.

    p(z | parton) = p(c | parton) p(t | c, parton) p(e | t, c, parton)

with c the counts of the species and the carrier of the parton's quark (:mod:`generators.hadrons.counts`), t three
features that fix the total four-momentum up to its azimuth, and e five more, the extras, that describe the leading
tokens, the carrier and the width (conditional spline flows). The features t respect the kinematics of a pair of
hemispheres with energy 2E at rest: any value is possible.

The two hemispheres of a singlet are drawn together: the counts of the second given the first, with what is missing of
every quantum number, then the total momenta of both, which sum to that of the singlet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fastsim.event import Floats, Ints, offsets_from_counts
from generators.decays import draw_masses
from generators.hadrons.counts import NUM_SIDE, CountModel, least_masses
from generators.hadrons.tokens import (
    CONTENT,
    FLAVOURS,
    IDS,
    MIN_MASS,
    NUM_CONTENT,
    SPECIES,
    TYPES,
    TokenSample,
    parton_energy,
)
from generators.nn.flows import SplineFlow

FEATURES: tuple[str, ...] = ("mass", "recoil", "angle", "z1", "z2", "girth", "ptd", "z_carrier")
"""logit of the mass, as a fraction of what the least masses of the tokens leave of 2E; logit of the opposite
hemisphere's mass, as a fraction of what is left of 2E then; logit (1 - cos theta)/2 of the momentum's angle to the
parton axis; log z1; logit z2/z1; log girth; logit pTD; log z of the carrier. E is the parton's energy, z1 and z2 are
the largest energies of tokens over E."""
MASS, RECOIL, ANGLE = range(3)
"""Columns of the features of the total four-momentum."""
NUM_TOTAL = 3
"""The first features fix the total four-momentum up to its azimuth; the others are the extras."""

NUM_CONDITION = len(FLAVOURS) + 5
"""Inputs of a condition before those about the opposite set: flavour, three powers of log pT, two of log (scale/pT)."""
_SMALL = 1e-6
LEAST_LOGIT, MAX_ANGLE = -14.0, 0.499 * np.pi
"""Bounds of what the features of a total four-momentum say: of the mass's logit, and of the angle in rad."""
_MASS_TRIALS, _MASS_ROOM = 20, 1 - 1e-6
"""Trials of masses that fit into a set, and how much of its mass they may take."""


@dataclass(frozen=True)
class Latent:
    """The latents of N token sets.

    Attributes:
        counts: tokens of each species, the carrier among them, (N, S).
        carrier: index of the species of the carrier, S where there is none, (N,).
        total: four-momenta of the sets in the axis frame, in GeV, (N, 4).
        features: columns :data:`FEATURES`, (N, 8); the first ``NUM_TOTAL``, (N, 3), where the extras were not drawn.
    """

    counts: Ints
    carrier: Ints
    total: Floats
    features: Floats

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def extras(self) -> Floats:
        """The features that do not belong to the total four-momentum, (N, 5)."""
        return self.features[:, NUM_TOTAL:]

    @property
    def content(self) -> Ints:
        """Net numbers of quarks and leptons of each set, (N, 8): see :data:`generators.hadrons.tokens.CONTENT`."""
        return np.asarray(self.counts @ CONTENT)

    def __getitem__(self, rows: slice | NDArray[np.generic]) -> Latent:
        return Latent(self.counts[rows], self.carrier[rows], self.total[rows], self.features[rows])

    @classmethod
    def concatenate(cls, parts: Sequence[Latent]) -> Latent:
        """Return the latents of at least one part as one batch."""
        names = ("counts", "carrier", "total", "features")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    @classmethod
    def empty(cls) -> Latent:
        """Return the latents of no sets."""
        none = np.zeros(0, np.int64)
        return cls(np.zeros((0, len(SPECIES)), np.int64), none, np.zeros((0, 4)), np.zeros((0, len(FEATURES))))

    @classmethod
    def of(cls, sample: TokenSample, energy: Floats | None = None, opposite: Floats | None = None) -> Latent:
        """Compute the latents of token sets, each with at least one token.

        Args:
            sample: the sets.
            energy: half of the mass of the pairs that they belong to, in GeV (N,); by default the partons' energy.
            opposite: least masses of the opposite sets in GeV (N,), where these are known; else 0.
        """
        index, num = sample.index, len(sample)
        energy = parton_energy(sample.flavour, sample.pt) if energy is None else energy
        total: Floats = np.stack([np.bincount(index, sample.p4[:, k], num) for k in range(4)], -1).astype(np.float64)
        counts, carriers = sample.species_counts(), sample.carriers
        other = np.zeros(num) if opposite is None else opposite
        z = sample.p4[:, 0] / energy[index]
        order = np.lexsort((-z, index))
        rank = np.arange(len(z)) - sample.offsets[index]
        z1, z2, z_carrier = np.full(num, _SMALL), np.zeros(num), np.full(num, 1.0)
        z1[index[rank == 0]] = z[order][rank == 0]
        z2[index[rank == 1]] = z[order][rank == 1]
        z_carrier[index[sample.carrier]] = z[sample.carrier]
        theta = np.arctan2(np.hypot(sample.p4[:, 1], sample.p4[:, 2]), sample.p4[:, 3].copy())
        sum_z = np.bincount(index, z, num)
        extras = np.stack(
            [
                np.log(np.maximum(z1, _SMALL)),
                _logit(z2 / z1),
                np.log(np.bincount(index, z * theta, num) / sum_z + _SMALL),
                _logit(np.sqrt(np.bincount(index, z**2, num)) / sum_z),
                np.log(np.maximum(z_carrier, _SMALL)),
            ],
            -1,
        )
        features = np.concatenate([total_features(total, least_masses(counts), energy, other), extras], -1)
        return cls(counts, np.where(carriers < 0, len(SPECIES), carriers), total, features)


def _sigmoid(x: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-x))
    return result


def _logit(x: Floats) -> Floats:
    x = np.clip(x, 1e-7, 1 - 1e-7)
    result: Floats = np.log(x) - np.log1p(-x)
    return result


def total_momentum(
    features: Floats, least: Floats, exact: Floats, energy: Floats, azimuth: Floats, opposite: Floats, back: Floats
) -> Floats:
    """Compute the four-momenta (N, 4) in GeV of sets with the given features.

    Args:
        features: columns :data:`FEATURES`, the first three at least, (N, 3) or wider.
        least: sums of the least masses of the tokens in GeV, (N,).
        exact: masses in GeV of the sets that are a single token, NaN for others, (N,).
        energy: half of the masses of the pairs, in GeV, (N,).
        azimuth: of the momenta about the partons, in rad, (N,).
        opposite: least masses of the opposite sets in GeV, 0 where these are not known, (N,).
        back: masses in GeV of the opposite sets that are a single token, NaN for others, (N,).
    """
    full = 2 * energy
    free = np.maximum(full - least - opposite, 0.0)
    mass = least + free * _sigmoid(np.maximum(features[:, MASS], LEAST_LOGIT))
    mass = np.where(np.isnan(exact), mass, exact)
    left = np.maximum(full - mass - opposite, 0.0)
    recoil = np.where(np.isnan(back), opposite + left * _sigmoid(features[:, RECOIL]), back)
    product = (full - mass - recoil) * (full + mass + recoil) * (full - mass + recoil) * (full + mass - recoil)
    p = np.sqrt(np.maximum(product, 0.0)) / (2 * full)
    angle = np.minimum(2 * np.arctan(np.exp(0.5 * features[:, ANGLE])), MAX_ANGLE)
    across = p * np.sin(angle)
    momentum = np.stack([across * np.cos(azimuth), across * np.sin(azimuth), p * np.cos(angle)], -1)
    e = np.sqrt(p**2 + mass**2)
    return np.concatenate([e[:, None], momentum], -1)


def total_log_jacobian(latent: Latent, energy: Floats, opposite: Floats | None = None) -> Floats:
    """Compute log(dt / d^4P) for the three features t of the total momentum P in GeV and a uniform azimuth, (N,).

    With M and M' the masses of the set and of the opposite hemisphere, d^4P = p/8E dM^2 dM'^2 dcos(theta) dphi.
    A set of a single token has no dM^2: its mass feature is not a degree of freedom.

    Args:
        latent: of N sets.
        energy: E of the partons, in GeV, (N,).
        opposite: least masses of the opposite sets in GeV, (N,), where these are known; else 0.
    """
    other = np.zeros(len(latent)) if opposite is None else opposite
    total = latent.total
    p = np.sqrt((total[:, 1:] ** 2).sum(-1))
    mass = np.sqrt(np.maximum((total[:, 0] - p) * (total[:, 0] + p), 1e-12))
    rest = 2 * energy - total[:, 0]
    recoil = np.sqrt(np.maximum((rest - p) * (rest + p), 1e-12))
    free = np.maximum(mass - least_masses(latent.counts), _SMALL * energy)
    left = np.maximum(2 * energy - mass - other, _SMALL * energy)
    above = np.maximum(recoil - other, 1e-6)
    beyond = np.maximum(2 * energy - mass - recoil, _SMALL * energy)
    sin2 = np.maximum((total[:, 1:3] ** 2).sum(-1), (_SMALL * p) ** 2) / p**2
    by_mass = np.where(latent.counts.sum(-1) > 1, np.log((1 / free + 1 / left) / (2 * mass)), 0.0)
    by_recoil = np.log((1 / above + 1 / beyond) / (2 * recoil))
    return np.asarray(by_mass + by_recoil + np.log(2 / sin2) - np.log(2 * np.pi * p / (8 * energy)))


class LatentModel(nn.Module):
    """p(z | flavour, pT, scale, extra conditions).

    Args:
        num_extra: further numbers of a condition (for example tune parameters).
        count_width: width of the networks of the :class:`~generators.hadrons.counts.CountModel`.
        flow_width: width of the networks of the flows.
        max_size: see the count model.
        max_pions: see the count model.
        max_others: see the count model.
        num_bins: of the flows' splines.
    """

    _of_carrier: Tensor

    def __init__(
        self,
        *,
        num_extra: int = 0,
        count_width: int = 48,
        flow_width: int = 96,
        max_size: int = 256,
        max_pions: int = 63,
        max_others: int = 31,
        num_bins: int = 12,
    ) -> None:
        super().__init__()
        self.num_extra = num_extra
        num_condition = NUM_CONDITION + num_extra + NUM_SIDE
        self.count_model = CountModel(
            num_condition, width=count_width, max_size=max_size, max_pions=max_pions, max_others=max_others
        )
        num_inputs = num_condition + 2 * len(TYPES) + 2 + NUM_CONTENT
        self.context = nn.Sequential(nn.Linear(num_inputs, flow_width), nn.SiLU(), nn.Linear(flow_width, flow_width))
        # quantum numbers of the species and, last, of no carrier
        of_carrier = torch.from_numpy(np.concatenate([CONTENT, np.zeros((1, NUM_CONTENT))])).float()
        self.register_buffer("_of_carrier", of_carrier, persistent=False)
        num_extras = len(FEATURES) - NUM_TOTAL
        self.total_flow = SplineFlow(NUM_TOTAL, flow_width, width=flow_width, num_bins=num_bins)
        self.extras_flow = SplineFlow(num_extras, flow_width + NUM_TOTAL, width=flow_width, num_bins=num_bins)

    def condition(
        self, flavour: Ints, pt: Floats, scale: Floats, extra: Floats | Tensor | None = None, side: Floats | None = None
    ) -> Tensor:
        """Compute the conditions (N, C) in float32.

        Args:
            flavour: of the partons, one of ``tokens.FLAVOURS``, (N,).
            pt: of the partons, in GeV, (N,).
            scale: where their showers start, in GeV, (N,).
            extra: further conditions, (N, num_extra); of a tensor, gradients are kept.
            side: what is known of the opposite sets, see :func:`side_of`, (N, NUM_SIDE); by default nothing.

        Raises:
            ValueError: if ``extra`` has another shape.
        """
        log_pt = (np.log(pt) - np.log(100.0)) / np.log(10.0)
        ratio = np.log(np.clip(scale / pt, 1e-3, 1.0))
        numbers = np.stack([log_pt, log_pt**2, log_pt**3, ratio, ratio**2 / 4], -1)
        columns = [torch.from_numpy(x) for x in ((flavour[:, None] == np.array(FLAVOURS)).astype(float), numbers)]
        if self.num_extra:
            if extra is None or extra.shape != (len(pt), self.num_extra):
                raise ValueError(f"this latent model needs {self.num_extra} extra conditions for each parton")
            columns.append(torch.as_tensor(extra))
        columns.append(torch.from_numpy(np.zeros((len(pt), NUM_SIDE)) if side is None else side))
        return torch.cat([column.float() for column in columns], -1)

    def _context(self, condition: Tensor, counts: Tensor, carrier: Tensor) -> Tensor:
        """Compute the context (N, flow_width) of the flows from conditions, counts of species (N, S) and carriers."""
        c = self.count_model.of_types(counts, carrier).float()
        n, least = c.sum(-1, keepdim=True), torch.from_numpy(least_masses(counts.numpy())).float()[:, None]
        columns = [condition, torch.log1p(c), c / 16, torch.log1p(n), torch.log1p(least), self._of_carrier[carrier]]
        context: Tensor = self.context(torch.cat(columns, -1))
        return context

    def set_scales(self, features: Tensor) -> None:
        """Set the standardisation of the flows from training features (N, 8)."""
        self.total_flow.set_scales(features[:, :NUM_TOTAL])
        self.extras_flow.set_scales(features[:, NUM_TOTAL:])

    def _with_total(self, context: Tensor, total: Tensor) -> Tensor:
        """Extend a context (N, flow_width) by the standardised features of the total momentum (N, 3)."""
        return torch.cat([context, ((total - self.total_flow.mean) / self.total_flow.std).to(context.dtype)], -1)

    def log_prob(
        self,
        condition: Tensor,
        counts: Tensor,
        carrier: Tensor,
        features: Tensor,
        missing: Tensor | None = None,
        forced: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute the factors of log p(z | condition): "counts", "total" and "extras", each (N,).

        Args:
            condition: result of :meth:`condition`, (N, C).
            counts: tokens of each species, (N, S).
            carrier: species of the carriers, S for none, (N,).
            features: columns :data:`FEATURES`, (N, 8).
            missing: quantum numbers that the sets have to have, (N, 8); by default they are free.
            forced: where they are not, (N,).
        """
        num = len(condition)
        missing = torch.zeros(num, NUM_CONTENT) if missing is None else missing
        forced = torch.zeros(num, dtype=torch.bool) if forced is None else forced
        context = self._context(condition, counts, carrier)
        total, extras = features[:, :NUM_TOTAL], features[:, NUM_TOTAL:]
        return {
            "counts": self.count_model.log_prob(condition, counts, carrier, missing, forced),
            "total": self.total_flow.log_prob(total, context),
            "extras": self.extras_flow.log_prob(extras, self._with_total(context, total)),
        }

    def total_log_prob(self, condition: Tensor, counts: Tensor, carrier: Tensor, features: Tensor) -> Tensor:
        """Compute the factor "total" of :meth:`log_prob` alone, (N,)."""
        return self.total_flow.log_prob(features[:, :NUM_TOTAL], self._context(condition, counts, carrier))

    def extras_log_prob(self, condition: Tensor, counts: Tensor, carrier: Tensor, features: Tensor) -> Tensor:
        """Compute the factor "extras" of :meth:`log_prob` alone, (N,)."""
        total, extras = features[:, :NUM_TOTAL], features[:, NUM_TOTAL:]
        context = self._context(condition, counts, carrier)
        return self.extras_flow.log_prob(extras, self._with_total(context, total))

    def loss(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Compute the mean negative log-likelihood of a set, "loss", and its three parts.

        Args:
            batch: the arguments of :meth:`log_prob`.
        """
        parts = {name: -value.mean() for name, value in self.log_prob(*batch).items()}
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    def sample(
        self,
        flavour: Ints,
        pt: Floats,
        scale: Floats,
        rng: torch.Generator,
        extra: Floats | None = None,
        *,
        extras: bool = True,
    ) -> Latent:
        """Draw one latent for each parton.

        Args:
            flavour: of the partons, one of ``tokens.FLAVOURS``, (N,).
            pt: of the partons, in GeV, (N,).
            scale: where their showers start, in GeV, (N,).
            rng: all randomness.
            extra: further conditions, (N, num_extra).
            extras: whether to draw the features beyond the total four-momentum too.
        """
        condition = self.condition(flavour, pt, scale, extra)
        energy = parton_energy(flavour, pt)
        counts, carrier = self.count_model.sample(condition, rng, max_mass=torch.from_numpy(1.9 * energy))
        none = np.zeros(len(pt))
        features, total = self._total(condition, counts, carrier, energy, none, none + np.nan, rng, extras=extras)
        return Latent(counts.numpy(), carrier.numpy(), total, features)

    def sample_pairs(
        self,
        flavour: Ints,
        pt: Floats,
        scale: Floats,
        energy: Floats,
        missing: Ints,
        signs: Ints,
        rng: torch.Generator,
        extra: Floats | None = None,
        *,
        extras: bool = True,
    ) -> tuple[Latent, Latent]:
        """Draw the latents of both hemispheres of singlets, which add up to a singlet at rest.

        Args:
            flavour: of the two partons, (N, 2).
            pt: their momentum in the rest frame in GeV, (N,).
            scale: where their showers start, in GeV, (N,).
            energy: half of the mass of the singlets, in GeV, (N,).
            missing: quantum numbers of the singlets, (N, 8).
            signs: -1 for partons that are conjugated (antiquarks), 1 for others, (N, 2).
            rng: all randomness.
            extra: further conditions, (N, num_extra).
            extras: whether to draw the features beyond the total four-momentum too.

        Returns:
            The latents of the first and second hemisphere, the first along +z, the second turned by pi about x.
        """
        condition = self.condition(flavour[:, 0], pt, scale, extra)
        room = torch.from_numpy(1.95 * energy)
        counts, carrier = self.count_model.sample(condition, rng, max_mass=room)
        numbers: Ints = counts.numpy() @ CONTENT
        needed = signs[:, 1:] * (missing - signs[:, :1] * numbers)
        least = least_masses(counts.numpy())
        side = side_of(needed, counts.numpy())
        after = self.condition(flavour[:, 1], pt, scale, extra, side)
        more, second = self.count_model.sample(after, rng, torch.from_numpy(needed), room - torch.from_numpy(least))
        # both sets are known to the first one's momentum
        other = least_masses(more.numpy())
        both = self.condition(flavour[:, 0], pt, scale, extra, side_of(numbers, more.numpy()))
        back = single_masses(more.numpy(), rng)
        features, total = self._total(both, counts, carrier, energy, other, back, rng, extras=extras)
        one = Latent(counts.numpy(), carrier.numpy(), total, features)
        # the recoil (2E - E1, -p1), turned by pi about x
        turned = np.stack([2 * energy - total[:, 0], -total[:, 1], total[:, 2], total[:, 3]], -1)
        values = total_features(turned, other, energy, least)
        if extras:
            after = self.condition(flavour[:, 1], pt, scale, extra, side_of(needed, counts.numpy()))
            values = self._with_extras(self._context(after, more, second), values, rng)
        return one, Latent(more.numpy(), second.numpy(), turned, values)

    @torch.no_grad()
    def _total(
        self,
        condition: Tensor,
        counts: Tensor,
        carrier: Tensor,
        energy: Floats,
        opposite: Floats,
        back: Floats,
        rng: torch.Generator,
        *,
        extras: bool,
    ) -> tuple[Floats, Floats]:
        """Draw features (N, 3 or 8) and total four-momenta (N, 4) in GeV; see :func:`total_momentum`."""
        context = self._context(condition, counts, carrier)
        features = self.total_flow.sample(context, rng).double().numpy()
        azimuth = 2 * np.pi * torch.rand(len(counts), generator=rng, dtype=torch.float64).numpy()
        exact = single_masses(counts.numpy(), rng)
        total = total_momentum(features, least_masses(counts.numpy()), exact, energy, azimuth, opposite, back)
        return (self._with_extras(context, features, rng) if extras else features), total

    @torch.no_grad()
    def _with_extras(self, context: Tensor, features: Floats, rng: torch.Generator) -> Floats:
        """Extend the features (N, 3) of total momenta by the extras, drawn given the context; (N, 8)."""
        known = self._with_total(context, torch.from_numpy(features).float())
        return np.concatenate([features, self.extras_flow.sample(known, rng).double().numpy()], -1)


def tokens_of(latent: Latent, flavour: Ints, pt: Floats, scale: Floats, rng: np.random.Generator) -> TokenSample:
    """Make the tokens of latents, with masses drawn from the line shapes so that they fit into the sets' masses.

    Args:
        latent: of N sets.
        flavour: of the partons, one of ``tokens.FLAVOURS``, (N,).
        pt: of the partons, in GeV, (N,).
        scale: where their showers start, in GeV, (N,).
        rng: source of the masses.

    Returns:
        N sets whose momenta are NaN. A token alone has the mass of its set.
    """
    num, num_species = len(latent), len(SPECIES)
    counts = np.asarray(latent.counts)
    sizes = counts.sum(-1)
    offsets = offsets_from_counts(sizes)
    species = np.repeat(np.tile(np.arange(num_species), num), counts.reshape(-1))
    index = np.repeat(np.arange(num), sizes)
    carrier = np.zeros(len(species), dtype=bool)
    # the carrier is the first token of its species
    has = np.flatnonzero(latent.carrier < num_species)
    before = np.cumsum(counts, axis=1) - counts
    carrier[offsets[has] + before[has, latent.carrier[has]]] = True
    p = np.sqrt((latent.total[:, 1:] ** 2).sum(-1))
    room = np.sqrt(np.maximum((latent.total[:, 0] - p) * (latent.total[:, 0] + p), 0.0))
    mass = draw_masses(IDS[species], rng)
    for _ in range(_MASS_TRIALS):
        heavy = np.bincount(index, mass, num) > _MASS_ROOM * room
        heavy[sizes == 1] = False
        rows = np.flatnonzero(heavy[index])
        if len(rows) == 0:
            break
        mass[rows] = draw_masses(IDS[species[rows]], rng)
    else:  # as heavy as there is room for
        least = MIN_MASS[species]
        extra, floor = np.bincount(index, mass - least, num), np.bincount(index, least, num)
        share = np.clip((_MASS_ROOM * room - floor) / np.maximum(extra, 1e-12), 0.0, 1.0)
        mass = np.where(heavy[index], least + share[index] * (mass - least), mass)
    alone = sizes[index] == 1
    mass[alone] = np.where(MIN_MASS[species[alone]] > 0, room[index[alone]], 0.0)
    p4 = np.full((len(species), 4), np.nan)
    return TokenSample(flavour, pt, scale, offsets, species, p4, mass, carrier)


def side_of(missing: Ints, opposite: Ints) -> Floats:
    """Encode what is known of the opposite sets as inputs, (N, NUM_SIDE).

    Args:
        missing: quantum numbers that the sets have, (N, 8).
        opposite: counts of the species of the opposite sets, (N, S).
    """
    n = opposite.sum(-1)
    numbers = np.stack([np.log1p(n), n / 32, np.log1p(least_masses(opposite))], -1)
    return np.concatenate([np.ones((len(n), 1)), missing / 4, numbers], -1)


def single_masses(counts: Ints, rng: torch.Generator) -> Floats:
    """Draw the masses in GeV of the tokens of sets with a single one, NaN for other sets, (N,)."""
    result = np.full(len(counts), np.nan)
    rows = np.flatnonzero(counts.sum(-1) == 1)
    if len(rows):
        seed = int(torch.randint(2**63 - 1, (1,), generator=rng))
        result[rows] = draw_masses(IDS[counts[rows].argmax(-1)], np.random.default_rng(seed))
    return result


def total_features(total: Floats, least: Floats, energy: Floats, opposite: Floats) -> Floats:
    """Compute the first three columns of :data:`FEATURES`, (N, 3), of total four-momenta.

    Args:
        total: in GeV, (N, 4).
        least: sums of the least masses of the tokens in GeV, (N,).
        energy: half of the masses of the pairs in GeV, (N,).
        opposite: least masses of the opposite sets in GeV, 0 where these are not known, (N,).
    """
    p = np.sqrt((total[:, 1:] ** 2).sum(-1))
    mass = np.sqrt(np.maximum((total[:, 0] - p) * (total[:, 0] + p), 0))
    rest = 2 * energy - total[:, 0]
    recoil = np.sqrt(np.maximum((rest - p) * (rest + p), 0))
    angle = np.arctan2(np.hypot(total[:, 1], total[:, 2]), total[:, 3].copy())
    return np.stack(
        [
            _logit((mass - least) / np.maximum(2 * energy - least - opposite, _SMALL)),
            _logit((recoil - opposite) / np.maximum(2 * energy - mass - opposite, _SMALL)),
            2 * np.log(np.tan(np.clip(angle, _SMALL, MAX_ANGLE) / 2)),
        ],
        -1,
    )
