r"""Energy flow polynomials (EFPs) of any set of graphs, for many particle sets at once.

EFP_G = sum_{i_1} ... sum_{i_n} z_{i_1} ... z_{i_n} prod_{(k,l) in G} theta_{i_k i_l}, with z = pT_rel and
theta_ij = (deta_ij^2 + dphi_ij^2)^(beta/2), dphi within [-pi, pi] (energyflow's measure "hadr", normed = None,
coordinates "ptyphim" with massless particles, as JetNet does). By default beta = 1 and the 36
graphs with at most four edges.

Sets of similar multiplicity are padded to one length and summed together by the program of
:mod:`metrics.hadrons.contraction`. Batches are cut by the data alone and their pair matrices stay within a core's
cache: the number of threads changes no bit of the result, and the memory
needed besides the particles and the result hardly grows with the sample.

References:
    Komiske, Metodiev, Thaler 2017, arXiv:1712.07124. Kansal et al. 2022, arXiv:2211.10295.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.hadrons.contraction import Instruction, compile_program
from metrics.hadrons.graphs import Graph, graphs
from metrics.hadrons.jets import Jets, padded_batches

DEFAULT_GRAPHS = graphs("d<=4")
NUM_EFPS = 36
DOT, EDGE, TRIANGLE = 0, 1, 9
"""Columns of the default EFPs: sum of z, sum of z z theta, sum of z z z theta theta theta."""

Array = NDArray[Any]
_Batch = tuple[NDArray[np.int64], Array, Array, Array]


def efps(
    jets: Jets,
    *,
    graphs: Sequence[Graph] = DEFAULT_GRAPHS,
    beta: float = 1.0,
    max_particles: int = 50,
    dtype: type[np.floating[Any]] = np.float32,
    num_threads: int | None = None,
) -> Array:
    """Compute EFPs of the leading particles of each set.

    Args:
        jets: N sets relative to their partons.
        graphs: G graphs, as :func:`metrics.hadrons.graphs.graphs` selects them.
        beta: exponent of the distances, positive.
        max_particles: leading particles by pT that are kept (JetNet keeps 30).
        dtype: float32 (relative rounding about 1e-6) or float64.
        num_threads: default one a core; the result does not depend on it. The matrix products are small: keep the
            threads of the linear algebra library at one (OMP_NUM_THREADS=1).

    Returns:
        EFPs in the order of the graphs, shape (N, G).

    Raises:
        ValueError: if beta is not positive.
    """
    return _fill(len(jets), padded_batches(jets, max_particles, dtype), graphs, beta, dtype, num_threads)


def efps_of_arrays(
    particles: Array,
    *,
    graphs: Sequence[Graph] = DEFAULT_GRAPHS,
    beta: float = 1.0,
    dtype: type[np.floating[Any]] = np.float32,
    num_threads: int | None = None,
) -> Array:
    """Compute EFPs of padded arrays in JetNet's layout.

    Args:
        particles: (eta_rel, phi_rel, pT_rel) of P particles in each of N sets, shape (N, P, 3); padding has pT_rel = 0.
        graphs, beta, dtype, num_threads: as in :func:`efps`.

    Returns:
        EFPs in the order of the graphs, shape (N, G).

    Raises:
        ValueError: if the shape is another, or particles hold NaN or infinity.

    >>> pair = np.array([[[0.0, 0.0, 0.75], [0.3, 0.4, 0.25]]])
    >>> edge = Graph([(0, 1)])
    >>> efps_of_arrays(pair, graphs=[Graph(), edge], dtype=np.float64)[0]  # 1 and 2 x 0.75 x 0.25 x 0.5
    array([1.    , 0.1875])
    """
    particles = np.asarray(particles)
    if particles.ndim != 3 or particles.shape[2] != 3:
        raise ValueError(f"particles of shape {particles.shape}: expected (N, P, 3), (eta_rel, phi_rel, pT_rel)")
    if particles.shape[1] == 0:
        particles = np.zeros((len(particles), 1, 3))
    finite = np.isfinite(particles).all(axis=(1, 2))
    if not finite.all():
        raise ValueError(f"set {int(np.argmin(finite))} holds NaN or infinity: EFPs need finite particles")
    return _fill(len(particles), _array_batches(particles, dtype), graphs, beta, dtype, num_threads)


def efps_padded(
    z: Array, eta: Array, phi: Array, *, graphs: Sequence[Graph] = DEFAULT_GRAPHS, beta: float = 1.0
) -> Array:
    """Compute EFPs of sets of equal length, all at once; padded particles have z = 0.

    Args:
        z, eta, phi: pT_rel, pseudorapidity and azimuth, each (n, width), of one floating type.
        graphs, beta: as in :func:`efps`.

    Returns:
        EFPs in the order of the graphs, shape (n, G), of the same type.
    """
    batch = (np.arange(len(z)), z, eta, phi)
    return _fill(len(z), [batch], graphs, beta, z.dtype.type, num_threads=1)


def _array_batches(particles: Array, dtype: type[np.floating[Any]], num_pairs: int = 80_000) -> Iterator[_Batch]:
    """Yield batches of padded arrays as :func:`metrics.hadrons.jets.padded_batches` does of ragged sets.

    The width of a batch goes up to the last particle of its sets.
    """
    lengths = particles.shape[1] - np.argmax(particles[:, ::-1, 2] != 0, axis=1)
    order = np.argsort(lengths, kind="stable")[::-1]
    first = 0
    while first < len(order):
        width = int(lengths[order[first]])
        rows = order[first : first + max(1, num_pairs // width**2)]
        eta, phi, z = np.moveaxis(particles[rows, :width].astype(dtype), 2, 0)
        yield rows, z, eta, phi
        first += len(rows)


def _fill(
    num_sets: int,
    batches: Iterable[_Batch],
    graphs: Sequence[Graph],
    beta: float,
    dtype: type[np.floating[Any]],
    num_threads: int | None,
) -> Array:
    """Compute EFPs of all batches, which the threads take one by one."""
    if not beta > 0:
        raise ValueError(f"beta = {beta}: the exponent of the distances must be positive")
    program = compile_program(tuple(graphs))
    out = np.empty((num_sets, len(graphs)), dtype=dtype)
    waiting, lock = iter(batches), Lock()

    def work() -> None:
        matrices = _Matrices(dtype)
        while True:
            with lock:
                batch = next(waiting, None)
            if batch is None:
                return
            rows, z, eta, phi = batch
            scalars = _Evaluation(z, eta, phi, beta, matrices).scalars(program.instructions)
            out[rows] = np.transpose([reduce(np.multiply, [scalars[i] for i in f]) for f in program.factors])

    num_threads = num_threads or os.cpu_count() or 1
    if num_threads == 1:
        work()
    else:
        with ThreadPoolExecutor(num_threads) as pool:
            for future in [pool.submit(work) for _ in range(num_threads)]:
                future.result()
    return out


class _Matrices:
    """Memory of pair matrices that is used again: fresh pages would cost as much as the sums themselves."""

    def __init__(self, dtype: type[np.floating[Any]]) -> None:
        self._dtype = dtype
        self._free: list[Array] = []

    def take(self, shape: tuple[int, ...]) -> Array:
        size = math.prod(shape)
        flat = self._free.pop() if self._free else np.empty(size, self._dtype)
        if len(flat) < size:
            flat = np.empty(size, self._dtype)
        return flat[:size].reshape(shape)

    def give_back(self, matrix: Array) -> None:
        assert matrix.base is not None
        self._free.append(matrix.base)


class _Evaluation:
    """Values of a program's nodes for n sets of one width: scalars (n,), vectors (n, P), matrices (n, P, P)."""

    def __init__(self, z: Array, eta: Array, phi: Array, beta: float, matrices: _Matrices) -> None:
        self._z, self._eta, self._phi, self._beta = z, eta, phi, beta
        self._matrices = matrices
        self._values: dict[int, Array] = {}
        self._pinned: dict[int, int] = {}

    def scalars(self, instructions: Sequence[Instruction]) -> dict[int, Array]:
        """Run a program, and return the values that are not dead after its last instruction."""
        self._run(instructions)
        return self._values

    def _run(self, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions:
            self._values[instruction.number] = self._compute(instruction)
            for number in instruction.dead:
                value = self._values.pop(number)
                if value.ndim == 3:
                    self._matrices.give_back(value)

    def _compute(self, instruction: Instruction) -> Array:
        operation, inputs = instruction.node.operation, instruction.node.inputs
        if operation == "pinned":
            return self._pinned_sum(instruction)
        operands = [self._values[i] if i >= 0 else self._values[~i].swapaxes(1, 2) for i in inputs]
        match operation:
            case "z":
                return self._z
            case "theta2":
                return self._theta2()
            case "root":
                return np.asarray(np.sqrt(operands[0], out=self._new()))
            case "multiply":
                return np.asarray(np.multiply(operands[0], operands[1], out=self._new()))
            case "scale":
                return np.asarray(np.multiply(operands[0], operands[1][:, None, :], out=self._new()))
            case "chain":
                return np.asarray(np.matmul(operands[0], operands[1], out=self._new()))
            case "leg":
                return np.asarray(np.matmul(operands[0], operands[1][:, :, None])[:, :, 0])
            case "row":
                return operands[0][:, self._pinned[instruction.node.level], :]
            case "times":
                return np.asarray(operands[0] * operands[1])
            case "sum":
                return np.asarray(operands[0].sum(axis=1))
            case "dot":
                return np.asarray(np.einsum("ni,ni->n", *operands))

    def _pinned_sum(self, instruction: Instruction) -> Array:
        weight, scalar = self._values[instruction.node.inputs[0]], instruction.node.inputs[1]
        total = np.zeros(len(weight), weight.dtype)
        for p in range(weight.shape[1]):
            self._pinned[instruction.node.level] = p
            self._run(instruction.body)
            total += weight[:, p] * self._values.pop(scalar)
        return total

    def _theta2(self) -> Array:
        one = np.ones_like(self._z)
        phi2 = self._outer([self._phi, one], [one, -self._phi])
        if np.ptp(self._phi) > np.pi:
            phi2 -= 2 * np.pi * np.rint(phi2 / (2 * np.pi))
        theta2 = self._outer([self._eta, one], [one, -self._eta])
        np.square(phi2, out=phi2)
        np.square(theta2, out=theta2)
        theta2 += phi2
        self._matrices.give_back(phi2)
        if self._beta != 1:
            theta2 **= self._beta
        return theta2

    def _outer(self, rows: Sequence[Array], columns: Sequence[Array]) -> Array:
        """Compute sum_k r_ki c_kj of vectors, (n, P, P): differences as exact as by broadcasting, but faster."""
        return np.matmul(np.stack(rows, axis=2), np.stack(columns, axis=1), out=self._new())

    def _new(self) -> Array:
        return self._matrices.take((*self._z.shape, self._z.shape[1]))
