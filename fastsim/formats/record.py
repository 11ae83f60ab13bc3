"""The slim event record of a batch of events, as columns in HepMC order."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsim.event import (
    Floats,
    HardEvents,
    History,
    Ints,
    ParticleSet,
    RunInfo,
    kinematics,
    offsets_from_counts,
    species,
)
from fastsim.event.vertices import SAME_MOMENTUM, decays_late, production_vertices

REMNANT = 82
"""PDG id of a beam remnant: 81-100 are the numbers that the PDG scheme leaves to generators."""
ROOT, HARD_VERTEX, BEAM_A, BEAM_B = -1, -2, -3, -4
"""Origins that are no entry of the hard record; entries have their row, from 0."""
NUM_INITIAL = 3
"""Groups of particles before the hard vertex: beams, incoming partons, beam remnants."""


class _Group(NamedTuple):
    """N particles of one kind; all columns have shape (N,), but ``p4`` and ``vertex`` (N, 4).

    ``source``: the row of the hard entry that they come from, or ROOT, HARD_VERTEX, BEAM_A or BEAM_B. ``entry``: the
    row of the entry that they are themselves, or -1. ``key``: their order within an event. ``vertex``: where they were
    made, (ct, x, y, z) in mm.
    """

    event: Ints
    pdg_id: Ints
    p4: Floats
    mass: Floats
    status: Ints
    source: Ints
    entry: Ints
    key: Ints
    vertex: Floats


class Vertices(NamedTuple):
    """The vertices of V decays away from the primary vertex, in the order of their first daughters.

    ``row``: row of the first daughter. ``id``: negative number of the vertex in its event. ``mother``: number of the
    particle that decays. ``position``: (ct, x, y, z) in mm, shape (V, 4).
    """

    row: Ints
    id: Ints
    mother: Ints
    position: Floats


class Record:
    """The particles of a batch of events, event after event.

    Within an event: beams, incoming partons, beam remnants | hard vertex | the rest of the hard process (mothers
    first), decayed and final particles that the partons became, by origin, then generation by generation what these
    decay into. ``number`` counts from 1 in each event; ``parent`` is the number of the particle whose decay makes this
    one, 0 for none, negative for the hard vertex and for ``displaced`` vertices (as Asciiv3 has it). Event i is the
    rows ``start[i]:start[i+1]``, with its hard vertex before row ``middle[i]``: there end the ``num_to_hard`` particles
    after the ``num_beams`` beams, which are ``num_incoming`` partons and, where all of the collision begins there, what
    these leave of the beams.
    """

    def __init__(self, events: HardEvents, run: RunInfo) -> None:
        from fastsim.compiled import for_kernels
        from fastsim.formats.record_rows import number_vertices, put_particles

        size = len(events)
        self.num_incoming = np.bincount(events.index[events.status == -1], minlength=size)
        self.num_beams = np.where((self.num_incoming == 2) & (min(run.beam_energy) > 0), 2, 0)
        final = events.particles if events.particles is not None else ParticleSet.empty(size)
        history = final.history or History.unknown(size, len(final.pdg_id))
        hard, origin, others = self._hard(events, final, history)
        groups = [*self._initial(events, run), hard]
        remnants = np.bincount(groups[NUM_INITIAL - 1].event, minlength=size)
        self.num_to_hard = self.num_incoming + np.where(_is_whole(events), remnants, 0)
        # the particles of the groups come first, the decayed and the final ones follow
        kind = np.repeat(np.arange(len(groups)), [len(group.event) for group in groups])
        columns = (np.concatenate(column) for column in zip(*groups, strict=True))
        event, pdg_id, p4, mass, status, source, entry, key, vertex = columns
        before = history.decayed
        num_first = np.bincount(event, minlength=size)
        counts = num_first + before.counts + np.bincount(final.index[others], minlength=size)
        self.start = offsets_from_counts(counts)
        self.middle = self.start[:-1] + np.bincount(event[kind < NUM_INITIAL], minlength=size)
        self.event = np.repeat(np.arange(size), counts)
        self.number = np.arange(len(self.event)) - self.start[self.event] + 1
        order = np.lexsort((key, kind, event))
        event, entry, source = event[order], entry[order], source[order]
        first_number = np.arange(len(order)) - offsets_from_counts(num_first)[event] + 1
        rows = self.start[event] + first_number - 1
        number_of_entry = np.zeros(len(events.pdg_id) + 1, np.int64)
        number_of_entry[entry] = first_number  # the last place is for particles that are no entry
        special = np.stack([0 * event, -1 - self.num_beams[event], 0 * event + 1, 0 * event + 2])
        of_special = special[np.maximum(-1 - source, 0), np.arange(len(source))]
        num = len(self.event)
        self.pdg_id, self.status, self.parent = (
            np.empty(num, np.int64),
            np.empty(num, np.int64),
            np.empty(num, np.int64),
        )
        self.p4, self.mass, places = np.empty((num, 4)), np.empty(num), np.empty((num, 4))
        self.pdg_id[rows], self.p4[rows], self.status[rows] = pdg_id[order], p4[order], status[order]
        self.parent[rows], places[rows] = np.where(source >= 0, number_of_entry[source], of_special), vertex[order]
        most = max(int(counts.max(initial=0)), int(np.diff(events.offsets).max(initial=0)))
        arguments: list[Any] = [
            self.start,
            self.start[:-1] + num_first,
            number_of_entry,
            events.offsets,
            np.where(self.num_incoming > 0, -1 - self.num_beams, 0),
            species.PILE_UP,
            *map(for_kernels, (before.offsets, before.pdg_id, before.p4, before.mother, before.vertex)),
            final.of_decayed(origin),
            *map(for_kernels, (final.offsets, final.pdg_id, final.p4, history.mother, history.vertex)),
            origin,
            others,
            np.empty((5, most + 3), np.int64),
            self.pdg_id,
            self.p4,
            self.status,
            self.parent,
            places,
        ]
        put_particles(*arguments)
        self.mass = final_masses(self.pdg_id, self.p4)
        self.mass[rows] = mass[order]
        decays, row, identity, mother = (np.empty(n, np.int64) for n in (size, num, num, num))
        far = number_vertices(
            self.start, self.parent, places, np.empty(most + 8, np.int64), decays, row, identity, mother
        )
        self.num_vertices = decays + (self.num_incoming > 0)
        self.displaced = Vertices(row[:far], identity[:far], mother[:far], places[row[:far]])

    def _initial(self, events: HardEvents, run: RunInfo) -> tuple[_Group, _Group, _Group]:
        """Return the beams (status 4), the incoming partons (21), and what remains of the beams (63)."""
        beams, beam_masses = _beams(run)
        event = np.repeat(np.flatnonzero(self.num_beams), 2)
        side = np.tile([0, 1], len(event) // 2)
        none = np.full(len(event), -1)
        ids = np.array(run.beam_pdg_id)[side]
        first = _Group(event, ids, beams[side], beam_masses[side], 0 * event + 4, none, none, side, _at_primary(event))

        rows = np.flatnonzero(events.status == -1)
        event, ids, p4 = events.index[rows], events.pdg_id[rows], events.p4[rows]
        collides = self.num_beams[event] > 0
        # the order in the file gives the beam, unless the directions say otherwise
        pz = p4[collides, 3].reshape(-1, 2)
        swapped = pz[:, 0] < pz[:, 1]
        side = np.stack([swapped, ~swapped], axis=1).astype(np.int64).ravel()
        source = np.full(len(rows), ROOT)
        source[collides] = BEAM_A - side
        masses = final_masses(ids, p4)
        incoming = _Group(event, ids, p4, masses, 0 * rows + 21, source, rows, 0 * rows, _at_primary(rows))

        rest = beams[side] - p4[collides]
        some = np.abs(rest).max(axis=1) > 1e-6 * beams[side, 0]
        rest, event = rest[some], event[collides][some]
        remnants = _Group(
            event,
            0 * event + REMNANT,
            rest,
            kinematics.mass(rest),
            0 * event + 63,
            source[collides][some],
            0 * event - 1,
            0 * event,
            _at_primary(event),
        )
        return first, incoming, remnants

    def _hard(self, events: HardEvents, final: ParticleSet, history: History) -> tuple[_Group, Ints, NDArray[np.bool_]]:
        """Return the outgoing and intermediate entries of the hard record, and what the final particles are to them.

        An outgoing entry has status 23, a resonance 22, another decayed particle and one with a lifetime 2, and an
        entry after which nothing comes 1, as final particles have. A lepton that radiated photons goes on as itself,
        and has status 22: a tau or muon has decayed once, and is found once by its status 2.

        Args:
            events: the events.
            final: their M final particles.
            history: that of these.

        Returns:
            The entries; the index, within its event, of the written entry that each final particle comes from, -1 for
            none, (M,); which final particles are none of the entries, (M,).
        """
        index = events.index
        written = np.isin(events.status, (1, 2, -2))
        top = np.where(self.num_incoming > 0, HARD_VERTEX, ROOT)
        mother = np.where(events.mothers[:, 0] >= 0, events.mothers[:, 0] + events.offsets[index], 0)
        inner = (events.mothers[:, 0] >= 0) & written[mother]
        mother = np.where(inner, mother, top[index])
        ends = np.ones(len(index), dtype=bool)
        ends[mother[written & inner]] = False

        origin = events.origin if events.origin is not None else np.full(len(final.pdg_id), -1)
        owned = np.flatnonzero(origin >= 0)
        source = origin[owned] + events.offsets[final.index[owned]]
        owned, source = owned[written[source]], source[written[source]]
        # a hard particle that is itself final is written once
        num_finals = np.bincount(source, minlength=len(index))
        same = (num_finals[source] == 1) & ends[source] & (events.pdg_id[source] == final.pdg_id[owned])
        change = np.abs(events.p4[source] - final.p4[owned]).max(axis=1, initial=0.0)
        same &= (change <= SAME_MOMENTUM * final.p4[owned, 0]) & (history.mother[owned] < 0)
        p4 = events.p4.copy()
        p4[source[same]] = final.p4[owned[same]]
        is_final = np.zeros(len(index), dtype=bool)
        is_final[source[same]] = True

        decayed = np.where(decays_late(events), 2, 22)
        status = np.where(events.status == 1, 23, decayed)
        status[is_final | ((events.particles is None) & ends & (events.status == 1))] = 1
        rows = np.flatnonzero(written)
        hard = _Group(
            index[rows],
            events.pdg_id[rows],
            p4[rows],
            final_masses(events.pdg_id[rows], p4[rows]),
            status[rows],
            mother[rows],
            rows,
            _depths(mother, written & inner)[rows],
            production_vertices(events)[rows],
        )
        known = np.full(len(origin), -1)
        known[owned] = origin[owned]
        others = np.ones(len(origin), dtype=bool)
        others[owned[same]] = False
        return hard, known, others


def _is_whole(events: HardEvents) -> NDArray[np.bool_]:
    """Return which events (E,) have particles of the collision itself that come from none of its hard entries."""
    final = events.particles
    if final is None or events.origin is None:
        return np.zeros(len(events), dtype=bool)
    primary = np.ones(len(final.pdg_id), dtype=bool) if final.history is None else final.history.mother < 0
    return np.asarray(np.bincount(final.index[primary & (events.origin < 0)], minlength=len(events)) > 0)


def _at_primary(rows: Ints) -> Floats:
    """Return where N particles at the primary vertex were made, zeros (N, 4)."""
    return np.zeros((len(rows), 4))


def _depths(mother: Ints, inner: NDArray[np.bool_]) -> Ints:
    """Count the generations between each entry and the hard vertex, so that sorting by them puts mothers first."""
    depth: Ints = np.zeros(len(mother), np.int64)
    while True:
        deeper: Ints = np.where(inner, depth[np.maximum(mother, 0)] + 1, 0)
        if (deeper == depth).all():
            return depth
        depth = deeper


def _beams(run: RunInfo) -> tuple[Floats, Floats]:
    """Return four-momenta (2, 4) and masses (2,), in GeV, of the beams along +z and -z."""
    masses = np.zeros(2)
    p4 = np.zeros((2, 4))
    for k in range(2):
        try:
            masses[k] = species.mass(run.beam_pdg_id[k])
        except KeyError:
            masses[k] = 0.0
        energy = run.beam_energy[k]
        p4[k] = energy, 0.0, 0.0, (1 - 2 * k) * np.sqrt(max(energy**2 - masses[k] ** 2, 0.0))
    return p4, masses


def final_masses(pdg_id: Ints, p4: Floats) -> Floats:
    """Return the masses to write with momenta: that of the species if the momentum has it, else the momentum's own.

    Args:
        pdg_id: species, shape (M,).
        p4: four-momenta in GeV, shape (M, 4).

    Returns:
        Masses in GeV, shape (M,).
    """
    from fastsim.compiled import for_kernels
    from fastsim.formats.record_rows import put_masses

    table = np.full(max(species.MASSES) + 1, -1.0)
    table[list(species.MASSES)] = list(species.MASSES.values())
    mass = np.empty(len(pdg_id))
    put_masses(for_kernels(pdg_id), for_kernels(p4), table, mass)
    return mass
