"""The multiclass log-posterior against Gaussians, where it is known."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.classifiers.posterior import multiclass_posterior


def test_the_closest_generator_is_highest_and_differences_are_those_of_divergences(rng: np.random.Generator) -> None:
    real = rng.normal(size=(4000, 1))
    generated = {"near": rng.normal(0.5, 1.0, (4000, 1)), "far": rng.normal(1.0, 1.0, (4000, 1))}
    found = multiclass_posterior(real, generated, num_permutations=2)
    # KL(N(0, 1) | N(m, 1)) = m^2 / 2
    assert found["near"].value - found["far"].value == pytest.approx(0.5 - 0.125, abs=0.08)
    # mean log-posteriors by quadrature
    x = np.random.default_rng(0).normal(size=200_000)
    logs = -0.5 * (x[:, None] - np.array([0.5, 1.0])) ** 2
    expected = np.mean(logs - np.logaddexp.reduce(logs, axis=1, keepdims=True), axis=0)
    assert found["near"].value == pytest.approx(expected[0], abs=0.04)
    assert found["far"].value == pytest.approx(expected[1], abs=0.06)
    assert found["near"].num_generated == found["near"].num_real == 4000


def test_equal_generators_are_at_log_one_over_k(rng: np.random.Generator) -> None:
    samples = {name: rng.normal(size=(2000, 2)) for name in ("a", "b", "c")}
    for result in multiclass_posterior(rng.normal(size=(2000, 2)), samples, num_permutations=3).values():
        assert result.value == pytest.approx(-np.log(3), abs=0.05)
        assert result.null_value == pytest.approx(-np.log(3), abs=0.05)


def test_sizes_do_not_matter_and_weights_do(rng: np.random.Generator) -> None:
    real = rng.normal(size=(2000, 1))
    samples = {"many": rng.normal(size=(6000, 1)), "few": rng.normal(size=(1000, 1))}
    found = multiclass_posterior(real, samples, num_permutations=2)
    assert found["many"].value == pytest.approx(found["few"].value, abs=0.1)
    # N(1, 1) reweighted to N(0, 1) is as good as N(0, 1)
    shifted = rng.normal(1.0, 1.0, (4000, 1))
    samples = {"plain": rng.normal(size=(4000, 1)), "shifted": shifted}
    weights = {"shifted": np.exp(0.5 - shifted[:, 0])}
    undone = multiclass_posterior(real, samples, generated_weights=weights, num_permutations=2)
    assert undone["plain"].value == pytest.approx(undone["shifted"].value, abs=0.1)
    worse = multiclass_posterior(real, samples, num_permutations=2)
    assert worse["plain"].value > worse["shifted"].value + 0.3
    # real events can be weighted too: those near the shifted sample only
    near = multiclass_posterior(real, samples, real_weights=(real[:, 0] > 1).astype(np.float64), num_permutations=2)
    assert near["shifted"].value > near["plain"].value


def test_a_seed_repeats(rng: np.random.Generator) -> None:
    real, samples = rng.normal(size=(300, 2)), {name: rng.normal(size=(300, 2)) for name in ("a", "b")}
    first, again, other = (multiclass_posterior(real, samples, seed=seed, num_permutations=2) for seed in (2, 2, 3))
    assert first == again != other


def test_bad_input(rng: np.random.Generator) -> None:
    real, other = rng.normal(size=(2, 50, 2))
    with pytest.raises(ValueError, match="at least 2 of them, got 1"):
        multiclass_posterior(real, {"a": other})
    with pytest.raises(ValueError, match=r"inputs of b have shape \(50, 1\)"):
        multiclass_posterior(real, {"a": other, "b": other[:, :1]})
    with pytest.raises(ValueError, match="at least 30 events a sample, b has 29"):
        multiclass_posterior(real, {"a": other, "b": other[:29]})
    with pytest.raises(ValueError, match="weights of c: no such sample among a, b"):
        multiclass_posterior(real, {"a": other, "b": other}, generated_weights={"c": np.ones(50)})
    with pytest.raises(ValueError, match="go down to -1"):
        multiclass_posterior(real, {"a": other, "b": other}, generated_weights={"a": np.full(50, -1.0)})
    with pytest.raises(ValueError, match="num_permutations is 1"):
        multiclass_posterior(real, {"a": other, "b": other}, num_permutations=1)
