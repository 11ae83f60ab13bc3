"""Compare models of calorimeter showers with Geant4 (part of ``make validate``).

Cells: particle x incident energy {1-4.64, 4.64-21.5, 21.5-100 GeV}, perpendicular to pb-si-ecal. Geant4 sample A, which
no model and no library has seen, is compared with an independent Geant4 sample B (the row Geant4: what equal samples
give), with each model and with a library of frozen showers, all with the incident energies of B. Every
sample of a cell is cut to the same number of showers. A readout threshold of 0.5 keV a voxel is applied to all.

    python -m bench.validation.showers truth --num 10000 2000 500   # Geant4 only: the slow, once-only part
    python -m bench.validation.showers run --models NAME CARD.json
    python -m bench.validation.showers run --real A.h5 --null B.h5 --library L.h5 --models NAME

``truth`` makes so many showers of each cell and sample (A, B and the library's) under runs/validation-showers/, in
files of 500 of a seed each: an interrupted run, or one of larger numbers, goes on with what is missing. ``run`` takes
them unless others are named, refuses samples that share showers, and keeps its results there: it, too, goes on where
it stopped. Of files given by --halved, and of --real where --null is not given, every other shower is of sample B.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise, product
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
from generators.showers.stored import read_stored
from metrics.showers.comparison import CLASSIFIERS, READOUT, ShowerComparison, compare_showers

DETECTOR = "pb-si-ecal"
EDGES = (1.0, 4.64, 21.5, 100.0)
"""GeV; equal in the logarithm, and so in the number of log-uniform showers."""
SEEDS = {"real": 610_000, "null": 620_000, "library": 630_000}
"""Seeds of the files that ``truth`` makes: higher by 1000 for each of PARTICLES_MADE, by 100 for each range of energy
and by 1 for each file, since a seed gives the same energies to all particles."""
PARTICLES_MADE = ("e-", "gamma", "e+")
FILE = 500
"""Showers of a file: so few that little is lost with one, and many enough that Geant4's start does not count."""
MOST_FILES = 100
"""Files of a cell and sample, at most: their seeds are those below the next cell's."""
PICTURED = 2_000
"""Showers of each sample and particle in the pictures, the same number of each range of energy."""
CARD_FIGURES = (
    "separation E_layer",
    "shape displacement",
    "shape tilt / (mm/layer)",
    "shape radius / mm",
    *CLASSIFIERS,
)
"""Figures that a card holds."""
FIGURES = "figures"
"""Name of the part of a comparison that holds what no classifier gives."""
MIN_SHOWERS = 240
"""FPD needs as many."""
NAMES = {pdg_id: name for name, (pdg_id, _) in PARTICLES.items()}


@dataclass(frozen=True)
class Truth:
    """Geant4 showers of one particle, in any number of files, which are read where their deposits are needed.

    Attributes:
        pdg_id: of the particle.
        binning: of the voxels.
        paths: of the files.
        seeds: of the run of each file.
        incident: incident energies in MeV, (N,), of the files one after the other.
        file: the number of each shower's file, (N,).
        place: the place of each shower in its file, (N,).
    """

    pdg_id: int
    binning: Binning
    paths: tuple[Path, ...]
    seeds: tuple[int, ...]
    incident: NDArray[np.float64]
    file: NDArray[np.int64]
    place: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.incident)

    def join(self, other: Truth) -> Truth:
        """Put the showers of other files behind these.

        Raises:
            FastsimError: if two files are of one seed, or of different voxels.
        """
        paths, seeds = self.paths + other.paths, self.seeds + other.seeds
        if len(set(seeds)) < len(seeds):
            twice = ", ".join(str(path) for path, seed in zip(paths, seeds, strict=True) if seeds.count(seed) > 1)
            raise FastsimError(f"{twice}: two have one seed, and so the same showers")
        if other.binning != self.binning:
            raise FastsimError(f"{other.paths[0]}: other voxels than {self.paths[0]}")
        return replace(
            self,
            paths=paths,
            seeds=seeds,
            incident=np.concatenate([self.incident, other.incident]),
            file=np.concatenate([self.file, other.file + len(self.paths)]),
            place=np.concatenate([self.place, other.place]),
        )

    def part(self, rows: NDArray[np.int64] | slice) -> Truth:
        """Select showers, in the order of ``rows``."""
        return replace(self, incident=self.incident[rows], file=self.file[rows], place=self.place[rows])

    def showers(self) -> Showers:
        """Read the deposits of all showers."""
        voxels = np.empty((len(self), self.binning.num_voxels), dtype=np.float32)
        for number in np.unique(self.file):
            own = self.file == number
            voxels[own] = read_stored(self.paths[number]).showers.voxels[self.place[own]]
        return Showers(self.incident, voxels)

    def identity(self) -> str:
        """Hash which showers these are: the seed of each one's run, and its place there."""
        seeds = np.asarray(self.seeds, dtype=np.int64)[self.file]
        return hashlib.sha256(np.stack([seeds, self.place]).tobytes()).hexdigest()


