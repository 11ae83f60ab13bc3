"""Loopless multigraphs up to isomorphism, each of which names an energy flow polynomial.

A graph of n vertices, d edges (parallel edges count) and p connected components stands for a polynomial of degree n in
z and degree d in theta; a graph of several components is the product of its components, and p = 1 is prime. No vertex
is isolated, but for the graph of one vertex and no edge.

Order of a set of graphs: connected before disconnected; disconnected ones by n, d, p and the numbers of vertices of
their components. Then, for both, by n, by the simple graph beneath (number of its edges, its degrees in rising order,
its edges), by d, by the multiplicities of the edges in rising order, by the degrees in falling order, and last by the
edges of the canonical labelling. For d <= 4 this is the order of ``energyflow.EFPSet("d<=4")`` and of JetNet's 36
features; beyond, a set holds the same graphs in another order.

References:
    Komiske, Metodiev, Thaler 2017, arXiv:1712.07124 (numbers of graphs by d).
    McKay, Piperno 2014, arXiv:1301.1493 (canonical labelling by refinement and individualisation).
"""

from __future__ import annotations

import operator
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations, combinations_with_replacement
from typing import Any

Edges = tuple[tuple[int, int], ...]

_COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    "<=": operator.le, ">=": operator.ge, "==": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt,
}  # fmt: skip


@dataclass(frozen=True)
class Graph:
    """A loopless multigraph on the vertices 0 ... n-1; ``edges`` are pairs of vertices, parallel edges repeated.

    Graphs are equal if their edges are; isomorphic graphs have equal :meth:`canonical` graphs.

    >>> square = Graph([(0, 1), (1, 2), (2, 3), (3, 0)])
    >>> square.num_vertices, square.num_edges, square.num_components
    (4, 4, 1)

    Raises:
        ValueError: if an edge joins a vertex with itself, or the vertices are not numbered 0 ... n-1 without a gap.
    """

    edges: Edges = ()

    def __init__(self, edges: Sequence[Sequence[int]] = ()) -> None:
        pairs = tuple(sorted((min(int(k), int(m)), max(int(k), int(m))) for k, m in edges))
        vertices = sorted({v for edge in pairs for v in edge})
        if any(k == m for k, m in pairs):
            raise ValueError(f"graph {list(pairs)} has an edge from a vertex to itself: edges join two vertices")
        if vertices != list(range(len(vertices))):
            raise ValueError(f"graph {list(pairs)} has the vertices {vertices}: number them 0 to n-1 without a gap")
        object.__setattr__(self, "edges", pairs)

    @property
    def num_vertices(self) -> int:
        """n: degree of the polynomial in z."""
        return 1 + max((m for _, m in self.edges), default=0)

    @property
    def num_edges(self) -> int:
        """d: degree of the polynomial in theta, parallel edges counted."""
        return len(self.edges)

    @property
    def num_components(self) -> int:
        """p: number of connected factors."""
        return len(self.components)

    @cached_property
    def components(self) -> tuple[Graph, ...]:
        """The connected graphs that this one consists of, canonically labelled, in the order of this module."""
        part = list(range(self.num_vertices))
        for k, m in self.edges:
            old, new = part[m], part[k]
            part = [new if p == old else p for p in part]
        return tuple(sorted((self._component(part, p) for p in sorted(set(part))), key=_connected_key))

    def canonical(self) -> Graph:
        """Return this graph in the labelling that all isomorphic graphs share.

        >>> Graph([(0, 1), (1, 2)]).canonical() == Graph([(0, 2), (1, 2)]).canonical()
        True
        """
        return _union(self.components)

    def _component(self, part: Sequence[int], chosen: int) -> Graph:
        number = {v: i for i, v in enumerate(v for v, p in enumerate(part) if p == chosen)}
        neighbours: list[Counter[int]] = [Counter() for _ in number]
        for k, m in self.edges:
            if part[k] == chosen:
                neighbours[number[k]][number[m]] += 1
                neighbours[number[m]][number[k]] += 1
        edges = [(number[k], number[m]) for k, m in self.edges if part[k] == chosen]
        labellings = _labellings(neighbours, [0] * len(number))
        return Graph(min(sorted(tuple(sorted((label[k], label[m]))) for k, m in edges) for label in labellings))


def graphs(*conditions: str) -> tuple[Graph, ...]:
    """List all graphs that meet every condition, canonically labelled, in the order of this module.

    Args:
        conditions: each a letter, a comparison (<=, <, ==, !=, >=, >) and a number: "n<=4" limits the number of
            vertices, "d<=4" the number of edges, "p==1" the number of connected components.

    Returns:
        The graphs.

    Raises:
        ValueError: for a condition of another form, or without an upper limit on d.

    >>> len(graphs("d<=4")), len(graphs("d<=4", "p==1")), len(graphs("n==4", "d==4", "p==1"))
    (36, 21, 5)
    """
    tests = [_parse(condition) for condition in conditions]
    limits = {
        letter: [number - (sign == "<") for name, sign, number in tests if name == letter and sign in ("<", "<=", "==")]
        for letter in "nd"
    }
    if not limits["d"]:
        raise ValueError(f"graphs({', '.join(map(repr, conditions))}): infinitely many; limit the edges, as in 'd<=4'")
    max_edges = min(limits["d"])
    max_vertices = min([*limits["n"], 2 * max(max_edges, 1)])

    def chosen(n: int, d: int, p: int) -> bool:
        size = {"n": n, "d": d, "p": p}
        return all(_COMPARISONS[sign](size[letter], number) for letter, sign, number in tests)

    selected = []
    for d in range(max_edges + 1):
        for parts in _partitions(d, d):
            for factors in _products(parts, max_vertices):
                if chosen(sum(f.num_vertices for f in factors), d, len(factors)):
                    selected.append(_union(factors))
    return tuple(sorted(selected, key=_key))


