"""The classifier test on Gaussians, whose best AUC is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from metrics import auc, classifier_features, features
from metrics.classifier import _area
from tests.helpers.jets import toy_sets


def test_equal_samples_cannot_be_told_apart(rng: np.random.Generator) -> None:
    found = auc(rng.normal(size=(3000, 8)), rng.normal(size=(3000, 8)))
    assert abs(found.value - 0.5) < 3.5 * found.error
    assert found.error == pytest.approx(np.sqrt(1 / 12) * np.sqrt(2 / 1000), rel=0.3)


def test_a_shifted_gaussian_reaches_the_best_auc(rng: np.random.Generator) -> None:
    real, generated = rng.normal(size=(2, 6000, 3))
    generated[:, 1] += 1.0
    # the likelihood ratio's AUC is Phi(d / sqrt 2)
    assert auc(real, generated).value == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.025)


def test_area_is_that_of_sklearn(rng: np.random.Generator) -> None:
    scores, labels = rng.integers(0, 20, 500).astype(float), rng.integers(0, 2, 500)
    assert _area(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


def test_a_model_right_only_on_average_is_found_out(rng: np.random.Generator) -> None:
    # an observable and the condition: every marginal agrees, the dependence does not
    x = rng.normal(size=3000)
    real, swapped = np.stack([x, x], axis=1), np.stack([x, rng.permutation(x)], axis=1)
    assert auc(real, swapped).value > 0.8


def test_inputs_and_too_small_samples(rng: np.random.Generator) -> None:
    assert classifier_features(features(*toy_sets(10, 20.0, rng))).shape == (10, 13 + 17 + 2)
    with pytest.raises(ValueError, match="at least 30"):
        auc(np.zeros((10, 2)), np.zeros((10, 2)))