def read_truth(paths: Sequence[Path]) -> dict[int, Truth]:
    """Read what showers files hold, by particle.

    Raises:
        FastsimError: if a file was made by a model, is of another detector or direction, or there twice.
    """
    truths: dict[int, Truth] = {}
    for path in paths:
        stored = read_stored(path)
        if stored.model is not None or stored.detector != DETECTOR or stored.theta > 0:
            origin = stored.model or f"Geant4 in {stored.detector} at theta {stored.theta:g}"
            raise FastsimError(f"{path}: made by {origin}; give Geant4's in {DETECTOR} at theta 0")
        incident, place = stored.showers.incident, np.arange(len(stored.showers))
        found = Truth(stored.pdg_id, stored.binning, (path,), (stored.seed,), incident, np.zeros_like(place), place)
        known = truths.get(found.pdg_id)
        truths[found.pdg_id] = found if known is None else known.join(found)
    return truths


def runs_of(sample: Mapping[int, Truth]) -> set[GeantRun]:
    """List particle and seed of the Geant4 runs that a sample holds."""
    return {(pdg_id, seed) for pdg_id, truth in sample.items() for seed in truth.seeds}


def ranges(numbers: Sequence[int]) -> str:
    """Write numbers in order, those that follow each other as their first and last."""
    ordered = sorted(set(numbers))
    groups = np.split(ordered, np.flatnonzero(np.diff(ordered) > 1) + 1)
    return ", ".join(f"{g[0]}" if len(g) == 1 else f"{g[0]}-{g[-1]}" for g in groups)


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
    return whole.part(slice(0, None, 2)), whole.part(slice(1, None, 2))


def cells(particles: Sequence[int]) -> dict[str, tuple[int, float, float]]:
    """List particle and limits of the incident energy in GeV, by name."""
    return {f"{NAMES[p]} {low:g}-{high:g}": (p, low, high) for p in particles for low, high in pairwise(EDGES)}


def part_of(truth: Truth, low: float, high: float, num: int | None = None) -> Truth:
    """Select the first ``num`` showers of a cell; the last cell holds its upper edge."""
    energy = truth.incident / 1e3
    below = energy <= high if high == EDGES[-1] else energy < high
    return truth.part(np.flatnonzero((energy >= low) & below)[:num])


def showers_asked(given: Sequence[int] | None, default: int | None = None) -> tuple[int | None, ...]:
    """Return how many showers of each range of energy are asked for: of all the same, or one number each.

    Raises:
        FastsimError: if there are neither one number nor as many as ranges, or one is below 0.
    """
    num_ranges = len(EDGES) - 1
    numbers = [default] if not given else list(given)
    if len(numbers) not in (1, num_ranges) or any(number is not None and number < 0 for number in numbers):
        raise FastsimError(
            f"--num is {given}: give one number of showers a cell, or {num_ranges}, from low energies to high"
        )
    return tuple(numbers if len(numbers) == num_ranges else numbers * num_ranges)


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


def covers(source: ShowerSource, pdg_id: int, low: float, high: float) -> bool:
    """Tell whether a source has a particle from ``low`` to ``high`` GeV."""
    domain = source.domain
    return pdg_id in domain.particles and domain.min_energy <= low and high <= domain.max_energy


