r"""Deep sets: :math:`\rho(\sum_i \phi(x_i))`, as particle flow networks use it on jets.

References:
    Zaheer et al., Deep sets, 2017, arXiv:1703.06114.
    Komiske, Metodiev, Thaler, Energy flow networks, 2018, arXiv:1810.05165.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fastsim.networks.layers import Shape, dense
from fastsim.networks.sets import SetNetwork


class DeepSets(SetNetwork):
    r"""Each particle on its own through :math:`\phi`, a perceptron of ``num_layers`` hidden layers."""

    def __init__(
        self,
        num_features: int,
        outputs: Mapping[str, Shape],
        *,
        width: int = 64,
        num_layers: int = 2,
        latent: str | None = None,
    ) -> None:
        super().__init__(num_features, outputs, width=width, latent=latent)
        self.phi = dense([num_features, *[width] * (num_layers + 1)])

    def encode(self, features: Tensor, mask: Tensor, p4: Tensor) -> Tensor:
        """Return :math:`\\phi(x_i)`."""
        result: Tensor = self.phi(features)
        return result
