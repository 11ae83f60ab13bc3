"""Writers of events by the ending of the path."""

from __future__ import annotations

import os
from typing import Protocol, Self

from fastsim.event import Floats, HardEvents, ParticleSet, Partons, RunInfo
from fastsim.formats.atomic import HDF5_ENDINGS, ROOT_ENDINGS, PathLike, split_ending


class EventWriter(Protocol):
    """A context manager that writes batches of events; the file appears under its name on a clean exit."""

    def write(self, events: HardEvents) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None: ...


class GunWriter(Protocol):
    """A context manager that writes a gun's partons with the particle set of each."""

    def write(self, partons: Partons, particles: ParticleSet, weights: Floats | None = None) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None: ...


def open_writer(path: PathLike, run: RunInfo, *, force: bool = False) -> EventWriter:
    """A writer of hard events and their particles in the format that the path's ending names.

    ``-`` is HepMC3 on standard output.

    Raises:
        OutputError: for an unknown ending, a file that exists (without ``force``), or an unwritable folder.
    """
    ending = ".hepmc3" if os.fspath(path) == "-" else split_ending(path)[1].lower()
    if ending in HDF5_ENDINGS:
        from fastsim.formats import hdf5

        return hdf5.EventWriter(path, run, force=force)
    if ending in ROOT_ENDINGS:
        from fastsim.formats import root

        return root.Writer(path, run, force=force)
    from fastsim.formats import hepmc

    return hepmc.Writer(path, run, force=force)


def open_gun_writer(path: PathLike, run: RunInfo, *, first_number: int = 0, force: bool = False) -> GunWriter:
    """A writer of a gun's sets: the gun layout in HDF5; elsewhere one event a parton, without beams.

    ``run.provenance`` gives the attributes (version, seed, settings...), ``first_number`` the first event's number.
    """
    if os.fspath(path) != "-" and split_ending(path)[1].lower() in HDF5_ENDINGS:
        from fastsim.formats import hdf5

        return hdf5.Writer(path, dict(run.provenance), force=force)
    return _GunEvents(open_writer(path, run, force=force), first_number)


class _GunEvents:
    """Writes gun sets as events of one hard parton each."""

    def __init__(self, writer: EventWriter, first_number: int) -> None:
        self._writer = writer
        self._number = first_number

    def write(self, partons: Partons, particles: ParticleSet, weights: Floats | None = None) -> None:

        self._writer.write(HardEvents.of_partons(partons, particles, weights=weights, first_number=self._number))
        self._number += len(partons)

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._writer.__exit__(kind, error, trace)
