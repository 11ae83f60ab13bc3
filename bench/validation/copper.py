"""Compare models of showers in copper with Geant4 (part of ``make validate``), for docs/calorimeter.md.

Rows: family of particles x kinetic energy {0.1-1, 1-10, 10-200 GeV}, along the normal. Model and Geant4 have the
same incident energies, the model several times; with x the visible over the kinetic energy of a shower:

- response: <x> of the model over <x> of Geant4;
- resolution: width of x over Geant4's, about a cubic in log E that is fitted to Geant4's particles, one by one;
- profiles: <E_k / E> of the layers, and of the rings of each section of the detector, in those that hold 95% of the
  energy: the largest relative deviation, and the root mean square of the deviations beyond their errors.

The rows Geant4 compare one half of Geant4's showers with the other. Errors are of one standard deviation.

    python -m bench.validation.copper truth --num 1000 --geant4-data DIR    # Geant4 only: the slow, once-only part
    python -m bench.validation.copper run --models NAME CARD.json
    python -m bench.validation.copper run --real copper-*.h5
    python -m bench.validation.copper run --detector copper-towers    # Geant4's showers regrouped into its voxels
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from bench.validation.hadron_document import fill, table
from bench.validation.showers import NAMES, make_file, refuse_shared
from fastsim.detector.detector import PARTICLES, Detector, load_detector
from fastsim.detector.incidents import Incidents
from fastsim.errors import FastsimError
from fastsim.production.shower_run import CHUNK
from fastsim.registry import load_showers, shipped_showers
from fastsim.shipped import data_folder
from fastsim.sources import cards
from fastsim.sources.showers import ShowerSource
from generators.showers.data import trained_on
from generators.showers.regroup import Regrouping
from generators.showers.stored import read_stored

Floats = NDArray[np.float64]

DETECTOR = "copper"
EDGES = (0.1, 1.0, 10.0, 200.0)
FAMILIES = {
    "e-, e+, gamma": ("e-", "e+", "gamma"),
    "pi+, pi-": ("pi+", "pi-"),
    "K+, K-, K0L": ("K+", "K-", "K0L"),
    "p, n": ("p", "n"),
    "pbar, nbar": ("pbar", "nbar"),
    "mu-, mu+": ("mu-", "mu+"),
}
HELD = 0.95
SEED = 9101
"""Of the first particle's showers; a seed gives the same energies, so the others have their own."""
GEANT4 = "Geant4"
Results = dict[tuple[str, str], dict[str, "Comparison"]]
"""By family and energies, and by sample."""


@dataclass(frozen=True)
class Fractions:
    """N showers of one particle, as fractions of its kinetic energy.

    Attributes:
        energy: kinetic energy in GeV, (N,).
        layers: fraction in each layer, (N, L).
        rings: fraction in each ring of each section, (N, K).
    """

    energy: Floats
    layers: Floats
    rings: Floats

    @property
    def visible(self) -> Floats:
        """(N,) of all layers."""
        return np.asarray(self.layers.sum(axis=1))

    def __getitem__(self, rows: NDArray[np.bool_] | slice) -> Fractions:
        return Fractions(self.energy[rows], self.layers[rows], self.rings[rows])


def fractions(detector: Detector, pdg_id: int, energy: Floats, voxels: NDArray[np.float32]) -> Fractions:
    """Sum the voxels of showers (N, V) in MeV by layer and ring; layers with the same rings are summed."""
    binning = detector.binning(NAMES[pdg_id])
    assert binning is not None
    layers, rings, start = [], dict[tuple[float, ...], Floats](), 0
    for layer in binning.layers:
        part = voxels[:, start : start + layer.num_voxels].astype(np.float64)
        start += layer.num_voxels
        layers.append(part.sum(axis=1))
        by_ring = part.reshape(len(part), layer.num_alpha, layer.num_r).sum(axis=1)
        rings[layer.r_edges] = rings.get(layer.r_edges, 0.0) + by_ring
    scale = 1e3 * energy[:, None]
    return Fractions(energy, np.stack(layers, axis=1) / scale, np.concatenate(list(rings.values()), axis=1) / scale)


def draw(source: ShowerSource, detector: Detector, pdg_id: int, energy: Floats, times: int) -> Fractions:
    """Draw a source's showers at the given energies in GeV, ``times`` of each."""
    energy, parts = np.tile(energy, times), []
    for chunk, first in enumerate(range(0, len(energy), CHUNK)):
        some = energy[first : first + CHUNK]
        voxels = source.sample(
            Incidents.perpendicular(pdg_id, some), rng=np.random.default_rng([1, pdg_id + 10**5, chunk])
        )
        parts.append(fractions(detector, pdg_id, some, voxels))
    return Fractions(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("energy", "layers", "rings")))


