"""A permutation-equivariant network on packed (jagged) batches of sets.

Tokens of all sets lie one after another in one array (T, width). Nothing is padded but the score matrices of
attention, for which sets of similar lengths share a bucket. A block mixes the tokens of each set, by self-attention
with a few register tokens that carry the set's context ("attention") or by a message from the mean over the set
("mean"), and then applies an MLP to each token; both are modulated by the context (adaLN).

References:
    Vaswani et al., Attention is all you need, 2017, arXiv:1706.03762.
    Zaheer et al., Deep sets, 2017, arXiv:1703.06114. Peebles, Xie, DiT (adaLN), 2022, arXiv:2212.09748.
    Darcet et al., Vision transformers need registers, 2023, arXiv:2309.16588.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

_GROWTH, _SLACK = 1.3, 6
"""A bucket holds sets of up to 1.3 times its shortest plus 6 tokens: 15% padding, 8 buckets for 3 to 200 tokens."""
_CLOSED = -1e4
"""What is added to the scores of padding, which so gets no attention."""


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of a :class:`SetDenoiser`.

    Attributes:
        width: of a token's hidden state.
        heads: of an attention.
        expansion: width of the hidden layer of an MLP over ``width``.
        registers: register tokens of an attention.
        context_width: of a set's hidden context.
        blocks: how each block in turn mixes the tokens.
        precision: of the matrix products.
        pair_features: numbers that describe a pair of tokens and bias the scores of every attention; 0: none.
        pair_width: width of the layer that all attentions share before these biases.
    """

    width: int = 128
    heads: int = 4
    expansion: float = 2.0
    registers: int = 2
    context_width: int = 128
    blocks: tuple[Literal["attention", "mean"], ...] = ("attention", "mean", "attention", "mean", "attention", "mean")
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    pair_features: int = 0
    pair_width: int = 16

    @property
    def dtype(self) -> torch.dtype:
        """The type of the hidden states."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32


@dataclass(frozen=True)
class Layout:
    """Where the T tokens of a packed batch of N sets belong.

    Attributes:
        index: the set of each token, (T,).
        counts: the tokens of each set, (N,).
        queries: the token in each row of the padded buckets, one bucket after another, (Q,).
        keys: the token in each row of the padded keys; from T on, a register, (K,).
        place: the row of ``queries`` that holds each token, (T,).
        shapes: number of sets and padded length of each bucket.
        bias: what each bucket adds to its scores, 0 or :data:`_CLOSED`, (sets, 1, 1, length + registers).
    """

    index: Tensor
    counts: Tensor
    queries: Tensor
    keys: Tensor
    place: Tensor
    shapes: tuple[tuple[int, int], ...]
    bias: tuple[Tensor, ...]

    @classmethod
    def of(cls, counts: NDArray[np.int64], config: NetworkConfig) -> Layout:
        """Lay out sets with the given numbers of tokens (N,), each at least one."""
        counts = np.asarray(counts, dtype=np.int64)
        num, total, extra = len(counts), int(counts.sum()), config.registers
        starts = np.cumsum(counts) - counts
        order = np.argsort(counts, kind="stable")
        queries, keys, shapes, bias = [], [], [], []
        place = np.zeros(total, dtype=np.int64)
        first = row = 0
        while first < num:
            limit = _GROWTH * counts[order[first]] + _SLACK
            last = first + int(np.searchsorted(counts[order[first:]], limit, side="right"))
            sets = order[first:last]
            length = int(counts[sets[-1]])
            column = np.arange(length)
            inside = column < counts[sets][:, None]
            flat = np.where(inside, starts[sets][:, None] + column, starts[sets][:, None])
            place[flat[inside]] = row + np.flatnonzero(inside)
            row += flat.size
            registers = total + sets[:, None] * extra + np.arange(extra)
            queries.append(flat.reshape(-1))
            keys.append(np.concatenate([flat, registers], axis=1).reshape(-1))
            shapes.append((len(sets), length))
            visible = np.concatenate([inside, np.ones((len(sets), extra), dtype=bool)], axis=1)
            bias.append(torch.from_numpy(np.where(visible, 0.0, _CLOSED)[:, None, None, :]).to(config.dtype))
            first = last
        return cls(
            torch.from_numpy(np.repeat(np.arange(num), counts)),
            torch.from_numpy(counts),
            torch.from_numpy(np.concatenate(queries)),
            torch.from_numpy(np.concatenate(keys)),
            torch.from_numpy(place),
            tuple(shapes),
            tuple(bias),
        )

    def to(self, device: str | torch.device) -> Layout:
        """Return the same on a device."""
        index, counts, queries, keys, place = (
            c.to(device) for c in (self.index, self.counts, self.queries, self.keys, self.place)
        )
        return Layout(index, counts, queries, keys, place, self.shapes, tuple(b.to(device) for b in self.bias))

    def sum(self, values: Tensor) -> Tensor:
        """Sum token values (T, ...) over each set, (N, ...) in float32."""
        out = values.new_zeros((len(self.counts), *values.shape[1:]), dtype=torch.float32)
        return out.index_add(0, self.index, values.float())

    def padded(self, values: Tensor) -> list[Tensor]:
        """Return token values (T, D) as one tensor (sets, length, D) a bucket; padding repeats a set's first token."""
        rows = values.index_select(0, self.queries)
        sizes = [sets * length for sets, length in self.shapes]
        return [part.view(*shape, -1) for part, shape in zip(torch.split(rows, sizes), self.shapes, strict=True)]

    def maximum(self, values: Tensor) -> Tensor:
        """Find the largest of the token values (T,) of each set, (N,)."""
        out = values.new_full((len(self.counts),), -torch.inf)
        return out.scatter_reduce(0, self.index, values, "amax")


