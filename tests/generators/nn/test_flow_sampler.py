"""The compiled inverse of a flow is that of nflows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from generators.nn.compiled_network import weights_of
from generators.nn.flow_sampler import FlowSampler
from generators.nn.flows import SplineFlow


@pytest.mark.parametrize("num_features", [1, 2, 3, 5])
def test_features_are_those_of_the_inverse_transform(num_features: int) -> None:
    torch.manual_seed(num_features)
    flow = SplineFlow(num_features, 7, width=24, num_bins=8)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    context, noise = torch.randn(400, 7), 3 * torch.randn(400, num_features).double()
    x = FlowSampler(weights_of(flow)).invert(noise.numpy(), context.numpy())
    with torch.no_grad():
        expected = flow.double().transform.inverse(noise, context.double())[0].numpy()
    assert np.isfinite(x).all()
    # networks are in float32: where splines are steep, that shows
    assert np.abs(x - expected).mean() < 1e-4 and np.abs(x - expected).max() < 0.05


def test_draws_follow_weights_as_they_are() -> None:
    torch.manual_seed(1)
    flow, context = SplineFlow(2, 3, width=16), torch.randn(50, 3)

    def draw() -> torch.Tensor:
        return flow.sample(context, torch.Generator().manual_seed(2))

    before = draw()
    assert torch.equal(before, draw())
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.5)
    assert not torch.allclose(before, draw())
