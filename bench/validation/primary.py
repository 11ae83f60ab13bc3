"""Models of primary hadrons beside Pythia with its own decays, for docs/models.md: hemispheres and colour singlets.

Hemispheres: boosted trees on all that the judge sees (shapes, charges, quantum numbers, vertices) and on shapes alone,
the jet charge, and areas of resonance peaks. Singlets: q qbar and g g at rest, boosted trees on whole events (event
shapes, hemispheres, multiplicities and leading momenta by species), charged multiplicity, its correlation on both sides
of the plane across the partons, and charge.

    python -m bench.validation.primary --num 4000 --write

A diffusion model may be named with a number of network evaluations, as in ``hadron-diffusion:8``. With ``--write`` the
tables go into docs/models.md, and what the boosted trees say of a diffusion model without such a number into its card
(cards of the tree models have the figures of ``bench.validation.hadrons``).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np

import fastsim
from bench.validation.hadron_document import fill
from fastsim.event import ParticleSet, Partons
from fastsim.event.species import charges
from fastsim.event.species import name as species_name
from fastsim.sources.hadrons import PartonPairs
from generators.hadrons.flow.model import PrimaryFlow
from generators.hadrons.source import PrimaryModel
from generators.reference import pythia as reference
from generators.reference.event_record import particle_sets, read_record
from generators.reference.pythia import PythiaGun
from metrics import MetricResult, Sample, jet_sample, whole_sample
from metrics.registry import METRICS

MODELS = ("hadron-tree", "hadron-tree-small", "hadron-diffusion", "hadron-diffusion-fast")
CELLS = (
    *(f"u-{pt}" for pt in ("20-60", "60-200", "200-600", "600-2000")),
    *("c-60-200", "b-60-200"),
    *(f"g-{pt}" for pt in ("20-60", "60-200", "200-600", "600-2000")),
)
FLAVOURS = {"d": 1, "u": 2, "s": 3, "c": 4, "b": 5, "g": 21}
METRIC_NAMES = ("auc", "auc_shapes", "content")
COLUMNS = ("auc", "auc_shapes", "content jet_charge_0.5", "peak omega", "peak K*+", "peak phi", "peak D0", "peak D*+")
SINGLETS = tuple(f"{flavour}-{mass}" for flavour in ("u", "c", "b", "g") for mass in ("20", "91.2", "500", "2000"))
PYTHIA = "Pythia"

Figures = dict[str, float]


@cache
def load(name: str) -> PrimaryModel:
    """Load a model by its name, with a number of evaluations after a colon."""
    own, _, steps = name.partition(":")
    model = fastsim.load_model(own, num_inference_steps=int(steps) if steps else None)
    if not isinstance(model, PrimaryModel):
        raise SystemExit(f"{name} makes no primary hadrons")
    return model


def partons(cell: str, num: int, seed: int) -> Partons:
    """Draw the partons of a cell: pT uniform in its logarithm."""
    flavour, *bounds = cell.split("-")
    low, high = map(float, bounds)
    rng = np.random.default_rng(seed)
    pt = np.exp(rng.uniform(np.log(low), np.log(high), num))
    eta, phi = rng.uniform(-1, 1, num), rng.uniform(-3, 3, num)
    return Partons.from_pt_eta_phi(np.full(num, FLAVOURS[flavour]), pt, eta, phi)


def judged(real: Sample, generated: Sample) -> dict[str, MetricResult]:
    """Compute the results of the metrics by their names."""
    results = [r for name in METRIC_NAMES for r in METRICS[name].compute(real, generated, 0).results]
    return {r.name: r for r in results}


def hemispheres(cell: str, models: tuple[str, ...], num: int) -> tuple[list[str], dict[str, Figures]]:
    """Return the rows of a cell, Pythia against itself first, and what the trees say of each model."""
    gun = PythiaGun()
    given = [partons(cell, num, seed) for seed in (1, 2, 3)]
    real = jet_sample(gun.sample(given[0], rng=1), given[0])
    samples = {PYTHIA: jet_sample(gun.sample(given[1], rng=2), given[1])}
    samples |= {name: jet_sample(load(name).sample(given[2], rng=3), given[2]) for name in models}
    rows, figures = [], {}
    for name, sample in samples.items():
        found = judged(real, sample)
        values = [f"{found[c].value:.3f} ± {found[c].error:.3f}" if c in found else "" for c in COLUMNS]
        rows.append(f"| {cell} | {name} | " + " | ".join(values) + " |")
        auc = found["auc"]
        null = {"null": auc.null_value, "null_error": auc.null_error}
        figures[name] = {"value": auc.value, "error": auc.error, **null}
    return rows, figures


def pairs_of(flavour: int, mass: float, num: int) -> PartonPairs:
    """Return singlets of a parton and its antiparton at rest, of a mass in GeV."""
    return PartonPairs(np.array([[flavour, flavour if flavour == 21 else -flavour]] * num), np.full(num, mass))


def pythia_singlets(flavour: int, mass: float, num: int) -> ParticleSet:
    """Make singlets at rest with Pythia's own decays."""
    pythia, records = reference.own_pythia(), []
    momentum = float(pairs_of(flavour, mass, 1).momenta[0])
    for seed in range(1, num + 1):
        reference.shoot(pythia, flavour, momentum, seed)
        records.append(read_record(pythia.event))
    return particle_sets(records)


