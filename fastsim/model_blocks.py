"""The engine's models as blocks: parton -> latent -> hadrons -> final particles -> cells, by the names of models.

This module imports torch and tensordict: import it inside the functions that need it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from fastsim import registry
from fastsim.blocks.block import Block, fits, listed
from fastsim.errors import PipelineError, WeightsError
from fastsim.formats.atomic import PathLike
from fastsim.networks.layers import Shape

KIND = "fastsim.model_blocks:Model"
"""The kind of such a block in cards."""


class Model(nn.Module):
    """A part of a model, whose weights stay as they are and are no part of its state: a card names them.

    Args:
        part: the module of :func:`fastsim.registry.model_part`.
    """

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    @classmethod
    def of_shapes(
        cls,
        inputs: Mapping[str, Shape],
        outputs: Mapping[str, Shape],
        *,
        model: str,
        part: str | None = None,
        log_prob: bool = False,
        sha256: str | None = None,
    ) -> Self:
        """Make it for inputs and outputs of any names, in its order.

        Args:
            inputs: names and shapes.
            outputs: names and shapes.
            model: name or path of the model.
            part: see :func:`block`.
            log_prob: see :func:`block`.
            sha256: checksum of the weights that are meant; None for any.

        Raises:
            PipelineError: if it has other inputs or outputs, or no such part.
            WeightsError: if there is no such model, or its weights are others.
        """
        found = registry.model_part(model, part, log_prob=log_prob)
        for role, given, own in (("takes", inputs, found.inputs), ("gives", outputs, found.outputs)):
            if len(given) != len(own) or not all(map(fits, given.values(), own.values())):
                raise PipelineError(f"{model} {role} {listed(own)}, not {listed(given)}")
        if sha256 not in (None, found.source.sha256):
            raise WeightsError(f"model {model!r} has other weights here than those that the block was made with")
        return cls(found)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...] | Tensor:
        """Compute the outputs (N, ...) of inputs (N, ...)."""
        results: tuple[Tensor, ...] | Tensor = self.part(*inputs)
        return results


def block(
    model: PathLike,
    *,
    part: str | None = None,
    name: str | None = None,
    names: Mapping[str, str] | None = None,
    log_prob: bool = False,
) -> Block:
    """Return a model, or a part of what it does, as a block.

    Models of hadrons are "hadrons", from a parton to final particles, or in parts: "latent" (parton -> latent),
    "primary" (parton and latent -> primary hadrons) and "decays" (primary hadrons -> final particles). Models of
    showers are "cells" (final particles -> calorimeter cells) or "showers" (one particle -> voxels). Sets are padded,
    with a mask; all randomness follows from an input (N, 4) of normal numbers whose name begins with ``noise``.

    >>> tree = block("hadron-tree")
    >>> tree.inputs, list(tree.outputs)
    ({'parton_p4': (4,), 'parton_id': (), 'noise_hadrons': (4,)}, ['particle_p4', 'particle_id', 'particle_mask'])

    Args:
        model: name of a shipped model; path of a card or library; or ``"pythia"``.
        part: the part; by default the first of those above.
        name: of the block; by default that of the part.
        names: other names for some inputs and outputs.
        log_prob: whether there is an output ``log_prob_...``, the log-probability of what was drawn and has no
            derivative itself: with it :meth:`Chain.gradient` is that of the mean over draws.

    Raises:
        WeightsError: if there is no such model.
        PipelineError: if it has no such part, or no log-probability.
    """
    found = registry.model_part(model, part, log_prob=log_prob)
    other = dict(names or {})
    if unknown := sorted(set(other) - {*found.inputs, *found.outputs}):
        raise PipelineError(f"{os.fspath(model)}: no input or output {unknown[0]!r}: it takes {listed(found.inputs)}")
    shapes = ({other.get(key, key): shape for key, shape in side.items()} for side in (found.inputs, found.outputs))
    return Block(KIND, *shapes, name=name or found.part, options=options(model, found, log_prob=log_prob))


def options(model: PathLike, part: Any, *, log_prob: bool) -> dict[str, Any]:
    """Return what a card says of a block of a model: its name, part, and the checksum of its weights."""
    values: dict[str, Any] = {"model": os.fspath(model), "part": part.part}
    if log_prob:
        values["log_prob"] = True
    if part.source.sha256 is not None:
        values["sha256"] = part.source.sha256
    return values
