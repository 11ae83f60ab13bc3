"""Energy flow polynomials against energyflow and against their definition."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.hadrons.efp import efps, efps_padded
from metrics.hadrons.jets import Jets, relative
from tests.helpers.jets import toy_sets

# energyflow.EFPSet("d<=4").graphs()
GRAPHS = [
    [], [(0, 1)], [(0, 1)] * 2, [(0, 1)] * 3, [(0, 1)] * 4, [(0, 1), (0, 2)], [(0, 1), (0, 2), (0, 2)],
    [(0, 1), (0, 2), (0, 2), (0, 2)], [(0, 1), (0, 1), (0, 2), (0, 2)], [(0, 1), (0, 2), (1, 2)],
    [(0, 1), (0, 2), (0, 2), (1, 2)], [(0, 1), (0, 2), (0, 3)], [(0, 1), (0, 2), (0, 2), (0, 3)],
    [(0, 1), (0, 2), (1, 3)], [(0, 1), (0, 2), (0, 2), (1, 3)], [(0, 1), (0, 1), (0, 2), (1, 3)],
    [(0, 1), (0, 2), (1, 2), (0, 3)], [(0, 1), (0, 2), (1, 3), (2, 3)], [(0, 1), (0, 2), (0, 3), (0, 4)],
    [(0, 1), (0, 2), (0, 3), (1, 4)], [(0, 1), (0, 2), (1, 3), (2, 4)], [(0, 1), (2, 3)],
    [(0, 1), (2, 3), (2, 3)], [(0, 1), (2, 3), (2, 3), (2, 3)], [(0, 1), (0, 1), (2, 3), (2, 3)],
    [(0, 1), (2, 3), (2, 4)], [(0, 1), (0, 1), (2, 3), (2, 4)], [(0, 1), (2, 3), (2, 4), (2, 4)],
    [(0, 1), (2, 3), (2, 4), (3, 4)], [(0, 1), (2, 3), (4, 5)], [(0, 1), (2, 3), (2, 4), (2, 5)],
    [(0, 1), (2, 3), (2, 4), (3, 5)], [(0, 1), (0, 2), (3, 4), (3, 5)], [(0, 1), (2, 3), (4, 5), (4, 5)],
    [(0, 1), (2, 3), (4, 5), (4, 6)], [(0, 1), (2, 3), (4, 5), (6, 7)],
]  # fmt: skip


def by_definition(z: np.ndarray, theta: np.ndarray, graph: list[tuple[int, int]]) -> float:
    """The polynomial as written in its definition, by a sum over all particle tuples."""
    letters = "abcdefgh"[: 1 + max((max(e) for e in graph), default=0)]
    operands = [z] * len(letters) + [theta] * len(graph)
    terms = [*letters, *(letters[i] + letters[j] for i, j in graph)]
    return float(np.einsum(",".join(terms) + "->", *operands, optimize="greedy"))


def test_every_polynomial_follows_its_definition(rng: np.random.Generator) -> None:
    z, eta, phi = rng.exponential(0.1, (3, 9)), rng.normal(0, 0.4, (3, 9)), rng.normal(0, 0.4, (3, 9))
    found = efps_padded(z, eta, phi)
    for k in range(3):
        theta = np.hypot(eta[k][:, None] - eta[k], phi[k][:, None] - phi[k])
        expected = [by_definition(z[k], theta, graph) for graph in GRAPHS]
        np.testing.assert_allclose(found[k], expected, rtol=1e-10)


@pytest.mark.parametrize("max_particles", [5, 300])
def test_agrees_with_energyflow(rng: np.random.Generator, max_particles: int) -> None:
    energyflow = pytest.importorskip("energyflow", reason="energyflow needs numpy < 2")
    jets = relative(*toy_sets(6, 12.0, rng))
    found = efps(jets, max_particles=max_particles, dtype=np.float64)
    reference = energyflow.EFPSet("d<=4", measure="hadr", beta=1, normed=None, coords="ptyphim")
    assert [list(g) for g in reference.graphs()] == GRAPHS
    for i in range(len(jets)):
        kept = slice(jets.offsets[i], min(jets.offsets[i + 1], jets.offsets[i] + max_particles))
        points = np.stack([jets.pt_rel[kept], jets.eta_rel[kept], jets.phi_rel[kept]], axis=1)
        np.testing.assert_allclose(found[i], reference.compute(points), rtol=1e-10)


def test_single_precision_is_good_to_1e_5(rng: np.random.Generator) -> None:
    jets = relative(*toy_sets(50, 120.0, rng))
    double = efps(jets, max_particles=300, dtype=np.float64)
    np.testing.assert_allclose(efps(jets, max_particles=300), double, rtol=1e-5)


def test_padding_changes_nothing(rng: np.random.Generator) -> None:
    z, eta, phi = rng.exponential(0.1, (2, 6)), rng.normal(0, 0.4, (2, 6)), rng.normal(0, 0.4, (2, 6))
    padded = [np.pad(a, ((0, 0), (0, 4))) for a in (z, eta, phi)]
    np.testing.assert_allclose(efps_padded(*padded), efps_padded(z, eta, phi), rtol=1e-12)


def test_empty_and_single_particle_sets() -> None:
    none, one = np.zeros(0), np.ones(1)
    empty = Jets(np.zeros(2, int), none.astype(int), none, none, none, np.zeros((0, 4)), np.ones(1, int), one)
    assert not efps(empty).any()
    single = Jets(np.array([0, 1]), np.array([22]), one, one, one, np.ones((1, 4)), np.ones(1, int), one)
    expected = np.zeros(36)
    expected[0] = 1.0
    np.testing.assert_array_equal(efps(single)[0], expected)
