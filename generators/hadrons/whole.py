"""The colour singlets of events that hadronise as a whole: two partons by the model, more of them by the reference.

A singlet is drawn as a whole if it is closed (no chain to the beams), a string or a loop of gluons, of light partons,
and all of one hard system: then its four-momentum stays what it is, and so do charge and the number of quarks of each
flavour. It is one member of its system (:class:`fastsim.event.reconstruction.HardSystems`). Others, such as the quarks
of two tops that are joined with each other, stay hemispheres.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import InvalidEvent, LightSinglet
from fastsim.event import Floats, HardEvents, Ints, ParticleSet
from fastsim.event.kinematics import boost_from, boost_to, rotate_between
from fastsim.event.reconstruction import HardSystems, is_parton
from fastsim.event.singlets import Kind, Singlets, find_singlets
from fastsim.sources.hadrons import ColourChains, HadronSource, PartonPairs
from generators.hadrons.primary import PrimarySource

Bools = NDArray[np.bool_]
_BEAM = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class WholeSinglets:
    """The S singlets of a batch of events that are drawn as a whole.

    Attributes:
        events: the batch.
        singlets: the singlets, in the order of their first rows.
        rest: momenta of their partons in their rest frames, in GeV, (M, 4).
        scale: where their showers start, in GeV, (S,); infinite where the kinematic limit decides.
        by_source: which of them the source draws, (S,); the reference draws the others.
    """

    events: HardEvents
    singlets: Singlets
    rest: Floats
    scale: Floats
    by_source: Bools

    def __len__(self) -> int:
        return len(self.singlets)

    @property
    def first(self) -> Ints:
        """Row of the entry that stands for each singlet in its system, (S,)."""
        if len(self) == 0:
            return np.zeros(0, dtype=np.int64)
        first: Ints = np.minimum.reduceat(self.singlets.partons, self.singlets.offsets[:-1])
        return first

    @property
    def leader(self) -> Ints:
        """Row of the entry that stands for each entry of the events, (K,)."""
        leader = np.arange(len(self.events.pdg_id))
        leader[self.singlets.partons] = np.repeat(self.first, self.singlets.counts)
        return leader

    def rows(self, chosen: Bools) -> Ints:
        """Return the rows of the partons of some singlets (S,)."""
        rows: Ints = self.singlets.partons[chosen[self.singlets.index]]
        return rows

    @classmethod
    def of(cls, events: HardEvents, source: HadronSource, reference: HadronSource) -> WholeSinglets:
        """Find the singlets that the source or the reference draws as a whole.

        Args:
            events: the events, whose partons all have colour tags.
            source: draws pairs within its domain, or chains.
            reference: draws chains.

        Raises:
            InvalidEvent: if the colour tags of an event close no singlet.
        """
        found = find_singlets(events)
        systems = HardSystems.of(events)
        start, rows = found.offsets[:-1], found.partons
        if len(found):
            system = systems.system[rows]
            one = np.minimum.reduceat(system, start) == np.maximum.reduceat(system, start)
            light = np.logical_and.reduceat(is_parton(events.pdg_id[rows]), start)
            closed = found.closed & (found.kind != Kind.JUNCTION) & (found.counts > 1)
            found = found[closed & one & light & ~systems.lightlike[system[start]] & (found.mass > 0)]
        rows = found.partons
        # by way of the system, as the hadrons go back: the product of two boosts also turns
        inside = systems.rest[rows]
        frame = np.add.reduceat(inside, found.offsets[:-1]) if len(found) else np.zeros((0, 4))
        rest = boost_from(inside, frame[found.index])
        system = systems.system[rows[found.offsets[:-1]]]
        scale = events.scale[found.event]
        scale = np.where((systems.parent[system] < 0) & (scale > 0), scale, np.inf)
        whole = cls(events, found, rest, scale, np.ones(len(found), dtype=bool))
        by_source = np.zeros(len(found), dtype=bool) | source.has_chains
        if source.has_pairs:
            two = np.flatnonzero(found.counts == 2)
            by_source[two] |= source.takes(whole.pairs(two))
        kept = by_source | reference.has_chains
        return cls(events, found[kept], rest[kept[found.index]], scale[kept], by_source[kept])

    def pairs(self, chosen: Ints) -> PartonPairs:
        """Return some singlets (N,) of two partons as pairs."""
        two = self.singlets[chosen]
        return PartonPairs(self.events.pdg_id[two.partons].reshape(-1, 2), two.mass, self.scale[chosen])

    def low(self, tolerance: float) -> Bools:
        """Return which singlets (S,) are pairs whose showers start below the momentum of their partons.

        Args:
            tolerance: relative distance below it within which a shower starts at it.
        """
        two = np.flatnonzero(self.singlets.counts == 2)
        pairs = self.pairs(two)
        result = np.zeros(len(self), dtype=bool)
        result[two] = pairs.starting_scale < pairs.momenta * (1 - tolerance)
        return result

    def draw(
        self, source: HadronSource, reference: HadronSource, rng: np.random.Generator, carriers: Ints | None = None
    ) -> tuple[ParticleSet, Ints]:
        """Draw the hadrons of all singlets, in their rest frames.

        Args:
            source: draws pairs within its domain, or chains.
            reference: draws other chains.
            rng: all randomness.
            carriers: takes the PDG ids of the carriers of the quarks of pairs, for each row of the events, (K,); see
                :meth:`~generators.hadrons.primary.PrimarySource.draw_pairs_with_carriers`.

        Returns:
            One set for each singlet, and the row of the parton that each hadron flies with.

        Raises:
            InvalidEvent: if a singlet is too light for hadrons of its flavours.
        """
        pair = self.by_source & (self.singlets.counts == 2) & ~np.array(source.has_chains)
        parts: list[ParticleSet] = []
        place: list[Ints] = []
        for mask, who, draw in (
            (pair, source, partial(self._pairs, carriers=carriers)),
            (self.by_source & ~pair, source, self._chains),
            (~self.by_source, reference, self._chains),
        ):
            if mask.any():
                place.append(np.flatnonzero(mask))
                parts.append(draw(who, place[-1], rng))
        sets = ParticleSet.concatenate(parts)[np.argsort(np.concatenate(place))]
        return sets, self._owners(sets)

    def _pairs(
        self, source: HadronSource, chosen: Ints, rng: np.random.Generator, carriers: Ints | None
    ) -> ParticleSet:
        """Draw pairs, and turn them from the z axis to where their partons fly."""
        if carriers is None:
            hadrons = source.draw_pairs(self.pairs(chosen), rng)
        else:
            assert isinstance(source, PrimarySource)
            hadrons, ids = source.draw_pairs_with_carriers(self.pairs(chosen), rng)
            carriers[self.singlets[chosen].partons] = ids.reshape(-1)
        along = self.rest[self.singlets.offsets[chosen], 1:]
        end = (along / np.linalg.norm(along, axis=1, keepdims=True))[hadrons.index]
        turned = rotate_between(hadrons.p4[:, 1:], np.broadcast_to(_BEAM, end.shape), end)
        return ParticleSet(hadrons.offsets, hadrons.pdg_id, np.concatenate([hadrons.p4[:, :1], turned], axis=1))

    def _chains(self, source: HadronSource, chosen: Ints, rng: np.random.Generator) -> ParticleSet:
        some = self.singlets[chosen]
        flat = np.isin(self.singlets.index, chosen)
        scale = np.minimum(self.scale[chosen], some.mass)
        chains = ColourChains(some.offsets, self.events.pdg_id[some.partons], self.rest[flat], scale)
        try:
            return source.draw_chains(chains, rng)
        except LightSinglet as error:
            number = self.events.number[some.event[error.row]]
            raise InvalidEvent(f"event {number}: {error}") from None

    def _owners(self, sets: ParticleSet) -> Ints:
        """Return the row of the parton nearest in angle to each hadron, in the rest frames of the singlets."""
        index, best = sets.index, np.full(len(sets.pdg_id), -np.inf)
        owner = np.zeros(len(best), dtype=np.int64)
        offsets, counts = self.singlets.offsets, self.singlets.counts
        unit = self.rest[:, 1:] / np.maximum(np.linalg.norm(self.rest[:, 1:], axis=1, keepdims=True), 1e-300)
        for k in range(int(counts.max(initial=0))):
            has = np.flatnonzero(counts[index] > k)
            place = offsets[index[has]] + k
            along = np.sum(unit[place] * sets.p4[has, 1:], axis=1)
            nearer = along > best[has]
            best[has[nearer]] = along[nearer]
            owner[has[nearer]] = self.singlets.partons[place[nearer]]
        return owner

    def moved(self, sets: ParticleSet, systems: HardSystems) -> ParticleSet:
        """Return the hadrons in the rest frames of the systems that the singlets are members of."""
        frame = systems.rest[self.first][sets.index]
        return ParticleSet(sets.offsets, sets.pdg_id, boost_to(sets.p4, frame))
