r"""The Frechet physics distance (FPD), extrapolated to infinite samples.

FD(N) = ||mu_1 - mu_2||^2 + tr(S_1 + S_2 - 2 (S_1^(1/2) S_2 S_1^(1/2))^(1/2)) of N feature vectors on each side is
biased upwards by c/N. Each sample is cut at random into k = 1 ... num_sizes disjoint parts of N/k (sizes regular in
1/N); the mean FD over parts is fitted by a straight line in 1/N (weighted least squares, weight 1/k), and the
intercept is FPD. Draws are disjoint, hence without replacement: drawing with replacement leaves the bias c/N_total in
the intercept. The error is a delete-a-group jackknife of the whole procedure, which holds the finite samples
themselves and not only the spread of the draws (about twice too large where FPD is compatible with 0).

References:
    Kansal et al. 2022, arXiv:2211.10295. Chong, Forsyth 2019, arXiv:1911.07023 (extrapolation in 1/N).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.result import Estimate

Floats = NDArray[np.float64]


def frechet_distance(mean_1: Floats, cov_1: Floats, mean_2: Floats, cov_2: Floats) -> float:
    """Squared Frechet (2-Wasserstein) distance of two Gaussians with means (D,) and covariances (D, D).

    Symmetric eigen-decompositions keep it real and defined for singular covariances.

    >>> round(frechet_distance(np.zeros(1), np.eye(1), np.full(1, 3.0), 4 * np.eye(1)), 12)
    10.0
    """
    values, vectors = np.linalg.eigh(cov_1)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    cross = np.linalg.eigvalsh(root @ cov_2 @ root)
    shift = mean_1 - mean_2
    overlap = np.sum(np.sqrt(np.maximum(cross, 0.0)))
    return float(shift @ shift + np.trace(cov_1) + np.trace(cov_2) - 2.0 * overlap)


def fpd(
    real: NDArray[Any],
    generated: NDArray[Any],
    *,
    scale: NDArray[Any] | None = None,
    num_sizes: int = 5,
    num_partitions: int = 10,
    num_groups: int = 16,
    seed: int = 0,
) -> Estimate:
    """Frechet distance of two feature samples, extrapolated to infinite size.

    Args:
        real, generated: features, shapes (N, D) and (N', D).
        scale: divide the features by this, shape (D,); default the largest absolute value in ``real``.
        num_sizes: sizes N, N/2, ... N/num_sizes.
        num_partitions: random partitions at each size.
        num_groups: groups of the jackknife.
        seed: of the partitions.

    Returns:
        The intercept and its error. The intercept can be negative: 0 within errors for equal distributions.

    Raises:
        ValueError: if the samples differ in the number of features, hold NaN, or are too small.
    """
    blocks = num_groups * 12
    if real.shape[1:] != generated.shape[1:] or real.ndim != 2:
        raise ValueError(f"features of shapes {real.shape} and {generated.shape}: expected (N, D) and (N', D)")
    if min(len(real), len(generated)) < 2 * blocks:
        raise ValueError(f"FPD needs at least {2 * blocks} sets a sample, got {len(real)} and {len(generated)}")
    if not (np.isfinite(real).all() and np.isfinite(generated).all()):
        raise ValueError("features hold NaN or infinity: FPD needs finite features")
    if scale is None:
        scale = np.abs(real).max(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    rng = np.random.default_rng(seed)
    moments = [_block_moments(x / scale, blocks, rng) for x in (np.float64(real), np.float64(generated))]
    # part[k][partition, block]: which of the k disjoint parts a block of jets belongs to
    parts = [
        np.stack([_shuffled(blocks, k, rng) for _ in range(num_partitions if k > 1 else 1)])
        for k in range(1, num_sizes + 1)
    ]
    group = np.arange(blocks) % num_groups
    value = _intercept(moments, parts, np.ones(blocks, dtype=bool))
    left_out = np.array([_intercept(moments, parts, group != g) for g in range(num_groups)])
    spread = np.sum((left_out - left_out.mean()) ** 2)
    return Estimate(value, float(np.sqrt((num_groups - 1) / num_groups * spread)))


_Moments = tuple[Floats, Floats, Floats]


def _block_moments(x: Floats, blocks: int, rng: np.random.Generator) -> _Moments:
    """Counts (B,), sums (B, D) and sums of outer products (B, D, D) of randomly assigned blocks of rows."""
    pieces = np.array_split(rng.permutation(len(x)), blocks)
    count = np.array([len(p) for p in pieces], dtype=np.float64)
    total = np.stack([x[p].sum(axis=0) for p in pieces])
    outer = np.stack([x[p].T @ x[p] for p in pieces])
    return count, total, outer


def _shuffled(blocks: int, k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.permutation(np.arange(blocks) % k)


def _gaussian(moments: _Moments, chosen: NDArray[np.bool_]) -> tuple[float, Floats, Floats]:
    """Count, mean (D,) and unbiased covariance (D, D) of the rows of the chosen blocks."""
    count, total, outer = moments
    n = float(count[chosen].sum())
    mean = total[chosen].sum(axis=0) / n
    return n, mean, (np.tensordot(chosen.astype(np.float64), outer, axes=1) - n * np.outer(mean, mean)) / (n - 1.0)


def _intercept(moments: list[_Moments], parts: list[NDArray[np.int64]], kept: NDArray[np.bool_]) -> float:
    """Intercept at 1/N = 0 of the weighted straight line through the mean distances of each size."""
    inverse, distance, weight = [], [], []
    for k, assignment in enumerate(parts, start=1):
        values, sizes = [], []
        for row in assignment:
            for part in range(k):
                chosen = (row == part) & kept
                n_1, mean_1, cov_1 = _gaussian(moments[0], chosen)
                n_2, mean_2, cov_2 = _gaussian(moments[1], chosen)
                values.append(frechet_distance(mean_1, cov_1, mean_2, cov_2))
                sizes.append(0.5 / n_1 + 0.5 / n_2)
        inverse.append(np.mean(sizes))
        distance.append(np.mean(values))
        weight.append(1.0 / k)
    x, y, w = np.array(inverse), np.array(distance), np.array(weight)
    x0, y0 = np.average(x, weights=w), np.average(y, weights=w)
    slope = np.sum(w * (x - x0) * (y - y0)) / np.sum(w * (x - x0) ** 2)
    return float(y0 - slope * x0)
