r"""The latent of a shower: what all of its layers share, drawn before them.

Sums run over all deposits E of a shower, in layer l (counted from 0), at radius r (the middle of the ring) and at the
angle alpha (the middle of the sector); u = (cos alpha, sin alpha), and <x> = sum E x / sum E:

* ``visible``: sum E in MeV;
* ``depth``, ``length``: mean and standard deviation of l + 1/2, in layers;
* ``start``: depth at which :data:`START` of the energy has been deposited, in layers;
* ``radius``: <r> in mm; ``core``: the share of the innermost rings;
* ``growth``: <(l - <l>) r> / length^2, how the radius grows, in mm a layer;
* ``side_x``, ``side_y``: <u>; ``centre_x``, ``centre_y``: <r u> in mm;
* ``side_tilt_x`` ...: <(l - <l>) u> / length^2, a layer; ``tilt_x``, ``tilt_y``: <(l - <l>) r u> / length^2, the slope
  of the axis in mm a layer.

The visible energy is drawn from the response, the others from a conditional spline flow. That takes them in a frame of
the shower's own: the side along x, and the centre's y mirrored at random, which a perpendicular particle leaves free.
Where particles are tilted, the angle of the side to the tilt is drawn first, and the tilt in that frame is given to the
flow (:mod:`generators.showers.cascade.tilt`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fastsim.compiled import compiled
from fastsim.event import Floats
from generators.nn.flows import SplineFlow
from generators.showers.cascade.grid import Deposits, Grid
from generators.showers.cascade.tilt import CONTEXT, SideAngle, Tilt, slant_of, turned_vectors

Latent = NDArray[np.float32]

VECTORS = ("side", "centre", "side_tilt", "tilt")
"""Quantities with a direction across the shower."""
SCALARS = ("visible", "depth", "length", "start", "radius", "core", "growth")
COLUMNS = (*SCALARS, *(f"{name}_{axis}" for name in VECTORS for axis in "xy"))
"""Columns of a latent."""
VISIBLE, DEPTH, LENGTH, STARTED, RADIUS, CORE, GROWTH = range(len(SCALARS))
FIRST_VECTOR = len(SCALARS)
NUM_VECTORS = len(VECTORS)

START = 0.01
"""Share of the energy that the start of a shower is defined by."""
RING_BLUR = (0.15, 0.06, 0.3)
"""Noise that the splits of rings see on log radius, core and growth, times 1 / sqrt(visible energy / MeV); growth in
radii a length of the shower."""
SECTOR_BLUR = (0.1, 0.25, 0.25, 0.6)
"""Noise that the splits of sectors see on each of :data:`VECTORS`, in the same unit; the centre in radii, tilts a
length of the shower. Both are about as wide as a sampler misses a latent by that is not blurred."""
MIN_LENGTH = 0.5
"""Layers; showers in one layer have no length, but sums are taken relative to it."""
_SMALL = 1e-4


def latent_of(grid: Grid, heaps: Deposits) -> Latent:
    """Compute the latents (N, Z) of showers, deposits (N, L, R, 2A) in MeV; all 0 for showers without deposits."""
    result = np.zeros((len(heaps), len(COLUMNS)), np.float32)
    _fill(np.ascontiguousarray(heaps, dtype=np.float32), grid.radii, grid.directions, result)
    return result


@compiled
def _fill(heaps: Deposits, radii: Floats, directions: Floats, z: Latent) -> None:
    num_layers, num_r, num_leaves = heaps.shape[1], heaps.shape[2], heaps.shape[3] // 2
    sums = np.zeros((num_layers, 6))  # of each layer: energy, energy * r, the vectors side and centre
    for n in range(len(heaps)):
        total, first, second, radius, core = 0.0, 0.0, 0.0, 0.0, 0.0
        for layer in range(num_layers):
            for c in range(6):
                sums[layer, c] = 0.0
            for ring in range(num_r):
                e, r = heaps[n, layer, ring, 1], radii[layer, ring]
                if e <= 0:
                    continue
                x, y = 0.0, 0.0
                for slot in range(num_leaves, 2 * num_leaves):
                    x += heaps[n, layer, ring, slot] * directions[slot, 0]
                    y += heaps[n, layer, ring, slot] * directions[slot, 1]
                sums[layer, 0] += e
                sums[layer, 1] += e * r
                sums[layer, 2] += x
                sums[layer, 3] += y
                sums[layer, 4] += r * x
                sums[layer, 5] += r * y
            e, place = sums[layer, 0], layer + 0.5
            total += e
            first += e * place
            second += e * place * place
            radius += sums[layer, 1]
            core += heaps[n, layer, 0, 1]
        if total <= 0:
            continue
        depth = first / total
        length = max((second / total - depth * depth), 0.0) ** 0.5
        z[n, VISIBLE], z[n, DEPTH], z[n, LENGTH] = total, depth, length
        z[n, RADIUS], z[n, CORE] = radius / total, core / total
        before = 0.0
        for layer in range(num_layers):
            e = sums[layer, 0]
            if before + e >= START * total:
                z[n, STARTED] = layer + (START * total - before) / e
                break
            before += e
        least = max(length, MIN_LENGTH) ** 2
        for layer in range(num_layers):
            tilt = (layer + 0.5 - depth) / least
            z[n, GROWTH] += tilt * sums[layer, 1] / total
            for c in range(4):
                z[n, FIRST_VECTOR + c] += sums[layer, 2 + c] / total
                z[n, FIRST_VECTOR + 4 + c] += tilt * sums[layer, 2 + c] / total


def turned_latent(z: Latent, angle: Floats, mirrored: NDArray[np.bool_]) -> Latent:
    """Mirror the vectors of latents (N, Z) at the x axis where asked (N,), then turn them by angles (N,) in rad."""
    turned = z.copy()
    pairs = turned[:, FIRST_VECTOR:].reshape(-1, NUM_VECTORS, 2)
    pairs[...] = turned_vectors(pairs, angle, mirrored)
    return turned


def blurred_rings(z: Latent, rng: np.random.Generator) -> Latent:
    """Add normal noise to radius, core and growth of latents (N, Z), as wide as :data:`RING_BLUR` says.

    What is left of an exact latent decides the last layers of a shower exactly. Splits that learn from it put all that
    a sampler has missed so far into those layers. Splits that learn from blurred latents, and are given such, do not,
    and over the noise the distribution of showers is the same.
    """
    size, radius, length = _units(z)
    noise = np.asarray(RING_BLUR) * size[:, None] * rng.standard_normal((len(z), 3))
    result = z.copy()
    result[:, RADIUS] *= np.exp(noise[:, 0])
    result[:, CORE] = np.clip(z[:, CORE] + noise[:, 1], 0.0, 1.0)
    result[:, GROWTH] += noise[:, 2] * radius / length
    return result


def blurred_sectors(z: Latent, rng: np.random.Generator) -> Latent:
    """Add normal noise to the vectors of latents (N, Z), as wide as :data:`SECTOR_BLUR` says: :func:`blurred_rings`."""
    size, radius, length = _units(z)
    units = (size, size * radius, size / length, size * radius / length)
    result = z.copy()
    for vector, (blur, unit) in enumerate(zip(SECTOR_BLUR, units, strict=True)):
        first = FIRST_VECTOR + 2 * vector
        result[:, first : first + 2] += blur * unit[:, None] * rng.standard_normal((len(z), 2))
    return result


def _units(z: Latent) -> tuple[Latent, Latent, Latent]:
    """Return 1 / sqrt(visible energy / MeV), radius and length of latents (N, Z), (N,) each."""
    size = 1 / np.sqrt(np.maximum(z[:, VISIBLE], 1.0))
    return size, np.maximum(z[:, RADIUS], 1e-3), np.maximum(z[:, LENGTH], MIN_LENGTH)


class LatentFlow(nn.Module):
    """P(latent | particle, visible energy): a spline flow of the latent in a frame of the shower's own.

    Args:
        num_context: C, of the particle's features with the response.
        num_layers: L, of the calorimeter.
        sizes: width, num_layers and num_bins of the flow, where they differ from its defaults.
        tilted: whether particles are.
    """

    def __init__(self, num_context: int, num_layers: int, sizes: dict[str, Any], *, tilted: bool = False) -> None:
        super().__init__()
        self.num_layers = num_layers
        more = len(CONTEXT) if tilted else 0
        # the visible energy is context, and the side has no y in its frame
        self.flow = SplineFlow(len(COLUMNS) - 2, num_context + more, **sizes)
        self.angle = SideAngle(num_context + 1) if tilted else None

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the mean negative log-likelihood of features (N, Z - 2) given contexts (N, C)."""
        features, context = batch
        loss = -self.flow.log_prob(features, context).mean()
        if self.angle is not None:
            loss = loss - self.angle.log_prob(context[:, :-2], context[:, -2:]).mean()
        return loss

    def rows(self, z: Latent, context: NDArray[np.float32], tilt: Tilt | None) -> tuple[Tensor, Tensor]:
        """Return features (N, Z - 2) and contexts of latents (N, Z).

        Args:
            z: the latents.
            context: features of the particle and its response, (N, C).
            tilt: of the particles, (N, 2); None where they are not tilted.
        """
        if self.angle is None or tilt is None:
            return self.features(z), torch.from_numpy(context)
        side = np.arctan2(z[:, FIRST_VECTOR + 1], z[:, FIRST_VECTOR])
        within = turned_vectors(tilt[:, None], -side, np.zeros(len(z), np.bool_))[:, 0]
        below = within[:, 1] < 0
        # the mirror at the plane of the tilt is a symmetry: the flow knows one side of it
        features = self.features(turned_latent(z, np.zeros(len(z)), below))
        within[:, 1] = np.abs(within[:, 1])
        return features, torch.from_numpy(np.column_stack([context, slant_of(tilt), within]).astype(np.float32))

    def features(self, z: Latent) -> Tensor:
        """Return the flow's features (N, Z - 2) of latents (N, Z)."""
        z64 = z.astype(np.float64)
        side = z64[:, FIRST_VECTOR] + 1j * z64[:, FIRST_VECTOR + 1]
        frame = np.exp(-1j * np.angle(side))
        vectors = [(z64[:, k] + 1j * z64[:, k + 1]) * frame for k in range(FIRST_VECTOR + 2, len(COLUMNS), 2)]
        length = np.maximum(z64[:, LENGTH], MIN_LENGTH)
        columns = [
            z64[:, DEPTH],
            np.log(length),
            np.log(np.maximum(z64[:, STARTED], _SMALL)),
            np.log(np.maximum(z64[:, RADIUS], _SMALL)),
            _logit(z64[:, CORE]),
            z64[:, GROWTH],
            np.log(np.maximum(np.abs(side), _SMALL)),
            *(part for vector in vectors for part in (vector.real, vector.imag)),
        ]
        return torch.from_numpy(np.column_stack(columns).astype(np.float32))

    def sample(
        self,
        context: NDArray[np.float32],
        visible: NDArray[np.float32],
        rng: np.random.Generator,
        tilt: Tilt | None = None,
    ) -> Latent:
        """Draw latents (N, Z), in frames turned and mirrored at random as far as the tilt leaves them free.

        Args:
            context: features of the particle and its response, (N, C).
            visible: visible energies in MeV, (N,).
            rng: all randomness.
            tilt: of the particles, (N, 2); needed where they are tilted.
        """
        angle = None
        if self.angle is not None and tilt is not None:
            context, size = np.column_stack([context, slant_of(tilt)]), np.hypot(*tilt.T)
            angle = self.angle.sample(context, size, rng)
            context = np.column_stack([context, size * np.cos(angle), size * np.sin(angle)]).astype(np.float32)
        seed = torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))
        drawn = self.flow.sample(torch.from_numpy(context), seed).numpy()
        z = np.zeros((len(visible), len(COLUMNS)), np.float32)
        z[:, VISIBLE] = visible
        z[:, DEPTH] = np.clip(drawn[:, 0], 0.5, self.num_layers - 0.5)
        z[:, LENGTH] = np.clip(np.exp(drawn[:, 1]), MIN_LENGTH, self.num_layers)
        z[:, STARTED] = np.clip(np.exp(drawn[:, 2]), 0, self.num_layers)
        z[:, RADIUS] = np.exp(drawn[:, 3])
        z[:, CORE] = 1 / (1 + np.exp(-drawn[:, 4]))
        z[:, GROWTH] = drawn[:, 5]
        z[:, FIRST_VECTOR] = np.exp(np.minimum(drawn[:, 6], 0.0))
        z[:, FIRST_VECTOR + 2 :] = drawn[:, 7:]
        if angle is None or tilt is None:
            return turned_latent(z, rng.uniform(-np.pi, np.pi, len(z)), rng.random(len(z)) < 0.5)
        mirrored = rng.random(len(z)) < 0.5
        return turned_latent(z, np.arctan2(tilt[:, 1], tilt[:, 0]) - np.where(mirrored, -angle, angle), mirrored)


def _logit(x: Floats) -> Floats:
    x = np.clip(x, _SMALL, 1 - _SMALL)
    return np.asarray(np.log(x) - np.log1p(-x))
