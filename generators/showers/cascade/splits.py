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

from fastsim.compiled import compiled, compiled_sums_inside
from fastsim.event import Ints
from generators.nn.compiled_network import add_bias, multiply
from generators.showers.cascade.features import Numbers

MAX_LOG_RATIO = 30.0
_SCALE = 3.0
"""Of the means: log-ratios are of this order."""
_SPAN, _MIDDLE = 5.0, -0.5
"""Log-scales lie within ``_SPAN`` of ``_MIDDLE``."""
_LEAST_WEIGHT = log(1000.0)
"""How far below the largest a normal component's log-weight may lie."""
_ROWS = 36
"""Rows that go through the layers of a network at a time."""
_ZERO = np.float32(0)


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
        log_width = log_scale(scales)
        z = (rows.ratio[both, None] - mean_log_ratio(means)) * torch.exp(-log_width)
        kernel = -0.5 * z * z - 0.5 * log(2 * pi) if self.normal else -z - 2 * nn.functional.softplus(-z)
        mixture = torch.logsumexp(torch.log_softmax(weights, -1) + kernel - log_width, -1)
        return result.index_add(0, both, mixture)

    def loss(self, rows: Rows) -> Tensor:
        """Return the mean negative log-likelihood of a split."""
        return -self.log_prob(rows).mean()


class FastNet:
    """The parameters of a :class:`SplitNet` for sampling: compiled, in float32, standardised within the weights.

    A few dozen rows at a time go through all layers, so that what these hand on stays in the processor's cache: splits
    cost the same in small batches as in large ones.

    Args:
        net: whose weights are copied.
    """

    def __init__(self, net: SplitNet) -> None:
        with torch.no_grad():
            first = net.first.weight * net.scale
            layers = [(first, net.first.bias - first @ net.shift)]
            layers += [(layer.weight, layer.bias) for layer in net.hidden if isinstance(layer, nn.Linear)]
            direct = net.skip.weight * net.scale if net.skip is not None else torch.zeros(0, len(net.shift))
            layers.append((net.head.weight, net.head.bias - direct @ net.shift if len(direct) else net.head.bias))
            parts = [*(x for weight, bias in layers for x in (weight.T, bias)), direct.T]
            self._weights: NDArray[np.float32] = torch.cat([x.reshape(-1) for x in parts]).float().numpy()
        self._depth, self._width, self._num_outputs = len(net.hidden), net.first.out_features, net.head.out_features
        self.normal, self._num_components = net.normal, net.num_components

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return parameters (K, 3 + 3C) for features (K, F)."""
        result = np.empty((len(features), self._num_outputs), np.float32)
        rows = min(_ROWS, max(len(features), 1))
        one, two = np.empty((2, rows * max(self._width, self._num_outputs)), np.float32)
        _evaluate(features, self._depth, self._width, self._weights, rows, one, two, result)
        if self.normal:
            weights = result[:, 3 : 3 + self._num_components]
            weights[weights < weights.max(1, keepdims=True) - _LEAST_WEIGHT] = -np.inf
        return result


@compiled_sums_inside
def _relu(x: Numbers, bias: Numbers) -> None:
    """Set rows x (K, W) to relu(x + bias)."""
    for k in range(x.shape[0]):
        for c in range(x.shape[1]):
            x[k, c] = max(x[k, c] + bias[c], _ZERO)


@compiled_sums_inside
def _add_relu(x: Numbers, y: Numbers, bias: Numbers) -> None:
    """Add relu(y + bias) to rows x, for x, y (K, W)."""
    for k in range(x.shape[0]):
        for c in range(x.shape[1]):
            x[k, c] += max(y[k, c] + bias[c], _ZERO)


@compiled_sums_inside
def _add(x: Numbers, y: Numbers) -> None:
    """Add rows y to rows x, (K, W)."""
    for k in range(x.shape[0]):
        for c in range(x.shape[1]):
            x[k, c] += y[k, c]


@compiled
def _evaluate(
    features: Numbers, depth: int, width: int, weights: Numbers, rows: int, one: Numbers, two: Numbers, out: Numbers
) -> None:
    """Fill ``out`` (K, O) with the parameters of a :class:`FastNet`, for features (K, F).

    Args:
        depth: number of hidden layers but the first; width: of all.
        weights: each layer's (I, O) and its bias (O,), and, if there are more, those of the features to the head.
        rows: how many go through the layers at a time.
        one, two: working memory for so many rows of hidden layers and of ``out``.
    """
    num_features, num_outputs = features.shape[1], out.shape[1]
    for start in range(0, len(features), rows):
        num = min(rows, len(features) - start)
        given, result = features[start : start + num], out[start : start + num]
        x, y = one[: num * width].reshape(num, width), two[: num * width].reshape(num, width)
        end = num_features * width
        multiply(given, weights[:end].reshape(num_features, width), x)
        _relu(x, weights[end : end + width])
        end += width
        for _ in range(depth):
            first, end = end, end + width * width
            multiply(x, weights[first:end].reshape(width, width), y)
            _add_relu(x, y, weights[end : end + width])
            end += width
        first, end = end, end + width * num_outputs
        multiply(x, weights[first:end].reshape(width, num_outputs), result)
        add_bias(weights[end : end + num_outputs], result)
        end += num_outputs
        if end < len(weights):
            direct = two[: num * num_outputs].reshape(num, num_outputs)
            multiply(given, weights[end:].reshape(num_features, num_outputs), direct)
            _add(result, direct)


def random_numbers(shape: tuple[int, ...], rng: np.random.Generator, *, normal: bool) -> NDArray[np.float64]:
    """Draw numbers (*shape, 3) for :func:`draw_split`: uniform, or such that the logit of the third is normal."""
    u = rng.random((*shape, 3))
    if normal:
        u[..., 2] = expit(ndtri(u[..., 2]))
    return u


def mean_log_ratio(x: Tensor) -> Tensor:
    """Return the means of log(A / B) of a network's outputs for them."""
    return _SCALE * x


def log_scale(x: Tensor) -> Tensor:
    """Return the log widths of log(A / B) of a network's outputs for them."""
    return _SPAN * torch.tanh(x / _SPAN) + _MIDDLE


@compiled
def draw_split(p: NDArray[np.float32], energy: float, u: NDArray[np.float64]) -> tuple[float, float]:
    """Return both parts of an energy, from parameters (3 + 3C,) of a :class:`SplitNet` and u (3,) uniform.

    The parameters of the weights are used up.
    """
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
        p[3 + c] = exp(p[3 + c] - top)
        total += p[3 + c]
    left, chosen = u[1] * total, num - 1
    for c in range(num):
        left -= p[3 + c]
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
