"""Draws from a :class:`generators.hadrons.splitting.SplittingNet`, as fast as a processor allows.

Matrix products in torch, in bfloat16 if asked; what is drawn between them compiled.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from math import exp

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import linear

from fastsim.event import Floats, Ints
from generators.compiled import compiled
from generators.draws import pick_bin, share
from generators.hadrons.splitting import MAX_LOGIT, NUM_VARIABLES, Plain, SplittingNet
from generators.networks.padding import padded, padded_number

Array = NDArray[np.float32]
_ORDER = (0, 2, 3, 1)
"""Variables as their heads lie in one product: all nodes have the first three, few the last."""


@compiled
def _sum(x: Array, start: int, bins: Ints, tables: Array) -> Array:
    """Columns ``start`` to ``start`` + H of rows (K, W), plus what ``tables`` (V, B, H) hold for bins (K, V)."""
    out = np.empty((len(x), tables.shape[2]), dtype=np.float32)
    for k in range(len(x)):
        for h in range(out.shape[1]):
            out[k, h] = x[k, start + h]
        for v in range(len(tables)):
            row = tables[v, bins[k, v]]
            for h in range(out.shape[1]):
                out[k, h] += row[h]
    return out


@compiled
def _pick_kind(logits: Array, counts: NDArray[np.uint8], u: Floats, counts_a: NDArray[np.uint8]) -> Ints:
    """Draws a token for A, into ``counts_a`` (K, S) of zeros; the rows where A is composite instead.

    Args:
        logits: (K, 1 + S) of composite (it needs four tokens) and of each species (one of ``counts`` (K, S)).
    """
    composite = np.empty(len(logits), np.int64)
    found, species = 0, counts.shape[1]
    weights = np.empty(1 + species)
    for k in range(len(logits)):
        n, top = 0, -np.inf
        for s in range(species):
            n += counts[k, s]
            if counts[k, s] > 0:
                top = max(top, logits[k, 1 + s])
        if n >= 4:
            top = max(top, logits[k, 0])
        weights[0] = exp(logits[k, 0] - top) if n >= 4 else 0.0
        total = weights[0]
        for s in range(species):
            weights[1 + s] = exp(logits[k, 1 + s] - top) if counts[k, s] > 0 else 0.0
            total += weights[1 + s]
        left, kind = u[k] * total, 0
        for s in range(1 + species):
            if weights[s] > 0:
                kind = s
                if left < weights[s]:
                    break
                left -= weights[s]
        if kind == 0:
            composite[found] = k
            found += 1
        else:
            counts_a[k, kind - 1] = 1
    return composite[:found]


Layer = Callable[[Tensor], Tensor]


def _layer(module: nn.Module) -> Layer:
    """The same function as the module's, on tensors of its weights' type: no hooks, in place where that is safe."""
    if isinstance(module, nn.Sequential):
        layers = [_layer(part) for part in module]

        def chain(x: Tensor) -> Tensor:
            for layer in layers:
                x = layer(x)
            return x

        return chain
    if isinstance(module, nn.Linear):
        weight, bias = module.weight, module.bias
        return lambda x: linear(x, weight, bias)
    if isinstance(module, nn.ReLU):
        return torch.relu_  # of a product that nothing else sees
    if isinstance(module, Plain):
        inner = _layer(module.linear)
        return lambda x: inner(x).relu_().add_(x)
    return module


@dataclass(frozen=True)
class Angles:
    """Densities of the angles of K splittings: ``cos`` (K, B) logits, ``phi`` (K, H) before the bin of cos is known."""

    cos: Array
    phi: Array
    table: Array
    output: Layer

    def rows(self, rows: Ints | slice) -> Angles:
        return Angles(self.cos[rows], self.phi[rows], self.table, self.output)


class SplittingSampler:
    """Draws from ``net`` with its weights in ``precision`` ("bfloat16" or "float32"), as they are now."""

    def __init__(self, net: SplittingNet, precision: str = "bfloat16") -> None:
        self.num_bins = net.num_bins
        self._net = copy.deepcopy(net).requires_grad_(False)
        self._dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        for weight in self._net.parameters():  # scales and edges stay as they are
            weight.data = weight.data.to(self._dtype)
        self._edges = net.edges.double().numpy()
        # what the bins of the variables before it add to a variable's head; m_B is the first
        self._tables = {v: np.stack([t.detach().float().numpy() for t in net.tables(v)]) for v in (1, 2, 3)}
        own, order = self._net, list(_ORDER)
        weights, biases = (
            own.heads.weight.view(NUM_VARIABLES, net.head_width, -1),
            own.heads.bias.view(NUM_VARIABLES, -1),
        )
        self._heads = weights[order].flatten(0, 1), biases[order].flatten()
        self._encode = _layer(nn.Sequential(own.embed, own.trunk))
        self._kind, self._mixture = _layer(own.kind), _layer(own.mixture)
        self._content, self._content_block = _layer(own.content), _layer(own.content_block)
        self._outputs = [_layer(output) for output in own.outputs]
        if own.pair is not None:
            pair = own.pair
            self._pair, self._cos, self._turn, self._phi = map(_layer, (pair.trunk, pair.cos, pair.turn, pair.phi))
            self._pair_table = pair.previous.weight.float().numpy()

    def _inputs(self, context: Array, counts: NDArray[np.uint8]) -> Tensor:
        return self._net.inputs(torch.from_numpy(context), torch.from_numpy(counts)).to(self._dtype)

    def encode(self, context: Array, counts: NDArray[np.uint8]) -> Tensor:
        """Hidden states (K, width) of nodes with the given context (K, F) and counts (K, S)."""
        return self._encode(self._inputs(context, counts))

    def content(
        self, hidden: Tensor, counts: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], Ints]:
        """Content of A (K, S) of nodes of three tokens or more, and the rows where A is composite."""
        logits = self._kind(hidden).float().numpy()
        counts_a = np.zeros_like(counts)
        both = _pick_kind(logits, counts, rng.random(len(counts)), counts_a)
        if len(both):
            out = self._mixture(hidden[padded(both)])[: len(both)].float()
            out = out.view(len(both), self._net.num_components, -1)
            weights = torch.softmax(out[..., 0], -1).numpy()
            counts_a[both] = share(weights, out[..., 1:].numpy(), counts[both], 2, rng, MAX_LOGIT)
        return counts_a, both

    def with_content(self, hidden: Tensor, counts: NDArray[np.uint8], counts_a: NDArray[np.uint8]) -> Tensor:
        """Hidden states (K, width) once the content of A is known."""
        features = self._net.content_features(torch.from_numpy(counts), torch.from_numpy(counts_a)).to(self._dtype)
        return self._content_block(self._content(features).add_(hidden))

    def heads(self, hidden: Tensor) -> Array:
        """Inputs (K, 3 H) of the densities of m_B, cos theta* and phi*."""
        rows = slice(3 * self._net.head_width)
        return linear(hidden, self._heads[0][rows], self._heads[1][rows]).float().numpy()

    def masses_b(self, heads: Array, rng: np.random.Generator) -> tuple[Ints, Floats]:
        """Bins and values (K,) of the variable of m_B."""
        return self._pick(np.ascontiguousarray(heads[:, : self._net.head_width]), 0, rng)

    def masses_a(self, hidden: Tensor, bins_b: Ints, rows: Ints, rng: np.random.Generator) -> tuple[Ints, Floats]:
        """Bins and values (R,) of the variable of m_A, of the ``rows`` (R,) of ``hidden`` (K, width)."""
        start, wide = 3 * self._net.head_width, padded(rows)
        heads = linear(hidden[wide], self._heads[0][start:], self._heads[1][start:]).float().numpy()
        bins, value = self._pick(_sum(heads, 0, bins_b[wide, None], self._tables[1]), 1, rng)
        return bins[: len(rows)], value[: len(rows)]

    def angles(self, heads: Array, bins: Ints) -> Angles:
        """Densities of the angles given the bins (K, 2) of m_B and m_A, ``num_bins`` where there is none."""
        width, phi = self._net.head_width, self._tables[3]
        cos = self._logits(_sum(heads, width, bins, self._tables[2]), self._outputs[2])
        return Angles(cos, _sum(heads, 2 * width, bins, phi[:2]), phi[2], self._outputs[3])

    def pair_angles(self, context: Array, counts: NDArray[np.uint8], counts_a: NDArray[np.uint8]) -> Angles:
        """Densities of the angles of nodes of two tokens."""
        if self._net.pair is None:
            hidden = self.with_content(self.encode(context, counts), counts, counts_a)
            return self.angles(self.heads(hidden), np.full((len(counts), 2), self.num_bins))
        hidden = self._pair(self._inputs(context, counts))
        cos, phi = self._cos(hidden).float().numpy(), self._turn(hidden).float().numpy()
        return Angles(cos, phi, self._pair_table, self._phi)

    def draw(self, angles: Angles, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """cos theta* and phi* (K,) from their densities."""
        bins, value = pick_bin(angles.cos, rng.random(len(angles.cos)), self._edges[2])
        turned = _sum(angles.phi, 0, bins[:, None], angles.table[None])
        phi = pick_bin(self._logits(turned, angles.output), rng.random(len(bins)), self._edges[3])[1]
        return np.tanh(value / 2), phi

    def _logits(self, head: Array, output: Layer) -> Array:
        wide = torch.zeros(padded_number(len(head)), head.shape[1], dtype=self._dtype)
        wide[: len(head)] = torch.from_numpy(head)
        return output(self._net.activation(wide, inplace=True))[: len(head)].float().numpy()

    def _pick(self, head: Array, variable: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
        logits = self._logits(head, self._outputs[variable])
        return pick_bin(logits, rng.random(len(logits)), self._edges[variable])
