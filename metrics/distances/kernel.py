r"""The kernel physics distance (KPD): squared maximum mean discrepancy under a polynomial kernel of degree 4.

MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y) with k(x, y) = (x.y / D + 1)^4, unbiased: pairs of one event with itself
are left out, so that equal distributions give 0 on average and single values may be negative. JetNet takes the
median over ten batches of 5,000; here every pair of the two samples counts.

Both samples are cut into blocks at random. Sums of k over pairs of blocks hold all that is needed: the statistic,
its delete-a-block jackknife error and a permutation test over blocks cost nothing more. Two ways give the same
sums, and the cheaper one is taken. In few dimensions k(x, y) = (p(x).p(y))^2 with the D' = (D+1)(D+2)/2 products p of
(x / sqrt(D), 1), so a block is summed up by its D' x D' second moments: linear in the number of events. In many
dimensions the pairs are computed one by one.

References:
    Kansal et al. 2022, arXiv:2211.10295. Gretton et al. 2012, JMLR 13, 723 (MMD and its permutation test).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.arrays import array_arguments
from metrics.distances.frechet import check_features, scales
from metrics.result import MetricResult
from metrics.statistics.permutation import permutation_null
from metrics.statistics.weights import block_numbers, event_weights

Floats = NDArray[np.float64]

BLOCKS = 16
"""Blocks of the sample with less weight; the other has as many more as it has more weight, up to ``MAX_BLOCKS``."""
MAX_BLOCKS = 80
MIN_EVENTS = 8
_ROWS = 4096
_FEW_ROWS = 128
_MAX_PRODUCTS = 1_000
_THREADS = 4


@dataclass(frozen=True)
class _Blocks:
    """Blocks of both samples: ``gram`` (B, B) sums of w w' k over pairs, ``own`` (B,) sums of w^2 k(x, x),
    ``weight`` and ``weight_2`` (B,) sums of w and w^2."""

    gram: Floats
    own: Floats
    weight: Floats
    weight_2: Floats

    def distance(self, real: Floats, generated: Floats) -> float:
        """Compute the unbiased MMD^2 of the blocks chosen for either side, given as 0 or 1, each (B,)."""
        within = 0.0
        for side in (real, generated):
            pairs = (side @ self.weight) ** 2 - side @ self.weight_2
            within += float((side @ self.gram @ side - side @ self.own) / pairs)
        across = real @ self.gram @ generated / ((real @ self.weight) * (generated @ self.weight))
        return float(within - 2.0 * across)


@array_arguments(real=2, generated=2, real_weights=1, generated_weights=1, scale=1)
def kpd(
    real: NDArray[Any],
    generated: NDArray[Any],
    *,
    real_weights: NDArray[Any] | None = None,
    generated_weights: NDArray[Any] | None = None,
    scale: NDArray[Any] | None = None,
    num_permutations: int = 500,
    seed: int = 0,
) -> MetricResult:
    """Compute the kernel physics distance of two feature samples.

    Args:
        real, generated: features, shapes (N, D) and (N', D).
        real_weights, generated_weights: event weights of either sign, (N,) and (N',).
        scale: divide the features by this, shape (D,); default the largest absolute value in ``real``.
        num_permutations: of the blocks, for the null and the p-value.
        seed: of blocks and permutations.

    Returns:
        The unbiased MMD^2; it can be negative: 0 within errors for equal distributions.

    Raises:
        ValueError: if the samples do not fit each other, hold NaN, have fewer than 8 events, or weights that cancel.

    >>> rng = np.random.default_rng(0)
    >>> real, shifted = rng.normal(size=(500, 2)), rng.normal(0.5, 1.0, size=(500, 2))
    >>> kpd(real, shifted).sigmas > 5
    True
    """
    check_features("KPD", real, generated, MIN_EVENTS)
    divisor = scales(real) if scale is None else np.where(scale > 0, scale, 1.0)
    rng = np.random.default_rng(seed)
    side_weights = (
        event_weights("KPD", "real", real_weights, len(real)),
        event_weights("KPD", "generated", generated_weights, len(generated)),
    )
    counts = block_numbers(*side_weights, min(BLOCKS, min(len(real), len(generated)) // 2), MAX_BLOCKS)
    rows, weights = [], []
    for x, w, number in zip((real, generated), side_weights, counts, strict=True):
        for chosen in np.array_split(rng.permutation(len(x)), number):
            rows.append(np.asarray(x[chosen] / divisor, dtype=np.float64))
            weights.append(w[chosen])
    blocks = _block_sums(rows, weights)
    first = np.arange(len(rows)) < counts[0]
    for side, name in ((first, "real"), (~first, "generated")):
        total, squares = float(blocks.weight[side].sum()), float(blocks.weight_2[side].sum())
        if not total**2 > squares:
            raise ValueError(
                f"the {name} weights sum to {total:g}, their squares to {squares:g}: too few effective events for KPD"
            )

    def statistic(chosen: NDArray[np.bool_]) -> float:
        return blocks.distance(chosen.astype(np.float64), (~chosen).astype(np.float64))

    value = statistic(first)
    variance = 0.0
    for side, number in ((first, counts[0]), (~first, counts[1])):
        left_out = []
        for b in np.flatnonzero(side):
            kept = (np.arange(len(rows)) != b).astype(np.float64)
            left_out.append(blocks.distance(first * kept, ~first * kept))
        variance += (number - 1) / number * float(np.sum((np.array(left_out) - np.mean(left_out)) ** 2))
    null = permutation_null(statistic, counts[0], counts[1], num_permutations=num_permutations, rng=rng)
    return MetricResult(
        "kpd",
        value,
        float(np.sqrt(variance)),
        null.mean,
        null.std,
        len(real),
        len(generated),
        seed,
        null.p_value(value),
    )


def _block_sums(rows: list[Floats], weights: list[Floats]) -> _Blocks:
    """Sum the kernel over pairs of blocks, the cheaper way of two."""
    dimension = rows[0].shape[1]
    num = sum(len(x) for x in rows)
    products = (dimension + 1) * (dimension + 2) // 2
    # multiplications of the two ways; the kernel itself costs about as much as 10 of them a pair
    by_moments = num * products**2 / 2 < num**2 / 2 * (dimension + 10) and products <= _MAX_PRODUCTS
    gram = _gram_of_moments(rows, weights) if by_moments else _gram_of_pairs(rows, weights)
    own = [
        float(np.sum(w**2 * (np.sum(x**2, axis=1) / dimension + 1.0) ** 4)) for x, w in zip(rows, weights, strict=True)
    ]
    return _Blocks(
        gram,
        np.array(own),
        np.array([w.sum() for w in weights]),
        np.array([np.sum(w**2) for w in weights]),
    )


def _gram_of_moments(rows: list[Floats], weights: list[Floats]) -> Floats:
    """Compute block sums of the kernel as scalar products of second moments of p(x)."""
    dimension = rows[0].shape[1]
    products = (dimension + 1) * (dimension + 2) // 2
    moments = np.zeros((len(rows), products, products))
    longest = min(_ROWS, max(len(x) for x in rows))

    def fill(blocks: range) -> None:
        # one piece of memory for all products: fresh pages would cost as much as the arithmetic
        place, part = np.empty(products * longest), np.empty((products, products))
        for b in blocks:
            x, w = rows[b], weights[b]
            plain = bool((w == 1.0).all())
            for start in range(0, len(x), _ROWS):
                p = _products(x[start : start + _ROWS], place)
                # a product with its own transpose takes half the work in BLAS
                np.matmul(p, p.T if plain else (w[start : start + _ROWS] * p).T, out=part)
                moments[b] += part

    # blocks side by side scale better than BLAS does within one; each is computed alike by any thread
    threads = min(_THREADS, os.cpu_count() or 1)
    with _one_blas_thread(), ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, [range(k, len(rows), threads) for k in range(threads)]))
    flat = moments.reshape(len(rows), -1)
    return np.asarray(flat @ flat.T)


def _one_blas_thread() -> AbstractContextManager[Any]:
    """Keep BLAS from starting threads besides ours, where threadpoolctl (of scikit-learn) is installed."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[Any] = threadpool_limits(1, user_api="blas")
    return limits


def _products(x: Floats, place: Floats) -> Floats:
    """Compute p(x): all products of two of (x / sqrt(D), 1), mixed ones times sqrt(2).

    So p(x).p(y) = (x.y / D + 1)^2.

    Shape (D', rows), in the memory of ``place``.
    """
    num, dimension = x.shape
    extended = np.concatenate([x.T / np.sqrt(dimension), np.ones((1, num))])
    mixed = np.sqrt(2.0) * extended
    products = (dimension + 1) * (dimension + 2) // 2
    out = place[: products * num].reshape(products, num)
    start = 0
    for k in range(dimension + 1):
        np.multiply(extended[k], mixed[k:], out=out[start : start + dimension + 1 - k])
        np.square(extended[k], out=out[start])
        start += dimension + 1 - k
    return out


def _gram_of_pairs(rows: list[Floats], weights: list[Floats]) -> Floats:
    """Compute block sums of the kernel, pair by pair."""
    dimension = rows[0].shape[1]
    gram = np.empty((len(rows), len(rows)))
    for a, (x, u) in enumerate(zip(rows, weights, strict=True)):
        for b in range(a + 1):
            total = 0.0
            for start in range(0, len(x), _ROWS):
                kernel = x[start : start + _ROWS] @ rows[b].T
                kernel /= dimension
                kernel += 1.0
                kernel *= kernel
                kernel *= kernel
                total += float(u[start : start + _ROWS] @ (kernel @ weights[b]))
            gram[a, b] = gram[b, a] = total
    return gram


def kernel_sum(x: Floats, y: Floats) -> float:
    """Sum (x.y / D + 1)^4 over all pairs of rows of (N, D) and (N', D), computed one by one.

    Args:
        x, y: features, (N, D) and (N', D).
    """
    total = 0.0
    for start in range(0, len(x), _FEW_ROWS):
        kernel = x[start : start + _FEW_ROWS] @ y.T
        kernel /= x.shape[1]
        kernel += 1.0
        kernel *= kernel
        kernel *= kernel
        total += float(kernel.sum())
    return total


def pair_mean(x: Floats) -> float:
    """Compute the mean kernel over ordered pairs of different rows of (N, D) (a row drawn twice counts as two)."""
    own = np.sum((np.sum(x * x, axis=1) / x.shape[1] + 1.0) ** 4)
    return float((kernel_sum(x, x) - own) / (len(x) * (len(x) - 1)))
