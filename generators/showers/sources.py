"""Sources of calorimeter showers by name: shipped models, cards, libraries."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module

from fastsim.errors import WeightsError
from fastsim.formats.atomic import HDF5_ENDINGS
from fastsim.sources import cards
from fastsim.sources.cards import ModelCard
from fastsim.sources.showers import ShowerDomain, ShowerSource
from generators.showers.library import ShowerLibrary

_CLASSES = {"cascade": ("generators.showers.cascade.source", "CascadeModel")}

Name = str | os.PathLike[str]


def load_source(name: Name | Sequence[Name]) -> tuple[ShowerSource, ModelCard | None]:
    """A source of showers, and its card if it is a trained model.

    Args:
        name: a shipped model, the path of a card (.json), or of a library (.h5); or the paths of a library's files.

    Raises:
        WeightsError: if there is no such model, or it makes no showers.
        FastsimError: if a library cannot be read.
    """
    if not isinstance(name, str | os.PathLike):
        return ShowerLibrary(name), None
    if os.fspath(name).lower().endswith(HDF5_ENDINGS):
        return ShowerLibrary(name), None
    card, weights = cards.load(name)
    if card.kind not in _CLASSES:
        raise WeightsError(
            f"model {card.name!r} makes hadrons, not showers; models of showers are "
            f"{', '.join(cards.available(cards.SHOWER_KINDS)) or 'not shipped: give a library (.h5)'}"
        )
    module, cls = _CLASSES[card.kind]
    source: ShowerSource = getattr(import_module(module), cls).from_card(card, weights)
    return source, card


def shipped(detector: str) -> list[str]:
    """Names of the models that ship for a detector."""
    return [name for name in cards.available(cards.SHOWER_KINDS) if cards.read(name)[0].detector == detector]


def default_model(detector: str, pdg_id: int) -> str:
    """The shipped model of a detector; where there are several, the first that knows the particle.

    Raises:
        WeightsError: if none ships for this detector.
    """
    fitting = [cards.read(name)[0] for name in shipped(detector)]
    if not fitting:
        raise WeightsError(
            f"no model ships for detector {detector!r}; give --model a card (.json) or a library (.h5) made by "
            "fastsim reference"
        )
    known = [c for c in fitting if isinstance(c.domain, ShowerDomain) and pdg_id in c.domain.particles]
    return (known or fitting)[0].name
