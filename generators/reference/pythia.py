"""The reference: Pythia 8 final-state shower, hadronisation and decays of one parton ("gun").

A colour-singlet pair f fbar (or g g) is made at the same rapidity and opposite azimuth, both with the
parton's pT, on their mass shells; the shower starts at the scale pT. The hadrons of the parton are the
final particles of its transverse hemisphere, p . nT > 0. So p(hadrons | parton) depends on flavour and pT
only; rapidity and azimuth are exact symmetries.

References:
    Bierlich et al., A comprehensive guide to the physics and usage of PYTHIA 8.3, 2022, arXiv:2203.11601.
    Skands, Carrazza, Rojo, Tuning PYTHIA 8.1: the Monash 2013 tune, 2014, arXiv:1404.5630.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from fastsim.errors import FastsimError
from fastsim.event import Floats, Ints, ParticleSet, Partons, offsets_from_counts
from fastsim.event.frames import to_lab
from fastsim.event.kinematics import on_shell
from fastsim.event.species import MASSES, PARTON_MASSES, masses
from fastsim.production.startup import starting
from fastsim.sources.domains import QUARKS_AND_GLUONS, Domain
from fastsim.sources.hadrons import HadronSource

SETTINGS: tuple[str, ...] = (
    "ProcessLevel:all = off",
    "Print:quiet = on",
    "ParticleDecays:limitTau0 = on",
    "ParticleDecays:tau0Max = 10.0",
)
"""Settings beyond the Monash tune: particles with c*tau > 10 mm are stable."""

_FINAL = tuple(MASSES)
_MAX_TRIES = 50
_BLOCK = 256


@starting()
def make_pythia(*, settings: tuple[str, ...] = ()) -> Any:
    """Return an initialised Pythia for guns.

    Args:
        settings: further lines for Pythia.

    Raises:
        FastsimError: if Pythia refuses a setting or does not start.
    """
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    lines = [*SETTINGS, *settings]
    lines += [f"{pdg}:m0 = {m}" for pdg, m in MASSES.items()]
    for line in lines:
        if not pythia.readString(line):
            raise FastsimError(f"Pythia refuses the setting {line!r}")
    if not pythia.init():
        raise FastsimError("Pythia did not start")
    return pythia


def shoot(pythia: Any, flavour: int, pt: float, seed: int) -> tuple[Ints, Floats]:
    """Make one event of a parton pair at rest: PDG ids (M,) and four-momenta (M, 4) in GeV of its final particles.

    The parton flies along +z, its partner along -z. The seed alone decides the event.

    Args:
        pythia: a Pythia of :func:`make_pythia`.
        flavour: PDG id of the parton.
        pt: momentum of each of the two in GeV, their pT in the frame of the gun.
        seed: seed of the event.

    Raises:
        FastsimError: if Pythia gives up on the pair.
    """
    pythia.rndm.init(int(seed))
    m = PARTON_MASSES[abs(flavour)]
    energy = float(np.hypot(pt, m))
    event = pythia.event
    for _ in range(_MAX_TRIES):
        event.reset()
        if flavour == 21:
            event.append(21, 23, 101, 102, 0.0, 0.0, pt, energy, m, pt)
            event.append(21, 23, 102, 101, 0.0, 0.0, -pt, energy, m, pt)
        else:
            colour, anticolour = (101, 0) if flavour > 0 else (0, 101)
            event.append(flavour, 23, colour, anticolour, 0.0, 0.0, pt, energy, m, pt)
            event.append(-flavour, 23, anticolour, colour, 0.0, 0.0, -pt, energy, m, pt)
        pythia.forceTimeShower(1, 2, pt)
        if not pythia.next():
            continue
        rows = [(p.id(), p.e(), p.px(), p.py(), p.pz()) for p in event if p.isFinal()]
        table = np.array(rows, dtype=np.float64)
        pdg_id, p4 = table[:, 0].astype(np.int64), table[:, 1:]
        # about once in a million events Pythia leaves a resonance undecayed whose channels are all closed
        if np.isin(np.abs(pdg_id), _FINAL).all():
            return pdg_id, p4
    raise FastsimError(f"Pythia failed {_MAX_TRIES} times on a pair of flavour {flavour} with pT = {pt:.4g} GeV")


_of_thread = threading.local()


def own_pythia(*, settings: tuple[str, ...] = ()) -> Any:
    """Return the Pythia of this thread with these options; the first call starts it.

    Starting costs 50 ms, and Pythia keeps no state between events that have seeds.

    Args:
        settings: further lines for Pythia.
    """
    instances = _of_thread.__dict__
    key = " ".join(settings)
    if key not in instances:
        instances[key] = make_pythia(settings=settings)
    return instances[key]


def _gun_block(job: tuple[Ints, Floats, Ints]) -> tuple[Ints, Ints, Floats]:
    """Make the hemispheres of a block of N partons in the axis frame.

    Args:
        job: flavours, pT in GeV and seeds, each (N,).

    Returns:
        Numbers of particles (N,); PDG ids (M,) and four-momenta (M, 4) in GeV of all of them.
    """
    pythia = own_pythia()
    counts, ids, momenta = [], [], []
    for flavour, pt, seed in zip(*job, strict=True):
        pdg_id, p4 = shoot(pythia, int(flavour), float(pt), int(seed))
        inside = p4[:, 3] > 0
        counts.append(int(inside.sum()))
        ids.append(pdg_id[inside])
        momenta.append(p4[inside])
    return np.array(counts), np.concatenate(ids), np.concatenate(momenta)


def run_jobs(
    function: Callable[[Any], Any],
    jobs: list[Any],
    pool: ProcessPoolExecutor | None,
    progress: Callable[[int], None] | None,
) -> Iterator[Any]:
    """Yield the results of jobs in their order, computed in this process or in those of the pool.

    Args:
        function: computes a job.
        jobs: the jobs.
        pool: worker processes; None for this process.
        progress: called with the number of finished jobs.
    """
    results = map(function, jobs) if pool is None else pool.map(function, jobs)
    for number, result in enumerate(results):
        if progress is not None:
            progress(number + 1)
        yield result


def start_pool(workers: int) -> ProcessPoolExecutor | None:
    """Start worker processes, not as forks of this process, which may have torch threads; for 0 return None."""
    if workers == 0:
        return None
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("forkserver"))


def share_out(flavour: Ints, pt: Floats, rng: np.random.Generator) -> list[tuple[Ints, Floats, Ints]]:
    """Share out partons in jobs (flavours, pT, seeds); the seed of a parton depends on its place, not on workers."""
    seeds = rng.integers(1, 900_000_000, len(pt))
    return [(flavour[i : i + _BLOCK], pt[i : i + _BLOCK], seeds[i : i + _BLOCK]) for i in range(0, len(pt), _BLOCK)]


class PythiaGun(HadronSource):
    """The reference as a source of hadrons: the parton's hemisphere of one Pythia event of a pair, for each parton.

    Args:
        workers: number of worker processes; 0 to compute in this one. The result does not depend on it.
    """

    name = "pythia"
    kind = "reference"
    domain = Domain(QUARKS_AND_GLUONS, 1.0, 6500.0)

    def __init__(self, workers: int = 0) -> None:
        self.workers = workers
        self.owns_processes = workers > 0
        self._pool: ProcessPoolExecutor | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[PythiaGun], tuple[()]]:
        return PythiaGun, ()  # what goes to another process is one worker already

    def draw(
        self, partons: Partons, rng: np.random.Generator, *, progress: Callable[[int], None] | None = None
    ) -> ParticleSet:
        """Draw the final particles of each parton's hemisphere, in the frame of ``partons.p4`` (GeV).

        Args:
            partons: N quarks or gluons; only flavour, pT, direction matter.
            rng: source of one Pythia seed for each parton.
            progress: called with the number of finished blocks of 256 partons.
        """
        if len(partons) == 0:
            return ParticleSet.empty()
        transverse = np.hypot(partons.p4[:, 1], partons.p4[:, 2])
        jobs = share_out(partons.pdg_id, transverse, rng)
        with self._lock:
            if self._pool is None:  # kept: starting workers costs more than a chunk of events
                self._pool = start_pool(self.workers)
        blocks = zip(*run_jobs(_gun_block, jobs, self._pool, progress), strict=True)
        counts, pdg_id, momenta = (np.concatenate(column) for column in blocks)
        offsets = offsets_from_counts(counts)
        p4 = to_lab(momenta, offsets, partons)
        return ParticleSet(offsets, pdg_id, on_shell(p4, masses(pdg_id)))
