"""Holds models against Pythia on test partons that no training or selection has seen (``make validate``).

Sixteen cells: {light quarks u d s, c, b, g} x pT {20-60, 60-200, 200-600, 600-2000 GeV}, quarks and antiquarks, pT
log-uniform, |eta| < 2. Real sample A is held against an independent real sample B (the null) and, with the
same partons as B, against each model. Everything is made in blocks of 5,000 partons with seeds
(8317, cell, sample, block) and kept under runs/validation/, so an interrupted run goes on where it stopped and a larger
--num reuses what is there.

    python bench/validate.py truth --num 50000            # Pythia only: the slow, once-only part
    python bench/validate.py run --num 50000 --models NAME CARD.json ...
    python bench/validate.py report                       # docs/validation.md and plots again from the results
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

from fastsim.event import ParticleSet, Partons
from fastsim.kinematics import on_shell
from fastsim.species import masses
from metrics import Features, features

FLAVOURS = {"light": (1, 2, 3), "c": (4,), "b": (5,), "g": (21,)}
PT_RANGES = ((20, 60), (60, 200), (200, 600), (600, 2000))
CELLS = {f"{name}-{lo}-{hi}": (ids, lo, hi) for name, ids in FLAVOURS.items() for lo, hi in PT_RANGES}
BLOCK = 5_000
SEED = 8317
SAMPLES = {"A": 0, "B": 1}


def test_partons(cell: str, sample: str, block: int) -> Partons:
    """The partons of one block of a cell: seed family (8317, cell, sample, block)."""
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
    """Features of ``num`` sets that ``source`` draws for a cell's test partons; blocks on disk are reused.

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
    """Particles as offsets, PDG ids and float32 three-momenta (GeV); the energy is on the mass shell."""
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
    """What :func:`save_sets` wrote."""
    with np.load(path) as data:
        pdg_id = data["pdg_id"].astype(np.int64)
        p4 = np.concatenate([np.zeros((len(pdg_id), 1)), data["p3"].astype(np.float64)], axis=1)
        return ParticleSet(data["offsets"], pdg_id, on_shell(p4, masses(pdg_id)))


def truth(cell: str, sample: str, num: int, folder: Path, workers: int, keep_sets: bool = False) -> Features:
    """Features of a real sample, made with Pythia where they are not on disk yet."""
    from generators.reference.pythia import PythiaGun

    return sample_features(PythiaGun(workers=workers), "pythia", cell, sample, num, folder, keep_sets)


def model_source(name: str) -> tuple[str, Any]:
    """A model by name or card file, and the key of its cached samples (its weights' hash is part of it)."""
    import fastsim
    from fastsim import cards

    card, _ = cards.load(name)
    return f"{card.name}-{card.sha256[:8]}", fastsim.load_model(name)


def run(cells: list[str], models: list[str], num: int, folder: Path, workers: int) -> None:
    """Compare all models with Pythia in the chosen cells; one JSON result a model and cell."""
    from metrics.comparison import compare

    sources = dict(model_source(m) for m in models)
    for cell in cells:
        real, null = (truth(cell, s, num, folder, workers) for s in SAMPLES)
        for key in ("pythia", *sources):
            path = folder / "results" / f"{key}-{cell}-{num}.json"
            if path.exists():
                continue
            sample = null if key == "pythia" else sample_features(sources[key], key, cell, "B", num, folder)
            result = compare(real, sample)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(result.to_dict(), indent=1))
            print(f"{key} {cell}: {result.headline()}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=("truth", "run", "report"), default="run")
    parser.add_argument("--num", type=int, default=50_000, help="partons a cell and sample")
    parser.add_argument("--models", nargs="*", default=None, help="names or cards; default: all that ship")
    parser.add_argument("--cells", default="", help="regular expression, for example 'g-' or '600'")
    parser.add_argument("--workers", type=int, default=0, help="Pythia worker processes")
    parser.add_argument("--keep-sets", action="store_true", help="truth: keep the particles too (1 GB per 20,000)")
    parser.add_argument("--folder", type=Path, default=Path("runs/validation"), help="cache of samples and results")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where validation.md and its plots go")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    cells = [c for c in CELLS if re.search(options.cells, c)]
    if options.command == "truth":
        for cell in cells:
            for sample in SAMPLES:
                truth(cell, sample, options.num, options.folder, options.workers, options.keep_sets)
        return


if __name__ == "__main__":
    main()
