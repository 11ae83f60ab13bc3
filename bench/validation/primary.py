"""A model of primary hadrons beside Pythia with its own decays, for docs/models.md: hemispheres and colour singlets.

Hemispheres: boosted trees on all that the judge sees (shapes, charges, quantum numbers, vertices) and on shapes alone,
the jet charge, and areas of resonance peaks. Singlets: q qbar at rest, charged multiplicity and quantum numbers.

    python -m bench.validation.primary --num 4000 --write

With ``--write`` the tables go into docs/models.md, and what the trees say into the model's card.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import fastsim
from bench.validation.hadron_document import fill
from fastsim.event import ParticleSet, Partons
from fastsim.event.species import charges
from fastsim.event.species import name as species_name
from fastsim.sources.hadrons import PartonPairs
from generators.hadrons.source import PrimaryModel
from generators.reference import pythia as reference
from generators.reference.event_record import particle_sets, read_record
from generators.reference.pythia import PythiaGun
from metrics import MetricResult, Sample, jet_sample
from metrics.registry import METRICS

CELLS = ("u-20-60", "u-60-200", "c-60-200", "b-60-200", "g-60-200", "g-200-600")
FLAVOURS = {"d": 1, "u": 2, "s": 3, "c": 4, "b": 5, "g": 21}
METRIC_NAMES = ("auc", "auc_shapes", "content")
COLUMNS = ("auc", "auc_shapes", "content jet_charge_0.5", "peak omega", "peak K*+", "peak phi", "peak D0", "peak D*+")
SINGLETS = ((2, 20.0), (2, 91.2), (5, 91.2), (2, 500.0))


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


def hemispheres(model: PrimaryModel, cells: list[str], num: int, figures: dict[str, dict[str, float]]) -> Iterator[str]:
    """Yield the rows of the table of hemispheres, and add what the trees say to ``figures`` as a card has it."""
    yield "| cell | sample | " + " | ".join(COLUMNS) + " |"
    yield "|---" * (2 + len(COLUMNS)) + "|"
    gun = PythiaGun()
    for cell in cells:
        given = [partons(cell, num, seed) for seed in (1, 2, 3)]
        real = jet_sample(gun.sample(given[0], rng=1), given[0])
        samples = {
            "Pythia": jet_sample(gun.sample(given[1], rng=2), given[1]),
            model.name: jet_sample(model.sample(given[2], rng=3), given[2]),
        }
        for name, sample in samples.items():
            found = judged(real, sample)
            values = [f"{found[c].value:.3f} ± {found[c].error:.3f}" if c in found else "" for c in COLUMNS]
            if name == model.name:
                auc = found["auc"]
                null = {"null": auc.null_value, "null_error": auc.null_error}
                figures[f"auc/{cell}"] = {"value": auc.value, "error": auc.error, **null}
            yield f"| {cell} | {name} | " + " | ".join(values) + " |"


def pythia_singlets(flavour: int, mass: float, num: int) -> ParticleSet:
    """Make q qbar singlets at rest with Pythia's own decays."""
    pythia, records = reference.own_pythia(), []
    momentum = float(PartonPairs(np.array([[flavour, -flavour]]), np.array([mass])).momenta[0])
    for seed in range(1, num + 1):
        reference.shoot(pythia, flavour, momentum, seed)
        records.append(read_record(pythia.event))
    return particle_sets(records)


def singlets(model: PrimaryModel, num: int) -> Iterator[str]:
    """Yield the rows of the table of singlets."""
    yield "| singlet | sample | charged multiplicity | its spread | total charge not 0 |"
    yield "|---|---|---|---|---|"
    for flavour, mass in SINGLETS:
        pairs = PartonPairs(np.array([[flavour, -flavour]] * num), np.full(num, mass))
        rng = np.random.default_rng(1)
        made = {
            "Pythia": pythia_singlets(flavour, mass, num),
            model.name: model.decay(model.draw_pairs(pairs, rng), rng),
        }
        for name, sets in made.items():
            charge = charges(sets.pdg_id)
            count = np.bincount(sets.index, charge != 0, num)
            total = np.rint(np.bincount(sets.index, charge, num))
            mean, spread = count.mean(), count.std()
            yield (
                f"| {species_name(flavour)} pair, {mass:g} GeV | {name} | "
                f"{mean:.2f} ± {spread / num**0.5:.2f} | {spread:.2f} ± {spread / (2 * num) ** 0.5:.2f} | "
                f"{np.mean(total != 0):.1%} |"
            )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", default="hadron-tree")
    parser.add_argument("--num-inference-steps", type=int, help="evaluations of a diffusion model's network")
    parser.add_argument("--cells", nargs="*", default=list(CELLS), help="names of cells, such as u-60-200")
    parser.add_argument("--num", type=int, default=4000, help="sets of a cell")
    parser.add_argument("--write", action="store_true", help="into docs/models.md and the card")
    options = parser.parse_args()
    model = fastsim.load_model(options.model, num_inference_steps=options.num_inference_steps)
    if not isinstance(model, PrimaryModel):
        parser.error(f"{options.model} makes no primary hadrons")
    figures: dict[str, dict[str, float]] = {}
    text = ""
    for rows in (singlets(model, options.num), hemispheres(model, options.cells, options.num, figures)):
        for row in rows:
            print(row, flush=True)
            text += row + "\n"
        text += "\n"
    if options.write:
        root = Path(__file__).parents[2]
        fill(root / "docs" / "models.md", "primary", text)
        path = root / "data" / "models" / f"{options.model}.json"
        card = json.loads(path.read_text(encoding="utf-8"))
        card["metrics"] = figures
        path.write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
