"""FPD against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics import fpd, frechet_distance


def test_distance_of_gaussians_is_the_closed_form(rng: np.random.Generator) -> None:
    # commuting covariances: sum (sqrt a - sqrt b)^2 in any rotated frame
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    a, b = rng.uniform(0.1, 2.0, 6), rng.uniform(0.1, 2.0, 6)
    mean = rng.normal(size=6)
    found = frechet_distance(mean, rotation @ np.diag(a) @ rotation.T, np.zeros(6), rotation @ np.diag(b) @ rotation.T)
    assert found == pytest.approx(mean @ mean + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2))


def test_distance_is_symmetric_and_defined_for_singular_covariances(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(4, 9)), rng.normal(size=(3, 9))
    first, second = x.T @ x, y.T @ y
    zero = np.zeros(9)
    assert frechet_distance(zero, first, zero, second) == pytest.approx(frechet_distance(zero, second, zero, first))
    assert frechet_distance(zero, first, zero, first) == pytest.approx(0.0, abs=1e-6)


def test_equal_distributions_have_none(rng: np.random.Generator) -> None:
    options: dict[str, Any] = {"scale": np.ones(12), "num_sizes": 4}
    values, plain = [], []
    for _ in range(30):
        x, y = rng.normal(0, 0.2, (2, 2000, 12))
        values.append(fpd(x, y, **options))
        plain.append(frechet_distance(x.mean(axis=0), np.cov(x.T), y.mean(axis=0), np.cov(y.T)))
    mean = np.mean([v.value for v in values])
    spread = np.std([v.value for v in values], ddof=1)
    assert abs(mean) < 3 * spread / np.sqrt(len(values))
    # the bias at finite N, which the extrapolation removes
    assert abs(mean) < 0.2 * np.mean(plain)
    # the jackknife is conservative here
    assert 1.0 < np.mean([v.error for v in values]) / spread < 4.0
    # the null is the spread of the values, and its p-values are uniform
    assert 0.6 < np.mean([v.null_error for v in values]) / spread < 1.6
    assert np.mean([v.p_value is not None and v.p_value < 0.1 for v in values]) < 0.3


def test_a_shift_is_its_square(rng: np.random.Generator) -> None:
    values = []
    for _ in range(8):
        real, generated = rng.normal(0, 0.2, (2, 2000, 6))
        generated[:, 0] += 0.1
        values.append(fpd(real, generated, scale=np.ones(6)))
    spread = np.std([v.value for v in values], ddof=1)
    assert abs(np.mean([v.value for v in values]) - 0.01) < 4 * spread / np.sqrt(len(values))
    assert 0.5 < np.mean([v.error for v in values]) / spread < 2.5


def test_features_are_scaled_by_the_real_sample(rng: np.random.Generator) -> None:
    real, generated = rng.normal(0, 1, (2, 2000, 3))
    first = fpd(real, generated + 0.5)
    assert fpd(100 * real, 100 * (generated + 0.5)).value == pytest.approx(first.value)
    assert first.value == pytest.approx(np.sum((0.5 / np.abs(real).max(axis=0)) ** 2), rel=0.2)


@given(st.integers(2, 100), st.integers(0, 2**31))
@settings(max_examples=12)
def test_equal_distributions_have_none_in_any_dimension(dimension: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    real, generated = draw.normal(size=(2, 40 * dimension + 500, dimension)) @ draw.normal(size=(dimension, dimension))
    found = fpd(real, generated, num_permutations=12)
    # one value of twelve examples: 4.5 sigma
    assert abs(found.value) < 4.5 * max(found.error, found.null_error)


def test_scaled_gaussians_have_the_closed_form(rng: np.random.Generator) -> None:
    real, generated = rng.normal(size=(2, 20_000, 5))
    generated *= 1.2
    found = fpd(real, generated, scale=np.ones(5), num_permutations=8)
    assert abs(found.value - 5 * 0.2**2) < 4 * found.error
    assert found.error < 0.02
    assert found.sigmas > 10


def test_weights_of_both_signs_are_as_events_added_and_taken_away(rng: np.random.Generator) -> None:
    real, generated = rng.normal(size=(2, 12_000, 4))
    generated[:4000] += 0.5
    whole = fpd(real, generated, scale=np.ones(4), num_permutations=8)
    assert whole.sigmas > 10
    # the shifted events appear twice more, once with each sign; then only with the negative one
    weights = np.concatenate([np.ones(12_000), -np.ones(4000)])
    cancelled = fpd(
        real,
        np.concatenate([generated, rng.permutation(rng.normal(size=(4000, 4)) + 0.5)]),
        generated_weights=weights,
        scale=np.ones(4),
        num_permutations=8,
    )
    assert abs(cancelled.value) < 4 * cancelled.error
    with pytest.raises(ValueError, match="positive sum"):
        fpd(real, generated, real_weights=-np.ones(12_000))
    with pytest.raises(ValueError, match="one weight an event"):
        fpd(real, generated, real_weights=np.ones(3))


def test_a_constant_feature_changes_nothing(rng: np.random.Generator) -> None:
    real, generated = rng.normal(size=(2, 3000, 3))
    padded = [np.concatenate([x, np.full((3000, 1), 2.0)], axis=1) for x in (real, generated)]
    options: dict[str, Any] = {"num_permutations": 4, "seed": 3}
    assert fpd(*padded, **options).value == pytest.approx(fpd(real, generated, **options).value, rel=1e-6, abs=1e-9)


def test_unequal_sizes_have_a_calibrated_null(rng: np.random.Generator) -> None:
    found = [fpd(rng.normal(size=(4000, 4)), rng.normal(size=(1000, 4)), seed=s) for s in range(20)]
    sigmas = np.array([f.sigmas for f in found])
    assert abs(sigmas.mean()) < 1.0
    assert 0.4 < sigmas.std() < 2.0


def test_bad_input_is_refused(rng: np.random.Generator) -> None:
    x = rng.normal(size=(1000, 3))
    with pytest.raises(ValueError, match="expected"):
        fpd(x, x[:, :2])
    with pytest.raises(ValueError, match="at least 240"):
        fpd(x, x[:100])
    with pytest.raises(ValueError, match="feature 1 of event 2 is nan"):
        fpd(x, np.where(np.arange(3000).reshape(1000, 3) == 7, np.nan, x))


def test_one_far_event_blinds_the_distance_but_not_the_clipped_one(rng: np.random.Generator) -> None:
    """Divided by their largest value, the features of all other events vanish."""
    from metrics import array_sample, evaluate

    real, shifted = rng.normal(size=(2000, 3)), rng.normal(loc=(0.5, 0.0, 0.0), size=(2000, 3))
    results = [
        evaluate(array_sample(sample), shifted, metrics="fpd,fpd_clipped")[0].results["generated"]
        for sample in (real, np.concatenate([real, [[1e6, 0.0, 0.0]]]))
    ]
    (plain, clipped), (plain_with, clipped_with) = ([r["fpd"].sigmas, r["fpd_clipped"].sigmas] for r in results)
    assert min(plain, clipped, clipped_with) > 10
    assert abs(plain_with) < 5
