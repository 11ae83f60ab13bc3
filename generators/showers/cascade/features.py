"""Features of the splits of a shower, gathered by compiled loops from the part of the shower that is known by then.

Energies become known in the order of the cascade: the visible energy; the layers, front to back; the rings, layer by
layer from the front, inside out; the sectors, layer by layer, all rings of a layer at once, even rings before odd
ones. Training calls the same functions as sampling: they never read what comes later.

Energies enter as ``log(1 + E / E0) / 4``, called *compressed*: zero stays zero. Axes of arrays: N showers, L layers,
R rings, A sectors; a heap of 2A slots holds the sums of a ring over binary blocks of sectors
(:mod:`generators.showers.cascade.grid`). The *memory* of a layer is what the layers in front deposited in the same
ring and block, each weighted with ``DECAY`` times the weight of the layer behind it.
"""

from __future__ import annotations

from math import log, log1p

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled, compiled_inside
from fastsim.event import Ints

Numbers = NDArray[np.float32]

E0 = 0.01
"""MeV; well below the deposit of one particle in a thin layer."""
DECAY = 0.7
"""Weight in the memory of the layer before the last, relative to the last."""
HISTORY = 10
"""Layers in front whose energies are features of the split of a layer."""

LAYER_FEATURES = (
    *(f"energy_{step}_in_front" for step in range(1, HISTORY + 1)),
    "energy_left",
    "log_fraction_left",
    "log_fraction_in_front",
    "mean_depth",  # of the energy in front
    "depth_spread",
    "highest_energy",
    "distance_to_highest",
    "empty_layers",
    "distance_to_start",  # to the first layer with energy
)
"""Features of the split of a layer after the particle's and the layer's one-hot; depths are fractions of all layers."""
(
    _ENERGY_LEFT,
    _LOG_FRACTION_LEFT,
    _LOG_FRACTION_IN_FRONT,
    _MEAN_DEPTH,
    _DEPTH_SPREAD,
    _HIGHEST_ENERGY,
    _DISTANCE_TO_HIGHEST,
    _EMPTY_LAYERS,
    _DISTANCE_TO_START,
) = range(HISTORY, len(LAYER_FEATURES))

RING_FEATURES = ("is_this_ring", "energy", "memory", "energy_1_in_front", "energy_2_in_front", "energy_3_in_front")
"""Features of every ring of a layer in the split of one of them."""
_IS_THIS_RING, _RING_ENERGY, _RING_MEMORY, _RING_IN_FRONT = range(4)
_NUM_RING_FEATURES = len(RING_FEATURES)
LAYERS_AROUND = (-3, -2, -1, 1, 2, 3)
"""Layers, counted from its own, whose energies are features of the split of a ring."""
RING_SUMMARY = ("energy_left", "energy_gone", "highest_energy_inside", *(f"layer_{step:+d}" for step in LAYERS_AROUND))
"""Features of the split of a ring after those of all rings."""
_RING_ENERGY_LEFT, _RING_ENERGY_GONE, _HIGHEST_INSIDE, _LAYERS_AROUND = range(4)
_NUM_RING_SUMMARY = len(RING_SUMMARY)

_IN_FRONT = ("a", "b", "inside_a", "inside_b", "outside_a", "outside_b", "side_a", "side_b")
SECTOR_FEATURES = (
    "node",
    "side_a",  # the blocks of the node's size next to A and to B
    "side_b",
    "inside",  # the same block in the rings inside and outside
    "outside",
    "inside_a",  # the halves there: known if this ring is odd
    "inside_b",
    "outside_a",
    "outside_b",
    *(f"in_front_{step}_{name}" for step in (1, 2) for name in _IN_FRONT),
    *(f"in_front_3_{name}" for name in _IN_FRONT[:2]),
    "memory_inside_a",
    "memory_inside_b",
    "memory_a",
    "memory_b",
    "memory_outside_a",
    "memory_outside_b",
    "memory_side_a",
    "memory_side_b",
    "ring",  # whole rings are known before any sector, those of the layers behind too
    "ring_inside",
    "ring_outside",
    "ring_in_front",
    "ring_behind_1",
    "ring_behind_2",
    "ring_behind_1_inside",
    "ring_behind_1_outside",
    "depth",
    "depth_squared",
)
"""Features of the split of a block of sectors after the particle's and the one-hots of ring and level."""
_NODE, _SIDE_A, _SIDE_B, _INSIDE, _OUTSIDE, _INSIDE_A, _INSIDE_B, _OUTSIDE_A, _OUTSIDE_B, _FRONT = range(10)
(
    _FRONT_A,
    _FRONT_B,
    _FRONT_INSIDE_A,
    _FRONT_INSIDE_B,
    _FRONT_OUTSIDE_A,
    _FRONT_OUTSIDE_B,
    _FRONT_SIDE_A,
    _FRONT_SIDE_B,
) = range(len(_IN_FRONT))
_NUM_IN_FRONT = len(_IN_FRONT)
_MEMORY, _MEMORY_SIDE_A = SECTOR_FEATURES.index("memory_inside_a"), SECTOR_FEATURES.index("memory_side_a")
_MEMORY_SIDE_B = SECTOR_FEATURES.index("memory_side_b")
(
    _RING,
    _RING_INSIDE,
    _RING_OUTSIDE,
    _RING_FRONT,
    _RING_BEHIND_1,
    _RING_BEHIND_2,
    _RING_BEHIND_INSIDE,
    _RING_BEHIND_OUTSIDE,
    _DEPTH,
    _DEPTH_SQUARED,
) = range(SECTOR_FEATURES.index("ring"), len(SECTOR_FEATURES))
_NUM_SECTOR_FEATURES = len(SECTOR_FEATURES)


