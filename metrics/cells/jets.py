"""Jets of calorimeter towers: anti-kt jets of the visible energy in whole towers, all layers together.

A tower is a massless particle from the origin to its middle. Jets count from a share of the event's transverse energy
on, since visible energies have no common scale: a fifth of an electron's, less of a hadron's.

References:
    Cacciari, Salam, Soyez 2008, arXiv:0802.1189 (anti-kt); 2011, arXiv:1111.6097 (FastJet).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.towers import Towers
from fastsim.event import Cells, ParticleSet, kinematics, offsets_from_counts
from metrics.hadrons.clustering import ClusteredJets, cluster

Floats = NDArray[np.float64]

SHARE = 0.05
"""Share of the transverse energy of an event from which on a jet counts."""
_PHOTON = 22
_LEAST = 1e-9
"""GeV; jets of less visible pT than this are not looked for."""


def tower_particles(cells: Cells, towers: Towers) -> ParticleSet:
    """Sum the layers of every tower with energy, as massless particles of visible energies in GeV.

    Args:
        cells: cells with energy of E events.
        towers: what their ids mean.
    """
    per_layer = towers.num_eta * towers.num_phi
    key = cells.index * per_layer + cells.id % per_layer
    found, place = np.unique(key, return_inverse=True)
    energy = 1e-3 * np.bincount(place.reshape(-1), cells.energy, len(found))
    some = energy > 0
    event, tower = np.divmod(found[some], per_layer)
    eta, phi, _ = towers.centres(tower)
    p4 = kinematics.p4_from_pt_eta_phi_m(energy[some] / np.cosh(eta), eta, phi, 0.0)
    offsets = offsets_from_counts(np.bincount(event, minlength=len(cells)))
    return ParticleSet(offsets, np.full(len(event), _PHOTON), p4)


def tower_jets(cells: Cells, towers: Towers, *, radius: float = 0.4) -> dict[str, Floats]:
    """Compute observables of the jets of towers of E events.

    Args:
        cells: cells with energy of each event.
        towers: what their ids mean.
        radius: R of the anti-kt algorithm.

    Returns:
        Observables by name, (E,) each; what an event has no jet for is 0.

    Raises:
        MissingLibrary: if FastJet is not installed.
    """
    particles, num = tower_particles(cells, towers), len(cells)
    jets = cluster(particles, radius=radius, pt_min=_LEAST, max_jets=None)
    transverse = np.bincount(particles.index, kinematics.pt(particles.p4), num)
    pt = kinematics.pt(jets.axes.p4)
    counted = pt >= SHARE * transverse[jets.event]
    values = {"tower jets": np.bincount(jets.event[counted], minlength=num).astype(np.float64)}
    rank = np.arange(len(jets)) - np.searchsorted(jets.event, jets.event)
    first, second = (np.flatnonzero(rank == k) for k in (0, 1))

    def of(rows: NDArray[np.int64], column: Floats) -> Floats:
        out = np.zeros(num)
        out[jets.event[rows]] = column
        return out

    mass = np.sqrt(np.maximum(kinematics.mass_squared(jets.axes.p4), 0.0))
    values["tower jet 1 pT / GeV"] = of(first, pt[first])
    values["tower jet 2 pT / GeV"] = of(second, pt[second])
    values["tower jet 1 mass / pT"] = of(first, mass[first] / pt[first])
    values["tower jet 1 width"] = of(first, _widths(jets)[first])
    values["tower jet 1 towers"] = of(first, jets.constituents.counts[first].astype(np.float64))
    phi = kinematics.phi(jets.axes.p4)
    leading = second - 1  # the jets of an event follow one another
    values["tower jets delta phi"] = of(second, np.abs(kinematics.delta_phi(phi[second], phi[leading])))
    return values


def _widths(jets: ClusteredJets) -> Floats:
    """Compute sum_i pT_i Delta R_i / sum_i pT_i of the towers of every jet about its axis, (J,)."""
    p4, index = jets.constituents.p4, jets.constituents.index
    axes = jets.axes.p4
    distance = np.hypot(
        kinematics.eta(p4) - kinematics.eta(axes)[index],
        kinematics.delta_phi(kinematics.phi(p4), kinematics.phi(axes)[index]),
    )
    pt = kinematics.pt(p4)
    total = np.bincount(index, pt, len(jets))
    return np.asarray(np.bincount(index, pt * distance, len(jets)) / total)
