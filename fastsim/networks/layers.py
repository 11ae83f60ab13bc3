"""Layers that several networks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastsim.errors import PipelineError

Shape = tuple[int | str, ...]
"""Sizes of a quantity of one event; a name stands for the number of members of a set."""


def dense(widths: Sequence[int]) -> nn.Sequential:
    """Return linear layers of the given widths with GELU between them.

    >>> len(dense([4, 16, 16, 2]))
    5
    """
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise(widths)):
        if number:
            layers.append(nn.GELU())
        layers.append(nn.Linear(before, after))
    return nn.Sequential(*layers)


class Standardise(nn.BatchNorm1d):
    """Batch normalisation without weights of its own, whose statistics are right from the first batches on.

    They are the mean over all batches until these are :data:`MEMORY`, and then an exponential average over about so
    many; one that begins at mean 0 and variance 1, as torch's does, is wrong until it has seen several times as many.

    Args:
        num: quantities of one event.
    """

    MEMORY: ClassVar[int] = 100

    def __init__(self, num: int) -> None:
        super().__init__(num, affine=False, momentum=1.0 / self.MEMORY)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, num) with mean 0 and variance 1: of the batch in training, else by the statistics."""
        if not self.training:
            return super().forward(x)
        assert self.num_batches_tracked is not None and self.running_mean is not None and self.running_var is not None
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            rate = (1.0 / self.num_batches_tracked).clamp_min(1.0 / self.MEMORY)
            self.running_mean.lerp_(x.mean(0), rate.to(x.dtype))
            self.running_var.lerp_(x.var(0), rate.to(x.dtype))
        return F.batch_norm(x, None, None, training=True, eps=self.eps)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Compute the mean (N, ...) of values (N, K, ...) over the members of sets; 0 for an empty set.

    Args:
        values: of the members.
        mask: which are members, (N, K).
    """
    weights = mask.to(values.dtype).view(*mask.shape, *[1] * (values.dim() - 2))
    result: Tensor = (values * weights).sum(1) / weights.sum(1).clamp_min(1)
    return result


class Outputs(nn.Module):
    """Linear maps from a hidden vector to named quantities.

    One of them may be a latent: then the others are linear maps of the latent, the shallow head that keeps it readable.

    Args:
        width: of the hidden vector.
        shapes: the shape of each quantity, whole numbers.
        latent: name of the quantity that is a latent, of shape (L,); None if there is none.

    Raises:
        PipelineError: if there is no such quantity, it is no vector, or the only one.
    """

    def __init__(self, width: int, shapes: Mapping[str, Shape], latent: str | None = None) -> None:
        super().__init__()
        self.shapes = {name: tuple(int(size) for size in shape) for name, shape in shapes.items()}
        self.latent = latent
        self.to_latent: nn.Linear | None = None
        if latent is not None:
            if len(self.shapes.get(latent, ())) != 1 or len(self.shapes) < 2:
                raise PipelineError(f"latent={latent!r} is none of the outputs, or no vector, or the only output")
            self.to_latent = nn.Linear(width, self.shapes[latent][0])
            width = self.shapes[latent][0]
        self.sizes = [prod(shape) for name, shape in self.shapes.items() if name != latent]
        self.linear = nn.Linear(width, sum(self.sizes))

    def forward(self, hidden: Tensor) -> dict[str, Tensor]:
        """Compute the quantities (..., *shape) from hidden vectors (..., width)."""
        results: dict[str, Tensor] = {}
        if self.to_latent is not None and self.latent is not None:
            hidden = results[self.latent] = self.to_latent(hidden)
        parts = iter(self.linear(hidden).split(self.sizes, dim=-1))
        for name, shape in self.shapes.items():
            if name != self.latent:
                results[name] = next(parts).reshape(*hidden.shape[:-1], *shape)
        return {name: results[name] for name in self.shapes}
