"""Precision, recall, density and coverage against brute force, known expectations and nulls."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metrics.distances.manifold import NAMES, prdc


def brute_force(real: NDArray[Any], generated: NDArray[Any], k: int) -> dict[str, float]:
    """Compute the definitions, pair by pair, in features standardised by the real sample."""
    mean, std = real.mean(axis=0), real.std(axis=0)
    r, g = (real - mean) / std, (generated - mean) / std

    def distances(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.linalg.norm(x[:, None] - y, axis=2))

    # the 0th nearest neighbour of an event is itself
    real_radius, generated_radius = (np.sort(distances(x, x), axis=1)[:, k] for x in (r, g))
    cross = distances(r, g)
    in_real = cross <= real_radius[:, None]
    return {
        "precision": in_real.any(axis=0).mean(),
        "recall": (cross <= generated_radius).any(axis=1).mean(),
        "density": in_real.sum() / (k * len(g)),
        "coverage": in_real.any(axis=1).mean(),
    }


@pytest.mark.parametrize(
    ("num_real", "num_generated", "dimensions", "k", "shift", "width"),
    [
        (60, 60, 3, 5, 0.0, 1.0),
        (200, 150, 2, 1, 0.7, 1.0),
        (120, 300, 8, 3, 0.0, 0.6),
        (40, 25, 50, 5, 0.3, 1.0),
        (150, 150, 4, 5, 0.0, 0.01),
        (150, 150, 4, 5, 30.0, 1.0),
    ],
    ids=["equal", "k 1", "narrow", "fewer events than features", "collapse", "disjoint"],
)
def test_values_are_those_of_the_definitions(
    num_real: int, num_generated: int, dimensions: int, k: int, shift: float, width: float, rng: np.random.Generator
) -> None:
    real = rng.normal(size=(num_real, dimensions)) * rng.uniform(0.1, 10, dimensions) + 5.0
    generated = rng.permutation(
        5.0 + (real.std(axis=0) * (width * rng.normal(size=(num_generated, dimensions)) + shift))
    )
    found = prdc(real, generated, k=k, num_permutations=3)
    for name, value in brute_force(real, generated, k).items():
        assert found[name].value == pytest.approx(value, rel=1e-12), name


def test_agrees_with_scikit_learn_where_lists_and_chunks_matter(rng: np.random.Generator) -> None:
    from sklearn.neighbors import NearestNeighbors

    real, generated = rng.normal(size=(3000, 5)), rng.normal(0.2, 0.9, size=(2000, 5))
    found = prdc(real, generated, num_permutations=2)
    r, g = ((x - real.mean(axis=0)) / real.std(axis=0) for x in (real, generated))
    # the smearing may move an event across the edge of a ball: a permille at most
    trees = [NearestNeighbors(n_neighbors=5).fit(x) for x in (r, g)]
    radius = [tree.kneighbors()[0][:, -1] for tree in trees]
    nearest_generated = trees[1].kneighbors(r, n_neighbors=1)[0][:, 0]
    assert found["coverage"].value == pytest.approx(np.mean(nearest_generated <= radius[0]), abs=1e-3)
    near = trees[0].radius_neighbors(g, radius=radius[0].max())
    held = np.array([np.sum(d <= radius[0][i]) for d, i in zip(*near, strict=True)])
    assert found["density"].value == pytest.approx(held.sum() / (5 * 2000), abs=1e-3)
    assert found["precision"].value == pytest.approx(np.mean(held > 0), abs=1e-3)


@pytest.mark.parametrize(("num_real", "num_generated", "k"), [(300, 300, 3), (200, 600, 5)])
def test_equal_distributions_have_density_1_and_the_known_coverage(
    num_real: int, num_generated: int, k: int, rng: np.random.Generator
) -> None:
    # whatever the distribution: here two dimensions with heavy tails
    results = [
        prdc(rng.standard_t(3, (num_real, 2)), rng.standard_t(3, (num_generated, 2)), k=k, num_permutations=30)
        for _ in range(12)
    ]
    steps = np.arange(1, k + 1)
    expected = {
        "density": 1.0,
        "coverage": 1 - np.prod((num_real - steps) / (num_real + num_generated - steps)),
    }
    for name, value in expected.items():
        values = np.array([r[name].value for r in results])
        assert values.mean() == pytest.approx(value, abs=4 * values.std(ddof=1) / np.sqrt(12))
        null_error = np.mean([r[name].null_error for r in results])
        assert np.mean([r[name].null_value for r in results]) == pytest.approx(value, abs=4 * null_error / np.sqrt(360))


@pytest.mark.parametrize("kind", ["equal", "narrow"])
def test_errors_are_the_spread_over_samples(kind: str, rng: np.random.Generator) -> None:
    width = 1.0 if kind == "equal" else 0.8
    results = [
        prdc(rng.normal(size=(200, 6)), width * rng.normal(size=(200, 6)), num_permutations=2) for _ in range(70)
    ]
    for name in NAMES:
        spread = np.std([r[name].value for r in results], ddof=1)
        assert np.sqrt(np.mean([r[name].error ** 2 for r in results])) == pytest.approx(spread, rel=0.35), name


def test_null_and_p_value_are_calibrated(rng: np.random.Generator) -> None:
    results = [prdc(rng.normal(size=(120, 4)), rng.normal(size=(160, 4)), num_permutations=39) for _ in range(40)]
    for name in NAMES:
        values = np.array([r[name].value for r in results])
        assert np.mean([r[name].null_value for r in results]) == pytest.approx(
            values.mean(), abs=4 * values.std() / np.sqrt(40)
        )
        assert np.mean([r[name].null_error for r in results]) == pytest.approx(values.std(ddof=1), rel=0.5)
        p_values = np.array([r[name].p_value for r in results])
        for level in (0.1, 0.5):
            assert np.mean(p_values <= level) < level + 3.5 * np.sqrt(level * (1 - level) / 40)


def test_what_is_wrong_shows_where_it_should(rng: np.random.Generator) -> None:
    # real: two modes; one generator leaves one out, the other adds a third
    real = rng.normal(size=(400, 3)) + 8.0 * (rng.random(400) < 0.5)[:, None]
    dropped = prdc(real, rng.normal(size=(400, 3)))
    assert dropped["recall"].value == pytest.approx(0.5, abs=0.1)
    assert dropped["coverage"].value == pytest.approx(0.5, abs=0.1)
    assert dropped["precision"].value > 0.9
    assert dropped["recall"].p_value == dropped["coverage"].p_value == pytest.approx(0.01)
    assert dropped["recall"].sigmas < -5 < 5 < dropped["recall"].excess
    invented = prdc(real, rng.normal(size=(400, 3)) + rng.choice([0.0, 8.0, -20.0], 400)[:, None])
    assert invented["precision"].value == pytest.approx(2 / 3, abs=0.1)
    assert invented["recall"].value > 0.9
    assert invented["precision"].p_value == pytest.approx(0.01)
    # copies are above their null
    copied = prdc(real, real)
    assert [copied[name].value for name in ("precision", "recall", "coverage")] == [1.0, 1.0, 1.0]
    assert copied["density"].sigmas > 2


def test_ties_are_broken_at_random(rng: np.random.Generator) -> None:
    # 60% of the events are one and the same: balls of radius 0, were it not for the smearing
    def sample(num: int) -> NDArray[Any]:
        return np.where(rng.random(num)[:, None] < 0.6, 0.0, rng.normal(size=(num, 4)))

    found = prdc(sample(800), sample(800))
    assert found["density"].value == pytest.approx(1.0, abs=0.1)
    assert found["coverage"].value == pytest.approx(1 - 2.0**-5, abs=0.03)
    assert found["precision"].value > 0.7
    assert all(abs(r.sigmas) < 4 for r in found.values())
    constant = prdc(np.full((50, 3), 0.1), np.full((60, 3), 0.1))
    assert constant["density"].value == pytest.approx(1.0, abs=0.3)
    assert constant["coverage"].value > 0.8


def test_units_order_and_useless_features_do_not_matter(rng: np.random.Generator) -> None:
    real, generated = rng.normal(size=(150, 4)), rng.normal(0.3, 1, size=(130, 4))
    value = {name: r.value for name, r in prdc(real, generated, num_permutations=2).items()}
    scale, shift = np.array([1e-6, 1.0, 1e3, 1e9]), np.array([0.0, 1e3, -4.0, 7.0])

    def changed(x: NDArray[Any]) -> NDArray[Any]:
        moved = rng.permutation(x * scale + shift)
        return np.concatenate([moved, np.full((len(x), 1), 0.1)], axis=1)

    for name, r in prdc(changed(real), changed(generated), num_permutations=2).items():
        assert r.value == pytest.approx(value[name], abs=1e-12), name


def test_a_feature_that_is_constant_in_real_events_only_is_seen(rng: np.random.Generator) -> None:
    real, generated = np.zeros((100, 2)), np.zeros((100, 2))
    real[:, 0], generated[:, 0] = rng.normal(size=(2, 100))
    generated[:, 1] = rng.normal(5.0, 1.0, 100)
    assert prdc(real, generated)["precision"].value == 0.0


def test_one_event_far_off_does_no_harm(rng: np.random.Generator) -> None:
    real, generated = rng.normal(size=(300, 5)), rng.normal(size=(300, 5))
    generated[17, 2] = 1e300
    found = prdc(real, generated)
    assert all(np.isfinite([r.value, r.error, r.null_value, r.null_error]).all() for r in found.values())
    assert found["precision"].sigmas > -3


def test_samples_are_cut_and_the_seed_decides(rng: np.random.Generator) -> None:
    real, generated = rng.normal(size=(400, 2)).astype(np.float32), rng.normal(size=(30, 2)).astype(np.float32)
    one, same, other = (prdc(real, generated, num_permutations=5, max_events=250, seed=s) for s in (3, 3, 4))
    assert one == same
    assert one != other
    assert (one["recall"].num_real, one["recall"].num_generated, one["recall"].seed) == (250, 30, 3)
    cut = prdc(real, generated[:22], num_permutations=2)["recall"]
    assert (cut.num_real, cut.num_generated) == (220, 22)


def test_five_thousand_events_of_either_sample_take_seconds(rng: np.random.Generator) -> None:
    real, generated = rng.normal(size=(2, 5_000, 36))
    start = time.process_time()
    prdc(real, generated, num_permutations=10)
    assert time.process_time() - start < 10


def test_bad_input_is_refused(rng: np.random.Generator) -> None:
    x = rng.normal(size=(40, 3))
    for value in (np.nan, np.inf):
        bad = x.copy()
        bad[7, 2] = value
        with pytest.raises(ValueError, match=f"generated feature 2 of event 7 is {value}"):
            prdc(x, bad)
    with pytest.raises(ValueError, match="at least 20 events a sample, got 40 and 0"):
        prdc(x, x[:0])
    with pytest.raises(ValueError, match="at least 20 events a sample, got 19 and 40"):
        prdc(x[:19], x)
    with pytest.raises(ValueError, match="shapes"):
        prdc(x, x[:, :2])
    with pytest.raises(ValueError, match="k is 0"):
        prdc(x, x, k=0)
    with pytest.raises(ValueError, match="max_events is 10"):
        prdc(x, x, max_events=10)


@pytest.mark.parametrize("weights", [np.r_[-1.0, np.ones(39)], -np.ones(40), np.zeros(40), np.full(40, np.nan)])
def test_weights_are_refused_unless_equal(weights: NDArray[Any], rng: np.random.Generator) -> None:
    x = rng.normal(size=(40, 3))
    with pytest.raises(ValueError, match="unweight them before"):
        prdc(x, x, generated_weights=weights)
    with pytest.raises(ValueError, match="unweight them before"):
        prdc(x, x, real_weights=weights)
    equal = prdc(x, x, real_weights=np.full(40, 2.5), num_permutations=2)
    assert equal == prdc(x, x, num_permutations=2)
