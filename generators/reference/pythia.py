"""The reference: Pythia 8 final-state shower, hadronisation and decays of one parton ("gun").

A colour-singlet pair f fbar (or g g) is made at the same rapidity and opposite azimuth, both with the
parton's pT, on their mass shells; the shower starts at the scale pT, or lower where that is asked. The hadrons of the
parton are the primary hadrons of its transverse hemisphere, p . nT > 0, with all that they decay into. So
p(hadrons | parton) depends on flavour, pT and scale only; rapidity and azimuth are exact symmetries.

References:
    Bierlich et al., A comprehensive guide to the physics and usage of PYTHIA 8.3, 2022, arXiv:2203.11601.
    Skands, Carrazza, Rojo, Tuning PYTHIA 8.1: the Monash 2013 tune, 2014, arXiv:1404.5630.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from fastsim.errors import FastsimError
from fastsim.event import Floats, History, Ints, ParticleSet, Partons, offsets_from_counts
from fastsim.event.frames import to_lab
from fastsim.event.kinematics import mass, on_shell
from fastsim.event.species import LEAST_MOMENTUM, MASSES, PARTON_MASSES, masses
from fastsim.sources.domains import QUARKS_AND_GLUONS, Domain
from fastsim.sources.hadrons import TAU0_MAX, ColourChains, HadronSource, PartonPairs
from fastsim.sources.source import RNG, generator
from fastsim.startup import starting
from generators.hadrons.tunes import Tune, tune_of
from generators.reference.chains import chains_of, draw_chains
from generators.reference.event_record import particle_sets, read_record

SETTINGS: tuple[str, ...] = (
    "ProcessLevel:all = off",
    "Print:quiet = on",
    "ParticleDecays:limitTau0 = on",
    "ParticleDecays:tau0Max = 10.0",
)
"""Settings beyond the Monash tune: particles with c*tau > 10 mm are stable."""

UNDECAYED_HADRONS: tuple[str, ...] = ("HadronLevel:Decay = off",)
"""The setting that leaves primary hadrons as they are."""
MONASH = Tune()
"""The tune that nothing has to be set for."""
_FINAL = tuple(MASSES)
_MAX_KEPT = 8
"""Instances of Pythia that a thread keeps."""
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


def shoot(
    pythia: Any, flavour: int, pt: float, seed: int, *, scale: float | None = None, tau0_max: float | None = TAU0_MAX
) -> tuple[Ints, Floats]:
    """Make one event of a parton pair at rest: PDG ids (M,) and four-momenta (M, 4) in GeV of its final particles.

    The parton flies along +z, its partner along -z. The seed alone decides the event.

    Args:
        pythia: a Pythia of :func:`make_pythia`.
        flavour: PDG id of the parton.
        pt: momentum of each of the two in GeV, their pT in the frame of the gun.
        seed: seed of the event.
        scale: at which the shower starts, in GeV; by default ``pt``.
        tau0_max: mean proper lifetime in mm beyond which particles are final; None if nothing decays.

    Raises:
        FastsimError: if Pythia gives up on the pair.
    """
    for _ in attempts(pythia, flavour, pt, seed, pt if scale is None else scale):
        rows = [(p.id(), p.e(), p.px(), p.py(), p.pz()) for p in pythia.event if p.isFinal()]
        table = np.array(rows, dtype=np.float64)
        pdg_id, p4 = table[:, 0].astype(np.int64), table[:, 1:]
        # about once in a million events Pythia leaves a resonance undecayed whose channels are all closed
        if tau0_max is None or are_stable(pythia.particleData, pdg_id, tau0_max):
            break
    return pdg_id, p4


def attempts(pythia: Any, flavour: int, momentum: float, seed: int, scale: float) -> Iterator[None]:
    """Make events of a parton pair at rest in ``pythia.event``, one for each turn, until one is good enough.

    Args:
        pythia: a Pythia of :func:`make_pythia`.
        flavour: PDG id of the parton, entry 1, which flies along +z; entry 2 is its partner.
        momentum: of each of the two in GeV.
        seed: decides all of them.
        scale: at which the shower starts, in GeV.

    Raises:
        FastsimError: if none of the events that Pythia makes of the pair is good enough.
    """
    pythia.rndm.init(int(seed))
    m = PARTON_MASSES[abs(flavour)]
    energy = float(np.hypot(momentum, m))
    event = pythia.event
    for _ in range(_MAX_TRIES):
        event.reset()
        if flavour == 21:
            event.append(21, 23, 101, 102, 0.0, 0.0, momentum, energy, m, momentum)
            event.append(21, 23, 102, 101, 0.0, 0.0, -momentum, energy, m, momentum)
        else:
            colour, anticolour = (101, 0) if flavour > 0 else (0, 101)
            event.append(flavour, 23, colour, anticolour, 0.0, 0.0, momentum, energy, m, momentum)
            event.append(-flavour, 23, anticolour, colour, 0.0, 0.0, -momentum, energy, m, momentum)
        pythia.forceTimeShower(1, 2, scale)
        if pythia.next():
            yield
    raise FastsimError(
        f"Pythia failed {_MAX_TRIES} times on a pair of flavour {flavour} with momentum {momentum:.4g} GeV"
    )


def are_stable(table: Any, pdg_id: Ints, tau0_max: float) -> bool:
    """Return whether particles (M,) are final where all decay whose mean proper lifetime is at most ``tau0_max`` mm.

    Args:
        table: Pythia's particle data.
        pdg_id: PDG ids, (M,).
        tau0_max: the limit.
    """
    if tau0_max == TAU0_MAX:
        return bool(np.isin(np.abs(pdg_id), _FINAL).all())
    return not any(table.canDecay(k) and table.mayDecay(k) and table.tau0(k) <= tau0_max for k in set(pdg_id.tolist()))


_of_thread = threading.local()


def own_pythia(*, settings: tuple[str, ...] = ()) -> Any:
    """Return the Pythia of this thread with these options; the first call starts it.

    Starting costs 50 ms, and Pythia keeps no state between events that have seeds. A thread keeps
    :data:`_MAX_KEPT` of them, those that were used last.

    Args:
        settings: further lines for Pythia.
    """
    instances = _of_thread.__dict__
    key = " ".join(settings)
    pythia = instances.pop(key, None) or make_pythia(settings=settings)
    for oldest in list(instances)[: len(instances) - _MAX_KEPT + 1]:  # many tunes would fill the memory
        del instances[oldest]
    instances[key] = pythia
    return pythia


def _gun_block(job: tuple[Ints, Floats, Floats, Ints, tuple[str, ...], float]) -> ParticleSet:
    """Make the hemispheres of a block of N partons in the axis frame, with their history.

    Args:
        job: flavours, momenta and starting scales in GeV and seeds, each (N,), further settings, and the limit of
            lifetimes in mm.
    """
    *columns, settings, tau0_max = job
    pythia, records = own_pythia(settings=(*_lifetimes(tau0_max), *settings)), []
    for flavour, momentum, scale, seed in zip(*columns, strict=True):
        shoot(pythia, int(flavour), float(momentum), int(seed), scale=float(scale), tau0_max=tau0_max)
        record = read_record(pythia.event)
        records.append(record[record.p4[record.ancestor, 3] > 0])
    return particle_sets(records)


def _primary_block(job: tuple[Ints, Floats, Floats, Ints, tuple[str, ...]]) -> ParticleSet:
    """Make the primary hadrons of a block of N hemispheres in the axis frame.

    Args:
        job: flavours, momenta and starting scales in GeV and seeds, each (N,), and further settings.
    """
    *columns, settings = job
    pythia, found = own_pythia(settings=(*UNDECAYED_HADRONS, *settings)), []
    for flavour, momentum, scale, seed in zip(*columns, strict=True):
        pdg_id, p4 = shoot(pythia, int(flavour), float(momentum), int(seed), scale=float(scale), tau0_max=None)
        found.append((pdg_id[p4[:, 3] > 0], p4[p4[:, 3] > 0]))
    counts = np.array([len(ids) for ids, _ in found])
    pdg_id, p4 = (np.concatenate(column) for column in zip(*found, strict=True))
    return ParticleSet(offsets_from_counts(counts), pdg_id, p4)


def _lifetimes(tau0_max: float) -> tuple[str, ...]:
    """Return the setting for a limit of lifetimes in mm, unless it is the default one."""
    return () if tau0_max == TAU0_MAX else (f"ParticleDecays:tau0Max = {tau0_max:f}",)  # Pythia refuses 1e+30


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

    A hemisphere is the primary hadrons with p . nT > 0, n their parton's direction, and all that they decay into. Its
    singlets are events of Pythia too, whole. Samples of partons have Pythia's own decays; what is drawn
    before decays (:meth:`primary`, singlets) is decayed by :mod:`generators.decays`, as the hadrons of models are.

    Partons softer than :data:`fastsim.event.species.LEAST_MOMENTUM` are shot with that momentum.

    Args:
        workers: number of worker processes; 0 to compute in this one. The result does not depend on it.
        tau0_max: particles with a c*tau above this, in mm, are stable.
        tune: values of Pythia's parameters; by default the Monash tune.
    """

    name = "pythia"
    kind = "reference"
    domain = Domain(QUARKS_AND_GLUONS, 0.5, 6500.0)
    has_history = has_scale = has_pairs = has_chains = True

    def __init__(self, workers: int = 0, tau0_max: float = TAU0_MAX, tune: Tune = MONASH) -> None:
        self.workers, self.tau0_max, self.tune = workers, tau0_max, tune
        self.owns_processes = workers > 0
        self._pool: ProcessPoolExecutor | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[PythiaGun], tuple[int, float, Tune]]:
        return PythiaGun, (0, self.tau0_max, self.tune)  # what goes to another process is one worker already

    def __copy__(self) -> PythiaGun:
        return PythiaGun(self.workers, self.tau0_max, self.tune)

    def at(self, tune: Tune | str | Mapping[str, float] | None) -> PythiaGun:
        return PythiaGun(self.workers, self.tau0_max, tune_of(tune))

    @property
    def provenance(self) -> dict[str, str]:
        return super().provenance if self.tune == MONASH else {**super().provenance, "tune": str(self.tune)}

    def draw(
        self, partons: Partons, rng: np.random.Generator, *, progress: Callable[[int], None] | None = None
    ) -> ParticleSet:
        """Draw the final particles of each parton's hemisphere and their history, in the frame of ``partons.p4`` (GeV).

        Args:
            partons: N quarks or gluons; only flavour, pT, scale and direction matter.
            rng: source of one Pythia seed for each parton.
            progress: called with the number of finished blocks of 256 partons.
        """
        if len(partons) == 0:
            return ParticleSet.empty()
        jobs = [(*job, self.tune.settings, self.tau0_max) for job in _jobs(partons, rng)]
        sets = self._blocks(_gun_block, jobs, progress)
        assert sets.history is not None
        made = sets.history.decayed
        p4, vertex = (to_lab(values, made.offsets, partons) for values in (made.p4, made.vertex))
        history = History(
            replace(made, p4=p4, vertex=vertex),
            sets.history.mother,
            to_lab(sets.history.vertex, sets.offsets, partons),
        )
        p4, m = to_lab(sets.p4, sets.offsets, partons), mass(sets.p4)
        known = np.isin(np.abs(sets.pdg_id), list(MASSES))
        m[known] = masses(sets.pdg_id[known])
        return ParticleSet(sets.offsets, sets.pdg_id, on_shell(p4, m), history)

    def primary(self, partons: Partons, *, rng: RNG = None) -> ParticleSet:
        """Draw the primary hadrons of each parton's hemisphere, in the frame of ``partons.p4`` (GeV)."""
        self.refuse_outside(partons)
        if len(partons) == 0:
            return ParticleSet.empty()
        jobs = [(*job, self.tune.settings) for job in _jobs(partons, generator(rng))]
        sets = self._blocks(_primary_block, jobs, None)
        return replace(sets, p4=to_lab(sets.p4, sets.offsets, partons))

    def decay(self, particles: ParticleSet, rng: np.random.Generator) -> ParticleSet:
        if particles.history is not None:
            return particles
        from generators.decays import decay

        return decay(particles, rng, tau0_max=self.tau0_max)

    def draw_pairs(self, pairs: PartonPairs, rng: np.random.Generator) -> ParticleSet:
        return draw_chains(chains_of(pairs), rng, self.tune.settings)

    def draw_chains(self, chains: ColourChains, rng: np.random.Generator) -> ParticleSet:
        return draw_chains(chains, rng, self.tune.settings)

    def _blocks(
        self, function: Callable[[Any], ParticleSet], jobs: list[Any], progress: Callable[[int], None] | None
    ) -> ParticleSet:
        with self._lock:
            if self._pool is None:  # kept: starting workers costs more than a chunk of events
                self._pool = start_pool(self.workers)
        return ParticleSet.concatenate(list(run_jobs(function, jobs, self._pool, progress)))


def _jobs(partons: Partons, rng: np.random.Generator) -> list[tuple[Ints, Floats, Floats, Ints]]:
    """Share out partons in jobs: flavours, momenta and starting scales in GeV, seeds."""
    least = np.array([LEAST_MOMENTUM[abs(int(i))] for i in partons.pdg_id])
    scales = partons.starting_scale
    return [
        (flavour, momentum, scales[k * _BLOCK : (k + 1) * _BLOCK], seeds)
        for k, (flavour, momentum, seeds) in enumerate(share_out(partons.pdg_id, np.maximum(partons.pt, least), rng))
    ]
