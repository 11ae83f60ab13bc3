"""The result of a fit of parameters: values, covariance, agreement before and after, flags; as text and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Floats

EDGE = 0.02
"""Share of its range within which a parameter is at the edge of it."""


@dataclass(frozen=True)
class Parameter:
    """A parameter that is fitted: its name, and where the fit starts and may go."""

    name: str
    start: float
    low: float
    high: float

    @property
    def scale(self) -> float:
        """Half of the range: fits go in units of it."""
        return 0.5 * (self.high - self.low)


@dataclass(frozen=True)
class Comparison:
    """An observable, measured and predicted at the start and at the result of a fit.

    Attributes:
        name: of the observable, or its path.
        what: the quantity.
        low, high: edges of the bins, (B,) each; empty for a mean.
        data, error: what was measured, (B,) each.
        before, before_error: prediction at the start with its statistical error, (B,) each.
        after, after_error: prediction at the result, (B,) each.
        weight: of the observable in the fit.
    """

    name: str
    what: str
    low: Floats
    high: Floats
    data: Floats
    error: Floats
    before: Floats
    before_error: Floats
    after: Floats
    after_error: Floats
    weight: float = 1.0

    def pulls(self, *, after: bool) -> Floats:
        """Return (prediction - data) / error of the bins, (B,): 0 where there is no error."""
        value, own = (self.after, self.after_error) if after else (self.before, self.before_error)
        spread = np.hypot(self.error, own)
        return np.asarray(np.where(spread > 0, (value - self.data) / np.where(spread > 0, spread, 1.0), 0.0))

    def chi2(self, *, after: bool) -> float:
        """Return the sum of the squared pulls."""
        return float(np.sum(self.pulls(after=after) ** 2))


@dataclass(frozen=True)
class FitResult:
    """What a fit of parameters found.

    Attributes:
        kind: "likelihood" or "tables".
        parameters: what was fitted.
        values: fitted values, (P,).
        covariance: of the values, (P, P); infinite variances for directions that the data do not determine.
        comparisons: observables before and after.
        chi2: of the comparisons, "before" and "after", and "bins", their number; a p-value as "p" where there is one.
        flags: what a reader must know: parameters at an edge, directions without information, no convergence.
        iterations: points at which the fit evaluated the model.
        num_events: events that were fitted, or made at each point.
        seconds: processor time.
        provenance: named texts: model, data.
    """

    kind: str
    parameters: tuple[Parameter, ...]
    values: Floats
    covariance: Floats
    comparisons: tuple[Comparison, ...]
    chi2: Mapping[str, float]
    flags: tuple[str, ...]
    iterations: int
    num_events: int
    seconds: float
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def errors(self) -> Floats:
        """Uncertainties of the values, (P,)."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    @property
    def correlation(self) -> Floats:
        """Correlations of the values, (P, P): 0 beside the diagonal where an uncertainty is infinite."""
        errors = self.errors
        known = np.isfinite(errors) & (errors > 0)
        both = known[:, None] & known[None, :]
        product = np.where(both, np.outer(np.where(known, errors, 1.0), np.where(known, errors, 1.0)), 1.0)
        result = np.where(both, np.where(both, self.covariance, 0.0) / product, 0.0)
        np.fill_diagonal(result, 1.0)
        return np.asarray(result)

    @property
    def tune(self) -> str:
        """The result as a text that ``--tune`` takes."""
        return " ".join(f"{p.name}={value:.5g}" for p, value in zip(self.parameters, self.values, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return all as JSON values; numbers that are not finite are None."""

        def plain(value: Any) -> Any:
            if isinstance(value, np.ndarray):
                return plain(value.tolist())
            if isinstance(value, list | tuple):
                return [plain(item) for item in value]
            if isinstance(value, Mapping):
                return {key: plain(item) for key, item in value.items()}
            return None if isinstance(value, float) and not np.isfinite(value) else value

        fields = asdict(self) | {"errors": self.errors, "correlation": self.correlation, "tune": self.tune}
        fields["provenance"] = dict(self.provenance)
        return {str(key): plain(value) for key, value in fields.items()}

    def __str__(self) -> str:
        """Return the table that the command prints."""
        lines = [f"{'parameter':<12}{'start':>10}{'fitted':>12}{'+-':>11}{'range':>18}"]
        for p, value, error in zip(self.parameters, self.values, self.errors, strict=True):
            bounds = f"{p.low:g} .. {p.high:g}"
            lines.append(f"{p.name:<12}{p.start:>10.5g}{value:>12.5g}{error:>11.2g}{bounds:>18}")
        lines.append("")
        if len(self.parameters) > 1:
            names = [p.name for p in self.parameters]
            lines.append(f"{'correlation':<12}" + "".join(f"{name:>9}" for name in names))
            for name, row in zip(names, self.correlation, strict=True):
                lines.append(f"{name:<12}" + "".join(f"{value:>9.2f}" for value in row))
            lines.append("")
        width = max([len(c.what) for c in self.comparisons] + [10]) + 2
        lines.append(f"{'observable':<{width}}{'bins':>6}{'chi2 before':>13}{'after':>10}")
        for c in self.comparisons:
            chi2 = c.chi2(after=False), c.chi2(after=True)
            lines.append(f"{c.what:<{width}}{len(c.data):>6}{chi2[0]:>13.1f}{chi2[1]:>10.1f}")
        total = f"{self.chi2['bins']:>6.0f}{self.chi2['before']:>13.1f}{self.chi2['after']:>10.1f}"
        lines.append(f"{'all':<{width}}{total}")
        if "p" in self.chi2:
            lines.append(f"goodness of fit: p = {self.chi2['p']:.2g}")
        lines += [f"flag: {flag}" for flag in self.flags]
        lines.append(f"{self.kind}: {self.num_events:,} events, {self.iterations} points, {self.seconds:.0f} s")
        return "\n".join(lines)


def edge_flags(parameters: tuple[Parameter, ...], values: Floats, errors: Floats) -> list[str]:
    """Return a flag for each parameter that is at an edge of its range, or is not known better than its range."""
    flags = []
    for p, value, error in zip(parameters, values, errors, strict=True):
        near = EDGE * (p.high - p.low)
        if value - p.low < near or p.high - value < near:
            side = "lower" if value - p.low < near else "upper"
            flags.append(
                f"{p.name} is at the {side} edge of its range ({p.low:g} .. {p.high:g}): its uncertainty is no interval"
            )
        if np.isfinite(error) and error > p.scale:
            flags.append(f"{p.name} is known no better than its range")
    return flags


def direction_flag(parameters: tuple[Parameter, ...], direction: NDArray[np.float64]) -> str:
    """Return the flag for a direction, of unit length in units of half ranges, that the data do not determine."""
    terms = [f"{x:+.2f} {p.name}/{p.scale:.3g}" for p, x in zip(parameters, direction, strict=True) if abs(x) > 0.1]
    return f"degenerate direction, which stays at its start: {' '.join(terms)}"
