"""Files of calorimeter showers from a source other than Geant4, laid out as the reference's are.

The energies are those of :meth:`fastsim.detector.shower_gun.ShowerGun.draw`: of one seed, shower i has the same
energy here and there. ``DRAWS`` of its chunks are one chunk here, sampled together with randomness of its own from
(run seed, chunk number), whole, and then cut to what was asked for: a shower depends on the seed and its own number
alone, whatever the range, and who computes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from fastsim.detector.detector import PARTICLES
from fastsim.detector.shower_gun import SHOWERS_PER_CHUNK, ShowerGun
from fastsim.errors import OutOfDomain
from fastsim.event.rng import chunk_rng
from fastsim.formats.atomic import PathLike
from fastsim.formats.calochallenge import Showers, check_name, check_showers
from fastsim.production.chunks import Progress
from fastsim.production.manifest import versions
from fastsim.production.run import Plan, Run
from fastsim.production.shower_run import Chunks, ShowerSummary, cut, numbers_of, shower_range, write_run
from fastsim.sources.showers import Incidents, ShowerSource

DRAWS = 5
"""Chunks of the reference that are sampled together here."""
CHUNK = DRAWS * SHOWERS_PER_CHUNK


def incidents_of(gun: ShowerGun, chunk: int) -> Incidents:
    """The particles of a chunk, ``CHUNK`` of them."""
    energy = np.concatenate([gun.draw(DRAWS * chunk + k)[0] for k in range(DRAWS)])
    same = np.ones(len(energy))
    pdg_id = np.full(len(energy), PARTICLES[gun.particle][0])
    return Incidents(pdg_id, energy, gun.theta * same, gun.phi * same)


@dataclass(frozen=True)
class ShowerTask:
    """The showers of a chunk: job (chunk, None).

    Raises:
        FastsimError: if the source gives what no calorimeter records.
    """

    source: ShowerSource
    gun: ShowerGun

    def __call__(self, job: tuple[int, None]) -> Showers:
        chunk = job[0]
        particles = incidents_of(self.gun, chunk)
        rng = chunk_rng(self.gun.seed, chunk).spawn(1)[0]  # the energies are drawn from its parent
        voxels = np.asarray(self.source.sample(particles, rng=rng), dtype=np.float32)
        showers = Showers(1e3 * particles.energy, voxels)
        binning = self.source.binning(int(particles.pdg_id[0]))
        check_showers(showers, binning, place=self.source.name, first=chunk * CHUNK)
        return showers


def produce(
    source: ShowerSource,
    gun: ShowerGun,
    output: PathLike,
    *,
    num: int,
    provenance: Mapping[str, str] | None = None,
    reads: tuple[PathLike, ...] = (),
    first_event: int = 0,
    num_events: int | None = None,
    part: tuple[int, int] | None = None,
    threads: int = 1,
    workers: int = 0,
    scheduler: str | None = None,
    resume: bool = False,
    force: bool = False,
    log: PathLike | None = None,
    progress: Progress | None = None,
) -> ShowerSummary:
    """A source's showers as a CaloChallenge HDF5 file, with the binning as XML beside it.

    Args:
        source: makes the showers.
        gun: detector, particle, energies, direction, seed.
        output: an HDF5 file (.h5, .hdf5); appears when complete, and so does its binning (.xml).
        num: showers of the whole; shower i is the same for any number.
        provenance: what else the file says about the source, such as the hash of its weights.
        reads: files that the source is read from.
        first_event, num_events, part: which of the showers: see :func:`fastsim.production.shower_run.shower_range`.
        threads, workers, scheduler, resume, force, log: see
            :class:`fastsim.production.run.Plan`; the result depends on none.
        progress: called with (showers done, showers wanted) after each chunk.

    Raises:
        OutOfDomain: if the source is not valid for what the gun shoots.
        FastsimError: if something given is wrong, or the output cannot be written; finished chunks are kept.
    """
    check_name(output)
    check_gun(source, gun)
    plan = Plan(
        seed=gun.seed,
        **shower_range(num, first=first_event, num_events=num_events, part=part, size=CHUNK),
        reads=reads,
        threads=threads,
        workers=workers,
        scheduler=scheduler,
        keep=True,
        resume=resume,
        force=force,
        log=log,
        progress=progress,
    )
    binning = source.binning(PARTICLES[gun.particle][0])

    def chunks(run: Run) -> Chunks:
        jobs = ((number, None) for number in numbers_of(plan, CHUNK))
        with closing(run.crew.run(ShowerTask(source, gun), jobs)) as done:
            for chunk in done:
                yield cut(chunk, plan, CHUNK)

    return write_run(
        output,
        plan,
        ShowerSummary(output=str(output), source=f"{source.name}, {source.detector}, {gun.particle}"),
        chunks,
        made={**gun.as_dict(), **(provenance or {}), "model": source.name, "showers_per_chunk": CHUNK},
        versions=versions(),
        num_voxels=binning.num_voxels,
        binning=binning,
    )


def check_gun(source: ShowerSource, gun: ShowerGun) -> None:
    """Refuses what a source is not valid for.

    Raises:
        OutOfDomain: naming what is shot and what is allowed.
    """
    domain, pdg_id = source.domain, PARTICLES[gun.particle][0]
    if source.detector != gun.detector.name:
        raise OutOfDomain(f"model {source.name!r} makes showers in {source.detector}, not in {gun.detector.name}")
    names = [name for name, (known, _) in PARTICLES.items() if known in domain.particles]
    if pdg_id not in domain.particles:
        raise OutOfDomain(f"model {source.name!r} makes showers of {', '.join(names)}, not of {gun.particle}")
    low, high = gun.energy
    if low < domain.min_energy or high > domain.max_energy:
        raise OutOfDomain(
            f"model {source.name!r} is valid from {domain.min_energy:g} to {domain.max_energy:g} GeV, not for "
            f"{low:g}:{high:g}; fastsim reference makes those with Geant4"
        )
    if gun.theta > domain.max_theta:
        raise OutOfDomain(
            f"model {source.name!r} is valid up to theta {domain.max_theta:g} rad, not at {gun.theta:g}; fastsim "
            "reference makes those with Geant4"
        )
