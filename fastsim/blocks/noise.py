"""Random inputs: those whose names begin with ``noise`` are normal numbers, drawn where the data has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from tensordict import TensorDictBase

from fastsim.networks.layers import Shape

NOISE = "noise"
"""How the names of random inputs begin."""


def is_drawn(name: str, shape: Shape) -> bool:
    """Return whether an input can be drawn without the data: its sizes are fixed."""
    return name.startswith(NOISE) and not any(isinstance(size, str) for size in shape)


def with_noise(inputs: Mapping[str, Shape], batch: TensorDictBase, seed: Sequence[int]) -> TensorDictBase:
    """Return a batch with the random inputs that it lacks.

    >>> from tensordict import TensorDict
    >>> batch = with_noise({"noise_hadrons": (4,)}, TensorDict({"p4": torch.zeros(3, 4)}, [3]), [1, 2])
    >>> batch["noise_hadrons"].shape
    torch.Size([3, 4])

    Args:
        inputs: of a chain.
        batch: N events; it stays as it is.
        seed: whole numbers that decide them.
    """
    missing = [name for name, shape in inputs.items() if is_drawn(name, shape) and name not in batch.keys()]  # noqa: SIM118
    if not missing:
        return batch
    rng = np.random.default_rng(list(seed))
    batch = batch.clone(recurse=False)
    for name in missing:
        sizes = [size for size in inputs[name] if isinstance(size, int)]
        batch[name] = torch.from_numpy(rng.normal(size=(len(batch), *sizes)).astype(np.float32))
    return batch
