"""The density of how the tokens of a node are shared between its children (:mod:`generators.hadrons.tree.sharing`)."""

from __future__ import annotations

from math import exp, log
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastsim.event import Floats
from generators.hadrons.tree.sharing import MAX_LOGIT, ORDER, TYPE_NUMBERS
from generators.nn.compiled import compiled


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
