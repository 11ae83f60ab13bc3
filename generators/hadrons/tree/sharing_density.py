"""The density of how the tokens of a node are shared between its children (:mod:`generators.hadrons.tree.sharing`)."""

from __future__ import annotations

from math import exp, lgamma, log
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastsim.compiled import compiled, compiled_inside, compiled_sums_inside
from fastsim.event import Floats, Ints
from generators.hadrons.tree.sharing import MAX_LOGIT, NUM_NUMBERS, ORDER, TYPE_NUMBERS
from generators.nn.compiled_network import dense
from generators.nn.elementary import exponential, logarithm

PARTS = 4
"""Parts of a node's tokens whose probabilities matter: A, what it leaves, nothing, everything."""
_ZERO, _ONE, _MAX_LOGIT, _MOST_OUTSIDE = np.float32(0), np.float32(1), np.float32(MAX_LOGIT), np.float32(1 - 1e-6)


@compiled
def _log_part_and_slopes(
    logits: NDArray[np.float32],
    balance: NDArray[np.float32],
    counts: NDArray[np.uint8],
    part: NDArray[np.uint8],
    carrier: NDArray[np.float32],
    numbers: Floats,
    order: NDArray[np.int64],
    log_prob: NDArray[np.float32],
    of_logits: NDArray[np.float32],
    of_balance: NDArray[np.float32],
) -> None:
    """Fill the components' log-probabilities (K, C) of parts (K, T), without binomial coefficients, and derivatives.

    ``of_logits`` (K, C, T) and ``of_balance`` (K, C, 6), both zeros, take the derivatives by the base log-odds and by
    the balances. Types that a node has not cost nothing: they are most.
    """
    q = np.empty((2, 3))
    for k in range(len(counts)):
        q[:] = 0.0
        log_prob[k] = 0.0
        for i in range(len(order)):
            t = order[i]
            number, chosen = int(counts[k, t]), int(part[k, t])
            if number == 0:
                continue
            for c in range(logits.shape[1]):
                odds = float(logits[k, c, t])
                for j in range(3):
                    shift = balance[k, c, j] * q[0, j] - balance[k, c, 3 + j] * q[1, j]
                    odds -= numbers[t, j] * shift
                limited = min(max(odds, -MAX_LOGIT), MAX_LOGIT)
                power = exp(-abs(limited))
                log_prob[k, c] += chosen * limited - number * (max(limited, 0.0) + log(1 + power))
                if limited == odds:
                    p = 1 / (1 + power) if odds > 0 else power / (1 + power)
                    slope = chosen - number * p
                    of_logits[k, c, t] = slope
                    for j in range(3):
                        of_balance[k, c, j] -= slope * numbers[t, j] * q[0, j]
                        of_balance[k, c, 3 + j] += slope * numbers[t, j] * q[1, j]
            for j in range(3):
                of_one = carrier[k, j] if t == 0 else numbers[t, j]
                q[0, j] += chosen * of_one
                q[1, j] += (number - chosen) * of_one


class _LogPart(torch.autograd.Function):
    """The components' log-probabilities (K, C) of parts, without binomial coefficients."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, balance: Tensor, counts: Tensor, part: Tensor, carrier: Tensor) -> Tensor:
        """Compute the log-probabilities and their derivatives."""
        result = torch.empty(logits.shape[:2])
        slopes = torch.zeros_like(logits), torch.zeros_like(balance)
        own = [x.detach().contiguous().numpy() for x in (logits, balance, counts, part, carrier)]
        inputs = own[0], own[1], own[2], own[3], own[4], TYPE_NUMBERS, ORDER
        _log_part_and_slopes(*inputs, result.numpy(), slopes[0].numpy(), slopes[1].numpy())
        ctx.save_for_backward(*slopes)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the derivatives."""
        of_logits, of_balance = ctx.saved_tensors
        scale = gradients[0][..., None]
        return of_logits * scale, of_balance * scale, None, None, None


