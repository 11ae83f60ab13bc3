"""The trials that no other beats in both score and cost, as a table and as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from fastsim.errors import PipelineError
from fastsim.search.trial import Trial


@dataclass(frozen=True)
class Cost:
    """What a trial costs; less is better.

    Attributes:
        name: of the column, with the unit.
        attribute: of the trial.
    """

    name: str
    attribute: str

    def __call__(self, trial: Trial) -> float:
        """Return the cost of a trial.

        Raises:
            PipelineError: if it was not measured.
        """
        cost = getattr(trial, self.attribute)
        if cost is None:
            raise PipelineError(f"trial {trial.label}: its {self.name} was not measured; search anew in another folder")
        return float(cost)


FLOPS = Cost("FLOPs/event", "flops")
TIME = Cost("CPU ms/event", "milliseconds")
COSTS = {"flops": FLOPS, "time": TIME}
"""By the names of the command line."""
LEAST = 1e-3
"""A cost below it, as that of no operations at all, is drawn here: zero has no logarithm."""


def front(trials: Sequence[Trial], cost: Cost = FLOPS) -> list[Trial]:
    """Return the trials that no other beats: none has at least the score at no more cost, and one of both better.

    Args:
        trials: the trials.
        cost: which of their costs.

    Returns:
        The front, the cheapest first.
    """
    found: list[Trial] = []
    for trial in sorted(trials, key=lambda t: (cost(t), -t.score)):
        if not found or trial.score > found[-1].score:
            found.append(trial)
    return found


def table(trials: Sequence[Trial], figure: str, cost: Cost = FLOPS) -> list[str]:
    """Return lines with all trials, the best first; those of the front have a star.

    Args:
        trials: the trials.
        figure: name of the figure of merit.
        cost: which of their costs.
    """
    width = max(len("candidates"), *(len(trial.label) for trial in trials))
    best = front(trials, cost)
    lines = [f"  {'candidates':<{width}} {figure:>18} {'validation':>11} {cost.name:>12} {'numbers':>9} {'CPU s':>7}"]
    for trial in sorted(trials, key=lambda t: -t.score):
        value = f"{trial.value:.4f}" if math.isnan(trial.error) else f"{trial.value:.4f} +- {trial.error:.4f}"
        lines.append(
            f"{'*' if trial in best else ' '} {trial.label:<{width}} {value:>18} {trial.score:>11.4f} "
            f"{cost(trial):>12.4g} {trial.parameters:>9} {trial.seconds:>7.1f}"
        )
    return [*lines, f"* no other has at least its validation score for no more {cost.name}"]


def picture(trials: Sequence[Trial], figure: str, cost: Cost = FLOPS) -> str:
    """Return an SVG of validation score against cost, with the front as a line.

    Args:
        trials: the trials.
        figure: name of the figure of merit.
        cost: which of their costs.
    """
    left, top, width, height = 70, 20, 520, 320
    logs = [math.log10(max(cost(trial), LEAST)) for trial in trials]
    scores = [trial.score for trial in trials]
    low, high = math.floor(min(logs)), math.ceil(max(logs) + 1e-9)
    margin = 0.1 * (max(scores) - min(scores)) or 0.01
    bottom, upper = min(scores) - margin, max(scores) + margin

    def place(log: float, score: float) -> tuple[float, float]:
        return left + width * (log - low) / (high - low), top + height * (upper - score) / (upper - bottom)

    parts = [f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#888"/>']
    for power in range(low, high + 1):
        x = place(power, bottom)[0]
        parts.append(f'<text x="{x:.1f}" y="{top + height + 18}" text-anchor="middle">1e{power}</text>')
    for k in range(5):
        score = bottom + (upper - bottom) * k / 4
        y = place(low, score)[1]
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{score:.4g}</text>')
    best = front(trials, cost)
    line = [place(math.log10(max(cost(trial), LEAST)), trial.score) for trial in best]
    parts.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in line)}" fill="none" stroke="#c33"/>')
    for trial, log in zip(trials, logs, strict=True):
        x, y = place(log, trial.score)
        colour = "#c33" if trial in best else "#36c"
        title = escape(f"{trial.label}: {trial.value:.4f}, {cost(trial):.3g} {cost.name}")
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"><title>{title}</title></circle>')
        parts.append(f'<text x="{x + 8:.1f}" y="{y + 4:.1f}" font-size="9">{escape(trial.label)}</text>')
    parts.append(
        f'<text x="{left + width / 2}" y="{top + height + 40}" text-anchor="middle">{escape(cost.name)}</text>'
    )
    parts.append(f'<text x="16" y="14">{escape(figure)} (validation)</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 160} {top + height + 50}" '
    return head + 'font-family="sans-serif" font-size="12">\n' + "\n".join(parts) + "\n</svg>\n"
