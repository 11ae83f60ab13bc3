r"""The Kolmogorov-Smirnov distance of one-dimensional distributions, with error, null and p-value.

D = max_x |F_1(x) - F_2(x)| of the two distribution functions: free of units, 0 for equal distributions, 1 for disjoint
ones. For finite samples it is positive even for equal distributions: compare it with its null. Of quantities that are
whole numbers, such as charges, it is as well defined as of continuous ones, since the null is drawn from the events.

References:
    Smirnov 1948, Annals of Mathematical Statistics 19, 279.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.result import MetricResult
from metrics.statistics.resampling import Resampling
from metrics.statistics.weights import checked_weights

Floats = NDArray[np.float64]

RARE_EVENTS, RARE_SHARE = 20, 0.1
"""A quantity that fewer events than both have other than its most common value says nothing yet."""
MAX_STEPS = 200
"""Places at which distribution functions are compared: quantiles of both samples, or every value if there are fewer."""


def ks_distances(
    real: Mapping[str, NDArray[Any]],
    generated: Mapping[str, NDArray[Any]],
    *,
    real_weights: NDArray[Any] | None = None,
    generated_weights: NDArray[Any] | None = None,
    real_groups: NDArray[Any] | None = None,
    generated_groups: NDArray[Any] | None = None,
    num_events: tuple[int, int] | None = None,
    prefix: str = "ks",
    num_bootstrap: int = 100,
    num_permutations: int = 200,
    seed: int = 0,
) -> list[MetricResult]:
    """Compute the Kolmogorov-Smirnov distance of several quantities of the same events.

    Args:
        real, generated: values by name, (N,) and (N',) each: one an event, or one for each of its items.
        real_weights, generated_weights: event weights of either sign, (N,) and (N',).
        real_groups, generated_groups: the event that each item belongs to, where there are items: whole events are
            resampled and exchanged then.
        num_events: N and N' where there are items.
        prefix: of the results' names, "PREFIX NAME".
        num_bootstrap, num_permutations: resamples of events for the error, and of labels for the null.
        seed: of all that is drawn.

    Returns:
        A result for each quantity that both samples have, unless it is one and the same value in all but a few events
        (:data:`RARE_EVENTS`, :data:`RARE_SHARE`); of items, only where both samples hold some.

    Raises:
        ValueError: if a sample has fewer than 2 events, holds NaN or infinity, or its weights have no positive sum.

    >>> result = ks_distances({"x": np.arange(100.0)}, {"x": np.arange(100.0) + 50})[0]
    >>> result.name, result.value, result.p_value < 0.05
    ('ks x', 0.5, True)
    """
    groups = real_groups, generated_groups
    sizes = (
        [len(next(iter(columns.values()), ())) for columns in (real, generated)] if num_events is None else num_events
    )
    resampling = Resampling(*sizes, num_bootstrap=num_bootstrap, num_permutations=num_permutations, seed=seed)
    weights = [
        checked_weights("a Kolmogorov-Smirnov distance", "real", real_weights, sizes[0]),
        checked_weights("a Kolmogorov-Smirnov distance", "generated", generated_weights, sizes[1]),
    ]
    events = [np.arange(size) if own is None else own for size, own in zip(sizes, groups, strict=True)]
    results = []
    for name in (name for name in real if name in generated):
        columns = [np.asarray(side[name], dtype=np.float64) for side in (real, generated)]
        for label, column in zip(("real", "generated"), columns, strict=True):
            if not np.isfinite(column).all():
                raise ValueError(f"{name} of the {label} sample holds NaN or infinity: a distance needs numbers")
        if min(map(len, columns)) == 0:
            continue
        steps, times = np.unique(np.concatenate(columns), return_counts=True)
        if times.sum() - times.max() < min(RARE_EVENTS, RARE_SHARE * times.sum()):
            continue
        if len(steps) > MAX_STEPS:
            steps = np.unique(np.quantile(np.concatenate(columns), np.linspace(0, 1, MAX_STEPS), method="lower"))
        sums = []
        for side, column in enumerate(columns):
            num_blocks, own = resampling.num_blocks[side], events[side]
            place = np.searchsorted(steps, column) + resampling.blocks[side][own] * len(steps)
            filled = np.bincount(place, weights[side][own], num_blocks * len(steps))
            sums.append(np.cumsum(filled.reshape(num_blocks, -1), axis=1))
        draws = resampling.draws(sums[0], sums[1], _largest_difference)
        results.append(resampling.result(f"{prefix} {name}", draws))
    return results


def _largest_difference(real: Floats, generated: Floats) -> Floats:
    """Compute D of rows of cumulated sums of weights, the last of which is their whole sum; (R,)."""
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample without items: refused by name, not by NumPy
        return np.asarray(np.abs(real / real[:, -1:] - generated / generated[:, -1:]).max(axis=1))
