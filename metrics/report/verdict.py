"""Results in words and figures for a reader: verdicts by significance, values rounded to their errors."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from fastsim.event.species import QUARKS
from metrics.evaluation import Evaluation
from metrics.levels import PREFIX
from metrics.result import MetricResult

Verdict = Literal["agrees", "tension", "differs", "no null"]

VERDICTS: dict[Verdict, str] = {
    "agrees": "within 2 sigma of what equal samples give",
    "tension": "2 to 5 sigma from it",
    "differs": "beyond 5 sigma",
}
"""Words and their meaning; 2 and 5 sigma are the field's customs for exclusion and discovery."""


CLOSER = 3.0
"""Sigma by which a sample has to be closer than another in a metric."""
CHANCE = 0.05
"""Share of metrics beyond 2 sigma between equal samples: measured 5.3%, in 60 pairs of toy jets, 43 metrics each."""
LARGE = 4.5
"""Sigma that the largest of some 40 metrics of equal samples exceeds in one comparison of twenty (4.4 there)."""
MANY = 0.15
"""Share of metrics beyond 2 sigma that equal samples exceed in one comparison of twenty (14% there)."""

_FLAVOURS = {**{number: name for name, number in QUARKS.items()}, 21: "g"}

NUM_OBSERVABLES = 8
"""Results of a family of many that a table shows: those that differ most."""
FAMILIES = ("w1", "content", "peak", "yield", "hard", "decayed", "vertices", "lifetime", "events", "shape")
"""First words of the names of results that come by the dozen, one for each observable, peak or species."""


def disagreement(result: MetricResult) -> float:
    """Compute how many sigmas a result is from equal samples, without sign; NaN without a null.

    A generator of higher log-posterior than its equals is closer to real events, which is no disagreement.
    """
    return max(result.excess, 0.0) if result.name == "log_posterior" else abs(result.excess)


def verdict(excess: float) -> Verdict:
    """Choose the word for a result's excess, of either sign: far better than equal samples is no agreement.

    >>> verdict(-0.5), verdict(3.0), verdict(-7.0)
    ('agrees', 'tension', 'differs')
    """
    size = abs(excess)
    if math.isnan(size):
        return "no null"
    return "agrees" if size < 2 else "tension" if size < 5 else "differs"


def sigmas_text(sigmas: float) -> str:
    """Write a significance with one digit, or none where it is large.

    >>> sigmas_text(2.345), sigmas_text(-123.4), sigmas_text(float("inf"))
    ('+2.3', '-123', '+∞')
    """
    if math.isnan(sigmas):
        return "–"
    if math.isinf(sigmas):
        return "+∞" if sigmas > 0 else "-∞"
    text = f"{sigmas:+.1f}" if abs(sigmas) < 99.95 else f"{sigmas:+.0f}"
    return text if len(text) < 7 else f"{sigmas:+.0e}"


def plus_minus(value: float, error: float) -> str:
    """Write a value and its error, rounded to two digits of the error.

    >>> plus_minus(0.51234, 0.0123), plus_minus(2132.0, 1932.0), plus_minus(1.234e-4, 2.3e-5), plus_minus(3.0, 0.0)
    ('0.512 ± 0.012', '2100 ± 1900', '(1.23 ± 0.23)e-4', '3')
    """
    if not math.isfinite(value) or not math.isfinite(error) or error <= 0:
        return f"{value:.4g}"
    size = max(abs(value), error)
    power = math.floor(math.log10(size))
    if -3 <= power <= 4:
        digits = min(8, 1 - math.floor(math.log10(error)))
        return f"{round(value, digits):.{max(digits, 0)}f} ± {round(error, digits):.{max(digits, 0)}f}"
    digits = max(0, power - math.floor(math.log10(error)) + 1)
    return f"({value / 10**power:.{digits}f} ± {error / 10**power:.{digits}f})e{power}"


def metric_names(evaluation: Evaluation) -> list[str]:
    """List every metric that some sample has, in the order of the results."""
    return list(dict.fromkeys(name for by_name in evaluation.results.values() for name in by_name))


def family_of(name: str) -> str:
    """Return the first word of a result's name, with that of cells before it.

    >>> family_of("w1 mass"), family_of("cells w1 imbalance"), family_of("cells fpd")
    ('w1', 'cells w1', 'cells fpd')
    """
    prefix = PREFIX if name.startswith(PREFIX) else ""
    return prefix + name.removeprefix(prefix).split(" ", 1)[0]


def main_metrics(evaluation: Evaluation) -> tuple[list[str], set[str]]:
    """List the metrics that fit a table, in order, and those left out: of families, what differs little."""
    names = metric_names(evaluation)

    def size(name: str) -> float:
        everywhere = (evaluation.results, *evaluation.bins.values())
        return max(disagreement(by[name]) for results in everywhere for by in results.values() if name in by)

    left_out: set[str] = set()
    for family in (*FAMILIES, *(PREFIX + family for family in FAMILIES)):
        members = sorted((name for name in names if family_of(name) == family), key=size, reverse=True)
        left_out |= set(members[NUM_OBSERVABLES:])
    return [name for name in names if name not in left_out], left_out


