"""Exact four-momentum: a rest and a hard process together have the momentum of the beams.

What the hard process recoils with across the beams is what the rest has there. Along the beams every primary hadron of
the rest moves by a rapidity a + b y that is linear in its own rapidity y: masses and transverse momenta stay, and a and
b follow from the two light-cone momenta p+- = E +- pz that are left for the rest,

    sum p+ exp(a + b y) = P+,    sum p- exp(-a - b y) = P-.

Their product does not depend on a, and its logarithm is convex in b.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import for_kernels
from fastsim.event import Decayed, Floats, History, Ints, ParticleSet
from fastsim.event.kinematics import mass_squared, rapidity
from generators.rests.moves import put_along, put_following
from generators.rests.rests import Rests

MAX_STRETCH = 0.5
"""Largest b that counts as a rest for the conditions at hand."""


def close(rests: Rests, before: Floats, hard: Floats, beams: Floats) -> tuple[ParticleSet, Floats, NDArray[np.bool_]]:
    """Give N rests the momenta that the hard processes leave them.

    Args:
        rests: the rests.
        before: four-momenta (N, 4) in GeV that the hard processes of the rests had before they recoiled.
        hard: four-momenta (N, 4) in GeV of the hard processes at hand, before they recoil.
        beams: total four-momentum (4,) of the beams in GeV.

    Returns:
        The particles of the rests, the four-momenta (N, 4) of the hard processes after the recoil, and which of the
        rests (N,) can be had: others leave no room for the hard process, or would have to be stretched much.
    """
    particles = rests.particles
    sums = particles.sums()
    across = beams[1:3] - sums[:, 1:3]
    transverse = np.sqrt(np.maximum(mass_squared(hard), 0.0) + np.sum(across**2, axis=1))
    y = rapidity(hard) + rapidity(rests.recoil) - rapidity(before)
    moved = np.stack([transverse * np.cosh(y), across[:, 0], across[:, 1], transverse * np.sinh(y)], axis=-1)
    plus, minus = ((beams - moved)[:, 0] + sign * (beams - moved)[:, 3] for sign in (1.0, -1.0))
    event, size = particles.index, len(rests)
    up, down = (particles.p4[:, 0] + sign * particles.p4[:, 3] for sign in (1.0, -1.0))
    there = (up > 0) & (down > 0)
    own = np.zeros(len(event))
    own[there] = 0.5 * np.log(up[there] / down[there])
    room = (plus > 0) & (minus > 0) & (particles.counts > 0)
    target = np.log(np.where(room, plus, 1.0)) + np.log(np.where(room, minus, 1.0))
    b = np.zeros(size)
    for _ in range(50):
        stretch = np.exp(b[event] * own)
        forward, backward = up * stretch, down / stretch
        sum_up, sum_down = (np.bincount(event, light, minlength=size) for light in (forward, backward))
        mean_up = np.bincount(event, forward * own, minlength=size) / np.where(room, sum_up, 1.0)
        mean_down = np.bincount(event, backward * own, minlength=size) / np.where(room, sum_down, 1.0)
        excess = np.log(np.where(room, sum_up, 1.0)) + np.log(np.where(room, sum_down, 1.0)) - target
        slope = mean_up - mean_down
        change = np.where(room & (slope > 0), excess / np.where(slope > 0, slope, 1.0), 0.0)
        b = np.clip(b - change, -2.0, 2.0)
        if np.all(np.abs(change) < 1e-15):
            break
    stretch = np.exp(b[event] * own)
    shift = np.where(room, plus, 1.0) / np.where(room, np.bincount(event, up * stretch, minlength=size), 1.0)
    factor = shift[event] * stretch
    closed = room & (np.abs(b) < MAX_STRETCH) & (np.abs(excess) < 1e-9)
    p4 = np.empty((len(event), 4))
    put_along(for_kernels(particles.p4), factor, p4)
    return replace(particles, p4=p4), moved, closed


def follow(particles: ParticleSet, before: Floats, after: Floats) -> ParticleSet:
    """Return N sets boosted so that their sums, ``before`` (N, 4) in GeV, become ``after`` (N, 4)."""

    def moved(vectors: Floats, offsets: Ints) -> Floats:
        out = np.empty((len(vectors), 4))
        put_following(for_kernels(vectors), offsets, for_kernels(before), for_kernels(after), out)
        return out

    history = particles.history
    if history is not None:
        decayed: Decayed = history.decayed
        starts = decayed.offsets
        decayed = replace(decayed, p4=moved(decayed.p4, starts), vertex=moved(decayed.vertex, starts))
        history = History(decayed, history.mother, moved(history.vertex, particles.offsets))
    return replace(particles, p4=moved(particles.p4, particles.offsets), history=history)
