"""Conditional normalising flows. The only module that imports nflows.

References:
    Durkan, Bekasov, Murray, Papamakarios, Neural spline flows, 2019, arXiv:1906.04032.
    Rozet et al., Zuko: normalizing flows in PyTorch, 2022 (``flow(context)`` is a distribution).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from generators.nn.compiled_network import weights_of
from generators.nn.derived import Derived
from generators.nn.flow_sampler import TAIL, FlowSampler


def _sampler(flow: SplineFlow) -> FlowSampler:
    return FlowSampler(weights_of(flow))


class SplineFlow(nn.Module):
    """Autoregressive rational-quadratic spline flow p(x | context) of D features.

    ``flow(context)`` is a distribution with ``log_prob`` and ``sample``, as ``flow.log_prob(x, context)`` and
    ``flow.sample(context, rng)`` are.

    >>> flow, context = SplineFlow(2, 3, width=16), torch.zeros(5, 3)
    >>> x = flow(context).sample(rng=torch.Generator().manual_seed(1))
    >>> x.shape, flow(context).log_prob(x.float()).shape
    (torch.Size([5, 2]), torch.Size([5]))

    Args:
        num_features: D.
        num_context: C, the length of a context.
        width: of the masked networks.
        num_layers: autoregressive transforms; between two of them the order of the features is reversed.
        num_bins: of each spline.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, num_features: int, num_context: int, *, width: int = 64, num_layers: int = 2, num_bins: int = 12
    ) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nflows 0.14 is unmaintained and warns about its own imports
            from nflows.transforms import (
                CompositeTransform,
                MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
                ReversePermutation,
            )
        layers: list[nn.Module] = []
        for number in range(num_layers):
            if number:
                layers.append(ReversePermutation(num_features))
            layers.append(
                MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                    num_features,
                    width,
                    context_features=num_context,
                    num_bins=num_bins,
                    tails="linear",
                    tail_bound=TAIL,
                    num_blocks=2,
                    activation=nn.functional.silu,
                )
            )
        self.num_features = num_features
        self.transform = CompositeTransform(layers)
        self._sampler = Derived(_sampler)
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("std", torch.ones(num_features))

    def train(self, mode: bool = True) -> Self:
        """Set the mode as every module does; from then on samples use the weights as they are."""
        self._sampler.forget()
        return super().train(mode)

    def set_scales(self, x: Tensor) -> None:
        """Set the standardisation from training features (N, D)."""
        self.mean.copy_(x.mean(0))
        self.std.copy_(x.std(0).clamp_min(1e-6))

    def forward(self, context: Tensor) -> FlowDistribution:
        """Return the distribution of the features given contexts (N, C)."""
        return FlowDistribution(self, context)

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        """Compute the log-density (N,) of features (N, D) given contexts (N, C)."""
        noise, log_det = self.transform((x - self.mean) / self.std, context)
        normal = -0.5 * (noise**2 + torch.log(torch.tensor(2 * torch.pi))).sum(-1)
        return normal + log_det - self.std.log().sum()  # type: ignore[no-any-return]

    @torch.no_grad()
    def sample(self, context: Tensor, rng: torch.Generator | None) -> Tensor:
        """Draw features (N, D) in float64, one row for each context (N, C)."""
        noise = torch.randn(len(context), self.num_features, generator=rng, dtype=torch.float64)
        given = context.detach().float().contiguous().numpy()
        return torch.from_numpy(self._sampler.of(self).features(noise.numpy(), given))


@dataclass(frozen=True)
class FlowDistribution:
    """The N distributions p(x | context) of a flow and contexts (N, C), with the methods of torch.distributions."""

    flow: SplineFlow
    context: Tensor

    @property
    def batch_shape(self) -> torch.Size:
        """One distribution for each context: (N,)."""
        return self.context.shape[:-1]

    @property
    def event_shape(self) -> torch.Size:
        """The shape of what is drawn from one distribution: (D,)."""
        return torch.Size((self.flow.num_features,))

    def log_prob(self, x: Tensor) -> Tensor:
        """Compute the log-density (..., N) of features (..., N, D)."""
        return self.flow.log_prob(x.flatten(0, -2), self._contexts(x.shape[:-2])).view(x.shape[:-1])

    def sample(self, sample_shape: tuple[int, ...] = (), *, rng: torch.Generator | None = None) -> Tensor:
        """Draw features (*sample_shape, N, D) in float64, with torch's own generator if there is no ``rng``."""
        shape = (*sample_shape, *self.batch_shape, *self.event_shape)
        return self.flow.sample(self._contexts(sample_shape), rng).view(shape)

    def _contexts(self, sample_shape: tuple[int, ...]) -> Tensor:
        """Repeat the contexts for each sample, as rows."""
        return self.context.expand(*sample_shape, *self.context.shape).flatten(0, -2)
