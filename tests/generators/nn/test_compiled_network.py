"""Sequences of layers without torch give what torch gives, for any number of rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from generators.nn.compiled_network import CompiledNetwork, around, steps_of


class Block(nn.Module):
    """A residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + nn.functional.relu(self.linear(self.norm(x)))

    def steps(self) -> list[tuple[int, int, np.ndarray]]:  # type: ignore[type-arg]
        return around(self.norm, self.linear, nn.ReLU())


@pytest.mark.parametrize("num", [0, 1, 2, 33, 200])
def test_layers_are_those_of_torch(num: int) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(7, 40), nn.SiLU(), Block(40), nn.LayerNorm(40), nn.ReLU(), nn.Linear(40, 300))
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = 3 * torch.randn(num, 7)
    found = CompiledNetwork([net])(x.numpy())
    assert found.shape == (num, 300) and found.dtype == np.float32
    np.testing.assert_allclose(found, net(x).detach().numpy(), atol=1e-4, rtol=1e-4)


def test_weights_are_copies() -> None:
    layer = nn.Linear(3, 2)
    net, x = CompiledNetwork([layer]), np.ones((1, 3), np.float32)
    before = net(x)
    with torch.no_grad():
        layer.weight.add_(1.0)
    np.testing.assert_array_equal(net(x), before)


def test_what_has_no_steps_is_refused() -> None:
    with pytest.raises(TypeError, match="GELU has no steps"):
        steps_of(nn.Sequential(nn.Linear(2, 2), nn.GELU()))
