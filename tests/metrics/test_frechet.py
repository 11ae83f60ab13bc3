"""FPD against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

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
    options = {"scale": np.ones(12), "num_sizes": 4, "num_partitions": 2}
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


def test_a_shift_is_its_square(rng: np.random.Generator) -> None:
    values = []
    for _ in range(8):
        real, generated = rng.normal(0, 0.2, (2, 2000, 6))
        generated[:, 0] += 0.1
        values.append(fpd(real, generated, scale=np.ones(6), num_partitions=2))
    spread = np.std([v.value for v in values], ddof=1)
    assert abs(np.mean([v.value for v in values]) - 0.01) < 4 * spread / np.sqrt(len(values))
    assert 0.5 < np.mean([v.error for v in values]) / spread < 2.5


def test_features_are_scaled_by_the_real_sample(rng: np.random.Generator) -> None:
    real, generated = rng.normal(0, 1, (2, 2000, 3))
    first = fpd(real, generated + 0.5, num_partitions=2)
    assert fpd(100 * real, 100 * (generated + 0.5), num_partitions=2).value == pytest.approx(first.value)
    assert first.value == pytest.approx(np.sum((0.5 / np.abs(real).max(axis=0)) ** 2), rel=0.2)


def test_bad_input_is_refused(rng: np.random.Generator) -> None:
    x = rng.normal(size=(1000, 3))
    with pytest.raises(ValueError, match="expected"):
        fpd(x, x[:, :2])
    with pytest.raises(ValueError, match="at least 384"):
        fpd(x, x[:100])
    with pytest.raises(ValueError, match="finite"):
        fpd(x, np.where(np.arange(3000).reshape(1000, 3) == 7, np.nan, x))
