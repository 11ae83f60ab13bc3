"""Batches of hard-process events with final particles, calorimeter cells and named columns, where there are any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsim.errors import InvalidValue
from fastsim.event import kinematics
from fastsim.event.arrays import Floats, Ints, Ragged, Row, RowNumber, ragged_items, row_number
from fastsim.event.cells import Cells
from fastsim.event.particle_sets import ParticleSet
from fastsim.event.particles import Partons

Columns = dict[str, NDArray[Any]]
"""Named arrays with one entry for each event, hard entry or particle of a batch, (L, ...)."""

UNKNOWN_SPIN = 9.0
"""What the hard column ``spin`` holds where the spin is not known, as SPINUP of Les Houches event files does."""


UNKNOWN = -1.0
"""The cross-section that POWHEG writes where it is not known."""


@dataclass(frozen=True)
class RunInfo:
    """The run information, which a file has once for all its events (the LHE init block), and the file's provenance.

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
        """Total cross-section and its error in pb; 0, 0 where the file has none, or one of its processes has none."""
        if any(p[0] == UNKNOWN for p in self.processes):
            return 0.0, 0.0
        total = sum(p[0] for p in self.processes)
        return total, float(np.sqrt(sum(max(p[1], 0.0) ** 2 for p in self.processes)))

    def no_events(self) -> HardEvents:
        """Return a batch without events, with as many weights as the run names, and with cells if the run has them."""
        return HardEvents.empty(max(1, len(self.weight_names)), with_cells="calorimeter" in self.provenance)


