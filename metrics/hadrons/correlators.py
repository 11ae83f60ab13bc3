r"""Energy correlation functions and the energy-energy correlator, for many particle sets at once.

With z_i = pT_i / sum pT of the particles kept, theta_ij their distance in (eta, phi) as in
:mod:`metrics.hadrons.efp`, and beta = 1:

- e2 = sum_{i<j} z_i z_j theta_ij and e3 = sum_{i<j<k} z_i z_j z_k theta_ij theta_ik theta_jk;
- 2e3 = sum_{i<j<k} z_i z_j z_k min(theta_ij theta_ik, theta_ij theta_jk, theta_ik theta_jk), the product of the two
  smaller angles, and N2 = 2e3 / e2^2.

The energy-energy correlator depends on the angle: EEC(theta) = sum_{i != j} z_i z_j delta(theta - theta_ij), where
z_i = pT_i / pT of the parton.

References:
    Larkoski, Salam, Thaler 2013, arXiv:1305.0007 (e2, e3). Moult, Necib, Thaler 2016, arXiv:1609.07483 (2e3, N2).
    Basham, Brown, Ellis, Love 1978, doi:10.1103/PhysRevLett.41.1585; Chen, Moult, Zhang, Zhu 2020, arXiv:2004.11381
    (energy-energy correlator in jets).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.hadrons.efp import DOT, EDGE, TRIANGLE
from metrics.hadrons.histograms import histogram_per_set
from metrics.hadrons.jets import Jets, padded_batches

EEC_EDGES: NDArray[np.float64] = np.geomspace(1e-3, 1.0, 25)
"""Edges in Delta R of the energy-energy correlator: eight bins a decade."""


def energy_correlations(efps: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute e2 and e3 from the EFPs of the sets, whose edge and triangle count ordered indices.

    Args:
        efps: the 36 default EFPs, shape (N, 36).

    Returns:
        e2 and e3, each (N,); 0 for sets whose pT vanishes.
    """
    z = efps[:, DOT].astype(np.float64)
    scale = np.where(z > 0, z, np.inf)
    return efps[:, EDGE] / (2.0 * scale**2), efps[:, TRIANGLE] / (6.0 * scale**3)


def generalized_e3_padded(z: NDArray[Any], eta: NDArray[Any], phi: NDArray[Any]) -> NDArray[Any]:
    """Compute 2e3 of sets of equal length; padded particles have z = 0.

    Every triple i < j < k is taken once, at its middle index j: with a = theta_ij, b = theta_jk and c = theta_ik, the
    product of the two smaller angles is min(a, b) min(max(a, b), c). Memory is n width^2, never n width^3.

    Args:
        z, eta, phi: pT_rel, pseudorapidity and azimuth, each (n, width), of one floating type.

    Returns:
        2e3, shape (n,), of the same type; 0 for sets of fewer than three particles.
    """
    n, width = z.shape
    # sets along the last axis: the innermost loop of every operation runs over whole batches
    z, eta, phi = (np.ascontiguousarray(x.T) for x in (z, eta, phi))
    total = z.sum(axis=0)
    z = z / np.where(total > 0, total, 1)
    theta = np.sqrt((eta[:, None] - eta) ** 2 + (phi[:, None] - phi) ** 2)
    buffers = np.empty((2, (width // 2) * (width - width // 2) * n), dtype=z.dtype)
    out = np.zeros(n, dtype=z.dtype)
    for j in range(1, width - 1):
        shape = (j, width - 1 - j, n)
        smaller, other = (b[: np.prod(shape)].reshape(shape) for b in buffers)
        a, b = theta[:j, j, None], theta[j, None, j + 1 :]
        np.minimum(a, b, out=smaller)
        np.maximum(a, b, out=other)
        np.minimum(other, theta[:j, j + 1 :], out=other)
        smaller *= other
        out += z[j] * np.einsum("in,ikn,kn->n", z[:j], smaller, z[j + 1 :])
    return out


def generalized_e3(jets: Jets, *, max_particles: int = 50, dtype: type[np.floating[Any]] = np.float32) -> NDArray[Any]:
    """Compute 2e3 of the leading particles of each set.

    Args:
        jets: N sets relative to their partons.
        max_particles: leading particles by pT that are kept.
        dtype: float32 (relative rounding about 1e-6) or float64.

    Returns:
        2e3, shape (N,).
    """
    out = np.zeros(len(jets), dtype=dtype)
    for rows, z, eta, phi in padded_batches(jets, max_particles, dtype, num_pairs=320_000):
        out[rows] = generalized_e3_padded(z, eta, phi)
    return out


def energy_energy_correlator(
    jets: Jets, *, edges: NDArray[Any] = EEC_EDGES, max_particles: int | None = None
) -> NDArray[np.float32]:
    """Compute sum_{i != j} z_i z_j in bins of theta_ij, one histogram a set.

    The sum over bins from 0 to infinity is (sum z)^2 - sum z^2; the contact term i = j is left out, and so are pairs
    outside the edges. Azimuths are compared the short way round.

    Args:
        jets: N sets relative to their partons.
        edges: in Delta R, increasing, (bins + 1,).
        max_particles: leading particles by pT that are kept; default all.

    Returns:
        Shape (N, bins).
    """
    kept = max(1, int(jets.counts.max(initial=0))) if max_particles is None else max_particles
    out = np.zeros((len(jets), len(edges) - 1), dtype=np.float32)
    for rows, z, eta, phi in padded_batches(jets, kept, np.float64):
        i, j = np.triu_indices(z.shape[1], 1)
        across = np.abs(phi[:, i] - phi[:, j])
        theta = np.hypot(eta[:, i] - eta[:, j], np.minimum(across, 2.0 * np.pi - across))
        index = np.repeat(np.arange(len(rows)), len(i))
        weights = 2.0 * z[:, i] * z[:, j]
        out[rows] = histogram_per_set(index, theta.ravel(), edges, len(rows), weights.ravel())
    return out
