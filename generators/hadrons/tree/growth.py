"""Trees that grow: splittings whose ancestors are done are drawn together, in blocks; those of two tokens come last."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled
from fastsim.event import Floats, Ints
from generators.hadrons.tokens import TYPES, TokenSample
from generators.hadrons.tree.clustering import LEAST_MASS, Nodes, numbers_of_carriers, numbers_of_nodes
from generators.hadrons.tree.context import context, set_features
from generators.hadrons.tree.sampler import Angles, CompiledSampler
from generators.hadrons.tree.sharing import NUM_NUMBERS, TYPE_NUMBERS
from generators.hadrons.tree.splittings import split

_REDRAWS = 12
_BLOCK = 4096  # rows at a time: more leave the processor's cache, fewer cost more calls
_MIN_MASS, _EPS_MASS = 1e-6, 1e-12  # of a composite child over its parent's: where there is room, and at all


@dataclass(frozen=True)
class Growth:
    """Trees that grow, and the tokens that their nodes hold: node i has ``size[i]`` of them from ``start[i]`` on.

    Attributes:
        tree: the nodes.
        carrier: charge, baryon number and strangeness of the carriers of the sets, (N, 3).
        start: first token of each node, (K,).
        kinds: type of each token, those of a node in order of their types, (M,).
        ids: number of each token in the sample that the trees are drawn for, (M,).
        masses: of the tokens in GeV, (M,).
    """

    tree: Nodes
    carrier: Floats
    start: Ints
    kinds: Ints
    ids: Ints
    masses: Floats


def planted(sample: TokenSample, counts: Ints, total: Floats, rng: np.random.Generator) -> Growth:
    """Make trees that are roots only, the first N nodes, with room for all nodes that will grow from them.

    Args:
        sample: the tokens of N sets, without their momenta.
        counts: tokens of each type, (N, T).
        total: four-momenta of the sets in GeV, (N, 4).
        rng: decides the order of tokens of one type, which does not matter: their masses are independent.
    """
    size, kinds, index = sample.counts, sample.types, sample.index
    num_nodes = int((2 * size - 1).sum())
    roots = np.arange(len(size))
    tree = Nodes(
        p4=np.empty((num_nodes, 4)),
        mass=np.empty(num_nodes),
        least=np.empty(num_nodes),
        counts=np.empty((num_nodes, len(TYPES)), dtype=np.uint8),
        size=np.zeros(num_nodes, dtype=np.int64),
        numbers=np.empty((num_nodes, NUM_NUMBERS)),
        left=np.full(num_nodes, -1),
        right=np.full(num_nodes, -1),
        parent=np.full(num_nodes, -1),
        set_index=np.empty(num_nodes, dtype=np.int64),
        roots=roots,
    )
    tree.p4[roots], tree.size[roots], tree.set_index[roots] = total, size, roots
    tree.counts[roots] = counts
    carrier = numbers_of_carriers(sample.carriers)
    tree.numbers[roots] = numbers_of_nodes(tree.counts[roots], carrier)
    tree.least[roots] = np.bincount(index, sample.mass, len(size))
    momentum = np.sqrt((total[:, 1:] ** 2).sum(-1))
    square = (total[:, 0] - momentum) * (total[:, 0] + momentum)
    tree.mass[roots] = np.maximum(np.sqrt(np.maximum(square, 0.0)), LEAST_MASS * total[:, 0])
    start = np.empty(num_nodes, dtype=np.int64)
    start[roots] = sample.offsets[:-1]
    order = np.argsort((index * len(TYPES) + kinds) + rng.random(len(kinds)))
    return Growth(tree, carrier, start, kinds[order], order, sample.mass[order])


@compiled
def _part(
    rows: Ints,
    start: Ints,
    size: Ints,
    counts_a: NDArray[np.uint8],
    kinds: Ints,
    ids: Ints,
    masses: Floats,
    least: Floats,
) -> None:
    """Put the tokens of A, ``counts_a`` (K, T) of each type, before those of B, and fill their summed masses (K, 2)."""
    longest = 0
    for k in range(len(rows)):
        longest = max(longest, size[rows[k]])
    other_kinds, other_ids, other_masses = np.empty(longest, np.int64), np.empty(longest, np.int64), np.empty(longest)
    wanted = np.empty(counts_a.shape[1], np.int64)
    for k in range(len(rows)):
        wanted[:] = counts_a[k]
        first = start[rows[k]]
        place, rest = first, 0
        least[k, 0] = least[k, 1] = 0.0
        for i in range(first, first + size[rows[k]]):
            if wanted[kinds[i]] > 0:
                wanted[kinds[i]] -= 1
                least[k, 0] += masses[i]
                kinds[place], ids[place], masses[place] = kinds[i], ids[i], masses[i]
                place += 1
            else:
                least[k, 1] += masses[i]
                other_kinds[rest], other_ids[rest], other_masses[rest] = kinds[i], ids[i], masses[i]
                rest += 1
        for i in range(rest):
            kinds[place + i], ids[place + i], masses[place + i] = other_kinds[i], other_ids[i], other_masses[i]


def sample_tree(
    net: CompiledSampler, sample: TokenSample, energy: Floats, total: Floats, rng: np.random.Generator
) -> Floats:
    """Draw the momenta of tokens whose species, masses and total four-momenta are given.

    Args:
        net: draws from the splitting density.
        sample: the tokens of N sets, at least one each; their momenta are not looked at.
        energy: of the partons in GeV, (N,).
        total: four-momenta of the sets in GeV, massive enough for their tokens, (N, 4).
        rng: all randomness.

    Returns:
        Four-momenta in GeV of the tokens of ``sample``, (M, 4).

    Raises:
        ValueError: if a set holds more than 255 tokens of one type.
    """
    counts = sample.type_counts()
    if (most := counts.max(initial=0)) > 255:
        raise ValueError(f"a set holds {most} tokens of one type: 255 at most")
    growth = planted(sample, counts, total, rng)
    tree = growth.tree
    sizes = tree.size[tree.roots]
    known = sample.flavour, energy, total, sizes, sample.scale / sample.pt, sample.carriers
    of_set = set_features(*known, sample.tune)
    # splittings wait for nothing but their ancestors: blocks are full, whatever their depths
    waiting, grown = tree.roots[sizes >= 3], len(tree.roots)
    while len(waiting):
        rows, waiting = waiting[:_BLOCK], waiting[_BLOCK:]
        split_nodes(net, growth, rows, grown, *context(tree, net.padded(rows), energy, of_set), rng)
        end = grown + 2 * len(rows)
        waiting = np.concatenate([waiting, grown + np.flatnonzero(tree.size[grown:end] >= 3)])
        grown = end
    pairs = np.flatnonzero(tree.size == 2)
    for start in range(0, len(pairs), _BLOCK):
        rows = pairs[start : start + _BLOCK]
        split_pairs(net, growth, rows, grown, *context(tree, net.padded(rows), energy, of_set), rng)
        grown += 2 * len(rows)
    leaves = np.flatnonzero(tree.size == 1)
    p4 = np.empty((len(sample.species), 4))
    p4[growth.ids[growth.start[leaves]]] = tree.p4[leaves]
    return p4


def shared(growth: Growth, rows: Ints, counts_a: NDArray[np.uint8], num: int) -> Floats:
    """Share out the tokens of nodes, and return the least masses (P, 2) of A and B in GeV, repeated for the padding."""
    least = np.empty((num, 2))
    _part(rows, growth.start, growth.tree.size, counts_a, growth.kinds, growth.ids, growth.masses, least)
    least[len(rows) :] = least[len(rows) - 1]
    return least


def split_nodes(
    net: CompiledSampler,
    growth: Growth,
    rows: Ints,
    grown: int,
    features: NDArray[np.float32],
    axes: Floats,
    rng: np.random.Generator,
) -> None:
    """Split the nodes ``rows`` (K,) of three tokens or more into new nodes from ``grown`` on.

    ``features`` and ``axes`` are what :func:`~generators.hadrons.tree.context.context` returns for the padded rows;
    what is drawn for the padding is thrown away.
    """
    wide, tree, num = net.padded(rows), growth.tree, len(rows)
    counts, mass = tree.counts[wide], tree.mass[wide]
    hidden = net.encode(features, counts)
    counts_a, both = net.content(hidden, features, counts, rng)
    least = shared(growth, rows, counts_a, len(wide))
    hidden = net.with_content(hidden, counts, counts_a, least)
    least_a, least_b = least.T.copy()
    heads = net.heads(hidden)
    bins = np.full((len(wide), 2), net.num_bins)
    bins[:, 0], value = net.masses_b(heads, rng)
    m_a, m_b = least_a.copy(), np.empty_like(least_b)
    _child_masses(value, np.arange(len(wide)), mass, least_a, least_b, m_b)
    if len(both):
        bins[both, 1], value = net.masses_a(hidden, bins[:, 0], both, rng)
        _child_masses(value, both, mass, m_b, least_a, m_a)
    angles = net.angles(heads, bins).head(num)
    first, second = _directions(net, angles, tree.p4[rows], mass[:num], axes[:num], m_a[:num], m_b[:num], rng)
    grow(growth, rows, grown, counts_a[:num], least[:num], m_a[:num], m_b[:num], first, second)


def split_pairs(
    net: CompiledSampler,
    growth: Growth,
    rows: Ints,
    grown: int,
    features: NDArray[np.float32],
    axes: Floats,
    rng: np.random.Generator,
) -> None:
    """Split the nodes ``rows`` (K,) of two tokens, for which only angles are free; see :func:`split_nodes`.

    The token of the first of its types goes to A.
    """
    tree, num = growth.tree, len(rows)
    counts = tree.counts[net.padded(rows)]
    counts_a = np.zeros_like(counts)
    _take_first(counts, counts_a)
    least = shared(growth, rows, counts_a, len(counts))
    angles = net.pair_angles(features, counts, counts_a, least).head(num)
    counts_a, least = counts_a[:num], least[:num]
    m_a, m_b = least.T.copy()
    first, second = _directions(net, angles, tree.p4[rows], tree.mass[rows], axes[:num], m_a, m_b, rng)
    grow(growth, rows, grown, counts_a, least, m_a, m_b, first, second)


@compiled
def _take_first(counts: NDArray[np.uint8], counts_a: NDArray[np.uint8]) -> None:
    """Put a token of the first type that each node has, of ``counts`` (K, T), into ``counts_a`` (K, T), of zeros."""
    for k in range(len(counts)):
        for t in range(counts.shape[1]):
            if counts[k, t] > 0:
                counts_a[k, t] = 1
                break


@compiled
def _child_masses(value: Floats, rows: Ints, mass: Floats, other: Floats, least: Floats, out: Floats) -> None:
    """Fill the masses ``out`` in GeV of composite children, at the places ``rows`` (R,).

    Args:
        value: (R,) their variable, the logit of the share of the free mass that they take.
        rows: places of their parents in the other arrays, (R,).
        mass: of parents in GeV, (K,).
        other: masses of siblings in GeV, (K,).
        least: sums of the masses of their tokens in GeV, (K,).
        out: (K,).
    """
    for i in range(len(rows)):
        k = rows[i]
        free = max(mass[k] - other[k] - least[k], 0.0)
        # photons never share a mass of zero
        floor = max(min(_MIN_MASS * mass[k], 0.5 * free), _EPS_MASS * mass[k])
        out[k] = max(least[k] + free / (1 + exp(-value[i])), floor)


def _directions(
    net: CompiledSampler,
    angles: Angles,
    p4: Floats,
    mass: Floats,
    axes: Floats,
    m_a: Floats,
    m_b: Floats,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Draw four-momenta of A and B, each (K, 4) in GeV, in the hemisphere pz > 0 if one of some draws is."""
    first, second = split(p4, mass, axes, m_a, m_b, *net.draw(angles, rng))
    outside = np.flatnonzero((first[:, 3] <= 0) | (second[:, 3] <= 0))
    if len(outside):
        repeated = np.repeat(outside, _REDRAWS)
        directions = net.draw(angles.rows(repeated), rng)
        redrawn = split(p4[repeated], mass[repeated], axes[repeated], m_a[repeated], m_b[repeated], *directions)
        good = ((redrawn[0][:, 3] > 0) & (redrawn[1][:, 3] > 0)).reshape(len(outside), _REDRAWS)
        chosen = np.arange(len(outside)) * _REDRAWS + good.argmax(1)
        first[outside], second[outside] = redrawn[0][chosen], redrawn[1][chosen]
    return first, second