def key_of(used: Sequence[Truth], options: Sequence[Any]) -> str:
    """Hash what results depend on besides the source: the showers, and the settings."""
    text = json.dumps([[truth.pdg_id, truth.identity()] for truth in used] + [list(options)])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def judge(a: Showers, b: Showers, binning: Binning, part: str, options: argparse.Namespace) -> ShowerComparison:
    """Compute one part of a comparison: a classifier of a name, or all other figures."""
    return compare_showers(
        a,
        b,
        binning,
        classifiers=[] if part == FIGURES else [part],
        other_figures=part == FIGURES,
        num_epochs=options.epochs,
        seed=SEEDS["real"],
    )


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
    most = showers_asked(options.num)
    for cell, (pdg_id, low, high) in cells(list(truths["real"])).items():
        place = EDGES.index(low)
        whole = [part_of(truths[name][pdg_id], low, high, most[place]) for name in ("real", "null")]
        num = min(map(len, whole))
        if num < MIN_SHOWERS:
            print(f"{cell}: {num} showers in both samples, {MIN_SHOWERS} are needed: left out", file=sys.stderr)
            continue
        sizes[cell] = num
        used = [truth.part(slice(num)) for truth in whole]
        binning, energy = used[0].binning, used[1].incident / 1e3
        networks = high <= options.network_energy
        parts = [FIGURES, *(name for name in options.classifiers if networks or name == "auc trees")]
        read = cache(lambda number, used=used: used[number].showers())
        for key in (NULL, *sources):
            if key != NULL and not covers(sources[key], pdg_id, low, high):
                continue
            sample: Showers | None = None
            found = []
            for part in parts:
                settings = [cell, num, READOUT, part, options.epochs if part in CLASSIFIERS[1:] else 0]
                path = folder / f"{key}@{cell}@{part}@{key_of(used, settings)}.json".replace(" ", "-")
                if path.exists():
                    found.append(ShowerComparison.from_dict(json.loads(path.read_text())))
                    continue
                if options.known:
                    continue
                if sample is None:
                    start = time.process_time()
                    sample = read(1) if key == NULL else draw(sources[key], pdg_id, energy, place)
                    seconds = time.process_time() - start
                    print(f"{key}, {cell}: {num} showers in {seconds:.1f} CPU seconds", file=sys.stderr, flush=True)
                comparison = judge(read(0), sample, binning, part, options)
                spent = ", ".join(f"{step} {seconds:.1f}" for step, seconds in comparison.seconds.items())
                print(f"{key}, {cell}: {spent} CPU seconds", file=sys.stderr, flush=True)
                partial = path.with_suffix(".partial")
                partial.write_text(json.dumps(comparison.to_dict(), indent=1))
                partial.replace(path)
                found.append(comparison)
            if found:
                results.setdefault(cell, {})[key] = found[0].join(*found[1:])
    return results, sizes


def card_figures(results: Mapping[str, Mapping[str, ShowerComparison]], key: str) -> dict[str, cards.Figure]:
    """Collect figures of which larger is worse, in every cell and with Geant4's own, as a card holds them."""
    figures = {}
    for cell, by_key in results.items():
        for name in CARD_FIGURES:
            if all(k in by_key and name in by_key[k].figures for k in (key, NULL)):
                value, null = (by_key[k].figures[name] for k in (key, NULL))
                place = f"{name.partition(' / ')[0]}/{cell}".replace(" ", "-").lower()
                figures[place] = cards.Figure(value.value, value.error, null.value, null.error)
    return figures


