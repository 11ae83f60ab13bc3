r"""Features of pairs of particles, in the notation of the particle transformer.

.. math::
    \Delta = \sqrt{(y_a - y_b)^2 + (\phi_a - \phi_b)^2}, \quad
    k_T = \min(p_{T,a}, p_{T,b}) \Delta, \quad
    z = \min(p_{T,a}, p_{T,b}) / (p_{T,a} + p_{T,b}), \quad
    m^2 = (p_a + p_b)^2

References:
    Qu, Li, Qian, Particle transformer for jet tagging, 2022, arXiv:2202.03772, equation 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SMALLEST = 1e-8
"""Logarithms are taken of at least this, in GeV or its square, as in the authors' code."""


def rapidity_azimuth(p4: Tensor) -> Tensor:
    """Compute rapidity and azimuth (..., 2) of four-momenta (..., 4); 0 of a zero vector."""
    energy, px, py, pz = p4.unbind(-1)
    # E > |p_z| but for rounding, and 0/0 for padding
    rapidity = 0.5 * (((energy + pz).clamp_min(_SMALLEST)) / ((energy - pz).clamp_min(_SMALLEST))).log()
    empty = p4.abs().sum(-1) == 0
    # the derivative of atan2 at (0, 0) is not finite
    return torch.stack([rapidity, torch.atan2(py, px + empty.to(px.dtype))], dim=-1)


def wrapped(phi: Tensor) -> Tensor:
    """Bring differences of azimuths to (-pi, pi]."""
    return torch.pi - torch.remainder(torch.pi - phi, 2 * torch.pi)


def pair_features(p4: Tensor) -> Tensor:
    """Compute ln Delta, ln kT, ln z and ln m^2 of all pairs, (N, K, K, 4).

    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0], [5.0, 0.0, 3.0, 4.0]]])
    >>> [round(float(value), 3) for value in pair_features(p4)[0, 0, 1].exp()]
    [1.571, 4.712, 0.5, 18.0]

    Args:
        p4: four-momenta in GeV, (N, K, 4).
    """
    place = rapidity_azimuth(p4)
    difference = place[:, :, None] - place[:, None]
    squared = difference[..., 0] ** 2 + wrapped(difference[..., 1]) ** 2
    delta = squared.clamp_min(_SMALLEST**2).sqrt()
    pt = (p4[..., 1] ** 2 + p4[..., 2] ** 2).clamp_min(_SMALLEST**2).sqrt()
    smaller = torch.minimum(pt[:, :, None], pt[:, None])
    z = smaller / (pt[:, :, None] + pt[:, None])
    total = p4[:, :, None] + p4[:, None]
    mass_squared = total[..., 0] ** 2 - (total[..., 1:] ** 2).sum(-1)
    values = torch.stack([delta, smaller * delta, z, mass_squared], dim=-1)
    return values.clamp_min(_SMALLEST).log()
