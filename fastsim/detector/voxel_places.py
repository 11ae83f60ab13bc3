"""Places in voxels: where in space the energy of a voxel of a shower is put."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastsim.detector.binning import Layer
from fastsim.event import Floats, Ints


class VoxelPlaces(NamedTuple):
    """Where voxels lie: arrays (V,) of layer, squared radii in mm2, first alpha and width in rad."""

    layer: Ints
    r2_low: Floats
    r2_high: Floats
    alpha: Floats
    width: Floats

    def draw(self, voxel: Ints, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw a place in each of N voxels, uniform over its area: radii in mm and angles in rad, each (N,)."""
        low, high = self.r2_low[voxel], self.r2_high[voxel]
        r = np.sqrt(low + rng.uniform(size=len(voxel)) * (high - low))
        return r, self.alpha[voxel] + rng.uniform(size=len(voxel)) * self.width[voxel]


@lru_cache(maxsize=64)
def voxel_places(layers: tuple[Layer, ...]) -> VoxelPlaces:
    """Return the places of all voxels of some layers, in the order of a shower's vector."""
    columns = []
    for number, layer in enumerate(layers):
        squares = np.square(layer.r_edges)
        width = 2 * np.pi / layer.num_alpha
        alpha = np.repeat(-np.pi + width * np.arange(layer.num_alpha), layer.num_r)
        low, high = (np.tile(edges, layer.num_alpha) for edges in (squares[:-1], squares[1:]))
        columns.append((np.full(layer.num_voxels, number), low, high, alpha, np.full(layer.num_voxels, width)))
    return VoxelPlaces(*(np.concatenate(column) for column in zip(*columns, strict=True)))
