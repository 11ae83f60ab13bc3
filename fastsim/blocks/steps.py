"""Steps of users by name, and blocks as Steps: NumPy at the edges, events in and events out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import PipelineError
from fastsim.event import HardEvents, Ints
from fastsim.named import load_object
from fastsim.shipped import sha256_of
from fastsim.sources.pipeline import Step

if TYPE_CHECKING:
    from fastsim.blocks.block import Block
    from fastsim.networks.layers import Shape

ENTRY_POINTS = "fastsim.steps"
"""Group of the entry points by which other packages name their Steps."""

PARTICLES, HARD, NOISE = "particles", "hard", "noise"
"""The named sizes of what events hold, and how the names of random inputs begin (:mod:`fastsim.blocks.noise`)."""


def is_own(name: str) -> bool:
    """Return whether a name stands for a Step of a user: ``package.module:object``, or an entry point."""
    return ":" in name or any(True for _ in entry_points(group=ENTRY_POINTS, name=name))


def load_step(name: str) -> Step:
    """Return the Step that a name stands for.

    The object may be a Step; a :class:`fastsim.Block`; a class of either that is made without arguments; or a function
    of events, ``function(events, *, rng)``, that returns events.

    Args:
        name: ``package.module:object``, or the name of an entry point of the group ``fastsim.steps``.

    Raises:
        PipelineError: if there is no such object, or it is none of these.
    """
    place = f"step {name!r}"
    entries = list(entry_points(group=ENTRY_POINTS, name=name))
    found = load_object(entries[0].value if entries else name, place)
    if isinstance(found, type):
        try:
            found = found()
        except TypeError as error:
            raise PipelineError(f"{place}: the class cannot be made without arguments: {error}") from error
    if _is_block(found):
        return BlockStep(found)
    if isinstance(found, Step):
        return found
    if callable(found):
        return FunctionStep(found, name)
    raise PipelineError(
        f"{place}: is a {type(found).__name__}, not a Step, a Block or a function of events (events, *, rng)"
    )


def identity(name: str) -> str:
    """Return what tells one version of a user's Step from another: the checksum of its module's file.

    A run that was stopped is resumed with the same Steps only.
    """
    entries = list(entry_points(group=ENTRY_POINTS, name=name))
    target = entries[0].value if entries else name
    file = getattr(sys.modules.get(target.partition(":")[0]), "__file__", None)
    return f"{target} {sha256_of(Path(file))}" if file else target


class FunctionStep:
    """A function of events as a Step."""

    requires: frozenset[str] = frozenset()
    provides: frozenset[str] = frozenset()

    def __init__(self, function: Callable[..., HardEvents], name: str) -> None:
        self.function, self.name = function, name

    def step(self, events: HardEvents, *, rng: np.random.Generator) -> HardEvents:
        """Return what the function makes of the events.

        Raises:
            PipelineError: if that is no batch of events.
        """
        result = self.function(events, rng=rng)
        if not isinstance(result, HardEvents):
            raise PipelineError(f"step {self.name!r} returned a {type(result).__name__}, not events")
        return result


class BlockStep:
    """A block as a Step: its inputs are read from events, its outputs written to them.

    A quantity of shape ("particles", ...) has one entry a final particle, one of ("hard", ...) one a hard entry, any
    other one an event. Inputs are ``particle_p4``, ``particle_id``, ``particle_mask``, ``hard_p4``, ``hard_id``,
    ``hard_status``, ``hard_mask``, and named columns. Inputs whose name begins with ``noise`` are normal numbers drawn
    from ``rng``. An output ``particle_p4`` replaces the four-momenta, others become named columns.

    Args:
        block: the block; it runs in evaluation mode and without gradients.

    Raises:
        PipelineError: if an input has a named size that events have not.
    """

    provides: frozenset[str] = frozenset()

    def __init__(self, block: Block) -> None:
        self.block = block.eval()
        self.name = block.name
        for key, shape in {**block.inputs, **block.outputs}.items():
            if any(isinstance(size, str) for size in shape[1:]) or (
                shape and isinstance(shape[0], str) and shape[0] not in (PARTICLES, HARD)
            ):
                raise PipelineError(
                    f"block {block.name!r}: {key!r} has shape {shape}: of events the first size may be {PARTICLES!r} "
                    f"or {HARD!r}, others are whole numbers"
                )
        quantities = {**block.inputs, **block.outputs}.values()
        of_particles = any(shape[:1] == (PARTICLES,) for shape in quantities)
        self.requires = frozenset({"hadrons"}) if of_particles else frozenset()

    def step(self, events: HardEvents, *, rng: np.random.Generator) -> HardEvents:
        """Return the events with the outputs of the block."""
        import torch
        from tensordict import TensorDict

        if not len(events):
            return events
        values = {key: self._read(events, key, shape, rng) for key, shape in self.block.inputs.items()}
        with torch.no_grad():
            results = self.block(TensorDict(values, batch_size=[len(events)]))
        for key, shape in self.block.outputs.items():
            events = self._written(events, key, shape, results[key].numpy())
        return events

    def _read(self, events: HardEvents, key: str, shape: Shape, rng: np.random.Generator) -> Any:
        """Return an input as a tensor (N, ...)."""
        import torch

        kind = str(shape[0]) if shape[:1] in ((PARTICLES,), (HARD,)) else None
        offsets = None if kind is None else _offsets(events, kind)
        if key.startswith(NOISE):
            sizes = shape if offsets is None else (int(np.diff(offsets).max(initial=0)), *shape[1:])
            return torch.from_numpy(rng.normal(size=(len(events), *map(int, sizes))).astype(np.float32))
        if offsets is None:
            found = events.event_columns
        elif kind == PARTICLES:
            assert events.particles is not None
            found = {
                "particle_p4": events.particles.p4,
                "particle_id": events.particles.pdg_id,
                "particle_mask": np.ones(len(events.particles.pdg_id), dtype=bool),
                **events.particle_columns,
            }
        else:
            found = {
                "hard_p4": events.p4,
                "hard_id": events.pdg_id,
                "hard_status": events.status,
                "hard_mask": np.ones(len(events.pdg_id), dtype=bool),
                **events.hard_columns,
            }
        if key not in found:
            what = "events" if kind is None else f"their {kind}"
            present = ", ".join(found) or "no columns"
            raise PipelineError(f"block {self.name!r} needs {key!r}, which {what} have not: there are {present}")
        array = found[key] if offsets is None else padded(offsets, found[key])
        return torch.from_numpy(array.astype(np.float32) if array.dtype.kind == "f" else array)

    def _written(self, events: HardEvents, key: str, shape: Shape, values: NDArray[Any]) -> HardEvents:
        """Return the events with one output of the block."""
        if shape[:1] not in ((PARTICLES,), (HARD,)):
            return events.with_columns(event={key: values})
        flat = flattened(_offsets(events, str(shape[0])), values)
        if key == "particle_p4":
            assert events.particles is not None
            return replace(events, particles=replace(events.particles, p4=flat.astype(np.float64)))
        return events.with_columns(**{"particle" if shape[0] == PARTICLES else "hard": {key: flat}})


def padded(offsets: Ints, values: NDArray[Any]) -> NDArray[Any]:
    """Return ragged values (M, ...) as sets of equal size (N, K, ...), filled with zeros.

    >>> padded(np.array([0, 2, 3]), np.array([5, 6, 7])).tolist()
    [[5, 6], [7, 0]]
    """
    counts = np.diff(offsets)
    result = np.zeros((len(counts), int(counts.max(initial=0)), *values.shape[1:]), values.dtype)
    result[np.arange(result.shape[1]) < counts[:, None]] = values
    return result


def flattened(offsets: Ints, values: NDArray[Any]) -> NDArray[Any]:
    """Return the members (M, ...) of sets (N, K, ...), without what fills them up: the inverse of :func:`padded`."""
    counts = np.diff(offsets)
    members: NDArray[Any] = values[np.arange(values.shape[1]) < counts[:, None]]
    return members


def _offsets(events: HardEvents, kind: str) -> Ints:
    if kind == HARD:
        return events.offsets
    if events.particles is None:
        raise PipelineError("the events have no particles")
    return events.particles.offsets


def _is_block(found: object) -> bool:
    module = sys.modules.get("fastsim.blocks.block")
    return module is not None and isinstance(found, module.Block)
