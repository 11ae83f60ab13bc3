r"""The one-dimensional Wasserstein-1 distance, exact, with error, null and p-value.

W1 = int |F_1(x) - F_2(x)| dx of the two empirical distribution functions. For finite samples it is positive even for
equal distributions: read it beside its null. With weights of both signs it is the same integral, which is the distance
of the sums of all positive parts, W1(p+ + q-, q+ + p-), since W1 depends on p - q alone (Kantorovich, Rubinstein).

References:
    Villani 2009, Optimal Transport, chapter 6. Kansal et al. 2022, arXiv:2211.10295 (as a metric of jets).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.permutation import permutation_null
from metrics.result import MetricResult
from metrics.weights import event_weights, units

Floats = NDArray[np.float64]


def wasserstein_1(
    x: NDArray[Any], y: NDArray[Any], x_weights: NDArray[Any] | None = None, y_weights: NDArray[Any] | None = None
) -> float:
    """W1 of two samples (N,) and (N',), with weights of either sign if given.

    Raises:
        ValueError: if a sample is empty, holds NaN, or its weights do not have a positive sum.

    >>> wasserstein_1(np.arange(4), np.arange(4) + 0.5)
    0.5
    """
    return _Sorted(x, y, x_weights, y_weights).distance()


def w1(
    real: NDArray[Any],
    generated: NDArray[Any],
    *,
    real_weights: NDArray[Any] | None = None,
    generated_weights: NDArray[Any] | None = None,
    real_groups: NDArray[Any] | None = None,
    generated_groups: NDArray[Any] | None = None,
    name: str = "w1",
    num_bootstrap: int = 20,
    num_permutations: int = 100,
    seed: int = 0,
) -> MetricResult:
    """W1 of two samples with its bootstrap error, and its null by permutation.

    Args:
        real, generated: values, (N,) and (N',), of any one unit; W1 has the same.
        real_weights, generated_weights: a weight of either sign for every value.
        real_groups, generated_groups: indices of the event that each value belongs to. Whole events are resampled and
            exchanged then, since the particles of one event are correlated. Default: every value by itself.
        name: of the result.
        num_bootstrap, num_permutations: resamples.
        seed: of the resamples.

    Returns:
        The distance; ``num_real`` and ``num_generated`` count events (groups).

    Raises:
        ValueError: as :func:`wasserstein_1`.
    """
    pooled = _Sorted(real, generated, real_weights, generated_weights)
    groups: list[NDArray[np.int64]] = []
    counts: list[int] = []
    for values, given in ((real, real_groups), (generated, generated_groups)):
        labels = np.arange(len(values)) if given is None else np.unique(given, return_inverse=True)[1]
        groups.append(labels + sum(counts))
        counts.append(int(labels.max()) + 1)
    event = np.concatenate(groups)[pooled.order]
    rng = np.random.default_rng(seed)
    # an event's weight is that of its values, on average
    per_event = np.bincount(event, pooled.weights) / np.maximum(np.bincount(event), 1)
    unit, num_real, num_generated = units(
        event_weights("W1", "real", per_event[: counts[0]], counts[0]),
        event_weights("W1", "generated", per_event[counts[0] :], counts[1]),
        rng,
    )
    unit = unit[event]
    draws = []
    for _ in range(num_bootstrap):
        times = [np.bincount(rng.integers(n, size=n), minlength=n) for n in counts]
        draws.append(pooled.distance(times=np.concatenate(times)[event]))
    null = permutation_null(
        lambda chosen: pooled.distance(chosen[unit]),
        num_real,
        num_generated,
        num_permutations=num_permutations,
        rng=rng,
    )
    value = pooled.distance()
    return MetricResult(
        name,
        value,
        float(np.std(draws, ddof=1)),
        null.mean,
        null.std,
        counts[0],
        counts[1],
        seed,
        null.p_value(value),
    )


class _Sorted:
    """The pooled values in rising order: ``order`` (N + N',), which are ``real``, their ``weights``, and the ``steps``
    from each to the next."""

    def __init__(
        self, x: NDArray[Any], y: NDArray[Any], x_weights: NDArray[Any] | None, y_weights: NDArray[Any] | None
    ) -> None:
        if len(x) == 0 or len(y) == 0:
            raise ValueError(f"W1 needs non-empty samples, got {len(x)} and {len(y)} values")
        pooled = np.concatenate([x, y]).astype(np.float64)
        if not np.isfinite(pooled).all():
            raise ValueError("a sample holds NaN or infinity: W1 needs finite values")
        self.order = np.argsort(pooled, kind="stable")
        self.steps = np.diff(pooled[self.order])
        self.real = self.order < len(x)
        weights = event_weights("W1", "real", x_weights, len(x)), event_weights("W1", "generated", y_weights, len(y))
        self.weights = np.concatenate(weights)[self.order]

    def distance(self, real: NDArray[np.bool_] | None = None, times: NDArray[Any] | None = None) -> float:
        """W1 with other values on the real side, or every value taken so many times, both in rising order."""
        side = self.real if real is None else real
        weights = self.weights if times is None else self.weights * times
        total = float(weights[side].sum())
        signed = np.where(side, weights / total, -weights / (float(weights.sum()) - total))
        return float(np.abs(np.cumsum(signed)[:-1]) @ self.steps)
