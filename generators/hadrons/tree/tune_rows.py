"""The densities of splittings at many tunes, without gradients: what no tune changes is computed once.

All splittings are of the same tunes, so that a tune adds the same to the first layer of every row with the same gates;
what follows is computed anew for each tune, by compiled functions (:mod:`generators.hadrons.tree.row_kernels`). Rows
are ordered so that what is free in them are slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import linear

from generators.hadrons.tree.inputs import COS_THETA, M_A, NUM_VARIABLES, PHI
from generators.hadrons.tree.row_kernels import PairWeights, Rows, RowWeights, other_rows, pair_rows
from generators.hadrons.tree.sharing_density import Present

if TYPE_CHECKING:
    from generators.hadrons.tree.network import PairNet, SplittingNet, Splittings

Array = NDArray[np.float32]
_ROWS = 8192
"""Splittings that are prepared at once."""
_BLOCK = 256
"""Splittings that go through the networks at once: hidden states stay in the processor's cache."""


@torch.no_grad()
def log_probs(net: SplittingNet, batch: Splittings, tunes: Tensor) -> Tensor:
    """Compute the log-densities (V, K) of splittings at several tunes: what ``net.log_prob`` gives at each.

    Args:
        net: the network.
        batch: K splittings; the last P columns of their context are not looked at.
        tunes: values of these columns, (V, P).
    """
    width = batch.context.shape[1]
    own = slice(width - tunes.shape[1], width)
    context = batch.context.clone()
    context[:, own] = net.mean[own]
    batch, steps = replace(batch, context=context), (tunes - net.mean[own]) / net.std[own]
    total = torch.empty(len(tunes), len(batch))
    weights, of_pairs = _row_weights(net), None if net.pair is None else _pair_weights(net.pair)
    # what a tune adds is the same for rows with the same gates
    kinds, kind = kinds_of(net.closed(context, batch.counts)[:, own], net.gates is not None)
    for number, closed in enumerate(kinds):
        others = torch.nonzero(kind == number)[:, 0]
        # tunes that add the same are one
        seen, tune = _distinct(steps.masked_fill(closed, 0.0))
        if net.pair is not None and of_pairs is not None:
            of_pair, of_others = net.by_network(batch.rows(others))
            pairs, others = others[of_pair], others[of_others]
            moved = seen @ net.pair.trunk[0].get_parameter("weight")[:, own].T
            for rows in torch.split(pairs, _ROWS):
                total[:, rows] = _PairRows(net, net.pair, batch.rows(rows)).log_probs(of_pairs, moved)[tune]
        moved = seen @ net.embed.weight[:, own].T
        for rows in torch.split(others, _ROWS):
            of_rows = _Rows(net, batch.rows(rows))
            total[:, rows[of_rows.order]] = of_rows.log_probs(weights, moved)[tune]
    return total


def kinds_of(closed: Tensor, gated: bool) -> tuple[Tensor, Tensor]:
    """Return the different rows (D, P) of booleans (K, P), and which of them each row is, (K,)."""
    if not gated or not len(closed):
        return closed[:1], torch.zeros(len(closed), dtype=torch.int64)
    power = 2 ** torch.arange(closed.shape[1])
    codes, kind = torch.unique((closed * power).sum(1), return_inverse=True)
    return (codes[:, None] & power) > 0, kind


