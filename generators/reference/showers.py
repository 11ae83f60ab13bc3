"""Production of calorimeter showers: chunks on worker processes, kept as they finish, joined into one file.

A chunk is ``SHOWERS_PER_CHUNK`` showers, and draws its energies and Geant4's seeds from (run seed, chunk number) alone.
No chunk knows what was computed before it (:mod:`generators.reference.shower_workers`): workers, order and restarts do
not change a bit.

While a run goes on, OUTPUT.parts holds its finished chunks, its settings and Geant4's logs; a run that was stopped goes
on from there with ``resume``.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError
from fastsim.formats.output import HDF5_ENDINGS, AtomicPath, PathLike, writing
from fastsim.production import Progress, Summary, chunk_rng
from generators.reference.detectors import PARTICLES, Detector
from generators.reference.geant4 import REQUIRED, Calorimeter, Shots, data_environment
from generators.reference.shower_workers import Crew

SHOWERS_PER_CHUNK = 100
"""Showers that are computed, kept and seeded together."""

MAX_SHOWERS = 100_000_000
"""More than this in one file are refused."""

Job = tuple[int, int]
"""A chunk's number, and how many of its showers are wanted."""


@dataclass(frozen=True)
class ShowerGun:
    """What is shot at a detector.

    Attributes:
        detector: the target.
        particle: a name from ``generators.reference.detectors.PARTICLES``.
        energy: lowest and highest kinetic energy in GeV, log-uniform between; equal for one energy.
        theta, phi: direction of flight in rad; theta = 0 is perpendicular to the layers.
        seed: of the run.

    Raises:
        FastsimError: if the detector is not meant for this, or a value is out of range.
    """

    detector: Detector
    particle: str
    energy: tuple[float, float]
    theta: float = 0.0
    phi: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        self.detector.check(self.particle, *self.energy)
        if not (0 <= self.theta < math.pi / 2 and math.isfinite(self.phi)):
            raise FastsimError(f"direction theta={self.theta:g}, phi={self.phi:g}: theta must be in [0, pi/2) rad")
        if self.seed < 0:
            raise FastsimError(f"seed is {self.seed}, must not be negative")

    def draw(self, chunk: int) -> tuple[NDArray[np.float64], list[int]]:
        """Kinetic energies in GeV, and Geant4's seeds, of a chunk."""
        rng = chunk_rng(self.seed, chunk)
        low, high = self.energy
        energies = np.exp(rng.uniform(math.log(low), math.log(high), SHOWERS_PER_CHUNK)).clip(low, high)
        return energies, rng.integers(1, 2**62, SHOWERS_PER_CHUNK).tolist()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        values = {name: getattr(self, name) for name in ("particle", "energy", "theta", "phi", "seed")}
        return {"detector": self.detector.as_dict(), **values}


@dataclass
class ShowerSummary(Summary):
    """What a run did: ``computed`` of the showers in this call, the others before it."""

    computed: int = 0
    incident: float = 0.0
    visible: float = 0.0
    computed_energy: float = 0.0
    workers: int = 1

    def rows(self) -> list[tuple[str, str]]:
        """The summary as names and formatted values, for a table."""
        resumed = "" if self.computed == self.events else f" ({self.computed:,} in this run)"
        rows = [
            ("output", self.output),
            ("source", self.source),
            ("showers", f"{self.events:,}{resumed}"),
            ("visible energy", f"{100 * self.visible / self.incident:.3f}% of the incident"),
        ]
        time_text = f"{self.seconds:.1f} s"
        if self.computed_energy > 0:
            cost = 1e3 * self.seconds * self.workers / self.computed_energy
            time_text += f" ({cost:.1f} ms a GeV and worker, {self.computed / self.seconds:,.1f} showers/s)"
        return [*rows, ("time", time_text)]


