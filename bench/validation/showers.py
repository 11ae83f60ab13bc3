"""Compare models of calorimeter showers with Geant4 (part of ``make validate``).

Cells: particle x incident energy {1-4.64, 4.64-21.5, 21.5-100 GeV}, perpendicular to pb-si-ecal. Geant4 sample A, which
no model and no library has seen, is compared with an independent Geant4 sample B (the row Geant4: what equal samples
give), with each model and with a library of frozen showers, all with the incident energies of B. Every
sample of a cell is cut to the same number of showers. A readout threshold of 0.5 keV a voxel is applied to all.

    python -m bench.validation.showers truth --num 4000     # Geant4 only: the slow, once-only part
    python -m bench.validation.showers run --models NAME CARD.json
    python -m bench.validation.showers run --real A.h5 --null B.h5 --library L.h5 --models NAME

``truth`` makes files of three seeds a particle (A, B and the library's) under runs/validation-showers/; ``run`` takes
them unless others are named, refuses samples that share showers, and keeps its results there: an interrupted run goes
on where it stopped. With --real alone, every other shower of it is sample B.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

import fastsim
from bench.validation import shower_document as report
from bench.validation.hadron_document import fill
from bench.validation.shower_document import NULL
from fastsim.detector.binning import Binning
from fastsim.detector.detector import PARTICLES
from fastsim.detector.incidents import Incidents
from fastsim.errors import FastsimError
from fastsim.formats.calochallenge import Showers
from fastsim.production.shower_run import CHUNK
from fastsim.registry import load_showers
from fastsim.shipped import data_folder, sha256_of
from fastsim.sources import cards
from fastsim.sources.showers import ShowerSource
from generators.showers.data import GeantRun, trained_on
from generators.showers.library import ShowerLibrary
from generators.showers.stored import StoredShowers, read_stored
from metrics.showers.comparison import CLASSIFIERS, READOUT, ShowerComparison, compare_showers

DETECTOR = "pb-si-ecal"
EDGES = (1.0, 4.64, 21.5, 100.0)
"""GeV; equal in the logarithm, and so in the number of log-uniform showers."""
SEEDS = {"real": 9101, "null": 9102, "library": 9103}
"""Seeds of the files that ``truth`` makes; a photon's is higher by 1000, since a seed gives the same energies."""
PICTURED = 2_000
"""Showers of each sample and particle in the pictures."""
CARD_FIGURES = (
    "separation E_layer",
    "shape displacement",
    "shape tilt / (mm/layer)",
    "shape radius / mm",
    *CLASSIFIERS,
)
"""Figures that a card holds."""
MIN_SHOWERS = 240
"""FPD needs as many."""
NAMES = {pdg_id: name for name, (pdg_id, _) in PARTICLES.items()}


@dataclass(frozen=True)
class Truth:
    """Geant4 showers of one particle, in any number of files.

    Attributes:
        pdg_id: of the particle.
        binning: of the voxels.
        showers: of all files, in their order.
        seeds: of the runs of Geant4.
    """

    pdg_id: int
    binning: Binning
    showers: Showers
    seeds: frozenset[int]


def read_truth(paths: Sequence[Path]) -> dict[int, Truth]:
    """Read the showers of files, by particle.

    Raises:
        FastsimError: if a file was made by a model, is of another detector or direction, or there twice.
    """
    by_particle: dict[int, list[StoredShowers]] = {}
    for path in paths:
        stored = read_stored(path)
        if stored.model is not None or stored.detector != DETECTOR or stored.theta > 0:
            origin = stored.model or f"Geant4 in {stored.detector} at theta {stored.theta:g}"
            raise FastsimError(f"{path}: made by {origin}; give Geant4's in {DETECTOR} at theta 0")
        by_particle.setdefault(stored.pdg_id, []).append(stored)
    truths = {}
    for pdg_id, files in by_particle.items():
        seeds = [file.seed for file in files]
        if len(set(seeds)) < len(seeds):
            raise FastsimError(f"{', '.join(str(f.path) for f in files)}: two have one seed, and so the same showers")
        if any(file.binning != files[0].binning for file in files):
            raise FastsimError(f"{files[0].path}: other voxels than the other files of particle {pdg_id}")
        showers = Showers(
            np.concatenate([f.showers.incident for f in files]), np.concatenate([f.showers.voxels for f in files])
        )
        truths[pdg_id] = Truth(pdg_id, files[0].binning, showers, frozenset(seeds))
    return truths


