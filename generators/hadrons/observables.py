"""Observables of token sets, and how far two samples are apart: what picks a checkpoint during training."""

from __future__ import annotations

import numpy as np
from scipy.stats import wasserstein_distance

from fastsim.event import Floats
from generators.hadrons.tokens import TokenSample, parton_energy


def observables(sample: TokenSample) -> dict[str, Floats]:
    """Per set, shape (N,): mass / E, girth, pTD, leading and second energy fraction, and a two-point correlator."""
    index, num = sample.index, len(sample)
    energy = parton_energy(sample.flavour, sample.pt)
    z = sample.p4[:, 0] / energy[index]
    total = np.stack([np.bincount(index, sample.p4[:, k], num) for k in range(4)], -1)
    mass = np.sqrt(np.maximum(total[:, 0] ** 2 - (total[:, 1:] ** 2).sum(-1), 0))
    theta = np.arctan2(np.hypot(sample.p4[:, 1], sample.p4[:, 2]), sample.p4[:, 3].copy())
    order = np.lexsort((-z, index))
    rank = np.arange(len(z)) - sample.offsets[index]
    first, second = np.zeros(num), np.zeros(num)
    first[index[rank == 0]] = z[order][rank == 0]
    second[index[rank == 1]] = z[order][rank == 1]
    sum_z, sum_z2 = np.bincount(index, z, num), np.bincount(index, z**2, num)
    # sum over pairs of z_i z_j (1 - cos theta_ij) = (E^2 - p^2 of massless directions) / 2
    p = np.maximum(np.sqrt((sample.p4[:, 1:] ** 2).sum(-1)), 1e-12)
    flow = np.stack([np.bincount(index, z * sample.p4[:, 1 + k] / p, num) for k in range(3)], -1)
    tight = z > 0.02
    inner = np.stack([np.bincount(index[tight], (z * sample.p4[:, 1 + k] / p)[tight], num) for k in range(3)], -1)
    inner_z = np.bincount(index[tight], z[tight], num)
    return {
        "mass": mass / energy,
        "girth": np.bincount(index, z * theta, num) / np.maximum(sum_z, 1e-9),
        "ptd": np.sqrt(sum_z2) / np.maximum(sum_z, 1e-9),
        "z1": first,
        "z2": second,
        "e2": np.sqrt(np.maximum(sum_z**2 - (flow**2).sum(-1), 0)),
        "e2_hard": np.sqrt(np.maximum(inner_z**2 - (inner**2).sum(-1), 0)),
        "soft": np.log1p(np.bincount(index[z < 0.01], minlength=num)),
    }


def distance(real: TokenSample, generated: TokenSample) -> dict[str, float]:
    """W1 of each observable in units of its real standard deviation, and their mean under ``w1``."""
    a, b = observables(real), observables(generated)
    values = {f"w1_{k}": float(wasserstein_distance(a[k], b[k]) / max(a[k].std(), 1e-12)) for k in a}
    return {**values, "w1": float(np.mean(list(values.values())))}
