"""The baseline that every model of showers has to beat: frozen showers, as experiments have long used them.

A particle takes one of the ``neighbours`` stored Geant4 showers of its kind that are nearest in the logarithm of the
energy. The deposits are scaled by the ratio of the energies; the shower is turned by a random number of sectors and
mirrored at random, which are exact symmetries of particles that fly along the normal. In each single observable it is
as good as its size; it repeats itself, and knows no other direction.

References:
    Barberio et al. 2009, J. Phys. Conf. Ser. 160, 012082 (frozen showers in the ATLAS calorimeters).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import Binning
from fastsim.detector.incidents import Incidents
from fastsim.errors import FastsimError, OutOfDomain
from fastsim.event import Ints
from fastsim.shipped import sha256_of
from fastsim.sources.domains import ShowerDomain
from fastsim.sources.showers import ShowerSource
from generators.showers.stored import StoredShowers, read_stored

MAX_THETA = 1e-6
"""Directions up to this angle (rad) count as perpendicular."""


class ShowerLibrary(ShowerSource):
    """A source of showers that resamples stored ones; it holds them all in memory, 4 bytes a voxel.

    Args:
        paths: CaloChallenge HDF5 files made by ``fastsim showers --model geant4``, of one detector; of one particle or
            several.
        neighbours: number of stored showers, the nearest in energy, from which one is drawn.

    Raises:
        FastsimError: if a file cannot be read, does not fit the others, or holds other directions than the normal.
    """

    name = kind = "library"

    def __init__(
        self, paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, neighbours: int = 32
    ) -> None:
        if neighbours < 1:
            raise FastsimError(f"neighbours is {neighbours}, must be 1 at least")
        given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        if not given:
            raise FastsimError("a library needs a file: make one with 'fastsim showers --model geant4'")
        files = [read_stored(path) for path in given]
        self.sha256 = ",".join(sha256_of(Path(path)) for path in given)
        for file in files:
            _check(file, files[0])
        self.neighbours = neighbours
        self.detector, self.geometry = files[0].detector, files[0].geometry
        self._binnings = {file.pdg_id: file.binning for file in files}
        self._showers = {pdg_id: _Stored([f for f in files if f.pdg_id == pdg_id]) for pdg_id in self._binnings}
        self._symmetries = symmetries(files[0].binning)
        stored = self._showers.values()
        # the energies that the showers of all particles cover
        low, high = max(s.energy[0] for s in stored), min(s.energy[1] for s in stored)
        self.domain = ShowerDomain(frozenset(self._showers), low, high, MAX_THETA)

    def __len__(self) -> int:
        return sum(len(stored.order) for stored in self._showers.values())

    def binning(self, pdg_id: int) -> Binning:
        """Return the voxels of a particle's showers.

        Raises:
            OutOfDomain: if there are no showers of this particle.
        """
        if pdg_id not in self._binnings:
            raise OutOfDomain(f"the library has no showers of particle {pdg_id}; it has {sorted(self._binnings)}")
        return self._binnings[pdg_id]

    def draw(self, incidents: Incidents, rng: np.random.Generator) -> NDArray[np.float32]:
        draw = rng.uniform(size=len(incidents))
        symmetry = rng.integers(len(self._symmetries), size=len(incidents))
        out = np.zeros((len(incidents), self._symmetries.shape[1]), dtype=np.float32)
        for pdg_id, stored in self._showers.items():
            selected = np.flatnonzero(incidents.pdg_id == pdg_id)
            rows, ratio = stored.choose(incidents.energy[selected], draw[selected], self.neighbours)
            for kind in np.unique(symmetry[selected]):
                alike = symmetry[selected] == kind
                turned = stored.voxels[rows[alike]][:, self._symmetries[kind]]
                out[selected[alike]] = turned * ratio[alike, None]
        return out


class _Stored:
    """The stored showers of one kind of particle, and their order in energy."""

    def __init__(self, files: Sequence[StoredShowers]) -> None:
        self.energy = min(file.energy[0] for file in files), max(file.energy[1] for file in files)
        self.voxels = np.concatenate([file.showers.voxels for file in files])
        log_energy = np.log(np.concatenate([file.showers.incident for file in files]) / 1e3)
        self.order = np.argsort(log_energy, kind="stable")
        self.log_energy = log_energy[self.order]

    def choose(self, energy: NDArray[np.float64], draw: NDArray[np.float64], neighbours: int) -> tuple[Ints, Ratio]:
        """Choose a stored shower near each energy.

        Args:
            energy: energies (N,) in GeV.
            draw: uniform random numbers (N,) that decide among the neighbours.
            neighbours: number of stored showers, the nearest in energy, to choose from.

        Returns:
            Rows of ``voxels``, and the ratios of the wanted to the stored energies, each (N,).
        """
        width = min(neighbours, len(self.order))
        place = np.searchsorted(self.log_energy, np.log(energy))
        first = np.clip(place - width // 2, 0, len(self.order) - width)
        chosen = first + (draw * width).astype(np.int64)
        ratio = energy / np.exp(self.log_energy[chosen])
        return self.order[chosen], ratio.astype(np.float32)


Ratio = NDArray[np.float32]


def symmetries(binning: Binning) -> Ints:
    """Return, for each way to turn and mirror a shower, the voxel that each voxel takes its energy from.

    The shape is (2 g, voxels), where g is the number of turns that shift every layer by whole sectors; layers of one
    sector stay as they are.
    """
    sectors = [layer.num_alpha for layer, _ in binning.parts if layer.num_alpha > 1]
    turns = math.gcd(*sectors) if sectors else 1
    rows = []
    for mirrored in (False, True):
        for turn in range(turns):
            row = []
            for layer, voxels in binning.parts:
                sector = np.arange(layer.num_alpha)[:: -1 if mirrored else 1]
                sector = np.roll(sector, turn * layer.num_alpha // turns)
                row.append(voxels.start + (sector[:, None] * layer.num_r + np.arange(layer.num_r)).reshape(-1))
            rows.append(np.concatenate(row))
    return np.stack(rows)


def _check(file: StoredShowers, first: StoredShowers) -> None:
    """Raise FastsimError if a file does not fit the first file of a library, or its showers fit no library."""
    if (file.detector, file.geometry) != (
        first.detector,
        first.geometry,
    ) or file.binning.layers != first.binning.layers:
        raise FastsimError(
            f"{file.path}: showers in {file.detector} do not go with those of {first.path} in {first.detector}: a "
            "library has one detector and one binning"
        )
    if file.theta > MAX_THETA:
        raise FastsimError(f"{file.path}: showers at theta {file.theta:g} rad; a library needs those along the normal")
    if file.model is not None:
        raise FastsimError(f"{file.path}: made by {file.model}, not by Geant4; give files of showers --model geant4")
