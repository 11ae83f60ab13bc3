"""Draws from a :class:`generators.hadrons.tree.network.SplittingNet`, as fast as a processor allows and without torch.

Networks are compiled, in float32, and so are the draws between them. :mod:`generators.hadrons.tree.torch_sampler` has
torch compute the networks, which is faster where rows are many and networks wide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled, compiled_sums
from fastsim.event import Floats, Ints
from generators.hadrons.tree.context import CARRIER_NUMBERS
from generators.hadrons.tree.inputs import NO_GATES, NUM_VARIABLES, PAIRS, content_inputs, node_inputs
from generators.hadrons.tree.sharing import NUM_NUMBERS, share
from generators.nn.compiled_network import (
    RELU,
    SILU,
    CompiledNetwork,
    Step,
    Weights,
    activation,
    around,
    layer_norm,
    linear,
    linear_step,
    part,
)
from generators.nn.sampling import pick_bin, pick_logits

Array = NDArray[np.float32]
Bits = NDArray[np.uint16] | NDArray[np.uint32]
_ORDER = (0, 2, 3, 1)
"""Variables as their heads lie in one product: all nodes have the first three, few the last."""


@compiled
def _add_rows(
    heads: Bits,
    start: int,
    bins: Ints,
    tables: Array,
    shift: int,
    bits: NDArray[np.uint32],
    value: Array,
    out: Bits,
) -> None:
    """Add to H columns of ``heads`` (K, W), from ``start`` on, the rows of ``tables`` (V, B, H) for ``bins`` (K, V).

    The sums fill the first K rows of ``out`` (P, H). Numbers of ``heads`` and ``out`` are the upper bits of float32
    ones, shifted down by ``shift``: 16 for bfloat16, which numpy does not have, 0 for float32. ``bits`` and ``value``
    (H,) are the working memory of one row, the same memory seen as bits and as float32 numbers.
    """
    # unsigned: no index counts from the end, and lanes run in parallel
    width, first, by = np.uintp(out.shape[1]), np.uintp(start), np.uint32(shift)
    half, one = np.uint32((1 << shift) >> 1), np.uint32(1)
    for k in range(len(bins)):
        for h in range(width):
            bits[h] = np.uint32(heads[k, first + h]) << by
        for v in range(len(tables)):
            b = bins[k, v]
            for h in range(width):
                value[h] += tables[v, b, h]
        if shift:  # to the nearest, ties to even
            for h in range(width):
                out[k, h] = (bits[h] + (half - one) + ((bits[h] >> by) & one)) >> by
        else:
            for h in range(width):
                out[k, h] = bits[h]


@compiled
def _pick_kind(
    logits: Array, counts: NDArray[np.uint8], u: Floats, weights: Floats, counts_a: NDArray[np.uint8], composite: Ints
) -> int:
    """Draw whether A is a token of some species or composite; return how many rows are composite.

    Args:
        logits: (K, 1 + S) of composite (the node needs four tokens) and of each species (the node needs one of it);
        counts: (K, S) tokens of the nodes; u: (K,) uniform; weights: (1 + S,) working memory; counts_a: (K, S) of
            zeros, to which the tokens are added; composite: (K,) to fill with the rows where A is composite.
    """
    num_composite, species = 0, counts.shape[1]
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
            composite[num_composite] = k
            num_composite += 1
        else:
            counts_a[k, kind - 1] = 1
    return num_composite


@compiled_sums
def _of_component(
    hidden: Array,
    component: Ints,
    counts: NDArray[np.uint8],
    weight: Array,
    bias: Array,
    balance_weight: Array,
    balance_bias: Array,
    logits: Array,
    balance: Array,
) -> None:
    """Compute what one component of the mixture of contents says of a node: the types that it has, and balances.

    Args:
        hidden: hidden states, (K, width) or more rows.
        component: of each node, (K,).
        counts: tokens of the nodes, (K, S).
        weight, bias: of the base log-odds, (C, S, width) and (C, S).
        balance_weight, balance_bias: of the balances, (C, 6, width) and (C, 6).
        logits: (K, 1, S) to fill where a node has tokens; balance: (K, 1, 6) to fill.
    """
    for k in range(len(component)):
        c = component[k]
        for s in range(counts.shape[1]):
            if counts[k, s] > 0:
                total = np.float32(0)
                for i in range(hidden.shape[1]):
                    total += hidden[k, i] * weight[c, s, i]
                logits[k, 0, s] = total + bias[c, s]
        for j in range(balance.shape[2]):
            total = np.float32(0)
            for i in range(hidden.shape[1]):
                total += hidden[k, i] * balance_weight[c, j, i]
            balance[k, 0, j] = total + balance_bias[c, j]


@compiled
def _settle(part: NDArray[np.uint8], counts: NDArray[np.uint8], rows: Ints, counts_a: NDArray[np.uint8]) -> int:
    """Put parts of the tokens of nodes into ``counts_a``, and say for how many nodes both children are composite.

    Args:
        part, counts: (R, S) tokens of the parts and of the nodes; rows: (R,) places of the nodes in ``counts_a``, of
            which those of two composite children come first afterwards; counts_a: (K, S).
    """
    num = 0
    for r in range(len(rows)):
        size, rest, k = 0, 0, rows[r]
        for s in range(counts.shape[1]):
            size += part[r, s]
            rest += counts[r, s] - part[r, s]
        # a single token is A, on whichever side it was drawn
        for s in range(counts.shape[1]):
            counts_a[k, s] = counts[r, s] - part[r, s] if rest == 1 else part[r, s]
        if min(size, rest) > 1:
            rows[num] = k
            num += 1
    return num


Layer = Callable[[Any], Any]


def _residual(weights: Weights, name: str) -> list[Step]:
    """Return the steps of a block :class:`generators.hadrons.tree.network.Residual`."""
    inner, outer = linear(weights, f"{name}.inner"), linear(weights, f"{name}.outer")
    return around([*layer_norm(weights, f"{name}.norm"), *inner, *activation(SILU), *outer])


def _plain(weights: Weights, name: str) -> list[Step]:
    """Return the steps of a block :class:`generators.hadrons.tree.network.Plain`."""
    return around([*linear(weights, f"{name}.linear"), *activation(RELU)])


def _sequence(weights: Weights, name: str) -> list[Step]:
    """Return the steps of linear layers, blocks and normalisations in sequence; what has no weights is a ReLU."""
    steps: list[Step] = []
    for place in range(1 + max(int(key.split(".")[0]) for key in part(weights, name))):
        own = f"{name}.{place}"
        if f"{own}.linear.weight" in weights:
            steps += _plain(weights, own)
        elif f"{own}.norm.weight" in weights:
            steps += _residual(weights, own)
        elif f"{own}.weight" not in weights:
            steps += activation(RELU)
        else:
            steps += (linear if weights[f"{own}.weight"].ndim == 2 else layer_norm)(weights, own)
    return steps


@dataclass(frozen=True)
class Angles:
    """Densities of the angles of K splittings.

    Attributes:
        cos: (K, B) logits of the bins of cos theta*.
        heads, start: (K, W), of which H columns from ``start`` on are the input of the density of phi*.
        bins: (K, V - 1) of the variables before cos theta*.
        tables: (V, B, H) of what each bin of each variable before phi* adds to that input.
        through: the layers from there to the logits of the bins of phi*.
    """

    cos: Array
    heads: Bits
    start: int
    bins: Ints
    tables: Array
    through: Layer

    def head(self, num: int) -> Angles:
        """Return the densities of the first splittings."""
        return self if num == len(self.cos) else self.rows(slice(num))

    def rows(self, rows: Ints | slice) -> Angles:
        """Return the densities of some of the splittings."""
        return replace(self, cos=self.cos[rows], heads=self.heads[rows], bins=self.bins[rows])


class CompiledSampler:
    """Draws splittings.

    Args:
        weights: of the :class:`~generators.hadrons.tree.network.SplittingNet`, by name.
    """

    def __init__(self, weights: Weights) -> None:
        self._mean, self._std, self._edges = weights["mean"], weights["std"], weights["edges"].astype(np.float64)
        self._gates = weights.get("gates", NO_GATES)
        self.num_bins, self.head_width = self._edges.shape[1] - 1, len(weights["heads.weight"]) // NUM_VARIABLES
        # what the bins of the variables before it add to a variable's head; m_B is the first
        tables: dict[int, list[Array]] = {v: [] for v in range(NUM_VARIABLES)}
        for k, (_, variable) in enumerate(PAIRS):
            tables[variable].append(weights[f"previous.{k}.weight"])
        self._tables = {v: np.stack(each) for v, each in tables.items() if each}
        self._tables[0] = np.empty((0, 1, self.head_width), np.float32)
        self._encode = self._function(linear(weights, "embed") + _sequence(weights, "trunk"))
        self._kind, self._content = (self._function(linear(weights, name)) for name in ("kind", "content"))
        self._content_block = self._function(_sequence(weights, "content_block"))
        # the weights of the mixture's components are drawn from first; of the rest, what is drawn is computed
        of_component = [weights[f"{name}.{kind}"] for name in ("mixture", "balance") for kind in ("weight", "bias")]
        num = len(of_component[3]) // (2 * NUM_NUMBERS)
        mixture, offset, balance, shift = (x.reshape(num, -1, *x.shape[1:]) for x in of_component)
        self._weights = self._function([linear_step(mixture[:, 0], offset[:, 0])])
        of_types = np.ascontiguousarray(mixture[:, 1:]), np.ascontiguousarray(offset[:, 1:])
        self._components = *of_types, balance, shift
        heads = weights["heads.weight"].reshape(NUM_VARIABLES, self.head_width, -1), weights["heads.bias"]
        self._first_heads, self._last_head = (
            self._function(
                [linear_step(np.concatenate(heads[0][rows]), heads[1].reshape(NUM_VARIABLES, -1)[rows].ravel())]
            )
            for rows in (list(_ORDER[:-1]), list(_ORDER[-1:]))
        )
        # plain networks begin their trunk with a ReLU, which has no weights
        own = activation(RELU if not part(weights, "trunk.0") else SILU)
        self._outputs = [self._function(own + linear(weights, f"outputs.{v}")) for v in range(NUM_VARIABLES)]
        self._has_pair = "pair.cos.weight" in weights
        if self._has_pair:
            self._pair, self._cos = (
                self._function(_sequence(weights, "pair.trunk")),
                self._function(linear(weights, "pair.cos")),
            )
            self._turn = self._function(linear(weights, "pair.turn"))
            self._phi = self._function(activation(RELU) + linear(weights, "pair.phi"))
            self._pair_table = weights["pair.previous.weight"][None]

    shift = 0
    """How far the upper bits of float32 numbers are shifted down in what networks take and give: see ``_add_rows``."""

    def _function(self, steps: Sequence[Step]) -> Layer:
        """Return what steps do to rows."""
        return CompiledNetwork(steps)

    def _rows(self, x: Array) -> Any:
        """Return rows as the functions take them."""
        return x

    def _floats(self, x: Any) -> Array:
        """Return what a function gave as float32 numbers."""
        result: Array = x
        return result

    def padded(self, rows: Ints) -> Ints:
        """Return rows (K,) as the functions should get them, perhaps with repeated ones at the end."""
        return rows

    def _as_bits(self, x: Any) -> Bits:
        bits: Bits = x.view(np.uint32)
        return bits

    def _empty(self, num: int, width: int) -> Any:
        """Return memory for the inputs of ``num`` rows, or some more."""
        return np.empty((num, width), np.float32)

    def _inputs(self, context: Array, counts: NDArray[np.uint8]) -> Any:
        return self._rows(node_inputs(context, counts, self._mean, self._std, self._gates))

    def encode(self, context: Array, counts: NDArray[np.uint8]) -> Any:
        """Return hidden states (K, width) of nodes with the given context (K, F) and counts (K, S)."""
        return self._encode(self._inputs(context, counts))

    def content(
        self, hidden: Any, context: Array, counts: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], Ints]:
        """Draw the content of A (K, S) for nodes of three tokens or more; return it and the rows of composite A."""
        logits = self._floats(self._kind(hidden))
        counts_a = np.zeros_like(counts)
        both, weights = np.empty(len(counts), np.int64), np.empty(logits.shape[1])
        both = both[: _pick_kind(logits, counts, rng.random(len(counts)), weights, counts_a, both)]
        if len(both):
            own = hidden[self.padded(both)]
            odds = self._floats(self._weights(own))
            components = pick_logits(odds[: len(both)], rng.random(len(both)))
            inner, shared = self._floats(own), counts[both]
            of_types = np.empty((len(both), 1, shared.shape[1]), np.float32)
            balance = np.empty((len(both), 1, 2 * NUM_NUMBERS), np.float32)
            weight, bias, of_balance, balance_bias = self._components
            _of_component(inner, components, shared, weight, bias, of_balance, balance_bias, of_types, balance)
            one = np.ones((len(both), 1), np.float32)
            part = share(one, of_types, balance, shared, context[both, CARRIER_NUMBERS], rng)
            both = both[: _settle(part, shared, both, counts_a)]
        return counts_a, both

    def with_content(self, hidden: Any, counts: NDArray[np.uint8], counts_a: NDArray[np.uint8], least: Floats) -> Any:
        """Return hidden states (K, width) once the content of A, and the least masses (K, 2) of A and B, are known."""
        inner = self._content(self._rows(content_inputs(counts, counts_a, least.astype(np.float32))))
        inner += hidden
        return self._content_block(inner)

    def heads(self, hidden: Any) -> Bits:
        """Return the inputs (K, 3 H) of the densities of m_B, cos theta* and phi*."""
        return self._as_bits(self._first_heads(hidden))

    def masses_b(self, heads: Bits, rng: np.random.Generator) -> tuple[Ints, Floats]:
        """Draw bins and values (K,) of the variable of m_B."""
        return self._pick(self._logits(heads, 0, np.empty((len(heads), 0), np.int64), 0), 0, rng)

    def masses_a(self, hidden: Any, bins_b: Ints, rows: Ints, rng: np.random.Generator) -> tuple[Ints, Floats]:
        """Draw bins and values (R,) of the variable of m_A, for the ``rows`` (R,) of ``hidden`` (K, width)."""
        heads = self._as_bits(self._last_head(hidden[self.padded(rows)]))
        return self._pick(self._logits(heads, 0, bins_b[rows, None], 1), 1, rng)

    def angles(self, heads: Bits, bins: Ints) -> Angles:
        """Return densities of the angles given bins (K, 2) of m_B and m_A, ``num_bins`` where the child is a token."""
        width = self.head_width
        cos = self._logits(heads, width, bins, 2)
        return Angles(cos, heads, 2 * width, bins, self._tables[3], self._outputs[3])

    def pair_angles(
        self, context: Array, counts: NDArray[np.uint8], counts_a: NDArray[np.uint8], least: Floats
    ) -> Angles:
        """Return densities of the angles of nodes of two tokens."""
        if not self._has_pair:
            hidden = self.with_content(self.encode(context, counts), counts, counts_a, least)
            return self.angles(self.heads(hidden), np.full((len(counts), 2), self.num_bins))
        hidden = self._pair(self._inputs(context, counts))
        cos, heads = self._floats(self._cos(hidden)), self._as_bits(self._turn(hidden))
        return Angles(cos, heads, 0, np.empty((len(cos), 0), np.int64), self._pair_table, self._phi)

    def draw(self, angles: Angles, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw cos theta* and phi* (K,) from their densities."""
        bins, value = self._pick(angles.cos, 2, rng)
        known = np.concatenate([angles.bins, bins[:, None]], axis=1)
        logits = self._through(angles.through, angles.heads, angles.start, known, angles.tables)
        return np.tanh(value / 2), self._pick(logits, 3, rng)[1]

    def _logits(self, heads: Bits, start: int, bins: Ints, variable: int) -> Array:
        return self._through(self._outputs[variable], heads, start, bins, self._tables[variable])

    def _through(self, layers: Layer, heads: Bits, start: int, bins: Ints, tables: Array) -> Array:
        """Return logits (K, B) of a variable from its head, given the ``bins`` (K, V) of the variables before it."""
        wide = self._empty(len(bins), tables.shape[2])
        out, bits = self._as_bits(wide), np.empty(tables.shape[2], np.uint32)
        _add_rows(heads, start, bins, tables, self.shift, bits, bits.view(np.float32), out)
        out[len(bins) :] = 0
        return self._floats(layers(wide)[: len(bins)])

    def _pick(self, logits: Array, variable: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
        return pick_bin(logits, rng.random(len(logits)), self._edges[variable])
