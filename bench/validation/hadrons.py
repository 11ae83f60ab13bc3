"""Compare models with Pythia on test partons that no training or selection has seen (``make validate``).

Sixteen cells: {light quarks u d s, c, b, g} x pT {20-60, 60-200, 200-600, 600-2000 GeV}, quarks and antiquarks, pT
log-uniform, |eta| < 2. Real sample A is compared with an independent real sample B (the null) and with each model,
which gets the same partons as B. Everything is made in blocks of 5,000 partons with seeds
(8317, cell, sample, block) and kept under runs/validation/, so an interrupted run goes on where it stopped and a larger
--num reuses what is there.

    python -m bench.validation.hadrons truth --num 50000            # Pythia only: the slow, once-only part
    python -m bench.validation.hadrons run --num 50000 --models NAME CARD.json LIBRARY.h5
    python -m bench.validation.hadrons report                       # docs/validation.md and plots from the results
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastsim
from bench.validation import hadron_document as report
from bench.validation.hadron_document import NULL
from fastsim.errors import FastsimError
from fastsim.event import ParticleSet, Partons
from fastsim.event.kinematics import on_shell
from fastsim.event.species import masses
from fastsim.shipped import data_folder, sha256_of
from fastsim.sources import cards
from metrics import Comparison, Features, compare, features

FLAVOURS = {"light": (1, 2, 3), "c": (4,), "b": (5,), "g": (21,)}
PT_RANGES = ((20, 60), (60, 200), (200, 600), (600, 2000))
CELLS = {f"{name}-{lo}-{hi}": (ids, lo, hi) for name, ids in FLAVOURS.items() for lo, hi in PT_RANGES}
BLOCK = 5_000
SEED = 8317
SAMPLES = {"A": 0, "B": 1}


def test_partons(cell: str, sample: str, block: int) -> Partons:
    """Draw the partons of one block of a cell: seed family (8317, cell, sample, block)."""
    flavours, lo, hi = CELLS[cell]
    rng = np.random.default_rng(np.random.SeedSequence([SEED, list(CELLS).index(cell), SAMPLES[sample], block]))
    ids = rng.choice(flavours, BLOCK)
    if flavours != (21,):
        ids = ids * rng.choice((-1, 1), BLOCK)
    pt = np.exp(rng.uniform(np.log(lo), np.log(hi), BLOCK))
    return Partons.from_pt_eta_phi(ids, pt, rng.uniform(-2, 2, BLOCK), rng.uniform(-np.pi, np.pi, BLOCK))


def sample_features(
    source: Any, name: str, cell: str, sample: str, num: int, folder: Path, keep_sets: bool = False
) -> Features:
    """Compute features of ``num`` sets that ``source`` draws for a cell's test partons.

    Blocks that are on disk are not computed anew.

    ``keep_sets`` also keeps the particles themselves, so that features can be redefined without sampling again.
    """
    sets = folder / f"{name}-sets"
    folder = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    blocks = []
    for block in range(-(-num // BLOCK)):
        path = folder / f"{cell}-{sample}-{block}.npz"
        if not path.exists():
            partons = test_partons(cell, sample, block)
            rng = np.random.default_rng([SEED, 1, list(CELLS).index(cell), SAMPLES[sample], block])
            start = time.perf_counter()
            stored = sets / path.name
            particles = load_sets(stored) if stored.exists() else source.sample(partons, rng=rng)
            rate = BLOCK / (time.perf_counter() - start)
            if keep_sets and not stored.exists():
                save_sets(particles, stored)
            features(particles, partons).save(path)
            print(f"{name} {cell} {sample} block {block}: {rate:.0f} partons/s", file=sys.stderr, flush=True)
        blocks.append(Features.load(path))
    return Features.concatenate(blocks)


def save_sets(particles: ParticleSet, path: Path) -> None:
    """Save particles as offsets, PDG ids and float32 three-momenta (GeV); the energy is on the mass shell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial,
        offsets=particles.offsets,
        pdg_id=particles.pdg_id.astype(np.int32),
        p3=particles.p4[:, 1:].astype(np.float32),
    )
    partial.replace(path)


def load_sets(path: Path) -> ParticleSet:
    """Load the particles that :func:`save_sets` saved."""
    with np.load(path) as data:
        pdg_id = data["pdg_id"].astype(np.int64)
        p4 = np.concatenate([np.zeros((len(pdg_id), 1)), data["p3"].astype(np.float64)], axis=1)
        return ParticleSet(data["offsets"], pdg_id, on_shell(p4, masses(pdg_id)))


def truth(cell: str, sample: str, num: int, folder: Path, workers: int, keep_sets: bool = False) -> Features:
    """Compute features of a real sample, made with Pythia where they are not on disk yet."""
    from generators.reference.pythia import PythiaGun

    return sample_features(PythiaGun(workers=workers), "pythia", cell, sample, num, folder, keep_sets)


def model_source(name: str) -> tuple[str, Any]:
    """Load a model (a shipped name, a card file, a library's .h5), with the key of its samples.

    The key holds the hash of the weights, so that samples of retrained weights are never taken for these.
    """
    model = fastsim.load_model(name)
    if model.card is not None:
        return f"{model.card.name}-{model.card.sha256[:8]}", model
    return f"{model.name}-{sha256_of(Path(name))[:8]}", model


def result_path(folder: Path, key: str, cell: str, num: int) -> Path:
    """Name the file of a result."""
    return folder / "results" / f"{key}@{cell}@{num}.json"


