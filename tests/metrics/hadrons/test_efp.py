"""Energy flow polynomials against energyflow and against their definition."""

from __future__ import annotations

import tracemalloc
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metrics.hadrons import efp
from metrics.hadrons.efp import efps, efps_of_arrays, efps_padded
from metrics.hadrons.graphs import Graph, graphs
from metrics.hadrons.jets import Jets, relative
from tests.helpers.jets import toy_sets

TETRAHEDRON = Graph(list(combinations(range(4), 2)))
# vertices pinned one within another, cycles across cycles, pinned sums with more attached to them
ENTANGLED = (
    Graph(list(combinations(range(5), 2))),
    Graph([*TETRAHEDRON.edges, (0, 1), (2, 4), (4, 5), (4, 6), (6, 2)]),
    Graph([(0, 1), (1, 2), (1, 2), (2, 3), (3, 0), (0, 4), (4, 3), (2, 4), (1, 5)]),
    Graph([(k, m) for k in range(3) for m in range(3, 6)]),
    Graph([*TETRAHEDRON.edges, (4, 5)]),
)


def toy_arrays(num: int, width: int, rng: np.random.Generator, spread: float = 0.3) -> NDArray[Any]:
    """Draw (eta_rel, phi_rel, pT_rel) of 1 to ``width`` particles, padded with zeros."""
    counts = rng.integers(1, width, num, endpoint=True)
    columns = [rng.normal(0, spread, (num, width)), rng.uniform(-spread, spread, (num, width))]
    columns.append(rng.exponential(1 / width, (num, width)))
    filled = np.arange(width) < counts[:, None]
    return np.asarray(np.stack(columns, axis=2) * filled[:, :, None])


def by_definition(z: NDArray[Any], theta: NDArray[Any], graph: Graph) -> float:
    """Compute the polynomial as written in its definition, by a sum over all particle tuples."""
    letters = "abcdefghijkl"[: graph.num_vertices]
    operands = [z] * len(letters) + [theta] * graph.num_edges
    terms = [*letters, *(letters[i] + letters[j] for i, j in graph.edges)]
    return float(np.einsum(",".join(terms) + "->", *operands, optimize="greedy"))


def energyflow_values(particles: NDArray[Any], chosen: list[Graph], beta: float) -> NDArray[Any]:
    energyflow = pytest.importorskip("energyflow", reason="energyflow needs numpy < 2")
    options: dict[str, Any] = {"measure": "hadr", "beta": beta, "normed": None, "coords": "ptyphim"}
    polynomials = [energyflow.EFP(list(g.edges), **options) for g in chosen]
    sets = [p[p[:, 2] > 0][:, [2, 0, 1]] for p in particles]
    return np.array([[polynomial.compute(points) for polynomial in polynomials] for points in sets])


def test_every_polynomial_follows_its_definition(rng: np.random.Generator) -> None:
    z, eta, phi = rng.exponential(0.1, (3, 6)), rng.normal(0, 0.4, (3, 6)), rng.normal(0, 0.4, (3, 6))
    chosen = (*graphs("d<=6"), *ENTANGLED)
    found = efps_padded(z, eta, phi, graphs=chosen)
    for k in range(3):
        theta = np.hypot(eta[k][:, None] - eta[k], phi[k][:, None] - phi[k])
        np.testing.assert_allclose(found[k], [by_definition(z[k], theta, g) for g in chosen], rtol=1e-10)


@pytest.mark.parametrize("max_particles", [5, 300])
def test_the_default_is_the_set_of_energyflow(rng: np.random.Generator, max_particles: int) -> None:
    energyflow = pytest.importorskip("energyflow", reason="energyflow needs numpy < 2")
    jets = relative(*toy_sets(6, 12.0, rng))
    found = efps(jets, max_particles=max_particles, dtype=np.float64)
    reference = energyflow.EFPSet("d<=4", measure="hadr", beta=1, normed=None, coords="ptyphim")
    assert found.shape == (6, efp.NUM_EFPS)
    for i in range(len(jets)):
        kept = slice(jets.offsets[i], min(jets.offsets[i + 1], jets.offsets[i] + max_particles))
        points = np.stack([jets.pt_rel[kept], jets.eta_rel[kept], jets.phi_rel[kept]], axis=1)
        np.testing.assert_allclose(found[i], reference.compute(points), rtol=1e-10)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_random_graphs_agree_with_energyflow(rng: np.random.Generator, beta: float) -> None:
    """Check multigraphs of up to six edges, connected or not, whose programs share operations."""
    chosen = [TETRAHEDRON]
    while len(chosen) < 60:
        edges = [tuple(rng.choice(7, 2, replace=False)) for _ in range(rng.integers(1, 7))]
        number = {v: i for i, v in enumerate(dict.fromkeys(v for edge in edges for v in edge))}
        chosen.append(Graph([(number[k], number[m]) for k, m in edges]))
    particles = toy_arrays(4, 10, rng)
    found = efps_of_arrays(particles, graphs=chosen, beta=beta, dtype=np.float64)
    np.testing.assert_allclose(found, energyflow_values(particles, chosen, beta), rtol=1e-10)