def ratio(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Compute means (K,) of columns of ``b`` over means of columns of ``a``, with errors."""
    means = [x.mean(axis=0) for x in (a, b)]
    errors = [x.std(axis=0) / np.sqrt(len(x)) / m for x, m in zip((a, b), means, strict=True)]
    value = means[1] / means[0]
    return value, value * np.hypot(*errors)


def deviations(a: Floats, b: Floats) -> tuple[float, float, float]:
    """Compare two profiles, in the columns that hold 95% of the energy.

    Args:
        a, b: fractions of the energy, (N, K) and (N', K); ``a`` is real.

    Returns:
        The largest relative deviation, its error, and the root mean square of all deviations beyond their errors.
    """
    mean = a.mean(axis=0)
    order = np.argsort(-mean)
    main = np.cumsum(mean[order]) - mean[order] < HELD * mean.sum()
    value, error = ratio(a[:, order[main]], b[:, order[main]])
    worst = int(np.argmax(np.abs(value - 1)))
    beyond = float(np.mean((value - 1) ** 2 - error**2))
    return float(value[worst] - 1), float(error[worst]), float(np.sign(beyond) * np.sqrt(abs(beyond)))


@dataclass(frozen=True)
class Comparison:
    """Figures of ``num`` showers: ratios with errors, and :func:`deviations` of profiles."""

    num: int
    response: tuple[float, float]
    resolution: tuple[float, float]
    layers: tuple[float, float, float]
    rings: tuple[float, float, float]

    def cells(self) -> list[str]:
        """Write the cells of a row of the table."""
        ratios = [f"{value:.3f} ± {error:.3f}" for value, error in (self.response, self.resolution)]
        profiles = [
            f"{100 * worst:+.0f} ± {100 * error:.0f}, {100 * beyond:+.1f}"
            for worst, error, beyond in (self.layers, self.rings)
        ]
        return [str(self.num), *ratios, *profiles]


def compare(real: Mapping[str, Fractions], other: Mapping[str, Fractions], low: float, high: float) -> Comparison:
    """Compute the figures of a family, particle by particle put together, in a range of energies in GeV."""
    columns: dict[str, list[list[Floats]]] = {name: [[], []] for name in ("x", "width", "layers", "rings")}
    for name, whole in real.items():
        curve = np.polyfit(np.log(whole.energy), whole.visible, 3)
        for side, sample in enumerate((whole, other[name])):
            rows = (sample.energy >= low) & (sample.energy < high)
            part = sample[rows]
            rest = part.visible - np.polyval(curve, np.log(part.energy))
            for column, values in (("x", part.visible[:, None]), ("width", (rest - rest.mean())[:, None] ** 2)):
                columns[column][side].append(values)
            columns["layers"][side].append(part.layers)
            columns["rings"][side].append(part.rings)
    a, b = ({name: np.concatenate(sides[side]) for name, sides in columns.items()} for side in (0, 1))
    response, width = ratio(a["x"], b["x"]), ratio(a["width"], b["width"])
    mean, mean_error = float(response[0][0]), float(response[1][0])
    resolution = float(np.sqrt(width[0][0])) / mean
    return Comparison(
        len(a["x"]),
        (mean, mean_error),
        (resolution, 0.5 * float(width[1][0] / width[0][0]) * resolution),
        deviations(a["layers"], b["layers"]),
        deviations(a["rings"], b["rings"]),
    )


def halves(whole: Fractions) -> tuple[Fractions, Fractions]:
    """Split showers in the order of energy: every other one, and those between."""
    order = np.argsort(whole.energy)
    parts = (Fractions(whole.energy[k], whole.layers[k], whole.rings[k]) for k in (order[::2], order[1::2]))
    one, other = parts
    return one, other


def compare_all(real: Mapping[str, Fractions], sources: Mapping[str, Mapping[str, Fractions]]) -> Results:
    """Compare all families and energies: Geant4's halves, then the sources that know a particle of the family."""
    results: Results = {}
    for family, names in FAMILIES.items():
        present = {name: real[name] for name in names if name in real}
        if not present:
            continue
        split = {name: halves(sample) for name, sample in present.items()}
        first, second = ({n: s[k] for n, s in split.items()} for k in (0, 1))
        for low, high in pairwise(EDGES):
            row = results[family, f"{low:g}-{high:g}"] = {GEANT4: compare(first, second, low, high)}
            for source, drawn in sources.items():
                known = {name: sample for name, sample in present.items() if name in drawn}
                if known:
                    row[source] = compare(known, drawn, low, high)
    return results


def markdown(results: Results) -> str:
    """Write the table of all."""
    head = ["particles", "GeV", "sample", "showers", "response", "resolution", "layers, %", "rings, %"]
    return table(head, [[*place, name, *c.cells()] for place, row in results.items() for name, c in row.items()])


def card_figures(results: Results, source: str) -> dict[str, cards.Figure]:
    """Compute how far response and resolution are from Geant4's, with a null, as a model's card holds them.

    The null is the same figure between the halves of Geant4's showers.
    """
    figures = {}
    for (family, energies), row in results.items():
        for name in ("response", "resolution"):
            if source in row:
                (value, error), (null, null_error) = (getattr(row[k], name) for k in (source, GEANT4))
                place = f"{name}-off/{family.split(',')[0]}-{energies}"
                figures[place] = cards.Figure(abs(value - 1), error, abs(null - 1), null_error)
    return figures


def read_real(paths: Sequence[Path]) -> tuple[dict[str, tuple[Floats, NDArray[np.float32]]], set[tuple[int, int]]]:
    """Read energies (GeV) and voxels (MeV) by particle, and the runs of Geant4 that they are from.

    Raises:
        FastsimError: if a file was made by a model, or in another detector or direction.
    """
    by_particle: dict[str, list[tuple[Floats, NDArray[np.float32]]]] = {}
    runs = set()
    for path in paths:
        stored = read_stored(path)
        if stored.model is not None or stored.detector != DETECTOR or stored.theta > 0:
            raise FastsimError(f"{path}: give showers of Geant4 in {DETECTOR} at theta 0")
        by_particle.setdefault(NAMES[stored.pdg_id], []).append((stored.showers.incident / 1e3, stored.showers.voxels))
        runs.add((stored.pdg_id, stored.seed))
    joined = {
        name: (np.concatenate([e for e, _ in parts]), np.concatenate([v for _, v in parts]))
        for name, parts in by_particle.items()
    }
    return joined, runs


def truth_path(folder: Path, particle: str) -> Path:
    """Name the file that ``truth`` makes of a particle."""
    return folder / f"copper-{particle}.h5"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=("truth", "run", "all"), default="run", help="all: one, then two")
    parser.add_argument("--detector", default=DETECTOR, help="whose voxels, and models")
    parser.add_argument("--models", nargs="*", help="names or cards; default: all that ship for the detector")
    parser.add_argument("--real", nargs="+", type=Path, help="Geant4's showers (.h5), any particles; default: truth's")
    parser.add_argument("--num", type=int, default=1000, help="showers a particle that truth makes")
    parser.add_argument("--workers", type=int, default=1, help="Geant4 worker processes")
    parser.add_argument("--geant4-data", type=Path, help="folder of Geant4's data sets")
    parser.add_argument("--folder", type=Path, default=Path("runs/validation-copper"), help="of truth's files")
    parser.add_argument("--times", type=int, default=8, help="showers of a model for each of Geant4's")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of calorimeter.md")
    options = parser.parse_args()
    if options.command in ("truth", "all"):
        options.folder.mkdir(parents=True, exist_ok=True)
        for place, particle in enumerate(PARTICLES):
            gun = {"detector": DETECTOR, "particle": particle, "energy": (EDGES[0], EDGES[-1]), "num": options.num}
            make_file(truth_path(options.folder, particle), options, **gun, seed=SEED + 1000 * place)
    if options.command == "truth":
        return
    detector = load_detector(options.detector)
    regroup = Regrouping.of(load_detector(DETECTOR), detector)
    showers, runs = read_real(options.real or [truth_path(options.folder, particle) for particle in PARTICLES])
    real = {n: fractions(detector, PARTICLES[n][0], energy, regroup(voxels)) for n, (energy, voxels) in showers.items()}
    sources: dict[str, dict[str, Fractions]] = {}
    for name in options.models or shipped_showers(detector.name):
        source = load_showers(name)
        if source.detector != detector.name:
            raise FastsimError(f"{source.name} makes showers in {source.detector}, not in {detector.name}")
        refuse_shared({"real": runs}, {source.name: trained_on(source.card)})
        sources[source.name] = {
            n: draw(source, detector, PARTICLES[n][0], sample.energy, options.times)
            for n, sample in real.items()
            if PARTICLES[n][0] in source.domain.particles
        }
        print(f"{source.name}: drawn", file=sys.stderr, flush=True)
    results = compare_all(real, sources)
    text = markdown(results)
    print(text, end="")
    fill(options.docs / "calorimeter.md", detector.name, text)
    for name in sources:
        if name in cards.available(cards.SHOWERS):
            cards.add_figures(data_folder() / "models" / f"{name}.json", card_figures(results, name))


if __name__ == "__main__":
    try:
        main()
    except FastsimError as error:
        sys.exit(f"error: {error}")
