"""The folder OUTPUT.parts: the finished chunks of a run, each in a file that appears whole or not at all.

``settings.json`` in it has all that decides the content of the chunks: a run is resumed with the same settings only.
A lock keeps the folder to one run at a time.
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
from typing import IO, Any, cast
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError
from fastsim.event import Cells, Decayed, HardEvents, History, ParticleSet
from fastsim.event.hard import COLUMN_KINDS
from fastsim.formats.atomic import AtomicPath, writing
from fastsim.formats.calochallenge import Showers

Arrays = dict[str, NDArray[Any]]
Content = HardEvents | Showers
"""The content of a chunk: events, or single showers in a calorimeter."""
SETTINGS, LOCK = "settings.json", "lock"


def chunk_folder(output: str | os.PathLike[str]) -> Path:
    """Return the folder of the finished chunks of an output."""
    path = Path(output)
    return path.with_name(f"{path.name}.parts")


def chunk_path(folder: Path, chunk: int) -> Path:
    """Return the path of the file of a chunk."""
    return folder / f"chunk-{chunk:06d}.npz"


def open_chunks(folder: Path, settings: Mapping[str, Any], *, resume: bool, force: bool) -> IO[str]:
    """Create the folder of a run's chunks, or open that of a run to resume.

    Args:
        folder: the folder.
        settings: all that decides the content of a chunk, as plain JSON values.
        resume: keep the chunks that are there, if any.
        force: without ``resume``, drop them.

    Returns:
        An open file that locks the folder until it is closed, or the process ends.

    Raises:
        FastsimError: if the folder exists and neither ``resume`` nor ``force`` is given, it is no folder of a run, its
            settings differ, or another run is writing there.
    """
    file = folder / SETTINGS
    with writing(folder):
        if folder.exists() and (resume or force) and not _of_run(folder):
            raise FastsimError(f"{folder}: is not the folder of a run; remove it, or give another output")
        if folder.exists() and not resume:
            _locked(folder).close()  # refuses the folder of a run that is writing
            if not force:
                raise FastsimError(
                    f"{folder}: holds a run that was stopped; --resume goes on with it, --force drops it"
                )
            remove_chunks(folder)
        folder.mkdir(exist_ok=True)
        lock = _locked(folder)
        for temporary in folder.glob(".*.tmp"):  # of a run that was killed
            temporary.unlink()
        if not file.exists() and not any(folder.glob("chunk-*")):
            target = AtomicPath(file, force=True)
            target.temporary.write_text(json.dumps(settings), encoding="utf-8")
            target.commit()
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(stored, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise FastsimError(f"{folder}: has no readable settings.json; remove the folder and start again") from error
    if stored != settings:
        names = ", ".join(key for key in {**stored, **settings} if stored.get(key) != settings.get(key))
        raise FastsimError(
            f"{folder}: holds a run of other settings ({names}); give the same, or --force alone to drop it"
        )
    return lock


def _of_run(folder: Path) -> bool:
    """Return whether a folder has settings, or only files of a run that was killed before it wrote them."""
    if (folder / SETTINGS).is_file():
        return True
    return all(path.name == LOCK or path.match(".*.tmp") or path.match("chunk-*") for path in folder.iterdir())


def _locked(folder: Path) -> IO[str]:
    """Lock a folder, where the file system knows locks, and return the open file that does; it ends with the process.

    Raises:
        FastsimError: if another run has locked it.
    """
    lock = open(folder / LOCK, "a")  # noqa: SIM115
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise FastsimError(f"{folder}: another run is writing there; wait for it, or give another output") from error
    except OSError:
        pass
    return lock


_BYTES_OF_HEADER = 1024
"""Room for what a file of arrays says about each of them."""


def save_chunk(path: Path, arrays: Mapping[str, NDArray[Any]], *, compressed: bool = False) -> None:
    """Write the arrays of a chunk; the file appears when it is complete and on the disk.

    Raises:
        OutputError: if the file cannot be written.
    """
    target = AtomicPath(path, force=True)
    size = sum(values.nbytes + _BYTES_OF_HEADER for values in arrays.values())
    content = io.BytesIO(bytes(size))  # one that grows is copied again and again
    try:
        save: Callable[..., None] = np.savez_compressed if compressed else np.savez
        save(content, **arrays)  # a disk that fills up would leave a zip file open
        content.truncate()
        with writing(path), target.temporary.open("wb") as file:
            file.write(content.getbuffer())
    except BaseException:
        target.discard()
        raise
    target.commit()


def load_chunk(path: Path) -> Arrays | None:
    """Return the arrays of a chunk's file; None if there is no such file, or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, BadZipFile, zlib.error):
        return None


