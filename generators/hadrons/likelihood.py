"""The density of the hadrons that a record holds: which of them are primary, and which may carry the parton's quark.

A record says what decayed into what, so its primary hadrons are known. Which of them carries the parton's quark it does
not say: the density of a set is the sum over all hadrons that may, and over none of them, which is the case where
the quark's hadron left the hemisphere.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fastsim.errors import InvalidEvent
from fastsim.event import Floats, Ints, ParticleSet, Partons, offsets_from_counts
from fastsim.event import species as table
from fastsim.event.frames import to_axis
from fastsim.event.kinematics import mass, on_shell
from fastsim.event.species import MASSES, masses
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
    unknown = np.flatnonzero(~np.isin(pdg_id, IDS))
    if len(unknown):
        row = unknown[np.argmin(index[unknown])]
        raise InvalidEvent(
            f"event {numbers[index[row]]}: {table.name(int(pdg_id[row]))} ({pdg_id[row]}) comes from no primary hadron "
            "in this record, and is none: the record must keep what fragmentation makes (--record full)"
        )
    order = np.argsort(index, kind="stable")
    counts = np.bincount(index, minlength=len(particles))
    return ParticleSet(offsets_from_counts(counts), pdg_id[order], p4[order])


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


def with_carriers(tokens: TokenSample) -> tuple[TokenSample, Ints]:
    """Return each set once for each hadron that may carry the parton's quark, and once for none.

    Returns:
        The R copies, and the set that each is a copy of, (R,).
    """
    holds = MAY_HOLD[tokens.species, np.where(tokens.flavour == 21, 0, tokens.flavour)[tokens.index]]
    rows = np.flatnonzero(holds)
    source = np.concatenate([np.arange(len(tokens)), tokens.index[rows]])
    order = np.argsort(source, kind="stable")
    place = np.concatenate([np.full(len(tokens), -1), rows - tokens.offsets[tokens.index[rows]]])[order]
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
