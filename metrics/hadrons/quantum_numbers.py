r"""Quantum numbers of a parton's particle set: baryon number, strangeness, lepton number, and their pairs.

Hadronisation makes baryons and strange quarks in pairs, close in rapidity. Strangeness is that of what can be seen:
K0S and K0L, which are mixtures, count as 0.

References:
    Andersson, Gustafson, Soderberg 1983, Z. Phys. C 20, 317 (pairs along a string). OPAL 1993, Phys. Lett. B 305, 415
    (correlations of strange baryons in rapidity).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastsim.event.species import baryon_numbers, charges, strangeness
from metrics.hadrons.charges import axis_rapidity
from metrics.hadrons.jets import Jets

Floats = NDArray[np.float64]

LEPTONS = (11, 12, 13, 14, 15, 16)
QUANTUM_NUMBERS: dict[str, str] = {
    "baryon_number": "baryons minus antibaryons",
    "baryons": "baryons and antibaryons",
    "baryon_pairs": "the smaller of the numbers of baryons and antibaryons",
    "baryon_1": "baryon number of the leading baryon or antibaryon",
    "baryon_gap": "rapidity between the leading baryon and the leading antibaryon, along the parton",
    "strangeness": "net strangeness without K0S and K0L",
    "strange_pairs": "the smaller of the positive and the negative strangeness",
    "strange_1": "sign of the strangeness of the leading strange particle",
    "strange_gap": "rapidity between the leading particles of strangeness above and below 0, along the parton",
    "lepton_number": "leptons minus antileptons, neutrinos included",
    "lepton_1": "charge of the leading charged lepton",
}
"""Names and meanings; the signs are those of a quark's set, and what a set does not have is 0."""


def quantum_number_observables(jets: Jets) -> Floats:
    """Compute the quantum numbers of each set, in the order of :data:`QUANTUM_NUMBERS`.

    Args:
        jets: N sets relative to their partons.

    Returns:
        Quantum numbers, shape (N, 11); gaps in units of rapidity.
    """
    y = axis_rapidity(jets)
    baryon, strange = baryon_numbers(jets.pdg_id), strangeness(jets.pdg_id)
    lepton = np.sign(jets.pdg_id) * np.isin(np.abs(jets.pdg_id), LEPTONS).astype(np.float64)
    baryons, antibaryons = jets.sum(baryon > 0), jets.sum(baryon < 0)
    positive, negative = jets.sum(np.maximum(strange, 0)), jets.sum(np.maximum(-strange, 0))
    columns = {
        "baryon_number": baryons - antibaryons,
        "baryons": baryons + antibaryons,
        "baryon_pairs": np.minimum(baryons, antibaryons),
        "baryon_1": _leading(jets, baryon, baryon != 0)[0],
        "baryon_gap": _gap(jets, y, baryon),
        "strangeness": positive - negative,
        "strange_pairs": np.minimum(positive, negative),
        "strange_1": _leading(jets, np.sign(strange), strange != 0)[0],
        "strange_gap": _gap(jets, y, strange),
        "lepton_number": jets.sum(lepton),
        "lepton_1": _leading(jets, charges(jets.pdg_id), (lepton != 0) & (charges(jets.pdg_id) != 0))[0],
    }
    return np.stack([columns[name] for name in QUANTUM_NUMBERS], axis=1)


def _leading(jets: Jets, values: Floats, chosen: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """Look up the value of each set's leading chosen particle, 0 without one, and whether there is one."""
    rows = np.flatnonzero(chosen)
    sets, first = np.unique(jets.index[rows], return_index=True)  # particles are in decreasing pT
    out, has = np.zeros(len(jets)), np.zeros(len(jets), dtype=bool)
    out[sets], has[sets] = values[rows[first]], True
    return out, has


def _gap(jets: Jets, y: Floats, number: Floats) -> Floats:
    """Compute the distance in rapidity of the leading particles with a number above and below 0; 0 without both."""
    (one, has_one), (other, has_other) = _leading(jets, y, number > 0), _leading(jets, y, number < 0)
    return np.where(has_one & has_other, np.abs(one - other), 0.0)
