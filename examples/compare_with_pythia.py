"""Compare the events of a model with those of the reference: a table on the terminal and a picture.

    fastsim generate data/examples/pp_dijet.lhe.gz -o generated.hepmc3
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


def edges_of(values: Floats, bins: int = 25) -> Floats:
    """Choose bin edges over the bulk of the values; whole numbers get bins that each hold as many of them."""
    low, high = np.quantile(values, [0.002, 0.998])
    if np.all(values == np.round(values)):
        width = np.ceil((high - low + 1) / bins)
        return np.asarray(np.arange(low, high + width + 1, width) - 0.5)
    return np.asarray(np.linspace(low, high, bins + 1))


def plot(generated: dict[str, Floats], reference: dict[str, Floats], path: Path) -> None:
    """Draw a panel per observable: densities with statistical errors, and the ratio of model to reference below."""
    columns = 5
    lines = -(-len(reference) // columns)
    figure, axes = pyplot.subplots(
        2 * lines,
        columns,
        figsize=(3.4 * columns, 3.6 * lines),
        height_ratios=[3, 1] * lines,
        layout="constrained",
    )
    for number, (name, real) in enumerate(reference.items()):
        upper, lower = axes[2 * (number // columns) : 2 * (number // columns) + 2, number % columns]
        edges = edges_of(np.concatenate([real, generated[name]]))
        low, high = edges[0], edges[-1]
        densities = []
        for values, label, colour in ((real, "Pythia", "black"), (generated[name], "model", "tab:red")):
            counts = np.histogram(values, edges)[0]
            scale = 1.0 / (len(values) * np.diff(edges))
            densities.append((counts * scale, np.sqrt(np.maximum(counts, 1)) * scale))
            upper.stairs(counts * scale, edges, label=label, color=colour)
        (base, base_error), (other, other_error) = densities
        filled = base > 0
        centres = (edges[1:] + edges[:-1])[filled] / 2
        ratio = other[filled] / base[filled]
        relative = base_error[filled] / base[filled]
        lower.fill_between(centres, 1 - relative, 1 + relative, color="lightgrey", step="mid")
        lower.errorbar(centres, ratio, other_error[filled] / base[filled], fmt=".", color="tab:red", markersize=3)
        lower.set(ylim=(0.5, 1.5), xlabel=name, xlim=(low, high))
        upper.set(xlim=(low, high), xticklabels=[])
        lower.axhline(1.0, color="black", linewidth=0.5)
        if number % columns == 0:
            upper.set_ylabel("density")
            lower.set_ylabel("ratio")
    for number in range(len(reference), lines * columns):
        for axis in axes[2 * (number // columns) : 2 * (number // columns) + 2, number % columns]:
            axis.set_axis_off()
    axes[0, 0].legend(frameon=False)
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
