"""Photons off the charged leptons of the hard process, from Pythia's shower, as ordinary Pythia has them.

The leptons that one particle decays into, or that the incoming partons make together, radiate in their rest frame from
half their mass on, with the matrix element of the decay where Pythia has it. What a lepton has become stands in the
hard record as its products, taus before they decay. Photons do not split, and leptons of decayed taus do not radiate.

References:
    Bierlich et al., A comprehensive guide to the physics and usage of PYTHIA 8.3, 2022, arXiv:2203.11601.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from fastsim.event import Floats, HardEvents, Ints
from fastsim.event.kinematics import boost_from, boost_to, mass, on_shell
from fastsim.event.species import masses
from fastsim.event.vertices import LIFETIME, lifetimes
from generators.reference.products import MOTHER, PDG_ID, STATUS, Products, append_products

Row = tuple[float, ...]
"""PDG id and four-momentum in GeV of a particle."""

RADIATED = "radiated_photons"
"""The tally of the photons."""
SETTINGS = ("TimeShower:QEDshowerByGamma = off",)
_CHARGED, _NEUTRAL = (11, 13, 15), (12, 14, 16)
_TAU, _LEAST_HADRON = 15, 100
_LEAST = 1e-3
"""Energy in GeV that a system must have above the masses of its leptons to radiate."""
_RESONANCE, _OUTGOING = -22, 23
"""Statuses of Pythia's records."""


def radiate_photons(events: HardEvents, rng: np.random.Generator) -> HardEvents:
    """Return the events with the photons off their final leptons; the leptons of a system keep their total momentum.

    The tally :data:`RADIATED` counts the photons.

    Args:
        events: the events.
        rng: source of randomness.
    """
    systems = _systems(events)
    if not systems:
        return events
    from generators.reference.pythia import own_pythia

    pythia = own_pythia(settings=SETTINGS)
    rows, frames, p4 = _at_rest(events, systems)
    own, ends = mass(p4).tolist(), np.cumsum([len(system) for system in systems]).tolist()
    seeds = rng.integers(1, 900_000_000, len(systems)).tolist()
    ids, momenta = events.pdg_id[rows].tolist(), p4.tolist()
    found: list[tuple[int, list[Row]]] = []
    for start, end, seed in zip([0, *ends], ends, seeds, strict=False):
        made = _radiated(pythia, ids[start:end], momenta[start:end], own[start:end], seed)
        found += zip(range(start, end), made, strict=False)
    if not found:
        return events
    leptons = np.array([k for k, _ in found])
    counts = [len(made) for _, made in found]
    flat = np.array([row for _, made in found for row in made])
    moved = boost_to(flat[:, 1:], frames[np.repeat(leptons, counts)])
    kinds, stops = flat[:, 0].astype(np.int64), np.cumsum(counts).tolist()
    table = np.zeros((len(kinds), 5), np.int64)
    table[:, PDG_ID], table[:, STATUS], table[:, MOTHER] = kinds, 1, -1
    flight = lifetimes(events)
    own_flights = np.where(kinds == 22, 0.0, np.repeat(flight[rows[leptons]], counts))
    if own_flights.any():  # what flies is what a lepton has become
        flight[rows[leptons]] = 0.0
        events = events.with_columns(hard={LIFETIME: flight})
    products = [
        Products((row,), table[start:stop], moved[start:stop], own_flights[start:stop], (0.0,))
        for row, start, stop in zip(rows[leptons].tolist(), [0, *stops], stops, strict=False)
    ]
    photons = np.repeat(events.index[rows[leptons]], counts)[kinds == 22]
    return append_products(events.tally(RADIATED, photons), rows[leptons].tolist(), products)


def _systems(events: HardEvents) -> list[list[int]]:
    """Return the rows of the leptons that are made together, where at least one of them is charged."""
    mothers = np.where(events.mothers >= 0, events.mothers + events.offsets[events.index][:, None], -1)
    first = mothers[:, 0]
    origin = np.abs(np.where(first >= 0, events.pdg_id[first], 0))
    wanted = (events.status == 1) & np.isin(np.abs(events.pdg_id), (*_CHARGED, *_NEUTRAL)) & (first >= 0)
    wanted &= (origin != _TAU) & (origin < _LEAST_HADRON)
    found: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for row in np.flatnonzero(wanted).tolist():
        found[tuple(mothers[row].tolist())].append(row)
    return [rows for rows in found.values() if len(rows) > 1 and np.isin(np.abs(events.pdg_id[rows]), _CHARGED).any()]


def _at_rest(events: HardEvents, systems: list[list[int]]) -> tuple[Ints, Floats, Floats]:
    """Return the rows (L,) of the leptons of systems, the momenta (L, 4) of their systems, and their own in these.

    Pairs have the masses of their species, which limit what is radiated: files may have massless leptons.
    """
    rows, sizes = np.concatenate(systems), np.array([len(system) for system in systems])
    starts = np.cumsum(sizes) - sizes
    totals = np.add.reduceat(events.p4[rows], starts)
    frames = np.repeat(totals, sizes, axis=0)
    p4 = boost_from(events.p4[rows], frames)
    own, whole = masses(events.pdg_id[rows]), mass(totals)
    pairs = starts[sizes == 2]
    one, other = own[pairs], own[pairs + 1]
    square = (whole[sizes == 2] ** 2 - (one + other) ** 2) * (whole[sizes == 2] ** 2 - (one - other) ** 2)
    size = np.sqrt(np.maximum(square, 0.0)) / np.maximum(2 * whole[sizes == 2], 1e-300)
    vectors = p4[pairs, 1:] * (size / np.maximum(np.linalg.norm(p4[pairs, 1:], axis=1), 1e-300))[:, None]
    for place, sign in ((pairs, 1.0), (pairs + 1, -1.0)):
        p4[place, 1:] = sign * vectors
        p4[place] = on_shell(p4[place], own[place])
    return rows, frames, p4


def _radiated(pythia: Any, ids: list[int], p4: list[list[float]], own: list[float], seed: int) -> list[list[Row]]:
    """Return what each of a system's leptons becomes; nothing if no photon is radiated.

    Args:
        pythia: a Pythia with :data:`SETTINGS`.
        ids: PDG ids of the leptons.
        p4: their four-momenta in GeV where the system is at rest.
        own: their masses in GeV.
        seed: decides the photons.
    """
    whole = sum(vector[0] for vector in p4)
    if whole <= sum(own) + _LEAST:
        return []
    charge = sum(-one // abs(one) for one in ids if abs(one) in _CHARGED)
    pythia.rndm.init(seed)
    record, last = pythia.event, len(ids) + 1
    record.reset()
    record.append({1: 24, -1: -24}.get(charge, 23), _RESONANCE, 0, 0, 2, last, 0, 0, 0.0, 0.0, 0.0, whole, whole, whole)
    for one, (e, px, py, pz), m in zip(ids, p4, own, strict=True):
        record.append(one, _OUTGOING, 1, 0, 0, 0, 0, 0, px, py, pz, e, m, whole)
    pythia.forceTimeShower(2, last, 0.5 * whole)
    if record.size() == last + 1:
        return []
    made: list[list[Row]] = [[] for _ in ids]
    for k in range(2, record.size()):
        particle = record[k]
        if particle.isFinal():
            while k > last:
                k = record[k].mother1()
            made[k - 2].append((particle.id(), particle.e(), particle.px(), particle.py(), particle.pz()))
    return made
