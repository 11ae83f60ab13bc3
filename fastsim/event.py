"""The data that Steps exchange: partons, ragged particle sets, and batches of hard-process events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def offsets_from_counts(counts: NDArray[np.integer[Any]]) -> Ints:
    """Offsets (N+1) of a ragged array whose N rows have the given lengths."""
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def ragged_indices(offsets: Ints, rows: NDArray[np.integer[Any]]) -> Ints:
    """Flat indices of the items of the chosen rows, row after row."""
    starts, counts = offsets[rows], offsets[rows + 1] - offsets[rows]
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    shift: Ints = np.repeat(starts - ends + counts, counts)
    return np.arange(total, dtype=np.int64) + shift


@dataclass(frozen=True)
class Partons:
    """N partons: ``pdg_id`` (N,) and four-momenta ``p4`` (N, 4) as (E, px, py, pz) in GeV."""

    pdg_id: Ints
    p4: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "pdg_id", np.asarray(self.pdg_id, dtype=np.int64))
        object.__setattr__(self, "p4", np.asarray(self.p4, dtype=np.float64).reshape(-1, 4))
        if len(self.pdg_id) != len(self.p4):
            raise ValueError(f"{len(self.pdg_id)} PDG ids but {len(self.p4)} four-momenta")

    def __len__(self) -> int:
        return len(self.pdg_id)

    def __getitem__(self, rows: slice | NDArray[np.generic]) -> Partons:
        return Partons(self.pdg_id[rows], self.p4[rows])

    @classmethod
    def from_pt_eta_phi(cls, pdg_id: Ints, pt: Floats, eta: Floats, phi: Floats) -> Partons:
        """Partons on the gun's mass shell from pT (GeV), pseudorapidity and azimuth, each (N,)."""
        from fastsim.kinematics import p4_from_pt_eta_phi_m
        from fastsim.species import PARTON_MASSES

        ids = np.asarray(pdg_id, dtype=np.int64)
        m = np.array([PARTON_MASSES[abs(int(i))] for i in ids], dtype=np.float64)
        return cls(ids, p4_from_pt_eta_phi_m(pt, eta, phi, m))

    @staticmethod
    def concatenate(parts: Sequence[Partons]) -> Partons:
        return Partons(np.concatenate([p.pdg_id for p in parts]), np.concatenate([p.p4 for p in parts]))


@dataclass(frozen=True)
class ParticleSet:
    """A ragged batch of N particle sets holding M particles in all.

    ``offsets`` (N+1,), ``pdg_id`` (M,), ``p4`` (M, 4) as (E, px, py, pz) in GeV: set i is the slice
    ``offsets[i]:offsets[i+1]``.
    """

    offsets: Ints
    pdg_id: Ints
    p4: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "offsets", np.asarray(self.offsets, dtype=np.int64))
        object.__setattr__(self, "pdg_id", np.asarray(self.pdg_id, dtype=np.int64))
        object.__setattr__(self, "p4", np.asarray(self.p4, dtype=np.float64).reshape(-1, 4))
        if len(self.offsets) < 1 or self.offsets[0] != 0 or self.offsets[-1] != len(self.pdg_id):
            raise ValueError("offsets must start at 0 and end at the number of particles")
        if len(self.pdg_id) != len(self.p4):
            raise ValueError(f"{len(self.pdg_id)} PDG ids but {len(self.p4)} four-momenta")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> Ints:
        """Particles in each set, shape (N,)."""
        return np.diff(self.offsets)

    @property
    def index(self) -> Ints:
        """The set each particle belongs to, shape (M,)."""
        return np.repeat(np.arange(len(self)), self.counts)

    def __getitem__(self, rows: slice | NDArray[np.generic]) -> ParticleSet:
        chosen = np.arange(len(self), dtype=np.int64)[rows]
        flat = ragged_indices(self.offsets, chosen)
        return ParticleSet(offsets_from_counts(self.counts[chosen]), self.pdg_id[flat], self.p4[flat])

    def sums(self) -> Floats:
        """Total four-momentum of each set, shape (N, 4), in GeV."""
        total = np.zeros((len(self), 4))
        filled = self.counts > 0
        if filled.any():
            total[filled] = np.add.reduceat(self.p4, self.offsets[:-1][filled], axis=0)
        return total

    @staticmethod
    def empty(num_sets: int = 0) -> ParticleSet:
        return ParticleSet(np.zeros(num_sets + 1, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)))

    @staticmethod
    def concatenate(parts: Sequence[ParticleSet]) -> ParticleSet:
        if not parts:
            return ParticleSet.empty()
        return ParticleSet(
            offsets_from_counts(np.concatenate([p.counts for p in parts])),
            np.concatenate([p.pdg_id for p in parts]),
            np.concatenate([p.p4 for p in parts]),
        )