def grow(
    growth: Growth,
    rows: Ints,
    grown: int,
    counts_a: NDArray[np.uint8],
    least: Floats,
    m_a: Floats,
    m_b: Floats,
    p4_a: Floats,
    p4_b: Floats,
) -> None:
    """Put the children A and then B of the nodes ``rows`` (K,) into the tree, from node ``grown`` on.

    Args:
        growth: the trees.
        rows: the nodes, (K,).
        grown: number of the first child.
        counts_a: tokens of A by type, (K, T).
        least: sums of the masses of the tokens of A and of B in GeV, (K, 2).
        m_a: masses of A in GeV, (K,).
        m_b: masses of B in GeV, (K,).
        p4_a: four-momenta of A in GeV, (K, 4).
        p4_b: four-momenta of B in GeV, (K, 4).
    """
    tree, num = growth.tree, len(rows)
    a, b = slice(grown, grown + num), slice(grown + num, grown + 2 * num)
    tree.mass[a], tree.mass[b], tree.p4[a], tree.p4[b] = m_a, m_b, p4_a, p4_b
    tree.least[a], tree.least[b] = least.T
    links = tree.left, tree.right, tree.parent, tree.set_index
    _place_children(
        rows, grown, counts_a, TYPE_NUMBERS, growth.carrier, tree.counts, tree.size, tree.numbers, growth.start, *links
    )


