"""A library of rests: the baseline that every model of them has to beat.

A collision takes the rest of one of the ``neighbours`` stored ones that are nearest in scale and momentum fractions, of
those with the same limits and an initial state of gluons or of quarks as it has. It is turned by a random angle about
the beam; and, since one proton is as good as the other, each stored rest stands for its mirror image too.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError, WeightsError
from fastsim.event import Floats, HardEvents, Ints, RunInfo
from fastsim.formats import hdf5
from fastsim.shipped import sha256_of
from generators.rests.conditions import SINGLETS, Conditions
from generators.rests.rests import Rests

SCALE_WEIGHT, X_WEIGHT, LEFT_WEIGHT = 1.0, 0.5, 2.0
"""How much a factor in scale, in a momentum fraction and in what it leaves of the beam counts in the distance."""
MARGIN = 0.05
"""How far, in the logarithm of the scale, collisions may lie outside the stored range."""


class RestLibrary:
    """Stored rests, to be resampled.

    Args:
        path: an HDF5 file that ``fastsim library rests`` made.
        neighbours: number of stored rests, the nearest ones, from which one is drawn.

    Raises:
        WeightsError: if the file holds no rests, or too few.
    """

    name = "library"

    def __init__(self, path: str | os.PathLike[str], *, neighbours: int = 3) -> None:
        self.path, self.neighbours = Path(path), neighbours
        self.run, events = _read(self.path)
        particles = events.particles
        assert particles is not None
        self.conditions = Conditions.of_singlets(events, self.run)
        self.rests = Rests(particles, np.asarray(events.event_columns["recoil"], dtype=np.float64))
        scale = np.log(self.conditions.scale)
        self._scales = float(scale.min()) - MARGIN, float(scale.max()) + MARGIN
        self._trees = self._index()

    def __len__(self) -> int:
        return len(self.rests)

    def __reduce__(self) -> tuple[Any, ...]:
        return _load, (self.path, self.neighbours)  # other processes read the file

    @cached_property
    def sha256(self) -> str:
        """The checksum of the file."""
        return sha256_of(self.path)

    def fits(self, run: RunInfo) -> bool:
        """Return whether the rests are those of the beams of a run."""
        return run.beam_pdg_id == self.run.beam_pdg_id and np.allclose(run.beam_energy, self.run.beam_energy, rtol=1e-6)

    def contains(self, conditions: Conditions) -> NDArray[np.bool_]:
        """Return which of N collisions the library has rests for."""
        scale = np.log(conditions.scale)
        known = np.array([key in self._trees for key in _keys(conditions)], dtype=bool)
        low, high = self._scales
        return np.asarray(known & (scale >= low) & (scale <= high) & (conditions.x < 1.0).all(axis=1))

    def draw(self, conditions: Conditions, rng: np.random.Generator) -> tuple[Rests, Floats]:
        """Draw rests for N collisions that the library contains.

        Returns:
            The rests, and the four-momenta (N, 4) in GeV that their hard processes had before they recoiled.
        """
        size = len(conditions)
        chosen, mirrored = np.zeros(size, np.int64), np.zeros(size, bool)
        draw, angle = rng.integers(0, self.neighbours, size), rng.uniform(0.0, 2 * np.pi, size)
        keys = np.array(_keys(conditions)).reshape(-1, 2)
        features = _features(conditions.scale, conditions.x)
        for key, (tree, rows) in self._trees.items():
            asked = np.flatnonzero((keys == key).all(axis=1))
            if len(asked) == 0:
                continue
            found = tree.query(features[asked], k=self.neighbours)[1].reshape(len(asked), -1)
            place = found[np.arange(len(asked)), draw[asked]]
            chosen[asked], mirrored[asked] = rows[place % len(rows)], place >= len(rows)
        before = self.conditions[chosen].total
        before[mirrored, 3] *= -1.0
        return self.rests.turned(chosen, angle, mirrored), before

    def _index(self) -> dict[tuple[int, int], tuple[Any, Ints]]:
        """Return, for each kind of collision, a tree of its rests and their mirror images, and their rows."""
        from scipy.spatial import cKDTree

        keys = np.array(_keys(self.conditions)).reshape(-1, 2)
        trees: dict[tuple[int, int], tuple[Any, Ints]] = {}
        for key in sorted(set(map(tuple, keys.tolist()))):
            rows = np.flatnonzero((keys == key).all(axis=1))
            scale, x = self.conditions.scale[rows], self.conditions.x[rows]
            points = np.concatenate([_features(scale, x), _features(scale, x[:, ::-1])])
            if len(points) >= self.neighbours:
                trees[key] = cKDTree(points), rows
        return trees


def _load(path: Path, neighbours: int) -> RestLibrary:
    return RestLibrary(path, neighbours=neighbours)


def _keys(conditions: Conditions) -> list[tuple[int, int]]:
    """Return what has to be the same in a collision and in a rest for it: limits, and whether gluons collide."""
    return list(zip(conditions.limits.tolist(), conditions.gluonic.astype(int).tolist(), strict=True))


def _features(scale: Floats, x: Floats) -> Floats:
    """Return the coordinates, (N, 5), in which distances are taken, of scales (N,) in GeV and fractions x (N, 2)."""
    left = np.log1p(-np.minimum(x, 1 - 1e-6))
    return np.column_stack([SCALE_WEIGHT * np.log(scale), X_WEIGHT * np.log(x), LEFT_WEIGHT * left])


def _read(path: Path) -> tuple[RunInfo, HardEvents]:
    """Read a library.

    Raises:
        WeightsError: if it holds no rests.
    """
    advice = "make a library with 'fastsim library rests'"
    try:
        run, batches = hdf5.read_events(path)
        parts = list(batches)
    except FastsimError as error:
        raise WeightsError(f"{error}; {advice}") from error
    if not parts or not np.isin(parts[0].pdg_id[2::3], SINGLETS).all() or "recoil" not in parts[0].event_columns:
        raise WeightsError(f"{path}: holds no rests of collisions; {advice}")
    return run, HardEvents.concatenate(parts)
