"""Places in voxels: where in space the energy of a voxel of a shower is put."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastsim.detector.binning import Layer
from fastsim.event import Floats, Ints


class VoxelPlaces(NamedTuple):
    """Where voxels lie: arrays (V,) of layer, sector, squared radii in mm2, first alpha and width in rad.

    Layers are counted from the front, sectors through all layers.
    """

    layer: Ints
    sector: Ints
    r2_low: Floats
    r2_high: Floats
    alpha: Floats
    width: Floats

    def draw(self, voxel: Ints, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw a place in each of N voxels, uniform over its area: radii in mm and angles in rad, each (N,)."""
        return self.at(voxel, rng.uniform(size=len(voxel)), rng.uniform(size=len(voxel)))

    def at(self, voxel: Ints, outwards: Floats, around: Floats) -> tuple[Floats, Floats]:
        """Return places in N voxels, radii in mm and angles in rad, each (N,).

        Args:
            voxel: the voxels, (N,).
            outwards: share of the voxel's area that lies closer to the axis, (N,).
            around: share of its sector that lies at smaller alpha, (N,).
        """
        low, high = self.r2_low[voxel], self.r2_high[voxel]
        return np.sqrt(low + outwards * (high - low)), self.alpha[voxel] + around * self.width[voxel]


@lru_cache(maxsize=64)
def voxel_places(layers: tuple[Layer, ...]) -> VoxelPlaces:
    """Return the places of all voxels of some layers, in the order of a shower's vector."""
    columns, sectors = [], 0
    for number, layer in enumerate(layers):
        squares = np.square(layer.r_edges)
        width = 2 * np.pi / layer.num_alpha
        alpha = np.repeat(-np.pi + width * np.arange(layer.num_alpha), layer.num_r)
        low, high = (np.tile(edges, layer.num_alpha) for edges in (squares[:-1], squares[1:]))
        sector = sectors + np.repeat(np.arange(layer.num_alpha), layer.num_r)
        sectors += layer.num_alpha
        columns.append((np.full(layer.num_voxels, number), sector, low, high, alpha, np.full(layer.num_voxels, width)))
    return VoxelPlaces(*(np.concatenate(column) for column in zip(*columns, strict=True)))
