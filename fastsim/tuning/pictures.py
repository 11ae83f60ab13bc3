"""The picture of a fit: observables before and after, pulls, correlations of the parameters."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim.extras import library
from fastsim.tuning.result import Comparison, FitResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEFORE, AFTER, DATA = "#f89c20", "#5790fc", "#333333"
"""Colours that the colour-blind can distinguish (Petroff 2021, arXiv:2107.02270)."""
MAX_PANELS = 12
"""A picture with more panels is not read: those with the largest chi2 at the start are shown."""
_COLUMNS = 4


def picture(result: FitResult) -> bytes:
    """Draw a fit as PNG.

    Raises:
        MissingLibrary: if matplotlib is not installed.
    """
    plot = library("matplotlib.figure")
    spectra = sorted((c for c in result.comparisons if len(c.data) > 1), key=lambda c: -c.chi2(after=False))
    numbers = [c for c in result.comparisons if len(c.data) == 1]
    spectra = spectra[:MAX_PANELS]
    rows = -(-len(spectra) // _COLUMNS)
    figure = plot.Figure(figsize=(13.0, 4.2 + 2.4 * rows), dpi=110, layout="constrained")
    above, *below = figure.subfigures(
        2 if rows else 1, 1, height_ratios=[4.2, 2.4 * rows][: 1 + bool(rows)], squeeze=False
    )[:, 0]
    pulls, single, correlation = above.subplots(1, 3)
    _pulls(pulls, result)
    _numbers(single, numbers)
    _correlation(correlation, result)
    if below:
        axes = below[0].subplots(rows, _COLUMNS, squeeze=False).ravel()
        for place, comparison in zip(axes, spectra, strict=False):
            _ratio(place, comparison)
        for place in axes[len(spectra) :]:
            place.set_axis_off()
    content = BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def _pulls(axes: Axes, result: FitResult) -> None:
    """Draw histograms of (prediction - data) / error over all bins."""
    edges = np.linspace(-6, 6, 25).tolist()
    for after, colour, name in ((False, BEFORE, "before"), (True, AFTER, "after")):
        values = np.concatenate([c.pulls(after=after) for c in result.comparisons])
        axes.hist(np.clip(values, -6, 6), edges, color=colour, histtype="step", linewidth=1.6, label=name)
    axes.set_xlabel("(prediction - data) / error")
    axes.set_ylabel("bins")
    axes.set_title(
        f"chi2 {result.chi2['before']:.0f} → {result.chi2['after']:.0f} of {result.chi2['bins']:.0f}", fontsize=10
    )
    axes.legend(frameon=False)


def _numbers(axes: Axes, numbers: list[Comparison]) -> None:
    """Draw the pulls of single numbers, named."""
    for k, comparison in enumerate(numbers):
        for after, colour in ((False, BEFORE), (True, AFTER)):
            axes.plot(np.clip(comparison.pulls(after=after)[0], -6, 6), k, "o", color=colour, markersize=4)
    axes.axvline(0, color=DATA, linewidth=0.8)
    axes.set_yticks(range(len(numbers)), [comparison.what for comparison in numbers], fontsize=7)
    axes.set_xlim(-6.5, 6.5)
    axes.set_xlabel("(prediction - data) / error, means")


def _correlation(axes: Axes, result: FitResult) -> None:
    names = [
        f"{p.name} = {v:.4g} ± {e:.1g}" for p, v, e in zip(result.parameters, result.values, result.errors, strict=True)
    ]
    matrix = result.correlation
    axes.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xticks(range(len(names)), [p.name for p in result.parameters], rotation=45, fontsize=8)
    for i, j in np.ndindex(matrix.shape):
        axes.text(j, i, f"{matrix[i, j]:.2f}", ha="center", va="center", fontsize=7)
    axes.set_title("correlations", fontsize=10)


def _ratio(axes: Axes, comparison: Comparison) -> None:
    """Draw prediction over data in the bins of a table."""
    centre = 0.5 * (comparison.low + comparison.high)
    data = np.where(comparison.data != 0, comparison.data, np.nan)
    band: Any = np.abs(comparison.error / data)
    axes.fill_between(centre, 1 - band, 1 + band, color="#dddddd", step="mid", linewidth=0)
    for value, colour in ((comparison.before, BEFORE), (comparison.after, AFTER)):
        axes.step(centre, value / data, where="mid", color=colour, linewidth=1.2)
    axes.axhline(1, color=DATA, linewidth=0.8)
    axes.set_ylim(0.6, 1.4)
    axes.set_title(
        f"{comparison.what}: {comparison.chi2(after=False):.0f} → {comparison.chi2(after=True):.0f} / {len(data)}",
        fontsize=8,
    )
    axes.tick_params(labelsize=7)
