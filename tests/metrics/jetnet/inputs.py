"""Synthetic jets and features on which JetNet was run (record.py) and our functions are (test_jetnet.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_JETS, NUM_PARTICLES = 1_200, 20


def make_jets(seed: int, width: float, *, mass: bool = False) -> NDArray[Any]:
    """Draw jets (N, P, 3) of eta, phi, pT relative to the jet, padded with 0; (N, P, 4) with masses."""
    rng = np.random.default_rng(seed)
    shape = NUM_JETS, NUM_PARTICLES
    counts = rng.integers(1, NUM_PARTICLES + 1, NUM_JETS)
    spread = width * rng.uniform(0.3, 1.0, (NUM_JETS, 1))
    eta, phi = rng.normal(0.0, 1.0, (2, *shape)) * spread
    pt = rng.gamma(0.5, 1.0, shape) + 1e-4
    pt[np.arange(NUM_PARTICLES) >= counts[:, None]] = 0.0
    pt *= rng.uniform(0.7, 1.0, (NUM_JETS, 1)) / pt.sum(axis=1, keepdims=True)
    columns = [eta, phi, pt, rng.uniform(0.0, 0.002, shape)] if mass else [eta, phi, pt]
    jets: NDArray[Any] = np.stack(columns, axis=2) * (pt > 0)[:, :, None]
    return jets


def make_features(seed: int, num: int, shift: float, dimension: int = 36) -> NDArray[Any]:
    """Draw correlated features (num, dimension) with long tails, as EFPs have, the last of them always 0."""
    mixing = np.random.default_rng(5).normal(0.0, 0.1, (dimension, dimension))
    rng = np.random.default_rng(seed)
    x = np.exp((rng.normal(0.0, 1.0, (num, dimension)) + shift) @ mixing)
    x[:, -1] = 0.0
    return x


SEED = 7
"""Of the draws of W1, coverage and MMD, for which JetNet has no argument."""
W1: dict[str, Any] = {"num_eval_samples": 800, "num_batches": 3}
COV_MMD: dict[str, Any] = {"num_eval_samples": 25, "num_batches": 3}
FPD: dict[str, Any] = {"min_samples": 1_000, "max_samples": 4_000, "num_batches": 4, "num_points": 5}
KPD: dict[str, Any] = {"num_batches": 5, "batch_size": 1_000}


def make() -> dict[str, Any]:
    """Draw all inputs, in pairs of real and generated."""
    double = make_jets(1, 0.10), make_jets(2, 0.12)
    return {
        "jets": double,
        "jets_float32": tuple(jets.astype(np.float32) for jets in double),
        "jets_mass": (make_jets(3, 0.10, mass=True), make_jets(4, 0.12, mass=True)),
        "features": (make_features(1, 5_000, 0.0), make_features(2, 6_000, 0.1)),
        "features_equal": (make_features(3, 5_000, 0.0), make_features(4, 5_000, 0.0)),
        "features_full": (make_features(5, 50_000, 0.0, 6), make_features(6, 50_000, 0.02, 6)),
    }
