"""Make the Les Houches event files in data/examples with the hard processes of Pythia 8.

    python examples/make_lhe.py data/examples

writes ``pp_dijet.lhe.gz`` (200 events, pTHat > 50 GeV) and ``pp_mixed.lhe.gz`` (two jets, Z + jet with leptons,
undecayed top pairs; equal numbers, not their physical mixture) for proton collisions at 13 TeV. Pythia's own
LHE writer crashes from Python, so the format is written here; the same seed gives the same bytes.
"""

from __future__ import annotations

import gzip
import sys
from importlib.metadata import version
from pathlib import Path

import pythia8mc

BEAM_ENERGY = 6500.0
DIJET = ["HardQCD:all = on", "PhaseSpace:pTHatMin = 50."]
Z_JET = [
    "WeakBosonAndParton:qqbar2gmZg = on",
    "WeakBosonAndParton:qg2gmZq = on",
    "PhaseSpace:pTHatMin = 30.",
    "23:mMin = 60.",
    "23:onMode = off",
    "23:onIfAny = 11 13",
]
TOP_PAIR = ["Top:gg2ttbar = on", "Top:qqbar2ttbar = on", "6:mayDecay = off"]


def hard_events(settings: list[str], num_events: int, process: int, seed: int) -> tuple[str, list[str]]:
    """Generate one process: its init line (cross-section, error, maximum weight, id) and its events.

    Args:
        settings: lines that Pythia reads.
        num_events: events to generate.
        process: number of the process in the file.
        seed: of Pythia.
    """
    pythia = pythia8mc.Pythia("", False)
    hard_only = ["PartonLevel:all = off", "HadronLevel:all = off", "Print:quiet = on", "Next:numberShowEvent = 0"]
    for line in [
        *hard_only,
        *settings,
        f"Beams:eCM = {2 * BEAM_ENERGY}",
        "Random:setSeed = on",
        f"Random:seed = {seed}",
    ]:
        pythia.readString(line)
    pythia.init()
    events: list[str] = []
    while len(events) < num_events:
        if pythia.next():
            events.append(event_text(pythia, process))
    picobarn = 1e9  # from millibarn
    xsec, error = pythia.infoPython().sigmaGen() * picobarn, pythia.infoPython().sigmaErr() * picobarn
    return f"{xsec:.6e} {error:.6e} 1.000000e+00 {process}", events


def event_text(pythia: pythia8mc.Pythia, process: int) -> str:
    """Write the hard process as an LHE event: entries 3, 4, ... of Pythia's record become 1, 2, ... of the file."""
    info, record = pythia.infoPython(), pythia.process
    lines = []
    for k in range(3, record.size()):
        p = record[k]
        status = -1 if p.status() == -21 else 1 if p.isFinal() else 2
        mothers = (0, 0) if status == -1 else (p.mother1() - 2, p.mother2() - 2 if p.mother2() > 0 else p.mother1() - 2)
        lines.append(
            f"{p.id():9d} {status:2d} {mothers[0]:3d} {mothers[1]:3d} {p.col():4d} {p.acol():4d} "
            f"{p.px():+.10e} {p.py():+.10e} {p.pz():+.10e} {p.e():.10e} {p.m():.10e} 0.0 9.0"
        )
    header = f"{len(lines)} {process} 1.0000000e+00 {info.QFac():.6e} {info.alphaEM():.6e} {info.alphaS():.6e}"
    return "\n".join(["<event>", header, *lines, "</event>"])


def write(path: Path, parts: list[tuple[list[str], int]], seed: int) -> None:
    """Write one file with the events of several processes in turn."""
    processes = [hard_events(settings, num, k + 1, seed + k) for k, (settings, num) in enumerate(parts)]
    init = f"2212 2212 {BEAM_ENERGY:.6e} {BEAM_ENERGY:.6e} 0 0 0 0 3 {len(processes)}"
    queues = [list(events) for _, events in processes]
    mixed = [queue.pop(0) for _ in range(max(map(len, queues))) for queue in queues if queue]
    generator = f"<generator name='Pythia' version='{version('pythia8mc')}'>examples/make_lhe.py</generator>"
    text = ['<LesHouchesEvents version="3.0">', "<init>", init, *(line for line, _ in processes), generator, "</init>"]
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.write("\n".join([*text, *mixed, "</LesHouchesEvents>", ""]).encode())


def main(folder: Path) -> None:
    """Write both files into a folder."""
    write(folder / "pp_dijet.lhe.gz", [(DIJET, 200)], seed=1)
    write(folder / "pp_mixed.lhe.gz", [(DIJET, 16), (Z_JET, 16), (TOP_PAIR, 16)], seed=11)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
