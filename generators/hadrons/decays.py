"""Exact, vectorised decays of the short-lived tokens pi0, eta and Sigma0, as Pythia 8 does them.

Decays into two bodies are isotropic, decays into three are flat in phase space (Pythia's meMode 0), and the masses of
pairs in Dalitz decays X -> Y l+ l- follow the Kroll-Wada spectrum (meMode 11). Branching ratios are those of Pythia
8.317; channels below 3e-4 are dropped and the others renormalised.

The hemisphere is part of the definition: a token stands for a particle all of whose decay products stay
at pz > 0, so decay angles are redrawn until they do.

References:
    Kroll, Wada, Internal pair production associated with the emission of high-energy gamma rays, 1955, Phys. Rev. 98,
    1355.
    Bierlich et al., A comprehensive guide to the physics and usage of PYTHIA 8.3, 2022, arXiv:2203.11601.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from fastsim.event import Floats, Ints, ParticleSet, Partons, offsets_from_counts
from fastsim.event.frames import to_lab
from fastsim.event.kinematics import boost_to
from fastsim.event.species import MASSES
from generators.hadrons.tokens import CONJUGATE, SPECIES, TokenSample, species_index
from generators.nn.compiled import compiled

CHANNELS: dict[int, tuple[tuple[float, tuple[int, ...]], ...]] = {
    111: ((0.98799, (22, 22)), (0.01198, (22, 11, -11))),
    221: (
        (0.3931181, (22, 22)),
        (0.325715, (111, 111, 111)),
        (0.2274105, (211, -211, 111)),
        (0.0460021, (211, -211, 22)),
        (0.0069003, (22, 11, -11)),
        (0.00031, (22, 13, -13)),
    ),
    3212: ((0.9950249, (3122, 22)), (0.0049751, (3122, 11, -11))),
}
"""Decay channels (branching ratio, products) of each short-lived species."""

_TRIALS = (1, 8, 64, 512)
"""Trials, in each round, of the decays that have not yet stayed in the hemisphere."""


def _isotropic(num: int, rng: np.random.Generator) -> Floats:
    """Draw isotropic unit vectors (num, 3)."""
    cos, angle = rng.uniform(-1, 1, num), rng.uniform(0, 2 * np.pi, num)
    sin = np.sqrt(1 - cos**2)
    return np.stack([sin * np.cos(angle), sin * np.sin(angle), cos], axis=-1)


def breakup_momentum(mass: Floats, m1: Floats, m2: Floats) -> Floats:
    """Compute the momentum p* = sqrt((M^2 - (m1+m2)^2)(M^2 - (m1-m2)^2)) / 2M of two-body decays, in GeV, (K,)."""
    factors = (mass - m1 - m2) * (mass + m1 + m2) * (mass - m1 + m2) * (mass + m1 - m2)
    momentum: Floats = np.sqrt(np.maximum(factors, 0.0)) / (2 * np.maximum(mass, 1e-300))
    return momentum


def _two_body(mass: Floats, m1: Floats, m2: Floats, direction: Floats) -> tuple[Floats, Floats]:
    """Compute the products, each (K, 4), of two-body decays at rest, the first along the unit vectors (K, 3)."""
    p = breakup_momentum(mass, m1, m2)[:, None] * direction
    p2 = np.sum(p**2, axis=-1)
    e1, e2 = np.sqrt(p2 + m1**2), np.sqrt(p2 + m2**2)
    return np.concatenate([e1[:, None], p], 1), np.concatenate([e2[:, None], -p], 1)


@compiled
def _isotropic_pairs(p4: Floats, mass: float, m1: float, m2: float, u: Floats, out: Floats) -> None:
    """Fill ``out`` (K, 2, 4) with the products of isotropic two-body decays, in the frame of the parents' p4 (K, 4).

    ``u`` (K, 2) are uniform numbers on [0, 1).
    """
    p = sqrt(max((mass - m1 - m2) * (mass + m1 + m2) * (mass - m1 + m2) * (mass + m1 - m2), 0.0)) / (2 * mass)
    energies = (sqrt(p * p + m1 * m1), sqrt(p * p + m2 * m2))
    for k in range(len(p4)):
        cos, angle = 2 * u[k, 0] - 1, 2 * np.pi * u[k, 1]
        across = p * sqrt(1 - cos * cos)
        q = (across * np.cos(angle), across * np.sin(angle), p * cos)
        # the boost of fastsim.event.kinematics.boost_to
        e, momentum = p4[k, 0], sqrt(p4[k, 1] ** 2 + p4[k, 2] ** 2 + p4[k, 3] ** 2)
        dot = p4[k, 1] * q[0] + p4[k, 2] * q[1] + p4[k, 3] * q[2]
        m = sqrt(max((e - momentum) * (e + momentum), 1e-300))
        for i in range(2):
            sign = 1.0 if i == 0 else -1.0
            along = (energies[i] + sign * dot / (e + m)) / m
            out[k, i, 0] = (e * energies[i] + sign * dot) / m
            for j in range(3):
                out[k, i, 1 + j] = sign * q[j] + p4[k, 1 + j] * along


def _pair_mass_flat(num: int, mass: float, m: tuple[float, ...], rng: np.random.Generator) -> Floats:
    """Draw the mass (num,) of products 2 and 3 under flat three-body phase space: its density is p1* p23*."""
    low, high = m[1] + m[2], mass - m[0]
    grid = np.linspace(low, high, 401)
    weight = breakup_momentum(np.full(401, mass), np.full(401, m[0]), grid) * breakup_momentum(
        grid, np.full(401, m[1]), np.full(401, m[2])
    )
    return _from_density(grid, weight, num, rng)


def _pair_mass_dalitz(num: int, mass: float, m: tuple[float, ...], rng: np.random.Generator) -> Floats:
    """Draw the mass m_ll (num,) of the lepton pair of a Dalitz decay, in its logarithm (Kroll, Wada 1955).

    dP / dlog m_ll ~ sqrt(1 - 4 m_l^2 / m_ll^2) (1 + 2 m_l^2 / m_ll^2) (p* / M)^3.
    """
    grid = np.exp(np.linspace(np.log(2 * m[1]), np.log(mass - m[0]), 801))
    q2, ml2 = grid**2, m[1] ** 2
    spectrum = np.sqrt(np.maximum(1 - 4 * ml2 / q2, 0)) * (1 + 2 * ml2 / q2)
    phase_space = (breakup_momentum(np.full(801, mass), np.full(801, m[0]), grid) / mass) ** 3
    return np.exp(_from_density(np.log(grid), spectrum * phase_space, num, rng))


def _from_density(grid: Floats, weight: Floats, num: int, rng: np.random.Generator) -> Floats:
    """Draw (num,) from a density given on a fine grid, by inverting its cumulative sum."""
    steps = np.diff(grid) * (weight[1:] + weight[:-1]) / 2
    cumulative = np.concatenate([[0.0], np.cumsum(steps)])
    return np.interp(rng.uniform(0, cumulative[-1], num), cumulative, grid)


def _rest_frame(num: int, parent: int, products: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Draw the products (num, 3, 4) of three-body decays in the parent's rest frame."""
    mass, m = MASSES[parent], tuple(MASSES[abs(p)] for p in products)
    full = np.full(num, mass)
    first_mass = np.full(num, m[0])
    dalitz = products[1] in (11, 13) and products[2] == -products[1]
    pair_mass = (_pair_mass_dalitz if dalitz else _pair_mass_flat)(num, mass, m, rng)
    first, pair = _two_body(full, first_mass, pair_mass, _isotropic(num, rng))
    direction = _isotropic(num, rng)
    if dalitz:  # 1 + cos^2 about the pair's flight direction, for leptons far lighter than the pair
        cos = _one_plus_cos_squared(num, rng)
        axis = pair[:, 1:] / np.maximum(np.linalg.norm(pair[:, 1:], axis=1, keepdims=True), 1e-300)
        across = direction - np.sum(direction * axis, axis=1, keepdims=True) * axis
        across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-300)
        direction = cos[:, None] * axis + np.sqrt(1 - cos**2)[:, None] * across
    second, third = _two_body(pair_mass, np.full(num, m[1]), np.full(num, m[2]), direction)
    return np.stack([first, boost_to(second, pair), boost_to(third, pair)], axis=1)


