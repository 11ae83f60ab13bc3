"""Shapes of events against closed forms and the search of every partition."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsim.event import ParticleSet, offsets_from_counts
from metrics.hadrons.event_shapes import EVENT_SHAPES, event_shapes


def events_of(*momenta: NDArray[np.float64]) -> ParticleSet:
    """Make events of massless particles with the three-momenta (n, 3) of each."""
    p = np.concatenate([np.asarray(m, dtype=float).reshape(-1, 3) for m in momenta])
    energy = np.sqrt(np.sum(p**2, axis=1))[:, None]
    counts = np.array([len(np.asarray(m).reshape(-1, 3)) for m in momenta])
    return ParticleSet(offsets_from_counts(counts), np.full(len(p), 22), np.concatenate([energy, p], axis=1))


def shapes_of(*momenta: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    return dict(zip(EVENT_SHAPES, event_shapes(events_of(*momenta))[0].T, strict=True))


def test_pencils_mercedes_and_cubes() -> None:
    angles = 2 * np.pi * np.arange(3) / 3
    mercedes = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    cube = np.concatenate([np.eye(3), -np.eye(3)])
    found = shapes_of(np.array([[0, 3.0, 4.0], [0, -3.0, -4.0]]), mercedes, cube)
    np.testing.assert_allclose(found["thrust"], [0, 1 / 3, 1 - np.sqrt(3) / 3], atol=1e-12)
    np.testing.assert_allclose(found["c_parameter"], [0, 0.75, 1], atol=1e-12)
    np.testing.assert_allclose(found["sphericity"], [0, 0.75, 1], atol=1e-12)
    np.testing.assert_allclose(found["aplanarity"], [0, 0, 0.5], atol=1e-12)
    np.testing.assert_allclose(found["thrust_major"][:2], [0, 1 / np.sqrt(3)], atol=1e-12)
    np.testing.assert_allclose(found["thrust_minor"][:2], 0, atol=1e-12)
    # two massless particles at 120 degrees: (p1 + p2)^2 = 2 (1 + 1/2) = 3, of 9
    np.testing.assert_allclose(found["heavy_mass"][:2], [0, 1 / 3], atol=1e-12)


def test_thrust_is_the_largest_over_all_partitions(rng: np.random.Generator) -> None:
    momenta = [rng.normal(size=(n, 3)) * rng.exponential(size=(n, 1)) for n in rng.integers(2, 10, 150)]
    found = shapes_of(*momenta)["thrust"]
    for p, value in zip(momenta, found, strict=True):
        largest = max(np.linalg.norm(np.array([1, *s]) @ p) for s in product((1, -1), repeat=len(p) - 1))
        assert 1 - value == pytest.approx(largest / np.linalg.norm(p, axis=1).sum(), abs=1e-9)


def test_shapes_do_not_depend_on_directions(rng: np.random.Generator) -> None:
    momenta = [rng.normal(size=(12, 3)) for _ in range(20)]
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    found, turned = shapes_of(*momenta), shapes_of(*(p @ turn for p in momenta))
    for name in EVENT_SHAPES:
        np.testing.assert_allclose(turned[name], found[name], atol=1e-9, err_msg=name)


def test_axes_are_orthogonal(rng: np.random.Generator) -> None:
    axes = event_shapes(events_of(*(rng.normal(size=(9, 3)) for _ in range(30))))[1]
    for one, other in ((axes.thrust, axes.major), (axes.thrust, axes.minor), (axes.major, axes.minor)):
        np.testing.assert_allclose(np.sum(one * other, axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(np.sum(axes.thrust**2, axis=1), 1)
    np.testing.assert_allclose(
        axes.sphericity @ axes.sphericity.transpose(0, 2, 1), np.tile(np.eye(3), (30, 1, 1)), atol=1e-9
    )


def test_events_of_few_particles() -> None:
    shapes, _ = event_shapes(events_of(np.zeros((0, 3)), np.array([[1.0, 0, 0]]), np.zeros((2, 3)), np.zeros((0, 3))))
    assert shapes.shape == (4, len(EVENT_SHAPES))
    np.testing.assert_array_equal(shapes[[0, 1, 3]], 0)
    assert np.isfinite(shapes).all()
    assert event_shapes(ParticleSet.empty(0))[0].shape == (0, len(EVENT_SHAPES))
