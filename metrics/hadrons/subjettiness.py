r"""N-subjettiness tau_N about winner-take-all kt axes, for many particle sets at once.

tau_N = sum_i pT_i min_a Delta R(i, axis_a) / sum_i pT_i (beta = 1; R0 = 1). The axes are the N exclusive kt subjets
of the set (d_ij = min(pT_i^2, pT_j^2) Delta R_ij^2, no beam distance), recombined winner-take-all: pT adds and the
harder of the two gives the direction. So every axis lies along a particle, and distances between pseudojets are
distances between particles, which is what makes the clustering a matter of one fixed matrix.

References:
    Thaler, Van Tilburg 2011, arXiv:1011.2268. Larkoski, Neill, Thaler 2014, arXiv:1401.2158 (winner-take-all axes).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.hadrons.jets import Jets, padded_batches


def subjettiness_padded(z: NDArray[Any], eta: NDArray[Any], phi: NDArray[Any], num_axes: int = 3) -> NDArray[Any]:
    """Compute tau_1 ... tau_num_axes of sets of equal length; padded particles have z = 0.

    Args:
        z, eta, phi: pT_rel, pseudorapidity and azimuth, each (n, width).
        num_axes: the largest N.

    Returns:
        tau_N, shape (n, num_axes); 0 where a set has at most N particles.
    """
    n, width = z.shape
    row = np.arange(n)
    delta2 = (eta[:, :, None] - eta[:, None, :]) ** 2 + (phi[:, :, None] - phi[:, None, :]) ** 2
    pt2 = z**2
    distance = np.minimum(pt2[:, :, None], pt2[:, None, :]) * delta2
    dead = z <= 0
    distance[dead[:, :, None] | dead[:, None, :] | np.eye(width, dtype=bool)] = np.inf
    flat = distance.reshape(n, width * width)
    hardness, alive = z.copy(), ~dead
    total = z.sum(axis=1)
    out = np.zeros((n, num_axes), dtype=z.dtype)
    num_alive = alive.sum(axis=1)
    for _ in range(width):
        if num_alive.min() <= num_axes:
            _record(out, num_alive, alive, z, delta2, total)
        closest = flat.argmin(axis=1)
        active = np.isfinite(flat[row, closest])
        if not active.any():
            break
        r, i, j = row[active], closest[active] // width, closest[active] % width
        winner = np.where(hardness[r, i] >= hardness[r, j], i, j)
        loser = i + j - winner
        hardness[r, winner] += hardness[r, loser]
        alive[r, loser] = False
        num_alive[r] -= 1
        distance[r, loser, :] = np.inf
        distance[r, :, loser] = np.inf
        updated = np.minimum(hardness[r, winner][:, None] ** 2, hardness[r] ** 2) * delta2[r, winner]
        updated[~alive[r]] = np.inf
        updated[np.arange(len(r)), winner] = np.inf
        distance[r, winner, :] = updated
        distance[r, :, winner] = updated
    return out


def _record(
    out: NDArray[Any],
    num_alive: NDArray[Any],
    alive: NDArray[Any],
    z: NDArray[Any],
    delta2: NDArray[Any],
    total: NDArray[Any],
) -> None:
    """Store tau_N of the sets that are down to N subjets at this step."""
    for num in range(1, out.shape[1] + 1):
        rows = np.flatnonzero((num_alive == num) & (out[:, num - 1] == 0))
        if len(rows):
            nearest = np.where(alive[rows][:, None, :], delta2[rows], np.inf).min(axis=2)
            tau = np.sum(z[rows] * np.sqrt(nearest), axis=1)
            out[rows, num - 1] = np.divide(tau, total[rows], out=np.zeros_like(tau), where=total[rows] > 0)


def subjettiness(
    jets: Jets, *, num_axes: int = 3, max_particles: int = 50, dtype: type[np.floating[Any]] = np.float32
) -> NDArray[Any]:
    """Compute tau_1 ... tau_num_axes of the leading particles of each set.

    Args:
        jets: N sets relative to their partons.
        num_axes: the largest N of tau_N.
        max_particles: leading particles by pT that are kept.
        dtype: float32 or float64.

    Returns:
        tau_N, shape (N, num_axes); 0 where a set has at most as many particles as axes.
    """
    out = np.zeros((len(jets), num_axes), dtype=dtype)
    for rows, z, eta, phi in padded_batches(jets, max_particles, dtype, num_pairs=640_000):
        out[rows] = subjettiness_padded(z, eta, phi, num_axes)
    return out