def singlets(case: str, models: tuple[str, ...], num: int) -> list[str]:
    """Return the rows of singlets of a flavour and a mass in GeV."""
    parton, of = case.split("-")
    flavour, mass = FLAVOURS[parton], float(of)
    pairs = pairs_of(flavour, mass, num)
    theirs = pythia_singlets(flavour, mass, 2 * num)
    real, made = whole_sample(theirs[:num]), {PYTHIA: theirs[num:]}
    for name in models:
        rng = np.random.default_rng(1)
        made[name] = load(name).decay(load(name).draw_pairs(pairs, rng), rng)
    rows = []
    for name, sets in made.items():
        charge = charges(sets.pdg_id)
        count = np.bincount(sets.index, charge != 0, num)
        total = np.rint(np.bincount(sets.index, charge, num))
        mean, spread = count.mean(), count.std()
        ahead = np.bincount(sets.index, (charge != 0) & (sets.p4[:, 3] > 0), num)
        sides = np.corrcoef(ahead, count - ahead)[0, 1]
        (auc,) = METRICS["auc"].compute(real, whole_sample(sets), 0).results
        rows.append(
            f"| {species_name(flavour)} pair, {mass:g} GeV | {name} | {auc.value:.3f} ± {auc.error:.3f} | "
            f"{mean:.2f} ± {spread / num**0.5:.2f} | {spread:.2f} ± {spread / (2 * num) ** 0.5:.2f} | "
            f"{sides:.3f} ± {(1 - sides**2) / num**0.5:.3f} | {np.mean(total != 0):.1%} |"
        )
    return rows


def tables(
    models: tuple[str, ...],
    cases: list[str],
    cells: list[str],
    num: int,
    workers: int,
    figures: dict[str, dict[str, Figures]],
) -> Iterator[str]:
    """Yield the rows of both tables, and add to ``figures`` what the trees say by model and cell."""
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield "| singlet | sample | auc | charged multiplicity | its spread | correlation of the sides | charge not 0 |"
        yield "|---|---|---|---|---|---|---|"
        for rows in pool.map(partial(singlets, models=models, num=num), cases):
            yield from rows
        yield ""
        yield "| cell | sample | " + " | ".join(COLUMNS) + " |"
        yield "|---" * (2 + len(COLUMNS)) + "|"
        for cell, (rows, found) in zip(
            cells, pool.map(partial(hemispheres, models=models, num=num), cells), strict=True
        ):
            yield from rows
            for name in models:
                figures.setdefault(name, {})[f"auc/{cell}"] = found[name]


def write(text: str, figures: dict[str, dict[str, Figures]]) -> None:
    """Put the tables into docs/models.md, and figures into cards."""
    root = Path(__file__).parents[2]
    fill(root / "docs" / "models.md", "primary", text)
    for name, found in figures.items():
        path = root / "data" / "models" / f"{name}.json"
        if path.exists() and isinstance(load(name), PrimaryFlow):
            card = json.loads(path.read_text(encoding="utf-8")) | {"metrics": found}
            path.write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="names of models")
    parser.add_argument("--cells", nargs="*", default=list(CELLS), help="names of cells, such as u-60-200")
    parser.add_argument("--singlets", nargs="*", default=list(SINGLETS), help="names of singlets, such as u-91.2")
    parser.add_argument("--num", type=int, default=4000, help="sets of a cell")
    parser.add_argument("--workers", type=int, default=1, help="processes, each with one cell at a time")
    parser.add_argument("--write", action="store_true", help="into docs/models.md and the cards")
    options = parser.parse_args()
    figures: dict[str, dict[str, Figures]] = {}
    text = ""
    chosen = options.singlets, options.cells
    for row in tables(tuple(options.models), *chosen, options.num, options.workers, figures):
        print(row, flush=True)
        text += row + "\n"
    if options.write:
        write(text + "\n", figures)


if __name__ == "__main__":
    main()
