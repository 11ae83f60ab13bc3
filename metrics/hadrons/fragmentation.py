r"""Fragmentation functions: how a parton's pT is shared among its particles, species by species.

D(z) = 1/N dN_particles/dz of N sets, with z = pT / pT of the parton (or jet). Kept as one histogram a set, so that the
error of the mean is the spread over sets.

References:
    ATLAS 2019, arXiv:1906.09254 (z by transverse momenta).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.event.species import charges
from metrics.hadrons.histograms import histogram_per_set
from metrics.hadrons.jets import Jets
from metrics.hadrons.observables import GROUPS, SPECTRA

Z_EDGES: NDArray[np.float64] = np.geomspace(1e-3, 1.0, 19)
"""Edges in z: six bins a decade."""


def fragmentation_functions(jets: Jets, *, edges: NDArray[Any] = Z_EDGES) -> dict[str, NDArray[np.float32]]:
    """Count particles in bins of z, one histogram a set.

    Particles outside the edges are left out; z can exceed 1 by what other partons' radiation or hadron masses add.

    Args:
        jets: N sets relative to their partons or jet axes.
        edges: in z, increasing, (bins + 1,).

    Returns:
        "all", "charged", every group of :data:`metrics.hadrons.observables.SPECTRA`, "neutrino", and "other" (the
        species of no group): counts, each (N, bins). Their mean over sets divided by the widths of the bins is D(z).
    """
    chosen = {"all": np.ones(len(jets.pdg_id), dtype=bool), "charged": charges(jets.pdg_id) != 0}
    chosen |= {name: np.isin(jets.pdg_id, ids) for name, ids in SPECTRA.items()}
    chosen["neutrino"] = np.isin(jets.pdg_id, GROUPS["neutrino"])
    chosen["other"] = ~np.any([chosen[name] for name in (*SPECTRA, "neutrino")], axis=0)
    index = jets.index
    return {
        name: histogram_per_set(index[mask], jets.pt_rel[mask], edges, len(jets)).astype(np.float32)
        for name, mask in chosen.items()
    }
