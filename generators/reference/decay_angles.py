"""Directions of the decay products of W and Z that remember how the boson was made.

Pythia decays the resonances of a hand-made record isotropically. Here the directions of the two fermions of each
W or Z are drawn again in its rest frame, until they are accepted with the squared matrix element of

- t -> b W -> b f fbar', V-A on both sides, as in Pythia's ``weightTopDecay``;
- H -> Z Z or W W -> four fermions, and H -> gamma Z, of a CP-even Higgs boson, as in ``weightHiggsDecay``;
- f fbar -> gamma*/Z or W -> f' fbar', where the boson is all that the two incoming fermions make, as in Pythia's own
  Drell-Yan processes; Pythia does not do so for the bosons of an LHE file.

A boson made in another way keeps the isotropic decay, which Pythia too gives to a boson of an LHE file.

References:
    Bierlich et al., A comprehensive guide to the physics and usage of PYTHIA 8.3, 2022, arXiv:2203.11601.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Floats, HardEvents, Ints
from fastsim.event.kinematics import boost_from, boost_to, mass_squared
from generators.reference.electroweak import W_RATES, angular_rates, asymmetry, helicity_rates, is_annihilation
from generators.reference.family import Family

Weight = Callable[[Floats], Floats]
"""A squared matrix element over its maximum (N,) as a function of the momenta (N, L, 4) of L legs in GeV."""
Decay = tuple[int, int, int]
"""Rows of a boson, of the fermion and of the antifermion that it decays to."""

_MAX_TRIES = 10_000
"""Tries of a direction; the acceptance is 1/8 or more."""


def correlate(events: HardEvents, drawn: NDArray[np.bool_], rng: np.random.Generator) -> HardEvents:
    """Return the events with the decays of W and Z correlated with their production.

    Args:
        events: the events, with isotropic decays.
        drawn: which entries (K,) may get another direction; those of a file may not.
        rng: source of randomness.
    """
    family = Family(events)
    ids = events.pdg_id
    decays: dict[int, Decay] = {}
    for boson in np.flatnonzero((np.abs(ids) == 24) | (ids == 23)).tolist():
        pair = sorted(family.children(boson), key=lambda row: -int(ids[row]))
        if len(pair) == 2 and drawn[pair].all() and ids[pair[0]] > 0 > ids[pair[1]]:
            decays[boson] = (boson, pair[0], pair[1])
    # systems with the same matrix element, each a tuple of its legs: the decays first
    systems: defaultdict[tuple[int, Weight], list[tuple[int, ...]]] = defaultdict(list)
    for boson, decay in decays.items():
        mothers, sisters = family.mothers(boson), family.sisters(boson)
        mother_ids, sister_ids = [int(ids[k]) for k in mothers], [int(ids[k]) for k in sisters]
        if len(mothers) == 1 and len(sisters) == 1:
            if abs(mother_ids[0]) == 6 and abs(sister_ids[0]) in (1, 3, 5):
                systems[1, _top if mother_ids[0] > 0 else _antitop].append((*decay, *mothers, *sisters))
            elif mother_ids[0] == 25 and sister_ids[0] == 22:
                systems[1, _higgs_to_photon].append((*decay, *sisters))
            elif mother_ids[0] == 25 and sisters[0] in decays and _is_first(ids, boson, sisters[0]):
                coupling = 1.0 if ids[boson] == 24 else asymmetry(int(ids[decay[1]]), int(ids[decays[sisters[0]][1]]))
                systems[2, _higgs(coupling)].append((*decay, *decays[sisters[0]], *mothers))
        elif len(mothers) == 2 and not sisters and is_annihilation(*mother_ids):
            incoming = mothers[mother_ids[1] > 0]
            fermions = (abs(int(ids[incoming])), int(ids[decay[1]])) if ids[boson] == 23 else None
            systems[1, _annihilation(fermions)].append((*decay, incoming))
    p4 = events.p4.copy()
    for (num_decays, weight), legs in systems.items():
        _accept(p4, np.array(legs), num_decays, weight, rng)
    return replace(events, p4=p4)


def _is_first(ids: Ints, boson: int, other: int) -> bool:
    """Tell whether the boson is the first of a pair: of two Z by its row, of two W the positive one."""
    return bool(ids[boson] > ids[other] or (ids[boson] == ids[other] and boson < other))


def _accept(p4: Floats, legs: Ints, num_decays: int, weight: Weight, rng: np.random.Generator) -> None:
    """Draw the directions in ``p4`` again until the matrix element accepts them.

    Args:
        p4: four-momenta of the batch in GeV, (K, 4); they change.
        legs: rows of the legs of each system, the decays first, (N, L).
        num_decays: number of bosons of each system.
        weight: the matrix element.
        rng: source of randomness.
    """
    pending = np.arange(len(legs))
    for _ in range(_MAX_TRIES):
        pending = pending[rng.random(len(pending)) >= weight(p4[legs[pending]])]
        if not len(pending):
            return
        for k in range(num_decays):
            boson, *fermions = legs[pending, 3 * k : 3 * k + 3].T
            frame = p4[boson]
            at_rest = boost_from(p4[fermions[0]], frame)
            direction = rng.normal(size=(len(pending), 3))
            direction /= np.linalg.norm(direction, axis=1, keepdims=True)
            momentum = direction * np.linalg.norm(at_rest[:, 1:], axis=1, keepdims=True)
            for row, sign in zip(fermions, (1, -1), strict=True):
                energy = boost_from(p4[row], frame)[:, :1]
                p4[row] = boost_to(np.concatenate([energy, sign * momentum], axis=1), frame)


def _dot(a: Floats, b: Floats) -> Floats:
    """Return the scalar products of four-momenta (N, 4) in GeV^2, shape (N,)."""
    value: Floats = a[:, 0] * b[:, 0] - (a[:, 1:] * b[:, 1:]).sum(axis=1)
    return value


def _top_decay(w: Floats, alike: Floats, other: Floats, top: Floats, quark: Floats) -> Floats:
    """Return the weight of t -> b W -> b f fbar' (N,); ``alike`` is the fermion with the sign of the top quark."""
    maximum = (mass_squared(top) ** 2 - mass_squared(w) ** 2) / 8
    value: Floats = _dot(top, other) * _dot(alike, quark) / maximum
    return value


