"""Decays of the hadrons and leptons that hadronisation makes, whole chains with their vertices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled
from fastsim.errors import FastsimError
from fastsim.event import Floats, Ints, ParticleSet, offsets_from_counts
from fastsim.event.particle_sets import Decayed, History
from generators.decays.chains import Particles, copy, follow
from generators.decays.pythia import decay_at_rest
from generators.decays.table import PYTHIA, Table, decay_table

TAU0_MAX = 10.0
"""Default limit of mean proper lifetimes in mm."""


def decay(
    particles: ParticleSet, rng: np.random.Generator, *, tau0_max: float = TAU0_MAX, vertex: Floats | None = None
) -> ParticleSet:
    """Decay hadrons and leptons, and what they decay into, as Pythia does (``ParticleDecays:limitTau0 = on``).

    Light hadrons, and heavy ones that go over into others by the strong or electromagnetic force, decay in compiled
    kernels, with Pythia's branching ratios, line shapes and matrix elements; Pythia itself decays the others: charm
    and bottom hadrons by the weak force, tau leptons, onia. A particle decays where it was made plus p4 / m times an
    exponential proper lifetime.

    Args:
        particles: N sets of M particles in all, momenta in GeV. Broad hadrons have masses of their own; narrow ones
            lie on their mass shell. Other particles than hadrons and leptons pass untouched, as do the resonances (one
            in a million) that are too light for any of their channels.
        rng: all randomness, the seeds of Pythia too.
        tau0_max: greatest mean proper lifetime, in mm, of species that decay; at 10 K0S and hyperons are stable, at
            1000 they decay. Muons, charged pions and kaons, K0L and neutrons never decay.
        vertex: where the particles were made, (ct, x, y, z) in mm, (M, 4); at the origin by default.

    Returns:
        The final particles in the order of the primary ones that they come from, with their history.

    Raises:
        FastsimError: if an argument is no number or has a wrong shape, if the particles have a history already, or if
            Pythia fails again and again on a particle.

    References:
        Bierlich et al., A comprehensive guide to the physics and usage of PYTHIA 8.3, 2022, arXiv:2203.11601.
    """
    places = _checked(particles, tau0_max, vertex)
    t = decay_table(float(tau0_max))
    row = np.minimum(np.searchsorted(t.pdg_id, particles.pdg_id), len(t.pdg_id) - 1)
    kind = np.where(t.pdg_id[row] == particles.pdg_id, row, -1)
    none = np.full(len(kind), -1)
    primary = Particles(kind, particles.p4, np.zeros(len(kind)), places, none, none)
    final, decayed = follow(t, primary, rng)
    hard = np.flatnonzero((final.kind >= 0) & (t.action[final.kind] == PYTHIA))
    if len(hard):
        final, decayed = _by_pythia(t, final, decayed, hard, float(tau0_max), rng)

    offsets = offsets_from_counts(np.bincount(particles.index[decayed.primary], minlength=len(particles)))
    mother = np.where(decayed.mother < 0, -1, decayed.mother - offsets[particles.index[decayed.primary]])
    history = History(
        Decayed(offsets, t.pdg_id[decayed.kind], decayed.p4, mother, decayed.vertex),
        np.where(final.mother < 0, -1, final.mother - offsets[particles.index[final.primary]]),
        final.vertex,
    )
    counts = np.bincount(particles.index[final.primary], minlength=len(particles))
    pdg_id = np.where(final.kind >= 0, t.pdg_id[final.kind], particles.pdg_id[final.primary])
    return ParticleSet(offsets_from_counts(counts), pdg_id, final.p4, history)


def _checked(particles: ParticleSet, tau0_max: float, vertex: Floats | None) -> Floats:
    """Return the vertices (M, 4) of the particles, or refuse the arguments of :func:`decay`."""
    if not tau0_max >= 0:
        raise FastsimError(f"tau0_max is {tau0_max}; give a length in mm that is not negative")
    if particles.history is not None:
        raise FastsimError("the particles have a history already: they are final, not primary")
    places = np.zeros_like(particles.p4) if vertex is None else np.asarray(vertex, dtype=np.float64)
    if places.shape != particles.p4.shape:
        raise FastsimError(
            f"vertex has shape {places.shape}; {len(particles.p4)} particles need ({len(particles.p4)}, 4)"
        )
    for name, values in (("p4", particles.p4), ("vertex", places)):
        if not np.isfinite(values).all():
            bad = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            set_ = int(np.searchsorted(particles.offsets, bad, side="right")) - 1
            raise FastsimError(
                f"set {set_}, particle {bad - particles.offsets[set_]}: its {name} {values[bad].tolist()} is not finite"
            )
    return places


def _by_pythia(
    t: Table, final: Particles, decayed: Particles, hard: Ints, tau0_max: float, rng: np.random.Generator
) -> tuple[Particles, Particles]:
    """Replace the rows ``hard`` of the final particles by what Pythia lets them decay into.

    Returns:
        Final particles, in the order of their primary particles, and decayed ones, mothers before daughters.
    """
    products = decay_at_rest(t.pdg_id[final.kind[hard]], final.mass[hard], tau0_max, rng)
    place = hard[products.source]
    frame, frame_mass = final.p4[place], final.mass[place]
    p4 = _boosted(products.p4, frame, frame_mass)
    own = products.mother < 0
    p4[own] = frame[own]
    known = np.searchsorted(t.pdg_id, products.pdg_id)
    mass = t.shape[known, 0]
    ended = products.final
    p4[ended, 0] = np.sqrt(np.sum(p4[ended, 1:] ** 2, axis=1) + mass[ended] ** 2)
    vertex = final.vertex[place] + _boosted(products.vertex, frame, frame_mass)
    row = len(decayed.kind) + np.cumsum(~ended) - 1
    mother = np.where(own, final.mother[place], row[products.mother])
    made = Particles(known, p4, mass, vertex, mother, final.primary[place])

    rest = np.ones(len(final.kind), dtype=bool)
    rest[hard] = False
    # in their order already: rows of made ones follow their mothers, and both lists the primary particles
    before = np.cumsum(rest)[place[ended]]
    finals, _ = _merged(final, rest, _taken(made, ended), before)
    after = np.searchsorted(decayed.primary, made.primary[~ended], side="right")
    both, rank = _merged(decayed, np.ones(len(decayed.kind), dtype=bool), _taken(made, ~ended), after)
    rank = np.append(rank, -1)  # the mother of primary particles
    return finals._replace(mother=rank[finals.mother]), both._replace(mother=rank[both.mother])


def _boosted(vectors: Floats, frame: Floats, mass: Floats) -> Floats:
    """Boost four-vectors (K, 4) from the rest frames of particles of momenta ``frame`` (K, 4) and ``mass`` (K,)."""
    p = frame[:, 1:]
    energy = np.sqrt(np.sum(p**2, axis=1) + mass**2)
    along = np.sum(p * vectors[:, 1:], axis=1)
    scale = (vectors[:, 0] + along / (energy + mass)) / mass
    time = (energy * vectors[:, 0] + along) / mass
    return np.concatenate([time[:, None], vectors[:, 1:] + scale[:, None] * p], axis=1)


def _taken(particles: Particles, rows: NDArray[Any]) -> Particles:
    return Particles._make(column[rows] for column in particles)


def _merged(first: Particles, kept: NDArray[np.bool_], second: Particles, before: Ints) -> tuple[Particles, Ints]:
    """Put rows (L,) of the second list among the rows (K,) of the first that are kept, ``before`` (L,) of these first.

    Args:
        first, second: the lists.
        kept: which rows of the first list are, (K,).
        before: how many of these precede each row of the second, ascending, (L,).

    Returns:
        The particles, and the places in them of the kept rows of the first list and then of the second.
    """
    size = int(np.count_nonzero(kept)) + len(second.kind)
    result, place = Particles.empty(size), np.empty(size, np.int64)
    _merge(first, kept, second, before, result, place)
    return result, place


@compiled
def _merge(
    first: Particles, kept: NDArray[np.bool_], second: Particles, before: Ints, result: Particles, place: Ints
) -> None:
    """Fill ``result`` and ``place`` for :func:`_merged`."""
    num, row, i, j = len(place) - len(before), 0, 0, 0
    for k in range(len(place)):
        if j < len(before) and before[j] <= i:
            copy(second, j, result, k, second.mother[j], second.primary[j])
            place[num + j] = k
            j += 1
        else:
            while not kept[row]:
                row += 1
            copy(first, row, result, k, first.mother[row], first.primary[row])
            place[i] = k
            row, i = row + 1, i + 1
