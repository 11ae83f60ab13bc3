"""Primary hadrons as a source draws them: latent first, hadrons given it, decays last. Nothing here needs torch."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError
from fastsim.event import Floats, Ints, ParticleSet, Partons, offsets_from_counts
from fastsim.sources.domains import ROUNDING, Domain
from fastsim.sources.hadrons import HadronSource, PartonPairs
from fastsim.sources.source import RNG, generator
from generators.decays import decay
from generators.hadrons.latent import Latent, tokens_of
from generators.hadrons.latent_sampler import LatentSampler
from generators.hadrons.tokens import (
    CONJUGATE,
    IDS,
    TokenSample,
    condition,
    parton_content,
    parton_energy,
    to_particles,
)
from generators.hadrons.tunes import Tune, parameter, tune_of

SCALE_MIN, RATIO_MIN = 1.0, 0.01
"""Lowest scale in GeV at which showers start in the training data, and lowest one over pT; see :mod:`.data`."""
PAIR_MARGIN = 0.9
"""Share of the least pT that the momenta of a singlet's partons have to have."""


def _noise(rng: np.random.Generator) -> tuple[np.random.Generator, np.random.Generator]:
    """Return the generators of tokens and of latents: two, so that the tokens' noise is the same for a given latent."""
    tokens, latents = rng.integers(2**63 - 1, size=2)
    return np.random.default_rng(tokens), np.random.default_rng(latents)


