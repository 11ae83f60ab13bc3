"""Models of hadrons by name: what :func:`load_model` gives, and every run of hadrons starts with."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from fastsim.errors import FastsimError
from fastsim.event import ParticleSet, Partons
from fastsim.shipped import sha256_of
from fastsim.sources import cards
from fastsim.sources.cards import DEFAULT_MODEL, ModelCard
from fastsim.sources.hadrons import Domain, HadronSource

REFERENCE = "pythia"
"""The name of the reference, where a model's is expected."""

_CLASSES = {
    "tree": ("generators.hadrons.tree.model", "TreeModel"),
    "diffusion": ("generators.hadrons.flow.model", "DiffusionModel"),
}


class Model:
    """A source of hadrons with its card: ``sample(partons, seed=...)``.

    ``source`` is the generator itself, ``card`` is None for the reference and for libraries, ``sha256`` is of the file
    of its weights or sets. A Model is a HadronSource: it goes into ``generators.hadrons.step.Hadronize`` and so into a
    Pipeline.
    """

    def __init__(self, source: HadronSource, card: ModelCard | None = None, *, sha256: str | None = None) -> None:
        self.source = source
        self.card = card
        self.sha256 = sha256 if card is None else card.sha256

    @property
    def name(self) -> str:
        return self.card.name if self.card is not None else self.source.name

    @property
    def domain(self) -> Domain:
        """The partons that the model was trained and validated on."""
        return self.source.domain

    @property
    def has_latent(self) -> bool:
        """Whether the model draws a named latent first (:meth:`latent`)."""
        return hasattr(self.source, "latent")

    def latent(self, partons: Partons, *, seed: int = 0, rng: np.random.Generator | None = None) -> Any:
        """What the model draws first, shared by the whole set of each parton: named arrays (N, ...)."""
        if not self.has_latent:
            raise FastsimError(f"model {self.name!r} has no latent")
        return self.source.latent(partons, rng=_rng(seed, rng))  # type: ignore[attr-defined]

    def sample(
        self,
        partons: Partons,
        *,
        seed: int = 0,
        rng: np.random.Generator | None = None,
        latent: Any = None,
    ) -> ParticleSet:
        """Hadrons of N partons: one set of final particles each, in the frame of ``partons.p4``.

        Args:
            partons: N partons within :attr:`domain`.
            seed: decides the result.
            rng: the source of randomness instead of a seed.
            latent: what :meth:`latent` gave, changed or not; drawn anew by default.
        """
        more = {} if latent is None else {"latent": latent}
        return self.source.sample(partons, rng=_rng(seed, rng), **more)


def _rng(seed: int, rng: np.random.Generator | None) -> np.random.Generator:
    return np.random.default_rng(seed) if rng is None else rng


def load_model(
    name: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    num_inference_steps: int | None = None,
    device: str = "cpu",
    workers: int = 0,
) -> Model:
    """A model by name.

    Args:
        name: a shipped model (``fastsim models`` lists them), the path of a card (.json), ``"pythia"``, or a
            library: the path of an HDF5 file made by ``fastsim reference --gun``.
        num_inference_steps: network evaluations of a diffusion model; its card's number by default.
        device: torch device.
        workers: worker processes of Pythia.

    Raises:
        WeightsError: if the model is unknown, or its card or weights are missing or altered.
        FastsimError: if ``num_inference_steps`` is given for a model that has none.
    """
    text = os.fspath(name)
    card: ModelCard | None = None
    source: HadronSource | None = None
    sha256: str | None = None
    if text == REFERENCE:
        from generators.reference.pythia import PythiaGun

        source = PythiaGun(workers)
    elif text.endswith((".h5", ".hdf5")):
        from generators.hadrons.library import Library

        source = Library(text)
        sha256 = sha256_of(Path(text))
    if source is None:
        card, weights = cards.load(name)
        if card.kind in cards.SHOWER_KINDS:
            raise FastsimError(f"model {card.name!r} makes calorimeter showers: see fastsim.load_showers")
        if card.kind not in _CLASSES:
            raise FastsimError(f"model {card.name!r}: a {card.kind} is given as the path of its .h5 file")
        module, cls = _CLASSES[card.kind]
        options: dict[str, Any] = {"device": device}
        if card.kind == "diffusion":
            options["num_inference_steps"] = num_inference_steps
        source = getattr(import_module(module), cls).from_card(card, weights, **options)
    if num_inference_steps is not None and (card is None or card.kind != "diffusion"):
        raise FastsimError(f"model {text!r} takes no --num-inference-steps: only diffusion models do")
    return Model(source, card, sha256=sha256)
