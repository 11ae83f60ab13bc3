"""What the splits of a shower look at: compiled gathers from the part of the shower that is known by then.

The order of the cascade is the order of what is known: the visible energy; the layers, front to back; the rings, layer
by layer from the front, inside out; the sectors, layer by layer, all rings of a layer at once, even rings before odd
ones. Training reads the same functions as sampling: they never touch what comes later.

Energies enter as ``log(1 + E / E0) / 4``: zero stays zero.
"""

from __future__ import annotations

from math import log, log1p

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Ints
from generators.nn.compiled import compiled, compiled_inside

Numbers = NDArray[np.float32]

E0 = 0.01
"""MeV; well below the deposit of one particle in a thin layer."""
DECAY = 0.7
"""What is left of a layer in the memory one layer on."""
HISTORY = 10
"""Layers that the layer energies look back on."""


@compiled_inside
def compress(energy: float) -> float:
    """log(1 + E/E0) / 4 of an energy in MeV."""
    return 0.25 * log1p(energy / E0) if energy > 0 else 0.0


@compiled
def compress_quickly(energy: float) -> float:
    """:func:`compress` for sampling, equal to the last digits of float32: a logarithm is cheaper than log1p."""
    x = energy * (1 / E0)
    return 0.25 * (log(1.0 + x) if x > 1e-7 else max(x, 0.0))


@compiled
def _compress_all(energy: Numbers, out: Numbers) -> None:
    for k in range(len(energy)):
        out[k] = compress(energy[k])


def compressed(energy: Numbers) -> Numbers:
    """:func:`compress` of an array of any shape."""
    energy = np.ascontiguousarray(energy, dtype=np.float32)
    out = np.empty_like(energy)
    _compress_all(energy.reshape(-1), out.reshape(-1))
    return out


@compiled_inside
def _given_and_layer(given: Numbers, n: int, layer: int, num_layers: int, out: Numbers, k: int) -> int:
    """Fill row k of ``out`` with row n of what is given (N, C) and the layer's one-hot; return how many that are."""
    num = given.shape[1]
    for c in range(num):
        out[k, c] = given[n, c]
    for c in range(num_layers):
        out[k, num + c] = 1.0 if c == layer else 0.0
    return num + num_layers


def num_layer_features(num_layers: int, num_given: int) -> int:
    """Length of a row of :func:`layer_features`."""
    return num_given + num_layers + HISTORY + 9


@compiled
def layer_features(
    rows: Ints, layer: int, layers: Numbers, known: Numbers, given: Numbers, rest: Numbers, out: Numbers
) -> None:
    """Features of the splits "this layer | those behind it".

    Args:
        rows: (K,) showers; layer: the same for all; layers: (N, L) energies in MeV, known in front of ``layer``; known:
            the same compressed; given: (N, C) of the incident particle and the response; rest: (N,) energy from
            ``layer`` on; out: (K, F) to fill.
    """
    num_layers = layers.shape[1]
    for k in range(len(rows)):
        n = rows[k]
        place = _given_and_layer(given, n, layer, num_layers, out, k)
        for d in range(1, HISTORY + 1):
            out[k, place] = known[n, layer - d] if layer >= d else 0.0
            place += 1
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
        out[k, place] = compress(left)
        out[k, place + 1] = 0.2 * max(log(left / (total + left)), -15.0)
        out[k, place + 2] = 0.2 * max(log((total + 1e-6) / (total + left)), -15.0)
        out[k, place + 3] = mean / num_layers
        out[k, place + 4] = spread / num_layers
        out[k, place + 5] = compress(highest)
        out[k, place + 6] = (layer - where) / num_layers
        out[k, place + 7] = empty / num_layers
        out[k, place + 8] = max(layer - start, 0) / num_layers


def num_ring_features(num_layers: int, max_r: int, num_given: int) -> int:
    """Length of a row of :func:`ring_features`."""
    return num_given + num_layers + 6 * max_r + 9


