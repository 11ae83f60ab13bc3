"""Partons to cells in four combinations of stages, for docs/calorimeter.md: which stage does a difference come from?

Hadrons from Pythia or a model, showers in copper from Geant4 or a model; partons of one kind, drawn anew for each.
Each combination is compared with Pythia and Geant4: Wasserstein-1 distance of observables of the cells in standard
deviations of the latter, with a bootstrap error; a second run of Pythia and Geant4 says what equal samples give. Then
the cost: CPU milliseconds a parton (user and system, of all processes, one thread each), without start-up, which a
shorter run measures.

    python -m bench.validation.chains --num 400 --geant4-data DIR
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

import fastsim
from bench.validation.hadron_document import fill, table
from fastsim.detector.detector import load_detector
from fastsim.detector.towers import Towers, towers_of
from fastsim.errors import FastsimError
from fastsim.event import kinematics
from fastsim.formats.hdf5 import read_events
from fastsim.registry import GEANT4
from fastsim.stages import DETECTOR

Floats = NDArray[np.float64]
Chain = tuple[str, str, int]
"""Hadrons from, showers from, seed."""

GUN = "flavour=d,u,s,c,b,g pt={pt} eta=-1.5:1.5 num={num}"
THRESHOLD = 1.0
"""MeV; of a cell that counts."""
SHORT = {GEANT4: 8, "": 64}
"""Partons of the run that is taken off, by the source of showers."""


def make(chain: Chain, pt: str, num: int, path: Path, data: Path | None) -> Path:
    """Run a chain into ``path``, unless that is there already."""
    hadrons, showers, seed = chain
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {} if hadrons == "pythia" else {"model": hadrons}
        fastsim.generate(
            GUN.format(pt=pt, num=num),
            path,
            steps=("pythia" if hadrons == "pythia" else "hadrons", "calorimeter"),
            shower_model=showers,
            geant4_data=data if showers == GEANT4 else None,
            seed=seed,
            threads=1,
            resume=True,
            **options,
        )
    return path


def observables(path: Path, towers: Towers) -> dict[str, Floats]:
    """Compute observables of the cells of each event (E,); energies as fractions of the parton's."""
    columns: list[dict[str, Floats]] = []
    for events in read_events(path)[1]:
        cells, partons = events.cells, events.p4[events.offsets[:-1]]
        assert cells is not None
        eta, phi, layer = towers.centres(cells.id)
        index, energy = cells.index, cells.energy.astype(np.float64)
        scale = 1e3 * partons[:, 0]
        delta_phi = kinematics.delta_phi(phi, kinematics.phi(partons)[index])
        distance_to_parton = np.hypot(eta - kinematics.eta(partons)[index], delta_phi)

        def summed(weights: Floats, index: NDArray[np.int64] = index, num: int = len(events)) -> Floats:
            return np.bincount(index, weights=weights, minlength=num).astype(np.float64)

        total = summed(energy)
        hottest = np.zeros(len(events))
        np.maximum.at(hottest, index, energy)
        within = summed(energy * (distance_to_parton < 0.4))
        values = {"visible energy": total / scale, "energy within 0.4": within / scale}
        for k in range(towers.num_layers):
            values[f"energy in layer {k + 1}"] = summed(energy * (layer == k)) / scale
        values["width"] = summed(energy * distance_to_parton) / np.maximum(total, 1e-9)
        values["hottest cell"] = hottest / scale
        values["cells above 1 MeV"] = summed((energy > THRESHOLD).astype(np.float64))
        columns.append(values)
    return {name: np.concatenate([c[name] for c in columns]) for name in columns[0]}


def distance(real: Floats, other: Floats, rng: np.random.Generator, num: int = 50) -> tuple[float, float]:
    """Compute the W1 distance in standard deviations of ``real``, with a bootstrap error."""
    width = float(real.std())
    draws = [
        wasserstein_distance(rng.choice(real, len(real)), rng.choice(other, len(other))) / width for _ in range(num)
    ]
    return float(wasserstein_distance(real, other)) / width, float(np.std(draws))


