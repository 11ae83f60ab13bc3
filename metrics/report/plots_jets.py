"""Pictures of jets: the average image, its difference in sigmas, and single jets particle by particle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastsim.event.species import NEUTRINOS, charges
from metrics.hadrons.jets import Jets
from metrics.report.pictures import Picture, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.colors import Normalize

Floats = NDArray[np.float64]

LABELS = {
    "multiplicity": "particles",
    "charged": "charged particles",
    "mass": r"$m\,/\,p_T^{\,parton}$",
    "girth": "girth",
    "ptd": r"$p_T D$",
    "z1": r"$z_1$",
    "z2": r"$z_2$",
    "tau21": r"$\tau_{21}$",
    "c2": r"$C_2$",
    "d2": r"$D_2$",
    "sum_pt": r"$\sum p_T\,/\,p_T^{\,parton}$",
    "net_phi": r"net $p_\phi\,/\,p_T^{\,parton}$",
    "net_y": r"net $p_y\,/\,p_T^{\,parton}$",
    "e2": r"$e_2$",
    "e3": r"$e_3$",
    "n2": r"$N_2$",
    "tau32": r"$\tau_{32}$",
}
"""The observables of :data:`metrics.hadrons.observables.OBSERVABLES` on an axis."""

PIXELS = 41
NUM_DISPLAYS = 4
_REACHES = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0)
_GROUPS = {
    "charged hadrons": "#e42536",
    "photons": "#f89c20",
    "neutral hadrons": "#5790fc",
    "leptons, neutrinos": "#7a21dd",
}
_AREA = 1200.0
"""Area in points^2 of a particle that has the parton's whole pT."""
_FLAVOURS = {1: "d", 2: "u", 3: "s", 4: "c", 5: "b", 21: "g"}


@dataclass(frozen=True)
class Image:
    """An average jet image of P x P pixels, rows in phi_rel, columns in eta_rel.

    Attributes:
        mean: mean pT_rel in each pixel, (P, P).
        error: standard error of the mean, (P, P).
    """

    mean: Floats
    error: Floats


