"""Places about lines of flight: distances to the line, circles, and the way back."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.detector.flight import across_flight, in_layer
from fastsim.event import Floats


def directions(num: int, seed: int) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 1.2, num), rng.uniform(-7, 7, num), rng.uniform(0, 100, num)


def test_the_distance_is_that_of_the_place_from_the_line() -> None:
    theta, phi, depth = directions(200, 1)
    x, y = np.random.default_rng(2).normal(0, 50, (2, 200))
    line = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=1)
    expected = np.linalg.norm(np.cross(np.stack([x, y, depth], axis=1), line), axis=1)
    np.testing.assert_allclose(np.hypot(*across_flight(x, y, depth, theta, phi)), expected, rtol=1e-9, atol=1e-9)


def test_places_go_there_and_back() -> None:
    theta, phi, depth = directions(200, 3)
    x, y = np.random.default_rng(4).normal(0, 50, (2, 200))
    there = across_flight(*in_layer(x, y, depth, theta, phi), depth, theta, phi)
    np.testing.assert_allclose(there, (x, y), atol=1e-9)


@pytest.mark.parametrize("phi", [0.0, 1.0, -2.5])
def test_along_the_normal_nothing_moves(phi: float) -> None:
    x, y = np.random.default_rng(5).normal(0, 50, (2, 20))
    np.testing.assert_array_equal(across_flight(x, y, 30.0, 0.0, phi), (x, y))
    np.testing.assert_array_equal(in_layer(x, y, 30.0, 0.0, phi), (x, y))


def test_alpha_is_about_the_axes_of_the_detector() -> None:
    """What lies further along the tilt than the line crosses the layer has alpha = phi, and is seen shortened."""
    depth, theta, phi = 40.0, 0.6, 2.0
    beyond = depth * np.tan(theta) + 10.0
    x, y = across_flight(beyond * np.cos(phi), beyond * np.sin(phi), depth, theta, phi)
    assert np.arctan2(y, x) == pytest.approx(phi)
    assert np.hypot(x, y) == pytest.approx(10.0 * np.cos(theta))
