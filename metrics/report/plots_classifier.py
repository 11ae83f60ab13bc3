"""Pictures of a classifier between real and generated events: scores, weights, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np

from metrics.classifiers.importance import Importance
from metrics.classifiers.trees import ClassifierTest
from metrics.report.histograms import Axis, density
from metrics.report.pictures import Look, Picture, label, new_figure, styled
from metrics.report.plots import band, headroom, legend_above, logarithmic


@styled
def scores(sample: str, test: ClassifierTest, real: str, look: Mapping[str, Look]) -> Picture:
    """Draw the classifier's scores of held-out real and generated events.

    Args:
        sample: name of the generated sample, or of the test.
        test: the classifier test.
        real: name of the real sample.
        look: how both are drawn.

    Returns:
        The picture.
    """
    axis = Axis(np.linspace(0.0, 1.0, 26))
    histograms = {
        real: density(test.real_scores, test.real_weights, axis),
        sample: density(test.generated_scores, test.generated_weights, axis),
    }
    figure = new_figure(4.2, 3.3)
    at = figure.subplots()
    for name, histogram in histograms.items():
        style = look[name]
        at.stairs(histogram.value, axis.edges, color=style.colour, ls=style.dash, label=style.label)
        band(at, axis, histogram.value, histogram.error, style.colour)
    at.axvline(0.5, color="0.6", lw=0.8, ls=":")
    at.set_xlim(0, 1)
    at.set_xlabel("classifier's probability of being real, D")
    at.set_ylabel("density")
    headroom(at, [h.value + h.error for h in histograms.values()])
    legend_above(figure, at)
    caption = (
        f"AUC {test.auc.value:.3f} ± {test.auc.error:.3f}. Equal samples give one curve, narrow about 0.5; the more "
        "the two part, the better a classifier tells them apart."
    )
    return Picture.of(figure, f"Scores: {sample}", caption, f"Classifier scores of {real} and {sample}.")


@styled
def weights(classifiers: Mapping[str, ClassifierTest], look: Mapping[str, Look]) -> Picture:
    """Draw the classifier weights of all generated samples on logarithmic axes.

    Args:
        classifiers: tests by name.
        look: how each is drawn, by the same names.

    Returns:
        The picture.
    """
    spread = max(float(np.quantile(np.abs(np.log10(test.weights())), 0.999)) for test in classifiers.values())
    decades = next((d for d in (0.5, 1.0, 2.0) if d > spread), 3.0)
    axis = Axis(np.logspace(-decades, decades, 41), logarithmic=True)
    figure = new_figure(4.2, 3.3)
    at = figure.subplots()
    for name, test in classifiers.items():
        w = np.clip(test.weights(), axis.edges[0], axis.edges[-1])
        share = np.ones(len(w)) if test.generated_weights is None else test.generated_weights
        share = share / share.sum()
        value = np.histogram(w, axis.edges, weights=share)[0]
        error = np.sqrt(np.histogram(w, axis.edges, weights=share**2)[0])
        at.stairs(value, axis.edges, color=look[name].colour, ls=look[name].dash, label=look[name].label)
        band(at, axis, value, error, look[name].colour)
    at.axvline(1.0, color="0.6", lw=0.8, ls=":")
    logarithmic(at, axis)
    at.set(yscale="log", xlim=(axis.edges[0], axis.edges[-1]))
    smallest = min(1 / len(test.generated_scores) for test in classifiers.values())
    at.set_ylim(bottom=0.5 * smallest)
    at.set_xlabel("classifier weight, w = D / (1 − D)")
    at.set_ylabel("share of generated events")
    legend_above(figure, at)
    caption = (
        "Narrow about 1: generated events are as frequent as real ones. Tail to the left: events that reality "
        "lacks; to the right: real events that are too rare. The outermost bins hold everything beyond."
    )
    return Picture.of(figure, "Weights", caption, f"Classifier weights of {', '.join(classifiers)}.")


@styled
def calibration(classifiers: Mapping[str, ClassifierTest], look: Mapping[str, Look]) -> Picture:
    """Draw whether a score D means that a share D of the events is real.

    Args:
        classifiers: tests by name.
        look: how each is drawn, by the same names.

    Returns:
        The picture.
    """
    figure = new_figure(4.2, 3.3)
    at = figure.subplots()
    at.plot([0, 1], [0, 1], color="0.6", lw=0.8, ls=":")
    for marker, (name, test) in zip(cycle("osD^v"), classifiers.items(), strict=False):
        predicted, observed, error = test.calibration()
        style = look[name]
        at.errorbar(predicted, observed, error, color=style.colour, ls="", marker=marker, ms=4, lw=1, label=style.label)
    at.set(xlim=(0, 1), ylim=(0, 1))
    at.set_xlabel("mean score in the bin")
    at.set_ylabel("share of real events")
    legend_above(figure, at)
    caption = "Points off the diagonal by more than their errors: do not trust the weights."
    return Picture.of(figure, "Calibration", caption, f"Classifier calibration for {', '.join(classifiers)}.")


@styled
def importance(sample: str, found: Sequence[Importance], look: Look) -> Picture:
    """Draw the inputs that a classifier's verdict hangs on most.

    Args:
        sample: name of the generated sample, or of the test.
        found: the inputs, most important first.
        look: how the sample is drawn.

    Returns:
        The picture.
    """
    figure = new_figure(6.0, 1.0 + 0.27 * len(found))
    at = figure.subplots()
    places = np.arange(len(found))[::-1]
    values = [i.value for i in found]
    at.barh(places, values, xerr=[i.error for i in found], height=0.65, color=look.colour, error_kw={"lw": 1.0})
    reach = max((i.value + i.error for i in found), default=0.0) or 1e-3
    for place, i in zip(places, found, strict=True):
        at.text(max(i.value, 0.0) + i.error + 0.01 * reach, place, f"{i.value:.3f}", va="center", fontsize=8)
    at.axvline(0.0, color="0.6", lw=0.8)
    at.set_yticks(places, [label(i.name, 40) for i in found], fontsize=8)
    at.tick_params(axis="y", which="both", length=0)
    at.set_xlim(min([0.0, *(i.value - i.error for i in found)]), 1.15 * reach)
    at.set_xlabel("AUC that is lost without it")
    words = ", ".join(f"{i.name} {i.value:.3f} ± {i.error:.3f}" for i in found)
    caption = (
        "Each input exchanged among all held-out events at random; lines: error of the mean over permutations. Of "
        "inputs that say the same, each seems dispensable."
    )
    return Picture.of(figure, f"Most important: {sample}", caption, f"Importance of inputs for {sample}: {words}.")