def wins(evaluation: Evaluation) -> dict[str, list[str]]:
    """List the metrics in which each sample is closer to the real one than every other, by :data:`CLOSER` sigma.

    Closer is |value - null| (of the log-posterior: the higher value); sigma is the error of the difference of two
    samples' values. Their common real sample makes that an overestimate, so that no win is by chance.
    """
    won: dict[str, list[str]] = {sample: [] for sample in evaluation.results}
    for name in metric_names(evaluation):
        having = {s: by_name[name] for s, by_name in evaluation.results.items() if name in by_name}
        distances = {s: _distance(r) for s, r in having.items() if not math.isnan(_distance(r))}
        ranked = sorted(distances, key=distances.__getitem__)
        if len(ranked) < 2:
            continue
        first, second = (having[s] for s in ranked[:2])
        if distances[ranked[1]] - distances[ranked[0]] > CLOSER * math.hypot(first.error, second.error):
            won[ranked[0]].append(name)
    return won


def _distance(result: MetricResult) -> float:
    """Compute how far a value is from what equal samples give, in the metric's units."""
    return -result.value if result.name == "log_posterior" else abs(result.value - result.null_value)


def closest(evaluation: Evaluation) -> str | None:
    """Find the sample that is closer than all others in more metrics than any of them, and not by one in ten only.

    Returns:
        Its name; None if no sample is.
    """
    won = {sample: len(names) for sample, names in wins(evaluation).items()}
    best, *others = sorted(won, key=won.__getitem__, reverse=True) or [""]
    lead = won.get(best, 0) - (won[others[0]] if others else 0)
    return best if others and lead > 0.1 * len(metric_names(evaluation)) else None


@dataclass(frozen=True)
class Overall:
    """The verdict over all metrics of a sample, which one metric in twenty does not change.

    Attributes:
        verdict: "differs" where a metric is beyond 5 sigma, "tension" where one is beyond :data:`LARGE` or more than
            :data:`MANY` of all are beyond 2, else "agrees"; "no null" without any that can be judged.
        beyond: metrics beyond 2 sigma.
        judged: metrics that have a null.
        skipped: metrics that could not be computed.
    """

    verdict: Verdict
    beyond: int
    judged: int
    skipped: int = 0

    @property
    def expected(self) -> float:
        """How many metrics equal samples have beyond 2 sigma, on average."""
        return CHANCE * self.judged

    def __str__(self) -> str:
        return (
            f"{self.verdict}: {self.beyond} of {self.judged} metrics beyond 2 sigma, where equal samples have "
            f"{self.expected:.1f} on average" + (f"; {self.skipped} could not be computed" if self.skipped else "")
        )


def overall(evaluation: Evaluation, sample: str) -> Overall:
    """Judge a sample by all its metrics together."""
    sizes = [size for r in evaluation.results[sample].values() if not math.isnan(size := disagreement(r))]
    beyond = sum(size >= 2 for size in sizes)
    word: Verdict = "agrees"
    if not sizes:
        word = "no null"
    elif max(sizes) >= 5:
        word = "differs"
    elif max(sizes) >= LARGE or beyond > max(1, MANY * len(sizes)):
        word = "tension"
    return Overall(word, beyond, len(sizes), sum(what.startswith(f"{sample}: ") for what in evaluation.skipped))


def by_significance(evaluation: Evaluation, sample: str) -> list[str]:
    """List the metrics of a sample, the most significant first, those without a null last."""

    def key(name: str) -> float:
        size = disagreement(evaluation.results[sample][name])
        return math.inf if math.isnan(size) else -size

    return sorted(evaluation.results[sample], key=key)


def bin_text(label: str) -> str:
    """Write a bin's label with the names of flavours.

    >>> bin_text("flavour 21, pt 20-60"), bin_text("jet pt 20-60")
    ('flavour g, pt 20-60', 'jet pt 20-60')
    """

    def named(match: re.Match[str]) -> str:
        return f"flavour {_FLAVOURS.get(int(match[1]), match[1])}"

    return re.sub(r"\bflavour (-?\d+)\b", named, label)


def worst(evaluation: Evaluation, sample: str) -> tuple[str, str, MetricResult] | None:
    """Find bin, metric and result of the sample's most significant difference in any bin; None without bins.

    Args:
        evaluation: the evaluation.
        sample: name of the generated sample.
    """
    worst_bins = [(name, evaluation.worst_bin(sample, name)) for name in evaluation.results[sample]]
    bins = [(at[0], name, at[1]) for name, at in worst_bins if at is not None and not math.isnan(at[1].excess)]
    return max(bins, key=lambda entry: entry[2].excess, default=None)
