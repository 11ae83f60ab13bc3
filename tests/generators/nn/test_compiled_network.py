"""Sequences of layers without torch give what torch gives, for any number of rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from generators.nn.compiled_network import (
    RELU,
    SILU,
    CompiledNetwork,
    activation,
    around,
    layer_norm,
    linear,
    part,
    perceptron,
    weights_of,
)


class Block(nn.Module):
    """A residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + nn.functional.relu(self.linear(self.norm(x)))


@pytest.mark.parametrize("num", [0, 1, 2, 33, 200])
def test_layers_are_those_of_torch(num: int) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(7, 40), nn.SiLU(), Block(40), nn.LayerNorm(40), nn.ReLU(), nn.Linear(40, 300))
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)
    weights, x = weights_of(net), 3 * torch.randn(num, 7)
    block = [*layer_norm(weights, "2.norm"), *linear(weights, "2.linear"), *activation(RELU)]
    steps = [*linear(weights, "0"), *activation(SILU), *around(block), *layer_norm(weights, "3"), *activation(RELU)]
    found = CompiledNetwork([*steps, *linear(weights, "5")])(x.numpy())
    assert found.shape == (num, 300) and found.dtype == np.float32
    np.testing.assert_allclose(found, net(x).detach().numpy(), atol=1e-4, rtol=1e-4)


def test_a_perceptron_is_that_of_torch() -> None:
    torch.manual_seed(2)
    net = nn.ModuleDict({"net": nn.Sequential(nn.Linear(3, 20), nn.SiLU(), nn.Linear(20, 5))})
    x = torch.randn(4, 3)
    found = CompiledNetwork(perceptron(weights_of(net), "net", SILU))(x.numpy())
    np.testing.assert_allclose(found, net["net"](x).detach().numpy(), atol=1e-5, rtol=1e-5)
    assert set(part(weights_of(net), "net.2")) == {"weight", "bias"}


def test_weights_are_copies() -> None:
    layer = nn.Linear(3, 2).half()
    weights = weights_of(layer)
    before = weights["weight"].copy()
    with torch.no_grad():
        layer.weight.add_(1.0)
    assert weights["weight"].dtype == np.float32
    np.testing.assert_array_equal(weights["weight"], before)
