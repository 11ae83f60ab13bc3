r"""The one-dimensional Wasserstein-1 distance, exact, with a bootstrap error.

W1 = int |F_1(x) - F_2(x)| dx of the two empirical distribution functions. For finite samples it is positive even for
equal distributions: quote it beside its null, the same distance between two real samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.result import Estimate

Floats = NDArray[np.float64]


def wasserstein_1(
    x: NDArray[Any], y: NDArray[Any], x_weights: NDArray[Any] | None = None, y_weights: NDArray[Any] | None = None
) -> float:
    """W1 of two samples (N,) and (N',), with non-negative weights if given.

    Raises:
        ValueError: if a sample is empty, holds NaN, or a weight is negative (W1 is a distance of probability
            distributions: events of negative weight have to be combined or unweighted before).

    >>> wasserstein_1(np.arange(4), np.arange(4) + 0.5)
    0.5
    """
    return _distance(*_prepare(x, y), _checked(x, x_weights), _checked(y, y_weights))


def wasserstein_1_bootstrap(
    x: NDArray[Any],
    y: NDArray[Any],
    *,
    x_groups: NDArray[Any] | None = None,
    y_groups: NDArray[Any] | None = None,
    num_bootstrap: int = 20,
    seed: int = 0,
) -> Estimate:
    """W1 of two samples with the standard deviation over bootstrap resamples.

    Args:
        x, y: samples, (N,) and (N',).
        x_groups, y_groups: indices of the set each value belongs to; whole sets are resampled then, since the
            particles of one set are correlated. Default: every value by itself.
        num_bootstrap: resamples.
        seed: of the resamples.
    """
    order, steps, first = _prepare(x, y)
    ones = _checked(x, None), _checked(y, None)
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(num_bootstrap):
        weights = [_resample(len(v), g, rng) for v, g in ((x, x_groups), (y, y_groups))]
        draws.append(_distance(order, steps, first, weights[0], weights[1]))
    return Estimate(_distance(order, steps, first, *ones), float(np.std(draws, ddof=1)))


def _prepare(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[np.int64], Floats, int]:
    """Order of the pooled values, the steps between neighbours, and the length of x."""
    if len(x) == 0 or len(y) == 0:
        raise ValueError(f"W1 needs non-empty samples, got {len(x)} and {len(y)} values")
    pooled = np.concatenate([x, y]).astype(np.float64)
    if not np.isfinite(pooled).all():
        raise ValueError("a sample holds NaN or infinity: W1 needs finite values")
    order = np.argsort(pooled, kind="stable")
    return order, np.diff(pooled[order]), len(x)


def _checked(values: NDArray[Any], weights: NDArray[Any] | None) -> Floats:
    if weights is None:
        return np.ones(len(values))
    if len(weights) != len(values):
        raise ValueError(f"{len(values)} values but {len(weights)} weights")
    if np.min(weights) < 0 or np.sum(weights) <= 0:
        raise ValueError(f"W1 needs non-negative weights, the least is {np.min(weights)}: unweight the events before")
    return np.asarray(weights, dtype=np.float64)


def _distance(order: NDArray[np.int64], steps: Floats, first: int, x_weights: Floats, y_weights: Floats) -> float:
    signed = np.concatenate([x_weights / x_weights.sum(), -y_weights / y_weights.sum()])
    return float(np.sum(np.abs(np.cumsum(signed[order])[:-1]) * steps))


def _resample(length: int, groups: NDArray[Any] | None, rng: np.random.Generator) -> Floats:
    """Bootstrap weights: how often each value is drawn."""
    if groups is None:
        return np.bincount(rng.integers(length, size=length), minlength=length).astype(np.float64)
    number, inverse = np.unique(groups, return_inverse=True)
    times = np.bincount(rng.integers(len(number), size=len(number)), minlength=len(number))
    return times[inverse].astype(np.float64)