@compiled_inside
def compress(energy: float) -> float:
    """Return log(1 + E/E0) / 4 of an energy E in MeV."""
    return 0.25 * log1p(energy / E0) if energy > 0 else 0.0


@compiled
def compress_quickly(energy: float) -> float:
    """Compress an energy as :func:`compress` does, to the last digits of float32: a logarithm is cheaper than log1p."""
    x = energy * (1 / E0)
    return 0.25 * (log(1.0 + x) if x > 1e-7 else max(x, 0.0))


@compiled
def _compress_all(energy: Numbers, out: Numbers) -> None:
    for k in range(len(energy)):
        out[k] = compress(energy[k])


def compressed(energy: Numbers) -> Numbers:
    """Compress the energies in MeV of an array of any shape."""
    energy = np.ascontiguousarray(energy, dtype=np.float32)
    out = np.empty_like(energy)
    _compress_all(energy.reshape(-1), out.reshape(-1))
    return out


@compiled_inside
def _particle_and_layer(particle: Numbers, n: int, layer: int, num_layers: int, out: Numbers, k: int) -> int:
    """Fill the first features of row k of ``out``, row n of ``particle`` (N, C) and the layer's one-hot.

    Returns their number.
    """
    num = particle.shape[1]
    for c in range(num):
        out[k, c] = particle[n, c]
    for c in range(num_layers):
        out[k, num + c] = 1.0 if c == layer else 0.0
    return num + num_layers


def num_layer_features(num_layers: int, num_particle: int) -> int:
    """Return the length of a row of :func:`layer_features`."""
    return num_particle + num_layers + len(LAYER_FEATURES)


@compiled
def layer_features(
    rows: Ints, layer: int, layers: Numbers, known: Numbers, particle: Numbers, rest: Numbers, out: Numbers
) -> None:
    """Fill the features of the splits "this layer | the layers behind it".

    Args:
        rows: numbers of the showers, (K,).
        layer: number of the layer, the same for all.
        layers: energies of the layers in MeV, known in front of ``layer``, (N, L).
        known: the same energies compressed, (N, L).
        particle: features of the incident particle and of the response, (N, C).
        rest: energy in MeV from ``layer`` on, (N,).
        out: the features to fill, (K, F).
    """
    num_layers = layers.shape[1]
    for k in range(len(rows)):
        n = rows[k]
        place = _particle_and_layer(particle, n, layer, num_layers, out, k)
        for d in range(1, HISTORY + 1):
            out[k, place + d - 1] = known[n, layer - d] if layer >= d else 0.0
        total, first, second = 0.0, 0.0, 0.0
        highest, where, empty, start = 0.0, 0, 0, num_layers
        for c in range(layer):
            e = layers[n, c]
            total += e
            first += e * c
            second += e * c * c
            if e > highest:
                highest, where = e, c
            if e == 0:
                empty += 1
            elif start == num_layers:
                start = c
        mean = first / total if total > 0 else 0.0
        spread = max(second / total - mean * mean, 0.0) ** 0.5 if total > 0 else 0.0
        left = rest[n]
        out[k, place + _ENERGY_LEFT] = compress(left)
        out[k, place + _LOG_FRACTION_LEFT] = 0.2 * max(log(left / (total + left)), -15.0)
        out[k, place + _LOG_FRACTION_IN_FRONT] = 0.2 * max(log((total + 1e-6) / (total + left)), -15.0)
        out[k, place + _MEAN_DEPTH] = mean / num_layers
        out[k, place + _DEPTH_SPREAD] = spread / num_layers
        out[k, place + _HIGHEST_ENERGY] = compress(highest)
        out[k, place + _DISTANCE_TO_HIGHEST] = (layer - where) / num_layers
        out[k, place + _EMPTY_LAYERS] = empty / num_layers
        out[k, place + _DISTANCE_TO_START] = max(layer - start, 0) / num_layers


