"""The start of a training from the weights of another flow, whose networks of single voxels may have fewer units."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from fastsim.errors import FastsimError
from fastsim.sources import cards
from generators.showers.flow.network import LayerNetwork
from generators.showers.flow.source import ShowerFlow


def initial_flow(name: str, config: Path, key: str = "init") -> ShowerFlow:
    """Load the flow that a training starts from: a shipped one by name, or the path of a card.

    Args:
        name: of the model, or the path of its card, relative to the config's folder.
        config: path of the config.
        key: of the config that names it, for messages.

    Raises:
        FastsimError: if there is no such model, or it is no flow.
    """
    card, weights = cards.load_named(name, config)
    if card.kind != ShowerFlow.kind:
        raise FastsimError(f"{config}: {key}: {name} is of kind {card.kind!r}; give one of kind {ShowerFlow.kind!r}")
    return ShowerFlow.from_card(card, weights)


def initialise(model: ShowerFlow, other: ShowerFlow, place: str) -> None:
    """Copy the weights of another flow's networks, which compute the same afterwards.

    Units of a voxel's network that the other lacks start without a say in its outputs. Contexts keep its scales.

    Args:
        model: to fill.
        other: of the same detector, particles and variable, and as wide networks.
        place: what messages begin with.

    Raises:
        FastsimError: if the two do not fit each other.
    """
    if (model.geometry, model.particles) != (other.geometry, other.particles):
        raise FastsimError(f"{place}: {other.name} is of another detector, or of other particles")
    mine, theirs = ((p.unit, p.scale, p.rings) for p in (model.flow.patches, other.flow.patches))
    if mine != theirs:
        raise FastsimError(f"{place}: {other.name} has (unit, scale, rings) {theirs}, the config {mine}")
    source = other.flow.state_dict()
    for name in ("denoiser", "decoder"):
        network = getattr(model.flow, name)
        known = {key.removeprefix(f"{name}."): value for key, value in source.items() if key.startswith(f"{name}.")}
        source.update({f"{name}.{key}": value for key, value in _widened(network, known).items()})
    try:
        model.flow.load_state_dict(source)
    except RuntimeError as error:
        raise FastsimError(f"{place}: {other.name} has networks of other sizes: only 'hidden' may grow") from error


def _widened(network: LayerNetwork, known: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights ``known`` with the units of a voxel's network that only ``network`` has."""
    num_places, before = known["own"].shape
    hidden = network.config.hidden
    if hidden <= before or num_places != len(network.own):
        return known
    result, own = dict(known), {key: value.detach().clone() for key, value in network.state_dict().items()}
    for key in ("leave.weight", "leave.bias", "own"):
        wide = own[key].view(num_places, hidden, -1)
        wide[:, :before] = known[key].view(num_places, before, -1)
        result[key] = wide.view_as(own[key])
    result["outputs.weight"] = torch.cat(
        [known["outputs.weight"], known["outputs.weight"].new_zeros(len(known["outputs.weight"]), hidden - before)], 1
    )
    return result