def run(cells: list[str], sources: dict[str, Any], num: int, folder: Path, workers: int) -> None:
    """Compare Pythia and all models with real sample A in the chosen cells; one JSON result a sample and cell."""
    (folder / "results").mkdir(parents=True, exist_ok=True)
    for cell in cells:
        missing = [key for key in (NULL, *sources) if not result_path(folder, key, cell, num).exists()]
        if not missing:
            continue
        real = truth(cell, "A", num, folder, workers)
        for key in missing:
            if key == NULL:
                sample = truth(cell, "B", num, folder, workers)
            else:
                sample = sample_features(sources[key], key, cell, "B", num, folder)
            result = compare(real, sample)
            result_path(folder, key, cell, num).write_text(json.dumps(result.to_dict(), indent=1))
            print(f"{key} {cell}: {result.headline()}", file=sys.stderr, flush=True)


def card_figures(results: dict[str, dict[str, Comparison]], key: str) -> dict[str, cards.Figure]:
    """Collect FPD and AUC of a model in every cell, with their nulls, as its card holds them."""
    figures = {}
    for cell, by_key in results.items():
        if key in by_key and NULL in by_key:
            for name in ("fpd", "auc"):
                value, null = by_key[key].figures[name], by_key[NULL].figures[name]
                figures[f"{name}/{cell}"] = cards.Figure(value.value, value.error, null.value, null.error)
    return figures


def write_report(
    cells: list[str],
    keys: list[str],
    num: int,
    folder: Path,
    docs: Path,
    plotted: list[str],
    shipped: dict[str, Path],
) -> None:
    """Write docs/validation.md, validation.json, the plots, and the figures of ``shipped`` models' cards by key."""
    results: dict[str, dict[str, Comparison]] = {}
    for cell in cells:
        paths = {key: result_path(folder, key, cell, num) for key in (NULL, *keys)}
        comparisons = {k: Comparison.from_dict(json.loads(p.read_text())) for k, p in paths.items() if p.exists()}
        if comparisons:
            results[cell] = comparisons
    if not results:
        raise FastsimError(
            f"no results for {num} partons a cell under {folder}: run 'python -m bench.validation.hadrons run' first"
        )
    # the hash in a key distinguishes cached samples; readers want the name
    names = {key: key if key == NULL else key.rsplit("-", 1)[0] for key in (NULL, *keys)}
    named = {cell: {names[k]: c for k, c in by_key.items()} for cell, by_key in results.items()}
    images = docs / "images"
    images.mkdir(parents=True, exist_ok=True)
    plots = [images / "validation-cells.png"]
    report.plot_heat_map(plots[0], named, list(names.values()))
    for cell in (c for c in plotted if c in results):
        samples = {}
        for key in results[cell]:
            name = "pythia" if key == NULL else key
            samples[names[key]] = load_features(name, cell, "B", num, folder)
        plots.append(images / f"validation-{cell}.png")
        report.plot_cell(plots[-1], cell, load_features("pythia", cell, "A", num, folder), samples)
    text = report.markdown(named, list(names.values()), plots)
    (docs / "validation.md").write_text(text, encoding="utf-8")
    figures = report.summary_table(named, list(names.values()))
    for document in (docs / "models.md", docs.parent / "README.md"):
        report.fill(document, "validation", figures)
    for key, card in shipped.items():
        cards.add_figures(card, card_figures(results, key))
    values = {cell: {k: c.to_dict() for k, c in by_name.items()} for cell, by_name in named.items()}
    (folder / "validation.json").write_text(json.dumps(values, indent=1))


def load_features(name: str, cell: str, sample: str, num: int, folder: Path) -> Features:
    """Load a sample whose blocks are all on disk."""
    blocks = range(-(-num // BLOCK))
    return Features.concatenate([Features.load(folder / name / f"{cell}-{sample}-{block}.npz") for block in blocks])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=("truth", "run", "report"), default="run")
    parser.add_argument("--num", type=int, default=50_000, help=f"partons a cell and sample, a multiple of {BLOCK}")
    parser.add_argument("--models", nargs="*", help="names, cards or libraries (.h5); default: all that ship")
    parser.add_argument("--cells", default="", help="regular expression, for example 'g-' or '600'")
    parser.add_argument("--plot", nargs="*", default=["light-200-600", "b-60-200", "g-600-2000"], help="cells to plot")
    parser.add_argument("--workers", type=int, default=0, help="Pythia worker processes")
    parser.add_argument("--keep-sets", action="store_true", help="truth: keep the particles too (1 GB per 20,000)")
    parser.add_argument("--folder", type=Path, default=Path("runs/validation"), help="cache of samples and results")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where validation.md and its plots go")
    options = parser.parse_args()
    if options.num <= 0 or options.num % BLOCK:
        parser.error(f"--num {options.num}: must be a multiple of {BLOCK}")
    cells = [c for c in CELLS if re.search(options.cells, c)]
    if not cells:
        parser.error(f"--cells {options.cells!r} matches none of {', '.join(CELLS)}")
    if options.command == "truth":
        for cell in cells:
            for sample in SAMPLES:
                truth(cell, sample, options.num, options.folder, options.workers, options.keep_sets)
        return
    models = cards.available(cards.HADRONS) if options.models is None else options.models
    sources = dict(model_source(m) for m in models)
    if options.command == "run":
        run(cells, sources, options.num, options.folder, options.workers)
    weights = {name: cards.read(name)[0].sha256 for name in cards.available()}
    shipped = {  # a card of the same name may have other weights
        key: data_folder() / "models" / f"{source.name}.json"
        for key, source in sources.items()
        if source.card is not None and weights.get(source.name) == source.card.sha256
    }
    write_report(cells, list(sources), options.num, options.folder, options.docs, options.plot, shipped)


if __name__ == "__main__":
    try:
        main()
    except FastsimError as error:
        sys.exit(f"error: {error}")
