"""The density of how the tokens of a node are shared between its children (:mod:`generators.hadrons.tree.sharing`)."""

from __future__ import annotations

from math import exp, lgamma, log
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastsim.compiled import compiled, compiled_sums_inside
from fastsim.event import Floats, Ints
from generators.hadrons.tree.sharing import MAX_LOGIT, ORDER, TYPE_NUMBERS
from generators.nn.compiled_network import dense, tanh


@compiled
def _log_part(
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
        _log_part(*inputs, result.numpy(), slopes[0].numpy(), slopes[1].numpy())
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


_MOST_FACTORS = 64
"""Factors of 1/2 to 1 that are multiplied before the logarithm is taken: in float32 no more than 126 fit."""


@compiled_sums_inside
def _log_parts(
    odds: NDArray[np.float32],
    entries: Ints,
    slopes: NDArray[np.float32],
    chosen: Ints,
    number: Ints,
    shift: NDArray[np.float32],
    factor: NDArray[np.float32],
    product: NDArray[np.float32],
    out: Floats,
) -> None:
    """Fill the components' log-probabilities ``out`` (C,) of a part of I types, without binomial coefficients.

    Rows ``entries`` (I,) of ``odds`` (E, C) are the base log-odds, ``slopes`` (6, C) the balances that ``shift`` (I, 6)
    are the factors of, ``chosen`` of the ``number`` of tokens (I,) are in the part; ``factor`` and ``product`` (C,) are
    working memory.
    """
    factors = 0
    for c in range(len(out)):
        out[c], product[c] = 0.0, np.float32(1)
    for i in range(len(chosen)):
        own, every, e = np.float32(chosen[i]), np.float32(number[i]), entries[i]
        for c in range(len(out)):
            x = odds[e, c]
            for j in range(6):
                x += slopes[j, c] * shift[i, j]
            x = min(max(x, -np.float32(MAX_LOGIT)), np.float32(MAX_LOGIT))
            # log(1 + e^x) = max(x, 0) - log[(1 + tanh |x| / 2) / 2]
            factor[c] = np.float32(0.5) + np.float32(0.5) * tanh(np.float32(0.5) * abs(x))
            out[c] += own * x - every * max(x, np.float32(0))
        for _ in range(number[i]):
            for c in range(len(out)):
                product[c] *= factor[c]
            factors += 1
            if factors == _MOST_FACTORS:
                factors = 0
                for c in range(len(out)):
                    out[c] += np.log(product[c])
                    product[c] = np.float32(1)
    for c in range(len(out)):
        out[c] += np.log(product[c])


@compiled
def _log_content(
    components: NDArray[np.float32],
    odds: NDArray[np.float32],
    place: Ints,
    balance: NDArray[np.float32],
    counts: NDArray[np.uint8],
    part: NDArray[np.uint8],
    carrier: NDArray[np.float32],
    numbers: Floats,
    order: NDArray[np.int64],
    log_factorials: Floats,
    out: NDArray[np.float32],
) -> None:
    """Fill ``out`` (K,) for :meth:`Present.log_content`; ``numbers`` and ``order`` are those of the types."""
    types, num_components = np.empty(len(order), np.int64), components.shape[1]
    entries = np.empty(len(order), np.int64)
    # four parts: that of A, what it leaves, nothing and everything; how many tokens of each type, and the shifts
    chosen, q = np.empty((4, len(order)), np.int64), np.empty((4, 2, 3))
    shift, total = np.empty((4, len(order), 6), np.float32), np.empty((4, num_components))
    slopes = np.empty((6, num_components), np.float32)
    factor, product = np.empty(num_components, np.float32), np.empty(num_components, np.float32)
    for k in range(len(counts)):
        num, size = 0, 0
        for i in range(len(order)):
            if counts[k, order[i]] > 0:
                types[num], entries[num] = order[i], place[k, order[i]]
                num += 1
            size += part[k, order[i]]
        q[:] = 0.0
        choose = 0.0
        for i in range(num):
            t = types[i]
            number, own = int(counts[k, t]), int(part[k, t])
            choose += log_factorials[number] - log_factorials[own] - log_factorials[number - own]
            chosen[0, i], chosen[1, i], chosen[2, i], chosen[3, i] = own, number - own, 0, number
            for v in range(4):
                for j in range(3):
                    shift[v, i, j] = -numbers[t, j] * q[v, 0, j]
                    shift[v, i, 3 + j] = numbers[t, j] * q[v, 1, j]
                    of_one = float(carrier[k, j]) if t == 0 else numbers[t, j]
                    q[v, 0, j] += chosen[v, i] * of_one
                    q[v, 1, j] += (number - chosen[v, i]) * of_one
        for j in range(6):
            for c in range(num_components):
                slopes[j, c] = balance[k, c, j]
        for v in range(4):
            if v != 1 or size == 1:
                own_shift, of_all = shift[v, :num], chosen[3, :num]
                _log_parts(odds, entries[:num], slopes, chosen[v, :num], of_all, own_shift, factor, product, total[v])
        top, mass = -np.inf, 0.0
        for c in range(num_components):
            top = max(top, float(components[k, c]))
        for c in range(num_components):
            mass += exp(components[k, c] - top)
        best = -np.inf
        for c in range(num_components):
            outside = min(exp(total[2, c]) + exp(total[3, c]), 1 - 1e-6)
            if size == 1:
                larger, smaller = max(total[0, c], total[1, c]), min(total[0, c], total[1, c])
                total[0, c] = larger + log(1 + exp(smaller - larger))
            total[0, c] += components[k, c] - top - log(1 - outside)
            best = max(best, total[0, c])
        summed = 0.0
        for c in range(num_components):
            summed += exp(total[0, c] - best)
        out[k] = best + log(summed) - log(mass) + choose


@compiled
def _outputs(
    hidden: NDArray[np.float32],
    rows: Ints,
    ends: Ints,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    given: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Fill ``out`` (E, C) for :meth:`Present.outputs`; entries of type t end at ``ends[t]``; ``given`` is for work."""
    start = 0
    for t in range(len(ends)):
        for e in range(start, ends[t]):
            for i in range(hidden.shape[1]):
                given[e - start, i] = hidden[rows[e], i]
        if ends[t] > start:
            dense(given[: ends[t] - start], weight[t], bias[t], out[start : ends[t]])
        start = ends[t]


_LOG_FACTORIALS = np.array([lgamma(1.0 + n) for n in range(256)])


class Present:
    """The types that nodes hold, and what of them A has: what :meth:`log_content` needs whatever the log-odds are.

    Entries are pairs of a node and a type that it has, type by type.

    Args:
        counts: tokens of the nodes, two or more in all, (K, T), uint8.
        part: tokens of A, (K, T), uint8.
        carrier: charge, baryon number and strangeness of the carriers of the sets, (K, 3), float32.
    """

    def __init__(self, counts: Tensor, part: Tensor, carrier: Tensor) -> None:
        types, rows = torch.nonzero(counts.T, as_tuple=True)
        numbers = torch.bincount(types, minlength=counts.shape[1]).numpy()
        self._rows, self._ends, self._most = rows.numpy(), np.cumsum(numbers), int(numbers.max(initial=0))
        place = torch.full(counts.shape, -1)
        place[rows, types] = torch.arange(len(types))
        self._arrays = place.numpy(), *(x.contiguous().numpy() for x in (counts, part, carrier))

    def __len__(self) -> int:
        return len(self._arrays[0])

    def outputs(self, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Compute the outputs (E, C) of a linear layer of each type, of hidden states of the nodes, for the entries.

        Args:
            hidden: of the nodes, (K, W).
            weight: of the layers, (T, W, C).
            bias: of the layers, (T, C).
        """
        out = np.empty((len(self._rows), weight.shape[2]), np.float32)
        arrays = [x.detach().float().contiguous().numpy() for x in (hidden, weight, bias)]
        _outputs(
            arrays[0],
            self._rows,
            self._ends,
            arrays[1],
            arrays[2],
            np.empty((self._most, hidden.shape[1]), np.float32),
            out,
        )
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
        place, counts, part, carrier = self._arrays
        given, of_types, of_numbers = (x.detach().contiguous().numpy() for x in (components, odds, balance))
        nodes = place, of_numbers, counts, part, carrier
        _log_content(given, of_types, *nodes, TYPE_NUMBERS, ORDER, _LOG_FACTORIALS, result)
        return torch.from_numpy(result)
