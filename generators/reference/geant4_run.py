"""Production of calorimeter showers by Geant4: chunks on worker processes, written as one file.

A chunk is ``SHOWERS_PER_CHUNK`` showers, and draws its energies and Geant4's seeds from (run seed, chunk number) alone.
No chunk knows what was computed before it (:mod:`generators.reference.geant4_workers`): workers, order and restarts do
not change a bit. A chunk is computed from its beginning, as far as its showers are wanted.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
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
from fastsim.production.chunks import Keeper, Progress, Task
from fastsim.production.run import Plan, Run
from fastsim.production.shower_run import Chunks, ShowerSummary, cut, numbers_of, shower_range, write_run
from generators.reference.geant4 import REQUIRED, Calorimeter, Shots, data_environment
from generators.reference.geant4_workers import Crew

Job = tuple[int, int]
"""A chunk's number, and how many of its showers are wanted, from its first."""


def make_showers(
    gun: ShowerGun,
    output: PathLike,
    *,
    num: int,
    first_event: int = 0,
    num_events: int | None = None,
    part: tuple[int, int] | None = None,
    workers: int = 1,
    data: str | os.PathLike[str] | None = None,
    resume: bool = False,
    force: bool = False,
    log: PathLike | None = None,
    progress: Progress | None = None,
) -> ShowerSummary:
    """Geant4's showers as a CaloChallenge HDF5 file, with the binning as XML beside it.

    Args:
        gun: detector, particle, energies, direction, seed.
        output: an HDF5 file (.h5, .hdf5); appears when complete, and so does its binning (.xml).
        num: showers of the whole; shower i is the same for any number.
        first_event, num_events, part: which of the showers: see :func:`fastsim.production.shower_run.shower_range`.
        workers: worker processes; the result does not depend on them.
        data: folder of Geant4's data sets; see :func:`generators.reference.geant4.data_environment`.
        resume: go on from the chunks of a run that was stopped, if there are any.
        force: replace an output that exists, and drop chunks of a run that was stopped.
        log: file to which JSON lines of what happens are added.
        progress: called with (showers done, showers wanted) after each chunk.

    Raises:
        FastsimError: if something given is wrong or missing, or Geant4 stops; finished chunks are kept.
    """
    check_name(output)
    if workers < 1:
        raise FastsimError(f"workers is {workers}, must be 1 at least")
    plan = Plan(
        seed=gun.seed,
        **shower_range(num, first=first_event, num_events=num_events, part=part, size=SHOWERS_PER_CHUNK),
        workers=workers,
        keep=True,
        resume=resume,
        force=force,
        log=log,
        progress=progress,
    )
    environment = data_environment(gun.detector.physics, data)
    return write_run(
        output,
        plan,
        ShowerSummary(output=str(output), source=f"Geant4, {gun.detector.name}, {gun.particle}", by_energy=True),
        partial(_computed, gun, environment, plan),
        made=_settings(gun, environment),
        num_voxels=gun.detector.num_voxels,
        binning=gun.detector.binning(gun.particle),
    )


def _computed(gun: ShowerGun, environment: dict[str, str], plan: Plan, run: Run) -> Chunks:
    """What lies in the plan's range, chunk by chunk."""
    assert plan.num_events is not None
    crew, size, stop = run.crew, SHOWERS_PER_CHUNK, plan.first_event + plan.num_events
    wanted = {number: min(size, stop - number * size) for number in numbers_of(plan, size)}
    assert crew.keeper is not None
    crew = replace(crew, send=nullcontext, keeper=_LongEnough(crew.keeper, wanted))
    with _geant4(gun, environment, plan.workers) as compute, closing(crew.run(compute, iter(wanted.items()))) as done:
        for chunk in done:
            yield cut(chunk, plan, size)


@dataclass(frozen=True)
class _LongEnough:
    """A :class:`fastsim.production.chunks.Keeper` that gives chunks with as many showers as are wanted.

    The last chunk of a run that wanted fewer ends early.
    """

    keeper: Keeper
    wanted: dict[int, int]

    def load(self, number: int) -> tuple[Any, float] | None:
        held = self.keeper.load(number)
        return held if held is not None and len(held[0]) >= self.wanted[number] else None

    def save(self, number: int, content: Any, seconds: float) -> None:
        self.keeper.save(number, content, seconds)


@contextmanager
def _geant4(gun: ShowerGun, environment: dict[str, str], num: int) -> Iterator[Task[Showers]]:
    """The showers of a job, from one of ``num`` worker processes; to be called from as many threads.

    After a failure the folder of Geant4's logs stays, for the message names one.
    """
    folder = Path(tempfile.mkdtemp(prefix="fastsim-geant4-"))
    idle: SimpleQueue[Crew[Job]] = SimpleQueue()
    crews = []
    for worker in range(num):
        logs = folder / str(worker)
        logs.mkdir()
        crews.append(Crew(gun.detector, environment, partial(_compute, gun, folder), workers=1, logs=logs))
        idle.put(crews[-1])

    def compute(job: Job) -> Showers:
        crew = idle.get()
        try:
            for _ in crew.done([job]):
                pass
        except FastsimError as error:
            failed.append(error)
            raise FastsimError(f"{error}, finished chunks, if any, are kept for --resume") from error
        finally:
            idle.put(crew)
        result = _result(folder, job)
        voxels = np.load(result)
        result.unlink()
        return Showers(1e3 * gun.draw(job[0])[0][: job[1]], voxels)

    failed: list[FastsimError] = []
    try:
        yield compute
    finally:
        for crew in crews:
            crew.close()
        if not failed:
            shutil.rmtree(folder, ignore_errors=True)


def _result(folder: Path, job: Job) -> Path:
    """Where a worker leaves the voxels of a job."""
    return folder / f"chunk-{job[0]:06d}.npy"


def _compute(gun: ShowerGun, folder: Path, calorimeter: Calorimeter, job: Job) -> None:
    """Does a job, in a fork of a worker."""
    chunk, count = job
    energies, seeds = gun.draw(chunk)
    direction = (np.full(count, gun.theta), np.full(count, gun.phi))
    names = [PARTICLES[gun.particle][1]] * count
    voxels = calorimeter.shoot(Shots(names, energies[:count], *direction, seeds[:count]))
    np.save(_result(folder, job), voxels.astype(np.float32, copy=False))


def _settings(gun: ShowerGun, environment: dict[str, str]) -> dict[str, Any]:
    """All that decides a chunk."""
    try:
        bindings = version("geant4-pybind")
    except PackageNotFoundError as error:
        raise FastsimError("geant4-pybind is not installed: pip install 'fastsim-hep[geant4]'") from error
    # names of folders, which tell versions: data may lie elsewhere when the run goes on
    data = [Path(environment[name]).resolve().name for name in REQUIRED[gun.detector.physics]]
    return {**gun.as_dict(), "showers_per_chunk": SHOWERS_PER_CHUNK, "geant4_pybind": bindings, "data": data}
