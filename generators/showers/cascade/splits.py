"""The density of a split: how the energy of a node is shared between its two parts.

A part may get nothing, with a probability of its own; otherwise the log of the ratio of the parts follows a mixture of
logistic distributions. Zeros are exact, and so is the sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, pi

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, ndtri
from torch import Tensor, nn

from fastsim.compiled import compiled, compiled_inside
from fastsim.event import Ints
from generators.nn.padding import padded_number

Bits = NDArray[np.uint16]

MAX_LOG_RATIO = 30.0
_SCALE = 3.0
"""Of the means: log-ratios are of this order."""
_SPAN, _MIDDLE = 5.0, -0.5
"""Log-scales lie within ``_SPAN`` of ``_MIDDLE``."""
_LEAST_WEIGHT = log(1000.0)
"""How far below the largest a normal component's log-weight may lie."""


@dataclass(frozen=True)
class Rows:
    """Splits of one stage.

    ``features`` (K, F); ``case`` (K,): 0 where both parts have energy, 1 only A, 2 only B; ``ratio`` (K,): log(A / B)
    where both have.
    """

    features: Tensor
    case: Tensor
    ratio: Tensor

    def __len__(self) -> int:
        return len(self.case)

    def chosen(self, rows: Ints) -> Rows:
        """Return the splits of the given indices (K,)."""
        index = torch.from_numpy(rows)
        return Rows(self.features[index], self.case[index], self.ratio[index])


