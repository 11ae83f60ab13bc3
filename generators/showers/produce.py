"""Files of calorimeter showers from a source other than Geant4, laid out as the reference's are.

The energies are those of :meth:`generators.reference.showers.ShowerGun.draw`: of one seed, shower i has the same energy
here and there. ``DRAWS`` of its chunks are one chunk here, sampled together with randomness of its own from
(run seed, chunk number), whole, and then cut to the number asked for: a shower depends on the seed and its own number
alone, whatever ``num`` and the threads are.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastsim.errors import FastsimError, OutOfDomain
from fastsim.formats.binning import Binning
from fastsim.formats.calochallenge import Showers, check_showers
from fastsim.formats.output import HDF5_ENDINGS, AtomicPath, PathLike, writing
from fastsim.production import Progress, Summary, chunk_rng, in_order
from fastsim.showers import Incidents, ShowerSource
from generators.reference.detectors import PARTICLES
from generators.reference.showers import MAX_SHOWERS, SHOWERS_PER_CHUNK, ShowerGun

DRAWS = 5
"""Chunks of the reference that are sampled together here."""
CHUNK = DRAWS * SHOWERS_PER_CHUNK


@dataclass
class ProducedSummary(Summary):
    """What a run did; ``incident`` and ``visible`` energy in MeV."""

    incident: float = 0.0
    visible: float = 0.0

    def rows(self) -> list[tuple[str, str]]:
        """The summary as names and formatted values, for a table."""
        rate = self.events / self.seconds if self.seconds > 0 else 0.0
        return [
            ("output", self.output),
            ("source", self.source),
            ("showers", f"{self.events:,}"),
            ("visible energy", f"{100 * self.visible / self.incident:.3f}% of the incident"),
            ("time", f"{self.seconds:.1f} s ({rate:,.0f} showers/s)"),
        ]


def incidents_of(gun: ShowerGun, chunk: int) -> Incidents:
    """The particles of a chunk, ``CHUNK`` of them."""
    energy = np.concatenate([gun.draw(DRAWS * chunk + k)[0] for k in range(DRAWS)])
    same = np.ones(len(energy))
    pdg_id = np.full(len(energy), PARTICLES[gun.particle][0])
    return Incidents(pdg_id, energy, gun.theta * same, gun.phi * same)


def sampled(source: ShowerSource, gun: ShowerGun, num: int, threads: int = 1) -> Iterator[Showers]:
    """The first ``num`` showers of a run, chunk by chunk.

    Raises:
        FastsimError: if the source gives what no calorimeter records.
    """

    def compute(chunk: int) -> Showers:
        particles = incidents_of(gun, chunk)
        rng = chunk_rng(gun.seed, chunk).spawn(1)[0]  # the energies are drawn from its parent
        showers = Showers(1e3 * particles.energy, source.sample(particles, rng=rng))
        check_showers(showers, source.binning(int(particles.pdg_id[0])), place=source.name, first=chunk * CHUNK)
        return showers[: num - chunk * CHUNK]

    return in_order(compute, iter(range(-(-num // CHUNK))), threads)


def produce(
    source: ShowerSource,
    gun: ShowerGun,
    output: PathLike,
    *,
    num: int,
    provenance: Mapping[str, str] | None = None,
    threads: int = 1,
    force: bool = False,
    progress: Progress | None = None,
) -> ProducedSummary:
    """A source's showers as a CaloChallenge HDF5 file, with the binning as XML beside it.

    Args:
        source: makes the showers.
        gun: detector, particle, energies, direction, seed.
        output: an HDF5 file (.h5, .hdf5); appears when complete, and so does its binning (.xml).
        num: showers; shower i is the same for any number.
        provenance: what else the file says about the source, such as the hash of its weights.
        threads: chunks that are computed at a time; the result does not depend on it.
        force: replace an output that exists.
        progress: called with (showers done, num) after each chunk.

    Raises:
        OutOfDomain: if the source is not valid for what the gun shoots.
        FastsimError: if something given is wrong, or the output cannot be written.
    """
    path = Path(output)
    if path.suffix.lower() not in HDF5_ENDINGS:
        raise FastsimError(f"{path}: showers are written as HDF5; give a name that ends in .h5")
    if not 1 <= num <= MAX_SHOWERS:
        raise FastsimError(f"num is {num}, must be 1 to {MAX_SHOWERS:,} showers")
    if threads < 1:
        raise FastsimError(f"threads={threads}: one at least")
    check_gun(source, gun)
    binning = source.binning(PARTICLES[gun.particle][0])
    summary = ProducedSummary(output=str(path), source=f"{source.name}, {source.detector}, {gun.particle}")
    settings = {**gun.as_dict(), **(provenance or {}), "model": source.name, "showers_per_chunk": CHUNK}
    targets: list[AtomicPath] = []
    try:
        for place in (path, path.with_suffix(".xml")):
            targets.append(AtomicPath(place, force=force))
        with writing(path):
            _write(targets[0].temporary, sampled(source, gun, num, threads), num, binning, settings, summary, progress)
        with writing(targets[1].path):
            targets[1].temporary.write_text(binning.to_xml(), encoding="utf-8")
        for target in targets:
            target.commit()
    finally:
        for target in targets:
            target.discard()  # nothing is left of those that have their name
    return summary


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


def _write(
    place: Path,
    chunks: Iterator[Showers],
    num: int,
    binning: Binning,
    settings: Mapping[str, Any],
    summary: ProducedSummary,
    progress: Progress | None,
) -> None:
    """Writes showers as they come, and counts them in the summary."""
    import h5py

    from fastsim import __version__

    size = binning.num_voxels
    rows = min(num, SHOWERS_PER_CHUNK)
    with h5py.File(place, "w") as file:
        incident = file.create_dataset("incident_energies", (num, 1), "f8")
        voxels = file.create_dataset(
            "showers", (num, size), "f4", chunks=(rows, size), compression="gzip", compression_opts=1
        )
        for showers in chunks:
            to = slice(summary.events, summary.events + len(showers))
            incident[to, 0] = showers.incident
            voxels[to] = showers.voxels
            summary.events += len(showers)
            summary.incident += float(showers.incident.sum())
            summary.visible += float(showers.voxels.sum(dtype=np.float64))
            summary.seconds = time.perf_counter() - summary.started
            if progress is not None:
                progress(summary.events, num)
        file.attrs.update({"tool": "fastsim", "version": __version__, "settings": json.dumps(settings)})
