r"""Observables of the calorimeter cells of whole events, in visible energies.

With energies E_c of cells at the middles (eta_c, phi_c) of their towers, in layer l_c, E_T,c = E_c / cosh(eta_c):

    totals       sum E_c, sum E_T,c, and the energy of every layer
    cells        number of cells, of those above a threshold, energy of the hottest cell
    depth        energy-weighted mean layer
    eta          energy-weighted mean and spread of eta
    sides        imbalance |sum E_T,c n_c| / sum E_T,c with n = (cos phi, sin phi), and the alignment of the layers'
                 sides, sum_l S_l . S_(l+1) / sum_l |S_l||S_(l+1)| with S_l = sum_c in l E_T,c n_c
    jets         of towers (:mod:`metrics.cells.jets`)

An event without energy has 0 everywhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.towers import Towers
from fastsim.errors import InvalidValue
from fastsim.event import Cells
from metrics.cells.jets import tower_jets
from metrics.sample import Sample

Floats = NDArray[np.float64]

THRESHOLD = 1.0
"""MeV; cells above it are counted."""
GEV = 1e-3

CELL_OBSERVABLES = {
    "visible energy / GeV": "energy of all cells",
    "transverse energy / GeV": "transverse energy of all cells",
    "cells": "number of cells with energy",
    "cells above threshold": f"number of cells above {THRESHOLD:g} MeV",
    "hottest cell / GeV": "energy of the cell with most",
    "mean layer": "energy-weighted mean layer",
    "mean eta": "energy-weighted mean pseudorapidity",
    "eta spread": "energy-weighted spread in pseudorapidity",
    "imbalance": "how far the transverse energy leans to one side: 0 balanced, 1 all on one",
    "sides of layers": "whether neighbouring layers lean to the same side: -1 to 1",
    "tower jets": "number of anti-kt jets of towers with 5% of the transverse energy",
    "tower jet 1 pT / GeV": "transverse momentum of the leading jet of towers",
    "tower jet 2 pT / GeV": "transverse momentum of the second jet of towers",
    "tower jet 1 mass / pT": "mass over pT of the leading jet of towers",
    "tower jet 1 width": "pT-weighted mean distance of towers from the leading jet's axis",
    "tower jet 1 towers": "number of towers in the leading jet",
    "tower jets delta phi": "azimuth between the two leading jets of towers",
}
"""Observables of the cells of an event, and what they are; those of layers are named "energy layer L / GeV"."""
LAYER = "energy layer {} / GeV"


def cell_observables(
    cells: Cells, towers: Towers, *, threshold: float = THRESHOLD, radius: float | None = 0.4
) -> dict[str, Floats]:
    """Compute the observables of E events.

    Args:
        cells: cells with energy of each event.
        towers: what their ids mean.
        threshold: MeV; cells above it are counted.
        radius: R of the anti-kt jets of towers; None for no jets.

    Returns:
        Observables by name, (E,) each: :data:`CELL_OBSERVABLES`, and the energy of each layer.

    Raises:
        InvalidValue: if a cell is none of the towers', or an energy is negative or not finite.
        MissingLibrary: if FastJet is not installed and jets are wanted.
    """
    _check(cells, towers)
    num, index, energy = len(cells), cells.index, cells.energy.astype(np.float64)
    eta, phi, layer = towers.centres(cells.id)
    transverse = energy / np.cosh(eta)

    def summed(values: Floats) -> Floats:
        return np.bincount(index, weights=values, minlength=num).astype(np.float64)

    total, total_t = summed(energy), summed(transverse)
    mean_eta = _ratio(summed(energy * eta), total)
    variance = _ratio(summed(energy * eta**2), total) - mean_eta**2
    hottest = np.zeros(num)
    np.maximum.at(hottest, index, energy)
    by_layer = np.bincount(index * towers.num_layers + layer, energy, num * towers.num_layers)
    by_layer = by_layer.reshape(num, towers.num_layers)
    sides = np.stack(
        [
            np.bincount(index * towers.num_layers + layer, transverse * f(phi), num * towers.num_layers)
            for f in (np.cos, np.sin)
        ],
        axis=-1,
    ).reshape(num, towers.num_layers, 2)
    size = np.hypot(sides[:, :, 0], sides[:, :, 1])
    aligned = (sides[:, :-1] * sides[:, 1:]).sum(axis=(1, 2))
    whole = sides.sum(axis=1)
    values = {
        "visible energy / GeV": GEV * total,
        "transverse energy / GeV": GEV * total_t,
        **{LAYER.format(k): GEV * by_layer[:, k] for k in range(towers.num_layers)},
        "cells": cells.counts.astype(np.float64),
        "cells above threshold": summed((energy > threshold).astype(np.float64)),
        "hottest cell / GeV": GEV * hottest,
        "mean layer": _ratio(summed(energy * layer), total),
        "mean eta": mean_eta,
        "eta spread": np.sqrt(np.maximum(variance, 0.0)),
        "imbalance": _ratio(np.hypot(whole[:, 0], whole[:, 1]), total_t),
        "sides of layers": _ratio(aligned, (size[:, :-1] * size[:, 1:]).sum(axis=1)),
    }
    return values if radius is None else values | tower_jets(cells, towers, radius=radius)


def cell_sample(
    cells: Cells,
    towers: Towers,
    *,
    weights: Floats | None = None,
    threshold: float = THRESHOLD,
    radius: float | None = 0.4,
) -> Sample:
    """Make a sample for every metric of the cells of E events.

    The embedding holds every observable, energies and numbers as log(1 + x).

    Args:
        cells, towers, threshold, radius: as in :func:`cell_observables`.
        weights: event weights of either sign, (E,).

    Raises:
        InvalidValue: as :func:`cell_observables`, or if there are no events.
        MissingLibrary: if FastJet is not installed and jets are wanted.
    """
    if len(cells) == 0:
        raise InvalidValue("there are no events with cells")
    observables = cell_observables(cells, towers, threshold=threshold, radius=radius)
    logs = [np.log1p(v) if "GeV" in k or "cells" in k or "towers" in k else v for k, v in observables.items()]
    return Sample("cells", observables, np.stack(logs, axis=1), weights=weights)


def _check(cells: Cells, towers: Towers) -> None:
    """Refuse cells that the towers do not have, and energies that no calorimeter records."""
    for what, bad, allowed in (
        ("id", (cells.id < 0) | (cells.id >= towers.num_cells), f"0 to {towers.num_cells - 1:,}"),
        ("energy", ~((cells.energy >= 0) & np.isfinite(cells.energy)), "finite and not negative, in MeV"),
    ):
        if bad.any():
            first = int(np.argmax(bad))
            value = getattr(cells, what)[first]
            raise InvalidValue(f"event {cells.index[first]}: a cell has the {what} {value}; must be {allowed}")


def _ratio(above: Floats, below: Floats) -> Floats:
    """Divide, 0 where the divisor is not positive."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
