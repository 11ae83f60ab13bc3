"""The underlying event of hadron collisions in tracks, against measured tables.

Tracks are charged particles of pT > 0.5 GeV and abs(eta) < 2.5; the one of largest pT gives the direction. Of the two
regions between 60 and 120 degrees from it in azimuth, transMAX is the one with more and transMIN the one with less;
transDIFF is the difference. What is measured is the mean over events of the density of tracks, and of the sum of their
pT, per unit of eta and phi, against the pT of the leading track.

References:
    ATLAS Collaboration, Measurement of charged-particle distributions sensitive to the underlying event in sqrt(s) = 13
    TeV proton-proton collisions, 2017, arXiv:1701.05390.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fastsim.event import ParticleSet
from fastsim.event.kinematics import delta_phi, eta, phi, pt
from fastsim.event.species import charges
from metrics.hadrons.collisions import TRACK_ETA, TRACK_PT
from metrics.hadrons.tables import Agreement, Table

Floats = NDArray[np.float64]

ATLAS = "ATLAS_2017_I1509919"
ENERGY = 13_000.0
"""Of the collisions in GeV."""
DENSITIES: dict[str, tuple[str, str]] = {
    "d02-x01-y01": ("tracks", "min"),
    "d03-x01-y01": ("tracks", "max"),
    "d04-x01-y01": ("tracks", "diff"),
    "d05-x01-y01": ("pt", "min"),
    "d06-x01-y01": ("pt", "max"),
    "d07-x01-y01": ("pt", "diff"),
}
"""What the tables of ATLAS hold: tracks or the sum of their pT in GeV, in transMIN, transMAX or transDIFF."""
_NAMES = {"tracks": "tracks in trans{}", "pt": "sum of pT in trans{}, GeV"}
_FEWEST = 10
"""Events of a bin that is compared."""


def transverse_densities(particles: ParticleSet) -> dict[str, Floats]:
    """Compute the densities of tracks in the regions transverse to the leading track.

    Args:
        particles: the final particles of N events, in the frame of the detector, in GeV.

    Returns:
        Arrays (N,): "leading", the pT of the leading track in GeV, 0 without tracks, and "tracks_min", "tracks_max",
        "tracks_diff", "pt_min", "pt_max", "pt_diff" per unit of eta and phi.
    """
    size, transverse, angle = len(particles), pt(particles.p4), phi(particles.p4)
    track = (charges(particles.pdg_id) != 0) & (transverse > TRACK_PT) & (np.abs(eta(particles.p4)) < TRACK_ETA)
    rows = np.flatnonzero(track)
    order = rows[np.lexsort((transverse[rows], particles.index[rows]))]
    leading, direction = np.zeros(size), np.zeros(size)
    leading[particles.index[order]], direction[particles.index[order]] = transverse[order], angle[order]
    away = delta_phi(angle[rows], direction[particles.index[rows]])
    inside = (np.abs(away) >= np.pi / 3) & (np.abs(away) <= 2 * np.pi / 3)
    area, values = 2 * TRACK_ETA * np.pi / 3, {"leading": leading}
    for name, weights in (("tracks", np.ones(len(rows))), ("pt", transverse[rows])):
        sides = [
            np.bincount(particles.index[rows][inside & side], weights[inside & side], size) / area
            for side in (away > 0, away <= 0)
        ]
        values |= {f"{name}_min": np.minimum(*sides), f"{name}_max": np.maximum(*sides)}
        values[f"{name}_diff"] = values[f"{name}_max"] - values[f"{name}_min"]
    return values


def underlying_event(particles: ParticleSet, tables: Mapping[str, Table], *, leading: float = 1.0) -> list[Agreement]:
    """Compare the underlying event of collisions at 13 TeV with the tables of ATLAS.

    Args:
        particles: the final particles of N events, in the frame of the detector, in GeV.
        tables: as :func:`metrics.hadrons.tables.read_tables` gives them; others than :data:`DENSITIES` are left out.
        leading: lowest edge in GeV of bins in the pT of the leading track that are compared: a sample of hard
            processes says nothing about softer events.

    Returns:
        An agreement for each table, in their order, of its bins with at least ten events.

    Raises:
        ValueError: if no bin has as many.
    """
    values = transverse_densities(particles)
    found = []
    for name, table in tables.items():
        source, _, key = name.partition("/")
        if source != ATLAS or key not in DENSITIES:
            continue
        what, region = DENSITIES[key]
        means, errors, kept = [], [], []
        for row, (low, high) in enumerate(zip(table.low, table.high, strict=True)):
            chosen = values[f"{what}_{region}"][(values["leading"] >= low) & (values["leading"] < high)]
            if low < leading - 1e-9 or len(chosen) < _FEWEST:
                continue
            kept.append(row)
            means.append(float(chosen.mean()))
            errors.append(float(chosen.std(ddof=1) / np.sqrt(len(chosen))))
        if not kept:
            raise ValueError(f"{name}: no bin from {leading:g} GeV on has {_FEWEST} of the {len(particles)} events")
        part = Table(name, table.low[kept], table.high[kept], table.value[kept], table.error[kept])
        found.append(Agreement(_NAMES[what].format(region.upper()), part, np.array(means), np.array(errors)))
    return found
