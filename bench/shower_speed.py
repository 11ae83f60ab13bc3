"""Speed of models of calorimeter showers compared with Geant4, in one run on one core each, for docs/calorimeter.md.

CPU milliseconds a shower (user and system) of one process with one thread: other work on the machine then changes
little. Geant4's start is taken off by a run of one shower. Models make batches of the sizes given; the first call,
which may compile, is not counted, nor is loading. Each figure is the median of three rounds, in which the sources
alternate.

    python -m bench.shower_speed --models NAME CARD.json --library LIBRARY.h5 --geant4-data DIR
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from bench.validation.hadron_document import fill, table
from fastsim.detector.detector import PARTICLES, load_detector
from fastsim.detector.incidents import Incidents
from fastsim.detector.shower_gun import ShowerGun
from fastsim.errors import FastsimError
from fastsim.production.options import RunOptions
from fastsim.registry import load_showers, shipped_showers
from fastsim.sources.showers import ShowerSource
from generators.reference.geant4_run import make_showers
from generators.showers.library import ShowerLibrary

DETECTOR = "pb-si-ecal"
ENERGIES = (1.0, 10.0, 50.0)
ROUNDS = 3
GEANT4 = "Geant4"


def geant4_cost(particle: str, energy: float, seconds: float, seed: int, data: Path | None) -> float:
    """Measure the CPU ms a shower of Geant4 in about ``seconds``, without its start; ``energy`` in GeV."""
    gun = ShowerGun(load_detector(DETECTOR), particle, (energy, energy), seed=seed)
    num = 1 + max(5, round(seconds / (0.013 * energy)))  # about 13 ms a GeV
    spent = []
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, num):
            before = children_seconds()
            make_showers(gun, Path(folder) / f"{count}.h5", num=count, options=RunOptions(), data=data)
            spent.append(children_seconds() - before)
    return 1e3 * (spent[1] - spent[0]) / (num - 1)


def children_seconds() -> float:
    """Read the CPU seconds of the processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def source_cost(source: ShowerSource, pdg_id: int, energy: float, batch: int, seconds: float, seed: int) -> float:
    """Measure the CPU ms a shower of a source in batches, over some seconds; ``energy`` in GeV."""
    incidents = Incidents.perpendicular(pdg_id, np.full(batch, energy))
    source.sample(incidents, rng=np.random.default_rng(seed))
    calls, start = 0, time.process_time()
    while calls == 0 or time.process_time() - start < seconds:
        source.sample(incidents, rng=np.random.default_rng([seed, calls]))
        calls += 1
    return 1e3 * (time.process_time() - start) / (calls * batch)


def measure(
    sources: dict[str, ShowerSource],
    particle: str,
    batches: list[int],
    seconds: float,
    data: Path | None,
    log: Callable[[str], None],
) -> dict[tuple[str, int], list[float]]:
    """Measure the CPU ms a shower at each of ``ENERGIES``: the median of the rounds.

    Returns:
        Values by source and batch (0 for Geant4).
    """
    costs: dict[tuple[str, int], list[list[float]]] = {}
    pdg_id = PARTICLES[particle][0]
    for number in range(ROUNDS):
        for place, energy in enumerate(ENERGIES):
            latest = {(GEANT4, 0): geant4_cost(particle, energy, seconds, number, data)}
            for name, source in sources.items():
                for batch in batches:
                    latest[name, batch] = source_cost(source, pdg_id, energy, batch, seconds, number)
            for key, cost in latest.items():
                costs.setdefault(key, [[] for _ in ENERGIES])[place].append(cost)
            log(f"round {number + 1} of {ROUNDS}, {energy:g} GeV done")
    return {key: [float(np.median(c)) for c in by_energy] for key, by_energy in costs.items()}


def markdown(costs: dict[tuple[str, int], list[float]], particle: str) -> str:
    """Write the table: ms a shower, and how many times faster than Geant4."""
    reference = costs[GEANT4, 0]
    rows = []
    for (name, batch), values in costs.items():
        faster = [f" (×{_short(r / v)})" if name != GEANT4 else "" for v, r in zip(values, reference, strict=True)]
        cells = [_short(value) + more for value, more in zip(values, faster, strict=True)]
        rows.append([name, str(batch or ""), *cells])
    return table([f"{particle}, CPU ms a shower", "batch", *(f"{e:g} GeV" for e in ENERGIES)], rows)


def _short(value: float) -> str:
    """Write three digits: 0.0231, 551, 12,800."""
    return f"{float(f'{value:.3g}'):,g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", help="names or cards; default: all that ship for the detector")
    parser.add_argument("--library", nargs="*", type=Path, default=[], help="Geant4 files of frozen showers")
    parser.add_argument("--particle", default="e-")
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 100, 500], help="showers that are made together")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--geant4-data", type=Path, help="folder of Geant4's data sets")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of calorimeter.md")
    options = parser.parse_args()
    models = shipped_showers(DETECTOR) if options.models is None else options.models
    sources = {source.name: source for source in map(load_showers, models)}
    if models:
        import torch

        torch.set_num_threads(1)
    if options.library:
        sources["library"] = ShowerLibrary(options.library)

    def log(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    costs = measure(sources, options.particle, options.batches, options.seconds, options.geant4_data, log)
    text = markdown(costs, options.particle)
    print(text, end="")
    fill(options.docs / "calorimeter.md", "shower-speed", text)


if __name__ == "__main__":
    try:
        main()
    except FastsimError as error:
        sys.exit(f"error: {error}")
