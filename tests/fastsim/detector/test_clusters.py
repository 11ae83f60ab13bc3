"""Clusters of voxels: hand-made ones, walls of unequal layers, and a flood fill."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsim.detector.binning import Binning, Layer
from fastsim.detector.clusters import clusters, walls
from tests.helpers.showers import electron_binning, mixed_binning, toy_showers

SMALL = electron_binning(3, 4, 8)


def shower(*hits: tuple[int, int, int, float], binning: Binning = SMALL) -> NDArray[np.float32]:
    """One shower with deposits at (layer, sector, ring)."""
    voxels = np.zeros((1, binning.num_voxels), np.float32)
    for place, sector, ring, energy in hits:
        layer, part = binning.parts[place]
        voxels[0, part.start + sector * layer.num_r + ring] = energy
    return voxels


def found(voxels: NDArray[np.float32], binning: Binning = SMALL, **options: float) -> tuple[int, float]:
    counts, largest = clusters(voxels, binning, **options)  # type: ignore[arg-type]
    return int(counts[0]), round(float(largest[0]), 6)


def test_neighbours_share_a_wall() -> None:
    assert found(shower((1, 2, 1, 5.0), (1, 2, 2, 1.0))) == (1, 6.0)  # the next ring
    assert found(shower((1, 2, 1, 5.0), (1, 3, 1, 1.0))) == (1, 6.0)  # the next sector
    assert found(shower((1, 0, 1, 5.0), (1, 7, 1, 1.0))) == (1, 6.0)  # the last sector lies beside the first
    assert found(shower((1, 2, 1, 5.0), (2, 2, 1, 1.0))) == (1, 6.0)  # the next layer
    assert found(shower((1, 2, 1, 5.0), (1, 3, 2, 1.0))) == (2, 5.0)  # an edge
    assert found(shower((1, 2, 0, 5.0), (1, 6, 0, 1.0))) == (2, 5.0)  # across the axis
    assert found(shower((0, 2, 1, 5.0), (2, 2, 1, 1.0))) == (2, 5.0)  # a layer between
    assert found(shower((0, 2, 1, 5.0), (1, 2, 1, 1.0)), between_layers=False) == (2, 5.0)


def test_two_clusters_and_a_threshold() -> None:
    voxels = shower((0, 1, 0, 2.0), (0, 1, 1, 0.1), (0, 1, 2, 2.0), (0, 5, 3, 3.0))
    assert found(voxels) == (2, 4.1)
    assert found(voxels, threshold=0.5) == (3, 3.0)
    assert found(voxels, threshold=10.0) == (0, 0.0)


def test_walls_of_layers_that_differ() -> None:
    """One sector meets all sectors; rings meet where they overlap, and not where they only touch."""
    binning = Binning(
        "photon", 22, (Layer(0, (0.0, 10.0, 20.0), 1), Layer(1, (0.0,), 1), Layer(2, (0.0, 5.0, 10.0), 3))
    )
    pairs = walls(binning)
    listed = {(v, int(w)) for v in range(8) for w in pairs.behind[pairs.starts[v] : pairs.starts[v + 1]]}
    in_layers = {(0, 1)} | {(2 + 2 * s, 3 + 2 * s) for s in range(3)}
    in_layers |= {(2, 4), (4, 6), (6, 2), (3, 5), (5, 7), (7, 3)}
    assert listed == in_layers | {(0, v) for v in range(2, 8)}
    assert len(walls(SMALL).behind) == 3 * (4 * 8 + 3 * 8) + 2 * 4 * 8
    # sectors of 10 and 16: 2 of 10 meet 2 of 16 at each end of the turn, no more than overlap
    other = Binning("electron", 11, (Layer(0, (0.0, 1.0), 10), Layer(1, (0.0, 1.0), 16)))
    assert len(walls(other).behind) - len(walls(other, between_layers=False).behind) == 24


def test_two_sectors_meet_once() -> None:
    binning = Binning("electron", 11, (Layer(0, (0.0, 1.0), 2),))
    assert walls(binning).behind.tolist() == [1]


@pytest.mark.parametrize("binning", [mixed_binning(), electron_binning(4, 3, 6)])
def test_a_flood_fill_finds_the_same(binning: Binning, rng: np.random.Generator) -> None:
    voxels = toy_showers(30, binning, rng, energy=(100.0, 1e4)).voxels
    voxels[:3] = 0
    places = [(k, v) for k, (layer, _) in enumerate(binning.parts) for v in range(layer.num_voxels)]

    def interval(place: tuple[int, int], axis: int) -> tuple[float, float]:
        layer = binning.parts[place[0]][0]
        sector, ring = divmod(place[1], layer.num_r)
        width = 2 * math.pi / layer.num_alpha
        return (layer.r_edges[ring], layer.r_edges[ring + 1]) if axis else (sector * width, (sector + 1) * width)

    def meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
        if abs(one[0] - other[0]) == 1:
            return all(
                min(interval(one, x)[1], interval(other, x)[1]) - max(interval(one, x)[0], interval(other, x)[0]) > 1e-9
                for x in (0, 1)
            )
        if one[0] != other[0]:
            return False
        layer = binning.parts[one[0]][0]
        (a, i), (b, j) = divmod(one[1], layer.num_r), divmod(other[1], layer.num_r)
        turn = min((a - b) % layer.num_alpha, (b - a) % layer.num_alpha)
        return (turn, abs(i - j)) in ((0, 1), (1, 0))

    beside = [[w for w in range(len(places)) if meet(places[v], places[w])] for v in range(len(places))]
    counts, largest = clusters(voxels, binning)
    for row in range(len(voxels)):
        left, energies = set(np.flatnonzero(voxels[row]).tolist()), []
        while left:
            reached = [left.pop()]
            for v in reached:
                more = left.intersection(beside[v])
                left -= more
                reached += more
            energies.append(float(voxels[row, reached].sum()))
        assert counts[row] == len(energies)
        assert largest[row] == pytest.approx(max(energies, default=0.0), rel=1e-6)
