r"""Correlations between the layers of calorimeter showers, of energies and of sides, and their distances.

rho_kl is Pearson's correlation of E_k / E_inc and E_l / E_inc: of fractions, because over a wide range of incident
energies every pair of energies is correlated trivially. A layer whose fraction never changes is uncorrelated (0).

The sides of layers k and l that have several sectors correlate as the components of their centres across the shower,

    rho_kl = sum_n c_nk . c_nl / sqrt(sum_n |c_nk|^2 sum_n |c_nl|^2),   c = (eta, phi) centre of a layer less its mean:

1 where both always lean the same way, 0 where neither knows of the other; a layer without energy lies at 0.

The distance of two samples is the root mean square difference of the elements off the diagonal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metrics.result import MetricResult
from metrics.sample import Sample, check_alike
from metrics.showers.features import binning_of, layer_energies, observable_groups
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


def side_correlations(sample: Sample) -> Floats:
    """Compute rho between the sides of the layers that have several sectors.

    Args:
        sample: N showers.

    Returns:
        Correlations, in the order of the layers, shape (A, A).

    Raises:
        ValueError: as :func:`layer_correlations`, or if fewer than two layers have several sectors.
    """
    if len(sample) < 2:
        raise ValueError(f"correlations need at least 2 showers, got {len(sample)}")
    products = np.sum([_products(x - x.mean(axis=0), sample.weights) for x in _centres(sample)], axis=0)
    rho: Floats = _checked(_correlations(products[None]))[0]
    return rho


def correlation_distance(
    real: Sample,
    generated: Sample,
    *,
    num_bootstrap: int = 100,
    num_permutations: int = 200,
    seed: int = 0,
) -> MetricResult:
    """Compute the root mean square difference of two samples' correlations between layers' energies.

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
    columns = [[_fractions(sample)] for sample in (real, generated)]
    if columns[0][0].shape[1] < 2:
        raise ValueError("correlations between layers need at least two layers with voxels")
    return _distance("layer correlations", resampling, columns, (real.weights, generated.weights))


def side_distance(
    real: Sample,
    generated: Sample,
    *,
    num_bootstrap: int = 100,
    num_permutations: int = 200,
    seed: int = 0,
) -> MetricResult:
    """Compute the root mean square difference of two samples' correlations between layers' sides.

    Args:
        real, generated, num_bootstrap, num_permutations, seed: as in :func:`correlation_distance`.

    Returns:
        The distance, named "side correlations".

    Raises:
        ValueError: as :func:`side_correlations`.
    """
    check_alike(real, generated)
    resampling = Resampling(
        len(real), len(generated), num_bootstrap=num_bootstrap, num_permutations=num_permutations, seed=seed
    )
    columns = [_centres(sample) for sample in (real, generated)]
    return _distance("side correlations", resampling, columns, (real.weights, generated.weights))


def _distance(
    name: str,
    resampling: Resampling,
    columns: Sequence[Sequence[Floats]],
    weights: tuple[Floats | None, Floats | None],
) -> MetricResult:
    """Compute the distance of the correlations of columns (N, L), or of vectors with several components, by sample."""
    layers = columns[0][0].shape[1]
    centres = [x.mean(axis=0) for x in columns[0]]  # centred: the covariance would lose its digits
    sums = []
    for side, components in enumerate(columns):
        blocks = [
            sum(
                (
                    _products(x[rows] - c, None if (w := weights[side]) is None else w[rows])
                    for x, c in zip(components, centres, strict=True)
                ),
                start=np.zeros((layers + 1, layers + 1)),
            )
            for rows in resampling.members(side)
        ]
        _checked(_correlations(np.sum(blocks, axis=0)[None]))
        sums.append(np.reshape(blocks, (len(blocks), -1)))

    def statistic(h: Floats, g: Floats) -> Floats:
        rho = [_correlations(x.reshape(-1, layers + 1, layers + 1)) for x in (h, g)]
        return np.asarray(np.sqrt(((rho[0] - rho[1]) ** 2).sum(axis=(1, 2)) / (layers * (layers - 1))))

    return resampling.result(name, resampling.draws(sums[0], sums[1], statistic))


def _centres(sample: Sample) -> list[Floats]:
    """Return the centres of the layers that have several sectors in eta and in phi, in mm, (N, A) each."""
    groups = observable_groups(binning_of(sample))
    names = [groups[f"centre {axis}"] for axis in ("eta", "phi")]
    if len(names[0]) < 2:
        raise ValueError("correlations between sides need at least two layers with several sectors")
    columns = [np.stack([sample.observables[name] for name in own], axis=1) for own in names]
    if not all(np.isfinite(column).all() for column in columns):
        raise ValueError("layers' centres hold NaN or infinity")
    return columns


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
