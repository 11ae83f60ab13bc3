"""A model fine-tuned to another shower, and one trained on the same data from scratch, for docs/training.md.

    python -m bench.fine_tuning lhe train.lhe --num 50000 --seed 1
    fastsim reference train.lhe -o train.h5 --full --seed 1 --pythia "PartonShowers:model = 2" \
        --pythia "PDF:lepton = off" --pythia "PartonLevel:ISR = off"
    python -m bench.fine_tuning train runs/fine --data train.h5 --sets 20000
    python -m bench.fine_tuning judge runs/fine --data test.h5 --write

lhe: quark pairs of Z decays, which Pythia showers with Vincia. train: the networks of a model on the first sets of a
file, begun with its weights and, with --scratch, anew; a run that was stopped goes on. judge: boosted trees between
hemispheres of another file and those of the models, with an error and the null, the file against itself.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastsim
from bench.validation.hadron_document import fill, table
from fastsim.errors import FastsimError
from fastsim.event import Partons
from fastsim.formats.events import read_events
from fastsim.formats.output import open_writer
from fastsim.sources.hadrons import HadronSource
from generators.hadrons import records
from generators.hadrons.source import PrimaryModel
from generators.hadrons.tokens import TokenSample, to_particles
from generators.reference import annihilation
from metrics import Sample, jet_sample
from metrics.registry import METRICS

DOCUMENT = Path("docs/training.md")
MODEL = "hadron-tree"
MASSES = {1: 0.33, 2: 0.33, 3: 0.5, 4: 1.5, 5: 4.8}
"""Of quarks in the events, in GeV."""
HEAD = '<LesHouchesEvents version="3.0">\n<init>\n11 -11 {e} {e} 0 0 0 0 3 1\n1.0 0.1 1.0 1\n</init>\n'
EVENT = (
    "<event>\n4 1 1.0 {energy} 0.0078 0.118\n11 -1 0 0 0 0 0 0 {e} {e} 0 0 9\n-11 -1 0 0 0 0 0 0 -{e} {e} 0 0 9\n"
    "{pdg} 1 1 2 501 0 {x:.10e} {y:.10e} {z:.10e} {e} {m} 0 9\n"
    "-{pdg} 1 1 2 0 501 {mx:.10e} {my:.10e} {mz:.10e} {e} {m} 0 9\n</event>\n"
)
STEPS = (300, 400)
"""Steps of the latent and of the tree."""
RATES = {"init": 5e-4, "scratch": 2e-3}


def write_pairs(path: Path, num: int, seed: int) -> None:
    """Write an LHE file of e+ e- -> q qbar at the Z, in random directions."""
    rng, e = np.random.default_rng(seed), 0.5 * annihilation.ENERGY
    direction = rng.normal(size=(num, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    flavours = annihilation.quark_pairs(num, seed).pdg_id[:, 0].tolist()
    with path.open("w") as file:
        file.write(HEAD.format(e=e))
        for pdg, unit in zip(flavours, direction, strict=True):
            m = MASSES[pdg]
            x, y, z = np.sqrt(e**2 - m**2) * unit
            values = {"x": x, "y": y, "z": z, "mx": -x, "my": -y, "mz": -z}
            file.write(EVENT.format(pdg=pdg, m=m, e=e, energy=annihilation.ENERGY, **values))
        file.write("</LesHouchesEvents>\n")


def config(name: str, data: Path, num_sets: int, kind: str, model: str, steps: Sequence[int]) -> dict[str, Any]:
    """Return the config of a training on a file of ``num_sets`` sets, a tenth of which chooses the weights."""
    latent_steps, tree_steps = steps
    warmup = 50 if kind == "init" else 200
    loop = {"learning_rate": RATES[kind], "warmup": warmup, "decay_fraction": 0.8, "ema_decay": 0.99, "log_every": 50}
    latent: dict[str, Any] = {"batch_size": 2048}
    latent["loop"] = {**loop, "num_steps": latent_steps, "grad_clip": 50, "validate_every": latent_steps // 5}
    tree: dict[str, Any] = {"batch_size": 8192, "num_validation": num_sets // 10}
    tree["loop"] = {**loop, "num_steps": tree_steps, "precision": "bfloat16", "validate_every": tree_steps // 5}
    values: dict[str, Any] = {"name": name, "kind": "primary-tree", "pt_min": 40, "pt_max": 50, "seed": 1}
    if kind == "init":
        values["init"] = model
    else:
        card = fastsim.load_model(model).card
        assert card is not None
        sizes = card.config
        latent["network"], tree["network"] = sizes["latent"], sizes["splitting"]
    return {**values, "data": {"files": [str(data.resolve())]}, "latent": latent, "tree": tree}


def head(source: Path, target: Path, num_events: int) -> None:
    """Write the first events of a file to another."""
    run, batches = read_events(source, num_events=num_events, history=True)
    with open_writer(target, run, force=True) as writer:
        left = num_events
        for batch in batches:
            writer.write(batch[:left])
            left -= len(batch[:left])
    if left:
        raise FastsimError(f"{source} has {num_events - left:,} events, {num_events:,} are asked for")


def minutes(folder: Path) -> float:
    """Return how long the trainings of a run took."""
    total = 0.0
    for part in ("latent", "particles"):
        with (folder / part / "log.csv").open() as file:
            total += max(float(row["minutes"]) for row in csv.DictReader(file))
    return total


def steps_of(card: Path) -> str:
    """Return the numbers of steps of the latent and of the tree that a card keeps."""
    given = json.loads(card.read_text())["training"]["config"]
    return " + ".join(str(given[part]["loop"]["num_steps"]) for part in ("latent", "tree"))


def hemispheres(tokens: TokenSample, source: HadronSource, seed: int) -> Sample:
    """Return token sets as a sample for the judge, with the decays of a source."""
    direction = np.zeros(len(tokens))
    partons = Partons.from_pt_eta_phi(tokens.flavour, tokens.pt, direction, direction)
    return jet_sample(source.decay(to_particles(tokens, partons), np.random.default_rng(seed)), partons)


def made(model: PrimaryModel, like: TokenSample, seed: int) -> Sample:
    """Return hemispheres that a model makes of the partons of others."""
    direction = np.zeros(len(like))
    partons = Partons.from_pt_eta_phi(like.flavour, like.pt, direction, direction)
    return jet_sample(model.decay(model.primary(partons, rng=seed), np.random.default_rng(seed)), partons)


def judge(folder: Path, data: Path, model: str) -> str:
    """Return the table of all runs in a folder, of the model that they began with, and of Pythia against itself."""
    section = records.read_config({"files": [str(data.resolve())]}, data)
    tokens = records.load(section, Path(), None, data)
    half = len(tokens) // 4 * 2  # whole events
    base = fastsim.load_model(model)
    assert isinstance(base, PrimaryModel)
    real = hemispheres(tokens[:half], base, 1)
    samples = {"Pythia itself (null)": (hemispheres(tokens[half:], base, 2), "", "")}
    samples[f"{model} as it ships"] = (made(base, tokens[half:], 3), "", "")
    cards = sorted(folder.glob("*-*/*-*.json"), key=lambda p: (p.stem.split("-")[0], int(p.stem.split("-")[1])))
    for card in cards:
        kind, num = card.stem.split("-")
        own = fastsim.load_model(card)
        assert isinstance(own, PrimaryModel)
        words = "fine-tuned" if kind == "init" else "from scratch"
        name, taken = f"{words}, {int(num):,} sets", f"{minutes(card.parent):.0f}"
        samples[name] = made(own, tokens[half:], 3), steps_of(card), taken
    rows = []
    for name, (sample, steps, time) in samples.items():
        results = [METRICS[metric].compute(real, sample, 0).results[0] for metric in ("auc", "auc_shapes")]
        rows.append([name, steps, time, *(f"{r.value:.3f} ± {r.error:.3f}" for r in results)])
        print(" | ".join(rows[-1]), flush=True)
    return table(["model", "steps", "minutes", "AUC, all that the judge sees", "AUC, shapes"], rows) + (
        f"\n{half:,} hemispheres of each; version {base.card.version if base.card else 'none'} of {model}.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    lhe = commands.add_parser("lhe", help="write quark pairs")
    lhe.add_argument("output", type=Path)
    lhe.add_argument("--num", type=int, default=50_000, help="pairs")
    lhe.add_argument("--seed", type=int, default=1, help="of flavours and directions")
    fit = commands.add_parser("train", help="train on the first sets of a file")
    fit.add_argument("folder", type=Path)
    fit.add_argument("--data", type=Path, required=True, help="file of events with their partons")
    fit.add_argument("--sets", type=int, default=20_000, help="hemispheres, two an event")
    fit.add_argument("--scratch", action="store_true", help="without the weights of the model")
    fit.add_argument("--steps", type=int, nargs=2, default=STEPS, help="of the latent and of the tree")
    told = commands.add_parser("judge", help="compare all runs of a folder with a file")
    told.add_argument("folder", type=Path)
    told.add_argument("--data", type=Path, required=True, help="file of other events than those of the training")
    told.add_argument("--write", action="store_true", help="fill the table into docs/training.md")
    for each in (fit, told):
        each.add_argument("--model", default=MODEL, help="model to begin with")
    options = parser.parse_args()
    if options.what == "lhe":
        write_pairs(options.output, options.num, options.seed)
    elif options.what == "train":
        kind = "scratch" if options.scratch else "init"
        name = f"{kind}-{options.sets}"
        options.folder.mkdir(parents=True, exist_ok=True)
        data, path = options.folder / f"{options.sets}.h5", options.folder / f"{name}.json"
        if not data.exists():
            head(options.data, data, options.sets // 2)
        path.write_text(json.dumps(config(name, data, options.sets, kind, options.model, options.steps), indent=2))
        fastsim.train(path, options.folder / name)
        print(f"{name}: {minutes(options.folder / name):.1f} minutes")
    else:
        text = judge(options.folder, options.data, options.model)
        if options.write:
            fill(DOCUMENT, "fine-tuning", text)


if __name__ == "__main__":
    try:
        main()
    except FastsimError as error:
        sys.exit(f"error: {error}")
