"""The writer of events for an output, chosen by the ending of its name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol, Self

from fastsim.event import HardEvents, Partons, RunInfo
from fastsim.formats.atomic import HDF5_ENDINGS, ROOT_ENDINGS, PathLike, split_ending

if TYPE_CHECKING:
    from fastsim.formats import hdf5


class EventWriter(Protocol):
    """A context manager that writes batches of events; the file appears under its name on a clean exit."""

    def write(self, events: HardEvents) -> None:
        """Add a batch of events."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None: ...


def open_writer(path: PathLike, run: RunInfo, *, force: bool = False, gun: bool = False) -> EventWriter:
    """Open a writer of hard events and their particles in the format that the path's ending names.

    Args:
        path: of the output; ``-`` is HepMC3 on standard output.
        run: the run information of all events.
        force: replace a file that exists.
        gun: whether the events are partons of a gun with the particle set of each: HDF5 has a layout for them.

    Raises:
        OutputError: for an unknown ending, a file that exists (without ``force``), or an unwritable folder.
    """
    ending = ".hepmc3" if os.fspath(path) == "-" else split_ending(path)[1].lower()
    if ending in HDF5_ENDINGS:
        from fastsim.formats import hdf5

        if gun:
            return _GunSets(hdf5.Writer(path, dict(run.provenance), force=force))
        return hdf5.EventWriter(path, run, force=force)
    if ending in ROOT_ENDINGS:
        from fastsim.formats import root

        return root.Writer(path, run, force=force)
    from fastsim.formats import hepmc

    return hepmc.Writer(path, run, force=force)


class _GunSets:
    """Writes events of one parton each as the partons of a gun, with the particle set of each."""

    def __init__(self, writer: hdf5.Writer) -> None:
        self._writer = writer

    def write(self, events: HardEvents) -> None:
        assert events.particles is not None
        self._writer.write(Partons(events.pdg_id, events.p4), events.particles)
        self._writer.write_columns(events.event_columns)

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._writer.__exit__(kind, error, trace)