@dataclass(frozen=True)
class Pairs:
    """What a network is told of the pairs of tokens (i, j) in a bucket, (sets, length, length, ...).

    Attributes:
        features: numbers that bias how much i looks at j, (..., P).
        arrows: vectors from i to j, whose weighted means i receives in full precision, (..., 2).
    """

    features: Tensor
    arrows: Tensor


class Linear(nn.Linear):
    """A linear layer with float32 weights that computes in the precision of its input."""

    def forward(self, input: Tensor) -> Tensor:
        """Compute x W^T + b (..., out_features) in the type of x (..., in_features)."""
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return F.linear(input, self.weight.to(input.dtype), bias)


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _modulated(x: Tensor, shift_scale: Tensor, layout: Layout) -> Tensor:
    """Normalise x (T, width), then scale by 1 + scale and shift by what its set gives, ``shift_scale`` (N, 2 width)."""
    shift, scale = shift_scale.chunk(2, dim=1)
    index = layout.index
    return torch.addcmul(
        shift.index_select(0, index), F.layer_norm(x, (x.shape[1],)), (1 + scale).index_select(0, index)
    )


class _Attention(nn.Module):
    """Self-attention within each set and its registers; zero when new.

    With pair features, these bias the scores, and each head also gives the mean of the arrows to what it looks at.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.heads, width = config.heads, config.width
        self.query = Linear(width, width, bias=False)
        self.key_value = Linear(width, 2 * width, bias=False)
        self.pair_bias = Linear(config.pair_width, config.heads) if config.pair_features else None
        self.out = _zero(Linear(width + (2 * config.heads if config.pair_features else 0), width))

    def forward(
        self, x: Tensor, context: Tensor, registers: Tensor, layout: Layout, pairs: Sequence[Pairs] | None
    ) -> Tensor:
        width, heads = x.shape[1], self.heads
        size = width // heads
        q = (self.query(x) * size**-0.5).index_select(0, layout.queries)
        kv = self.key_value(torch.cat([x, registers])).index_select(0, layout.keys)
        extra = registers.shape[0] // len(layout.counts)
        # split, whose gradient is one concatenation; that of slices would fill a whole tensor for each
        queries = torch.split(q, [sets * length for sets, length in layout.shapes])
        keys = torch.split(kv, [sets * (length + extra) for sets, length in layout.shapes])
        mixed = []
        for place, ((sets, length), bias) in enumerate(zip(layout.shapes, layout.bias, strict=True)):
            query = queries[place].view(sets, length, heads, size).transpose(1, 2)
            key, value = keys[place].view(sets, length + extra, 2, heads, size).permute(2, 0, 3, 1, 4).unbind(0)
            scores = query @ key.transpose(-1, -2) + bias
            if self.pair_bias is not None and pairs is not None:
                of_pairs = self.pair_bias(pairs[place].features).permute(0, 3, 1, 2)
                scores = scores + F.pad(of_pairs, (0, extra))
            weights = scores.softmax(-1)
            message = (weights @ value).transpose(1, 2).reshape(sets * length, width)
            if pairs is not None:
                of_tokens = weights[..., :length].permute(0, 2, 1, 3)
                arrows = (of_tokens @ pairs[place].arrows.to(weights.dtype)).reshape(sets * length, 2 * heads)
                message = torch.cat([message, arrows], 1)
            mixed.append(message)
        result: Tensor = self.out(torch.cat(mixed).index_select(0, layout.place))
        return result


class _Mean(nn.Module):
    """One message for all tokens of a set, from their mean and the context; zero when new."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.value = Linear(config.width, config.width)
        self.message = nn.Sequential(
            Linear(config.width + config.context_width, config.width),
            nn.GELU(),
            _zero(Linear(config.width, config.width)),
        )

    def forward(
        self, x: Tensor, context: Tensor, registers: Tensor, layout: Layout, pairs: Sequence[Pairs] | None
    ) -> Tensor:
        mean = layout.sum(F.gelu(self.value(x))) / layout.counts[:, None]
        message: Tensor = self.message(torch.cat([mean.to(x.dtype), context], dim=1))
        return message.index_select(0, layout.index)