def log_prob(weights: Tensor, logits: Tensor, balance: Tensor, counts: Tensor, part: Tensor, carrier: Tensor) -> Tensor:
    """Compute the log-probabilities (K,) of parts that are neither empty nor everything.

    Args:
        weights: log-weights of the components, (K, C).
        logits: base log-odds, (K, C, T), float32.
        balance: coefficients a and b of the three numbers, (K, C, 6), float32.
        counts: tokens of the nodes, two or more in all, (K, T), uint8.
        part: tokens of A, (K, T), uint8.
        carrier: charge, baryon number and strangeness of the carriers of the sets, (K, 3), float32.
    """

    def of(chosen: Tensor) -> Tensor:
        result: Tensor = _LogPart.apply(logits, balance, counts, chosen, carrier)  # type: ignore[no-untyped-call]
        return result

    outside = (of(torch.zeros_like(counts)).exp() + of(counts).exp()).clamp(max=1 - 1e-6)
    c, k = counts.float(), part.float()
    choose = torch.lgamma(c + 1) - torch.lgamma(k + 1) - torch.lgamma(c - k + 1)
    return torch.logsumexp(weights - torch.log1p(-outside) + of(part), -1) + choose.sum(-1)


@compiled
def _fill_present(
    counts: NDArray[np.uint8],
    part: NDArray[np.uint8],
    carrier: NDArray[np.float32],
    numbers: Floats,
    order: NDArray[np.int64],
    log_factorials: Floats,
    start: Ints,
    types: Ints,
    every: NDArray[np.float32],
    chosen: NDArray[np.float32],
    shift: NDArray[np.float32],
    choose: NDArray[np.float32],
) -> None:
    """Fill the arrays of :class:`Present`; ``numbers`` and ``order`` are those of the types."""
    q = np.empty((PARTS, 2, NUM_NUMBERS))
    for k in range(len(counts)):
        q[:] = 0.0
        e, choose[k] = start[k], 0.0
        for i in range(len(order)):
            t = order[i]
            number, own = int(counts[k, t]), int(part[k, t])
            if number == 0:
                continue
            types[e], every[e] = t, number
            choose[k] += log_factorials[number] - log_factorials[own] - log_factorials[number - own]
            chosen[e, 0], chosen[e, 1], chosen[e, 2], chosen[e, 3] = own, number - own, 0, number
            for v in range(PARTS):
                for j in range(NUM_NUMBERS):
                    shift[e, v, j] = -numbers[t, j] * q[v, 0, j]
                    shift[e, v, NUM_NUMBERS + j] = numbers[t, j] * q[v, 1, j]
                    of_one = float(carrier[k, j]) if t == 0 else numbers[t, j]
                    q[v, 0, j] += chosen[e, v] * of_one
                    q[v, 1, j] += (number - chosen[e, v]) * of_one
            e += 1


@compiled_sums_inside
def _log_part(
    odds: NDArray[np.float32],
    slopes: NDArray[np.float32],
    every: NDArray[np.float32],
    chosen: NDArray[np.float32],
    shift: NDArray[np.float32],
    v: int,
    out: NDArray[np.float32],
) -> None:
    """Fill the components' log-probabilities ``out`` (C,) of part v of a node, without binomial coefficients.

    ``odds`` (I, C) are the base log-odds of the node's types, ``slopes`` (6 C,) its balances, number by number.
    """
    num = len(out)
    for c in range(num):
        out[c] = np.float32(0)
    for i in range(len(every)):
        n, own = every[i], chosen[i, v]
        s0, s1, s2 = shift[i, v, 0], shift[i, v, 1], shift[i, v, 2]
        s3, s4, s5 = shift[i, v, 3], shift[i, v, 4], shift[i, v, 5]
        for c in range(num):
            x = odds[i, c] + slopes[c] * s0 + slopes[num + c] * s1 + slopes[2 * num + c] * s2
            x += slopes[3 * num + c] * s3 + slopes[4 * num + c] * s4 + slopes[5 * num + c] * s5
            x = min(max(x, -_MAX_LOGIT), _MAX_LOGIT)
            # log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)
            out[c] += own * x - n * (max(x, _ZERO) + logarithm(_ONE + exponential(-abs(x))))


