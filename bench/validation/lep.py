"""Models and Pythia, e+e- -> Z -> hadrons at 91.2 GeV, against measured tables.

Models hadronise the quark pairs that Pythia makes. K0S and hyperons decay, as in the measurements; no radiation off
the beams. Pythia itself is the scale: no model that learns from it can be asked to be nearer to nature.

    python -m bench.validation.lep --tables DIR --num 20000 --models hadron-tree
"""

from __future__ import annotations

import argparse
import sys
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


def document(columns: dict[str, list[Agreement]]) -> str:
    """Write the table: chi2 over bins of every sample, and for single numbers the values themselves."""
    first = next(iter(columns.values()))
    rows = []
    for k, agreement in enumerate(first):
        row = [agreement.table.name, agreement.what]
        single = len(agreement.table.value) == 1
        row.append(f"{agreement.table.value[0]:.4g} ± {agreement.table.error[0]:.2g}" if single else "")
        for found in columns.values():
            own = found[k]
            value = f"{own.value[0]:.4g} ± {own.error[0]:.2g}; " if single else ""
            row.append(f"{value}{own.chi2:.1f} / {own.num_bins}")
        rows.append(row)
    return table(["table", "quantity", "measured", *(f"{name}: chi2 / bins" for name in columns)], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, required=True, help=f"folder of {ALEPH}.yoda, {DELPHI}.yoda, {PDG}.yoda")
    parser.add_argument("--models", nargs="*", default=["hadron-tree"], help="names of models with singlets")
    parser.add_argument("--num", type=int, default=20_000, help="events")
    parser.add_argument("--seed", type=int, default=912, help="of Pythia")
    parser.add_argument("--document", type=Path, default=Path("docs/validation.md"), help="with the marker 'lep'")
    options = parser.parse_args()
    tables = read_tables(*(options.tables / f"{name}.yoda" for name in (ALEPH, DELPHI, PDG)))
    events = {"Pythia": annihilation.events(options.num, options.seed)}
    events |= {name: model_events(name, options.num, options.seed + 1) for name in options.models}
    text = document({name: chi2_tables(made, tables, energy=ENERGY) for name, made in events.items()})
    fill(options.document, "lep", text)
    print(text)


if __name__ == "__main__":
    try:
        main()
    except FastsimError as error:
        sys.exit(f"error: {error}")
