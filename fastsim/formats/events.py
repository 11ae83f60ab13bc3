"""Event files that hold final particles, whatever their format."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np

from fastsim.errors import FastsimError, InvalidEvent
from fastsim.event import HardEvents, RunInfo
from fastsim.formats.atomic import HDF5_ENDINGS, HEPMC_ENDINGS, ROOT_ENDINGS, PathLike


def holds_particles(path: PathLike) -> bool:
    """Return whether the ending is that of a format with final particles: HepMC, HDF5 or ROOT."""
    return os.fspath(path).lower().endswith((*HEPMC_ENDINGS, *HDF5_ENDINGS, *ROOT_ENDINGS))


def read_events(
    path: PathLike,
    *,
    first_event: int = 0,
    num_events: int | None = None,
    align: int = 1,
    chunk_size: int = 1000,
    history: bool = False,
    final_status: Sequence[int] = (1,),
) -> tuple[RunInfo, Iterator[HardEvents]]:
    """Open a HepMC file of any origin, or an HDF5 or ROOT file that fastsim wrote.

    Args:
        path: the file; its ending names the format.
        first_event: place in the file, from 0, of the first event wanted.
        num_events: how many at most; None for all.
        align: further events are given on both sides of the wanted ones, up to places that are multiples of it.
        chunk_size: events in a batch, a multiple of ``align``.
        history: of HepMC, read also what decayed into the final particles; HDF5 and ROOT files give it if they have it.
        final_status: status codes of the final particles of HepMC files.

    Returns:
        The run information, and an iterator over batches of events.

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

        run, batches = hepmc.read_events(path, chunk_size=chunk_size, history=history, final_status=final_status)
    return run, _cut(_with_valid_momenta(batches), first_event, num_events, align)


def _with_valid_momenta(batches: Iterator[HardEvents]) -> Iterator[HardEvents]:
    """Yield batches as they are as long as all momenta are finite and all energies are not negative.

    Raises:
        InvalidEvent: at the first event of which that is not true, after the events before it.
    """
    for events in batches:
        sets = events.particles
        assert sets is not None
        finite = np.isfinite(sets.p4).all(axis=1)
        bad = ~finite | (sets.p4[:, 0] < 0)
        if not bad.any():
            yield events
            continue
        row = int(np.argmax(bad))
        event = int(sets.index[row])
        if event:
            yield events[:event]
        what = f"an energy of {sets.p4[row, 0]:g} GeV" if finite[row] else "a momentum that is not finite"
        raise InvalidEvent(f"event {events.number[event]}: a particle has {what}")


def _cut(batches: Iterator[HardEvents], first: int, num: int | None, align: int) -> Iterator[HardEvents]:
    """Yield the events at the places from ``first`` to ``first + num``, widened to multiples of ``align``.

    Args:
        batches: all events of a file, in order.
        first: place of the first event wanted, from 0.
        num: how many at most; None for all.
        align: the range begins and ends at multiples of it.

    Raises:
        FastsimError: if there is no event at ``first``.
    """
    start, done = first // align * align, 0
    last = None if num is None else -(-(first + num) // align) * align if num else start
    for batch in batches:
        if last is not None and done >= max(first, last):
            return
        chosen = batch[max(start - done, 0) : None if last is None else max(last - done, 0)]
        done += len(batch)
        if len(chosen) and done > first:
            yield chosen
    if first > 0 and first >= done:
        raise FastsimError(f"first event {first} asked, but the file holds {done} (numbered from 0)")
