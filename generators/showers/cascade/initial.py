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
from generators.showers.cascade.tilt import CONTEXT, SECTOR_TILTS, SLANT

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
    tilted = other.tilted and cascade.tilted
    known = other.state_dict() if tilted or not other.tilted else along_normal(other)
    kept = {}
    for stage in STAGES:
        target, source = cascade.net(stage).state_dict(), _part(known, f"nets.{stage}.")
        columns = _columns(cascade.particles, other.particles, len(target["shift"]), len(source["shift"]))
        for key in set(source) & set(_INPUTS):
            source[key] = _known(source[key], columns, 1.0 if key == "scale" else 0.0)
        try:
            cascade.net(stage).load_state_dict(source)
        except RuntimeError as error:
            sizes = [{"width": len(s["first.weight"]), "head": len(s["head.bias"])} for s in (target, source)]
            raise FastsimError(f"{place}: stage {stage} has {sizes[0]}, and that model {sizes[1]}") from error
        kept[stage] = torch.from_numpy(columns >= 0)
    if cascade.latent is not None and other.latent is not None:
        source = _part(known, "latent.")
        # the context is the particle's features and the response
        more = len(CONTEXT) if cascade.tilted else 0, len(CONTEXT) if tilted else 0
        lengths = [3 + len(c.particles) + num for c, num in zip((cascade, other), more, strict=True)]
        columns = _columns(cascade.particles, other.particles, *lengths)
        for key in source:
            if key.endswith("context_layer.weight"):
                source[key] = _known(source[key], columns, 0.0)
        if cascade.latent.angle is not None:
            for key, value in cascade.latent.angle.state_dict().items():
                if other.latent.angle is None:
                    source[f"angle.{key}"] = value
                elif key == "first.weight":
                    source[f"angle.{key}"] = _known(source[f"angle.{key}"], columns[: value.shape[-1]], 0.0)
        try:
            cascade.latent.load_state_dict(source)
        except RuntimeError as error:
            raise FastsimError(f"{place}: the latent's flow of that model has another size: leave it out") from error
    return kept


def along_normal(cascade: Cascade) -> dict[str, Tensor]:
    """Return the weights of the cascade that knows no tilts and is the same as a tilted one along the normal."""
    state = {key: value for key, value in cascade.state_dict().items() if not key.startswith("latent.angle.")}
    for stage in cascade.splits:
        num = len(SECTOR_TILTS if stage == "sectors" else SLANT)
        name = f"nets.{stage}"
        zero = -state[f"{name}.shift"][-num:] * state[f"{name}.scale"][-num:]  # what a tilt of 0 is for the network
        for key, bias in (("first", "first"), ("skip", "head")):
            if (weights := state.get(f"{name}.{key}.weight")) is not None:
                state[f"{name}.{bias}.bias"] = state[f"{name}.{bias}.bias"] + weights[:, -num:] @ zero
        for key in _INPUTS:
            if f"{name}.{key}" in state:
                state[f"{name}.{key}"] = state[f"{name}.{key}"][..., :-num]
    for key in state:
        if key.endswith("context_layer.weight"):
            state[key] = state[key][:, : -len(CONTEXT)]
    return state


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


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
