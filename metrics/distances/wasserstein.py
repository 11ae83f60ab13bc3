r"""The one-dimensional Wasserstein-1 distance, exact, with error, null and p-value.

W1 = int |F_1(x) - F_2(x)| dx of the two empirical distribution functions. For finite samples it is positive even for
equal distributions: compare it with its null. With weights of both signs it is the same integral, which is the distance
of the sums of all positive parts, W1(p+ + q-, q+ + p-), since W1 depends on p - q alone (Kantorovich, Rubinstein).

References:
    Villani 2009, Optimal Transport, chapter 6. Kansal et al. 2022, arXiv:2211.10295 (as a metric of jets).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.arrays import array_arguments
from metrics.result import MetricResult
from metrics.statistics.permutation import Null, relabellings
from metrics.statistics.weights import event_weights, exchangeable_units

Floats = NDArray[np.float64]

PIECE = 2**22
"""Values sorted at a time: of larger samples, only a few more bytes a value are in memory."""


@array_arguments(x=1, y=1, x_weights=1, y_weights=1)
def wasserstein_1(
    x: NDArray[Any], y: NDArray[Any], x_weights: NDArray[Any] | None = None, y_weights: NDArray[Any] | None = None
) -> float:
    """Compute W1 of two samples.

    Args:
        x, y: values, (N,) and (N',), of any one unit.
        x_weights, y_weights: weights of either sign, (N,) and (N',).

    Returns:
        The distance, in the unit of the values.

    Raises:
        ValueError: if a sample is empty, holds NaN, or its weights do not have a positive sum.

    >>> wasserstein_1(np.arange(4), np.arange(4) + 0.5)
    0.5
    """
    pooled = _Pooled(x, y, x_weights, y_weights)
    return float(pooled.distances(lambda _: pooled.shares(np.arange(len(x) + len(y)) < len(x)), 1)[0])


@array_arguments(real=1, generated=1, real_weights=1, generated_weights=1, real_groups=1, generated_groups=1)
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
    """Compute W1 of two samples with its bootstrap error, and its null by permutation.

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

    >>> result = w1(np.arange(100.0), np.arange(100.0) + 50)
    >>> round(result.value, 9), result.p_value < 0.05
    (50.0, True)
    """
    pooled = _Pooled(real, generated, real_weights, generated_weights, real_groups, generated_groups)
    rng = np.random.default_rng(seed)
    # an event weighs as much as its values do on average
    per_event = pooled.sums / np.maximum(pooled.numbers, 1)
    num = pooled.num_real
    unit, num_real, num_generated = exchangeable_units(
        event_weights("W1", "real", per_event[:num], num),
        event_weights("W1", "generated", per_event[num:], len(per_event) - num),
        rng,
    )
    is_real = np.arange(len(per_event)) < num
    counts = (num, len(per_event) - num)
    times = [
        np.concatenate([np.bincount(rng.integers(n, size=n), minlength=n) for n in counts]).astype(np.uint16)
        for _ in range(num_bootstrap)
    ]
    labels = [
        np.packbits(chosen)
        for chosen in relabellings(num_real, num_generated, num_permutations=num_permutations, rng=rng)
    ]

    def shares(k: int) -> Floats:
        if k == 0:
            return pooled.shares(is_real)
        if k <= num_bootstrap:
            return pooled.shares(is_real, times[k - 1])
        chosen = np.unpackbits(labels[k - 1 - num_bootstrap], count=num_real + num_generated).astype(bool)
        return pooled.shares(chosen[unit])

    value, *draws = pooled.distances(shares, 1 + num_bootstrap + num_permutations)
    null = Null(np.array(draws[num_bootstrap:]))
    return MetricResult(
        name,
        value,
        float(np.std(draws[:num_bootstrap], ddof=1)),
        null.mean,
        null.std,
        counts[0],
        counts[1],
        seed,
        null.p_value(value),
    )


class _Pooled:
    """The values of both samples, and the events that they belong to, real ones first.

    ``numbers`` and ``sums`` (E,): of the values of each event, how many and their weights; ``num_real`` events.
    """

    def __init__(
        self,
        x: NDArray[Any],
        y: NDArray[Any],
        x_weights: NDArray[Any] | None = None,
        y_weights: NDArray[Any] | None = None,
        x_groups: NDArray[Any] | None = None,
        y_groups: NDArray[Any] | None = None,
    ) -> None:
        if len(x) == 0 or len(y) == 0:
            raise ValueError(f"W1 needs non-empty samples, got {len(x)} and {len(y)} values")
        self._values = np.asarray(x), np.asarray(y)
        if not all(np.isfinite(v).all() for v in self._values):
            raise ValueError("a sample holds NaN or infinity: W1 needs finite values")
        given = x_weights is not None, y_weights is not None
        self._weights = (
            event_weights("W1", "real", x_weights, len(x)) if any(given) else None,
            event_weights("W1", "generated", y_weights, len(y)) if any(given) else None,
        )
        self._events = [None if g is None else _labels(g) for g in (x_groups, y_groups)]
        numbers, sums = [], []
        for values, weights, events in zip(self._values, self._weights, self._events, strict=True):
            numbers.append(np.ones(len(values), np.int64) if events is None else np.bincount(events))
            weighted = weights if events is None or weights is None else np.bincount(events, weights)
            sums.append(numbers[-1].astype(np.float64) if weighted is None else weighted)
        self.num_real = len(numbers[0])
        self.numbers, self.sums = np.concatenate(numbers), np.concatenate(sums)

    def shares(self, is_real: NDArray[np.bool_], times: NDArray[Any] | None = None) -> Floats:
        """Compute what weight 1 of each event (E,) adds to F_1 - F_2, with every event taken so many times."""
        sums = self.sums if times is None else self.sums * times
        total = float(sums[is_real].sum())
        share = np.where(is_real, 1.0 / total, -1.0 / (float(sums.sum()) - total))
        return share if times is None else share * times

    def distances(self, shares: Callable[[int], Floats], number: int) -> Floats:
        """Compute W1 of ``number`` pairs of samples, each given by the shares of the events, (number,)."""
        total, reached, last = np.zeros(number), np.zeros(number), None
        for values, weights, events in self._pieces():
            steps = np.diff(values)
            gap = 0.0 if last is None else values[0] - last
            for k in range(number):
                signed = shares(k)[events]
                if weights is not None:
                    signed *= weights
                height = np.cumsum(signed, out=signed)
                total[k] += abs(reached[k]) * gap
                height += reached[k]
                reached[k] = height[-1]
                total[k] += np.abs(height[:-1]) @ steps
            last = values[-1]
        return total

    def _pieces(self) -> Iterator[tuple[Floats, Floats | None, NDArray[Any]]]:
        """Yield values in rising order, their weights and events: so many at a time that memory stays bounded."""
        total = sum(len(v) for v in self._values)
        edges = np.array([-np.inf, np.inf])
        if total > PIECE:
            some = np.concatenate([v[:: max(1, total // 100_000)] for v in self._values]).astype(np.float64)
            inner = np.quantile(some, np.linspace(0.0, 1.0, -(-total // PIECE) + 1)[1:-1])
            edges = np.concatenate([edges[:1], np.unique(inner), edges[1:]])
        for low, high in itertools.pairwise(edges):
            values, weights, events = [], [], []
            for v, w, e, first in zip(self._values, self._weights, self._events, (0, self.num_real), strict=True):
                inside = np.flatnonzero((low <= v) & (v < high))
                values.append(v[inside].astype(np.float64))
                weights.append(None if w is None else w[inside])
                events.append(first + (inside if e is None else e[inside].astype(np.int64)))
            pooled = np.concatenate(values)
            if len(pooled):
                order = np.argsort(pooled, kind="stable")
                one, other = weights
                both = None if one is None or other is None else np.concatenate([one, other])[order]
                yield pooled[order], both, np.concatenate(events)[order]


def _labels(groups: NDArray[Any]) -> NDArray[np.int32]:
    """Map the groups to numbers from 0 without gaps."""
    given = np.asarray(groups)
    given = given if given.dtype.kind in "iu" else given.astype(np.int64)
    if given.min() < 0:
        given = np.unique(given, return_inverse=True)[1]
    used = np.zeros(int(given.max()) + 1, dtype=bool)
    used[given] = True
    if used.all():
        return given.astype(np.int32, copy=False)
    return np.asarray((np.cumsum(used, dtype=np.int32) - 1)[given], dtype=np.int32)
