"""Devices that are refused with one line: those that a model was not written for, and those that torch does not see."""

from __future__ import annotations

import pytest
import torch

from fastsim.errors import FastsimError
from generators.nn.devices import checked


def test_the_cpu_is_there() -> None:
    assert checked("cpu", ("cpu", "cuda"), "m") == "cpu"


@pytest.mark.parametrize(
    ("device", "line"),
    [
        ("cuda", "device 'cuda': m runs on cpu only"),
        ("mps", "device 'mps': m runs on cpu only"),
        ("cpu:1", "use 'cpu'"),
    ],
)
def test_other_devices_are_refused(device: str, line: str) -> None:
    with pytest.raises(FastsimError, match=line):
        checked(device, ("cpu",), "m")


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_cuda_is_refused_where_torch_sees_none(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(FastsimError, match=rf"device '{device}': torch .* sees no CUDA device; use 'cpu'"):
        checked(device, ("cpu", "cuda"), "m")


def test_cuda_is_taken_where_torch_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert checked("cuda", ("cpu", "cuda"), "m") == "cuda" and checked("cuda:1", ("cpu", "cuda"), "m") == "cuda:1"
    with pytest.raises(FastsimError, match="device 'cuda:2': torch sees 2, numbered from 0"):
        checked("cuda:2", ("cpu", "cuda"), "m")
