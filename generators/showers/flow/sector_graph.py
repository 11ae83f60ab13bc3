"""The cascade's split of rings into sectors as a graph of tensors: what ONNX can hold of it.

:mod:`generators.showers.cascade.features` and :mod:`~generators.showers.cascade.conditions` gather the features of a
split by compiled loops, with sums that go on from front to front. Here each split gathers them from the deposits known
so far, so that a host needs no more than to list the blocks of a front, to draw their halves and to store them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fastsim.errors import FastsimError
from generators.showers.cascade.conditions import LEAST, MOST, NUM_RECENT, NUM_STEPS, ONE_PARTICLE, RECENT
from generators.showers.cascade.features import DECAY, E0
from generators.showers.cascade.grid import BEHIND, Grid
from generators.showers.cascade.latent import DEPTH, FIRST_VECTOR, LENGTH, MIN_LENGTH, NUM_VECTORS, RADIUS
from generators.showers.cascade.network import Cascade
from generators.showers.cascade.splits import log_scale, mean_log_ratio


class SectorGraph(nn.Module):
    """Parameters of the splits of blocks of sectors into their halves.

    Args:
        cascade: whose stage of sectors it is.

    Raises:
        FastsimError: if the splits are no mixtures of logistic distributions.
    """

    level: Tensor
    neighbours: Tensor
    radii: Tensor
    by_level: Tensor
    lines: Tensor
    front_rings: Tensor
    front_weights: Tensor
    gone: Tensor
    recent: Tensor

    def __init__(self, cascade: Cascade) -> None:
        super().__init__()
        self.net, grid = cascade.net("sectors"), cascade.grid
        if self.net.normal or self.net.skip is not None:
            raise FastsimError(
                "sectors split by normal distributions, or with a skip, have no graph and no export: leave normal and "
                "skip out of network.sectors"
            )
        self.shape, self.num_levels = grid.shape, grid.num_levels
        slots = np.arange(2 * grid.num_leaves)
        self._keep("level", np.maximum(np.log2(np.maximum(slots, 1)).astype(np.int64), 0))
        self._keep("neighbours", grid.neighbours)
        self._keep("radii", grid.radii)
        self._keep("by_level", _by_level(grid))
        lines = np.zeros((grid.num_leaves, 2))
        lines[1:] = grid.directions[2::2] - grid.directions[3::2]
        norm = np.linalg.norm(lines, axis=1, keepdims=True)
        self._keep("lines", lines / np.where(norm > 0, norm, 1))
        rings, weights = _memory(grid)
        self._keep("front_rings", rings)
        self._keep("front_weights", weights)
        gone, recent = _in_front(grid.num_layers, grid.num_levels)
        self._keep("gone", gone)
        self._keep("recent", recent)

    def _keep(self, name: str, values: NDArray[Any]) -> None:
        whole = np.issubdtype(values.dtype, np.integer)
        self.register_buffer(name, torch.from_numpy(values.astype(np.int64 if whole else np.float32)), persistent=False)

    def forward(self, deposits: Tensor, latent: Tensor, particle: Tensor, nodes: Tensor) -> Tensor:
        """Compute the parameters (K, 3 + 3C) of splits: first half | second half.

        They are logits of (both, the first alone, the second alone), then logits, means and log widths of C logistic
        distributions of log(first / second), for where both have energy.

        Args:
            deposits: heaps in MeV, known where earlier fronts have split, (N, L, R, 2A).
            latent: blurred latents, (N, Z).
            particle: features of the particles, (N, 2 + P).
            nodes: shower, layer, ring and heap slot of each block, (K, 4).
        """
        n, _, ring, node = nodes.unbind(1)
        level = self.level[node]
        size = 2**level
        base, first, far = node - size, 2 * node, 2 * size
        left, right = size + (base - 1) % size, size + (base + 1) % size
        far_left, far_right = far + (2 * base - 1) % far, far + (2 * base + 2) % far
        memory = self._memories(deposits, nodes, far_left, far_right)
        swapped = memory[:, 3] + 0.5 * (memory[:, 1] + memory[:, 5]) > memory[:, 2] + 0.5 * (
            memory[:, 0] + memory[:, 4]
        )

        def ordered(one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
            return torch.where(swapped, two, one), torch.where(swapped, one, two)

        a, b = ordered(first, first + 1)
        known = self._known(deposits, nodes, (a, b), ordered(left, right), ordered(far_left, far_right))
        pairs = [each for k in range(0, 8, 2) for each in ordered(memory[:, k], memory[:, k + 1])]
        front = known.shape[1] - _NUM_RING
        depth = nodes[:, 1:2] / self.shape[0]
        features = torch.cat(
            [
                particle[n],
                nn.functional.one_hot(ring, self.shape[1]),
                nn.functional.one_hot(level, self.num_levels),
                known[:, :front],
                torch.stack(pairs, 1),
                known[:, front:],
                depth,
                depth**2,
                self._conditions(deposits, latent, nodes, level, swapped, a, b),
            ],
            1,
        )
        x = (features - self.net.shift) * self.net.scale
        x = torch.relu(self.net.first(x))
        for layer in self.net.hidden:
            x = x + torch.relu(layer(x))
        raw = self.net.head(x)
        num, turn = self.net.num_components, swapped[:, None]
        cases, weights, means, scales = raw.split([3, num, num, num], 1)
        cases = torch.where(turn, cases[:, [0, 2, 1]], cases)
        means = mean_log_ratio(torch.where(turn, -means, means))
        return torch.cat([cases, weights, means, log_scale(scales)], 1)

    def _at(self, deposits: Tensor, n: Tensor, layer: Tensor, ring: Tensor, slot: Tensor) -> Tensor:
        """Take deposits of showers, layers, rings and slots, 0 where there is no such layer or ring."""
        num_layers, max_r, slots = self.shape
        exists = (layer >= 0) & (layer < num_layers) & (ring >= 0) & (ring < max_r)
        place = (n * num_layers + layer.clamp(0, num_layers - 1)) * max_r + ring.clamp(0, max_r - 1)
        return deposits.reshape(-1)[place * slots + slot] * exists

    def _memories(self, deposits: Tensor, nodes: Tensor, far_left: Tensor, far_right: Tensor) -> Tensor:
        """Compute the compressed memory in front of the halves, (K, 8).

        They are those of the ring inside, its own and the one outside, and of the blocks on both sides.
        """
        n, layer, ring, node = nodes.unbind(1)
        half = 2 * node
        slots = torch.stack([half, half + 1, half, half + 1, half, half + 1, far_left, far_right], 1)
        rings = ring[:, None] + ring.new_tensor([-1, -1, 0, 0, 1, 1, 0, 0])
        exists = (rings >= 0) & (rings < self.shape[1])
        inside = rings.clamp(0, self.shape[1] - 1)
        away = torch.arange(1, self.shape[0])  # layers in front
        where = self.front_rings[layer[:, None], inside]
        found = self._at(
            deposits, n[:, None, None], (layer[:, None] - away)[:, None], where, slots[:, :, None].expand_as(where)
        )
        return _compressed((found * self.front_weights[layer[:, None], inside]).sum(2) * exists)

    def _known(
        self,
        deposits: Tensor,
        nodes: Tensor,
        halves: tuple[Tensor, Tensor],
        beside: tuple[Tensor, Tensor],
        far: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Compute the compressed deposits around blocks, (K, F), in the order of the features; whole rings come last.

        ``halves``, ``beside`` and ``far`` are slots (K,): of the halves, of the blocks next to them, of these blocks'
        nearer halves.
        """
        n, layer, ring, node = nodes.unbind(1)
        a, b = halves
        always = torch.ones_like(node, dtype=torch.bool)
        divided, odd = node > 1, ring % 2 == 1
        taken = [(layer, ring, node, always)]
        taken += [(layer, ring, slot, divided) for slot in beside]
        taken += [(layer, ring + step, node, always) for step in (-1, 1)]
        taken += [(layer, ring + step, slot, odd) for step in (-1, 1) for slot in (a, b)]
        near = [self.neighbours[layer, place, ring] for place in range(len(BEHIND))]
        for d in range(1, 4):
            here, exists = near[d - 1], near[d - 1] >= 0
            around = [(0, a), (0, b)]
            if d < 3:
                around += [(-1, a), (-1, b), (1, a), (1, b), (0, far[0]), (0, far[1])]
            taken += [(layer - d, here + step, slot, exists) for step, slot in around]
        whole = torch.ones_like(node)
        taken += [(layer, ring + step, whole, always) for step in (0, -1, 1)]
        taken += [(layer - 1, near[0], whole, near[0] >= 0)]
        taken += [(layer + 1 + k, near[3 + k], whole, near[3 + k] >= 0) for k in range(2)]
        taken += [(layer + 1, near[3] + step, whole, near[3] >= 0) for step in (-1, 1)]
        layers, rings, slots, counts = (torch.stack(column, 1) for column in zip(*taken, strict=True))
        return _compressed(self._at(deposits, n[:, None], layers, rings, slots) * counts)

    def _conditions(
        self, deposits: Tensor, latent: Tensor, nodes: Tensor, level: Tensor, swapped: Tensor, a: Tensor, b: Tensor
    ) -> Tensor:
        """Compute what the latents say of blocks, (K, F): :func:`~generators.showers.cascade.conditions`."""
        n, layer, ring, node = nodes.unbind(1)
        num, (num_layers, max_r, _), num_levels = deposits.shape[0], self.shape, self.num_levels
        rings = deposits[..., 1]
        radius, length = latent[:, RADIUS].clamp(min=1e-3), latent[:, LENGTH].clamp(min=MIN_LENGTH)
        layers = torch.arange(num_layers)
        energy = rings.sum(2)
        visible = energy.sum(1)
        before = (energy[:, None] * (layers < layers[:, None])).sum(2)
        # not the difference of the two: what is left of the last layers would be rounding
        behind = (energy[:, None] * (layers >= layers[:, None])).sum(2)
        fading = RECENT ** (layers[:, None] - layers - 1).clamp(min=0).float() * (layers < layers[:, None])
        lately = (energy[:, None] * fading).sum(2)
        # sums of directions of a layer by level, plain and with radii, then the same times the depth
        sides = (deposits @ self.by_level).view(num, num_layers, max_r, num_levels, 2)
        far = (sides * (self.radii / radius[:, None, None])[..., None, None]).sum(2)
        along = ((layers + 0.5 - latent[:, DEPTH : DEPTH + 1]) / length[:, None])[..., None, None]
        own = torch.stack([sides.sum(2), far], 3)
        own = torch.cat([own, along[..., None] * own], 3).view(num, num_layers * num_levels, NUM_VECTORS, 2)
        flat = own.flatten(2)
        gone, recent = ((each @ flat).view_as(own) for each in (self.gone, self.recent))
        # at the blocks, along the line from half B to half A
        line = torch.where(swapped[:, None], -self.lines[node], self.lines[node])
        place = layer * num_levels + level

        def projected(sums: Tensor, at: Tensor) -> Tensor:
            return (sums.flatten(0, 1)[n * (num_layers * num_levels) + at] * line[:, None]).sum(2)

        factor = torch.stack([torch.ones_like(length), 1 / radius, length, length / radius], 1)
        vectors = latent[:, FIRST_VECTOR : FIRST_VECTOR + 2 * NUM_VECTORS].reshape(num, NUM_VECTORS, 2)
        whole = ((factor[..., None] * vectors)[n] * line[:, None]).sum(2)
        front = projected(gone, place)
        all_, in_front = visible[n], before[n, layer]
        block = self._at(deposits, n, layer, ring, node)
        left = torch.maximum(behind[n, layer], block)
        most = torch.maximum(left, LEAST * all_)
        split = projected(own, (place - 1).clamp(min=0)) * (level > 0)[:, None]
        rest = whole * all_[:, None] - front - split
        seen = front / torch.maximum(in_front, LEAST * all_)[:, None]
        three = torch.stack([whole, (rest / most[:, None]).clamp(-MOST, MOST), seen.clamp(-MOST, MOST)], 2)
        single = []
        for step in range(1, NUM_STEPS + 1):
            at = (layer - step).clamp(min=0)
            share = projected(own, at * num_levels + level) / energy[n, at].clamp(min=ONE_PARTICLE)[:, None]
            single.append(2 * share.clamp(-MOST, MOST)[:, :NUM_RECENT] * (layer >= step)[:, None])
        late = projected(recent, place)[:, :NUM_RECENT] / lately[n, layer].clamp(min=ONE_PARTICLE)[:, None]
        single.append(4 * late.clamp(-MOST, MOST))
        even = torch.arange(0, max_r, 2)
        more, less = (self._at(deposits, n[:, None], layer[:, None], even, s[:, None]).sum(1) for s in (a, b))
        balance = 2 * (more - less) / (more + less).clamp(min=ONE_PARTICLE) * (ring % 2 == 1)
        columns = [left / all_, (block / left).sqrt(), 4 * radius.log()[n]]
        return torch.cat(
            [4 * three.flatten(1), torch.stack(columns, 1), torch.stack(single, 2).flatten(1), balance[:, None]], 1
        )


