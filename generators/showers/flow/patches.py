r"""Showers as one patch a layer, in the variable that the flow works in.

A patch holds the voxels of a layer, or its whole rings; those that a layer lacks are 0. A deposit E becomes

.. math:: v = \log(1 + E / \epsilon) / s

with epsilon a tenth of a usual deposit, so that no deposit is exactly 0, and all others lie in a range that noise of
unit width covers evenly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled
from fastsim.event import Ints
from generators.showers.cascade.grid import Grid

Voxels = NDArray[np.float32]


@dataclass(frozen=True)
class Patches:
    """Where the voxels of a grid, or its rings, lie in the patches of its layers.

    Attributes:
        grid: of the voxels.
        unit: epsilon in MeV.
        scale: s.
        rings: whether patches hold whole rings instead of voxels.
    """

    grid: Grid
    unit: float
    scale: float
    rings: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of one shower's patches, (L, P)."""
        return self.grid.num_layers, int(self._sizes.max())

    @property
    def _sizes(self) -> Ints:
        """The voxels (or rings) of each layer, (L,)."""
        return self.grid.num_r if self.rings else self.grid.num_r * self.grid.sectors

    @cached_property
    def place(self) -> Ints:
        """The place of each voxel (or ring) in the flattened patches of a shower, (V,)."""
        return np.concatenate([layer * self.shape[1] + np.arange(size) for layer, size in enumerate(self._sizes)])

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """Whether a place in a patch is a voxel (or a ring), (L, P)."""
        mask = np.zeros(self.shape, np.bool_)
        mask.reshape(-1)[self.place] = True
        return mask

    def patches(self, voxels: Voxels) -> Voxels:
        """Arrange the deposits of voxels (or rings) (N, V) as patches (N, L, P)."""
        out = np.zeros((len(voxels), self.shape[0] * self.shape[1]), np.float32)
        out[:, self.place] = voxels
        return out.reshape(-1, *self.shape)

    def voxels(self, patches: Voxels) -> Voxels:
        """Take the deposits of the voxels (or rings) (N, V) from patches (N, L, P)."""
        return np.ascontiguousarray(patches.reshape(len(patches), -1)[:, self.place])

    def compressed(self, deposits: Voxels) -> Voxels:
        """Compute v of deposits in MeV, of any shape."""
        v: Voxels = np.log1p(deposits * np.float32(1 / self.unit)) * np.float32(1 / self.scale)
        return v


@compiled
def draw_deposits(
    parameters: Voxels,
    layers: Voxels,
    mask: NDArray[np.bool_],
    normal: Voxels,
    uniform: Voxels,
    unit: float,
    out: Voxels,
) -> None:
    """Draw the deposits of layers whose sums are given.

    Each voxel is empty, or its log deposit is a draw from a mixture of normals. Of the tries for a layer, the one whose
    sum is nearest in the logarithm to the layer's is taken, and scaled to it exactly. A layer with energy whose voxels
    are all empty in every try has it where a deposit is likeliest.

    Args:
        parameters: logit of a deposit, then logits, means and log widths of the C components, (N, L, P, 1 + 3C).
        layers: energies in MeV, (N, L).
        mask: which places are voxels, (L, P).
        normal, uniform: random numbers of T tries, (N, L, T, P) and (N, L, T, P, 2).
        unit: of deposits, in MeV.
        out: deposits in MeV, (N, L, P).
    """
    num, num_layers, num_places, length = parameters.shape
    num_components, tries = (length - 1) // 3, normal.shape[2]
    drawn = np.empty(num_places, np.float32)
    for n in range(num):
        for layer in range(num_layers):
            out[n, layer] = 0.0
            if layers[n, layer] <= 0:
                continue
            best, likeliest, most = np.inf, 0, -np.inf
            for t in range(tries):
                total = 0.0
                for p in range(num_places):
                    drawn[p] = 0.0
                    if not mask[layer, p]:
                        continue
                    row = parameters[n, layer, p]
                    if row[0] > most:
                        most, likeliest = row[0], p
                    u = uniform[n, layer, t, p, 0]
                    if u >= 1 / (1 + np.exp(-row[0])):
                        continue
                    highest = row[1]
                    for c in range(1, num_components):
                        highest = max(highest, row[1 + c])
                    weight = 0.0
                    for c in range(num_components):
                        weight += np.exp(row[1 + c] - highest)
                    left, chosen = uniform[n, layer, t, p, 1] * weight, 0
                    for c in range(num_components):
                        chosen = c
                        left -= np.exp(row[1 + c] - highest)
                        if left < 0:
                            break
                    width = np.exp(row[1 + 2 * num_components + chosen])
                    drawn[p] = unit * np.exp(row[1 + num_components + chosen] + width * normal[n, layer, t, p])
                    total += drawn[p]
                if total <= 0:
                    continue
                distance = abs(np.log(total / layers[n, layer]))
                if distance < best:
                    best = distance
                    for p in range(num_places):
                        out[n, layer, p] = drawn[p] * (layers[n, layer] / total)
            if best == np.inf:
                out[n, layer, likeliest] = layers[n, layer]
