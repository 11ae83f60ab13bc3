"""The density of the hadrons that a record holds: which of them are primary, and which may carry the parton's quark.

A record says what decayed into what, so its primary hadrons are known. Which of them carries the parton's quark it does
not say: the density of a set is the sum over all hadrons that may, and over none of them, which is the case where
the quark's hadron left the hemisphere.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import InvalidEvent
from fastsim.event import Floats, Ints, ParticleSet, Partons, offsets_from_counts
from fastsim.event import species as table
from fastsim.event.frames import to_axis
from fastsim.event.kinematics import mass, on_shell
from fastsim.event.species import MASSES, masses
from fastsim.sources.hadrons import PartonPairs
from generators.hadrons.tokens import CONJUGATE, IDS, MIN_MASS, TokenSample, may_hold, species_index


def primary_hadrons(particles: ParticleSet, numbers: Ints) -> ParticleSet:
    """Return what the partons became, before any of it decayed, of N sets with their history.

    Args:
        particles: the sets.
        numbers: how messages call the sets, (N,).

    Raises:
        InvalidEvent: if the sets have no history, or a set holds a particle that is no primary hadron and comes from
            none.
    """
    return primary_with_origin(particles, np.zeros(len(particles.pdg_id), dtype=np.int64), numbers)[0]


def primary_with_origin(particles: ParticleSet, origin: Ints, numbers: Ints) -> tuple[ParticleSet, Ints]:
    """Return the primary hadrons of N sets as :func:`primary_hadrons` does, and where each comes from.

    Args:
        particles: the sets.
        origin: of the final particles, (M,): not negative where it is known.
        numbers: how messages call the sets, (N,).

    Raises:
        InvalidEvent: if the sets have no history, or a set holds a particle that is no primary hadron and comes from
            none.
    """
    history = particles.history
    if history is None:
        raise InvalidEvent(
            "the record holds final particles alone: write it with --record full (record='full'), and read HepMC with "
            "history=True"
        )
    made = history.decayed
    decayed, final = made.mother < 0, history.mother < 0
    pdg_id = np.concatenate([made.pdg_id[decayed], particles.pdg_id[final]])
    p4 = np.concatenate([made.p4[decayed], particles.p4[final]])
    index = np.concatenate([made.index[decayed], particles.index[final]])
    source = np.concatenate([particles.of_decayed(origin)[decayed], origin[final]])
    unknown = np.flatnonzero(~np.isin(pdg_id, IDS))
    if len(unknown):
        row = unknown[np.argmin(index[unknown])]
        raise InvalidEvent(
            f"event {numbers[index[row]]}: {table.name(int(pdg_id[row]))} ({pdg_id[row]}) comes from no primary hadron "
            "in this record, and is none: the record must keep what fragmentation makes (--record full)"
        )
    order = np.argsort(index, kind="stable")
    counts = np.bincount(index, minlength=len(particles))
    return ParticleSet(offsets_from_counts(counts), pdg_id[order], p4[order]), source[order]


def tokens_of_sets(partons: Partons, primary: ParticleSet, numbers: Ints, *, whole_events: bool = False) -> TokenSample:
    """Return primary hadrons as token sets of their partons, without carriers.

    Args:
        partons: N partons.
        primary: the primary hadrons of each, in the frame of the partons.
        numbers: how messages call the sets, (N,).
        whole_events: whether the sets are events, of which the hemisphere p . nT > 0 of the parton is meant.

    Raises:
        InvalidEvent: if a set is empty.
    """
    index = primary.index
    species = species_index(primary.pdg_id)
    m = np.maximum(mass(primary.p4), MIN_MASS[species])
    known = np.isin(np.abs(primary.pdg_id), list(MASSES))
    m[known] = masses(primary.pdg_id[known])
    p4 = on_shell(to_axis(primary.p4, primary.offsets, partons), m)
    inside = p4[:, 3] > 0 if whole_events else np.ones(len(p4), dtype=bool)
    counts = np.bincount(index[inside], minlength=len(primary))
    if len(counts) and counts.min() == 0:
        raise InvalidEvent(f"event {numbers[int(np.argmin(counts))]} has no hadrons in the hemisphere of its parton")
    species = np.where((partons.pdg_id < 0)[index], CONJUGATE[species], species)
    return TokenSample(
        np.abs(partons.pdg_id),
        partons.pt,
        partons.starting_scale,
        offsets_from_counts(counts),
        species[inside],
        p4[inside],
        m[inside],
        np.zeros(int(inside.sum()), dtype=bool),
    )


def tokens_of_pairs(pairs: PartonPairs, primary: ParticleSet) -> tuple[TokenSample, NDArray[np.bool_]]:
    """Return the primary hadrons of singlets as token sets without carriers: hemispheres 2i and 2i + 1 of singlet i.

    Args:
        pairs: N singlets.
        primary: the primary hadrons of each at rest, the first parton along +z.

    Returns:
        The 2K token sets of the K singlets with hadrons in both hemispheres, and which these are, (N,).
    """
    second = primary.p4[:, 3] <= 0
    hemisphere = 2 * primary.index + second
    whole = np.bincount(hemisphere, minlength=2 * len(pairs)).reshape(-1, 2).min(axis=1, initial=1) > 0
    chosen = whole[primary.index]
    order = np.argsort(hemisphere[chosen], kind="stable")
    rows = np.flatnonzero(chosen)[order]
    species = species_index(primary.pdg_id[rows])
    flipped = pairs.pdg_id.reshape(-1)[hemisphere[rows]] < 0
    # the second hemisphere is turned by pi about x
    turned = np.where(second[rows, None], primary.p4[rows] * np.array([1.0, 1.0, -1.0, -1.0]), primary.p4[rows])
    m = np.maximum(mass(turned), MIN_MASS[species])
    known = np.isin(np.abs(primary.pdg_id[rows]), list(MASSES))
    m[known] = masses(primary.pdg_id[rows][known])
    counts = np.bincount(hemisphere[rows], minlength=2 * len(pairs)).reshape(-1, 2)[whole]
    tokens = TokenSample(
        np.abs(pairs.pdg_id[whole]).reshape(-1),
        np.repeat(pairs.momenta[whole], 2),
        np.repeat(pairs.starting_scale[whole], 2),
        offsets_from_counts(counts.reshape(-1)),
        np.where(flipped, CONJUGATE[species], species),
        on_shell(turned, m),
        m,
        np.zeros(len(rows), dtype=bool),
    )
    return tokens, whole


def with_carriers(tokens: TokenSample, known: Ints | None = None) -> tuple[TokenSample, Ints]:
    """Return each set once for each hadron that may carry the parton's quark, and once for none.

    Args:
        tokens: N sets without carriers.
        known: PDG ids of the hadrons that are carriers, 0 for none, (N,): of several, the first of a set; that of a set
            that has none of the id is not known. By default none is known.

    Returns:
        The R copies, and the set that each is a copy of, (R,).
    """
    num = len(tokens)
    holds = MAY_HOLD[tokens.species, np.where(tokens.flavour == 21, 0, tokens.flavour)[tokens.index]]
    rows, alone = np.flatnonzero(holds), np.ones(num, dtype=bool)
    if known is not None:
        is_it = IDS[tokens.species[rows]] == known[tokens.index[rows]]
        found, first = np.unique(tokens.index[rows[is_it]], return_index=True)
        free = ~np.isin(np.arange(num), found) & (known != 0)
        rows = np.sort(np.concatenate([rows[is_it][first], rows[free[tokens.index[rows]]]]))
        alone = free | (known == 0)
    sets = np.flatnonzero(alone)
    source = np.concatenate([sets, tokens.index[rows]])
    order = np.argsort(source, kind="stable")
    place = np.concatenate([np.full(len(sets), -1), rows - tokens.offsets[tokens.index[rows]]])[order]
    copies = tokens[source[order]]
    carrier = np.zeros(len(copies.species), dtype=bool)
    carrier[(copies.offsets[:-1] + place)[place >= 0]] = True
    return replace(copies, carrier=carrier), source[order]


def summed(log_densities: Floats, source: Ints, num: int) -> Floats:
    """Return the log of the sums of densities of the copies of each of ``num`` sets."""
    top = np.full(num, -np.inf)
    np.maximum.at(top, source, log_densities)
    result: Floats = top + np.log(np.bincount(source, np.exp(log_densities - top[source]), num))
    return result


MAY_HOLD = np.stack([np.zeros(len(IDS), dtype=bool), *(may_hold(quark) for quark in range(1, 6))], axis=-1)
"""Whether a species may hold a quark among its valence quarks: column 0 for gluons, then d, u, s, c, b."""