class PrimarySource(HadronSource):
    """p(hadrons | parton) = p(z | parton) p(tokens | z, parton), then exact decays.

    A subclass gives the first factor by :attr:`latent_sampler` and the middle one by :meth:`place`. Results depend on
    the partons, their order and ``rng`` only.

    In a model of tunes both factors depend on parameters of Pythia too: their names are ``tune_parameters``, and
    ``tune`` is where the model stands; :meth:`at` gives it at another tune.
    """

    domain: Domain
    has_latent = True
    has_pairs = True
    has_scale = True
    has_history = True
    has_extras = True
    """Whether the tokens depend on the latent's extras; otherwise these are not drawn."""

    def _describe(self, name: str, domain: Domain, parameters: Sequence[str]) -> None:
        """Set name, domain and parameters of tunes."""
        self.name, self.domain = name, replace(domain, scale_min=SCALE_MIN, ratio_min=RATIO_MIN)
        self.tune_parameters: tuple[str, ...] = tuple(parameter(each).name for each in parameters)
        self.tune: Tune | None = Tune() if self.tune_parameters else None

    @property
    @abstractmethod
    def latent_sampler(self) -> LatentSampler:
        """What draws latents."""

    def at(self, tune: Tune | str | Mapping[str, float] | None) -> Self:
        """Return the model, with the same weights, at another tune.

        Args:
            tune: a tune, its text (``"aLund=0.5 alphaS=0.13"``), or values by name; None for Monash.

        Raises:
            FastsimError: if the model has no tunes, does not know a parameter, or its value is outside the range.
        """
        if self.tune is None:
            return super().at(tune)
        chosen = tune_of(tune)
        for name in chosen.changed:
            if name not in self.tune_parameters:
                raise FastsimError(
                    f"model {self.name!r} does not know {name}: it has {', '.join(self.tune_parameters)}"
                )
        changed = copy.copy(self)
        changed.tune = chosen
        return changed

    @property
    def vector(self) -> Floats:
        """What the networks see of the tune, (P,); (0,) for a model without tunes."""
        return np.zeros(0) if self.tune is None else self.tune.vector(self.tune_parameters)

    def vectors(self, num: int) -> Floats:
        """Return the vector of the tune for each of ``num`` sets, (num, P)."""
        return np.tile(self.vector, (num, 1))

    @property
    def provenance(self) -> dict[str, str]:
        values = super().provenance
        return values if self.tune is None else {**values, "tune": str(self.tune)}

    @abstractmethod
    def place(self, tokens: TokenSample, energy: Floats, latent: Latent, rng: np.random.Generator) -> Floats:
        """Draw the momenta (M, 4) in GeV of the tokens of N sets in the axis frame (:mod:`fastsim.event.frames`).

        Args:
            tokens: species, masses and carriers of the tokens; their momenta are not known yet.
            energy: half of the masses of the pairs in GeV, (N,).
            latent: the latents of the sets.
            rng: source of all randomness.
        """

    def draw(self, partons: Partons, rng: np.random.Generator) -> ParticleSet:
        return self.draw_with_latent(partons, rng, None)[0]

    def primary_with_carriers(self, partons: Partons, *, rng: RNG = None) -> tuple[ParticleSet, Ints]:
        """Draw hadrons as :meth:`primary` does, and return the PDG ids of those that carry the partons' quarks, (N,).

        Of several of an id the first of a set is meant; 0 stands for none.

        Raises:
            OutOfDomain: if a parton is outside the domain.
        """
        self.refuse_outside(partons)
        hadrons, latent = self.draw_with_latent(partons, generator(rng), None)
        return self._one_each(partons, hadrons), _carrier_ids(latent.carrier, partons.pdg_id)

    def decay(self, particles: ParticleSet, rng: np.random.Generator) -> ParticleSet:
        return decay(particles, rng, tau0_max=self.tau0_max)

    def draw_with_latent(
        self, partons: Partons, rng: np.random.Generator, latent: Latent | None
    ) -> tuple[ParticleSet, Latent]:
        """Draw the primary hadrons of each parton's hemisphere, and return them with the latents.

        The shower of a parton starts at its ``starting_scale``, by default its transverse momentum.

        The latents of an antiquark are those of the quark that it is the antiparticle of.
        """
        noise, latent_noise = _noise(rng)
        flavour, pt, _ = condition(partons)
        scale = partons.starting_scale
        if len(partons) == 0:
            return ParticleSet.empty(), Latent.empty()
        if latent is None:
            latent = self.sample_latent(flavour, pt, scale, latent_noise)
        tokens = self._placed(flavour, pt, scale, parton_energy(flavour, pt), latent, rng, noise)
        return to_particles(tokens, partons), latent

    def _placed(
        self,
        flavour: Ints,
        pt: Floats,
        scale: Floats,
        energy: Floats,
        latent: Latent,
        rng: np.random.Generator,
        noise: np.random.Generator,
    ) -> TokenSample:
        tokens = replace(tokens_of(latent, flavour, pt, scale, rng), tune=self.vectors(len(pt)))
        return replace(tokens, p4=self.place(tokens, energy, latent, noise))

    def takes(self, pairs: PartonPairs) -> NDArray[np.bool_]:
        """Return which singlets lie in the domain: of a mass of twice its limits, if their partons have momenta for it.

        Partons of a singlet of 10 GeV have a little less than 5 GeV, and training data begins at 4.5 GeV.
        """
        half, domain = pairs.mass / 2, replace(self.domain, pt_min=PAIR_MARGIN * self.domain.pt_min)
        low, high = self.domain.pt_min * (1 - ROUNDING), self.domain.pt_max * (1 + ROUNDING)
        both = domain.contains(pairs.partons(0)) & domain.contains(pairs.partons(1))
        return np.asarray((half >= low) & (half <= high) & both)

    def draw_pairs(self, pairs: PartonPairs, rng: np.random.Generator) -> ParticleSet:
        return self.draw_pairs_with_carriers(pairs, rng)[0]

    def draw_pairs_with_carriers(self, pairs: PartonPairs, rng: np.random.Generator) -> tuple[ParticleSet, Ints]:
        """Draw singlets as :meth:`draw_pairs` does, and return the PDG ids of the carriers of both quarks, (N, 2).

        Of several of an id the first in the hemisphere of the quark is meant; 0 stands for none.
        """
        if len(pairs) == 0:
            return ParticleSet.empty(), np.zeros((0, 2), np.int64)
        tokens = self.draw_pair_tokens(pairs, rng)
        return particles_of_pairs(tokens, pairs), _carrier_ids(tokens.carriers.reshape(2, -1).T, pairs.pdg_id)

    def draw_pair_tokens(self, pairs: PartonPairs, rng: np.random.Generator) -> TokenSample:
        """Draw singlets as :meth:`draw_pairs` does, and return their hemispheres: first those of the first partons.

        Returns:
            2N token sets for N > 0 pairs: hemisphere 1 of all pairs, then hemisphere 2, with their carriers.
        """
        num = len(pairs)
        noise, latent_noise = _noise(rng)
        flavour, momenta, energy = np.abs(pairs.pdg_id), pairs.momenta, pairs.mass / 2
        scale = pairs.starting_scale
        signs = np.where(pairs.pdg_id < 0, -1, 1)
        content = parton_content(pairs.pdg_id[:, 0]) + parton_content(pairs.pdg_id[:, 1])
        both = self.latent_sampler.sample_pairs(
            flavour, momenta, scale, energy, content, signs, latent_noise, self.vectors(num), extras=self.has_extras
        )
        latent = Latent.concatenate(both)
        momenta, scale, energy = np.tile(momenta, 2), np.tile(scale, 2), np.tile(energy, 2)
        return self._placed(flavour.T.ravel(), momenta, scale, energy, latent, rng, noise)

    def draw_latent(self, partons: Partons, rng: np.random.Generator) -> Latent:
        flavour, pt, _ = condition(partons)
        return self.sample_latent(flavour, pt, partons.starting_scale, _noise(rng)[1])

    def sample_latent(self, flavour: Ints, pt: Floats, scale: Floats, rng: np.random.Generator) -> Latent:
        """Draw the latents of N hemispheres: arguments as of :meth:`LatentSampler.sample`."""
        return self.latent_sampler.sample(flavour, pt, scale, rng, self.vectors(len(pt)), extras=self.has_extras)


def _carrier_ids(carriers: Ints, pdg_id: Ints) -> Ints:
    """Return the PDG ids of carriers of partons from their species; of none, -1 or the number of species, 0."""
    species = np.where((carriers < 0) | (carriers == len(IDS)), 0, carriers)
    ids = IDS[np.where(pdg_id < 0, CONJUGATE[species], species)]
    return np.asarray(np.where((carriers < 0) | (carriers == len(IDS)), 0, ids))


def particles_of_pairs(tokens: TokenSample, pairs: PartonPairs) -> ParticleSet:
    """Return the primary hadrons of N singlets from what :meth:`PrimarySource.draw_pair_tokens` gives."""
    num = len(pairs)
    flipped = np.repeat(pairs.pdg_id.T.ravel() < 0, tokens.counts)
    species = np.where(flipped, CONJUGATE[tokens.species], tokens.species)
    second = tokens.index >= num
    # the second hemisphere is turned by pi about x
    p4 = np.where(second[:, None], tokens.p4 * np.array([1.0, 1.0, -1.0, -1.0]), tokens.p4)
    order = np.argsort(tokens.index % num, kind="stable")
    offsets = offsets_from_counts(tokens.counts[:num] + tokens.counts[num:])
    return ParticleSet(offsets, IDS[species[order]], p4[order])