class SplitNet(nn.Module):
    """p(A, B | features): residual layers, then logits of (both, only A, only B) and K components.

    Args:
        num_features: F.
        width, depth: of the hidden layers.
        skip: whether the features reach the head directly too: for a share that goes with a fixed deposit, such as that
            of one particle in the first layer, the log-ratio is linear in them.
        num_components: K.
        normal: components are normal distributions, not logistic ones: for shares whose tails are short. Those of less
            than 1/1000 of the largest weight are left out in sampling: some thousand showers cannot tell how wide they
            are, and a single one that is too wide spoils the resolution.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        num_features: int,
        *,
        width: int = 128,
        depth: int = 3,
        num_components: int = 6,
        skip: bool = False,
        normal: bool = False,
    ) -> None:
        super().__init__()
        self.first = nn.Linear(num_features, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.head = nn.Linear(width, 3 + 3 * num_components)
        self.skip: nn.Linear | None = None
        if skip:
            self.skip = nn.Linear(num_features, 3 + 3 * num_components, bias=False)
        self.num_components, self.normal = num_components, normal
        with torch.no_grad():
            self.head.weight *= 0.1
            if self.skip is not None:
                self.skip.weight.zero_()
            self.head.bias.zero_()
            self.head.bias[3 + num_components : 3 + 2 * num_components] = torch.linspace(-1.5, 1.5, num_components)
        self.register_buffer("shift", torch.zeros(num_features))
        self.register_buffer("scale", torch.ones(num_features))

    def set_scales(self, features: Tensor, *, kept: Tensor | None = None) -> None:
        """Fix the standardisation from training features (N, F), but not of the columns ``kept``, a mask (F,)."""
        new = torch.ones_like(self.shift, dtype=torch.bool) if kept is None else ~kept
        self.shift.copy_(torch.where(new, features.mean(0), self.shift))
        self.scale.copy_(torch.where(new, 1 / features.std(0).clamp_min(0.05), self.scale))

    def forward(self, features: Tensor) -> Tensor:
        """Return parameters (N, 3 + 3K) in float32: logits of the cases, of the components, means, log-scales."""
        features = (features - self.shift) * self.scale
        x = torch.relu(self.first(features))
        for layer in self.hidden:
            x = x + torch.relu(layer(x))
        # in bfloat16 a mean would be rounded by more than what is asked of the response
        with torch.autocast("cpu", enabled=False):
            result: Tensor = self.head(x.float())
            if self.skip is not None:
                result = result + self.skip(features)
        return result

    def log_prob(self, rows: Rows) -> Tensor:
        """Return the log-density (N,) of splits: of the case, and of the log-ratio where both parts have energy."""
        parameters, num = self(rows.features), self.num_components
        result = torch.log_softmax(parameters[:, :3], -1).gather(1, rows.case[:, None])[:, 0]
        both = torch.nonzero(rows.case == 0)[:, 0]
        weights, means, scales = parameters[both, 3:].split(num, -1)
        log_scale = _log_scale(scales)
        z = (rows.ratio[both, None] - _SCALE * means) * torch.exp(-log_scale)
        kernel = -0.5 * z * z - 0.5 * log(2 * pi) if self.normal else -z - 2 * nn.functional.softplus(-z)
        mixture = torch.logsumexp(torch.log_softmax(weights, -1) + kernel - log_scale, -1)
        return result.index_add(0, both, mixture)

    def loss(self, rows: Rows) -> Tensor:
        """Return the mean negative log-likelihood of a split."""
        return -self.log_prob(rows).mean()


class FastNet:
    """The parameters of a :class:`SplitNet` for sampling: standardisation folded into the weights, no graph.

    Args:
        net: whose weights are copied.
        dtype: of the matrix products, torch.float32 or torch.bfloat16; head: of the last one.
    """

    def __init__(self, net: SplitNet, dtype: torch.dtype, head: torch.dtype) -> None:
        weight = (net.first.weight * net.scale).detach()
        bias = (net.first.bias - weight @ net.shift).detach()
        self._first = weight.T.to(dtype).contiguous(), bias
        layers = [layer for layer in net.hidden if isinstance(layer, nn.Linear)]
        self._hidden = [(_copy(layer.weight.T, dtype), _copy(layer.bias, torch.float32)) for layer in layers]
        self._head = _copy(net.head.weight.T, head), _copy(net.head.bias, head)
        self._skip = None
        if net.skip is not None:
            direct = net.skip.weight.detach() * net.scale
            self._skip = direct.T.contiguous(), -(direct @ net.shift)
        self._dtype, self._last = dtype, head
        self.normal, self._num_components = net.normal, net.num_components

    @torch.inference_mode()
    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return parameters (K, 3 + 3C) for features (K, F)."""
        num = len(features)
        given = torch.zeros(padded_number(num), features.shape[1], dtype=self._dtype)
        given[:num].copy_(torch.from_numpy(features))
        weight, bias = self._first
        x = given @ weight
        relu(x, bias)
        y = torch.empty_like(x)
        for weight, bias in self._hidden:
            torch.mm(x, weight, out=y)
            add_relu(x, y, bias)
        weight, bias = self._head
        result = torch.addmm(bias, x.to(self._last), weight)[:num].float()
        if self._skip is not None:
            weight, bias = self._skip
            result += torch.addmm(bias, torch.from_numpy(features), weight)
        if self.normal:
            weights = result[:, 3 : 3 + self._num_components]
            weights[weights < weights.amax(1, keepdim=True) - _LEAST_WEIGHT] = -torch.inf
        parameters: NDArray[np.float32] = result.numpy()
        return parameters


