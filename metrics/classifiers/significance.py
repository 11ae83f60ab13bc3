r"""The significance improvement of a cut on a score: by how much S / sqrt(B) grows.

A cut that keeps the share eps_S of the signal and eps_B of the background turns a significance S / sqrt(B) into
SIC = eps_S / sqrt(eps_B) times it. A score that knows nothing has eps_S = eps_B, and SIC = sqrt(eps_B) <= 1.

References:
    Gallicchio, Huth, Kagan, Schwartz, Black, Tweedie 2010, arXiv:1010.3698 (significance improvement).
    Kasieczka et al. 2021, arXiv:2101.08320 (LHC Olympics: its use for anomalies).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsim.errors import InvalidValue
from metrics.arrays import as_array

Floats = NDArray[np.float64]

MIN_PASSED = 10
"""Background events that the tightest cut keeps: with fewer, sqrt(eps_B) is known to worse than 16%."""


@dataclass(frozen=True)
class SignificanceImprovement:
    """The significance improvement of K cuts on a score.

    Attributes:
        background_efficiency: eps_B, falling, (K,).
        signal_efficiency: eps_S of the same cuts, (K,).
        value: eps_S / sqrt(eps_B), (K,).
        error: one standard deviation of it, by bootstrap over signal and background events, (K,).
    """

    background_efficiency: Floats
    signal_efficiency: Floats
    value: Floats
    error: Floats

    @property
    def null(self) -> Floats:
        """The significance improvement of a score that knows nothing, (K,)."""
        return np.sqrt(self.background_efficiency)

    @property
    def best(self) -> int:
        """The place of the largest value; since it was chosen, that is above what the same cut gives elsewhere."""
        return int(np.argmax(self.value))


def significance_improvement(
    signal: ArrayLike,
    background: ArrayLike,
    background_efficiency: ArrayLike | None = None,
    *,
    num_bootstrap: int = 100,
    seed: int = 0,
) -> SignificanceImprovement:
    """Compute the significance improvement of cuts at given background efficiencies.

    Equal scores are kept in equal shares, as if ties were broken at random.

    Args:
        signal: scores of signal events, (N,); signal has the larger ones.
        background: scores of background events, (N',).
        background_efficiency: eps_B of the cuts, each in (0, 1]; by default 60 from 1 to where 10 events are left.
        num_bootstrap: resamples of both samples, for the error.
        seed: of the resamples.

    Raises:
        InvalidValue: if there are no events, a score is not finite, or an efficiency is outside of (0, 1] or keeps
            fewer than one background event.
    """
    scores = [as_array(x, name, 1).astype(np.float64) for name, x in (("signal", signal), ("background", background))]
    for name, values in zip(("signal", "background"), scores, strict=True):
        if not len(values):
            raise InvalidValue(f"{name}: no events")
        if (bad := np.flatnonzero(~np.isfinite(values))).size:
            raise InvalidValue(f"{name}: score of event {bad[0]} is {values[bad[0]]}: give finite scores")
    least = min(1.0, MIN_PASSED / len(scores[1]))
    if background_efficiency is None:
        cuts = np.geomspace(1.0, least, 60)
    else:
        cuts = np.sort(as_array(background_efficiency, "background_efficiency", 1).astype(np.float64))[::-1]
    if (bad := np.flatnonzero(~((cuts * len(scores[1]) >= 1.0 - 1e-9) & (cuts <= 1.0)))).size:
        raise InvalidValue(
            f"background_efficiency: {cuts[bad[0]]:g}: must be at most 1 and keep at least one of "
            f"{len(scores[1])} background events"
        )
    kept = _signal_efficiency(scores[0], scores[1], cuts)
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(num_bootstrap):
        some = [values[rng.integers(len(values), size=len(values))] for values in scores]
        draws.append(_signal_efficiency(some[0], some[1], cuts))
    error = np.std(draws, axis=0, ddof=1) / np.sqrt(cuts)
    return SignificanceImprovement(cuts, kept, kept / np.sqrt(cuts), error)


def _signal_efficiency(signal: Floats, background: Floats, cuts: Floats) -> Floats:
    """Compute the share of the signal above the scores that shares ``cuts`` (K,) of the background are above, (K,)."""
    levels, place = np.unique(np.concatenate([signal, background]), return_inverse=True)
    curve = []
    for rows in (place[: len(signal)], place[len(signal) :]):
        passed = np.cumsum(np.bincount(rows, minlength=len(levels))[::-1])
        curve.append(np.concatenate([[0.0], passed / len(rows)]))
    eps_s, eps_b = curve
    # of cuts that keep equally much background the loosest keeps the most signal
    last = np.append(eps_b[1:] > eps_b[:-1], True)
    return np.interp(cuts, eps_b[last], eps_s[last])
