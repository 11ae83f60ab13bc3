"""Draws of latents with a copy of a model's weights, without torch."""

from __future__ import annotations

import numpy as np

from fastsim.event import Floats, Ints
from generators.hadrons.count_sampler import CountSampler, impossible
from generators.hadrons.count_shapes import least_masses
from generators.hadrons.latent import (
    OF_CARRIER,
    Latent,
    Singles,
    closed_columns,
    conditions,
    side_of,
    single_masses,
    total_features,
    total_momentum,
)
from generators.hadrons.tokens import CONTENT, SPECIES, TYPE, TYPES, parton_energy
from generators.nn.compiled_network import SILU, CompiledNetwork, Weights, part, perceptron
from generators.nn.flow_sampler import FlowSampler

_PAIR_TRIALS = 5
"""Times that both hemispheres of a singlet are drawn before it is given up."""


class LatentSampler:
    """Draws latents.

    Args:
        weights: of the :class:`~generators.hadrons.latent_model.LatentModel`, by name; the flow of the extras may be
            missing where these are not drawn.
    """

    def __init__(self, weights: Weights) -> None:
        self._counts = CountSampler(part(weights, "count_model"))
        self._context_net = CompiledNetwork(perceptron(weights, "context", SILU))
        self._total_flow = FlowSampler(part(weights, "total_flow"))
        extras = part(weights, "extras_flow")
        self._extras_flow = FlowSampler(extras) if extras else None
        self._scale = weights["total_flow.mean"], weights["total_flow.std"]
        self._gates = weights.get("gates")

    def sample(
        self,
        flavour: Ints,
        pt: Floats,
        scale: Floats,
        rng: np.random.Generator,
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
        condition = self._condition(flavour, pt, scale, _given(extra, len(pt)))
        energy = parton_energy(flavour, pt)
        counts, carrier = self._counts.sample(condition, _own(rng), max_mass=1.9 * energy)
        none = np.zeros(len(pt))
        features, total = self._total(condition, counts, carrier, energy, none, none + np.nan, rng, extras=extras)
        return Latent(counts, carrier, total, features)

    def sample_pairs(
        self,
        flavour: Ints,
        pt: Floats,
        scale: Floats,
        energy: Floats,
        missing: Ints,
        signs: Ints,
        rng: np.random.Generator,
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
        given = _given(extra, len(pt))

        def condition(side: int, known: Floats | None = None) -> Singles:
            return self._condition(flavour[:, side], pt, scale, given, known)

        room = 1.95 * energy
        counts, carrier = self._counts.sample(condition(0), _own(rng), max_mass=room)
        again, own = np.arange(len(pt)), _own(rng)
        more, second = np.zeros_like(counts), np.zeros_like(carrier)
        for number in range(_PAIR_TRIALS):
            if number:  # rarely the first hemisphere needs what no second one has: both are drawn anew
                counts[again], carrier[again] = self._counts.sample(condition(0)[again], own, max_mass=room[again])
            numbers = np.asarray(counts @ CONTENT)
            needed = signs[:, 1:] * (missing - signs[:, :1] * numbers)
            least = least_masses(counts)
            given_first = condition(1, side_of(needed, counts))
            more[again], second[again], failed = self._counts.attempt(
                given_first[again], own, needed[again], (room - least)[again]
            )
            again = again[failed]
            if len(again) == 0:
                break
        else:
            raise impossible(len(again), len(pt))
        # both sets are known to the first one's momentum
        other, back = least_masses(more), single_masses(more, _own(rng))
        both = condition(0, side_of(numbers, more))
        features, total = self._total(both, counts, carrier, energy, other, back, rng, more, extras=extras)
        one = Latent(counts, carrier, total, features)
        # the recoil (2E - E1, -p1), turned by pi about x
        turned = np.stack([2 * energy - total[:, 0], -total[:, 1], total[:, 2], total[:, 3]], -1)
        values = total_features(turned, other, energy, least)
        if extras:
            values = self._with_extras(self._context(given_first, more, second, counts), values, rng)
        return one, Latent(more, second, turned, values)

    def _condition(
        self, flavour: Ints, pt: Floats, scale: Floats, extra: Floats, side: Floats | None = None
    ) -> Singles:
        """Compute conditions as :func:`generators.hadrons.latent.conditions` does, with the gates of the model."""
        result = conditions(flavour, pt, scale, extra, side)
        if self._gates is not None:
            result[closed_columns(result, self._gates)] = 0.0
        return result

    def _context(self, condition: Singles, counts: Ints, carrier: Ints, opposite: Ints | None = None) -> Singles:
        """Compute the context of the flows from conditions, counts of species (N, S), carriers, and opposite counts."""
        c = of_types(counts, carrier).astype(np.float32)
        n, least = c.sum(-1, keepdims=True), least_masses(counts)[:, None]
        beyond = np.zeros_like(c) if opposite is None else np.log1p(of_types(opposite))
        columns = [condition, np.log1p(c), c / 16, np.log1p(n), np.log1p(least), OF_CARRIER[carrier], beyond]
        return self._context_net(np.concatenate(columns, -1, dtype=np.float32))

    def _total(
        self,
        condition: Singles,
        counts: Ints,
        carrier: Ints,
        energy: Floats,
        opposite: Floats,
        back: Floats,
        rng: np.random.Generator,
        opposite_counts: Ints | None = None,
        *,
        extras: bool,
    ) -> tuple[Floats, Floats]:
        """Draw features (N, 3 or 8) and total four-momenta (N, 4) in GeV; see :func:`total_momentum`."""
        context = self._context(condition, counts, carrier, opposite_counts)
        features = self._total_flow.sample(context, rng)
        azimuth = 2 * np.pi * rng.random(len(counts))
        exact = single_masses(counts, _own(rng))
        total = total_momentum(features, least_masses(counts), exact, energy, azimuth, opposite, back)
        return (self._with_extras(context, features, rng) if extras else features), total

    def _with_extras(self, context: Singles, features: Floats, rng: np.random.Generator) -> Floats:
        """Extend the features (N, 3) of total momenta by the extras, drawn given the context; (N, 8)."""
        assert self._extras_flow is not None
        mean, std = self._scale
        known = np.concatenate([context, (features - mean) / std], 1, dtype=np.float32)
        return np.concatenate([features, self._extras_flow.sample(known, rng)], -1)


def _own(rng: np.random.Generator) -> np.random.Generator:
    """Return a generator for draws whose number depends on what is drawn: others after them stay the same."""
    return np.random.default_rng(rng.integers(2**63 - 1))


def _given(extra: Floats | None, num: int) -> Floats:
    return np.zeros((num, 0)) if extra is None else extra


def of_types(counts: Ints, carrier: Ints | None = None) -> Ints:
    """Return counts of the types (N, T) from those of the species (N, S).

    The carriers, of the species (N,), S for none, are of a type of their own; if not given, they are as others.
    """
    types = np.zeros((len(counts), len(TYPES)), np.int64)
    rows, species = np.nonzero(counts)
    np.add.at(types, (rows, TYPE[species]), counts[rows, species])
    if carrier is not None:
        has = np.flatnonzero(carrier < len(SPECIES))
        types[has, TYPE[carrier[has]]] -= 1
        types[has, 0] = 1
    return types
