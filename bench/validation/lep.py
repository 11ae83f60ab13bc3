"""Models and Pythia, e+e- -> Z -> hadrons at 91.2 GeV, against measured tables.

Models hadronise the quark pairs that Pythia makes. K0S and hyperons decay, as in the measurements; no radiation off
the beams. Pythia itself is the scale: no model that learns from it can be asked to be nearer to nature.

    python -m bench.validation.lep --tables DIR --num 20000 --models hadron-tree
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

import fastsim
from bench.validation.hadron_document import fill, table
from fastsim.errors import FastsimError
from fastsim.event import Decayed, History, ParticleSet, offsets_from_counts
from fastsim.sources.hadrons import PartonPairs
from generators.decays import decay
from metrics.hadrons.tables import ALEPH, DELPHI, PDG, Agreement, chi2_tables, read_tables

ENERGY = 91.2
TAU0_MAX = 100.0
SETTINGS = (
    "Print:quiet = on",
    "Beams:idA = 11",
    "Beams:idB = -11",
    f"Beams:eCM = {ENERGY}",
    "PDF:lepton = off",
    "WeakSingleBoson:ffbar2gmZ = on",
    "23:onMode = off",
    "23:onIfAny = 1 2 3 4 5",
    "ParticleDecays:limitTau0 = on",
    f"ParticleDecays:tau0Max = {TAU0_MAX}",
)
"""Beside the Monash tune: no radiation off the beams, c*tau up to 100 mm decays (K0S and hyperons, not K0L)."""


def started(seed: int, *more: str) -> Any:
    """Return a Pythia with a seed and further settings.

    Raises:
        FastsimError: if Pythia does not start.
    """
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    for line in (*SETTINGS, "Random:setSeed = on", f"Random:seed = {seed}", *more):
        if not pythia.readString(line):
            raise FastsimError(f"Pythia refuses the setting {line!r}")
    if not pythia.init():
        raise FastsimError("Pythia did not start")
    return pythia


def model_events(name: str, num: int, seed: int) -> ParticleSet:
    """Make events with a model: the quark pairs of Z bosons as Pythia draws them, hadronised as singlets.

    Args:
        name: of the model.
        num: events.
        seed: of Pythia and the model.
    """
    model = fastsim.load_model(name)
    pythia = started(seed, "PartonLevel:all = off")
    flavours = np.empty(num, dtype=np.int64)
    for k in range(num):
        while not pythia.next():
            pass
        flavours[k] = abs(next(p.id() for p in pythia.process if p.statusAbs() == 23))
    rng = np.random.default_rng(seed)
    pairs = PartonPairs(np.stack([flavours, -flavours], -1), np.full(num, ENERGY))
    return decay(model.draw_pairs(pairs, rng), rng, tau0_max=TAU0_MAX)


def pythia_events(num: int, seed: int) -> ParticleSet:
    """Make events with Pythia: final particles with the hadrons and leptons that decayed into them.

    Args:
        num: events.
        seed: of Pythia.

    Raises:
        FastsimError: if Pythia does not start.
    """
    pythia = started(seed)
    final: list[list[Any]] = []
    decayed: list[list[Any]] = []
    counts: list[list[int]] = []
    while len(counts) < num:
        if not pythia.next():
            continue
        numbers = [0, 0]
        place: dict[int, int] = {}
        for i in range(pythia.event.size()):
            p = pythia.event[i]
            hadron = p.isHadron() or (p.isLepton() and p.statusAbs() > 80)
            if not (p.isFinal() or (hadron and p.statusAbs() > 80)):
                continue
            row = [p.id(), p.e(), p.px(), p.py(), p.pz(), place.get(p.mother1(), -1), p.tProd()]
            row += [p.xProd(), p.yProd(), p.zProd()]
            if p.isFinal():
                final.append(row)
                numbers[0] += 1
            else:
                place[i] = numbers[1]
                decayed.append(row)
                numbers[1] += 1
        counts.append(numbers)
    sizes = np.array(counts)
    one, other = np.array(final), np.array(decayed)
    ids, mothers = other[:, 0].astype(np.int64), other[:, 5].astype(np.int64)
    record = Decayed(offsets_from_counts(sizes[:, 1]), ids, other[:, 1:5], mothers, other[:, 6:])
    history = History(record, one[:, 5].astype(np.int64), one[:, 6:])
    return ParticleSet(offsets_from_counts(sizes[:, 0]), one[:, 0].astype(np.int64), one[:, 1:5], history)


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
    events = {"Pythia": pythia_events(options.num, options.seed)}
    events |= {name: model_events(name, options.num, options.seed + 1) for name in options.models}
    text = document({name: chi2_tables(made, tables, energy=ENERGY) for name, made in events.items()})
    fill(options.document, "lep", text)
    print(text)


if __name__ == "__main__":
    try:
        main()
    except FastsimError as error:
        sys.exit(f"error: {error}")
