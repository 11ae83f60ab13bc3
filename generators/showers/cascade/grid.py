"""Showers as dense arrays whose sectors are summed over binary blocks.

All layers share one even number of sectors, a power of two, and have rings of their own. Deposits of N showers are an
array (N, L, R, 2A): layer, ring, and a binary heap over the A sectors, whose root 1 is the whole ring, whose nodes 2q
and 2q + 1 are the halves of node q, and whose leaves A ... 2A - 1 are the sectors. Slot 0 and rings that a layer lacks
are 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import Binning
from fastsim.errors import FastsimError
from fastsim.event import Ints
from generators.nn.compiled import compiled

Deposits = NDArray[np.float32]

BEHIND = (-1, -2, -3, 1, 2)
"""Layers, counted from its own, in which a voxel looks for its neighbours along the shower."""


@dataclass(frozen=True)
class Grid:
    """Rings (mm) of each layer of voxels, and the sectors that all have.

    Raises:
        FastsimError: if there is no layer, or the number of sectors is not a power of two.
    """

    r_edges: tuple[tuple[float, ...], ...]
    num_alpha: int

    def __post_init__(self) -> None:
        if not self.r_edges or min(len(edges) for edges in self.r_edges) < 2:
            raise FastsimError("a cascade needs layers of one ring at least")
        if self.num_alpha < 2 or self.num_alpha & (self.num_alpha - 1):
            raise FastsimError(f"{self.num_alpha} sectors in alpha: a cascade halves them, so they must be 2, 4, 8...")

    @classmethod
    def of(cls, binning: Binning) -> Grid:
        """The grid of a binning; its layers without voxels are left out."""
        layers = [layer for layer in binning.layers if layer.num_voxels]
        sectors = {layer.num_alpha for layer in layers}
        if len(sectors) != 1:
            raise FastsimError(f"layers of {sorted(sectors)} sectors: a cascade needs the same number in all")
        return cls(tuple(layer.r_edges for layer in layers), sectors.pop())

    @property
    def num_layers(self) -> int:
        return len(self.r_edges)

    @cached_property
    def num_r(self) -> Ints:
        """Rings of each layer, shape (L,)."""
        return np.array([len(edges) - 1 for edges in self.r_edges])

    @property
    def max_r(self) -> int:
        return int(self.num_r.max())

    @property
    def num_voxels(self) -> int:
        return int(self.num_r.sum()) * self.num_alpha

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one shower's heaps: (L, R, 2A)."""
        return self.num_layers, self.max_r, 2 * self.num_alpha

    @cached_property
    def _voxels(self) -> tuple[Ints, Ints, Ints]:
        """Layer, ring and heap slot of each voxel."""
        layer, ring, slot = [], [], []
        for k, num in enumerate(self.num_r):
            layer.append(np.full(num * self.num_alpha, k))
            ring.append(np.tile(np.arange(num), self.num_alpha))
            slot.append(self.num_alpha + np.repeat(np.arange(self.num_alpha), num))
        return np.concatenate(layer), np.concatenate(ring), np.concatenate(slot)

    @cached_property
    def neighbours(self) -> Ints:
        """The ring of the layers :data:`BEHIND` that holds a ring's middle, (L, 5, R); -1 where there is none."""
        found = np.full((self.num_layers, len(BEHIND), self.max_r), -1)
        for layer, edges in enumerate(self.r_edges):
            middles = np.add(edges[1:], edges[:-1]) / 2
            for place, step in enumerate(BEHIND):
                if 0 <= layer + step < self.num_layers:
                    others = self.r_edges[layer + step]
                    ring = np.searchsorted(others, middles, side="right") - 1
                    found[layer, place, : len(middles)] = np.where(ring < len(others) - 1, ring, -1)
        return found

    def heaps(self, voxels: NDArray[np.float32]) -> Deposits:
        """Deposits (N, V) as heaps (N, L, R, 2A)."""
        heaps = np.zeros((len(voxels), *self.shape), np.float32)
        layer, ring, slot = self._voxels
        heaps[:, layer, ring, slot] = voxels
        sum_blocks(heaps)
        return heaps

    def turn(self, voxels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Deposits (N, V), each shower turned by a random number of sectors, and mirrored or not."""
        num, (layer, ring, slot) = self.num_alpha, self._voxels
        # where a voxel's sector 0 lies, for each layer and ring
        zero = np.searchsorted(layer, layer) + ring
        sign = np.where(rng.random(len(voxels)) < 0.5, -1, 1)
        return _turned(voxels, zero, self.num_r[layer], slot - num, sign, rng.integers(0, num, len(voxels)), num)

    def voxels(self, heaps: Deposits) -> NDArray[np.float32]:
        """Deposits (N, V) of heaps (N, L, R, 2A)."""
        layer, ring, slot = self._voxels
        return np.ascontiguousarray(heaps[:, layer, ring, slot])


def sum_blocks(heaps: Deposits) -> None:
    """Fills the inner nodes of heaps (..., 2A) from their leaves."""
    num = heaps.shape[-1] // 2
    while num > 1:
        num //= 2
        heaps[..., num : 2 * num] = heaps[..., 2 * num : 4 * num : 2] + heaps[..., 2 * num + 1 : 4 * num : 2]


@compiled
def _turned(voxels: Deposits, zero: Ints, stride: Ints, sector: Ints, sign: Ints, shift: Ints, num: int) -> Deposits:
    """Voxels (N, V) whose sector, of ``num``, is taken from sign * sector + shift."""
    out = np.empty_like(voxels)
    for n in range(len(voxels)):
        for v in range(len(zero)):
            place = (sign[n] * sector[v] + shift[n]) & (num - 1)
            out[n, v] = voxels[n, zero[v] + place * stride[v]]
    return out
