"""The compiled walk along decay chains: from primary hadrons to all that they decay into."""

from __future__ import annotations

from math import log1p, sqrt
from typing import NamedTuple

import numpy as np

from fastsim.compiled import compiled, compiled_inside, compiled_into
from fastsim.event import Floats, Ints
from generators.decays.line_shapes import draw_mass
from generators.decays.phase_space import (
    boost,
    breakup,
    four_body,
    lepton_pair,
    pair_mass,
    three_body,
    two_body,
    two_pair_masses,
)
from generators.decays.table import (
    DALITZ,
    DALITZ_WITH_TWO,
    DECAYS,
    DOUBLE_DALITZ,
    OMEGA,
    VECTOR,
    WEAK,
    Table,
)

SAFETY = 0.0005
"""GeV that a decay must set free (``ParticleDecays:mSafety``)."""
_TRIES = 10
"""Draws of the products' masses for one channel, and draws of a channel (Pythia's NTRYDECAY)."""
_ON_SHELL = 1e-9
"""Off its mass shell is what misses it by more than this, relative to E^2; broad species always are."""
_ISOTROPIC, _COS2, _SIN2 = 0, 1, 2
"""Angular distributions of a vector's decay into two pseudoscalars, about the flight of what made it."""


class Particles(NamedTuple):
    """Arrays of K particles that the walk fills, and which of them it filled.

    Attributes:
        kind: rows of the decay table, -1 for other species, (K,).
        p4: four-momenta in GeV, (K, 4).
        mass: in GeV, (K,).
        vertex: where they were made, (ct, x, y, z) in mm, (K, 4).
        mother: rows, in the list of decayed particles, of what decayed into them; -1 for primary ones, (K,).
        primary: the primary particle that they come from, (K,).
    """

    kind: Ints
    p4: Floats
    mass: Floats
    vertex: Floats
    mother: Ints
    primary: Ints

    @classmethod
    def empty(cls, size: int) -> Particles:
        """Return arrays for ``size`` particles."""
        ints = (np.empty(size, np.int64) for _ in range(3))
        return cls(next(ints), np.empty((size, 4)), np.empty(size), np.empty((size, 4)), next(ints), next(ints))

    def head(self, size: int) -> Particles:
        """Return the first ``size`` particles."""
        return Particles._make(column[:size] for column in self)


@compiled_into
def _pick_channel(t: Table, kind: int, mass: float, rng: np.random.Generator) -> int:
    """Draw a channel of a species by its branching ratios, which may depend on the mass (GeV); -1 if none is open."""
    first, last, v = t.first[kind], t.first[kind + 1], t.varying[kind]
    if v < 0:
        total = 0.0
        for c in range(first, last):
            total += t.ratio[c]
        rest = total * rng.random()
        for c in range(first, last):
            rest -= t.ratio[c]
            if rest <= 0:
                return int(c)
        return int(last - 1)
    low, high = t.mass_range[v, 0], t.mass_range[v, 1]
    num = t.ratios.shape[1] - 1
    place = min(max((mass - low) / (high - low), 0.0), 1.0) * num
    i = min(int(place), num - 1)
    f = place - i
    total = 0.0
    for c in range(last - first):
        total += (1 - f) * t.ratios[v, i, c] + f * t.ratios[v, i + 1, c]
    if total <= 0:
        return -1
    rest = total * rng.random()
    for c in range(last - first):
        rest -= (1 - f) * t.ratios[v, i, c] + f * t.ratios[v, i + 1, c]
        if rest <= 0:
            return int(first + c)
    return int(last - 1)


@compiled_into
def _pick_masses(t: Table, channel: int, mass: float, m: Floats, rng: np.random.Generator) -> bool:
    """Draw the masses ``m`` of a channel's products in GeV; return whether they leave room for the decay."""
    size = t.size[channel]
    if size == 1:
        m[0] = mass
        return True
    for _ in range(_TRIES):
        free = mass
        for i in range(size):
            m[i] = draw_mass(t.shape[t.product[channel, i]], rng)
            free -= m[i]
        if free >= SAFETY:
            return True
    return False


@compiled_inside
def _three_body_weight(code: int, leptonic: bool, mass: float, m: Floats, q: Floats) -> float:
    """Return the weight, at most 1, of the matrix element of a three-body decay with the momenta ``q``."""
    p12 = q[0, 0] * q[1, 0] - q[0, 1] * q[1, 1] - q[0, 2] * q[1, 2] - q[0, 3] * q[1, 3]
    p13 = q[0, 0] * q[2, 0] - q[0, 1] * q[2, 1] - q[0, 2] * q[2, 2] - q[0, 3] * q[2, 3]
    p23 = q[1, 0] * q[2, 0] - q[1, 1] * q[2, 1] - q[1, 2] * q[2, 2] - q[1, 3] * q[2, 3]
    if code == OMEGA:  # the squared Gram determinant of three pseudoscalars from a vector
        value = (m[0] * m[1] * m[2]) ** 2 - (m[0] * p23) ** 2 - (m[1] * p13) ** 2 - (m[2] * p12) ** 2
        return float((value + 2 * p12 * p13 * p23) * 150 / mass**6)
    if leptonic:  # V - A
        most = mass * (mass - m[0] - m[1]) * (mass - m[0] - m[2]) * (mass - m[1] - m[2])
        return float(mass * q[0, 0] * p23 / min(mass**4 / 16, most))
    x = 2 * sqrt(q[0, 1] ** 2 + q[0, 2] ** 2 + q[0, 3] ** 2) / mass
    top = min(0.75, 2 * (1 - (m[0] + m[1] + m[2]) / mass))
    return float(x * (3 - 2 * x) / (top * (3 - 2 * top)))


