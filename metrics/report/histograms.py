"""Weighted histograms of observables: the range that shows them, their density and its error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MAX_BINS = 30


@dataclass(frozen=True)
class Axis:
    """Bins of a histogram.

    Attributes:
        edges: (B+1,).
        logarithmic: whether they are even in the logarithm.
    """

    edges: Floats
    logarithmic: bool = False

    @property
    def centres(self) -> Floats:
        """Middles of the bins, (B,): geometric on a logarithmic axis."""
        low, high = self.edges[:-1], self.edges[1:]
        return np.asarray(np.sqrt(low * high) if self.logarithmic else 0.5 * (low + high))


@dataclass(frozen=True)
class Histogram:
    """Density of events in B bins.

    Attributes:
        value: density in each bin, (B,).
        error: its standard error, (B,).
        outside: share of the events beyond the axis.
    """

    value: Floats
    error: Floats
    outside: float


def choose_axis(columns: Sequence[Floats]) -> Axis:
    """Choose bins that show the first column, the real one, and the others too unless they are far off.

    Integers have bins of whole steps; positive values over more than two decades have a logarithmic axis.

    Args:
        columns: values of each sample, (N,) each; what is not finite is left out.

    Returns:
        The bins.
    """
    real, *others = [column[np.isfinite(column)] for column in columns]
    if not len(real):
        return Axis(np.array([-0.5, 0.5]))
    positive = real[real > 0]
    if real.min() >= 0 and len(positive) > 0.5 * len(real):
        low, high = np.quantile(positive, (0.005, 0.995))
        if high > 100 * low:
            return Axis(np.geomspace(low, high, MAX_BINS + 1), logarithmic=True)
    low, high = np.quantile(real, (0.002, 0.998))
    span = high - low
    for other in others:
        if len(other):
            low_other, high_other = np.quantile(other, (0.01, 0.99))
            low, high = max(min(low, low_other), low - span), min(max(high, high_other), high + span)
    if np.array_equal(real, np.round(real)):
        step = max(1.0, np.ceil((high - low + 1) / MAX_BINS))
        return Axis(np.arange(np.floor(low), np.ceil(high) + step + 1, step) - 0.5)
    if span == 0:
        margin = max(abs(low), 1.0) * 0.5
        return Axis(np.array([low - margin, low - margin / 3, low + margin / 3, low + margin]))
    return Axis(np.linspace(low, high, MAX_BINS + 1))


def density(values: Floats, weights: Floats | None, axis: Axis) -> Histogram:
    r"""Compute the density sum_i w_i / (W width) of a sample, W the sum of all w.

    Args:
        values: one value an event, (N,); what is not finite counts as outside.
        weights: (N,), of either sign; None is 1 each.
        axis: the bins.

    Returns:
        The density, with the error sqrt(sum_i w_i^2) / (W |width|).

    Raises:
        ValueError: if the weights sum to zero or less.

    >>> density(np.array([0.5, 0.5, 1.5, 9.0]), None, Axis(np.array([0.0, 1.0, 2.0]))).value.tolist()
    [0.5, 0.25]
    """
    w = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    total = float(w.sum())
    if total <= 0:
        raise ValueError(f"event weights sum to {total:g}: a density needs a positive sum")
    finite = np.isfinite(values)
    inside = np.histogram(values[finite], axis.edges, weights=w[finite])[0]
    squares = np.histogram(values[finite], axis.edges, weights=w[finite] ** 2)[0]
    norm = total * np.diff(axis.edges)
    return Histogram(inside / norm, np.sqrt(squares) / norm, 1.0 - float(inside.sum()) / total)


def distance(one: Histogram, other: Histogram, axis: Axis) -> float:
    """Compute half the summed difference of two histograms, bins beyond the axis included.

    Args:
        one, other: histograms in the same bins.
        axis: the bins.

    Returns:
        0 for equal histograms, 1 for disjoint ones.
    """
    difference = np.abs(one.value - other.value) @ np.diff(axis.edges) + abs(one.outside - other.outside)
    return float(0.5 * difference)
