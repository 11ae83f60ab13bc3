"""Decays of all else that the hard record leaves undecayed and that does not live long, by Pythia 8.

Hadrons (J/psi, B, pi0, rho), new quarks, leptoquarks, excited states, octet onia: what Pythia has a table of decays for
decays as it does in ordinary Pythia. Each one is decayed alone, at rest and with the mass that it has in the record. Of
hadrons all products are final; of resonances and coloured states quarks come out as partons for the next Step.

What Pythia has no decay for leaves as it is, and is counted: undecayed coloured states (a stop or gluino without its
spectrum, a diquark), of which no detector simulation can make anything, and ids that the table of species lacks.

References:
    Bierlich et al., A comprehensive guide to the physics and usage of PYTHIA 8.3, 2022, arXiv:2203.11601.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastsim.event import HardEvents
from fastsim.event.kinematics import boost_to, mass
from fastsim.event.reconstruction import is_parton
from fastsim.event.species import STABLE, is_known
from generators.reference.products import Products, append_products, read_products
from generators.reference.resonances import RESONANCES

UNDECAYED, UNKNOWN = "undecayed_particles", "unknown_particles"
"""Tallies of final particles that are not final in nature, and of those whose id the table of species lacks."""
MAX_LENGTH = 10.0
"""Decay length c*tau in mm beyond which a particle is left to the detector simulation."""
_LONG_LIVED = (*STABLE, 13, 22)
_MAX_TRIES = 20

SETTINGS: tuple[str, ...] = ("PartonLevel:FSRinResonances = off", "HadronLevel:Hadronize = off")
"""Settings under which partons of a decay stay partons."""


@dataclass(frozen=True)
class DecayUnstable:
    """The Step that decays what :class:`generators.reference.resonances.DecayResonances` does not, and is not final.

    The tally ``decayed_particles`` counts them, ``undecayed_particles`` those that Pythia has no decay for and that
    carry colour or do not live long, ``unknown_particles`` the final particles whose id is in no table.

    Attributes:
        tau0_max: decay length c*tau in mm beyond which hadrons are left as they are; not above :data:`MAX_LENGTH`,
            since what lives longer decays with the hadrons that are made later.
    """

    tau0_max: float = MAX_LENGTH

    name = "decay-unstable"
    requires = frozenset({"partons"})
    provides = frozenset({"partons"})

    def step(self, events: HardEvents, *, rng: np.random.Generator) -> HardEvents:
        """Return the events in which all that Pythia can decay, and that does not live long, has decayed."""
        other = (events.status == 1) & ~is_parton(events.pdg_id)
        other &= ~np.isin(np.abs(events.pdg_id), [*_LONG_LIVED, *RESONANCES])
        rows = np.flatnonzero(other)
        if len(rows) == 0:
            return events
        from generators.reference.pythia import own_pythia

        limit = min(self.tau0_max, MAX_LENGTH)
        lifetimes = () if limit == MAX_LENGTH else (f"ParticleDecays:tau0Max = {limit:f}",)
        resonances, hadrons = own_pythia(settings=SETTINGS), own_pythia(settings=lifetimes)
        table = hadrons.particleData
        species = {int(k): _kind(table, int(k), limit) for k in np.unique(events.pdg_id[rows])}
        kinds = np.array([species[int(k)] for k in events.pdg_id[rows]])
        coloured = events.colours[rows].any(axis=1)
        chosen = rows[kinds != "stays"]
        undecayed = rows[(kinds == "stays") & coloured].tolist()
        seeds = rng.integers(1, 900_000_000, len(chosen))
        at_rest = mass(events.p4[chosen])
        decayed: list[int] = []
        products: list[Products] = []
        for i, row in enumerate(chosen.tolist()):
            pdg_id = int(events.pdg_id[row])
            colours = (int(events.colours[row, 0]), int(events.colours[row, 1]))
            if species[pdg_id] == "hadron" and not any(colours):
                found = decay_hadron(hadrons, row, pdg_id, float(at_rest[i]), int(seeds[i]))
            else:
                found = decay(resonances, row, pdg_id, float(at_rest[i]), colours, int(seeds[i]))
            if found is None:
                undecayed.append(row)
                continue
            decayed.append(row)
            products.append(replace(found, p4=boost_to(found.p4, np.broadcast_to(events.p4[row], found.p4.shape))))
        staying = np.setdiff1d(rows, decayed)
        unknown = [row for row in staying if not is_known(int(events.pdg_id[row]))]
        event = events.index
        for key, which in (("decayed_particles", decayed), (UNDECAYED, undecayed), (UNKNOWN, unknown)):
            if len(which):
                events = events.tally(key, event[np.asarray(which)])
        return append_products(events, decayed, products) if decayed else events


def _kind(table: Any, pdg_id: int, limit: float) -> str:
    """Return whether Pythia decays a species as a "hadron" or as a "resonance", or whether it "stays".

    Args:
        table: Pythia's particle data.
        pdg_id: the species.
        limit: decay length in mm beyond which a hadron stays.
    """
    if not (table.isParticle(pdg_id) and table.canDecay(pdg_id) and table.mayDecay(pdg_id)):
        return "stays"
    if table.isResonance(pdg_id) or table.colType(pdg_id) != 0:
        return "resonance"
    return "hadron" if table.tau0(pdg_id) <= limit else "stays"


def decay_hadron(pythia: Any, row: int, pdg_id: int, m: float, seed: int) -> Products | None:
    """Decay one colourless particle at rest, down to final particles.

    Args:
        pythia: a Pythia that hadronises.
        row: row in the batch of the particle.
        pdg_id: species of the particle.
        m: its mass in GeV.
        seed: seed of the decay.

    Returns:
        The products, in the particle's rest frame; None if Pythia finds no decay. Where it decays by way of partons
        these are left out, and the hadrons belong to the particle that they came from.
    """
    pythia.rndm.init(seed)
    event = pythia.event
    for _ in range(_MAX_TRIES):
        event.reset()
        event.append(pdg_id, 83, 0, 0, 0.0, 0.0, 0.0, m, m, m)
        if pythia.next() and event.size() > 2:
            break
    else:
        return None
    place = {1: -1}  # of entries that are kept; the particle itself is -1
    rows: list[tuple[int, ...]] = []
    momenta, flights = [], []
    for k in range(2, event.size()):
        p = event[k]
        if p.colType() != 0:
            continue
        mother = p.mother1()
        while mother not in place:
            mother = event[mother].mother1()
        place[k] = len(rows)
        rows.append((p.id(), 1 if p.isFinal() else 2, place[mother], 0, 0))
        momenta.append((p.e(), p.px(), p.py(), p.pz()))
        flights.append(0.0 if p.isFinal() else p.tau())
    table, p4 = np.array(rows, dtype=np.int64), np.array(momenta, dtype=np.float64)
    return Products((row,), table, p4, np.array(flights), (event[1].tau(),))


def decay(pythia: Any, row: int, pdg_id: int, m: float, colours: tuple[int, int], seed: int) -> Products | None:
    """Decay one resonance at rest.

    Args:
        pythia: a Pythia with :data:`SETTINGS`.
        row: row in the batch of the resonance.
        pdg_id: species of the resonance.
        m: its mass in GeV.
        colours: its colour tags, 0 for none.
        seed: seed of the decay.

    Returns:
        The products, in the resonance's rest frame; None if Pythia finds no decay.
    """
    pythia.rndm.init(seed)
    event = pythia.event
    # new tags of Pythia are above the tags of the resonance
    pythia_tags = [101 if colours[0] else 0, 102 if colours[1] else 0]
    own = {tag: colour for tag, colour in zip(pythia_tags, colours, strict=True) if tag}
    for _ in range(_MAX_TRIES):
        event.reset()
        event.append(pdg_id, 22, *pythia_tags, 0.0, 0.0, 0.0, m, m, m)
        if pythia.next() and event.size() > 3:
            return read_products(event, (row,), own)
    return None
