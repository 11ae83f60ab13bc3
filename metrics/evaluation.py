"""Compare several generated samples with one real sample: every metric, in every bin of the condition."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import InvalidValue
from fastsim.extras import missing
from metrics.classifiers.importance import Importance, importances
from metrics.classifiers.trees import ClassifierTest
from metrics.inputs import as_sample
from metrics.registry import POSTERIOR, PROTOCOLS, Outcome, check_names, metrics_for
from metrics.result import MetricResult
from metrics.sample import Kind, Sample, check_alike

Results = Mapping[str, Mapping[str, MetricResult]]
"""Results by generated sample, then by name of the metric."""
Progress = Callable[[int, int | None], None]
NUM_BINS = 4
"""Bins of equal population of a continuous condition, where no edges are given."""
MAX_CATEGORIES = 12
"""A condition with at most so many different whole values is binned by value."""


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The results of one call of :func:`evaluate`.

    Attributes:
        kind: what the events are.
        real: name of the real sample.
        num_events: sizes of all samples, by name.
        protocol: "fastsim" or "jetnet".
        seed: seed of everything drawn.
        results: results by name of the generated sample, then of the metric.
        bins: ``results`` of the events in every bin of the condition, by the bin's label ("pt 20-60").
        seconds: time spent, by step.
        skipped: why a metric could not be computed, by "sample: metric" or "sample, bin: metric".
        importance: what the boosted trees of "sample: metric" look at, most important first.
    """

    kind: Kind
    real: str
    num_events: Mapping[str, int]
    protocol: str
    seed: int
    results: Results
    bins: Mapping[str, Results]
    seconds: Mapping[str, float]
    skipped: Mapping[str, str] = field(default_factory=dict)
    importance: Mapping[str, Sequence[Importance]] = field(default_factory=dict)

    def worst_bin(self, sample: str, metric: str) -> tuple[str, MetricResult] | None:
        """Find the bin in which a metric of a sample is most sigmas from its null, to the worse side.

        Args:
            sample: name of the generated sample.
            metric: name of the metric.

        Returns:
            The label of the bin and the result there, or None without bins.
        """
        by_bin = [(label, by[sample][metric]) for label, by in self.bins.items() if metric in by.get(sample, {})]
        return max(by_bin, key=lambda pair: pair[1].excess, default=None)

    def __str__(self) -> str:
        """Return the table of :func:`metrics.report.terminal.table` as plain text."""
        from metrics.report.terminal import text

        return text(self)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {num:,}" for name, num in self.num_events.items())
        num = len({metric for by_name in self.results.values() for metric in by_name})
        return f"<Evaluation: {self.kind} ({sizes}), {num} metrics>"

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON, in the schema that docs/metrics.md describes."""

        def plain(results: Results) -> dict[str, Any]:
            return {name: {metric: r.to_dict() for metric, r in by.items()} for name, by in results.items()}

        return {
            "schema": "fastsim-evaluation",
            "schema_version": 1,
            "kind": self.kind,
            "real": self.real,
            "num_events": dict(self.num_events),
            "protocol": self.protocol,
            "seed": self.seed,
            "results": plain(self.results),
            "bins": {label: plain(results) for label, results in self.bins.items()},
            "seconds": dict(self.seconds),
            "skipped": dict(self.skipped),
            "importance": {test: [asdict(found) for found in by] for test, by in self.importance.items()},
        }


def evaluate(
    real: Sample | Any,
    generated: Mapping[str, Sample | Any] | Sample | Any,
    *,
    real_name: str = "real",
    metrics: Sequence[str] | str | None = None,
    bins: Mapping[str, Sequence[float] | None] | Sequence[str] | str | None = None,
    null: Sample | Any | None = None,
    protocol: str = "fastsim",
    seed: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
) -> tuple[Evaluation, dict[str, ClassifierTest]]:
    """Compute every metric of every generated sample against the real one.

    Args:
        real: the real sample, or what :func:`metrics.inputs.as_sample` makes one of: features (N, D), events.
        generated: the samples to judge, by name; or one, which is called "generated".
        real_name: name of the real sample in the evaluation.
        metrics: names among :data:`metrics.registry.PROTOCOLS`, in a list or a text with commas; default the quick
            ones, or "all".
        bins: conditions to bin in, each with its edges, or None for bins of its own; or only their names. Several
            conditions give every combination. Only metrics that are quick are computed in bins.
        null: a second real sample, cut to the size of the one judged. It then gives the nulls, in place of
            permutations: the metrics are computed between the real samples, and classifiers are trained for that anew.
            The null errors hold the errors of both values, and so are cautious.
        protocol: "fastsim", or "jetnet" for the definitions and draws of JetNet 0.2.5.
        seed: seed of everything drawn.
        workers: threads; they do not change a result.
        progress: called with the number of finished and of all metrics.

    Returns:
        The evaluation, and the classifier tests by "sample: metric".

    Raises:
        InvalidValue: if a sample does not fit the real one, or a name is not known. A metric that cannot be computed
            of these events, or needs a library that is not installed, is no error: the evaluation's ``skipped`` says
            why.

    >>> rng = np.random.default_rng(0)
    >>> def sample(shift):
    ...     x = rng.normal(shift, size=(500, 2))
    ...     return Sample("arrays", {"x": x[:, 0], "y": x[:, 1]}, x)
    >>> evaluation, _ = evaluate(sample(0.0), {"model": sample(0.5)}, metrics=["w1", "kpd"])
    >>> list(evaluation.results["model"]), evaluation.results["model"]["w1 x"].sigmas > 5
    (['w1 x', 'w1 y', 'kpd'], True)
    """
    metrics = words(metrics, "metrics")
    check_names(metrics, protocol)
    if bins is not None and not isinstance(bins, Mapping):
        bins = dict.fromkeys(words(bins, "bins") or ())
    given = generated if isinstance(generated, Mapping) else {"generated": generated}
    real = as_sample(real, "real")
    generated = {name: as_sample(sample, str(name)) for name, sample in given.items()}
    null = None if null is None else as_sample(null, "null")
    if not generated:
        raise InvalidValue("no sample to judge: give at least one")
    for name, sample in {**generated, **({} if null is None else {"null": null})}.items():
        check_alike(real, sample, (real_name, name))
        if len(sample) == len(real) > 0 and np.array_equal(sample.embedding, real.embedding):
            raise InvalidValue(f"{real_name} and {name} hold the same events: a sample is compared with another one")
    chosen = metrics_for(real.kind, metrics, protocol)
    known = PROTOCOLS[protocol]
    cells = condition_bins(real, bins)
    joint = POSTERIOR in chosen
    chosen = [metric for metric in chosen if metric != POSTERIOR]
    tasks = [(name, "", metric) for name in generated for metric in chosen]
    tasks += [(name, label, m) for label in cells for name in generated for m in chosen if known[m].quick]
    masks = {name: {label: inside(sample) for label, inside in cells.items()} for name, sample in generated.items()}
    real_masks = {label: inside(real) for label, inside in cells.items()}
    null_masks = {} if null is None else {label: inside(null) for label, inside in cells.items()}

    def run(task: tuple[str, str, str]) -> tuple[float, Outcome | str]:
        name, label, metric = task
        start = time.perf_counter()
        one, other, second = real, generated[name], null
        if label:
            one, other = real[real_masks[label]], other[masks[name][label]]
            second = None if null is None else null[null_masks[label]]
        try:
            outcome = known[metric].compute(one, other, seed)
            if second is not None:
                if len(second) < len(other):
                    raise InvalidValue(
                        f"the second real sample has {len(second)} events, fewer than the {len(other)} here"
                    )
                outcome = _against(outcome, known[metric].compute(one, second[: len(other)], seed))
        except ImportError as error:
            return time.perf_counter() - start, str(missing(error))
        except ValueError as error:
            return time.perf_counter() - start, str(error)
        return time.perf_counter() - start, outcome

    results: dict[str, dict[str, MetricResult]] = {name: {} for name in generated}
    binned: dict[str, dict[str, dict[str, MetricResult]]] = {label: {n: {} for n in generated} for label in cells}
    seconds: dict[str, float] = {}
    tests: dict[str, ClassifierTest] = {}
    skipped: dict[str, str] = {}
    with ThreadPoolExecutor(workers) as pool:
        # one worker runs here, so that an interrupt stops it at once
        outcomes = map(run, tasks) if workers == 1 else pool.map(run, tasks)
        for done, (task, (spent, outcome_or_reason)) in enumerate(zip(tasks, outcomes, strict=True), start=1):
            name, label, metric = task
            seconds[metric] = seconds.get(metric, 0.0) + spent
            if isinstance(outcome_or_reason, str):
                skipped[f"{name}, {label}: {metric}" if label else f"{name}: {metric}"] = outcome_or_reason
            else:
                (binned[label] if label else results)[name].update({r.name: r for r in outcome_or_reason.results})
                if not label:
                    skipped |= {f"{name}: {what}": why for what, why in outcome_or_reason.left_out.items()}
                if outcome_or_reason.test is not None and not label:
                    tests[f"{name}: {metric}"] = outcome_or_reason.test
            if progress:
                progress(done, len(tasks))
    if joint:
        start = time.perf_counter()
        try:
            for name, result in _posterior(real, generated, seed).items():
                results[name][result.name] = result
        except ValueError as error:
            skipped[f"all samples: {POSTERIOR}"] = str(error)
        seconds[POSTERIOR] = time.perf_counter() - start
    start = time.perf_counter()
    seen = {name: importances(t.held_out, seed=seed) for name, t in tests.items() if t.held_out is not None}
    if seen:
        seconds["importance"] = time.perf_counter() - start
    sizes = {real_name: len(real), **{name: len(sample) for name, sample in generated.items()}}
    evaluation = Evaluation(real.kind, real_name, sizes, protocol, seed, results, binned, seconds, skipped, seen)
    return evaluation, tests


def words(given: Sequence[str] | str | None, name: str) -> list[str] | None:
    """Return the names in a list, or in a text with commas or blanks between them.

    Raises:
        InvalidValue: if it is neither.
    """
    if given is None:
        return None
    if isinstance(given, str):
        return given.replace(",", " ").split()
    words = list(given)
    if not all(isinstance(word, str) for word in words):
        raise InvalidValue(f"{name}={given!r}: expected names")
    return words


def _posterior(real: Sample, generated: Mapping[str, Sample], seed: int) -> dict[str, MetricResult]:
    """Compute the multiclass log-posterior of all generated samples."""
    from metrics.classifiers.posterior import multiclass_posterior

    return multiclass_posterior(
        real.classifier_inputs()[:],
        {name: sample.classifier_inputs()[:] for name, sample in generated.items()},
        real_weights=real.weights,
        generated_weights={name: s.weights for name, s in generated.items() if s.weights is not None},
        seed=seed,
    )


def _against(outcome: Outcome, null: Outcome) -> Outcome:
    """Replace nulls by values and errors of the second real sample."""
    nulls = {r.name: r for r in null.results}
    results = []
    for r in outcome.results:
        if r.name in nulls:
            other = nulls[r.name]
            error = float(np.hypot(r.error, other.error))
            r = replace(r, null_value=other.value, null_error=error, p_value=None)
        results.append(r)
    test = None if outcome.test is None else replace(outcome.test, auc=results[0])
    return Outcome(results, test, outcome.left_out)


Inside = Callable[[Sample], NDArray[np.bool_]]


def condition_bins(real: Sample, bins: Mapping[str, Sequence[float] | None] | None) -> dict[str, Inside]:
    """Make functions that mark a sample's events in each bin, for every combination of the conditions' bins.

    Args:
        real: sample whose values give the edges of a condition without edges of its own.
        bins: edges by condition, or None for bins that are chosen here; None for no bins.

    Returns:
        Functions by label of the bin ("pt 20-60, flavour 21"): of a sample, to True for its events in the bin, (N,).

    Raises:
        ValueError: if a condition is not known, or its edges do not increase.
    """
    columns = []
    for name, edges in (bins or {}).items():
        if name not in real.condition:
            raise InvalidValue(f"no condition {name!r}; these events have {', '.join(real.condition) or 'none'}")
        columns.append(_bins_of(name, real.condition[name], edges))
    out: dict[str, Inside] = {}
    for cells in itertools.product(*columns) if columns else ():
        label = ", ".join(label for label, _, _, _ in cells)
        out[label] = _inside([(name, low, high) for _, name, low, high in cells])
    return out


def _inside(limits: Sequence[tuple[str, float, float]]) -> Inside:
    """Make the function that marks the events within all limits, each a condition with its lower and upper limit."""

    def marks(sample: Sample) -> NDArray[np.bool_]:
        columns = [(sample.condition[name], low, high) for name, low, high in limits]
        return np.asarray(np.all([(low <= column) & (column < high) for column, low, high in columns], axis=0))

    return marks


def _bins_of(
    name: str, values: NDArray[np.float64], edges: Sequence[float] | None
) -> list[tuple[str, str, float, float]]:
    """List label, condition, lower and upper limit of each bin; the last upper limit is included."""
    if edges is None:
        categories = np.unique(values)
        if len(categories) <= MAX_CATEGORIES and np.array_equal(categories, np.round(categories)):
            return [(f"{name} {v:g}", name, float(v), float(np.nextafter(v, np.inf))) for v in categories]
        edges = [float(f"{e:.3g}") for e in np.quantile(values, np.linspace(0, 1, NUM_BINS + 1))]
        edges[0], edges[-1] = min(edges[0], float(values.min())), max(edges[-1], float(values.max()))
        edges = sorted(set(edges))
        if len(edges) < 2:
            raise InvalidValue(f"all events have {name} = {values[0]:g}: there is nothing to bin in")
    if len(edges) < 2 or not np.all(np.diff(edges) > 0):
        raise InvalidValue(f"bin edges of {name}: {', '.join(f'{e:g}' for e in edges)}: expected two or more, rising")
    upper = [*edges[1:-1], float(np.nextafter(edges[-1], np.inf))]
    return [
        (f"{name} {low:.7g}-{shown:.7g}", name, float(low), float(high))
        for low, shown, high in zip(edges[:-1], edges[1:], upper, strict=True)
    ]