def _one_plus_cos_squared(num: int, rng: np.random.Generator) -> Floats:
    """Draw c = cos(theta) (num,) with density 3/8 (1 + c^2): Cardano's solution of c^3 + 3c = 8u - 4, u uniform."""
    r = 4 * rng.uniform(0, 1, num) - 2
    root = np.sqrt(r**2 + 1)
    cos: Floats = np.clip(np.cbrt(r + root) + np.cbrt(r - root), -1, 1)
    return cos


def _decay_once(parent: int, p4: Floats, rng: np.random.Generator) -> list[tuple[Ints, tuple[int, ...], Floats]]:
    """Decay each parent once.

    Returns:
        For each channel that was drawn: the rows of the parents (K,), the PDG ids of its P products, and their p4
        (K, P, 4).
    """
    ratios = np.array([ratio for ratio, _ in CHANNELS[parent]])
    channel = np.searchsorted(np.cumsum(ratios)[:-1] / ratios.sum(), rng.uniform(0, 1, len(p4)), side="right")
    result = []
    for number, (_, products) in enumerate(CHANNELS[parent]):
        rows = np.flatnonzero(channel == number)
        if len(rows):
            if len(products) == 2:
                masses = (MASSES[parent], MASSES[abs(products[0])], MASSES[abs(products[1])])
                momenta = np.empty((len(rows), 2, 4))
                _isotropic_pairs(p4[rows], *masses, rng.random((len(rows), 2)), momenta)
            else:
                momenta = boost_to(_rest_frame(len(rows), parent, products, rng), p4[rows][:, None, :])
            result.append((rows, products, momenta))
    return result


