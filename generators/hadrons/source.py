"""A trained hadron model as a source of hadrons: latent first, tokens given it, decays last."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from fastsim.errors import FastsimError, WeightsError
from fastsim.event import Floats, Ints, ParticleSet, Partons, species
from fastsim.sources.cards import ModelCard
from fastsim.sources.domains import Domain
from fastsim.sources.hadrons import HadronSource
from generators.hadrons.decays import to_particles
from generators.hadrons.latent import FEATURES, Latent, LatentModel
from generators.hadrons.tokens import SPECIES, TokenSample, condition


def _noise(rng: np.random.Generator) -> tuple[torch.Generator, torch.Generator]:
    """Return the generators of tokens and of latents: two, so that the tokens' noise is the same for a given latent."""
    tokens, latents = rng.integers(2**63 - 1, size=2)
    return torch.Generator().manual_seed(int(tokens)), torch.Generator().manual_seed(int(latents))


class HadronModel(HadronSource, nn.Module):
    """p(hadrons | parton) = p(z | parton) p(tokens | z, parton), then exact decays.

    A subclass gives the middle factor, :meth:`place`. Results depend on the partons, their order and ``rng``
    only.
    """

    domain: Domain
    has_latent = True
    latent_columns: ClassVar[Mapping[str, Sequence[str]]] = {
        "counts": tuple(map(species.name, SPECIES)),
        "total": ("E", "px", "py", "pz"),
        "features": FEATURES,
    }
    load_options: ClassVar[frozenset[str]] = frozenset()
    """Keyword arguments that :meth:`from_card` takes in addition to ``device``."""
    has_extras = True
    """Whether the tokens depend on the latent's extras; otherwise these are not drawn."""

    def __init__(self, name: str, domain: Domain, latent: LatentModel, precision: str) -> None:
        super().__init__()
        self.name, self.domain, self.latent_model, self.precision = name, domain, latent, precision

    @abstractmethod
    def place(self, flavour: Ints, pt: Floats, latent: Latent, rng: torch.Generator) -> TokenSample:
        """Draw the token sets of N partons in the axis frame (:mod:`fastsim.event.frames`).

        Args:
            flavour: indices (N,) into :data:`generators.hadrons.tokens.FLAVOURS`.
            pt: transverse momenta (N,) in GeV.
            latent: the latents of the partons.
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

    @torch.no_grad()
    def draw_with_latent(
        self, partons: Partons, rng: np.random.Generator, latent: Latent | None
    ) -> tuple[ParticleSet, Latent]:
        """Draw final particles of each parton's hemisphere, and return them with the latents.

        The latents of an antiquark are those of the quark that it is the antiparticle of.
        """
        noise, latent_noise = _noise(rng)
        flavour, pt, _ = condition(partons)
        if latent is None:
            latent = self.latent_model.sample(flavour, pt, latent_noise, extras=self.has_extras)
        if len(partons) == 0:
            return ParticleSet.empty(), latent
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.precision == "bfloat16"):
            tokens = self.place(flavour, pt, latent, noise)
        return to_particles(tokens, partons, rng), latent

    @torch.no_grad()
    def draw_latent(self, partons: Partons, rng: np.random.Generator) -> Latent:
        flavour, pt, _ = condition(partons)
        return self.latent_model.sample(flavour, pt, _noise(rng)[1], extras=self.has_extras)

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights to save: parameters in float16, which halves the file, scales and edges as they are."""
        small = {name for name, _ in self.named_parameters()}
        return {k: (v.half() if k in small else v).contiguous() for k, v in self.state_dict().items()}

    @classmethod
    def from_card(cls, card: ModelCard, weights: Path, *, device: str = "cpu", **options: Any) -> Self:
        """Return the model of a card and its verified weights file.

        Raises:
            WeightsError: if config and weights do not fit each other.
            FastsimError: if ``device`` is not "cpu", the only one that the models were tried on.
        """
        from safetensors.torch import load_file

        if device != "cpu":
            raise FastsimError(f"device {device!r}: {card.name} runs on cpu only")
        assert isinstance(card.domain, Domain)  # cards of these kinds have no other
        try:
            model = cls.build(card.name, card.domain, {**card.config, **options})
            model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(weights).items()})
        except (TypeError, RuntimeError, ValueError) as error:
            line = " ".join(str(error).split())
            raise WeightsError(f"{weights}: weights and card of {card.name} do not fit: {line[:200]}") from error
        model.card, model.sha256 = card, card.sha256
        return model.eval()

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