@dataclass(frozen=True)
class Cells:
    """The calorimeter cells that saw energy in each of E events.

    ``offsets`` (E+1,), ``id`` (M,) increasing in each event, ``energy`` (M,) in MeV, float32: event i has the slice
    ``offsets[i]:offsets[i+1]``. What an id means is told by :class:`fastsim.calorimeter.Towers`.
    """

    offsets: Ints
    id: Ints
    energy: NDArray[np.float32]

    def __post_init__(self) -> None:
        object.__setattr__(self, "offsets", np.asarray(self.offsets, dtype=np.int64))
        object.__setattr__(self, "id", np.asarray(self.id, dtype=np.int64))
        object.__setattr__(self, "energy", np.asarray(self.energy, dtype=np.float32))
        if len(self.offsets) < 1 or self.offsets[0] != 0 or self.offsets[-1] != len(self.id):
            raise ValueError("offsets must start at 0 and end at the number of cells")
        if self.id.shape != self.energy.shape or self.id.ndim != 1:
            raise ValueError(f"{len(self.id)} cell ids but {len(self.energy)} energies")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> Ints:
        """Cells in each event, shape (E,)."""
        return np.diff(self.offsets)

    @property
    def index(self) -> Ints:
        """The event each cell belongs to, shape (M,)."""
        return np.repeat(np.arange(len(self)), self.counts)

    def __getitem__(self, rows: slice | NDArray[np.generic]) -> Cells:
        chosen = np.arange(len(self), dtype=np.int64)[rows]
        flat = ragged_indices(self.offsets, chosen)
        return Cells(offsets_from_counts(self.counts[chosen]), self.id[flat], self.energy[flat])

    def sums(self) -> Floats:
        """Energy of each event in MeV, shape (E,)."""
        return np.bincount(self.index, weights=self.energy, minlength=len(self)).astype(np.float64)

    @staticmethod
    def concatenate(parts: Sequence[Cells]) -> Cells:
        return Cells(
            offsets_from_counts(np.concatenate([np.zeros(0, np.int64), *(p.counts for p in parts)])),
            np.concatenate([np.zeros(0, np.int64), *(p.id for p in parts)]),
            np.concatenate([np.zeros(0, np.float32), *(p.energy for p in parts)]),
        )


@dataclass(frozen=True)
class RunInfo:
    """What a file says once for all its events (the LHE init block), and who made the file.

    ``beam_pdg_id`` and ``beam_energy`` (GeV); ``processes`` rows of (cross-section pb, error pb, max
    weight, id); ``weight_names`` of the columns of ``HardEvents.weights``; ``provenance`` free key-value pairs.
    """

    beam_pdg_id: tuple[int, int] = (2212, 2212)
    beam_energy: tuple[float, float] = (6500.0, 6500.0)
    processes: tuple[tuple[float, float, float, int], ...] = ()
    weight_names: tuple[str, ...] = ("nominal",)
    weight_strategy: int = 3
    provenance: dict[str, str] = field(default_factory=dict)

    @property
    def cross_section(self) -> tuple[float, float]:
        """Total cross-section and its error in pb (0, 0 where the file has none)."""
        total = sum(p[0] for p in self.processes)
        return total, float(np.sqrt(sum(p[1] ** 2 for p in self.processes)))


