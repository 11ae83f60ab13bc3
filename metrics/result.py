"""What a metric answers with: a value, its error, and what equal samples would have given."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True)
class MetricResult:
    """One metric of a generated sample against a real one.

    Attributes:
        name: of the metric.
        value: in the metric's own units.
        error: one standard deviation of ``value``.
        null_value: mean of the metric between samples of these sizes that are equal in distribution.
        null_error: its standard deviation between them.
        num_real: real events.
        num_generated: generated events.
        seed: seed of everything drawn.
        p_value: probability of a value at least as bad between equal samples, where a permutation test gives it.
        worse: on which side of the null worse samples lie; "both" for ratios and other values with a sign.

    >>> MetricResult("fpd", 5e-4, 1e-4, 0.0, 2e-4, 1000, 1000, 0).sigmas
    2.5
    """

    name: str
    value: float
    error: float
    null_value: float
    null_error: float
    num_real: int
    num_generated: int
    seed: int
    p_value: float | None = None
    worse: Literal["high", "low", "both"] = "high"

    @property
    def sigmas(self) -> float:
        """(value - null_value) / null_error: how unlike equal samples, in null standard deviations."""
        excess = self.value - self.null_value
        if self.null_error > 0:
            return excess / self.null_error
        return float(np.sign(excess)) * np.inf if excess else 0.0

    @property
    def excess(self) -> float:
        """``sigmas``, positive where the sample is worse than equal samples."""
        if self.worse == "both":
            return abs(self.sigmas)
        return self.sigmas if self.worse == "high" else -self.sigmas

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON; what is not finite is None."""
        values = asdict(self)
        return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in values.items()}

    def __str__(self) -> str:
        return (
            f"{self.name} {self.value:.4g} ± {self.error:.2g} (null {self.null_value:.4g} ± {self.null_error:.2g}, "
            f"{self.sigmas:+.1f} sigma)"
        )
