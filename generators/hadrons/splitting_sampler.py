"""Draws from a :class:`generators.hadrons.splitting.SplittingNet`, as fast as a processor allows.

Matrix products in torch, in bfloat16 if asked; what is drawn between them compiled.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import silu

from fastsim.event import Floats, Ints
from generators.compiled import compiled
from generators.draws import pick, share
from generators.hadrons.splitting import NUM_VARIABLES, SplittingNet


@compiled
def _add(x: NDArray[np.float32], bins: Ints, tables: NDArray[np.float32]) -> None:
    """Adds to rows (K, H), in place, what ``tables`` (V, B, H) hold for the bins of V variables."""
    for k in range(len(x)):
        for v in range(len(tables)):
            row = tables[v, bins[k, v]]
            for h in range(x.shape[1]):
                x[k, h] += row[h]


class SplittingSampler:
    """Draws from ``net`` with its weights in ``precision`` ("bfloat16" or "float32"), as they are now."""

    def __init__(self, net: SplittingNet, precision: str = "bfloat16") -> None:
        self.num_bins = net.num_bins
        self._net = copy.deepcopy(net).requires_grad_(False)
        self._dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        for weight in self._net.parameters():  # scales and edges stay as they are
            weight.data = weight.data.to(self._dtype)
        self._edges = net.edges.double().numpy()
        self._tables = [
            np.stack(tables) if tables else np.empty((0, 0, 0), np.float32)
            for tables in ([t.detach().numpy() for t in net.tables(v)] for v in range(NUM_VARIABLES))
        ]

    def encode(self, context: NDArray[np.float32], counts: NDArray[np.uint8]) -> Tensor:
        """Hidden states (K, width) of nodes with the given context (K, F) and counts (K, S)."""
        return self._net.encode(torch.from_numpy(context), torch.from_numpy(counts))

    def content(self, hidden: Tensor, counts: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Content of A (K, S). A node of two tokens gives its first species to A."""
        n = counts.sum(1, dtype=np.int64)
        counts_a = np.zeros_like(counts)
        pair = np.flatnonzero(n == 2)
        counts_a[pair, counts[pair].argmax(1)] = 1
        # argmax of a pair (2 of one species) finds that species, of (1, 1) the first
        rows = np.flatnonzero(n >= 3)
        if len(rows):
            kinds = self._net.kind_log_probs(hidden[rows], torch.from_numpy(counts[rows])).exp().numpy()
            kind, _ = pick(kinds, rng.random(len(rows)))
            single = kind > 0
            counts_a[rows[single], kind[single] - 1] = 1
            both = rows[~single]
            if len(both):
                weights, logits = self._net.components(hidden[both])
                counts_a[both] = share(weights.exp().numpy(), logits.numpy(), counts[both], 2, rng)
        return counts_a

    def with_content(self, hidden: Tensor, counts: NDArray[np.uint8], counts_a: NDArray[np.uint8]) -> Tensor:
        """Hidden states (K, width) once the content of A is known."""
        return self._net.with_content(hidden, torch.from_numpy(counts), torch.from_numpy(counts_a))

    def head(self, hidden: Tensor, variable: int) -> NDArray[np.float32]:
        """Input (K, head_width) of one variable's density, from :meth:`with_content`."""
        return self._net.head(hidden, variable).float().numpy()

    def variable(self, head: NDArray[np.float32], bins: Ints, variable: int, rng: np.random.Generator) -> Floats:
        """Values (K,) of one variable given the ``bins`` (K, 4) of those before it; its own are written there.

        ``head`` is overwritten.
        """
        if variable > 0:
            _add(head, bins, self._tables[variable])
        x = silu(torch.from_numpy(head), inplace=True).to(self._dtype)
        logits: Tensor = self._net.outputs[variable](x)
        probs = torch.softmax(logits.float(), -1).numpy()
        bins[:, variable], fraction = pick(probs, rng.random(len(bins)))
        edges = self._edges[variable]
        low, high = edges[bins[:, variable]], edges[bins[:, variable] + 1]
        return np.asarray(low + (high - low) * fraction)