@compiled_into
def _momenta(
    t: Table, channel: int, mass: float, m: Floats, angular: int, axis: Floats, q: Floats, rng: np.random.Generator
) -> bool:
    """Draw the momenta of a channel's products in the rest frame of what decays.

    Args:
        t: the decay table.
        channel: row of the channel.
        mass: of what decays, in GeV.
        m: masses of the products in GeV; some are changed.
        angular: distribution of a VECTOR decay about ``axis``.
        axis: unit vector, (3,).
        q: (6, 4), filled in the rows of the products.
        rng: all randomness.

    Returns:
        Whether a decay was found; if not, another channel has to be drawn.
    """
    size, code = t.size[channel], t.code[channel]
    if size == 1:
        q[0, 0], q[0, 1], q[0, 2], q[0, 3] = mass, 0.0, 0.0, 0.0
        return True
    if code in (DALITZ, DALITZ_WITH_TWO):
        lepton, others = m[size - 1], 0.0
        for i in range(size - 2):
            others += m[i]
        if mass - others - 2 * lepton < SAFETY:
            return False
        m[size - 2] = pair_mass(mass, others, lepton, t.rho, rng)
        if m[size - 2] == 0.0:
            return False
        if size == 3:
            two_body(q, 0, 1, breakup(mass, m[0], m[1]), m[0], m[1], rng)
        else:
            three_body(q, mass, m, rng)
        lepton_pair(q, size - 2, size - 2, size - 1, m[size - 2], lepton, rng)
        m[size - 2] = lepton
        return True
    if code == DOUBLE_DALITZ:
        first, second = m[0], m[2]
        if mass - 2 * first - 2 * second < SAFETY:
            return False
        a, b = two_pair_masses(mass, first, second, t.rho, rng)
        if a == 0.0:
            return False
        two_body(q, 4, 5, breakup(mass, a, b), a, b, rng)
        lepton_pair(q, 4, 0, 1, a, first, rng)
        lepton_pair(q, 5, 2, 3, b, second, rng)
        return True
    if size == 2:
        p = breakup(mass, m[0], m[1])
        while True:
            two_body(q, 0, 1, p, m[0], m[1], rng)
            if code != VECTOR or angular == _ISOTROPIC:
                return True
            c = (axis[0] * q[0, 1] + axis[1] * q[0, 2] + axis[2] * q[0, 3]) / p
            if (c * c if angular == _COS2 else 1 - c * c) >= rng.random():
                return True
    if size == 3:
        leptonic = t.lepton[t.product[channel, 0]]
        while True:
            three_body(q, mass, m, rng)
            if (code != OMEGA and code != WEAK) or _three_body_weight(code, leptonic, mass, m, q) >= rng.random():
                return True
    four_body(q, mass, m, rng)
    return True


@compiled_into
def _own_mass(t: Table, kind: int, p4: Floats) -> float:
    """Return the mass in GeV of a primary particle: nominal if the species is narrow and the momentum agrees."""
    p = sqrt(p4[1] ** 2 + p4[2] ** 2 + p4[3] ** 2)
    squared, nominal = (p4[0] - p) * (p4[0] + p), t.shape[kind, 0]
    if t.shape[kind, 1] == 0.0 and abs(squared - nominal * nominal) <= _ON_SHELL * p4[0] ** 2:
        return float(nominal)
    return sqrt(max(squared, 0.0))


@compiled_into
def copy(source: Particles, i: int, target: Particles, j: int, mother: int, primary: int) -> None:
    """Copy particle i of ``source`` to place j of ``target``, with its mother's row among the decayed particles."""
    target.kind[j], target.mass[j] = source.kind[i], source.mass[i]
    target.mother[j], target.primary[j] = mother, primary
    for x in range(4):
        target.p4[j, x] = source.p4[i, x]
        target.vertex[j, x] = source.vertex[i, x]