@compiled_sums_inside
def _log_sum(x: NDArray[np.float32]) -> float:
    """Return the logarithm of the sum of exp(x) of a few numbers (C,)."""
    top, total = x[0], _ZERO
    for c in range(len(x)):
        top = max(top, x[c])
    for c in range(len(x)):
        total += exponential(x[c] - top)
    return float(top) + log(float(total))


@compiled_sums_inside
def _with_outside(
    components: NDArray[np.float32], of_parts: NDArray[np.float32], alone: bool, out: NDArray[np.float32]
) -> None:
    """Fill ``out`` (C,) with the log-probabilities of components and the part, or what it leaves, given a true part."""
    for c in range(len(out)):
        outside = min(exponential(of_parts[2, c]) + exponential(of_parts[3, c]), _MOST_OUTSIDE)
        x = of_parts[0, c]
        if alone:
            other = of_parts[1, c]
            x = max(x, other) + logarithm(_ONE + exponential(-abs(x - other)))
        out[c] = components[c] + x - logarithm(_ONE - outside)


@compiled_inside
def log_contents(
    odds: NDArray[np.float32],
    mixture: NDArray[np.float32],
    first: int,
    start: Ints,
    every: NDArray[np.float32],
    chosen: NDArray[np.float32],
    shift: NDArray[np.float32],
    choose: NDArray[np.float32],
    alone: NDArray[np.bool_],
    out: NDArray[np.float32],
) -> None:
    """Fill ``out`` (K,) for :meth:`Present.log_content` of the nodes from ``first`` on.

    ``odds`` (E, C) are those of their entries, ``mixture`` (K, 7 C) the components' weights, then the balances; the
    other arrays are those of :class:`Present`.
    """
    num = odds.shape[1]
    of_parts, total = np.empty((PARTS, num), np.float32), np.empty(num, np.float32)
    begin = start[first]
    for k in range(len(out)):
        a, b, own = start[first + k], start[first + k + 1], alone[first + k]
        components, slopes = mixture[k, :num], mixture[k, num:]
        for v in range(PARTS):
            if v != 1 or own:
                _log_part(odds[a - begin : b - begin], slopes, every[a:b], chosen[a:b], shift[a:b], v, of_parts[v])
        _with_outside(components, of_parts, own, total)
        out[k] = _log_sum(total) - _log_sum(components) + choose[first + k]


@compiled
def _log_contents(
    odds: NDArray[np.float32],
    mixture: NDArray[np.float32],
    start: Ints,
    every: NDArray[np.float32],
    chosen: NDArray[np.float32],
    shift: NDArray[np.float32],
    choose: NDArray[np.float32],
    alone: NDArray[np.bool_],
    out: NDArray[np.float32],
) -> None:
    log_contents(odds, mixture, 0, start, every, chosen, shift, choose, alone, out)