def runs_of(sample: Mapping[int, Truth]) -> set[GeantRun]:
    """List particle and seed of the Geant4 runs that a sample holds."""
    return {(pdg_id, seed) for pdg_id, truth in sample.items() for seed in truth.seeds}


def refuse_shared(tests: Mapping[str, set[GeantRun]], others: Mapping[str, set[GeantRun]]) -> None:
    """Refuse test samples that share showers with each other, or with a library or a model's training.

    Raises:
        FastsimError: naming the samples and the seed.
    """
    for name, runs in {**tests, **others}.items():
        for test, test_runs in tests.items():
            if test != name and (shared := sorted(runs & test_runs)):
                pdg_id, seed = shared[0]
                raise FastsimError(
                    f"the samples {test!r} and {name!r} both hold Geant4's showers of {NAMES[pdg_id]} with seed "
                    f"{seed}: give files of other seeds"
                )


def halves(whole: Truth) -> tuple[Truth, Truth]:
    """Split a sample: every other shower, and those between."""
    parts = (whole.showers[first::2] for first in (0, 1))
    one, other = (Truth(whole.pdg_id, whole.binning, showers, whole.seeds) for showers in parts)
    return one, other


def cells(particles: Sequence[int]) -> dict[str, tuple[int, float, float]]:
    """List particle and limits of the incident energy in GeV, by name."""
    return {f"{NAMES[p]} {low:g}-{high:g}": (p, low, high) for p in particles for low, high in pairwise(EDGES)}


def rows_of(truth: Truth, low: float, high: float, num: int) -> NDArray[np.int64]:
    """Find the first ``num`` showers of a cell; the last cell holds its upper edge."""
    energy = truth.showers.incident / 1e3
    below = energy <= high if high == EDGES[-1] else energy < high
    return np.flatnonzero((energy >= low) & below)[:num]


def draw(source: ShowerSource, pdg_id: int, energy: NDArray[np.float64], place: int) -> Showers:
    """Draw a source's showers at incident energies in GeV, in chunks; ``place`` seeds them."""
    parts = []
    for chunk, first in enumerate(range(0, len(energy), CHUNK)):
        incidents = Incidents.perpendicular(pdg_id, energy[first : first + CHUNK])
        parts.append(source.sample(incidents, rng=np.random.default_rng([SEEDS["real"], place, chunk])))
    return Showers(1e3 * energy, np.concatenate(parts))


def load(name: str) -> tuple[str, ShowerSource, set[GeantRun]]:
    """Load a model, with the key of its results (name and hash of its weights), and its training runs."""
    source = load_showers(name)
    card = source.card
    digest = card.sha256 if card is not None else sha256_of(Path(name))
    return f"{source.name}-{digest[:8]}", source, trained_on(card)


def key_of(parts: Mapping[int, Truth], options: Sequence[Any]) -> str:
    """Hash what results depend on besides the source: the seeds of all samples, and the settings."""
    text = json.dumps([[pdg_id, sorted(truth.seeds)] for pdg_id, truth in parts.items()] + [list(options)])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def run(
    truths: Mapping[str, Mapping[int, Truth]],
    sources: Mapping[str, ShowerSource],
    options: argparse.Namespace,
) -> tuple[dict[str, dict[str, ShowerComparison]], dict[str, int]]:
    """Compare every source in every cell; results that are on disk are not computed anew.

    Returns:
        Comparisons by cell and key of the source, and the showers a cell.
    """
    folder = options.folder / "results"
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, ShowerComparison]] = {}
    sizes: dict[str, int] = {}
    for place, (cell, (pdg_id, low, high)) in enumerate(cells(list(truths["real"])).items()):
        real, null = truths["real"][pdg_id], truths["null"][pdg_id]
        num = min(options.num or 10**9, *(len(rows_of(t, low, high, 10**9)) for t in (real, null)))
        if num < MIN_SHOWERS:
            print(f"{cell}: {num} showers in both samples, {MIN_SHOWERS} are needed: left out", file=sys.stderr)
            continue
        sizes[cell] = num
        a, b = (t.showers[rows_of(t, low, high, num)] for t in (real, null))
        for key in (NULL, *sources):
            if key != NULL and pdg_id not in sources[key].domain.particles:
                continue
            settings = [cell, num, READOUT, sorted(options.classifiers), options.epochs]
            used = {pdg_id: real, -pdg_id: null}
            path = folder / f"{key}@{cell.replace(' ', '-')}@{key_of(used, settings)}.json"
            if path.exists():
                results.setdefault(cell, {})[key] = ShowerComparison.from_dict(json.loads(path.read_text()))
                continue
            start = time.process_time()
            sample = b if key == NULL else draw(sources[key], pdg_id, b.incident / 1e3, place)
            drawing_seconds = time.process_time() - start
            comparison = compare_showers(
                a, sample, real.binning, classifiers=options.classifiers, num_epochs=options.epochs, seed=SEEDS["real"]
            )
            spent = ", ".join(f"{step} {seconds:.1f}" for step, seconds in comparison.seconds.items())
            times = f"drawn {drawing_seconds:.1f}, {spent}"
            print(f"{key}, {cell}: {num} showers; CPU seconds: {times}", file=sys.stderr, flush=True)
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(comparison.to_dict(), indent=1))
            partial.replace(path)
            results.setdefault(cell, {})[key] = comparison
    return results, sizes


