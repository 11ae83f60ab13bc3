"""The underlying event of whole collisions, models and Pythia, against the tables of ATLAS at 13 TeV.

Dijets are made by Pythia, and completed by ``fastsim generate --event full`` and, with two seeds, by ``fastsim
reference --full``. Bins of soft leading tracks are left out: there softer processes than the file's take part. Pythia
is the scale: no model that learns from it can be asked to be nearer to nature.

    python -m bench.validation.underlying_event --tables DIR --num 8000 --folder runs/underlying-event
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import fastsim
from bench.validation.hadron_document import table
from examples import make_lhe
from fastsim.event import ParticleSet
from fastsim.formats.events import read_events
from metrics.hadrons.tables import Agreement, read_tables
from metrics.hadrons.underlying_event import ATLAS, ENERGY, underlying_event

DIJETS = ["HardQCD:all = on", "PhaseSpace:pTHatMin = 20."]
LEADING = 10.0
"""GeV; the pT of the leading track from which on few events come from softer dijets than these."""
PYTHIA = ("Pythia", "Pythia, other seed")


def make(num: int, folder: Path, model: str) -> dict[str, Path]:
    """Make the samples that the folder does not have yet."""
    folder.mkdir(parents=True, exist_ok=True)
    make_lhe.BEAM_ENERGY = ENERGY / 2
    hard = folder / "dijets.lhe.gz"
    if not hard.exists():
        make_lhe.write(hard, [(DIJETS, num)], seed=11)
    samples = {PYTHIA[0]: folder / "pythia-1.h5", PYTHIA[1]: folder / "pythia-2.h5", model: folder / f"{model}.h5"}
    for seed, (name, path) in enumerate(samples.items(), start=1):
        if not path.exists():
            if name in PYTHIA:
                fastsim.reference(hard, path, full=True, seed=seed)
            else:
                fastsim.generate(hard, path, event="full", model=model, seed=seed)
    return samples


def particles_of(path: Path) -> ParticleSet:
    """Read the final particles of the events of a file."""
    sets = [batch.particles for batch in read_events(path)[1]]
    return ParticleSet.concatenate([s.without_history() for s in sets if s is not None])


def document(columns: dict[str, list[Agreement]]) -> str:
    """Write the table: chi2 over bins, and the mean ratio to the measured values with its statistical error."""
    rows = []
    for found in zip(*columns.values(), strict=True):
        row = [found[0].table.name, found[0].what]
        for each in found:
            weight = 1 / (each.error / each.table.value) ** 2
            ratio = np.average(each.value / each.table.value, weights=weight)
            row.append(f"{each.chi2:.1f} / {each.num_bins}; {ratio:.3f} ± {weight.sum() ** -0.5:.3f}")
        rows.append(row)
    return table(["table", "quantity", *(f"{name}: chi2 / bins; over measured" for name in columns)], rows)


def main() -> None:
    """Make the samples and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, required=True, help=f"folder of {ATLAS}.yoda")
    parser.add_argument("--num", type=int, default=8000, help="dijets")
    parser.add_argument("--folder", type=Path, required=True, help="of the samples, which are made once")
    parser.add_argument("--model", default="hadron-tree")
    options = parser.parse_args()
    measured = read_tables(options.tables / f"{ATLAS}.yoda")
    samples = make(options.num, options.folder, options.model)
    columns = {n: underlying_event(particles_of(p), measured, leading=LEADING) for n, p in samples.items()}
    print(document(columns))


if __name__ == "__main__":
    main()
