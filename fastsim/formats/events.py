"""Event files that hold final particles, whatever their format."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from fastsim.errors import FastsimError, InvalidEvent
from fastsim.event import HardEvents, RunInfo
from fastsim.formats.atomic import HDF5_ENDINGS, HEPMC_ENDINGS, ROOT_ENDINGS, PathLike


def holds_particles(path: PathLike) -> bool:
    """Whether the ending is that of a format with final particles: HepMC, HDF5 or ROOT."""
    return os.fspath(path).lower().endswith((*HEPMC_ENDINGS, *HDF5_ENDINGS, *ROOT_ENDINGS))


def read_events(
    path: PathLike, *, first_event: int = 0, num_events: int | None = None, border: int = 1, chunk_size: int = 1000
) -> tuple[RunInfo, Iterator[HardEvents]]:
    """The run and the events of a HepMC file of any origin, or of an HDF5 or ROOT file that fastsim wrote.

    Args:
        path: its ending tells the format.
        first_event: place in the file, from 0, of the first event wanted.
        num_events: how many at most; None for all.
        border: more events are given on both sides of these, up to places that it divides.
        chunk_size: events in a batch; ``border`` divides it.

    Raises:
        FastsimError: if the file cannot be read, now or in the iteration, or ends before ``first_event``.
        InvalidEvent: in the iteration, at an event with a momentum that no particle has.
    """
    name = os.fspath(path).lower()
    if name.endswith(HDF5_ENDINGS):
        from fastsim.formats import hdf5

        run, batches = hdf5.read_events(path, chunk_size=chunk_size)
    elif name.endswith(ROOT_ENDINGS):
        from fastsim.formats import root

        run, events = root.read(path)
        batches = events.chunks(chunk_size)
    else:
        from fastsim.formats import hepmc

        run, batches = hepmc.read_events(path, chunk_size=chunk_size)
    return run, _cut(_sound(batches), first_event, num_events, border)


def _sound(batches: Iterator[HardEvents]) -> Iterator[HardEvents]:
    """The events before the first with a momentum that no particle has.

    Raises:
        InvalidEvent: at that event, when those before it have been given.
    """
    for events in batches:
        sets = events.particles
        assert sets is not None
        finite = np.isfinite(sets.p4).all(axis=1)
        bad = ~finite | (sets.p4[:, 0] < 0)
        if not bad.any():
            yield events
            continue
        at = int(np.argmax(bad))
        event = int(sets.index[at])
        if event:
            yield events[:event]
        what = f"an energy of {sets.p4[at, 0]:g} GeV" if finite[at] else "a momentum that is not finite"
        raise InvalidEvent(f"event {events.number[event]}: a particle has {what}")


def _cut(batches: Iterator[HardEvents], first: int, num: int | None, border: int) -> Iterator[HardEvents]:
    """Those of the places ``first`` to ``first + num``, exclusive, and up to the next ones that ``border`` divides."""
    start, done = first // border * border, 0
    last = None if num is None else -(-(first + num) // border) * border if num else start
    for batch in batches:
        if last is not None and done >= max(first, last):
            return
        chosen = batch[max(start - done, 0) : None if last is None else max(last - done, 0)]
        done += len(batch)
        if len(chosen) and done > first:
            yield chosen
    if first > 0 and first >= done:
        raise FastsimError(f"first event {first} asked, but the file holds {done} (numbered from 0)")
