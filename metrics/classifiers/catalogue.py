"""Any network of sets of the catalogue (:mod:`fastsim.networks`) as a judge between two samples of particle sets.

It sees the leading particles of each set: coordinates about the parton and the species, or for a network that knows
invariants alone those of :mod:`metrics.hadrons.classifier_inputs`, and the four-momenta.
:mod:`metrics.classifiers.training` says how it is trained and judged.

References:
    Of each network in its file. Kansal et al. 2022, arXiv:2211.10295 (classifiers among other metrics).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastsim.event import ragged_indices
from fastsim.named import load_object
from fastsim.networks import CATALOGUE
from metrics.arrays import array_arguments
from metrics.classifiers.sets import moments, standardized
from metrics.classifiers.trees import ClassifierTest
from metrics.hadrons import classifier_inputs
from metrics.hadrons.jets import Jets

if TYPE_CHECKING:
    from torch import nn

    from metrics.classifiers.training import Inputs

Ints = NDArray[np.int64]

NETWORKS = tuple(kind for kind in CATALOGUE if kind != "mlp")
"""The networks of sets, by the names of the catalogue."""
INVARIANT = ("lorentz",)
"""Those whose score does not change under a Lorentz transformation, if their inputs do not."""


def name_of(kind: str) -> str:
    """Return the name of the metric of a network."""
    return f"auc:{kind}"


@array_arguments(real_weights=1, generated_weights=1)
def network_auc(
    real: Jets,
    generated: Jets,
    kind: str,
    *,
    condition: bool = True,
    max_particles: int = 40,
    num_epochs: int = 12,
    width: int = 64,
    seed: int = 0,
    real_weights: NDArray[Any] | None = None,
    generated_weights: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> ClassifierTest:
    """Test whether a network of the catalogue can tell generated from real particle sets.

    Args:
        real, generated: N and N' particle sets relative to their partons.
        kind: one of :data:`NETWORKS`.
        condition: show the network flavour and pT of the parton.
        max_particles: the leading ones, that are seen; what is beyond says nothing.
        num_epochs: at most; training stops earlier once the loss on its own 20% no longer falls.
        width: of hidden vectors.
        seed: of everything drawn.
        real_weights, generated_weights: event weights (N,) and (N',), none negative.
        num_threads: of torch; default as it is set.

    Returns:
        The test, named "auc:KIND".

    Raises:
        ValueError: if there is no such network, a momentum is not finite, a sample has fewer than 30 sets, or a weight
            is negative.
    """
    from metrics.classifiers.training import Schedule, network_test

    if kind not in NETWORKS:
        raise ValueError(f"no network {kind!r}: there are {', '.join(NETWORKS)}")
    for label, jets in (("real", real), ("generated", generated)):
        if not (np.isfinite(jets.p4_rel).all() and np.isfinite(jets.parton_pt).all()):
            raise ValueError(f"the {label} sets hold NaN or infinity: the classifier needs finite momenta")
    jets = Jets.concatenate([real, generated])

    def prepare(train: Ints) -> tuple[nn.Module, Inputs]:
        return _prepare(jets, train, kind, condition, max_particles, width)

    return network_test(
        name_of(kind),
        len(real),
        len(generated),
        prepare,
        Schedule(num_epochs, batch_size=256, learning_rate=2e-3, patience=5),
        seed=seed,
        real_weights=real_weights,
        generated_weights=generated_weights,
        num_threads=num_threads,
    )


def _prepare(
    jets: Jets, train: Ints, kind: str, condition: bool, max_particles: int, width: int
) -> tuple[nn.Module, Inputs]:
    """Make a network and its inputs, standardised by mean and spread of the training sets."""
    import torch
    from torch import Tensor, nn

    class Logit(nn.Module):
        """The one output of a network of the catalogue."""

        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, *inputs: Tensor) -> Tensor:
            logit: Tensor = self.network(*inputs)[0]
            return logit

    if kind in INVARIANT:
        particles, _ = classifier_inputs.invariants(jets.p4_rel, jets.offsets, jets.pdg_id)
    else:
        particles, _ = classifier_inputs.coordinates(jets)
    x = standardized(particles, *moments(particles[ragged_indices(jets.offsets, train)]))
    kinds = np.eye(classifier_inputs.NUM_SPECIES, dtype=np.float32)[classifier_inputs.species(jets)]
    conditions = classifier_inputs.condition(jets)
    sets = standardized(conditions, *moments(conditions[train]))

    def inputs(rows: Ints) -> tuple[Any, ...]:
        counts = np.minimum(jets.counts[rows], max_particles)[:, None]
        slot = np.arange(max(1, counts.max()))
        mask = slot < counts
        flat = (jets.offsets[rows, None] + slot)[mask]
        own = [x[flat], kinds[flat]]
        if condition:
            own.append(np.repeat(sets[rows], counts[:, 0], axis=0))
        features = np.zeros((*mask.shape, sum(part.shape[1] for part in own)), dtype=np.float32)
        features[mask] = np.concatenate(own, axis=1)
        p4 = np.zeros((*mask.shape, 4), dtype=np.float32)
        p4[mask] = jets.p4_rel[flat] * np.repeat(jets.parton_pt[rows], counts[:, 0])[:, None]
        return torch.from_numpy(features), torch.from_numpy(mask), torch.from_numpy(p4)

    num_features = x.shape[1] + kinds.shape[1] + (sets.shape[1] if condition else 0)
    shapes = {"features": ("particles", num_features), "mask": ("particles",), "p4": ("particles", 4)}
    options: dict[str, Any] = {"scalars": range(num_features)} if kind in INVARIANT else {}
    network = load_object(CATALOGUE[kind], name_of(kind)).of_shapes(shapes, {"logit": ()}, width=width, **options)
    return Logit(network), inputs
