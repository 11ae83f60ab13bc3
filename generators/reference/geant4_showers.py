"""The reference as a source of showers: Geant4 for any mixture of particles, energies and angles.

Its limits are those of Geant4, not those that a detector is meant for: it takes what models and libraries do not.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import Binning
from fastsim.detector.detector import PARTICLES, Detector
from fastsim.detector.incidents import Incidents
from fastsim.errors import FastsimError, OutOfDomain
from fastsim.formats.atomic import AtomicPath
from fastsim.sources.domains import ShowerDomain
from fastsim.sources.showers import ShowerSource
from generators.reference.geant4 import Calorimeter, Projectiles, data_environment
from generators.reference.geant4_workers import Geant4Workers

SHORT_LIVED: dict[int, str] = {
    310: "kaon0S",
    3122: "lambda",
    -3122: "anti_lambda",
    3222: "sigma+",
    -3222: "anti_sigma+",
    3112: "sigma-",
    -3112: "anti_sigma-",
    3322: "xi0",
    -3322: "anti_xi0",
    3312: "xi-",
    -3312: "anti_xi-",
    3334: "omega-",
    -3334: "anti_omega-",
}
"""Geant4's names of hadrons that event generators leave undecayed, but no detector is meant for; by PDG id."""

MIN_ENERGY = 1e-3
"""Least kinetic energy in GeV: particles of less stop in the first millimetres of a calorimeter."""
MAX_ENERGY = 1e5
"""Highest kinetic energy in GeV: the end of FTFP_BERT's tables."""
MAX_THETA = 1.5
"""Largest angle to the normal in rad: a particle along the layers would never hit them."""

JOB_ENERGY, JOB_SIZE = 20.0, 100
"""Energy in GeV, and number, of the particles of one fork of Geant4: it works 0.3 s, and its start takes 0.03 s."""


@dataclass(frozen=True)
class _Job:
    """Particles to shoot, and the file (.npy) of their deposits."""

    shots: Projectiles
    result: Path