@compiled
def ring_features(
    rows: Ints,
    layer: int,
    ring: int,
    layers: Numbers,
    known: Numbers,
    memory: Numbers,
    given: Numbers,
    rest: Numbers,
    out: Numbers,
) -> None:
    """Features of the splits "this ring | those outside it".

    Args:
        rows: (K,) showers; layer, ring: the same for all; layers: (N, L) compressed energies; known: (N, L, R)
            compressed energies of rings, known in front and inside; memory: (N, L, R) of the layers in front,
            compressed; given: (N, C) of the particle; rest: (N,) energy in MeV from ``ring`` outwards; out: (K, F) to
            fill.
    """
    num_layers, max_r = known.shape[1], known.shape[2]
    for k in range(len(rows)):
        n = rows[k]
        place = _given_and_layer(given, n, layer, num_layers, out, k)
        for r in range(max_r):
            out[k, place] = 1.0 if r == ring else 0.0
            out[k, place + 1] = known[n, layer, r] if r < ring else 0.0
            out[k, place + 2] = memory[n, layer, r]
            for d in range(1, 4):
                out[k, place + 2 + d] = known[n, layer - d, r] if layer >= d else 0.0
            place += 6
        left = compress(rest[n])
        out[k, place] = left
        out[k, place + 1] = layers[n, layer] - left
        inside = 0.0
        for r in range(ring):
            inside = max(inside, known[n, layer, r])
        out[k, place + 2] = inside
        for d in range(-3, 4):
            if d != 0:
                other = layer + d
                out[k, place + 3 + (d + 3 if d < 0 else d + 2)] = layers[n, other] if 0 <= other < num_layers else 0.0
        place += 9


SECTOR_FEATURES = 45
"""Numbers of a sector split beside what is given and the ring's one-hot."""


def num_sector_features(max_r: int, num_levels: int, num_given: int) -> int:
    """Length of a row of :func:`sector_features`."""
    return num_given + max_r + num_levels + SECTOR_FEATURES


@compiled_inside
def _at(x: Numbers, n: int, layer: int, ring: int, slot: int) -> float:
    if layer < 0 or layer >= x.shape[1] or ring < 0 or ring >= x.shape[2]:
        return 0.0
    return float(x[n, layer, ring, slot])


