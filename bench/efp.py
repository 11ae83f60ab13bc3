"""Speed of the energy flow polynomials compared with energyflow, in one run on the same jets.

Both sides get the same number of threads (energyflow's are processes: ``batch_compute`` with ``n_jobs``), and one
thread each for linear algebra. A side that would take longer than ``--seconds`` is timed on fewer of the jets and
scaled by the jet; the last column says on how many. Each figure is the median of three rounds in which the sides
alternate, so that a busy moment of the machine hits both alike. Before that, both must agree to 1e-10.

    OMP_NUM_THREADS=1 python -m bench.efp --num 50000 --particles 30 --threads 2
    OMP_NUM_THREADS=1 python -m bench.efp --million

``--million`` instead computes the 36 polynomials of a million jets of 30 particles in one call and prints the time and
the peak memory of the process, the jets themselves included.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.validation.hadron_document import fill, table
from metrics.hadrons.efp import efps_of_arrays
from metrics.hadrons.graphs import Graph

Array = NDArray[Any]
ROUNDS = 3
LARGE = 150  # particles of JetNet150
_MILLION, _PIECE = 1_000_000, 50_000


def bench_jets(num: int, particles: int, seed: int) -> Array:
    """Draw jets: Gaussians of width 0.1 about the axis, sum of pT_rel 1.

    Returns:
        eta_rel, phi_rel, pT_rel, shape (num, particles, 3).
    """
    rng = np.random.default_rng(seed)
    jets = rng.normal(0.0, 0.1, (num, particles, 3))
    pt = rng.exponential(size=(num, particles))
    jets[:, :, 2] = pt / pt.sum(axis=1, keepdims=True)
    return jets


def timed(compute: Callable[[Array], Array], jets: Array, few: int, seconds: float) -> tuple[float, int]:
    """Measure the seconds a jet beyond the first few: the start of threads or processes counts for neither side.

    Args:
        compute: the computation.
        jets: shape (N, P, 3).
        few: jets of the first, short runs.
        seconds: of the measurement, about, at most.

    Returns:
        Seconds a jet, and the number of jets that this was measured on.
    """

    def run(num: int) -> float:
        start = time.perf_counter()
        compute(jets[:num])
        return time.perf_counter() - start

    run(few)  # plans are made once
    start_up, num = run(few), min(4 * few, len(jets))
    while (spent := run(num)) < seconds / 2 and num < len(jets):
        num = min(len(jets), int(num * min(8.0, max(1.5, 0.8 * seconds / spent))))
    return (spent - start_up) / (num - few), num


def measure(particles: int, condition: str, options: argparse.Namespace) -> list[list[str]]:
    """Measure all sides and make the rows of the table for one number of particles and one set of graphs."""
    import energyflow

    reference = energyflow.EFPSet(condition, measure="hadr", beta=1, normed=None, coords="ptyphim")
    graphs = [Graph(edges) for edges in reference.graphs()]
    jets = bench_jets(options.num, particles, options.seed)

    def ours(dtype: type[np.floating[Any]]) -> Callable[[Array], Array]:
        return lambda x: efps_of_arrays(x, graphs=graphs, dtype=dtype, num_threads=options.threads)

    sides: dict[str, Callable[[Array], Array]] = {
        "energyflow": lambda x: np.asarray(reference.batch_compute(x[:, :, [2, 0, 1]], n_jobs=options.threads)),
        "fastsim, float64": ours(np.float64),
        "fastsim, float32": ours(np.float32),
    }
    few = options.threads
    np.testing.assert_allclose(sides["fastsim, float64"](jets[:few]), sides["energyflow"](jets[:few]), rtol=1e-10)
    timings: dict[str, list[tuple[float, int]]] = {name: [] for name in sides}
    for number in range(ROUNDS):
        for name, compute in sides.items():
            timings[name].append(timed(compute, jets, few, options.seconds))
        print(f"{particles} particles, {condition}: round {number + 1} of {ROUNDS} done", file=sys.stderr, flush=True)
    medians = {name: float(np.median([spent for spent, _ in rounds])) for name, rounds in timings.items()}
    return [
        [
            str(particles),
            f"{condition} ({len(graphs)})",
            name,
            f"{1e6 * medians[name]:,.1f}",
            f"{options.num * medians[name]:,.1f}",
            f"{medians['energyflow'] / medians[name]:,.0f}",
            f"{min(num for _, num in timings[name]):,}",
        ]
        for name in sides
    ]


def million(options: argparse.Namespace) -> str:
    """Measure time and peak memory of a million jets of 30 particles in one call, and write the table."""
    jets = np.empty((_MILLION, 30, 3), dtype=np.float32)
    for first in range(0, _MILLION, _PIECE):
        jets[first : first + _PIECE] = bench_jets(_PIECE, 30, options.seed + first)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = time.perf_counter()
    polynomials = efps_of_arrays(jets, num_threads=options.threads)
    spent = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    row = [f"{len(polynomials):,}", f"{spent:.1f}", f"{jets.nbytes / 2**30:.2f}", f"{polynomials.nbytes / 2**30:.2f}"]
    header = ["jets", f"s, {options.threads} threads", "jets, GiB", "EFPs, GiB", "peak before, GiB", "peak, GiB"]
    return table(header, [[*row, f"{before:.2f}", f"{peak:.2f}"]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=50_000, help="jets")
    parser.add_argument("--particles", type=int, default=30, help="of each jet")
    parser.add_argument("--threads", type=int, default=2, help="of either side")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement, about, at most")
    parser.add_argument("--sets", nargs="*", default=["d<=4", "d<=5", "d<=6"], help="of graphs")
    parser.add_argument("--large", type=int, default=LARGE, help="particles of the second half of the table; 0: none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--million", action="store_true", help="peak memory of a million jets instead")
    options = parser.parse_args()
    if options.million:
        print(million(options), end="")
        return
    if options.num < 4 * options.threads:
        parser.error(f"--num {options.num}: time at least four jets a thread")
    sizes = [options.particles, *([options.large] if options.large else [])]
    rows = [row for particles in sizes for condition in options.sets for row in measure(particles, condition, options)]
    header = ["particles", "graphs", f"{options.threads} threads", "us a jet", f"s for {options.num:,}", "ratio"]
    text = table([*header, "jets timed"], rows)
    print(text, end="")
    fill(Path(__file__).parents[1] / "docs" / "metrics.md", "efp", text)


if __name__ == "__main__":
    main()
