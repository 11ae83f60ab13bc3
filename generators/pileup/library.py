"""Minimum-bias collisions to draw pile-up from: a file of events, of fastsim or of any program that writes HepMC."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fastsim.errors import FastsimError
from fastsim.event import HardEvents, Ints, ParticleSet, RunInfo
from fastsim.formats.events import holds_particles, read_events
from fastsim.shipped import sha256_of


class CollisionLibrary:
    """Stored collisions, which are drawn without those before being put back as long as there are enough.

    Args:
        path: a HepMC file of any origin, or an HDF5 or ROOT file that fastsim wrote.
        max_collisions: how many are read at most: all are kept in memory, 50 kB each.

    Raises:
        FastsimError: if there is no such file, it holds no events, or rests of collisions, or is damaged.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_collisions: int = 10_000) -> None:
        self.path, self.max_collisions = Path(path), max_collisions
        if not self.path.is_file():
            raise FastsimError(f"{self.path}: no such file of pile-up collisions")
        if not holds_particles(self.path):
            raise FastsimError(f"{self.path}: pile-up is read from HepMC, HDF5 or ROOT files; give such a name")
        self.run, batches = read_events(self.path, history=True)
        if "rests" in self.run.provenance:
            raise FastsimError(
                f"{self.path}: holds rests of collisions, which lack their hard process; 'fastsim library pileup' "
                "makes pile-up"
            )
        parts: list[HardEvents] = []
        found = 0
        for batch in batches:
            parts.append(batch[: max_collisions - found])
            found += len(parts[-1])
            if found >= max_collisions:
                break
        if found == 0:
            raise FastsimError(f"{self.path}: holds no events to take pile-up from")
        self.particles = ParticleSet.concatenate([_known(part) for part in parts])

    def __len__(self) -> int:
        return len(self.particles)

    def __reduce__(self) -> tuple[Any, ...]:
        return _load, (self.path, self.max_collisions)  # other processes read the file

    @cached_property
    def sha256(self) -> str:
        """The checksum of the file."""
        return sha256_of(self.path)

    def fits(self, run: RunInfo) -> bool:
        """Return whether the collisions may belong to the beams of a run; those of unknown beams may."""
        return "beams" not in self.run.provenance or (
            run.beam_pdg_id == self.run.beam_pdg_id and np.allclose(run.beam_energy, self.run.beam_energy, rtol=1e-6)
        )

    def choose(self, counts: Ints, rng: np.random.Generator) -> Ints:
        """Return the rows of ``counts[i]`` collisions for event i, all events one after the other.

        No collision is twice in an event, unless it has more than the library.
        """
        size = len(self)
        rows = [rng.choice(size, count, replace=count > size) for count in counts.tolist()]
        return np.concatenate(rows).astype(np.int64) if rows else np.zeros(0, np.int64)


def _load(path: Path, max_collisions: int) -> CollisionLibrary:
    return CollisionLibrary(path, max_collisions=max_collisions)


def _known(events: HardEvents) -> ParticleSet:
    """Return the particles of events."""
    assert events.particles is not None
    return events.particles
