"""Several generated samples held against one real sample: every metric, in every bin of the condition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from metrics.result import MetricResult
from metrics.sample import Kind

Results = Mapping[str, Mapping[str, MetricResult]]
"""Results by generated sample, then by name of the metric."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    ``real`` and the keys of ``results`` are the names of the samples, ``num_events`` their sizes. ``bins`` holds the
    results again in every bin of the condition, by the bin's label ("pt 20-60"). ``seconds``: time by step.
    """

    kind: Kind
    real: str
    num_events: Mapping[str, int]
    protocol: str
    seed: int
    results: Results
    bins: Mapping[str, Results]
    seconds: Mapping[str, float]

    def worst_bin(self, sample: str, metric: str) -> tuple[str, MetricResult] | None:
        """The bin in which a metric of a sample is most sigmas from its null, or None without bins."""
        found = [(label, by[sample][metric]) for label, by in self.bins.items() if metric in by.get(sample, {})]
        return max(found, key=lambda pair: pair[1].sigmas, default=None)
