"""The classifier test on Gaussians, whose best AUC is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from metrics import classifier_test, features
from metrics.classifiers.trees import _area, judge
from tests.helpers.jets import toy_sets


def test_equal_samples_cannot_be_told_apart(rng: np.random.Generator) -> None:
    found = classifier_test(rng.normal(size=(3000, 8)), rng.normal(size=(3000, 8))).auc
    assert abs(found.value - 0.5) < 3.5 * found.error
    assert abs(found.sigmas) < 3.5
    assert found.null_value == pytest.approx(0.5, abs=0.005)
    assert found.error == pytest.approx(np.sqrt(1 / 12) * np.sqrt(2 / 1000), rel=0.3)


def test_a_shifted_gaussian_reaches_the_best_auc(rng: np.random.Generator) -> None:
    real, generated = rng.normal(size=(2, 6000, 3))
    generated[:, 1] += 1.0
    # the likelihood ratio's AUC is Phi(d / sqrt 2)
    assert classifier_test(real, generated).auc.value == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.025)


def test_area_is_that_of_sklearn(rng: np.random.Generator) -> None:
    scores, labels = rng.integers(0, 20, 500).astype(float), rng.integers(0, 2, 500)
    weights = rng.uniform(size=500)
    rank = np.unique(scores, return_inverse=True)[1]
    assert _area(rank, np.ones(500), labels == 1) == pytest.approx(roc_auc_score(labels, scores))
    assert _area(rank, weights, labels == 1) == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights))


def test_a_model_right_only_on_average_is_found_out(rng: np.random.Generator) -> None:
    # an observable and the condition: every marginal agrees, the dependence does not
    x = rng.normal(size=3000)
    real, swapped = np.stack([x, x], axis=1), np.stack([x, rng.permutation(x)], axis=1)
    assert classifier_test(real, swapped).auc.value > 0.8


def test_the_weights_are_the_ratio_of_densities(rng: np.random.Generator) -> None:
    # exponentials of rates 1 and 1.25: p_real / p_generated = 0.8 exp(0.25 x), of mean 1 over generated events
    real, generated = rng.exponential(1.0, (30_000, 1)), rng.exponential(0.8, (30_000, 1))
    test = classifier_test(real, generated)
    weights = test.weights()
    assert weights.mean() == pytest.approx(1.0, abs=0.04)
    assert np.median(weights) == pytest.approx(0.8 * np.exp(0.25 * 0.8 * np.log(2)), abs=0.05)
    predicted, observed, error = test.calibration()
    assert np.all(np.abs(observed - predicted)[error < 0.05] < 4 * error[error < 0.05] + 0.01)


def test_event_weights_make_unequal_samples_equal(rng: np.random.Generator) -> None:
    real, generated = rng.normal(0.5, 1, (8000, 2)), rng.normal(size=(5000, 2))
    assert classifier_test(real, generated).auc.value > 0.65
    ratio = np.exp(0.5 * generated.sum(axis=1) - 0.25)
    found = classifier_test(real, generated, generated_weights=ratio).auc
    assert abs(found.value - 0.5) < 4 * max(found.error, found.null_error)


def test_calibration_of_perfect_scores(rng: np.random.Generator) -> None:
    scores = rng.uniform(size=20_000)
    real = rng.uniform(size=20_000) < scores
    balance = np.where(real, (~real).sum() / real.sum(), 1.0)
    test = judge("auc", scores[real], scores[~real], num_real=1, num_generated=1, seed=0, real_weights=balance[real])
    predicted, observed, error = test.calibration(5)
    assert len(predicted) == 5
    assert np.all(np.abs(observed - predicted) < 4 * error)


def test_inputs_and_bad_input(rng: np.random.Generator) -> None:
    sample = features(*toy_sets(10, 20.0, rng)).sample()
    assert sample.classifier_inputs().shape == (10, len(sample.observables) + len(sample.content) + 2)
    assert sample.classifier_inputs(content=False).shape == (10, len(sample.observables) + 2)
    with pytest.raises(ValueError, match="at least 30"):
        classifier_test(np.zeros((10, 2)), np.zeros((10, 2)))
    x = np.zeros((40, 2))
    with pytest.raises(ValueError, match="unweight"):
        classifier_test(x, x, real_weights=np.linspace(-1, 2, 40))
    with pytest.raises(ValueError, match="expected"):
        classifier_test(x, x[:, :1])