def _distinct(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the different rows (D, P) of numbers (V, P), and which of them each row is, (V,)."""
    if not rows.shape[1]:  # of a model without tunes
        return rows[:1], torch.zeros(len(rows), dtype=torch.int64)
    distinct, which = torch.unique(rows, dim=0, return_inverse=True)
    return distinct, which


_Layer = tuple[Tensor, Tensor]
"""Weights (..., O, I) and biases (..., O) of a linear layer, or of several."""


def _array(x: Tensor) -> Array:
    """Return numbers as an array in one piece."""
    return x.detach().float().contiguous().numpy()


def _arrays(layer: _Layer) -> tuple[Array, Array]:
    """Return weights (..., I, O) and biases (..., O) as arrays in one piece."""
    return _array(layer[0].transpose(-1, -2)), _array(layer[1])


def _of(layer: nn.Linear) -> _Layer:
    return layer.weight, layer.bias


def _after(norm: nn.LayerNorm, layer: _Layer) -> _Layer:
    """Return a layer that follows a normalisation, for what this gives without its own scales and shifts."""
    return layer[0] * norm.weight, layer[1] + layer[0] @ norm.bias


def _stacked(layers: Sequence[_Layer], width: int) -> tuple[Array, Array]:
    """Return :func:`_arrays` of layers of one width, none or more."""
    weights, biases = torch.zeros(len(layers), width, width), torch.zeros(len(layers), width)
    for number, (weight, bias) in enumerate(layers):
        weights[number], biases[number] = weight, bias
    return _arrays((weights, biases))


def _row_weights(net: SplittingNet) -> RowWeights:
    """Return the weights of the network of nodes that have none of their own."""
    width, num = net.embed.out_features, net.num_components
    of_types, types_bias = net.mixture_by_type()  # (1 + T, W, C), (1 + T, C)
    mixture = of_types.transpose(1, 2), types_bias
    balance = net.balance.weight.view(num, -1, width).transpose(0, 1), net.balance.bias.view(num, -1).T
    known = [_of(net.kind), mixture, balance]
    heads: _Layer = (net.heads.weight, net.heads.bias)
    scale, more = torch.ones(width), np.zeros(0, np.float32)
    trunk: Any = list(net.trunk)
    content: Any = list(net.content_block)
    if net.normalised is None:
        inner, outer = [_of(block.linear) for block in trunk[1:]], []
        of_content = [_of(content[0]), _of(content[2].linear)]
    else:
        *blocks, last = trunk
        block, end = content
        inner = [_after(each.norm, _of(each.inner)) for each in blocks[1:]]
        outer = [_of(each.outer) for each in blocks]
        of_content = [_after(block.norm, _of(block.inner)), _of(block.outer)]
        known, heads, scale = [_after(last, layer) for layer in known], _after(end, heads), last.weight
        norms = [*(each.norm for each in blocks[1:]), last, block.norm, end]
        more = np.array([norm.eps for norm in norms], np.float32)
    kind, mixture, balance = known
    flat = torch.cat([mixture[0][:1], balance[0]]).flatten(0, 1), torch.cat([mixture[1][:1], balance[1]]).flatten()
    by_variable = heads[0].view(NUM_VARIABLES, -1, width), heads[1].view(NUM_VARIABLES, -1)
    layers: Any = list(net.outputs)
    outputs = torch.stack([each.weight for each in layers]), torch.stack([each.bias for each in layers])
    return RowWeights(
        net.normalised is None,
        more,
        *_stacked(inner, width),
        *_stacked(outer, width),
        *_arrays(kind),
        *_arrays(flat),
        *_arrays((mixture[0][1:], mixture[1][1:])),
        _array(scale),
        *_stacked(of_content, width),
        *_arrays(by_variable),
        *_arrays(outputs),
    )


def _pair_weights(net: PairNet) -> PairWeights:
    """Return the weights of a network of nodes of two tokens."""
    blocks: Any = list(net.trunk)[2:]
    stacked = _stacked([_of(block.linear) for block in blocks], net.turn.in_features)
    return PairWeights(*stacked, *(each for layer in (net.cos, net.turn, net.phi) for each in _arrays(_of(layer))))


class _PairRows:
    """Nodes of two tokens that have a network of their own: their densities for what a tune adds to its first layer."""

    def __init__(self, net: SplittingNet, pair: PairNet, batch: Splittings) -> None:
        bins = net.bins(batch.variables)
        self._bins = np.ascontiguousarray(bins.numpy().T)
        self._first = _array(pair.trunk[0](net.inputs(batch.context, batch.counts)))
        self._previous = _array(pair.previous(bins[:, COS_THETA]))
        log_widths = net.log_widths()
        self._constant = -log_widths[COS_THETA][bins[:, COS_THETA]] - log_widths[PHI][bins[:, PHI]]

    def log_probs(self, weights: PairWeights, steps: Tensor) -> Tensor:
        """Compute the log-densities (V, K) for what tunes add, (V, W)."""
        total = self._constant.repeat(len(steps), 1)
        pair_rows(weights, self._first, self._previous, self._bins, _BLOCK, _array(steps), total.numpy())
        return total


class _Rows:
    """Other nodes, in the order in which their densities are returned.

    W1 norm(x) of the first block, x = row + step, is W1 applied to the row and to the step, each less its mean, over
    the deviation of their sum: the product with the rows is that of all steps.

    Attributes:
        order: of the nodes that were given, (K,): those of two composite children first, those of two tokens last.
    """

    def __init__(self, net: SplittingNet, batch: Splittings) -> None:
        sizes, bins = batch.counts.sum(-1, dtype=torch.int32), net.bins(batch.variables)
        rank = (sizes > 2).int() + net.is_shared(sizes) + (bins[:, M_A] < net.num_bins)
        self.order = torch.argsort(rank, descending=True, stable=True)
        batch, bins, sizes = batch.rows(self.order), bins[self.order], sizes[self.order]
        # where a variable is free: the first rows
        num_free = [int((bins[:, k] < net.num_bins).sum()) for k in range(NUM_VARIABLES)]
        assert all(bool((bins[:n, k] < net.num_bins).all()) for k, n in enumerate(num_free))
        log_widths, self._constant, added = net.log_widths(), torch.zeros(len(batch)), []
        for k, num in enumerate(num_free):
            self._constant[:num] -= log_widths[k][bins[:num, k]]
            of_bins = torch.zeros(num, net.head_width)
            for earlier, table in enumerate(net.tables(k)):
                of_bins += table[bins[:num, earlier]]
            added.append(of_bins)
        first, norm = net.first(batch.context, batch.counts), net.normalised
        self._block, self._centred = norm, first - first.mean(1, keepdim=True)
        product, shift = first, torch.zeros(first.shape[1])
        content = net.of_content(batch.counts, batch.counts_a, batch.least)
        if norm is not None:
            product = linear(self._centred, norm.inner.weight * norm.norm.weight)
            shift = linear(norm.norm.bias, norm.inner.weight, norm.inner.bias)
            content = content + net.trunk[-1].get_parameter("bias")
        num_more, num_shared = int((sizes > 2).sum()), int(net.is_shared(sizes).sum())
        counts, counts_a = batch.counts[:num_more], batch.counts_a[:num_more]
        present = Present(counts, counts_a, batch.context[:num_more, net.carrier])
        self._rows = Rows(
            _array(first),
            _array(product),
            _array(shift),
            num_more,
            num_shared,
            present.start,
            present.rows,
            present.types,
            present.by_type(num_shared, _BLOCK),
            present.every,
            present.chosen,
            present.shift,
            present.choose,
            present.alone,
            1 + counts_a.numpy().argmax(-1),
            _array(content),
            np.array(num_free),
            _array(torch.cat(added)),
            np.ascontiguousarray(bins.numpy().T),
        )

    def log_probs(self, weights: RowWeights, steps: Tensor) -> Tensor:
        """Compute the log-densities (V, K) for what tunes add, (V, W)."""
        total, moved = self._constant.repeat(len(steps), 1), torch.zeros_like(steps)
        scales = torch.zeros(len(steps), len(self.order) if self._block is not None else 0)
        if self._block is not None:
            own = steps - steps.mean(1, keepdim=True)
            moved = own @ (self._block.inner.weight * self._block.norm.weight).T
            variance = (self._centred**2).mean(1) + self._block.norm.eps
            variance = variance + (own @ self._centred.T) * (2 / own.shape[1]) + (own**2).mean(1, keepdim=True)
            scales = variance.rsqrt()
        given = _array(steps), _array(moved), _array(scales)
        other_rows(weights, self._rows, _BLOCK, *given, total.numpy())
        return total


__all__ = ["kinds_of", "log_probs"]
