"""The Step from partons to hadrons: every final parton through a source of hadrons, every hard system exact."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError, OutOfDomain
from fastsim.event import Floats, HardEvents, History, Ints, ParticleSet, Partons, offsets_from_counts, ragged_indices
from fastsim.event.dipoles import draw_partners
from fastsim.event.kinematics import boost_to, mass, on_shell
from fastsim.event.reconstruction import HardSystems
from fastsim.event.singlets import assign_colours
from fastsim.event.species import MASSES, PARTON_MASSES, charges, masses
from fastsim.sources.hadrons import HadronSource
from generators.hadrons.primary import PrimarySource
from generators.hadrons.whole import WholeSinglets

MAX_REDRAWS = 20
"""How often the hadrons of a system that cannot be reconstructed are drawn anew before the fallback takes over."""

FROM_SOURCE, FROM_FALLBACK, MINIMAL = 0, 1, 2
"""Where the hadrons of a parton come from; minimal ones are as light as they must be."""
HADRONS_FROM = "hadrons_from"
"""Name of the column of the hard entries that says it; -1 for entries that are no final partons."""
SCALE_TOLERANCE = 1e-3
"""Relative distance below pT within which a shower starts at pT, and so for the limit of soft partons."""
DRAWN = ("drawn_e", "drawn_px", "drawn_py", "drawn_pz")
"""Names of the columns of the hard entries that have the total four-momenta, in the rest frames of their systems in
GeV, of the hadrons of partons as the source drew them, before reconstruction: files of a model of tunes have them."""
CARRIER = "carrier"
"""Name of the column of the hard entries that has the PDG id of the hadron that carries the parton's quark, 0 for none:
of several, the first of the parton's primary hadrons in the record. Files of a model of tunes have it."""
_LEAST_MT = 1e-3
"""Least transverse mass in GeV that a rapidity is computed with."""
ELSEWHERE = "partons_elsewhere"
"""The tally of the partons whose hadrons are not the source's."""


