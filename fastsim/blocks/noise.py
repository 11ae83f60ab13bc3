"""Random inputs: those whose names begin with ``noise`` are normal numbers, drawn where the data has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from tensordict import TensorDictBase

from fastsim.networks.layers import Shape

NOISE = "noise"
"""How the names of random inputs begin."""


def is_drawn(name: str, inputs: Mapping[str, Shape]) -> bool:
    """Return whether an input can be drawn without the data: its sizes are fixed, or those of another input.

    >>> inputs = {"noise": ("particles", 2), "mask": ("particles",)}
    >>> is_drawn("noise", inputs), is_drawn("mask", inputs), is_drawn("noise", {"noise": ("particles", 2)})
    (True, False, False)
    """
    return name.startswith(NOISE) and all(
        isinstance(size, int) or _place(size, inputs) is not None for size in inputs[name]
    )


def _place(size: str, inputs: Mapping[str, Shape]) -> tuple[str, int] | None:
    """Return an input that is not drawn and has a named size, and the dimension of its tensor that it is."""
    for name, shape in inputs.items():
        if size in shape and not name.startswith(NOISE):
            return name, shape.index(size) + 1
    return None


def with_noise(inputs: Mapping[str, Shape], batch: TensorDictBase, seed: Sequence[int]) -> TensorDictBase:
    """Return a batch with the random inputs that it lacks.

    >>> from tensordict import TensorDict
    >>> batch = TensorDict({"mask": torch.ones(3, 5, dtype=torch.bool)}, [3])
    >>> with_noise({"noise": ("particles", 2), "mask": ("particles",)}, batch, [1, 2])["noise"].shape
    torch.Size([3, 5, 2])

    Args:
        inputs: of a chain.
        batch: N events; it stays as it is.
        seed: whole numbers that decide them.
    """
    missing = [name for name in inputs if is_drawn(name, inputs) and name not in batch.keys()]  # noqa: SIM118
    if not missing:
        return batch
    rng = np.random.default_rng(list(seed))
    batch = batch.clone(recurse=False)
    for name in missing:
        sizes = [_size(size, inputs, batch) for size in inputs[name]]
        batch[name] = torch.from_numpy(rng.normal(size=(len(batch), *sizes)).astype(np.float32))
    return batch


def _size(size: int | str, inputs: Mapping[str, Shape], batch: TensorDictBase) -> int:
    if isinstance(size, int):
        return size
    place = _place(size, inputs)
    assert place is not None  # is_drawn has said so
    return int(batch[place[0]].shape[place[1]])
