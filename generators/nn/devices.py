"""The devices that networks run on: the CPU, and CUDA where torch sees it."""

from __future__ import annotations

from collections.abc import Collection

import torch

from fastsim.errors import FastsimError


def checked(device: str, known: Collection[str], name: str) -> str:
    """Return a torch device after a check that a model runs on it and that it is there.

    >>> checked("cpu", ("cpu",), "hadron-tree")
    'cpu'

    Args:
        device: "cpu", "cuda" or "cuda:NUMBER".
        known: kinds of devices that the model was written for.
        name: of the model, for messages.

    Raises:
        FastsimError: if it does not run there, or torch sees no such device.
    """
    kind, _, number = device.partition(":")
    if kind not in known:
        raise FastsimError(f"device {device!r}: {name} runs on {' or '.join(known)} only")
    if kind == "cuda":
        seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if seen == 0:
            raise FastsimError(f"device {device!r}: torch {torch.__version__} sees no CUDA device; use 'cpu'")
        if number and not (number.isdigit() and int(number) < seen):
            raise FastsimError(f"device {device!r}: torch sees {seen}, numbered from 0")
    elif number:
        raise FastsimError(f"device {device!r}: use {kind!r}")
    return device
