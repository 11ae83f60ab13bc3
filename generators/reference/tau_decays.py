"""Decays of tau leptons with their polarisation and, for the two of a pair, their spin correlation, by Pythia 8.

The two leptons of a decay (tau tau, tau nu, or tau and another lepton) go to Pythia together with the particle that
made them, and Pythia's helicity matrix elements do the rest. Where the spins come from is decided in this order:

1. A neutral Higgs boson: Pythia's matrix element, with all correlations, longitudinal and transverse.
2. The file: the helicities of the hard column ``spin`` (SPINUP of Les Houches events), unless it is 0 or unknown.
3. f fbar -> gamma*/Z -> tau tau and nothing else, with or without the boson in the record: helicities drawn from the
   cross-section at this angle and mass, for these incoming fermions. Pythia's matrix element of this process has
   the transverse correlation as well, which is left out here: it costs 9 ms an event, all the rest 0.8 ms.
4. The mother: Pythia's matrix elements of an unpolarised Z or gamma*, of a W (left-handed taus) and of a charged Higgs
   boson (right-handed ones). A pair without a mother in the record comes from a W if it is tau nu, else from a Z if
   its mass is within 15 widths of it, else from a gamma*.

What is left, such as a tau of a leptoquark, is unpolarised, as it is in Pythia. A tau flies as long as the hard column
``lifetime`` says, or, where that is 0, as its mean lifetime lets it.

References:
    Ilten, Tau Decays in Pythia 8, 2012, arXiv:1211.6730.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastsim.event import UNKNOWN_SPIN, HardEvents
from fastsim.event.kinematics import boost_from, boost_to, mass, mass_squared
from generators.reference.decay_angles import cos_angle
from generators.reference.electroweak import MASS_Z, WIDTH_Z, angular_rates, helicity_rates, is_annihilation
from generators.reference.family import Family, Rows
from generators.reference.products import Products, append_products, cannot_decay, read_products

TAU, TAU_NEUTRINO = 15, 16
GAMMA, Z, W = 22, 23, 24
NEUTRAL_HIGGS = frozenset({25, 35, 36})

SETTINGS: tuple[str, ...] = (
    "HadronLevel:Hadronize = off",
    "ProcessLevel:resonanceDecays = off",
    "Check:event = off",
)
"""Pythia decays nothing but the taus, and the unstable hadrons that come from them."""
FROM_MOTHER = (*SETTINGS, "TauDecays:mode = 4")
"""Settings for taus whose spins follow from their mother."""
FROM_HELICITIES = (*SETTINGS, "TauDecays:mode = 5", "TauDecays:externalMode = 0")
"""Settings for taus with given helicities, each on its own."""
_MAX_TRIES = 20


@dataclass(frozen=True)
class _System:
    """One tau, or the two leptons of a decay of which at least one is a tau.

    Attributes:
        leptons: their rows in the batch.
        mother: PDG id of what made them; 0 for unknown.
        helicities: of the leptons; UNKNOWN_SPIN where they follow from the mother.
        in_lab: whether the helicities are those in the frame of the record, not in the rest frame of the leptons.
    """

    leptons: Rows
    mother: int
    helicities: tuple[float, ...]
    in_lab: bool = False


def decay_taus(events: HardEvents, rng: np.random.Generator, settings: tuple[str, ...] = ()) -> HardEvents:
    """Return the events with all taus decayed.

    Args:
        events: the events.
        rng: source of randomness.
        settings: further lines for Pythia.

    Raises:
        InvalidEvent: if Pythia finds no decay for a tau.
    """
    taus = np.flatnonzero((events.status == 1) & (np.abs(events.pdg_id) == TAU)).tolist()
    if not taus:
        return events
    from generators.reference.pythia import own_pythia

    systems = _systems(events, taus, rng)
    seeds = rng.integers(1, 900_000_000, len(systems))
    products = []
    for system, seed in zip(systems, seeds, strict=True):
        known = UNKNOWN_SPIN not in system.helicities
        pythia = own_pythia(settings=(*(FROM_HELICITIES if known else FROM_MOTHER), *settings))
        products.append(_decay(pythia, events, system, int(seed)))
    return append_products(events, taus, products)


def _systems(events: HardEvents, taus: list[int], rng: np.random.Generator) -> list[_System]:
    """Group the taus (rows) with the leptons that were made with them, and find their spins."""
    family = Family(events)
    ids = events.pdg_id
    final = {family.first_copy(k): k for k in np.flatnonzero((events.status == 1) & _is_lepton(ids)).tolist()}
    systems: list[_System] = []
    done: set[int] = set()
    for tau in taus:
        if tau in done:
            continue
        first = family.first_copy(tau)
        partner = _partner(int(ids[tau]), [(int(ids[k]), final[k]) for k in family.sisters(first) if k in final])
        leptons = (tau,) if partner is None or partner in done else (tau, partner)
        done.update(leptons)
        systems.append(_with_spins(events, family, leptons, rng))
    return systems


def _is_lepton(ids: Any) -> Any:
    return (np.abs(ids) >= 11) & (np.abs(ids) <= 16)


def _partner(tau: int, others: list[tuple[int, int]]) -> int | None:
    """Return the row of the lepton that was made with a tau: the other tau, else a neutrino, else what balances it.

    Args:
        tau: PDG id of the tau.
        others: PDG ids and rows of the leptons with the same mothers.
    """
    sign = -1 if tau > 0 else 1
    for wanted in ((TAU,), (TAU_NEUTRINO,), (11, 13), (12, 14)):
        for pdg_id, row in others:
            if sign * pdg_id in wanted:
                return row
    return None


def _with_spins(events: HardEvents, family: Family, leptons: Rows, rng: np.random.Generator) -> _System:
    """Return the system of one or two leptons with its mother and helicities, those before they radiated.

    Args:
        events: the events.
        family: their family.
        leptons: rows of the leptons, of which the first is a tau.
        rng: source of randomness, for helicities that are drawn.
    """
    ids = events.pdg_id
    made = tuple(family.first_copy(k) for k in leptons)
    first = made[0]
    mothers = family.mothers(first)
    unknown = (UNKNOWN_SPIN,) * len(leptons)
    mother = int(ids[mothers[0]]) if len(mothers) == 1 else 0
    if mother in NEUTRAL_HIGGS:
        return _System(leptons, mother, unknown)
    if "spin" in events.hard_columns:
        spins = events.hard_columns["spin"][list(made)]
        if all(0 < abs(s) <= 1 for s, k in zip(spins, leptons, strict=True) if abs(ids[k]) == TAU):
            # a neutrino needs none
            return _System(leptons, mother, tuple(float(s) if abs(s) <= 1 else 0.0 for s in spins), in_lab=True)
    if len(leptons) < 2:
        return _System(leptons, mother, unknown)
    pair = [int(ids[k]) for k in leptons]
    if pair[0] == -pair[1] and (mother in (0, GAMMA, Z)):
        members = (mothers[0],) if mother else family.sisters(first)
        incoming = family.mothers(mothers[0]) if mother else mothers
        alone = not family.sisters(mothers[0]) if mother else len(members) == 1
        if alone and len(incoming) == 2 and is_annihilation(*(int(ids[k]) for k in incoming)):
            return _System(leptons, Z, _drawn_helicities(events, incoming, made, rng))
    if mother == 0 and mothers:
        near_z = abs(float(mass(events.p4[list(made)].sum(axis=0))) - MASS_Z) < 15 * WIDTH_Z
        if pair[0] == -pair[1]:
            mother = Z if near_z else GAMMA
        elif abs(pair[1]) == TAU_NEUTRINO:
            mother = W if pair[0] < 0 else -W
    return _System(leptons, mother, unknown)


def _drawn_helicities(events: HardEvents, incoming: Rows, leptons: Rows, rng: np.random.Generator) -> tuple[float, ...]:
    """Return helicities of a tau pair of f fbar -> gamma*/Z -> tau tau, drawn from the cross-section.

    Args:
        events: the events.
        incoming: rows of the incoming fermions.
        leptons: rows of the two taus.
        rng: source of randomness.
    """
    fermion = incoming[int(events.pdg_id[incoming[0]] < 0)]
    minus = int(events.pdg_id[leptons[0]] < 0)  # the place of the tau-
    total = events.p4[list(leptons)].sum(axis=0)[None]
    cosine = cos_angle(*(boost_from(events.p4[[k]], total) for k in (fermion, leptons[minus])))
    rates = helicity_rates(abs(int(events.pdg_id[fermion])), TAU, mass_squared(total))
    left, right = angular_rates(rates, cosine)[0].sum(axis=0)
    helicity = -1.0 if rng.random() * (left + right) < left else 1.0
    return (helicity, -helicity) if minus == 0 else (-helicity, helicity)


def _decay(pythia: Any, events: HardEvents, system: _System, seed: int) -> Products:
    """Decay the taus of a system.

    Args:
        pythia: a Pythia with the settings for this system.
        events: the events.
        system: the taus and what goes with them.
        seed: seed of the decay.

    Raises:
        InvalidEvent: if Pythia finds no decay.
    """
    pythia.rndm.init(seed)
    record = pythia.event
    leptons = list(system.leptons)
    lab = events.p4[leptons]
    total = lab.sum(axis=0)
    moves = len(leptons) > 1 and not system.in_lab
    p4 = boost_from(lab, np.broadcast_to(total, lab.shape)) if moves else lab
    ids, masses = events.pdg_id[leptons], mass(lab)
    num_taus = int((np.abs(ids) == TAU).sum())
    last = 1 + len(leptons)
    entries = range(2, last + 1)
    for _ in range(_MAX_TRIES):
        record.reset()
        e, px, py, pz = map(float, p4.sum(axis=0))
        # an unknown mother: any that Pythia does not know either
        record.append(system.mother or 90, -22, 0, 0, 2, last, 0, 0, px, py, pz, e, float(mass(total)), 0.0, 9.0)
        for pdg_id, (e, px, py, pz), m, helicity in zip(ids, p4, masses, system.helicities, strict=True):
            args = (float(px), float(py), float(pz), float(e), float(m), 0.0, helicity)
            record.append(int(pdg_id), 23, 1, 0, 0, 0, 0, 0, *args)
        if pythia.next() and sum(not record[k].isFinal() for k in entries) == num_taus:
            products = read_products(record, (leptons[0], *leptons))
            back = boost_to(products.p4, np.broadcast_to(total, products.p4.shape)) if moves else products.p4
            # Pythia gives lifetimes to hadrons only
            flights = [record[k].tau0() * pythia.rndm.exp() if abs(record[k].id()) == TAU else 0.0 for k in entries]
            return replace(products, p4=back, of_roots=(0.0, *flights))
    raise cannot_decay(events, leptons[0])