class Store:
    """The chunks of a run in its folder: a :class:`fastsim.production.chunks.ChunkStore` in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, number: int) -> tuple[Content, float] | None:
        """Return content and seconds of a chunk; None if its file is missing, damaged or that of another chunk."""
        arrays = load_chunk(chunk_path(self.folder, number))
        try:
            if arrays is None or int(arrays.get("chunk", number)) != number:  # 0.1 did not number them
                return None
            return unpacked(arrays), float(arrays.get("seconds", np.zeros(())))
        except (KeyError, TypeError, ValueError, AssertionError):
            return None

    def save(self, number: int, content: Content, seconds: float) -> None:
        """Write a chunk, with the seconds that its computation took, to the file of its number."""
        arrays = {**packed(content), "chunk": np.array(number), "seconds": np.array(seconds)}
        # showers are compressed, for most voxels are empty
        save_chunk(chunk_path(self.folder, number), arrays, compressed=isinstance(content, Showers))

    @property
    def empty(self) -> bool:
        """Whether the folder has no chunk."""
        return not any(self.folder.glob("chunk-*"))


_DECAYED = ("offsets", "pdg_id", "p4", "mother", "vertex")
_HARD = ("number", "offsets", "pdg_id", "status", "mothers", "colours", "p4", "mass", "weights", "process", "scale")


def packed(content: Content) -> Arrays:
    """Return the content of a chunk as named arrays; :func:`unpacked` gives it back bit for bit."""
    if isinstance(content, Showers):
        more = {name: getattr(content, name) for name in ("latent", "direction")}
        more = {name: values for name, values in more.items() if values is not None}
        return {"incident": content.incident, "voxels": content.voxels, **more}
    arrays: Arrays = {name: getattr(content, name) for name in _HARD}
    if content.particles is not None:
        arrays |= {f"sets.{name}": getattr(content.particles, name) for name in ("offsets", "pdg_id", "p4")}
        if (history := content.particles.history) is not None:
            arrays |= {"history.mother": history.mother, "history.vertex": history.vertex}
            arrays |= {f"decayed.{name}": getattr(history.decayed, name) for name in _DECAYED}
    if content.origin is not None:
        arrays["origin"] = content.origin
    if content.cells is not None:
        arrays |= {f"cells.{name}": getattr(content.cells, name) for name in ("offsets", "id", "energy")}
    for kind in ("tallies", *COLUMN_KINDS):
        arrays |= {f"{_PREFIXES[kind]}{key}": values for key, values in getattr(content, kind).items()}
    return arrays


_PREFIXES = {"tallies": "tally."} | {kind: f"{kind}." for kind in COLUMN_KINDS}


def unpacked(arrays: Arrays) -> Content:
    """Return the content whose arrays :func:`packed` gave.

    Raises:
        KeyError: if an array is missing.
    """
    if "voxels" in arrays:
        return Showers(arrays["incident"], arrays["voxels"], arrays.get("latent"), arrays.get("direction"))

    def named(prefix: str) -> Arrays:
        return {key.removeprefix(prefix): values for key, values in arrays.items() if key.startswith(prefix)}

    particles = None
    if "sets.offsets" in arrays:
        history = None
        if "decayed.offsets" in arrays:
            history = History(Decayed(**named("decayed.")), **named("history."))
        particles = ParticleSet(**cast("dict[str, Any]", named("sets.")), history=history)
    hard: dict[str, Any] = {name: arrays[name] for name in _HARD}
    columns: dict[str, Any] = {kind: named(prefix) for kind, prefix in _PREFIXES.items()}
    return HardEvents(
        **hard,
        **columns,
        particles=particles,
        origin=arrays.get("origin"),
        cells=Cells(**named("cells.")) if "cells.offsets" in arrays else None,
    )


def content_sha256(content: Content) -> str:
    """Return the SHA-256, in hexadecimal, of all arrays of a chunk with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, values in sorted(packed(content).items()):
        array = np.ascontiguousarray(values)
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {little.dtype.str} {little.shape};".encode())
        digest.update(little.data)
    return digest.hexdigest()


def remove_chunks(folder: Path) -> None:
    """Remove the folder of a run, its settings last, so that it can be resumed if the removal is interrupted."""
    with suppress(OSError):
        for path in sorted(folder.iterdir(), key=lambda path: path.name in (SETTINGS, LOCK)):
            path.unlink()
        folder.rmdir()
