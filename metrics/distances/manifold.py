r"""Precision, recall, density and coverage: do generated events lie where real ones do, and the other way round?

Each sample's support is estimated by balls B(x) about its N (or M) events x, whose radius is the distance to the
k-th nearest event of the same sample. With real events r and generated events g,

    precision = share of g inside some B(r)         density  = sum over g of the number of B(r) about it, / (k M)
    recall    = share of r inside some B(g)         coverage = share of r whose B(r) holds some g

Lower is worse for all four. Between equal distributions E[density] = 1 and
E[coverage] = 1 - (N - 1) ... (N - k) / ((N + M - 1) ... (N + M - k)), whatever the distribution; precision and recall
depend on it and on N, so a value means something only with its null. Precision and recall above their null say that
one support is wider: a single far event has a wide ball. All four above their null say that generated events are
closer to real ones than real ones are to each other: copies.

The samples are pooled and every event's nearest neighbours found once; values, and any relabelling of the events as
real or generated, follow from these lists. The errors are from disjoint halves of both samples, for which the lists
serve too. A bootstrap would put duplicates at distance 0 of each other, and a jackknife over single events
overestimates the errors of nearest-neighbour statistics.

References:
    Kynkaanniemi et al. 2019, arXiv:1904.06991 (precision and recall). Naeem et al. 2020, arXiv:2002.09797 (density and
    coverage, and their expectations).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.arrays import array_arguments
from metrics.distances.frechet import check_features
from metrics.result import MetricResult
from metrics.statistics.permutation import Null, relabellings, split_error

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NAMES = ("precision", "recall", "density", "coverage")
MAX_RATIO = 10
"""The larger sample is cut to this many times the smaller one: more adds little, and lengthens the lists."""
JITTER = 1e-6
"""Standard deviation of a smearing of the standardised features: it breaks ties, such as empty showers, at random."""
FAR = 1e4
"""Features are cut at this many standard deviations, which no sample of fewer than 10^8 events reaches itself."""
NUM_SPLITS = 8
"""Random splits into halves, for the errors: 0.8 to 1.3 of the true spread for Gaussians of 2 to 20 features."""
_PAIRS = 2**22


@array_arguments(real=2, generated=2, real_weights=1, generated_weights=1)
def prdc(
    real: NDArray[Any],
    generated: NDArray[Any],
    *,
    real_weights: NDArray[Any] | None = None,
    generated_weights: NDArray[Any] | None = None,
    k: int = 5,
    max_events: int = 10_000,
    num_permutations: int = 99,
    seed: int = 0,
) -> dict[str, MetricResult]:
    """Compute precision, recall, density and coverage of two feature samples.

    Features are centred and scaled by mean and standard deviation of the real sample; one that is constant there
    keeps its unit, so that generated events which leave it are seen.

    Args:
        real, generated: features, shapes (N, D) and (N', D).
        real_weights, generated_weights: event weights (N,) and (N',), which have to be equal: see `check_unweighted`.
        k: neighbours that make a ball.
        max_events: of a sample, drawn at random without replacement from larger ones.
        num_permutations: relabellings for the null and the p-value, which is one-sided: the probability of values
            as low as these between equal samples.
        seed: of everything drawn.

    Returns:
        Results by name; ``num_real`` and ``num_generated`` are the events used, and ``sigmas`` is negative where
        generated events are worse than real ones.

    Raises:
        ValueError: if the features do not fit, hold NaN or infinity, a sample has fewer than 4 k events, or events
            have different weights.

    >>> rng = np.random.default_rng(0)
    >>> narrow = prdc(rng.normal(size=(500, 2)), 0.3 * rng.normal(size=(500, 2)))
    >>> narrow["precision"].value > 0.95, narrow["recall"].value < 0.5, narrow["recall"].p_value
    (True, True, 0.01)
    """
    if k < 1:
        raise ValueError(f"k is {k}: balls need at least 1 neighbour")
    check_features("precision and recall", real, generated, 4 * k)
    check_unweighted("precision and recall", real_weights, generated_weights)
    rng = np.random.default_rng(seed)
    num = min(max_events, MAX_RATIO * min(len(real), len(generated)))
    if num < 4 * k:
        raise ValueError(f"max_events is {max_events}: {k} neighbours need at least {4 * k} events")
    sides = [x[rng.permutation(len(x))[:num]].astype(np.float64) for x in _standardised(real, generated)]
    num_real, num_generated = len(sides[0]), len(sides[1])
    points = np.concatenate(sides)
    points += JITTER * rng.standard_normal(points.shape)
    pooled = _Neighbours.of(points, k, min(num_real, num_generated))
    is_real = np.arange(len(points)) < num_real
    values = pooled.values(is_real, ~is_real)

    def values_of_halves(real_rows: Ints, generated_rows: Ints) -> Floats:
        every = np.arange(len(points))
        return pooled.values(np.isin(every, real_rows), np.isin(every, num_real + generated_rows))

    errors = split_error(values_of_halves, num_real, num_generated, num_batches=2, num_repeats=NUM_SPLITS, rng=rng)
    labels = relabellings(num_real, num_generated, num_permutations=num_permutations, rng=rng)
    draws = np.array([pooled.values(chosen, ~chosen) for chosen in labels])
    results = {}
    for name, value, error, column in zip(NAMES, values, errors, draws.T, strict=True):
        null = Null(column)
        p_value = null.p_value(value, worse="low")
        results[name] = MetricResult(
            name, float(value), float(error), null.mean, null.std, num_real, num_generated, seed, p_value, "low"
        )
    return results


def check_unweighted(metric: str, *weights: NDArray[Any] | None) -> None:
    """Check that events have equal weights: a nearest neighbour has no meaning for parts of an event.

    Args:
        metric: name of the metric, for the message.
        weights: weights of each sample, (N,), or None.

    Raises:
        ValueError: if weights of a sample differ or are not positive.
    """
    for given in weights:
        if given is not None and (np.ptp(given) != 0 or not given[0] > 0):
            raise ValueError(
                f"weights from {np.min(given):g} to {np.max(given):g}: {metric} counts nearest neighbours, which needs "
                "events of equal weight: unweight them before"
            )


def _standardised(real: NDArray[Any], generated: NDArray[Any]) -> list[Floats]:
    """Centre and scale both samples by mean and standard deviation of the real one."""
    mean, std = real.mean(axis=0, dtype=np.float64), real.std(axis=0, dtype=np.float64)
    # the standard deviation of equal numbers is not always exactly 0
    scale = np.where((np.ptp(real, axis=0) > 0) & (std > 0), std, 1.0)
    return [np.clip((x - mean) / scale, -FAR, FAR) for x in (real, generated)]


@dataclass(frozen=True)
class _Neighbours:
    """The nearest neighbours of P pooled ``points`` (P, D), nearest first: ``index`` (P, L).

    ``norm`` (P,) holds the squares |x|^2 of the points.
    """

    points: Floats
    norm: Floats
    index: Ints
    k: int

    @classmethod
    def of(cls, points: Floats, k: int, fewest: int) -> _Neighbours:
        """Find each point's nearest neighbours.

        The lists hold k neighbours of the same side for all but about one in 10^4 points, if the side of ``fewest``
        points is chosen at random.

        Args:
            points: shape (P, D).
            k: neighbours of the same side that make a ball.
            fewest: points of the smaller side.
        """
        length = min(int(np.ceil((k + 4.0 * np.sqrt(k) + 4.0) * len(points) / fewest)), len(points) - 1)
        width = max(1, len(points) // (4 * length))
        single = points.astype(np.float32)
        minus_twice, norm = -2.0 * single, np.einsum("ij,ij->i", single, single)
        index = np.empty((len(points), length), dtype=np.int64)
        for rows in _chunks(np.arange(len(points)), len(points)):
            near = single[rows] @ minus_twice.T
            near += norm
            near[np.arange(len(rows)), rows] = np.inf
            # the smallest of each of at least 4 L sets of points: the L-th of these bounds the L-th of all, closely
            sets = near[:, : len(points) // width * width].reshape(len(rows), width, -1).min(axis=1)
            bound = np.partition(sets, length - 1, axis=1)[:, length - 1]
            for row, distances, farthest in zip(rows, near, bound, strict=True):
                # single precision finds the candidates, double precision orders them
                candidates = np.flatnonzero(distances <= farthest)
                difference = points[candidates] - points[row]
                exact = np.einsum("ij,ij->i", difference, difference)
                order = np.argsort(exact)[:length]
                index[row] = candidates[order]
        return cls(points, np.einsum("ij,ij->i", points, points), index, k)

    def values(self, real: Bools, generated: Bools) -> Floats:
        """Compute precision, recall, density and coverage if these points (P,) are the samples, shape (4,)."""
        inside, num_inside = self._balls(real, generated)
        density = num_inside[real].sum() / (self.k * np.count_nonzero(generated))
        return np.array([inside[generated].mean(), inside[real].mean(), density, np.mean(num_inside[real] > 0)])

    def _balls(self, real: Bools, generated: Bools) -> tuple[Bools, Ints]:
        """Find which points lie in a ball of the other side, and how many of the other side each point's ball holds.

        Args:
            real, generated: which points are on either side, (P,) each; a point may be on neither.

        Returns:
            Whether a point lies in some ball of the other side, and how many points of the other side its own ball
            holds, (P,) each.
        """
        inside, num_inside = np.zeros(len(real), dtype=np.bool_), np.zeros(len(real), dtype=np.int64)
        side = np.where(real, 1, np.where(generated, -1, 0)).astype(np.int8)
        rows = np.flatnonzero(side)
        listed = side[self.index[rows]] * side[rows, None]
        rank = np.cumsum(listed > 0, axis=1, dtype=np.int16)
        complete = rank[:, -1] >= self.k
        # a ball ends at the k-th neighbour of the same side: what comes before it is inside
        within = (listed < 0) & (rank < self.k) & complete[:, None]
        inside[self.index[rows][within]] = True
        num_inside[rows] = np.count_nonzero(within, axis=1)
        for some in _chunks(rows[~complete], len(side)):
            # too many of the other side are closer for the lists: these balls are computed in full
            near = self.norm - 2.0 * (self.points[some] @ self.points.T)
            near[np.arange(len(some)), some] = np.inf
            relation = side * side[some, None]
            radius = np.partition(np.where(relation > 0, near, np.inf), self.k - 1, axis=1)[:, self.k - 1]
            within = (relation < 0) & (near <= radius[:, None])
            inside |= within.any(axis=0)
            num_inside[some] = np.count_nonzero(within, axis=1)
        return inside, num_inside


def _chunks(rows: Ints, width: int) -> list[Ints]:
    """Cut rows so that a matrix of a chunk by ``width`` stays bounded."""
    return np.array_split(rows, -(-len(rows) * width // _PAIRS)) if len(rows) else []