class _Block(nn.Module):
    """Mixing of the tokens of each set, then an MLP on each token; the identity when new."""

    def __init__(self, kind: str, config: NetworkConfig) -> None:
        super().__init__()
        width, hidden = config.width, int(config.width * config.expansion)
        self.mix = _Attention(config) if kind == "attention" else _Mean(config)
        self.modulation = _zero(Linear(config.context_width, 4 * width))
        self.up, self.down = Linear(width, hidden), _zero(Linear(hidden, width))

    def forward(
        self, x: Tensor, context: Tensor, registers: Tensor, layout: Layout, pairs: Sequence[Pairs] | None
    ) -> Tensor:
        first, second = self.modulation(context).chunk(2, dim=1)
        x = x + self.mix(_modulated(x, first, layout), context, registers, layout, pairs)
        result: Tensor = x + self.down(F.gelu(self.up(_modulated(x, second, layout))))
        return result


class SetDenoiser(nn.Module):
    """A network from token features, token kinds and a context of each set to one output vector for each token.

    A permutation of the tokens of a set permutes its outputs; other sets do not matter.

    Args:
        num_features: F, numbers that describe a token.
        num_kinds: kinds (species) of tokens, each with an embedding.
        num_context: C, numbers that describe a set (condition, latent, time).
        num_outputs: O, numbers predicted for each token.
        config: sizes.
    """

    def __init__(
        self, num_features: int, num_kinds: int, num_context: int, num_outputs: int, config: NetworkConfig
    ) -> None:
        super().__init__()
        self.config = config
        width, context_width = config.width, config.context_width
        self.embedding = nn.Embedding(num_kinds, width)
        self.enter = Linear(num_features, width)
        self.context = nn.Sequential(
            Linear(num_context, 2 * context_width), nn.SiLU(), Linear(2 * context_width, context_width)
        )
        self.registers = Linear(context_width, config.registers * width) if config.registers else None
        self.pairs = Linear(config.pair_features, config.pair_width) if config.pair_features else None
        self.blocks = nn.ModuleList(_Block(kind, config) for kind in config.blocks)
        self.leave_modulation = _zero(Linear(context_width, 2 * width))
        self.leave = _zero(Linear(width, num_outputs))

    def forward(
        self,
        features: Tensor,
        kinds: Tensor,
        context: Tensor,
        layout: Layout,
        pairs: Sequence[Pairs] | None = None,
    ) -> Tensor:
        """Compute the outputs (T, O) in float32.

        Args:
            features: of the tokens, (T, F).
            kinds: of the tokens, (T,).
            context: of the sets, (N, C).
            layout: which tokens belong to which set.
            pairs: what is known of the pairs of tokens of each bucket, for a network with pair features.
        """
        dtype = self.config.dtype
        c = F.silu(self.context(context)).to(dtype)
        registers = c.new_zeros(0, self.config.width)
        if self.registers is not None:
            registers = F.layer_norm(self.registers(c).view(-1, self.config.width), (self.config.width,))
        x = (self.enter(features) + self.embedding(kinds)).to(dtype)
        known = None
        if self.pairs is not None and pairs is not None:
            known = [Pairs(F.gelu(self.pairs(p.features.to(dtype))), p.arrows) for p in pairs]
        for block in self.blocks:
            x = block(x, c, registers, layout, known)
        result: Tensor = self.leave(_modulated(x, self.leave_modulation(c), layout).float())
        return result