def image(jets: Jets, weights: Floats | None, reach: float) -> Image:
    r"""Average the jets over |eta_rel|, |phi_rel| < reach.

    With s_ib the pT_rel of set i in pixel b and W = sum_i w_i, the mean is m_b = sum_i w_i s_ib / W, its error
    sqrt(sum_i w_i^2 (s_ib - m_b)^2) / |W|: particles of one set are correlated, so sets are counted and not particles.

    Args:
        jets: N sets.
        weights: event weights of either sign, (N,); None is 1 each.
        reach: half the side of the image.

    Returns:
        The image and its error.
    """
    w = np.ones(len(jets)) if weights is None else weights
    edges = np.linspace(-reach, reach, PIXELS + 1)
    column, row = (np.searchsorted(edges, x, side="right") - 1 for x in (jets.eta_rel, jets.phi_rel))
    inside = (column >= 0) & (column < PIXELS) & (row >= 0) & (row < PIXELS)
    size = PIXELS * PIXELS
    key = jets.index[inside] * size + row[inside] * PIXELS + column[inside]
    pairs, place = np.unique(key, return_inverse=True)
    s = np.bincount(place, jets.pt_rel[inside], len(pairs))
    set_weight, pixel = w[pairs // size], pairs % size
    mean = np.bincount(pixel, set_weight * s, size) / w.sum()
    second, first = (np.bincount(pixel, set_weight**2 * s**k, size) for k in (2, 1))
    variance = second - 2 * mean * first + mean**2 * np.sum(w**2)
    error = np.sqrt(np.maximum(variance, 0.0)) / abs(w.sum())
    return Image(mean.reshape(PIXELS, PIXELS), error.reshape(PIXELS, PIXELS))


@styled
def averages(jets: Mapping[str, Jets], weights: Mapping[str, Floats | None]) -> tuple[list[Picture], list[Picture]]:
    """Draw the average image of every sample, and each generated one's difference from the real one in sigmas.

    Args:
        jets: sets by sample, the real one first.
        weights: of the sets, by sample.

    Returns:
        The images, and the differences.
    """
    from matplotlib.colors import LogNorm, Normalize

    real_name, *generated = jets
    reach = _reach(jets[real_name])
    images = {name: image(sets, weights[name], reach) for name, sets in jets.items()}
    real = images[real_name]
    largest = float(real.mean.max()) or 1.0
    where = f"pT relative to the parton's, in {PIXELS} × {PIXELS} pixels about the parton"
    norm = LogNorm(1e-4 * largest, largest)
    drawn = [
        _map(
            np.maximum(average.mean, 1e-4 * largest), reach, norm, "viridis", r"mean $p_T\,/\,p_T^{\,parton}$",
            f"Average: {name}", f"Mean {where}; one colour scale for all samples.", f"Average jet image of {name}.",
        )
        for name, average in images.items()
    ]  # fmt: skip
    differences = []
    for name in generated:
        average = images[name]
        error = np.hypot(average.error, real.error)
        pull = np.divide(average.mean - real.mean, error, out=np.zeros_like(error), where=error > 0)
        off = float(np.mean(np.abs(pull[error > 0]) > 2)) if (error > 0).any() else 0.0
        differences.append(
            _map(
                pull, reach, Normalize(-5, 5), "RdBu_r", "(generated − real) / σ",
                f"Difference: {name}",
                f"Red: too much, blue: too little. {100 * off:.0f}% of the pixels are beyond 2 sigma; "
                "about 5% are between equal samples.",
                f"Difference of the average jet images of {name} and {real_name} in sigmas.",
            )
        )  # fmt: skip
    return drawn, differences


@styled
def displays(jets: Mapping[str, Jets]) -> list[Picture]:
    """Draw single jets: a few real ones, and of each generated sample those whose partons are most alike.

    Args:
        jets: sets by sample, the real one first.

    Returns:
        A picture for each sample.
    """
    real_name = next(iter(jets))
    real = jets[real_name]
    chosen = _typical(real)
    order = np.argsort(real.parton_pt, kind="stable")
    reaches = [_reach(real[rows], 0.9) for rows in np.array_split(order, len(chosen))]
    pictures = []
    for name, sets in jets.items():
        rows = chosen if name == real_name else [_alike(sets, real, i) for i in chosen]
        pictures.append(_display(name, sets, rows, reaches))
    return pictures


def _map(
    values: Floats, reach: float, norm: Normalize, colours: str, unit: str, title: str, caption: str, alt: str
) -> Picture:
    figure = new_figure(4.2, 3.5)
    at = figure.subplots()
    extent = (-reach, reach, -reach, reach)
    drawn = at.imshow(values, origin="lower", extent=extent, norm=norm, cmap=colours, interpolation="nearest")
    at.set_xlabel(r"$\eta - \eta_{parton}$")
    at.set_ylabel(r"$\varphi - \varphi_{parton}$")
    figure.colorbar(drawn, ax=at, pad=0.02, extend="both" if norm.vmin == -5 else "min").set_label(unit)
    return Picture.of(figure, title, caption, alt)


def _display(name: str, sets: Jets, rows: list[int], reaches: list[float]) -> Picture:
    figure = new_figure(4.6, 5.2)
    panels = figure.subplots(2, 2)
    colours = np.array(list(_GROUPS.values()))[_group(sets.pdg_id)]
    for at, i, reach in zip(panels.flat, rows, reaches, strict=False):
        flat = slice(int(sets.offsets[i]), int(sets.offsets[i + 1]))
        x, y, area = sets.eta_rel[flat], sets.phi_rel[flat], _AREA * sets.pt_rel[flat]
        # leading particles come first, so that small discs lie on large ones
        at.scatter(x, y, np.maximum(area, 2.0), color=colours[flat], alpha=0.65, lw=0.4, ec="0.2")
        at.plot(0, 0, "+", color="k", ms=7, mew=0.8)
        at.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        at.tick_params(labelsize=8)
        flavour = _FLAVOURS.get(int(sets.parton_id[i]), str(sets.parton_id[i]))
        num_outside = int(np.sum((np.abs(x) > reach) | (np.abs(y) > reach)))
        at.set_title(f"{flavour}, {sets.parton_pt[i]:.0f} GeV: {len(x)} particles", fontsize=8, pad=4)
        if num_outside:
            at.text(0.97, 0.03, f"{num_outside} outside", transform=at.transAxes, ha="right", fontsize=7, color="0.4")
    for at in panels[1]:
        at.set_xlabel(r"$\eta - \eta_{parton}$", fontsize=9)
    for at in panels[:, 0]:
        at.set_ylabel(r"$\varphi - \varphi_{parton}$", fontsize=9)
    handles = [
        panels[0, 0].scatter([], [], 40, color=colour, alpha=0.65, lw=0.4, ec="0.2", label=kind)
        for kind, colour in _GROUPS.items()
    ]
    size = 0.1 * _AREA
    tenth = panels[0, 0].scatter([], [], size, color="0.85", ec="0.2", lw=0.4, label="10% of parton's pT")
    figure.legend(handles=[*handles, tenth], loc="outside upper left", ncols=2, fontsize=8)
    caption = "Every disc is a particle, its area the pT relative to the parton's, at the cross. Axes narrow with pT."
    return Picture.of(figure, name, caption, f"Single jets of {name}, particle by particle.")


def _group(pdg_id: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find the place of each particle's group among the displayed ones."""
    ids = np.abs(pdg_id)
    lepton = np.isin(ids, [11, 13, 15, *NEUTRINOS])
    return np.select([lepton, ids == 22, charges(pdg_id) != 0], [3, 1, 0], default=2)


def _typical(jets: Jets) -> list[int]:
    """Choose sets at even quantiles of the parton's pT, hardest last."""
    order = np.argsort(jets.parton_pt, kind="stable")
    places = (np.arange(NUM_DISPLAYS) + 0.5) / NUM_DISPLAYS * len(jets)
    return [int(order[int(place)]) for place in places][: len(jets)]


def _alike(jets: Jets, real: Jets, i: int) -> int:
    """Find the set whose parton has the flavour of real set i, if any has, and the nearest pT."""
    distance = np.abs(np.log(jets.parton_pt / real.parton_pt[i]))
    return int(np.argmin(distance + 1e3 * (jets.parton_id != real.parton_id[i])))


def _reach(jets: Jets, fraction: float = 0.95) -> float:
    """Choose half the width of an image that holds a share of the sets' pT."""
    far = np.maximum(np.abs(jets.eta_rel), np.abs(jets.phi_rel))
    order = np.argsort(far)
    share = np.cumsum(jets.pt_rel[order])
    if not len(share):
        return 1.0
    radius = far[order][min(int(np.searchsorted(share, fraction * share[-1])), len(far) - 1)]
    return next((r for r in _REACHES if r >= radius), _REACHES[-1])
