"""Runs of single showers in a calorimeter: from a shower gun, through a source of showers, to a file.

A source's showers come in chunks of 500, whose energies are those of five chunks of the shower gun
(:meth:`fastsim.detector.shower_gun.ShowerGun.draw`): with one seed, shower i has the same energy and direction for
every source. The showers of a chunk are sampled together, with a seed of the chunk's own, and then cut to the range
asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastsim.detector.binning import Binning
from fastsim.detector.detector import PARTICLES
from fastsim.detector.incidents import Incidents
from fastsim.detector.shower_gun import SHOWERS_PER_CHUNK, ShowerGun
from fastsim.errors import FastsimError, OutOfDomain
from fastsim.event import Floats
from fastsim.event.rng import chunk_rng
from fastsim.formats.atomic import PathLike
from fastsim.formats.calochallenge import Showers, Writer, binning_path, check_name, check_showers
from fastsim.production.chunks import Chunk
from fastsim.production.manifest import versions
from fastsim.production.options import EventRange, RunOptions, slice_range
from fastsim.production.run import Run
from fastsim.production.summary import ShowerSummary
from fastsim.sources.showers import ShowerSource

MAX_SHOWERS = 100_000_000
"""More than this in one run are refused."""
DRAWS = 5
"""Chunks of the shower gun whose showers a source samples together."""
CHUNK = DRAWS * SHOWERS_PER_CHUNK
"""Number of showers in a chunk of a run of showers from a source."""

ShowerChunks = Generator[Chunk[Showers], None, None]
"""Finished chunks of showers, in order."""


def shower_range(num: int, options: RunOptions, size: int) -> EventRange:
    """Return the range that the options ask for out of ``num`` showers.

    Args:
        num: number of showers in all.
        options: range and slice of the run.
        size: showers in a chunk; slices are cut between chunks.

    Raises:
        FastsimError: if there is no such shower.
    """
    first = options.first_event
    if not 1 <= num <= MAX_SHOWERS:
        raise FastsimError(f"num is {num}, must be 1 to {MAX_SHOWERS:,} showers")
    if first >= num:
        raise FastsimError(f"first shower {first} asked, but there are {num} (numbered from 0)")
    count = num - first if options.num_events is None else min(options.num_events, num - first)
    if options.slice is None:
        return EventRange(first, count)
    return EventRange(*slice_range(options.slice, first, count, size), whole=(first, count))


def chunk_numbers(events: EventRange, size: int) -> range:
    """Return the numbers of the chunks of ``size`` showers that a range touches."""
    assert events.stop is not None
    return range(events.first // size, -(-events.stop // size) if events.num else 0)


def cut_to_range(chunk: Chunk[Showers], events: EventRange, size: int) -> Chunk[Showers]:
    """Cut a chunk of ``size`` showers to those that lie in a range."""
    assert events.stop is not None
    start = chunk.number * size
    return replace(chunk, content=chunk.content[max(events.first - start, 0) : min(events.stop - start, size)])


def write_run(
    output: PathLike,
    options: RunOptions,
    events: EventRange,
    summary: ShowerSummary,
    chunks: Callable[[Run], ShowerChunks],
    *,
    provenance: Mapping[str, Any],
    versions: Mapping[str, str] | None = None,
    reads: tuple[PathLike, ...] = (),
    num_voxels: int,
    binning: Binning | None,
    latent_columns: tuple[str, ...] = (),
    directions: bool = False,
) -> ShowerSummary:
    """Write a run's showers as a CaloChallenge HDF5 file, with the binning (.xml) beside it.

    Args:
        output: the file.
        options: options of the run.
        events: the range of showers.
        summary: counts the showers.
        chunks: yields the showers in the range, chunk by chunk, of a run that has begun.
        provenance: how the showers are made: an attribute of the file, and settings of the run.
        versions: versions of packages, as settings of the run; none by default.
        reads: files that the source is read from.
        num_voxels: length of a shower's vector.
        binning: where the voxels lie; None for voxels that the challenge's XML cannot describe.
        latent_columns: columns of the latents that the showers have; none if they have none.
        directions: whether the showers have directions.

    Raises:
        FastsimError: if something given is wrong, or the output cannot be written; finished chunks are kept.
    """
    assert events.num is not None
    settings = dict(provenance) if versions is None else {**provenance, "versions": dict(versions)}
    in_file = {**provenance, "first_event": events.first} if events.first else provenance
    with Run(output, settings, options, events, reads=reads, companions=[binning_path(output)]) as run:
        if (finished := run.summary(ShowerSummary)) is not None:
            return finished
        with (
            Writer(
                output,
                num=events.num,
                num_voxels=num_voxels,
                binning=binning,
                settings=in_file,
                latent_columns=latent_columns,
                directions=directions,
                force=run.replaces,
            ) as writer,
            run.contents(chunks(run), summary, events.num) as batches,
        ):
            for showers in batches:
                writer.write(showers)
        run.commit(summary)
    return summary


def incidents_of(gun: ShowerGun, chunk: int) -> Incidents:
    """Return the particles that the gun shoots for chunk number ``chunk``, ``CHUNK`` of them."""
    numbers = range(DRAWS * chunk, DRAWS * (chunk + 1))
    energy = np.concatenate([gun.draw(number)[0] for number in numbers])
    theta, phi = (np.concatenate(angles) for angles in zip(*map(gun.directions, numbers), strict=True))
    return Incidents(np.full(len(energy), PARTICLES[gun.particle][0]), energy, theta, phi)


def direction_of(gun: ShowerGun, theta: Floats, phi: Floats) -> Floats | None:
    """Return the directions (N, 2) that showers of a gun have in a file, from theta and phi (N,); None: the normal."""
    return None if gun.perpendicular else np.column_stack([theta, phi])


@dataclass(frozen=True)
class ShowerTask:
    """The task of sampling the showers of a chunk, with or without their latents: job (number of the chunk, None).

    Raises:
        FastsimError: when called, if the source gives showers that no calorimeter records.
    """

    source: ShowerSource
    gun: ShowerGun
    with_latent: bool = False

    def __call__(self, job: tuple[int, None]) -> Showers:
        chunk = job[0]
        particles = incidents_of(self.gun, chunk)
        rng = chunk_rng(self.gun.seed, chunk).spawn(1)[0]  # the energies are drawn from its parent
        latent = None
        if self.with_latent:
            drawn, latent = self.source.sample_with_latent(particles, rng=rng)
        else:
            drawn = self.source.sample(particles, rng=rng)
        direction = direction_of(self.gun, particles.theta, particles.phi)
        showers = Showers(1e3 * particles.energy, np.asarray(drawn, dtype=np.float32), latent, direction)
        binning = self.source.binning(int(particles.pdg_id[0]))
        check_showers(showers, binning, place=self.source.name, first=chunk * CHUNK)
        return showers


def run_showers(
    source: ShowerSource,
    gun: ShowerGun,
    output: PathLike,
    *,
    num: int,
    options: RunOptions,
    provenance: Mapping[str, str] | None = None,
    reads: tuple[PathLike, ...] = (),
    latent: bool = False,
) -> ShowerSummary:
    """Write a source's showers as a CaloChallenge HDF5 file, with the binning as XML beside it.

    Args:
        source: the source of the showers.
        gun: detector, particle, energies, direction, seed.
        output: an HDF5 file (.h5, .hdf5); appears when complete, and so does its binning (.xml).
        num: number of showers in all; shower i is the same for any number.
        options: options of the run; the seed is the gun's.
        provenance: further facts in the file about the source, such as the checksum of its weights.
        reads: files that the source is read from.
        latent: write the latents that the showers were drawn from too.

    Raises:
        OutOfDomain: if the source is not valid for the particles of the gun.
        FastsimError: if something given is wrong, or the output cannot be written; finished chunks are kept.
    """
    check_name(output)
    check_gun(source, gun)
    if latent and not source.has_latent:
        raise FastsimError(f"model {source.name!r} has no latent")
    events = shower_range(num, options, CHUNK)
    binning = source.binning(PARTICLES[gun.particle][0])

    def chunks(run: Run) -> ShowerChunks:
        jobs = ((number, None) for number in chunk_numbers(events, CHUNK))
        with closing(run.runner.run(ShowerTask(source, gun, latent), jobs)) as finished:
            for chunk in finished:
                yield cut_to_range(chunk, events, CHUNK)

    return write_run(
        output,
        options,
        events,
        ShowerSummary(output=str(output), source=f"{source.name}, {source.detector}, {gun.particle}"),
        chunks,
        provenance={
            **gun.as_dict(),
            **(provenance or {}),
            "model": source.name,
            "showers_per_chunk": CHUNK,
            **({"latent": True} if latent else {}),
        },
        versions=versions(),
        reads=reads,
        num_voxels=binning.num_voxels,
        binning=binning,
        latent_columns=source.latent_columns if latent else (),
        directions=not gun.perpendicular,
    )


def check_gun(source: ShowerSource, gun: ShowerGun) -> None:
    """Refuse a gun whose detector, particles, energies or direction a source is not valid for.

    Raises:
        OutOfDomain: naming what is wrong and what is allowed.
    """
    domain, pdg_id = source.domain, PARTICLES[gun.particle][0]
    if source.detector != gun.detector.name:
        raise OutOfDomain(f"model {source.name!r} makes showers in {source.detector}, not in {gun.detector.name}")
    if source.geometry is not None and source.geometry != gun.detector:
        raise OutOfDomain(
            f"model {source.name!r} makes showers in another detector of the name {source.detector}: their layers, "
            "materials or cells differ"
        )
    names = [name for name, (known, _) in PARTICLES.items() if known in domain.particles]
    if pdg_id not in domain.particles:
        raise OutOfDomain(f"model {source.name!r} makes showers of {', '.join(names)}, not of {gun.particle}")
    low, high = gun.energy
    if low < domain.min_energy or high > domain.max_energy:
        raise OutOfDomain(
            f"model {source.name!r} is valid from {domain.min_energy:g} to {domain.max_energy:g} GeV, not for "
            f"{low:g}:{high:g}; --model geant4 makes those"
        )
    if (theta := gun.thetas[1]) > domain.max_theta:
        raise OutOfDomain(
            f"model {source.name!r} is valid up to theta {domain.max_theta:g} rad, not at {theta:g}; --model "
            "geant4 makes those"
        )
