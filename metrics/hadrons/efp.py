r"""The 36 energy flow polynomials (EFPs) with at most four edges, for many particle sets at once.

EFP_G = sum_{i_1} ... sum_{i_n} z_{i_1} ... z_{i_n} prod_{(k,l) in G} theta_{i_k i_l}, with z = pT_rel and
theta_ij^2 = (eta_i - eta_j)^2 + (phi_i - phi_j)^2 (energyflow's measure "hadr", beta = 1, normed = None, coordinates
"ptyphim" with massless particles, as JetNet does). The order is that of ``energyflow.EFPSet("d<=4")``.

Every connected graph of four edges factorises into weighted rows of theta and its elementwise powers; only the
triangle, its relatives and the square need one matrix product, C = theta diag(z) theta. Disconnected graphs are
products of connected ones.

References:
    Komiske, Metodiev, Thaler 2017, arXiv:1712.07124. Kansal et al. 2022, arXiv:2211.10295.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.hadrons.jets import Jets, padded_batches

NUM_EFPS = 36
DOT, EDGE, TRIANGLE = 0, 1, 9
"""Columns that other observables use: sum of z, sum of z z theta, sum of z z z theta theta theta."""

_DISCONNECTED = (
    (1, 1), (1, 2), (1, 3), (2, 2), (1, 5), (2, 5), (1, 6), (1, 9), (1, 1, 1), (1, 11), (1, 13), (5, 5), (1, 1, 2),
    (1, 1, 5), (1, 1, 1, 1),
)  # fmt: skip
"""Columns 21 to 35 as products of the connected columns."""


def efps_padded(z: NDArray[Any], eta: NDArray[Any], phi: NDArray[Any]) -> NDArray[Any]:
    """EFPs of sets of equal length; padded particles have z = 0.

    Args:
        z, eta, phi: pT_rel, pseudorapidity and azimuth, each (n, width), of one floating type.

    Returns:
        The 36 EFPs, shape (n, 36), of the same type.
    """
    theta2 = (eta[:, :, None] - eta[:, None, :]) ** 2
    theta2 += (phi[:, :, None] - phi[:, None, :]) ** 2
    theta = np.sqrt(theta2)
    theta_z = theta * z[:, None, :]
    cycle = np.matmul(theta_z, theta)  # C_ij = sum_k theta_ik z_k theta_kj

    def total(values: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.einsum("ni,ni->n", z, values))

    def rows(matrix: NDArray[Any], vector: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.matmul(matrix, vector[:, :, None])[:, :, 0])

    a1, a2 = theta_z.sum(axis=2), rows(theta2, z)
    theta3 = theta2 * theta
    a3 = rows(theta3, z)
    a4 = rows(theta2 * theta2, z)
    b = rows(theta_z, a1)
    closed = np.einsum("nij,nij->ni", theta_z, cycle)  # triangles at i
    out = np.empty((len(z), NUM_EFPS), dtype=z.dtype)
    connected = (
        z.sum(axis=1),
        total(a1),
        total(a2),
        total(a3),
        total(a4),
        total(a1**2),
        total(a1 * a2),
        total(a1 * a3),
        total(a2**2),
        total(closed),
        total(rows(theta2 * cycle, z)),
        total(a1**3),
        total(a1**2 * a2),
        total(a1 * b),
        total(a2 * b),
        total(a1 * rows(theta2, z * a1)),
        total(a1 * closed),
        total(rows(cycle * cycle, z)),
        total(a1**4),
        total(a1**2 * b),
        total(b**2),
    )
    for column, values in enumerate(connected):
        out[:, column] = values
    for column, factors in enumerate(_DISCONNECTED, start=len(connected)):
        out[:, column] = np.prod(out[:, factors], axis=1)
    return out


def efps(jets: Jets, *, max_particles: int = 50, dtype: type[np.floating[Any]] = np.float32) -> NDArray[Any]:
    """The 36 EFPs of the leading particles of each set.

    Args:
        jets: N sets relative to their partons.
        max_particles: leading particles by pT that are kept (JetNet keeps 30).
        dtype: float32 (relative rounding about 1e-6) or float64.

    Returns:
        EFPs, shape (N, 36).
    """
    out = np.zeros((len(jets), NUM_EFPS), dtype=dtype)
    for rows, z, eta, phi in padded_batches(jets, max_particles, dtype):
        out[rows] = efps_padded(z, eta, phi)
    return out
