"""What the start costs: one event from a cold and from a warm cache of compiled kernels, in fresh processes.

Each figure is processor time (user and system) and wall time in seconds; warm ones are the least of some repeats. The
cache is a folder of its own, empty at first, so that nothing on the machine is touched.

    python -m bench.start
    python -m bench.start --repeats 5
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

EVENTS = Path(__file__).parents[1] / "data" / "examples" / "pp_dijet.lhe.gz"
FIRST_HADRONS = """
import numpy as np
from fastsim import load_model
from fastsim.event.gun import Gun
load_model().sample(Gun.parse("flavour=u,g pt=50:500 num=2").partons(np.random.default_rng(1)), rng=1)
"""


class Cost(NamedTuple):
    """Seconds of the processor, and of the clock."""

    processor: float
    wall: float


def measure(words: Sequence[str], cache: Path) -> Cost:
    """Run Python with ``words`` and compiled kernels in the folder ``cache``; return what it cost.

    Raises:
        subprocess.CalledProcessError: if the process fails.
    """
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *words], env=environment, check=True, capture_output=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall)


def measure_all(repeats: int) -> dict[str, Cost]:
    """Return the cost of each way to start."""
    costs: dict[str, Cost] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one_event = ["-m", "fastsim.cli", "generate", str(EVENTS), "--event", "hard", "--num-events", "1"]
        one_event += ["-o", str(folder / "one.hepmc3"), "--force"]
        costs["fastsim --help"] = least(["-m", "fastsim.cli", "--help"], folder / "no", repeats)
        costs["import torch"] = least(["-c", "import torch"], folder / "no", repeats)
        costs["first hadrons, cold"] = measure(["-c", FIRST_HADRONS], folder / "sample")
        costs["first hadrons, warm"] = least(["-c", FIRST_HADRONS], folder / "sample", repeats)
        costs["fastsim generate, one event, cold"] = measure(one_event, folder / "generate")
        costs["fastsim generate, one event, warm"] = least(one_event, folder / "generate", repeats)
        costs["fastsim compile"] = measure(["-m", "fastsim.cli", "compile"], folder / "compile")
        costs["fastsim generate, one event, after fastsim compile"] = least(one_event, folder / "compile", repeats)
    return costs


def least(words: Sequence[str], cache: Path, repeats: int) -> Cost:
    """Return the cost of the cheapest of some runs."""
    return min(measure(words, cache) for _ in range(repeats))


def table(costs: dict[str, Cost]) -> str:
    """Return the costs as a Markdown table."""
    lines = ["| start | processor / s | wall / s |", "|---|---|---|"]
    return "\n".join(
        [*lines, *(f"| {name} | {cost.processor:.1f} | {cost.wall:.1f} |" for name, cost in costs.items())]
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="runs from a warm cache")
    print(table(measure_all(parser.parse_args().repeats)))


if __name__ == "__main__":
    main()
