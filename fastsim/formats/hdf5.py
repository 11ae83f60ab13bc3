"""HDF5: partons with their particle sets (gun layout), and hard events with their particles (event layout).

The layout is public and versioned; docs/formats.md describes it. Momenta of gun sets are float32 on disk as
long as every particle lies on the mass shell of its species, which reading restores; event files are float64,
because their four-momentum closes to 1e-9. Where the history of the particles is known, the decayed ones are a second
ragged table; those are off any shell, so their momenta are float64.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError
from fastsim.event import (
    Cells,
    Decayed,
    Floats,
    HardEvents,
    History,
    Ints,
    ParticleSet,
    Partons,
    RunInfo,
    kinematics,
    species,
)
from fastsim.formats.atomic import AtomicWriter, PathLike, writing

LAYOUT_VERSION = 1
LIBRARY = ("v110", "v110")
"""Oldest and newest HDF5 version whose format is used: 1.10 (2016) protects metadata with checksums."""
GUN, EVENTS = "fastsim-gun", "fastsim-events"
SHELL_TOLERANCE = 1e-6
"""Relative energy difference up to which a particle counts as on its species' mass shell (float32 has 6e-8)."""
MAX_EXPANSION = 500
"""Files whose tables are larger than this many times the file are refused (deflate reaches 1000 with zeros alone)."""
COLUMN_GROUPS = {"event_columns": "event", "hard_columns": "hard", "particle_columns": "particle"}
"""The groups of the event layout in which named columns of events lie, under ``columns/``."""
_HARD = ("pdg_id", "status", "mothers", "colours", "p4", "mass")
_DECAYED = {"pdg_id": "i4", "p4": "f8", "mother": "i4", "vertex": "f4"}
_EVENT = ("number", "weights", "process", "scale")


