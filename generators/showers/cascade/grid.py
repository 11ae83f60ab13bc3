"""Showers as dense arrays whose sectors are summed over binary blocks.

Layers have rings of their own, and all the same number of sectors or one alone. Deposits of N showers are an array
(N, L, R, 2A), called *heaps*: layer, ring, and a binary heap whose root 1 is the whole ring, whose nodes 2q and 2q + 1
are the halves of node q, and whose leaves A ... 2A - 1 are the sectors. Where their number is no power of two, A is the
next one, the first half may be a sector larger, and a sector that is a block by itself before the last level is its own
first half, the second one empty. Rings of one sector have their energy in slot 1 alone. Slot 0 and the rings that a
layer lacks are 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled
from fastsim.detector.binning import Binning
from fastsim.errors import FastsimError
from fastsim.event import Ints

Deposits = NDArray[np.float32]

BEHIND = (-1, -2, -3, 1, 2)
"""Layers, counted from its own, in which a ring has neighbours along the shower: in front (-) and behind (+)."""


@dataclass(frozen=True)
class Grid:
    """The layers, rings and sectors of the voxels of a detector.

    Attributes:
        r_edges: edges of the rings of each layer, in mm.
        num_alpha: the sectors of every ring, but in layers of one.
        undivided: numbers of the layers of one sector.

    Raises:
        FastsimError: if there is no layer, or none has sectors.
    """

    r_edges: tuple[tuple[float, ...], ...]
    num_alpha: int
    undivided: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if not self.r_edges or min(len(edges) for edges in self.r_edges) < 2:
            raise FastsimError("a cascade needs layers of one ring at least")
        if self.num_alpha < 2 or len(self.undivided) == len(self.r_edges):
            raise FastsimError("no layer has sectors in alpha: a cascade needs two of them in one layer at least")

    @classmethod
    def of(cls, binning: Binning) -> Grid:
        """Make the grid of a binning, without the layers that have no voxels.

        Raises:
            FastsimError: if layers differ in their numbers of sectors, other than one.
        """
        layers = [layer for layer in binning.layers if layer.num_voxels]
        sectors = {layer.num_alpha for layer in layers}
        if len(sectors - {1}) > 1:
            raise FastsimError(
                f"layers of {', '.join(map(str, sorted(sectors)))} sectors: a cascade needs the same number in all "
                "that have more than one"
            )
        undivided = frozenset(number for number, layer in enumerate(layers) if layer.num_alpha == 1)
        return cls(tuple(layer.r_edges for layer in layers), max(sectors, default=0), undivided)

    @property
    def num_layers(self) -> int:
        """The number of layers, L."""
        return len(self.r_edges)

    @cached_property
    def num_r(self) -> Ints:
        """The number of rings of each layer, (L,)."""
        return np.array([len(edges) - 1 for edges in self.r_edges])

    @property
    def max_r(self) -> int:
        """The largest number of rings of a layer, R."""
        return int(self.num_r.max())

    @cached_property
    def sectors(self) -> Ints:
        """The number of sectors of each layer, (L,)."""
        return np.array([1 if layer in self.undivided else self.num_alpha for layer in range(self.num_layers)])

    @cached_property
    def divided(self) -> NDArray[np.bool_]:
        """Whether a layer has more than one sector, (L,)."""
        return self.sectors > 1

    @property
    def num_levels(self) -> int:
        """How often a ring is halved until single sectors are left, K."""
        return (self.num_alpha - 1).bit_length()

    @property
    def num_leaves(self) -> int:
        """The leaves of a heap, A."""
        return 1 << self.num_levels

    @cached_property
    def blocks(self) -> Ints:
        """The sectors of each heap slot: the first, and how many, (2A, 2)."""
        blocks = np.zeros((2 * self.num_leaves, 2), np.int64)
        blocks[1] = 0, self.num_alpha
        for slot in range(1, self.num_leaves):
            first, count = blocks[slot]
            half = (count + 1) // 2
            blocks[2 * slot], blocks[2 * slot + 1] = (first, half), (first + half, count - half)
        return blocks

    @cached_property
    def halved(self) -> NDArray[np.bool_]:
        """Whether the block of a heap slot has two sectors or more, (2A,)."""
        return self.blocks[:, 1] > 1

    @property
    def num_fronts(self) -> int:
        """The number of fronts of splits: those of level k in layer l are drawn with all others of the same l + k."""
        return self.num_layers + self.num_levels - 1

    @property
    def num_voxels(self) -> int:
        """The number of voxels, V."""
        return int((self.num_r * self.sectors).sum())

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one shower's heaps, (L, R, 2A)."""
        return self.num_layers, self.max_r, 2 * self.num_leaves

    @cached_property
    def _voxels(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Layer, ring, sector and heap slot of each voxel, each (V,)."""
        layer, ring, sector, slot = [], [], [], []
        leaves = self.num_leaves + np.flatnonzero(self.blocks[self.num_leaves :, 1])
        for k, (num, count) in enumerate(zip(self.num_r, self.sectors, strict=True)):
            layer.append(np.full(num * count, k))
            ring.append(np.tile(np.arange(num), count))
            sector.append(np.repeat(np.arange(count), num))
            slot.append(leaves[sector[-1]] if count > 1 else np.ones(num, np.int64))
        return np.concatenate(layer), np.concatenate(ring), np.concatenate(sector), np.concatenate(slot)

    @cached_property
    def neighbours(self) -> Ints:
        """The ring that holds a ring's middle in each of the layers :data:`BEHIND`, -1 where none does, (L, 5, R)."""
        neighbours = np.full((self.num_layers, len(BEHIND), self.max_r), -1)
        for layer, edges in enumerate(self.r_edges):
            middles = np.add(edges[1:], edges[:-1]) / 2
            for place, step in enumerate(BEHIND):
                if 0 <= layer + step < self.num_layers:
                    others = self.r_edges[layer + step]
                    ring = np.searchsorted(others, middles, side="right") - 1
                    neighbours[layer, place, : len(middles)] = np.where(ring < len(others) - 1, ring, -1)
        return neighbours

    @cached_property
    def radii(self) -> NDArray[np.float64]:
        """The middle of each ring in mm, 0 for rings that a layer lacks, (L, R)."""
        radii = np.zeros((self.num_layers, self.max_r))
        for layer, edges in enumerate(self.r_edges):
            radii[layer, : len(edges) - 1] = np.add(edges[1:], edges[:-1]) / 2
        return radii

    @cached_property
    def directions(self) -> NDArray[np.float64]:
        """The mean of (cos, sin) of the middles of the sectors of each heap slot, (2A, 2)."""
        alpha = -np.pi + (np.arange(self.num_alpha) + 0.5) * 2 * np.pi / self.num_alpha
        each = np.column_stack([np.cos(alpha), np.sin(alpha)])
        directions = np.zeros((2 * self.num_leaves, 2))
        for slot in range(2, len(directions)):  # slot 1 is exactly 0: all sectors together
            first, count = self.blocks[slot]
            if count:
                directions[slot] = each[first : first + count].mean(0)
        return directions

    def heaps(self, voxels: NDArray[np.float32]) -> Deposits:
        """Arrange the deposits of voxels (N, V) as heaps (N, L, R, 2A)."""
        heaps = np.zeros((len(voxels), *self.shape), np.float32)
        layer, ring, _, slot = self._voxels
        heaps[:, layer, ring, slot] = voxels
        sum_blocks(heaps)
        if self.undivided:
            whole = slot == 1
            heaps[:, layer[whole], ring[whole], 1] = voxels[:, whole]
        return heaps

    def turn(self, voxels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Turn each shower, deposits (N, V), by a random number of sectors, and mirror it at random."""
        return self.turned(voxels, *self.random_turns(len(voxels), rng))

    def random_turns(self, num: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Draw the signs (-1: mirrored) and the shifts in sectors of ``num`` showers for :meth:`turned`."""
        return np.where(rng.random(num) < 0.5, -1, 1), rng.integers(0, self.num_alpha, num)

    def turned(self, voxels: NDArray[np.float32], sign: Ints, shift: Ints) -> NDArray[np.float32]:
        """Move deposits (N, V) to sector s from sector sign * s + shift, sign and shift (N,) of the showers."""
        layer, ring, sector, _ = self._voxels
        # the voxel of sector 0 in each voxel's layer and ring
        origin = np.searchsorted(layer, layer) + ring
        return _turned(voxels, origin, self.num_r[layer], sector, sign, shift, self.sectors[layer])

    def turn_back(self, sign: Ints, shift: Ints) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Return how :meth:`turned` is undone in the plane of (cos alpha, sin alpha).

        Returns:
            Where to mirror at the x axis, (N,), and the angles in rad to turn by afterwards, (N,).
        """
        mirrored = sign < 0
        return mirrored, np.where(mirrored, shift + 1, shift) * (2 * np.pi / self.num_alpha)

    def voxels(self, heaps: Deposits) -> NDArray[np.float32]:
        """Take the deposits of the voxels (N, V) from heaps (N, L, R, 2A)."""
        layer, ring, _, slot = self._voxels
        return np.ascontiguousarray(heaps[:, layer, ring, slot])


def sum_blocks(heaps: Deposits) -> None:
    """Fill the inner nodes of heaps (..., 2A) from their leaves."""
    num = heaps.shape[-1] // 2
    while num > 1:
        num //= 2
        heaps[..., num : 2 * num] = heaps[..., 2 * num : 4 * num : 2] + heaps[..., 2 * num + 1 : 4 * num : 2]


@compiled
def _turned(voxels: Deposits, origin: Ints, stride: Ints, sector: Ints, sign: Ints, shift: Ints, num: Ints) -> Deposits:
    """Move deposits (N, V) between sectors: those of a sector come from sector sign * sector + shift.

    ``origin`` (V,) is the voxel of sector 0 in the same layer and ring, ``stride`` (V,) the distance from one sector to
    the next, ``sector`` (V,) that of each voxel, ``num`` (V,) how many its layer has; ``sign`` and ``shift`` (N,) are
    those of the showers.
    """
    out = np.empty_like(voxels)
    for n in range(len(voxels)):
        for v in range(len(origin)):
            place = (sign[n] * sector[v] + shift[n]) % num[v]
            out[n, v] = voxels[n, origin[v] + place * stride[v]]
    return out
