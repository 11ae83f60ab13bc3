"""Weighted densities and their errors against brute force, and axes that show what there is."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.report.histograms import Axis, choose_axis, density, distance
from metrics.report.plots import ratio_span


def test_density_and_error_of_weights_of_both_signs(rng: np.random.Generator) -> None:
    values, weights = rng.normal(size=500), np.where(rng.random(500) < 0.2, -1.0, 2.0)
    axis = Axis(np.array([-1.0, 0.0, 0.5, 2.0]))
    found = density(values, weights, axis)
    for b, (low, high) in enumerate(zip(axis.edges[:-1], axis.edges[1:], strict=True)):
        inside = weights[(values >= low) & (values < high)]
        assert found.value[b] == pytest.approx(inside.sum() / weights.sum() / (high - low))
        assert found.error[b] == pytest.approx(np.sqrt((inside**2).sum()) / weights.sum() / (high - low))
    assert found.outside == pytest.approx(1 - found.value @ np.diff(axis.edges))


def test_errors_are_those_of_repeated_samples(rng: np.random.Generator) -> None:
    axis = Axis(np.array([0.0, 0.2, 0.5]))
    drawn = [density(rng.random(400), rng.choice([-1.0, 3.0], 400), axis) for _ in range(400)]
    spread = np.std([d.value for d in drawn], axis=0)
    np.testing.assert_allclose(np.mean([d.error for d in drawn], axis=0), spread, rtol=0.25)


def test_what_is_not_finite_is_outside() -> None:
    found = density(np.array([0.5, np.nan, np.inf, 0.5]), None, Axis(np.array([0.0, 1.0])))
    assert found.value.tolist() == [0.5]
    assert found.outside == 0.5


@pytest.mark.parametrize("weights", [[1.0, -1.0], [0.0, 0.0], [1.0, -2.0]])
def test_weights_without_a_positive_sum_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="positive sum"):
        density(np.zeros(2), np.array(weights), Axis(np.array([0.0, 1.0])))


def test_integers_have_bins_of_whole_steps() -> None:
    counts = np.arange(200.0)
    edges = choose_axis([counts, counts]).edges
    steps = np.diff(edges)
    assert np.all(steps == steps[0]) and steps[0] % 1 == 0
    assert np.all(edges % 1 == 0.5)
    assert edges[0] < 5 and edges[-1] > 195


def test_values_over_decades_have_a_logarithmic_axis(rng: np.random.Generator) -> None:
    axis = choose_axis([np.append(10 ** rng.uniform(-3, 3, 1000), np.zeros(100))])
    assert axis.logarithmic
    np.testing.assert_allclose(np.diff(np.log(axis.edges)), np.log(axis.edges[1] / axis.edges[0]))
    assert not choose_axis([rng.normal(size=1000)]).logarithmic


def test_a_shifted_sample_is_shown_but_one_far_off_does_not_squeeze_the_real_one(rng: np.random.Generator) -> None:
    real = rng.normal(size=2000)
    near, far = choose_axis([real, real + 3]).edges, choose_axis([real, real + 1000]).edges
    assert near[-1] > 5
    assert far[-1] < 15


@pytest.mark.parametrize("column", [[], [np.nan], [3.7] * 5, [4.0] * 5, [0.0] * 5])
def test_empty_and_constant_columns_have_an_axis(column: list[float]) -> None:
    values = np.array(column)
    edges = choose_axis([values, values]).edges
    assert np.all(np.isfinite(edges)) and np.all(np.diff(edges) > 0)
    finite = values[np.isfinite(values)]
    assert np.all((finite > edges[0]) & (finite < edges[-1]))


def test_distance_is_0_for_equal_and_1_for_disjoint_samples() -> None:
    axis = Axis(np.array([0.0, 1.0, 3.0]))
    left, right = density(np.full(5, 0.5), None, axis), density(np.full(3, 2.0), None, axis)
    beyond = density(np.full(3, 9.0), None, axis)
    assert distance(left, left, axis) == 0
    assert distance(left, right, axis) == distance(left, beyond, axis) == pytest.approx(1)


def test_the_ratio_panel_holds_the_well_measured_bins() -> None:
    error, off = np.full(10, 0.01), np.full(10, 1.2)
    assert ratio_span([np.ones(10)], [error], error) == 0.1
    assert ratio_span([np.ones(10), off], [error, error], error) == 0.25
    # bins that are all noise do not widen it, and there may be none
    assert ratio_span([off + 5.0], [np.full(10, 3.0)], error) == 0.1
    assert ratio_span([], [], error) == 0.1
