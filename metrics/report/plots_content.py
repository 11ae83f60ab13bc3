"""Pictures of what particle sets are made of: peaks in masses, charges, impact parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.hadrons.content import CONTENT
from metrics.hadrons.histograms import histogram_per_set, sum_per_set
from metrics.hadrons.jets import Jets
from metrics.hadrons.origins import FRACTIONS, ORIGINS, Origins
from metrics.hadrons.resonances import MIN_SIGNIFICANCE, PEAKS, Peak, mass_spectra
from metrics.report import plots
from metrics.report.histograms import Axis, Histogram
from metrics.report.pictures import REAL, Look, Picture, new_figure, styled
from metrics.sample import Sample

Floats = NDArray[np.float64]

NUM_GROUPS = 200
"""Groups of sets whose spread gives the errors of a spectrum."""
MAX_CHARGES = 12
"""Pictures of charges and quantum numbers at most."""
IMPACT_EDGES: Floats = np.geomspace(1e-2, 30.0, 22)
"""Edges in |d0| in mm."""
LABELS = {
    "charge": "total charge",
    "jet_charge_0.3": r"jet charge, $\kappa=0.3$",
    "jet_charge_0.5": r"jet charge, $\kappa=0.5$",
    "jet_charge_1": r"jet charge, $\kappa=1$",
    "charge_0": "charge of the leading particle",
    "charge_1": "charge of the leading charged particle",
    "charge_2": "charge of the second charged particle",
    "baryon_gap": r"$|\Delta y|$ of leading $B$, $\bar B$",
    "strange_gap": r"$|\Delta y|$ of leading $s$, $\bar s$",
}
"""Columns of :data:`metrics.hadrons.content.CONTENT` on an axis, where their name is not enough."""
VERTEX_LABELS = {
    "tracks_0.1": r"tracks with $|d_0| > 0.1$ mm",
    "tracks_0.5": r"tracks with $|d_0| > 0.5$ mm",
    "d0_1": r"largest $|d_0|$  [mm]",
    "d0_2": r"second largest $|d_0|$  [mm]",
    "displaced_mass": "mass of displaced tracks  [GeV]",
    "displaced_z": r"$p_T$ of displaced tracks $/\,p_T^{\,parton}$",
    "flight_b": "flight length of b hadrons  [mm]",
    "flight_c": "flight length of c hadrons  [mm]",
    "x_b": r"$x_b$",
    "x_c": r"$x_c$",
}
"""Columns of :data:`metrics.hadrons.origins.ORIGINS` and ``FRACTIONS`` on an axis."""


def charges(samples: Mapping[str, Sample], look: Mapping[str, Look]) -> tuple[list[Picture], int]:
    """Draw the distributions of charges, quantum numbers and combinations that differ most.

    Args:
        samples: with content, the real one first.
        look: how each is drawn.

    Returns:
        The pictures, and the number of quantities left out.
    """
    own = _of_columns(samples, {name: sample.content for name, sample in samples.items()})
    return plots.distributions(own, look, LABELS, lambda key: CONTENT.get(key, ""), MAX_CHARGES)


def _of_columns(samples: Mapping[str, Sample], columns: Mapping[str, Mapping[str, NDArray[Any]]]) -> dict[str, Sample]:
    """Make samples whose observables are other columns, but for those with one and the same value in every sample."""
    values = {key: np.concatenate([own[key] for own in columns.values()]) for key in next(iter(columns.values()))}
    varied = [key for key, column in values.items() if len(column) and np.ptp(column) > 0]
    return {
        name: replace(sample, observables={key: columns[name][key] for key in varied})
        for name, sample in samples.items()
    }


def masses(jets: Mapping[str, Jets], weights: Mapping[str, Floats | None], look: Mapping[str, Look]) -> list[Picture]:
    """Draw the mass spectrum of every peak that some sample has, with its window and the bands below and above.

    Args:
        jets: sets by sample, the real one first.
        weights: of the sets, by sample.
        look: how each is drawn.

    Returns:
        The pictures.
    """
    spectra = {}
    for name, sets in jets.items():
        w = np.ones(len(sets)) if weights[name] is None else np.asarray(weights[name])
        num = max(2, min(NUM_GROUPS, len(sets)))
        groups = np.arange(len(sets)) % num
        counts = mass_spectra(sets, weights=w, groups=groups, num_groups=num)
        total = sum_per_set(groups, w, num)
        spectra[name] = {key: _mean(histogram, total) for key, histogram in counts.items()}
        areas = {key: _mean((histogram @ PEAKS[key].area)[:, None], total) for key, histogram in counts.items()}
        spectra[name] |= {f"area {key}": area for key, area in areas.items()}
    pictures = []
    for key, peak in PEAKS.items():
        own = {name: (by[key], by[f"area {key}"]) for name, by in spectra.items()}
        if any(area[0] > MIN_SIGNIFICANCE * error[0] > 0 for _, (area, error) in own.values()):
            pictures.append(_spectrum(key, peak, own, look))
    return pictures


Measured = tuple[Floats, Floats]
"""Mean a set, and its error."""


def _mean(values: Floats, total: Floats) -> Measured:
    """Compute the means per unit of weight of sums over groups (groups, bins), and their errors."""
    mean = values.sum(axis=0) / total.sum()
    return mean, np.sqrt(np.sum((values - total[:, None] * mean) ** 2, axis=0)) / abs(total.sum())


@styled
def _spectrum(
    key: str, peak: Peak, spectra: Mapping[str, tuple[Measured, Measured]], look: Mapping[str, Look]
) -> Picture:
    figure = new_figure(4.2, 3.4)
    at = figure.subplots()
    width = float(peak.bins[1] - peak.bins[0])
    at.axvspan(*peak.window, color="#f89c20", alpha=0.18, lw=0)
    for band in peak.bands:
        at.axvspan(*band, color="0.5", alpha=0.12, lw=0)
    for place, (name, ((mean, error), _)) in enumerate(spectra.items()):
        colour = REAL if place == 0 else look[name].colour
        at.stairs(mean / width, peak.bins, baseline=None, color=colour, ls=look[name].dash, label=look[name].label)
        plots.band(at, Axis(peak.bins), mean / width, error / width, colour)
    at.set_xlim(peak.bins[0], peak.bins[-1])
    lowest = min(float((mean - error).min()) for (mean, error), _ in spectra.values())
    if lowest >= 0:
        at.set_ylim(0)
    at.set_xlabel(f"{peak.label}  [GeV]")
    at.set_ylabel("combinations a set / GeV")
    plots.legend_above(figure, at)
    words = [f"{name}: {1e3 * area[0]:.3g} ± {1e3 * error[0]:.2g}" for name, (_, (area, error)) in spectra.items()]
    subtracted = "; like-sign combinations are subtracted" if peak.like_sign else ""
    caption = f"Orange: the window, grey: the bands{subtracted}. Area a thousand sets: {'; '.join(words)}."
    return Picture.of(figure, key, caption, f"Mass spectrum of {key}: {', '.join(spectra)}.")


def vertices(
    origins: Mapping[str, Origins],
    weights: Mapping[str, Floats | None],
    look: Mapping[str, Look],
    samples: Mapping[str, Sample],
) -> list[Picture]:
    """Draw the impact parameters of charged particles, and what else the vertices say of sets.

    Args:
        origins: where the particles come from, by sample, the real one first.
        weights: of the sets, by sample.
        look: how each is drawn.
        samples: the samples themselves.

    Returns:
        The pictures.
    """
    axis = Axis(IMPACT_EDGES, logarithmic=True)
    histograms = {}
    for name, own in origins.items():
        w = np.ones(len(own)) if weights[name] is None else np.asarray(weights[name])
        counts = histogram_per_set(own.tracks.index, np.abs(own.tracks.d0), IMPACT_EDGES, len(own))
        mean = w @ counts / w.sum()
        error = np.sqrt(w**2 @ (counts - mean) ** 2) / abs(w.sum())
        steps = np.diff(np.log10(IMPACT_EDGES))
        histograms[name] = Histogram(mean / steps, error / steps, 0.0)
    tracks = plots.panel(
        "impact parameters", axis, histograms, look, r"$|d_0|$  [mm]", unit="tracks a set / decade", fill=False
    )
    own_samples = _of_columns(samples, {name: {**own.vertices, **own.fractions} for name, own in origins.items()})
    return [
        tracks,
        *plots.distributions(own_samples, look, VERTEX_LABELS, lambda key: {**ORIGINS, **FRACTIONS}.get(key, ""))[0],
    ]
