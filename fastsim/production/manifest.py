"""OUTPUT.manifest.json: what a run wrote, chunk by chunk, and what decided it.

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

import numpy as np

from fastsim import __version__
from fastsim.errors import FastsimError
from fastsim.event import Floats
from fastsim.event.gun import Shots
from fastsim.formats.atomic import AtomicPath, writing
from fastsim.formats.calochallenge import Showers
from fastsim.production.store import Content, digest

LAYOUT = "fastsim-manifest"
LAYOUT_VERSION = 1
ENDING = ".manifest.json"
MAX_BYTES = 1 << 30
"""Larger files are refused unread (a billion events have 500 MB of chunks)."""
PACKAGES = ("numpy", "torch", "numba", "pythia8mc")
"""Packages whose version may decide a bit of the result."""


@dataclass(frozen=True)
class ChunkRow:
    """One chunk as far as it is in the output: its number, its first event, counts, weights, checksum, seconds.

    ``cells`` are those of a calorimeter (of single showers, the voxels) that have energy, ``visible`` their energy and
    ``incident`` that of single showers' particles, in MeV.
    """

    chunk: int
    first_event: int
    events: int
    partons: int
    particles: int
    sum_weights: float
    sum_weights2: float
    sha256: str
    seconds: float
    notes: dict[str, int]
    cells: int = 0
    visible: float = 0.0
    incident: float = 0.0

    @classmethod
    def of(cls, chunk: int, first_event: int, content: Content, seconds: float) -> ChunkRow:
        """The row of a chunk's events."""
        if isinstance(content, Showers):
            return cls._of_showers(chunk, first_event, content, seconds)
        weights: Floats
        cells = None
        if isinstance(content, Shots):
            fallback = int(content.extras["fallback_partons"].sum()) if "fallback_partons" in content.extras else 0
            notes = {"fallback_partons": fallback} if fallback else {}
            weights, partons = np.ones(len(content)), len(content)
        else:
            notes, cells = content.notes, content.cells
            weights, partons = content.weights[:, 0], notes.pop("partons", 0)
        particles = 0 if content.particles is None else len(content.particles.pdg_id)
        return cls(
            chunk,
            first_event,
            len(content),
            partons,
            particles,
            float(weights.sum()),
            float(np.square(weights).sum()),
            digest(content),
            round(seconds, 4),
            notes,
            0 if cells is None else len(cells.id),
            0.0 if cells is None else float(cells.sums().sum()),
        )

    @classmethod
    def _of_showers(cls, chunk: int, first_event: int, showers: Showers, seconds: float) -> ChunkRow:
        num = len(showers)
        return cls(
            chunk,
            first_event,
            num,
            0,
            0,
            float(num),
            float(num),
            digest(showers),
            round(seconds, 4),
            {},
            int(np.count_nonzero(showers.voxels)),
            float(showers.voxels.sum(dtype=np.float64)),
            float(showers.incident.sum()),
        )


@dataclass
class Manifest:
    """What a run wrote: the file, the settings that decide its events, the chunks.

    ``whole`` are the first event and the number of events of what it is a slice of, where that is known.
    """

    output: str
    bytes: int
    sha256: str
    settings: dict[str, Any]
    first_event: int
    whole: tuple[int, int] | None
    events: int
    partons: int
    particles: int
    sum_weights: float
    sum_weights2: float
    cross_section: tuple[float, float]
    notes: dict[str, int]
    source: str
    seconds: float
    cells: int = 0
    visible: float = 0.0
    incident: float = 0.0
    chunks: list[ChunkRow] = field(default_factory=list)

    @property
    def run(self) -> dict[str, Any]:
        """The settings but for which events of the run were wanted."""
        return {key: value for key, value in self.settings.items() if key not in ("first_event", "num_events")}

    def write(self, path: Path) -> None:
        """Writes the manifest; it replaces one that is there."""
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
        """A manifest that :meth:`write` wrote.

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
        if (found := values.pop("layout_version", None)) != LAYOUT_VERSION:
            raise FastsimError(f"{path}: has layout version {found}; this fastsim reads {LAYOUT_VERSION}")
        try:
            rows = [ChunkRow(**row) for row in values.pop("chunks")]
            manifest = cls(**{"whole": None, **values}, chunks=rows)
            _check(manifest)
        except (TypeError, KeyError, ValueError) as error:
            raise FastsimError(f"{path}: is not a complete manifest: {error}") from error
        return manifest


def _check(manifest: Manifest) -> None:
    """Raises ValueError where an entry has another type than it should have."""
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
    """Where the manifest of an output is."""
    path = Path(output)
    return path.with_name(f"{path.name}{ENDING}")


def versions(*more: str) -> dict[str, str]:
    """Versions of fastsim and of the packages, some always, whose version may decide a bit of the result."""
    found = {"fastsim": __version__}
    for name in (*PACKAGES, *more):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON gives them back, to be compared with those of a file."""
    read_back: dict[str, Any] = json.loads(json.dumps(values))
    return read_back
