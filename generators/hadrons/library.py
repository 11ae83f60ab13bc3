"""The baseline every model has to beat: stored Pythia hemispheres, resampled near in pT.

A parton takes one of the ``neighbours`` stored sets of its flavour (antiquarks by C-conjugation) that are
nearest in log pT. The set is scaled by the ratio of the transverse momenta, turned by a random angle about the
parton's axis in the frame where the parton has rapidity zero (an exact symmetry of the gun), and moved to the
parton's azimuth and rapidity. Masses are exact. It is fast and, in flavour and pT alone, as good as its size; it
repeats itself, has no likelihood, and holds no other condition.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from fastsim.errors import WeightsError
from fastsim.event import Ints, ParticleSet, Partons, offsets_from_counts, ragged_indices
from fastsim.event.frames import to_axis, to_lab
from fastsim.event.kinematics import on_shell, pt
from fastsim.event.species import conjugate, masses
from fastsim.shipped import sha256_of
from fastsim.sources.domains import Domain
from fastsim.sources.hadrons import HadronSource


class Library(HadronSource):
    """A source of hadrons that resamples stored sets.

    Args:
        stored: an HDF5 file made by ``fastsim reference --gun``, or partons and their particle sets.
        neighbours: number of stored sets, the nearest in pT, from which one is drawn.

    Raises:
        WeightsError: if the library is empty.
    """

    name = kind = "library"

    def __init__(self, stored: str | os.PathLike[str] | tuple[Partons, ParticleSet], *, neighbours: int = 32) -> None:
        if isinstance(stored, tuple):
            partons, particles = stored
        else:
            from fastsim.formats import hdf5

            partons, particles, _ = hdf5.read(stored, history=False)
            self.sha256 = sha256_of(Path(stored))
        if len(partons) == 0:
            raise WeightsError("the library holds no sets: make one with 'fastsim reference --gun ...'")
        self.neighbours = neighbours
        flavour, transverse = np.abs(partons.pdg_id), pt(partons.p4)
        order = np.lexsort((transverse, flavour))
        sets = particles[order]
        index = sets.index
        negative = (partons.pdg_id[order] < 0)[index]
        self._ids: Ints = np.where(negative, conjugate(sets.pdg_id), sets.pdg_id)
        self._offsets = sets.offsets
        p4 = to_axis(sets.p4, sets.offsets, partons[order])
        self._vectors = p4[:, 1:] / transverse[order][index, None]
        self._flavour, self._log_pt = flavour[order], np.log(transverse[order])
        quarks = [int(f) for f in np.unique(flavour)]
        both = frozenset(quarks) | frozenset(-f for f in quarks if f != 21)
        self.domain = Domain(both, float(transverse.min()), float(transverse.max()))

    def __len__(self) -> int:
        return len(self._flavour)

    def draw(self, partons: Partons, rng: np.random.Generator) -> ParticleSet:
        chosen = self._choose(partons, rng)
        counts = np.diff(self._offsets)[chosen]
        rows = ragged_indices(self._offsets, chosen)
        index = np.repeat(np.arange(len(partons)), counts)
        vectors = self._vectors[rows] * pt(partons.p4)[index, None]
        angle = rng.uniform(0.0, 2 * np.pi, len(partons))[index]
        cos, sin = np.cos(angle), np.sin(angle)
        x, y, z = vectors.T
        vectors = np.stack([cos * x - sin * y, sin * x + cos * y, z], axis=-1)
        ids = np.where((partons.pdg_id < 0)[index], conjugate(self._ids[rows]), self._ids[rows])
        m = masses(ids)
        energy = np.sqrt(np.sum(vectors**2, axis=-1) + m**2)
        offsets = offsets_from_counts(counts)
        p4 = to_lab(np.concatenate([energy[:, None], vectors], axis=-1), offsets, partons)
        return ParticleSet(offsets, ids, on_shell(p4, m))

    def _choose(self, partons: Partons, rng: np.random.Generator) -> Ints:
        """Choose a stored set for each of N partons, uniformly among the nearest of its flavour; return rows (N,)."""
        flavour, log_pt = np.abs(partons.pdg_id), np.log(pt(partons.p4))
        chosen = np.empty(len(partons), dtype=np.int64)
        draw = rng.uniform(size=len(partons))
        for kind in np.unique(flavour):
            first, stop = np.searchsorted(self._flavour, (kind, kind + 1))
            rows = np.flatnonzero(flavour == kind)
            width = min(self.neighbours, stop - first)
            place = np.searchsorted(self._log_pt[first:stop], log_pt[rows])
            low = np.clip(place - width // 2, 0, stop - first - width)
            chosen[rows] = first + low + (draw[rows] * width).astype(np.int64)
        return chosen
