"""A trained hadron model as a source of hadrons: latent first, primary hadrons given it, decays last."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fastsim.errors import WeightsError
from fastsim.event import Floats, Ints, ParticleSet, Partons, offsets_from_counts
from fastsim.sources.cards import ModelCard
from fastsim.sources.domains import ROUNDING, Domain
from fastsim.sources.hadrons import HadronSource, PartonPairs
from generators.decays import decay
from generators.hadrons.latent import Latent, LatentModel, tokens_of
from generators.hadrons.likelihood import primary_hadrons, summed, tokens_of_sets, with_carriers
from generators.hadrons.tokens import (
    CONJUGATE,
    IDS,
    TokenSample,
    condition,
    parton_content,
    parton_energy,
    to_particles,
)
from generators.nn.devices import checked


def _noise(rng: np.random.Generator) -> tuple[torch.Generator, torch.Generator]:
    """Return the generators of tokens and of latents: two, so that the tokens' noise is the same for a given latent."""
    tokens, latents = rng.integers(2**63 - 1, size=2)
    return torch.Generator().manual_seed(int(tokens)), torch.Generator().manual_seed(int(latents))


SCALE_MIN, RATIO_MIN = 1.0, 0.01
"""Lowest scale in GeV at which showers start in the training data, and lowest one over pT; see :mod:`.data`."""
PAIR_MARGIN = 0.9
"""Share of the least pT that the momenta of a singlet's partons have to have."""
_EXTRAS = "latent_model.extras_flow."


