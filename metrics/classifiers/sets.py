"""The low-level two-sample test: a permutation-invariant network on the particles of a set.

The plain network sees coordinates about the parton and the species; the pairwise one sees only Minkowski
products - of each particle with the parton, the beams and the sum of the set, and of the pairs of leading particles -
and its score does not change under a Lorentz transformation of the whole event (nor under reflection in the plane of
parton and beams: a shift of the net momentum across that plane is for the plain network to find). Each is a few
updates of :mod:`metrics.classifiers.set_network`; :mod:`metrics.classifiers.training` says how it is trained and
judged.

References:
    Komiske, Metodiev, Thaler 2019, arXiv:1810.05165 (networks on particle sets). Gong et al. 2022, arXiv:2201.08187
    (Minkowski products). Kansal et al. 2022, arXiv:2211.10295 (classifiers among other metrics).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastsim.event import offsets_from_counts, ragged_indices
from metrics.arrays import array_arguments
from metrics.classifiers.trees import ClassifierTest
from metrics.hadrons import classifier_inputs
from metrics.hadrons.jets import Jets

if TYPE_CHECKING:
    from torch import nn

    from metrics.classifiers.training import Inputs

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NUM_PAIR_FEATURES = 4
PAIR_SAMPLE = 500
"""Sets of the training part from which mean and spread of the pair features are taken."""


@array_arguments(real_weights=1, generated_weights=1)
def set_auc(
    real: Jets,
    generated: Jets,
    *,
    condition: bool = True,
    pairwise: bool = False,
    max_particles: int = 20,
    num_epochs: int = 12,
    seed: int = 0,
    real_weights: NDArray[Any] | None = None,
    generated_weights: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> ClassifierTest:
    """Test whether a set network can tell generated from real particle sets.

    Args:
        real, generated: N and N' particle sets relative to their partons.
        condition: show the network flavour and pT of the parton, which exposes a model that is right only on average
            over them; False where the samples differ in them by construction.
        pairwise: the Lorentz-invariant network with pairs of leading particles, about twice as slow.
        max_particles: leading particles whose pairs are seen; the others enter one by one.
        num_epochs: at most; training stops earlier once the loss on its own 20% no longer falls.
        seed: of everything drawn.
        real_weights, generated_weights: event weights (N,) and (N',), none negative.
        num_threads: of torch; default as it is set.

    Returns:
        The test, named "auc_set", or "auc_pairs" with pairs.

    Raises:
        ValueError: if a momentum is not finite, a sample has fewer than 30 sets, or a weight is negative.
    """
    from metrics.classifiers.training import Schedule, network_test

    for label, jets in (("real", real), ("generated", generated)):
        if not (np.isfinite(jets.p4_rel).all() and np.isfinite(jets.parton_pt).all()):
            raise ValueError(f"the {label} sets hold NaN or infinity: the classifier needs finite momenta")
    jets = Jets.concatenate([real, generated])

    def prepare(train: Ints) -> tuple[nn.Module, Inputs]:
        return _prepare(jets, train, condition, max_particles if pairwise else 0)

    return network_test(
        "auc_pairs" if pairwise else "auc_set",
        len(real),
        len(generated),
        prepare,
        Schedule(num_epochs, batch_size=256, learning_rate=2e-3, patience=5),
        seed=seed,
        real_weights=real_weights,
        generated_weights=generated_weights,
        num_threads=num_threads,
    )


def _prepare(jets: Jets, train: Ints, condition: bool, max_paired: int) -> tuple[nn.Module, Inputs]:
    """Make a network and its inputs, standardised by mean and spread of the training sets."""
    import torch

    from metrics.classifiers.set_network import Pairs, SetNetwork

    momenta = jets.p4_rel
    if max_paired:
        particles, sets = classifier_inputs.invariants(momenta, jets.offsets, jets.pdg_id)
    else:
        particles, sets = classifier_inputs.coordinates(jets)
    if condition:
        sets = np.concatenate([sets, classifier_inputs.condition(jets)], axis=1)
    x = torch.from_numpy(standardized(particles, *moments(particles[ragged_indices(jets.offsets, train)])))
    s = torch.from_numpy(standardized(sets, *moments(sets[train])))
    kinds = torch.from_numpy(classifier_inputs.species(jets))
    total = classifier_inputs.momentum(momenta, jets.offsets)

    def leading(rows: Ints) -> tuple[NDArray[np.bool_], Floats]:
        """Tell which of the K slots of each set are filled, (n, K), and the features of their pairs, (n, K, K, P)."""
        counts = np.minimum(jets.counts[rows], max_paired)[:, None]
        slot = np.arange(max(1, counts.max()))
        filled = slot < counts
        p4 = np.zeros((*filled.shape, 4))
        p4[filled] = momenta[(jets.offsets[rows, None] + slot)[filled]]
        return filled, classifier_inputs.pair_invariants(p4, total[rows])

    mean = spread = np.zeros(NUM_PAIR_FEATURES)
    if max_paired:
        filled, features = leading(train[:: max(1, len(train) // PAIR_SAMPLE)])
        mean, spread = moments(features[filled[:, :, None] & filled[:, None, :]])

    def inputs(rows: Ints) -> tuple[Any, ...]:
        counts = jets.counts[rows]
        flat = torch.from_numpy(ragged_indices(jets.offsets, rows))
        index = torch.from_numpy(np.repeat(np.arange(len(rows)), counts))
        batch = (x[flat], kinds[flat], index, torch.from_numpy(counts), s[rows])
        if not max_paired:
            return batch
        filled, features = leading(rows)
        slots = np.where(filled, offsets_from_counts(counts)[:-1, None] + np.arange(filled.shape[1]), 0)
        scaled = torch.from_numpy(standardized(features, mean, spread))
        return *batch, Pairs(scaled, torch.from_numpy(slots), torch.from_numpy(filled))

    width = NUM_PAIR_FEATURES if max_paired else 0
    return SetNetwork(x.shape[1], classifier_inputs.NUM_SPECIES, s.shape[1], width), inputs


def moments(values: Floats) -> tuple[Floats, Floats]:
    """Compute mean and spread of each column; 0 and infinite without values, infinite spread of a constant."""
    if len(values) == 0:
        return np.zeros(values.shape[1]), np.full(values.shape[1], np.inf)
    mean, spread = values.mean(axis=0), values.std(axis=0)
    # a constant up to rounding says nothing, and must not be blown up
    return mean, np.where(spread > 1e-9 * (1.0 + np.abs(mean)), spread, np.inf)


def standardized(values: Floats, mean: Floats, spread: Floats) -> NDArray[np.float32]:
    """Compute (values - mean) / spread, within ten spreads, so that one outlier cannot drive the training."""
    return np.clip((values - mean) / spread, -10.0, 10.0).astype(np.float32)
