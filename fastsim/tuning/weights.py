"""Weights that move events from one parameter point to others, and when they are worth anything.

With w_i = p_B(x_i) / p_A(x_i) of N events drawn from p_A, the mean of w is 1, and what is left of the sample is

    N_eff = (sum_i w_i)^2 / sum_i w_i^2

References:
    Kish, Survey Sampling, 1965 (effective sample size).
    Owen, Monte Carlo theory, methods and examples, 2013, section 9.3 (what it says of importance weights).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastsim.errors import FastsimError
from fastsim.event import Floats

MIN_SHARE = 0.1
"""Least effective sample size over the number of events, where nothing else is said."""

FAR = 3.0
"""Errors from 1 beyond which a mean weight is flagged."""


def effective_share(weights: Floats) -> float:
    """Return the effective sample size of weights (N,) over N; 0 if all are zero.

    >>> effective_share(np.array([1.0, 1.0, 0.0, 0.0])), effective_share(np.full(3, 0.2))
    (0.5, 1.0)
    """
    square = float(np.sum(weights**2)) * len(weights)
    return float(np.sum(weights)) ** 2 / square if square > 0 else 0.0


@dataclass(frozen=True)
class Variation:
    """Weights of events for one other parameter point.

    Attributes:
        name: of the point.
        weights: p_B / p_A of each event, (N,).
    """

    name: str
    weights: Floats

    @property
    def share(self) -> float:
        """Effective sample size over the number of events."""
        return effective_share(self.weights)

    @property
    def mean(self) -> tuple[float, float]:
        """Mean of the weights, which should be 1, and its error."""
        return float(self.weights.mean()), float(self.weights.std() / np.sqrt(len(self.weights)))

    def row(self) -> str:
        """Return the line of a table: name, effective sample size, mean weight, and a flag if that is not 1."""
        mean, error = self.mean
        num = len(self.weights)
        off = abs(mean - 1) / max(error, 1e-12)
        flag = f": off 1 by {off:.1f} errors, divide weights by it" if abs(mean - 1) > 1e-6 and off > FAR else ""
        return (
            f"{self.name}: effective sample {self.share * num:,.0f} of {num:,} ({self.share:.1%}), "
            f"mean weight {mean:.4f} ± {error:.4f}{flag}"
        )


def refuse_collapsed(variations: Sequence[Variation], min_share: float, what: str) -> None:
    """Raise FastsimError for the variation with the least effective sample, if that is too small.

    Args:
        variations: the weights.
        min_share: least effective sample size over the number of events.
        what: the events, as the message calls them.
    """
    worst = min(variations, key=lambda variation: variation.share)
    if worst.share < min_share:
        num = len(worst.weights)
        raise FastsimError(
            f"{what}: weights for {worst.name} leave {worst.share * num:,.0f} effective events of {num:,} "
            f"({worst.share:.2%}, least {min_share:.0%}): generate events of that tune, or nearer ones, or allow it "
            "with --min-ess (min_ess)"
        )
