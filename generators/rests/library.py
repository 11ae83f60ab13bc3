"""A library of rests: a model of them that resamples stored ones.

A collision takes the rest of one of the ``neighbours`` stored ones that are nearest in scale and momentum fractions, of
those with the same limits and an initial state of gluons or of quarks as it has, and below a rapidity that of another
one (:mod:`generators.rests.halves`). It is turned about the beam to where radiation may lie
(:mod:`generators.rests.azimuths`); and, since one proton is as good as the other, each stored rest stands for its
mirror image too.

The library that belongs to a file of events grows with these (:data:`STAGES`): an event draws from half as many rests
as there are events before it, 512 at least, from 12,288 events on an eighth, whichever of them a run asks for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError, WeightsError
from fastsim.event import Floats, HardEvents, Ints, RunInfo
from fastsim.event.kinematics import phi, pt
from fastsim.formats import hdf5
from generators.rests.conditions import SINGLETS, Conditions
from generators.rests.halves import Halves, Pool
from generators.rests.rests import Rests

PathLike = str | os.PathLike[str]

SCALE_WEIGHT, X_WEIGHT, LEFT_WEIGHT = 1.0, 0.5, 2.0
"""How much a factor in scale, in a momentum fraction and in what it leaves of the beam counts in the distance."""
MARGIN = 0.05
"""How far, in the logarithm of the scale, collisions may lie outside the stored range."""
SETTINGS = "settings"
"""Name of the fact in a library that has further lines for Pythia."""
STAGES = (
    *((0, 512), (2048, 1024), (4096, 2048), (8192, 4096), (12288, 6144)),
    *((65536, 8192), (98304, 12288), (163840, 20480)),
)
"""Of the library of a file of events: the number of the first event that draws from so many rests. Files of fewer
events than the first stage has rests have none: there Pythia makes each rest as quickly. Numbers of particles vary by
40%, so that K rests, and all that is drawn from them, have a mean with an error of 40% / root K: of N events that
should not be far above 40% / root N."""


@dataclass(frozen=True, eq=False)
class _Kind:
    """The rests for a kind of collision, and their mirror images.

    Attributes:
        tree: of their conditions.
        places: the places (:class:`generators.rests.halves.Halves`) of the entries of the tree.
        below: the parts that go with parts of these.
    """

    tree: Any
    places: Ints
    below: Pool


@dataclass(frozen=True, eq=False)
class _Stage:
    """What some events of a library's draw from.

    Attributes:
        first: number of the first event.
        kinds: the rests of each kind of collision.
        scales: logarithms of the lowest and the highest scale of collisions that it has rests for.
    """

    first: int
    kinds: dict[tuple[int, int], _Kind]
    scales: tuple[float, float]


class RestLibrary:
    """Stored rests, to be resampled.

    Args:
        paths: an HDF5 file that ``fastsim library rests`` made, or several.
        neighbours: number of stored rests, the nearest ones, from which one is drawn.
        firsts: for each file, the number of the first event that draws from its rests and those of the files before
            it; by default every event draws from all.
        whole: take rests as they are, not in halves.

    Raises:
        WeightsError: if a file holds no rests, or too few.
    """

    name = "library"

    def __init__(
        self,
        paths: PathLike | Sequence[PathLike],
        *,
        neighbours: int = 3,
        firsts: Sequence[int] = (),
        whole: bool = False,
    ) -> None:
        files = [paths] if isinstance(paths, str | os.PathLike) else paths
        self.paths, self.neighbours = tuple(map(Path, files)), neighbours
        self.firsts, self.whole = tuple(firsts), whole
        runs, parts = zip(*map(_read, self.paths), strict=True)
        self.run = runs[0]
        events = HardEvents.concatenate(parts)
        assert events.particles is not None
        self.conditions = Conditions.of_singlets(events, self.run)
        self.rests = Rests(events.particles, np.asarray(events.event_columns["recoil"], dtype=np.float64))
        self._halves = None if whole else Halves(self.rests, self.conditions)
        sizes = np.cumsum([len(part) for part in parts]).tolist()
        stages = zip(self.firsts, sizes, strict=True) if self.firsts else [(0, sizes[-1])]
        self._stages = [self._stage(first, size) for first, size in stages]

    @property
    def path(self) -> Path:
        """The first file."""
        return self.paths[0]

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __len__(self) -> int:
        return len(self.rests)

    def __reduce__(self) -> tuple[Any, ...]:
        return _load, (self.paths, self.neighbours, self.firsts, self.whole)  # other processes read the files

    def fits(self, run: RunInfo, settings: Sequence[str] = ()) -> bool:
        """Return whether the rests are those of the beams of a run, and of some further settings of Pythia."""
        same = run.beam_pdg_id == self.run.beam_pdg_id and np.allclose(run.beam_energy, self.run.beam_energy, rtol=1e-6)
        return bool(same) and self.run.provenance.get(SETTINGS, "") == "; ".join(settings)

    def contains(self, conditions: Conditions) -> NDArray[np.bool_]:
        """Return which of N collisions the library has rests for."""
        scale = np.log(conditions.scale)
        keys, stage = _keys(conditions), self._stage_of(conditions.number)
        inside = (conditions.x < 1.0).all(axis=1) & (stage >= 0)
        for k in np.flatnonzero(inside).tolist():
            own = self._stages[stage[k]]
            inside[k] = keys[k] in own.kinds and own.scales[0] <= scale[k] <= own.scales[1]
        return np.asarray(inside)

    def _stage_of(self, number: Ints) -> Ints:
        """Return the stages of events by their numbers, -1 for those before the first one, (N,)."""
        return np.searchsorted([stage.first for stage in self._stages], number, side="right") - 1

    def draw(self, conditions: Conditions, rng: np.random.Generator) -> tuple[Rests, Floats]:
        """Draw rests for N collisions that the library contains.

        Returns:
            The rests, and the four-momenta (N, 4) in GeV that their hard processes had before they recoiled.
        """
        size, total = len(conditions), len(self)
        draw = rng.integers(0, self.neighbours, size)
        keys = np.column_stack([self._stage_of(conditions.number), _keys(conditions)]).reshape(-1, 3)
        features = _features(conditions.scale, conditions.x)
        places = np.zeros((size, 2), np.int64)
        for stage, *key in sorted(set(map(tuple, keys.tolist()))):
            asked = np.flatnonzero((keys == (stage, *key)).all(axis=1))
            kind = self._stages[stage].kinds[key[0], key[1]]
            found = kind.tree.query(features[asked], k=self.neighbours)[1].reshape(len(asked), -1)
            above = kind.places[found[np.arange(len(asked)), draw[asked]]]
            below = above if self._halves is None else self._halves.others(kind.below, above, conditions[asked], rng)
            places[asked] = np.stack([above, below], axis=-1)
        chosen, mirrored = places % total, places >= total
        recoil, sign = self.rests.recoil[chosen], np.where(mirrored, -1.0, 1.0)
        angle = conditions.azimuths(pt(recoil[:, 0]), rng)[:, None] - sign * phi(-recoil)
        before = self.conditions[chosen[:, 0]].total
        before[:, 3] *= sign[:, 0]
        if self._halves is None:
            return self.rests.turned(chosen[:, 0], angle[:, 0], mirrored[:, 0]), before
        return self._halves.joined(places, angle), before

    def _stage(self, first: int, size: int) -> _Stage:
        """Return what events from ``first`` on draw from, the first ``size`` rests."""
        from scipy.spatial import cKDTree

        conditions = self.conditions[np.arange(size)]
        keys = np.array(_keys(conditions)).reshape(-1, 2)
        kinds: dict[tuple[int, int], _Kind] = {}
        for key in sorted(set(map(tuple, keys.tolist()))):
            rows = np.flatnonzero((keys == key).all(axis=1))
            scale, x = conditions.scale[rows], conditions.x[rows]
            points = np.concatenate([_features(scale, x), _features(scale, x[:, ::-1])])
            if len(points) >= self.neighbours:
                places = np.concatenate([rows, rows + len(self)])
                kinds[key] = _Kind(cKDTree(points), places, {} if self._halves is None else self._halves.pool(places))
        scale = np.log(conditions.scale)
        return _Stage(first, kinds, (float(scale.min()) - MARGIN, float(scale.max()) + MARGIN))


def _load(paths: tuple[Path, ...], neighbours: int, firsts: tuple[int, ...], whole: bool) -> RestLibrary:
    return RestLibrary(paths, neighbours=neighbours, firsts=firsts, whole=whole)


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
    if any(part.particles is not None and part.particles.history is not None for part in parts):
        raise WeightsError(f"{path}: was made by an older version: its hadrons have decayed; {advice}")
    return run, HardEvents.concatenate(parts)