def _parse(condition: str) -> tuple[str, str, int]:
    """Split a condition into its letter, comparison and number."""
    match = re.fullmatch(r"\s*([ndp])\s*(<=|>=|==|!=|<|>)\s*(\d+)\s*", condition)
    if match is None:
        raise ValueError(f"condition {condition!r}: expected n, d or p, a comparison and a number, as in 'd<=4'")
    return match[1], match[2], int(match[3])


def _partitions(total: int, largest: int) -> Iterator[tuple[int, ...]]:
    """Yield partitions of a number into falling parts; (0,) for 0, the graph of one vertex."""
    if total <= largest:
        yield (total,)
    for first in range(min(total - 1, largest), 0, -1):
        yield from ((first, *rest) for rest in _partitions(total - first, first))


def _products(parts: Sequence[int], max_vertices: int) -> Iterator[tuple[Graph, ...]]:
    """Yield multisets of connected graphs with these numbers of edges and ``max_vertices`` vertices at most."""
    if not parts:
        yield ()
        return
    repeated = sum(part == parts[0] for part in parts)
    for chosen in combinations_with_replacement(_connected(parts[0], max_vertices), repeated):
        left = max_vertices - sum(g.num_vertices for g in chosen)
        if left >= 0:
            yield from ((*chosen, *rest) for rest in _products(parts[repeated:], left))


@cache
def _connected(num_edges: int, max_vertices: int) -> tuple[Graph, ...]:
    """List connected graphs of d edges: each is a graph of d - 1 edges with one edge, or one leaf, more."""
    if num_edges == 0:
        return (Graph(),) if max_vertices >= 1 else ()
    larger: set[Graph] = set()
    for smaller in _connected(num_edges - 1, max_vertices):
        n = smaller.num_vertices
        new = [*combinations(range(n), 2), *((v, n) for v in range(n) if n < max_vertices)]
        larger.update(Graph([*smaller.edges, edge]).canonical() for edge in new)
    return tuple(sorted(larger, key=_connected_key))


def _union(factors: Sequence[Graph]) -> Graph:
    """Join graphs to one disjoint union, whose vertices are numbered graph by graph."""
    edges: list[tuple[int, int]] = []
    first = 0
    for factor in sorted(factors, key=_connected_key):
        edges += [(k + first, m + first) for k, m in factor.edges]
        first += factor.num_vertices
    return Graph(edges)


def _key(graph: Graph) -> tuple[Any, ...]:
    """Make the sort key of a canonical graph."""
    p = graph.num_components
    sizes = [g.num_vertices for g in graph.components]
    disconnected = (graph.num_vertices, graph.num_edges, p, sizes) if p > 1 else ()
    return (p > 1, *disconnected, *_connected_key(graph))


@cache
def _connected_key(graph: Graph) -> tuple[Any, ...]:
    """Make the sort key of a canonical connected graph."""
    multiplicity = Counter(graph.edges)
    simple = Graph(tuple(multiplicity))
    if simple != graph:
        simple = simple.canonical()
    return (
        graph.num_vertices,
        simple.num_edges,
        sorted(Counter(v for edge in simple.edges for v in edge).values()),
        simple.edges,
        graph.num_edges,
        sorted(multiplicity.values()),
        sorted(Counter(v for edge in graph.edges for v in edge).values(), reverse=True),
        graph.edges,
    )


def _labellings(neighbours: Sequence[Counter[int]], colours: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield numberings of the vertices of a connected graph, alike for isomorphic graphs up to automorphisms.

    Colours are refined by the colours around them until nothing changes; where vertices still share one, each in turn
    is singled out. Vertices with the same neighbours are interchangeable: one of them will do.
    """
    while True:
        around = [
            (colours[v], tuple(sorted((colours[u], times) for u, times in near.items())))
            for v, near in enumerate(neighbours)
        ]
        rank = {signature: i for i, signature in enumerate(sorted(set(around)))}
        if len(rank) == len(set(colours)):
            break
        colours = [rank[signature] for signature in around]
    colours = [rank[signature] for signature in around]
    cells = defaultdict(list)
    for v, colour in enumerate(colours):
        cells[colour].append(v)
    shared = [cell for _, cell in sorted(cells.items()) if len(cell) > 1]
    if not shared:
        yield colours
        return
    for v in {frozenset(neighbours[v].items()): v for v in shared[0]}.values():
        yield from _labellings(neighbours, [2 * colour + (u != v) for u, colour in enumerate(colours)])
