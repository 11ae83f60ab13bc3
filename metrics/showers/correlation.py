r"""Correlations between the layers of calorimeter showers, and their distance between two samples.

rho_kl is Pearson's correlation of E_k / E_inc and E_l / E_inc: of fractions, because over a wide range of incident
energies every pair of energies is correlated trivially. A layer whose fraction never changes is uncorrelated (0). The
distance is the root mean square difference of the L (L - 1) elements off the diagonal.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metrics.result import MetricResult
from metrics.sample import Sample, check_alike
from metrics.showers.features import layer_energies
from metrics.statistics.resampling import Resampling

Floats = NDArray[np.float64]


def layer_correlations(sample: Sample) -> Floats:
    """Compute rho between the layers that have voxels.

    Args:
        sample: N showers.

    Returns:
        Correlations, in the order of the layers, shape (L, L).

    Raises:
        ValueError: if the sample has fewer than 2 showers, is not of showers, or negative weights outweigh.
    """
    if len(sample) < 2:
        raise ValueError(f"correlations need at least 2 showers, got {len(sample)}")
    x = _fractions(sample)
    rho: Floats = _checked(_correlations(_products(x - x.mean(axis=0), sample.weights)[None]))[0]
    return rho


def correlation_distance(
    real: Sample,
    generated: Sample,
    *,
    num_bootstrap: int = 100,
    num_permutations: int = 200,
    seed: int = 0,
) -> MetricResult:
    """Compute the root mean square difference of two samples' correlations between layers.

    Args:
        real, generated: samples of showers in at least two layers; weights may have either sign.
        num_bootstrap, num_permutations: resamples of events for the error, and of labels for the null.
        seed: of all that is drawn.

    Returns:
        The distance, named "layer correlations".

    Raises:
        ValueError: if there is one layer only, or as :func:`layer_correlations`.
    """
    check_alike(real, generated)
    resampling = Resampling(
        len(real), len(generated), num_bootstrap=num_bootstrap, num_permutations=num_permutations, seed=seed
    )
    fractions = [_fractions(sample) for sample in (real, generated)]
    layers = fractions[0].shape[1]
    if layers < 2:
        raise ValueError("correlations between layers need at least two layers with voxels")
    centre = fractions[0].mean(axis=0)  # centred: the covariance would lose its digits
    sums = []
    for side, sample in enumerate((real, generated)):
        x, w = fractions[side] - centre, sample.weights
        blocks = [_products(x[rows], None if w is None else w[rows]) for rows in resampling.members(side)]
        _checked(_correlations(np.sum(blocks, axis=0)[None]))
        sums.append(np.reshape(blocks, (len(blocks), -1)))

    def statistic(h: Floats, g: Floats) -> Floats:
        rho = [_correlations(x.reshape(-1, layers + 1, layers + 1)) for x in (h, g)]
        return np.asarray(np.sqrt(((rho[0] - rho[1]) ** 2).sum(axis=(1, 2)) / (layers * (layers - 1))))

    return resampling.result("layer correlations", resampling.draws(sums[0], sums[1], statistic))


def _fractions(sample: Sample) -> Floats:
    """Compute E_l / E_inc, shape (N, L)."""
    return layer_energies(sample) / (1e3 * sample.condition["energy"][:, None])


def _products(x: Floats, weights: Floats | None) -> Floats:
    """Compute sum_i w_i z_i z_i^T of z = (1, x_1 ... x_L), shape (L + 1, L + 1)."""
    z = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    return np.asarray(z.T @ (z if weights is None else weights[:, None] * z))


def _correlations(products: Floats) -> Floats:
    """Compute rho (R, L, L) from R sums of products; NaN where negative weights leave no variance or total."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = products[:, 1:, 0] / products[:, :1, 0]
        covariance = products[:, 1:, 1:] / products[:, :1, :1] - mean[:, :, None] * mean[:, None, :]
        variance = np.diagonal(covariance, axis1=1, axis2=2)
        # relative to the mean square: rounding leaves a constant layer a variance of about 1e-16 of it
        square = np.diagonal(products[:, 1:, 1:], axis1=1, axis2=2) / products[:, :1, 0]
        constant = np.abs(variance) <= 1e-12 * np.abs(square)
        sigma = np.sqrt(np.where(constant, 1.0, variance))
        rho = covariance / (sigma[:, :, None] * sigma[:, None, :])
    rho = np.where(constant[:, :, None] | constant[:, None, :], 0.0, rho)
    np.einsum("rll->rl", rho)[:] = 1.0
    return rho


def _checked(rho: Floats) -> Floats:
    """Return correlations that are finite, else raise ValueError."""
    if not np.isfinite(rho).all():
        raise ValueError("negative weights outweigh the others: correlations between layers are not defined")
    return rho
