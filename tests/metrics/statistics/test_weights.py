"""Weights, and the nulls of samples that differ in size or weight: as calibrated as those of equal ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metrics import classifier_test, fpd, kpd, w1
from metrics.statistics.weights import block_numbers, event_weights, exchangeable_units


def test_weights_sum_to_the_number_of_effective_events() -> None:
    assert event_weights("m", "real", None, 5).sum() == 5
    np.testing.assert_allclose(event_weights("m", "real", np.full(5, 1e-3), 5), 1.0)
    w = np.array([2.0, -1.0, 2.0])
    assert event_weights("m", "real", w, 3).sum() == pytest.approx(9 / 9)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(4), r"real weights of shape \(4,\) for 3 events: FPD needs one weight an event"),
        (np.array([1.0, np.nan, 1.0]), "real weight of event 1 is not finite"),
        (np.array([1.0, -2.0, 1.0]), "real weights sum to 0: FPD needs a positive sum"),
    ],
)
def test_bad_weights_are_refused(weights: NDArray[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        event_weights("FPD", "real", weights, 3)
    with pytest.raises(ValueError, match="go down to -1: AUC needs non-negative"):
        event_weights("AUC", "real", np.array([2.0, -1.0, 2.0]), 3, negative=False)


def test_blocks_are_in_proportion_to_the_information() -> None:
    assert block_numbers(np.ones(100), np.ones(100), 60, 600) == (60, 60)
    assert block_numbers(np.ones(1000), np.ones(100), 60, 600) == (600, 60)
    assert block_numbers(np.ones(10), np.ones(1000), 60, 600) == (20, 600)


def test_units_are_events_or_blocks_of_them(rng: np.random.Generator) -> None:
    unit, num_real, num_generated = exchangeable_units(np.ones(30), np.ones(20), rng)
    assert (num_real, num_generated) == (30, 20)
    np.testing.assert_array_equal(unit, np.arange(50))
    half = event_weights("m", "generated", np.where(np.arange(400) % 4 == 0, -1.0, 1.0), 400)
    unit, num_real, num_generated = exchangeable_units(np.ones(400), half, rng)
    assert num_real / num_generated == pytest.approx(4.0, rel=0.1)
    assert set(unit[:400]) == set(range(num_real))
    assert set(unit[400:]) == set(range(num_real, num_real + num_generated))


@pytest.mark.parametrize(
    ("sizes", "draw"),
    [
        ((4000, 400), None),
        ((400, 2000), None),
        ((1500, 1500), lambda rng: np.where(rng.uniform(size=1500) < 0.3, -1.0, 1.0)),
        ((1500, 1500), lambda rng: np.full(1500, 1e-3)),
        ((1500, 1500), lambda rng: rng.lognormal(0.0, 1.0, 1500)),
    ],
)
def test_nulls_are_calibrated(
    sizes: tuple[int, int], draw: Callable[[np.random.Generator], NDArray[Any]] | None, rng: np.random.Generator
) -> None:
    sigmas: dict[str, list[float]] = {"fpd": [], "kpd": [], "w1": []}
    for seed in range(16):
        real, generated = (rng.normal(size=(n, 3)) for n in sizes)
        weights: dict[str, Any] = {"generated_weights": None if draw is None else draw(rng)}
        sigmas["fpd"].append(fpd(real, generated, **weights, seed=seed).sigmas)
        sigmas["kpd"].append(kpd(real, generated, **weights, seed=seed, num_permutations=100).sigmas)
        sigmas["w1"].append(w1(real[:, 0], generated[:, 0], **weights, seed=seed).sigmas)
    for name, found in sigmas.items():
        assert abs(np.mean(found)) < 1.2, name
        assert 0.4 < np.std(found) < 2.2, name


def test_the_null_of_a_weighted_classifier_is_as_wide_as_its_values(rng: np.random.Generator) -> None:
    sigmas = []
    for seed in range(8):
        real, generated = rng.normal(size=(2, 900, 2))
        weights = rng.lognormal(0.0, 1.0, 900)
        sigmas.append(classifier_test(real, generated, generated_weights=weights, seed=seed).auc.sigmas)
    assert abs(np.mean(sigmas)) < 1.5
    assert np.std(sigmas) < 2.2
