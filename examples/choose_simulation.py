"""Choose the models of a simulation from partons to calorimeter cells, by fidelity and processor time.

Hadrons come from a tree or diffusion model, each also in its fast form, or Pythia's own gun, showers in copper from
copper-towers or copper-cascade. Every combination makes cells of partons d u s c b g of 20 GeV, |eta| < 0.5, and is
judged by how well boosted trees tell them from Pythia with Geant4 (area under the curve: 0.5 is not at all). The two
halves of the sample of Pythia and Geant4 say what equal samples give. Printed and drawn is the Pareto front:
combinations that none beats in both fidelity and processor time.

    python -m examples.choose_simulation -o runs/choice --geant4-data DIR

The models' weights stay as they are, so nothing is trained; ``fastsim pipeline search`` does the same for blocks that
are trained together. Geant4 takes 0.2 s a parton. What is done is kept: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

import fastsim
from fastsim.search import grid, pareto
from fastsim.search.trial import Combination, Trial, Trials
from metrics.cells.files import load_cells
from metrics.classifiers.trees import classifier_test

Floats = NDArray[np.float64]

GUN = "flavour=d,u,s,c,b,g pt=20 eta=-0.5:0.5 num={num}"
SPACE = {
    "hadrons": ("hadron-tree", "hadron-tree-small", "hadron-diffusion", "hadron-diffusion-fast", "pythia"),
    "showers": ("copper-towers", "copper-cascade"),
}
REFERENCE = {"hadrons": "pythia", "showers": "geant4"}
NUM_SPLITS = 10
"""Divisions into training and held-out events that the area is averaged over."""
WARM_UP = 64
"""Partons that are made first, and not timed: they load weights and compile."""


@dataclass(frozen=True)
class Simulate:
    """Makes the cells of a combination and judges them.

    Attributes:
        folder: for the files of events.
        num: partons of a sample.
        geant4_data: folder of Geant4's data sets.
    """

    folder: Path
    num: int
    geant4_data: Path | None

    def make(self, combination: Combination, seed: int, num: int) -> tuple[Path, float]:
        """Make cells, anew but for those of Geant4; return their file and processor milliseconds a parton."""
        hadrons, showers = combination["hadrons"], combination["showers"]
        path = self.folder / f"{hadrons}-{showers}-{num}-{seed}.h5"
        if combination == REFERENCE and path.exists():
            return path, float("nan")
        options: dict[str, Any] = {} if hadrons == "pythia" else {"model": hadrons}
        if showers == "geant4":
            options["geant4_data"] = self.geant4_data
        before = _spent()
        fastsim.generate(
            GUN.format(num=num),
            path,
            steps=("pythia" if hadrons == "pythia" else "hadrons", "calorimeter"),
            shower_model=showers,
            seed=seed,
            threads=1,
            resume=combination == REFERENCE,
            force=combination != REFERENCE,
            **options,
        )
        return path, 1e3 * (_spent() - before) / num

    def __call__(self, combination: Combination) -> Trial:
        """Make and judge a combination; its score is minus the area."""
        seed = 10 + grid.grid(SPACE).index(combination)
        self.make(combination, seed, WARM_UP)
        path, milliseconds = self.make(combination, seed, self.num)
        area, error = auc(inputs(self.make(REFERENCE, 1, self.num)[0]), inputs(path))
        return Trial(combination, -area, area, error, float("nan"), 0, milliseconds * self.num / 1e3, milliseconds)


def inputs(path: Path) -> Floats:
    """Read the observables of the cells of a file of events, (N, K)."""
    return np.asarray(load_cells(str(path)).classifier_inputs()[:])


def auc(real: Floats, other: Floats) -> tuple[float, float]:
    """Compute the area under the curve of trees between two samples, and its error, over several divisions."""
    results = [classifier_test(real, other, seed=seed).auc for seed in range(NUM_SPLITS)]
    # a third of the events is held out each time; over many times each of them, so this is what all leave
    error = np.mean([result.error for result in results]) / np.sqrt(3)
    return float(np.mean([result.value for result in results])), float(error)


def _spent() -> float:
    """Read the processor seconds of this process and of those that it ran."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/choice"))
    parser.add_argument("--num", type=int, default=600, help="partons of each sample")
    parser.add_argument("--geant4-data", type=Path, default=None, help="folder of Geant4's data sets")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    simulate = Simulate(args.output, args.num, args.geant4_data)
    real = simulate.make(REFERENCE, 1, args.num)[0]
    trials = grid.run(grid.grid(SPACE), simulate, Trials(args.output / "trials.jsonl", {"num": args.num, "gun": GUN}))
    print("\n".join(pareto.table(trials, "AUC against Geant4", pareto.TIME)))
    cells = inputs(real)
    print("halves of the reference: {:.4f} +- {:.4f}".format(*auc(cells[::2], cells[1::2])))
    (args.output / "choice.svg").write_text(pareto.picture(trials, "minus AUC against Geant4", pareto.TIME))


if __name__ == "__main__":
    main()