@dataclass(frozen=True)
class HardEvents:
    """A batch of E hard-process events and, after hadronisation, their final particles, and then calorimeter cells.

    The hard records are ragged: entry k of event i is ``offsets[i] + k``. ``status`` follows LHE: -1
    incoming, 1 outgoing, 2 intermediate (a resonance whose decay is in the record). ``mothers`` (K, 2)
    are indices within the event (-1 for none, both the same for one mother). ``colours`` (K, 2) are LHE
    colour and anticolour tags. ``p4`` (K, 4) in GeV, ``mass`` (K,) as given by the file.

    ``particles`` has one set an event; ``origin`` (M,) is the index within the event of the hard entry each
    final particle comes from (-1: not known). ``cells`` are those of a calorimeter. ``tallies`` count, event by event
    (E,), what a Step wants to tell (for example fallbacks); ``notes`` are their sums.
    """

    number: Ints
    offsets: Ints
    pdg_id: Ints
    status: Ints
    mothers: Ints
    colours: Ints
    p4: Floats
    mass: Floats
    weights: Floats
    process: Ints
    scale: Floats
    particles: ParticleSet | None = None
    origin: Ints | None = None
    cells: Cells | None = None
    tallies: dict[str, Ints] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def notes(self) -> dict[str, int]:
        """The tallies summed over the batch, those above zero."""
        return {key: int(values.sum()) for key, values in self.tallies.items() if values.any()}

    def tally(self, key: str, events: NDArray[np.integer[Any]], amounts: Floats | None = None) -> HardEvents:
        """The same batch with one more count of ``key`` for each event index listed (with repeats).

        ``amounts``, one for each index, are added instead of ones, and rounded to integers event by event.
        """
        counts = np.rint(np.bincount(events, amounts, minlength=len(self))).astype(np.int64)
        return replace(self, tallies={**self.tallies, key: self.tallies.get(key, 0) + counts})

    @property
    def index(self) -> Ints:
        """The event each hard entry belongs to, shape (K,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def __getitem__(self, rows: slice | NDArray[np.generic]) -> HardEvents:
        chosen = np.arange(len(self), dtype=np.int64)[rows]
        flat = ragged_indices(self.offsets, chosen)
        origin = None
        if self.particles is not None and self.origin is not None:
            origin = self.origin[ragged_indices(self.particles.offsets, chosen)]
        return replace(
            self,
            number=self.number[chosen],
            offsets=offsets_from_counts(np.diff(self.offsets)[chosen]),
            pdg_id=self.pdg_id[flat],
            status=self.status[flat],
            mothers=self.mothers[flat],
            colours=self.colours[flat],
            p4=self.p4[flat],
            mass=self.mass[flat],
            weights=self.weights[chosen],
            process=self.process[chosen],
            scale=self.scale[chosen],
            particles=None if self.particles is None else self.particles[chosen],
            origin=origin,
            cells=None if self.cells is None else self.cells[chosen],
            tallies={key: values[chosen] for key, values in self.tallies.items()},
        )

    def chunks(self, size: int) -> Iterator[HardEvents]:
        """The batch in pieces of at most ``size`` events, in order."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    @staticmethod
    def of_particles(particles: ParticleSet, weights: Floats, number: Ints) -> HardEvents:
        """Events of which only the final particles are known; ``weights`` (E, W), ``number`` (E,)."""
        size = len(particles)
        none, pairs = np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
        return HardEvents(
            number=number,
            offsets=np.zeros(size + 1, np.int64),
            pdg_id=none,
            status=none,
            mothers=pairs,
            colours=pairs,
            p4=np.zeros((0, 4)),
            mass=np.zeros(0),
            weights=weights,
            process=np.zeros(size, np.int64),
            scale=np.zeros(size),
            particles=particles,
            origin=np.full(len(particles.pdg_id), -1),
        )

    @staticmethod
    def concatenate(parts: Sequence[HardEvents]) -> HardEvents:
        """One batch of several; particles and cells are kept where all have them."""
        names = ("number", "pdg_id", "status", "mothers", "colours", "p4", "mass", "weights", "process", "scale")
        joined = {name: np.concatenate([getattr(p, name) for p in parts]) for name in names}
        keys = sorted({key for p in parts for key in p.tallies})
        zeros = [np.zeros(len(p), np.int64) for p in parts]
        sets = [p.particles for p in parts if p.particles is not None]
        origins = [p.origin for p in parts if p.origin is not None]
        cells = [p.cells for p in parts if p.cells is not None]
        return HardEvents(
            offsets=offsets_from_counts(np.concatenate([np.diff(p.offsets) for p in parts])),
            particles=ParticleSet.concatenate(sets) if len(sets) == len(parts) else None,
            origin=np.concatenate(origins) if len(origins) == len(parts) else None,
            cells=Cells.concatenate(cells) if len(cells) == len(parts) else None,
            tallies={k: np.concatenate([p.tallies.get(k, z) for p, z in zip(parts, zeros, strict=True)]) for k in keys},
            **joined,
        )
