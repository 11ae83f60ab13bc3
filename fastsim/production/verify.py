"""Verification of outputs against their manifests: every byte, every event, and slices without gap or overlap."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from fastsim.errors import FastsimError
from fastsim.event import Floats, Ints
from fastsim.formats.atomic import HDF5_ENDINGS, ROOT_ENDINGS, PathLike, split_ending
from fastsim.formats.calochallenge import Showers, read_chunks
from fastsim.production.manifest import ENDING, ChunkRow, Manifest, manifest_path
from fastsim.production.store import content_sha256
from fastsim.production.summary import COUNTS
from fastsim.shipped import sha256_of


def verify(output: PathLike, *, read: bool = True) -> Manifest:
    """Check an output against its manifest, and return the manifest.

    Args:
        output: a file that ``fastsim generate`` wrote, with its manifest in the same folder.
        read: also read the events, and compare their number, weights and particles with every chunk's.

    Raises:
        FastsimError: naming what is wrong: the manifest itself, the file's checksum, or the chunk that differs.
    """
    path = Path(output)
    if path.name.endswith(ENDING):
        raise FastsimError(f"{path}: is a manifest; give the output that it belongs to")
    if not path.exists() and not manifest_path(path).exists():
        raise FastsimError(f"{path}: no such file")
    manifest = Manifest.read(manifest_path(path))
    _check_sums(manifest, os.fspath(output))
    if not path.is_file():
        raise FastsimError(f"{path}: is missing; its manifest is there")
    if path.name != manifest.output:
        raise FastsimError(f"{path}: its manifest is of {manifest.output}")
    size = path.stat().st_size
    intact = size == manifest.bytes and sha256_of(path) == manifest.sha256
    if read:
        compare = _compare_showers if "showers_per_chunk" in manifest.settings else _compare
        compare(path, manifest.chunks)
    if size != manifest.bytes:
        raise FastsimError(f"{path}: was altered: it has {size} bytes, {manifest.bytes} were written")
    if not intact:
        raise FastsimError(f"{path}: was altered: its bytes are not those that were written")
    return manifest


def verify_together(outputs: Sequence[PathLike], *, read: bool = True) -> list[Manifest]:
    """Check outputs that are slices of one run, and return their manifests in the order of their events.

    Args:
        outputs: files that ``fastsim generate`` wrote, with their manifests in the same folders.
        read: also read the events, and compare their number, weights and particles with every chunk's.

    Raises:
        FastsimError: if an output differs from its manifest, the settings of two differ, or events between them
            are missing or there twice.
    """
    verified = sorted(((verify(output, read=read), output) for output in outputs), key=lambda pair: _place(pair[0]))
    for (before, first), (after, second) in pairwise(verified):
        if differing := [key for key in before.run if before.run[key] != after.run.get(key)]:
            raise FastsimError(f"{first} and {second} are not of one run: {', '.join(differing)} differ")
        end = before.first_event + before.events + before.left_out
        if after.events and end != after.first_event:
            what = "are missing" if end < after.first_event else "are there twice"
            low, high = sorted((end, after.first_event))
            raise FastsimError(f"events {low} to {high - 1} {what} between {first} and {second}")
    manifests = [manifest for manifest, _ in verified]
    if len(manifests) > 1:
        _check_ends(manifests)
    return manifests


def _check_ends(manifests: list[Manifest]) -> None:
    """Raise FastsimError if the first or the last slice of a range is missing; manifests by their first events."""
    first, last = manifests[0], manifests[-1]
    if first.whole is None or any(manifest.whole != first.whole for manifest in manifests):
        return
    start, stop = first.whole[0], sum(first.whole)
    end = last.first_event + last.events + last.left_out
    for low, high in ((start, first.first_event), (end, stop)):
        if low < high:
            raise FastsimError(f"events {low} to {high - 1} are missing: the whole has {start} to {stop - 1}")


def _place(manifest: Manifest) -> tuple[int, int]:
    """Return the key that sorts manifests in the order of their events."""
    return manifest.first_event, manifest.events


def _check_sums(manifest: Manifest, name: str) -> None:
    """Raise FastsimError unless the chunks of a manifest follow each other and add up to its counts."""
    event = manifest.first_event
    for row in manifest.chunks:
        if row.first_event != event:
            raise FastsimError(f"{name}: chunk {row.chunk} starts at event {row.first_event}, expected {event}")
        event += row.events + row.left_out
    for key in COUNTS:
        total, stated = sum(getattr(row, key) for row in manifest.chunks), getattr(manifest, key)
        if not math.isclose(total, stated, rel_tol=1e-9, abs_tol=1e-300):
            raise FastsimError(f"{name}: the chunks of its manifest have {key} {total}, the whole {stated}")


def _compare(path: Path, rows: list[ChunkRow]) -> None:
    """Compare the numbers of events and particles and the weights of a file with every chunk's in its manifest.

    Raises:
        FastsimError: naming the chunk that differs.
    """
    batches = _events(path)
    counts, weights = np.zeros(0, np.int64), np.zeros(0)
    for row in rows:
        while len(counts) < row.events and (batch := next(batches, None)) is not None:
            counts, weights = np.concatenate([counts, batch[0]]), np.concatenate([weights, batch[1]])
        num_events, num_particles = len(counts[: row.events]), int(counts[: row.events].sum())
        sum_weights = float(weights[: row.events].sum())
        if (num_events, num_particles) != (row.events, row.particles) or not math.isclose(
            sum_weights, row.sum_weights, rel_tol=1e-9, abs_tol=1e-300
        ):
            raise FastsimError(
                f"{path}: chunk {row.chunk} (events {row.first_event} to {row.first_event + row.events - 1}) has "
                f"{num_events} events, {num_particles} particles, weights {sum_weights:.6g}; its manifest says "
                f"{row.events}, {row.particles}, {row.sum_weights:.6g}"
            )
        counts, weights = counts[row.events :], weights[row.events :]
    if len(counts) or any(len(batch[0]) for batch in batches):
        raise FastsimError(f"{path}: holds more events than its manifest says")


def _compare_showers(path: Path, rows: list[ChunkRow]) -> None:
    """Compare the showers of a file with the checksum of every chunk in its manifest.

    Raises:
        FastsimError: naming the chunk that differs.
    """
    batches = read_chunks(path)
    showers: Showers | None = None
    for row in rows:
        while (showers is None or len(showers) < row.events) and (batch := next(batches, None)) is not None:
            showers = batch if showers is None else Showers.concatenate([showers, batch])
        num = 0 if showers is None else min(len(showers), row.events)
        if num < row.events or (showers is not None and content_sha256(showers[: row.events]) != row.sha256):
            last = row.first_event + row.events - 1
            what = f"has {num} showers" if num < row.events else "has other showers than were written"
            raise FastsimError(f"{path}: chunk {row.chunk} (showers {row.first_event} to {last}) {what}")
        showers = None if showers is None else showers[row.events :]
    if (showers is not None and len(showers)) or any(len(batch) for batch in batches):
        raise FastsimError(f"{path}: holds more showers than its manifest says")


def _events(path: Path) -> Iterator[tuple[Ints, Floats]]:
    """Yield the number of final particles and the nominal weight of the events of a file, in batches."""
    ending = split_ending(path)[1].lower()
    if ending in HDF5_ENDINGS:
        yield from _hdf5_events(path)
    elif ending in ROOT_ENDINGS:
        from fastsim.formats import root

        events = root.read(path)[1]
        assert events.particles is not None
        yield events.particles.counts, events.weights[:, 0]
    else:
        from fastsim.formats import hepmc

        for particles, weights in hepmc.read(path):
            yield particles.counts, weights[:, 0]


def _hdf5_events(path: Path) -> Iterator[tuple[Ints, Floats]]:
    """Yield the number of final particles and the nominal weight of the events of an HDF5 file, in batches."""
    from fastsim.formats import hdf5

    if hdf5.layout(path) == hdf5.EVENTS:
        for events in hdf5.read_events(path)[1]:
            assert events.particles is not None
            yield events.particles.counts, events.weights[:, 0]
        return
    size, start = 100_000, 0
    while len(counts := hdf5.read(path, slice(start, start + size))[1].counts):
        yield counts, np.ones(len(counts))
        start += size
