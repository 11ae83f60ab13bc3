"""Draws from a :class:`generators.hadrons.splitting.SplittingNet`, as fast as a processor allows.

Matrix products in torch, in bfloat16 if asked; everything between them compiled and in one pass.
"""

from __future__ import annotations

import copy
from math import log

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear, silu

from fastsim.event import Floats, Ints
from generators.compiled import compiled
from generators.draws import pick, share
from generators.hadrons.splitting import NUM_VARIABLES, SplittingNet

_LOG1P = np.log1p(np.arange(256)).astype(np.float32)


@compiled
def _inputs(
    context: NDArray[np.float32],
    counts: NDArray[np.uint8],
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    log1p: NDArray[np.float32],
) -> NDArray[np.float32]:
    """As :meth:`SplittingNet.inputs`."""
    width, species = context.shape[1], counts.shape[1]
    out = np.empty((len(context), width + 2 * species), dtype=np.float32)
    for k in range(len(context)):
        for i in range(width):
            out[k, i] = (context[k, i] - mean[i]) / std[i]
        for s in range(species):
            out[k, width + s] = log1p[counts[k, s]]
            out[k, width + species + s] = 1.0 if counts[k, s] > 0 else 0.0
    return out


@compiled
def _content(
    counts: NDArray[np.uint8], counts_a: NDArray[np.uint8], masses: NDArray[np.float32], log1p: NDArray[np.float32]
) -> NDArray[np.float32]:
    """As :meth:`SplittingNet.content_features`."""
    species = counts.shape[1]
    out = np.empty((len(counts), species + 4), dtype=np.float32)
    for k in range(len(counts)):
        n_a, n_b, m_a, m_b = 0, 0, 0.0, 0.0
        for s in range(species):
            a, b = counts_a[k, s], counts[k, s] - counts_a[k, s]
            out[k, s] = log1p[a]
            n_a, n_b, m_a, m_b = n_a + a, n_b + b, m_a + a * masses[s], m_b + b * masses[s]
        out[k, species], out[k, species + 1] = log(1 + n_a), log(1 + n_b)
        out[k, species + 2], out[k, species + 3] = log(1 + m_a), log(1 + m_b)
    return out


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
        self._dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self._net = copy.deepcopy(net).requires_grad_(False).to(self._dtype)
        self._mean, self._std = net.mean.numpy(), net.std.numpy()
        self._masses = net.species_mass.numpy()
        self._edges = net.edges.double().numpy()
        self._tables = [
            np.stack(tables) if tables else np.empty((0, 0, 0), np.float32)
            for tables in ([t.detach().numpy() for t in net.tables(v)] for v in range(NUM_VARIABLES))
        ]

    def encode(self, context: NDArray[np.float32], counts: NDArray[np.uint8]) -> Tensor:
        """Hidden states (K, width) of nodes with the given context (K, F) and counts (K, S)."""
        inputs = torch.from_numpy(_inputs(context, counts, self._mean, self._std, _LOG1P))
        return self._net.trunk(self._net.embed(inputs.to(self._dtype)))  # type: ignore[no-any-return]

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
        features = torch.from_numpy(_content(counts, counts_a, self._masses, _LOG1P))
        content = self._net.content(features.to(self._dtype))
        return self._net.content_block(content.add_(hidden))  # type: ignore[no-any-return]

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
        output = self._net.outputs[variable]
        probs = torch.softmax(linear(x, output.weight, output.bias).float(), -1).numpy()  # type: ignore[arg-type]
        bins[:, variable], fraction = pick(probs, rng.random(len(bins)))
        edges = self._edges[variable]
        low, high = edges[bins[:, variable]], edges[bins[:, variable] + 1]
        return np.asarray(low + (high - low) * fraction)