def _copy(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a copy of a tensor, its rows one after the other in memory."""
    return x.detach().to(dtype, copy=True, memory_format=torch.contiguous_format)


def relu(x: Tensor, bias: Tensor) -> None:
    """Set x to relu(x + bias), for x (K, W) in float32 or bfloat16, rounded once."""
    if x.dtype == torch.bfloat16:
        bits = np.empty(x.shape[1], np.uint32)
        _relu_bits(_bits(x), bias.numpy(), bits, bits.view(np.float32))
    else:
        x.add_(bias).relu_()


def add_relu(x: Tensor, y: Tensor, bias: Tensor) -> None:
    """Add relu(y + bias) to x, for x, y (K, W) both in float32 or in bfloat16, rounded once; y may be changed."""
    if x.dtype == torch.bfloat16:
        bits, more = np.empty((2, x.shape[1]), np.uint32)
        _add_relu_bits(_bits(x), _bits(y), bias.numpy(), bits, more, bits.view(np.float32), more.view(np.float32))
    else:
        x.add_(y.add_(bias).relu_())


def _bits(x: Tensor) -> Bits:
    """Return the memory of a bfloat16 tensor as an array; numpy has no such type."""
    bits: Bits = x.view(torch.int16).numpy().view(np.uint16)
    return bits


@compiled
def _relu_bits(x: Bits, bias: NDArray[np.float32], bits: NDArray[np.uint32], value: NDArray[np.float32]) -> None:
    """Apply :func:`relu` to bfloat16 numbers (K, W) that are given as bits, the upper half of a float32.

    ``bits`` and ``value`` (W,) are the working memory of one row, the same memory seen as bits and as numbers.
    """
    for k in range(len(x)):
        for c in range(len(bits)):
            bits[c] = np.uint32(x[k, c]) << np.uint32(16)
        for c in range(len(bits)):
            value[c] = max(value[c] + bias[c], np.float32(0))
        for c in range(len(bits)):
            x[k, c] = _rounded(bits[c])


@compiled
def _add_relu_bits(
    x: Bits,
    y: Bits,
    bias: NDArray[np.float32],
    bits: NDArray[np.uint32],
    more: NDArray[np.uint32],
    value: NDArray[np.float32],
    change: NDArray[np.float32],
) -> None:
    """Apply :func:`add_relu` to bfloat16 numbers (K, W) that are given as bits.

    The others are the working memory of one row: ``bits`` and ``value`` (W,) of x, ``more`` and ``change`` (W,) of y.
    """
    for k in range(len(x)):
        for c in range(len(bits)):
            bits[c] = np.uint32(x[k, c]) << np.uint32(16)
            more[c] = np.uint32(y[k, c]) << np.uint32(16)
        for c in range(len(bits)):
            value[c] += max(change[c] + bias[c], np.float32(0))
        for c in range(len(bits)):
            x[k, c] = _rounded(bits[c])


@compiled_inside
def _rounded(bits: np.uint32) -> np.uint16:
    """Round the bits of a float32 to those of the nearest bfloat16, half to even."""
    even = (bits >> np.uint32(16)) & np.uint32(1)
    return np.uint16((bits + np.uint32(0x7FFF) + even) >> np.uint32(16))


def random_numbers(num: int, rng: np.random.Generator, *, normal: bool) -> NDArray[np.float64]:
    """Draw numbers (num, 3) for :func:`draw_split`: uniform, or such that the logit of the third is normal."""
    u = rng.random((num, 3))
    if normal:
        u[:, 2] = expit(ndtri(u[:, 2]))
    return u


def _log_scale(x: Tensor) -> Tensor:
    return _SPAN * torch.tanh(x / _SPAN) + _MIDDLE


@compiled
def draw_split(p: NDArray[np.float32], energy: float, u: NDArray[np.float64]) -> tuple[float, float]:
    """Return both parts of an energy, from parameters (3 + 3C,) of a :class:`SplitNet` and u (3,) uniform."""
    num = (len(p) - 3) // 3
    top = max(p[0], p[1], p[2])
    both, only_a, only_b = exp(p[0] - top), exp(p[1] - top), exp(p[2] - top)
    left = u[0] * (both + only_a + only_b)
    if left >= both:
        return (energy, 0.0) if left < both + only_a else (0.0, energy)
    top = p[3]
    for c in range(1, num):
        top = max(top, p[3 + c])
    total = 0.0
    for c in range(num):
        total += exp(p[3 + c] - top)
    left, chosen = u[1] * total, num - 1
    for c in range(num):
        left -= exp(p[3 + c] - top)
        if left < 0:
            chosen = c
            break
    # tanh(s) = 1 - 2 / (1 + exp(2 s))
    tanh = 1 - 2 / (1 + exp(np.float32(2 / _SPAN) * p[3 + 2 * num + chosen]))
    scale = exp(np.float32(_SPAN * tanh + _MIDDLE))
    v = min(max(u[2], 1e-15), 1 - 1e-15)
    x = _SCALE * p[3 + num + chosen] + scale * log(v / (1 - v))
    x = min(max(x, -MAX_LOG_RATIO), MAX_LOG_RATIO)
    less = exp(-x)
    part = energy / (1 + less)
    return part, part * less


@compiled
def draw_splits(
    parameters: NDArray[np.float32], energy: NDArray[np.float32], u: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return both parts of energies (K,), from parameters (K, 3 + 3C) and u (K, 3) uniform."""
    part_a, part_b = np.empty_like(energy), np.empty_like(energy)
    for k in range(len(energy)):
        part_a[k], part_b[k] = draw_split(parameters[k], energy[k], u[k])
    return part_a, part_b
