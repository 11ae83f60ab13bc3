"""The folder OUTPUT.parts: finished chunks of a run that goes on, each in a file that appears whole or not at all.

``settings.json`` says what decides the chunks' content; a run goes on only with the same settings. One run at a time
holds the folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError
from fastsim.event import Cells, HardEvents, ParticleSet
from fastsim.event.hard import COLUMN_KINDS
from fastsim.formats.atomic import AtomicPath, writing
from fastsim.formats.calochallenge import Showers

Arrays = dict[str, NDArray[Any]]
Content = HardEvents | Showers
"""Of a chunk: events, or single showers in a calorimeter."""
SETTINGS, LOCK = "settings.json", "lock"


def chunk_folder(output: str | os.PathLike[str]) -> Path:
    """Return the folder of the finished chunks of an output."""
    path = Path(output)
    return path.with_name(f"{path.name}.parts")


def chunk_path(folder: Path, chunk: int) -> Path:
    """Return the path of the file of a chunk."""
    return folder / f"chunk-{chunk:06d}.npz"


def open_chunks(folder: Path, settings: Mapping[str, Any], *, resume: bool, force: bool) -> IO[str]:
    """Make the folder, or find it to be gone on with.

    Args:
        folder: of the chunks.
        settings: all that decides the content of a chunk, as plain JSON values.
        resume: go on from the chunks that are there, if any.
        force: without ``resume``, drop them.

    Returns:
        an open file that holds the folder for this run until it is closed, or the process ends.

    Raises:
        FastsimError: if the folder is there without ``resume``, belongs to other settings or to a run that goes on.
    """
    file = folder / SETTINGS
    with writing(folder):
        if folder.exists() and (resume or force) and not _of_run(folder):
            raise FastsimError(f"{folder}: is not the folder of a run; remove it, or give another output")
        if folder.exists() and not resume:
            _locked(folder).close()  # not a run that goes on
            if not force:
                raise FastsimError(
                    f"{folder}: holds a run that was stopped; --resume goes on with it, --force drops it"
                )
            remove_chunks(folder)
        folder.mkdir(exist_ok=True)
        lock = _locked(folder)
        for left in folder.glob(".*.tmp"):  # of a run that was killed
            left.unlink()
        if not file.exists() and not any(folder.glob("chunk-*")):
            target = AtomicPath(file, force=True)
            target.temporary.write_text(json.dumps(settings), encoding="utf-8")
            target.commit()
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(before, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise FastsimError(f"{folder}: has no readable settings.json; remove the folder and start again") from error
    if before != settings:
        names = ", ".join(key for key in {**before, **settings} if before.get(key) != settings.get(key))
        raise FastsimError(
            f"{folder}: holds a run of other settings ({names}); give the same, or --force alone to drop it"
        )
    return lock


def _of_run(folder: Path) -> bool:
    """Return whether a folder has settings, or nothing but what a run leaves that was killed before it wrote them."""
    if (folder / SETTINGS).is_file():
        return True
    return all(path.name == LOCK or path.match(".*.tmp") or path.match("chunk-*") for path in folder.iterdir())


def _locked(folder: Path) -> IO[str]:
    """Lock the folder, where the file system knows locks; the kernel gives it free when the process ends."""
    lock = open(folder / LOCK, "a")  # noqa: SIM115
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise FastsimError(f"{folder}: another run is writing there; wait for it, or give another output") from error
    except OSError:
        pass
    return lock


def save_chunk(path: Path, arrays: Mapping[str, NDArray[Any]], *, compressed: bool = False) -> None:
    """Write the arrays of a chunk; the file appears when it is complete and on the disk.

    Raises:
        OutputError: if the file cannot be written.
    """
    target, content = AtomicPath(path, force=True), io.BytesIO()
    try:
        save: Callable[..., None] = np.savez_compressed if compressed else np.savez
        save(content, **arrays)  # a disk that fills up would leave a zip file open
        with writing(path), target.temporary.open("wb") as file:
            file.write(content.getbuffer())
    except BaseException:
        target.discard()
        raise
    target.commit()


def load_chunk(path: Path) -> Arrays | None:
    """Return the arrays of a chunk; None where there is none, or where its checksums say that it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, BadZipFile, zlib.error):
        return None


