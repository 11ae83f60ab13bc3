"""Files read whole, in any format that fastsim writes or takes as input, for notebooks and scripts."""

from __future__ import annotations

import os
from collections.abc import Iterator

from fastsim.detector.binning import read_binning
from fastsim.errors import FastsimError
from fastsim.event import HardEvents
from fastsim.formats.atomic import ENDINGS, HDF5_ENDINGS, PathLike
from fastsim.formats.calochallenge import Showers, binning_path, read_showers
from fastsim.formats.events import holds_particles, read_events

LHE_ENDINGS = tuple(f".lhe{compressed}" for compressed in ("", ".gz"))


def read(path: PathLike, *, num_events: int | None = None, history: bool = False) -> HardEvents | Showers:
    """Read what is in a file: events with partons, hadrons or cells, or calorimeter showers.

    Args:
        path: a Les Houches file (.lhe, .lhe.gz), a HepMC file of any origin (.hepmc3 or .hepmc, also .gz .bz2 .xz .zst
            of them), a file of fastsim in HDF5 (.h5) or ROOT (.root), or CaloChallenge showers in HDF5.
        num_events: how many events or showers at most, from the first; None for all.
        history: of HepMC, read also what decayed into the final particles; HDF5 and ROOT files give it if they have it.

    Returns:
        The events, in memory as one batch: ``events.particles`` are the hadrons, one set an event, ``events.cells``
        the cells, where there are any. Sets of a gun are events of one parton each, ``events.pdg_id`` and
        ``events.p4``. Of a file of showers the :class:`~fastsim.formats.calochallenge.Showers`.

    Raises:
        FastsimError: if there is no such file, its ending names no format, or it is damaged.

    >>> from fastsim.shipped import data_folder
    >>> read(data_folder() / "examples" / "pp_dijet.lhe.gz", num_events=3)
    <HardEvents: 3 events, 12 hard entries>
    """
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise FastsimError(f"{name}: no such file")
    if name.lower().endswith(HDF5_ENDINGS):
        from fastsim.formats import hdf5

        layout = hdf5.layout(name)
        if layout == hdf5.GUN:
            return hdf5.read_gun(name, slice(0, num_events))
        if layout != hdf5.EVENTS:
            return _showers(name, num_events)
    if holds_particles(name):
        run, batches = read_events(name, num_events=num_events, history=history)
    elif name.lower().endswith(LHE_ENDINGS):
        from fastsim.formats import lhe

        run, batches = lhe.read(name, num_events=num_events)
    else:
        raise FastsimError(f"{name}: the ending names no format; use Les Houches .lhe (or .lhe.gz), {ENDINGS}")
    found = list(_at_most(batches, num_events))
    return HardEvents.concatenate(found) if found else run.no_events()


def _at_most(batches: Iterator[HardEvents], num: int | None) -> Iterator[HardEvents]:
    """Yield batches up to a number of events in all."""
    left = num
    for batch in batches:
        yield batch if left is None else batch[:left]
        if left is not None:
            left -= len(batch)
            if left <= 0:
                return


def _showers(name: str, num_events: int | None) -> Showers:
    """Read showers, and refuse those that do not fit the binning beside them, where there is one."""
    beside = binning_path(name)
    return read_showers(name, read_binning(beside) if beside.is_file() else None, max_events=num_events)


__all__ = ["read"]
