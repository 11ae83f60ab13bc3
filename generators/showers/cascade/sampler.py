"""Draws showers from a cascade: stage by stage, all showers of a batch side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled
from fastsim.event import Floats, Ints
from generators.showers.cascade.conditions import layer_conditions, ring_conditions, sum_rings
from generators.showers.cascade.features import (
    compress_quickly,
    compressed,
    layer_features,
    remember,
    remember_front,
    ring_features,
    sector_features,
    whole_rings,
)
from generators.showers.cascade.latent import VISIBLE, Latent, blurred_rings, blurred_sectors, turned_latent
from generators.showers.cascade.network import Cascade, Sides, with_response
from generators.showers.cascade.splits import FastNet, draw_split, draw_splits, random_numbers
from generators.showers.cascade.tilt import Tilt, slant_of, turned_tilt

RINGS_AT_ONCE = 6_000
"""Rings with energy whose sectors are drawn side by side: with more the arrays leave the processor's cache."""


class CascadeSampler:
    """Draws showers from a :class:`Cascade`, whose weights it copies.

    Args:
        cascade: the trained networks.
    """

    def __init__(self, cascade: Cascade) -> None:
        self.cascade, self.grid = cascade, cascade.grid
        self._nets = {stage: FastNet(cascade.net(stage)) for stage in cascade.splits}

    def sample(
        self, pdg_id: Ints, energy: Floats, rng: np.random.Generator, tilt: Tilt | None = None
    ) -> NDArray[np.float32]:
        """Draw deposits (N, V) in MeV of particles (N,) with kinetic energies in GeV.

        ``tilt`` (N, 2) of the particles is needed where the cascade knows tilted ones, here and in what follows.
        """
        given = self.cascade.given(pdg_id, energy)
        if self.cascade.latent is not None:
            return self.sample_given(pdg_id, energy, self.latent(pdg_id, energy, rng, tilt), rng, tilt)
        visible = self._draw("response", given, self.cascade.available(pdg_id, energy), rng)[0]
        voxels = self._voxels(given, energy, visible, None, rng, None)
        return self.grid.turn(voxels, rng)

    def latent(self, pdg_id: Ints, energy: Floats, rng: np.random.Generator, tilt: Tilt | None = None) -> Latent:
        """Draw the latents (N, Z) of particles (N,) with kinetic energies in GeV."""
        assert self.cascade.latent is not None
        given = self.cascade.given(pdg_id, energy)
        features = self.cascade.response_features(given, tilt)
        visible = self._draw("response", features, self.cascade.available(pdg_id, energy), rng)[0]
        return self.cascade.latent.sample(with_response(given, visible, energy), visible, rng, tilt)

    def sample_given(
        self, pdg_id: Ints, energy: Floats, z: Latent, rng: np.random.Generator, tilt: Tilt | None = None
    ) -> NDArray[np.float32]:
        """Draw deposits (N, V) in MeV of particles (N,) with kinetic energies in GeV, given latents (N, Z).

        Each shower is drawn in a frame that is turned and mirrored at random, so that all directions are alike.
        """
        sign, shift = self.grid.random_turns(len(z), rng)
        mirrored, angle = self.grid.turn_back(sign, shift)
        inside = turned_latent(z, angle, mirrored)
        if tilt is not None:
            tilt = turned_tilt(tilt, angle, mirrored)
        visible = inside[:, VISIBLE].copy()
        voxels = self._voxels(self.cascade.given(pdg_id, energy), energy, visible, inside, rng, tilt)
        return self.grid.turned(voxels, sign, shift)

    def _voxels(
        self,
        given: NDArray[np.float32],
        energy: Floats,
        visible: NDArray[np.float32],
        z: Latent | None,
        rng: np.random.Generator,
        tilt: Tilt | None,
    ) -> NDArray[np.float32]:
        """Draw deposits (N, V) in MeV from visible energies (N,) in MeV and latents (N, Z), if there are any."""
        rings = self._rings(given, self.layers(given, energy, visible, z, rng, tilt), z, rng, tilt)
        return self.voxels(given, rings, z, rng, tilt)

    def voxels(
        self,
        given: NDArray[np.float32],
        rings: NDArray[np.float32],
        z: Latent | None,
        rng: np.random.Generator,
        tilt: Tilt | None = None,
    ) -> NDArray[np.float32]:
        """Draw deposits (N, V) of the energies of rings (N, L, R), in MeV, of particles with features (N, C).

        ``z`` are the latents (N, Z), if there are any.
        """
        parts = np.array_split(np.arange(len(rings)), -(-np.count_nonzero(rings) // RINGS_AT_ONCE) or 1)
        heaps = (
            self._sectors(given[part], rings[part], *(None if x is None else x[part] for x in (z, tilt)), rng=rng)
            for part in parts
        )
        return np.concatenate([self.grid.voxels(each) for each in heaps])

    def _draw(
        self, stage: str, features: NDArray[np.float32], energy: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Draw both parts (K,) of energies (K,) in MeV."""
        net = self._nets[stage]
        a, b = draw_splits(net(features), energy, random_numbers((len(energy),), rng, normal=net.normal))
        return a, b

    def layers(
        self,
        particle: NDArray[np.float32],
        energy: Floats,
        visible: NDArray[np.float32],
        z: Latent | None,
        rng: np.random.Generator,
        tilt: Tilt | None = None,
    ) -> NDArray[np.float32]:
        """Draw the energies of layers (N, L) in MeV.

        Args:
            particle: features of the particles, (N, C).
            energy: their kinetic energies in GeV, (N,).
            visible: visible energies in MeV, (N,).
            z: latents (N, Z); None for a cascade without.
            rng: all randomness.
            tilt: of the particles, (N, 2); None for a cascade that knows none.
        """
        given, slant = with_response(particle, visible, energy), slant_of(tilt)
        layers = np.zeros((len(visible), self.grid.num_layers), np.float32)
        known, rest = np.zeros_like(layers), visible.copy()
        net, length = self._nets["layers"], self.cascade.net("layers").first.in_features
        u = random_numbers((self.grid.num_layers - 1, len(visible)), rng, normal=net.normal)
        for layer in range(self.grid.num_layers - 1):
            rows = np.flatnonzero(rest > 0)
            features = np.empty((len(rows), length), np.float32)
            layer_features(rows, layer, layers, known, given, rest, features)
            if z is not None:
                layer_conditions(rows, layer, layers, rest, z, slant, self.cascade.num_features["layers"], features)
            draw_parts(net(features), rows, u[layer], rest, layers[:, layer], known[:, layer])
        layers[:, -1] = rest
        return layers

    def _rings(
        self,
        given: NDArray[np.float32],
        layers: NDArray[np.float32],
        z: Latent | None,
        rng: np.random.Generator,
        tilt: Tilt | None,
    ) -> NDArray[np.float32]:
        grid, num = self.grid, len(layers)
        slant = slant_of(tilt)
        rings = np.zeros((num, grid.num_layers, grid.max_r), np.float32)
        known, memory, packed = np.zeros_like(rings), np.zeros_like(rings), np.zeros_like(rings)
        of_layers = compressed(layers)
        net, length = self._nets["rings"], self.cascade.net("rings").first.in_features
        place = self.cascade.num_features["rings"]
        gone = np.zeros((num, grid.num_layers, 5))
        if z is not None:
            z = blurred_rings(z, rng)
        for layer, num_r in enumerate(grid.num_r):
            if z is not None:
                sum_rings(rings, layer, grid.radii, gone)
            remember(rings[..., None], layer, grid.neighbours, memory[..., None])
            packed[:, layer] = compressed(memory[:, layer])
            rest = layers[:, layer].copy()
            u = random_numbers((num_r - 1, num), rng, normal=net.normal)
            for ring in range(num_r - 1):
                rows = np.flatnonzero(rest > 0)
                features = np.empty((len(rows), length), np.float32)
                ring_features(rows, layer, ring, of_layers, known, packed, given, rest, features)
                if z is not None:
                    ring_conditions(rows, layer, ring, rings, rest, grid.radii, gone, z, slant, place, features)
                draw_parts(net(features), rows, u[ring], rest, rings[:, layer, ring], known[:, layer, ring])
            rings[:, layer, num_r - 1] = rest
            known[:, layer, num_r - 1] = compressed(rest)
        return rings

    def _sectors(
        self,
        given: NDArray[np.float32],
        rings: NDArray[np.float32],
        z: Latent | None,
        tilt: Tilt | None,
        *,
        rng: np.random.Generator,
    ) -> NDArray[np.float32]:
        """Draw heaps (N, L, R, 2A) of rings (N, L, R), in MeV, given latents (N, Z) and tilts (N, 2), if there are any.

        A split of level k in layer l reads splits of the levels above in its own layer, and of its own level in the
        layers in front: all with the same l + k are drawn at once, even rings before odd ones.
        """
        grid = self.grid
        heaps = np.zeros((len(rings), *grid.shape), np.float32)
        heaps[..., 1] = rings
        known, memory, packed = np.zeros_like(heaps), np.zeros_like(heaps), np.zeros_like(heaps)
        known[..., 1] = compressed(rings)
        length, place = self.cascade.net("sectors").first.in_features, self.cascade.num_features["sectors"]
        sides = None if z is None else Sides(grid, heaps, blurred_sectors(z, rng), tilt)
        halves = [np.empty((0, 4), np.int64)] * 2  # of the front before, by parity of the ring
        for front in range(grid.num_fronts):
            remember_front(heaps, front, grid.neighbours, memory, packed)
            if sides is not None:
                sides.advance(front)
            for parity in range(2):
                nodes = halves[parity]
                if front < grid.num_layers and grid.divided[front]:
                    nodes = np.concatenate([whole_rings(heaps, front, parity), nodes])
                if len(nodes) == 0:
                    continue
                features, swapped = np.empty((len(nodes), length), np.float32), np.empty(len(nodes), np.bool_)
                sector_features(nodes, known, packed, grid.neighbours, given, features, swapped)
                if sides is not None:
                    sides.fill(nodes, swapped, place, features)
                parameters = self._nets["sectors"](features)
                halves[parity] = draw_halves(
                    parameters, nodes, swapped, grid.halved, rng.random((len(nodes), 3)), heaps, known
                )
        return heaps


@compiled
def draw_parts(
    parameters: NDArray[np.float32],
    rows: Ints,
    u: Floats,
    rest: NDArray[np.float32],
    part: NDArray[np.float32],
    known: NDArray[np.float32],
) -> None:
    """Draw how the energies that are left of showers are split into a part and the rest.

    Args:
        parameters: (K, 3 + 3C) of :class:`~generators.showers.cascade.splits.SplitNet`; rows: numbers of the showers,
            (K,); u: random numbers, (N, 3); rest: what is left in MeV, before and after, (N,); part: to fill, in MeV,
            (N,); known: to fill, the same compressed, (N,).
    """
    for k in range(len(rows)):
        n = rows[k]
        part[n], rest[n] = draw_split(parameters[k], rest[n], u[n])
        known[n] = compress_quickly(part[n])


@compiled
def draw_halves(
    parameters: NDArray[np.float32],
    rows: Ints,
    swapped: NDArray[np.bool_],
    halved: NDArray[np.bool_],
    u: Floats,
    deposits: NDArray[np.float32],
    known: NDArray[np.float32],
) -> Ints:
    """Draw the halves of blocks of ``deposits`` into it, and compressed into ``known``.

    Args:
        parameters: (K, 3 + 3C) of :class:`~generators.showers.cascade.splits.SplitNet`; rows: (K, 4) shower, layer,
            ring and heap node of the blocks; swapped: (K,) where part A is the second half; halved: which slots have
            halves, (2A,); u: (K, 3) uniform;
            deposits: (N, L, R, 2A) in MeV; known: (N, L, R, 2A) the same compressed.

    Returns:
        The rows (M, 4) of the halves that have energy and halves of their own.
    """
    num_leaves, count = deposits.shape[3] // 2, 0
    halves = np.empty((2 * len(rows), 4), np.int64)
    for k in range(len(rows)):
        n, layer, ring, node = rows[k, 0], rows[k, 1], rows[k, 2], rows[k, 3]
        block, place = deposits[n, layer, ring], known[n, layer, ring]
        a, b = draw_split(parameters[k], block[node], u[k])
        first = 2 * node
        block[first], block[first + 1] = (b, a) if swapped[k] else (a, b)
        for half in range(first, first + 2):
            if block[half] > 0:
                place[half] = compress_quickly(block[half])
                if halved[half]:
                    halves[count, 0], halves[count, 1], halves[count, 2], halves[count, 3] = n, layer, ring, half
                    count += 1
                else:  # a sector by itself is its own first half, down to the leaf
                    slot = half
                    while slot < num_leaves:
                        slot = 2 * slot
                        block[slot], place[slot] = block[half], place[half]
    return halves[:count]
