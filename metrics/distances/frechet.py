r"""The Frechet physics distance (FPD), extrapolated to infinite samples.

FD(N) = ||mu_1 - mu_2||^2 + tr(S_1 + S_2 - 2 (S_1^(1/2) S_2 S_1^(1/2))^(1/2)) of N feature vectors on each side is
biased upwards by c/N. Each sample is cut at random into k = 1 ... num_sizes disjoint parts of N/k (sizes regular in
1/N); the mean FD over parts is fitted by a straight line in 1/N (weighted least squares, weight 1/k), and the
intercept is FPD. Draws are disjoint, hence without replacement: drawing with replacement leaves the bias c/N_total in
the intercept. The error is a delete-a-group jackknife of the whole procedure, which holds the finite samples
themselves and not only the spread of the draws (about twice too large where FPD is compatible with 0). The null
comes from random exchanges of blocks of events between the samples.

Weighted events enter through weighted moments, with 1/N = sum w^2 / (sum w)^2.

References:
    Kansal et al. 2022, arXiv:2211.10295. Chong, Forsyth 2019, arXiv:1911.07023 (extrapolation in 1/N).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.arrays import array_arguments
from metrics.result import MetricResult
from metrics.statistics.permutation import permutation_null
from metrics.statistics.weights import block_numbers, event_weights

Floats = NDArray[np.float64]

GROUPS = 10
"""Groups of the jackknife."""
BLOCKS = 60
"""Blocks of events of the sample with less weight; a multiple of every number of parts up to 6 and of the groups."""
MAX_BLOCKS = 600
"""Blocks of the other sample, at most; it has as many more as it has more weight."""
MIN_EVENTS = 4 * BLOCKS


def frechet_distance(mean_1: Floats, cov_1: Floats, mean_2: Floats, cov_2: Floats) -> Any:
    """Compute the squared Frechet (2-Wasserstein) distance of Gaussians.

    It is real and defined for singular covariances; eigenvalues below 0 (from weights of both signs) count as 0.

    Args:
        mean_1, mean_2: means, shape (..., D).
        cov_1, cov_2: covariances, shape (..., D, D).

    Returns:
        Distances, shape (...): real and defined for singular covariances too.

    References:
        Dowson, Landau 1982, doi:10.1016/0047-259X(82)90077-X.

    >>> float(frechet_distance(np.zeros(1), np.eye(1), np.full(1, 3.0), 4 * np.eye(1)))
    10.0
    """
    root = _root(cov_1)
    cross = np.linalg.eigvalsh(np.swapaxes(root, -1, -2) @ cov_2 @ root)
    trace = np.trace(cov_1, axis1=-2, axis2=-1) + np.trace(cov_2, axis1=-2, axis2=-1)
    return np.sum((mean_1 - mean_2) ** 2, axis=-1) + trace - 2.0 * np.sum(np.sqrt(np.maximum(cross, 0.0)), axis=-1)


def _root(cov: Floats) -> Floats:
    """Find a matrix R with R R^T = S; any does: the spectrum of R^T S_2 R is that of S^(1/2) S_2 S^(1/2)."""
    try:
        return np.linalg.cholesky(cov)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(cov)
        return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :])


@array_arguments(real=2, generated=2, real_weights=1, generated_weights=1, scale=1)
def fpd(
    real: NDArray[Any],
    generated: NDArray[Any],
    *,
    real_weights: NDArray[Any] | None = None,
    generated_weights: NDArray[Any] | None = None,
    scale: NDArray[Any] | None = None,
    num_sizes: int = 5,
    num_partitions: int | None = None,
    num_permutations: int = 24,
    seed: int = 0,
) -> MetricResult:
    """Compute the Frechet distance of two feature samples, extrapolated to infinite size.

    Args:
        real, generated: features, shapes (N, D) and (N', D).
        real_weights, generated_weights: event weights of either sign, (N,) and (N',).
        scale: divide the features by this, shape (D,); default the largest absolute value in ``real``.
        num_sizes: sizes N, N/2, ... N/num_sizes.
        num_partitions: random partitions at each size; default 2, or 1 in more than 64 dimensions, to save time.
        num_permutations: exchanges of blocks, for the null and the p-value.
        seed: of blocks, partitions and permutations.

    Returns:
        The intercept. It can be negative: 0 within errors for equal distributions.

    Raises:
        ValueError: if the samples differ in the number of features, hold NaN, are too small, or have weights that
            cancel.

    >>> rng = np.random.default_rng(0)
    >>> real, shifted = rng.normal(size=(2000, 2)), rng.normal(0.5, 1.0, size=(2000, 2))
    >>> equal, other = fpd(real, rng.normal(size=(2000, 2))), fpd(real, shifted)
    >>> abs(equal.sigmas) < 3, other.sigmas > 10
    (True, True)
    """
    check_features("FPD", real, generated, MIN_EVENTS)
    if not 2 <= num_sizes <= 6:
        raise ValueError(f"num_sizes is {num_sizes}: a straight line needs 2 to 6 sizes")
    divisor = scales(real) if scale is None else np.where(scale > 0, scale, 1.0)
    rng = np.random.default_rng(seed)
    weights = (
        event_weights("FPD", "real", real_weights, len(real)),
        event_weights("FPD", "generated", generated_weights, len(generated)),
    )
    numbers = block_numbers(weights[0], weights[1], BLOCKS, MAX_BLOCKS)
    sides = [
        _Moments.of(np.asarray(x, dtype=np.float64) / divisor, w, number, rng)
        for x, w, number in zip((real, generated), weights, numbers, strict=True)
    ]
    repeats = num_partitions or (2 if real.shape[1] <= 64 else 1)
    parts = [
        [
            np.stack([rng.permutation(np.arange(number) % k) for _ in range(repeats if k > 1 else 1)])
            for k in range(1, num_sizes + 1)
        ]
        for number in numbers
    ]
    shares = [_shares(rows) for rows in parts]
    of_size = [k for k in range(1, num_sizes + 1) for _ in range(k * (repeats if k > 1 else 1))]
    value = _intercept(sides, shares, of_size)
    groups = [rng.permutation(np.arange(number) % GROUPS) for number in numbers]
    left_out = np.array(
        [
            _intercept(sides, [x * (group != g) for x, group in zip(shares, groups, strict=True)], of_size)
            for g in range(GROUPS)
        ]
    )
    spread = np.sum((left_out - left_out.mean()) ** 2)
    pooled = sides[0].join(sides[1])
    null = permutation_null(
        lambda chosen: _intercept([pooled.take(chosen), pooled.take(~chosen)], shares, of_size),
        numbers[0],
        numbers[1],
        num_permutations=num_permutations,
        rng=rng,
    )
    return MetricResult(
        "fpd",
        value,
        float(np.sqrt((GROUPS - 1) / GROUPS * spread)),
        null.mean,
        null.std,
        len(real),
        len(generated),
        seed,
        null.p_value(value),
    )


def check_features(name: str, real: NDArray[Any], generated: NDArray[Any], least: int) -> None:
    """Check that two samples are (N, D) and (N', D), finite, with at least ``least`` events each.

    Args:
        name: of the metric, for the messages.
        real, generated: features.
        least: events that either sample needs.

    Raises:
        ValueError: if they are not.
    """
    if real.ndim != 2 or real.shape[1:] != generated.shape[1:] or real.shape[1] == 0:
        raise ValueError(f"features of shapes {real.shape} and {generated.shape}: expected (N, D) and (N', D)")
    if min(len(real), len(generated)) < least:
        raise ValueError(f"{name} needs at least {least} events a sample, got {len(real)} and {len(generated)}")
    for side, x in (("real", real), ("generated", generated)):
        if not np.isfinite(x).all():
            row, column = np.argwhere(~np.isfinite(x))[0]
            raise ValueError(
                f"{side} feature {column} of event {row} is {x[row, column]}: {name} needs finite features"
            )


def scales(real: NDArray[Any]) -> Floats:
    """Compute the largest absolute value of every feature, shape (D,); 1 for features that are always 0."""
    largest = np.abs(real).max(axis=0).astype(np.float64)
    return np.where(largest > 0, largest, 1.0)


@dataclass(frozen=True)
class _Moments:
    """Weighted sums over blocks of events: ``weight`` (B,) of w, ``weight_2`` (B,) of w^2, ``total`` (B, D) of w x,
    ``outer`` (B, D, D) of w x x^T."""

    weight: Floats
    weight_2: Floats
    total: Floats
    outer: Floats

    @staticmethod
    def of(x: Floats, w: Floats, number: int, rng: np.random.Generator) -> _Moments:
        """Sum over randomly assigned blocks of rows with weights (N,)."""
        columns: list[list[Any]] = [[], [], [], []]
        plain = bool((w == 1.0).all())
        for rows in np.array_split(rng.permutation(len(x)), number):
            block, share = x[rows], w[rows]
            weighted = block if plain else share[:, None] * block
            for column, value in zip(
                columns, (share.sum(), np.sum(share**2), weighted.sum(axis=0), weighted.T @ block), strict=True
            ):
                column.append(value)
        return _Moments(*(np.array(c) for c in columns))

    def join(self, other: _Moments) -> _Moments:
        """Put the blocks of both one after the other."""
        return _Moments(*(np.concatenate([getattr(self, k), getattr(other, k)]) for k in self.__dataclass_fields__))

    def take(self, chosen: NDArray[np.bool_]) -> _Moments:
        """Select the chosen blocks."""
        return _Moments(*(getattr(self, k)[chosen] for k in self.__dataclass_fields__))

    def gaussians(self, shares: Floats) -> tuple[Floats, Floats, Floats]:
        """Compute the Gaussians of P sums of blocks.

        Args:
            shares: 1 for the blocks of each sum, 0 for the others, (P, B).

        Returns:
            1/N (P,), means (P, D) and unbiased covariances (P, D, D).
        """
        dimension = self.total.shape[1]
        weight = shares @ self.weight
        mean = shares @ self.total / weight[:, None]
        outer = (shares @ self.outer.reshape(len(self.outer), -1)).reshape(-1, dimension, dimension)
        inverse = shares @ self.weight_2 / weight**2
        cov = outer / weight[:, None, None] - mean[:, :, None] * mean[:, None, :]
        return inverse, mean, cov / (1.0 - inverse)[:, None, None]


def _shares(parts: list[NDArray[np.int64]]) -> Floats:
    """Tell which blocks (B,) make up each part of each partition, (P, B) of 0 and 1: P = sum of k partitions into k."""
    rows = [x[:, None, :] == np.arange(k)[None, :, None] for k, x in enumerate(parts, start=1)]
    return np.asarray(np.concatenate([r.reshape(-1, r.shape[-1]) for r in rows]), dtype=np.float64)


def _intercept(sides: Sequence[_Moments], shares: Sequence[Floats], parts: Sequence[int]) -> float:
    """Fit the weighted straight line through the mean distances of each size, and return its value at 1/N = 0.

    ``parts`` (P,): the number of parts of the partition that each row of ``shares`` belongs to.
    """
    (inverse_1, mean_1, cov_1), (inverse_2, mean_2, cov_2) = (
        side.gaussians(x) for side, x in zip(sides, shares, strict=True)
    )
    distance = frechet_distance(mean_1, cov_1, mean_2, cov_2)
    number = np.bincount(parts)[1:]
    x = np.bincount(parts, 0.5 * (inverse_1 + inverse_2))[1:] / number
    y = np.bincount(parts, distance)[1:] / number
    w = 1.0 / np.arange(1, len(number) + 1)
    x0, y0 = np.average(x, weights=w), np.average(y, weights=w)
    slope = np.sum(w * (x - x0) * (y - y0)) / np.sum(w * (x - x0) ** 2)
    return float(y0 - slope * x0)
