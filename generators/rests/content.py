"""Charge and baryon number of a rest, made to fit the hadrons of the hard partons: together they have the beams'.

Hadrons drawn for each parton do not add up to the quantum numbers of the hard process, while a rest has what is left of
the beams without it. So some hadrons of the rest become others: a nucleon or kaon its partner in isospin, which shifts
the charge by one, and a nucleon a pion or a pion a nucleon, which shifts the baryon number by one. Their momenta stay;
their masses change by 4 MeV (or 0.8 GeV), which :mod:`generators.rests.closure` makes up for. Each shift is as likely
to remove one kind as to add it, so that their numbers stay what they are on average. A K0 that the partons became
stands before its K0S or K0L in the record; one that becomes charged is the same kaon there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Ints, ParticleSet
from fastsim.event.kinematics import on_shell, rapidity
from fastsim.event.species import masses
from fastsim.sources.hadrons import TAU0_MAX
from generators.rests.moves import choose

Replacements = dict[int, tuple[int, ...]]
"""Species that may take the place of a species, by its PDG id."""

CHARGE_DOWN: Replacements = {321: (130, 310), 130: (-321,), 310: (-321,), 2212: (2112,), -2112: (-2212,)}
"""What may become what to shift the charge by -1; of several one is drawn."""
CHARGE_UP: Replacements = {-321: (130, 310), 130: (321,), 310: (321,), -2212: (-2112,), 2112: (2212,)}
BARYON_DOWN: Replacements = {2212: (211,), -211: (-2212,)}
BARYON_UP: Replacements = {-2212: (-211,), 211: (2212,)}
_K_ZERO, _K_PLUS = 311, 321
_HALF = (130, 310)
"""Species of which only the half can be meant: they are K0 and anti-K0."""
_ADDED = (-211, 211)
"""Species of which there are too many: they are to be chosen as often as the nucleons together."""
_KINDS = (130, 310, -211, 211, -321, 321, -2112, 2112, -2212, 2212)
"""Species that may change."""
_LARGEST = 2212
_KIND = np.full(2 * _LARGEST + 1, -1)
_KIND[list(_KINDS)] = np.arange(len(_KINDS))  # those of antiparticles are at its end
CENTRAL = 5.0
"""Absolute rapidity up to which particles are changed where possible: those beyond carry what is left of the beams."""
MAX_SHIFT = 20
_K_SHORT, _K_SHORT_LENGTH = 310, 26.84
"""A species that may decay in the rests, and its mean lifetime times c in mm."""


def shift_content(
    particles: ParticleSet,
    charge: Ints,
    baryon_number: Ints,
    rng: np.random.Generator,
    *,
    tau0_max: float = TAU0_MAX,
) -> tuple[ParticleSet, NDArray[np.bool_]]:
    """Shift charges and baryon numbers of N sets by changing final particles that are no decay products.

    Args:
        particles: the sets.
        charge: shift of each set's charge in units of e, (N,).
        baryon_number: shift of each set's baryon number, (N,).
        rng: draws the particles.
        tau0_max: particles with a c*tau above this, in mm, are stable: below that of the K0S, all neutral kaons are
            K0L.

    Returns:
        The sets, and which of them (N,) have been shifted as asked for; others lack particles that could be changed.
    """
    pdg_id, index = particles.pdg_id.copy(), particles.index
    parent = _k_zeros(particles)
    primary = (
        np.ones(len(pdg_id), bool) if particles.history is None else (particles.history.mother < 0) | (parent >= 0)
    )
    kind = np.full(len(pdg_id), -1)
    small = primary & (np.abs(pdg_id) <= _LARGEST)
    kind[small] = _KIND[pdg_id[small]]
    candidates = np.flatnonzero(kind >= 0)
    kind, of_set, size = kind[candidates], index[candidates], len(particles)
    outer = np.where(np.abs(rapidity(particles.p4[candidates])) > CENTRAL, 1e6, 0.0)
    left = np.stack([baryon_number, baryon_number, charge, charge]).astype(np.int64)
    left[0::2], left[1::2] = np.maximum(-left[0::2], 0), np.maximum(left[1::2], 0)
    tables: tuple[Replacements, ...] = (BARYON_DOWN, BARYON_UP, CHARGE_DOWN, CHARGE_UP)
    half = 0.5
    if tau0_max > _K_SHORT_LENGTH:
        tables, half = tuple(map(_without_k_short, tables)), 1.0
    sums, best, chosen = np.empty((2, size)), np.empty(size), np.empty(size, np.int64)
    for number, (remaining, table) in enumerate(zip(left, tables, strict=True)):
        weight = np.array([(half if species in _HALF else 1.0) * (species in table) for species in _KINDS])
        added = np.array([float(species in _ADDED) for species in _KINDS])
        balanced = number < 2
        for _ in range(MAX_SHIFT):
            if not (remaining > 0).any():
                break
            # the smallest of exponential variates of these rates is that of each with a chance in proportion
            key = rng.exponential(size=len(candidates))
            choose(key, kind, weight, added if balanced else added[:0], outer, of_set, remaining, sums, best, chosen)
            sets = np.flatnonzero(chosen >= 0)
            rows = candidates[chosen[sets]]
            coin = rng.integers(0, 2, size)[sets]
            pdg_id[rows] = [table[k][c % len(table[k])] for k, c in zip(pdg_id[rows].tolist(), coin, strict=True)]
            kind[chosen[sets]] = _KIND[pdg_id[rows]]
            remaining[sets] -= 1
            if len(sets) == 0:
                break
    changed = np.flatnonzero(pdg_id != particles.pdg_id)
    p4 = particles.p4.copy()
    p4[changed] = on_shell(p4[changed], masses(pdg_id[changed]))
    history = particles.history
    charged = changed[(parent[changed] >= 0) & (np.abs(pdg_id[changed]) == _K_PLUS)]
    if history is not None and len(charged):
        above, momenta = history.decayed.pdg_id.copy(), history.decayed.p4.copy()
        above[parent[charged]], momenta[parent[charged]] = pdg_id[charged], p4[charged]
        history = replace(history, decayed=replace(history.decayed, pdg_id=above, p4=momenta))
    return replace(particles, pdg_id=pdg_id, p4=p4, history=history), np.asarray((left == 0).all(axis=0))


def _k_zeros(particles: ParticleSet) -> Ints:
    """Return for each final particle (M,) the row of the primary K0 that it is half of, -1 for others."""
    history = particles.history
    found = np.full(len(particles.pdg_id), -1)
    if history is None or len(history.decayed.pdg_id) == 0:
        return found
    decayed = history.decayed
    row = np.maximum(history.mother, 0) + decayed.offsets[particles.index]
    row = np.minimum(row, len(decayed.pdg_id) - 1)
    wanted = (history.mother >= 0) & np.isin(particles.pdg_id, _HALF)
    wanted &= (np.abs(decayed.pdg_id[row]) == _K_ZERO) & (decayed.mother[row] < 0)
    found[wanted] = row[wanted]
    return found


def _without_k_short(table: Replacements) -> Replacements:
    """Return a table in which no K0S stands."""
    kept = {species: tuple(other for other in others if other != _K_SHORT) for species, others in table.items()}
    return {species: others for species, others in kept.items() if species != _K_SHORT}
