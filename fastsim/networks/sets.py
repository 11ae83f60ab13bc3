"""What all networks of sets share: their call, their outputs and how they end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from fastsim.errors import PipelineError
from fastsim.networks.layers import Outputs, Shape, dense, masked_mean


class SetNetwork(nn.Module, ABC):
    """A network on sets of particles, whose order does not matter.

    Sets are padded: features (N, K, F), mask (N, K), four-momenta (N, K, 4) as E, px, py, pz in GeV. What stands where
    the mask is False has no influence. A subclass gives :meth:`encode`, hidden vectors of the particles; outputs of a
    shape such as ("particles", 4) are read off these, one for each particle, others off what is pooled of them.

    Args:
        num_features: F.
        outputs: shapes of the outputs by name.
        width: of hidden vectors.
        latent: name of the output that is a latent, which the other outputs of the set are read off.

    Attributes:
        needs_p4: whether the network takes four-momenta.
    """

    needs_p4: ClassVar[bool] = False

    def __init__(
        self, num_features: int, outputs: Mapping[str, Shape], *, width: int = 64, latent: str | None = None
    ) -> None:
        super().__init__()
        self.num_features, self.width = num_features, width
        self.order = tuple(outputs)
        of_particles = {name: shape[1:] for name, shape in outputs.items() if shape and isinstance(shape[0], str)}
        of_set = {name: shape for name, shape in outputs.items() if name not in of_particles}
        self.particle_outputs = Outputs(width, of_particles) if of_particles else None
        self.set_outputs = Outputs(width, of_set, latent) if of_set else None
        if self.set_outputs is not None and type(self).pool is SetNetwork.pool:
            self.after_pooling = nn.Sequential(dense([2 * width + 1, width]), nn.GELU())

    @classmethod
    def of_shapes(cls, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape], **options: Any) -> Self:
        """Make the network for inputs features ("n", F), mask ("n",) and p4 ("n", 4), in this order.

        Raises:
            PipelineError: if the inputs are others, or p4 is needed and missing.
        """
        shapes = list(inputs.values())
        if not (
            2 <= len(shapes) <= 3
            and len(shapes[0]) == 2
            and isinstance(shapes[0][1], int)
            and len(shapes[1]) == 1
            and (len(shapes) == 2 or shapes[2][1:] == (4,))
        ):
            raise PipelineError(
                'a network of sets takes features ("n", F), mask ("n",) and, if wanted, p4 ("n", 4), not '
                + ", ".join(f"{name} {shape}" for name, shape in inputs.items())
            )
        if cls.needs_p4 and len(shapes) < 3:
            raise PipelineError('this network needs the four-momenta ("n", 4) as its third input')
        return cls(shapes[0][1], outputs, **options)

    @abstractmethod
    def encode(self, features: Tensor, mask: Tensor, p4: Tensor) -> Tensor:
        """Return hidden vectors (N, K, width) of the particles.

        Args:
            features: (N, K, F), 0 where there is no particle.
            mask: which entries are particles, (N, K).
            p4: four-momenta in GeV, (N, K, 4), 0 where there is no particle, or not given.
        """

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return one hidden vector (N, width) a set: from mean, maximum and logarithm of the number of particles."""
        some = mask.any(1, keepdim=True)
        largest = hidden.masked_fill(~mask[..., None], -torch.inf).amax(1).masked_fill(~some, 0.0)
        number = mask.sum(1, keepdim=True).to(hidden.dtype).log1p()
        result: Tensor = self.after_pooling(torch.cat([masked_mean(hidden, mask), largest, number], dim=1))
        return result

    def forward(self, features: Tensor, mask: Tensor, p4: Tensor | None = None) -> tuple[Tensor, ...]:
        """Compute the outputs in their order: (N, ...) of sets, (N, K, ...) of particles, 0 where there is none.

        Args:
            features: of the particles, (N, K, F).
            mask: which entries are particles, (N, K), bool.
            p4: four-momenta in GeV, (N, K, 4).
        """
        mask = mask.bool()
        outside = ~mask[..., None]
        p4 = features.new_zeros(*mask.shape, 4) if p4 is None else p4.masked_fill(outside, 0.0)
        return self.read_off(self.encode(features.masked_fill(outside, 0.0), mask, p4), mask)

    def read_off(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs in their order from hidden vectors (N, K, width) of the particles."""
        outside = ~mask[..., None]
        results: dict[str, Tensor] = {}
        if self.particle_outputs is not None:
            results |= self.particle_outputs(hidden.masked_fill(outside, 0.0))
            for name, value in results.items():
                results[name] = value.masked_fill(~mask.view(*mask.shape, *[1] * (value.dim() - 2)), 0.0)
        if self.set_outputs is not None:
            results |= self.set_outputs(self.pool(hidden, mask))
        return tuple(results[name] for name in self.order)
