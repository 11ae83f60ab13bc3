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
from fastsim.event import Cells, HardEvents, ParticleSet, Partons
from fastsim.event.gun import Shots
from fastsim.formats.atomic import AtomicPath, writing
from fastsim.formats.calochallenge import Showers

Arrays = dict[str, NDArray[Any]]
Content = HardEvents | Shots | Showers
"""Of a chunk: events, a gun's sets, or single showers in a calorimeter."""
SETTINGS, LOCK = "settings.json", "lock"


def parts_folder(output: str | os.PathLike[str]) -> Path:
    """Where the finished chunks of an output are."""
    path = Path(output)
    return path.with_name(f"{path.name}.parts")


def part_path(parts: Path, chunk: int) -> Path:
    """The file of a chunk."""
    return parts / f"chunk-{chunk:06d}.npz"


def open_parts(parts: Path, settings: Mapping[str, Any], *, resume: bool, force: bool) -> IO[str]:
    """Makes the folder, or finds it to be gone on with.

    Args:
        parts: the folder.
        settings: all that decides the content of a chunk, as plain JSON values.
        resume: go on from the chunks that are there, if any.
        force: without ``resume``, drop them.

    Returns:
        an open file that holds the folder for this run until it is closed, or the process ends.

    Raises:
        FastsimError: if the folder is there without ``resume``, belongs to other settings or to a run that goes on.
    """
    file = parts / SETTINGS
    with writing(parts):
        if parts.exists() and (resume or force) and not _of_run(parts):
            raise FastsimError(f"{parts}: is not the folder of a run; remove it, or give another output")
        if parts.exists() and not resume:
            _held(parts).close()  # not a run that goes on
            if not force:
                raise FastsimError(f"{parts}: holds a run that was stopped; --resume goes on with it, --force drops it")
            remove_parts(parts)
        parts.mkdir(exist_ok=True)
        lock = _held(parts)
        for left in parts.glob(".*.tmp"):  # of a run that was killed
            left.unlink()
        if not file.exists() and not any(parts.glob("chunk-*")):
            target = AtomicPath(file, force=True)
            target.temporary.write_text(json.dumps(settings), encoding="utf-8")
            target.commit()
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(held, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise FastsimError(f"{parts}: has no readable settings.json; remove the folder and start again") from error
    if held != settings:
        names = ", ".join(key for key in {**held, **settings} if held.get(key) != settings.get(key))
        raise FastsimError(
            f"{parts}: holds a run of other settings ({names}); give the same, or --force alone to drop it"
        )
    return lock


def _of_run(parts: Path) -> bool:
    """Whether a folder has settings, or nothing but what a run leaves that was killed before it wrote them."""
    if (parts / SETTINGS).is_file():
        return True
    return all(path.name == LOCK or path.match(".*.tmp") or path.match("chunk-*") for path in parts.iterdir())


def _held(parts: Path) -> IO[str]:
    """Locks the folder, where the file system knows locks; the kernel gives it free when the process ends."""
    lock = open(parts / LOCK, "a")  # noqa: SIM115
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise FastsimError(f"{parts}: another run is writing there; wait for it, or give another output") from error
    except OSError:
        pass
    return lock


def save_part(path: Path, arrays: Mapping[str, NDArray[Any]], *, compressed: bool = False) -> None:
    """Writes the arrays of a chunk; the file appears when it is complete and on the disk.

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


def load_part(path: Path) -> Arrays | None:
    """The arrays of a chunk; None where there is none, or where its checksums say that it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, BadZipFile, zlib.error):
        return None


class Store:
    """The chunks of one run in its folder: a :class:`fastsim.production.chunks.Keeper`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, number: int) -> tuple[Content, float] | None:
        """Content and seconds of a chunk that is there; None where it is not, or is another one under its name."""
        arrays = load_part(part_path(self.folder, number))
        try:
            if arrays is None or int(arrays.get("chunk", number)) != number:  # versions before did not number them
                return None
            return unpacked(arrays), float(arrays.get("seconds", np.zeros(())))
        except (KeyError, TypeError, ValueError, AssertionError):
            return None

    def save(self, number: int, content: Content, seconds: float) -> None:
        arrays = {**packed(content), "chunk": np.array(number), "seconds": np.array(seconds)}
        # most voxels are empty
        save_part(part_path(self.folder, number), arrays, compressed=isinstance(content, Showers))

    @property
    def empty(self) -> bool:
        """Whether no chunk is there."""
        return not any(self.folder.glob("chunk-*"))


_HARD = ("number", "offsets", "pdg_id", "status", "mothers", "colours", "p4", "mass", "weights", "process", "scale")


def packed(content: Content) -> Arrays:
    """The content of a chunk as named arrays; :func:`unpacked` gives it back bit for bit."""
    if isinstance(content, Showers):
        return {"incident": content.incident, "voxels": content.voxels}
    sets = content.particles
    arrays: Arrays = {}
    if sets is not None:
        arrays |= {"sets.offsets": sets.offsets, "sets.pdg_id": sets.pdg_id, "sets.p4": sets.p4}
    if isinstance(content, Shots):
        arrays |= {"partons.pdg_id": content.partons.pdg_id, "partons.p4": content.partons.p4}
        return arrays | {f"extra.{key}": values for key, values in content.extras.items()}
    arrays |= {name: getattr(content, name) for name in _HARD}
    if content.origin is not None:
        arrays["origin"] = content.origin
    if content.cells is not None:
        arrays |= {f"cells.{name}": getattr(content.cells, name) for name in ("offsets", "id", "energy")}
    return arrays | {f"tally.{key}": values for key, values in content.tallies.items()}


def unpacked(arrays: Arrays) -> Content:
    """The inverse of :func:`packed`. Raises KeyError if an array is missing."""
    if "voxels" in arrays:
        return Showers(arrays["incident"], arrays["voxels"])

    def named(kind: str) -> Arrays:
        return {key.removeprefix(kind): values for key, values in arrays.items() if key.startswith(kind)}

    sets = ParticleSet(**named("sets.")) if "sets.offsets" in arrays else None
    if "partons.pdg_id" in arrays:
        assert sets is not None
        return Shots(Partons(**named("partons.")), sets, named("extra."))
    hard: dict[str, Any] = {name: arrays[name] for name in _HARD}
    cells = Cells(**named("cells.")) if "cells.offsets" in arrays else None
    return HardEvents(**hard, particles=sets, origin=arrays.get("origin"), cells=cells, tallies=named("tally."))


def digest(content: Content) -> str:
    """SHA-256 of all arrays of a chunk, names, types and shapes among them, in hexadecimal."""
    found = hashlib.sha256()
    for name, values in sorted(packed(content).items()):
        array = np.ascontiguousarray(values)
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        found.update(f"{name} {little.dtype.str} {little.shape};".encode())
        found.update(little.data)
    return found.hexdigest()


def remove_parts(parts: Path) -> None:
    """Removes the folder of a run, its settings last: what is left when this is interrupted is a run like any other."""
    with suppress(OSError):
        for path in sorted(parts.iterdir(), key=lambda path: path.name in (SETTINGS, LOCK)):
            path.unlink()
        parts.rmdir()