def _top(p: Floats) -> Floats:
    """Return the weight (N,) of the legs W+, f, fbar', t, b."""
    return _top_decay(p[:, 0], p[:, 1], p[:, 2], p[:, 3], p[:, 4])


def _antitop(p: Floats) -> Floats:
    """Return the weight (N,) of the legs W-, f, fbar', tbar, bbar."""
    return _top_decay(p[:, 0], p[:, 2], p[:, 1], p[:, 3], p[:, 4])


@cache
def _higgs(coupling: float) -> Weight:
    """Return the weight of the legs V, f, fbar, V', f', fbar', H.

    Args:
        coupling: the :func:`asymmetry` of the two pairs of fermions; 1 for W bosons.
    """

    def weight(p: Floats) -> Floats:
        f, fbar, f_2, fbar_2 = p[:, 1], p[:, 2], p[:, 4], p[:, 5]
        same = (1 + coupling) * _dot(f, f_2) * _dot(fbar, fbar_2)
        opposite = (1 - coupling) * _dot(f, fbar_2) * _dot(fbar, f_2)
        value: Floats = 32 * (same + opposite) / mass_squared(p[:, 6]) ** 2
        return value

    return weight


def _higgs_to_photon(p: Floats) -> Floats:
    """Return the weight (N,) of the legs Z, f, fbar, gamma: 1 + cos^2 theta in the rest frame of the Z."""
    total = _dot(p[:, 3], p[:, 0])
    value: Floats = (_dot(p[:, 3], p[:, 1]) ** 2 + _dot(p[:, 3], p[:, 2]) ** 2) / total**2
    return value


@cache
def _annihilation(fermions: tuple[int, int] | None) -> Weight:
    """Return the weight of the legs V, f', fbar', f of f fbar -> V -> f' fbar'.

    Args:
        fermions: PDG ids of f and f' if V is a Z; None for a W.
    """

    def weight(p: Floats) -> Floats:
        boson = p[:, 0]
        rates = W_RATES if fermions is None else helicity_rates(*fermions, mass_squared(boson))
        cosine = cos_angle(boost_from(p[:, 1], boson), boost_from(p[:, 3], boson))
        highest = np.maximum(*(angular_rates(rates, np.full(len(p), c)).sum(axis=(1, 2)) for c in (-1.0, 1.0)))
        value: Floats = angular_rates(rates, cosine).sum(axis=(1, 2)) / highest
        return value

    return weight


def cos_angle(a: Floats, b: Floats) -> Floats:
    """Return the cosines of the angles between four-momenta (N, 4), shape (N,)."""
    size = np.linalg.norm(a[:, 1:], axis=1) * np.linalg.norm(b[:, 1:], axis=1)
    value: Floats = (a[:, 1:] * b[:, 1:]).sum(axis=1) / size
    return value
