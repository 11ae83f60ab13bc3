"""Compare models of calorimeter showers with Geant4 in cells of energy and angle, for docs/calorimeter.md.

Files of Geant4's showers are given twice, of other seeds: sample A, which no model has seen, and sample B, whose
energies and directions the models draw showers at. The rows Geant4 are B against A. Cells of few showers are left
out; all samples of a cell have one size.

    fastsim showers --model geant4 --detector pb-si-ecal --particle e- --energy 0.1:1 -n 2000 --seed 3002 -o a.h5
    fastsim showers --model geant4 --detector pb-si-ecal --particle e- --energy 0.1:1 -n 2000 --seed 3003 -o b.h5
    python -m bench.validation.shower_cells --real a.h5 --null b.h5 --energies 0.1 0.3 1

With x the visible over the incident energy: response is the ratio to A's of the mean of x about a straight line in log
E (fitted to A and B together), resolution that of its standard deviation, core that of the distance from the 16th to
the 84th percentile. Shapes: how many of the observables of whole showers (:mod:`metrics.showers.shapes`) are further
from A, in Kolmogorov distance, than two standard deviations above the mean of equal samples, and the worst of them.
Showers are turned by whole sectors until their direction of flight is next to the x axis: "eta" is along the tilt.
AUC: boosted trees on all features, energy and direction. Voxels below 0.5 keV are empty.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from bench.validation.hadron_document import fill, table
from bench.validation.showers import refuse_shared
from fastsim.detector.binning import Binning
from fastsim.detector.detector import PARTICLES
from fastsim.detector.incidents import Incidents
from fastsim.errors import FastsimError
from fastsim.event import Floats, Ints
from fastsim.formats.calochallenge import Showers
from fastsim.registry import load_showers
from fastsim.shipped import data_folder
from fastsim.sources import cards
from fastsim.sources.showers import ShowerSource
from generators.showers.cascade.grid import Grid
from generators.showers.data import GeantRun, trained_on
from generators.showers.stored import read_stored
from metrics import evaluate
from metrics.result import MetricResult
from metrics.showers.comparison import read_out
from metrics.showers.features import showers_sample

NAMES = {pdg_id: name for name, (pdg_id, _) in PARTICLES.items()}
GEANT4 = "Geant4"
LEAST, LEAST_JUDGED = 40, 100
"""Showers of one sample that a cell needs, and that trees need."""
NUM_RESAMPLED = 200
BATCH = 500
HEAD = ("particle", "GeV", "degrees", "sample", "showers", "response", "resolution", "core", "shapes", "worst", "AUC")


@dataclass(frozen=True)
class Truth:
    """Geant4's showers of one kind of particle, and the runs that they are of."""

    binning: Binning
    showers: Showers
    runs: set[GeantRun]


def read_truth(paths: Sequence[Path]) -> dict[int, Truth]:
    """Read files of Geant4's showers, by particle.

    Raises:
        FastsimError: if a file was made by a model, or is there twice.
    """
    truths: dict[int, Truth] = {}
    for path in paths:
        stored = read_stored(path)
        if stored.model is not None:
            raise FastsimError(f"{path}: made by {stored.model}; give Geant4's")
        truth = Truth(stored.binning, stored.showers, {(stored.pdg_id, stored.seed)})
        if (other := truths.get(stored.pdg_id)) is not None:
            if truth.runs <= other.runs:
                raise FastsimError(f"{path}: its showers, of seed {stored.seed}, are there twice: give each file once")
            together = Showers.concatenate([other.showers, truth.showers])
            truth = Truth(truth.binning, together, other.runs | truth.runs)
        truths[stored.pdg_id] = truth
    return truths


def directions(showers: Showers) -> Floats:
    """Return theta and phi of showers in rad, (N, 2)."""
    return np.zeros((len(showers), 2)) if showers.direction is None else showers.direction


def rows_of(showers: Showers, energies: tuple[float, float], thetas: tuple[float, float]) -> Ints:
    """Find the showers of a cell."""
    energy, theta = showers.incident / 1e3, directions(showers)[:, 0]
    inside = (energy >= energies[0]) & (energy < energies[1]) & (theta >= thetas[0]) & (theta <= thetas[1])
    return np.flatnonzero(inside)


def draw(source: ShowerSource, pdg_id: int, like: Showers) -> Showers:
    """Draw a source's showers at the energies and directions of others."""
    direction, energy = directions(like), like.incident / 1e3
    particles = Incidents(np.full(len(like), pdg_id), energy, *direction.T)
    parts = [
        source.sample(particles[first : first + BATCH], rng=np.random.default_rng([1, first]))
        for first in range(0, len(like), BATCH)
    ]
    return Showers(like.incident, np.concatenate(parts), direction=like.direction)


def turned(showers: Showers, grid: Grid) -> Showers:
    """Turn tilted showers by whole sectors until their phi is nearest to 0."""
    if showers.direction is None:
        return showers
    step = 2 * np.pi / grid.num_alpha
    shift = np.rint(showers.direction[:, 1] / step).astype(np.int64)
    voxels = grid.turned(showers.voxels, np.ones(len(showers), np.int64), shift % grid.num_alpha)
    phi = showers.direction[:, 1] - step * shift
    return Showers(showers.incident, voxels, direction=np.column_stack([showers.direction[:, 0], phi]))


