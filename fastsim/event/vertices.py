"""Where the entries of hard records were made: lifetimes give resonances a flight, and their products a vertex.

A Les Houches event has for each particle VTIMUP, the distance c tau in mm from its production to its decay in its rest
frame. In the frame of the event the particle flies (c t, x, y, z) = c tau p / m, with p as (E, px, py, pz).

References:
    Boos et al. 2001, hep-ph/0109068 (VTIMUP of the Les Houches accord).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastsim.event.arrays import Floats, Ints
from fastsim.event.hard import HardEvents
from fastsim.event.particle_sets import History

LIFETIME = "lifetime"
"""The hard column that holds the lifetimes of entries, c tau in mm; 0 for none."""
SHORTEST_LIFETIME = 1e-9
"""The shortest lifetime, c tau in mm, that is a flight. Pythia gives W, Z and H up to 1e-10 mm, of their widths."""
SAME_MOMENTUM = 1e-9
"""Relative difference up to which momenta are the same."""
_DECAY = (1, 2, -2)
"""Status codes of entries that fly; incoming ones do not."""


def lifetimes(events: HardEvents) -> Floats:
    """Return the lifetime of each entry, c tau in mm, (K,); 0 where none is known, or what is given is no flight."""
    given = events.hard_columns.get(LIFETIME)
    if given is None:
        return np.zeros(len(events.pdg_id))
    return np.where(np.isfinite(given) & (given > SHORTEST_LIFETIME), given, 0.0)


def decays_late(events: HardEvents) -> NDArray[np.bool_]:
    """Return which entries (K,) decay as particles: taus, muons and hadrons, and what has a lifetime; not resonances.

    A lepton that radiated photons goes on as itself and has not decayed.
    """
    from particle import PDGID

    unique, inverse = np.unique(events.pdg_id, return_inverse=True)
    late = np.array([abs(int(k)) in (13, 15) or PDGID(int(k)).is_hadron for k in unique], dtype=np.bool_)
    goes_on = np.zeros(len(events.pdg_id), dtype=np.bool_)
    inner, mother = _mothers(events)
    copies = (events.pdg_id[inner] == events.pdg_id[mother]) & np.isin(events.status[inner], _DECAY)
    goes_on[mother[copies]] = True
    result: NDArray[np.bool_] = (late[inverse.ravel()] & ~goes_on) | (lifetimes(events) > 0)
    return result


def of_late_decays(events: HardEvents) -> NDArray[np.bool_]:
    """Return which entries (K,) have decayed as particles (:func:`decays_late`), or come from those that have."""
    decayed = np.isin(events.status, (2, -2))
    if not decayed.any():  # events of partons alone do not wait for the table of species
        return decayed
    chosen = decays_late(events) & decayed
    inner, mother = _mothers(events)
    while True:  # a generation more each time
        further = chosen.copy()
        further[inner] |= chosen[mother]
        if np.array_equal(further, chosen):
            return chosen
        chosen = further


def followed(events: HardEvents) -> HardEvents:
    """Return the events whose entries that decay as particles have the momenta of the final particles that they became.

    A tau of a W recoils with it against the mass that a jet of the same top quark has, and its final particles already
    have. So have its intermediate products; partons have the momenta of the record.
    """
    particles, origin = events.particles, events.origin
    chosen = of_late_decays(events)
    if particles is None or origin is None or not chosen.any():
        return events
    total = np.zeros_like(events.p4)
    own = np.flatnonzero(origin >= 0)
    np.add.at(total, origin[own] + events.offsets[particles.index[own]], particles.p4[own])
    inner, mother = _mothers(events)
    below = total.copy()
    while below[inner].any():  # what comes from an entry passes to its mother, a generation each time
        above = np.zeros_like(total)
        np.add.at(above, mother, below[inner])
        total, below = total + above, above
    moved = np.abs(total - events.p4).max(axis=1) > SAME_MOMENTUM * events.p4[:, 0]
    moved &= chosen & (events.colours == 0).all(axis=1) & (total[:, 0] > 0)
    return replace(events, p4=np.where(moved[:, None], total, events.p4)) if moved.any() else events


def _mothers(events: HardEvents) -> tuple[Ints, Ints]:
    """Return the rows of the entries that have a mother, and the rows of these."""
    inner = np.flatnonzero(events.mothers[:, 0] >= 0)
    return inner, events.mothers[inner, 0] + events.offsets[events.index[inner]]


def production_vertices(events: HardEvents) -> Floats:
    """Return where each entry of the hard records was made, (ct, x, y, z) in mm from the primary vertex, (K, 4).

    >>> events = HardEvents.empty()
    >>> production_vertices(events).shape
    (0, 4)
    """
    tau = lifetimes(events)
    flies = np.isin(events.status, _DECAY) & (tau > 0) & (events.mass > 0)
    vertex = np.zeros((len(tau), 4))
    if not flies.any():
        return vertex
    flight = np.zeros((len(tau), 4))
    flight[flies] = (tau[flies] / events.mass[flies])[:, None] * events.p4[flies]
    inner, mother = _mothers(events)
    while True:  # a generation more each time
        further = vertex.copy()
        further[inner] = (vertex + flight)[mother]
        if np.array_equal(further, vertex):
            return vertex
        vertex = further


def displaced(events: HardEvents) -> HardEvents:
    """Return the events with their particles where the hard entries that these come from were made.

    The places of particles and of decayed ones, counted from those entries before, count from the primary vertex then;
    a set without a history gets one that has the places alone. Particles of unknown origin stay.
    """
    particles, origin = events.particles, events.origin
    vertex = production_vertices(events)
    if particles is None or origin is None or not vertex.any():
        return events
    history = particles.history or History.unknown(len(particles), len(particles.pdg_id))
    before = history.decayed
    above = replace(particles, history=history).of_decayed(origin)

    def start(index: Ints, entry: Ints) -> Floats:
        rows = np.maximum(entry, 0) + events.offsets[index]
        return np.where((entry >= 0)[:, None], vertex[rows], 0.0)

    moved = History(
        replace(before, vertex=before.vertex + start(before.index, above)),
        history.mother,
        history.vertex + start(particles.index, origin),
    )
    return replace(events, particles=replace(particles, history=moved))
