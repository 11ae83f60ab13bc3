"""The Step from hadrons of the hard partons to whole collisions: it adds the rest, against which they recoil."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fastsim.event import Floats, HardEvents, History, Ints, ParticleSet, RunInfo
from fastsim.event.kinematics import boost_from, boost_to
from fastsim.event.species import baryon_numbers, charges, mass
from fastsim.event.vertices import of_late_decays
from fastsim.sources.hadrons import TAU0_MAX
from generators.decays.decay import decay
from generators.reference.rest_gun import RestGun
from generators.rests.closure import close, follow
from generators.rests.conditions import Conditions
from generators.rests.content import shift_content
from generators.rests.library import RestLibrary
from generators.rests.rests import Rests

MAX_DRAWS = 5
"""How often a rest of the library that does not fit is drawn anew before Pythia makes one."""
FROM_LIBRARY, FROM_PYTHIA, WITHOUT = "rests_from_library", "rests_from_pythia", "events_without_rest"
"""Tallies of the events by where their rest is from."""


@dataclass(frozen=True)
class AddRest:
    """The Step that adds to each collision what is in it besides the hadrons of its hard partons.

    A rest from the library, turned and mirrored, or of the rest gun where the library has none like it, gets the charge
    and baryon number (:mod:`generators.rests.content`) and the momentum (:mod:`generators.rests.closure`) that the hard
    process leaves of the beams, and the hard process recoils as the rest demands, with what of the hard record has
    decayed as particles do, such as taus. Then the rest's hadrons decay, anew each time that a stored one comes again.
    Particles of the rest have origin -1.

    Events without two incoming partons, and those of which Pythia makes no rest either (momentum fractions so close to
    one that no remnants are left), stay as they are; ``events_without_rest`` counts them. ``rests_from_library`` and
    ``rests_from_pythia`` count the others.

    Attributes:
        run: the beams.
        library: stored rests; None to have the gun make all.
        gun: makes the other ones.
        tau0_max: particles with a c*tau above this, in mm, are stable in the rests.
    """

    run: RunInfo
    library: RestLibrary | None
    gun: RestGun
    tau0_max: float = TAU0_MAX

    requires = frozenset({"hadrons"})
    provides = frozenset({"hadrons"})

    def __post_init__(self) -> None:
        if self.library is not None and not self.library.fits(self.run, self.gun.settings):
            object.__setattr__(self, "library", None)

    @property
    def name(self) -> str:
        """The name of the Step with the source of the rests."""
        return f"add-rest:{'pythia' if self.library is None else self.library.name}"

    def step(self, events: HardEvents, *, rng: np.random.Generator) -> HardEvents:
        """Return the events with their rests.

        Raises:
            FastsimError: if Pythia does not start with these beams.
        """
        assert events.particles is not None and events.origin is not None
        seed = int(rng.integers(0, 2**62))
        incoming = np.bincount(events.index[events.status == -1], minlength=len(events))
        rows = np.flatnonzero(incoming == 2)
        conditions = Conditions.of(events[rows], self.run, rng)
        joined = _Joined(events.particles[rows], self.run)
        left = np.arange(len(rows))
        if self.library is not None:
            inside = self.library.contains(conditions)
            for _ in range(MAX_DRAWS):
                asked = left[inside[left]]
                if len(asked) == 0:
                    break
                left = np.setdiff1d(left, joined.take(*self.library.draw(conditions[asked], rng), asked, rng))
        from_library = np.setdiff1d(np.arange(len(rows)), left)
        events = events.tally(FROM_LIBRARY, rows[from_library])
        if len(left):
            rests, made = self.gun.shoot(conditions[left], seed)
            rests = rests.aligned(conditions[left[made]], rng)
            taken = joined.take(rests, conditions[left[made]].total, left[made], rng)
            events = events.tally(FROM_PYTHIA, rows[taken])
        chosen, primary, before, after = joined.result()
        rest = decay(primary, rng, tau0_max=self.tau0_max)
        events = events.tally(WITHOUT, np.setdiff1d(np.arange(len(events)), rows[chosen]))
        return _with_rests(events, rows[chosen], rest, before, after)


class _Joined:
    """The rests that were found for N collisions so far.

    Args:
        hard: particles of the hard processes, N sets.
        run: the beams.
    """

    def __init__(self, hard: ParticleSet, run: RunInfo) -> None:
        self._beams = beam_momentum(run)
        self._sums = hard.sums()
        beams = np.array(run.beam_pdg_id)
        self._charge = charges(beams).sum() - _per_set(hard, charges(hard.pdg_id))
        self._baryon_number = baryon_numbers(beams).sum() - _per_set(hard, baryon_numbers(hard.pdg_id))
        self._parts: list[tuple[Ints, ParticleSet, Floats]] = []

    def take(self, rests: Rests, before: Floats, rows: Ints, rng: np.random.Generator) -> Ints:
        """Take those of the rests for collisions ``rows`` (L,) that can be made to fit, and return the rows of these.

        Args:
            rests: L rests.
            before: four-momenta (L, 4) in GeV that their hard processes had before they recoiled.
            rows: the collisions that they are for.
            rng: draws the particles that change.
        """
        particles = rests.particles
        charge = self._charge[rows] - _per_set(particles, charges(particles.pdg_id))
        baryon_number = self._baryon_number[rows] - _per_set(particles, baryon_numbers(particles.pdg_id))
        possible = (np.abs(charge - np.rint(charge)) < 1e-6) & (self._sums[rows, 0] > 0)
        shifts = np.rint(charge).astype(np.int64), np.rint(baryon_number).astype(np.int64)
        particles, shifted = shift_content(particles, *shifts, rng)
        particles, moved, closed = close(Rests(particles, rests.recoil), before, self._sums[rows], self._beams)
        good = np.flatnonzero(possible & shifted & closed)
        if len(good):
            self._parts.append((rows[good], particles[good], moved[good]))
        return rows[good]

    def result(self) -> tuple[Ints, ParticleSet, Floats, Floats]:
        """Return the collisions that have a rest, the rests, and the four-momenta of the hard processes in GeV.

        These are those before and those after the recoil.
        """
        if not self._parts:
            return np.zeros(0, np.int64), ParticleSet.empty(), np.zeros((0, 4)), np.zeros((0, 4))
        chosen, rest, moved = self._parts[0]
        if len(self._parts) > 1:
            rows, sets, momenta = zip(*self._parts, strict=True)
            order = np.argsort(every := np.concatenate(rows))
            chosen, rest, moved = every[order], ParticleSet.concatenate(sets)[order], np.concatenate(momenta)[order]
        return chosen, rest, self._sums[chosen], moved


def beam_momentum(run: RunInfo) -> Floats:
    """Return the total four-momentum (4,) of the beams in GeV; those of hadrons have their masses."""
    energy = np.array(run.beam_energy)
    momentum = np.sqrt(np.maximum(energy**2 - np.array([mass(pdg) for pdg in run.beam_pdg_id]) ** 2, 0.0))
    return np.array([energy.sum(), 0.0, 0.0, momentum[0] - momentum[1]])


def _per_set(particles: ParticleSet, values: Floats) -> Floats:
    """Return the sums (N,) of values (M,) of the final particles of N sets."""
    return np.bincount(particles.index, values, minlength=len(particles)).astype(np.float64)


def _with_rests(events: HardEvents, rows: Ints, rest: ParticleSet, before: Floats, after: Floats) -> HardEvents:
    """Return events, of which ``rows`` (L,) get L rests, and their hard processes the momenta ``after`` (L, 4)."""
    assert events.particles is not None and events.origin is not None
    hard, rests = follow(events.particles[rows], before, after), rest
    if len(others := np.setdiff1d(np.arange(len(events)), rows)):
        order = np.argsort(np.concatenate([rows, others]))
        hard = ParticleSet.concatenate([hard, events.particles[others]])[order]
        none = ParticleSet.empty(len(others))
        rests = ParticleSet.concatenate([rest, replace(none, history=History.unknown(len(others), 0))])[order]
    whole = ParticleSet.overlaid([hard, rests])
    origin = np.full(len(whole.pdg_id), -1)
    own = np.arange(len(origin)) - whole.offsets[whole.index] < hard.counts[whole.index]
    origin[own] = events.origin
    return _with_late_decays(events, rows, before, after).with_particles(whole, origin)


def _with_late_decays(events: HardEvents, rows: Ints, before: Floats, after: Floats) -> HardEvents:
    """Return events whose entries that decay as particles, and what these decay into, recoil with the particles.

    Else a tau would fly, and its products begin, where the final particles from it do not. All other entries stay as
    the file has them.

    Args:
        events: the events.
        rows: those whose hard processes recoil, (L,).
        before, after: the four-momenta of these, (L, 4) in GeV.
    """
    place = np.full(len(events), -1)
    place[rows] = np.arange(len(rows))
    place = place[events.index]
    late = np.flatnonzero(of_late_decays(events) & (place >= 0))
    if len(late) == 0:
        return events
    p4, k = events.p4.copy(), place[late]
    p4[late] = boost_to(boost_from(p4[late], before[k]), after[k])
    return replace(events, p4=p4)
