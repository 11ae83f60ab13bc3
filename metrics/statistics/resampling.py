r"""Errors and nulls of statistics that depend on sums over events: histograms, moments, profiles.

Real and generated events are dealt at random into blocks of equal size; whatever the statistic needs (bin contents,
sums of x and x^2...) is summed once in every block. A bootstrap then draws blocks with replacement on each side, and
the null relabels the pooled blocks at random: events and all that they carry, correlations and weights of either sign,
stay together, and a resample costs one row of a matrix product however many events there are. Below ``MIN_BLOCKS``
events a block is one event, and both are the ordinary bootstrap and permutation test.

References:
    Efron, Tibshirani 1993, An Introduction to the Bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from metrics.result import MetricResult
from metrics.statistics.permutation import Null

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Statistic = Callable[[Floats, Floats], Floats]
"""Real and generated sums, each (R, K) for R resamples, to a value for each resample, (R,)."""

MIN_BLOCKS = 250
"""Blocks of the smaller sample where there are as many events: an error good to 1/sqrt(2 * 250), or 5%."""
MAX_BLOCKS = 4000
"""Blocks of both samples together, whatever their ratio."""


@dataclass(frozen=True)
class Draws:
    """A statistic of two samples: its ``value``, and its values in ``bootstrap`` resamples and relabellings."""

    value: float
    bootstrap: Floats
    null: Null

    @staticmethod
    def mean(parts: Sequence[Draws]) -> Draws:
        """Average several statistics, with their correlations: they must share a :class:`Resampling`."""
        return Draws(
            float(np.mean([p.value for p in parts])),
            np.mean([p.bootstrap for p in parts], axis=0),
            Null(np.mean([p.null.draws for p in parts], axis=0)),
        )

    @staticmethod
    def largest(parts: Sequence[Draws]) -> Draws:
        """Take the largest of several statistics, in every resample too; they must share a :class:`Resampling`."""
        return Draws(
            max(p.value for p in parts),
            np.max([p.bootstrap for p in parts], axis=0),
            Null(np.max([p.null.draws for p in parts], axis=0)),
        )


class Resampling:
    """Blocks of two samples, and what resamples are made of.

    Args:
        num_real, num_generated: events.
        num_bootstrap, num_permutations: resamples for the error, and for the null.
        seed: of all that is drawn.

    Raises:
        ValueError: if a sample has fewer than 2 events, or there are fewer than 2 resamples.
    """

    def __init__(
        self,
        num_real: int,
        num_generated: int,
        *,
        num_bootstrap: int = 100,
        num_permutations: int = 200,
        seed: int = 0,
    ) -> None:
        if min(num_real, num_generated) < 2:
            raise ValueError(f"a comparison needs at least 2 events a sample, got {num_real} and {num_generated}")
        if min(num_bootstrap, num_permutations) < 2:
            raise ValueError(
                f"num_bootstrap is {num_bootstrap} and num_permutations {num_permutations}, must be at least 2"
            )
        rng = np.random.default_rng(seed)
        self.sizes, self.seed = (num_real, num_generated), seed
        block = max(1, min(self.sizes) // MIN_BLOCKS, -(-sum(self.sizes) // MAX_BLOCKS))
        self.num_blocks = tuple(max(2, n // block) for n in self.sizes)
        self.blocks: tuple[Ints, ...] = tuple(
            rng.permutation(np.arange(n) % count) for n, count in zip(self.sizes, self.num_blocks, strict=True)
        )
        self._times = tuple(
            rng.multinomial(count, np.full(count, 1.0 / count), size=num_bootstrap).astype(np.float64)
            for count in self.num_blocks
        )
        is_real = np.arange(sum(self.num_blocks)) < self.num_blocks[0]
        self._labels = rng.permuted(np.tile(is_real, (num_permutations, 1)), axis=1).astype(np.float64)

    def members(self, side: int) -> list[Ints]:
        """List the events of each block of side 0 (real) or 1 (generated)."""
        order = np.argsort(self.blocks[side], kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.blocks[side]))[:-1])

    def sums(self, side: int, values: NDArray[Any]) -> Floats:
        """Sum values (N, K) of side 0 (real) or 1 (generated) over the events of each block, (blocks, K).

        Args:
            side: 0 for real, 1 for generated events.
            values: of the events of that side, (N, K).
        """
        return np.stack([values[rows].sum(axis=0, dtype=np.float64) for rows in self.members(side)])

    def draws(self, real: Floats, generated: Floats, statistic: Statistic) -> Draws:
        """Compute a statistic of the whole samples, of bootstrap resamples, and of relabellings.

        Args:
            real, generated: sums over the events of each block, (blocks, K).
            statistic: of the sums of some blocks.

        Returns:
            Its value in each.

        Raises:
            ValueError: if a value is not finite.
        """
        pooled = np.concatenate([real, generated])
        as_real = self._labels @ pooled
        value = statistic(real.sum(axis=0)[None], generated.sum(axis=0)[None])
        bootstrap = statistic(self._times[0] @ real, self._times[1] @ generated)
        null = statistic(as_real, pooled.sum(axis=0) - as_real)
        if not all(np.isfinite(x).all() for x in (value, bootstrap, null)):
            raise ValueError("a resample leaves the statistic undefined: too few events, or too many negative weights")
        return Draws(float(value[0]), bootstrap, Null(null))

    def result(self, name: str, draws: Draws, worse: Literal["high", "low", "both"] = "high") -> MetricResult:
        """Make the result of a statistic: value, error, null and p-value.

        Args:
            name: of the result.
            draws: values of the statistic.
            worse: on which side of the null worse samples lie.
        """
        return MetricResult(
            name,
            draws.value,
            float(np.std(draws.bootstrap, ddof=1)),
            draws.null.mean,
            draws.null.std,
            *self.sizes,
            self.seed,
            draws.null.p_value(draws.value, worse=worse),
            worse,
        )