def comparison(samples: dict[str, dict[str, Floats]]) -> str:
    """Write the table of distances to the first sample, and of ratios of the mean visible energy."""
    (real_name, real), *others = samples.items()
    rng, rows = np.random.default_rng(0), []
    for name in real:
        cells = [
            f"{value:.3f} ± {error:.3f}" for value, error in (distance(real[name], o[name], rng) for _, o in others)
        ]
        rows.append([name, *cells])
    ratios = []
    for _, other in others:
        a, b = (x["visible energy"] for x in (real, other))
        error = np.hypot(*(x.std() / x.mean() / np.sqrt(len(x)) for x in (a, b)))
        ratios.append(f"{b.mean() / a.mean():.3f} ± {error * b.mean() / a.mean():.3f}")
    rows.append([f"mean visible energy / {real_name}", *ratios])
    return table(["W1 of", *(name for name, _ in others)], rows)


def cost(chain: Chain, pt: str, num: int, folder: Path, data: Path | None) -> float:
    """Measure the CPU ms a parton of a chain, without its start."""
    spent, short = [], SHORT.get(chain[1], SHORT[""])
    for count in (short, num):
        path = folder / f"cost-{'-'.join(map(str, chain))}-{count}.h5"
        for old in (path, path.with_name(path.name + ".manifest.json")):
            old.unlink(missing_ok=True)
        before = _spent()
        make(chain, pt, count, path, data)
        spent.append(_spent() - before)
    return 1e3 * (spent[1] - spent[0]) / (num - short)


def _spent() -> float:
    """Read the CPU seconds of this process and its children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hadrons", default="hadron-tree", help="the model of hadrons")
    parser.add_argument("--showers", default="copper-towers", help="the model of showers: a name, a card or a library")
    parser.add_argument("--pt", default="20:60", help="of the partons in GeV")
    parser.add_argument("--num", type=int, default=400, help="partons of each combination")
    parser.add_argument("--cost-num", type=int, default=2048, help="partons to measure the cost of models")
    # taken out of the environment: in a chain with a model no shower is Geant4's
    data = os.environ.pop("FASTSIM_GEANT4_DATA", None)
    parser.add_argument("--geant4-data", type=Path, default=data, help="folder of Geant4's data sets")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/combinations"), help="samples; what is there is taken"
    )
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of calorimeter.md")
    options = parser.parse_args()
    towers = towers_of(load_detector(DETECTOR))
    chains: dict[str, Chain] = {
        "Pythia, Geant4": ("pythia", GEANT4, 1),
        "Pythia, Geant4 again": ("pythia", GEANT4, 2),
        f"{options.hadrons}, Geant4": (options.hadrons, GEANT4, 3),
        f"Pythia, {options.showers}": ("pythia", options.showers, 4),
        f"{options.hadrons}, {options.showers}": (options.hadrons, options.showers, 5),
    }
    samples = {}
    for name, chain in chains.items():
        path = (
            options.folder
            / f"{chain[0]}-{Path(chain[1]).stem}-{options.pt.replace(':', '-')}-{options.num}-{chain[2]}.h5"
        )
        samples[name] = observables(make(chain, options.pt, options.num, path, options.geant4_data), towers)
        print(f"{name}: {options.num} partons", file=sys.stderr, flush=True)
    text = comparison(samples)
    print(text)
    fill(options.docs / "calorimeter.md", "combinations", text)
    costs = {}
    for name in ("Pythia, Geant4", f"Pythia, {options.showers}", f"{options.hadrons}, {options.showers}"):
        chain = chains[name]
        num = 40 if chain[1] == GEANT4 else options.cost_num
        costs[name] = cost(chain, options.pt, num, options.folder, options.geant4_data)
        print(f"{name}: {costs[name]:.3g} ms a parton", file=sys.stderr, flush=True)
    first = next(iter(costs.values()))
    rows = [[name, f"{value:.3g}", f"{first / value:.3g}"] for name, value in costs.items()]
    text = table(["hadrons, showers", "CPU ms a parton", "times as fast"], rows)
    print(text)
    fill(options.docs / "calorimeter.md", "combinations-cost", text)


if __name__ == "__main__":
    try:
        main()
    except FastsimError as error:
        sys.exit(f"error: {error}")