class FileOut:
    """A file for HDF5 to write to, whose writes never fail: :meth:`check` raises the first error that there was.

    HDF5 2.0 cannot be left alone with a failed write: the process may not live to report it.
    """

    def __init__(self, path: PathLike) -> None:
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise the OSError of the first write that failed, if one did."""
        if self._error is not None:
            raise self._error

    def write(self, data: Any) -> int:
        remaining = memoryview(data).cast("B")
        size = len(remaining)
        try:
            while self._error is None and len(remaining):
                remaining = remaining[self._file.write(remaining) :]
        except OSError as error:
            self._error = error
        return size

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size) or b""

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer) or 0

    def truncate(self, size: int | None = None) -> int:
        try:
            self._file.truncate(size)
        except OSError as error:
            self._error = self._error or error
        return self._file.tell() if size is None else size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        """Do nothing: the file has no buffer."""

    def close(self) -> None:
        self._file.close()


class _Tables(AtomicWriter):
    """An HDF5 file of growing tables."""

    def __init__(
        self, path: PathLike, layout: str, attributes: Mapping[str, Any], *, force: bool, compression: str = "gzip"
    ) -> None:
        super().__init__(path, force=force)
        self._compression: dict[str, Any] = {"compression": compression, "shuffle": True}
        if compression == "gzip":
            self._compression["compression_opts"] = 1
        if self._target is None:
            raise FastsimError("HDF5 cannot be written to standard output; give a file name")
        self._tables: dict[str, Any] = {}
        with writing(path):
            self._out = FileOut(self._place)
            self._file = h5py.File(self._out, "w", libver=LIBRARY)
            for key, value in {"producer": "fastsim", "units": "GeV", **attributes}.items():
                self._file.attrs[key] = value if isinstance(value, str | int | float) else json.dumps(value)
            self._file.attrs["layout"] = layout
            self._file.attrs["layout_version"] = LAYOUT_VERSION

    def _append(self, name: str, values: NDArray[Any], kind: str) -> None:
        """Add rows to a table, and create it with the type ``kind`` where it does not exist."""
        with writing(self.path):
            if name not in self._tables:
                shape = (0, *values.shape[1:])
                rows = max(1, 16384 // max(1, int(np.prod(values.shape[1:]))))
                self._tables[name] = self._file.create_dataset(
                    name,
                    shape,
                    kind,
                    maxshape=(None, *values.shape[1:]),
                    chunks=(rows, *values.shape[1:]),
                    **self._compression,
                )
            table = self._tables[name]
            table.resize(len(table) + len(values), axis=0)
            table[len(table) - len(values) :] = values
            self._out.check()

    def _append_column(self, name: str, values: NDArray[Any]) -> None:
        self._append(name, values, "f8" if values.dtype.kind == "f" else "i4" if values.dtype.itemsize <= 4 else "i8")

    def _append_offsets(self, name: str, offsets: Ints) -> None:
        last = int(self._tables[name][-1]) if name in self._tables else 0
        if name not in self._tables:
            self._append(name, np.zeros(1, np.int64), "i8")
        self._append(name, last + offsets[1:], "i8")

    def _append_particles(self, particles: ParticleSet, kind: str) -> None:
        """Add sets of particles with momenta of the type ``kind``, and their history once any sets have one.

        Sets without history, in a file of such with, have mother -1, no vertices, and nothing that decayed.
        """
        known = "decayed/offsets" in self._tables
        if particles.history is not None and not known and "particle/offsets" in self._tables:
            sets = len(self._tables["particle/offsets"]) - 1
            self._append_history(History.unknown(sets, len(self._tables["particle/pdg_id"])))
        self._append_offsets("particle/offsets", particles.offsets)
        self._append("particle/pdg_id", particles.pdg_id, "i4")
        self._append("particle/p4", particles.p4, kind)
        if particles.history is not None or known:
            self._append_history(particles.history or History.unknown(len(particles), len(particles.pdg_id)))

    def _append_history(self, history: History) -> None:
        self._append("particle/mother", history.mother, "i4")
        self._append("particle/vertex", history.vertex, "f4")
        self._append_offsets("decayed/offsets", history.decayed.offsets)
        for name, kind in _DECAYED.items():
            self._append(f"decayed/{name}", getattr(history.decayed, name), kind)

    def _finish(self, complete: bool) -> None:
        self._file.close()
        self._out.close()
        if complete:
            self._out.check()


class Writer(_Tables):
    """Writes a gun's partons and their particle sets: ``parton/``, ``particle/``, and ``event/weights`` where given.

    Where the sets have a history, ``decayed/`` holds the particles that decayed.

    Args:
        path: the output.
        attributes: version, seed, settings... as attributes of the file; what is no text or number becomes JSON. The
            text ``latent_columns``, JSON, names the columns of the latents; each gets them as its attribute "columns".
        precision: ``float32`` (with float64 where a particle is off its shell) or ``float64``.
        force: replace an existing file.

    Raises:
        OutputError: if the output cannot be written.
    """

    def __init__(
        self,
        path: PathLike,
        attributes: Mapping[str, Any] | None = None,
        *,
        precision: str = "float32",
        force: bool = False,
    ) -> None:
        super().__init__(path, GUN, attributes or {}, force=force)
        self._latent_columns: Mapping[str, Sequence[str]] = json.loads((attributes or {}).get("latent_columns", "{}"))
        self._kind = {"float32": "f4", "float64": "f8"}[precision]
        self.write(Partons(np.zeros(0, np.int64), np.zeros((0, 4))), ParticleSet.empty())

    def write(self, partons: Partons, particles: ParticleSet, weights: Floats | None = None) -> None:
        """Add N partons with their N particle sets, and weights of shape (N,) or (N, W)."""
        if len(partons) != len(particles):
            raise ValueError(f"{len(partons)} partons but {len(particles)} particle sets")
        if self._kind == "f4" and not _on_shell(particles):
            self._widen()
        self._append("parton/pdg_id", partons.pdg_id, "i4")
        self._append("parton/p4", partons.p4, "f8")
        self._append_particles(particles, self._kind)
        if weights is not None:
            self._append("event/weights", np.asarray(weights, np.float64).reshape(len(partons), -1), "f8")
        self.num_written += len(partons)

    def write_columns(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Add the named columns (N, ...) of the partons just written; ``latent_NAME`` goes into ``latent/NAME``."""
        for name, values in columns.items():
            if name.startswith("latent_"):
                latent = name.removeprefix("latent_")
                self._append(f"latent/{latent}", values, "f8" if values.dtype.kind == "f" else "i4")
                if latent in self._latent_columns:
                    self._tables[f"latent/{latent}"].attrs["columns"] = list(self._latent_columns[latent])
            else:
                self._append_column(f"parton/columns/{name}", values)

    def _widen(self) -> None:
        """Change the table of momenta from float32 to float64; those that it holds get their exact mass shell."""
        self._kind = "f8"
        if "particle/p4" in self._tables:
            p4 = _restored(self._tables.pop("particle/p4")[:], self._tables["particle/pdg_id"][:])
            del self._file["particle/p4"]
            self._append("particle/p4", p4, "f8")