def pictured(truth: Truth, energies: Sequence[tuple[float, float]], num: int) -> Truth:
    """Select the first ``num`` showers of each of some ranges of energy."""
    parts = [part_of(truth, low, high, num) for low, high in energies]
    names = ("incident", "file", "place")
    return replace(truth, **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


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
        own = {cell: (low, high) for cell, (_, low, high) in cells([pdg_id]).items() if cell in sizes}
        if not own:
            continue
        num = min(PICTURED // len(own), *(sizes[cell] for cell in own))
        shown = [pictured(truths[name][pdg_id], list(own.values()), num) for name in ("real", "null")]
        samples = {f"Geant4 {letter}": truth.showers() for letter, truth in zip("AB", shown, strict=True)}
        for key, source in sources.items():
            if covers(source, pdg_id, min(own.values())[0], max(own.values())[1]):
                samples[names[key]] = draw(source, pdg_id, shown[1].incident / 1e3, 100 + place)
        stem = f"showers-{NAMES[pdg_id].replace('-', 'minus').replace('+', 'plus')}"
        drawn = report.draw(samples, real.binning, READOUT)
        titles = report.write_pictures(drawn, docs / "images", stem)
        pictures |= {path.relative_to(docs).as_posix(): f"{NAMES[pdg_id]}: {alt}" for path, alt in titles.items()}
    counts = ", ".join(f"{num:,} ({cell} GeV)" for cell, num in sizes.items())
    seeds = "; ".join(
        f"{name} {ranges([seed for truth in by.values() for seed in truth.seeds])}" for name, by in truths.items()
    )
    both = sorted(seed for _, seed in runs_of(truths["real"]) & runs_of(truths["null"]))
    others = "each model, and a library of frozen showers, all" if "library" in truths else "each model,"
    notes = [
        "Made by `bench/validation/showers.py` ([calorimeter.md](calorimeter.md) has the commands); definitions in "
        f"[metrics.md](metrics.md). Particles along the normal of {DETECTOR}; cells are the particle and its kinetic "
        "energy in GeV, log-uniform. Geant4 sample A is held against an independent Geant4 sample B, and "
        f"{others} with the incident energies of B. None has seen A or B.",
        f"Showers of each sample in each cell: {counts}. Seeds of Geant4's runs: {seeds}"
        f"{f' (of {ranges(both)} every other shower is of A, and of B)' if both else ''}.",
        f"Deposits below {1e3 * READOUT:g} keV in a voxel are 0 in all samples.",
    ]
    if "library" in truths:
        stored = ", ".join(f"{len(t):,} of {NAMES[p]}" for p, t in truths["library"].items())
        ends = sources[next(key for key in sources if key.startswith("library-"))].domain
        notes.append(
            f"The library holds Geant4's showers, {stored}, from {ends.min_energy:g} to {ends.max_energy:g} GeV."
        )
    docs.mkdir(parents=True, exist_ok=True)
    text = report.markdown(named, list(names.values()), notes, pictures)
    (docs / "validation-showers.md").write_text(text, encoding="utf-8")
    fill(docs / "calorimeter.md", "validation", report.summary(named, list(names.values())))


def truth_path(folder: Path, particle: str, sample: str, seed: int | str) -> Path:
    """Name a file that ``truth`` makes."""
    return folder / "geant4" / f"{particle}-{sample}-{seed}.h5"


def made(options: argparse.Namespace, sample: str) -> list[Path]:
    """List the files of a sample that ``truth`` has made."""
    patterns = [truth_path(options.folder, particle, sample, "*") for particle in options.particles]
    return [path for pattern in patterns for path in sorted(pattern.parent.glob(pattern.name))]


def make_file(path: Path, options: argparse.Namespace, **gun: Any) -> None:
    """Run Geant4 for a file that is not there yet; an interrupted run goes on."""
    if not path.exists():
        print(f"Geant4: {path}", file=sys.stderr, flush=True)
        fastsim.reference_showers(path, **gun, workers=options.workers, data=options.geant4_data, resume=True)


def make_truth(options: argparse.Namespace) -> None:
    """Make the files of all samples and particles, the low energies, which cost least, first.

    Raises:
        FastsimError: if more showers are asked for than seeds are set apart for.
    """
    (options.folder / "geant4").mkdir(parents=True, exist_ok=True)
    wanted = showers_asked(options.num, 2000)
    if unknown := set(options.particles) - set(PARTICLES_MADE):
        raise FastsimError(f"no showers of {', '.join(sorted(unknown))}: there are {', '.join(PARTICLES_MADE)}")
    if max(number or 0 for number in wanted) > FILE * MOST_FILES:
        raise FastsimError(f"--num is {options.num}: at most {FILE * MOST_FILES:,} showers a cell and sample")
    for place, (energy, num) in enumerate(zip(pairwise(EDGES), wanted, strict=True)):
        for file in range(-(-(num or 0) // FILE)):
            for particle, sample in product(options.particles, options.samples):
                seed = SEEDS[sample] + 1000 * PARTICLES_MADE.index(particle) + 100 * place + file
                gun = {"detector": DETECTOR, "particle": particle, "energy": energy}
                make_file(truth_path(options.folder, particle, sample, seed), options, **gun, num=FILE, seed=seed)


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
    parser.add_argument("--halved", nargs="*", type=Path, help="files of which every other shower is of A, and of B")
    parser.add_argument("--library", nargs="*", type=Path, help="Geant4 files of the frozen showers, of other seeds")
    parser.add_argument("--particles", nargs="*", default=["e-", "gamma"], help="of the files that truth makes")
    parser.add_argument("--samples", nargs="*", default=list(SEEDS), choices=SEEDS, help="that truth makes")
    parser.add_argument(
        "--num",
        nargs="*",
        type=int,
        help="showers a cell, one number or one for each range of energy: run at most (default all), truth in whole "
        f"files of {FILE} (default 2000)",
    )
    parser.add_argument("--classifiers", nargs="*", default=list(CLASSIFIERS), choices=CLASSIFIERS)
    parser.add_argument("--epochs", type=int, default=50, help="of the networks at most")
    parser.add_argument("--network-energy", type=float, default=EDGES[-1], help="GeV; networks judge cells up to this")
    parser.add_argument("--known", action="store_true", help="run: nothing new, the document of what is judged by now")
    parser.add_argument("--workers", type=int, default=1, help="Geant4 worker processes")
    parser.add_argument("--geant4-data", type=Path, help="folder of Geant4's data sets")
    parser.add_argument("--folder", type=Path, default=Path("runs/validation-showers"), help="samples and results")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where validation-showers.md goes")
    options = parser.parse_args()
    if options.command in ("truth", "all"):
        make_truth(options)
    if options.command == "truth":
        return
    given = {name: getattr(options, name) for name in ("real", "null", "library", "halved")}
    if options.real is None:
        given |= {sample: made(options, sample) for sample in SEEDS if given[sample] is None}
        if not given["real"]:
            raise FastsimError(f"{options.folder}: no showers; 'python -m bench.validation.showers truth' makes them")
    if not given["null"]:
        given |= {"real": [], "halved": given["real"]}
    truths = {name: read_truth(files or []) for name, files in given.items()}
    loaded = [load(name) for name in (shipped() if options.models is None else options.models)]
    sources = {key: source for key, source, _ in loaded}
    library = truths.pop("library")
    others = {"library": runs_of(library)} | {key: runs for key, _, runs in loaded}
    refuse_shared({name: runs_of(sample) for name, sample in truths.items()}, others)
    for pdg_id, whole in truths.pop("halved").items():
        for name, half in zip(("real", "null"), halves(whole), strict=True):
            known = truths[name].get(pdg_id)
            truths[name][pdg_id] = half if known is None else known.join(half)
    if not truths["real"] or set(truths["real"]) != set(truths["null"]):
        parser.error("give --real, and --null for the same particles or not at all")
    if library:
        truths["library"] = library
    if "library" in truths:
        digest = key_of(list(truths["library"].values()), [])
        sources[f"library-{digest}"] = ShowerLibrary(given["library"])
    results, sizes = run(truths, sources, options)
    if not results:
        raise FastsimError(f"no cell has results, or {MIN_SHOWERS} showers in both samples for new ones: make more")
    write_report(results, sizes, truths, sources, options.docs)
    for key, source in sources.items():
        if source.name in cards.available(cards.SHOWERS):
            cards.add_figures(data_folder() / "models" / f"{source.name}.json", card_figures(results, key))


if __name__ == "__main__":
    try:
        main()
    except FastsimError as error:
        sys.exit(f"error: {error}")
