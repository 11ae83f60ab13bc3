"""What the latent says of a split: features beside those of :mod:`generators.showers.cascade.features`.

A split sees the latent of its shower and, above all, what of it is left: the mean depth, radius or side that the energy
not yet placed has to have for the whole shower to come out as the latent says. Where a model has no latent, splits do
without these features.

Training calls the same functions as sampling: they never read what comes later. Axes of arrays are those of
:mod:`generators.showers.cascade.features`; Z columns of a latent, K levels of halving, W = 4 vectors of a latent, each
of two components.
"""

from __future__ import annotations

from math import log

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled, compiled_inside
from fastsim.event import Floats, Ints
from generators.showers.cascade.features import Numbers
from generators.showers.cascade.latent import (
    CORE,
    DEPTH,
    FIRST_VECTOR,
    GROWTH,
    LENGTH,
    MIN_LENGTH,
    NUM_VECTORS,
    RADIUS,
    STARTED,
    VECTORS,
    VISIBLE,
)

_SHARED = ("depth", "length", "start", "log_radius", "core", "growth")
LAYER_CONDITIONS = (*_SHARED, "mean_depth_left", "depth_spread_left", "distance_to_start")
"""Features of the split of a layer. Factors bring all features to the same order of magnitude."""
RING_CONDITIONS = (
    *_SHARED,
    "radius_left",
    "core_left",
    "radius_gone",
    "core_gone",
    "share_left",
    "layer_share",
    "depth_left",
    "radius_depth_left",
)
"""Features of the split of a ring: "gone" is the energy of the layers in front; the last is weighted with radii."""
NUM_STEPS = 3
"""Layers in front whose own side and centre are features of the split of a block of sectors."""
RECENT = 0.9
"""Weight in the recent side and centre of the layer before the last, relative to the last."""
NUM_RECENT = 2
"""Vectors of a latent, the first ones, that are looked at layer by layer: side and centre."""
SECTOR_CONDITIONS = (
    *(f"{name}_{part}" for name in VECTORS for part in ("whole", "left", "gone")),
    "share_left",
    "node_share",
    "log_radius",
    *(f"{name}_{part}" for name in VECTORS[:NUM_RECENT] for part in (*range(1, NUM_STEPS + 1), "recent")),
    "even_rings",  # the same halves in the even rings of the layer, known if this ring is odd
)
"""Features of the split of a block of sectors: vectors along the line from half B to half A.

Sides of layers agree little with those next to them, but do so over many: a memory of a few layers takes the chance of
the last one for the direction of the shower.
"""
_NUM_SHARED = len(_SHARED)
MOST = 1.5
"""What is left is cut there, in the unit of a feature."""
ONE_PARTICLE = 0.1
"""MeV; the side of a layer with less, which is that of one particle, counts less."""
LEAST = 0.1
"""What is left is relative to the energy that is left, but at least to this share of the whole: a sampler that missed
the latent by a little would else see more of it the less energy there is to put it right with."""


@compiled_inside
def _cut(x: float, most: float) -> float:
    return min(max(x, -most), most)


@compiled_inside
def _shared(z: Numbers, n: int, num_layers: int, out: Numbers, k: int, place: int) -> int:
    """Fill the features of the latent that the splits of layers and rings share; return the place after them."""
    out[k, place] = 4 * z[n, DEPTH] / num_layers
    out[k, place + 1] = 16 * z[n, LENGTH] / num_layers
    out[k, place + 2] = 4 * z[n, STARTED] / num_layers
    out[k, place + 3] = 4 * log(max(z[n, RADIUS], 1e-3))
    out[k, place + 4] = 8 * z[n, CORE]
    out[k, place + 5] = 4 * z[n, GROWTH] * z[n, LENGTH] / max(z[n, RADIUS], 1e-3)
    return place + _NUM_SHARED


