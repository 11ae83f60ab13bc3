"""The hadrons of colour singlets of any number of partons, by Pythia 8: shower and fragmentation of each as a whole.

The partons are put on the mass shells that Pythia gives them, which keeps the four-momentum of the singlet, and shower
from the singlet's scale. What comes out is the primary hadrons, before any decay. Their four-momentum and the net
number of quarks of each flavour are those of the singlet.

References:
    Bierlich et al., A comprehensive guide to the physics and usage of PYTHIA 8.3, 2022, arXiv:2203.11601.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from fastsim.errors import LightSinglet
from fastsim.event import Floats, Ints, ParticleSet, offsets_from_counts
from fastsim.event.kinematics import boost_from, mass
from fastsim.event.reconstruction import solve_rescaling
from fastsim.event.species import MASSES, PARTON_MASSES
from fastsim.sources.hadrons import ColourChains, PartonPairs
from generators.hadrons.tokens import CONTENT, IDS, NUM_CONTENT, parton_content, species_index

SETTINGS: tuple[str, ...] = ("HadronLevel:Decay = off",)
"""What leaves primary hadrons as they are."""
_MAX_TRIES = 50
_FIRST_TAG = 101
_ROOM = 0.9
"""Share of a singlet's mass that its partons' masses take, where those of Pythia are too heavy."""
_LIGHTEST = {1: MASSES[211], 2: MASSES[211], 3: MASSES[321], 4: 1.86484, 5: 5.27926, 21: MASSES[211]}
"""Mass in GeV of the lightest hadron with a quark of each flavour."""


def least_mass(pdg_id: Ints) -> float:
    """Return the least mass in GeV of two hadrons that a singlet of these partons may become.

    >>> round(least_mass(np.array([2, 21, -1])), 4), round(least_mass(np.array([5, -5])), 4)
    (0.2791, 9.535)
    """
    first, last = int(pdg_id[0]), int(pdg_id[-1])
    if first == -last and abs(first) in (4, 5):  # as an onium and a pion
        return {4: 2.9, 5: 9.4}[abs(first)] + MASSES[111]
    return _LIGHTEST[abs(first)] + _LIGHTEST[abs(last)]


def chains_of(pairs: PartonPairs) -> ColourChains:
    """Return N pairs as chains, the first parton of each along +z."""
    half, zero = np.repeat(pairs.mass / 2, 2), np.zeros(2 * len(pairs))  # massless here; their masses come later
    p4 = np.stack([half, zero, zero, half * np.tile([1.0, -1.0], len(pairs))], axis=-1)
    return ColourChains(2 * np.arange(len(pairs) + 1), pairs.pdg_id.reshape(-1), p4, pairs.starting_scale)


def draw_chains(chains: ColourChains, rng: np.random.Generator, settings: tuple[str, ...] = ()) -> ParticleSet:
    """Draw the primary hadrons of N colour singlets, one set for each, in their rest frames.

    Args:
        chains: the singlets.
        rng: source of one Pythia seed for each.
        settings: further lines for Pythia, such as those of a tune.

    Raises:
        LightSinglet: if a singlet is too light for two hadrons of its flavours, or Pythia finds none.
    """
    if len(chains) == 0:
        return ParticleSet.empty()
    from generators.reference.pythia import own_pythia

    pythia, total = own_pythia(settings=(*SETTINGS, *settings)), chains.mass
    seeds = rng.integers(1, 900_000_000, len(chains))
    p4 = _on_pythias_shells(chains, total)
    found = []
    for row, (start, stop) in enumerate(pairwise(chains.offsets.tolist())):
        ids = chains.pdg_id[start:stop]
        hadrons = None
        if total[row] > least_mass(ids):
            hadrons = _fragment(pythia, ids, p4[start:stop], float(chains.scale[row]), int(seeds[row]))
        if hadrons is None:
            raise LightSinglet(
                f"the colour singlet of partons {', '.join(map(str, ids))} has a mass of {total[row]:.4g} GeV, too "
                f"light for hadrons of its flavours: two of them weigh {least_mass(ids):.4g} GeV at least",
                row,
            )
        found.append(hadrons)
    pdg_id, hadron_p4, m = (np.concatenate(column) for column in zip(*found, strict=True))
    offsets = offsets_from_counts(np.array([len(ids) for ids, _, _ in found]))
    return _closed(ParticleSet(offsets, pdg_id, hadron_p4), m, total)


def _on_pythias_shells(chains: ColourChains, total: Floats) -> Floats:
    """Return the partons' momenta (M, 4) in GeV with the masses that Pythia gives them, or lighter if there is no room.

    Args:
        chains: N singlets.
        total: their masses in GeV, (N,).
    """
    index = chains.index
    m = np.array([PARTON_MASSES[abs(int(i))] for i in chains.pdg_id])
    sums = np.bincount(index, m, len(chains))
    m *= np.minimum(1.0, _ROOM * total / np.maximum(sums, 1e-12))[index]
    frame: Floats = np.stack([np.bincount(index, column, len(chains)) for column in chains.p4.T], axis=-1)
    rest = boost_from(chains.p4, frame[index])
    k, _ = solve_rescaling(np.linalg.norm(rest[:, 1:], axis=1), m, index, total)
    momenta = k[index, None] * rest[:, 1:]
    return np.concatenate([np.sqrt(np.sum(momenta**2, axis=1) + m**2)[:, None], momenta], axis=1)


def _tags(pdg_id: Ints) -> list[tuple[int, int]]:
    """Return colour and anticolour tags of the partons of a chain."""
    size, first = len(pdg_id), int(pdg_id[0])
    if first == 21:
        return [(_FIRST_TAG + k, _FIRST_TAG + (k - 1) % size) for k in range(size)]
    ends = [0, *range(_FIRST_TAG, _FIRST_TAG + size - 1), 0]
    lines = list(pairwise(ends))
    return [(after, before) if first > 0 else (before, after) for before, after in lines]


def _fragment(pythia: Any, ids: Ints, p4: Floats, scale: float, seed: int) -> tuple[Ints, Floats, Floats] | None:
    """Return PDG ids (H,), four-momenta (H, 4) and masses (H,) in GeV of the primary hadrons of a chain, or None.

    Args:
        pythia: a Pythia that leaves primary hadrons as they are.
        ids: PDG ids of the partons, (M,).
        p4: their four-momenta in GeV, (M, 4).
        scale: where their shower starts, in GeV.
        seed: seed of the event.
    """
    pythia.rndm.init(seed)
    event = pythia.event
    wanted = parton_content(ids).sum(axis=0)
    m = mass(p4)
    for _ in range(_MAX_TRIES):
        event.reset()
        for pdg_id, (colour, anticolour), (e, px, py, pz), own in zip(
            ids.tolist(), _tags(ids), p4.tolist(), m.tolist(), strict=True
        ):
            event.append(pdg_id, 23, colour, anticolour, px, py, pz, e, own, scale)
        pythia.forceTimeShower(1, len(ids), scale)
        if not pythia.next():
            continue
        rows = [(p.id(), p.e(), p.px(), p.py(), p.pz(), p.m()) for p in event if p.isFinal()]
        table = np.array(rows, dtype=np.float64)
        pdg_id, hadrons = table[:, 0].astype(np.int64), table[:, 1:5]
        if not np.isin(pdg_id, IDS).all():
            continue
        if (CONTENT[species_index(pdg_id)].sum(axis=0) == wanted[:NUM_CONTENT]).all():
            return pdg_id, hadrons, table[:, 5]
    return None


def _closed(sets: ParticleSet, m: Floats, total: Floats) -> ParticleSet:
    """Return sets at rest whose four-momenta are exact: Pythia's are, to seven digits.

    Args:
        sets: N sets, nearly at rest.
        m: masses of the hadrons in GeV, (M,).
        total: masses of the sets in GeV, (N,).
    """
    index = sets.index
    rest = boost_from(sets.p4, sets.sums()[index])
    k, _ = solve_rescaling(np.linalg.norm(rest[:, 1:], axis=1), m, index, total)
    momenta = k[index, None] * rest[:, 1:]
    energy = np.sqrt(np.sum(momenta**2, axis=1) + m**2)
    return ParticleSet(sets.offsets, sets.pdg_id, np.concatenate([energy[:, None], momenta], axis=1))
