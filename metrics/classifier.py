"""The two-sample classifier test: can gradient-boosted trees tell generated sets from real ones?

Features: the 13 observables, the counts of 17 groups of species, and the condition (parton flavour, log pT), so that a
model that is right only on average over the condition is found out. Two thirds train, a held-out third gives the
area under the ROC curve (AUC): 0.5 where the classifier sees no difference, 1 where it always does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metrics.hadrons.observables import group_counts
from metrics.hadrons.sample import Features
from metrics.result import Estimate

Floats = NDArray[np.float64]


def classifier_features(sample: Features) -> Floats:
    """Classifier inputs, shape (N, 32): observables, species counts, condition."""
    return np.concatenate([sample.observables, group_counts(sample.counts), sample.condition], axis=1)


def auc(real: Floats, generated: Floats, *, num_bootstrap: int = 50, seed: int = 0) -> Estimate:
    """AUC of gradient-boosted trees on a held-out third, with its bootstrap error.

    Args:
        real, generated: classifier inputs, shapes (N, D) and (N', D); the longer one is cut to the shorter.
        num_bootstrap: resamples of the held-out third.
        seed: of the split, the trees and the bootstrap.

    Returns:
        The AUC (oriented by the training: it can fall below 0.5 by chance) and its error.

    Raises:
        ValueError: if a sample has fewer than 30 sets.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    n = min(len(real), len(generated))
    if n < 30:
        raise ValueError(f"the classifier test needs at least 30 sets a sample, got {len(real)} and {len(generated)}")
    rng = np.random.default_rng(seed)
    inputs = np.concatenate([real[:n], generated[:n]])
    labels = np.repeat([0, 1], n)
    order = rng.permutation(2 * n)
    held_out, kept = order[: 2 * n // 3], order[2 * n // 3 :]
    model = HistGradientBoostingClassifier(
        max_iter=200, learning_rate=0.1, early_stopping=True, n_iter_no_change=10, random_state=seed
    )
    model.fit(inputs[kept], labels[kept])
    scores = model.predict_proba(inputs[held_out])[:, 1]
    truth = labels[held_out]
    draws = [_area(scores[i], truth[i]) for i in rng.integers(len(truth), size=(num_bootstrap, len(truth)))]
    return Estimate(_area(scores, truth), float(np.std(draws, ddof=1)))


def _area(scores: Floats, labels: NDArray[np.int64]) -> float:
    """Area under the ROC curve: the Mann-Whitney statistic with ties counted half."""
    _, inverse, count = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - 0.5 * (count - 1))[inverse]
    positive = labels == 1
    n_1, n_0 = int(positive.sum()), int((~positive).sum())
    return float((rank[positive].sum() - n_1 * (n_1 + 1) / 2) / (n_1 * n_0))
