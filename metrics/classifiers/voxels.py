"""Two-sample tests with a fully connected network: on the voxels of calorimeter showers, or on any event features.

The low-level test of the CaloChallenge: inputs log10(E_inc) and 100 x (voxel energy / E_inc); an input layer and two
hidden layers of 2048 with leaky ReLU; Adam at 2e-4 in batches of 1000 for at most 50 epochs; 60% of the events train,
20% choose the epoch, 20% are judged. Other than there, the choice is by loss instead of accuracy (which calibrates),
and training stops when it no longer pays. The high-level test is the same network on shower features.

References:
    Krause et al. 2024, arXiv:2410.21611 (CaloChallenge). Krause, Shih 2021, arXiv:2106.05285.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastsim.formats.calochallenge import Showers, check_showers
from metrics.arrays import array_arguments
from metrics.classifiers.trees import ClassifierTest

if TYPE_CHECKING:
    from torch import Tensor, nn


def mlp_auc(
    real: NDArray[Any],
    generated: NDArray[Any],
    *,
    hidden: int = 2048,
    layers: int = 2,
    dropout: float = 0.0,
    num_epochs: int = 50,
    standardize: bool = True,
    name: str = "auc_mlp",
    seed: int = 0,
    real_weights: NDArray[Any] | None = None,
    generated_weights: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> ClassifierTest:
    """Test whether a fully connected network can tell generated from real event features.

    Args:
        real, generated: features, shapes (N, D) and (N', D); put the condition among them.
        hidden, layers: width of all layers, and number of those after the input layer.
        dropout: probability, after every layer.
        num_epochs: at most; training stops earlier once the loss on its own 20% no longer falls.
        standardize: divide features by their spread in the training part, after subtracting their mean.
        name: of the result.
        seed: of everything drawn.
        real_weights, generated_weights: event weights, none negative.
        num_threads: of torch; default as it is set.

    Returns:
        The test of the held-out fifth of the events.

    Raises:
        ValueError: if the features do not fit or are not finite, a sample has fewer than 30 events, or a weight is
            negative.
    """
    from metrics.classifiers.training import Schedule, network_test

    if real.ndim != 2 or real.shape[1:] != generated.shape[1:]:
        raise ValueError(f"features of shapes {real.shape} and {generated.shape}: expected (N, D) and (N', D)")
    if not (np.isfinite(real).all() and np.isfinite(generated).all()):
        raise ValueError("features hold NaN or infinity: the network needs finite features")

    def pick(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Select rows of both samples, one after the other, without a joint copy of what may be gigabytes."""
        out = np.empty((len(rows), real.shape[1]))
        first = rows < len(real)
        out[first], out[~first] = real[rows[first]], generated[rows[~first] - len(real)]
        return out

    def prepare(train: NDArray[np.int64]) -> tuple[nn.Module, Any]:
        import torch

        mean, spread = np.zeros(real.shape[1]), np.ones(real.shape[1])
        if standardize:
            known = pick(train)
            mean, spread = known.mean(axis=0), known.std(axis=0)
            # a constant up to rounding says nothing, and must not be blown up
            spread[spread <= 1e-7 * np.abs(mean)] = np.inf

        def inputs(rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
            return (torch.from_numpy((pick(rows) - mean) / spread).float(),)

        return _network(real.shape[1], hidden, layers, dropout), inputs

    return network_test(
        name,
        len(real),
        len(generated),
        prepare,
        Schedule(num_epochs, batch_size=1000, learning_rate=2e-4, patience=10, weight_decay=0.0),
        seed=seed,
        real_weights=real_weights,
        generated_weights=generated_weights,
        num_threads=num_threads,
    )


@array_arguments(real_weights=1, generated_weights=1)
def voxel_auc(
    real: Showers,
    generated: Showers,
    *,
    hidden: int = 2048,
    layers: int = 2,
    dropout: float = 0.0,
    num_epochs: int = 50,
    seed: int = 0,
    real_weights: NDArray[Any] | None = None,
    generated_weights: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> ClassifierTest:
    """Run the low-level classifier test of the CaloChallenge, on voxels and incident energy.

    Args:
        real, generated: N and N' showers in the same voxels.
        hidden, layers, dropout, num_epochs, seed, real_weights, generated_weights, num_threads: see :func:`mlp_auc`.

    Returns:
        The test, named "auc_voxels".

    Raises:
        FastsimError: if an incident energy is not positive or a deposit negative or not finite.
        ValueError: as :func:`mlp_auc`.
    """
    for label, showers in (("real", real), ("generated", generated)):
        check_showers(showers, place=label)
    return mlp_auc(
        _voxel_inputs(real),
        _voxel_inputs(generated),
        hidden=hidden,
        layers=layers,
        dropout=dropout,
        num_epochs=num_epochs,
        standardize=False,
        name="auc_voxels",
        seed=seed,
        real_weights=real_weights,
        generated_weights=generated_weights,
        num_threads=num_threads,
    )


def _voxel_inputs(showers: Showers) -> NDArray[np.float32]:
    """Compute log10(E_inc / MeV) and 100 voxel / E_inc, shape (N, 1 + V)."""
    incident = showers.incident[:, None]
    out = np.empty((len(showers), 1 + showers.voxels.shape[1]), dtype=np.float32)
    out[:, :1] = np.log10(incident)
    np.divide(showers.voxels, incident / 100.0, out=out[:, 1:], casting="same_kind")
    return out


def _network(num_inputs: int, hidden: int, layers: int, dropout: float) -> nn.Module:
    """Build the network: layers of equal width with leaky ReLU and dropout, and one logit."""
    from torch import nn

    widths = [num_inputs, *[hidden] * (layers + 1)]
    parts: list[nn.Module] = []
    for width, following in pairwise(widths):
        parts += [nn.Linear(width, following), nn.LeakyReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*parts, nn.Linear(hidden, 1), nn.Flatten(0))