class EventWriter(_Tables):
    """Writes hard events with their particles: ``event/``, ``hard/`` and ``particle/`` (with ``origin``), ``cell/``.

    Where the particles have a history, ``decayed/`` holds those that decayed.

    Args:
        path: the output.
        run: the run information of all events.
        force: replace an existing file.
        compression: ``gzip``, or ``lzf``, which is read sooner and takes more place.

    Raises:
        OutputError: if the output cannot be written.
    """

    def __init__(self, path: PathLike, run: RunInfo, *, force: bool = False, compression: str = "gzip") -> None:
        attributes = {k: v for k, v in run.provenance.items() if k not in ("layout", "layout_version")}
        attributes["run"] = json.dumps(asdict(run))
        super().__init__(path, EVENTS, attributes, force=force, compression=compression)
        self._run = run

    def write(self, events: HardEvents) -> None:
        """Add a batch of events."""
        for name in _EVENT:
            values = getattr(events, name)
            self._append(f"event/{name}", values, "f8" if values.dtype.kind == "f" else "i8")
        self._append_offsets("hard/offsets", events.offsets)
        for name in _HARD:
            values = getattr(events, name)
            self._append(f"hard/{name}", values, "f8" if values.dtype.kind == "f" else "i4")
        if events.particles is not None and events.origin is not None:
            self._append_particles(events.particles, "f8")
            self._append("particle/origin", events.origin, "i4")
        if events.cells is not None:
            self._append_offsets("cell/offsets", events.cells.offsets)
            self._append("cell/id", events.cells.id, "i4")
            self._append("cell/energy", events.cells.energy, "f4")
        for kind, group in COLUMN_GROUPS.items():
            for name, values in getattr(events, kind).items():
                self._append_column(f"{group}/columns/{name}", values)
        self.num_written += len(events)

    def _finish(self, complete: bool) -> None:
        if complete and not self._tables:  # a run without events has tables too
            self.write(self._run.no_events())
        super()._finish(complete)


def write(
    path: PathLike,
    partons: Partons,
    particles: ParticleSet,
    attributes: Mapping[str, Any] | None = None,
    *,
    weights: Floats | None = None,
    precision: str = "float32",
    force: bool = False,
) -> None:
    """Write a gun's partons and their particle sets as one file.

    Args:
        path: the output.
        partons: N partons.
        particles: the particle set of each.
        attributes: attributes of the file.
        weights: shape (N,) or (N, W); none by default.
        precision: ``float32`` (with float64 where a particle is off its shell) or ``float64``.
        force: replace an existing file.

    Raises:
        OutputError: if the output cannot be written.
    """
    with Writer(path, attributes, precision=precision, force=force) as writer:
        writer.write(partons, particles, weights)


