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
from fastsim.event.species import MASSES, PARTON_MASSES, conjugate, masses
from fastsim.sources.domains import QUARKS_AND_GLUONS, Domain
from fastsim.sources.hadrons import HadronSource
from generators.hadrons.decays import decay_tree
from generators.hadrons.tokens import SPECIES, TokenSample, species_index

SETTINGS: tuple[str, ...] = (
    "ProcessLevel:all = off",
    "Print:quiet = on",
    "ParticleDecays:limitTau0 = on",
    "ParticleDecays:tau0Max = 10.0",
)
"""Settings beyond the Monash tune: particles with c*tau > 10 mm are stable."""

UNDECAYED: tuple[int, ...] = (111, 221, 3212)
_MAX_TRIES = 50
_BLOCK = 256


def make_pythia(*, undecayed: bool = False, settings: tuple[str, ...] = ()) -> Any:
    """Make an initialised Pythia for guns; ``undecayed`` leaves pi0, eta and Sigma0 (the models' tokens) stable.

    Raises:
        FastsimError: if Pythia refuses a setting or does not start.
    """
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    lines = [*SETTINGS, *settings]
    lines += [f"{pdg}:m0 = {m}" for pdg, m in MASSES.items()]
    if undecayed:
        lines += [f"{pdg}:mayDecay = off" for pdg in UNDECAYED]
    for line in lines:
        if not pythia.readString(line):
            raise FastsimError(f"Pythia refuses the setting {line!r}")
    if not pythia.init():
        raise FastsimError("Pythia did not start")
    return pythia


def shoot(pythia: Any, flavour: int, pt: float, seed: int) -> tuple[Ints, Floats]:
    """One pair event along z at rest: PDG ids (M,) and p4 (M, 4) in GeV of its final particles.

    The parton flies along +z, its partner along -z. The seed alone decides the event.

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
        pdg_id = table[:, 0].astype(np.int64)
        # about once in a million events Pythia leaves a resonance undecayed whose channels are all closed
        if np.isin(pdg_id, SPECIES).all():
            return pdg_id, table[:, 1:]
    raise FastsimError(f"Pythia failed {_MAX_TRIES} times on a pair of flavour {flavour} with pT = {pt:.4g} GeV")


_of_thread = threading.local()


def own_pythia(*, undecayed: bool = False, settings: tuple[str, ...] = ()) -> Any:
    """One :func:`make_pythia` a thread: starting it costs 50 ms and it keeps no state between seeded events."""
    made = _of_thread.__dict__
    key = " ".join((str(undecayed), *settings))
    if key not in made:
        made[key] = make_pythia(undecayed=undecayed, settings=settings)
    return made[key]


def _gun_block(job: tuple[Ints, Floats, Ints]) -> tuple[Ints, Ints, Floats]:
    """Hemispheres of a block of partons in the axis frame: counts, PDG ids, p4."""
    pythia = own_pythia()
    counts, ids, momenta = [], [], []
    for flavour, pt, seed in zip(*job, strict=True):
        pdg_id, p4 = shoot(pythia, int(flavour), float(pt), int(seed))
        inside = p4[:, 3] > 0
        counts.append(int(inside.sum()))
        ids.append(pdg_id[inside])
        momenta.append(p4[inside])
    return np.array(counts), np.concatenate(ids), np.concatenate(momenta)


def _token_block(job: tuple[Ints, Floats, Ints]) -> TokenSample:
    """Both hemispheres of each pair as token sets, conjugated to quarks: pair i gives sets 2i and 2i + 1."""
    pythia = own_pythia(undecayed=True)
    flavour, pt, seeds = job
    events = [shoot(pythia, int(f), float(p), int(s)) for f, p, s in zip(*job, strict=True)]
    index = np.repeat(np.arange(len(events)), [len(ids) for ids, _ in events])
    pdg_id = np.concatenate([ids for ids, _ in events])
    p4 = np.concatenate([momenta for _, momenta in events])
    index, pdg_id, p4 = _split_crossing(index, pdg_id, p4, np.random.default_rng(seeds))
    backward = p4[:, 3] <= 0
    # rotate the backward hemisphere by pi about x, and conjugate it where it is the antiquark's
    p4 = np.where(backward[:, None], p4 * np.array([1.0, 1.0, -1.0, -1.0]), p4)
    flip = (flavour[index] != 21) & ((flavour[index] < 0) != backward)
    pdg_id = np.where(flip, conjugate(pdg_id), pdg_id)
    row = 2 * index + backward
    order = np.argsort(row, kind="stable")
    counts = np.bincount(row, minlength=2 * len(events))
    return TokenSample(
        np.repeat(np.abs(flavour), 2),
        np.repeat(pt, 2),
        offsets_from_counts(counts),
        species_index(pdg_id[order]),
        p4[order],
    )


def _split_crossing(index: Ints, pdg_id: Ints, p4: Floats, rng: np.random.Generator) -> tuple[Ints, Ints, Floats]:
    """Replace undecayed particles whose products fall into both hemispheres by those products."""
    keep = np.ones(len(pdg_id), dtype=bool)
    parts = []
    for parent in UNDECAYED:
        rows = np.flatnonzero(np.abs(pdg_id) == parent)
        if len(rows) == 0:
            continue
        source, products, momenta = decay_tree(parent, p4[rows], rng)
        products = np.where((products == 3122) & (pdg_id[rows][source] < 0), -3122, products)
        crosses = np.zeros(len(rows), dtype=bool)
        crosses[source[(momenta[:, 3] > 0) != (p4[rows][source, 3] > 0)]] = True
        keep[rows[crosses]] = False
        chosen = crosses[source]
        parts.append((index[rows][source[chosen]], products[chosen], momenta[chosen]))
    parts.append((index[keep], pdg_id[keep], p4[keep]))
    return (
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        np.concatenate([part[2] for part in parts]),
    )


def _run(
    function: Callable[[Any], Any],
    jobs: list[Any],
    pool: ProcessPoolExecutor | None,
    progress: Callable[[int], None] | None,
) -> Iterator[Any]:
    """Results of the jobs in order, in this process or in the pool's."""
    results = map(function, jobs) if pool is None else pool.map(function, jobs)
    for number, result in enumerate(results):
        if progress is not None:
            progress(number + 1)
        yield result


