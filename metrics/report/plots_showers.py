"""Pictures of calorimeter showers: profiles, response, correlations of layers, and projections of the voxels."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import Binning
from metrics.report.histograms import Axis, Histogram
from metrics.report.pictures import Look, Picture, label, new_figure, styled
from metrics.report.plots import panel
from metrics.report.projections import along_and_across, along_and_around, face_on, reach, ring_edges, side_view
from metrics.sample import Sample
from metrics.showers.correlation import layer_correlations, side_correlations
from metrics.showers.features import binning_of
from metrics.showers.profiles import longitudinal_profile, radial_profile
from metrics.showers.response import energy_edges, response

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

DECADES = 1e-4
"""The colour scales go from this fraction of the largest value to the largest."""
DISPLAYED_LAYERS = 6
"""Layers of an event display: at even shares of the real sample's energy."""
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
    """Draw correlation matrices of the layers, and their differences from the real sample's.

    They are those of the layers' shares of the incident energy, then, where layers have sides, of their sides.

    Args:
        samples: of showers, the real one first.

    Returns:
        The matrices, then the differences, of each.
    """
    binning = binning_of(next(iter(samples.values())))
    rows = _matrices({name: layer_correlations(s) for name, s in samples.items()}, "Correlations", binning)
    sided = tuple(layer for layer, _ in binning.parts if layer.binned_in_alpha)
    if len(sided) > 1 and all(f"centre eta layer {sided[0].id} / mm" in s.observables for s in samples.values()):
        own = Binning(binning.particle, binning.pid, sided)
        rows += _matrices({name: side_correlations(s) for name, s in samples.items()}, "Correlations of sides", own)
    return rows


def _matrices(matrices: Mapping[str, Floats], title: str, binning: Binning) -> list[list[Picture]]:
    """Draw matrices by sample, the real one first, and their differences from it."""
    real_name, *generated = matrices
    drawn = [
        _matrix(matrix, 1.0, "correlation", f"{title}: {name}", "Red: layers that rise together.", binning)
        for name, matrix in matrices.items()
    ]
    differences = {name: matrices[name] - matrices[real_name] for name in generated}
    largest = max((float(np.abs(d).max()) for d in differences.values()), default=0.0)
    scale = next((s for s in (0.1, 0.2, 0.5, 1.0) if s >= largest), 2.0)
    difference_pictures = [
        _matrix(d, scale, "generated − real", f"{title}, difference: {name}", "White: as in the real sample.", binning)
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
    """Draw views of one vector of voxels a sample: by layer and radius, angle and side, across, in space; layers.

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
        ("from the side", lambda v, b: side_view(v, b, half), "dE/dη / (MeV/mm)"),
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
    rows.append([layers(vectors, binning, half)])
    return rows


@styled
def layers(vectors: Mapping[str, Floats], binning: Binning, half: float) -> Picture:
    """Draw some layers of one vector of voxels a sample as polar plots, samples below one another.

    Args:
        vectors: energies (V,) in MeV, the real sample's first: it chooses the layers, and the scale.
        binning: of the voxels.
        half: radius in mm to which layers are drawn.

    Returns:
        The picture.
    """
    from matplotlib.colors import LogNorm

    real = next(iter(vectors.values()))
    along = np.array([real[part].sum() for _, part in binning.parts])
    reached = np.cumsum(along) / (along.sum() or 1.0)
    shares = (np.arange(DISPLAYED_LAYERS) + 0.5) / DISPLAYED_LAYERS
    chosen = np.unique(np.minimum(np.searchsorted(reached, shares), len(along) - 1))
    grids = {(name, int(k)): _density(vector, binning, int(k)) for name, vector in vectors.items() for k in chosen}
    largest = max(float(grids[next(iter(vectors)), int(k)].max()) for k in chosen) or 1.0
    norm = LogNorm(DECADES * largest, largest)
    figure = new_figure(1.9 * len(chosen) + 1.0, 2.1 * len(vectors) + 0.3)
    axes = figure.subplots(len(vectors), len(chosen), subplot_kw={"projection": "polar"}, squeeze=False)
    for row, name in zip(axes, vectors, strict=True):
        for at, k in zip(row, chosen, strict=True):
            layer = binning.parts[k][0]
            # finer than sectors: straight pieces of a polar mesh would cut corners
            fine = max(1, 96 // layer.num_alpha)
            alpha = np.linspace(-np.pi, np.pi, fine * layer.num_alpha + 1)
            values = np.repeat(np.maximum(grids[name, int(k)], DECADES * largest), fine, axis=0)
            drawn = at.pcolormesh(alpha, layer.r_edges, values.T, norm=norm, cmap="viridis", rasterized=True)
            at.set_ylim(0, half)
            at.grid(visible=False)
            at.set_xticks([])
            at.set_yticks([])
            if name == next(iter(vectors)):
                at.set_title(f"layer {layer.id}", fontsize=9)
        row[0].set_ylabel(label(name, 18), fontsize=9)
    figure.colorbar(drawn, ax=axes, pad=0.02, shrink=0.8, extend="min").set_label("dE/dA / (MeV/mm²)")
    caption = (
        f"Energy per area in layers at even shares of the real sample's energy, to r = {half:.4g} mm; one colour scale "
        "for all. A shower that leans to one side leans there in every layer; a model that forgets it does not."
    )
    return Picture.of(figure, "Layers", caption, f"Layers of {', '.join(vectors)} as polar plots.", wide=True)


def _density(vector: Floats, binning: Binning, place: int) -> Floats:
    """Compute the energy per area of a layer's voxels in MeV/mm^2, (sectors, rings)."""
    layer, part = binning.parts[place]
    area = np.pi * np.diff(np.array(layer.r_edges) ** 2) / layer.num_alpha
    return np.asarray(vector[part].reshape(layer.num_alpha, layer.num_r) / area)


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
        reaches = {"layer and angle": np.pi, "from the side": half}
        side = reaches.get(view, 0.0)
        across = ring_edges(binning) if view == "layer and radius" else np.linspace(-side, side, values.shape[1] + 1)
        layers = np.arange(len(values) + 1) - 0.5
        drawn = at.pcolormesh(layers, across, values.T, norm=norm, cmap="viridis", rasterized=True)
        _layer_ticks(at, binning, "x")
        at.set_xlabel("layer")
        if view == "layer and radius":
            at.set_ylim(0, half)
            at.set_ylabel("r / mm")
        elif view == "from the side":
            at.set_ylabel("η / mm")
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