def read(
    path: PathLike, rows: slice | None = None, *, history: bool = True
) -> tuple[Partons, ParticleSet, dict[str, Any]]:
    """Read partons, their particle sets and the file's attributes.

    Args:
        path: a file in the gun layout.
        rows: the partons wanted, a slice of step 1; all by default. Only these are read from disk.
        history: read also what decayed into the particles, where the file has it.

    Raises:
        FastsimError: if the file is missing, damaged, of another layout or of a newer layout version.
    """
    with _Reader(path, GUN) as file:
        start, stop = _bounds(rows, len(file["parton/pdg_id"]))
        partons = Partons(file["parton/pdg_id"][start:stop], file["parton/p4"][start:stop])
        return partons, _particles(file, start, stop, history=history), _attributes(file)


def read_gun(path: PathLike, rows: slice | None = None) -> HardEvents:
    """Read partons, their particle sets, weights, latents and other named columns, as events of one parton each.

    Latents are the columns ``latent_NAME`` of the events, as :class:`Writer` takes them.

    Args:
        path: a file in the gun layout.
        rows: the partons wanted, a slice of step 1; all by default. Only these are read from disk.

    Raises:
        FastsimError: if the file is missing, damaged, of another layout or of a newer layout version.
    """
    partons, particles, _ = read(path, rows)
    with _Reader(path, GUN) as file:
        start, stop = _bounds(rows, len(file["parton/pdg_id"]))
        latents = {f"latent_{name}": table[start:stop] for name, table in file.get("latent", {}).items()}
        columns = {**latents, **_columns(file, "parton", start, stop)}
    events = HardEvents.of_partons(partons, particles, weights=read_weights(path, rows), first_number=start)
    return events.with_columns(event=columns)


def layout(path: PathLike) -> str:
    """Return the layout that a file of this package names: :data:`GUN` or :data:`EVENTS`.

    Raises:
        FastsimError: if the file is missing or no HDF5 file.
    """
    if not h5py.is_hdf5(path):
        raise FastsimError(f"{os.fspath(path)}: no such file, or not HDF5")
    with h5py.File(path, "r") as file:
        return str(file.attrs.get("layout"))


def read_weights(path: PathLike, rows: slice | None = None) -> Floats | None:
    """Read the event weights of a file in the gun layout, shape (N, W); None where it has none.

    Args:
        path: the file.
        rows: the partons wanted, a slice of step 1; all by default.

    Raises:
        FastsimError: if the file is missing, damaged, of another layout or of a newer layout version.
    """
    with _Reader(path, GUN) as file:
        if "event/weights" not in file:
            return None
        start, stop = _bounds(rows, len(file["event/weights"]))
        return np.asarray(file["event/weights"][start:stop], dtype=np.float64)


def read_events(
    path: PathLike, *, chunk_size: int = 1000, history: bool = True
) -> tuple[RunInfo, Iterator[HardEvents]]:
    """Open a file in the event layout.

    Args:
        path: the file.
        chunk_size: events in a batch.
        history: read also what decayed into the particles, where the file has it.

    Returns:
        The run information, and an iterator over batches of events.

    Raises:
        FastsimError: if the file is missing, damaged, of another layout or of a newer layout version; damage in the
            tables is found in the iteration.
    """
    with _Reader(path, EVENTS) as file:
        content = json.loads(file.attrs["run"])
        size = len(file["hard/offsets"]) - 1 if "hard/offsets" in file else 0
        run = RunInfo(
            beam_pdg_id=tuple(content["beam_pdg_id"]),
            beam_energy=tuple(content["beam_energy"]),
            processes=tuple(tuple(row) for row in content["processes"]),
            weight_names=tuple(content["weight_names"]),
            weight_strategy=content["weight_strategy"],
            provenance=content["provenance"],
        )

    def batches() -> Iterator[HardEvents]:
        for start in range(0, size, chunk_size):
            with _Reader(path, EVENTS) as file:
                stop = min(start + chunk_size, size)
                offsets = file["hard/offsets"][start : stop + 1]
                low, high = int(offsets[0]), int(offsets[-1])
                hard: dict[str, Any] = {name: np.asarray(file[f"hard/{name}"][low:high]) for name in _HARD}
                hard = {k: v if v.dtype.kind == "f" else v.astype(np.int64) for k, v in hard.items()}
                origin = particles = None
                if "particle/offsets" in file:
                    particles = _particles(file, start, stop, history=history)
                    first = int(file["particle/offsets"][start])
                    origin = file["particle/origin"][first : first + len(particles.pdg_id)].astype(np.int64)
                cells = _cells(file, start, stop) if "cell/offsets" in file else None
                spans = {"event": (start, stop), "hard": (low, high), "particle": (0, 0)}
                if particles is not None:
                    spans["particle"] = (first, first + len(particles.pdg_id))
                columns: dict[str, Any] = {
                    kind: _columns(file, group, *spans[group]) for kind, group in COLUMN_GROUPS.items()
                }
                events: dict[str, Any] = {name: file[f"event/{name}"][start:stop] for name in _EVENT}
                _check_lengths(offsets - low, hard, events, particles, origin)
            contents: dict[str, Any] = {"particles": particles, "origin": origin, "cells": cells}
            yield HardEvents(offsets=offsets - low, **contents, **hard, **events, **columns)

    return run, batches()


