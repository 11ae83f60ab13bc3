r"""Unbounded coordinates of tokens in their hemisphere, and the exact projection of a set onto its total momentum.

The *jet frame* of a set is rotated about the parton's axis so that the total transverse momentum points along +x, then
boosted along x so that it vanishes. A transverse boost leaves every pz alone, so the parton's hemisphere is pz > 0
in the jet frame too, while the set's total is (E*, 0, 0, Pz) and the cores of jets lie on the axis. There, with
s = asinh(kT p / (pz k0)) for a token of momentum p, transverse momentum kT and k0 = 0.4 GeV,

.. math:: x = (\log\frac{z}{1 - z},\ s \cos\varphi,\ s \sin\varphi), \qquad z = p / E^*

maps the momenta with p < E* and pz > 0 one to one onto R^3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastsim.event import Floats, Ints
from fastsim.event.kinematics import boost_to

K0 = 0.4
"""GeV: the transverse momentum of hadronisation, where the map turns from linear to logarithmic."""
_LARGEST = 40.0
"""Largest size of a coordinate."""
_LARGEST_PIN = 3.0
"""Largest factor, up or down, on a momentum in :func:`pin_leading`."""
_NEWTON_STEPS = 60


@dataclass(frozen=True)
class JetFrame:
    """The jet frames of N sets.

    Attributes:
        energy: E* of the totals in the jet frame, in GeV, (N,).
        pz: of the totals, in GeV, (N,).
        velocity: of the boost, (N,).
        cos: cosine of the azimuth of the totals in the axis frame, (N,).
        sin: its sine, (N,).
    """

    energy: Floats
    pz: Floats
    velocity: Floats
    cos: Floats
    sin: Floats

    @classmethod
    def of(cls, total: Floats) -> JetFrame:
        """Find the frames of sets with totals (N, 4) in the axis frame, in GeV."""
        across: Floats = np.hypot(total[:, 1], total[:, 2])
        safe = np.maximum(across, 1e-300)
        cos: Floats = np.where(across > 0, total[:, 1] / safe, 1.0)
        sin: Floats = total[:, 2] / safe
        energy: Floats = np.sqrt((total[:, 0] - across) * (total[:, 0] + across))
        return cls(energy, total[:, 3], across / total[:, 0], cos, sin)

    def from_axis_frame(self, p4: Floats, index: Ints) -> Floats:
        """Transform momenta (M, 4) of tokens of the sets ``index`` (M,) from the axis frame to the jet frame."""
        c: Floats = self.cos[index]
        s: Floats = self.sin[index]
        along, side = p4[:, 1] * c + p4[:, 2] * s, p4[:, 2] * c - p4[:, 1] * s
        energy, along = _boost(p4[:, 0], along, -self.velocity[index])
        return np.stack([energy, along, side, p4[:, 3]], axis=-1)

    def to_axis_frame(self, p4: Floats, index: Ints) -> Floats:
        """Transform momenta (M, 4) of tokens of the sets ``index`` (M,) from the jet frame to the axis frame."""
        c, s = self.cos[index], self.sin[index]
        energy, along = _boost(p4[:, 0], p4[:, 1], self.velocity[index])
        return np.stack([energy, along * c - p4[:, 2] * s, along * s + p4[:, 2] * c, p4[:, 3]], axis=-1)


def _boost(energy: Floats, along: Floats, velocity: Floats) -> tuple[Floats, Floats]:
    """Boost energies and momenta (M,) along the direction of the velocities (M,)."""
    gamma = 1.0 / np.sqrt((1.0 - velocity) * (1.0 + velocity))
    return gamma * (energy + velocity * along), gamma * (along + velocity * energy)


def encode(p4: Floats, energy: Floats) -> Floats:
    """Compute the coordinates (M, 3) of tokens from their momenta (M, 4) in the jet frame and E* (M,) of their sets."""
    across = np.hypot(p4[:, 1], p4[:, 2])
    p = np.hypot(across, p4[:, 3])
    z = np.clip(p / energy, 1e-12, 1 - 1e-9)
    stretched = np.arcsinh(across * p / (np.maximum(p4[:, 3], 1e-12) * K0))
    unit = p4[:, 1:3] / np.maximum(across, 1e-300)[:, None]
    return np.concatenate([np.log(z / (1 - z))[:, None], np.minimum(stretched, _LARGEST)[:, None] * unit], axis=1)


def decode(x: Floats, energy: Floats, mass: Floats) -> Floats:
    """Compute the momenta (M, 4) of tokens in the jet frame from their coordinates: the inverse of :func:`encode`.

    Args:
        x: coordinates, (M, 3).
        energy: E* of the tokens' sets, in GeV, (M,).
        mass: of the tokens, in GeV, (M,).

    Returns:
        Momenta in GeV on the mass shells, with pz > 0.
    """
    p = energy / (1.0 + np.exp(-np.clip(x[:, 0], -_LARGEST, _LARGEST)))
    stretched = np.hypot(x[:, 1], x[:, 2])
    tangent = np.sinh(np.minimum(stretched, _LARGEST)) * K0 / p
    pz = p / np.hypot(1.0, tangent)
    across = pz * tangent / np.maximum(stretched, 1e-300)
    return np.stack([np.hypot(p, mass), across * x[:, 1], across * x[:, 2], pz], axis=-1)


def project(p4: Floats, mass: Floats, offsets: Ints, frame: JetFrame) -> Floats:
    """Move sets in the jet frame onto their totals (E*, 0, 0, Pz), on shell.

    A transverse boost takes away the transverse momentum; then all pz are multiplied by one factor and all
    transverse momenta by another, found by Newton's method, so that no token crosses the edge pz = 0. Sets whose
    tokens are too heavy for that at the given Pz are instead rescaled by one factor in their rest frame and boosted to
    the total; sets that cannot have the total's mass at all keep their Pz, with no transverse momentum.

    Args:
        p4: momenta of the tokens in GeV, with pz > 0, (M, 4).
        mass: of the tokens, in GeV, (M,).
        offsets: of the sets, none empty, (N+1,).
        frame: jet frames of the sets, with the totals.

    Returns:
        Momenta in GeV, (M, 4).
    """
    starts, index = offsets[:-1], np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    total: Floats = np.add.reduceat(p4, starts, axis=0)
    rotated = JetFrame.of(total)
    centred = rotated.from_axis_frame(p4, index)
    c, s = rotated.cos[index], rotated.sin[index]
    px, py = centred[:, 1] * c - centred[:, 2] * s, centred[:, 1] * s + centred[:, 2] * c
    pz = p4[:, 3] * (frame.pz / np.add.reduceat(p4[:, 3], starts))[index]
    fixed, across2 = pz**2 + mass**2, px**2 + py**2
    target = np.maximum(frame.energy, 0.0)
    possible = (np.add.reduceat(np.sqrt(fixed), starts) < target) & (np.add.reduceat(across2, starts) > 0)
    # Newton in u = factor^2: the energy is concave in u and rises, so a start below the root converges from below
    u = np.zeros(len(starts))
    for _ in range(_NEWTON_STEPS):
        energy = np.sqrt(fixed + u[index] * across2)
        slope = np.add.reduceat(across2 / np.maximum(2.0 * energy, 1e-300), starts)
        move = (target - np.add.reduceat(energy, starts)) / np.maximum(slope, 1e-300)
        u = np.where(possible, np.maximum(u + move, 0.0), 0.0)
        if np.all(np.abs(move[possible]) <= 1e-14 * np.maximum(u[possible], 1e-30)):
            break
    factor = np.sqrt(u)[index]
    result: Floats = np.stack([np.sqrt(fixed + factor**2 * across2), factor * px, factor * py, pz], axis=-1)
    if not possible.all():
        hard = ~possible[index]
        result[hard] = _reshuffle(centred, mass, starts, index, frame)[hard]
    return result


def pin_leading(p4: Floats, mass: Floats, offsets: Ints, frame: JetFrame, leading: Floats) -> Floats:
    """Give the most energetic tokens of sets in the jet frame the given energies, in their own directions.

    All other momenta of a set are multiplied by one factor that restores its pz. Where a factor would leave
    [1/3, 3], or fewer than two other tokens could balance, the set stays as it is.

    Args:
        p4: momenta of the tokens in GeV, (M, 4).
        mass: of the tokens, in GeV, (M,).
        offsets: of the sets, none empty, (N+1,).
        frame: jet frames of the sets.
        leading: log of the K leading energies over E*, descending, (N, K).

    Returns:
        Momenta in GeV, (M, 4).
    """
    starts, counts = offsets[:-1], np.diff(offsets)
    index = np.repeat(np.arange(len(starts)), counts)
    order = np.lexsort((-p4[:, 0], index))
    num = leading.shape[1]
    possible = counts >= num + 2
    factor, others = np.ones(len(p4)), np.ones(len(p4), dtype=bool)
    pinned = np.zeros(len(starts))
    for place in range(num):
        rows = order[starts + np.where(possible, place, 0)]
        wanted = frame.energy * np.exp(leading[:, place].copy())  # see fastsim.event.kinematics.phi
        old = np.sqrt(np.sum(p4[rows, 1:] ** 2, axis=1))
        change = np.sqrt(np.maximum(wanted**2 - mass[rows] ** 2, 0.0)) / np.maximum(old, 1e-300)
        possible &= (change > 1 / _LARGEST_PIN) & (change < _LARGEST_PIN)
        factor[rows], others[rows] = change, False
        pinned += change * p4[rows, 3]
    rest = np.add.reduceat(np.where(others, p4[:, 3], 0.0), starts)
    balance = (frame.pz - pinned) / np.maximum(rest, 1e-300)
    possible &= (balance > 1 / _LARGEST_PIN) & (balance < _LARGEST_PIN)
    factor = np.where(possible[index], np.where(others, balance[index], factor), 1.0)
    momenta = p4[:, 1:] * factor[:, None]
    return np.concatenate([np.sqrt(np.sum(momenta**2, axis=1) + mass**2)[:, None], momenta], axis=1)


def _reshuffle(p4: Floats, mass: Floats, starts: Ints, index: Ints, frame: JetFrame) -> Floats:
    """Rescale the momenta (M, 4) of each set by one factor in its rest frame, then boost it to its total.

    Sets that cannot have the total's mass get no transverse momentum. ``mass`` (M,), ``starts`` (N,) of the sets and
    ``index`` (M,) into them; as in :func:`project`, which calls this.
    """
    total = np.add.reduceat(p4, starts, axis=0)
    total[:, 1:3] = 0.0
    own = total * np.array([1.0, -1.0, -1.0, -1.0])
    rest = boost_to(p4, own[index])
    wanted = np.stack([frame.energy, 0 * frame.pz, 0 * frame.pz, frame.pz], axis=-1)
    target = np.sqrt(np.maximum((frame.energy - frame.pz) * (frame.energy + frame.pz), 0.0))
    p2 = np.sum(rest[:, 1:] ** 2, axis=-1)
    possible = (np.add.reduceat(mass, starts) < target) & (np.add.reduceat(p2, starts) > 0)
    u = np.zeros(len(starts))
    for _ in range(_NEWTON_STEPS):
        energy = np.sqrt(mass**2 + u[index] * p2)
        slope = np.add.reduceat(p2 / (2.0 * np.maximum(energy, 1e-300)), starts)
        u = np.maximum(u + (target - np.add.reduceat(energy, starts)) / np.maximum(slope, 1e-300), 0.0)
    u = np.where(possible, u, 0.0)
    momenta = np.sqrt(u)[index, None] * rest[:, 1:]
    rest = np.concatenate([np.sqrt(mass**2 + np.sum(momenta**2, axis=-1))[:, None], momenta], axis=1)
    moved = boost_to(rest, wanted[index])
    share = p4[:, 3] * (frame.pz / np.add.reduceat(p4[:, 3], starts))[index]
    collinear = np.stack([np.hypot(share, mass), 0 * share, 0 * share, share], axis=-1)
    return np.asarray(np.where(possible[index, None], moved, collinear))