class Hadronize:
    """The Step that turns all final partons into hadrons, and then reconstructs every hard system exactly.

    If the source draws colour singlets as a whole, closed ones (:mod:`generators.hadrons.whole`) keep their
    four-momentum and quantum numbers: those of two partons come from the source, those of three and more from the
    source or the fallback (tally ``chain_partons``). Partons without colour tags get the flow that their flavours allow
    (tally ``assigned_colours``, of events). Other partons are hemispheres.

    Partons outside the domain of ``source`` go to ``fallback`` (tally ``fallback_partons``; ``soft_partons`` are those
    of them that are too soft); one that is too soft for this as well is drawn with the least pT of its domain.
    ``low_scales`` counts the partons whose showers start below pT, if the source knows how; else they start at
    pT, and are ``ignored_scales``. A system whose jet masses exceed its energy is redrawn whole, at most
    :data:`MAX_REDRAWS` times (``redrawn_systems`` counts the redraws), and then as often from the fallback
    (``fallback_systems``). Partons that then still have no hadrons become as light as they must
    (``minimal_partons``), whatever their flavour:

    1. each such parton is one pion: pi0 -> 2 photons for a gluon, else pi+ or pi- with the sign of the parton's charge;
    2. if the pions of a system are still too heavy, each of its partons is one photon;
    3. a parton that is a system alone becomes pi+ pi- with the mass of the system (two photons if that is below
       2 m(pi), one if it is massless).

    ``partons_elsewhere`` counts all partons whose hadrons are not the source's, and the column ``hadrons_from`` of the
    hard entries marks them: 0 for the source, 1 for the fallback, 2 for minimal ones, -1 for entries without hadrons.
    Of a model of tunes, the columns :data:`DRAWN` keep what reconstruction changes, and the column :data:`CARRIER`
    which hadrons carry the partons' quarks, so that the density of its hadrons is known
    (:mod:`generators.hadrons.event_density`).

    So the four-momentum is right in every event; minimal partons are those of systems of a GeV or so.

    As parts of whole collisions the partons of hard processes of hadrons are hemispheres of the dipoles with their
    colour partners (:mod:`fastsim.event.dipoles`), which take the recoil: the hard process exchanges momentum with the
    beams, which the rest of the collision makes good.

    Args:
        source: the model, library or reference to use.
        fallback: the source for partons outside its domain, usually the Pythia gun; None to refuse them.
        whole_collisions: whether the events become whole collisions.
    """

    requires = frozenset({"partons"})
    provides = frozenset({"hadrons"})

    def __init__(
        self, source: HadronSource, fallback: HadronSource | None = None, *, whole_collisions: bool = False
    ) -> None:
        self.source = source
        self.fallback = fallback
        self.whole_collisions = whole_collisions
        self.name = f"hadronize:{source.name}"

    def step(self, events: HardEvents, *, rng: np.random.Generator) -> HardEvents:
        """Return the events with final particles.

        Raises:
            OutOfDomain: if a parton is outside the source's domain and there is no fallback.
            InvalidEvent: if the source draws colour singlets, and the colour tags of an event close none, or a singlet
                is too light for hadrons of its flavours.
        """
        drawing = self._prepared(events, rng)
        carriers = drawing.carriers if self._of_tunes else None
        jets, use = self._draw(drawing, rng)
        whole, systems = drawing.whole, drawing.systems
        owners = np.zeros(0, np.int64)
        if whole is not None and len(whole):
            sets, owners = whole.draw(self.source, self._reference, rng, carriers)
            place = np.searchsorted(systems.parton_rows, whole.first)
            use[place] = np.where(whole.by_source, FROM_SOURCE, FROM_FALLBACK)
            by_row = np.argsort(whole.first)
            owners = owners[ragged_indices(sets.offsets, by_row)]
            jets = _replaced(jets, place[by_row], whole.moved(sets, systems)[by_row])
        jets, use, own_masses, counts = self._repair(drawing, jets, use, rng)
        entries = systems.parton_rows[jets.index]
        entries[systems.grouped[jets.index]] = owners
        sums = drawing.sums(jets)
        final = systems.with_sums(sums)
        if final is not systems:
            jets = systems.moved(jets, final)
            sums = np.where(systems.grouped[:, None], final.rest[systems.parton_rows], jets.sums())
        particles, origin = final.place(jets, own_masses, sums, entries)
        particles, origin = decayed(self.source, particles, origin, rng)
        made_by = np.full(len(events.pdg_id), -1, dtype=np.int8)
        made_by[systems.parton_rows] = use
        made_by = np.where(made_by[systems.leader] >= 0, made_by[systems.leader], made_by)
        events = self._counted(drawing, made_by)
        for key, chosen in counts.items():
            events = events.tally(key, systems.event[chosen])
        columns: dict[str, Floats | Ints | NDArray[np.int8]] = {HADRONS_FROM: made_by}
        if self._of_tunes:
            drawn = np.zeros((4, len(events.pdg_id)))  # one number a column: ROOT files take no more
            drawn[:, systems.parton_rows] = drawing.sums(jets).T
            columns |= {**dict(zip(DRAWN, drawn, strict=True)), CARRIER: drawing.carriers}
        return events.with_particles(particles, origin).with_columns(hard=columns)

    @property
    def _of_tunes(self) -> bool:
        """Whether the events keep what weights for other tunes need."""
        of_tunes = isinstance(self.source, PrimarySource) and len(self.source.tune_parameters) > 0
        return of_tunes and not self.whole_collisions

    @property
    def _reference(self) -> HadronSource:
        """What draws what the source does not."""
        return self.fallback or self.source

    def _prepared(self, events: HardEvents, rng: np.random.Generator) -> _Drawing:
        """Find hard systems and conditions, and the singlets that are drawn as a whole where the source does that."""
        whole = None
        if self.source.has_pairs or self.whole_collisions:
            events = assign_colours(events)
        if self.source.has_pairs:
            whole = WholeSinglets.of(events, self.source, self._reference)
        beams = (events.status == -1) & events.colours.any(axis=1)
        partner = draw_partners(events, rng) if self.whole_collisions and beams.any() else None
        systems = HardSystems.of(events, None if whole is None else whole.leader, partner)
        conditions = systems.conditions()
        scaled = conditions if self.source.has_scale else Partons(conditions.pdg_id, conditions.p4)
        lifted = _lifted(scaled, self._reference.domain.pt_min)
        none = np.zeros(len(events.pdg_id), np.int64)
        return _Drawing(events, systems, conditions, whole, {FROM_SOURCE: scaled, FROM_FALLBACK: lifted}, none)

    def _counted(self, drawing: _Drawing, made_by: NDArray[np.int8]) -> HardEvents:
        """Return the events with tallies of their partons, which have hadrons from ``made_by`` (K,)."""
        events, systems = drawing.events, drawing.systems
        chained, low_pairs = np.zeros(len(made_by), dtype=bool), np.zeros(0, np.int64)
        if drawing.whole is not None:
            chained[drawing.whole.rows((drawing.whole.singlets.counts > 2) & ~drawing.whole.by_source)] = True
            low_pairs = drawing.whole.rows(drawing.whole.low(SCALE_TOLERANCE))
        alone = ~systems.grouped
        rows, known = systems.parton_rows[alone], drawing.conditions[alone]
        outside = made_by[rows] == FROM_FALLBACK
        low = known.starting_scale < known.pt * (1 - SCALE_TOLERANCE)
        soft = outside & (known.pt < self.source.domain.pt_min * (1 - SCALE_TOLERANCE))
        for key, chosen in (
            ("partons", np.flatnonzero(made_by >= 0)),
            ("fallback_partons", np.flatnonzero((made_by == FROM_FALLBACK) & ~chained)),
            ("chain_partons", np.flatnonzero(chained)),
            ("soft_partons", rows[soft]),
            ("low_scales" if self.source.has_scale else "ignored_scales", np.concatenate([rows[low], low_pairs])),
            ("minimal_partons", np.flatnonzero(made_by == MINIMAL)),
            (ELSEWHERE, np.flatnonzero(made_by > FROM_SOURCE)),
        ):
            events = events.tally(key, events.index[chosen])
        return events

    def _draw(self, drawing: _Drawing, rng: np.random.Generator) -> tuple[ParticleSet, NDArray[np.int64]]:
        """Draw the hadrons of all partons that are not drawn as a whole.

        Returns:
            One set for each parton, in the rest frame of its system, and what it comes from: FROM_SOURCE, FROM_FALLBACK
            or MINIMAL.

        Raises:
            OutOfDomain: if a parton is outside the source's domain and there is no fallback.
        """
        systems, grouped = drawing.systems, drawing.systems.grouped
        conditions, lifted = drawing.given[FROM_SOURCE], drawing.given[FROM_FALLBACK]
        use = np.where(self.source.domain.contains(conditions), FROM_SOURCE, FROM_FALLBACK)
        outside = np.flatnonzero((use == FROM_FALLBACK) & ~grouped)
        if len(outside):
            if self.fallback is None:
                event = systems.events.number[systems.events.index[systems.parton_rows[outside[0]]]]
                domain = self.source.domain
                raise OutOfDomain(
                    f"event {event}: {domain.describe(conditions, outside[0])} is outside the domain of "
                    f"{self.source.name}: {domain}; give a fallback"
                )
            use[outside[~self.fallback.domain.contains(lifted[outside])]] = MINIMAL
        jets = ParticleSet.empty(len(use))
        soft = np.flatnonzero((use == MINIMAL) & ~grouped)
        if len(soft):
            jets = _replaced(jets, soft, minimal_jets(systems, soft, rng))
        for label in (FROM_SOURCE, FROM_FALLBACK):
            chosen = np.flatnonzero((use == label) & ~grouped)
            if len(chosen):
                jets = _replaced(jets, chosen, self._sample(label, drawing, chosen, rng))
        return jets, use

    def _sample(self, label: int, drawing: _Drawing, chosen: Ints, rng: np.random.Generator) -> ParticleSet:
        """Draw hadrons from the source or the fallback: before decays, if the source's hadrons decay afterwards."""
        source, given = self.source if label == FROM_SOURCE else self._reference, drawing.given[label][chosen]
        if label == FROM_SOURCE and self._of_tunes:
            assert isinstance(source, PrimarySource)
            hadrons, ids = source.primary_with_carriers(given, rng=rng)
            drawing.carriers[drawing.systems.parton_rows[chosen]] = ids
            return drawing.systems.to_rest(hadrons, chosen)
        draw = source.primary if self.source.has_history else source.sample
        return drawing.systems.to_rest(draw(given, rng=rng), chosen)

    def _repair(
        self, drawing: _Drawing, jets: ParticleSet, use: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[ParticleSet, NDArray[np.int64], Floats, dict[str, Ints]]:
        """Redraw or replace jets until all systems can be reconstructed.

        Args:
            drawing: what is drawn. Singlets that were drawn as a whole need no repair.
            jets: one set for each parton, in the rest frame of its system.
            use: what each set comes from, as :meth:`_draw` returns it.
            rng: source of all randomness.

        Returns:
            The sets, what each comes from in the end, masses (K,) of the entries in GeV, and the systems to tally by
            name.
        """
        systems = drawing.systems
        parton_system, free = systems.system[systems.parton_rows], ~systems.grouped
        own_masses = systems.own_masses
        redrawn, to_fallback = [np.zeros(0, np.int64)], np.zeros(0, np.int64)
        use = use.copy()
        failed = drawing.failed(jets, own_masses)
        for attempt in range(2 * MAX_REDRAWS):
            redo = failed[parton_system] & (use != MINIMAL) & free
            if not redo.any():
                break
            if attempt == MAX_REDRAWS:
                use[redo & self._reference.domain.contains(drawing.given[FROM_FALLBACK])] = FROM_FALLBACK
                to_fallback = np.unique(parton_system[redo])
            redrawn.append(np.unique(parton_system[redo]))
            for label in (FROM_SOURCE, FROM_FALLBACK):
                chosen = np.flatnonzero(redo & (use == label))
                if len(chosen):
                    jets = _replaced(jets, chosen, self._sample(label, drawing, chosen, rng))
            failed = drawing.failed(jets, own_masses)
        for level in range(3):
            if not failed.any():
                break
            if level == 2:  # no hadrons left to lighten: leptons as massless as the file writes them
                rows = np.flatnonzero((systems.system >= 0) & failed[systems.system])
                own_masses = own_masses.copy()
                own_masses[rows] = mass(systems.rest[rows])
            chosen = np.flatnonzero(failed[parton_system] & free)
            if len(chosen):
                use[chosen] = MINIMAL
                jets = _replaced(jets, chosen, minimal_jets(systems, chosen, rng, photons=level > 0))
            failed = drawing.failed(jets, own_masses)
        tally = {"redrawn_systems": np.concatenate(redrawn), "fallback_systems": to_fallback}
        return jets, use, own_masses, tally


@dataclass(frozen=True)
class _Drawing:
    """What hadrons are drawn for.

    Attributes:
        events: the events.
        systems: their hard systems.
        conditions: their final partons, (P,); of a singlet that is drawn as a whole, what stands for it.
        whole: the singlets that are drawn as a whole, if the source draws any.
        given: the partons as the source (FROM_SOURCE) and as the fallback (FROM_FALLBACK) are given them.
        carriers: PDG ids of the hadrons that carry the quarks of hard entries, filled as they are drawn, (K,).
    """

    events: HardEvents
    systems: HardSystems
    conditions: Partons
    whole: WholeSinglets | None
    given: dict[int, Partons]
    carriers: Ints

    def sums(self, jets: ParticleSet) -> Floats:
        """Return the total four-momenta (P, 4) of jets in GeV; of singlets that are drawn as a whole, their own."""
        return np.where(self.systems.grouped[:, None], self.systems.rest[self.systems.parton_rows], jets.sums())

    def failed(self, jets: ParticleSet, own_masses: Floats) -> NDArray[np.bool_]:
        """Return which systems (S,) cannot be reconstructed with these jets and masses (K,) of other entries in GeV."""
        sums = self.sums(jets)
        return self.systems.with_sums(sums).solve(sums, own_masses)[2]


def _lifted(partons: Partons, pt_min: float) -> Partons:
    """Return the partons, those of a pT below ``pt_min`` (GeV) with this pT, at their rapidity and azimuth."""
    soft = partons.pt < pt_min
    if not soft.any():
        return partons
    m = np.array([PARTON_MASSES.get(abs(int(i)), 0.0) for i in partons.pdg_id[soft]])
    rapidity = np.arcsinh(partons.pz[soft] / np.maximum(np.hypot(partons.pt[soft], m), _LEAST_MT))
    transverse, azimuth = np.hypot(pt_min, m), partons.phi[soft]
    p4 = partons.p4.copy()
    p4[soft, 0], p4[soft, 3] = transverse * np.cosh(rapidity), transverse * np.sinh(rapidity)
    p4[soft, 1], p4[soft, 2] = pt_min * np.cos(azimuth), pt_min * np.sin(azimuth)
    return Partons(partons.pdg_id, p4, partons.scale)


class HadronizeSets:
    """The Step that turns the partons of a gun, one an event, into hadrons as the source draws them.

    Partons outside the domain of ``source`` go to ``fallback`` (tally ``fallback_partons``).

    Args:
        source: the model, library or reference to use.
        fallback: the source for partons outside its domain, usually the Pythia gun.
        with_latent: also give the latents of the source, as named columns ``latent_NAME`` of the events.

    Raises:
        FastsimError: if a latent is wanted of a source that has none.
    """

    requires = frozenset({"partons"})
    provides = frozenset({"hadrons"})

    def __init__(self, source: HadronSource, fallback: HadronSource, *, with_latent: bool = False) -> None:
        if with_latent and not source.has_latent:
            raise FastsimError(f"model {source.name!r} has no latent")
        self.source, self.fallback, self.with_latent = source, fallback, with_latent
        self.name = f"hadronize-sets:{source.name}"

    def step(self, events: HardEvents, *, rng: np.random.Generator) -> HardEvents:
        """Return the events with final particles.

        Raises:
            OutOfDomain: if a parton is outside the domains of source and fallback, or a latent is wanted outside the
                source's.
        """
        partons = Partons(events.pdg_id, events.p4)
        if self.source.has_scale:
            partons = replace(partons, scale=np.where(events.scale > 0, events.scale, partons.pt))
        inside = self.source.domain.contains(partons)
        outside = np.flatnonzero(~inside)
        events = events.tally("partons", np.arange(len(events)))
        events = events.tally("fallback_partons", outside).tally(ELSEWHERE, outside)
        if self.with_latent:
            if not inside.all():
                raise OutOfDomain("the latent exists inside the model's domain only: narrow the gun's flavours or pT")
            particles, latent = self.source.sample_with_latent(partons, rng=rng)
            events = events.with_columns(event={f"latent_{key}": values for key, values in vars(latent).items()})
        else:
            particles = ParticleSet.empty(len(partons))
            for chosen, source in ((inside, self.source), (~inside, self.fallback)):
                rows = np.flatnonzero(chosen)
                if len(rows):
                    sets = source.sample(partons[rows], rng=rng)
                    sets = sets if self.source.has_history else sets.without_history()
                    particles = _replaced(particles, rows, sets)
        return events.with_particles(particles, np.zeros(len(particles.pdg_id), np.int64))


def _replaced(jets: ParticleSet, chosen: Ints, new: ParticleSet) -> ParticleSet:
    """Return the sets in which those at ``chosen`` (N,) are replaced by the N sets of ``new``."""
    order = np.arange(len(jets), dtype=np.int64)
    order[chosen] = len(jets) + np.arange(len(chosen))
    if (jets.history is None) != (new.history is None):
        jets, new = (
            s if s.history is not None else replace(s, history=History.unknown(len(s), len(s.pdg_id)))
            for s in (jets, new)
        )
    return ParticleSet.concatenate([jets, new])[order]


def decayed(
    source: HadronSource, particles: ParticleSet, origin: Ints, rng: np.random.Generator
) -> tuple[ParticleSet, Ints]:
    """Decay the hadrons of events, and return the final particles with their origins.

    Args:
        source: of the hadrons.
        particles: M hadrons and other particles, one set an event.
        origin: the hard entry of each of them, (M,).
        rng: all randomness.
    """
    result = source.decay(particles, rng)
    history = result.history
    if result is particles or history is None:
        return result, origin
    # final particles follow one another as those that they come from do
    above, start = history.decayed.mother, history.decayed.offsets[:-1]
    index = history.decayed.index
    root = np.where(above < 0, np.arange(len(above)), above + start[index])
    while ((further := root[root]) != root).any():
        root = further
    of_final = history.mother + start[result.index]
    first = np.where(
        history.mother < 0, -1 - np.arange(len(of_final)), root[np.maximum(of_final, 0)] if len(root) else 0
    )
    new = np.ones(len(first), dtype=bool)
    new[1:] = first[1:] != first[:-1]
    return result, origin[np.cumsum(new) - 1]


def minimal_jets(
    systems: HardSystems, partons: Ints, rng: np.random.Generator, *, photons: bool = False
) -> ParticleSet:
    """Return the lightest hadrons that replace partons, as :class:`Hadronize` describes them.

    Args:
        systems: the hard systems.
        partons: indices into ``systems.parton_rows``, shape (N,).
        rng: source of the directions in which pairs decay.
        photons: one photon for each parton instead of a pion.

    Returns:
        One set for each parton, in the rest frame of its system.
    """
    rows = systems.parton_rows[partons]
    flavour, system = systems.events.pdg_id[rows], systems.system[rows]
    roots, lightlike = systems.roots[system], systems.lightlike[system]
    alone = systems.single[system] & ~lightlike
    pion = ~(photons | lightlike) & ~alone
    neutral = pion & (flavour == 21)
    charged = pion & ~neutral
    sign = np.sign(charges(flavour)).astype(np.int64)
    pair_of_pions = alone & (roots > 2 * MASSES[211])
    pdg_id = np.where(charged, 211 * sign, np.where(pair_of_pions, 211, 22))
    # the momentum of each set, and for pairs their decay in its rest frame
    total_mass = np.where(alone, roots, np.where(neutral, MASSES[111], masses(pdg_id)))
    momentum = systems.rest[rows].copy()
    momentum[alone, 1:] = 0.0
    momentum = on_shell(momentum, total_mass)
    pair = alone | neutral
    cos, angle = rng.uniform(-1, 1, int(pair.sum())), rng.uniform(0, 2 * np.pi, int(pair.sum()))
    sin = np.sqrt(1 - cos**2)
    m = masses(pdg_id[pair])
    size = np.sqrt(np.maximum(0.25 * total_mass[pair] ** 2 - m**2, 0.0))
    direction = size[:, None] * np.stack([sin * np.cos(angle), sin * np.sin(angle), cos], axis=-1)
    energy = 0.5 * total_mass[pair, None]
    counts = np.where(pair, 2, 1)
    p4, ids = np.repeat(momentum, counts, axis=0), np.repeat(pdg_id, counts)
    last = np.cumsum(counts)[pair] - 1
    p4[last] = boost_to(np.concatenate([energy, direction], axis=-1), momentum[pair])
    p4[last - 1] = boost_to(np.concatenate([energy, -direction], axis=-1), momentum[pair])
    ids[last] = np.where(ids[last] == 211, -211, ids[last])
    return ParticleSet(offsets_from_counts(counts), ids, p4)