def make_showers(
    gun: ShowerGun,
    output: PathLike,
    *,
    num: int,
    workers: int = 1,
    data: str | os.PathLike[str] | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> ShowerSummary:
    """Geant4's showers as a CaloChallenge HDF5 file, with the binning as XML beside it.

    Args:
        gun: detector, particle, energies, direction, seed.
        output: an HDF5 file (.h5, .hdf5); appears when complete, and so does its binning (.xml).
        num: showers; shower i is the same for any number.
        workers: worker processes; the result does not depend on them.
        data: folder of Geant4's data sets; see :func:`generators.reference.geant4.data_environment`.
        resume: go on from the chunks of a run that was stopped, if there are any.
        force: replace an output that exists, and drop chunks of a run that was stopped.
        progress: called with (showers done, num) after each chunk.

    Raises:
        FastsimError: if something given is wrong or missing, or Geant4 stops; finished chunks are kept.
    """
    path = Path(output)
    if path.suffix.lower() not in HDF5_ENDINGS:
        raise FastsimError(f"{path}: showers are written as HDF5; give a name that ends in .h5")
    if not 1 <= num <= MAX_SHOWERS:
        raise FastsimError(f"num is {num}, must be 1 to {MAX_SHOWERS:,} showers")
    if workers < 1:
        raise FastsimError(f"workers is {workers}, must be 1 at least")
    environment = data_environment(gun.detector.physics, data)
    settings = _settings(gun, environment)
    binning = gun.detector.binning(gun.particle)
    for place in (path, *([path.with_suffix(".xml")] if binning else [])):
        AtomicPath(place, force=force).discard()  # refused now rather than after hours
    parts = path.with_name(f"{path.name}.parts")
    with writing(parts):
        _open_parts(parts, settings, resume=resume, force=force)
    summary = ShowerSummary(output=str(path), source=f"Geant4, {gun.detector.name}, {gun.particle}", workers=workers)
    counts = [min(SHOWERS_PER_CHUNK, num - first) for first in range(0, num, SHOWERS_PER_CHUNK)]
    jobs = [(chunk, count) for chunk, count in enumerate(counts) if _held(_part_path(parts, chunk)) < count]
    done = num - sum(count for _, count in jobs)
    with closing(_computed(gun, environment, parts, jobs, workers)) as chunks:
        for chunk, count in chunks:
            done += count
            summary.computed += count
            summary.computed_energy += float(gun.draw(chunk)[0][:count].sum())
            if progress is not None:
                progress(done, num)
    summary.seconds = time.perf_counter() - summary.started
    summary.events = num
    _join(path, parts, counts, settings, summary, force=force)
    if binning is not None:
        target = AtomicPath(path.with_suffix(".xml"), force=force)
        with writing(target.path):
            target.temporary.write_text(binning.to_xml(), encoding="utf-8")
        target.commit()
    shutil.rmtree(parts)
    return summary


def _part_path(parts: Path, chunk: int) -> Path:
    """The file of a chunk."""
    return parts / f"chunk-{chunk:06d}.npz"


def _computed(
    gun: ShowerGun, environment: dict[str, str], parts: Path, jobs: list[Job], workers: int
) -> Generator[Job, None, None]:
    """Has the chunks computed and yields each when its file is there, in any order."""
    crew = Crew(gun.detector, environment, partial(_compute, gun, parts), workers=workers, logs=parts)
    try:
        with closing(crew.done(jobs)) as done:
            yield from done
    except FastsimError as error:
        raise FastsimError(f"{error}, finished showers are kept for --resume") from error
    finally:
        crew.close()


def _compute(gun: ShowerGun, parts: Path, calorimeter: Calorimeter, job: Job) -> None:
    """Computes one chunk and writes its file, which appears when complete."""
    chunk, count = job
    energies, seeds = gun.draw(chunk)
    direction = (np.full(count, gun.theta), np.full(count, gun.phi))
    names = [PARTICLES[gun.particle][1]] * count
    voxels = calorimeter.shoot(Shots(names, energies[:count], *direction, seeds[:count]))
    target = AtomicPath(_part_path(parts, chunk), force=True)
    with target.temporary.open("wb") as file:
        np.savez_compressed(file, incident=1e3 * energies[:count], voxels=voxels)
    target.commit()


def _settings(gun: ShowerGun, environment: dict[str, str]) -> dict[str, Any]:
    """All that decides a chunk, as JSON gives it back."""
    try:
        bindings = version("geant4-pybind")
    except PackageNotFoundError as error:
        raise FastsimError("geant4-pybind is not installed: pip install 'fastsim-hep[geant4]'") from error
    # names of folders, which tell versions: data may lie elsewhere when the run goes on
    data = [Path(environment[name]).resolve().name for name in REQUIRED[gun.detector.physics]]
    values = {**gun.as_dict(), "showers_per_chunk": SHOWERS_PER_CHUNK, "geant4_pybind": bindings, "data": data}
    read_back: dict[str, Any] = json.loads(json.dumps(values))
    return read_back


def _open_parts(parts: Path, settings: dict[str, Any], *, resume: bool, force: bool) -> None:
    """The folder of finished chunks, empty or to be gone on with.

    Raises:
        FastsimError: if it is there without ``resume``, or belongs to other settings.
    """
    file = parts / "settings.json"
    if parts.exists() and not resume:
        if not force:
            raise FastsimError(f"{parts}: holds a run that was stopped; --resume goes on with it, --force drops it")
        if not file.is_file():
            raise FastsimError(f"{parts}: is not the folder of a run; remove it, or give another output")
        shutil.rmtree(parts)
    if not parts.exists():
        parts.mkdir()
        file.write_text(json.dumps(settings), encoding="utf-8")
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FastsimError(f"{parts}: has no readable settings.json; remove the folder and start again") from error
    if held != settings:
        names = ", ".join(key for key in settings if held.get(key) != settings[key])
        raise FastsimError(
            f"{parts}: holds a run of other settings ({names}); give the same, or --force alone to drop it"
        )


def _held(part: Path) -> int:
    """Showers of a chunk that are there."""
    try:
        with np.load(part) as arrays:
            return len(arrays["incident"])
    except (OSError, ValueError, KeyError, BadZipFile):
        return 0


def _join(
    path: Path, parts: Path, counts: list[int], settings: dict[str, Any], summary: ShowerSummary, *, force: bool
) -> None:
    """Writes the chunks as one CaloChallenge file and counts their energies (MeV) in the summary."""
    import h5py

    from fastsim import __version__

    num, num_voxels = sum(counts), np.load(_part_path(parts, 0))["voxels"].shape[1]
    rows = min(num, SHOWERS_PER_CHUNK)
    target = AtomicPath(path, force=force)
    try:
        with writing(path), h5py.File(target.temporary, "w") as file:
            incident = file.create_dataset("incident_energies", (num, 1), "f8")
            voxels = file.create_dataset(
                "showers", (num, num_voxels), "f4", chunks=(rows, num_voxels), compression="gzip", compression_opts=1
            )
            first = 0
            for chunk, count in enumerate(counts):
                with np.load(_part_path(parts, chunk)) as arrays:
                    energies, deposits = arrays["incident"][:count], arrays["voxels"][:count]
                incident[first : first + count, 0] = energies
                voxels[first : first + count] = deposits
                summary.incident += float(energies.sum())
                summary.visible += float(deposits.sum(dtype=np.float64))
                first += count
            file.attrs.update({"tool": "fastsim", "version": __version__, "settings": json.dumps(settings)})
    except BaseException:
        target.discard()
        raise
    target.commit()
