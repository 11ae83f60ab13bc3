"""What a cascade of tilted showers sees of the direction of flight.

The *tilt* of a particle is the component of its direction of flight in the plane of the layers, (N, 2): sin theta (cos
phi, sin phi). Voxels lie about the line of flight (:mod:`fastsim.detector.flight`), so that a tilted shower is, to
first order, one along the normal in layers 1 / cos(theta) times as thick. Hence all splits see the *slant*, 1 /
cos(theta) - 1. Beyond that the two sides along the tilt differ: material that is near on one is far on the other.
Splits of sectors see the tilt along the line from one half to the other; the latent is drawn with the direction of the
tilt in its frame (:class:`SideAngle`). What is left of the symmetry of a shower along the normal is the mirror at the
plane of the tilt.
"""

from __future__ import annotations

from math import log, pi

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fastsim.event import Floats

Tilt = NDArray[np.float32]

SLANT = ("slant",)
"""Features of the splits of visible energy, layers and rings."""
SECTOR_TILTS = ("tilt_along", "tilt_at_node", "slant")
"""Features of the split of a block of sectors: the tilt along the line from half B to A, and towards the block."""
CONTEXT = ("slant", "tilt_x", "tilt_y")
"""Columns of the context of the latent's flow: the tilt in the frame with the side along x, mirrored to y >= 0."""
_FACTOR = 4.0
"""Brings the slant to the order of magnitude of other features: at 45 degrees it is 0.41."""
_NUM_BINS = 64
_NUM_TERMS = 3


def tilt_of(theta: Floats, phi: Floats) -> Tilt:
    """Return the tilts (N, 2) of directions of flight, theta and phi (N,) in rad."""
    return np.column_stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi)]).astype(np.float32)


def slant_of(tilt: Tilt | None) -> NDArray[np.float32]:
    """Return the slants (N,) of tilts (N, 2), as a feature; no rows for None."""
    if tilt is None:
        return np.zeros(0, np.float32)
    square = np.square(tilt.astype(np.float64)).sum(1)
    slant: NDArray[np.float32] = (_FACTOR * (1 / np.sqrt(1 - square) - 1)).astype(np.float32)
    return slant


def with_slant(tilt: Tilt | None) -> NDArray[np.float32]:
    """Return tilts (N, 2) with their slants, (N, 3); no rows for None."""
    return np.zeros((0, 3), np.float32) if tilt is None else np.column_stack([tilt, slant_of(tilt)])


def turned_vectors(vectors: Floats | Tilt, angle: Floats, mirrored: NDArray[np.bool_]) -> Floats:
    """Mirror vectors (N, W, 2) at the x axis where asked (N,), then turn them by angles (N,) in rad."""
    x, y = vectors[..., 0], vectors[..., 1] * np.where(mirrored, -1, 1)[:, None]
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


def turned_tilt(tilt: Tilt, angle: Floats, mirrored: NDArray[np.bool_]) -> Tilt:
    """Mirror tilts (N, 2) at the x axis where asked (N,), then turn them by angles (N,) in rad."""
    return turned_vectors(tilt[:, None], angle, mirrored)[:, 0].astype(np.float32)


class SideAngle(nn.Module):
    """P(angle between the side of a shower and its tilt | particle, visible energy, slant): even, in (-pi, pi].

    Its density is the exponential of a Fourier series, times the sine of theta, on 64 bins from 0 to pi: flat along
    the normal.

    Args:
        num_context: C, of the particle's features with the response and the slant.
    """

    waves: Tensor

    def __init__(self, num_context: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(num_context, 16), nn.Linear(16, _NUM_TERMS)
        with torch.no_grad():
            self.last.weight.zero_()
            self.last.bias.zero_()
        middles = (torch.arange(_NUM_BINS) + 0.5) * pi / _NUM_BINS
        self.register_buffer("waves", torch.cos(torch.arange(1, _NUM_TERMS + 1)[:, None] * middles), persistent=False)

    def forward(self, context: Tensor, size: Tensor) -> Tensor:
        """Return the log-probabilities (N, 64) of bins of the angle.

        Args:
            context: (N, C).
            size: lengths of the tilts, (N,).
        """
        terms = self.last(nn.functional.silu(self.first(context)))
        return torch.log_softmax((size[:, None] * terms) @ self.waves, -1)

    def log_prob(self, context: Tensor, tilt: Tensor) -> Tensor:
        """Return the log-density (N,) of the absolute angles of tilts (N, 2) to the x axis, given contexts (N, C)."""
        angle = torch.atan2(tilt[:, 1].abs(), tilt[:, 0])
        place = (angle * (_NUM_BINS / pi)).long().clamp_max(_NUM_BINS - 1)
        share: Tensor = self(context, tilt.norm(dim=1)).gather(1, place[:, None])[:, 0]
        return share + log(_NUM_BINS / pi)

    @torch.no_grad()
    def sample(self, context: NDArray[np.float32], size: NDArray[np.float32], rng: np.random.Generator) -> Floats:
        """Draw absolute angles (N,) in rad, given contexts (N, C) and lengths of tilts (N,)."""
        edges = self(torch.from_numpy(context), torch.from_numpy(size)).double().exp().cumsum(-1).numpy()
        place = (rng.random(len(size))[:, None] * edges[:, -1:] >= edges[:, :-1]).sum(1)
        return np.asarray((place + rng.random(len(size))) * (pi / _NUM_BINS))