@compiled
def sector_features(
    rows: Ints,
    known: Numbers,
    memory: Numbers,
    neighbours: Ints,
    given: Numbers,
    out: Numbers,
    swapped: NDArray[np.bool_],
) -> None:
    """Features of the splits of a block of sectors into its halves; A is the half with more in front of it.

    Args:
        rows: (K, 4) shower, layer, ring, heap node; known: (N, L, R, 2A) compressed, complete in the layers in front,
            down to the node's own generation in its layer, one further in even rings if the node's ring is odd; memory:
            of the layers in front, (N, L, R, 2A); neighbours: of :class:`~generators.showers.cascade.grid.Grid`;
            given: (N, C); out: (K, F) to fill; swapped: (K,) to fill, whether A is the second half.
    """
    num_layers, max_r, num_given = known.shape[1], known.shape[2], given.shape[1]
    num_alpha = known.shape[3] // 2
    num_levels = 0
    while (1 << num_levels) < num_alpha:
        num_levels += 1
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
        for c in range(num_given):
            out[k, place] = given[n, c]
            place += 1
        for r in range(max_r):
            out[k, place] = 1.0 if r == ring else 0.0
            place += 1
        for c in range(num_levels):
            out[k, place] = 1.0 if c == level else 0.0
            place += 1
        o = out[k, place:]
        o[0] = known[n, layer, ring, node]
        o[1] = known[n, layer, ring, by_a] if level > 0 else 0.0
        o[2] = known[n, layer, ring, by_b] if level > 0 else 0.0
        o[3] = _at(known, n, layer, ring - 1, node)
        o[4] = _at(known, n, layer, ring + 1, node)
        odd = ring % 2 == 1
        o[5] = _at(known, n, layer, ring - 1, a) if odd else 0.0
        o[6] = _at(known, n, layer, ring - 1, b) if odd else 0.0
        o[7] = _at(known, n, layer, ring + 1, a) if odd else 0.0
        o[8] = _at(known, n, layer, ring + 1, b) if odd else 0.0
        p = 9
        for d in range(1, 4):
            near = neighbours[layer, d - 1, ring]
            o[p] = _at(known, n, layer - d, near, a) if near >= 0 else 0.0
            o[p + 1] = _at(known, n, layer - d, near, b) if near >= 0 else 0.0
            p += 2
            if d < 3:
                o[p] = _at(known, n, layer - d, near - 1, a) if near >= 0 else 0.0
                o[p + 1] = _at(known, n, layer - d, near - 1, b) if near >= 0 else 0.0
                o[p + 2] = _at(known, n, layer - d, near + 1, a) if near >= 0 else 0.0
                o[p + 3] = _at(known, n, layer - d, near + 1, b) if near >= 0 else 0.0
                o[p + 4] = _at(known, n, layer - d, near, out_a) if near >= 0 else 0.0
                o[p + 5] = _at(known, n, layer - d, near, out_b) if near >= 0 else 0.0
                p += 6
        for r in range(ring - 1, ring + 2):
            o[p] = _at(memory, n, layer, r, a)
            o[p + 1] = _at(memory, n, layer, r, b)
            p += 2
        o[p] = memory[n, layer, ring, out_a]
        o[p + 1] = memory[n, layer, ring, out_b]
        p += 2
        # whole rings, of the layers behind too: they are known before any sector
        o[p] = known[n, layer, ring, 1]
        o[p + 1] = _at(known, n, layer, ring - 1, 1)
        o[p + 2] = _at(known, n, layer, ring + 1, 1)
        o[p + 3] = _at(known, n, layer - 1, behind, 1) if behind >= 0 else 0.0
        p += 4
        for d in range(1, 3):
            near = neighbours[layer, 2 + d, ring]
            o[p] = _at(known, n, layer + d, near, 1) if near >= 0 else 0.0
            p += 1
        near = neighbours[layer, 3, ring]
        o[p] = _at(known, n, layer + 1, near - 1, 1) if near >= 0 else 0.0
        o[p + 1] = _at(known, n, layer + 1, near + 1, 1) if near >= 0 else 0.0
        p += 2
        o[p] = layer / num_layers
        o[p + 1] = (layer / num_layers) ** 2
        p += 2
        if p + place != out.shape[1]:
            raise ValueError("features of a sector split")


@compiled
def remember(deposits: Numbers, layer: int, neighbours: Ints, memory: Numbers) -> None:
    """Memory (N, L, R, S) of ``layer`` in MeV, from deposits (N, L, R, S) and memory of the layer in front."""
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
    """:func:`remember` for a front of splits: the halves of blocks of level k in layer ``front - k``, for all k.

    Fills memory (N, L, R, 2A) in MeV, and ``packed``, the same compressed.
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
    """Rows (K, 4) shower, layer, ring, node: the rings of a layer and of one parity that have energy."""
    num, num_r = deposits.shape[0], deposits.shape[2]
    rows, count = np.empty((num * (num_r + 1 - parity) // 2, 4), np.int64), 0
    for n in range(num):
        for r in range(parity, num_r, 2):
            if deposits[n, layer, r, 1] > 0:
                rows[count, 0], rows[count, 1], rows[count, 2], rows[count, 3] = n, layer, r, 1
                count += 1
    return rows[:count]


@compiled
def all_nodes(deposits: Numbers) -> Ints:
    """Rows (K, 4) shower, layer, ring, node of all blocks with energy and halves."""
    num_alpha = deposits.shape[3] // 2
    total = 0
    for fill in range(2):
        rows = np.empty((total, 4), np.int64)
        total = 0
        for n in range(deposits.shape[0]):
            for layer in range(deposits.shape[1]):
                for r in range(deposits.shape[2]):
                    for q in range(1, num_alpha):
                        if deposits[n, layer, r, q] > 0:
                            if fill == 1:
                                rows[total, 0], rows[total, 1], rows[total, 2], rows[total, 3] = n, layer, r, q
                            total += 1
    return rows
