"""Figures of merit of several ways to train one pipeline, each with several seeds, as a table and as a picture."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Point:
    """What came of one way to train, with several seeds on the same events.

    Attributes:
        label: the way.
        values: the figure of merit on the test events, one a seed.
        test_error: mean of the standard errors that the test events leave, common to all ways; NaN if not known.
        place: on the horizontal axis; None for a way that stands beside it.
        parameters: numbers that were trained; None if not known.

    >>> point = Point("latent", (0.62, 0.64), 0.01)
    >>> round(point.mean, 3), round(point.error, 3)
    (0.63, 0.01)
    """

    label: str
    values: tuple[float, ...]
    test_error: float
    place: float | None = None
    parameters: int | None = None

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def error(self) -> float:
        """The standard error of the mean, from the spread of the seeds; NaN for a single one."""
        return statistics.stdev(self.values) / math.sqrt(len(self.values)) if len(self.values) > 1 else math.nan


def difference(one: Point, other: Point) -> tuple[float, float]:
    """Compute the mean difference of two points seed by seed, on the same events, and its standard error."""
    pairs = [a - b for a, b in zip(one.values, other.values, strict=True)]
    return statistics.fmean(pairs), Point("", tuple(pairs), math.nan).error


def table(points: Sequence[Point], figure: str) -> list[str]:
    """Return lines with the points in their order, and how far each is from the first.

    Args:
        points: the points.
        figure: name of the figure of merit.
    """
    width = max(len("way"), *(len(point.label) for point in points))
    counted = any(point.parameters is not None for point in points)
    numbers = f" {'numbers':>9}" if counted else ""
    lines = [f"{'way':<{width}} {figure:>18} {'minus the first':>18}{numbers}  seeds"]
    for point in points:
        value, (shift, error) = f"{point.mean:.4f} +- {point.error:.4f}", difference(point, points[0])
        beside = "" if point is points[0] else f"{shift:+.4f} +- {error:.4f}"
        seeds = " ".join(f"{v:.4f}" for v in point.values)
        count = "" if point.parameters is None else f"{point.parameters:,}"
        numbers = f" {count:>9}" if counted else ""
        lines.append(f"{point.label:<{width}} {value:>18} {beside:>18}{numbers}  {seeds}")
    known = [point.test_error for point in points if not math.isnan(point.test_error)]
    note = "+- is the spread of the seeds over the root of their number"
    return [*lines, note + (f"; the test events, common to all, leave {statistics.fmean(known):.4f}" if known else "")]


_COLOURS = ("#c33", "#393", "#a60", "#639")


def picture(points: Sequence[Point], figure: str, axis: str) -> str:
    """Return an SVG of the means with their errors: against ``place`` on a logarithmic axis where points have one.

    Points without a place are bands across the picture; if none has one, all stand side by side.

    Args:
        points: the points.
        figure: name of the figure of merit.
        axis: what the places are.
    """
    left, top, width, height = 70, 24, 520, 320
    placed = [point for point in points if point.place is not None]
    beside = [point for point in points if point.place is None] if placed else []
    positive = [point.place for point in placed if point.place]
    least = min(positive, default=1.0)
    # zero has no logarithm: it stands a decade to the left
    logs = {id(p): math.log10(p.place or least / 10) for p in placed if p.place is not None}
    places = logs or {id(p): float(k) for k, p in enumerate(points)}
    low, high = min(places.values()) - 0.4, max(places.values()) + 0.4
    spans = [(p.mean, 0.0 if math.isnan(p.error) else p.error) for p in points]
    values = [value for point in points for value in point.values]
    bottom, upper = min(values + [m - e for m, e in spans]), max(values + [m + e for m, e in spans])
    margin = 0.1 * (upper - bottom) or 0.01
    bottom, upper = bottom - margin, upper + margin

    def at(place: float, value: float) -> tuple[float, float]:
        return left + width * (place - low) / (high - low), top + height * (upper - value) / (upper - bottom)

    parts = [f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#888"/>']
    for k in range(5):
        value = bottom + (upper - bottom) * k / 4
        parts.append(f'<text x="{left - 6}" y="{at(low, value)[1] + 4:.1f}" text-anchor="end">{value:.4f}</text>')
    for number, (point, colour) in enumerate(zip(beside, _COLOURS * len(beside), strict=False)):
        error = 0.0 if math.isnan(point.error) else point.error
        y, above, below = (at(low, value)[1] for value in (point.mean, point.mean + error, point.mean - error))
        band = f'x="{left}" y="{above:.1f}" width="{width}" height="{below - above:.1f}" fill="{colour}"'
        parts.append(f'<rect {band} fill-opacity="0.12"/>')
        parts.append(f'<path d="M{left},{y:.1f} h{width}" stroke="{colour}" stroke-dasharray="5 3"/>')
        text = f'x="{left + width + 8}" y="{top + 14 + 18 * number}" fill="{colour}"'
        parts.append(f"<text {text}>{escape(point.label)}</text>")
    shown = placed or list(points)
    if placed:
        line = " ".join("{:.1f},{:.1f}".format(*at(places[id(p)], p.mean)) for p in placed)
        parts.append(f'<polyline points="{line}" fill="none" stroke="#36c" stroke-opacity="0.5"/>')
    for point in shown:
        error = 0.0 if math.isnan(point.error) else point.error
        x, y = at(places[id(point)], point.mean)
        above, below = (at(low, value)[1] for value in (point.mean + error, point.mean - error))
        parts.append(f'<path d="M{x:.1f},{above:.1f} V{below:.1f}" stroke="#36c"/>')
        title = escape(f"{point.label}: {point.mean:.4f} +- {point.error:.4f}")
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#36c"><title>{title}</title></circle>')
        for value in point.values:
            parts.append(f'<circle cx="{x + 7:.1f}" cy="{at(low, value)[1]:.1f}" r="1.5" fill="#888"/>')
        name = escape(point.label if point.place is None else f"{point.place:g}")
        parts.append(f'<text x="{x:.1f}" y="{top + height + 18}" text-anchor="middle">{name}</text>')
    parts.append(f'<text x="{left + width / 2}" y="{top + height + 40}" text-anchor="middle">{escape(axis)}</text>')
    parts.append(f'<text x="16" y="14">{escape(figure)} (test; mean over seeds, bars its standard error)</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 150} {top + height + 54}" '
    return head + 'font-family="sans-serif" font-size="12">\n' + "\n".join(parts) + "\n</svg>\n"
