"""Exact four-momentum: jets put back into their hard systems, as Herwig does after its final-state shower.

A *hard system* is a set of outgoing entries with the same mother: the hard process itself, or the decay
products of one resonance. In the rest frame of the system, with invariant mass sqrt(s), the three-momenta of
its members are rescaled by one factor k that solves

    sum_i sqrt(k^2 p_i^2 + m_i^2) = sqrt(s),

where m_i is the invariant mass of a parton's hadrons, or a lepton's, photon's or resonance's own mass. The
four-momentum and mass of every system, so of every decayed resonance, stay what they were. Decay products
follow their resonance: their system is boosted from its old momentum to its new one.

The hadrons of a parton, with total three-momentum q in the rest frame of the system, are boosted along q to
|q| = k p_i and then rotated by the smallest angle that takes q to the direction of the parton: the jet keeps
its mass, and a jet that already is where it should be is left as it is.

In whole collisions the partons of the hard process have colour partners (:mod:`fastsim.event.dipoles`), which take the
recoil: the hard process has the sum of the momenta that its jets then have, which is not that of the file.

Partons whose hadrons are drawn together, such as those of a colour singlet, can be one member of their system: with the
sum of their momenta, and one jet that is moved as a whole.

References:
    Baehr et al., Herwig++ Physics and Manual, 2008, arXiv:0803.0883, section 6.4 (kinematic reconstruction).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import InvalidEvent
from fastsim.event import Floats, HardEvents, Ints, ParticleSet, Partons, offsets_from_counts
from fastsim.event.dipoles import Dipoles
from fastsim.event.kinematics import boost_from, boost_to, mass, mass_squared, on_shell, rotate_between
from fastsim.event.species import MASSES, STABLE, masses

Bools = NDArray[np.bool_]

MASS_SHELL_TOLERANCE = 1e-6
"""A mass given by the file counts if |E^2 - p^2 - m^2| is below this times E^2; else the momentum decides."""

_LEPTONS_AND_PHOTON = frozenset({11, 12, 13, 14, 15, 16, 22})
_KNOWN_MASS = frozenset(MASSES) | _LEPTONS_AND_PHOTON
_REST = np.array([1.0, 0.0, 0.0, 0.0])


def is_parton(pdg_id: Ints) -> Bools:
    """Return which PDG ids (N,) are light partons (d u s c b, their antiquarks, the gluon)."""
    size = np.abs(pdg_id)
    return np.asarray(((size >= 1) & (size <= 5)) | (pdg_id == 21))


def _add(values: Floats, groups: Ints, num_groups: int) -> Floats:
    """Sum the rows of ``values``, (N,) or (N, 4), in each of ``num_groups`` groups; ``groups`` (N,) names them."""
    columns = values[:, None].T if values.ndim == 1 else values.T
    sums: Floats = np.stack([np.bincount(groups, weights=v, minlength=num_groups) for v in columns], axis=-1)
    return sums.reshape((num_groups, *values.shape[1:]))


def solve_rescaling(momenta: Floats, m: Floats, system: Ints, roots: Floats) -> tuple[Floats, Bools]:
    """Solve sum_i sqrt(k^2 p_i^2 + m_i^2) = sqrt(s) for the factors k of many systems at once.

    Newton's method from k = sqrt(s) / sum p, where the convex function is positive: it descends
    monotonically to the root.

    Args:
        momenta: |p_i| of the members in their rest frame, in GeV, shape (N,).
        m: masses of the members in GeV, shape (N,).
        system: the system of each member, shape (N,).
        roots: sqrt(s) of the systems in GeV, shape (S,).

    Returns:
        k of shape (S,), and which systems have no solution (masses above the available energy; k is 0).
    """
    size = len(roots)
    available = roots - _add(m, system, size)
    total = _add(momenta, system, size)
    failed = ~((available > 1e-12 * roots) & (total > 0) & np.isfinite(available))
    k = np.where(failed, 0.0, roots / np.where(total > 0, total, 1.0))
    for _ in range(100):
        energy = np.sqrt((k[system] * momenta) ** 2 + m**2)
        excess = _add(energy, system, size) - roots
        slope = _add(k[system] * momenta**2 / np.where(energy > 0, energy, 1.0), system, size)
        change = np.where(failed | (slope <= 0), 0.0, excess / np.where(slope > 0, slope, 1.0))
        k = k - change
        if np.all(np.abs(change) <= 1e-15 * k):
            break
    return k, failed


def _unit(vectors: Floats, fallback: Floats) -> Floats:
    """Return the directions of vectors (N, 3); of vectors of length zero those of ``fallback``."""
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(np.where(norm > 0, vectors / np.where(norm > 0, norm, 1.0), fallback))


def _boosted_along(p4: Floats, axes: Floats, doppler: Floats) -> Floats:
    """Boost momenta (M, 4) along unit vectors (M, 3), by the factors (M,) that massless momenta along these get."""
    cosh, sinh = 0.5 * (doppler + 1 / doppler), 0.5 * (doppler - 1 / doppler)
    along = np.sum(p4[:, 1:] * axes, axis=-1)
    energy = cosh * p4[:, 0] + sinh * along
    shift = (cosh - 1) * along + sinh * p4[:, 0]
    return np.concatenate([energy[:, None], p4[:, 1:] + shift[:, None] * axes], axis=-1)


@dataclass(frozen=True)
class _Moves:
    """How P jets are put into their events: a boost along ``start``, a turn to ``end``, and a boost to the lab.

    Attributes:
        start, end: unit vectors, (P, 3) each.
        doppler: factors by which the boosts change massless momenta along ``start``, (P,).
        frame: new momenta of the systems in GeV, (P, 4).
        new: momenta of all hard entries in the lab in GeV, (K, 4).
        masses: of all hard entries in GeV, (K,).
    """

    start: Floats
    end: Floats
    doppler: Floats
    frame: Floats
    new: Floats
    masses: Floats


@dataclass(frozen=True)
class HardSystems:
    """The hard systems of a batch of events: S systems of the K hard entries. :meth:`of` finds them.

    Of the entries: ``system`` (K,), -1 for an entry that is in none; ``p4`` (K, 4) in GeV, where a resonance has the
    sum of its products (a file rounds both); ``rest`` (K, 4), the momenta in the rest frames.

    Of the systems, each (S,) or (S, 4): ``event``; ``parent``, the entry of the resonance that decays into it, -1 for a
    hard process; ``depth``, the number of resonances above it; ``total`` four-momentum and ``roots`` = sqrt(s) in GeV;
    ``lightlike``, whether s = 0, so that there is no rest frame; ``hadronic``, whether it is a hard process whose
    incoming particles are coloured: the natural scale of its partons is pT.

    ``leader`` (K,) is the row of the entry that stands for each entry: itself, or the first of a group that is one
    member. The leader's momenta are those of the group; the others of the group belong to no system.

    ``partner`` (K,) is the row of the colour partner of each entry, -1 for none. It counts for partons of hard
    processes with coloured beams.
    """

    events: HardEvents
    system: Ints
    p4: Floats
    rest: Floats
    event: Ints
    parent: Ints
    depth: Ints
    total: Floats
    roots: Floats
    lightlike: Bools
    hadronic: Bools
    leader: Ints
    partner: Ints

    def __len__(self) -> int:
        return len(self.roots)

    @classmethod
    def of(cls, events: HardEvents, leader: Ints | None = None, partner: Ints | None = None) -> HardSystems:
        """Find the hard systems of the events.

        Args:
            events: the events.
            leader: of each entry the row of the one that stands for it, both of one system, (K,); itself by default.
            partner: of each entry the row of its colour partner (:func:`fastsim.event.dipoles.draw_partners`), -1 for
                none, (K,); by default none has one.

        Raises:
            InvalidEvent: if the mothers of an event run in a circle.
        """
        leader = np.arange(len(events.pdg_id)) if leader is None else leader
        follows = np.flatnonzero(leader != np.arange(len(leader)))
        event, start = events.index, events.offsets[:-1]
        num_entries = len(events.pdg_id)
        first = events.mothers[:, 0]
        mother = _beyond_leptons(np.where(first >= 0, first + start[event], -1), events)
        decayed = (mother >= 0) & (events.status[mother] == 2)
        has_products = np.zeros(num_entries, dtype=bool)
        has_products[mother[decayed & np.isin(events.status, (1, 2))]] = True
        member = (events.status == 1) | ((events.status == 2) & has_products)
        member[follows] = False
        rows = np.flatnonzero(member)
        keys, inverse = np.unique(np.where(decayed, mother, num_entries + event)[rows], return_inverse=True)
        system = np.full(num_entries, -1, dtype=np.int64)
        system[rows] = inverse
        parent = np.where(keys < num_entries, keys, -1)
        system_event = np.where(parent >= 0, event[parent], keys - num_entries)
        depth = _depths(system, parent, system_event, events)
        p4 = events.p4.copy()
        np.add.at(p4, leader[follows], p4[follows])
        for level in range(int(depth.max(initial=0)), 0, -1):
            inside = rows[depth[system[rows]] == level]
            sums = _add(p4[inside], system[inside], len(keys))
            here = np.flatnonzero(depth == level)
            p4[parent[here]] = sums[here]
        total = _add(p4[rows], system[rows], len(keys))
        s = mass_squared(total)
        lightlike = s <= 1e-13 * total[:, 0] ** 2
        frame = np.where(lightlike[:, None], _REST, total)
        rest = p4.copy()
        rest[rows] = boost_from(p4[rows], frame[system[rows]])
        # what rounding leaves of the momentum sum would be magnified by the boost back
        excess = _add(rest[rows], system[rows], len(keys))
        rest[rows, 1:] -= rest[rows, :1] * (excess[:, 1:] / excess[:, :1] * ~lightlike[:, None])[system[rows]]
        incoming = (events.status == -1) & (is_parton(events.pdg_id) | (events.colours != 0).any(axis=1))
        coloured = np.bincount(event[incoming], minlength=len(events)) > 0
        return cls(
            events,
            system,
            p4,
            rest,
            system_event,
            parent,
            depth,
            total,
            np.where(lightlike, 0.0, np.sqrt(np.maximum(s, 0.0))),
            lightlike,
            (parent < 0) & coloured[system_event],
            leader,
            np.full(num_entries, -1) if partner is None else _before_decays(partner, system, parent),
        )

    @cached_property
    def members(self) -> Ints:
        """Rows of the entries that belong to a system."""
        return np.flatnonzero(self.system >= 0)

    @cached_property
    def single(self) -> Bools:
        """Which systems (S,) have one member only."""
        return np.asarray(np.bincount(self.system[self.members], minlength=len(self)) == 1)

    @cached_property
    def parton_rows(self) -> Ints:
        """Rows of the final partons, and of groups of them, that become hadrons. Jets are in this order."""
        return np.flatnonzero((self.events.status == 1) & is_parton(self.events.pdg_id) & (self.system >= 0))

    @cached_property
    def grouped(self) -> Bools:
        """Which of the ``parton_rows`` stand for a group, (P,)."""
        size = np.bincount(self.leader, minlength=len(self.leader))
        return np.asarray(size[self.parton_rows] > 1)

    @cached_property
    def own_masses(self) -> Floats:
        """Masses (K,) in GeV of all entries but the partons (0): of resonances from their products, of leptons, photons
        and hadrons from the species table, of others from the file."""
        events = self.events
        m = mass(self.p4)
        final = events.status == 1
        off_shell = np.abs(mass_squared(self.p4) - events.mass**2) > MASS_SHELL_TOLERANCE * self.p4[:, 0] ** 2
        m = np.where(final & ~off_shell, np.abs(events.mass), m)
        known = final & np.isin(np.abs(events.pdg_id), sorted(_KNOWN_MASS))
        m[known] = masses(events.pdg_id[known])
        members = self.members[self.single[self.system[self.members]]]
        m[members] = self.roots[self.system[members]]
        m[self.parton_rows] = 0.0
        return m

    def conditions(self) -> Partons:
        """Return the final partons as a source of hadrons should see them.

        In a hard process with coloured beams: as they are, the scale is pT. In a decayed resonance (and in lepton
        collisions) no beam direction means anything: the scale is the momentum p* in the rest frame, so the
        parton is given pT = p*, at rapidity and azimuth zero. A two-body decay is then exactly the pair that the
        Pythia gun shoots. A parton with a colour partner is given p* in the rest frame of the two likewise.

        The showers of partons of the hard process start at the scale of the event (SCALUP), where it is known and below
        pT: what is harder is in the event already. Those of decayed resonances start at the kinematic limit.
        """
        rows = self.parton_rows
        p4 = self.p4[rows].copy()
        inner = ~self.hadronic[self.system[rows]]
        rest = self.rest[rows][inner]
        momentum = np.linalg.norm(rest[:, 1:], axis=-1)
        zero = np.zeros_like(momentum)
        p4[inner] = np.stack([np.hypot(momentum, mass(rest)), momentum, zero, zero], axis=-1)
        p4[self.dipoles.parton] = self.dipoles.along_x
        known = Partons(self.events.pdg_id[rows], p4)
        scale = self.events.scale[self.events.index[rows]]
        low = (self.parent[self.system[rows]] < 0) & (scale > 0) & (scale < known.pt)
        return Partons(known.pdg_id, p4, np.where(low, scale, np.maximum(known.pt, np.finfo(float).tiny)))

    def to_rest(self, jets: ParticleSet, partons: Ints | None = None) -> ParticleSet:
        """Move the hadrons of partons to the rest frames of the partons' systems.

        Args:
            jets: one set for each parton, in the frame in which :meth:`conditions` gives the partons.
            partons: which of the partons (indices into ``parton_rows``) they belong to; all by default.
        """
        rows = self.parton_rows if partons is None else self.parton_rows[partons]
        index = jets.index
        system = self.system[rows]
        p4 = np.empty_like(jets.p4)
        outer = self.hadronic[system][index]
        frame = np.where(self.lightlike[system, None], _REST, self.total[system])
        p4[outer] = boost_from(jets.p4[outer], frame[index[outer]])
        start = np.broadcast_to(np.array([1.0, 0.0, 0.0]), (len(rows), 3))
        end = _unit(self.rest[rows, 1:], start)
        inner = ~outer
        p4[inner, 0] = jets.p4[inner, 0]
        p4[inner, 1:] = rotate_between(jets.p4[inner, 1:], start[index[inner]], end[index[inner]])
        dipole = np.full(len(self.parton_rows), -1)
        dipole[self.dipoles.parton] = np.arange(len(self.dipoles))
        dipole = (dipole if partons is None else dipole[partons])[index]
        outer = dipole >= 0
        p4[outer] = boost_from(self.dipoles.to_lab(jets.p4[outer], dipole[outer]), frame[index[outer]])
        return ParticleSet(jets.offsets, jets.pdg_id, p4)

    @cached_property
    def dipoles(self) -> Dipoles:
        """The dipoles of those of the ``parton_rows`` that have colour partners and are not in a group."""
        rows = self.parton_rows
        partner = self.partner[rows]
        parton = np.flatnonzero((partner >= 0) & self.hadronic[self.system[rows]] & ~self.grouped)
        own = rows[parton]
        return Dipoles.of(parton, self.events.pdg_id[own], self.p4[own], self.p4[partner[parton]])

    def with_sums(self, sums: Floats) -> HardSystems:
        """Return the systems in which the partons that have dipoles have the momenta of their jets.

        Args:
            sums: total four-momentum of each parton's hadrons in the rest frame of its system, (P, 4), in GeV.
        """
        parton = self.dipoles.parton
        rows = self.parton_rows[parton]
        changed = np.unique(self.system[rows[sums[parton, 0] > 0]])
        if len(changed) == 0:
            return self
        p4, total, rest, roots = self.p4.copy(), self.total.copy(), self.rest.copy(), self.roots.copy()
        p4[rows] = self.dipoles.jets(boost_to(sums[parton], self.total[self.system[rows]]))
        members = self.members[np.isin(self.system[self.members], changed)]
        total[changed] = _add(p4[members], self.system[members], len(self))[changed]
        rest[members] = boost_from(p4[members], total[self.system[members]])
        roots[changed] = mass(total[changed])
        return replace(self, p4=p4, total=total, rest=rest, roots=roots)

    def moved(self, jets: ParticleSet, other: HardSystems) -> ParticleSet:
        """Move jets from the rest frames of these systems to those of ``other``, which are the same in the lab."""
        if other is self:
            return jets
        system = self.system[self.parton_rows][jets.index]
        frames = (np.where(s.lightlike[system, None], _REST, s.total[system]) for s in (self, other))
        here, there = frames
        return ParticleSet(jets.offsets, jets.pdg_id, boost_from(boost_to(jets.p4, here), there))

    def solve(self, sums: Floats, own_masses: Floats | None = None) -> tuple[Floats, Floats, Bools]:
        """Solve for the factors by which the momenta of each system's members are rescaled.

        Args:
            sums: total four-momentum of each parton's hadrons in the rest frame of its system, (P, 4), in GeV.
            own_masses: masses (K,) in GeV of the entries that are no partons; :attr:`own_masses` by default.

        Returns:
            Factors k (S,), masses of all entries (K,) in GeV, and which systems cannot be reconstructed (S,).
        """
        m = (self.own_masses if own_masses is None else own_masses).copy()
        m[self.parton_rows] = mass(sums)
        members = self.members
        system = self.system[members]
        momenta = np.linalg.norm(self.rest[members, 1:], axis=-1)
        k, failed = solve_rescaling(momenta, m[members], system, self.roots)
        heaviest = np.zeros(len(self))
        np.maximum.at(heaviest, system, m[members])
        failed = np.where(self.single, np.abs(heaviest - self.roots) > 1e-9 * self.roots, failed)
        failed = np.where(self.lightlike, heaviest > 1e-6 * self.total[:, 0], failed)
        empty = ~(sums[:, 0] > 0) | ~np.isfinite(sums).all(axis=1)
        failed[self.system[self.parton_rows[empty]]] = True
        return np.where(self.single | self.lightlike, 1.0, k), m, failed

    def place(
        self,
        jets: ParticleSet,
        own_masses: Floats | None = None,
        sums: Floats | None = None,
        entries: Ints | None = None,
    ) -> tuple[ParticleSet, Ints]:
        """Put jets into their events so that every system keeps its four-momentum.

        Args:
            jets: hadrons of each final parton in the rest frame of its system (:meth:`to_rest`).
            own_masses: masses (K,) in GeV of the entries that are no partons; :attr:`own_masses` by default.
            sums: four-momenta (P, 4) in GeV that stand for those of the jets, which are these up to rounding.
            entries: row of the hard entry that each particle of the jets belongs to; by default that of its jet.

        Returns:
            One particle set for each event, on shell, and the hard entry (M,), within its event, of each particle.

        Raises:
            InvalidEvent: if a system cannot be reconstructed (ask :meth:`solve` first).
        """
        sums = jets.sums() if sums is None else sums
        moves = self._moves(sums, own_masses)
        index, rows = jets.index, self.parton_rows
        shell = mass(jets.p4)
        stable = np.isin(np.abs(jets.pdg_id), STABLE)
        shell[stable] = masses(jets.pdg_id[stable])
        moved = _boosted_along(jets.p4, moves.start[index], moves.doppler[index])
        vectors = rotate_between(moved[:, 1:], moves.start[index], moves.end[index])
        hadrons = boost_to(np.concatenate([moved[:, :1], vectors], axis=-1), moves.frame[index])
        entries = rows[index] if entries is None else entries
        return self._assemble(on_shell(hadrons, shell), jets, moves.new, moves.masses, entries)

    def before_place(self, hadrons: ParticleSet, sums: Floats) -> ParticleSet:
        """Return jets as they were before :meth:`place` moved them, in the rest frames of their systems.

        Args:
            hadrons: of each final parton, in the lab: one set for each.
            sums: the total four-momenta (P, 4) in GeV of the jets before, as they were given to :meth:`place`.

        Raises:
            InvalidEvent: if a system cannot be reconstructed from these.
        """
        moves, index = self._moves(sums, None), hadrons.index
        inside = boost_from(hadrons.p4, moves.frame[index])
        vectors = rotate_between(inside[:, 1:], moves.end[index], moves.start[index])
        turned = np.concatenate([inside[:, :1], vectors], axis=-1)
        p4 = _boosted_along(turned, moves.start[index], 1 / moves.doppler[index])
        return ParticleSet(hadrons.offsets, hadrons.pdg_id, on_shell(p4, mass(hadrons.p4)))

    def from_rest(self, jets: ParticleSet) -> ParticleSet:
        """Move the hadrons of all final partons to the frames of :meth:`conditions`: the inverse of :meth:`to_rest`."""
        rows, index = self.parton_rows, jets.index
        system = self.system[rows]
        frame = np.where(self.lightlike[system, None], _REST, self.total[system])[index]
        start = np.broadcast_to(np.array([1.0, 0.0, 0.0]), (len(rows), 3))
        end = _unit(self.rest[rows, 1:], start)
        turned = rotate_between(jets.p4[:, 1:], end[index], start[index])
        inner = np.concatenate([jets.p4[:, :1], turned], axis=-1)
        p4 = np.where(self.hadronic[system][index, None], boost_to(jets.p4, frame), inner)
        return ParticleSet(jets.offsets, jets.pdg_id, p4)

    def _moves(self, sums: Floats, own_masses: Floats | None) -> _Moves:
        """Solve the systems for jets with total momenta ``sums`` (P, 4), and say how these are moved."""
        k, m, failed = self.solve(sums, own_masses)
        if failed.any():
            number = int(self.events.number[self.event[np.argmax(failed)]])
            raise InvalidEvent(f"event {number}: the masses of a hard system exceed its energy; it needs other hadrons")
        rows = self.parton_rows
        rest = self.rest.copy()
        members = self.members
        rest[members, 1:] *= k[self.system[members], None]
        rest = on_shell(rest, m)
        new, totals = self._follow(rest)
        # each jet: boost along its own momentum, then turn it to the parton's direction
        q = np.linalg.norm(sums[:, 1:], axis=-1)
        system = self.system[rows]
        target = np.where(self.lightlike[system, None], new[rows], rest[rows])
        start = _unit(sums[:, 1:], _unit(target[:, 1:], np.array([[1.0, 0.0, 0.0]])))
        end = _unit(target[:, 1:], start)
        start = np.where(self.grouped[:, None], end, start)  # in place up to a boost along their momentum
        doppler = (np.linalg.norm(target[:, 1:], axis=-1) + target[:, 0]) / (sums[:, 0] + q)
        frame = np.where(self.lightlike[system, None], _REST, totals[system])
        return _Moves(start, end, doppler, frame, new, m)

    def _follow(self, rest: Floats) -> tuple[Floats, Floats]:
        """Boost rescaled momenta back to the lab, so that decay products follow their resonance.

        Args:
            rest: rescaled four-momenta (K, 4) of the entries in the rest frames of their systems, in GeV.

        Returns:
            Momenta of all entries (K, 4) and of all systems (S, 4) in the lab, in GeV.
        """
        new, totals, members = self.p4.copy(), self.total.copy(), self.members
        for level in range(int(self.depth.max(initial=0)) + 1):
            decays = np.flatnonzero((self.depth == level) & (self.parent >= 0))
            totals[decays] = new[self.parent[decays]]
            rows = members[self.depth[self.system[members]] == level]
            system = self.system[rows]
            light = self.lightlike[system]
            new[rows[~light]] = boost_to(rest[rows[~light]], totals[system[~light]])
            share = self.p4[rows, 0] / self.total[system, 0]
            new[rows[light]] = share[light, None] * totals[system[light]]
            single = self.single[system]
            new[rows[single]] = totals[system[single]]
        return new, totals

    def _assemble(
        self, hadrons: Floats, jets: ParticleSet, new: Floats, m: Floats, entries: Ints
    ) -> tuple[ParticleSet, Ints]:
        """Return hadrons and the entries that stay as they are (leptons, photons, BSM) in the order of the hard record.

        Args:
            hadrons: four-momenta (M, 4) of the hadrons of ``jets`` in the lab, in GeV.
            jets: the hadrons of each final parton.
            new: four-momenta (K, 4) of the entries in the lab, in GeV.
            m: masses (K,) of the entries in GeV.
            entries: rows of the hard entries that the hadrons belong to.

        Returns:
            One particle set for each event, and the hard entry, within its event, of each particle.
        """
        events = self.events
        final = np.flatnonzero((events.status == 1) & (self.system >= 0))
        parton = np.isin(final, self.parton_rows)
        counts = np.ones(len(final), dtype=np.int64)
        counts[parton] = jets.counts
        from_jet = np.repeat(parton, counts)
        pdg_id = np.empty(len(from_jet), dtype=np.int64)
        p4 = np.empty((len(from_jet), 4))
        pdg_id[from_jet], p4[from_jet] = jets.pdg_id, hadrons
        passing = final[~parton]
        pdg_id[~from_jet], p4[~from_jet] = events.pdg_id[passing], on_shell(new[passing], m[passing])
        entry = np.repeat(final, counts)
        if self.grouped.any():
            entry[from_jet] = entries
            order = np.argsort(entry, kind="stable")
            pdg_id, p4, entry = pdg_id[order], p4[order], entry[order]
        event = events.index
        sizes = np.bincount(event[entry], minlength=len(events))
        return ParticleSet(offsets_from_counts(sizes), pdg_id, p4), entry - events.offsets[event[entry]]


def _before_decays(partner: Ints, system: Ints, parent: Ints) -> Ints:
    """Return partners (K,), where they are products of resonances the resonances of the hard process instead."""
    partner = partner.copy()
    while True:
        product = np.flatnonzero(partner >= 0)
        product = product[system[partner[product]] >= 0]
        product = product[parent[system[partner[product]]] >= 0]
        if len(product) == 0:
            return partner
        partner[product] = parent[system[partner[product]]]


def _beyond_leptons(mother: Ints, events: HardEvents) -> Ints:
    """Return the mothers (K,) of entries, where a lepton that has radiated photons stands for its own mother.

    It and its photons have hardly a mass, and no rest frame that rounding would leave whole.
    """
    charged = np.isin(np.abs(events.pdg_id), (11, 13, 15))
    has = np.flatnonzero(charged & (mother >= 0))
    radiated = np.zeros(len(mother), dtype=bool)
    copies = has[(events.pdg_id[mother[has]] == events.pdg_id[has]) & (events.status[mother[has]] == 2)]
    radiated[mother[copies]] = True
    result = mother.copy()
    while (below := np.flatnonzero((result >= 0) & radiated[result])).size:
        result[below] = mother[result[below]]
    return result


def _depths(system: Ints, parent: Ints, system_event: Ints, events: HardEvents) -> Ints:
    """Count the resonances above each system: 0 for a hard process, shape (S,).

    Raises:
        InvalidEvent: if the mothers of an event run in a circle.
    """
    above = np.where(parent >= 0, system[parent], -1)
    depth = np.zeros(len(parent), dtype=np.int64)
    for _ in range(len(parent) + 1):
        deeper = np.where(above >= 0, depth[above] + 1, 0)
        if np.array_equal(deeper, depth):
            return depth
        depth = deeper
        if depth.max() > 100:
            break
    number = int(events.number[system_event[int(np.argmax(depth))]])
    raise InvalidEvent(f"event {number}: its mothers run in a circle (or more than 100 decays follow one another)")
