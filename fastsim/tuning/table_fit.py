"""The binned fit: the parameters whose predictions are nearest to measured tables.

At a point theta the model is sampled. Its predictions g_b are means over events, and likelihood ratios give their
derivatives from the same events: with u_ib the influence of event i on g_b, and s_i its score d log p(x_i) / d theta,

    A = d g / d theta = mean(u s^T),    F = mean(s s^T)

so that one sample gives predictions, Jacobian A (B, P) and Fisher information F (P, P) of an event. A Gauss-Newton step
minimises

    chi2 = sum_b w_b (g_b + (A delta)_b - d_b)^2 / (sigma_b^2 + e_b^2)    where    delta^T F delta <= radius^2

Weights of events for theta + delta would leave exp(-delta^T F delta) of the sample: the trust region is where the
linear prediction is one that reweighting could make. Then the model is sampled anew; Jacobians of points within half
that distance are averaged. There is no interpolation of
predictions between fixed points, as in Professor or Apprentice, and so no number of points that grows with that of the
parameters.

References:
    Buckley, Hoeth, Lacker, Schulz, von Seggern, Systematic event generator tuning for the LHC, 2009, arXiv:0907.2973
    (chi2 with weights of observables). Krishnamoorthy et al., Apprentice for event generator tuning, 2021,
    arXiv:2103.05748. Glynn, Likelihood ratio gradient estimation for stochastic systems, 1990.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fastsim.event import Floats
from fastsim.tuning.information import Directions

RADIUS = 1.0
"""Of the first trust region: 37% of a sample would be left."""
_LEAST_RADIUS = 0.05
_ENOUGH = 0.1
"""The fit ends when a step, squared, is shorter than this in units of its uncertainty for each parameter, beside what
two samples differ by."""
_OF_NOISE = 4.0
"""How far that is, in units of the variance of a step from the noise of its sample: twice what is expected."""
_NEAR = 0.5
"""Distance of points whose Jacobians are averaged, in the metric of F: 78% of a sample would be left."""


@dataclass(frozen=True)
class Prediction:
    """What one sample of N events says of B bins and their derivatives by P parameters, in units of half ranges.

    Attributes:
        value: (B,).
        error: statistical, (B,).
        jacobian: A, (B, P).
        noise: sum over events of what the jacobian's noise adds to A^T diag(v) A, for weights v of bins: a function of
            v (B,) that returns (P, P).
        fisher: F, (P, P).
    """

    value: Floats
    error: Floats
    jacobian: Floats
    noise: Callable[[Floats], Floats]
    fisher: Floats

    @classmethod
    def of(cls, value: Floats, influence: Floats, scores: Floats) -> Prediction:
        """Compute predictions from events.

        Args:
            value: of the bins, (B,).
            influence: of N events on them, (N, B).
            scores: of M of the events, the first ones, (M, P).
        """
        num, size = len(scores), scores.shape[1]
        centred = scores - scores.mean(axis=0)  # the mean is noise: that of the density is zero
        some = influence[:num]
        jacobian = some.T @ centred / num
        error = influence.std(axis=0) / np.sqrt(len(influence))
        products = (centred[:, :, None] * centred[:, None, :]).reshape(num, size * size)
        squares = (some**2).T @ products / num
        noise_of_bins = (squares - np.einsum("bj,bk->bjk", jacobian, jacobian).reshape(-1, size * size)) / num

        def noise(weights: Floats) -> Floats:
            return np.asarray((weights @ noise_of_bins).reshape(size, size))

        return cls(value, error, jacobian, noise, centred.T @ centred / num)

    def information(self, weights: Floats) -> Floats:
        """Return A^T diag(weights) A, (P, P), for weights of the bins (B,), without what noise adds to it."""
        return np.asarray(self.jacobian.T @ (weights[:, None] * self.jacobian) - self.noise(weights))


def _pooled(found: Prediction, point: Floats, seen: Sequence[tuple[Floats, Prediction]]) -> Prediction:
    """Return a prediction with the mean of the Jacobians of all points that are near: it has less noise."""
    near = [p for x, p in seen if (x - point) @ found.fisher @ (x - point) <= _NEAR**2]

    def noise(weights: Floats) -> Floats:
        return np.asarray(sum(p.noise(weights) for p in near) / len(near) ** 2)

    return replace(found, jacobian=np.mean([p.jacobian for p in near], axis=0), noise=noise)


@dataclass(frozen=True)
class Minimum:
    """The minimum of a chi2, in units of half ranges.

    Attributes:
        point: where it is, (P,).
        covariance: of the point, (P, P).
        directions: those that the tables determine, and those that they do not.
        num_points: where the model was sampled.
        converged: whether the last step was short.
    """

    point: Floats
    covariance: Floats
    directions: Directions
    num_points: int
    converged: bool


def minimise(
    predict: Callable[[Floats, int], Prediction],
    data: Floats,
    sigma: Floats,
    weights: Floats,
    start: Floats,
    low: Floats,
    high: Floats,
    *,
    max_points: int,
) -> Minimum:
    """Find the minimum of chi2 within bounds.

    Args:
        predict: samples the model at a point (P,); the second argument numbers the samples.
        data: measured, (B,).
        sigma: errors of the data, (B,).
        weights: w of the bins, (B,).
        start: where to start, (P,).
        low: lower bounds, (P,).
        high: upper bounds, (P,).
        max_points: samples at most.
    """
    point, radius = np.clip(start, low, high), RADIUS
    sample, num_points, converged = predict(point, 0), 1, False
    seen = [(point, sample)]
    while True:
        found = _pooled(sample, point, seen)
        precision = 1 / (sigma**2 + found.error**2)
        # weights say what a tuner cares for: they are no information
        information = found.information(precision)
        directions = Directions.of(information)
        normal = _positive(found.information(weights * precision))
        if num_points >= max_points or radius < _LEAST_RADIUS:
            break
        slope = found.jacobian.T @ (weights * precision * (data - found.value))
        step = _bounded_step(normal, slope, found.fisher, directions, point, low, high, radius)
        further = np.clip(point + step, low, high)
        # variance of a step from the noise of its sample, in units of the uncertainty
        of_noise = directions.inverse(information) @ found.information(precision**2 * found.error**2)
        if float(step @ information @ step) < _ENOUGH * len(step) + _OF_NOISE * max(float(np.trace(of_noise)), 0.0):
            point, converged = further, True
            break
        new = predict(further, num_points)
        seen.append((further, new))
        num_points += 1
        if _chi2(new, data, sigma, weights) > _chi2(found, data, sigma, weights) + 2 * np.sqrt(2 * len(data)):
            radius *= 0.5  # worse than noise can make it: the linear prediction did not reach so far
        else:
            point, sample = further, new
    inverse = directions.inverse(normal)
    covariance = inverse @ _positive(found.information(weights**2 * precision)) @ inverse
    return Minimum(point, covariance, directions, num_points, converged)


def _chi2(found: Prediction, data: Floats, sigma: Floats, weights: Floats) -> float:
    return float(np.sum(weights * (found.value - data) ** 2 / (sigma**2 + found.error**2)))


def _positive(matrix: Floats) -> Floats:
    """Return a symmetric matrix without its negative part, which noise makes."""
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T)


def _root(matrix: Floats) -> Floats:
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    return np.asarray(np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T)


def _bounded_step(
    normal: Floats,
    slope: Floats,
    fisher: Floats,
    directions: Directions,
    point: Floats,
    low: Floats,
    high: Floats,
    radius: float,
) -> Floats:
    """Return the step (P,) that minimises chi2 within bounds and trust region, along the directions that are known."""
    from scipy.optimize import lsq_linear

    project = directions.known @ directions.known.T
    normal, slope = project @ normal @ project, project @ slope
    if not directions.known.size:
        return np.zeros(len(point))
    of_fisher, size = _root(fisher), len(point)

    def solve(damping: float) -> Floats:
        # min |R x - c|^2 with R^T R = normal + damping F, R^T c = slope; unknown directions are held at zero
        matrix = _positive(normal + damping * fisher) + 1e6 * (np.eye(size) - project)
        root = np.linalg.cholesky(matrix + 1e-9 * np.trace(matrix) / size * np.eye(size)).T
        target = np.linalg.solve(root.T, slope)
        margin = 1e-9
        return np.asarray(lsq_linear(root, target, (low - point - margin, high - point + margin)).x)

    step, damping = solve(0.0), 0.0
    lowest, highest = 0.0, 1e-3 * max(float(np.trace(normal)), 1e-12)
    while np.linalg.norm(of_fisher @ solve(highest)) > radius:
        highest *= 4
        if highest > 1e15:
            break
    if np.linalg.norm(of_fisher @ step) > radius:
        for _ in range(40):
            damping = 0.5 * (lowest + highest)
            step = solve(damping)
            if np.linalg.norm(of_fisher @ step) > radius:
                lowest = damping
            else:
                highest = damping
        step = solve(highest)
    return step
