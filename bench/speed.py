"""Speed of every source of hadrons in one run on the same partons (``make bench``), for docs/models.md.

Sets a second of two processes with one thread each, Pythia and models alike, by range of the partons' pT; flavours
u d s c b and g in equal parts. Each figure is the median of three rounds, and the rounds of all sources alternate, so
that a busy moment of the machine hits all alike. Pythia makes two hemispheres an event: both are counted in the first
two rows, which is the most favourable to it; ``fastsim reference`` keeps one.

    python bench/speed.py --models NAME CARD.json LIBRARY.h5 --seconds 5
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

import fastsim
from fastsim import cards
from fastsim.errors import FastsimError
from fastsim.event import Partons
from fastsim.production import PARTONS_PER_CHUNK
from fastsim.species import PARTON_MASSES
from metrics.report.validation import fill, table

PT_RANGES = ((20.0, 60.0), (60.0, 200.0), (200.0, 600.0), (600.0, 2000.0))
FLAVOURS = (1, 2, 3, 4, 5, 21)
ROUNDS = 3
_TRIAL = 128


def bench_partons(lo: float, hi: float, num: int, seed: int, flavours: Sequence[int] = FLAVOURS) -> Partons:
    """Partons of the flavours in equal parts, pT log-uniform (GeV), |eta| < 2."""
    rng = np.random.default_rng(seed)
    pt = np.exp(rng.uniform(np.log(lo), np.log(hi), num))
    eta, phi = rng.uniform(-2, 2, num), rng.uniform(-np.pi, np.pi, num)
    return Partons.from_pt_eta_phi(rng.choice(flavours, num), pt, eta, phi)


def pythia_rate(job: tuple[float, float, float, bool, int]) -> float:
    """Hemispheres a second of one process, over some seconds, with or without reading the particles into arrays."""
    from generators.reference.pythia import make_pythia, shoot

    lo, hi, seconds, read_out, seed = job
    pythia = make_pythia()
    rng = np.random.default_rng(seed)
    flavours, pts = rng.choice(FLAVOURS, 1_000_000), np.exp(rng.uniform(np.log(lo), np.log(hi), 1_000_000))
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        flavour, pt = int(flavours[done]), float(pts[done])
        if read_out:
            shoot(pythia, flavour, pt, done + 1)
        else:
            _shower_only(pythia, flavour, pt)
        done += 1
    return 2 * done / (time.perf_counter() - start)


def _shower_only(pythia: Any, flavour: int, pt: float) -> None:
    """Shower, hadronisation and decays of a pair of partons, nothing read."""
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


def source_rate(job: tuple[str, float, float, float, int]) -> float:
    """Sets a second of a source in one process and thread, in the chunks of a production."""
    import torch

    torch.set_num_threads(1)
    name, lo, hi, seconds, seed = job
    if name not in _loaded:
        _loaded[name] = fastsim.load_model(name)
    source = _loaded[name]
    start = time.perf_counter()
    source.sample(bench_partons(lo, hi, _TRIAL, seed), rng=np.random.default_rng(seed))
    # a slow source gets a part of a chunk
    num = int(_TRIAL / (time.perf_counter() - start) * seconds)
    partons = bench_partons(lo, hi, min(max(num, _TRIAL), PARTONS_PER_CHUNK), seed)
    done, start = 0, time.perf_counter()
    while done == 0 or time.perf_counter() - start < seconds:
        done += len(source.sample(partons, rng=np.random.default_rng([seed, done])))
    return done / (time.perf_counter() - start)


def measure(models: list[str], seconds: float, processes: int, log: Callable[[str], None]) -> dict[str, list[float]]:
    """Rates by source, one for each range of pT: the median of the rounds."""
    rates: dict[str, list[list[float]]] = {}
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("forkserver")) as pool:
        for number in range(ROUNDS):
            for cell, (lo, hi) in enumerate(PT_RANGES):
                seeds = [100 * number + k for k in range(processes)]
                for label, read_out in (("Pythia, nothing read", False), ("Pythia, read into arrays", True)):
                    rate = sum(pool.map(pythia_rate, [(lo, hi, seconds, read_out, seed) for seed in seeds]))
                    rates.setdefault(label, [[] for _ in PT_RANGES])[cell].append(rate)
                for name in models:
                    rate = sum(pool.map(source_rate, [(name, lo, hi, seconds, seed) for seed in seeds]))
                    rates.setdefault(Path(name).name, [[] for _ in PT_RANGES])[cell].append(rate)
                log(f"round {number + 1} of {ROUNDS}, pT {lo:.0f}-{hi:.0f} GeV done")
    return {label: [float(np.median(r)) for r in by_cell] for label, by_cell in rates.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", help="names, cards or libraries (.h5); default: all that ship")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of models.md")
    options = parser.parse_args()
    models = cards.available(cards.HADRON_KINDS) if options.models is None else options.models
    rates = measure(models, options.seconds, options.processes, lambda text: print(text, file=sys.stderr, flush=True))
    header = [f"sets/s, {options.processes} processes", *(f"{lo:.0f}-{hi:.0f} GeV" for lo, hi in PT_RANGES)]
    text = table(header, [[label, *(f"{r:,.0f}" for r in values)] for label, values in rates.items()])
    print(text, end="")
    fill(options.docs / "models.md", "speed", text)


if __name__ == "__main__":
    try:
        main()
    except FastsimError as error:
        sys.exit(f"error: {error}")
