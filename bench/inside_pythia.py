"""A model inside Pythia's events: how many singlets it takes, what that costs, and the charged multiplicity.

CPU seconds of one process with one thread; the first event, in which kernels may be compiled, is not counted. Pythia
with Lund strings makes as many events, twice: with the seed of the model's run and with another one, which says what
equal samples differ by.

    python -m bench.inside_pythia --model hadron-tree --num 200
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pythia8mc

from fastsim.pythia import SCALE, attach
from generators.reference.fragmentation import SOURCE

Z = (
    "Beams:idA = 11", "Beams:idB = -11", "Beams:eCM = 91.2", "PDF:lepton = off",
    "WeakSingleBoson:ffbar2gmZ = on", "23:onMode = off", "23:onIfAny = 1 2 3 4 5",
)  # fmt: skip
CASES = {
    "Z -> q qbar, 91.2 GeV": (Z, SCALE),
    "the same, shower by the model": ((*Z, "PartonLevel:FSR = off"), 91.2),
    "dijets from 50 GeV, pp at 13.6 TeV": (
        ("Beams:eCM = 13600", "HardQCD:all = on", "PhaseSpace:pTHatMin = 50"),
        SCALE,
    ),
}


def make(settings: tuple[str, ...], seed: int) -> Any:
    """Return a Pythia with these settings that has not started."""
    pythia = pythia8mc.Pythia("", False)
    for line in ("Print:quiet = on", "Random:setSeed = on", f"Random:seed = {seed}", *settings):
        pythia.readString(line)
    return pythia


def run(pythia: Any, num: int) -> tuple[float, float, float]:
    """Make events; return CPU ms of one, the mean charged multiplicity and its error."""
    pythia.init()
    pythia.next()
    numbers: list[int] = []
    start = time.process_time()
    while len(numbers) < num:
        if pythia.next():
            numbers.append(sum(p.isFinal() and p.isCharged() for p in pythia.event))
    spent = time.process_time() - start
    return 1e3 * spent / num, float(np.mean(numbers)), float(np.std(numbers) / np.sqrt(num))


def main() -> None:
    """Print a row for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="hadron-tree", help="name or card of a model of hadrons")
    parser.add_argument("--num", type=int, default=200, help="events of each run")
    options = parser.parse_args()
    for name, (settings, scale) in CASES.items():
        pythia = make(settings, 1)
        attached = attach(pythia, options.model, scale=scale)
        ours = run(pythia, options.num)
        # the model makes the shower that is off for Pythia
        whole = tuple(line for line in settings if line != "PartonLevel:FSR = off")
        lund, other = (run(make(whole, seed), options.num) for seed in (1, 2))
        share = attached.counts[SOURCE] / attached.counts.total()
        print(f"{name}: {share:.1%} of the singlets by {options.model}, {attached.counts[SOURCE]} of them")
        for label, (cost, mean, error) in ((options.model, ours), ("Lund", lund), ("Lund, other seed", other)):
            print(f"    {label:18} {cost:8.2f} ms an event   charged particles {mean:.2f} +- {error:.2f}")


if __name__ == "__main__":
    main()
