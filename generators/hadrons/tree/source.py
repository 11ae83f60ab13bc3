"""The tree model as a source alone: nothing can be trained or differentiated, and torch is not loaded for few sets."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from fastsim.event import Floats
from fastsim.sources.cards import ModelCard
from fastsim.sources.domains import Domain
from generators.hadrons.latent import Latent
from generators.hadrons.latent_sampler import LatentSampler
from generators.hadrons.primary import PrimarySource
from generators.hadrons.tokens import TYPES, TokenSample
from generators.hadrons.tree.context import NUM_CONTEXT
from generators.hadrons.tree.draws import TreeDraws
from generators.nn.compiled_network import Weights, as_weights, part

KEYS = frozenset({"latent", "splitting", "precision", "tune"})
"""What the config of a tree model may hold."""


class TreeSource(PrimarySource):
    """Draws what the :class:`~generators.hadrons.tree.model.PrimaryTree` of the same card draws, to the bit.

    Args:
        card: of the model.
        weights: as its file has them.
    """

    kind = "primary-tree"
    has_extras = False
    load_options: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, card: ModelCard, weights: Weights) -> None:
        assert isinstance(card.domain, Domain)  # cards of this kind have no other
        self._describe(card.name, card.domain, card.config.get("tune", ()))
        self.card, self.sha256 = card, card.sha256
        self._latents = LatentSampler(part(weights, "latent_model"))
        self._draws = TreeDraws(part(weights, "net"), card.config.get("precision", "bfloat16"))

    @property
    def latent_sampler(self) -> LatentSampler:
        return self._latents

    def place(self, tokens: TokenSample, energy: Floats, latent: Latent, rng: np.random.Generator) -> Floats:
        return self._draws.momenta(tokens, energy, latent.total, rng)

    @classmethod
    def from_card(cls, card: ModelCard, weights: Path, *, device: str = "cpu") -> PrimarySource:
        """Return the source of a card and its verified weights file; of another device, the model itself.

        Raises:
            WeightsError: if config and weights do not fit each other.
        """
        from safetensors.numpy import load_file

        given = {name: as_weights(values) for name, values in load_file(weights).items()}
        inputs = NUM_CONTEXT + len(card.config.get("tune", ())) + 2 * len(TYPES)
        embed = given.get("net.embed.weight")
        fits = embed is not None and embed.shape[1] == inputs and set(card.config) <= KEYS
        if fits and device == "cpu":
            return cls(card, given)
        from generators.hadrons.tree.model import PrimaryTree  # which says what is wrong

        return PrimaryTree.from_card(card, weights, device=device)