def test_distances_in_phi_go_the_short_way(rng: np.random.Generator) -> None:
    particles = toy_arrays(5, 8, rng, spread=np.pi)
    chosen = list(graphs("d<=3"))
    found = efps_of_arrays(particles, graphs=chosen, dtype=np.float64)
    np.testing.assert_allclose(found, energyflow_values(particles, chosen, 1.0), rtol=1e-10)
    turned = particles.copy()
    turned[:, :, 1] = np.remainder(turned[:, :, 1] + 2.0 + np.pi, 2 * np.pi) - np.pi
    np.testing.assert_allclose(efps_of_arrays(turned, graphs=chosen, dtype=np.float64), found, rtol=1e-10)


def test_named_columns_are_those_graphs() -> None:
    chosen = graphs("d<=4")
    assert len(chosen) == efp.NUM_EFPS
    assert chosen[efp.DOT] == Graph()
    assert chosen[efp.EDGE] == Graph([(0, 1)])
    assert chosen[efp.TRIANGLE] == Graph([(0, 1), (0, 2), (1, 2)])


def test_columns_follow_the_graphs_given(rng: np.random.Generator) -> None:
    """Check that graphs in any order, repeated, alone or together give the same numbers."""
    particles = toy_arrays(20, 9, rng)
    chosen = graphs("d<=5")
    found = efps_of_arrays(particles, graphs=chosen, dtype=np.float64)
    some = rng.choice(len(chosen), 12)
    again = efps_of_arrays(particles, graphs=[chosen[i] for i in some], dtype=np.float64)
    np.testing.assert_allclose(again, found[:, some], rtol=1e-12)
    assert efps_of_arrays(particles, graphs=[]).shape == (20, 0)


def test_single_precision_is_good_to_1e_5(rng: np.random.Generator) -> None:
    jets = relative(*toy_sets(30, 120.0, rng))
    chosen = graphs("d<=5")
    double = efps(jets, graphs=chosen, max_particles=300, dtype=np.float64)
    single = efps(jets, graphs=chosen, max_particles=300)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, rtol=1e-5)


def test_arrays_agree_with_sets(rng: np.random.Generator) -> None:
    jets = relative(*toy_sets(40, 12.0, rng))
    width = int(jets.counts.max()) + 2
    particles = np.zeros((len(jets), width, 3))
    particles[np.arange(width) < jets.counts[:, None]] = np.stack([jets.eta_rel, jets.phi_rel, jets.pt_rel], axis=1)
    of_sets = efps(jets, max_particles=width, dtype=np.float64)
    np.testing.assert_allclose(efps_of_arrays(particles, dtype=np.float64), of_sets, rtol=1e-12)


def test_padding_and_order_change_nothing(rng: np.random.Generator) -> None:
    particles = toy_arrays(30, 9, rng)
    chosen = graphs("d<=6", "n<=4")
    found = efps_of_arrays(particles, graphs=chosen, dtype=np.float64)
    padded = np.pad(particles, ((0, 0), (0, 5), (0, 0)))
    padded[:, 9:, :2] = 3.0  # where padding lies does not matter
    shuffled = np.take_along_axis(padded, rng.permuted(np.tile(np.arange(14), (30, 1)), axis=1)[:, :, None], axis=1)
    for changed in (padded, shuffled):
        again = efps_of_arrays(changed, graphs=chosen, dtype=np.float64)
        np.testing.assert_allclose(again, found, rtol=1e-10)


def test_threads_change_no_bit(rng: np.random.Generator) -> None:
    particles = toy_arrays(3000, 30, rng)
    one = efps_of_arrays(particles, num_threads=1)
    for num_threads in (2, 5):
        np.testing.assert_array_equal(efps_of_arrays(particles, num_threads=num_threads), one)


def test_memory_does_not_grow_with_the_sample(rng: np.random.Generator) -> None:
    def peak(particles: NDArray[Any]) -> int:
        tracemalloc.start()
        try:
            result = efps_of_arrays(particles, num_threads=1)
            return tracemalloc.get_traced_memory()[1] - result.nbytes
        finally:
            tracemalloc.stop()

    particles = toy_arrays(8000, 20, rng).astype(np.float32)
    extra = peak(particles) - peak(particles[:2000])
    assert extra < particles[2000:].nbytes / 2


def test_empty_and_single_particle_sets() -> None:
    none, one = np.zeros(0), np.ones(1)
    empty = Jets(np.zeros(2, int), none.astype(int), none, none, none, none, none, np.ones(1, int), one)
    assert not efps(empty).any()
    single = Jets(np.array([0, 1]), np.array([22]), one, one, one, one, one, np.ones(1, int), one)
    expected = np.zeros(36)
    expected[0] = 1.0
    np.testing.assert_array_equal(efps(single)[0], expected)
    assert efps_of_arrays(np.zeros((0, 5, 3))).shape == (0, 36)
    for width in (0, 4):
        np.testing.assert_array_equal(efps_of_arrays(np.zeros((2, width, 3))), np.zeros((2, 36)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_particles_must_be_finite(rng: np.random.Generator, value: float) -> None:
    particles = toy_arrays(7, 5, rng)
    particles[4, 2, 1] = value
    with pytest.raises(ValueError, match="set 4 holds NaN or infinity"):
        efps_of_arrays(particles)


@pytest.mark.parametrize("shape", [(5, 3), (5, 4, 4), (3,)])
def test_particles_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, P, 3\)"):
        efps_of_arrays(np.zeros(shape))


@pytest.mark.parametrize("beta", [0.0, -1.0, np.nan])
def test_beta_must_be_positive(beta: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        efps_of_arrays(np.zeros((1, 2, 3)), beta=beta)
