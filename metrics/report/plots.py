"""Pictures of any sample: distributions with their ratio, metrics by bin in sigmas, time spent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metrics.evaluation import Evaluation
from metrics.report.histograms import Axis, Histogram, choose_axis, density, distance
from metrics.report.pictures import PALETTE, REAL, Look, Picture, label, new_figure, styled
from metrics.report.verdict import bin_text, main_metrics, sigmas_text
from metrics.sample import Sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

MAX_OBSERVABLES = 24
"""A page with more panels is not read."""

_RATIO_SPANS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
_SIGMA_STEPS = (0.0, 2.0, 3.0, 5.0, 10.0, 20.0)


def distributions(
    samples: Mapping[str, Sample],
    look: Mapping[str, Look],
    names: Mapping[str, str],
    meaning: Callable[[str], str],
    most: int = MAX_OBSERVABLES,
) -> tuple[list[Picture], int]:
    """Draw distribution and ratio to the real sample of each observable; of many, those that differ most.

    Args:
        samples: the real one first.
        look: how each is drawn.
        names: labels of the observables on an axis, where their key is not enough.
        meaning: gives the description of an observable.
        most: pictures at most.

    Returns:
        The pictures, in the order of the observables, and the number of observables left out.
    """
    real = next(iter(samples.values()))
    histograms = {}
    for key in real.observables:
        axis = choose_axis([s.observables[key] for s in samples.values()])
        histograms[key] = axis, {n: density(s.observables[key], s.weights, axis) for n, s in samples.items()}

    def furthest(key: str) -> float:
        axis, (first, *others) = histograms[key][0], histograms[key][1].values()
        return max((distance(first, other, axis) for other in others), default=0.0)

    shown = sorted(histograms, key=furthest, reverse=True)[:most]
    pictures = [
        panel(key, *histograms[key], look, names.get(key, label(key, 40)), note=meaning(key))
        for key in histograms
        if key in shown
    ]
    return pictures, len(histograms) - len(shown)


def distribution(
    title: str,
    columns: Mapping[str, tuple[NDArray[Any], Floats | None]],
    look: Mapping[str, Look],
    note: str = "",
) -> Picture:
    """Draw the distribution of one quantity and its ratio to the real sample.

    Args:
        title: of the picture and of its axis.
        columns: values (N,) and weights of events, or None, by sample; the real one first.
        look: how each sample is drawn.
        note: added to the caption.

    Returns:
        The picture.
    """
    axis = choose_axis([values for values, _ in columns.values()])
    histograms = {name: density(values, weights, axis) for name, (values, weights) in columns.items()}
    return panel(title, axis, histograms, look, label(title, 40), note=note)


@styled
def panel(
    title: str,
    axis: Axis,
    histograms: Mapping[str, Histogram],
    look: Mapping[str, Look],
    name: str,
    *,
    unit: str = "density",
    fill: bool = True,
    ticks: Mapping[int, int] | None = None,
    note: str = "",
) -> Picture:
    """Draw histograms with error bands above, their ratio to the first, the real one, below.

    Args:
        title: of the picture.
        axis: the bins.
        histograms: by sample, the real one first.
        look: how each sample is drawn.
        name: of the horizontal axis.
        unit: of the vertical axis.
        fill: whether the vertical axis begins at zero, with the area under the real histogram shaded.
        ticks: names of places on the horizontal axis, where they are not the numbers themselves.
        note: added to the caption.

    Returns:
        The picture.
    """
    figure = new_figure(4.2, 3.9)
    top, ratio = figure.subplots(2, 1, sharex=True, height_ratios=(2.6, 1))
    real_name, *generated = histograms
    real = histograms[real_name]
    if fill:
        top.stairs(real.value, axis.edges, color="0.88", fill=True, zorder=0)
    top.stairs(real.value, axis.edges, baseline=None, color=REAL, lw=1.1, label=look[real_name].label)
    band(top, axis, real.value, real.error, REAL)
    known = real.value > 0
    band(ratio, axis, known.astype(float), _divide(real.error, real.value), REAL)
    ratio.axhline(1.0, color=REAL, lw=0.8)
    quotients = {n: _divide(histograms[n].value, real.value) for n in generated}
    errors = {n: _divide(histograms[n].error, real.value) for n in generated}
    span = ratio_span(list(quotients.values()), list(errors.values()), _divide(real.error, real.value))
    for place, sample in enumerate(generated):
        style, (value, error) = look[sample], (histograms[sample].value, histograms[sample].error)
        top.stairs(value, axis.edges, baseline=None, color=style.colour, ls=style.dash, lw=1.4, label=style.label)
        band(top, axis, value, error, style.colour)
        x = axis.edges[:-1] + np.diff(axis.edges) * (place + 1) / (len(generated) + 1)
        _ratio_points(ratio, x, quotients[sample], errors[sample], span, style.colour)
    if axis.logarithmic:
        logarithmic(ratio, axis)
    ratio.set_xlim(axis.edges[0], axis.edges[-1])
    ratio.set_ylim(max(0.0, 1 - span), 1 + span)
    ratio.set_xlabel(name)
    ratio.set_ylabel("/ real", loc="center")
    top.set_ylabel(unit)
    if fill:
        headroom(top, [h.value + h.error for h in histograms.values()])
    if ticks:
        ratio.set_xticks(list(ticks), [str(name) for name in ticks.values()])
        ratio.tick_params(which="minor", axis="x", length=0)
    legend_above(figure, top)
    figure.align_ylabels([top, ratio])
    outside = {n: h.outside for n, h in histograms.items() if abs(h.outside) > 0.01}
    beyond = ", ".join(f"{n} {100 * share:.1f}%" for n, share in outside.items())
    caption = " ".join(filter(None, [f"{note}." if note else "", f"Beyond the axis: {beyond}." if beyond else ""]))
    alt = f"{title}: {', '.join(generated)} against {real_name}, and their ratio."
    return Picture.of(figure, title, caption, alt)


def band(at: Axes, axis: Axis, value: Floats, error: Floats, colour: str) -> None:
    """Draw one standard error about a histogram.

    Args:
        at: axes to draw in.
        axis: the bins.
        value, error: in each bin, (B,).
        colour: of the band.
    """
    at.stairs(value + error, axis.edges, baseline=value - error, fill=True, color=colour, alpha=0.25, lw=0)


def legend_above(figure: Figure, at: Axes) -> None:
    """Draw the samples' names above the panel, where they cover no data."""
    handles, labels = at.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2, fontsize=8, handlelength=1.8)


