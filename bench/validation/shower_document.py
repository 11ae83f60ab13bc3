"""The validation document of calorimeter models: tables in Markdown and pictures, one row a cell and sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.validation.hadron_document import table
from fastsim.detector.binning import Binning
from fastsim.formats.calochallenge import Showers
from metrics.report.histograms import Axis, Histogram, choose_axis, density
from metrics.report.pictures import Picture, looks
from metrics.report.plots import panel
from metrics.report.plots_showers import profiles, projections
from metrics.result import MetricResult
from metrics.sample import Sample
from metrics.showers.comparison import CLASSIFIERS, ShowerComparison, read_out
from metrics.showers.features import showers_of, showers_sample
from metrics.showers.separation import voxel_edges

Results = Mapping[str, Mapping[str, ShowerComparison]]
"""Comparisons by cell, then by sample; Geant4's own is the sample "Geant4"."""

NULL = "Geant4"
SHAPES = (
    ("displacement", "displacement"),
    ("tilt", "tilt / (mm/layer)"),
    ("wander", "wander / mm"),
    ("sides 1 apart", "sides 1 apart"),
    ("radius", "radius / mm"),
    ("core", "core"),
    ("ellipticity", "ellipticity"),
    ("depth", "depth / layers"),
    ("length", "length / layers"),
    ("start", "start"),
    ("clusters", "clusters"),
    ("voxels", "voxels"),
)
"""Heading and name of the shapes of whole showers that the document shows."""
GROUPS = ("E_layer", "centre eta", "centre phi", "centre r", "width eta", "width phi", "width r", "sparsity")
MOST = 4
"""Shapes and inputs of the trees of a row, at most, among what differs most."""
FAR = 4.0
"""Null standard deviations from which a shape counts as different; errors from which an input matters to the trees."""
DISPLAYED = 10.0
"""GeV of the single showers that are drawn."""
SHOWN_LAYERS = (10, 25)
"""Places of the layers whose energies are drawn: before and after the maximum of a shower in pb-si-ecal."""
SHOWN_SHAPES = ("clusters", "sides 1 apart")
"""Shapes of whole showers that are drawn: those that give models away most."""

_SUMMARY = (
    ("response", "response", 1.0, 4),
    ("core resolution", "core resolution", 1.0, 3),
    ("separation of layers, 1e-3", "separation E_layer", 1e3, 1),
    ("separation of voxels, 1e-3", "separation voxel energy", 1e3, 2),
    ("KS of displacement", "shape displacement", 1.0, 3),
    ("KS of tilt", "shape tilt / (mm/layer)", 1.0, 3),
    *((f"AUC, {name.removeprefix('auc ')}", name, 1.0, 3) for name in CLASSIFIERS),
)
_RATIOS = ("response", "resolution", "core resolution")
# title, what it says, columns as (heading, figure, scale, digits)
_TABLES: tuple[tuple[str, str, tuple[tuple[str, str, float, int], ...]], ...] = (
    (
        "Distances of the feature vector",
        "Of the challenge's high-level vector (log incident energy, log layer energies, centres and widths). FPD is "
        "extrapolated to infinite samples, but in hundreds of dimensions and at these sizes it keeps a bias: only the "
        "difference to the row of Geant4 says something. Precision to coverage are worse when lower; all above those "
        "of Geant4 mean copies.",
        (
            ("FPD", "fpd", 1.0, 3),
            ("KPD, 1e-3", "kpd", 1e3, 2),
            ("precision", "precision", 1.0, 3),
            ("recall", "recall", 1.0, 3),
            ("density", "density", 1.0, 2),
            ("coverage", "coverage", 1.0, 3),
        ),
    ),
    (
        "Classifiers",
        "Area under the curve between the sample and Geant4 on events that the classifier has not seen; 0.5 where it "
        "sees no difference. Trees: boosted trees on all features; features and voxels: the challenge's network (three "
        "layers of 2048) on the feature vector and on the voxels.",
        tuple((name.removeprefix("auc "), name, 1.0, 3) for name in CLASSIFIERS),
    ),
    (
        "Response",
        "Ratios to Geant4 of the mean visible fraction, of its relative standard deviation, and of half its central "
        "68.27% interval over the median, which rare leaks do not move; Wasserstein-1 distances in standard "
        "deviations of Geant4, that of the layers' energies a mean over the layers; distance of the correlations "
        "between layers.",
        (
            ("response", "response", 1.0, 4),
            ("resolution", "resolution", 1.0, 3),
            ("core resolution", "core resolution", 1.0, 3),
            ("W1 E_tot/E_inc", "w1 E_tot/E_inc", 1.0, 3),
            ("W1 layers", "w1 E_layer", 1.0, 3),
            ("correlations", "layer correlations", 1.0, 3),
        ),
    ),
    (
        "Whole showers",
        "Kolmogorov-Smirnov distances of the shapes of whole showers (fastsim.detector.shower_shapes), FPD of all of "
        "them, and the distance of the correlations between the sides of layers. Equal samples have those of the row "
        "of Geant4.",
        (
            *((heading, f"shape {name}", 1.0, 3) for heading, name in SHAPES),
            ("FPD of shapes", "fpd shapes", 1.0, 4),
            ("side correlations", "side correlations", 1.0, 3),
        ),
    ),
    (
        "Separation powers, 1e-3: mean over the layers",
        "0: equal histograms, 1000: disjoint; equal samples have that of the row of Geant4.",
        (
            ("E_tot/E_inc", "separation E_tot/E_inc", 1e3, 1),
            *((group, f"separation {group}", 1e3, 1) for group in GROUPS),
            ("voxels", "separation voxel energy", 1e3, 2),
        ),
    ),
    (
        "Separation powers, 1e-3: worst layer",
        "The layer that differs most; so is the row of Geant4.",
        tuple((group, f"largest separation {group}", 1e3, 0) for group in GROUPS),
    ),
)


