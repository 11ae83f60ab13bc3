"""Kinds of modules that a block can be made of, by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from fastsim.errors import PipelineError
from fastsim.named import load_object

if TYPE_CHECKING:
    from torch import nn

    from fastsim.networks.layers import Shape

ENTRY_POINTS = "fastsim.blocks"
"""Group of the entry points by which other packages add kinds."""


def make(
    kind: str, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape], options: Mapping[str, Any], place: str
) -> nn.Module:
    """Make the module of a kind, with new weights.

    A class with the class method ``of_shapes(inputs, outputs, **options)`` is made by it, where both are mappings
    from names to shapes; another by its constructor and the options alone.

    Args:
        kind: a network of the catalogue, an entry point, or ``package.module:Class``.
        inputs: shapes of the inputs.
        outputs: shapes of the outputs.
        options: of the class.
        place: begins the message.

    Raises:
        PipelineError: if there is no such kind, it is no module of torch, or the options do not fit it.
    """
    from torch import nn

    cls = _class(kind, place)
    # checked before anything is called: a card may come from anywhere
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise PipelineError(f"{place}: kind {kind!r} is no class of torch modules")
    of_shapes = getattr(cls, "of_shapes", None)
    arguments = () if of_shapes is None else (inputs, outputs)
    try:
        inspect.signature(cls if of_shapes is None else of_shapes).bind(*arguments, **options)
    except TypeError as error:
        raise PipelineError(f"{place}: kind {kind!r}: {error}") from error
    try:
        module: nn.Module = (of_shapes or cls)(*arguments, **options)
    except (PipelineError, ValueError, TypeError) as error:
        raise PipelineError(f"{place}: kind {kind!r}: {error}") from error
    return module


def _class(kind: str, place: str) -> Any:
    """Return the class that a kind names."""
    from fastsim.networks import CATALOGUE

    if kind in CATALOGUE:
        return load_object(CATALOGUE[kind], place)
    for entry in entry_points(group=ENTRY_POINTS, name=kind):
        return load_object(entry.value, place)
    if ":" in kind:
        return load_object(kind, place)
    known = sorted({*CATALOGUE, *(entry.name for entry in entry_points(group=ENTRY_POINTS))})
    raise PipelineError(f"{place}: unknown kind {kind!r}: there are {', '.join(known)}; or give package.module:Class")