@compiled_inside
def entry_outputs(
    hidden: NDArray[np.float32],
    entries: Ints,
    rows: Ints,
    types: Ints,
    first: tuple[int, int],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    given: NDArray[np.float32],
    made: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Fill ``out`` (E, C) for :meth:`Present.outputs`: those of ``entries`` (E,), which are sorted by type.

    ``first`` are the entry and the node that the arrays ``out`` and ``hidden`` begin with; ``given`` (E, W) and
    ``made`` (E, C) are working memory.
    """
    i = 0
    while i < len(entries):
        t, n = types[entries[i]], 0
        while i + n < len(entries) and types[entries[i + n]] == t:
            own = hidden[rows[entries[i + n]] - first[1]]
            for k in range(hidden.shape[1]):
                given[n, k] = own[k]
            n += 1
        dense(given[:n], weight[t], bias[t], made[:n])
        for j in range(n):
            for c in range(made.shape[1]):
                out[entries[i + j] - first[0], c] = made[j, c]
        i += n


@compiled
def _entry_outputs(
    hidden: NDArray[np.float32],
    entries: Ints,
    rows: Ints,
    types: Ints,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    given: NDArray[np.float32],
    made: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    entry_outputs(hidden, entries, rows, types, (0, 0), weight, bias, given, made, out)


_LOG_FACTORIALS = np.array([lgamma(1.0 + n) for n in range(256)])


class Present:
    """The types that nodes hold, and what of them A has: what :meth:`log_content` needs whatever the log-odds are.

    Entries are pairs of a node and a type that it has: node by node, types in the order in which they are shared out.
    Four parts of a node's tokens matter: A, what it leaves, nothing, and everything.

    Args:
        counts: tokens of the nodes, two or more in all, (K, T), uint8.
        part: tokens of A, (K, T), uint8.
        carrier: charge, baryon number and strangeness of the carriers of the sets, (K, 3), float32.

    Attributes:
        start: first entry of each node, and the number of entries, (K + 1,).
        rows: node of each entry, (E,).
        types: of the entries, (E,).
        every: tokens of the entries, (E,).
        chosen: tokens of the entries in each part, (E, 4).
        shift: what the six balances are multiplied by for each part, (E, 4, 6).
        choose: logarithms of the numbers of ways to choose A, (K,).
        alone: whether A is a single token, (K,).
    """

    def __init__(self, counts: Tensor, part: Tensor, carrier: Tensor) -> None:
        given = [x.contiguous().numpy() for x in (counts, part, carrier)]
        held = np.count_nonzero(given[0], axis=1)
        self.start = np.concatenate([np.zeros(1, np.int64), np.cumsum(held)])
        num, self.rows = int(self.start[-1]), np.repeat(np.arange(len(held)), held)
        self.types, self.every = np.empty(num, np.int64), np.empty(num, np.float32)
        self.chosen, self.shift = np.empty((num, PARTS), np.float32), np.empty((num, PARTS, 6), np.float32)
        self.choose, self.alone = np.empty(len(held), np.float32), given[1].sum(1, dtype=np.int64) == 1
        made = [self.start, self.types, self.every, self.chosen, self.shift, self.choose]
        arrays: list[Any] = [*given, TYPE_NUMBERS, ORDER, _LOG_FACTORIALS, *made]
        _fill_present(*arrays)

    def __len__(self) -> int:
        return len(self.choose)

    def by_type(self, num: int, block: int) -> Ints:
        """Return the entries of the first ``num`` nodes, one block of nodes after the other, those of each by type."""
        of_these = slice(int(self.start[num]))
        return np.asarray(np.lexsort((self.types[of_these], self.rows[of_these] // block)))

    def outputs(self, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Compute the outputs (E, C) of a linear layer of each type, of hidden states of the nodes, for the entries.

        Args:
            hidden: of the nodes, (K, W).
            weight: of the layers, (T, W, C).
            bias: of the layers, (T, C).
        """
        num = len(self.types)
        out, made = np.empty((num, weight.shape[2]), np.float32), np.empty((num, weight.shape[2]), np.float32)
        arrays = [x.detach().float().contiguous().numpy() for x in (hidden, weight, bias)]
        given, entries = np.empty((num, hidden.shape[1]), np.float32), np.argsort(self.types, kind="stable")
        _entry_outputs(arrays[0], entries, self.rows, self.types, arrays[1], arrays[2], given, made, out)
        return torch.from_numpy(out)

    def log_content(self, components: Tensor, odds: Tensor, balance: Tensor) -> Tensor:
        """Compute the log-probabilities (K,) of contents of A, whatever side of a part a single token is on.

        Where A is a single token that is the sum of the probabilities of the part and of what it leaves, elsewhere the
        probability of the part: what :func:`log_prob` gives, in less time and without derivatives.

        Args:
            components: logarithms of the weights of the components but for a constant of each node, (K, C), float32.
            odds: base log-odds of the entries, (E, C), float32.
            balance: coefficients a and b of the three numbers, (K, C, 6), float32.
        """
        result = np.empty(len(self), np.float32)
        mixture = torch.cat([components.detach()[:, None], balance.detach().transpose(1, 2)], 1).flatten(1)
        own = self.start, self.every, self.chosen, self.shift, self.choose, self.alone
        _log_contents(odds.detach().contiguous().numpy(), mixture.contiguous().numpy(), *own, result)
        return torch.from_numpy(result)
