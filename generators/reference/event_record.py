"""What an event of Pythia holds from the primary hadrons on: its final particles, and those that decayed into them.

Pythia 8 numbers what hadronisation makes 81 to 89 and what decays make 91 to 99, with a minus sign once it decayed
itself. So the decayed particles are those of these numbers, and what has products of 91 to 99: a tau of the hard
process too. Partons that a hadron decays into (J/psi -> g g g) are passed over: its hadrons are its daughters. A
resonance of the hard process is a decayed particle where it has a lifetime, as a heavy neutral lepton has: the last of
its copies, of which Pythia makes one for each recoil.

References:
    Bierlich et al., A comprehensive guide to the physics and usage of PYTHIA 8.3, 2022, arXiv:2203.11601.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Decayed, Floats, History, Ints, ParticleSet, offsets_from_counts

HADRONS, PRODUCTS, LAST = 81, 91, 99
"""First status of hadrons from partons, first one of decay products, and the last one of those."""


@dataclass(frozen=True)
class EventRecord:
    """The final and the decayed particles of one event, R in all, mothers before daughters.

    Attributes:
        pdg_id: PDG ids, (R,).
        p4: four-momenta (E, px, py, pz) in GeV, (R, 4).
        final: whether they are final, (R,); else they decayed.
        mother: row of the particle that decayed into them; -1 for those that the partons became, (R,).
        vertex: where they were made, (ct, x, y, z) in mm, (R, 4).
    """

    pdg_id: Ints
    p4: Floats
    final: NDArray[np.bool_]
    mother: Ints
    vertex: Floats

    @cached_property
    def ancestor(self) -> Ints:
        """The row of the particle that the partons became and that each one comes from, itself for those, (R,)."""
        ancestor: Ints = np.where(self.mother >= 0, self.mother, np.arange(len(self.mother)))
        while ((further := ancestor[ancestor]) != ancestor).any():
            ancestor = further
        return ancestor

    def __getitem__(self, rows: NDArray[np.bool_]) -> EventRecord:
        """Return the particles of a mask (R,) that has with each particle its mother."""
        place = np.cumsum(rows) - 1
        mother = self.mother[rows]
        return EventRecord(
            self.pdg_id[rows],
            self.p4[rows],
            self.final[rows],
            np.where(mother >= 0, place[mother], -1),
            self.vertex[rows],
        )


def read_record(event: Any, first: int = 1, *, history: bool = True, flights: bool = False) -> EventRecord:
    """Read the final particles of an event of Pythia, and the particles that decayed into them.

    Every call of a method of Pythia's particles costs 0.2 us, as much as most of what numpy does here: so partons are
    asked for their status alone, and only what has a vertex of its own for its place.

    Args:
        event: ``pythia.event``.
        first: index of the first particle that counts; those before it are nobody's mother.
        history: read the decayed particles and the vertices too; else there are final particles without mothers, at
            the primary vertex.
        flights: with the history, look for resonances with lifetimes too, among all entries of the event.
    """
    from pythia8mc import Particle

    particles = list(map(event.__getitem__, range(first, event.size())))
    size = len(particles)
    status = np.fromiter(map(Particle.status, particles), np.int64, size)
    decayed, mother = np.zeros(size, np.bool_), np.full(size, -1)
    if history:
        kind = np.abs(status)
        hadrons = np.flatnonzero((kind >= HADRONS) & (kind <= LAST))
        decayed[hadrons] = status[hadrons] < 0
        start = int(hadrons[0]) if len(hadrons) else size  # before it, nothing comes from a decay
        flying = _flying(particles, status) if flights else hadrons[:0]
        decayed[flying] = True
        start = min([start, *flying.tolist()])
        mother[start:] = np.fromiter(map(Particle.mother1, particles[start:]), np.int64, size - start) - first
        above = mother[(kind >= PRODUCTS) & (kind <= LAST)]
        decayed[above[above >= 0]] = True
    rows = np.flatnonzero(decayed | (status > 0))
    pdg_id = np.array([particles[row].id() for row in rows.tolist()], dtype=np.int64)
    partons = decayed[rows] & _is_parton(pdg_id)
    decayed[rows[partons]] = False
    rows, pdg_id = rows[~partons], pdg_id[~partons]
    chosen = [particles[row] for row in rows.tolist()]
    p4 = np.empty((len(chosen), 4))
    for k, component in enumerate((Particle.e, Particle.px, Particle.py, Particle.pz)):
        p4[:, k] = np.fromiter(map(component, chosen), np.float64, len(chosen))
    vertex = _vertices(chosen) if history else np.zeros((len(chosen), 4))
    return EventRecord(pdg_id, p4, status[rows] > 0, _mothers(mother, decayed, rows), vertex)


def _flying(particles: Sequence[Any], status: Ints) -> Ints:
    """Return the places of the resonances of an event that flew before they decayed, without those that copies follow.

    Args:
        particles: all particles of an event of Pythia, (N,).
        status: their status codes, (N,).
    """
    from pythia8mc import Particle

    rows = np.flatnonzero((status < 0) & (status > -HADRONS))
    rows = rows[[particles[row].tau() > 0 for row in rows.tolist()]]
    pdg_id = np.array([particles[row].id() for row in rows.tolist()], dtype=np.int64)
    rows = rows[~_is_parton(pdg_id)]
    chosen = [particles[row] for row in rows.tolist()]
    first, last = (np.array(list(map(end, chosen)), dtype=np.int64) for end in (Particle.daughter1, Particle.daughter2))
    copied: NDArray[np.bool_] = (first == last) & (first > 0)
    return rows[~copied]


def _is_parton(pdg_id: Ints) -> NDArray[np.bool_]:
    """Return which PDG ids (N,) are of quarks, gluons or diquarks."""
    size = np.abs(pdg_id)
    diquark = (size > 1000) & (size < 10_000) & (size // 10 % 10 == 0)
    coloured: NDArray[np.bool_] = (size <= 8) | (size == 21) | diquark
    return coloured


def _mothers(mother: Ints, decayed: NDArray[np.bool_], rows: Ints) -> Ints:
    """Return the nearest of the decayed particles above each of some particles.

    Args:
        mother: first mother of all particles (N,), negative for none.
        decayed: which of them are decayed particles (N,).
        rows: the particles asked for, with all decayed ones among them, (R,).

    Returns:
        Place in ``rows`` of the mother, -1 for none, (R,).
    """
    first = int(np.argmax(decayed)) if decayed.any() else len(decayed)
    above = mother[rows]
    while (passed := (above >= first) & ~decayed[np.maximum(above, 0)]).any():
        above = np.where(passed, mother[above], above)
    return np.where(above >= first, np.searchsorted(rows, above), -1)


def _vertices(particles: Sequence[Any]) -> Floats:
    """Return where particles of Pythia were made, (ct, x, y, z) in mm, (N, 4)."""
    from pythia8mc import Particle

    vertex = np.zeros((len(particles), 4))
    rows = np.flatnonzero(np.fromiter(map(Particle.hasVertex, particles), np.bool_, len(particles)))
    displaced = [particles[row] for row in rows.tolist()]
    for k, component in enumerate((Particle.tProd, Particle.xProd, Particle.yProd, Particle.zProd)):
        vertex[rows, k] = np.fromiter(map(component, displaced), np.float64, len(displaced))
    return vertex


def particle_sets(records: Sequence[EventRecord]) -> ParticleSet:
    """Return the final particles of N events, one set an event, with their history."""
    if not records:
        return ParticleSet.empty()
    names = ("pdg_id", "p4", "final", "mother", "vertex")
    pdg_id, p4, final, mother, vertex = (np.concatenate([getattr(r, name) for r in records]) for name in names)
    sizes = np.array([len(record.pdg_id) for record in records])
    event, start = np.repeat(np.arange(len(records)), sizes), offsets_from_counts(sizes)
    num_finals = np.bincount(event[final], minlength=len(records))
    before = offsets_from_counts(sizes - num_finals)
    place = np.cumsum(~final) - 1 - before[event]  # of a decayed particle among those of its event
    mother = np.where(mother >= 0, place[mother + start[event]], -1)
    decayed = Decayed(before, pdg_id[~final], p4[~final], mother[~final], vertex[~final])
    history = History(decayed, mother[final], vertex[final])
    return ParticleSet(offsets_from_counts(num_finals), pdg_id[final], p4[final], history)


def read_batch(batch: Any, *, history: bool = True, flights: NDArray[np.bool_] | None = None) -> ParticleSet:
    """Read the events of a batch of Pythia as :func:`read_record` and :func:`particle_sets` do, at a tenth of the time.

    Args:
        batch: what ``pythia.nextBatch`` returns, without its events that failed.
        history: read the decayed particles and the vertices too.
        flights: of which events resonances with lifetimes are looked for too, (N,); by default of none.

    Returns:
        One set of final particles for each event.
    """
    import awkward as ak

    table = batch.prt
    size = np.asarray(ak.num(table), dtype=np.int64)
    start = offsets_from_counts(size)
    event = np.repeat(np.arange(len(size)), size)
    column = {name: np.asarray(ak.flatten(table[name]), dtype=np.int64) for name in ("id", "status", "mother1")}
    pdg_id, status = column["id"], column["status"]
    momenta = ak.flatten(table.p)
    p4 = np.stack([np.asarray(momenta[name]) for name in ("e", "px", "py", "pz")], axis=-1)
    final = status > 0
    num_finals = np.bincount(event[final], minlength=len(size))
    sets = ParticleSet(offsets_from_counts(num_finals), pdg_id[final], p4[final])
    if not history:
        return sets
    mother = np.where(column["mother1"] > 0, column["mother1"] + start[event], -1)
    kind = np.abs(status)
    product = (kind >= PRODUCTS) & (kind <= LAST)
    decayed = (kind >= HADRONS) & (kind <= LAST) & (status < 0)
    above = mother[product]
    decayed[above[above >= 0]] = True
    if flights is not None and flights.any():
        tau = np.asarray(ak.flatten(table.tau))
        first, last = (np.asarray(ak.flatten(table[name])) for name in ("daughter1", "daughter2"))
        copied = (first == last) & (first > 0)  # by a recoil: the last copy counts
        decayed |= flights[event] & (status < 0) & (kind < HADRONS) & (tau > 0) & ~copied
    decayed &= ~_is_parton(pdg_id)
    rows = np.flatnonzero(decayed)
    # before the first particle that decayed, nothing comes from a decay: the walk upwards ends there
    first = np.append(rows, len(decayed))[np.searchsorted(rows, start[:-1])]
    while (passed := (mother >= first[event]) & ~decayed[np.maximum(mother, 0)] & (decayed | final)).any():
        mother = np.where(passed, mother[mother], mother)
    place = np.cumsum(decayed) - 1
    offsets = offsets_from_counts(np.bincount(event[rows], minlength=len(size)))
    mother = np.where(mother >= first[event], place[np.maximum(mother, 0)] - offsets[event], -1)
    places = ak.flatten(table.vProd)
    vertex = np.stack([np.asarray(ak.fill_none(places[name], 0.0)) for name in ("e", "px", "py", "pz")], axis=-1)
    before = Decayed(offsets, pdg_id[rows], p4[rows], mother[rows], vertex[rows])
    return ParticleSet(sets.offsets, sets.pdg_id, sets.p4, History(before, mother[final], vertex[final]))