class Store:
    """The chunks of one run in its folder: a :class:`fastsim.production.chunks.ChunkStore`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, number: int) -> tuple[Content, float] | None:
        """Return content and seconds of a chunk; None where it is not there, or is another one under its name."""
        arrays = load_chunk(chunk_path(self.folder, number))
        try:
            if arrays is None or int(arrays.get("chunk", number)) != number:  # 0.1 did not number them
                return None
            return unpacked(arrays), float(arrays.get("seconds", np.zeros(())))
        except (KeyError, TypeError, ValueError, AssertionError):
            return None

    def save(self, number: int, content: Content, seconds: float) -> None:
        """Keep a chunk in the file of its number."""
        arrays = {**packed(content), "chunk": np.array(number), "seconds": np.array(seconds)}
        # most voxels are empty
        save_chunk(chunk_path(self.folder, number), arrays, compressed=isinstance(content, Showers))

    @property
    def empty(self) -> bool:
        """Whether no chunk is there."""
        return not any(self.folder.glob("chunk-*"))


_HARD = ("number", "offsets", "pdg_id", "status", "mothers", "colours", "p4", "mass", "weights", "process", "scale")


def packed(content: Content) -> Arrays:
    """Return the content of a chunk as named arrays; :func:`unpacked` gives it back bit for bit."""
    if isinstance(content, Showers):
        return {"incident": content.incident, "voxels": content.voxels}
    arrays: Arrays = {name: getattr(content, name) for name in _HARD}
    if content.particles is not None:
        arrays |= {f"sets.{name}": getattr(content.particles, name) for name in ("offsets", "pdg_id", "p4")}
    if content.origin is not None:
        arrays["origin"] = content.origin
    if content.cells is not None:
        arrays |= {f"cells.{name}": getattr(content.cells, name) for name in ("offsets", "id", "energy")}
    for kind in ("tallies", *COLUMN_KINDS):
        arrays |= {f"{_PREFIXES[kind]}{key}": values for key, values in getattr(content, kind).items()}
    return arrays


_PREFIXES = {"tallies": "tally."} | {kind: f"{kind}." for kind in COLUMN_KINDS}


def unpacked(arrays: Arrays) -> Content:
    """Return the content that :func:`packed` took apart. Raises KeyError if an array is missing."""
    if "voxels" in arrays:
        return Showers(arrays["incident"], arrays["voxels"])

    def named(prefix: str) -> Arrays:
        return {key.removeprefix(prefix): values for key, values in arrays.items() if key.startswith(prefix)}

    hard: dict[str, Any] = {name: arrays[name] for name in _HARD}
    columns: dict[str, Any] = {kind: named(prefix) for kind, prefix in _PREFIXES.items()}
    return HardEvents(
        **hard,
        **columns,
        particles=ParticleSet(**named("sets.")) if "sets.offsets" in arrays else None,
        origin=arrays.get("origin"),
        cells=Cells(**named("cells.")) if "cells.offsets" in arrays else None,
    )


def content_sha256(content: Content) -> str:
    """Return the SHA-256 of all arrays of a chunk, names, types and shapes among them, in hexadecimal."""
    found = hashlib.sha256()
    for name, values in sorted(packed(content).items()):
        array = np.ascontiguousarray(values)
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        found.update(f"{name} {little.dtype.str} {little.shape};".encode())
        found.update(little.data)
    return found.hexdigest()


def remove_chunks(folder: Path) -> None:
    """Remove the folder of a run, its settings last: what is left when this is interrupted is a run like any other."""
    with suppress(OSError):
        for path in sorted(folder.iterdir(), key=lambda path: path.name in (SETTINGS, LOCK)):
            path.unlink()
        folder.rmdir()