def markdown(results: Results, samples: Sequence[str], notes: Sequence[str], pictures: Mapping[str, str]) -> str:
    """Write the whole document.

    Args:
        results: comparisons by cell and sample.
        samples: names in the order of the rows; Geant4 first.
        notes: paragraphs that say what was compared.
        pictures: alternative text of image files, by their path from the document.
    """
    lines = ["# Validation of calorimeter showers", ""]
    for note in notes:
        lines += [note, ""]
    lines += [
        "Errors are of one standard deviation; the null is the row of Geant4, an independent sample of the same size.",
        "",
        summary(results, samples),
    ]
    for title, text, columns in _TABLES:
        known = [c for c in columns if any(c[1] in f.figures for by in results.values() for f in by.values())]
        if not known:
            continue
        rows = [
            [cell, sample, *(_text(by[sample].figures.get(name), scale, digits) for _, name, scale, digits in known)]
            for cell, by in results.items()
            for sample in samples
            if sample in by
        ]
        lines += [f"## {title}", "", text, "", table(["cell", "sample", *(c[0] for c in known)], rows)]
    lines += [
        "## What differs most",
        "",
        f"Shapes of whole showers that are {FAR:g} standard deviations or more further from Geant4 than equal samples: "
        "Kolmogorov-Smirnov distance, and that of equal samples in brackets. What boosted trees look at: the area "
        "under the curve that is lost when an input is exchanged among all showers at random; of inputs that say the "
        "same, little is lost with each.",
        "",
        table(
            ["cell", "sample", "shapes", "trees"],
            [
                [cell, sample, far_shapes(by[sample]), seen_by_trees(by[sample])]
                for cell, by in results.items()
                for sample in samples
                if sample in by
            ],
        ),
    ]
    if pictures:
        lines += ["## Pictures", ""]
        lines += [f"![{alt}]({path})" for path, alt in pictures.items()] + [""]
    return "\n".join(lines)


def far_shapes(comparison: ShowerComparison) -> str:
    """Write the shapes that are furthest from Geant4's, the furthest first."""
    far = [r for name, r in comparison.figures.items() if name.startswith("shape ") and r.sigmas >= FAR]
    far = sorted(far, key=lambda r: -r.sigmas)[:MOST]
    names = [r.name.removeprefix("shape ").partition(" / ")[0] for r in far]
    return ", ".join(f"{n} {r.value:.3f} ({r.null_value:.3f})" for n, r in zip(names, far, strict=True))


def seen_by_trees(comparison: ShowerComparison) -> str:
    """Write the inputs that matter most to boosted trees, the most important first."""
    seen = sorted((i for i in comparison.seen if i.value >= FAR * i.error), key=lambda i: -i.value)[:MOST]
    return ", ".join(f"{i.name.partition(' / ')[0]} {i.value:.3f}" for i in seen)


