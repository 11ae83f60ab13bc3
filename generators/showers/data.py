"""Showers that a model learns from: made for it by Geant4 or by a trained cascade, or read from files of any origin."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import Binning, Layer, read_binning
from fastsim.detector.detector import PARTICLES, Detector, available, load_detector
from fastsim.detector.shower_gun import ShowerGun
from fastsim.errors import FastsimError
from fastsim.event import Floats, Ints
from fastsim.formats.calochallenge import Showers, binning_path, read_showers
from fastsim.production.options import RunOptions, available_cpus
from fastsim.production.shower_run import run_showers
from fastsim.sources import cards
from fastsim.sources.cards import ModelCard
from fastsim.sources.showers import ShowerSource
from generators.reference.geant4_run import make_showers
from generators.showers.cascade.initial import initial_model
from generators.showers.cascade.source import CascadeModel
from generators.showers.cascade.tilt import Tilt, tilt_of
from generators.showers.regroup import Regrouping
from generators.training.config import ConfigError

_SIMULATED = {"particle", "num", "seed"}
_MODEL, _ENERGY, _THETA = "model", "energy", "theta"
_CIRCLE = (0.0, 2 * np.pi)
_FILES = {"files", "binning"}
_NAMES = {pdg_id: name for name, (pdg_id, _) in PARTICLES.items()}
GeantRun = tuple[int, int]
"""PDG id and seed of a run of Geant4: the same ones always give the same showers."""
_ROUNDING = 1e-6
"""Relative distance within which lengths and energies count as equal: files may hold them in single precision."""
MAX_EMPTY = 0.5
"""Share of showers without deposits from which on a file is refused."""


@dataclass(frozen=True)
class TrainingShowers:
    """N showers and their particles.

    ``pdg_id`` (N,), ``energy`` (N,) in GeV, ``voxels`` (N, V) in MeV, ``direction`` (N, 2): theta and phi in rad; by
    default along the normal.
    """

    pdg_id: Ints
    energy: Floats
    voxels: NDArray[np.float32]
    direction: Floats = field(default_factory=lambda: np.zeros((0, 2)))

    def __post_init__(self) -> None:
        if not len(self.direction):
            object.__setattr__(self, "direction", np.zeros((len(self), 2)))

    @property
    def tilt(self) -> Tilt:
        """The tilts of the particles, (N, 2); see :mod:`generators.showers.cascade.tilt`."""
        return tilt_of(*self.direction.T)

    def __len__(self) -> int:
        return len(self.energy)

    def __getitem__(self, rows: slice | Ints) -> TrainingShowers:
        return TrainingShowers(self.pdg_id[rows], self.energy[rows], self.voxels[rows], self.direction[rows])

    @classmethod
    def shuffled(cls, parts: Sequence[TrainingShowers]) -> TrainingShowers:
        """Return the showers of all parts, shuffled in a fixed way."""
        together = cls.concatenated(parts)
        return together[np.random.default_rng(0).permutation(len(together))]

    @classmethod
    def concatenated(cls, parts: Sequence[TrainingShowers]) -> TrainingShowers:
        """Return the showers of all parts, one after the other."""
        return cls(*(np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(cls)))


@dataclass(frozen=True)
class SimulatedSet:
    """Showers that Geant4, or a model that has learned from it, makes for a training, and that are kept.

    Attributes:
        gun: detector, particle, energies and seed.
        num: how many.
        model: the cascade that makes them; None: Geant4.
    """

    gun: ShowerGun
    num: int
    model: CascadeModel | None = None

    @property
    def particle(self) -> str:
        """Name of the particle."""
        return self.gun.particle

    def read(self, detector: Detector, cache: Path) -> TrainingShowers:
        """Read the showers from a file in ``cache``, which is made if it is not there.

        Args:
            detector: whose voxels the showers are wanted in: the gun's, or one of coarser voxels.
            cache: folder of the files.

        Raises:
            FastsimError: if Geant4 is needed and missing.
        """
        gun = self.gun
        regroup = None if gun.detector == detector else Regrouping.of(gun.detector, detector)
        low, high = gun.energy
        words = [gun.detector.name, gun.particle, f"{low:g}-{high:g}", str(self.num), str(gun.seed)]
        if not gun.perpendicular:
            words.append("theta-{:g}-{:g}".format(*gun.thetas))
        if self.model is not None:
            words += [self.model.name, self.model.provenance["sha256"][:12]]
        path = cache / f"{'_'.join(words)}.h5"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            if self.model is None:
                options = RunOptions(seed=gun.seed, workers=available_cpus(), resume=True)
                make_showers(gun, path, num=self.num, options=options)
            else:
                provenance = {f"model_{key}": value for key, value in self.model.provenance.items()}
                options = RunOptions(seed=gun.seed, threads=1, resume=True)
                run_showers(self.model, gun, path, num=self.num, options=options, provenance=provenance)
        showers = read_showers(path, gun.detector.binning(gun.particle))
        return _of(gun.particle, showers, showers.voxels if regroup is None else regroup(showers.voxels))


@dataclass(frozen=True)
class FileSet:
    """Showers of one kind of particle from CaloChallenge files.

    Attributes:
        paths: of the files.
        binning: of their voxels, which also names the particle.
        place: what messages call the binning.
        energy: lowest and highest kinetic energy of the training, in GeV.
        max_theta: largest angle to the normal of the layers of the training, in rad.
    """

    paths: tuple[Path, ...]
    binning: Binning
    place: str
    energy: tuple[float, float]
    max_theta: float = 0.0

    @property
    def particle(self) -> str:
        """Name of the particle.

        Raises:
            FastsimError: if its PDG id is none that showers are made of.
        """
        if self.binning.pid not in _NAMES:
            raise FastsimError(f"{self.place}: pid {self.binning.pid} is none of {', '.join(map(str, _NAMES))}")
        return _NAMES[self.binning.pid]

    def read(self, detector: Detector, cache: Path) -> TrainingShowers:
        """Read the showers.

        Args:
            detector: the detector that they are in.
            cache: not used.

        Raises:
            FastsimError: if binning, files and detector do not fit each other, or the showers not the training.
        """
        self._check_binning(detector)
        return TrainingShowers.concatenated([self._read(path, detector) for path in self.paths])

    def _check_binning(self, detector: Detector) -> None:
        wanted = detector.binning(self.particle)
        if wanted is None:
            raise FastsimError(f"detector {detector.name}: its cells lie in (x, y); a cascade needs (r, alpha)")
        here, there = ([layer for layer, _ in binning.parts] for binning in (self.binning, wanted))
        if len(here) != len(there):
            raise FastsimError(
                f"{self.place}: {len(here)} layers with voxels, but detector {detector.name} has {len(there)}: give "
                "the detector that these showers are in"
            )
        for one, two in zip(here, there, strict=True):
            same = len(one.r_edges) == len(two.r_edges) and np.allclose(one.r_edges, two.r_edges, rtol=_ROUNDING)
            if not same or one.num_alpha != two.num_alpha:
                raise FastsimError(
                    f"{self.place}: layer {one.id} has {_text(one)}, but in detector {detector.name} {_text(two)}: "
                    "give the detector that these showers are in"
                )

    def _read(self, path: Path, detector: Detector) -> TrainingShowers:
        showers = read_showers(path, self.binning)
        _check_settings(path, detector, self.particle, directions=showers.direction is not None)
        if showers.direction is not None and (theta := float(showers.direction[:, 0].max())) > self.max_theta:
            raise FastsimError(
                f"{path}: showers at theta up to {theta:g} rad, but the config is for {self.max_theta:g} rad at most: "
                "give its max_theta"
            )
        low, high = (1e3 * limit for limit in self.energy)
        outside = (showers.incident < low * (1 - _ROUNDING)) | (showers.incident > high * (1 + _ROUNDING))
        if outside.any():
            row = int(np.argmax(outside))
            raise FastsimError(
                f"{path}: shower {row} has {showers.incident[row] / 1e3:g} GeV, outside the {self.energy[0]:g} to "
                f"{self.energy[1]:g} GeV of the config ({outside.sum()} of {len(showers)} showers are)"
            )
        empty = ~(showers.voxels > 0).any(axis=1)
        if empty.mean() > MAX_EMPTY:
            raise FastsimError(
                f"{path}: {empty.sum()} of {len(showers)} showers have no deposit: nothing to learn from"
            )
        return _of(self.particle, showers, showers.voxels)


def _text(layer: Layer) -> str:
    return f"{layer.num_r} rings up to {layer.r_edges[-1]:g} mm in {layer.num_alpha} sectors"


def _of(particle: str, showers: Showers, voxels: NDArray[np.float32]) -> TrainingShowers:
    pdg_id = np.full(len(showers), PARTICLES[particle][0])
    if showers.direction is None:
        return TrainingShowers(pdg_id, showers.incident / 1e3, voxels)
    return TrainingShowers(pdg_id, showers.incident / 1e3, voxels, showers.direction)


def _check_settings(path: Path, detector: Detector, particle: str, *, directions: bool) -> None:
    """Refuse a file whose settings, if fastsim wrote it, name another detector or particle.

    Or tilted particles, if the file has no ``directions``: voxels of such showers were once about the detector's axis.
    """
    import h5py

    with h5py.File(path, "r") as file:
        text = file.attrs.get("settings")
    try:
        settings = json.loads(text)
        name, theta, of = settings["detector"]["name"], settings["theta"], settings["particle"]
    except (TypeError, ValueError, KeyError):
        return  # of other origin
    if name != detector.name:
        raise FastsimError(f"{path}: showers in detector {name}, but the config is for {detector.name}")
    if of != particle:
        raise FastsimError(f"{path}: showers of {of}, but the binning is that of {particle}")
    if theta != 0 and not directions:
        raise FastsimError(
            f"{path}: showers at theta {theta} rad in voxels about the detector's axis; make them again, with voxels "
            "about the line of flight"
        )


ShowerSet = SimulatedSet | FileSet


def shower_sets(
    data: Any,
    simulated: Detector,
    energy: tuple[float, float],
    config: Path,
    *,
    learned: Detector | None = None,
    max_theta: float = 0.0,
) -> list[ShowerSet]:
    """Read the section ``data`` of a config: a set of showers or a list of them, simulated or of files.

    Args:
        data: the section.
        simulated: the detector that Geant4 simulates.
        energy: lowest and highest kinetic energy in GeV.
        config: path of the config; paths in it are relative to its folder.
        learned: the detector whose showers are learned, in which models make theirs; None: ``simulated``.
        max_theta: largest angle to the normal of the layers in rad.

    Raises:
        FastsimError: if a set has other keys, or there are no such files.
    """
    sets = [data] if isinstance(data, Mapping) else data
    if not isinstance(sets, list) or not sets or not all(isinstance(values, Mapping) for values in sets):
        raise ConfigError(f"{config}: data is an object, or a list of objects: sets of showers")
    return [_shower_set(values, simulated, learned or simulated, energy, max_theta, config) for values in sets]


def _shower_set(
    values: Mapping[str, Any],
    simulated: Detector,
    learned: Detector,
    energy: tuple[float, float],
    max_theta: float,
    config: Path,
) -> ShowerSet:
    keys = set(values)
    if keys - {_MODEL, _ENERGY, _THETA} == _SIMULATED:
        if _ENERGY in keys:
            low, high = read_energies(values[_ENERGY], config, f"data: {_ENERGY}")
            if low < energy[0] or high > energy[1]:
                raise ConfigError(
                    f"{config}: data: energy [{low:g}, {high:g}] GeV of {values['particle']} is outside the "
                    f"{energy[0]:g} to {energy[1]:g} GeV of the config"
                )
            energy = low, high
        model = initial_model(values[_MODEL], config, f"data: {_MODEL}") if _MODEL in keys else None
        detector = simulated if model is None else learned
        theta, phi = _read_thetas(values.get(_THETA, (0.0, 0.0)), max_theta, config), _CIRCLE
        if theta[1] == 0:
            phi = (0.0, 0.0)
        gun = ShowerGun(detector, values["particle"], energy, theta, phi, seed=int(values["seed"]))
        return SimulatedSet(gun, int(values["num"]), model)
    if "files" not in keys or keys - _FILES:
        raise ConfigError(
            f"{config}: data: a set of showers has particle, num, seed and perhaps model, energy or theta, or files "
            f"and binning, not {', '.join(sorted(keys)) or 'nothing'}"
        )
    patterns = [values["files"]] if isinstance(values["files"], str) else values["files"]
    paths: list[Path] = []
    for pattern in patterns:
        found = sorted(glob.glob(os.path.join(config.parent, str(pattern))))
        if not found:
            raise ConfigError(f"{config}: data: no file {pattern!r} in {config.parent}")
        paths += map(Path, found)
    if not paths:
        raise ConfigError(f"{config}: data: files is empty")
    given = values.get("binning")
    place = binning_path(paths[0]) if given is None else config.parent / str(given)
    return FileSet(tuple(paths), read_binning(place), str(place), energy, max_theta)


def _read_thetas(values: Any, most: float, config: Path) -> tuple[float, float]:
    """Read the lowest and the highest angle to the normal of a set of showers, in rad.

    Raises:
        ConfigError: unless they are two numbers in order, up to ``most``.
    """
    try:
        low, high = (float(value) for value in values)
    except (TypeError, ValueError):
        low, high = -1.0, -1.0
    if not 0 <= low <= high <= most:
        raise ConfigError(
            f"{config}: data: theta is {values!r}: must be [lowest, highest] in rad within the 0 to {most:g} of the "
            "config's max_theta"
        )
    return low, high


def trained_on(card: ModelCard | None) -> set[GeantRun]:
    """List the Geant4 runs that a model has learned from, itself or through the models that it started or learned from.

    Runs in files of other origin are not known.
    """
    training = {} if card is None else card.training
    data = training.get("config", {}).get("data", [])
    sets = [data] if isinstance(data, Mapping) else data
    own = {(PARTICLES[v["particle"]][0], int(v["seed"])) for v in sets if v.keys() - {_ENERGY, _THETA} == _SIMULATED}
    for key in ("init", "teacher"):
        own |= {(int(pdg_id), int(seed)) for pdg_id, seed in training.get(key, {}).get("runs", [])}
    named = {training.get("config", {}).get("first"), *(v.get(_MODEL) for v in sets)}
    # a teacher of its own name is the version that it started from
    teachers = (named & set(cards.available(cards.SHOWERS))) - {None if card is None else card.name}
    return own.union(*(trained_on(cards.read(name)[0]) for name in teachers))


def initial_facts(model: ShowerSource) -> dict[str, Any]:
    """Say of the model that a training starts from what a card keeps: name, version, checksum, and Geant4's runs."""
    return {"name": model.name, **model.provenance, "runs": sorted(map(list, trained_on(model.card)))}


def read_detector(name: Any, config_path: Path) -> Detector:
    """Load a detector that ships, or one from a TOML file or a binning; paths are relative to the config's folder."""
    text = str(name)
    return load_detector(text if text in available() else config_path.parent / text)


def read_energies(values: Any, config_path: Path, key: str = "energy") -> tuple[float, float]:
    """Read the lowest and the highest kinetic energy of a config, in GeV; ``key`` is what messages call them.

    Raises:
        FastsimError: unless they are two positive numbers in order.
    """
    try:
        low, high = (float(value) for value in values)
    except (TypeError, ValueError):
        low, high = 0.0, 0.0
    if not 0 < low <= high < np.inf:
        raise FastsimError(f"{config_path}: {key} is {values!r}: must be [lowest, highest] in GeV")
    return low, high
