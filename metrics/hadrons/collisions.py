r"""Observables of whole events at hadron colliders: multiplicities, underlying event, jets, shapes, forward particles.

The underlying event is measured in tracks, charged particles of pT > 0.5 GeV and abs(eta) < 2.5, by their azimuth from
the leading jet: toward (below 60 degrees), away (above 120 degrees), and the two regions transverse to it, of which
transMAX is the one with more and transMIN the one with less. Densities are per unit of eta and phi.

References:
    ATLAS Collaboration, Measurement of charged-particle distributions sensitive to the underlying event in sqrt(s) = 13
    TeV proton-proton collisions, 2017, arXiv:1701.05390.
    Banfi, Salam, Zanderighi, Phenomenology of event shapes at hadron colliders, 2010, arXiv:1001.4082.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastsim.event import ParticleSet
from fastsim.event.kinematics import delta_phi, eta, mass, phi, pt, rapidity
from fastsim.event.species import NEUTRINOS, charges
from metrics.hadrons.clustering import cluster

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

TRACK_PT, TRACK_ETA, ETA_MAX, JET_ETA = 0.5, 2.5, 5.0, 4.5
"""Smallest pT in GeV and largest abs(eta) of tracks; largest abs(eta) of central particles and of jets."""
JET_PT = 10.0
"""Smallest pT of jets in GeV; an event without any is seen relative to its leading particle."""
SPECIES = {
    "pions": (211,),
    "kaons": (321,),
    "protons": (2212,),
    "neutrons": (2112,),
    "neutral_kaons": (130, 310),
    "hyperons": (3122, 3222, 3112, 3322, 3312, 3334),
    "photons": (22,),
    "leptons": (11, 13),
}
"""Species that are counted among the central particles, antiparticles with particles."""
FORWARD = ("forward_charged", "forward_particles", "forward_pt", "forward_leading", "forward_middle", "forward_baryons")
"""Names of the observables of particles at abs(eta) > 5."""


@dataclass(frozen=True)
class _Sums:
    """Sums over some of the particles of N events."""

    index: NDArray[np.int64]
    size: int

    def __call__(self, mask: Bools, values: Floats | None = None) -> Floats:
        weights = None if values is None else values[mask]
        return np.bincount(self.index[mask], weights, minlength=self.size).astype(np.float64)


def collision_observables(particles: ParticleSet) -> dict[str, Floats]:
    """Compute observables of whole events.

    Args:
        particles: the final particles of N events, in the frame of the detector, in GeV.

    Returns:
        Arrays (N,) by name; NaN where an event has no such value. Those of :data:`FORWARD` look beyond abs(eta) = 5.
    """
    index, size = particles.index, len(particles)
    sums = _Sums(index, size)
    transverse, direction, angle = pt(particles.p4), np.abs(eta(particles.p4)), phi(particles.p4)
    charge, ids = charges(particles.pdg_id), np.abs(particles.pdg_id)
    visible = ~np.isin(ids, tuple(NEUTRINOS))
    central = visible & (direction < ETA_MAX)
    charged = charge != 0
    track = charged & (transverse > TRACK_PT) & (direction < TRACK_ETA)
    values: dict[str, Floats] = {}
    for low, high in ((0.0, 1.0), (1.0, 2.5), (2.5, 5.0)):
        inside = (direction >= low) & (direction < high)
        values[f"charged_{low:g}_{high:g}"] = sums(inside & charged)
        values[f"charge_{low:g}_{high:g}"] = np.abs(sums(inside & charged, charge))
    values["particles"] = sums(central)
    values |= {name: sums(central & np.isin(ids, kinds)) for name, kinds in SPECIES.items()}
    values["tracks"], values["track_pt"] = sums(track), sums(track, transverse)
    values["central_pt"] = sums(central, transverse)
    values["leading_track"] = _largest(particles, track, transverse)
    values["leading_photon"] = _largest(particles, central & (ids == 22), transverse)
    values["missing_pt"] = np.hypot(*(sums(central, particles.p4[:, k]) for k in (1, 2)))
    jets, axis = _jets(particles, np.where(central, transverse, -1.0), angle)
    values |= jets
    values |= _underlying(sums, track, transverse, delta_phi(angle, axis[index]))
    values["transverse_sphericity"] = _sphericity(sums, track, particles.p4, transverse)
    forward = visible & (direction > ETA_MAX)
    energy = particles.p4[:, 0]
    forward_values = (
        sums(forward & charged),
        sums(forward),
        sums(forward, transverse),
        _largest(particles, forward, energy),
        sums(forward & (direction < 6.5), energy),
        sums(forward & np.isin(ids, (2212, 2112, 3122))),
    )
    return values | dict(zip(FORWARD, forward_values, strict=True))


def _largest(particles: ParticleSet, mask: Bools, values: Floats) -> Floats:
    """Return the largest value (N,) among the particles of a mask, 0 where an event has none."""
    result = np.zeros(len(particles))
    np.maximum.at(result, particles.index[mask], values[mask])
    return result


def _jets(particles: ParticleSet, transverse: Floats, angle: Floats) -> tuple[dict[str, Floats], Floats]:
    """Return observables of anti-kt jets of R = 0.4, and the azimuths (N,) of the leading ones.

    Args:
        particles: the events.
        transverse: pT of the particles in GeV, (M,), -1 for those that do not count.
        angle: their azimuths.
    """
    size = len(particles)
    found = cluster(particles, radius=0.4, pt_min=JET_PT, max_jets=None, eta_max=JET_ETA)
    p4, event = found.axes.p4, found.event
    jet_pt = pt(p4)
    start = np.searchsorted(event, np.arange(size))
    num = np.bincount(event, minlength=size)
    values = {
        f"jets_{cut}": np.bincount(event[jet_pt > cut], minlength=size).astype(np.float64) for cut in (10, 20, 30)
    }
    columns = {
        "pt": jet_pt,
        "rapidity": rapidity(p4),
        "mass": mass(p4),
        "constituents": found.constituents.counts.astype(np.float64),
        "width": _width(found.constituents, p4),
    }
    nth: dict[str, Floats] = {}
    for rank in range(3):
        there = num > rank
        for name, column in columns.items():
            nth[f"{name}_{rank + 1}"] = np.full(size, np.nan)
            nth[f"{name}_{rank + 1}"][there] = column[start[there] + rank]
    for name in ("pt_1", "pt_2", "pt_3", "mass_1", "mass_2", "constituents_1", "constituents_2", "width_1", "width_2"):
        values[f"jet_{name}"] = nth[name]
    values["jet_rapidity"] = np.abs(nth["rapidity_1"])
    values["jet_distance"] = np.abs(nth["rapidity_1"] - nth["rapidity_2"])
    pair = np.flatnonzero(num > 1)
    first, second = p4[start[pair]], p4[start[pair] + 1]
    values["jet_azimuth"], values["dijet_mass"] = np.full(size, np.nan), np.full(size, np.nan)
    values["jet_azimuth"][pair] = np.abs(delta_phi(phi(first), phi(second)))
    values["dijet_mass"][pair] = mass(first + second)
    axis = np.zeros(size)
    filled = particles.counts > 0
    order = np.lexsort((transverse, particles.index))
    axis[filled] = angle[order[particles.offsets[1:][filled] - 1]]
    axis[num > 0] = phi(p4[start[num > 0]])
    return values, axis


def _width(constituents: ParticleSet, axes: Floats) -> Floats:
    """Return the mean distance of the constituents from their jets, weighted by pT, (J,)."""
    index = constituents.index
    distance = np.hypot(
        rapidity(constituents.p4) - rapidity(axes)[index], delta_phi(phi(constituents.p4), phi(axes)[index])
    )
    weight = pt(constituents.p4)
    return np.bincount(index, weight * distance, minlength=len(axes)) / np.bincount(index, weight, minlength=len(axes))


def _underlying(sums: _Sums, track: Bools, transverse: Floats, away: Floats) -> dict[str, Floats]:
    """Return densities of tracks and of their pT in GeV, by region; ``away`` (M,): azimuth from the leading jet."""
    turn = np.abs(away)
    regions = {
        "toward": turn < np.pi / 3,
        "away": turn > 2 * np.pi / 3,
        "left": (turn >= np.pi / 3) & (turn <= 2 * np.pi / 3) & (away > 0),
        "right": (turn >= np.pi / 3) & (turn <= 2 * np.pi / 3) & (away <= 0),
    }
    values: dict[str, Floats] = {}
    width = 2 * TRACK_ETA * np.pi / 3
    for name, weights in (("tracks", None), ("pt", transverse)):
        density = {region: sums(track & mask, weights) / width for region, mask in regions.items()}
        sides = np.stack([density["left"], density["right"]])
        values |= {f"toward_{name}": density["toward"] / 2, f"away_{name}": density["away"] / 2}
        values |= {f"transverse_{name}": sides.mean(axis=0)}
        values |= {f"trans_max_{name}": sides.max(axis=0), f"trans_min_{name}": sides.min(axis=0)}
    return values


def _sphericity(sums: _Sums, track: Bools, p4: Floats, transverse: Floats) -> Floats:
    r"""Return the transverse sphericity of the tracks, 2 lambda_2 / (lambda_1 + lambda_2), linear in momentum, (N,)."""
    size = np.maximum(transverse, 1e-300)
    xx, yy, xy = (sums(track, p4[:, i] * p4[:, j] / size) for i, j in ((1, 1), (2, 2), (1, 2)))
    trace = xx + yy
    root = np.sqrt(np.maximum((xx - yy) ** 2 + 4 * xy**2, 0.0))
    return np.where(trace > 0, (trace - root) / np.where(trace > 0, trace, 1.0), np.nan)