@compiled
def layer_conditions(
    rows: Ints, layer: int, layers: Numbers, rest: Numbers, z: Numbers, slant: Numbers, place: int, out: Numbers
) -> None:
    """Fill the features of the splits "this layer | the layers behind it".

    Args:
        rows: numbers of the showers, (K,).
        layer: number of the layer, the same for all.
        layers: energies of the layers in MeV, known in front of ``layer``, (N, L).
        rest: energy in MeV from ``layer`` on, (N,).
        z: latents, (N, Z).
        slant: of the showers, (N,), the last feature; no rows: without.
        place: column of the first feature to fill.
        out: the features, (K, F).
    """
    num_layers = layers.shape[1]
    for k in range(len(rows)):
        n = rows[k]
        first, second = 0.0, 0.0
        for c in range(layer):
            first += layers[n, c] * (c + 0.5)
            second += layers[n, c] * (c + 0.5) ** 2
        depth, length, visible, left = z[n, DEPTH], z[n, LENGTH], z[n, VISIBLE], rest[n]
        mean = (depth * visible - first) / left
        square = ((length * length + depth * depth) * visible - second) / left - mean * mean
        p = _shared(z, n, num_layers, out, k, place)
        out[k, p] = 4 * _cut((mean - layer) / num_layers, MOST)
        out[k, p + 1] = 4 * min(max(square, 0.0) ** 0.5 / num_layers, MOST)
        out[k, p + 2] = 4 * (z[n, STARTED] - layer) / num_layers
        if len(slant) > 0:
            out[k, p + 3] = slant[n]


@compiled
def sum_rings(rings: Numbers, layer: int, radii: Floats, gone: Floats) -> None:
    """Fill what the layers in front of a layer hold, (N, L, 5).

    They are the energy, times the radius, in the first ring, times the depth, times depth and radius.

    Args:
        rings: energies of the rings in MeV, known in front of ``layer``, (N, L, R).
        layer: number of the layer.
        radii: of the rings in mm, (L, R).
        gone: the sums, filled in front of ``layer``, (N, L, 5).
    """
    if layer == 0:
        gone[:, 0] = 0.0
        return
    for n in range(len(rings)):
        for c in range(5):
            gone[n, layer, c] = gone[n, layer - 1, c]
        energy, moment = 0.0, 0.0
        for r in range(rings.shape[2]):
            e = rings[n, layer - 1, r]
            energy += e
            moment += e * radii[layer - 1, r]
        gone[n, layer, 0] += energy
        gone[n, layer, 1] += moment
        gone[n, layer, 2] += rings[n, layer - 1, 0]
        gone[n, layer, 3] += energy * (layer - 0.5)
        gone[n, layer, 4] += moment * (layer - 0.5)


@compiled
def ring_conditions(
    rows: Ints,
    layer: int,
    ring: int,
    rings: Numbers,
    rest: Numbers,
    radii: Floats,
    gone: Floats,
    z: Numbers,
    slant: Numbers,
    place: int,
    out: Numbers,
) -> None:
    """Fill the features of the splits "this ring | the rings outside it".

    Args:
        rows: numbers of the showers, (K,).
        layer: number of the layer, the same for all.
        ring: number of the ring, the same for all.
        rings: energies in MeV, known in the layer inside ``ring``, (N, L, R).
        rest: energy in MeV from ``ring`` outwards, (N,).
        radii: of the rings in mm, (L, R).
        gone: the sums of :func:`sum_rings`, (N, L, 5).
        z: latents, (N, Z).
        slant: of the showers, (N,), the last feature; no rows: without.
        place: column of the first feature to fill.
        out: the features, (K, F).
    """
    num_layers = rings.shape[1]
    for k in range(len(rows)):
        n = rows[k]
        inside, moment = 0.0, 0.0
        for r in range(ring):
            inside += rings[n, layer, r]
            moment += rings[n, layer, r] * radii[layer, r]
        visible, radius, core = z[n, VISIBLE], max(z[n, RADIUS], 1e-3), z[n, CORE]
        energy, here = gone[n, layer, 0], rest[n]
        left = max(visible - energy - inside, here)
        most = max(left, LEAST * visible)
        mean = (radius * visible - gone[n, layer, 1] - moment) / most
        # the first ring of this layer belongs to what is left as long as it is not drawn
        missing = core * visible - gone[n, layer, 2]
        behind = left if ring == 0 else max(left - here, 0.0)
        if ring > 0:
            missing -= rings[n, layer, 0]
        p = _shared(z, n, num_layers, out, k, place)
        out[k, p] = 2 * _cut(mean / radius - left / most, 2.0)
        out[k, p + 1] = 4 * _cut((missing - core * behind) / max(behind, LEAST * visible), 0.5)
        out[k, p + 2] = 4 * min(gone[n, layer, 1] / (energy * radius) - 1, 2.0) if energy > 0 else 0.0
        out[k, p + 3] = 8 * (gone[n, layer, 2] / energy - core) if energy > 0 else 0.0
        out[k, p + 4] = left / visible
        out[k, p + 5] = (here / left) ** 0.5
        depth, length, where = z[n, DEPTH], max(z[n, LENGTH], MIN_LENGTH), layer + 0.5
        first = depth * visible - gone[n, layer, 3] - inside * where
        both = (z[n, GROWTH] * length * length + depth * radius) * visible - gone[n, layer, 4] - moment * where
        out[k, p + 6] = _cut((first - left * where) / (most * length), MOST)
        out[k, p + 7] = _cut((both - mean * most * where) / (most * length * radius), MOST)
        if len(slant) > 0:
            out[k, p + 8] = slant[n]


