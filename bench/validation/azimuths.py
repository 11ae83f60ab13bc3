"""Where Pythia's initial-state radiation lies to the ends of colour lines, for generators/rests/azimuths.py.

For events without multiple interactions and final-state radiation, the momentum against which the hard process recoils
and the azimuths of the final partons in which colour lines of the incoming ones end: twice the means of cos phi and
cos 2 phi over events, of a mean over the lines of each, by the ratio of the transverse momentum to that of the hard
process. With interference (``SpaceShower:phiIntAsym``) off, what is left of cos 2 phi is of
polarisation.

    python -m bench.validation.azimuths --num 20000
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from typing import Any

import numpy as np
import pythia8mc

PROCESSES = {
    "dijets": ["HardQCD:all = on", "PhaseSpace:pTHatMin = 20."],
    "z-jet": ["WeakBosonAndParton:qqbar2gmZg = on", "WeakBosonAndParton:qg2gmZq = on", "PhaseSpace:pTHatMin = 20."],
    "ttbar": ["Top:gg2ttbar = on", "Top:qqbar2ttbar = on", "6:mayDecay = off"],
}
VARIANTS = {"Pythia": [], "no interference": ["SpaceShower:phiIntAsym = off"]}
SETTINGS = ("Print:quiet = on", "Beams:eCM = 13600", "PartonLevel:MPI = off", "PartonLevel:FSR = off")
EDGES = (0.05, 0.1, 0.2, 0.4, 0.7, 1.2, 3.0)
OF_HARD_PROCESS = (-22, -23, 23)
"""Status codes of the particles that a hard process makes."""


def angles(process: str, settings: list[str], num: int, seed: int) -> tuple[Any, Any]:
    """Return ratios of transverse momenta (E,), and the moments (E, 2) of events with lines that end in final partons.

    Args:
        process: one of :data:`PROCESSES`.
        settings: further lines for Pythia.
        num: number of events.
        seed: of Pythia.
    """
    pythia = pythia8mc.Pythia("", False)
    for line in (*SETTINGS, "HadronLevel:all = off", "Random:setSeed = on", f"Random:seed = {seed}"):
        pythia.readString(line)
    for line in (*PROCESSES[process], *settings):
        pythia.readString(line)
    if not pythia.init():
        raise SystemExit(f"{process}: Pythia does not start")
    ratios, moments = [], []
    for _ in range(num):
        if not pythia.next():
            continue
        hard, event = pythia.process, pythia.event
        made = [i for i in range(5, hard.size()) if (hard[i].mother1(), hard[i].mother2()) == (3, 4)]
        first = [
            i
            for i in range(5, event.size())
            if (event[i].mother1(), event[i].mother2()) == (3, 4) and event[i].status() in OF_HARD_PROCESS
        ]
        ends = [event[event[i].iBotCopyId()] for i in first]
        px, py = sum(end.px() for end in ends), sum(end.py() for end in ends)
        azimuths = [
            hard[i].phi()
            for incoming in (hard[3], hard[4])
            for tag, of in ((incoming.col(), "col"), (incoming.acol(), "acol"))
            for i in made
            if tag and getattr(hard[i], of)() == tag
        ]
        if azimuths:
            turn = np.arctan2(-py, -px) - np.array(azimuths)
            ratios.append(np.hypot(px, py) / pythia.infoPython().pTHat())
            moments.append([2 * np.cos(turn).mean(), 2 * np.cos(2 * turn).mean()])
    return np.array(ratios), np.array(moments)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=20000, help="events of a process")
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args()
    print("| process | | pT / pT of the hard process | events | 2 <cos phi> | 2 <cos 2 phi> |")
    for process in PROCESSES:
        for name, settings in VARIANTS.items():
            ratio, moments = angles(process, settings, arguments.num, arguments.seed)
            for low, high in pairwise(EDGES):
                own = moments[(ratio >= low) & (ratio < high)]
                if len(own) > 1:
                    errors = own.std(axis=0, ddof=1) / np.sqrt(len(own))
                    cells = [
                        f"{value:+.3f} ± {error:.3f}" for value, error in zip(own.mean(axis=0), errors, strict=True)
                    ]
                    print(
                        f"| {process} | {name} | {low:g} to {high:g} | {len(own)} | {' | '.join(cells)} |", flush=True
                    )


if __name__ == "__main__":
    main()