def num_ring_features(num_layers: int, max_r: int, num_particle: int) -> int:
    """Return the length of a row of :func:`ring_features`."""
    return num_particle + num_layers + _NUM_RING_FEATURES * max_r + _NUM_RING_SUMMARY


@compiled
def ring_features(
    rows: Ints,
    layer: int,
    ring: int,
    layers: Numbers,
    known: Numbers,
    memory: Numbers,
    particle: Numbers,
    rest: Numbers,
    out: Numbers,
) -> None:
    """Fill the features of the splits "this ring | the rings outside it".

    Args:
        rows: numbers of the showers, (K,).
        layer: number of the layer, the same for all.
        ring: number of the ring, the same for all.
        layers: compressed energies of the layers, (N, L).
        known: compressed energies of the rings, known in the layers in front and inside ``ring``, (N, L, R).
        memory: compressed memory of the layers in front, (N, L, R).
        particle: features of the incident particle, (N, C).
        rest: energy in MeV from ``ring`` outwards, (N,).
        out: the features to fill, (K, F).
    """
    num_layers, max_r = known.shape[1], known.shape[2]
    for k in range(len(rows)):
        n = rows[k]
        place = _particle_and_layer(particle, n, layer, num_layers, out, k)
        for r in range(max_r):
            out[k, place + _IS_THIS_RING] = 1.0 if r == ring else 0.0
            out[k, place + _RING_ENERGY] = known[n, layer, r] if r < ring else 0.0
            out[k, place + _RING_MEMORY] = memory[n, layer, r]
            for d in range(1, 4):
                out[k, place + _RING_IN_FRONT + d - 1] = known[n, layer - d, r] if layer >= d else 0.0
            place += _NUM_RING_FEATURES
        left = compress(rest[n])
        out[k, place + _RING_ENERGY_LEFT] = left
        out[k, place + _RING_ENERGY_GONE] = layers[n, layer] - left
        inside = 0.0
        for r in range(ring):
            inside = max(inside, known[n, layer, r])
        out[k, place + _HIGHEST_INSIDE] = inside
        for i in range(len(LAYERS_AROUND)):
            other = layer + LAYERS_AROUND[i]
            out[k, place + _LAYERS_AROUND + i] = layers[n, other] if 0 <= other < num_layers else 0.0


def num_sector_features(max_r: int, num_levels: int, num_particle: int) -> int:
    """Return the length of a row of :func:`sector_features`."""
    return num_particle + max_r + num_levels + _NUM_SECTOR_FEATURES


@compiled_inside
def _at(x: Numbers, n: int, layer: int, ring: int, slot: int) -> float:
    """Return an entry of x (N, L, R, 2A), 0 where there is no such layer or ring."""
    if layer < 0 or layer >= x.shape[1] or ring < 0 or ring >= x.shape[2]:
        return 0.0
    return float(x[n, layer, ring, slot])


