"""Observables of token sets, and the distance between two samples, which picks a checkpoint during training."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy.stats import wasserstein_distance

from fastsim.event import Floats, Ints
from generators.hadrons.tokens import parton_energy


class TokenSets(Protocol):
    """Token sets of any species: see :class:`generators.hadrons.tokens.TokenSample`."""

    @property
    def flavour(self) -> Ints:
        """Of the partons, (N,)."""

    @property
    def pt(self) -> Floats:
        """Of the partons, in GeV, (N,)."""

    @property
    def offsets(self) -> Ints:
        """Of the sets, (N+1,)."""

    @property
    def p4(self) -> Floats:
        """Of the tokens, in GeV, (M, 4)."""

    @property
    def index(self) -> Ints:
        """The set of each token, (M,)."""

    def __len__(self) -> int:
        """Return the number of sets."""


def observables(sample: TokenSets) -> dict[str, Floats]:
    """Compute the observables of each of N sets by name, each (N,).

    With z_i = E_i / E, E the energy of the parton, and theta_i the angle of a token to it: ``mass`` over E; ``girth``
    sum z theta / sum z; ``ptd`` sqrt(sum z^2) / sum z; ``z1`` and ``z2``, the two largest z; the two-point energy
    correlator ``e2`` = sqrt(2 sum_i<j z_i z_j (1 - cos theta_ij)) of massless directions, and ``e2_hard`` of the
    tokens with z > 0.02; ``soft`` = log(1 + number of tokens with z < 0.01).
    """
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
    # sum over pairs of z_i z_j (1 - cos theta_ij) = ((sum z)^2 - |sum z n|^2) / 2, n the unit vectors
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


def distance(real: TokenSets, generated: TokenSets) -> dict[str, float]:
    """Compute W1 of each observable, in units of its real standard deviation, as ``w1_NAME``, and their mean as ``w1``.

    W1 is the Wasserstein distance of order one between the two samples.
    """
    a, b = observables(real), observables(generated)
    values = {f"w1_{k}": float(wasserstein_distance(a[k], b[k]) / max(a[k].std(), 1e-12)) for k in a}
    return {**values, "w1": float(np.mean(list(values.values())))}