def ratios(a: Showers, b: Showers) -> list[str]:
    """Write response, resolution and core of showers ``b`` over those of ``a``, with errors from resampling."""
    x = [s.voxels.sum(1, dtype=np.float64) / s.incident for s in (a, b)]
    place = [np.log(s.incident) for s in (a, b)]
    line = np.polyfit(np.concatenate(place), np.concatenate(x), 1)
    rest = [1 + (values - np.polyval(line, p)) / np.polyval(line, p) for values, p in zip(x, place, strict=True)]

    def core(values: Floats) -> float:
        return float(np.subtract(*np.percentile(values, [84, 16])))

    rng, result = np.random.default_rng(1), []
    figures: tuple[Callable[[Floats], float], ...] = (lambda v: float(v.mean()), lambda v: float(v.std()), core)
    for of in figures:
        drawn = [of(rng.choice(rest[1], len(b))) / of(rng.choice(rest[0], len(a))) for _ in range(NUM_RESAMPLED)]
        result.append(f"{of(rest[1]) / of(rest[0]):.3f} ± {np.std(drawn):.3f}")
    return result


def shapes(results: Mapping[str, MetricResult]) -> list[str]:
    """Write how many shapes are far off, and the worst."""
    found = {name.removeprefix("shape "): r for name, r in results.items() if name.startswith("shape ")}
    worst = max(found, key=lambda name: found[name].sigmas)
    value = found[worst]
    far = sum(r.sigmas > 2 for r in found.values())
    return [f"{far} of {len(found)}", f"{worst.partition(' /')[0]} {value.value:.3f} ± {value.error:.3f}"]


def judge(a: Showers, samples: Mapping[str, Showers], binning: Binning) -> list[list[str]]:
    """Write the figures of samples of a cell against ``a``, a row each."""
    grid = Grid.of(binning)
    ready = {name: turned(read_out(sample), grid) for name, sample in {"": a, **samples}.items()}
    one = showers_sample(ready[""], binning)
    others = {name: showers_sample(ready[name], binning) for name in samples}
    judged = len(a) >= LEAST_JUDGED
    evaluation, _ = evaluate(one, others, metrics=["auc", "shapes"] if judged else ["shapes"])
    result = []
    for name in samples:
        found = evaluation.results[name]
        auc = f"{found['auc'].value:.3f} ± {found['auc'].error:.3f}" if judged else ""
        result.append([name, str(len(a)), *ratios(ready[""], ready[name]), *shapes(found), auc])
    return result


def figures_of(rows: Sequence[Sequence[str]], source: str) -> dict[str, cards.Figure]:
    """Collect what a card holds of a model: the AUC, and how far response and resolution are from Geant4's."""
    figures = {}
    by_place = {(row[3], *row[:3]): dict(zip(HEAD, row, strict=True)) for row in rows}
    for (name, *place), row in by_place.items():
        if name != source:
            continue
        for key, label, zero in (("AUC", "auc-trees", 0.0), ("response", "response-off", 1.0)):
            if not row[key]:
                continue
            (value, error), (null, null_error) = (
                map(float, each[key].split(" ± ")) for each in (row, by_place[GEANT4, *place])
            )
            if zero:
                value, null = abs(value - zero), abs(null - zero)
            where = f"{label}/{place[0]}-{place[1]}" + ("" if place[2] == "0" else f"-{place[2]}-degrees")
            figures[where] = cards.Figure(value, error, null, null_error)
    return figures


def degrees(low: float, high: float) -> str:
    """Write a range of angles in rad."""
    return "0" if high == 0 else f"{np.degrees(low):.0f}-{np.degrees(high):.0f}"


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", nargs="+", type=Path, required=True, help="Geant4's showers, sample A (.h5)")
    parser.add_argument("--null", nargs="+", type=Path, required=True, help="the same of other seeds, sample B")
    parser.add_argument("--models", nargs="+", default=["pb-si-cascade"], help="names or cards")
    parser.add_argument("--energies", nargs="+", type=float, default=[1.0, 4.64, 21.5, 100.0], help="edges in GeV")
    parser.add_argument("--thetas", nargs="+", type=float, default=[0.0, 0.0], help="edges in rad")
    parser.add_argument("--docs", type=Path, help="folder of calorimeter.md, to write the table there, and into cards")
    parser.add_argument("--marker", default="shower-cells", help="of the table in calorimeter.md")
    options = parser.parse_args(words)
    real, null = read_truth(options.real), read_truth(options.null)
    sources = [load_showers(name) for name in options.models]
    runs = {name: set().union(*(t.runs for t in s.values())) for name, s in (("real", real), ("null", null))}
    refuse_shared(runs, {source.name: trained_on(source.card) for source in sources})
    written: list[list[str]] = []
    for pdg_id in real.keys() & null.keys():
        for energies, thetas in product(pairwise(options.energies), pairwise(options.thetas)):
            a, b = (t[pdg_id].showers[rows_of(t[pdg_id].showers, energies, thetas)] for t in (real, null))
            num = min(len(a), len(b))
            if num < LEAST:
                continue
            a, b = a[:num], b[:num]
            samples = {GEANT4: b, **{source.name: draw(source, pdg_id, b) for source in sources}}
            place = [NAMES[pdg_id], f"{energies[0]:g}-{energies[1]:g}", degrees(*thetas)]
            written += [[*place, *row] for row in judge(a, samples, real[pdg_id].binning)]
            print(table(HEAD, written[-len(samples) :]), flush=True)
    if options.docs is None:
        return
    fill(options.docs / "calorimeter.md", options.marker, table(HEAD, written))
    for source in sources:
        if source.name in cards.available(cards.SHOWERS):
            cards.add_figures(data_folder() / "models" / f"{source.name}.json", figures_of(written, source.name))


if __name__ == "__main__":
    try:
        main()
    except FastsimError as error:
        sys.exit(f"error: {error}")
