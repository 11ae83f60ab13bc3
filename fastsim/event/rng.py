"""The source of all randomness of one chunk of a run."""

from __future__ import annotations

import numpy as np


def chunk_rng(seed: int, chunk: int) -> np.random.Generator:
    """Return the generator from which chunk number ``chunk`` of a run with this seed draws everything."""
    return np.random.default_rng(np.random.SeedSequence([seed, chunk]))
