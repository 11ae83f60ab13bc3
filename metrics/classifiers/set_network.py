"""The permutation-invariant network of the set classifier, and the pairs of particles that it takes.

Particles of all sets of a batch lie behind one another, without padding. Each block sums them over their set, updates
a vector of the set from sum and mean, and updates each particle from itself and that vector (EPiC layers). With pairs,
attention among the leading particles comes first in a block: its weights have a bias that is learned from the features
of each pair, and these features are averaged with the same weights.

This module imports torch: import it inside the functions that need it.

References:
    Zaheer et al. 2017, arXiv:1703.06114 (deep sets). Komiske, Metodiev, Thaler 2019, arXiv:1810.05165 (particle flow
    networks). Buhmann, Kasieczka, Thaler 2023, arXiv:2301.08128 (EPiC). Qu, Li, Qian 2022, arXiv:2202.03772 (particle
    transformer: pair features as bias of attention).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

SUM_SCALE = 30.0
"""Sums over particles are divided by about their number, to keep activations near 1."""


class Pairs(NamedTuple):
    """Leading particles of n sets and their pairs, K of each set.

    Attributes:
        features: of the pairs, (n, K, K, P).
        slots: rows of the leading particles among the particles of the batch, (n, K).
        filled: False where a set has fewer than K particles, (n, K).
    """

    features: Tensor
    slots: Tensor
    filled: Tensor


class SetNetwork(nn.Module):
    """Logits of particle sets.

    Args:
        num_features: features of a particle.
        num_species: kinds of particles, embedded in 16 dimensions.
        num_set_features: features of a set, the condition among them.
        num_pair_features: features of a pair; 0 for a network without pairs.
        width: of particle and set vectors.
        num_blocks: updates.
    """

    def __init__(
        self,
        num_features: int,
        num_species: int,
        num_set_features: int,
        num_pair_features: int,
        *,
        width: int = 64,
        num_blocks: int = 2,
    ) -> None:
        super().__init__()
        self.species = nn.Embedding(num_species, 16)
        self.particle = nn.Sequential(nn.Linear(num_features + 16, width), nn.GELU(), nn.Linear(width, width))
        self.set = nn.Linear(num_set_features, width)
        self.attention = PairAttention(width, num_pair_features) if num_pair_features else None
        self.blocks = nn.ModuleList(Block(width) for _ in range(num_blocks))
        self.head = nn.Sequential(nn.Linear(3 * width + num_set_features, 128), nn.GELU(), nn.Linear(128, 1))

    def forward(
        self,
        features: Tensor,
        species: Tensor,
        index: Tensor,
        counts: Tensor,
        set_features: Tensor,
        pairs: Pairs | None = None,
    ) -> Tensor:
        """Compute logits of n sets with M particles in all.

        Args:
            features: of particles, (M, F); species: (M,); index: the set that each belongs to, (M,).
            counts: particles of each set, (n,); set_features: (n, S).
            pairs: of the leading particles, for a network with pairs.

        Returns:
            Logits of being real, (n,).
        """
        h = self.particle(torch.cat([features, self.species(species)], dim=1))
        g = self.set(set_features)
        if self.attention is not None and pairs is not None:
            h = self.attention(h, pairs)
        for block in self.blocks:
            h, g = block(h, g, index, counts)
        logit: Tensor = self.head(torch.cat([pool(h, index, counts), g, set_features], dim=1))
        return logit[:, 0]


class Block(nn.Module):
    """One update of the set vectors from their particles, and of the particles from their set's vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.set = nn.Linear(3 * width, width)
        self.norm = nn.LayerNorm(width)
        self.own = nn.Linear(width, width)
        self.shared = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, h: Tensor, g: Tensor, index: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Update particle vectors (M, width) and set vectors (n, width).

        Args:
            h: particle vectors, (M, width).
            g: set vectors, (n, width).
            index: the set that each particle belongs to, (M,).
            counts: particles of each set, (n,).

        Returns:
            Both, updated.
        """
        g = g + gelu(self.set(torch.cat([pool(h, index, counts), g], dim=1)))
        return h + self.out(gelu(self.own(self.norm(h)) + self.shared(g)[index])), g


class PairAttention(nn.Module):
    """Attention among leading particles, biased by pair features that it averages too."""

    def __init__(self, width: int, num_pair_features: int, *, num_heads: int = 4, pair_width: int = 16) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.pair = nn.Sequential(
            nn.Linear(num_pair_features, pair_width), nn.GELU(), nn.Linear(pair_width, pair_width), nn.GELU()
        )
        self.bias = nn.Linear(pair_width, num_heads, bias=False)
        self.out = nn.Linear(width + num_heads * pair_width, width)

    def forward(self, h: Tensor, pairs: Pairs) -> Tensor:
        """Update the leading particles among the particle vectors (M, width).

        Args:
            h: particle vectors, (M, width).
            pairs: of the leading particles.
        """
        if not len(h):
            return h
        n, k = pairs.slots.shape
        query, key, value = (
            x.reshape(n, k, self.num_heads, -1).transpose(1, 2)
            for x in self.qkv(self.norm(h[pairs.slots])).chunk(3, dim=-1)
        )
        edge = self.pair(pairs.features)
        weight = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5 + self.bias(edge).permute(0, 3, 1, 2)
        weight = weight.masked_fill(~pairs.filled[:, None, None, :], -1e4).softmax(dim=-1)
        nodes = (weight @ value).transpose(1, 2).reshape(n, k, -1)
        edges = (weight.transpose(1, 2) @ edge).reshape(n, k, -1)
        update = self.out(torch.cat([nodes, edges], dim=-1))
        return h.index_add(0, pairs.slots[pairs.filled], update[pairs.filled])


def pool(h: Tensor, index: Tensor, counts: Tensor) -> Tensor:
    """Compute mean and scaled sum of particle vectors over their sets, (n, 2 width); 0 for empty sets.

    Args:
        h: particle vectors, (M, width).
        index: the set that each particle belongs to, (M,).
        counts: particles of each set, (n,).
    """
    total = h.new_zeros(len(counts), h.shape[1]).index_add(0, index, h)
    return torch.cat([total / counts[:, None].clamp(min=1), total / SUM_SCALE], dim=1)
