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
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled
from fastsim.event import Floats, Ints, offsets_from_counts
from generators.decays import draw_masses, draw_masses_of, line_shapes
from generators.hadrons.count_shapes import NUM_SIDE, least_masses
from generators.hadrons.tokens import (
    CONTENT,
    FLAVOURS,
    HIGHER_SPIN,
    IDS,
    LOG_MASS,
    MIN_MASS,
    SPECIES,
    TokenSample,
    parton_energy,
)

Singles = NDArray[np.float32]
FEATURES: tuple[str, ...] = ("mass", "recoil", "angle", "z1", "z2", "girth", "ptd", "z_carrier")
"""logit of the mass, as a fraction of what the least masses of the tokens leave of 2E; logit of the opposite
hemisphere's mass, as a fraction of what is left of 2E then; logit (1 - cos theta)/2 of the momentum's angle to the
parton axis; log z1; logit z2/z1; log girth; logit pTD; log z of the carrier. E is the parton's energy, z1 and z2 are
the largest energies of tokens over E."""
MASS, RECOIL, ANGLE = range(3)
"""Columns of the features of the total four-momentum."""
NUM_TOTAL = 3
"""The first features fix the total four-momentum up to its azimuth; the others are the extras."""

OF_CARRIER: Floats = np.zeros((len(SPECIES) + 1, 8))
"""What the flows see of the carrier, (S + 1, 8), the last row for none: quarks, log mass, spin, existence."""
OF_CARRIER[:-1] = np.column_stack([CONTENT[:, :5], LOG_MASS, HIGHER_SPIN, np.ones(len(SPECIES))])

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


def conditions(flavour: Ints, pt: Floats, scale: Floats, extra: Floats, side: Floats | None = None) -> Singles:
    """Compute what latents depend on, (N, C).

    Args:
        flavour: of the partons, one of ``tokens.FLAVOURS``, (N,).
        pt: of the partons, in GeV, (N,).
        scale: where their showers start, in GeV, (N,).
        extra: further conditions, (N, E).
        side: what is known of the opposite sets, see :func:`side_of`, (N, NUM_SIDE); by default nothing.
    """
    log_pt = (np.log(pt) - np.log(100.0)) / np.log(10.0)
    ratio = np.log(np.clip(scale / pt, 1e-3, 1.0))
    numbers = np.stack([log_pt, log_pt**2, log_pt**3, ratio, ratio**2 / 4], -1)
    opposite = np.zeros((len(pt), NUM_SIDE)) if side is None else side
    columns = [flavour[:, None] == np.array(FLAVOURS), numbers, extra, opposite]
    return np.concatenate(columns, -1, dtype=np.float32)


def closed_columns(condition: Singles, gates: Ints) -> NDArray[np.bool_]:
    """Return which columns of conditions (N, C) are no inputs for their partons, (N, C).

    Args:
        condition: result of :func:`conditions`.
        gates: columns that are inputs for partons of one flavour alone, and the columns of their flavours, (G, 2).
    """
    result = np.zeros(condition.shape, dtype=bool)
    result[:, gates[:, 0]] = condition[:, gates[:, 1]] < 0.5
    return result


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
    num, counts = len(latent), np.asarray(latent.counts)
    sizes = counts.sum(-1)
    offsets = offsets_from_counts(sizes)
    species, index = np.empty((2, int(offsets[-1])), np.int64)
    carrier = np.zeros(len(species), dtype=bool)
    _list_tokens(counts, np.asarray(latent.carrier), species, index, carrier)
    p = np.sqrt((latent.total[:, 1:] ** 2).sum(-1))
    room = np.sqrt(np.maximum((latent.total[:, 0] - p) * (latent.total[:, 0] + p), 0.0))
    shapes = _line_shapes()
    mass = draw_masses_of(shapes, species, rng)
    for _ in range(_MASS_TRIALS):
        heavy = np.bincount(index, mass, num) > _MASS_ROOM * room
        heavy[sizes == 1] = False
        if not heavy.any():
            break
        rows = np.flatnonzero(heavy[index])
        mass[rows] = draw_masses_of(shapes, species[rows], rng)
    else:  # as heavy as there is room for
        least = MIN_MASS[species]
        extra, floor = np.bincount(index, mass - least, num), np.bincount(index, least, num)
        share = np.clip((_MASS_ROOM * room - floor) / np.maximum(extra, 1e-12), 0.0, 1.0)
        mass = np.where(heavy[index], least + share[index] * (mass - least), mass)
    alone = sizes[index] == 1
    mass[alone] = np.where(MIN_MASS[species[alone]] > 0, room[index[alone]], 0.0)
    p4 = np.full((len(species), 4), np.nan)
    return TokenSample(flavour, pt, scale, offsets, species, p4, mass, carrier)


@compiled
def _list_tokens(counts: Ints, carriers: Ints, species: Ints, index: Ints, carrier: NDArray[np.bool_]) -> None:
    """Fill species (M,) and sets (M,) of the tokens of ``counts`` (N, S), and mark ``carriers`` (N,) in ``carrier``.

    The carrier is the first token of its species.
    """
    place = 0
    for i in range(len(counts)):
        for s in range(counts.shape[1]):
            if counts[i, s] > 0 and s == carriers[i]:
                carrier[place] = True
            for _ in range(counts[i, s]):
                species[place], index[place] = s, i
                place += 1


@lru_cache(maxsize=1)
def _line_shapes() -> Floats:
    """Return the line shapes of all species, (S, 5)."""
    return line_shapes(SPECIES)


def side_of(missing: Ints, opposite: Ints) -> Floats:
    """Encode what is known of the opposite sets as inputs, (N, NUM_SIDE).

    Args:
        missing: quantum numbers that the sets have, (N, 8).
        opposite: counts of the species of the opposite sets, (N, S).
    """
    n = opposite.sum(-1)
    numbers = np.stack([np.log1p(n), n / 32, np.log1p(least_masses(opposite))], -1)
    return np.concatenate([np.ones((len(n), 1)), missing / 4, numbers], -1)


def single_masses(counts: Ints, rng: np.random.Generator) -> Floats:
    """Draw the masses in GeV of the tokens of sets with a single one, NaN for other sets, (N,)."""
    result = np.full(len(counts), np.nan)
    rows = np.flatnonzero(counts.sum(-1) == 1)
    if len(rows):
        result[rows] = draw_masses(IDS[counts[rows].argmax(-1)], rng)
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