def card_figures(results: Mapping[str, Mapping[str, ShowerComparison]], key: str) -> dict[str, cards.Figure]:
    """Collect figures of which larger is worse, in every cell and with Geant4's own, as a card holds them."""
    figures = {}
    for cell, by_key in results.items():
        for name in CARD_FIGURES:
            if key in by_key and name in by_key[key].figures and name in by_key[NULL].figures:
                value, null = (by_key[k].figures[name] for k in (key, NULL))
                place = f"{name.partition(' / ')[0]}/{cell}".replace(" ", "-").lower()
                figures[place] = cards.Figure(value.value, value.error, null.value, null.error)
    return figures


def write_report(
    results: Mapping[str, Mapping[str, ShowerComparison]],
    sizes: Mapping[str, int],
    truths: Mapping[str, Mapping[int, Truth]],
    sources: Mapping[str, ShowerSource],
    docs: Path,
) -> None:
    """Write docs/validation-showers.md with its pictures."""
    names = {NULL: NULL} | {key: key.rsplit("-", 1)[0] for key in sources}
    named = {cell: {names[k]: c for k, c in by_key.items()} for cell, by_key in results.items()}
    pictures: dict[str, str] = {}
    for place, (pdg_id, real) in enumerate(truths["real"].items()):
        null = truths["null"][pdg_id]
        num = min(len(real.showers), len(null.showers), PICTURED)
        samples = {"Geant4 A": real.showers[:num], "Geant4 B": null.showers[:num]}
        for key, source in sources.items():
            if pdg_id in source.domain.particles:
                samples[names[key]] = draw(source, pdg_id, null.showers.incident[:num] / 1e3, 100 + place)
        stem = f"showers-{NAMES[pdg_id].replace('-', 'minus').replace('+', 'plus')}"
        drawn = report.draw(samples, real.binning, READOUT)
        titles = report.write_pictures(drawn, docs / "images", stem)
        pictures |= {path.relative_to(docs).as_posix(): f"{NAMES[pdg_id]}: {alt}" for path, alt in titles.items()}
    shown = ", ".join(f"{num:,} ({cell} GeV)" for cell, num in sizes.items())
    seeds = "; ".join(
        f"{name} {', '.join(str(s) for t in by.values() for s in sorted(t.seeds))}" for name, by in truths.items()
    )
    split = runs_of(truths["real"]) == runs_of(truths["null"])
    others = "each model, and a library of frozen showers, all" if "library" in truths else "each model,"
    notes = [
        "Made by `bench/validation/showers.py` ([calorimeter.md](calorimeter.md) has the commands); definitions in "
        f"[metrics.md](metrics.md). Particles along the normal of {DETECTOR}; cells are the particle and its kinetic "
        "energy in GeV, log-uniform. Geant4 sample A is held against an independent Geant4 sample B, and "
        f"{others} with the incident energies of B. None has seen A or B.",
        f"Showers of each sample in each cell: {shown}. Seeds of Geant4's runs: {seeds}"
        f"{' (A and B: every other shower of the same runs)' if split else ''}.",
        f"Deposits below {1e3 * READOUT:g} keV in a voxel are 0 in all samples.",
    ]
    if "library" in truths:
        stored = ", ".join(f"{len(t.showers):,} of {NAMES[p]}" for p, t in truths["library"].items())
        notes.append(f"The library holds Geant4's showers, {stored}, from 1 to 100 GeV.")
    docs.mkdir(parents=True, exist_ok=True)
    text = report.markdown(named, list(names.values()), notes, pictures)
    (docs / "validation-showers.md").write_text(text, encoding="utf-8")
    fill(docs / "calorimeter.md", "validation", report.summary(named, list(names.values())))


