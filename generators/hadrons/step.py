"""The Step from partons to hadrons: every final parton through a source of hadrons, every hard system exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError, OutOfDomain
from fastsim.event import Floats, HardEvents, History, Ints, ParticleSet, Partons, offsets_from_counts
from fastsim.event.kinematics import boost_to, mass, on_shell
from fastsim.event.reconstruction import HardSystems, rotate_between
from fastsim.event.species import MASSES, charges, masses
from fastsim.sources.hadrons import HadronSource, PartonPairs

MAX_REDRAWS = 20
"""How often the hadrons of a system that cannot be reconstructed are drawn anew before the fallback takes over."""

FROM_SOURCE, FROM_FALLBACK, MINIMAL = 0, 1, 2
"""Where the hadrons of a parton come from; minimal ones are as light as they must be."""
HADRONS_FROM = "hadrons_from"
"""Name of the column of the hard entries that says it; -1 for entries that are no final partons."""
ELSEWHERE = "partons_elsewhere"
"""The tally of the partons whose hadrons are not the source's."""


class Hadronize:
    """The Step that turns all final partons into hadrons, and then reconstructs every hard system exactly.

    Partons outside the domain of ``source`` go to ``fallback`` (tally ``fallback_partons``). A system whose jet
    masses exceed its energy is redrawn whole, at most :data:`MAX_REDRAWS` times (``redrawn_systems`` counts the
    redraws), and then as often from the fallback (``fallback_systems``). Partons that then still have no hadrons, and
    those too soft even for the fallback, become as light as they must (``minimal_partons``), whatever their flavour:

    1. each such parton is one pion: pi0 -> 2 photons for a gluon, else pi+ or pi- with the sign of the parton's charge;
    2. if the pions of a system are still too heavy, each of its partons is one photon;
    3. a parton that is a system alone becomes pi+ pi- with the mass of the system (two photons if that is below
       2 m(pi), one if it is massless).

    ``partons_elsewhere`` counts all partons whose hadrons are not the source's, and the column ``hadrons_from`` of the
    hard entries marks them: 0 for the source, 1 for the fallback, 2 for minimal ones, -1 for entries without hadrons.

    So the four-momentum is right in every event; these are partons of about 1 GeV, below any perturbative scale.

    Args:
        source: the model, library or reference to use.
        fallback: the source for partons outside its domain, usually the Pythia gun; None to refuse them.
    """

    requires = frozenset({"partons"})
    provides = frozenset({"hadrons"})

    def __init__(self, source: HadronSource, fallback: HadronSource | None = None) -> None:
        self.source = source
        self.fallback = fallback
        self.name = f"hadronize:{source.name}"

    def step(self, events: HardEvents, *, rng: np.random.Generator) -> HardEvents:
        """Return the events with final particles.

        Raises:
            OutOfDomain: if a parton is outside the source's domain and there is no fallback.
        """
        systems = HardSystems.of(events)
        conditions = systems.conditions()
        whole = self._whole(systems, conditions)
        jets, use = self._draw(systems, conditions, whole, rng)
        event = events.index[systems.parton_rows]
        events = events.tally("partons", event).tally("fallback_partons", event[use == FROM_FALLBACK])
        jets, use, own_masses, counts = self._repair(systems, conditions, whole, jets, use, rng)
        for key, chosen in counts.items():
            events = events.tally(key, systems.event[chosen])
        events = events.tally("minimal_partons", event[use == MINIMAL])
        events = events.tally(ELSEWHERE, event[use != FROM_SOURCE])
        particles, origin = systems.place(jets, own_masses, _sums(systems, jets, whole))
        particles, origin = decayed(self.source, particles, origin, rng)
        made_by = np.full(len(events.pdg_id), -1, dtype=np.int8)
        made_by[systems.parton_rows] = use
        return events.with_particles(particles, origin).with_columns(hard={HADRONS_FROM: made_by})

    def _whole(self, systems: HardSystems, conditions: Partons) -> NDArray[np.bool_]:
        """Return which final partons (P,) are those of colour singlets that the source draws as a whole."""
        system = systems.system[systems.parton_rows]
        if not self.source.has_pairs:
            return np.zeros(len(system), dtype=bool)
        outside = ~self.source.domain.contains(conditions)
        chosen = systems.closed_pairs & ~systems.hadronic
        chosen[system[outside]] = False
        return np.asarray(chosen[system])

    def _draw_whole(self, systems: HardSystems, whole: NDArray[np.bool_], rng: np.random.Generator) -> ParticleSet:
        """Draw singlets in the rest frames of their systems; each hadron goes to the parton that it flies with."""
        rows = systems.parton_rows
        partons = np.flatnonzero(whole)
        partons = partons[np.argsort(systems.system[rows[partons]], kind="stable")].reshape(-1, 2)
        first = rows[partons[:, 0]]
        pairs = PartonPairs(systems.events.pdg_id[rows[partons]], systems.roots[systems.system[first]])
        hadrons = self.source.draw_pairs(pairs, rng)
        along = systems.rest[first, 1:]
        end = (along / np.linalg.norm(along, axis=1, keepdims=True))[hadrons.index]
        turned = rotate_between(hadrons.p4[:, 1:], np.broadcast_to(np.array([0.0, 0.0, 1.0]), end.shape), end)
        p4 = np.concatenate([hadrons.p4[:, :1], turned], axis=1)
        # the partons in the order of the jets
        place = np.argsort(np.argsort(partons.ravel()))
        jet = place[2 * hadrons.index + (hadrons.p4[:, 3] <= 0)]
        order = np.argsort(jet, kind="stable")
        counts = np.bincount(jet, minlength=partons.size)
        return ParticleSet(offsets_from_counts(counts), hadrons.pdg_id[order], p4[order])

    def _draw(
        self, systems: HardSystems, conditions: Partons, whole: NDArray[np.bool_], rng: np.random.Generator
    ) -> tuple[ParticleSet, NDArray[np.int64]]:
        """Draw the hadrons of all partons.

        Returns:
            One set for each parton, in the rest frame of its system, and what it comes from: FROM_SOURCE, FROM_FALLBACK
            or MINIMAL.

        Raises:
            OutOfDomain: if a parton is outside the source's domain and there is no fallback.
        """
        use = np.where(self.source.domain.contains(conditions), FROM_SOURCE, FROM_FALLBACK)
        outside = np.flatnonzero(use == FROM_FALLBACK)
        if len(outside):
            if self.fallback is None:
                event = systems.events.number[systems.events.index[systems.parton_rows[outside[0]]]]
                domain = self.source.domain
                raise OutOfDomain(
                    f"event {event}: {domain.describe(conditions, outside[0])} is outside the domain of "
                    f"{self.source.name}: {domain}; give a fallback"
                )
            use[outside[~self.fallback.domain.contains(conditions[outside])]] = MINIMAL
        jets = ParticleSet.empty(len(use))
        soft = np.flatnonzero(use == MINIMAL)
        if len(soft):
            jets = _replaced(jets, soft, minimal_jets(systems, soft, rng))
        for label, source in ((FROM_SOURCE, self.source), (FROM_FALLBACK, self.fallback)):
            chosen = np.flatnonzero((use == label) & ~whole)
            if source is not None and len(chosen):
                jets = _replaced(jets, chosen, self._sample(source, systems, conditions, chosen, rng))
        if whole.any():
            jets = _replaced(jets, np.flatnonzero(whole), self._draw_whole(systems, whole, rng))
        return jets, use

    def _sample(
        self, source: HadronSource, systems: HardSystems, conditions: Partons, chosen: Ints, rng: np.random.Generator
    ) -> ParticleSet:
        jets = (source.primary if source is self.source else source.sample)(conditions[chosen], rng=rng)
        return systems.to_rest(jets, chosen)

    def _repair(
        self,
        systems: HardSystems,
        conditions: Partons,
        whole: NDArray[np.bool_],
        jets: ParticleSet,
        use: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> tuple[ParticleSet, NDArray[np.int64], Floats, dict[str, Ints]]:
        """Redraw or replace jets until all systems can be reconstructed.

        Args:
            systems: the hard systems.
            conditions: the final partons.
            whole: which of them belong to singlets that were drawn as a whole, and need no repair.
            jets: one set for each parton, in the rest frame of its system.
            use: what each set comes from, as :meth:`_draw` returns it.
            rng: source of all randomness.

        Returns:
            The sets, what each comes from in the end, masses (K,) of the entries in GeV, and the systems to tally by
            name.
        """
        parton_system = systems.system[systems.parton_rows]
        own_masses = systems.own_masses
        redrawn, to_fallback = [np.zeros(0, np.int64)], np.zeros(0, np.int64)
        fallback = self.fallback or self.source
        use = use.copy()
        failed = systems.solve(_sums(systems, jets, whole), own_masses)[2]
        for attempt in range(2 * MAX_REDRAWS):
            redo = failed[parton_system] & (use != MINIMAL) & ~whole
            if not redo.any():
                break
            if attempt == MAX_REDRAWS:
                use[redo & fallback.domain.contains(conditions)] = FROM_FALLBACK
                to_fallback = np.unique(parton_system[redo])
            redrawn.append(np.unique(parton_system[redo]))
            for label, source in ((FROM_SOURCE, self.source), (FROM_FALLBACK, fallback)):
                chosen = np.flatnonzero(redo & (use == label))
                if len(chosen):
                    jets = _replaced(jets, chosen, self._sample(source, systems, conditions, chosen, rng))
            failed = systems.solve(_sums(systems, jets, whole), own_masses)[2]
        for level in range(3):
            if not failed.any():
                break
            if level == 2:  # no hadrons left to lighten: leptons as massless as the file writes them
                rows = np.flatnonzero((systems.system >= 0) & failed[systems.system])
                own_masses = own_masses.copy()
                own_masses[rows] = mass(systems.rest[rows])
            chosen = np.flatnonzero(failed[parton_system])
            if len(chosen):
                use[chosen] = MINIMAL
                jets = _replaced(jets, chosen, minimal_jets(systems, chosen, rng, photons=level > 0))
            failed = systems.solve(_sums(systems, jets, whole), own_masses)[2]
        tally = {"redrawn_systems": np.concatenate(redrawn), "fallback_systems": to_fallback}
        return jets, use, own_masses, tally


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
                    particles = _replaced(particles, rows, source.sample(partons[rows], rng=rng))
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


def _sums(systems: HardSystems, jets: ParticleSet, whole: NDArray[np.bool_]) -> Floats:
    """Return the total four-momenta (P, 4) of jets in GeV; of singlets drawn as a whole, those of the partons."""
    return np.where(whole[:, None], systems.rest[systems.parton_rows], jets.sums())


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
