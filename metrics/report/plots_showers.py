"""Pictures of calorimeter showers: profiles, response, correlations of layers, and projections of the voxels."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import Binning
from metrics.report.histograms import Axis, Histogram
from metrics.report.pictures import Look, Picture, new_figure, styled
from metrics.report.plots import panel
from metrics.report.projections import along_and_across, along_and_around, face_on, reach, ring_edges
from metrics.sample import Sample
from metrics.showers.correlation import layer_correlations
from metrics.showers.features import binning_of
from metrics.showers.profiles import longitudinal_profile, radial_profile
from metrics.showers.response import energy_edges, response

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

DECADES = 1e-4
"""The colour scales go from this fraction of the largest value to the largest."""
MAX_POINTS = 1500
"""Voxels drawn in space; the largest ones."""


def profiles(samples: Mapping[str, Sample], look: Mapping[str, Look]) -> list[Picture]:
    """Draw mean energy by layer and radius, response and resolution by incident energy; the real sample first.

    The profile along the shower is drawn in MeV, as a share of the incident energy, and so again for the lower, middle
    and upper third of the incident energies, since the depth of showers grows with them. What needs the voxels is left
    out where a sample does not hold them, and the resolution where weights are negative.

    Args:
        samples: of showers, the real one first.
        look: how each is drawn.

    Returns:
        The pictures.
    """
    binning = binning_of(next(iter(samples.values())))
    ids = [layer.id for layer, _ in binning.parts]
    pictures = _along(samples, look, ids)
    kept = all(s.events is not None for s in samples.values())
    for edges, layers in _same_rings(binning).items() if kept else ():
        across = {name: radial_profile(s, layers) for name, s in samples.items()}
        width = np.diff(edges)
        which = "all layers" if len(layers) == len(ids) else f"layer {', '.join(str(i) for i in layers)}"
        pictures.append(
            panel(f"Radial profile, {which}", Axis(np.array(edges)),
                  {name: Histogram(p.mean / width, p.error / width, 0.0) for name, p in across.items()}, look, "r / mm",
                  unit="mean dE/dr / (MeV/mm)", note="Mean energy by distance from the shower's axis")
        )  # fmt: skip
    if all(s.weights is None or s.weights.min() >= 0 for s in samples.values()):
        pictures += _responses(samples, look)
    return pictures


def _along(samples: Mapping[str, Sample], look: Mapping[str, Look], ids: list[int]) -> list[Picture]:
    """Draw the profiles along the shower, by layers of these ids."""
    axis = Axis(np.arange(len(ids) + 1) - 0.5)
    ticks = dict(enumerate(ids)) if ids != list(range(len(ids))) else None

    def drawn(title: str, chosen: Mapping[str, Sample], note: str, *, over_incident: bool) -> Picture:
        along = {name: longitudinal_profile(s, over_incident=over_incident) for name, s in chosen.items()}
        histograms = {name: Histogram(p.mean, p.error, 0.0) for name, p in along.items()}
        unit = r"mean of $E_{layer}/E_{inc}$" if over_incident else "mean energy / MeV"
        return panel(title, axis, histograms, look, "layer", unit=unit, ticks=ticks, note=note)

    pictures = [
        drawn("Longitudinal profile", samples, "Mean energy in each layer", over_incident=False),
        drawn(
            "Longitudinal profile over incident energy",
            samples,
            "Mean share of the incident energy in each layer: showers of all energies count alike",
            over_incident=True,
        ),
    ]
    energies = next(iter(samples.values())).condition["energy"]
    edges = np.unique(np.quantile(energies, [0, 1 / 3, 2 / 3, 1]))
    for low, high in pairwise(edges) if len(edges) > 2 else ():
        inside = {name: _between(s, low, high, last=bool(high == edges[-1])) for name, s in samples.items()}
        if all(len(s) and _total(s) > 0 for s in inside.values()):
            title = f"Longitudinal profile, {low:.4g} to {high:.4g} GeV"
            pictures.append(
                drawn(
                    title,
                    inside,
                    "Mean share of the incident energy in each layer, for showers of these incident energies",
                    over_incident=True,
                )
            )
    return pictures


def _between(sample: Sample, low: float, high: float, *, last: bool) -> Sample:
    """Return the showers of incident energies (GeV) from ``low`` to below ``high``, with it in the ``last`` range."""
    energy = sample.condition["energy"]
    return sample[(energy >= low) & ((energy < high) | (last & (energy == high)))]


def _total(sample: Sample) -> float:
    return float(len(sample) if sample.weights is None else sample.weights.sum())


def _responses(samples: Mapping[str, Sample], look: Mapping[str, Look]) -> list[Picture]:
    """Draw response and resolution by incident energy."""
    edges = energy_edges(next(iter(samples.values())).condition["energy"])
    responses = {name: response(s, edges, num_bootstrap=2) for name, s in samples.items()}
    axis = Axis(edges, logarithmic=True)
    means = {name: Histogram(r.response, r.response_error, 0.0) for name, r in responses.items()}
    widths = {name: Histogram(r.resolution, r.resolution_error, 0.0) for name, r in responses.items()}
    return [
        panel("Response", axis, means, look, r"$E_{inc}$ / GeV", unit=r"mean of $E_{tot}/E_{inc}$", fill=False,
              note="Visible share of the incident energy"),
        panel("Resolution", axis, widths, look, r"$E_{inc}$ / GeV", unit="resolution", fill=False,
              note="Standard deviation of the response over its mean"),
    ]  # fmt: skip


def _same_rings(binning: Binning) -> dict[tuple[float, ...], list[int]]:
    """Group the ids of layers by their ring edges."""
    groups: dict[tuple[float, ...], list[int]] = {}
    for layer, _ in binning.parts:
        groups.setdefault(layer.r_edges, []).append(layer.id)
    return groups


@styled
def correlations(samples: Mapping[str, Sample]) -> list[list[Picture]]:
    """Draw correlation matrices of the layers' shares of the incident energy, and their differences from the real.

    Args:
        samples: of showers, the real one first.

    Returns:
        The matrices, then the differences.
    """
    real_name, *generated = samples
    binning = binning_of(samples[real_name])
    matrices = {name: layer_correlations(sample) for name, sample in samples.items()}
    drawn = [
        _matrix(matrix, 1.0, "correlation", f"Correlations: {name}", "Red: layers that rise together.", binning)
        for name, matrix in matrices.items()
    ]
    differences = {name: matrices[name] - matrices[real_name] for name in generated}
    largest = max((float(np.abs(d).max()) for d in differences.values()), default=0.0)
    scale = next((s for s in (0.1, 0.2, 0.5, 1.0) if s >= largest), 2.0)
    difference_pictures = [
        _matrix(d, scale, "generated − real", f"Difference: {name}", "White: as in the real sample.", binning)
        for name, d in differences.items()
    ]
    return [drawn, difference_pictures]


def _matrix(values: Floats, scale: float, unit: str, title: str, caption: str, binning: Binning) -> Picture:
    figure = new_figure(4.2, 3.6)
    at = figure.subplots()
    drawn = at.imshow(values, origin="lower", cmap="RdBu_r", vmin=-scale, vmax=scale, interpolation="nearest")
    _layer_ticks(at, binning, "x")
    _layer_ticks(at, binning, "y")
    at.set_xlabel("layer")
    at.set_ylabel("layer")
    figure.colorbar(drawn, ax=at, pad=0.02).set_label(unit)
    return Picture.of(figure, title, caption, f"{title}: matrix of the layers.")


def projections(vectors: Mapping[str, Floats], binning: Binning, captions: Mapping[str, str]) -> list[list[Picture]]:
    """Draw four views of one vector of voxels a sample: along and across, along and around, face on, in space.

    Args:
        vectors: energies (V,) in MeV, the real sample's first: they set the scales.
        binning: of the voxels.
        captions: what each vector is.

    Returns:
        Pictures by view, then sample.
    """
    real = next(iter(vectors.values()))
    half = reach(real, binning)
    views = (
        ("layer and radius", along_and_across, "dE/dr / (MeV/mm)"),
        ("layer and angle", along_and_around, "dE/dα / (MeV/rad)"),
        ("across", lambda v, b: face_on(v, b, half), "dE/dA / (MeV/mm²)"),
    )
    rows = []
    for view, project, unit in views:
        largest = float(project(real, binning).max()) or 1.0
        rows.append(
            [
                _view(view, name, project(vector, binning), largest, unit, half, binning, captions[name])
                for name, vector in vectors.items()
            ]
        )
    largest = float(real.max()) or 1.0
    rows.append([_space(name, vector, largest, half, binning, captions[name]) for name, vector in vectors.items()])
    return rows


@styled
def _view(
    view: str, name: str, values: Floats, largest: float, unit: str, half: float, binning: Binning, caption: str
) -> Picture:
    from matplotlib.colors import LogNorm

    figure = new_figure(4.2, 3.4)
    at = figure.subplots()
    norm = LogNorm(DECADES * largest, largest)
    # what is zero or below the scale shows as its lowest colour
    values = np.maximum(values, DECADES * largest)
    if view == "across":
        at.set_aspect("equal")
        edges = np.linspace(-half, half, len(values) + 1)
        drawn = at.pcolormesh(edges, edges, values, norm=norm, cmap="viridis", rasterized=True)
        at.set_xlabel("η / mm")
        at.set_ylabel("φ / mm")
    else:
        across = ring_edges(binning) if view == "layer and radius" else np.linspace(-np.pi, np.pi, values.shape[1] + 1)
        layers = np.arange(len(values) + 1) - 0.5
        drawn = at.pcolormesh(layers, across, values.T, norm=norm, cmap="viridis", rasterized=True)
        _layer_ticks(at, binning, "x")
        at.set_xlabel("layer")
        if view == "layer and radius":
            at.set_ylim(0, half)
            at.set_ylabel("r / mm")
        else:
            at.set_yticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
            at.set_ylabel("α")
    _colour_bar(figure, drawn, at, unit)
    caption += f" Darkest: nothing, or less than {DECADES:g} of the real sample's largest value."
    return Picture.of(figure, f"{name}, {view}", caption, f"Energy of {name}, {view}: {caption}")


@styled
def _space(name: str, vector: Floats, largest: float, half: float, binning: Binning, caption: str) -> Picture:
    from matplotlib.colors import LogNorm

    depth = np.concatenate([np.full(layer.num_voxels, i) for i, (layer, _) in enumerate(binning.parts)])
    eta = np.concatenate([layer.eta for layer, _ in binning.parts])
    phi = np.concatenate([layer.phi for layer, _ in binning.parts])
    near = (vector > DECADES * largest) & (np.abs(eta) <= half) & (np.abs(phi) <= half)
    chosen = np.flatnonzero(near)
    chosen = chosen[np.argsort(vector[chosen], kind="stable")][-MAX_POINTS:]
    energy = vector[chosen]
    figure = new_figure(4.2, 3.6)
    at: Any = figure.add_subplot(projection="3d")
    share = 1 + np.log10(np.maximum(energy, DECADES * largest) / largest) / -np.log10(DECADES)
    norm = LogNorm(DECADES * largest, largest)
    drawn = at.scatter(
        depth[chosen],
        eta[chosen],
        phi[chosen],
        s=2 + 40 * share**2,
        c=energy,
        norm=norm,
        cmap="viridis",
        alpha=0.7,
        lw=0,
    )
    at.set(xlim=(-0.5, len(binning.parts) - 0.5), ylim=(-half, half), zlim=(-half, half))
    at.set_box_aspect((1.7, 1, 1), zoom=0.95)
    at.view_init(elev=18, azim=-62)
    at.tick_params(labelsize=7, pad=0)
    at.minorticks_off()
    at.locator_params(axis="y", nbins=3)
    at.locator_params(axis="z", nbins=3)
    at.set_xlabel("layer", fontsize=8)
    at.set_ylabel("η / mm", fontsize=8)
    at.set_zlabel("φ / mm", fontsize=8, labelpad=-3)
    _layer_ticks(at, binning, "x")
    _colour_bar(figure, drawn, at, "voxel energy / MeV", pad=0.17)
    caption += f" The {len(chosen):,} largest voxels; area and colour show the energy."
    return Picture.of(figure, f"{name}, in space", caption, f"Voxels of {name} in three dimensions: {caption}")


def _layer_ticks(at: Axes, binning: Binning, axis: str) -> None:
    """Name the layers by their ids where these are not their places."""
    ids = [layer.id for layer, _ in binning.parts]
    if ids != list(range(len(ids))):
        (at.set_xticks if axis == "x" else at.set_yticks)(range(len(ids)), [str(i) for i in ids])
        at.tick_params(axis="x" if axis == "x" else "y", which="minor", length=0)


def _colour_bar(figure: Figure, drawn: Any, at: Axes, unit: str, pad: float = 0.02) -> None:
    figure.colorbar(drawn, ax=at, pad=pad, shrink=0.9, extend="min").set_label(unit)