@dataclass(frozen=True, eq=False, repr=False)
class HardEvents(Ragged):
    """A batch of E hard-process events: K entries of hard records, and later M final particles and calorimeter cells.

    The hard records are ragged: entry k of event i is ``offsets[i] + k``. ``status`` follows LHE: -1
    incoming, 1 outgoing, 2 intermediate (a resonance whose decay is in the record). ``mothers`` (K, 2)
    are indices within the event (-1 for none, both the same for one mother). ``colours`` (K, 2) are LHE
    colour and anticolour tags. ``p4`` (K, 4) in GeV, ``mass`` (K,) as given by the file.

    ``particles`` has one set an event, with its history where that is known; ``origin`` (M,) is the index within the
    event of the hard entry each final particle comes from (-1: not known). ``cells`` are those of a calorimeter.
    ``tallies`` count, event by event (E,), what a Step reports (for example fallbacks); ``notes`` are their sums.

    What else a Step has to say goes into named columns (:meth:`with_columns`): ``event_columns`` (E, ...),
    ``hard_columns`` (K, ...) and ``particle_columns`` (M, ...). HDF5 and ROOT files keep them.

    >>> events = HardEvents.of_partons(Partons.from_pt_eta_phi([21, -2], [100.0, 50.0], [0.0, 1.0], [0.0, 2.0]))
    >>> events = events.with_columns(event={"jet_flavour": [21, 2]}).tally("soft", np.array([1]))
    >>> len(events), events[1:].pdg_id.tolist(), events[1:].event_columns["jet_flavour"].tolist(), events.notes
    (2, [-2], [2], {'soft': 1})
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
    event_columns: Columns = field(default_factory=dict)
    hard_columns: Columns = field(default_factory=dict)
    particle_columns: Columns = field(default_factory=dict)

    _item_columns: ClassVar[tuple[str, ...]] = ("pdg_id", "status", "mothers", "colours", "p4", "mass")
    _row_columns: ClassVar[tuple[str, ...]] = ("number", "weights", "process", "scale")
    _items: ClassVar[str] = "hard entries"

    @property
    def decayed_origin(self) -> Ints:
        """The index within the event of the hard entry that each decayed particle comes from, (D,): -1 if not known."""
        if self.particles is None or self.origin is None:
            return np.zeros(0, np.int64)
        return self.particles.of_decayed(self.origin)

    @property
    def notes(self) -> dict[str, int]:
        """The tallies summed over the batch, those above zero."""
        return {key: int(values.sum()) for key, values in self.tallies.items() if values.any()}

    def tally(self, key: str, events: NDArray[np.integer[Any]], amounts: Floats | None = None) -> HardEvents:
        """Return the batch with one more count of ``key`` for each event index listed (with repeats).

        ``amounts``, one for each index, are added instead of ones, and rounded to integers event by event.
        """
        counts = np.rint(np.bincount(events, amounts, minlength=len(self))).astype(np.int64)
        return replace(self, tallies={**self.tallies, key: self.tallies.get(key, 0) + counts})

    def with_columns(
        self,
        *,
        event: Mapping[str, ArrayLike] | None = None,
        hard: Mapping[str, ArrayLike] | None = None,
        particle: Mapping[str, ArrayLike] | None = None,
    ) -> HardEvents:
        """Return the batch with further named columns; one of the same name is replaced.

        Args:
            event: arrays (E, ...), one entry an event.
            hard: arrays (K, ...), one entry for each entry of the hard records.
            particle: arrays (M, ...), one entry a final particle.

        Raises:
            ValueError: if a column has another length, holds no numbers, or a name is no identifier.
        """
        num_particles = 0 if self.particles is None else len(self.particles.pdg_id)
        given = (
            ("event_columns", event, len(self)),
            ("hard_columns", hard, len(self.pdg_id)),
            ("particle_columns", particle, num_particles),
        )
        changed: dict[str, Any] = {
            kind: {**getattr(self, kind), **{name: _column(name, values, size) for name, values in columns.items()}}
            for kind, columns, size in given
            if columns
        }
        return replace(self, **changed)

    def with_particles(self, particles: ParticleSet, origin: Ints) -> HardEvents:
        """Return the batch with other final particles, without the columns of those before.

        Args:
            particles: one set an event.
            origin: for each particle the index within its event of the hard entry it comes from (M,), -1 if not known.
        """
        return replace(self, particles=particles, origin=origin, particle_columns={})

    def row(self, number: RowNumber) -> Row:
        """Return one event: entries and named columns as arrays, ``particles`` and ``cells`` of it, or None.

        Raises:
            IndexError: if there is no such event.
        """
        event: Row = super().row(number)
        k = row_number(number, len(self))
        event.particles = None if self.particles is None else self.particles[k]
        event.cells = None if self.cells is None else self.cells[k]
        one = self.batch(slice(k, k + 1))
        event.origin = one.origin
        event.event_columns = {name: values[0] for name, values in one.event_columns.items()}
        event.hard_columns, event.particle_columns = one.hard_columns, one.particle_columns
        return event

    def to_awkward(self) -> Any:
        """Return an awkward array of E records, one an event.

        Its fields are ``number``, ``weights``, ``process``, ``scale`` and the named columns of the events; ``hard``,
        the entries of the hard record with their named columns; and, where there are any, ``particles`` with
        ``origin`` and their named columns, and ``cells``. Entries and particles are records named Momentum4D with px,
        py, pz, E; where the package vector is installed, they know pt, eta, phi, mass, deltaR and the like. A column
        whose name is one of these gets an underscore: ``mass_`` is the mass that the file gives a hard entry.

        Raises:
            MissingLibrary: if awkward is not installed.
        """
        from fastsim.event.awkward_arrays import lists, records, side_by_side, with_fields

        fields = {name: getattr(self, name) for name in self._row_columns} | self.event_columns
        fields["hard"] = lists(self.offsets, with_fields(records(self, self._item_columns), self.hard_columns))
        if self.particles is not None:
            more = {} if self.origin is None else {"origin": self.origin}
            particles = with_fields(records(self.particles, ("pdg_id", "p4")), {**more, **self.particle_columns})
            fields["particles"] = lists(self.particles.offsets, particles)
        if self.cells is not None:
            fields["cells"] = self.cells.to_awkward()
        return side_by_side(fields)

    def __repr__(self) -> str:
        more = [] if self.particles is None else [f"{len(self.particles.pdg_id):,} particles"]
        more += [] if self.cells is None else [f"{len(self.cells.id):,} cells"]
        return f"<HardEvents: {', '.join([f'{len(self):,} events', f'{len(self.pdg_id):,} hard entries', *more])}>"

    def batch(self, rows: Any) -> HardEvents:
        """Return the batch of the events of a slice, a mask or an array of indices."""
        chosen = np.arange(len(self), dtype=np.int64)[rows]
        entries = ragged_items(self.offsets, chosen)
        origin = self.origin
        finals: Ints | slice = slice(0, 0)
        if self.particles is not None:
            finals = ragged_items(self.particles.offsets, chosen)
            origin = None if origin is None else origin[finals]
        return replace(
            super().batch(chosen),
            particles=None if self.particles is None else self.particles[chosen],
            origin=origin,
            cells=None if self.cells is None else self.cells[chosen],
            tallies={key: values[chosen] for key, values in self.tallies.items()},
            event_columns={key: values[chosen] for key, values in self.event_columns.items()},
            hard_columns={key: values[entries] for key, values in self.hard_columns.items()},
            particle_columns={key: values[finals] for key, values in self.particle_columns.items()},
        )

    def chunks(self, size: int) -> Iterator[HardEvents]:
        """Yield the batch in pieces of at most ``size`` events, in order."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    @staticmethod
    def empty(num_weights: int = 1, *, with_cells: bool = False) -> HardEvents:
        """Return a batch without events, with particles and, if asked, with cells."""
        none, pairs = np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
        return HardEvents(
            number=none,
            offsets=np.zeros(1, np.int64),
            pdg_id=none,
            status=none,
            mothers=pairs,
            colours=pairs,
            p4=np.zeros((0, 4)),
            mass=np.zeros(0),
            weights=np.zeros((0, num_weights)),
            process=none,
            scale=np.zeros(0),
            particles=ParticleSet.empty(),
            origin=none,
            cells=Cells.empty() if with_cells else None,
        )

    @staticmethod
    def of_particles(particles: ParticleSet, weights: Floats, number: Ints) -> HardEvents:
        """Return events of which only the final particles are known; ``weights`` (E, W), ``number`` (E,)."""
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
    def of_partons(
        partons: Partons,
        particles: ParticleSet | None = None,
        *,
        weights: Floats | None = None,
        first_number: int = 0,
    ) -> HardEvents:
        """Return one event for each parton, without incoming particles, as files of events hold the partons of a gun.

        Args:
            partons: N partons.
            particles: the N sets that came from them, if any.
            weights: shape (N,) or (N, W); ones by default.
            first_number: number of the first event.
        """
        size = len(partons)
        none: Ints = np.full((size, 2), -1, dtype=np.int64)
        return HardEvents(
            number=np.arange(first_number, first_number + size),
            offsets=np.arange(size + 1),
            pdg_id=partons.pdg_id,
            status=np.ones(size, dtype=np.int64),
            mothers=none,
            colours=np.zeros((size, 2), dtype=np.int64),
            p4=partons.p4,
            mass=kinematics.mass(partons.p4),
            weights=np.ones((size, 1)) if weights is None else np.asarray(weights, np.float64).reshape(size, -1),
            process=np.zeros(size, dtype=np.int64),
            scale=partons.starting_scale,
            particles=particles,
            origin=None if particles is None else np.zeros(len(particles.pdg_id), dtype=np.int64),
        )

    @classmethod
    def concatenate(cls, batches: Sequence[HardEvents]) -> HardEvents:
        """Return the events of at least one batch as one batch.

        Particles, cells and named columns are kept if all batches have them; a tally that a batch lacks is zero there.
        """
        keys = sorted({key for b in batches for key in b.tallies})
        zeros = [np.zeros(len(b), np.int64) for b in batches]
        sets = [b.particles for b in batches if b.particles is not None]
        origins = [b.origin for b in batches if b.origin is not None]
        cells = [b.cells for b in batches if b.cells is not None]
        columns: dict[str, Any] = {kind: _common([getattr(b, kind) for b in batches]) for kind in COLUMN_KINDS}
        return cls(
            particles=ParticleSet.concatenate(sets) if len(sets) == len(batches) else None,
            origin=np.concatenate(origins) if len(origins) == len(batches) else None,
            cells=Cells.concatenate(cells) if len(cells) == len(batches) else None,
            tallies={
                k: np.concatenate([b.tallies.get(k, z) for b, z in zip(batches, zeros, strict=True)]) for k in keys
            },
            **columns,
            **cls._joined(batches),
        )


COLUMN_KINDS = ("event_columns", "hard_columns", "particle_columns")
"""The fields of :class:`HardEvents` that hold named columns."""


def _column(name: str, values: ArrayLike, size: int) -> NDArray[Any]:
    """Return the values of a named column as an array.

    Raises:
        ValueError: if there are not ``size`` of them, they are no numbers, or the name is no identifier.
    """
    array = np.asarray(values)
    if not name.isidentifier():
        raise InvalidValue(f"column {name!r}: the name must be an identifier, such as jet_flavour")
    if array.dtype.kind not in "biuf":
        raise InvalidValue(f"column {name!r}: holds {array.dtype}, must be numbers")
    if array.ndim < 1 or len(array) != size:
        raise InvalidValue(f"column {name!r}: has shape {array.shape}, must have {size} entries")
    return array


def _common(columns: Sequence[Columns]) -> Columns:
    """Return the columns that all batches have, joined."""
    names = [name for name in columns[0] if all(name in batch for batch in columns)]
    return {name: np.concatenate([batch[name] for batch in columns]) for name in names}
