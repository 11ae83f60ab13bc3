r"""Programs that sum energy flow polynomials: matrix and vector operations for a whole set of graphs.

EFP_G is a contraction of z (one a vertex) and theta (one an edge) over n particle indices. Vertices are eliminated one
by one, with w_k = z_k times all that has been attached to vertex k so far:

- a vertex k with one neighbour i leaves a leg at it, sum_k M_ik w_k: a matrix times a vector;
- a vertex k between i and j leaves a chain between them, sum_k M_ik w_k M_kj: a matrix product;
- where every vertex has three neighbours or more (the first such graph is the tetrahedron, d = 6), one vertex is pinned
  to each particle in turn, which multiplies its neighbours by rows of M, and the rest is eliminated as above.

Every operation has a number and stands once in a program, however many graphs share it. The vertex that remains last is
chosen graph by graph: the one that adds least to the operations already there.

References:
    Komiske, Metodiev, Thaler 2017, arXiv:1712.07124, section 5 (variable elimination).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from metrics.hadrons.graphs import Graph

Operation = Literal["z", "theta2", "root", "multiply", "scale", "chain", "leg", "times", "row", "sum", "dot", "pinned"]

_COST: Mapping[str, float] = {"multiply": 2, "scale": 2, "chain": 4, "leg": 1, "pinned": 1000}
"""About how many passes over a matrix of particle pairs an operation takes."""
_COST_OF_VECTORS = 0.1


@dataclass(frozen=True)
class Node:
    """An operation on other nodes.

    Matrices: ``theta2``, theta squared; ``root``, its square roots; ``multiply``, elementwise; ``scale``, M_ij w_j;
    ``chain``, the matrix product. Vectors: ``z``; ``times``, elementwise; ``leg``, sum_j M_ij w_j; ``row``, M_pj of the
    particle p that a vertex is pinned to. Scalars: ``sum``, sum_i w_i; ``dot``, sum_i w_i v_i; ``pinned``, sum_p w_p
    times the scalar that the body of the instruction gives for particle p.

    Attributes:
        operation: its name.
        inputs: numbers of the nodes that it takes; ~i stands for the transpose of matrix i.
        level: of row and pinned: 1 for a vertex pinned first, 2 for one pinned within its sum, and so on.
    """

    operation: Operation
    inputs: tuple[int, ...] = ()
    level: int = 0


@dataclass(frozen=True)
class Instruction:
    """The computation of a node.

    Attributes:
        number: of the node.
        node: the operation.
        uses: numbers of the nodes that must be known before.
        dead: numbers of the nodes that no later instruction needs.
        body: instructions that a pinned sum runs for each particle.
    """

    number: int
    node: Node
    uses: frozenset[int]
    dead: tuple[int, ...]
    body: tuple[Instruction, ...] = ()


@dataclass(frozen=True)
class Program:
    """The computation of the polynomials of a set of graphs.

    Attributes:
        instructions: in the order in which they run.
        factors: for each graph, the numbers of the scalars whose product is its polynomial.
    """

    instructions: tuple[Instruction, ...]
    factors: tuple[tuple[int, ...], ...]


@lru_cache(maxsize=64)
def compile_program(graphs: tuple[Graph, ...]) -> Program:
    """Find the program of a set of graphs; disconnected graphs are products of their components.

    Args:
        graphs: the graphs.

    Returns:
        The program, which is kept for the next call.
    """
    nodes = _Nodes()
    components = {c for g in graphs for c in g.components}
    scalars = {c: nodes.polynomial(c) for c in sorted(components, key=lambda c: (c.num_edges, c.num_vertices, c.edges))}
    factors = tuple(tuple(scalars[c] for c in g.components) for g in graphs)
    return Program(nodes.instructions(set(scalars.values()), 0), factors)


class _Nodes:
    """Operations numbered in the order in which they can be computed, each of them once."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._levels: list[int] = []
        self._numbers: dict[Node, int] = {}
        self._symmetric: set[int] = set()

    def polynomial(self, graph: Graph) -> int:
        """Add the operations of a connected graph, and return the number of its scalar."""
        attached: dict[int, tuple[int, ...]] = dict.fromkeys(range(graph.num_vertices), ())
        between = {edge: (self._power(times),) for edge, times in sorted(Counter(graph.edges).items())}
        last = min(attached, key=lambda v: self._cost(lambda: self._eliminate(attached, between, v, 1)))
        return self._eliminate(attached, between, last, 1)

    def instructions(self, outputs: set[int], level: int) -> tuple[Instruction, ...]:
        """List the instructions of this level or higher that lead to the given nodes."""
        uses: dict[int, frozenset[int]] = {}
        bodies: dict[int, tuple[Instruction, ...]] = {}
        open_nodes = list(outputs)
        while open_nodes:
            i = open_nodes.pop()
            if i in uses or self._levels[i] < level:
                continue
            node = self._nodes[i]
            inputs = {_number(k) for k in node.inputs}
            if node.operation == "pinned":
                bodies[i] = self.instructions({node.inputs[1]}, node.level)
                inputs = {node.inputs[0]}.union(*(s.uses for s in bodies[i])) - {s.number for s in bodies[i]}
            uses[i] = frozenset(inputs)
            open_nodes += inputs
        order = sorted(uses)
        last_use = {k: i for i in order for k in uses[i] if k in uses and k not in outputs}
        dead = {i: tuple(sorted(k for k in uses[i] if last_use.get(k) == i)) for i in order}
        return tuple(Instruction(i, self._nodes[i], uses[i], dead[i], bodies.get(i, ())) for i in order)

    def _eliminate(
        self,
        attached: Mapping[int, tuple[int, ...]],
        between: Mapping[tuple[int, int], tuple[int, ...]],
        last: int,
        level: int,
    ) -> int:
        """Eliminate all vertices, ``last`` as the last one, and return the number of the scalar.

        Args:
            attached: numbers of the vectors that multiply at each vertex.
            between: numbers of the matrices that multiply between two vertices.
            last: the vertex that is eliminated last.
            level: number of pinned vertices, plus 1.
        """
        if len(attached) == 1:
            return self._total(attached[last])
        near = {v: sorted({*sum((e for e in between if v in e), ())} - {v}) for v in attached}
        fewest = min(len(near[v]) for v in attached if v != last)
        choice = [v for v in attached if v != last and len(near[v]) == fewest]

        def matrix(i: int, k: int) -> int:
            return self._multiply(between[i, k]) if i < k else self._transpose(self._multiply(between[k, i]))

        def bridge(k: int) -> int:
            i, j = near[k]
            return self._chain(matrix(i, k), self._weight(attached[k]), matrix(k, j))

        k = min(choice, key=lambda v: self._cost(lambda: bridge(v))) if fewest == 2 else choice[0]
        rest = {v: factors for v, factors in attached.items() if v != k}
        pairs = {edge: factors for edge, factors in between.items() if k not in edge}
        if fewest == 1:
            (i,) = near[k]
            rest[i] = (*rest[i], self._node("leg", matrix(i, k), self._weight(attached[k])))
        elif fewest == 2:
            i, j = near[k]
            pairs[i, j] = (*pairs.get((i, j), ()), bridge(k))
        else:
            weight = self._weight(attached[k])
            for i in near[k]:
                rest[i] = (*rest[i], self._node("row", matrix(k, i), level=level))
            return self._node("pinned", weight, self._eliminate(rest, pairs, last, level + 1), level=level)
        return self._eliminate(rest, pairs, last, level)

    def _node(self, operation: Operation, *inputs: int, level: int = 0) -> int:
        """Return the number of an operation, which is added if it is new."""
        node = Node(operation, inputs, level)
        if node not in self._numbers:
            depth = level - (operation == "pinned")
            self._levels.append(max([depth, *(self._levels[_number(i)] for i in inputs if operation != "pinned")]))
            self._numbers[node] = len(self._nodes)
            self._nodes.append(node)
        return self._numbers[node]

    def _cost(self, build: Callable[[], int]) -> float:
        """Compute what an expression adds to the operations already there; the added ones are taken back."""
        before = len(self._nodes)
        build()
        new = self._nodes[before:]
        for node in new:
            self._symmetric.discard(self._numbers.pop(node))
        del self._nodes[before:], self._levels[before:]
        return sum(_COST.get(node.operation, _COST_OF_VECTORS) for node in new)

    def _transpose(self, matrix: int) -> int:
        """Return the reference to a matrix's transpose: itself if it is symmetric."""
        return matrix if matrix in self._symmetric else ~matrix

    def _power(self, exponent: int) -> int:
        """Add theta to a power, a symmetric matrix."""
        if exponent <= 2:
            matrix = self._node("theta2")
            if exponent == 1:
                self._symmetric.add(matrix)
                matrix = self._node("root", matrix)
        else:
            matrix = self._node("multiply", self._power(exponent // 2), self._power(exponent - exponent // 2))
        self._symmetric.add(matrix)
        return matrix

    def _multiply(self, factors: Iterable[int]) -> int:
        """Add the elementwise product of matrices."""
        first, *others = sorted(factors)
        for second in others:
            mirror = Node("multiply", (self._transpose(first), self._transpose(second)))
            if mirror in self._numbers:
                first = self._transpose(self._numbers[mirror])
                continue
            product = self._node("multiply", first, second)
            if {first, second} <= self._symmetric or first == self._transpose(second):
                self._symmetric.add(product)
            first = product
        return first

    def _chain(self, left: int, weight: int, right: int) -> int:
        """Add sum_k L_ik w_k R_kj, as the transpose of its transpose if more of that is there already."""

        def known(one: int, other: int) -> int:
            scaled = self._numbers.get(Node("scale", (one, weight)))
            return 0 if scaled is None else 1 + (Node("chain", (scaled, other)) in self._numbers)

        turned_left, turned_right = self._transpose(right), self._transpose(left)
        if known(turned_left, turned_right) > known(left, right):
            return self._transpose(self._chain(turned_left, weight, turned_right))
        chain = self._node("chain", self._node("scale", left, weight), right)
        if left == turned_left:
            self._symmetric.add(chain)
        return chain

    def _weight(self, factors: Iterable[int]) -> int:
        """Add z times the vectors that are attached to a vertex."""
        weight = self._node("z")
        for factor in sorted(factors):
            weight = self._node("times", weight, factor)
        return weight

    def _total(self, factors: tuple[int, ...]) -> int:
        """Add the sum over a vertex."""
        if not factors:
            return self._node("sum", self._weight(()))
        *others, final = sorted(factors)
        return self._node("dot", self._weight(others), final)


def _number(reference: int) -> int:
    """Return the number of a matrix, given itself or as ~i for its transpose."""
    return ~reference if reference < 0 else reference