class Geant4Showers(ShowerSource):
    """Geant4 as a source of showers in one detector.

    Workers are started by the first call of :meth:`sample` and stay until :meth:`close`, those for particles along the
    normal and those for tilted ones apart. A call's particles are shared
    out in jobs that depend on the particles alone, each done in a fork of a freshly initialised Geant4, each particle
    with a seed of its own: the showers do not depend on the number of workers.

    Args:
        detector: the target; its voxels have to be polar.
        data: folder of Geant4's data sets; see :func:`generators.reference.geant4.data_environment`.
        workers: worker processes.

    Raises:
        FastsimError: if Geant4 or its data is missing.
    """

    name = "geant4"
    kind = "reference"
    owns_processes = True

    def __init__(self, detector: Detector, *, data: str | os.PathLike[str] | None = None, workers: int = 1) -> None:
        if workers < 1:
            raise FastsimError(f"workers is {workers}, must be 1 at least")
        detector.check_built("Geant4")
        if not detector.sections[0].polar:
            raise FastsimError(f"{detector.name}: its voxels lie in (x, y), which no source of showers has")
        if find_spec("geant4_pybind") is None:
            raise FastsimError("geant4-pybind is not installed: pip install 'fastsim-hep[geant4]'")
        self._environment = data_environment(detector.physics, data)
        names = dict(PARTICLES[name] for name in detector.particles)
        self._names = names if detector.physics == "em" else {**SHORT_LIVED, **names}
        self._particles = {PARTICLES[name][0]: name for name in detector.particles}
        self._target = detector
        self.detector = detector.name
        self._workers = workers
        self._lock = threading.Lock()
        self._geant4: dict[float, Geant4Workers[_Job]] = {}
        self._folder: Path | None = None
        self._end: weakref.finalize[Any, Any] | None = None
        self.domain = ShowerDomain(frozenset(self._names), MIN_ENERGY, MAX_ENERGY, MAX_THETA)

    def binning(self, pdg_id: int) -> Binning:
        """Return the voxels of a particle's showers, which are the same for all particles.

        Raises:
            OutOfDomain: if the particle is not in the domain.
        """
        if pdg_id not in self._names:
            raise OutOfDomain(f"Geant4 takes no particle {pdg_id} in {self.detector}; it takes {sorted(self._names)}")
        binning = self._target.binning(self._target.particles[0])
        assert binning is not None
        return Binning(self._particles.get(pdg_id, self._names[pdg_id]), pdg_id, binning.layers)

    def draw(self, incidents: Incidents, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw the deposits of N particles in MeV, shape (N, voxels).

        Raises:
            FastsimError: if Geant4 does not start, or stops.
        """
        seeds = rng.integers(1, 2**62, len(incidents))
        voxels = np.zeros((len(incidents), self._target.num_voxels), dtype=np.float32)
        tilted = incidents.theta > 0
        with self._lock:
            for max_theta, rows in ((0.0, np.flatnonzero(~tilted)), (MAX_THETA, np.flatnonzero(tilted))):
                if len(rows):
                    voxels[rows] = self._drawn(incidents[rows], seeds[rows], max_theta)
        return voxels

    def _drawn(self, incidents: Incidents, seeds: NDArray[np.int64], max_theta: float) -> NDArray[np.float32]:
        """Draw the deposits (N, V) of particles with their seeds (N,), of all along the normal, or all tilted."""
        geant4, folder = self._opened(max_theta)
        slices = shares(incidents.energy)
        jobs = [self._job(incidents[rows], seeds[rows], folder / f"{rows.start}.npy") for rows in slices]
        try:
            for _ in geant4.done(jobs):
                pass
        except FastsimError:
            for workers in self._geant4.values():
                workers.close()
            self._forget()
            raise
        parts = [np.load(job.result) for job in jobs]
        for job in jobs:
            job.result.unlink()
        return np.concatenate(parts)

    def close(self) -> None:
        """End the workers; :meth:`sample` starts new ones."""
        with self._lock:
            if self._end is not None:
                self._end()
            self._forget()

    def _forget(self) -> None:
        """Drop the workers, which have ended; their folder stays, since after a failure its logs are needed."""
        if self._end is not None:
            self._end.detach()
        self._geant4, self._folder, self._end = {}, None, None

    def _opened(self, max_theta: float) -> tuple[Geant4Workers[_Job], Path]:
        """Return the workers for angles up to one in rad, which the first call starts, and the folder of their results.

        Their logs lie in it, those of tilted particles in a folder of their own.
        """
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="fastsim-geant4-"))
            self._end = weakref.finalize(self, _close, self._geant4, self._folder)
        if max_theta not in self._geant4:
            logs = self._folder / ("tilted" if max_theta > 0 else "normal")
            logs.mkdir()
            self._geant4[max_theta] = Geant4Workers(
                self._target, self._environment, _shoot, workers=self._workers, logs=logs, max_theta=max_theta
            )
        return self._geant4[max_theta], self._folder

    def _job(self, incidents: Incidents, seeds: NDArray[np.int64], result: Path) -> _Job:
        """Return the job of shooting particles with their seeds."""
        names = [self._names[pdg_id] for pdg_id in incidents.pdg_id.tolist()]
        return _Job(Projectiles(names, incidents.energy, incidents.theta, incidents.phi, seeds.tolist()), result)


def shares(energy: NDArray[np.float64]) -> list[slice]:
    """Share out particles of given energies (N,) in GeV in jobs, slices that end at ``JOB_ENERGY`` or ``JOB_SIZE``.

    >>> shares(np.array([15.0, 6.0, 1.0, 300.0, 2.0]))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    slices, first, total = [], 0, 0.0
    for number, value in enumerate(energy.tolist(), start=1):
        total += value
        if total >= JOB_ENERGY or number - first == JOB_SIZE or number == len(energy):
            slices.append(slice(first, number))
            first, total = number, 0.0
    return slices


def _shoot(calorimeter: Calorimeter, job: _Job) -> None:
    """Compute the deposits of a job, in a fork of a worker, and write them."""
    target = AtomicPath(job.result, force=True)
    with target.temporary.open("wb") as file:
        np.save(file, calorimeter.shoot(job.shots))
    target.commit()


def _close(geant4: dict[float, Geant4Workers[_Job]], folder: Path) -> None:
    """End the workers and remove their folder."""
    for workers in geant4.values():
        workers.close()
    shutil.rmtree(folder, ignore_errors=True)
