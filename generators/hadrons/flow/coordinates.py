r"""Unbounded coordinates of tokens in their hemisphere, and the exact projection of a set onto its total momentum.

The *jet frame* of a set is rotated about the parton's axis so that the total transverse momentum points along +x, then
boosted along x so that it vanishes. A transverse boost leaves every pz alone, so the parton's hemisphere is pz > 0
in the jet frame too, while the set's total is (E*, 0, 0, Pz) and the cores of jets lie on the axis. There, with
s = asinh(kT p / (pz k0)) for a token of momentum p, transverse momentum kT and k0 = 0.4 GeV,

.. math:: x = (\log\frac{z}{1 - z},\ s \cos\varphi,\ s \sin\varphi), \qquad z = p / E^*

maps the momenta with p < E* and pz > 0 one to one onto R^3. All functions are differentiable, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

K0 = 0.4
"""GeV: the transverse momentum of hadronisation, where the map turns from linear to logarithmic."""
_LARGEST = 40.0
"""Largest size of a coordinate."""
_TINY = 1e-300
_NEWTON_STEPS, _TOLERANCE = 60, 1e-14


def sums(values: Tensor, index: Tensor, num: int) -> Tensor:
    """Sum token values (M, ...) over the sets ``index`` (M,), (num, ...)."""
    return values.new_zeros((num, *values.shape[1:])).index_add(0, index, values)


def length(x: Tensor, y: Tensor) -> Tensor:
    """Compute sqrt(x^2 + y^2), whose gradient at 0 is 0 and not NaN."""
    square = x**2 + y**2
    return torch.where(square > 0, square, 1.0).sqrt() * (square > 0)


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

    energy: Tensor
    pz: Tensor
    velocity: Tensor
    cos: Tensor
    sin: Tensor

    @classmethod
    def of(cls, total: Tensor) -> JetFrame:
        """Find the frames of sets with totals (N, 4) in the axis frame, in GeV."""
        across = length(total[:, 1], total[:, 2])
        safe = across.clamp(min=_TINY)
        cos = torch.where(across > 0, total[:, 1] / safe, 1.0)
        energy = ((total[:, 0] - across) * (total[:, 0] + across)).sqrt()
        return cls(energy, total[:, 3], across / total[:, 0], cos, total[:, 2] / safe)

    def from_axis_frame(self, p4: Tensor, index: Tensor) -> Tensor:
        """Transform momenta (M, 4) of tokens of the sets ``index`` (M,) from the axis frame to the jet frame."""
        c, s = self.cos[index], self.sin[index]
        along, side = p4[:, 1] * c + p4[:, 2] * s, p4[:, 2] * c - p4[:, 1] * s
        energy, along = _boost(p4[:, 0], along, -self.velocity[index])
        return torch.stack([energy, along, side, p4[:, 3]], -1)

    def to_axis_frame(self, p4: Tensor, index: Tensor) -> Tensor:
        """Transform momenta (M, 4) of tokens of the sets ``index`` (M,) from the jet frame to the axis frame."""
        c, s = self.cos[index], self.sin[index]
        energy, along = _boost(p4[:, 0], p4[:, 1], self.velocity[index])
        return torch.stack([energy, along * c - p4[:, 2] * s, along * s + p4[:, 2] * c, p4[:, 3]], -1)


def _boost(energy: Tensor, along: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
    """Boost energies and momenta (M,) along the direction of the velocities (M,)."""
    gamma = ((1.0 - velocity) * (1.0 + velocity)).rsqrt()
    return gamma * (energy + velocity * along), gamma * (along + velocity * energy)


def encode(p4: Tensor, energy: Tensor) -> Tensor:
    """Compute the coordinates (M, 3) of tokens from their momenta (M, 4) in the jet frame and E* (M,) of their sets."""
    across = length(p4[:, 1], p4[:, 2])
    p = length(across, p4[:, 3])
    z = (p / energy).clamp(1e-12, 1 - 1e-9)
    stretched = torch.asinh(across * p / (p4[:, 3].clamp(min=1e-12) * K0)).clamp(max=_LARGEST)
    unit = p4[:, 1:3] / across.clamp(min=_TINY)[:, None]
    return torch.cat([(z.log() - torch.log1p(-z))[:, None], stretched[:, None] * unit], 1)


def decode(x: Tensor, energy: Tensor, mass: Tensor) -> Tensor:
    """Compute the momenta (M, 4) of tokens in the jet frame from their coordinates: the inverse of :func:`encode`.

    Args:
        x: coordinates, (M, 3).
        energy: E* of the tokens' sets, in GeV, (M,).
        mass: of the tokens, in GeV, (M,).

    Returns:
        Momenta in GeV on the mass shells, with pz > 0.
    """
    p = energy * torch.sigmoid(x[:, 0].clamp(-_LARGEST, _LARGEST))
    stretched = length(x[:, 1], x[:, 2])
    # kT p / pz = k0 sinh(s)
    tangent = torch.sinh(stretched.clamp(max=_LARGEST)) * K0 / p
    pz = p * (1.0 + tangent**2).rsqrt()
    across = pz * tangent / stretched.clamp(min=_TINY)
    return torch.stack([length(p, mass), across * x[:, 1], across * x[:, 2], pz], -1)


def project(p4: Tensor, mass: Tensor, index: Tensor, frame: JetFrame) -> Tensor:
    """Move sets in the jet frame onto their totals (E*, 0, 0, Pz), on shell.

    A transverse boost takes away the transverse momentum; then all pz are multiplied by one factor and all
    transverse momenta by another, found by Newton's method, so that no token crosses the edge pz = 0. Sets whose
    tokens are too heavy for that at the given Pz are instead rescaled by one factor in their rest frame and boosted to
    the total; sets that cannot have the total's mass at all keep their Pz, with no transverse momentum.

    Args:
        p4: momenta of the tokens in GeV, with pz > 0, (M, 4).
        mass: of the tokens, in GeV, (M,).
        index: the set of each token, none empty, (M,).
        frame: jet frames of the N sets, with the totals.

    Returns:
        Momenta in GeV, (M, 4).
    """
    num = len(frame.energy)
    rotated = JetFrame.of(sums(p4, index, num))
    centred = rotated.from_axis_frame(p4, index)
    c, s = rotated.cos[index], rotated.sin[index]
    px, py = centred[:, 1] * c - centred[:, 2] * s, centred[:, 1] * s + centred[:, 2] * c
    pz = p4[:, 3] * (frame.pz / sums(p4[:, 3], index, num))[index]
    fixed, across2 = pz**2 + mass**2, px**2 + py**2
    possible = (sums(fixed.sqrt(), index, num) < frame.energy) & (sums(across2, index, num) > 0)
    factor = _solve(fixed, across2, index, frame.energy, possible)[index]
    energy = (fixed + factor**2 * across2).sqrt()
    result = torch.stack([energy, factor * px, factor * py, pz], -1)
    if not bool(possible.all()):
        result = torch.where(possible[index, None], result, _reshuffle(p4, mass, index, frame))
    return result


def _solve(fixed: Tensor, square: Tensor, index: Tensor, energy: Tensor, possible: Tensor) -> Tensor:
    """Find the factors f (N,) with sum sqrt(fixed + f^2 square) = energy over each set; 1 where it is not possible.

    Newton's method in u = f^2: the sum is concave in u and rises, so a start at 0 converges from below. The last step
    is differentiable, which gives the derivatives of the implicit function.

    Args:
        fixed: in GeV^2, (M,).
        square: in GeV^2, (M,).
        index: the set of each token, (M,).
        energy: in GeV, (N,).
        possible: sets that have a solution, (N,).
    """

    def excess(u: Tensor, fixed: Tensor, square: Tensor, energy: Tensor) -> tuple[Tensor, Tensor]:
        energies = (fixed + u[index] * square).clamp(min=_TINY).sqrt()
        slope = sums(square / (2.0 * energies), index, len(energy)).clamp(min=_TINY)
        return energy - sums(energies, index, len(energy)), slope

    with torch.no_grad():
        u = torch.zeros_like(energy)
        for _ in range(_NEWTON_STEPS):
            missing, slope = excess(u, fixed, square, energy)
            move = torch.where(possible, missing / slope, 0.0)
            u = (u + move).clamp(min=0.0)
            if bool((move.abs() <= _TOLERANCE * u.clamp(min=1e-30))[possible].all()):
                break
    missing, slope = excess(u, fixed, square, energy)
    u = (u + torch.where(possible, missing, 0.0) / slope.detach()).clamp(min=0.0)
    return torch.where(possible, u, 1.0).clamp(min=_TINY).sqrt()


def _reshuffle(p4: Tensor, mass: Tensor, index: Tensor, frame: JetFrame) -> Tensor:
    """Rescale the momenta (M, 4) of each set by one factor in its rest frame, then boost it to its total.

    Sets that cannot have the total's mass get no transverse momentum. Arguments are those of :func:`project`, which
    calls this.
    """
    num = len(frame.energy)
    total = sums(p4, index, num)
    rest = _boost_to_rest(p4, total, index)
    target2 = (frame.energy - frame.pz) * (frame.energy + frame.pz)
    p2 = (rest[:, 1:] ** 2).sum(-1)
    several = torch.bincount(index, minlength=num) > 1
    possible = several & (sums(mass, index, num) < target2.clamp(min=0.0).sqrt()) & (sums(p2, index, num) > 0)
    target = torch.where(possible, target2, 1.0).sqrt()
    factor = _solve(mass**2, p2, index, target, possible)[index]
    momenta = factor[:, None] * rest[:, 1:]
    rest = torch.cat([(mass**2 + (momenta**2).sum(-1)).sqrt()[:, None], momenta], 1)
    none = torch.zeros_like(frame.pz)
    moved = _boost_to_rest(rest, torch.stack([frame.energy, none, none, -frame.pz], -1), index)
    share = p4[:, 3] * (frame.pz / sums(p4[:, 3], index, num))[index]
    collinear = torch.stack([length(share, mass), 0 * share, 0 * share, share], -1)
    return torch.where(possible[index, None], moved, collinear)


def _boost_to_rest(p4: Tensor, total: Tensor, index: Tensor) -> Tensor:
    """Boost momenta (M, 4) of the sets ``index`` (M,) into the rest frames of massive momenta ``total`` (N, 4)."""
    mass2 = total[:, 0] ** 2 - (total[:, 1:] ** 2).sum(-1)
    own_mass = mass2.clamp(min=1e-12 * (total[:, 0] ** 2).detach()).sqrt()[index]
    big = total[index]
    energy = (big[:, 0] * p4[:, 0] - (big[:, 1:] * p4[:, 1:]).sum(-1)) / own_mass
    along = (energy + p4[:, 0]) / (big[:, 0] + own_mass)
    return torch.cat([energy[:, None], p4[:, 1:] - along[:, None] * big[:, 1:]], 1)
