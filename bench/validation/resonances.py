"""Spin in resonance decays against Pythia's own processes, for docs/physics.md.

Pythia makes whole processes without radiation, and decays all resonances and taus itself. Their hard records, with
the resonance or the taus undecayed, go through the Step ``decay-resonances``; a second run of Pythia is the null.
Taus decay to a pion and a neutrino in all samples, x is the fraction of the tau's energy that the pion has, in the
rest frame of what made the tau.

    python -m bench.validation.resonances --num 20000
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.validation.hadron_document import fill, table
from fastsim.event import HardEvents, kinematics, offsets_from_counts
from generators.reference.resonances import DecayResonances

Floats = NDArray[np.float64]

DOCUMENT = Path(__file__).parents[2] / "docs" / "physics.md"

QUIET = (
    "Print:quiet = on",
    "PartonLevel:ISR = off",
    "PartonLevel:FSR = off",
    "PartonLevel:MPI = off",
    "HadronLevel:Hadronize = off",
    "ParticleDecays:limitTau0 = on",
    "ParticleDecays:tau0Max = 10.0",
)
LEPTONS = ("Beams:idA = 11", "Beams:idB = -11", "PDF:lepton = off")
PIONS = ("15:onMode = off", "15:onIfMatch = 16 211")
INCOMING = 21
"""Absolute Pythia status of incoming partons of the hard process."""
TAU, PION = 15, 211


class Process(NamedTuple):
    """A process of Pythia: its settings, the species at which its hard records are cut, and what is measured.

    ``measure`` returns columns (E', C); ``figures`` names the numbers that are made of them.
    """

    settings: tuple[str, ...]
    cut: tuple[int, ...]
    measure: Callable[[HardEvents], Floats]
    figures: Mapping[str, Callable[[Floats], float]]


def hard_records(settings: tuple[str, ...], cut: tuple[int, ...], num: int, seed: int) -> tuple[HardEvents, HardEvents]:
    """Make events with Pythia: its full decays as one batch, the same records cut at resonances as another.

    Args:
        settings: lines that choose the process.
        cut: PDG ids (absolute) of what is left undecayed in the second batch.
        num: number of events.
        seed: seed of Pythia.
    """
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    for line in (*QUIET, *PIONS, *settings, "Random:setSeed = on", f"Random:seed = {seed}"):
        if not pythia.readString(line):
            raise ValueError(line)
    pythia.init()
    full: list[list[tuple[Any, ...]]] = []
    parts: list[list[tuple[Any, ...]]] = []
    while len(full) < num:
        if not pythia.next():
            continue
        full.append(_rows(pythia.event, ()))
        parts.append(_rows(pythia.process, cut))
    return _batch(full), _batch(parts)


def _rows(record: Any, cut: tuple[int, ...]) -> list[tuple[Any, ...]]:
    """Return rows (PDG id, status, mother, mother, momentum) of a record, without beams and what comes after a cut."""
    kept: list[int] = []
    ends = set()
    for k in range(3, record.size()):
        if record[k].mother1() not in ends:
            kept.append(k)
        if record[k].mother1() in ends or (record[k].idAbs() in cut and record[k].statusAbs() != INCOMING):
            ends.add(k)
    place = {k: i for i, k in enumerate(kept)}
    rows: list[tuple[Any, ...]] = []
    for k in kept:
        p = record[k]
        status = -1 if p.statusAbs() == INCOMING else 1 if k in ends or p.isFinal() else 2
        first, second = place.get(p.mother1(), -1), place.get(p.mother2(), -1)
        tags = (p.col(), p.acol())
        rows.append((p.id(), status, first, second if second >= 0 else first, *tags, p.e(), p.px(), p.py(), p.pz()))
    return rows


def _batch(rows: list[list[tuple[Any, ...]]]) -> HardEvents:
    """Return events of rows."""
    table = np.array([row for event in rows for row in event], dtype=np.float64)
    integers = table[:, :6].astype(np.int64)
    size = len(rows)
    return HardEvents(
        number=np.arange(size),
        offsets=offsets_from_counts(np.array([len(r) for r in rows])),
        pdg_id=integers[:, 0],
        status=integers[:, 1],
        mothers=integers[:, 2:4],
        colours=integers[:, 4:6],
        p4=table[:, 6:],
        mass=kinematics.mass(table[:, 6:]),
        weights=np.ones((size, 1)),
        process=np.zeros(size, np.int64),
        scale=np.ones(size),
    )


def _mother(events: HardEvents) -> NDArray[np.int64]:
    """Return the row of the first mother of each entry, -1 for none."""
    value: NDArray[np.int64] = np.where(
        events.mothers[:, 0] >= 0, events.mothers[:, 0] + events.offsets[events.index], -1
    )
    return value


def pion_fractions(events: HardEvents) -> Floats:
    """Return x of the tau- and the tau+ of each event (E, 2), NaN where there is none."""
    mother = _mother(events)
    x = np.full((len(events), 2), np.nan)
    pions = np.flatnonzero((np.abs(events.pdg_id) == PION) & (np.abs(events.pdg_id[mother]) == TAU))
    taus = mother[pions]
    top = taus.copy()  # the first copy
    while (same := events.pdg_id[mother[top]] == events.pdg_id[top]).any():
        top = np.where(same, mother[top], top)
    frame = events.p4[mother[top]]
    energy = kinematics.boost_from(events.p4[pions], frame)[:, 0] / kinematics.boost_from(events.p4[taus], frame)[:, 0]
    x[events.index[pions], (events.pdg_id[taus] < 0).astype(np.int64)] = energy
    return x


def top_angles(events: HardEvents) -> Floats:
    """Return, for each t -> b l nu, the cosine of the angle of l in the W frame to the W in the t frame, (E', 1)."""
    mother = _mother(events)
    leptons = np.flatnonzero(np.isin(np.abs(events.pdg_id), (11, 13)) & (np.abs(events.pdg_id[mother]) == 24))
    w = mother[leptons]
    top = mother[w]
    kept = np.abs(events.pdg_id[top]) == 6
    lepton, boson, quark = (events.p4[k[kept]] for k in (leptons, w, top))
    axis = -kinematics.boost_from(quark, boson)[:, 1:]
    direction = kinematics.boost_from(lepton, boson)[:, 1:]
    lengths = np.linalg.norm(axis, axis=1) * np.linalg.norm(direction, axis=1)
    value: Floats = ((axis * direction).sum(axis=1) / lengths)[:, None]
    return value


def lepton_angles(events: HardEvents) -> Floats:
    """Return cos theta between the negative lepton and the incoming fermion, in the frame of the pair, (E', 1)."""
    rows = events.offsets[:-1]
    incoming = np.where(events.pdg_id[rows] > 0, rows, rows + 1)
    lepton = np.flatnonzero(np.isin(events.pdg_id, (11, 13, 15)) & (events.status != -1))
    first = lepton[np.unique(events.index[lepton], return_index=True)[1]]
    event = events.index[first]
    frame = events.p4[rows[event]] + events.p4[rows[event] + 1]
    a, b = (kinematics.boost_from(events.p4[k], frame)[:, 1:] for k in (first, incoming[event]))
    value: Floats = ((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))[:, None]
    return value


def higgs_angles(events: HardEvents) -> Floats:
    """Return the cosine of the angle between the two leptons of H -> W W in the frame of H, (E', 1)."""
    mother = _mother(events)
    chosen = np.isin(np.abs(events.pdg_id), (11, 13)) & (np.abs(events.pdg_id[mother]) == 24)
    leptons = np.flatnonzero(chosen)
    both = np.bincount(events.index[leptons], minlength=len(events)) == 2
    pair = leptons[both[events.index[leptons]]].reshape(-1, 2)
    higgs = mother[mother[pair[:, 0]]]
    a, b = (kinematics.boost_from(events.p4[pair[:, k]], events.p4[higgs])[:, 1:] for k in (0, 1))
    value: Floats = ((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))[:, None]
    return value


def _correlation(values: Floats) -> float:
    return float(np.corrcoef(values.T)[0, 1])


def _mean(values: Floats) -> float:
    return float(values[:, 0].mean())


def _square(values: Floats) -> float:
    return float((values[:, 0] ** 2).mean())


def single_fractions(events: HardEvents) -> Floats:
    """Return x of all taus as one column."""
    x = pion_fractions(events).ravel()
    value: Floats = x[~np.isnan(x)][:, None]
    return value


def pair_fractions(events: HardEvents) -> Floats:
    """Return x of tau- and tau+ of the events with both."""
    x = pion_fractions(events)
    value: Floats = x[~np.isnan(x).any(axis=1)]
    return value


PAIR = {"corr(x-, x+)": _correlation, "mean x-": _mean}
HIGGS = (*LEPTONS, "Beams:eCM = 250", "HiggsSM:ffbar2HZ = on", "23:onMode = off", "23:onIfAny = 12")
PROCESSES: dict[str, Process] = {
    "H → ττ": Process((*HIGGS, "25:onMode = off", "25:onIfMatch = 15 -15"), (TAU,), pair_fractions, PAIR),
    "e+e- → Z → ττ, 91.2 GeV": Process(
        (*LEPTONS, "Beams:eCM = 91.2", "WeakSingleBoson:ffbar2gmZ = on", "23:onMode = off", "23:onIfAny = 15"),
        (TAU,),
        pair_fractions,
        PAIR,
    ),
    "pp → W → τν": Process(
        ("Beams:eCM = 13000", "WeakSingleBoson:ffbar2W = on", "24:onMode = off", "24:onIfAny = 15"),
        (TAU,),
        single_fractions,
        {"mean x": _mean},
    ),
    "pp → tt̄, τ of W": Process(
        ("Beams:eCM = 13000", "Top:gg2ttbar = on", "24:onMode = off", "24:onIfAny = 15"),
        (6,),
        single_fractions,
        {"mean x": _mean},
    ),
    "pp → tt̄, e and μ of W": Process(
        ("Beams:eCM = 13000", "Top:gg2ttbar = on", "24:onMode = off", "24:onIfAny = 11 13"),
        (6,),
        top_angles,
        {"mean cos θ*": _mean, "mean cos² θ*": _square},
    ),
    "H → WW → 2l 2ν": Process(
        (*HIGGS, "25:onMode = off", "25:onIfMatch = 24 -24", "24:onMode = off", "24:onIfAny = 11 13"),
        (25,),
        higgs_angles,
        {"mean cos θ(ll)": _mean},
    ),
    "e+e- → Z → ll, 91.2 GeV": Process(
        (*LEPTONS, "Beams:eCM = 91.2", "WeakSingleBoson:ffbar2gmZ = on", "23:onMode = off", "23:onIfAny = 13"),
        (23,),
        lepton_angles,
        {"mean cos θ": _mean, "mean cos² θ": _square},
    ),
}


def resampled(figure: Callable[[Floats], float], values: Floats, rng: np.random.Generator) -> tuple[float, float]:
    """Return a figure and its bootstrap error."""
    draws = [figure(values[rng.integers(0, len(values), len(values))]) for _ in range(100)]
    return figure(values), float(np.std(draws))


def rows_of(name: str, num: int, seed: int) -> list[list[str]]:
    """Return the rows of the table of one process."""
    process = PROCESSES[name]
    truth, cut = hard_records(process.settings, process.cut, num, seed)
    null, _ = hard_records(process.settings, process.cut, num, seed + 1)
    channels = tuple(line for line in process.settings if ":on" in line and line[0].isdigit())
    ours = DecayResonances((*PIONS, *channels)).step(cut, rng=np.random.default_rng(seed))
    columns = [process.measure(sample) for sample in (truth, null, ours)]
    rng = np.random.default_rng(seed)
    rows = []
    for label, figure in process.figures.items():
        cells = ["{:.3f} ± {:.3f}".format(*resampled(figure, column, rng)) for column in columns]
        rows.append([name, label, *cells])
    return rows


def main() -> None:
    """Print the table, and put it into the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=20_000, help="events of each process (20000)")
    parser.add_argument("--seed", type=int, default=1, help="seed (1)")
    parser.add_argument("--only", choices=list(PROCESSES), help="one process")
    options = parser.parse_args()
    names = [name for name in PROCESSES if options.only in (None, name)]
    rows = [row for name in names for row in rows_of(name, options.num, options.seed)]
    text = table(["process", "figure", "Pythia", "Pythia again", "decay-resonances"], rows)
    print(text, end="")
    if options.only is None:
        fill(DOCUMENT, "spin", text)


if __name__ == "__main__":
    main()