class PrimaryModel(HadronSource, nn.Module):
    """p(hadrons | parton) = p(z | parton) p(tokens | z, parton), then exact decays.

    A subclass gives the middle factor, :meth:`place`. Results depend on the partons, their order and ``rng``
    only.
    """

    domain: Domain
    has_latent = True
    has_pairs = True
    has_scale = True
    has_history = True
    load_options: ClassVar[frozenset[str]] = frozenset()
    """Keyword arguments that :meth:`from_card` takes in addition to ``device``."""
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    """Kinds of torch devices that the model runs on."""
    has_extras = True
    """Whether the tokens depend on the latent's extras; otherwise these are not drawn."""

    def __init__(self, name: str, domain: Domain, latent: LatentModel, precision: str) -> None:
        super().__init__()
        self.name, self.latent_model, self.precision = name, latent, precision
        self.domain = replace(domain, scale_min=SCALE_MIN, ratio_min=RATIO_MIN)

    @abstractmethod
    def place(self, tokens: TokenSample, energy: Floats, latent: Latent, rng: torch.Generator) -> Floats:
        """Draw the momenta (M, 4) in GeV of the tokens of N sets in the axis frame (:mod:`fastsim.event.frames`).

        Args:
            tokens: species, masses and carriers of the tokens; their momenta are not known yet.
            energy: half of the masses of the pairs in GeV, (N,).
            latent: the latents of the sets.
            rng: source of all randomness.
        """

    @classmethod
    @abstractmethod
    def build(cls, name: str, domain: Domain, config: Mapping[str, Any]) -> Self:
        """Return an untrained model with the sizes and settings in ``config``."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return the sizes and settings that :meth:`build` takes, as JSON values."""

    def draw(self, partons: Partons, rng: np.random.Generator) -> ParticleSet:
        return self.draw_with_latent(partons, rng, None)[0]

    def decay(self, particles: ParticleSet, rng: np.random.Generator) -> ParticleSet:
        return decay(particles, rng, tau0_max=self.tau0_max)

    @torch.no_grad()
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
        noise: torch.Generator,
    ) -> TokenSample:
        tokens = tokens_of(latent, flavour, pt, scale, rng)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.precision == "bfloat16"):
            return replace(tokens, p4=self.place(tokens, energy, latent, noise))

    def takes(self, pairs: PartonPairs) -> NDArray[np.bool_]:
        """Return which singlets lie in the domain: of a mass of twice its limits, if their partons have momenta for it.

        Partons of a singlet of 10 GeV have a little less than 5 GeV, and training data begins at 4.5 GeV.
        """
        half, domain = pairs.mass / 2, replace(self.domain, pt_min=PAIR_MARGIN * self.domain.pt_min)
        low, high = self.domain.pt_min * (1 - ROUNDING), self.domain.pt_max * (1 + ROUNDING)
        both = domain.contains(pairs.partons(0)) & domain.contains(pairs.partons(1))
        return np.asarray((half >= low) & (half <= high) & both)

    @torch.no_grad()
    def draw_pairs(self, pairs: PartonPairs, rng: np.random.Generator) -> ParticleSet:
        num = len(pairs)
        if num == 0:
            return ParticleSet.empty()
        noise, latent_noise = _noise(rng)
        flavour, momenta, energy = np.abs(pairs.pdg_id), pairs.momenta, pairs.mass / 2
        scale = pairs.starting_scale
        signs = np.where(pairs.pdg_id < 0, -1, 1)
        content = parton_content(pairs.pdg_id[:, 0]) + parton_content(pairs.pdg_id[:, 1])
        both = self.latent_model.sample_pairs(
            flavour, momenta, scale, energy, content, signs, latent_noise, extras=self.has_extras
        )
        latent = Latent.concatenate(both)
        momenta, scale, energy = np.tile(momenta, 2), np.tile(scale, 2), np.tile(energy, 2)
        tokens = self._placed(flavour.T.ravel(), momenta, scale, energy, latent, rng, noise)
        flipped = np.repeat(signs.T.ravel() < 0, tokens.counts)
        species = np.where(flipped, CONJUGATE[tokens.species], tokens.species)
        second = tokens.index >= num
        # the second hemisphere is turned by pi about x
        p4 = np.where(second[:, None], tokens.p4 * np.array([1.0, 1.0, -1.0, -1.0]), tokens.p4)
        order = np.argsort(tokens.index % num, kind="stable")
        offsets = offsets_from_counts(tokens.counts[:num] + tokens.counts[num:])
        return ParticleSet(offsets, IDS[species[order]], p4[order])

    def log_likelihood(
        self, partons: Partons, particles: ParticleSet, *, numbers: Ints | None = None, whole_events: bool = False
    ) -> Floats:
        """Compute the log-density of the primary hadrons of N partons, (N,); see :meth:`HadronSource.log_likelihood`.

        The measure is that of the model's ``log_prob``. Which hadron carries the parton's quark is summed over.
        """
        density = getattr(self, "log_prob", None)
        if density is None:
            return super().log_likelihood(partons, particles)
        self.refuse_outside(partons)
        if len(partons) == 0:
            return np.zeros(0)
        names = np.arange(len(partons)) if numbers is None else numbers
        primary = primary_hadrons(particles, names)
        tokens = tokens_of_sets(partons, primary, names, whole_events=whole_events)
        copies, source = with_carriers(tokens)
        return summed(density(copies), source, len(tokens))

    @torch.no_grad()
    def draw_latent(self, partons: Partons, rng: np.random.Generator) -> Latent:
        flavour, pt, _ = condition(partons)
        return self.sample_latent(flavour, pt, partons.starting_scale, _noise(rng)[1])

    def sample_latent(self, flavour: Ints, pt: Floats, scale: Floats, rng: torch.Generator) -> Latent:
        """Draw the latents of N hemispheres: arguments as of :meth:`generators.hadrons.latent.LatentModel.sample`."""
        return self.latent_model.sample(flavour, pt, scale, rng, extras=self.has_extras)

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights to save: parameters in float16, which halves the file, scales and edges as they are.

        A model whose tokens do not depend on the extras of the latent goes without their flow.
        """
        small = {name for name, _ in self.named_parameters()}
        kept = {k: v for k, v in self.state_dict().items() if self.has_extras or not k.startswith(_EXTRAS)}
        return {k: (v.half() if k in small else v).contiguous() for k, v in kept.items()}

    @classmethod
    def from_card(cls, card: ModelCard, weights: Path, *, device: str = "cpu", **options: Any) -> Self:
        """Return the model of a card and its verified weights file.

        Raises:
            WeightsError: if config and weights do not fit each other.
            FastsimError: if models of this kind do not run on ``device``, or it is not there.
        """
        from safetensors.torch import load_file

        checked(device, cls.devices, card.name)
        assert isinstance(card.domain, Domain)  # cards of these kinds have no other
        try:
            model = cls.build(card.name, card.domain, {**card.config, **options})
            state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(weights).items()}
            if not model.has_extras:
                state |= {k: v for k, v in model.state_dict().items() if k.startswith(_EXTRAS)}
            model.load_state_dict(state)
        except (TypeError, RuntimeError, ValueError) as error:
            line = " ".join(str(error).split())
            raise WeightsError(f"{weights}: weights and card of {card.name} do not fit: {line[:200]}") from error
        model.card, model.sha256 = card, card.sha256
        model.move(device)
        return model.eval()

    def move(self, device: str) -> None:
        """Move the networks that a device other than the CPU is for to it; latents and decays stay on the CPU."""

    def save(self, folder: Path, *, version: str, training: dict[str, Any]) -> Path:
        """Write card and weights under the model's name, and return the path of the card.

        Args:
            folder: the folder to write to.
            version: version of the weights.
            training: how the model was trained, as JSON values. Validation figures are added to the card later.
        """
        from fastsim.sources import cards

        json.dumps(training)  # a card holds JSON values only
        card = ModelCard(self.name, self.kind, version, self.config(), self.domain, training)
        return cards.save(card, self.tensors(), folder)