def summary(results: Results, samples: Sequence[str]) -> str:
    """Write one row a sample: the worst cell of the main figures.

    Worst is the ratio furthest from 1, the largest AUC, the largest separation power.
    """
    columns = [c for c in _SUMMARY if any(c[1] in f.figures for by in results.values() for f in by.values())]
    rows = []
    for sample in samples:
        cells = {cell: by[sample].figures for cell, by in results.items() if sample in by}
        if not cells:
            continue
        row = [sample, str(len(cells))]
        for _, name, scale, digits in columns:
            known = {cell: figures[name] for cell, figures in cells.items() if name in figures}
            far = {c: abs(r.value - 1) if name in _RATIOS else r.value for c, r in known.items()}
            worst = max(far, key=far.__getitem__, default="")
            row.append(f"{_text(known[worst], scale, digits)} ({worst})" if worst else "")
        rows.append(row)
    return table(["sample", "cells", *(f"{heading}, worst cell" for heading, *_ in columns)], rows)


def _text(value: MetricResult | None, scale: float, digits: int) -> str:
    return "" if value is None else f"{scale * value.value:.{digits}f} ± {scale * value.error:.{digits}f}"


def draw(showers: Mapping[str, Showers], binning: Binning, readout: float) -> list[Picture]:
    """Draw profiles, response, voxel spectrum, energies of layers, and a single shower of each sample.

    Args:
        showers: by sample, the real one first.
        binning: of their voxels.
        readout: threshold in MeV, of all.
    """
    samples = {name: showers_sample(read_out(s, readout), binning) for name, s in showers.items()}
    look = looks(samples)
    pictures = [*profiles(samples, look), voxel_spectrum(samples, readout)]
    names = list(next(iter(samples.values())).observables)
    energies = [name for name in names if name.startswith("E_layer")]
    shown = [energies[i] for i in SHOWN_LAYERS if i < len(energies)]
    for name in (*shown, *(name for name in SHOWN_SHAPES if name in names)):
        axis = choose_axis([s.observables[name] for s in samples.values()])
        pictures.append(
            panel(name, axis, {n: density(s.observables[name], None, axis) for n, s in samples.items()}, look, name)
        )
    rows = {n: int(np.argmin(np.abs(np.log(s.incident / (1e3 * DISPLAYED))))) for n, s in showers.items()}
    singles = {n: showers_of(samples[n]).voxels[row].astype(np.float64) for n, row in rows.items()}
    captions = {n: f"Incident energy {showers[n].incident[row] / 1e3:.4g} GeV." for n, row in rows.items()}
    along = projections(singles, binning, captions)[0]
    return [*pictures, *along]


def voxel_spectrum(samples: Mapping[str, Sample], readout: float) -> Picture:
    """Draw the voxels a shower by their energy; errors from the spread over showers."""
    edges = voxel_edges(next(iter(samples.values())), readout=readout)
    edges = edges[np.isfinite(edges)]
    spectra = {}
    for name, sample in samples.items():
        showers = showers_of(sample)
        total, squares = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
        for chunk in showers.chunks():
            event, voxel = np.nonzero(chunk.voxels >= edges[0])
            place = np.searchsorted(edges, chunk.voxels[event, voxel], side="right") - 1
            inside = place < len(edges) - 1
            cell = event[inside] * (len(edges) - 1) + place[inside]
            counts = np.bincount(cell, minlength=len(chunk) * (len(edges) - 1)).reshape(len(chunk), -1)
            total += counts.sum(axis=0)
            squares += (counts**2).sum(axis=0)
        mean = total / len(showers)
        error = np.sqrt(np.maximum(squares / len(showers) - mean**2, 0.0) / len(showers))
        spectra[name] = Histogram(mean, error, 0.0)
    return panel(
        "Voxel spectrum", Axis(edges, logarithmic=True), spectra, looks(samples), "voxel energy / MeV",
        unit="voxels a shower", note="Voxels a shower by their energy."
    )  # fmt: skip


def write_pictures(pictures: Sequence[Picture], folder: Path, stem: str) -> dict[Path, str]:
    """Write image files named after the pictures.

    Returns:
        Titles of the pictures by path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    titles = {}
    for picture in pictures:
        words = "".join(c if c.isalnum() else "-" for c in picture.title.lower())
        name = "-".join(word for word in words.split("-") if word)
        path = folder / f"{stem}-{name}.{'svg' if 'svg' in picture.media else 'png'}"
        path.write_bytes(picture.data)
        titles[path] = picture.title
    return titles