_NUM_RING = 8
"""Features of whole rings, the last of those of deposits."""


def _compressed(energy: Tensor) -> Tensor:
    return 0.25 * torch.log1p(energy / E0)


def _by_level(grid: Grid) -> NDArray[Any]:
    """Compute the directions of the slots whose splits of a level have made them, (2A, K * 2)."""
    result = np.zeros((2 * grid.num_leaves, grid.num_levels, 2))
    for level in range(grid.num_levels):
        slots = slice(2 << level, 4 << level)
        result[slots, level] = grid.directions[slots]
    return result.reshape(len(result), -1)


def _memory(grid: Grid) -> tuple[NDArray[Any], NDArray[Any]]:
    """Compute, for each ring, the rings in front of it that its memory sums up, and their weights, (L, R, L - 1)."""
    shape = (grid.num_layers, grid.max_r, grid.num_layers - 1)
    rings, weights = np.zeros(shape, np.int64), np.zeros(shape)
    for layer in range(1, grid.num_layers):
        for ring in range(grid.max_r):
            here = ring
            for away in range(layer):
                here = int(grid.neighbours[layer - away, 0, here])
                if here < 0:
                    break
                rings[layer, ring, away], weights[layer, ring, away] = here, DECAY**away
    return rings, weights


def _in_front(num_layers: int, num_levels: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Compute the matrices (L * K, L * K) from sums of layers to those of all in front, as finely as they are known."""
    matrices = np.zeros((2, num_layers, num_levels, num_layers, num_levels))
    for matrix, fading in zip(matrices, (1.0, RECENT), strict=True):
        for layer in range(1, num_layers):
            for level in range(num_levels):
                matrix[layer, level] = fading * matrix[layer - 1, min(level + 1, num_levels - 1)]
                matrix[layer, level, layer - 1, level] += 1.0
    length = num_layers * num_levels
    return matrices[0].reshape(length, length), matrices[1].reshape(length, length)
