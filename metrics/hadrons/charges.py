r"""Charges of a parton's particle set: its total, jet charges, who carries them, and how neighbours compensate them.

The jet charge is Q_kappa = sum_i q_i z_i^kappa over charged particles, with z_i = pT_i / pT of the parton: it remembers
the charge of the parton, the more as kappa weighs the particles that were made first. That hadronisation conserves
charge locally shows in the charges of neighbours, whose product is negative more often than not.

References:
    Field, Feynman 1978, Nucl. Phys. B 136, 1. Krohn, Schwartz, Lin, Waalewijn 2012, arXiv:1209.2421. Waalewijn 2012,
    arXiv:1209.3019. Bass, Danielewicz, Pratt 2000, arXiv:nucl-th/0005044 (charge balance in rapidity).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.event.species import charges
from metrics.hadrons.histograms import sum_per_set
from metrics.hadrons.jets import Jets

Floats = NDArray[np.float64]

KAPPAS = (0.3, 0.5, 1.0)
"""Exponents of the jet charge: those of Krohn et al."""
LARGEST_VELOCITY = 1.0 - 1e-9
"""Photons along the parton have infinite rapidity; this one is 10.7."""
RINGS = {"core": (0.0, 0.1), "middle": (0.1, 0.4), "rim": (0.4, np.inf)}
"""Distances Delta R from the parton whose particles share one charge."""
CHARGES: dict[str, str] = {
    "charge": "sum of the charges",
    **{f"jet_charge_{kappa:g}": f"sum q z^{kappa:g}, z = pT / pT of the parton" for kappa in KAPPAS},
    "charge_0": "charge of the leading particle, 0 if it is neutral",
    "charge_1": "charge of the leading charged particle",
    "charge_2": "charge of the second charged particle",
    **{
        f"jet_charge_{name}": f"sum q z^0.5 at Delta R {f'from {low:g}' if high == np.inf else f'{low:g} to {high:g}'}"
        for name, (low, high) in RINGS.items()
    },
    "neighbours_pt": "mean product of the charges of neighbours, charged particles ordered by pT",
    "neighbours_y": "the same, ordered by rapidity along the parton",
}
"""Names and meanings; the charges are those of a quark's set, and 0 where no particle is charged."""


def charge_observables(jets: Jets) -> Floats:
    """Compute the charges of each set, in the order of :data:`CHARGES`.

    Args:
        jets: N sets relative to their partons.

    Returns:
        Charges in units of e, shape (N, 12).
    """
    charged = charges(jets.pdg_id)
    rows = np.flatnonzero(charged != 0)
    q, index, z = charged[rows], jets.index[rows], np.asarray(jets.pt_rel, dtype=np.float64)[rows]
    columns = [sum_per_set(index, q, len(jets))]
    columns += [sum_per_set(index, q * z**kappa, len(jets)) for kappa in KAPPAS]
    columns.append(_of_place(charged, jets.index, 0, len(jets)))
    columns += [_of_place(q, index, place, len(jets)) for place in range(2)]
    distance = np.hypot(jets.eta_rel, jets.phi_rel)[rows]
    for low, high in RINGS.values():
        columns.append(sum_per_set(index, q * np.sqrt(z) * ((low <= distance) & (distance < high)), len(jets)))
    columns.append(_neighbours(q, index, len(jets)))
    order = np.lexsort((axis_rapidity(jets)[rows], index))
    columns.append(_neighbours(q[order], index, len(jets)))
    return np.stack(columns, axis=1)


def axis_rapidity(jets: Jets) -> Floats:
    """Compute the rapidity of every particle along its parton, artanh(p_parallel / E), shape (M,)."""
    energy, along = jets.p4_rel[:, 0], jets.p4_rel[:, 1]
    velocity = np.divide(along, energy, out=np.zeros(len(energy)), where=energy > 0)
    return np.asarray(np.arctanh(np.clip(velocity, -LARGEST_VELOCITY, LARGEST_VELOCITY)))


def _of_place(q: Floats, index: NDArray[Any], place: int, num_sets: int) -> Floats:
    """Look up the charge of a set's particle number ``place`` (from 0) among ordered charged ones; 0 without it."""
    counts = np.bincount(index, minlength=num_sets)
    first = np.cumsum(counts) - counts
    out = np.zeros(num_sets)
    has = counts > place
    out[has] = q[first[has] + place]
    return out


def _neighbours(q: Floats, index: NDArray[Any], num_sets: int) -> Floats:
    """Average the products of the charges of adjacent particles of each set; 0 for fewer than two."""
    same = index[1:] == index[:-1]
    products = sum_per_set(index[1:][same], (q[1:] * q[:-1])[same], num_sets)
    return np.asarray(products / np.maximum(np.bincount(index, minlength=num_sets) - 1, 1))
