"""Weights in eight bits."""

from __future__ import annotations

import torch

from generators.nn.quantise import pack, unpack


def test_eight_bits_hold_every_row_to_its_scale() -> None:
    weight = torch.randn(5, 200, generator=torch.Generator().manual_seed(11)) * torch.tensor([[1e-3, 0, 1, 1e3, 1]]).T
    packed = pack({"a": weight, "b": weight}, {"a"})
    assert packed["a"].dtype == torch.int8
    error = (unpack(packed)["a"] - weight).abs().amax(dim=1)
    assert (error <= 1.001 * weight.abs().amax(dim=1) / 254).all()
    assert set(unpack(packed)) == {"a", "b"}
    assert torch.equal(unpack(packed)["b"], weight)