@compiled
def sector_features(
    rows: Ints,
    known: Numbers,
    memory: Numbers,
    neighbours: Ints,
    particle: Numbers,
    out: Numbers,
    swapped: NDArray[np.bool_],
) -> None:
    """Fill the features of the splits of blocks of sectors into halves; A is the half with more memory in front of it.

    Args:
        rows: shower, layer, ring and heap node of each block, (K, 4).
        known: compressed energies (N, L, R, 2A): complete in the layers in front; in the node's own layer down to the
            node's generation, and one generation further in even rings if the node's ring is odd.
        memory: compressed memory of the layers in front, (N, L, R, 2A).
        neighbours: the array :attr:`~generators.showers.cascade.grid.Grid.neighbours`, (L, 5, R).
        particle: features of the incident particle, (N, C).
        out: the features to fill, (K, F).
        swapped: to fill, whether A is the second half, (K,).

    Raises:
        ValueError: if ``out`` has fewer columns than features.
    """
    num_layers, max_r, num_particle = known.shape[1], known.shape[2], particle.shape[1]
    num_leaves = known.shape[3] // 2
    num_levels = 0
    while (1 << num_levels) < num_leaves:
        num_levels += 1
    if num_particle + max_r + num_levels + _NUM_SECTOR_FEATURES > out.shape[1]:
        raise ValueError("features of a sector split")
    for k in range(len(rows)):
        n, layer, ring, node = rows[k, 0], rows[k, 1], rows[k, 2], rows[k, 3]
        level = 0
        while (2 << level) <= node:
            level += 1
        size, base = 1 << level, node - (1 << level)
        behind = neighbours[layer, 0, ring]
        first, second = 2 * node, 2 * node + 1
        ahead_first = memory[n, layer, ring, first]
        ahead_second = memory[n, layer, ring, second]
        for r in (ring - 1, ring + 1):
            ahead_first += 0.5 * _at(memory, n, layer, r, first)
            ahead_second += 0.5 * _at(memory, n, layer, r, second)
        swap = ahead_second > ahead_first
        swapped[k] = swap
        # nodes of this level and the next one on either side of A and of B, the long way round where there is one
        left, right = size + ((base - 1) & (size - 1)), size + ((base + 1) & (size - 1))
        far = 2 * size
        far_left, far_right = far + ((2 * base - 1) & (far - 1)), far + ((2 * base + 2) & (far - 1))
        a, b, by_a, by_b, out_a, out_b = first, second, left, right, far_left, far_right
        if swap:
            a, b, by_a, by_b, out_a, out_b = second, first, right, left, far_right, far_left
        place = 0
        for c in range(num_particle):
            out[k, place] = particle[n, c]
            place += 1
        for r in range(max_r):
            out[k, place] = 1.0 if r == ring else 0.0
            place += 1
        for c in range(num_levels):
            out[k, place] = 1.0 if c == level else 0.0
            place += 1
        o = out[k, place:]
        o[_NODE] = known[n, layer, ring, node]
        o[_SIDE_A] = known[n, layer, ring, by_a] if level > 0 else 0.0
        o[_SIDE_B] = known[n, layer, ring, by_b] if level > 0 else 0.0
        o[_INSIDE] = _at(known, n, layer, ring - 1, node)
        o[_OUTSIDE] = _at(known, n, layer, ring + 1, node)
        odd = ring % 2 == 1
        o[_INSIDE_A] = _at(known, n, layer, ring - 1, a) if odd else 0.0
        o[_INSIDE_B] = _at(known, n, layer, ring - 1, b) if odd else 0.0
        o[_OUTSIDE_A] = _at(known, n, layer, ring + 1, a) if odd else 0.0
        o[_OUTSIDE_B] = _at(known, n, layer, ring + 1, b) if odd else 0.0
        for d in range(1, 4):
            near, p = neighbours[layer, d - 1, ring], _FRONT + _NUM_IN_FRONT * (d - 1)
            o[p + _FRONT_A] = _at(known, n, layer - d, near, a) if near >= 0 else 0.0
            o[p + _FRONT_B] = _at(known, n, layer - d, near, b) if near >= 0 else 0.0
            if d < 3:
                o[p + _FRONT_INSIDE_A] = _at(known, n, layer - d, near - 1, a) if near >= 0 else 0.0
                o[p + _FRONT_INSIDE_B] = _at(known, n, layer - d, near - 1, b) if near >= 0 else 0.0
                o[p + _FRONT_OUTSIDE_A] = _at(known, n, layer - d, near + 1, a) if near >= 0 else 0.0
                o[p + _FRONT_OUTSIDE_B] = _at(known, n, layer - d, near + 1, b) if near >= 0 else 0.0
                o[p + _FRONT_SIDE_A] = _at(known, n, layer - d, near, out_a) if near >= 0 else 0.0
                o[p + _FRONT_SIDE_B] = _at(known, n, layer - d, near, out_b) if near >= 0 else 0.0
        for i in range(3):
            o[_MEMORY + 2 * i] = _at(memory, n, layer, ring - 1 + i, a)
            o[_MEMORY + 2 * i + 1] = _at(memory, n, layer, ring - 1 + i, b)
        o[_MEMORY_SIDE_A] = memory[n, layer, ring, out_a]
        o[_MEMORY_SIDE_B] = memory[n, layer, ring, out_b]
        # slot 1 of a heap is the whole ring
        o[_RING] = known[n, layer, ring, 1]
        o[_RING_INSIDE] = _at(known, n, layer, ring - 1, 1)
        o[_RING_OUTSIDE] = _at(known, n, layer, ring + 1, 1)
        o[_RING_FRONT] = _at(known, n, layer - 1, behind, 1) if behind >= 0 else 0.0
        near, next_ = neighbours[layer, 3, ring], neighbours[layer, 4, ring]
        o[_RING_BEHIND_1] = _at(known, n, layer + 1, near, 1) if near >= 0 else 0.0
        o[_RING_BEHIND_2] = _at(known, n, layer + 2, next_, 1) if next_ >= 0 else 0.0
        o[_RING_BEHIND_INSIDE] = _at(known, n, layer + 1, near - 1, 1) if near >= 0 else 0.0
        o[_RING_BEHIND_OUTSIDE] = _at(known, n, layer + 1, near + 1, 1) if near >= 0 else 0.0
        o[_DEPTH] = layer / num_layers
        o[_DEPTH_SQUARED] = (layer / num_layers) ** 2


