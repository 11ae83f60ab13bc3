"""Moves of the particles of many sets, compiled: one pass over vectors where numpy takes ten, each in new memory."""

from __future__ import annotations

import math

from fastsim.compiled import compiled
from fastsim.event import Floats, Ints


@compiled
def put_turned(vectors: Floats, offsets: Ints, rows: Ints, cos: Floats, sin: Floats, sign: Floats, out: Floats) -> None:
    """Put the four-vectors of R sets, turned about z by angles of given ``cos`` and ``sin`` (R,).

    Args:
        vectors: those of N sets, (M, 4).
        offsets: of the sets, (N+1,).
        rows: which of the sets, (R,).
        cos, sin: of the angles, (R,).
        sign: -1 for those that are first turned by pi about the x axis, else 1, (R,).
        out: gets the vectors.
    """
    at = 0
    for k in range(len(rows)):
        for row in range(offsets[rows[k]], offsets[rows[k] + 1]):
            x, y = vectors[row, 1], sign[k] * vectors[row, 2]
            out[at, 0], out[at, 3] = vectors[row, 0], sign[k] * vectors[row, 3]
            out[at, 1], out[at, 2] = cos[k] * x - sin[k] * y, sin[k] * x + cos[k] * y
            at += 1


@compiled
def put_along(vectors: Floats, factor: Floats, out: Floats) -> None:
    """Put four-vectors (M, 4) boosted along z by the factors (M,) of their p+."""
    for row in range(len(vectors)):
        value = factor[row]
        up, down = (vectors[row, 0] + vectors[row, 3]) * value, (vectors[row, 0] - vectors[row, 3]) / value
        out[row, 0], out[row, 3] = 0.5 * (up + down), 0.5 * (up - down)
        out[row, 1], out[row, 2] = vectors[row, 1], vectors[row, 2]


@compiled
def put_following(vectors: Floats, offsets: Ints, before: Floats, after: Floats, out: Floats) -> None:
    """Put four-vectors (M, 4) of N sets boosted as what takes momenta ``before`` (N, 4) to ``after`` (N, 4).

    The frames and the boosts are those of :func:`fastsim.event.kinematics.boost_to`.
    """
    for k in range(len(offsets) - 1):
        for step in range(2):
            frame, sign = (before, -1.0) if step == 0 else (after, 1.0)
            x, y, z = sign * frame[k, 1], sign * frame[k, 2], sign * frame[k, 3]
            size = math.sqrt(x * x + y * y + z * z)
            mass = math.sqrt(max((frame[k, 0] - size) * (frame[k, 0] + size), 1e-300))
            x, y, z, gamma = x / mass, y / mass, z / mass, frame[k, 0] / mass
            for row in range(offsets[k], offsets[k + 1]):
                source = vectors if step == 0 else out
                energy, along = source[row, 0], x * source[row, 1] + y * source[row, 2] + z * source[row, 3]
                shift = energy + along / (1.0 + gamma)
                out[row, 0] = gamma * energy + along
                out[row, 1], out[row, 2] = source[row, 1] + x * shift, source[row, 2] + y * shift
                out[row, 3] = source[row, 3] + z * shift


@compiled
def choose(
    key: Floats,
    kind: Ints,
    weight: Floats,
    added: Floats,
    outer: Floats,
    index: Ints,
    wanted: Ints,
    sums: Floats,
    best: Floats,
    chosen: Ints,
) -> None:
    """Choose one of the C candidates of each of N sets, with chances in proportion to their weights.

    Args:
        key: exponential variates of rate one, (C,).
        kind: the entries of the candidates in the tables of weights, (C,).
        weight: weights by kind; 0 for what cannot be chosen.
        added: 1 for kinds that are to be chosen as often as all others together, else 0; empty for no such thing.
        outer: added to the keys, (C,).
        index: the candidates' sets, (C,).
        wanted: how many each set wants, (N,).
        sums: scratch, (2, N).
        best: scratch, (N,).
        chosen: gets the candidates, -1 for none, (N,).
    """
    chosen[:], best[:] = -1, math.inf
    if len(added):
        sums[:] = 0.0
        for k in range(len(kind)):
            sums[int(added[kind[k]]), index[k]] += weight[kind[k]]
    for k in range(len(kind)):
        rate, own = weight[kind[k]], index[k]
        if rate > 0 and wanted[own] > 0:
            if len(added):
                rate = rate / sums[int(added[kind[k]]), own]
            value = key[k] / rate + outer[k]
            if value < best[own]:
                best[own], chosen[own] = value, k
