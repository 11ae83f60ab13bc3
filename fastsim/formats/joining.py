"""Several files of one format as one: the events of the first, then those of the second, and so on.

What is above the events (run information, attributes) is that of the first file. Nothing is read whole but ROOT files.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from fastsim.errors import FastsimError
from fastsim.formats.atomic import HDF5_ENDINGS, ROOT_ENDINGS, AtomicWriter, PathLike, split_ending, writing

END = b"HepMC::Asciiv3-END_EVENT_LISTING"
ROWS = 1 << 16
"""Rows of a table that are copied at a time."""


def join(paths: Sequence[PathLike], output: PathLike, *, force: bool = False) -> None:
    """Write the events of several files that fastsim wrote as one file.

    Args:
        paths: HepMC3, HDF5 or ROOT files, all of one format; HepMC3 may be compressed.
        output: the file to write, of the same format.
        force: replace a file that exists.

    Raises:
        FastsimError: if the formats differ, or a file cannot be read.
        OutputError: if the output cannot be written.
    """
    kinds = {os.fspath(path): _kind(path) for path in (*paths, output)}
    if len(set(kinds.values())) > 1:
        names = ", ".join(f"{path} is {kind}" for path, kind in kinds.items())
        raise FastsimError(f"files of one format are joined to one of the same: {names}")
    kind = _kind(output)
    if kind == "HDF5":
        _join_hdf5(paths, output, force=force)
    elif kind == "ROOT":
        _join_root(paths, output, force=force)
    else:
        _join_hepmc(paths, output, force=force)


def _kind(path: PathLike) -> str:
    ending = split_ending(path)[1].lower()
    return "HDF5" if ending in HDF5_ENDINGS else "ROOT" if ending in ROOT_ENDINGS else "HepMC3"


class _HepMC(AtomicWriter):
    """The text of HepMC3 files, one after the other."""

    def __init__(self, path: PathLike, *, force: bool) -> None:
        from fastsim.formats.hepmc import _open_to_write

        super().__init__(path, force=force)
        with writing(path):
            self._file = _open_to_write(self._place, split_ending(path)[1].lower())

    def add(self, path: PathLike, *, with_header: bool) -> None:
        """Add the events of a file, without the line that ends it, and if wanted what is above them."""
        from fastsim.formats.hepmc import _open_to_read

        inside = with_header
        with _open_to_read(os.fspath(path)) as source:
            for line in source:
                if line.startswith(END):
                    return
                inside = inside or line.startswith(b"E ")
                if inside:
                    with writing(self.path):
                        self._file.write(line)
        raise FastsimError(f"{os.fspath(path)}: has no line {END.decode()}, which ends a file of HepMC3")

    def _finish(self, complete: bool) -> None:
        if complete:
            self._file.write(END + b"\n\n")
        self._file.close()


def _join_hepmc(paths: Sequence[PathLike], output: PathLike, *, force: bool) -> None:
    with _HepMC(output, force=force) as writer:
        for number, path in enumerate(paths):
            writer.add(path, with_header=number == 0)


def _join_root(paths: Sequence[PathLike], output: PathLike, *, force: bool) -> None:
    from fastsim.formats import root

    with ExitStack() as stack:
        writer: root.Writer | None = None
        for path in paths:
            run, events = root.read(path)
            if writer is None:
                writer = stack.enter_context(root.Writer(output, run, force=force))
            writer.write(events)


class _HDF5(AtomicWriter):
    """The tables of HDF5 files, one after the other."""

    def __init__(self, path: PathLike, *, force: bool) -> None:
        import h5py

        from fastsim.formats.hdf5 import LIBRARY, FileOut

        super().__init__(path, force=force)
        if self._target is None:
            raise FastsimError("HDF5 cannot be written to standard output; give a file name")
        with writing(path):
            self._out = FileOut(self._place)
            self._file = h5py.File(self._out, "w", libver=LIBRARY)

    def add(self, files: Sequence[Any], names: Sequence[str]) -> None:
        """Write each table as those of all files one after the other; offsets go on from the end of those before.

        Raises:
            FastsimError: if a file that has events lacks a table that another one has.
        """
        import h5py

        with writing(self.path):
            self._file.attrs.update(files[0].attrs)
        tables: dict[str, list[tuple[int, Any]]] = {}
        for place, file in enumerate(files):
            found: list[str] = []
            file.visititems(
                lambda name, item, found=found: found.append(name) if isinstance(item, h5py.Dataset) else None
            )
            for name in found:
                tables.setdefault(name, []).append((place, file[name]))
        size = {place: max((len(t) for t in _tables(file)), default=0) for place, file in enumerate(files)}
        for name, found_tables in tables.items():
            missing = {p for p, rows in size.items() if rows > 1} - {place for place, _ in found_tables}
            if missing:
                raise FastsimError(f"{names[min(missing)]}: lacks the table {name} that others have")
            full = [(p, t) for p, t in found_tables if len(t)] or found_tables[:1]
            self._write(name, [(files[p], t) for p, t in full])

    def _write(self, name: str, tables: Sequence[tuple[Any, Any]]) -> None:
        """Write one table."""
        from fastsim.formats.hdf5 import _restored

        first = tables[0][1]
        kind = np.result_type(*(table.dtype for _, table in tables))
        offsets = name.endswith("offsets")
        num = sum(len(table) - offsets for _, table in tables) + offsets
        packing = {k: getattr(first, k) for k in ("compression", "compression_opts", "shuffle", "chunks")}
        limits = {} if first.maxshape == first.shape else {"maxshape": first.maxshape}
        with writing(self.path):
            if first.chunks is not None and not limits:
                packing["chunks"] = (min(num, first.chunks[0]), *first.chunks[1:])
            target = self._file.create_dataset(name, (num, *first.shape[1:]), kind, **limits, **packing)
        row, last = 0, 0
        for file, table in tables:
            start = 1 if offsets and row else 0
            for low in range(start, len(table), ROWS):
                values = table[low : low + ROWS]
                if offsets:
                    values = values + last
                elif table.dtype == np.float32 and kind == np.float64 and name == "particle/p4":
                    values = _restored(values, file["particle/pdg_id"][low : low + ROWS])
                with writing(self.path):
                    target[row : row + len(values)] = values
                    self._out.check()
                row += len(values)
            last = int(target[row - 1]) if offsets and row else 0

    def _finish(self, complete: bool) -> None:
        self._file.close()
        self._out.close()
        if complete:
            self._out.check()


def _tables(file: Any) -> list[Any]:
    """Return the tables of a file."""
    import h5py

    found: list[Any] = []
    file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    return found


def _join_hdf5(paths: Sequence[PathLike], output: PathLike, *, force: bool) -> None:
    import h5py

    from fastsim.formats.calochallenge import binning_path
    from fastsim.formats.hdf5 import DAMAGE

    names = [os.fspath(path) for path in paths]
    with ExitStack() as stack:
        files = []
        for name in names:
            try:
                files.append(stack.enter_context(h5py.File(name, "r")))
            except DAMAGE as error:
                raise FastsimError(f"{name}: cannot be read as HDF5: {error}") from error
        writer = stack.enter_context(_HDF5(output, force=force))
        writer.add(files, names)
    if "showers" in tuple(_keys(names[0])) and binning_path(names[0]).exists():
        with writing(binning_path(output)):
            shutil.copyfile(binning_path(names[0]), binning_path(output))


def _keys(name: str) -> list[str]:
    """Return the names of what is at the top of an HDF5 file."""
    import h5py

    with h5py.File(name, "r") as file:
        return list(file)