@compiled
def sum_layers(rings: Numbers, energy: Floats) -> None:
    """Fill the energies in MeV of, in front of and recently in front of each layer (N, L, 3) from those of rings.

    ``rings`` (N, L, R) are all known. Recent energy is weighted with :data:`RECENT`, as recent vectors are.
    """
    for n in range(len(rings)):
        total, recent = 0.0, 0.0
        for layer in range(rings.shape[1]):
            own = 0.0
            for r in range(rings.shape[2]):
                own += rings[n, layer, r]
            energy[n, layer, 0], energy[n, layer, 1], energy[n, layer, 2] = own, total, recent
            total += own
            recent = own + RECENT * recent


@compiled
def sum_sides(
    deposits: Numbers,
    front: int,
    radii: Floats,
    directions: Floats,
    z: Numbers,
    own: Floats,
    gone: Floats,
    recent: Floats,
) -> None:
    """Fill the sums of vectors that the splits of a front need: those of level k in layer front - k, all k.

    Args:
        deposits: in MeV, known where earlier fronts have split, (N, L, R, 2A).
        front: number of the front.
        radii: of the rings in mm, (L, R).
        directions: of the slots, (2A, 2).
        z: latents, (N, Z).
        own: sums over one layer, as the halves that a level's splits made say, (N, L, K, W, 2).
        gone: sums over the layers in front, as finely as they are known by then, (N, L, K, W, 2).
        recent: the same of the first vectors, weighted with :data:`RECENT` from layer to layer, (N, L, K, 2, 2).
    """
    num_layers, num_r, num_levels = deposits.shape[1], deposits.shape[2], own.shape[2]
    for n in range(deposits.shape[0]):
        radius = 1 / max(z[n, RADIUS], 1e-3)
        for level in range(num_levels):
            layer = front - 1 - level
            if not 0 <= layer < num_layers:
                continue
            first, x, y, far_x, far_y = 2 << level, 0.0, 0.0, 0.0, 0.0
            for ring in range(num_r):
                if deposits[n, layer, ring, 1] <= 0:
                    continue
                r, ring_x, ring_y = radii[layer, ring] * radius, 0.0, 0.0
                for slot in range(first, 2 * first):
                    ring_x += deposits[n, layer, ring, slot] * directions[slot, 0]
                    ring_y += deposits[n, layer, ring, slot] * directions[slot, 1]
                x += ring_x
                y += ring_y
                far_x += r * ring_x
                far_y += r * ring_y
            along = (layer + 0.5 - z[n, DEPTH]) / max(z[n, LENGTH], MIN_LENGTH)
            sums = own[n, layer, level]
            sums[0, 0], sums[0, 1], sums[1, 0], sums[1, 1] = x, y, far_x, far_y
            sums[2, 0], sums[2, 1] = along * x, along * y
            sums[3, 0], sums[3, 1] = along * far_x, along * far_y
        for level in range(num_levels - 1, -1, -1):
            layer = front - level
            if not 1 <= layer < num_layers:
                continue
            # the layers further in front are known one level further
            finer = min(level + 1, num_levels - 1)
            for w in range(NUM_VECTORS):
                for c in range(2):
                    gone[n, layer, level, w, c] = gone[n, layer - 1, finer, w, c] + own[n, layer - 1, level, w, c]
                    if w < NUM_RECENT:
                        before = recent[n, layer - 1, finer, w, c]
                        recent[n, layer, level, w, c] = own[n, layer - 1, level, w, c] + RECENT * before


