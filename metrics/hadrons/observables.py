r"""Observables of a parton's particle set, for tables, classifiers and plots.

All are computed from final particles with neutrinos, relative to the parton (see :mod:`metrics.hadrons.jets`). The
observables of soft drop, which need FastJet, are in :mod:`metrics.hadrons.grooming`.

References:
    girth and pTD: Gallicchio, Schwartz 2012, arXiv:1211.7038; CMS-PAS-JME-13-002. C2: Larkoski, Salam, Thaler
    2013, arXiv:1305.0007. D2: Larkoski, Moult, Neill 2014, arXiv:1409.6298. N2: Moult, Necib, Thaler 2016,
    arXiv:1609.07483. tau21, tau32: Thaler, Van Tilburg 2011, arXiv:1011.2268.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.event.species import charges
from metrics.hadrons.correlators import energy_correlations, generalized_e3
from metrics.hadrons.histograms import histogram_per_set
from metrics.hadrons.jets import Jets
from metrics.hadrons.subjettiness import subjettiness

OBSERVABLES: dict[str, str] = {
    "multiplicity": "particles",
    "charged": "charged particles",
    "mass": "invariant mass / pT of the parton",
    "girth": "sum pT Delta R / sum pT, about the parton",
    "ptd": "sqrt(sum pT^2) / sum pT",
    "z1": "leading pT / pT of the parton",
    "z2": "second pT / pT of the parton",
    "tau21": "tau2 / tau1, winner-take-all kt axes, beta = 1",
    "c2": "e3 / e2^2, beta = 1",
    "d2": "e3 / e2^3, beta = 1",
    "sum_pt": "sum of pT / pT of the parton",
    "net_phi": "net momentum across the parton in azimuth / pT of the parton",
    "net_y": "net momentum along the beam, in the parton's y = 0 frame / pT of the parton",
    "e2": "two-point energy correlation, beta = 1",
    "e3": "three-point energy correlation, beta = 1",
    "n2": "2e3 / e2^2, beta = 1",
    "tau32": "tau3 / tau2, winner-take-all kt axes, beta = 1",
}
"""Names and meanings; tau_N and the energy correlations use the leading particles that the EFPs use."""

_SIGNED = (211, 321, 2212, 2112, 3122, 3222, 3112, 3322, 3312, 3334, 11, 13, 12, 14, 16)
SPECIES: tuple[int, ...] = (22, 130, 310, *(sign * pdg for pdg in _SIGNED for sign in (1, -1)))
"""The PDG ids that are counted one by one; every other id counts as 0 ("other")."""

GROUPS: dict[str, tuple[int, ...]] = {
    "photon": (22,),
    "pi+": (211,),
    "pi-": (-211,),
    "K+": (321,),
    "K-": (-321,),
    "K0L": (130,),
    "K0S": (310,),
    "p": (2212,),
    "pbar": (-2212,),
    "n": (2112,),
    "nbar": (-2112,),
    "Lambda": (3122,),
    "Lambdabar": (-3122,),
    "hyperon": tuple(s * i for i in (3222, 3112, 3322, 3312, 3334) for s in (1, -1)),
    "electron": (11, -11),
    "muon": (13, -13),
    "neutrino": (12, -12, 14, -14, 16, -16),
}
"""Species as the classifier counts them; signs are those of a quark's set (antiquarks are conjugated)."""

SPECTRA: dict[str, tuple[int, ...]] = {
    "photon": (22,),
    "pi": (211, -211),
    "K": (321, -321),
    "K0": (130, 310),
    "p": (2212, -2212),
    "n": (2112, -2112),
    "hyperon": (3122, -3122, *GROUPS["hyperon"]),
    "lepton": (*GROUPS["electron"], *GROUPS["muon"]),
}
"""Species whose pT_rel and eta_rel spectra are compared."""

FLOW_EDGES = np.array([0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
"""Edges in Delta R of the energy flow about the parton."""


def observables(
    jets: Jets,
    efps: NDArray[Any],
    *,
    max_particles: int = 50,
    dtype: type[np.floating[Any]] = np.float32,
) -> NDArray[np.float64]:
    """Compute the observables of each set, in the order of :data:`OBSERVABLES`.

    Args:
        jets: N sets relative to their partons.
        efps: their EFPs, shape (N, 36).
        max_particles: leading particles that the EFPs were computed from.
        dtype: precision of the pairwise sums.

    Returns:
        Observables, shape (N, 17). A ratio whose denominator vanishes (sets of one or no particle) is 0.
    """
    tau_1, tau_2, tau_3 = subjettiness(jets, num_axes=3, max_particles=max_particles, dtype=dtype).T
    e2, e3 = energy_correlations(efps)
    n2 = _ratio(generalized_e3(jets, max_particles=max_particles, dtype=dtype), e2**2)
    pt_rel = jets.pt_rel
    sum_pt = jets.sum(pt_rel)
    momentum = np.stack([jets.sum(component) for component in jets.p4_rel.T], axis=1)
    energy, _, p_y, p_z = momentum.T
    mass2 = energy**2 - np.sum(momentum[:, 1:] ** 2, axis=1)
    leading = np.zeros((len(jets), 2))
    for k in range(2):
        has = jets.counts > k
        leading[has, k] = pt_rel[jets.offsets[:-1][has] + k]
    columns = {
        "multiplicity": jets.counts.astype(np.float64),
        "charged": jets.sum(charges(jets.pdg_id) != 0),
        "mass": np.sqrt(np.maximum(mass2, 0.0)),
        "girth": _ratio(jets.sum(pt_rel * np.hypot(jets.eta_rel, jets.phi_rel)), sum_pt),
        "ptd": _ratio(np.sqrt(jets.sum(pt_rel**2)), sum_pt),
        "z1": leading[:, 0],
        "z2": leading[:, 1],
        "tau21": _ratio(tau_2, tau_1),
        "c2": _ratio(e3, e2**2),
        "d2": _ratio(e3, e2**3),
        "sum_pt": sum_pt,
        "net_phi": p_y,
        "net_y": p_z,
        "e2": e2,
        "e3": e3,
        "n2": n2,
        "tau32": _ratio(tau_3, tau_2),
    }
    return np.stack([columns[name] for name in OBSERVABLES], axis=1)


def species_counts(jets: Jets) -> NDArray[np.uint16]:
    """Count the particles of each species in each set, shape (N, 34): :data:`SPECIES`, then every other id."""
    ids = np.array(SPECIES)
    order = np.argsort(ids)
    place = np.searchsorted(ids[order], jets.pdg_id)
    place = np.minimum(place, len(ids) - 1)
    column = np.where(ids[order][place] == jets.pdg_id, order[place], len(ids))
    width = len(ids) + 1
    flat = np.bincount(jets.index * width + column, minlength=len(jets) * width)
    return flat.reshape(len(jets), width).astype(np.uint16)


def group_counts(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Sum the counts of :func:`species_counts` over :data:`GROUPS`, shape (N, 17)."""
    columns = [[SPECIES.index(i) for i in ids] for ids in GROUPS.values()]
    return np.stack([counts[:, c].sum(axis=1, dtype=np.float64) for c in columns], axis=1)


def energy_flow(jets: Jets) -> NDArray[np.float32]:
    """Sum pT_rel in bins of Delta R about the parton (:data:`FLOW_EDGES`), shape (N, 13)."""
    distance = np.hypot(jets.eta_rel, jets.phi_rel)
    return histogram_per_set(jets.index, distance, FLOW_EDGES, len(jets), jets.pt_rel).astype(np.float32)


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[np.float64]:
    out = np.zeros(len(numerator), dtype=np.float64)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out