def _pool(workers: int) -> ProcessPoolExecutor | None:
    """Worker processes, none for 0. Not forked: the parent may hold torch threads."""
    if workers == 0:
        return None
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("forkserver"))


def _jobs(flavour: Ints, pt: Floats, rng: np.random.Generator) -> list[tuple[Ints, Floats, Ints]]:
    """Blocks of (flavour, pT, seed): the seed of each parton depends on its place only, never on the workers."""
    seeds = rng.integers(1, 900_000_000, len(pt))
    return [(flavour[i : i + _BLOCK], pt[i : i + _BLOCK], seeds[i : i + _BLOCK]) for i in range(0, len(pt), _BLOCK)]


class PythiaGun(HadronSource):
    """The reference as a source of hadrons: one Pythia pair event a parton, its hemisphere kept.

    Args:
        workers: worker processes; 0 runs in this one. The result does not depend on it.
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
        jobs = _jobs(partons.pdg_id, transverse, rng)
        with self._lock:
            if self._pool is None:  # kept: starting workers costs more than a chunk of events
                self._pool = _pool(self.workers)
        parts = list(_run(_gun_block, jobs, self._pool, progress))
        offsets = offsets_from_counts(np.concatenate([p[0] for p in parts]))
        pdg_id = np.concatenate([p[1] for p in parts])
        p4 = to_lab(np.concatenate([p[2] for p in parts]), offsets, partons)
        return ParticleSet(offsets, pdg_id, on_shell(p4, masses(pdg_id)))


def token_sample(
    flavour: Ints, pt: Floats, *, seed: int, workers: int = 0, progress: Callable[[int], None] | None = None
) -> TokenSample:
    """Training data: both hemispheres (2N sets) of N pair events as token sets in the axis frame.

    Args:
        flavour: (N,) quark flavours 1..5 or 21; pt: (N,) in GeV.
        seed: decides every event; workers do not.
    """
    jobs = _jobs(np.asarray(flavour), np.asarray(pt, dtype=np.float64), np.random.default_rng(seed))
    pool = _pool(workers)
    try:
        return TokenSample.concatenate(list(_run(_token_block, jobs, pool, progress)))
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
