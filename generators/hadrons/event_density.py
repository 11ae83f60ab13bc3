"""The density that a model of tunes gives to the hadrons of whole events, at any tune.

What a model draws are hemispheres of partons and singlets of two partons, each independent of the others given the hard
process. So log p(event | tune) is the sum over what the model drew in it; hadrons that Pythia made in its stead do not
depend on the tune of the model, and do not count.

Events hold hadrons after reconstruction (:mod:`fastsim.event.reconstruction`), which keeps masses of jets but not
their total momenta. Files of models of tunes hold these in the columns ``drawn_e`` to ``drawn_pz``, and so the hadrons
can be moved back to where they were drawn. Sets of a gun, and singlets that are alone in their system, stay where they
were drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsim.errors import FastsimError, InvalidEvent
from fastsim.event import Floats, HardEvents, Ints, ParticleSet, Partons, offsets_from_counts
from fastsim.event.kinematics import boost_from, rotate_between
from fastsim.event.reconstruction import HardSystems
from fastsim.event.singlets import assign_colours
from generators.hadrons.likelihood import (
    primary_with_origin,
    tokens_of_pairs,
    tokens_of_sets,
    with_carriers,
)
from generators.hadrons.step import CARRIER, DRAWN, FROM_SOURCE, HADRONS_FROM
from generators.hadrons.tokens import CONJUGATE, IDS, TokenSample, species_index
from generators.hadrons.tree.density import TreeDensity
from generators.hadrons.tree.model import PrimaryTree
from generators.hadrons.whole import WholeSinglets
from generators.reference.pythia import PythiaGun

_AXIS = np.array([0.0, 0.0, 1.0])
_MOVED = 1e-6
"""Relative change of the four-momentum of a singlet beyond which it is not where it was drawn."""


@dataclass(frozen=True)
class EventDensity:
    """log p(hadrons of E events | partons, tune), as a function of the tune, without terms that do not depend on it.

    Attributes:
        parts: densities of hemispheres, or of singlets, and the event of each, rising.
        num: number of events, E.
        elsewhere: partons of each event whose hadrons are not the model's, (E,).
        void: which events the model cannot make, (E,): a parton has no hadrons in its hemisphere. They are in no part.
    """

    parts: tuple[tuple[Ints, TreeDensity], ...]
    num: int
    elsewhere: Ints
    void: NDArray[np.bool_]

    def __len__(self) -> int:
        return self.num

    @classmethod
    def of(cls, model: PrimaryTree, events: HardEvents) -> EventDensity:
        """Find what the model drew in events.

        Args:
            model: the model of tunes that the events are of, or that they are compared with.
            events: E events with the history of their particles: sets of a gun, or hard processes.

        Raises:
            InvalidEvent: if the record lacks what is needed.
        """
        if events.particles is None:
            raise InvalidEvent("the events have no particles: generate hadrons first")
        if len(events.pdg_id) == 0 and len(events):
            raise InvalidEvent(
                "the events have no partons in their record (HepMC files are read without them): give the .h5 or "
                ".root file that fastsim generate wrote"
            )
        lone = np.asarray(events.offsets[1:] - events.offsets[:-1] == 1)
        if (lone & (events.status[np.minimum(events.offsets[:-1], len(events.status) - 1)] == 1)).all():
            return cls._of_gun(model, events)
        return cls._of_events(model, events)

    @classmethod
    def of_tokens(cls, model: PrimaryTree, tokens: TokenSample, *, pairs: bool) -> EventDensity:
        """Return the density of token sets with known carriers, an event each, or two and two with ``pairs``."""
        density = TreeDensity(model, tokens, pairs=pairs)
        return cls._joined(len(density), [(np.arange(len(density)), density)])

    @classmethod
    def _joined(
        cls, num: int, parts: list[tuple[Ints, TreeDensity]], elsewhere: Ints | None = None, void: Ints | None = None
    ) -> EventDensity:
        lost = np.zeros(num, dtype=bool)
        lost[np.zeros(0, np.int64) if void is None else void] = True
        others = np.zeros(num, dtype=np.int64) if elsewhere is None else elsewhere
        return cls(tuple((rows, density) for rows, density in parts if len(density)), num, others, lost)

    @classmethod
    def _of_gun(cls, model: PrimaryTree, events: HardEvents) -> EventDensity:
        assert events.particles is not None
        partons = Partons(events.pdg_id, events.p4, np.where(events.scale > 0, events.scale, np.inf))
        partons = Partons(partons.pdg_id, partons.p4, partons.starting_scale)
        inside = model.domain.contains(partons)
        primary, _ = primary_with_origin(
            events.particles, np.zeros(len(events.particles.pdg_id), np.int64), events.number
        )
        rows = np.flatnonzero(inside & (primary.counts > 0))
        readings = _readings(model, tokens_of_sets(partons[rows], primary[rows], events.number[rows]), pairs=False)
        void = np.flatnonzero(inside & (primary.counts == 0))
        return cls._joined(len(events), [(rows, readings)], (~inside).astype(np.int64), void)

    @classmethod
    def _of_events(cls, model: PrimaryTree, events: HardEvents) -> EventDensity:
        assert events.particles is not None
        if events.origin is None:
            raise InvalidEvent("the record does not say which parton a hadron is of: give a file of fastsim generate")
        coloured = assign_colours(events)
        found = [events.hard_columns[name] for name in DRAWN if name in events.hard_columns]
        drawn = np.stack(found, axis=1) if len(found) == len(DRAWN) else None
        whole = WholeSinglets.of(coloured, model, PythiaGun())
        follows = np.flatnonzero(whole.leader != np.arange(len(whole.leader)))
        if drawn is not None and np.any(drawn[follows]):  # made without a fallback: longer chains were hemispheres
            whole = WholeSinglets.of(coloured, model, model)
        systems = HardSystems.of(coloured, whole.leader)
        rows = systems.parton_rows
        known = events.hard_columns.get(CARRIER)
        made_by = events.hard_columns.get(HADRONS_FROM)
        own = np.ones(len(rows), dtype=bool) if made_by is None else made_by[rows] == FROM_SOURCE
        primary, origin = primary_with_origin(events.particles, events.origin, events.number)
        place = np.full(len(events.pdg_id), -1)
        place[rows] = np.arange(len(rows))
        entry = np.where(origin >= 0, origin + events.offsets[primary.index], 0)
        jet = np.where(origin >= 0, place[systems.leader[entry]], -1)  # -1: leptons and photons of the hard process
        order = np.flatnonzero(jet >= 0)[np.argsort(jet[jet >= 0], kind="stable")]
        offsets = offsets_from_counts(np.bincount(jet[order], minlength=len(rows)))
        jets = ParticleSet(offsets, primary.pdg_id[order], primary.p4[order])
        own[place[whole.first[~whole.by_source]]] = False
        alone = own & ~systems.grouped
        if drawn is not None:
            jets = systems.before_place(jets, np.asarray(drawn[rows], dtype=np.float64))
        elif alone.any():
            row = int(rows[np.argmax(alone)])
            event = int(events.index[row])
            raise InvalidEvent(
                f"event {events.number[event]}: the hadrons of entry {row - events.offsets[event]} (PDG id "
                f"{events.pdg_id[row]}) were moved when the hard process was reconstructed, and the file does not say "
                f"from where: it needs the columns {', '.join(DRAWN)} of fastsim generate with a model of tunes and "
                "--event hard"
            )
        of_event = events.index[rows]
        parts, void = [], []
        some = np.flatnonzero(alone)
        filled = some[jets.counts[some] > 0]
        void.append(of_event[np.setdiff1d(some, filled)])
        if len(filled):
            given = systems.conditions()[filled]
            sets = systems.from_rest(jets)[filled]
            tokens = tokens_of_sets(given, sets, events.number[of_event[filled]])
            partons = rows[filled]
            of_sets = None if known is None else known[partons]
            density = _readings(model, tokens, pairs=False, known=of_sets, flipped=events.pdg_id[partons])
            parts.append((of_event[filled], density))
        singlets = np.flatnonzero(own[place[whole.first]]) if len(whole) else np.zeros(0, np.int64)
        if len(singlets):
            first = whole.first[singlets]
            chosen = place[first]
            sets = jets[chosen]
            if drawn is None:
                sets = _beside_others(sets, systems, first)
            sets = _at_rest(sets, systems.rest[first], moved=drawn is None)
            along = whole.rest[whole.singlets.offsets[singlets], 1:]
            unit = (along / np.linalg.norm(along, axis=1, keepdims=True))[sets.index]
            turned = rotate_between(sets.p4[:, 1:], unit, np.broadcast_to(_AXIS, unit.shape))
            sets = ParticleSet(sets.offsets, sets.pdg_id, np.concatenate([sets.p4[:, :1], turned], axis=1))
            tokens, kept = tokens_of_pairs(whole.pairs(singlets), sets)
            void.append(of_event[chosen[~kept]])
            partons = whole.singlets[singlets[kept]].partons
            of_sets = None if known is None else known[partons]
            density = _readings(model, tokens, pairs=True, known=of_sets, flipped=events.pdg_id[partons])
            parts.append((of_event[chosen[kept]], density))
        elsewhere = np.bincount(of_event[~own], minlength=len(events))
        return cls._joined(len(events), parts, elsewhere, np.concatenate(void))

    def __call__(self, tune: ArrayLike) -> Floats:
        """Return the log-density, (E,), at the vector of a tune (P,); NaN for events that the model cannot make."""
        return self._summed([density(tune) for _, density in self.parts])

    def at(self, tunes: ArrayLike) -> Floats:
        """Return the log-densities (V, E) at the vectors of several tunes (V, P): see :meth:`TreeDensity.at`."""
        found = [density.at(tunes) for _, density in self.parts]
        return np.stack([self._summed([value[k] for value in found]) for k in range(len(np.asarray(tunes)))])

    def gradient(self, tune: ArrayLike) -> tuple[Floats, Floats]:
        """Compute the log-density (E,) and its derivatives by the vector of the tune, the scores (E, P)."""
        found = [density.gradient(tune) for _, density in self.parts]
        score = np.zeros((self.num, len(np.asarray(tune))))
        for (rows, _), (_, slope) in zip(self.parts, found, strict=True):
            np.add.at(score, rows, slope)
        return self._summed([value for value, _ in found]), score

    def likely(self, tune: ArrayLike) -> EventDensity:
        """Return the density without readings of sets that are unlikely at a tune: see :meth:`TreeDensity.likely`."""
        parts = tuple((rows, density.likely(tune)) for rows, density in self.parts)
        return EventDensity(parts, self.num, self.elsewhere, self.void)

    def log_ratios(self, tune: ArrayLike, others: ArrayLike, rng: np.random.Generator) -> Floats:
        """Compute log p_B / p_A (V, E) at several tunes B (V, P) over a tune A: see :meth:`TreeDensity.log_ratios`."""
        found = [density.log_ratios(tune, others, rng) for _, density in self.parts]
        return np.stack([self._summed([value[k] for value in found]) for k in range(len(np.asarray(others)))])

    def block(self, start: int, stop: int) -> EventDensity:
        """Return the density of the events from ``start`` to ``stop``."""
        parts = []
        for rows, density in self.parts:
            first, last = np.searchsorted(rows, [start, stop])
            if last > first:
                parts.append((rows[first:last] - start, density.block(slice(int(first), int(last)))))
        return EventDensity(tuple(parts), stop - start, self.elsewhere[start:stop], self.void[start:stop])

    def without_void(self) -> EventDensity:
        """Return the density of the events that the model can make."""
        place = np.cumsum(~self.void) - 1
        parts = []
        for rows, density in self.parts:
            kept = ~self.void[rows]
            if not kept.all():
                density = density.chosen(kept)
            parts.append((place[rows[kept]], density))
        return EventDensity(tuple(parts), int((~self.void).sum()), self.elsewhere[~self.void], self.void[~self.void])

    @classmethod
    def concatenate(cls, batches: Sequence[EventDensity]) -> EventDensity:
        """Return the density of the events of all batches, one batch after the other."""
        starts = np.cumsum([0, *(len(batch) for batch in batches)])
        parts = [
            (rows + start, density)
            for batch, start in zip(batches, starts[:-1], strict=True)
            for rows, density in batch.parts
        ]
        return cls(
            tuple(parts),
            int(starts[-1]),
            np.concatenate([batch.elsewhere for batch in batches]),
            np.concatenate([batch.void for batch in batches]),
        )

    def _summed(self, values: Sequence[Floats]) -> Floats:
        total = np.zeros(self.num)
        for (rows, _), value in zip(self.parts, values, strict=True):
            np.add.at(total, rows, value)
        total[self.void] = np.nan
        return total


def checked_model(model: object) -> PrimaryTree:
    """Return a model if it is one of tunes with a density.

    Raises:
        FastsimError: if it is not.
    """
    if not isinstance(model, PrimaryTree) or model.tune is None:
        name = getattr(model, "name", model)
        raise FastsimError(f"model {name!r} has no density at other tunes: hadron-tree-tunes has")
    return model


def _readings(
    model: PrimaryTree, tokens: TokenSample, *, pairs: bool, known: Ints | None = None, flipped: Ints | None = None
) -> TreeDensity:
    """Return the density of token sets.

    Args:
        model: the model of tunes.
        tokens: N sets without carriers.
        pairs: whether they are pairs.
        known: PDG ids of their carriers in the record, 0 for none, (N,); by default they are not known.
        flipped: PDG ids of the partons, (N,): hadrons of antiquarks are taken for those of quarks.
    """
    if known is not None and flipped is not None:
        is_token = np.isin(known, IDS)
        species = species_index(np.where(is_token, known, IDS[0]))
        known = np.where(is_token, IDS[np.where(flipped < 0, CONJUGATE[species], species)], known)
    copies, source = with_carriers(tokens, known)
    return TreeDensity(model, copies, pairs=pairs, source=source)


def _beside_others(jets: ParticleSet, systems: HardSystems, first: Ints) -> ParticleSet:
    """Move the hadrons of singlets from the lab to the rest frames of their systems, unless they are alone in these.

    They were moved by way of these frames, and the product of two boosts also turns.
    """
    system = systems.system[first]
    there = boost_from(jets.p4, systems.total[system][jets.index])
    p4 = np.where(systems.single[system][jets.index, None], jets.p4, there)
    return ParticleSet(jets.offsets, jets.pdg_id, p4)


def _at_rest(jets: ParticleSet, frame: Floats, *, moved: bool) -> ParticleSet:
    """Move the hadrons of singlets to their rest frames.

    Args:
        jets: hadrons of N singlets, in the rest frames of their systems, or in the lab where they are alone in these.
        frame: momenta (N, 4) of the singlets in the rest frames of their systems in GeV.
        moved: whether they are where reconstruction put them: then their own total momenta are the frames.

    Raises:
        InvalidEvent: if hadrons of a singlet are missing.
    """
    total = jets.sums() if moved else frame
    m = np.sqrt(np.maximum(total[:, 0] ** 2 - (total[:, 1:] ** 2).sum(-1), 0.0))
    size = np.sqrt(np.maximum(frame[:, 0] ** 2 - (frame[:, 1:] ** 2).sum(-1), 0.0))
    if (np.abs(m - size) > _MOVED * total[:, 0] + 1e-3 * size).any():
        raise InvalidEvent(
            "hadrons of a colour singlet are missing in the record: their mass is not that of its partons"
        )
    return ParticleSet(jets.offsets, jets.pdg_id, boost_from(jets.p4, total[jets.index]))
