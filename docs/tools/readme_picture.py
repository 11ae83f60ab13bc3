"""Draws the picture of the README: three observables of gluon jets from the models and from Pythia.

    python docs/tools/readme_picture.py                # 20,000 gluons a sample, a few minutes
    python docs/tools/readme_picture.py --num 2000

The third panel shows three-prong shapes, which the models get wrong (docs/models.md). Needs the extra ``plot``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

import fastsim
from metrics import features

matplotlib.use("Agg")
from matplotlib import pyplot

Floats = NDArray[np.float64]
PICTURE = Path(__file__).parents[1] / "images" / "models-and-pythia.png"
PT = (200.0, 600.0)
"""GeV, drawn log-uniformly."""
PANELS = {
    "multiplicity": ("particles of a jet", np.arange(0.0, 165.0, 5.0)),
    "mass": ("mass of a jet / pT", np.linspace(0.0, 0.4, 33)),
    "tau32": ("τ32, shape of three prongs", np.linspace(0.2, 1.0, 33)),
}
"""Observables with the labels of their axes and edges of their bins."""
SAMPLES = {
    "Pythia": ("pythia", 1, "black"),
    "Pythia, other seed": ("pythia", 2, "grey"),
    "hadron-tree": ("hadron-tree", 3, "tab:red"),
    "hadron-tree-small": ("hadron-tree-small", 4, "tab:blue"),
}
"""Models, seeds and colours of the curves; the first one is the denominator of the ratios."""


def sample(model: str, seed: int, partons: fastsim.Partons) -> dict[str, Floats]:
    """Return the observables of :data:`PANELS`, each (N,), of the jets that N partons become."""
    sets = fastsim.load_model(model).sample(partons, seed=seed)
    found = features(sets, partons)
    return {name: found.column(name) for name in PANELS}


def draw(samples: dict[str, dict[str, Floats]], num: int, path: Path) -> None:
    """Draw densities with statistical errors, and their ratios to the first sample."""
    figure, axes = pyplot.subplots(
        2, len(PANELS), figsize=(12, 4.6), height_ratios=[2.2, 1], sharex="col", layout="constrained"
    )
    first = next(iter(samples))
    for column, (name, (label, edges)) in enumerate(PANELS.items()):
        upper, lower = axes[:, column]
        counts = {key: np.histogram(values[name], edges)[0] for key, values in samples.items()}
        middles = (edges[1:] + edges[:-1]) / 2
        base = counts[first]
        shown = base >= 20
        for key, values in counts.items():
            colour = SAMPLES[key][2]
            upper.stairs(values / (num * np.diff(edges)), edges, label=key, color=colour, linewidth=1.4)
            error = np.sqrt(np.maximum(values, 1)) / np.maximum(base, 1)
            if key == first:
                lower.fill_between(middles, 1 - error, 1 + error, where=shown, color="lightgrey", step="mid")
            else:
                ratio = values / np.maximum(base, 1)
                lower.errorbar(middles[shown], ratio[shown], error[shown], fmt=".", ms=4, lw=1, color=colour)
        lower.axhline(1.0, color="black", linewidth=0.6)
        lower.set(ylim=(0.7, 1.3), xlabel=label, xlim=(edges[0], edges[-1]))
    axes[0, 0].set_ylabel("density")
    axes[1, 0].set_ylabel("ratio to Pythia")
    axes[0, -1].legend(frameon=False, fontsize=9, loc="upper left")
    figure.suptitle(f"Gluons of {PT[0]:.0f} to {PT[1]:.0f} GeV, {num:,} jets a sample", fontsize=11)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Make the samples and the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--num", type=int, default=20_000, help="gluons a sample")
    parser.add_argument("-o", "--output", type=Path, default=PICTURE)
    options = parser.parse_args()
    rng = np.random.default_rng(20)
    pt = np.exp(rng.uniform(*np.log(PT), options.num))
    zeros = np.zeros(options.num)
    partons = fastsim.Partons.from_pt_eta_phi(np.full(options.num, 21), pt, zeros, zeros)
    samples = {key: sample(model, seed, partons) for key, (model, seed, _) in SAMPLES.items()}
    draw(samples, options.num, options.output)
    print(options.output)


if __name__ == "__main__":
    main()