def truth_paths(folder: Path, particles: Sequence[str], sample: str) -> list[Path]:
    """Name the files that ``truth`` makes of one sample."""
    return [folder / "geant4" / f"{particle}-{sample}.h5" for particle in particles]


def make_file(path: Path, options: argparse.Namespace, **gun: Any) -> None:
    """Run Geant4 for a file that is not there yet; an interrupted run goes on."""
    if not path.exists():
        print(f"Geant4: {path}", file=sys.stderr, flush=True)
        fastsim.reference_showers(path, **gun, workers=options.workers, data=options.geant4_data, resume=True)


def make_truth(options: argparse.Namespace) -> None:
    """Make the files of all samples and particles."""
    (options.folder / "geant4").mkdir(parents=True, exist_ok=True)
    for sample, seed in SEEDS.items():
        for number, particle in enumerate(options.particles):
            (path,) = truth_paths(options.folder, [particle], sample)
            gun = {"detector": DETECTOR, "particle": particle, "energy": (EDGES[0], EDGES[-1])}
            make_file(path, options, **gun, num=options.num or 4000, seed=seed + 1000 * number)


def shipped() -> list[str]:
    """List the models of the detector that ship."""
    every = [cards.read(name)[0] for name in cards.available(cards.SHOWERS)]
    return [card.name for card in every if card.detector == DETECTOR]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=("truth", "run", "all"), default="run", help="all: one, then two")
    parser.add_argument("--models", nargs="*", help="names or cards; default: all that ship for the detector")
    parser.add_argument("--real", nargs="*", type=Path, help="Geant4 sample A (.h5), any particles")
    parser.add_argument("--null", nargs="*", type=Path, help="Geant4 sample B, of other seeds; default: half of A")
    parser.add_argument("--library", nargs="*", type=Path, help="Geant4 files of the frozen showers, of other seeds")
    parser.add_argument("--particles", nargs="*", default=["e-", "gamma"], help="of the files that truth makes")
    parser.add_argument("--num", type=int, help="showers a cell at most; truth: showers a file (default 4000)")
    parser.add_argument("--classifiers", nargs="*", default=list(CLASSIFIERS), choices=CLASSIFIERS)
    parser.add_argument("--epochs", type=int, default=50, help="of the networks at most")
    parser.add_argument("--workers", type=int, default=1, help="Geant4 worker processes")
    parser.add_argument("--geant4-data", type=Path, help="folder of Geant4's data sets")
    parser.add_argument("--folder", type=Path, default=Path("runs/validation-showers"), help="samples and results")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where validation-showers.md goes")
    options = parser.parse_args()
    if options.command in ("truth", "all"):
        make_truth(options)
    if options.command == "truth":
        return
    given = {"real": options.real, "null": options.null, "library": options.library}
    if options.real is None:
        given |= {k: truth_paths(options.folder, options.particles, k) for k, v in given.items() if v is None}
    paths = {name: files for name, files in given.items() if files}
    for path in (path for files in paths.values() for path in files):
        if not path.is_file():
            raise FastsimError(
                f"{path}: no such file; 'python -m bench.validation.showers truth' makes the default ones"
            )
    truths = {name: read_truth(files) for name, files in paths.items()}
    if "real" not in truths or ("null" in truths and set(truths["real"]) != set(truths["null"])):
        parser.error("give --real, and --null for the same particles or not at all")
    loaded = [load(name) for name in (shipped() if options.models is None else options.models)]
    sources = {key: source for key, source, _ in loaded}
    tests = {name: runs_of(sample) for name, sample in truths.items() if name != "library"}
    refuse_shared(tests, {"library": runs_of(truths.get("library", {}))} | {key: runs for key, _, runs in loaded})
    if "null" not in truths:
        split = {pdg_id: halves(whole) for pdg_id, whole in truths["real"].items()}
        for place, name in enumerate(("real", "null")):
            truths[name] = {pdg_id: parts[place] for pdg_id, parts in split.items()}
    if "library" in truths:
        digest = key_of(truths["library"], [len(t.showers) for t in truths["library"].values()])
        sources[f"library-{digest}"] = ShowerLibrary(paths["library"])
    results, sizes = run(truths, sources, options)
    if not results:
        raise FastsimError(f"no cell has {MIN_SHOWERS} showers in both samples: make more")
    write_report(results, sizes, truths, sources, options.docs)
    for key, source in sources.items():
        if source.name in cards.available(cards.SHOWERS):
            cards.add_figures(data_folder() / "models" / f"{source.name}.json", card_figures(results, key))


if __name__ == "__main__":
    try:
        main()
    except FastsimError as error:
        sys.exit(f"error: {error}")
