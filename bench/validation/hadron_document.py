"""The validation document: tables in Markdown and plots from comparisons, one set a cell and sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.hadrons.comparison import Comparison
from metrics.hadrons.observables import FLOW_EDGES, OBSERVABLES, SPECTRA
from metrics.hadrons.sample import Features
from metrics.report.plots_jets import LABELS
from metrics.report.verdict import plus_minus
from metrics.result import MetricResult

Results = Mapping[str, Mapping[str, Comparison]]
"""Comparisons by cell, then by sample; the null is the sample "pythia"."""

NULL = "pythia"
MOST_PEAKS, MOST_CHARGES = 12, 6
"""Figures of a cell that a table shows: those furthest from their nulls."""
_COLOURS = ("#d1495b", "#00798c", "#edae49", "#66a182", "#8d6a9f")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]
    return "\n".join(lines) + "\n"


def figure_table(results: Results, samples: Sequence[str], name: str, scale: float, digits: int) -> str:
    """Write the table of one figure with its error, cells by samples, the null first."""
    rows = []
    for cell, by_sample in results.items():
        values = [by_sample[s].figures[name] if s in by_sample else None for s in samples]
        rows.append([cell, *(_text(v, scale, digits) for v in values)])
    return table(["cell", *(_title(s) for s in samples)], rows)


def w1_table(results: Results, sample: str, names: Mapping[str, str]) -> str:
    """Write the table of W1 of one sample: in units of 1e-4 and, in brackets, how many times the null."""
    rows = []
    for cell, by_sample in results.items():
        if sample not in by_sample:
            continue
        row = [cell]
        for name in names:
            value = by_sample[sample].figures.get(name)
            null = by_sample[NULL].figures.get(name) if NULL in by_sample else None
            row.append("" if value is None else _with_null(value, null))
        rows.append(row)
    return table(["cell", *names.values()], rows)


def content_table(results: Results, sample: str, prefix: str, most: int) -> str:
    """Write by cell the figures "PREFIX NAME" that are most sigmas from their nulls, the furthest first."""
    rows = []
    for cell, by_sample in results.items():
        if sample not in by_sample:
            continue
        own = [r for name, r in by_sample[sample].figures.items() if name.startswith(f"{prefix} ")]
        own = sorted(own, key=lambda r: abs(r.sigmas), reverse=True)[:most]
        shown = [f"{r.name.removeprefix(f'{prefix} ')} {plus_minus(r.value, r.error)} ({r.excess:+.1f}σ)" for r in own]
        rows.append([cell, "; ".join(shown)])
    return table(["cell", "value ± error (sigmas from equal samples)"], rows)


def means_table(results: Results, samples: Sequence[str]) -> str:
    """Write by cell: species with a mean multiplicity outside 1% (5% if rare), and the worst bin of energy flow."""
    rows = []
    for cell, by_sample in results.items():
        row = [cell]
        for sample in samples:
            if sample not in by_sample:
                row.append("")
                continue
            c = by_sample[sample]
            everything, flow = c.species["all"], c.flow_deviation()
            outside = ", ".join(f"{k} {100 * (c.species[k].ratio - 1):+.1f}%" for k in c.species_outside())
            row.append(
                f"{100 * (everything.ratio - 1):+.2f} ± {100 * everything.error:.2f}%; "
                f"{outside or 'none'}; {100 * (flow.ratio - 1):+.1f} ± {100 * flow.error:.1f}%"
            )
        rows.append(row)
    return table(["cell", *(_title(s) for s in samples)], rows)


def flow_table(results: Results, sample: str) -> str:
    """Write the deviation of the mean energy flow in every bin of Delta R, by cell."""
    rows = [
        [cell, *(f"{100 * (r.ratio - 1):+.1f} ± {100 * r.error:.1f}" for r in by_sample[sample].flow)]
        for cell, by_sample in results.items()
        if sample in by_sample
    ]
    bins = [f"{low:g}-{high:g}" for low, high in pairwise(FLOW_EDGES)]
    return table(["cell", *bins], rows)


def summary_table(results: Results, samples: Sequence[str]) -> str:
    """Write one row a sample: FPD and AUC, median and worst cell, and how many cells keep all means."""
    rows = []
    for sample in samples:
        cells = {cell: by_sample[sample] for cell, by_sample in results.items() if sample in by_sample}
        if not cells:
            continue
        row = [_title(sample), str(len(cells))]
        for name, scale, digits in (("fpd", 1e4, 1), ("auc", 1.0, 3)):
            worst = max(cells, key=lambda cell: cells[cell].figures[name].value)
            median = np.median([c.figures[name].value for c in cells.values()])
            row += [f"{scale * median:.{digits}f}", f"{_text(cells[worst].figures[name], scale, digits)} ({worst})"]
        species = sum(not c.species_outside() for c in cells.values())
        flow = sum(max(r.excess(0.02) for r in c.flow) <= 0 for c in cells.values())
        rows.append([*row, f"{species}", f"{flow}"])
    header = ("sample", "cells", "FPD, 1e-4: median", "worst cell", "AUC: median", "worst cell")
    return table([*header, "cells with species means kept", "cells with energy flow kept"], rows)


def fill(document: Path, marker: str, text: str) -> None:
    """Put ``text`` between ``<!-- marker -->`` and ``<!-- /marker -->`` of a document that has these."""
    start, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    if not document.exists():
        return
    whole = document.read_text(encoding="utf-8")
    if start in whole and end in whole:
        before, rest = whole.split(start, 1)
        document.write_text(f"{before}{start}\n{text}{end}{rest.split(end, 1)[1]}", encoding="utf-8")


def markdown(results: Results, samples: Sequence[str], plots: Sequence[Path]) -> str:
    """Write the whole document.

    Args:
        results: comparisons by cell and sample.
        samples: names of the samples in the order of the columns; the null first.
        plots: image files beside the document.
    """
    first = next(c for by_sample in results.values() for c in by_sample.values())
    lines = [
        "# Validation",
        "",
        "Made by `bench/validation/hadrons.py` ([models.md](models.md#validation) has the commands); definitions in "
        "[metrics.md](metrics.md). Test partons were never used in training or selection. Each cell (parton, pT range "
        f"in GeV) holds {first.num:,} partons a sample: real sample A is held against an independent real sample B "
        "(the column Pythia, the null of every figure) and against each model.",
        "",
        "## Frechet physics distance, 1e-4",
        "",
        f"36 energy flow polynomials of the leading {first.max_particles} particles, extrapolated to infinite samples.",
        "",
        figure_table(results, samples, "fpd", 1e4, 1),
        "## Kernel physics distance, 1e-6",
        "",
        "Of the same polynomials.",
        "",
        figure_table(results, samples, "kpd", 1e6, 2),
        "## AUC of a gradient-boosted classifier",
        "",
        "On 17 observables, 17 species counts, charges, quantum numbers, combinations in the mass windows of "
        "resonances, and the condition (flavour, pT); 0.5 is perfect.",
        "",
        figure_table(results, samples, "auc", 1.0, 3),
        "Without charges, quantum numbers and combinations:",
        "",
        figure_table(results, samples, "auc_shapes", 1.0, 3),
        "## Multiplicity, species and energy flow",
        "",
        "Deviation of the mean multiplicity; species (by |PDG id|) whose mean deviates by more than 1% (5% below one "
        "per 10 sets) beyond two standard errors; most significant deviation of the mean energy flow in a bin of "
        "Delta R up to 1.",
        "",
        means_table(results, samples),
    ]
    observable_names = {f"w1 {k}": k for k in OBSERVABLES}
    spectrum_names = {f"w1 {q} of {k}": f"{q} {k}" for k in SPECTRA for q in ("pt", "eta")}
    for sample in samples:
        title = "Pythia against Pythia" if sample == NULL else f"`{sample}`"
        lines += [f"## Mean energy flow by Delta R, deviation in %: {title}", "", flow_table(results, sample)]
        lines += [
            f"## W1 of observables, 1e-4 (times the null): {title}",
            "",
            w1_table(results, sample, observable_names),
        ]
        lines += [f"## Peaks of resonances, area over Pythia's: {title}", ""]
        lines += [content_table(results, sample, "peak", MOST_PEAKS)]
        lines += [f"## Charges and quantum numbers, Kolmogorov-Smirnov distance: {title}", ""]
        lines += [content_table(results, sample, "content", MOST_CHARGES)]
        lines += [f"## W1 of particle spectra, 1e-4 (times the null): {title}", ""]
        lines += [w1_table(results, sample, spectrum_names)]
    if plots:
        lines += ["## Plots", ""]
        lines += [f"![{path.stem}]({path.parent.name}/{path.name})\n" for path in plots]
    return "\n".join(lines)


def plot_cell(path: Path, cell: str, real: Features, samples: Mapping[str, Features]) -> None:
    """Draw distributions of all observables with their ratio to the real sample, and energy flow, as one PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [*OBSERVABLES, "flow"]
    columns = 5
    bands = -(-len(names) // columns)
    figure = plt.figure(figsize=(3.1 * columns, 3.2 * bands))
    grid = figure.add_gridspec(bands, columns, hspace=0.38, wspace=0.3)
    for number, name in enumerate(names):
        inner = grid[number // columns, number % columns].subgridspec(2, 1, height_ratios=(3, 1), hspace=0.05)
        top, ratio = figure.add_subplot(inner[0]), figure.add_subplot(inner[1])
        if name == "flow":
            edges = FLOW_EDGES
            histograms = {k: _flow_density(s) for k, s in {"": real, **samples}.items()}
        else:
            edges = _edges(real.column(name), name)
            histograms = {k: _density(s.column(name), edges) for k, s in {"": real, **samples}.items()}
        base, base_error = histograms[""]
        top.stairs(base, edges, color="0.7", fill=True, label="Pythia A")
        ratio.axhspan(0.95, 1.05, color="0.92")
        for (key, (value, error)), colour in zip(list(histograms.items())[1:], _COLOURS, strict=False):
            top.stairs(value, edges, color=colour, linewidth=1.2, label="Pythia B" if key == NULL else key)
            known = base > 0
            quotient = np.divide(value, base, out=np.full_like(base, np.nan), where=known)
            spread = np.hypot(error, quotient * base_error) / np.where(known, base, np.nan)
            ratio.errorbar(0.5 * (edges[1:] + edges[:-1]), quotient, spread, fmt=".", ms=2.5, lw=0.8, color=colour)
        top.set_xlim(edges[0], edges[-1])
        ratio.set_xlim(edges[0], edges[-1])
        ratio.set_ylim(0.75, 1.25)
        top.set_xticklabels([])
        top.set_yticks([])
        top.set_ylim(bottom=0)
        ratio.set_xlabel(r"energy flow against $\Delta R$" if name == "flow" else LABELS[name], fontsize=9)
        ratio.tick_params(labelsize=7)
        if number == 0:
            top.legend(fontsize=7, frameon=False)
    figure.suptitle(f"{cell} GeV: distributions and ratio to Pythia A", y=0.92)
    figure.savefig(path, dpi=80, bbox_inches="tight")
    plt.close(figure)


def plot_heat_map(path: Path, results: Results, samples: Sequence[str]) -> None:
    """Draw FPD and AUC of every sample over the cells (parton by pT range) as one PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    partons = list(dict.fromkeys(cell.split("-", 1)[0] for cell in results))
    ranges = list(dict.fromkeys(cell.split("-", 1)[1] for cell in results))
    rows = (("fpd", 1e4, "FPD, 1e-4", 0.0, 15.0, "{:.1f}"), ("auc", 1.0, "AUC", 0.5, 0.65, "{:.3f}"))
    figure, axes = plt.subplots(2, len(samples), figsize=(3.4 * len(samples), 5.6), squeeze=False)
    for line, (name, unit, title, low, high, form) in zip(axes, rows, strict=True):
        for axis, sample in zip(line, samples, strict=True):
            grid = np.full((2, len(partons), len(ranges)), np.nan)
            for cell, by_sample in results.items():
                if sample in by_sample:
                    i, j = partons.index(cell.split("-", 1)[0]), ranges.index(cell.split("-", 1)[1])
                    figure_of = by_sample[sample].figures[name]
                    grid[:, i, j] = unit * figure_of.value, unit * figure_of.error
            axis.imshow(grid[0], vmin=low, vmax=high, cmap="YlOrRd", aspect="auto")
            for (i, j), value in np.ndenumerate(grid[0]):
                if np.isfinite(value):
                    text = f"{form.format(value)}\n± {form.format(grid[1, i, j])}"
                    colour = "white" if value > low + 0.6 * (high - low) else "black"
                    axis.text(j, i, text, ha="center", va="center", fontsize=8, color=colour)
            axis.set_xlabel("parton pT / GeV", fontsize=8)
            axis.set_xticks(range(len(ranges)), ranges, fontsize=7)
            axis.set_yticks(range(len(partons)), partons, fontsize=8)
            axis.set_title(f"{title}: {_title(sample)}", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _title(sample: str) -> str:
    return "Pythia" if sample == NULL else sample


def _text(value: MetricResult | None, scale: float, digits: int) -> str:
    return "" if value is None else f"{scale * value.value:.{digits}f} ± {scale * value.error:.{digits}f}"


def _with_null(value: MetricResult, null: MetricResult | None) -> str:
    text = f"{1e4 * value.value:.3g}"
    return text if null is None or null.value <= 0 else f"{text} (×{value.value / null.value:.1f})"


def _edges(values: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    low, high = np.quantile(values, (0.001, 0.999))
    if name in ("multiplicity", "charged"):
        step = max(1, int(np.ceil((high - low) / 30)))
        return np.asarray(np.arange(int(low), high + step + 1, step) - 0.5)
    return np.asarray(np.linspace(low, high, 31))


def _density(values: NDArray[Any], edges: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    counts = np.histogram(values, edges)[0].astype(np.float64)
    norm = len(values) * np.diff(edges)
    return counts / norm, np.sqrt(counts) / norm


def _flow_density(sample: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    width = np.diff(FLOW_EDGES)
    error = sample.flow.std(axis=0, dtype=np.float64) / np.sqrt(len(sample))
    return sample.flow.mean(axis=0, dtype=np.float64) / width, error / width
