"""Models and Pythia, e+e- -> Z -> hadrons at 91.2 GeV, against measured tables.

Models hadronise the quark pairs that Pythia makes. K0S and hyperons decay, as in the measurements; no radiation off
the beams. Pythia itself is the scale: no model that learns from it can be asked to be nearer to nature. The chi2 of one
sample of some thousand events has an error of a tenth: means over several samples are written, with their errors.

    python -m bench.validation.lep --tables DIR --num 20000 --samples 8 --models hadron-tree
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import fastsim
from bench.validation.hadron_document import fill, table
from fastsim.errors import FastsimError
from fastsim.event import ParticleSet
from generators.decays import decay
from generators.reference import annihilation
from generators.reference.annihilation import ENERGY, TAU0_MAX, quark_pairs
from metrics.hadrons.tables import ALEPH, DELPHI, PDG, Agreement, chi2_tables, read_tables


def model_events(name: str, num: int, seed: int) -> ParticleSet:
    """Make events with a model: quark pairs of Z bosons, hadronised as singlets.

    Args:
        name: of the model.
        num: events.
        seed: of the flavours and the model.
    """
    model = fastsim.load_model(name)
    rng = np.random.default_rng(seed)
    return decay(model.draw_pairs(quark_pairs(num, seed), rng), rng, tau0_max=TAU0_MAX)


@dataclass(frozen=True)
class Mean:
    """The mean over samples, with its error."""

    value: float
    error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        """Average the values of samples, two at least."""
        return cls(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))))

    def text(self, digits: int) -> str:
        return f"{self.value:.{digits}f} ± {self.error:.{digits}f}"


def document(columns: Mapping[str, Sequence[Sequence[Agreement]]], num: int) -> str:
    """Write the tables: chi2 of distributions, single numbers beside the measured ones, and chi2 of all over Pythia's.

    Args:
        columns: by source, the first of which is Pythia, what each sample has for each table.
        num: events of a sample.
    """
    shapes, numbers = [], []
    for own in zip(*(zip(*samples, strict=True) for samples in columns.values()), strict=True):
        first = own[0][0]
        if len(first.table.value) == 1:
            value, error = first.table.value[0], first.table.error[0]
            digits = max(0, 1 - int(np.floor(np.log10(error))))
            row = [first.what, f"{value:.{digits}f} ± {error:.{digits}f}"]
            numbers.append(row + [Mean.of([float(one.value[0]) for one in of]).text(digits + 1) for of in own])
        else:
            row = [first.what, str(first.num_bins)]
            shapes.append(row + [Mean.of([one.chi2 for one in of]).text(0) for of in own])
    total = {name: Mean.of([sum(one.chi2 for one in sample) for sample in of]) for name, of in columns.items()}
    shapes.append(["all, and the numbers below", "", *(mean.text(0) for mean in total.values())])
    (pythia, *names), samples = columns, len(next(iter(columns.values())))
    lines = [table(["table", "bins", *(f"χ² of {name}" for name in columns)], shapes)]
    lines.append(table(["an event", "measured", *columns], numbers))
    scale = total[pythia]
    for name in names:
        ratio = total[name].value / scale.value
        error = ratio * np.hypot(total[name].error / total[name].value, scale.error / scale.value)
        lines.append(f"In all the χ² of {name} is {ratio:.2f} ± {error:.2f} times Pythia's, of {samples} samples of ")
        lines[-1] += f"{num:,} events of each.\n"
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, required=True, help=f"folder of {ALEPH}.yoda, {DELPHI}.yoda, {PDG}.yoda")
    parser.add_argument("--models", nargs="*", default=["hadron-tree"], help="names of models with singlets")
    parser.add_argument("--num", type=int, default=20_000, help="events of a sample")
    parser.add_argument("--samples", type=int, default=8, help="samples of each, two at least")
    parser.add_argument("--seed", type=int, default=912, help="of Pythia; a thousand more for each further sample")
    parser.add_argument("--document", type=Path, default=Path("docs/metrics.md"), help="with the marker 'lep'")
    options = parser.parse_args()
    tables = read_tables(*(options.tables / f"{name}.yoda" for name in (ALEPH, DELPHI, PDG)))
    columns: dict[str, list[list[Agreement]]] = {name: [] for name in ("Pythia", *options.models)}
    for k in range(options.samples):
        seed = options.seed + 1000 * k
        for name, found in columns.items():
            made = (
                annihilation.events(options.num, seed)
                if name == "Pythia"
                else model_events(name, options.num, seed + 1)
            )
            found.append(chi2_tables(made, tables, energy=ENERGY))
        print(f"sample {k + 1} of {options.samples}", file=sys.stderr, flush=True)
    text = document(columns, options.num)
    fill(options.document, "lep", text)
    print(text)


if __name__ == "__main__":
    try:
        main()
    except FastsimError as error:
        sys.exit(f"error: {error}")
