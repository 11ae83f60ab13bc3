r"""Event weights, and units of events that may change sides between real and generated.

A weighted sample of N events carries as much information as N_eff = (sum w)^2 / sum w^2 equal ones. Relabelling at
random gives the null only if what changes sides is alike on both: so weights are scaled to sum to N_eff, and where the
events of one side carry less than those of the other, blocks of events with the same N_eff change sides in their place.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Side = Literal["real", "generated", "the sample's"]

ALIKE = 0.02
"""Relative difference of N_eff / N up to which single events count as alike."""
MAX_UNITS = 400
"""Blocks of both sides together where events are not alike."""


def event_weights(metric: str, side: Side, weights: NDArray[Any] | None, num: int, *, negative: bool = True) -> Floats:
    """Scale weights to sum to N_eff; ones where none are given.

    Args:
        metric: name of the metric, for the messages.
        side: the sample, for the messages.
        weights: event weights (num,), or None.
        num: events of the sample.
        negative: whether weights below 0 are allowed.

    Returns:
        Weights, shape (num,).

    Raises:
        ValueError: as :func:`checked_weights`.
    """
    if weights is None:
        return np.ones(num)
    w = checked_weights(metric, side, weights, num, negative=negative)
    return np.asarray(w * (w.sum() / np.sum(w**2)))


def checked_weights(
    metric: str, side: Side, weights: NDArray[Any] | None, num: int, *, negative: bool = True
) -> Floats:
    """Check weights and return them as they are; ones where none are given.

    Args:
        metric, side, weights, num, negative: as in :func:`event_weights`.

    Returns:
        Weights in float64, shape (num,).

    Raises:
        ValueError: if their number differs, one is not finite or (unless ``negative``) below 0, or their sum is not
            positive.
    """
    if weights is None:
        return np.ones(num)
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (num,):
        raise ValueError(f"{side} weights of shape {w.shape} for {num} events: {metric} needs one weight an event")
    if not np.isfinite(w).all():
        raise ValueError(f"{side} weight of event {np.argmin(np.isfinite(w))} is not finite: {metric} needs numbers")
    if not negative and w.min() < 0:
        raise ValueError(
            f"{side} weights go down to {w.min():g}: {metric} needs non-negative weights; unweight the events, "
            "or use a metric that takes weights of both signs (fpd, kpd, w1)"
        )
    if not w.sum() > 0:
        raise ValueError(f"{side} weights sum to {w.sum():g}: {metric} needs a positive sum")
    return w


def block_numbers(real: Floats, generated: Floats, smallest: int, most: int) -> tuple[int, int]:
    """Choose numbers of blocks of both sides in proportion to N_eff.

    The side with less N_eff has ``smallest`` blocks, or fewer (at least a third) where the other would need more than
    ``most``; the other then has ``most``, of more N_eff each.

    Args:
        real, generated: weights of :func:`event_weights`, (N,) and (N',).
        smallest: blocks of the side with less N_eff.
        most: blocks of the other side at most.

    Returns:
        Blocks of the real and of the generated side.
    """
    sums = float(real.sum()), float(generated.sum())
    ratio = max(sums) / min(sums)
    few = int(np.clip(round(most / ratio), -(-smallest // 3), smallest))
    many = int(np.clip(round(few * ratio), few, most))
    return (few, many) if sums[0] <= sums[1] else (many, few)


def exchangeable_units(real: Floats, generated: Floats, rng: np.random.Generator) -> tuple[Ints, int, int]:
    """Assign events to the units that change sides in a relabelling.

    A unit is a single event if the N_eff of an event is alike on both sides. Otherwise it is a block of randomly chosen
    events, and the blocks of both sides have equal N_eff.

    Args:
        real, generated: weights of :func:`event_weights`, (N,) and (N',).
        rng: deals the events.

    Returns:
        The unit of every event, (N + N',), and the number of units on each side.
    """
    sizes = len(real), len(generated)
    shares = real.sum() / sizes[0], generated.sum() / sizes[1]
    if abs(shares[0] - shares[1]) <= ALIKE * max(shares):
        return np.arange(sum(sizes)), sizes[0], sizes[1]
    few = max(4, min(50, int(min(real.sum(), generated.sum()))))
    numbers = block_numbers(real, generated, few, MAX_UNITS)
    numbers = min(numbers[0], sizes[0]), min(numbers[1], sizes[1])
    dealt = [rng.permutation(np.arange(n) % b) for n, b in zip(sizes, numbers, strict=True)]
    return np.concatenate([dealt[0], numbers[0] + dealt[1]]), numbers[0], numbers[1]
