"""Sections below the tables of the report's page: pictures, with the words that say how to read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.formats.calochallenge import Showers
from metrics.classifiers.trees import ClassifierTest
from metrics.evaluation import Evaluation
from metrics.hadrons.jets import Jets
from metrics.levels import PREFIX
from metrics.report import plots, plots_classifier, plots_content, plots_jets, plots_showers
from metrics.report.meanings import observable_meaning
from metrics.report.pictures import DASHES, Look, Picture, label
from metrics.report.projections import mean_voxels
from metrics.sample import Sample
from metrics.showers.features import binning_of

CLOSE_UP = 20_000
"""Events of each sample at most whose particles or voxels are drawn: pictures need no more."""
SPECTRA_SETS = 100_000
"""Sets of each sample at most whose combinations fill the mass spectra."""
SEEN = 6
"""Inputs of a classifier whose distributions are drawn."""


@dataclass(frozen=True)
class Section:
    """Pictures under a heading.

    Attributes:
        anchor: name of the section in links.
        title: its heading.
        text: how to read the pictures.
        rows: the pictures, row by row.
    """

    anchor: str
    title: str
    text: str
    rows: Sequence[Sequence[Picture]]


def sections(
    evaluation: Evaluation,
    samples: Mapping[str, Sample],
    classifiers: Mapping[str, ClassifierTest],
    look: Mapping[str, Look],
    progress: Callable[[int, int | None], None] = lambda done, total: None,
    cells: Mapping[str, Sample] | None = None,
) -> list[Section]:
    """Make every section that these samples give.

    Args:
        evaluation, samples, classifiers, cells: as in :func:`metrics.report.html.write`.
        look: how each sample is drawn.
        progress: called with the number of finished parts and of all.
    """
    parts = 5
    shown = [_distributions(samples, look)]
    if cells:
        shown.append(_distributions(cells, look, "cells", "Distributions of calorimeter cells"))
    progress(1, parts)
    if classifiers:
        shown.append(_classifier(classifiers, evaluation.real, look))
    if evaluation.importance:
        shown.append(_importance(evaluation, samples, cells or {}, classifiers, look))
    progress(2, parts)
    close = {name: sample[:CLOSE_UP] for name, sample in samples.items()}
    events = [sample.events for sample in close.values()]
    if all(isinstance(e, Jets) for e in events):
        shown += _jets(close)
        shown += _content(samples, look)
    progress(3, parts)
    if all(s.kind == "showers" and s.binning is not None for s in samples.values()):
        shown += _profiles(samples, look)
    progress(4, parts)
    if all(isinstance(e, Showers) for e in events):
        shown += _showers(close)
    progress(parts, parts)
    if evaluation.seconds:
        shown.append(Section("time", "Time", "Where the evaluation's time went.", [[plots.timing(evaluation)]]))
    return shown


def _distributions(
    samples: Mapping[str, Sample],
    look: Mapping[str, Look],
    anchor: str = "distributions",
    title: str = "Distributions",
) -> Section:
    pictures, left_out = plots.distributions(samples, look, plots_jets.LABELS, observable_meaning)
    text = (
        "Above, the share of events per unit of the observable with bands of one standard error (negative weights "
        "included); below, the ratio to the real sample, whose own error is the grey band. Triangles at the rim are "
        "bins beyond the panel."
    )
    if left_out:
        text += f" Shown are the {len(pictures)} observables that differ most; {left_out} others are left out."
    return Section(anchor, title, text, [pictures])


def _classifier(classifiers: Mapping[str, ClassifierTest], real: str, look: Mapping[str, Look]) -> Section:
    own = {real: look[real], **_looks_of_tests(classifiers, look)}
    scores = [plots_classifier.scores(name, test, real, own) for name, test in classifiers.items()]
    judged = [plots_classifier.weights(classifiers, own), plots_classifier.calibration(classifiers, own)]
    text = (
        "A classifier learns to tell real from generated events; shown are events that it has not seen. It can show "
        "that samples differ, never that they are equal."
    )
    return Section("classifier", "Classifier", text, [scores, judged])


def _importance(
    evaluation: Evaluation,
    samples: Mapping[str, Sample],
    cells: Mapping[str, Sample],
    classifiers: Mapping[str, ClassifierTest],
    look: Mapping[str, Look],
) -> Section:
    """Show what the boosted trees look at: the most important inputs of each test, and how these are distributed."""
    own = _looks_of_tests(classifiers, look)
    bars = [plots_classifier.importance(name, found, own[name]) for name, found in evaluation.importance.items()]
    rows: list[Sequence[Picture]] = [bars]
    for test, found in evaluation.importance.items():
        sample = _sample_of(test, samples)
        judged = cells if test.startswith(f"{sample}: {PREFIX}") else samples
        pair = {name: judged[name] for name in (evaluation.real, sample)}
        names = [i.name for i in found if all(i.name in _columns(s) for s in pair.values())][:SEEN]
        rows.append(
            [
                plots.distribution(
                    name, {k: (_columns(s)[name], s.weights) for k, s in pair.items()}, look, observable_meaning(name)
                )
                for name in names
            ]
        )
    text = (
        "Which inputs the boosted trees need to tell real from generated events that they have not seen, and below "
        "how the most important are distributed in both samples. What differs only together with another input looks "
        "alike in its own distribution."
    )
    return Section("sees", "What the classifier sees", text, rows)


def _columns(sample: Sample) -> dict[str, NDArray[np.floating[Any]]]:
    return {**sample.content, **sample.condition, **sample.observables}


def _sample_of(test: str, samples: Iterable[str]) -> str:
    """Return the sample of a test, "sample" or "sample: metric"."""
    return max((s for s in samples if test == s or test.startswith(f"{s}: ")), key=len)


def _looks_of_tests(classifiers: Mapping[str, ClassifierTest], look: Mapping[str, Look]) -> dict[str, Look]:
    """Choose the look of each test, "sample" or "sample: metric": its sample's colour, a dash of its own."""
    by_test: dict[str, Look] = {}
    for name in classifiers:
        sample = max((s for s in look if name == s or name.startswith(f"{s}: ")), key=len, default=None)
        if sample is None:
            raise ValueError(f"the classifier {name!r} is of none of the samples {list(look)}")
        before = sum(other.colour == look[sample].colour for other in by_test.values())
        alone = sum(other == sample or other.startswith(f"{sample}: ") for other in classifiers) == 1
        text = look[sample].label if alone else label(name)
        by_test[name] = Look(text, look[sample].colour, DASHES[before % len(DASHES)])
    return by_test


