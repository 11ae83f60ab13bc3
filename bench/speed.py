"""Speed of every source of hadrons in one run on the same partons (``make bench``), for docs/models.md.

Sets a second of two processes with one thread each, Pythia and models alike, by range of the partons' pT; flavours
u d s c b and g in equal parts, or as ``--flavours`` says. Each figure is the median of three rounds, and the rounds of
all sources alternate, so that a busy moment of the machine hits all alike. The second table holds the models' rates
over the rate of Pythia with read-out: the median of the rounds' ratios. Pythia makes two hemispheres an event: both are
counted in the first two rows, which is the most favourable to it; ``fastsim reference`` keeps one.

    python -m bench.speed --models NAME CARD.json LIBRARY.h5 --seconds 5
    python -m bench.speed --flavours 21 --min-pt 200         # gluons above 200 GeV; docs/models.md stays as it is
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastsim
from bench.validation.hadron_document import fill, table
from fastsim.errors import FastsimError
from fastsim.event import Partons
from fastsim.event.species import PARTON_MASSES
from fastsim.production.chunks import PARTONS_PER_CHUNK
from fastsim.sources import cards

PT_RANGES = ((20.0, 60.0), (60.0, 200.0), (200.0, 600.0), (600.0, 2000.0))
FLAVOURS = (1, 2, 3, 4, 5, 21)
ROUNDS = 3
_TRIAL = 128


Flavours = Sequence[int]


def bench_partons(lo: float, hi: float, num: int, seed: int, flavours: Flavours = FLAVOURS) -> Partons:
    """Draw partons of the flavours in equal parts, pT log-uniform (GeV), |eta| < 2."""
    rng = np.random.default_rng(seed)
    pt = np.exp(rng.uniform(np.log(lo), np.log(hi), num))
    eta, phi = rng.uniform(-2, 2, num), rng.uniform(-np.pi, np.pi, num)
    return Partons.from_pt_eta_phi(rng.choice(flavours, num), pt, eta, phi)


def pythia_rate(job: tuple[float, float, float, Flavours, bool, int]) -> float:
    """Measure the hemispheres a second of Pythia in one process.

    Args:
        job: limits of pT in GeV, seconds to run, flavours, whether particles are read into arrays, and seed.
    """
    from generators.reference.pythia import make_pythia, shoot

    lo, hi, seconds, ids, read_out, seed = job
    pythia = make_pythia()
    rng = np.random.default_rng(seed)
    flavours, pts = rng.choice(ids, 1_000_000), np.exp(rng.uniform(np.log(lo), np.log(hi), 1_000_000))
    num_events, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        flavour, pt = int(flavours[num_events]), float(pts[num_events])
        if read_out:
            shoot(pythia, flavour, pt, num_events + 1)
        else:
            _shower_only(pythia, flavour, pt)
        num_events += 1
    return 2 * num_events / (time.perf_counter() - start)


def _shower_only(pythia: Any, flavour: int, pt: float) -> None:
    """Run shower, hadronisation and decays of a pair of partons, and read nothing."""
    m = PARTON_MASSES[flavour]
    energy = float(np.hypot(pt, m))
    colours = ((101, 102), (102, 101)) if flavour == 21 else ((101, 0), (0, 101))
    pythia.event.reset()
    for pdg_id, pz, (colour, anticolour) in zip(
        (flavour, flavour if flavour == 21 else -flavour), (pt, -pt), colours, strict=True
    ):
        pythia.event.append(pdg_id, 23, colour, anticolour, 0.0, 0.0, pz, energy, m, pt)
    pythia.forceTimeShower(1, 2, pt)
    pythia.next()


_loaded: dict[str, Any] = {}
_warm: set[tuple[str, float, float]] = set()


def source_rate(job: tuple[str, float, float, float, Flavours, int]) -> float:
    """Measure the sets a second of a source in one process and thread, in the chunks of a production.

    Args:
        job: name of the source, limits of pT in GeV, seconds to run, flavours, and seed.
    """
    import torch

    torch.set_num_threads(1)
    name, lo, hi, seconds, ids, seed = job
    if name not in _loaded:
        _loaded[name] = fastsim.load_model(name)
    source = _loaded[name]
    trial = bench_partons(lo, hi, _TRIAL, seed, ids)
    source.sample(trial, rng=np.random.default_rng(seed))  # kernels are loaded or made on first use, once a process
    start = time.perf_counter()
    source.sample(trial, rng=np.random.default_rng(seed))
    # a slow source gets a part of a chunk; small batches understate a fast one
    num = int(4 * _TRIAL / (time.perf_counter() - start) * seconds)
    partons = bench_partons(lo, hi, min(max(num, _TRIAL), PARTONS_PER_CHUNK), seed, ids)
    if (name, lo, hi) not in _warm:
        source.sample(partons, rng=np.random.default_rng(seed))
        _warm.add((name, lo, hi))
    num_sets, start = 0, time.perf_counter()
    while num_sets == 0 or time.perf_counter() - start < seconds:
        num_sets += len(source.sample(partons, rng=np.random.default_rng([seed, num_sets])))
    return num_sets / (time.perf_counter() - start)


PYTHIA = "Pythia, read into arrays"


def measure(
    models: list[str],
    ranges: list[tuple[float, float]],
    flavours: Flavours,
    seconds: float,
    processes: int,
    log: Callable[[str], None],
) -> dict[str, NDArray[np.float64]]:
    """Measure the rates of all sources.

    Returns:
        Sets a second by source, shape (ranges, ROUNDS).
    """
    rates: dict[str, NDArray[np.float64]] = {}
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("forkserver")) as pool:
        for number in range(ROUNDS):
            for cell, (lo, hi) in enumerate(ranges):
                seeds = [100 * number + k for k in range(processes)]
                for label, read_out in (("Pythia, nothing read", False), (PYTHIA, True)):
                    jobs = [(lo, hi, seconds, flavours, read_out, seed) for seed in seeds]
                    rates.setdefault(label, np.zeros((len(ranges), ROUNDS)))[cell, number] = sum(
                        pool.map(pythia_rate, jobs)
                    )
                for name in models:
                    rate = sum(pool.map(source_rate, [(name, lo, hi, seconds, flavours, seed) for seed in seeds]))
                    rates.setdefault(Path(name).name, np.zeros((len(ranges), ROUNDS)))[cell, number] = rate
                log(f"round {number + 1} of {ROUNDS}, pT {lo:.0f}-{hi:.0f} GeV done")
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", help="names, cards or libraries (.h5); default: all that ship")
    parser.add_argument("--flavours", type=int, nargs="+", default=FLAVOURS, help="PDG ids; default: d u s c b g")
    parser.add_argument("--min-pt", type=float, default=0.0, help="GeV: ranges from there only")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of models.md")
    options = parser.parse_args()
    models = cards.available(cards.HADRONS) if options.models is None else options.models
    flavours = tuple(options.flavours)
    if unknown := sorted(set(flavours) - set(FLAVOURS)):
        parser.error(f"--flavours {unknown[0]}: allowed are {', '.join(map(str, FLAVOURS))}")
    ranges = [(lo, hi) for lo, hi in PT_RANGES if lo >= options.min_pt]
    if not ranges:
        parser.error(f"--min-pt {options.min_pt:g}: the last range begins at {PT_RANGES[-1][0]:g} GeV")

    def log(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    rates = measure(models, ranges, flavours, options.seconds, options.processes, log)
    columns = [f"{lo:.0f}-{hi:.0f} GeV" for lo, hi in ranges]
    rows = [[label, *(f"{r:,.0f}" for r in np.median(values, 1))] for label, values in rates.items()]
    ratios = [
        [label, *(f"{r:.2f}" for r in np.median(values / rates[PYTHIA], 1))]
        for label, values in rates.items()
        if label in {Path(name).name for name in models}
    ]
    head = f"sets/s, {options.processes} processes"
    text = table([head, *columns], rows) + "\n" + table([f"over {PYTHIA}", *columns], ratios)
    print(text, end="")
    if flavours == FLAVOURS and ranges == list(PT_RANGES):
        fill(options.docs / "models.md", "speed", text)


if __name__ == "__main__":
    try:
        main()
    except FastsimError as error:
        sys.exit(f"error: {error}")
