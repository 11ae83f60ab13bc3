"""Charge and baryon number of a rest, made to fit the hadrons of the hard partons: together they have the beams'.

Hadrons drawn for each parton do not add up to the quantum numbers of the hard process, while a rest has what is left of
the beams without it. So some primary hadrons of the rest become others: a nucleon or kaon its partner in isospin, which
shifts the charge by one, and a nucleon a pion or a pion a nucleon, which shifts the baryon number by one. Quiet rests
may lack kaons and nucleons: there pions shift the charge that is left. Their momenta stay; their masses change by 4 MeV
(or 0.8 GeV), which :mod:`generators.rests.closure` makes up for. Each shift is as likely to remove one kind as to add
it, so that their numbers stay what they are on average.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Ints, ParticleSet
from fastsim.event.kinematics import on_shell, rapidity
from fastsim.event.species import masses
from generators.rests.moves import choose

Replacements = dict[int, int]
"""Species that takes the place of a species, by its PDG id."""

CHARGE_DOWN: Replacements = {321: 311, -311: -321, 2212: 2112, -2112: -2212}
"""What becomes what to shift the charge by -1."""
CHARGE_UP: Replacements = {new: old for old, new in CHARGE_DOWN.items()}
PIONS_DOWN: Replacements = {211: 111, 111: -211}
"""What becomes what where nothing else is left to shift the charge by -1."""
PIONS_UP: Replacements = {new: old for old, new in PIONS_DOWN.items()}
BARYON_DOWN: Replacements = {2212: 211, -211: -2212}
BARYON_UP: Replacements = {new: old for old, new in BARYON_DOWN.items()}
_ADDED = (-211, 211)
"""Species of which there are too many: they are to be chosen as often as the nucleons together."""
_KINDS = (111, -211, 211, -311, 311, -321, 321, -2112, 2112, -2212, 2212)
"""Species that may change."""
_LARGEST = 2212
_KIND = np.full(2 * _LARGEST + 1, -1)
_KIND[list(_KINDS)] = np.arange(len(_KINDS))  # those of antiparticles are at its end
CENTRAL = 5.0
"""Absolute rapidity up to which particles are changed where possible: those beyond carry what is left of the beams."""
MAX_SHIFT = 20


def shift_content(
    particles: ParticleSet, charge: Ints, baryon_number: Ints, rng: np.random.Generator
) -> tuple[ParticleSet, NDArray[np.bool_]]:
    """Shift charges and baryon numbers of N sets by changing primary hadrons.

    Args:
        particles: the sets, without history.
        charge: shift of each set's charge in units of e, (N,).
        baryon_number: shift of each set's baryon number, (N,).
        rng: draws the particles.

    Returns:
        The sets, and which of them (N,) have been shifted as asked for; others lack particles that could be changed.
    """
    pdg_id, index = particles.pdg_id.copy(), particles.index
    kind = np.full(len(pdg_id), -1)
    small = np.abs(pdg_id) <= _LARGEST
    kind[small] = _KIND[pdg_id[small]]
    candidates = np.flatnonzero(kind >= 0)
    kind, of_set, size = kind[candidates], index[candidates], len(particles)
    outer = np.where(np.abs(rapidity(particles.p4[candidates])) > CENTRAL, 1e6, 0.0)
    left = np.stack([baryon_number, baryon_number, charge, charge]).astype(np.int64)
    left[0::2], left[1::2] = np.maximum(-left[0::2], 0), np.maximum(left[1::2], 0)
    down, up = left[2:]
    shifts = (
        *((left[0], BARYON_DOWN), (left[1], BARYON_UP)),
        *((down, CHARGE_DOWN), (up, CHARGE_UP), (down, PIONS_DOWN), (up, PIONS_UP)),
    )
    sums, best, chosen = np.empty((2, size)), np.empty(size), np.empty(size, np.int64)
    added = np.array([float(species in _ADDED) for species in _KINDS])
    for number, (remaining, table) in enumerate(shifts):
        weight = np.array([float(species in table) for species in _KINDS])
        balanced = number < 2
        for _ in range(MAX_SHIFT):
            if not (remaining > 0).any():
                break
            # the smallest of exponential variates of these rates is that of each with a chance in proportion
            key = rng.exponential(size=len(candidates))
            choose(key, kind, weight, added if balanced else added[:0], outer, of_set, remaining, sums, best, chosen)
            sets = np.flatnonzero(chosen >= 0)
            rows = candidates[chosen[sets]]
            pdg_id[rows] = [table[k] for k in pdg_id[rows].tolist()]
            kind[chosen[sets]] = _KIND[pdg_id[rows]]
            remaining[sets] -= 1
            if len(sets) == 0:
                break
    changed = np.flatnonzero(pdg_id != particles.pdg_id)
    p4 = particles.p4.copy()
    p4[changed] = on_shell(p4[changed], masses(pdg_id[changed]))
    return replace(particles, pdg_id=pdg_id, p4=p4), np.asarray((left == 0).all(axis=0))
