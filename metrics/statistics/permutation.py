r"""The permutation null of a two-sample statistic: its values between samples that are equal in distribution.

Under the hypothesis that real and generated items are drawn from one distribution, the labels "real" and "generated"
of the pooled items are exchangeable. The statistic T of random relabellings at the same sizes then gives its null
mean, its null standard deviation and an exact p-value, p = (1 + #{T_b at least as bad as T}) / (1 + B) with B
relabellings: never 0, at least 1 / (1 + B). Items that are correlated, such as the particles of one set, have to be
relabelled together: the items are then the sets, or blocks of them. For statistics of which neither a bootstrap nor
a jackknife gives the error, such as statistics of nearest neighbours, disjoint batches do (`split_error`).

References:
    Phipson, Smyth 2010, arXiv:1603.05766 (the 1 + in numerator and denominator).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from metrics.result import MetricResult

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Null:
    """The values of a statistic under random relabellings, ``draws`` of shape (B,)."""

    draws: Floats

    @property
    def mean(self) -> float:
        """What equal samples give on average."""
        return float(np.mean(self.draws))

    @property
    def std(self) -> float:
        """How much equal samples fluctuate, one sigma."""
        return float(np.std(self.draws, ddof=1))

    def p_value(self, value: float, *, worse: Literal["high", "low", "both"] = "high") -> float:
        """Compute the probability of a value at least as bad between equal samples.

        Args:
            value: of the statistic between the samples themselves.
            worse: on which side worse values lie; "both": further from the mean is worse.

        >>> Null(np.array([0.0, 1.0, 2.0])).p_value(2.0), Null(np.array([0.0, 1.0, 2.0])).p_value(2.0, worse="low")
        (0.5, 1.0)
        """
        if worse == "both":
            as_bad = np.abs(self.draws - self.mean) >= abs(value - self.mean)
        else:
            as_bad = self.draws >= value if worse == "high" else self.draws <= value
        return float((1 + np.count_nonzero(as_bad)) / (1 + len(self.draws)))


def permutation_null(
    statistic: Callable[[NDArray[np.bool_]], float],
    num_real: int,
    num_generated: int,
    *,
    num_permutations: int,
    rng: np.random.Generator,
) -> Null:
    """Compute the null of a statistic of real and generated items, by random relabelling of the pooled items.

    Args:
        statistic: its value when the items marked True, of all (num_real + num_generated,), are the real ones.
        num_real, num_generated: items of each side; every relabelling has as many.
        num_permutations: relabellings, at least 2; the smallest p-value is 1 / (1 + num_permutations).
        rng: draws the relabellings.

    Returns:
        The values of the statistic.

    Raises:
        ValueError: if a side is empty, there are fewer than 2 relabellings, or a value of the statistic is not finite.

    >>> pooled = np.array([0.0, 0.1, 0.2, 5.0, 5.1, 5.2])
    >>> def shift(real): return abs(pooled[real].mean() - pooled[~real].mean())
    >>> null = permutation_null(shift, 3, 3, num_permutations=99, rng=np.random.default_rng(0))
    >>> null.p_value(shift(np.arange(6) < 3)) < 0.2
    True
    """
    labels = relabellings(num_real, num_generated, num_permutations=num_permutations, rng=rng)
    draws = np.array([statistic(is_real) for is_real in labels], dtype=np.float64)
    if not np.isfinite(draws).all():
        raise ValueError(f"the statistic of a relabelling is {draws[~np.isfinite(draws)][0]}: it has to be finite")
    return Null(draws)


def relabellings(
    num_real: int, num_generated: int, *, num_permutations: int, rng: np.random.Generator
) -> Iterator[NDArray[np.bool_]]:
    """Draw random labels of the pooled items, True for real, each (num_real + num_generated,).

    For statistics that are computed several at once: the draws of each make a `Null`.

    Args:
        num_real, num_generated: items of each side; every relabelling has as many.
        num_permutations: relabellings, at least 2.
        rng: draws the relabellings.

    Raises:
        ValueError: if a side is empty or there are fewer than 2 relabellings.
    """
    if min(num_real, num_generated) < 1:
        raise ValueError(f"a permutation test needs items on both sides, got {num_real} and {num_generated}")
    if num_permutations < 2:
        raise ValueError(f"num_permutations is {num_permutations}: a null needs at least 2 relabellings")
    is_real = np.arange(num_real + num_generated) < num_real
    return (rng.permutation(is_real) for _ in range(num_permutations))


def split_error(
    statistic: Callable[[NDArray[np.int64], NDArray[np.int64]], Floats],
    num_real: int,
    num_generated: int,
    *,
    num_batches: int,
    num_repeats: int,
    rng: np.random.Generator,
) -> Floats:
    """Estimate one-sigma errors of statistics of both samples from their values in disjoint batches of events.

    A partition into B batches gives B independent values, each of variance B sigma^2 where the variance falls as
    1/N: sigma^2 = Var(batches) / B, averaged over random partitions. Nothing has to be smooth in the events, as a
    jackknife would need it, and no event appears twice, as in a bootstrap.

    Args:
        statistic: its values (K,) for the rows of real and of generated events in a batch.
        num_real, num_generated: events of each side.
        num_batches: B, at least 2.
        num_repeats: partitions.
        rng: draws the partitions.

    Returns:
        Errors, shape (K,).
    """
    variances = []
    for _ in range(num_repeats):
        real, generated = (np.array_split(rng.permutation(n), num_batches) for n in (num_real, num_generated))
        values = np.array([statistic(*rows) for rows in zip(real, generated, strict=True)])
        variances.append(values.var(axis=0, ddof=1) / num_batches)
    return np.asarray(np.sqrt(np.mean(variances, axis=0)), dtype=np.float64)


def with_null(
    metric: Callable[..., MetricResult | dict[str, MetricResult]],
    real: NDArray[Any],
    generated: NDArray[Any],
    *,
    num_cuts: int = 10,
    **options: Any,
) -> dict[str, MetricResult]:
    """Compute a metric that has no null of its own, such as one of :mod:`metrics.jetnet`, and add a null.

    ``real`` is cut into halves at random; the null is mean and standard deviation of the metric between halves. Biases
    that fall as 1/N are twice as large between halves as between whole samples. Every cut costs as much as the metric
    itself.

    Args:
        metric: function of two samples that gives a result, or several by name.
        real, generated: samples, whose first dimension counts events.
        num_cuts: random cuts into halves, at least 2.
        options: further arguments of the metric.

    Returns:
        Results by name.

    Raises:
        ValueError: if there are fewer than 2 cuts; and as the metric.
    """

    def measure(real: NDArray[Any], generated: NDArray[Any]) -> dict[str, MetricResult]:
        results = metric(real, generated, **options)
        return {results.name: results} if isinstance(results, MetricResult) else results

    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(real)) for _ in range(num_cuts)]
    halves = [measure(real[order[::2]], real[order[1::2]]) for order in orders]
    out = {}
    for name, result in measure(real, generated).items():
        values = [half[name].value for half in halves]
        out[name] = replace(result, null_value=float(np.mean(values)), null_error=float(np.std(values, ddof=1)))
    return out
