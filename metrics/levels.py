"""Which parts of events are judged: the hadrons, the calorimeter cells that they left, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from fastsim.errors import FastsimError, InvalidValue
from fastsim.extras import installed
from metrics.cells.files import has_cells, load_cells
from metrics.classifiers.trees import ClassifierTest
from metrics.evaluation import Evaluation, Results, evaluate, words
from metrics.files import Reading, load
from metrics.registry import PROTOCOLS, check_names, defined_for
from metrics.sample import Sample

Level = Literal["hadrons", "cells"]
"""A part of events. What has no hadrons at all (showers, arrays) is judged under "hadrons", its only part."""
Judged = Literal["hadrons", "cells", "both"]
JUDGED: tuple[str, ...] = get_args(Judged)
PREFIX = "cells "
"""Of the names of results of cells, where hadrons are judged as well."""


@dataclass(frozen=True)
class Plan:
    """What is judged of some files.

    Attributes:
        levels: parts that are judged.
        notes: what is not judged though some file has it, a line each.
    """

    levels: tuple[Level, ...]
    notes: tuple[str, ...] = field(default=())


def plan(paths: Sequence[str], judged: Judged | None = None) -> Plan:
    """Choose what is judged: what all files have, or what is asked for.

    Args:
        paths: the files.
        judged: the parts wanted; None for the hadrons, and the cells too if every file has some.

    Raises:
        FastsimError: if cells are wanted and a file has none.
    """
    having = {path: has_cells(path) for path in paths} if judged != "hadrons" else {}
    without = [path for path in paths if not having.get(path, False)]
    if judged in ("cells", "both") and without:
        raise FastsimError(
            f"{without[0]}: has no calorimeter cells to judge; 'fastsim generate --steps ...,calorimeter' makes them"
        )
    if judged == "cells":
        return Plan(("cells",))
    if judged == "hadrons" or (judged is None and without):
        some = [path for path, found in having.items() if found]
        note = f"cells are not judged: {some[0]} has some, {without[0]} has none" if some else ""
        return Plan(("hadrons",), (note,) if note else ())
    return Plan(("hadrons", "cells"))


def load_level(path: str, level: Level, reading: Reading) -> Sample:
    """Read one part of a file's events as a sample.

    Jets of towers are left out where FastJet is not installed. The threshold is that of showers' voxels and of cells.

    Raises:
        FastsimError: as :func:`metrics.files.load` and :func:`metrics.cells.files.load_cells`.
    """
    if level == "hadrons":
        return load(path, reading)
    radius = reading.radius if installed("fastjet") else None
    return load_cells(path, max_events=reading.max_events, threshold=reading.threshold, radius=radius)


def evaluate_levels(
    samples: Mapping[Level, Mapping[str, Sample]],
    real_name: str,
    *,
    metrics: Sequence[str] | str | None = None,
    bins: Mapping[str, Sequence[float] | None] | Sequence[str] | str | None = None,
    nulls: Mapping[Level, Sample] | None = None,
    **options: Any,
) -> tuple[Evaluation, dict[str, ClassifierTest]]:
    """Compare every part of generated samples with that of the real one, as :func:`metrics.evaluation.evaluate` does.

    Args:
        samples: by part, then by name, the real one among them.
        real_name: name of the real sample.
        metrics: names of metrics, or "all"; each is computed of the parts that it is defined for.
        bins: of the conditions of hadrons; cells have none.
        nulls: a second real sample of each part.
        options: of :func:`metrics.evaluation.evaluate`.

    Returns:
        One evaluation, and the classifier tests by "sample: metric"; both name results of cells "cells METRIC" where
        hadrons are judged too.

    Raises:
        InvalidValue: as :func:`metrics.evaluation.evaluate`, or if a metric is defined for no part.
    """
    evaluations: dict[Level, Evaluation] = {}
    tests: dict[str, ClassifierTest] = {}
    wanted = words(metrics, "metrics")
    check_names(wanted, options.get("protocol", "fastsim"))
    for level, by_name in samples.items():
        names = wanted
        if len(samples) > 1:
            protocol = options.get("protocol", "fastsim")
            every = wanted if wanted not in (None, ["all"]) else list(PROTOCOLS.get(protocol, ()))
            defined = [name for name in every if defined_for(by_name[real_name].kind, name, protocol)]
            if not defined:
                continue
            names = defined if every is wanted else wanted
        evaluation, found = evaluate(
            by_name[real_name],
            {name: sample for name, sample in by_name.items() if name != real_name},
            real_name=real_name,
            metrics=names,
            bins=bins if level == "hadrons" or len(samples) == 1 else None,
            null=(nulls or {}).get(level),
            **options,
        )
        tests |= {_named(test) if evaluations else test: outcome for test, outcome in found.items()}
        evaluations[level] = evaluation
    if not evaluations:
        raise InvalidValue(f"no metric of {', '.join(wanted or ())} is defined for {' or '.join(samples)}")
    return together(evaluations), tests


def together(evaluations: Mapping[Level, Evaluation]) -> Evaluation:
    """Join the evaluations of hadrons and cells of the same files; names of the latter's results begin with "cells ".

    Args:
        evaluations: by part; one alone stays as it is.
    """
    first, *others = evaluations.values()
    for other in others:
        first = replace(
            first,
            results=_joined(first.results, other.results),
            bins={
                label: _joined(first.bins.get(label, {}), other.bins.get(label, {}))
                for label in {**first.bins, **other.bins}
            },
            seconds={**first.seconds, **{PREFIX + step: seconds for step, seconds in other.seconds.items()}},
            skipped={**first.skipped, **{_named(what): why for what, why in other.skipped.items()}},
            importance={**first.importance, **{_named(test): found for test, found in other.importance.items()}},
        )
    return first


def _joined(hadrons: Results, cells: Results) -> Results:
    """Join results by sample."""
    return {
        sample: {
            **hadrons.get(sample, {}),
            **{PREFIX + name: replace(r, name=PREFIX + name) for name, r in cells.get(sample, {}).items()},
        }
        for sample in {**hadrons, **cells}
    }


def _named(what: str) -> str:
    """Put the prefix before the metric of "sample: metric"."""
    sample, colon, metric = what.rpartition(": ")
    return f"{sample}{colon}{PREFIX}{metric}"