def _columns(file: h5py.File, group: str, start: int, stop: int) -> dict[str, NDArray[Any]]:
    """Return the named columns of a group, for the rows from ``start`` to ``stop``."""
    place = f"{group}/columns"
    if place not in file:
        return {}
    columns = {name: np.asarray(table[start:stop]) for name, table in file[place].items()}
    if wrong := [name for name, values in columns.items() if len(values) != stop - start]:
        raise ValueError(f"{place}/{wrong[0]} does not fit the other tables")
    return columns


def _check_lengths(
    offsets: Ints, hard: dict[str, Any], events: dict[str, Any], particles: ParticleSet | None, origin: Ints | None
) -> None:
    """Raise ValueError if the tables of a batch of events do not belong together."""
    shapes = {"p4": (4,), "mothers": (2,), "colours": (2,)}
    if (np.diff(offsets) < 0).any() or not all(
        values.shape == (offsets[-1], *shapes.get(name, ())) for name, values in hard.items()
    ):
        raise ValueError("the tables of hard/ do not fit its offsets")
    if not all(len(values) == len(offsets) - 1 for values in events.values()) or events["weights"].ndim != 2:
        raise ValueError("the tables of event/ do not fit the number of events")
    if particles is not None and (origin is None or origin.shape != particles.pdg_id.shape):
        raise ValueError("particle/origin does not fit the particles")


class _Reader:
    """A context manager that opens a file of one layout; errors of h5py in its block become a FastsimError."""

    def __init__(self, path: PathLike, layout: str) -> None:
        self.name = os.fspath(path)
        self.layout = layout

    def __enter__(self) -> h5py.File:
        if not os.path.isfile(self.name):
            raise FastsimError(f"{self.name}: no such file")
        try:
            self.file = h5py.File(self.name, "r")
        except OSError as error:
            raise FastsimError(f"{self.name}: not a readable HDF5 file, or truncated ({error})") from error
        try:
            layout, version = self.file.attrs.get("layout"), self.file.attrs.get("layout_version")
            problem = bomb(self.file)
        except DAMAGE as error:
            self.file.close()
            raise FastsimError(f"{self.name}: the file is damaged ({error})") from error
        if problem is None and not (isinstance(layout, str) and layout == self.layout):
            problem = f"has layout {layout!r}; {self.layout!r} is expected"
        elif not isinstance(version, int | np.integer) or version != LAYOUT_VERSION:
            problem = f"has layout version {version}; this fastsim reads {LAYOUT_VERSION}"
        if problem:
            self.file.close()
            raise FastsimError(f"{self.name}: {problem}")
        return self.file

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.file.close()
        if isinstance(error, DAMAGE):
            raise FastsimError(f"{self.name}: the file is damaged or incomplete ({error})") from error


