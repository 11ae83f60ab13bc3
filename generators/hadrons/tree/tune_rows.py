"""The densities of splittings at many tunes, without gradients: what no tune changes is computed once.

All splittings are of the same tunes, so that a tune adds the same to the first layer of every row with the same gates;
what follows is computed anew for each tune. Rows are ordered so that what is free in them are slices, and blocks of
them are small enough for their hidden states to stay in the processor's cache.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear, relu, silu

from generators.hadrons.tree.inputs import COS_THETA, M_A, NUM_VARIABLES, PHI
from generators.hadrons.tree.sharing_density import Present

if TYPE_CHECKING:
    from generators.hadrons.tree.network import PairNet, Residual, SplittingNet, Splittings

_ROWS = 768
"""Splittings of a block."""


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
    by_type = net.mixture_by_type()
    # what a tune adds is the same for rows with the same gates
    kinds, kind = net.closed(context, batch.counts)[:, own], torch.zeros(len(batch), dtype=torch.int64)
    kinds, kind = torch.unique(kinds, dim=0, return_inverse=True) if net.gates is not None else (kinds[:1], kind)
    for number, closed in enumerate(kinds):
        others, seen = torch.nonzero(kind == number)[:, 0], steps.masked_fill(closed, 0.0)
        if net.pair is not None:
            of_pair, of_others = net.by_network(batch.rows(others))
            pairs, others = others[of_pair], others[of_others]
            moved = seen @ net.pair.trunk[0].get_parameter("weight")[:, own].T
            for rows in torch.split(pairs, _ROWS):
                of_pairs = _PairRows(net, net.pair, batch.rows(rows))
                for row, step in zip(total, moved, strict=True):
                    row[rows] = of_pairs.log_prob(step)
        moved = seen @ net.embed.weight[:, own].T
        for rows in torch.split(others, _ROWS):
            of_rows = _Rows(net, batch.rows(rows), by_type)
            rows = rows[of_rows.order]
            for row, step in zip(total, moved, strict=True):
                row[rows] = of_rows.log_prob(step)
    return total


class _PairRows:
    """Nodes of two tokens that have a network of their own: their densities for what a tune adds to its first layer."""

    def __init__(self, net: SplittingNet, pair: PairNet, batch: Splittings) -> None:
        bins = net.bins(batch.variables)
        self._net, self._cos, self._phi = pair, bins[:, COS_THETA, None], bins[:, PHI, None]
        enter, *rest = pair.trunk
        self._first, self._rest = enter(net.inputs(batch.context, batch.counts)), nn.Sequential(*rest)
        self._previous = pair.previous(bins[:, COS_THETA]) + pair.turn.bias
        log_widths = net.log_widths()
        self._constant = -log_widths[COS_THETA][bins[:, COS_THETA]] - log_widths[PHI][bins[:, PHI]]

    def log_prob(self, step: Tensor) -> Tensor:
        """Compute the log-densities (K,) for what a tune adds, (W,)."""
        hidden = self._rest(self._first + step)
        given = relu(torch.addmm(self._previous, hidden, self._net.turn.weight.T))
        return self._constant + _chosen(self._net.cos(hidden), self._cos) + _chosen(self._net.phi(given), self._phi)


class _Rows:
    """Other nodes, in the order in which their densities are returned.

    Attributes:
        order: of the nodes that were given, (K,): those of two composite children first, those of two tokens last.
    """

    def __init__(self, net: SplittingNet, batch: Splittings, by_type: tuple[Tensor, Tensor]) -> None:
        sizes, bins = batch.counts.sum(-1, dtype=torch.int32), net.bins(batch.variables)
        rank = (sizes > 2).int() + net.is_shared(sizes) + (bins[:, M_A] < net.num_bins)
        self.order = torch.argsort(rank, descending=True, stable=True)
        batch, bins, sizes = batch.rows(self.order), bins[self.order], sizes[self.order]
        self._net, self._by_type = net, by_type
        # where a variable is free: the first rows
        self._num_free = [int((bins[:, k] < net.num_bins).sum()) for k in range(NUM_VARIABLES)]
        assert all(bool((bins[:n, k] < net.num_bins).all()) for k, n in enumerate(self._num_free))
        log_widths, self._constant = net.log_widths(), torch.zeros(len(batch))
        self._chosen, self._added = [], []
        for k, num in enumerate(self._num_free):
            self._constant[:num] -= log_widths[k][bins[:num, k]]
            self._chosen.append(bins[:num, k, None])
            added = net.heads.bias[k * net.head_width : (k + 1) * net.head_width].expand(num, -1)
            for earlier, table in enumerate(net.tables(k)):
                added = added + embedding(bins[:num, earlier], table)
            self._added.append(added)
        self._first = net.first(batch.context, batch.counts)
        self._content = net.of_content(batch.counts, batch.counts_a, batch.least)
        self._more, shared = int((sizes > 2).sum()), int(net.is_shared(sizes).sum())
        counts, counts_a = batch.counts[: self._more], batch.counts_a[: self._more]
        self._allowed = net.allowed_kinds(counts)
        self._kind = 1 + counts_a.int().argmax(-1, keepdim=True).long()
        self._alone = counts_a.sum(-1, dtype=torch.int32) == 1
        self._present = Present(counts[:shared], counts_a[:shared], batch.context[:shared, net.carrier])
        begin = net.normalised
        self._begin = None if begin is None else _Beginning(begin, self._first)
        self._rest = nn.Sequential(*list(net.trunk)[0 if begin is None else 1 :])

    def log_prob(self, step: Tensor) -> Tensor:
        """Compute the log-densities (K,) for what a tune adds, (W,)."""
        net, total = self._net, self._constant.clone()
        hidden = self._rest(self._first + step if self._begin is None else self._begin.after(step))
        more, shared = slice(self._more), slice(len(self._present))
        logits = net.kind(hidden[more]).masked_fill_(~self._allowed, -torch.inf)
        kinds = torch.log_softmax(logits, -1)
        content = kinds.gather(1, self._kind)[:, 0].masked_fill_(~self._alone, -torch.inf)
        of_mixture = net.log_content(hidden[shared], self._present, self._by_type) + kinds[shared, 0]
        content[shared] = torch.logaddexp(content[shared], of_mixture)
        total[more] += content
        hidden = net.content_block(hidden + self._content)
        for k, num in enumerate(self._num_free):
            weight = net.heads.weight[k * net.head_width : (k + 1) * net.head_width]
            x = net.activation(torch.addmm(self._added[k], hidden[:num], weight.T))
            total[:num] += _chosen(net.outputs[k](x), self._chosen[k])
        return total


class _Beginning:
    """The first residual block, of rows to which the same is added: x + W2 silu(W1 norm(x)) for x = row + step.

    W1 norm(x) is W1 applied to the row and to the step, each less its mean, over the deviation of their sum: the
    product with the rows is that of all steps.
    """

    def __init__(self, block: Residual, rows: Tensor) -> None:
        self._block, self._rows, self._width = block, rows, rows.shape[1]
        self._centred = rows - rows.mean(1, keepdim=True)
        self._weight = block.inner.weight * block.norm.weight
        self._product = linear(self._centred, self._weight)
        self._shift = linear(block.norm.bias, block.inner.weight, block.inner.bias)
        self._variance = (self._centred**2).mean(1) + block.norm.eps

    def after(self, step: Tensor) -> Tensor:
        """Compute the hidden states (K, W) after the block for a step (W,)."""
        own = step - step.mean()
        variance = self._variance + torch.mv(self._centred, own) * (2 / self._width) + (own**2).mean()
        inner = torch.addcmul(self._shift, self._product + self._weight @ own, variance.rsqrt()[:, None])
        result: Tensor = self._rows + step + self._block.outer(silu(inner, inplace=True))
        return result


def _chosen(logits: Tensor, chosen: Tensor) -> Tensor:
    """Compute the log-probabilities (K,) of choices (K, 1) with logits (K, B)."""
    return torch.log_softmax(logits, -1).gather(1, chosen)[:, 0]


__all__ = ["log_probs"]
