"""Make the data of iris.toml: Fisher's irises, as scikit-learn ships them.

Fisher, The use of multiple measurements in taxonomic problems, Annals of Eugenics 7 (1936) 179.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

Shape = tuple[int | str, ...]


def data(*, seed: int = 1) -> dict[str, dict[str, Any]]:
    """Return 60 flowers to train on, 60 for validation and 30 to test, drawn at random."""
    import numpy as np
    from sklearn.datasets import load_iris

    measured, species = load_iris(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(species))
    edges = {"train": (0, 60), "validation": (60, 120), "test": (120, 150)}
    return {
        split: {"measured": measured[order[low:high]], "species": species[order[low:high]]}
        for split, (low, high) in edges.items()
    }


class Best(nn.Module):
    """Hand on the ``num`` measurements that tell species apart best one by one, and 0 for the others.

    Args:
        num: how many.
        order: columns, the best first; by default that of their F-values: length and width of petals, then of sepals.
    """

    def __init__(self, num: int, order: Sequence[int] = (2, 3, 0, 1)) -> None:
        super().__init__()
        self.register_buffer("kept", torch.zeros(len(order)).index_fill(0, torch.tensor(order[:num]), 1.0))

    @classmethod
    def of_shapes(cls, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape], **options: Any) -> Self:
        """Make it for one input and one output of four numbers."""
        return cls(**options)

    def forward(self, measured: Tensor) -> Tensor:
        """Return measurements (N, 4), those that are left out as 0."""
        return measured * self.get_buffer("kept")


def error_rate(logits: Tensor, species: Tensor) -> Tensor:
    """Compute the share of flowers whose largest logit is of another species."""
    return (logits.argmax(1) != species).double().mean()
