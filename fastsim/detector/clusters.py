"""Clusters of calorimeter showers: sets of voxels with energy that hang together through common walls.

Two voxels are neighbours if they share a wall: in one layer, the next ring of the same sector or the next sector of
the same ring (the last sector lies beside the first); in two layers that follow each other, voxels that overlap in r
and in alpha, whatever the rings and sectors of the two; layers without voxels are passed over. Voxels that touch in
an edge or a corner only are no neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fastsim.detector.binning import Binning, Layer

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Walls:
    """The pairs of voxels of a binning that share a wall, each once, ordered by their first voxel.

    Attributes:
        starts: voxel v has the pairs ``starts[v]:starts[v + 1]``, (V+1,).
        behind: the second voxel of each pair, (P,).
    """

    starts: Ints
    behind: Ints


@lru_cache(maxsize=16)
def walls(binning: Binning, *, between_layers: bool = True) -> Walls:
    """List the pairs of voxels that share a wall.

    Args:
        binning: of the voxels.
        between_layers: whether voxels of different layers count.
    """
    pairs = [_in_layer(layer) + part.start for layer, part in binning.parts]
    if between_layers:
        for (one, part), (other, following) in zip(binning.parts[:-1], binning.parts[1:], strict=True):
            pairs.append(_across(one, other) + np.array([part.start, following.start]))
    joined = np.concatenate(pairs)
    joined = joined[np.argsort(joined[:, 0], kind="stable")]
    starts = np.searchsorted(joined[:, 0], np.arange(binning.num_voxels + 1))
    return Walls(starts.astype(np.int64), joined[:, 1].copy())


def clusters(
    voxels: NDArray[np.floating[Any]], binning: Binning, *, threshold: float = 0.0, between_layers: bool = True
) -> tuple[Ints, Floats]:
    """Count the clusters of showers, and find the largest.

    Args:
        voxels: deposits of N showers in MeV, shape (N, V).
        binning: of the voxels.
        threshold: MeV; a voxel above it belongs to a cluster.
        between_layers: whether clusters go on from layer to layer; else every layer has its own.

    Returns:
        The number of clusters of each shower, and the energy in MeV of the one that has most, (N,) each; 0 where no
        voxel is above the threshold.
    """
    num = len(voxels)
    hit = voxels > threshold
    shower, voxel = np.nonzero(hit)
    counts, largest = np.zeros(num, np.int64), np.zeros(num)
    if len(shower) == 0:
        return counts, largest
    pairs = walls(binning, between_layers=between_layers)
    # from the hits, not from all voxels: few of these hold energy
    times = pairs.starts[voxel + 1] - pairs.starts[voxel]
    first = np.repeat(np.arange(len(voxel)), times)
    place = np.arange(len(first)) - np.repeat(np.cumsum(times) - times, times) + pairs.starts[voxel][first]
    neighbour = shower[first] * hit.shape[1] + pairs.behind[place]
    both = hit.reshape(-1)[neighbour]
    number = np.cumsum(hit.reshape(-1), dtype=np.int64) - 1
    first, second = first[both], number[neighbour[both]]
    graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(len(voxel), len(voxel)))
    found, label = connected_components(graph, directed=False)
    owner = np.zeros(found, np.int64)
    owner[label] = shower
    energy = np.bincount(label, weights=voxels[shower, voxel], minlength=found)
    counts += np.bincount(owner, minlength=num)
    np.maximum.at(largest, owner, energy)
    return counts, largest


def _in_layer(layer: Layer) -> Ints:
    """List the pairs of voxels of a layer that share a wall, (P, 2), counted from its first voxel."""
    number = np.arange(layer.num_voxels).reshape(layer.num_alpha, layer.num_r)
    rings = np.stack([number[:, :-1], number[:, 1:]], axis=-1).reshape(-1, 2)
    # two sectors have one pair in common on either side, one sector has none
    last = {1: 0, 2: 1}.get(layer.num_alpha, layer.num_alpha)
    sectors = np.stack([number, np.roll(number, -1, axis=0)], axis=-1)[:last].reshape(-1, 2)
    return np.concatenate([rings, sectors])


def _across(one: Layer, other: Layer) -> Ints:
    """List the pairs of voxels of two layers that overlap, (P, 2), counted from the first voxel of each."""
    rings = _overlaps(np.array(one.r_edges), np.array(other.r_edges))
    # sectors in units of a turn over the product of their numbers: whole numbers, free of rounding
    sectors = _overlaps(np.arange(one.num_alpha + 1) * other.num_alpha, np.arange(other.num_alpha + 1) * one.num_alpha)
    first = sectors[:, None, 0] * one.num_r + rings[None, :, 0]
    second = sectors[:, None, 1] * other.num_r + rings[None, :, 1]
    return np.stack([first, second], axis=-1).reshape(-1, 2)


def _overlaps(one: NDArray[np.generic], other: NDArray[np.generic]) -> Ints:
    """List the pairs of intervals between edges that overlap by more than a point, (P, 2)."""
    low = np.maximum(one[:-1, None], other[None, :-1])
    high = np.minimum(one[1:, None], other[None, 1:])
    return np.argwhere(high > low).astype(np.int64)