DAMAGE = (
    OSError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    MemoryError,
)
"""What h5py and numpy raise for tables that are missing, damaged or of another kind."""


def bomb(file: h5py.File) -> str | None:
    """Say what is wrong with a file whose tables claim far more bytes than it has, so that they would fill the memory.

    Returns:
        A phrase for a message; None for other files.
    """
    claimed = 0

    def count(name: str, item: Any) -> None:
        nonlocal claimed
        if isinstance(item, h5py.Dataset):
            claimed += int(item.size or 0) * item.dtype.itemsize

    file.visititems(count)
    size = os.path.getsize(file.filename)
    if claimed > MAX_EXPANSION * size + 2**26:
        return f"claims {claimed:,} bytes of tables in {size:,} of file; not written by a detector or generator"
    return None


def _bounds(rows: slice | None, size: int) -> tuple[int, int]:
    start, stop, step = (rows or slice(None)).indices(size)
    if step != 1:
        raise FastsimError(f"rows {rows} have step {step}; only step 1 can be read")
    return start, max(start, stop)


def _offsets(file: h5py.File, group: str, start: int, stop: int) -> tuple[Ints, int, int]:
    """Return the offsets of the rows from ``start`` to ``stop`` of a ragged table, and its first and last item."""
    offsets = file[f"{group}/offsets"][start : stop + 1].astype(np.int64)
    if len(offsets) != stop - start + 1 or (np.diff(offsets) < 0).any() or offsets[0] < 0:
        raise ValueError(f"{group}/offsets do not increase")
    low, high = int(offsets[0]), int(offsets[-1])
    return offsets - low, low, high


def _particles(file: h5py.File, start: int, stop: int, *, history: bool) -> ParticleSet:
    offsets, low, high = _offsets(file, "particle", start, stop)
    pdg_id = file["particle/pdg_id"][low:high].astype(np.int64)
    p4 = file["particle/p4"][low:high]
    particles = ParticleSet(offsets, pdg_id, _restored(p4, pdg_id) if p4.dtype == np.float32 else p4)
    if not history or "decayed/offsets" not in file:
        return particles
    mother, vertex = file["particle/mother"][low:high], file["particle/vertex"][low:high]
    offsets, low, high = _offsets(file, "decayed", start, stop)
    decayed = Decayed(offsets, *(file[f"decayed/{name}"][low:high] for name in _DECAYED))
    place = np.arange(high - low) - offsets[decayed.index]
    if ((decayed.mother < -1) | (decayed.mother >= place)).any():
        raise ValueError("decayed/mother is not a particle before")
    if ((mother < -1) | (mother >= decayed.counts[particles.index])).any():
        raise ValueError("particle/mother is not a decayed particle")
    return replace(particles, history=History(decayed, mother, vertex))


def _cells(file: h5py.File, start: int, stop: int) -> Cells:
    offsets, low, high = _offsets(file, "cell", start, stop)
    return Cells(offsets, file["cell/id"][low:high], file["cell/energy"][low:high])


def _restored(p4: NDArray[Any], pdg_id: NDArray[Any]) -> Floats:
    """Return float32 momenta (M, 4) in GeV as float64, exactly on the mass shell of their species."""
    return kinematics.on_shell(np.asarray(p4, dtype=np.float64), species.masses(pdg_id))


def _on_shell(particles: ParticleSet) -> bool:
    """Return whether every particle has a known species and lies on its mass shell."""
    try:
        shell = kinematics.on_shell(particles.p4, species.masses(particles.pdg_id))
    except KeyError:
        return False
    return bool((np.abs(shell[:, 0] - particles.p4[:, 0]) <= SHELL_TOLERANCE * shell[:, 0]).all())


def _attributes(file: h5py.File) -> dict[str, Any]:
    """Return a file's attributes as plain Python values."""
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in file.attrs.items()}
