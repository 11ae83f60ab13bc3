"""Production of calorimeter showers by Geant4: chunks on worker processes, written as one file.

A chunk is ``SHOWERS_PER_CHUNK`` showers, and draws its energies, directions and Geant4's seeds from (run seed, chunk
number) alone.
No chunk knows what was computed before it (:mod:`generators.reference.geant4_workers`): workers, order and restarts do
not change a bit. A chunk is computed from its beginning, as far as its showers are wanted.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from fastsim.detector.detector import PARTICLES
from fastsim.detector.shower_gun import SHOWERS_PER_CHUNK, ShowerGun
from fastsim.errors import FastsimError
from fastsim.formats.atomic import PathLike
from fastsim.formats.calochallenge import Showers, check_name
from fastsim.production.chunks import ChunkStore, Task
from fastsim.production.options import EventRange, RunOptions
from fastsim.production.run import Run
from fastsim.production.shower_run import (
    ShowerChunks,
    chunk_numbers,
    cut_to_range,
    direction_of,
    shower_range,
    write_run,
)
from fastsim.production.summary import ShowerSummary
from generators.reference.geant4 import REQUIRED, Calorimeter, Projectiles, data_environment
from generators.reference.geant4_workers import Geant4Workers

Job = tuple[int, int]
"""A chunk's number, and how many of its showers are wanted, from its first."""


def make_showers(
    gun: ShowerGun,
    output: PathLike,
    *,
    num: int,
    options: RunOptions,
    data: str | os.PathLike[str] | None = None,
) -> ShowerSummary:
    """Write Geant4's showers as a CaloChallenge HDF5 file, with the binning as XML beside it.

    Args:
        gun: detector, particle, energies, direction, seed.
        output: an HDF5 file (.h5, .hdf5); appears when complete, and so does its binning (.xml).
        num: number of showers in all; shower i is the same for any number.
        options: options of the run; the seed is the gun's, and there is at least one worker process.
        data: folder of Geant4's data sets; see :func:`generators.reference.geant4.data_environment`.

    Raises:
        FastsimError: if something given is wrong or missing, or Geant4 stops; finished chunks are kept.
    """
    gun.detector.check_built("Geant4")
    check_name(output)
    events = shower_range(num, options, SHOWERS_PER_CHUNK)
    workers = max(1, options.workers)
    environment = data_environment(gun.detector.physics, data)
    return write_run(
        output,
        options.replace(workers=0, threads=workers),  # each thread waits for a process of Geant4's
        events,
        ShowerSummary(output=str(output), source=f"Geant4, {gun.detector.name}, {gun.particle}", by_energy=True),
        partial(_computed, gun, environment, events, workers),
        provenance=_settings(gun, environment),
        num_voxels=gun.detector.num_voxels,
        binning=gun.detector.binning(gun.particle),
        directions=not gun.perpendicular,
    )


def _computed(gun: ShowerGun, environment: dict[str, str], events: EventRange, workers: int, run: Run) -> ShowerChunks:
    """Compute the showers in the range, and yield them chunk by chunk."""
    assert events.stop is not None
    runner, size = run.runner, SHOWERS_PER_CHUNK
    wanted = {number: min(size, events.stop - number * size) for number in chunk_numbers(events, size)}
    assert runner.store is not None
    runner = replace(runner, store=_CompleteChunks(runner.store, wanted))
    with _geant4(gun, environment, workers) as compute, closing(runner.run(compute, iter(wanted.items()))) as finished:
        for chunk in finished:
            yield cut_to_range(chunk, events, size)


@dataclass(frozen=True)
class _CompleteChunks:
    """A :class:`fastsim.production.chunks.ChunkStore` that gives only chunks with as many showers as are wanted.

    The last chunk of a stopped run that wanted fewer showers may have too few: it is computed again.
    """

    store: ChunkStore
    wanted: dict[int, int]

    def load(self, number: int) -> tuple[Any, float] | None:
        stored = self.store.load(number)
        return stored if stored is not None and len(stored[0]) >= self.wanted[number] else None

    def save(self, number: int, content: Any, seconds: float) -> None:
        self.store.save(number, content, seconds)


@contextmanager
def _geant4(gun: ShowerGun, environment: dict[str, str], num: int) -> Iterator[Task[Showers]]:
    """Give a function that makes the showers of a job in one of ``num`` worker processes; call it from ``num`` threads.

    After a failure the folder of Geant4's logs is not removed, since the message names one of them.
    """
    folder = Path(tempfile.mkdtemp(prefix="fastsim-geant4-"))
    idle: SimpleQueue[Geant4Workers[Job]] = SimpleQueue()
    started = []
    for worker in range(num):
        logs = folder / str(worker)
        logs.mkdir()
        started.append(
            Geant4Workers(
                gun.detector,
                environment,
                partial(_compute, gun, folder),
                workers=1,
                logs=logs,
                max_theta=gun.thetas[1],
            )
        )
        idle.put(started[-1])

    def compute(job: Job) -> Showers:
        geant4 = idle.get()
        try:
            for _ in geant4.done([job]):
                pass
        except FastsimError as error:
            failed.append(error)
            raise FastsimError(f"{error}, finished chunks, if any, are kept for --resume") from error
        finally:
            idle.put(geant4)
        result = _result(folder, job)
        voxels = np.load(result)
        result.unlink()
        chunk, count = job
        theta, phi = gun.directions(chunk)
        direction = direction_of(gun, theta[:count], phi[:count])
        return Showers(1e3 * gun.draw(chunk)[0][:count], voxels, direction=direction)

    failed: list[FastsimError] = []
    try:
        yield compute
    finally:
        for geant4 in started:
            geant4.close()
        if not failed:
            shutil.rmtree(folder, ignore_errors=True)


def _result(folder: Path, job: Job) -> Path:
    """Return the path of the file to which a worker writes the voxels of a job."""
    return folder / f"chunk-{job[0]:06d}.npy"


def _compute(gun: ShowerGun, folder: Path, calorimeter: Calorimeter, job: Job) -> None:
    """Compute the showers of a job, in a fork of a worker, and write their voxels."""
    chunk, count = job
    energies, seeds = gun.draw(chunk)
    theta, phi = gun.directions(chunk)
    names = [PARTICLES[gun.particle][1]] * count
    voxels = calorimeter.shoot(Projectiles(names, energies[:count], theta[:count], phi[:count], seeds[:count]))
    np.save(_result(folder, job), voxels.astype(np.float32, copy=False))


def _settings(gun: ShowerGun, environment: dict[str, str]) -> dict[str, Any]:
    """Return all that decides the content of a chunk, as JSON values."""
    try:
        bindings = version("geant4-pybind")
    except PackageNotFoundError as error:
        raise FastsimError("geant4-pybind is not installed: pip install 'fastsim-hep[geant4]'") from error
    # names of folders, which tell versions: data may lie elsewhere when the run goes on
    data = [Path(environment[name]).resolve().name for name in REQUIRED[gun.detector.physics]]
    return {**gun.as_dict(), "showers_per_chunk": SHOWERS_PER_CHUNK, "geant4_pybind": bindings, "data": data}