@compiled
def sector_conditions(
    rows: Ints,
    deposits: Numbers,
    swapped: NDArray[np.bool_],
    directions: Floats,
    z: Numbers,
    energy: Floats,
    own: Floats,
    gone: Floats,
    recent: Floats,
    tilt: Numbers,
    place: int,
    out: Numbers,
) -> None:
    """Fill the features of the splits of blocks of sectors into halves.

    Args:
        rows: shower, layer, ring and heap node of each block, (K, 4).
        deposits: in MeV, (N, L, R, 2A).
        swapped: whether half A is the second, (K,).
        directions: of the slots, (2A, 2).
        z: latents, (N, Z).
        energy: the energies of :func:`sum_layers`, (N, L, 3).
        own, gone, recent: the sums of :func:`sum_sides`, (N, L, K, W, 2), the last (N, L, K, 2, 2).
        tilt: tilts and slants, (N, 3), whose features :data:`~.tilt.SECTOR_TILTS` come last; no rows: without.
        place: column of the first feature to fill.
        out: the features, (K, F).
    """
    target = np.empty((NUM_VECTORS, 2))
    for k in range(len(rows)):
        n, layer, ring, node = rows[k, 0], rows[k, 1], rows[k, 2], rows[k, 3]
        level = 0
        while (2 << level) <= node:
            level += 1
        a, b = (2 * node + 1, 2 * node) if swapped[k] else (2 * node, 2 * node + 1)
        x, y = directions[a, 0] - directions[b, 0], directions[a, 1] - directions[b, 1]
        norm = 1 / (x * x + y * y) ** 0.5
        x, y = x * norm, y * norm
        radius, length = max(z[n, RADIUS], 1e-3), max(z[n, LENGTH], MIN_LENGTH)
        for w in range(NUM_VECTORS):
            # side, centre, side_tilt, tilt; sums take radii relative to the mean and depths relative to the length
            factor = (1 / radius if w % 2 else 1.0) * (length if w >= 2 else 1.0)
            target[w, 0] = factor * z[n, FIRST_VECTOR + 2 * w]
            target[w, 1] = factor * z[n, FIRST_VECTOR + 2 * w + 1]
        visible, before = z[n, VISIBLE], energy[n, layer, 1]
        left = max(visible - before, deposits[n, layer, ring, node])
        most = max(left, LEAST * visible)
        p = place
        for w in range(NUM_VECTORS):
            front = gone[n, layer, level, w, 0] * x + gone[n, layer, level, w, 1] * y
            whole = target[w, 0] * x + target[w, 1] * y
            rest = whole * visible - front
            if level > 0:
                rest -= own[n, layer, level - 1, w, 0] * x + own[n, layer, level - 1, w, 1] * y
            out[k, p] = 4 * whole
            out[k, p + 1] = 4 * _cut(rest / most, MOST)
            out[k, p + 2] = 4 * _cut(front / max(before, LEAST * visible), MOST)
            p += 3
        out[k, p] = left / visible
        out[k, p + 1] = (deposits[n, layer, ring, node] / left) ** 0.5
        out[k, p + 2] = 4 * log(radius)
        p += 3
        for w in range(NUM_RECENT):
            for step in range(1, NUM_STEPS + 1):
                out[k, p] = 0.0
                if layer >= step:
                    sums = own[n, layer - step, level, w]
                    least = max(energy[n, layer - step, 0], ONE_PARTICLE)
                    out[k, p] = 2 * _cut((sums[0] * x + sums[1] * y) / least, MOST)
                p += 1
            sums = recent[n, layer, level, w]
            out[k, p] = 4 * _cut((sums[0] * x + sums[1] * y) / max(energy[n, layer, 2], ONE_PARTICLE), MOST)
            p += 1
        more, less = 0.0, 0.0
        if ring % 2 == 1:
            for other in range(0, deposits.shape[2], 2):
                more += deposits[n, layer, other, a]
                less += deposits[n, layer, other, b]
        out[k, p] = 2 * (more - less) / max(more + less, ONE_PARTICLE)
        if len(tilt) > 0:
            out[k, p + 1] = x * tilt[n, 0] + y * tilt[n, 1]
            out[k, p + 2] = directions[node, 0] * tilt[n, 0] + directions[node, 1] * tilt[n, 1]
            out[k, p + 3] = tilt[n, 2]
