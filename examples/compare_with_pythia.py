"""Compare the events of a model with those of the reference: a table on the terminal and a picture.

    fastsim generate data/examples/pp_dijet.lhe.gz -o generated.hepmc3 --event hard
    fastsim reference data/examples/pp_dijet.lhe.gz -o reference.hepmc3
    python examples/compare_with_pythia.py generated.hepmc3 reference.hepmc3 -o comparison.png

Both files are clustered with anti-kt, R = 0.4, and the two leading jets of an event above 20 GeV, without
neutrinos, are compared. The null is the distance between equal samples of these sizes.
Weighted events are compared unweighted. Needs the extra ``plot``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

from fastsim.event import ParticleSet
from fastsim.event.species import charges
from fastsim.formats import hepmc
from metrics import features, w1
from metrics.hadrons.clustering import cluster

matplotlib.use("Agg")
from matplotlib import pyplot

Floats = NDArray[np.float64]
JET_NAMES = {
    "multiplicity": "jet multiplicity",
    "charged": "jet charged multiplicity",
    "mass": "jet mass / pT",
    "girth": "jet girth",
    "ptd": "jet pTD",
    "z1": "leading particle's share of jet pT",
    "tau21": "jet tau21",
}

PANELS = ("event charged multiplicity", "jet mass / pT", "jet girth")
"""What the picture shows, of all that the table has."""
ENTRIES = {"event charged multiplicity": "events", "jet mass / pT": "jets", "jet girth": "jets"}


def observables_of(path: Path) -> dict[str, Floats]:
    """Compute event and jet observables of a HepMC file, each one value per event or jet."""
    particles = ParticleSet.concatenate([batch for batch, _ in hepmc.read(path)])
    charged = np.bincount(particles.index, weights=charges(particles.pdg_id) != 0, minlength=len(particles))
    jets = cluster(particles)
    shape = features(jets.constituents, jets.axes)
    values = {
        "event multiplicity": particles.counts.astype(float),
        "event charged multiplicity": charged,
        "jet pT / GeV": np.hypot(jets.axes.p4[:, 1], jets.axes.p4[:, 2]),
    }
    return values | {label: shape.column(name) for name, label in JET_NAMES.items()}


def show(generated: dict[str, Floats], reference: dict[str, Floats]) -> None:
    """Print a table of means and Wasserstein-1 distances with their errors and nulls."""
    from rich.console import Console
    from rich.table import Table

    table = Table("observable", "model", "Pythia", "W1", "null W1", title="model against Pythia: means and distances")
    for name, real in reference.items():
        distance = w1(real, generated[name])
        table.add_row(
            name,
            f"{generated[name].mean():.4g}",
            f"{real.mean():.4g}",
            f"{distance.value:.2g} ± {distance.error:.1g}",
            f"{distance.null_value:.2g} ± {distance.null_error:.1g}",
        )
    Console().print(table)


def edges_of(values: Floats, bins: int) -> Floats:
    """Choose bin edges over the bulk of the values; whole numbers get bins that each hold as many of them."""
    low, high = np.quantile(values, [0.005, 0.995])
    if np.all(values == np.round(values)):
        width = np.ceil((high - low + 1) / bins)
        return np.asarray(np.arange(low, high + width + 1, width) - 0.5)
    return np.asarray(np.linspace(low, high, bins + 1))


def plot(generated: dict[str, Floats], reference: dict[str, Floats], path: Path) -> None:
    """Draw three large panels: densities with statistical errors, and the ratio of model to reference below."""
    figure, axes = pyplot.subplots(
        2, len(PANELS), figsize=(15, 6.5), height_ratios=[2.4, 1], sharex="col", layout="constrained"
    )
    for column, name in enumerate(PANELS):
        upper, lower = axes[:, column]
        real, other = reference[name], generated[name]
        # some 40 entries a bin of the smaller sample, so that a bin says something
        bins = int(np.clip(min(len(real), len(other)) / 40, 6, 30))
        edges = edges_of(np.concatenate([real, other]), bins)
        middles, densities = (edges[1:] + edges[:-1]) / 2, []
        for values, label, colour in ((real, "Pythia", "black"), (other, "model", "tab:red")):
            counts = np.histogram(values, edges)[0]
            scale = 1.0 / (len(values) * np.diff(edges))
            density, error = counts * scale, np.sqrt(counts) * scale
            densities.append((density, error))
            upper.stairs(density, edges, color=colour, linewidth=2, label=f"{label}, {len(values):,} {ENTRIES[name]}")
            upper.stairs(density + error, edges, baseline=density - error, fill=True, color=colour, alpha=0.15)
        (base, base_error), (value, value_error) = densities
        filled = (base > 0) & (value > 0)
        relative = np.divide(base_error, base, out=np.zeros_like(base), where=base > 0)
        lower.stairs(1 + relative, edges, baseline=1 - relative, fill=True, color="lightgrey")
        lower.errorbar(
            middles[filled],
            value[filled] / base[filled],
            value_error[filled] / base[filled],
            fmt="o",
            color="tab:red",
            markersize=5,
        )
        lower.axhline(1.0, color="black", linewidth=0.8)
        highest = np.max((value[filled] + value_error[filled]) / base[filled], initial=1.5)
        lower.set(ylim=(0.0, min(max(2.0, 1.05 * highest), 4.0)), xlim=(edges[0], edges[-1]))
        lower.set_xlabel(name, fontsize=14)
        upper.set_ylim(0.0, 1.35 * upper.get_ylim()[1])
        upper.legend(frameon=False, fontsize=13, loc="upper right")
        for axis in (upper, lower):
            axis.tick_params(labelsize=12)
    axes[0, 0].set_ylabel("density", fontsize=14)
    axes[1, 0].set_ylabel("model / Pythia", fontsize=14)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("generated", type=Path, help="HepMC3 file of the model")
    parser.add_argument("reference", type=Path, help="HepMC3 file of the reference")
    parser.add_argument("-o", "--output", type=Path, default=Path("comparison.png"), help="picture to write")
    options = parser.parse_args()
    generated, reference = observables_of(options.generated), observables_of(options.reference)
    show(generated, reference)
    plot(generated, reference, options.output)
    print(f"{options.output} has the histograms")


if __name__ == "__main__":
    main()
