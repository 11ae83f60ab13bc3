r"""The two-sample classifier test: can a classifier tell generated events from real ones?

A classifier is trained on part of both samples; on events that it has not seen, its area under the ROC curve (AUC) is
0.5 where it sees no difference and 1 where it always does. A score is only as good as the classifier: the test can
show that samples differ, never that they are equal. Its output D, the probability of being real, also gives each
generated event the weight w = D / (1 - D), an estimate of p_real / p_generated: a narrow distribution about 1 says that
the samples agree everywhere, a tail to small w that the model makes events which do not exist, and one to large w that
it leaves some out.

References:
    Lopez-Paz, Oquab 2017, arXiv:1610.06545 (two-sample test). Krause, Shih 2021, arXiv:2106.05285 (in calorimeter
    simulation). Das, Favaro et al. 2023, arXiv:2305.16774 (weights).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.extras import library
from metrics.arrays import array_arguments
from metrics.result import MetricResult
from metrics.sample import Columns
from metrics.statistics.permutation import permutation_null
from metrics.statistics.weights import event_weights, exchangeable_units

Floats = NDArray[np.float64]

MIN_EVENTS = 30
"""Fewer events of a sample cannot be split into training and held-out parts."""
MAX_INPUTS = 64
"""Inputs that a split looks at, at most."""
CLIP = 1e-6
"""Scores are kept this far from 0 and 1 where they become weights."""


MAX_KEPT = 2000
"""Held-out events of each sample, at most, that are kept to find out what the classifier looks at."""


@dataclass(frozen=True)
class HeldOut:
    """A classifier, and held-out events to ask it about (:mod:`metrics.classifiers.importance`).

    Attributes:
        model: with the method ``predict_proba`` of scikit-learn.
        names: of the inputs, (D,).
        real, generated: inputs of held-out events, shapes (H, D) and (H', D).
    """

    model: Any
    names: tuple[str, ...]
    real: Floats
    generated: Floats


@dataclass(frozen=True)
class ClassifierTest:
    """A classifier between real (label 1) and generated (label 0) events, judged on held-out events.

    Attributes:
        auc: area under the ROC curve.
        real_scores: output D for held-out real events: their probability of being real, where both classes have equal
            total weight, (H,).
        generated_scores: output D for held-out generated events, (H',).
        real_weights: event weights of the held-out real events, if any, (H,).
        generated_weights: event weights of the held-out generated events, if any, (H',).
        held_out: the classifier and some of these events, where it is to be asked what it looks at.
    """

    auc: MetricResult
    real_scores: Floats
    generated_scores: Floats
    real_weights: Floats | None = None
    generated_weights: Floats | None = None
    held_out: HeldOut | None = None

    def weights(self) -> Floats:
        """Compute w = D / (1 - D) of the held-out generated events, shape (H',)."""
        score = np.clip(self.generated_scores, CLIP, 1.0 - CLIP)
        return np.asarray(score / (1.0 - score))

    def calibration(self, num_bins: int = 10) -> tuple[Floats, Floats, Floats]:
        """Compare the score with the share of real events, in bins of the score.

        A calibrated classifier has both equal within the error; otherwise its weights are not to be trusted. Bins
        without events of both classes have no error and are left out.

        Args:
            num_bins: bins of equal width between 0 and 1.

        Returns:
            Mean score, share of real events, and its error, (bins,) each.
        """
        edges = np.linspace(0.0, 1.0, num_bins + 1)
        columns = []
        for scores, weights in (
            (self.real_scores, self.real_weights),
            (self.generated_scores, self.generated_weights),
        ):
            w = np.ones(len(scores)) if weights is None else weights
            w = w / w.sum()
            place = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, num_bins - 1)
            columns.append([np.bincount(place, v, num_bins) for v in (w, w * scores, w**2)])
        (real, real_score, real_2), (generated, generated_score, generated_2) = columns
        filled = (real > 0) & (generated > 0)
        total = np.where(filled, real + generated, 1.0)
        error = np.sqrt(generated**2 * real_2 + real**2 * generated_2) / total**2
        return ((real_score + generated_score) / total)[filled], (real / total)[filled], error[filled]


@array_arguments(real=2, generated=2, real_weights=1, generated_weights=1)
def classifier_test(
    real: NDArray[Any] | Columns,
    generated: NDArray[Any] | Columns,
    *,
    real_weights: NDArray[Any] | None = None,
    generated_weights: NDArray[Any] | None = None,
    name: str = "auc",
    seed: int = 0,
) -> ClassifierTest:
    """Train boosted trees on two thirds of the events to tell generated from real, and judge the rest.

    Give the condition among the inputs, which exposes a model that is right only on average over it.

    Args:
        real, generated: inputs, shapes (N, D) and (N', D); NaN counts as missing.
        real_weights, generated_weights: event weights (N,) and (N',), none negative.
        name: of the result.
        seed: of the split, the trees, bootstrap and permutations.

    Returns:
        The test of the held-out third; with the classifier in it if the inputs are columns with names.

    Raises:
        ValueError: if a sample has fewer than 30 events, the inputs do not fit, or a weight is negative.
    """
    if real.ndim != 2 or real.shape[1:] != generated.shape[1:]:
        raise ValueError(f"inputs of shapes {real.shape} and {generated.shape}: expected (N, D) and (N', D)")
    if min(len(real), len(generated)) < MIN_EVENTS:
        raise ValueError(
            f"the classifier test needs at least {MIN_EVENTS} events a sample, got {len(real)} and {len(generated)}"
        )
    rng = np.random.default_rng(seed)
    weights = [
        event_weights("a classifier", "real", real_weights, len(real), negative=False),
        event_weights("a classifier", "generated", generated_weights, len(generated), negative=False),
    ]
    held_out, kept = zip(*(_split(len(x), rng) for x in (real, generated)), strict=True)
    labels = np.repeat([1, 0], [len(kept[0]), len(kept[1])])
    # classes of equal total weight, and weights of about 1: trees count them as events when they regularise
    shares = [w[k] / w[k].sum() * len(labels) / 2 for w, k in zip(weights, kept, strict=True)]
    order = rng.permutation(len(labels))
    # the training events in that order, in one array: copies of it would be what most memory goes to
    place = np.argsort(order)
    inputs = np.empty((len(labels), real.shape[1]))
    inputs[place[: len(kept[0])]] = real[kept[0]]
    inputs[place[len(kept[0]) :]] = generated[kept[1]]
    model = library("sklearn.ensemble").HistGradientBoostingClassifier(
        max_iter=200,
        learning_rate=0.1,
        early_stopping=True,
        n_iter_no_change=10,
        # showers have hundreds of inputs: every split looks at some of them, since time grows with their number
        max_features=min(1.0, MAX_INPUTS / real.shape[1]),
        random_state=seed,
    )
    model.fit(inputs, labels[order], sample_weight=np.concatenate(shares)[order])
    del inputs
    scores = [model.predict_proba(x[h])[:, 1] for x, h in zip((real, generated), held_out, strict=True)]
    test = judge(
        name,
        scores[0],
        scores[1],
        num_real=len(real),
        num_generated=len(generated),
        seed=seed,
        real_weights=None if real_weights is None else weights[0][held_out[0]],
        generated_weights=None if generated_weights is None else weights[1][held_out[1]],
    )
    if not isinstance(real, Columns):
        return test
    some = [np.asarray(x[h[:MAX_KEPT]]) for x, h in zip((real, generated), held_out, strict=True)]
    return replace(test, held_out=HeldOut(model, real.names, some[0], some[1]))


def judge(
    name: str,
    real_scores: Floats,
    generated_scores: Floats,
    *,
    num_real: int,
    num_generated: int,
    seed: int,
    real_weights: Floats | None = None,
    generated_weights: Floats | None = None,
    num_bootstrap: int = 50,
    num_permutations: int = 200,
) -> ClassifierTest:
    """Judge a classifier by its scores of held-out events.

    The error is a bootstrap over held-out events. Scores of events that the classifier has not seen are exchangeable
    between equal samples, so permuting their labels gives the null and an exact p-value without training again.

    Args:
        name: of the result.
        real_scores, generated_scores: probability of being real, shapes (H,) and (H',).
        num_real, num_generated: sizes of the whole samples.
        seed: of everything drawn.
        real_weights, generated_weights: event weights of the held-out events.
        num_bootstrap, num_permutations: resamples for the error, and for the null.

    Returns:
        The test, with error, null and p-value of its AUC.
    """
    scores = np.concatenate([real_scores, generated_scores])
    sides = (
        event_weights("a classifier", "real", real_weights, len(real_scores), negative=False),
        event_weights("a classifier", "generated", generated_weights, len(generated_scores), negative=False),
    )
    weights = np.concatenate(sides)
    positive = np.arange(len(scores)) < len(real_scores)
    rank = np.unique(scores, return_inverse=True)[1]
    value = _area(rank, weights, positive)
    rng = np.random.default_rng([seed, 1])
    draws = []
    for _ in range(num_bootstrap):
        times = [np.bincount(rng.integers(n, size=n), minlength=n) for n in (len(real_scores), len(generated_scores))]
        draws.append(_area(rank, weights * np.concatenate(times), positive))
    unit, num_units, num_others = exchangeable_units(*sides, rng)
    null = permutation_null(
        lambda chosen: _area(rank, weights, chosen[unit]),
        num_units,
        num_others,
        num_permutations=num_permutations,
        rng=rng,
    )
    result = MetricResult(
        name,
        value,
        float(np.std(draws, ddof=1)),
        null.mean,
        null.std,
        num_real,
        num_generated,
        seed,
        null.p_value(value),
    )
    return ClassifierTest(result, real_scores, generated_scores, real_weights, generated_weights)


def _split(num: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw a random third of the rows, and list the others."""
    order = rng.permutation(num)
    return order[: num // 3], order[num // 3 :]


def _area(rank: NDArray[np.int64], weights: Floats, positive: NDArray[np.bool_]) -> float:
    """Compute the area under the ROC curve: the weighted Mann-Whitney statistic, ties counted half."""
    size = int(rank.max()) + 1
    above = np.bincount(rank[positive], weights[positive], size)
    below = np.bincount(rank[~positive], weights[~positive], size)
    before = np.cumsum(below) - 0.5 * below
    return float(above @ before / (above.sum() * below.sum()))