def logarithmic(at: Axes, axis: Axis) -> None:
    """Make the horizontal axis logarithmic, with numbers between the decades where there are few of them.

    Args:
        at: axes to change.
        axis: the bins.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    at.set_xscale("log")
    if axis.edges[-1] < 1e3 * axis.edges[0]:
        at.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        at.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        at.xaxis.set_minor_formatter(NullFormatter())


def ratio_span(quotients: list[Floats], errors: list[Floats], real_error: Floats) -> float:
    """Choose how far a ratio panel reaches above 1, and below it as far as 0: it holds all well-measured bins.

    Args:
        quotients: ratios of each generated sample to the real one, (B,) each.
        errors: their errors, (B,) each.
        real_error: relative error of the real sample, (B,).

    Returns:
        The panel goes from 1 minus this, at least 0, to 1 plus this.
    """
    measured = [
        np.abs(q - 1)[np.isfinite(q) & (np.hypot(e, real_error) < 0.3)] for q, e in zip(quotients, errors, strict=True)
    ]
    values = np.concatenate(measured) if measured else np.zeros(0)
    reach = float(values.max()) if len(values) else 0.0
    return next((span for span in _RATIO_SPANS if span > reach), _RATIO_SPANS[-1])


@styled
def heat_map(evaluation: Evaluation, sample: str) -> Picture:
    """Draw the main metrics in every bin of the condition, in sigmas from their nulls.

    Args:
        evaluation: with bins.
        sample: name of the generated sample.

    Returns:
        The picture.
    """
    from matplotlib.colors import BoundaryNorm, ListedColormap

    names, left_out = main_metrics(evaluation)
    bins = list(evaluation.bins)
    grid = np.full((len(names), len(bins)), np.nan)
    for j, by_sample in enumerate(evaluation.bins.values()):
        for i, name in enumerate(names):
            if name in by_sample.get(sample, {}):
                grid[i, j] = by_sample[sample][name].excess
    known = ~np.isnan(grid).all(axis=1)
    grid, names = grid[known], [name for name, shown in zip(names, known, strict=True) if shown]
    rows, columns = [label(name, 30) for name in names], [label(bin_text(name), 30) for name in bins]
    if len(columns) > len(rows):
        grid, rows, columns = grid.T, columns, rows
    figure = new_figure(3.4 + 0.62 * len(columns), 1.6 + 0.34 * len(rows))
    at = figure.subplots()
    colours = ListedColormap(["#f4f4f4", "#fde8b5", "#fdbe6f", "#e8743b", "#a92d2d", "#5a0f1c"])
    norm = BoundaryNorm([*_SIGMA_STEPS, 1e9], colours.N)
    image = at.imshow(np.minimum(np.abs(grid), 1e8), cmap=colours, norm=norm, aspect="auto")
    for (i, j), value in np.ndenumerate(grid):
        dark = abs(value) >= _SIGMA_STEPS[4]
        at.text(j, i, sigmas_text(value), ha="center", va="center", fontsize=9, color="w" if dark else "k")
    at.set_xticks(range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor", fontsize=10)
    at.set_yticks(range(len(rows)), rows, fontsize=10)
    at.tick_params(which="both", length=0, pad=3)
    at.set_xticks(np.arange(len(columns) - 1) + 0.5, minor=True)
    at.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
    at.grid(which="minor", color="w", lw=1.5, ls="-", alpha=1)
    bar = figure.colorbar(image, ax=at, ticks=_SIGMA_STEPS, spacing="uniform", pad=0.02)
    bar.ax.set_yticklabels([f"{step:g}" for step in _SIGMA_STEPS], fontsize=8)
    bar.ax.minorticks_off()
    bar.set_label("|value − null| / σ(null)", fontsize=8, loc="center")
    caption = "Every cell: sigmas from what equal samples of that bin's size give; darker is further."
    if left_out:
        caption += f" Of families, what differs most; {len(left_out)} other results are in the table below."
    return Picture.of(figure, sample, caption, f"Metrics of {sample} by bin, in sigmas.", wide=len(columns) > 8)


@styled
def timing(evaluation: Evaluation) -> Picture:
    """Draw the seconds that each step took."""
    steps = dict(sorted(evaluation.seconds.items(), key=lambda pair: pair[1]))
    figure = new_figure(6.0, 0.9 + 0.27 * len(steps))
    at = figure.subplots()
    places = np.arange(len(steps))
    at.barh(places, list(steps.values()), height=0.65, color=PALETTE[0])
    largest = max(steps.values(), default=0.0)
    for place, seconds in zip(places, steps.values(), strict=True):
        at.text(seconds + 0.01 * largest, place, f"{seconds:.3g} s", va="center", fontsize=8)
    at.set_yticks(places, [label(name, 40) for name in steps], fontsize=8)
    at.tick_params(axis="y", which="both", length=0)
    at.set_xlim(0, 1.15 * largest or 1.0)
    at.set_xlabel("seconds")
    words = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in reversed(steps.items()))
    return Picture.of(figure, "Time by step", f"{sum(steps.values()):.3g} s in all.", f"Seconds by step: {words}.")


def headroom(at: Axes, tops: list[Floats]) -> None:
    """Begin the vertical axis at zero, or make it logarithmic where histograms are peaked.

    Peaked are histograms whose largest value is more than 30 times the median.

    Args:
        at: axes to change.
        tops: upper ends of the drawn bands of each sample, (B,) each.
    """
    values = np.concatenate(tops)
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return
    if values.max() > 30 * np.median(values):
        at.set_yscale("log")
        at.set_ylim(max(values.min(), 1e-5 * values.max()) * 0.7, values.max() * 2)
    else:
        at.set_ylim(0, 1.06 * values.max())


def _divide(value: Floats, real: Floats) -> Floats:
    return np.divide(value, real, out=np.full_like(real, np.nan), where=real > 0)


def _ratio_points(at: Axes, x: Floats, quotient: Floats, error: Floats, span: float, colour: str) -> None:
    """Draw points with errors; those beyond the panel are triangles at its rim."""
    inside = np.abs(quotient - 1) <= span
    at.errorbar(x[inside], quotient[inside], error[inside], fmt=".", ms=3, lw=0.8, color=colour)
    rims = ((quotient > 1 + span, "^", 1 + 0.94 * span), (quotient < 1 - span, "v", max(0.02, 1 - 0.94 * span)))
    for beyond, marker, rim in rims:
        at.plot(x[beyond], np.full(int(beyond.sum()), rim), marker, ms=3, color=colour)
