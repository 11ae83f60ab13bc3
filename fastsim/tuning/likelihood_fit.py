"""The unbinned fit: the parameters that make a sample of events most likely.

With s_i = d log p(x_i) / d theta the score of event i, the information of N events is N J, J = mean(s s^T), and the
steps theta += J^-1 mean(s) (Berndt, Hall, Hall, Hausman) go uphill in the likelihood. At the maximum the covariance is

    C = H^-1 J H^-1 / N,    H = -d mean(s) / d theta

which is H^-1 / N if the model is right, and the spread of the maximum where it is not (Huber; White).

References:
    Berndt, Hall, Hall, Hausman, Estimation and inference in nonlinear structural models, 1974.
    White, Maximum likelihood estimation of misspecified models, Econometrica 50, 1, 1982.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastsim.errors import FastsimError
from fastsim.event import Floats
from fastsim.tuning.information import Directions

Scores = Callable[[Floats, slice], tuple[Floats, Floats]]
"""Gives log p (N,) and scores (N, P), in units of half ranges, of some of the events at a point (P,)."""

MIN_EVENTS = 100
"""Fewest events of a fit: below, the information is not known."""
_EVENTS_FOR_CURVATURE = 2000
_STEP_OF_CURVATURE = 0.05
"""Half range over which scores are compared for H: their noise is that of the same events at both ends."""
_LONGEST = 0.5
_MAX_POINTS = 25
_GAIN = 0.005
"""The fit ends when a step promises a gain of log-likelihood below this: a tenth of a sigma."""


@dataclass(frozen=True)
class Maximum:
    """The maximum of a likelihood, in units of half ranges.

    Attributes:
        point: where it is, (P,).
        covariance: of the point, (P, P).
        directions: those that the data determine, and those that they do not.
        gain: by how much the log-likelihood of all events rose from the start.
        num_points: where it was evaluated.
        converged: whether the last step promised no more gain.
    """

    point: Floats
    covariance: Floats
    directions: Directions
    gain: float
    num_points: int
    converged: bool


def maximise(scores: Scores, num: int, start: Floats, low: Floats, high: Floats) -> Maximum:
    """Find the maximum of the likelihood of N events within bounds.

    Args:
        scores: log p and its derivatives.
        num: number of events, N.
        start: where to start, (P,).
        low: lower bounds, (P,).
        high: upper bounds, (P,).

    Raises:
        FastsimError: if there are fewer than 100 events, or the density of one is not finite.
    """
    if num < MIN_EVENTS:
        raise FastsimError(f"{num} events: a fit needs {MIN_EVENTS} at least")
    everything = slice(0, num)

    def evaluate(point: Floats) -> tuple[float, Floats]:
        value, score = scores(point, everything)
        if not (np.isfinite(value).all() and np.isfinite(score).all()):
            row = int(np.argmin(np.isfinite(value) & np.isfinite(score).all(axis=1)))
            raise FastsimError(f"event {row} of those fitted has no finite density at this point: leave it out")
        return float(value.mean()), score

    point = np.clip(start, low, high)
    value, score = evaluate(point)
    first, num_points, converged = value, 1, False
    while num_points < _MAX_POINTS:
        step = _step(score, num, point, low, high)
        gain = 0.5 * num * float(score.mean(axis=0) @ step)
        if gain < _GAIN:
            converged = True
            break
        for _ in range(8):
            further = np.clip(point + step, low, high)
            new, new_score = evaluate(further)
            num_points += 1
            if new > value or num_points >= _MAX_POINTS:
                break
            step = 0.5 * step
        if new <= value:
            break
        point, value, score = further, new, new_score
    information = score.T @ score / num
    directions = Directions.of(num * information)
    curvature = _curvature(scores, num, point, low, high)
    inside = directions.known.T @ curvature @ directions.known
    if inside.size == 0 or np.linalg.eigvalsh(0.5 * (inside + inside.T)).min() <= 0:
        curvature = information  # too few events to see it bend
    inverse = directions.inverse(0.5 * (curvature + curvature.T))
    covariance = inverse @ information @ inverse / num
    return Maximum(point, covariance, directions, num * (value - first), num_points, converged)


def _step(score: Floats, num: int, point: Floats, low: Floats, high: Floats) -> Floats:
    """Return a step uphill (P,) along the directions that are known, without parameters that press against a bound."""
    slope, information = score.mean(axis=0), score.T @ score / num
    free = np.ones(len(point), dtype=bool)
    step = np.zeros(len(point))
    while free.any():
        step[:] = 0.0
        some = np.ix_(free, free)
        step[free] = Directions.of(num * information[some]).inverse(information[some]) @ slope[free]
        pressed = free & (((point <= low) & (step < 0)) | ((point >= high) & (step > 0)))
        if not pressed.any():
            break
        free &= ~pressed
    step[~free] = 0.0
    return np.asarray(step * min(1.0, _LONGEST / max(float(np.abs(step).max(initial=0.0)), 1e-12)))


def _curvature(scores: Scores, num: int, point: Floats, low: Floats, high: Floats) -> Floats:
    """Return H (P, P) from differences of the mean scores of the first events."""
    some = slice(0, min(num, _EVENTS_FOR_CURVATURE))
    rows = []
    for k in range(len(point)):
        ends = []
        for sign in (1.0, -1.0):
            moved = point.copy()
            moved[k] = np.clip(point[k] + sign * _STEP_OF_CURVATURE, low[k], high[k])
            ends.append((moved[k], scores(moved, some)[1].mean(axis=0)))
        (above, up), (below, down) = ends
        rows.append(-(up - down) / (above - below))
    return np.array(rows)
