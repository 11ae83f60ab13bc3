"""The manifest of an output, OUTPUT.manifest.json: its chunks, and the settings that decide their content.

The manifest is written when its output is complete; docs/production.md lists its entries.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastsim import __version__
from fastsim.errors import FastsimError
from fastsim.formats.atomic import AtomicPath, writing
from fastsim.production.store import Content, content_sha256
from fastsim.production.summary import Counts, counts_of

LAYOUT = "fastsim-manifest"
LAYOUT_VERSION = 1
ENDING = ".manifest.json"
MAX_BYTES = 1 << 30
"""Larger files are refused unread (a billion events have 500 MB of chunks)."""
PACKAGES = ("numpy", "torch", "numba", "pythia8mc")
"""Packages whose version may decide a bit of the result."""


@dataclass(kw_only=True)
class ChunkRow(Counts):
    """A row of the manifest: one chunk, or what of it is in the output where that is a slice.

    Attributes:
        chunk: number of the chunk.
        first_event: number of its first event that is in the output.
        sha256: checksum of its content.
        seconds: time that its computation took.
    """

    chunk: int
    first_event: int
    sha256: str
    seconds: float

    @classmethod
    def of(cls, chunk: int, first_event: int, content: Content, seconds: float) -> ChunkRow:
        """Return the row of a chunk's content."""
        return cls(
            chunk=chunk,
            first_event=first_event,
            sha256=content_sha256(content),
            seconds=round(seconds, 4),
            **counts_of(content).counts(),
        )


@dataclass(kw_only=True)
class Manifest(Counts):
    """The manifest of an output: its size, its settings, and the counts of the whole file and of each chunk.

    Attributes:
        output: name of the file.
        bytes, sha256: size and checksum of the file.
        settings: all that decides the content of the file.
        first_event: number of the first event in the file.
        whole: first event and number of events of the range that the file is a slice of, where that is known.
        cross_section: cross-section of the input and its error, in pb.
        source: name of the source of the events.
        seconds: time that the run took.
        chunks: one row for each chunk.
    """

    output: str
    bytes: int
    sha256: str
    settings: dict[str, Any]
    first_event: int
    whole: tuple[int, int] | None
    cross_section: tuple[float, float]
    source: str
    seconds: float
    chunks: list[ChunkRow] = field(default_factory=list)

    @property
    def run(self) -> dict[str, Any]:
        """The settings without the range of events, which slices of one run have in common."""
        return {key: value for key, value in self.settings.items() if key not in ("first_event", "num_events")}

    def write(self, path: Path) -> None:
        """Write the manifest; it replaces one that is there."""
        values = {"layout": LAYOUT, "layout_version": LAYOUT_VERSION, **asdict(self)}
        rows = values.pop("chunks")
        text = json.dumps(values, indent=2)[:-2]
        lines = ",\n".join("    " + json.dumps(row) for row in rows)
        target = AtomicPath(path, force=True)
        try:
            with writing(path):
                target.temporary.write_text(f'{text},\n  "chunks": [\n{lines}\n  ]\n}}\n', encoding="utf-8")
        except BaseException:
            target.discard()
            raise
        target.commit()

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a manifest that :meth:`write` wrote.

        Raises:
            FastsimError: if the file is missing, too large, or no manifest.
        """
        try:
            if path.stat().st_size > MAX_BYTES:
                raise FastsimError(f"{path}: larger than {MAX_BYTES:,} bytes; not a manifest")
            values = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise FastsimError(f"{path}: cannot be read: {error.strerror or error}") from error
        except (ValueError, RecursionError) as error:
            raise FastsimError(f"{path}: is not a manifest: {error}") from error
        if not isinstance(values, dict) or values.pop("layout", None) != LAYOUT:
            raise FastsimError(f"{path}: is not a manifest of fastsim")
        if (layout_version := values.pop("layout_version", None)) != LAYOUT_VERSION:
            raise FastsimError(f"{path}: has layout version {layout_version}; this fastsim reads {LAYOUT_VERSION}")
        try:
            rows = [ChunkRow(**row) for row in values.pop("chunks")]
            manifest = cls(**{"whole": None, **values}, chunks=rows)
            _check(manifest)
        except (TypeError, KeyError, ValueError) as error:
            raise FastsimError(f"{path}: is not a complete manifest: {error}") from error
        return manifest


def _check(manifest: Manifest) -> None:
    """Raise ValueError where an entry has another type than it should have."""
    rows: list[Any] = manifest.chunks
    pairs: list[tuple[str, Any]] = [("cross_section", manifest.cross_section)]
    if manifest.whole is not None:
        pairs.append(("whole", manifest.whole))
    for name, pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair))):
            raise ValueError(f"{name} is {pair!r}, expected two numbers")
        setattr(manifest, name, tuple(pair))
    counts = ("bytes", "first_event", "events", "partons", "particles", "cells")
    for item, names in [(manifest, counts), *((row, ("chunk", *counts[1:])) for row in rows)]:
        for name in names:
            value = getattr(item, name)
            if not isinstance(value, int) or not 0 <= value < 1 << 63:
                raise ValueError(f"{name} is {value!r}, expected a count")
        for name in ("sum_weights", "sum_weights2", "visible", "incident", "seconds"):
            if not _is_number(value := getattr(item, name)):
                raise ValueError(f"{name} is {value!r}, expected a number")
        if not isinstance(item.notes, dict) or not all(map(_is_number, item.notes.values())):
            raise ValueError("notes are no object of numbers")
    for name in ("output", "sha256", "source"):
        if not isinstance(getattr(manifest, name), str):
            raise ValueError(f"{name} is not text")
    if not isinstance(manifest.settings, dict):
        raise ValueError("settings are no object")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e300 and value == value


def manifest_path(output: str | os.PathLike[str]) -> Path:
    """Return the path of the manifest of an output."""
    path = Path(output)
    return path.with_name(f"{path.name}{ENDING}")


def versions(*more: str) -> dict[str, str]:
    """Return the versions of fastsim, of the packages in :data:`PACKAGES`, and of ``more``, if they are installed."""
    installed = {"fastsim": __version__}
    for name in (*PACKAGES, *more):
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as JSON reads them back, tuples as lists, so that they compare equal to those of a file."""
    read_back: dict[str, Any] = json.loads(json.dumps(values))
    return read_back
