"""Multigraphs: known numbers, energyflow's sets, isomorphism by brute force."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metrics.hadrons.graphs import Graph, graphs

# arXiv:1712.07124: multigraphs without loops and isolated vertices by number of edges, and those that are connected
ALL = [1, 1, 3, 8, 23, 66, 212]
CONNECTED = [1, 1, 2, 5, 12, 33, 103]


def random_graph(rng: np.random.Generator, num_edges: int, num_vertices: int) -> Graph:
    """Draw edges between random vertices, which are then numbered without gaps."""
    edges = [tuple(rng.choice(num_vertices, 2, replace=False)) for _ in range(num_edges)]
    number = {v: i for i, v in enumerate(sorted({v for edge in edges for v in edge}))}
    return Graph([(number[k], number[m]) for k, m in edges])


def relabelled(graph: Graph, labels: NDArray[Any] | tuple[int, ...]) -> Graph:
    return Graph([(labels[k], labels[m]) for k, m in graph.edges])


@pytest.mark.parametrize("num_edges", range(7))
def test_numbers_of_graphs(num_edges: int) -> None:
    found = graphs(f"d=={num_edges}")
    assert (len(found), sum(g.num_components == 1 for g in found)) == (ALL[num_edges], CONNECTED[num_edges])
    assert all(g.num_edges == num_edges for g in found)
    assert [g.canonical() for g in found] == list(found)
    assert len(set(found)) == len(found)


def test_the_sets_are_those_of_energyflow() -> None:
    energyflow = pytest.importorskip("energyflow", reason="energyflow needs numpy < 2")
    for conditions in (["d<=4"], ["d<=6"], ["d<=6", "p==1"], ["d<=5", "n==4"], ["d<=6", "n<=5", "p>1"]):
        with np.testing.suppress_warnings() as warnings:
            warnings.filter(UserWarning)  # of factors that the conditions leave out
            rows = energyflow.EFPSet("d<=6", "p<=9")
            chosen = rows.sel(*conditions)
        theirs = [Graph(edges).canonical() for edges, kept in zip(rows.graphs(), chosen, strict=True) if kept]
        ours = graphs(*conditions)
        assert set(ours) == set(theirs)
        assert len(ours) == len(theirs)
        if conditions == ["d<=4"]:
            assert list(ours) == theirs


def test_a_larger_set_keeps_the_order_of_a_smaller_one() -> None:
    larger, smaller = graphs("d<=6"), graphs("d<=4")
    assert tuple(g for g in larger if g.num_edges <= 4) == smaller
    assert graphs("n==4", "d==4", "p==1") == tuple(
        g for g in larger if (g.num_vertices, g.num_edges, g.num_components) == (4, 4, 1)
    )


def test_relabelling_does_not_change_the_canonical_graph(rng: np.random.Generator) -> None:
    for _ in range(200):
        graph = random_graph(rng, int(rng.integers(1, 10)), int(rng.integers(2, 9)))
        again = relabelled(graph, rng.permutation(graph.num_vertices))
        assert again.canonical() == graph.canonical()
        assert graph.canonical().canonical() == graph.canonical()
        assert graph.canonical().num_edges == graph.num_edges


def test_canonical_graphs_are_equal_only_if_some_relabelling_makes_them_so(rng: np.random.Generator) -> None:
    pairs = [(random_graph(rng, 5, 5), random_graph(rng, 5, 5)) for _ in range(300)]
    equal = 0
    for one, other in pairs:
        same_size = one.num_vertices == other.num_vertices
        isomorphic = same_size and any(
            relabelled(one, labels) == other for labels in permutations(range(one.num_vertices))
        )
        assert (one.canonical() == other.canonical()) == isomorphic
        equal += isomorphic
    assert 0 < equal < len(pairs)


def test_components() -> None:
    graph = Graph([(0, 4), (4, 0), (1, 2), (3, 2)])
    assert (graph.num_vertices, graph.num_edges, graph.num_components) == (5, 4, 2)
    assert graph.components == (Graph([(0, 1), (0, 1)]), Graph([(0, 1), (1, 2)]).canonical())
    assert (Graph().num_vertices, Graph().num_edges, Graph().num_components) == (1, 0, 1)


@pytest.mark.parametrize(
    ("edges", "message"),
    [([(0, 1), (1, 1)], "from a vertex to itself"), ([(0, 1), (1, 3)], r"vertices \[0, 1, 3\]: number them 0 to n-1")],
)
def test_edges_that_make_no_graph(edges: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Graph(edges)


@pytest.mark.parametrize("condition", ["c<=3", "d<=", "d=4", "d<=4.5", "four", ""])
def test_conditions_of_another_form(condition: str) -> None:
    with pytest.raises(ValueError, match="expected n, d or p, a comparison and a number"):
        graphs("d<=4", condition)


@pytest.mark.parametrize("conditions", [(), ("n<=4",), ("d>=2", "p==1"), ("d!=3",)])
def test_a_set_must_be_finite(conditions: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="limit the edges"):
        graphs(*conditions)
