"""The Step that adds pile-up: a Poisson number of minimum-bias collisions to each event, each at a place of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fastsim.event import Decayed, Floats, HardEvents, History, Ints, ParticleSet, offsets_from_counts
from fastsim.event.species import PILE_UP
from generators.pileup.library import CollisionLibrary
from generators.rests.rests import turned

COLLISION = "collision"
"""The column of the final particles that says which collision they are from: 0 the event's own, 1 and up pile-up."""
COLLISIONS, REPEATED = "pileup_collisions", "events_with_repeated_pileup"
"""The tally of the collisions that were added, and of events that have more of them than the library."""
ACROSS = 0.01
"""Spread of the collisions across the beams in mm."""


@dataclass(frozen=True)
class AddPileUp:
    """The Step that adds minimum-bias collisions to events.

    Collisions are turned about the beam at random, and mirrored as one proton is as good as the other. They are spread
    normally along the beams and in time, alike as those of two short bunches are, and the event's own collision is one
    of them: places count from it.

    In the history each of them is a decayed pseudoparticle (PDG id :data:`fastsim.event.species.PILE_UP`), with the sum
    of its momenta, that all its particles come from; the column ``collision`` of the final particles numbers them.

    Attributes:
        mean: mean number of collisions that are added to an event.
        library: stored collisions.
        spread: standard deviation of the places along the beam, and of the times, in mm.
    """

    mean: float
    library: CollisionLibrary
    spread: float

    name = "add-pileup"
    requires = frozenset({"hadrons"})
    provides = frozenset({"hadrons"})

    def step(self, events: HardEvents, *, rng: np.random.Generator) -> HardEvents:
        """Return the events with further collisions."""
        assert events.particles is not None and events.origin is not None
        counts = rng.poisson(self.mean, len(events))
        rows = self.library.choose(counts, rng)
        num = len(rows)
        sets = turned(
            self.library.particles, rows, rng.uniform(0.0, 2 * np.pi, num), rng.integers(0, 2, num).astype(bool)
        )
        event = np.repeat(np.arange(len(events)), counts)
        width = np.array([self.spread, ACROSS, ACROSS, self.spread])
        places = (rng.normal(size=(num, 4)) - rng.normal(size=(len(events), 4))[event]) * width
        added = _joined(_marked(sets, places), counts)
        whole = ParticleSet.overlaid([events.particles, added])
        place = np.arange(len(whole.pdg_id)) - whole.offsets[whole.index]
        own = place < events.particles.counts[whole.index]
        origin, collision = np.full(len(own), -1), np.zeros(len(own), np.int64)
        origin[own] = events.origin
        first = offsets_from_counts(counts)
        collision[~own] = np.repeat(np.arange(num) - first[event] + 1, sets.counts)
        events = events.tally(COLLISIONS, event).tally(REPEATED, np.flatnonzero(counts > len(self.library)))
        return events.with_particles(whole, origin).with_columns(particle={COLLISION: collision})


def _marked(sets: ParticleSet, places: Floats) -> ParticleSet:
    """Return N collisions moved to places (N, 4), (ct, x, y, z) in mm, each as what a pseudoparticle decayed into."""
    num = len(sets)
    pseudo = Decayed(np.arange(num + 1), np.full(num, PILE_UP), sets.sums(), np.full(num, -1), places)
    none = replace(ParticleSet.empty(num), history=History(pseudo, np.zeros(0, np.int64), np.zeros((0, 4))))
    marked = ParticleSet.overlaid([none, sets])
    history = marked.history
    assert history is not None
    before = history.decayed
    others = np.ones(len(before.pdg_id), dtype=bool)
    others[before.offsets[:-1]] = False
    vertex = before.vertex.copy()
    vertex[others] += places[before.index[others]]
    decayed = replace(before, mother=np.where(others, np.maximum(before.mother, 0), -1), vertex=vertex)
    final = History(decayed, np.maximum(history.mother, 0), history.vertex + places[marked.index])
    return replace(marked, history=final)


def _joined(sets: ParticleSet, counts: Ints) -> ParticleSet:
    """Return one set for each event of the ``counts[i]`` sets that it has, which follow one another."""
    history = sets.history
    assert history is not None
    before, cuts = history.decayed, offsets_from_counts(counts)
    event = np.repeat(np.arange(len(counts)), counts)
    offsets = before.offsets[cuts]
    shift = before.offsets[:-1] - offsets[event]  # of a set's decayed particles within the event
    above = np.where(before.mother < 0, -1, before.mother + shift[before.index])
    decayed = Decayed(offsets, before.pdg_id, before.p4, above, before.vertex)
    mother = np.where(history.mother < 0, -1, history.mother + shift[sets.index])
    return ParticleSet(sets.offsets[cuts], sets.pdg_id, sets.p4, History(decayed, mother, history.vertex))
