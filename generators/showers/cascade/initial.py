"""The start of a training from the weights of another cascade, whose splits may have seen less."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fastsim.errors import FastsimError
from fastsim.event import Ints
from fastsim.sources import cards
from generators.showers.cascade.network import STAGES, Cascade
from generators.showers.cascade.source import CascadeModel

Kept = dict[str, Tensor]
"""Which features of a stage's splits another model knew, masks (F,) by stage."""
_INPUTS = ("first.weight", "skip.weight", "shift", "scale")
"""Tensors of a network whose last axis are the features of its splits."""


def initial_model(name: str, config: Path, key: str = "init") -> CascadeModel:
    """Load the cascade that a training starts from: a shipped one by name, or the path of a card.

    Args:
        name: of the model, or the path of its card, relative to the config's folder.
        config: path of the config.
        key: of the config that names it.

    Raises:
        FastsimError: if there is no such model, or it is no cascade.
    """
    card, weights = cards.load_named(name, config)
    if card.kind != CascadeModel.kind:
        raise FastsimError(f"{config}: {key}: {name} is of kind {card.kind!r}; give a cascade")
    return CascadeModel.from_card(card, weights)


def initialise(cascade: Cascade, other: Cascade, place: str) -> Kept:
    """Copy the weights of another cascade, with zero for the features that it does not know.

    Particles that it does not know start as those of the same features do that it knows none of: from zero.

    Args:
        cascade: to fill.
        other: of as many layers, rings and sectors, and as wide networks.
        place: what messages begin with.

    Returns:
        The features that ``other`` knows.

    Raises:
        FastsimError: if the two do not fit each other.
    """
    shapes = [(grid.num_layers, grid.max_r, grid.num_alpha, grid.undivided) for grid in (cascade.grid, other.grid)]
    if shapes[0] != shapes[1]:
        mine, theirs = (
            f"{a} layers of {b} rings and {c} sectors" + (f" ({len(d)} of one sector)" if d else "")
            for a, b, c, d in shapes
        )
        raise FastsimError(f"{place}: that model has {theirs}, and the detector {mine}")
    if cascade.latent is None and other.latent is not None:
        raise FastsimError(f"{place}: that model has a latent, and the config none")
    kept = {}
    for stage in STAGES:
        lengths = [net.net(stage).first.in_features for net in (cascade, other)]
        columns = _columns(cascade.particles, other.particles, *lengths)
        target, source = cascade.net(stage).state_dict(), other.net(stage).state_dict()
        for key in set(source) & set(_INPUTS):
            source[key] = _known(source[key], columns, 1.0 if key == "scale" else 0.0)
        try:
            cascade.net(stage).load_state_dict(source)
        except RuntimeError as error:
            sizes = [{"width": len(s["first.weight"]), "head": len(s["head.bias"])} for s in (target, source)]
            raise FastsimError(f"{place}: stage {stage} has {sizes[0]}, and that model {sizes[1]}") from error
        kept[stage] = torch.from_numpy(columns >= 0)
    if cascade.latent is not None and other.latent is not None:
        source = other.latent.state_dict()
        # the context is the particle's features and the response
        columns = _columns(cascade.particles, other.particles, *(3 + len(c.particles) for c in (cascade, other)))
        for key in source:
            if key.endswith("context_layer.weight"):
                source[key] = _known(source[key], columns, 0.0)
        try:
            cascade.latent.load_state_dict(source)
        except RuntimeError as error:
            raise FastsimError(f"{place}: the latent's flow of that model has another size: leave it out") from error
    return kept


def _known(weights: Tensor, columns: Ints, default: float) -> Tensor:
    """Return weights (..., F) of another cascade's features in the order of :func:`_columns`, or ``default``."""
    known = weights[..., np.maximum(columns, 0)]
    return torch.where(torch.from_numpy(columns >= 0), known, torch.full_like(known, default))


def _columns(particles: tuple[int, ...], others: tuple[int, ...], length: int, other: int) -> Ints:
    """Return where each of ``length`` features of a cascade is among ``other`` of another, (F,); -1 where it is not.

    Both begin with two of the energy and one for each particle that the cascade knows.
    """
    place = {pdg_id: 2 + k for k, pdg_id in enumerate(others)}
    columns = [0, 1, *(place.get(pdg_id, -1) for pdg_id in particles)]
    columns += range(2 + len(others), other)
    return np.array(columns + [-1] * (length - len(columns)))