def _jets(samples: Mapping[str, Sample]) -> list[Section]:
    jets = {name: s.events for name, s in samples.items() if isinstance(s.events, Jets)}
    weights = {name: s.weights for name, s in samples.items()}
    return [
        Section(
            "images",
            "Average jets",
            "Where the transverse momentum is, averaged over all sets and partons.",
            plots_jets.averages(jets, weights),
        ),
        Section(
            "jets",
            "Single jets",
            "Partons of rising pT, drawn from the real sample; of every generated sample, the sets whose partons are "
            "most alike. Single jets differ by nature: look for shapes that the real ones never have.",
            [plots_jets.displays(jets)],
        ),
    ]


def _content(samples: Mapping[str, Sample], look: Mapping[str, Look]) -> list[Section]:
    """Make the sections of what sets are made of: peaks, charges where they were computed, vertices where known."""
    weights = {name: s.weights for name, s in samples.items()}
    jets = {name: s.events[:SPECTRA_SETS] for name, s in samples.items() if isinstance(s.events, Jets)}
    few = {name: None if w is None else w[:SPECTRA_SETS] for name, w in weights.items()}
    shown = []
    peaks = plots_content.masses(jets, few, look)
    if peaks:
        text = (
            "Masses of combinations of particles, with bands of one standard error. A model that draws particles one "
            "by one without what decayed into them has the same background and no peak."
        )
        shown.append(Section("peaks", "Peaks of resonances", text, [peaks]))
    if all(s.content for s in samples.values()):
        pictures, left_out = plots_content.charges(samples, look)
        text = "Charges in units of e, of sets as if each came from a quark; numbers of combinations in mass windows."
        if left_out:
            text += f" Shown are the {len(pictures)} that differ most; {left_out} others are left out."
        shown.append(Section("charges", "Charges and quantum numbers", text, [pictures]))
    origins = {name: s.origins for name, s in samples.items() if s.origins is not None}
    if len(origins) == len(samples):
        text = "How far from the primary vertex particles were made; tracks are straight lines."
        shown.append(Section("vertices", "Vertices", text, [plots_content.vertices(origins, weights, look, samples)]))
    return shown


def _profiles(samples: Mapping[str, Sample], look: Mapping[str, Look]) -> list[Section]:
    return [
        Section(
            "profiles",
            "Shower profiles",
            "Means with their standard errors, above, and their ratio to the real sample, below.",
            [plots_showers.profiles(samples, look)],
        ),
        Section(
            "correlations",
            "Correlations of layers",
            "How the layers' shares of the incident energy vary together, and how the layers lean to the same side.",
            plots_showers.correlations(samples),
        ),
    ]


def _showers(samples: Mapping[str, Sample]) -> list[Section]:
    showers = {name: s.events for name, s in samples.items() if isinstance(s.events, Showers)}
    means = {name: mean_voxels(s, samples[name].weights) for name, s in showers.items()}
    incident = next(iter(showers.values())).incident
    binning = binning_of(next(iter(samples.values())))
    middle = float(np.sort(incident)[len(incident) // 2])
    rows = {name: int(np.argmin(np.abs(np.log(s.incident / middle)))) for name, s in showers.items()}
    singles = {name: s.voxels[rows[name]].astype(np.float64) for name, s in showers.items()}
    return [
        Section(
            "average-showers",
            "Average showers",
            "The mean energy of every voxel, seen along the shower, around it, across it and in space; one colour "
            "scale for all samples.",
            plots_showers.projections(
                means, binning, {name: f"Mean of {len(s):,} showers." for name, s in showers.items()}
            ),
        ),
        Section(
            "showers",
            "Single showers",
            "A real shower of median incident energy, and of every generated sample the one nearest to it in incident "
            "energy. Single showers differ by nature: look for shapes that the real ones never have.",
            plots_showers.projections(
                singles,
                binning,
                {name: f"Incident energy {s.incident[rows[name]] / 1e3:.4g} GeV." for name, s in showers.items()},
            ),
        ),
    ]
