"""Randomness as an input: a generator that follows from normal numbers."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from torch import Tensor

NOISE = (4,)
"""Shape of the normal numbers an event that all randomness of a draw follows from: enough for a batch of one."""


def generator_of(noise: Tensor) -> np.random.Generator:
    """Return the generator that normal numbers (N, 4) stand for: equal ones give equal draws of the whole batch.

    >>> import torch
    >>> generator_of(torch.ones(2, 4)).integers(100) == generator_of(torch.ones(2, 4)).integers(100)
    True
    """
    digest = blake2b(noise.detach().contiguous().numpy().tobytes(), digest_size=32).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))