@compiled
def remember(deposits: Numbers, layer: int, neighbours: Ints, memory: Numbers) -> None:
    """Fill the memory (N, L, R, S) in MeV of a layer from the deposits (N, L, R, S) and the memory of the one in front.

    ``neighbours`` is the array :attr:`~generators.showers.cascade.grid.Grid.neighbours`.
    """
    if layer == 0:
        return
    for n in range(deposits.shape[0]):
        for r in range(deposits.shape[2]):
            near = neighbours[layer, 0, r]
            for s in range(deposits.shape[3]):
                memory[n, layer, r, s] = (
                    deposits[n, layer - 1, near, s] + DECAY * memory[n, layer - 1, near, s] if near >= 0 else 0.0
                )


@compiled
def remember_front(deposits: Numbers, front: int, neighbours: Ints, memory: Numbers, packed: Numbers) -> None:
    """Fill the memory (N, L, R, 2A) for a front of splits: the halves of blocks of level k in layer front - k, all k.

    ``memory`` is in MeV, ``packed`` the same compressed; see :func:`remember`.
    """
    num_layers, slots = deposits.shape[1], deposits.shape[3]
    for n in range(deposits.shape[0]):
        layer, first = front, 2
        while first < slots:
            if 1 <= layer < num_layers:
                for r in range(deposits.shape[2]):
                    near = neighbours[layer, 0, r]
                    if near >= 0:
                        for s in range(first, 2 * first):
                            e = deposits[n, layer - 1, near, s] + DECAY * memory[n, layer - 1, near, s]
                            if e > 0:
                                memory[n, layer, r, s] = e
                                packed[n, layer, r, s] = compress_quickly(e)
            layer, first = layer - 1, 2 * first


@compiled
def whole_rings(deposits: Numbers, layer: int, parity: int) -> Ints:
    """List the rings of a layer and of one parity that have energy: rows (K, 4) of shower, layer, ring and node 1."""
    num, num_r = deposits.shape[0], deposits.shape[2]
    rows, count = np.empty((num * (num_r + 1 - parity) // 2, 4), np.int64), 0
    for n in range(num):
        for r in range(parity, num_r, 2):
            if deposits[n, layer, r, 1] > 0:
                rows[count, 0], rows[count, 1], rows[count, 2], rows[count, 3] = n, layer, r, 1
                count += 1
    return rows[:count]


@compiled
def all_nodes(deposits: Numbers, divided: NDArray[np.bool_], halved: NDArray[np.bool_]) -> Ints:
    """List all blocks that have energy and halves: rows (K, 4) of shower, layer, ring and node.

    ``divided`` (L,) and ``halved`` (2A,) are the arrays of :class:`~generators.showers.cascade.grid.Grid`.
    """
    num_leaves = deposits.shape[3] // 2
    total = 0
    for fill in range(2):
        rows = np.empty((total, 4), np.int64)
        total = 0
        for n in range(deposits.shape[0]):
            for layer in range(deposits.shape[1]):
                if not divided[layer]:
                    continue
                for r in range(deposits.shape[2]):
                    for q in range(1, num_leaves):
                        if halved[q] and deposits[n, layer, r, q] > 0:
                            if fill == 1:
                                rows[total, 0], rows[total, 1], rows[total, 2], rows[total, 3] = n, layer, r, q
                            total += 1
    return rows