def decay_tree(parent: int, p4: Floats, rng: np.random.Generator) -> tuple[Ints, Ints, Floats]:
    """Decay parents with PDG id ``parent`` and four-momenta (N, 4) down to final particles.

    Returns:
        Of K final particles, in no order: the row of the parent (K,), the PDG id (K,) and the four-momentum (K, 4).
    """
    rows_out: list[Ints] = []
    ids_out: list[Ints] = []
    p4_out: list[Floats] = []
    for rows, products, daughters in _decay_once(parent, p4, rng):
        for position, pdg in enumerate(products):
            if pdg in CHANNELS:
                inner_rows, inner_ids, inner_p4 = decay_tree(pdg, daughters[:, position], rng)
                rows_out.append(rows[inner_rows])
                ids_out.append(inner_ids)
                p4_out.append(inner_p4)
            else:
                rows_out.append(rows)
                ids_out.append(np.full(len(rows), pdg, dtype=np.int64))
                p4_out.append(daughters[:, position])
    if not rows_out:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4))
    return np.concatenate(rows_out), np.concatenate(ids_out), np.concatenate(p4_out)


def _decay_inside(parent: int, p4: Floats, rng: np.random.Generator) -> tuple[Ints, Ints, Floats]:
    """Decay as :func:`decay_tree`, redrawn until all products have pz > 0; after 585 trials, one stays as it is."""
    pending = np.arange(len(p4))
    parts: list[tuple[Ints, Ints, Floats]] = []
    for copies in _TRIALS:  # of each pending decay; the first good one counts
        trial = np.repeat(pending, copies)
        rows, ids, products = decay_tree(parent, p4[trial], rng)
        good = np.ones(len(trial), dtype=bool)
        good[rows[products[:, 3] <= 0]] = False
        good = good.reshape(len(pending), copies)
        done = good.any(1) if copies != _TRIALS[-1] else np.ones(len(pending), dtype=bool)
        taken = np.zeros(len(trial), dtype=bool)
        taken[(np.arange(len(pending)) * copies + good.argmax(1))[done]] = True
        keep = taken[rows]
        parts.append((trial[rows[keep]], ids[keep], products[keep]))
        pending = pending[~done]
        if len(pending) == 0:
            break
    rows, ids, products = (np.concatenate(column) for column in zip(*parts, strict=True))
    return rows, ids, products


def decay(
    offsets: Ints, species: Ints, p4: Floats, rng: np.random.Generator, *, inside: bool = True
) -> tuple[Ints, Ints, Floats]:
    """Decay every pi0, eta and Sigma0 of token sets in the axis frame.

    Args:
        offsets: of the sets, (N+1,).
        species: indices into ``tokens.SPECIES``, (M,).
        p4: four-momenta in GeV, (M, 4).
        rng: all randomness.
        inside: redraw decays until all products stay at pz > 0.

    Returns:
        Offsets, species indices and four-momenta of the final particles, in the order of their tokens.
    """
    ids = np.array(SPECIES)[species]
    index = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    stable = ~np.isin(np.abs(SPECIES), tuple(CHANNELS))[species]
    positions = [np.flatnonzero(stable)]
    out_ids = [ids[stable]]
    out_p4 = [p4[stable]]
    for parent in CHANNELS:
        for sign in (1, -1):
            chosen = np.flatnonzero(ids == sign * parent)
            if len(chosen) == 0:
                continue
            rows, products, momenta = (
                _decay_inside(parent, p4[chosen], rng) if inside else decay_tree(parent, p4[chosen], rng)
            )
            if sign < 0:  # the antiparticle's baryon is an antibaryon; its photons and lepton pairs are symmetric
                products = np.where(products == 3122, -3122, products)
            positions.append(chosen[rows])
            out_ids.append(products)
            out_p4.append(momenta)
    position = np.concatenate(positions)
    order = np.argsort(position, kind="stable")
    final_ids = np.concatenate(out_ids)[order]
    counts = np.bincount(index[position], minlength=len(offsets) - 1)
    return offsets_from_counts(counts), species_index(final_ids), np.concatenate(out_p4)[order]


def to_particles(tokens: TokenSample, partons: Partons, rng: np.random.Generator) -> ParticleSet:
    """Decay the short-lived tokens, conjugate the sets of antiquarks, and move each set to its parton's frame.

    Args:
        tokens: N token sets in the axis frame.
        partons: their N partons.
        rng: all randomness.

    Returns:
        The final particles, momenta in GeV in the frame of ``partons.p4``.
    """
    offsets, species, p4 = decay(tokens.offsets, tokens.species, tokens.p4, rng)
    flipped = np.repeat(partons.pdg_id < 0, np.diff(offsets))
    species = np.where(flipped, CONJUGATE[species], species)
    return ParticleSet(offsets, np.array(SPECIES)[species], to_lab(p4, offsets, partons))
