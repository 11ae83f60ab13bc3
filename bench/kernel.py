"""FPD + KPD on 50,000 x 36 features side by side with JetNet 0.2.5, in one run on one machine: a Markdown table.

Rounds alternate between the programs, so that a busy moment of the machine hits all alike; each time is the median.
JetNet's functions are compiled by a small call before. Ours hold errors, null and p-value of the whole samples; the
re-implementation of JetNet's protocol (metrics/jetnet.py) has to give JetNet's numbers. JetNet needs an environment
of its own, from which this file runs as well:

    pip install "jetnet==0.2.5" "torch==2.13.0" "numpy<2" "scipy<1.18" "pyarrow<22"
    python -m bench.kernel --threads 1
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

METRICS = ("FPD", "KPD")
Metric = Callable[[Any, Any], tuple[float, float]]


def features(seed: int, num: int, shift: float) -> Any:
    """Draw correlated features (num, 36) with long tails, as energy flow polynomials have."""
    import numpy as np

    mixing = np.random.default_rng(5).normal(0.0, 0.1, (36, 36))
    return np.exp((np.random.default_rng(seed).normal(size=(num, 36)) + shift) @ mixing)


def programs(threads: int) -> dict[str, tuple[Metric, Metric]]:
    """List FPD and KPD of each program, as functions of (real, generated) that give value and error."""
    try:
        from jetnet import evaluation
    except ImportError as error:
        sys.exit(f"error: JetNet cannot be imported ({error}); install it as the head of bench/kernel.py says")
    from metrics import jetnet
    from metrics.distances import frechet, kernel

    def result(metric: Callable[..., Any], **options: Any) -> Metric:
        def measure(real: Any, generated: Any) -> tuple[float, float]:
            outcome = metric(real, generated, **options)
            return outcome.value, outcome.error

        return measure

    rows = {"JetNet 0.2.5": (evaluation.fpd, evaluation.kpd)}
    if threads > 1:

        def parallel(real: Any, generated: Any) -> tuple[float, float]:
            value, error = evaluation.kpd(real, generated, num_threads=threads)
            return value, error

        rows["JetNet 0.2.5, `num_threads`"] = (evaluation.fpd, parallel)
    rows["`metrics.jetnet`, same numbers"] = (result(jetnet.fpd), result(jetnet.kpd))
    rows["`metrics.fpd`, `metrics.kpd`"] = (result(frechet.fpd, seed=0), result(kernel.kpd, seed=0))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="of BLAS and of numba")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num", type=int, default=50_000, help="events of each sample")
    options = parser.parse_args()
    # read by the libraries when they are loaded
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    import numpy as np
    import scipy

    from bench.validation.hadron_document import fill, table

    warnings.simplefilter("ignore", RuntimeWarning)
    rows = programs(options.threads)
    small, real, generated = features(0, 5_000, 0.0), features(1, options.num, 0.0), features(2, options.num, 0.02)
    seconds: dict[str, list[list[float]]] = {name: [] for name in rows}
    values: dict[str, list[str]] = {}
    for pair in rows.values():
        pair[1](small, small[::-1])
    for number in range(options.rounds):
        for name, pair in rows.items():
            times, values[name] = [], []
            for metric in pair:
                start = time.perf_counter()
                value, error = metric(real, generated)
                times.append(time.perf_counter() - start)
                values[name].append(f"{value:.6e} ± {error:.1e}")
            seconds[name].append(times)
            print(f"round {number + 1} of {options.rounds}: {name} {sum(times):.1f} s", file=sys.stderr, flush=True)
    median = {name: np.median(times, axis=0) for name, times in seconds.items()}
    slowest = float(median["JetNet 0.2.5"].sum())
    rows_of_table = []
    for name, times in median.items():
        numbers = [f"{t:.2f}" for t in (*times, times.sum())]
        rows_of_table.append([name, *numbers, f"{slowest / times.sum():.1f}", *values[name]])
    header = ["program", *(f"{m}, s" for m in METRICS), "both, s", "times as fast", *METRICS]
    text = (
        f"FPD + KPD on {options.num:,} x 36, {options.threads} thread(s) of {os.cpu_count()} CPUs, "
        f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}; "
        f"median of {options.rounds} rounds\n\n{table(header, rows_of_table)}"
    )
    print(text, end="")
    fill(Path(__file__).parents[1] / "docs" / "metrics.md", "kernel", text)


if __name__ == "__main__":
    main()
