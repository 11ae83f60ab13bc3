"""Attention of vectors to other vectors, with a bias: the layer of several networks.

References:
    Vaswani et al., Attention is all you need, 2017, arXiv:1706.03762.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from fastsim.networks.layers import dense

CLOSED = -1e4
"""What is added to the scores of padding, which so gets no attention."""


def closed(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the bias (N, 1, 1, K) that leaves what is outside a mask (N, K) without attention."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, CLOSED)[:, None, None]


class Attention(nn.Module):
    """Attention of queries (N, Q, width) to keys (N, K, width), then a perceptron on each; both add to the queries."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm, self.norm_keys, self.norm_after = (nn.LayerNorm(width) for _ in range(3))
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.after = dense([width, 2 * width, width])

    def forward(self, x: Tensor, keys: Tensor, bias: Tensor) -> Tensor:
        """Update x (N, Q, width) from keys (N, K, width).

        Args:
            x: what asks.
            keys: what is asked.
            bias: added to the scores, (N, heads or 1, Q or 1, K).
        """

        def heads(values: Tensor) -> Tensor:
            return values.view(*values.shape[:2], self.num_heads, -1).transpose(1, 2)

        key, value = self.key_value(self.norm_keys(keys)).chunk(2, dim=-1)
        query = heads(self.query(self.norm(x)))
        mixed = scaled_dot_product_attention(query, heads(key), heads(value), attn_mask=bias)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        result: Tensor = x + self.after(self.norm_after(x))
        return result
