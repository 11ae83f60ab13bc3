"""What an event costs ``fastsim generate``, in time of one core: the table of docs/production.md.

python bench/production_cost.py --input data/examples/pp_dijet.lhe.gz
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

import torch

import fastsim
from fastsim.event import HardEvents
from fastsim.formats import lhe
from fastsim.formats.output import open_writer
from fastsim.pipeline import Pipeline
from fastsim.production import chunk_rng
from generators.hadrons.step import Hadronize
from generators.reference.resonances import DecayResonances

FORMATS = ("hepmc3", "hepmc3.gz", "hepmc3.zst", "h5", "root")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", default="data/examples/pp_dijet.lhe.gz")
    parser.add_argument("--model", default="hadron-tree")
    options = parser.parse_args()
    torch.set_num_threads(1)
    step = Pipeline([DecayResonances(), Hadronize(fastsim.load_model(options.model), fastsim.load_model("pythia"))])
    start = time.process_time()
    run, batches = lhe.read(options.input, chunk_size=512)
    hard = HardEvents.concatenate(list(batches))
    show("reading", time.process_time() - start, len(hard))
    step.step(hard[:8], rng=chunk_rng(0, 0))  # compiles
    start = time.process_time()
    events = step.step(hard, rng=chunk_rng(0, 0))
    show("computing", time.process_time() - start, len(hard))
    with tempfile.TemporaryDirectory() as folder:
        for ending in FORMATS:
            path = f"{folder}/events.{ending}"
            for force in (False, True):  # the first time imports and compiles
                start = time.process_time()
                with open_writer(path, run, force=force) as writer:
                    writer.write(events)
                seconds = time.process_time() - start
            show(ending, seconds, len(events), os.path.getsize(path))


def show(what: str, seconds: float, num: int, size: int = 0) -> None:
    print(f"{what:<12} {1e3 * seconds / num:8.3f} ms an event   {size / num / 1e3:6.2f} kB an event")


if __name__ == "__main__":
    main()