@compiled_into
def _polarisation(t: Table, chain: Particles, node: int, siblings: int, axis: Floats) -> int:
    """Return the angular distribution of a vector's decay, and fill ``axis`` in its rest frame.

    A vector from the decay of a pseudoscalar into it and a pseudoscalar or a photon is polarised.
    """
    above = chain.mother[node]
    if above < 0 or siblings < 0 or not t.pseudoscalar[chain.kind[above]]:
        return _ISOTROPIC
    photon = t.pdg_id[chain.kind[siblings]] == 22
    if not photon and not t.pseudoscalar[chain.kind[siblings]]:
        return _ISOTROPIC
    # the flight direction of the sibling in the rest frame of the vector
    m, p, s = chain.mass[node], chain.p4[node], chain.p4[siblings]
    energy = sqrt(p[1] ** 2 + p[2] ** 2 + p[3] ** 2 + m * m)
    scale = ((p[1] * s[1] + p[2] * s[2] + p[3] * s[3]) / (energy + m) - s[0]) / m
    length = 0.0
    for x in range(3):
        axis[x] = s[1 + x] + scale * p[1 + x]
        length += axis[x] ** 2
    for x in range(3):
        axis[x] /= sqrt(length)
    return _SIN2 if photon else _COS2


@compiled
def walk(
    t: Table,
    primary: Particles,
    start: int,
    rng: np.random.Generator,
    final: Particles,
    num_final: int,
    decayed: Particles,
    num_decayed: int,
    chain: Particles,
    sibling: Ints,
    work: Floats,
) -> tuple[int, int, int]:
    """Follow the decay chains of primary particles, as far as there is room for one more chain.

    Args:
        t: the decay table.
        primary: the primary particles.
        start: the first of them to decay.
        rng: all randomness.
        final: gets what does not decay here.
        num_final: number of particles in it.
        decayed: gets what decays, mothers before daughters.
        num_decayed: number of particles in it.
        chain: working memory for the longest chain. Mothers in it are its own rows.
        sibling: of each particle of the chain the only other product, or -1.
        work: working memory, (8, 4).

    Returns:
        The first primary particle that is left, and the new numbers of final and decayed particles.
    """
    q, m, axis = work[:6], work[6], work[7]
    longest = len(chain.kind)
    for i in range(start, len(primary.kind)):
        if num_final + longest > len(final.kind) or num_decayed + longest > len(decayed.kind):
            return i, num_final, num_decayed
        copy(primary, i, chain, 0, -1, i)
        if chain.kind[0] >= 0:
            chain.mass[0] = _own_mass(t, chain.kind[0], chain.p4[0])
        sibling[0] = -1
        size, node = 1, 0
        while node < size:
            kind, mass, above = chain.kind[node], chain.mass[node], chain.mother[node]
            mother = -1 if above < 0 else chain.primary[above]  # the row that the mother has among the decayed
            done = False
            channel = -1
            if kind >= 0 and t.action[kind] == DECAYS:
                angular = _polarisation(t, chain, node, sibling[node], axis)
                for _ in range(_TRIES):
                    channel = _pick_channel(t, kind, mass, rng)
                    if channel < 0:
                        break
                    done = _pick_masses(t, channel, mass, m, rng)
                    if done:
                        done = _momenta(t, channel, mass, m, angular, axis, q, rng)
                    if done:
                        break
            if not done:  # stable, or (as in Pythia) a resonance all of whose channels are closed
                copy(chain, node, final, num_final, mother, i)
                num_final += 1
                node += 1
                continue
            copy(chain, node, decayed, num_decayed, mother, i)
            chain.primary[node] = num_decayed
            num_decayed += 1
            tau = -t.tau0[kind] * log1p(-rng.random()) / mass if t.tau0[kind] > 0 else 0.0
            products = t.size[channel]
            for k in range(products):
                boost(q, k, m[k], chain.p4[node, 1], chain.p4[node, 2], chain.p4[node, 3], mass)
                new = size + k
                chain.kind[new], chain.mass[new], chain.mother[new] = t.product[channel, k], m[k], node
                sibling[new] = size + 1 - k if products == 2 else -1
                for x in range(4):
                    chain.p4[new, x] = q[k, x]
                    chain.vertex[new, x] = chain.vertex[node, x] + tau * chain.p4[node, x]
            size += products
            node += 1
    return len(primary.kind), num_final, num_decayed


def follow(t: Table, primary: Particles, rng: np.random.Generator) -> tuple[Particles, Particles]:
    """Follow the decay chains of primary particles (their masses are not read).

    Returns:
        What does not decay here, in the order of the primary particles, and what decays, mothers before daughters.
    """
    room = 4 * len(primary.kind) + 2 * t.longest
    final, decayed = Particles.empty(room), Particles.empty(room)
    chain, sibling, work = Particles.empty(t.longest), np.empty(t.longest, np.int64), np.empty((8, 4))
    start = num_final = num_decayed = 0
    while start < len(primary.kind):
        start, num_final, num_decayed = walk(
            t, primary, start, rng, final, num_final, decayed, num_decayed, chain, sibling, work
        )
        if start < len(primary.kind):
            final, decayed = _larger(final, num_final), _larger(decayed, num_decayed)
    return final.head(num_final), decayed.head(num_decayed)


def _larger(particles: Particles, size: int) -> Particles:
    """Return arrays of twice the length with the same first ``size`` particles."""
    new = Particles.empty(2 * len(particles.kind))
    for old, column in zip(particles.head(size), new.head(size), strict=True):
        column[:] = old
    return new