@compiled
def _place_children(
    rows: Ints,
    grown: int,
    counts_a: NDArray[np.uint8],
    of_types: Floats,
    carrier: Floats,
    counts: NDArray[np.uint8],
    size: Ints,
    numbers: Floats,
    start: Ints,
    left: Ints,
    right: Ints,
    parent: Ints,
    set_index: Ints,
) -> None:
    """Fill what nodes hold and how they hang together for :func:`grow`; ``of_types`` (T, 3) are numbers of types."""
    for k in range(len(rows)):
        up, a, b = rows[k], grown + k, grown + len(rows) + k
        of = set_index[up]
        left[up], right[up], parent[a], parent[b], set_index[a], set_index[b] = a, b, up, up, of, of
        for j in range(NUM_NUMBERS):
            numbers[a, j] = counts_a[k, 0] * carrier[of, j]
        num = 0
        for t in range(counts.shape[1]):
            n = counts_a[k, t]
            counts[a, t], counts[b, t] = n, counts[up, t] - n
            num += n
            if n > 0:
                for j in range(NUM_NUMBERS):
                    numbers[a, j] += n * of_types[t, j]
        for j in range(NUM_NUMBERS):
            numbers[b, j] = numbers[up, j] - numbers[a, j]
        size[a], size[b] = num, size[up] - num
        start[a], start[b] = start[up], start[up] + num
