"""Events with made-up hadrons, and LHE text with one thing wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fastsim.event import HardEvents, ParticleSet, kinematics, offsets_from_counts, species

HADRONS = np.array([211, -211, 22, 321, 130, 2212, -2112, 12])


def with_hadrons(events: HardEvents, seed: int = 0, per_parton: int = 12) -> HardEvents:
    """Return the events with on-shell hadrons along every outgoing parton, and every other outgoing entry as it is."""
    rng = np.random.default_rng(seed)
    ids, p4, origin = [], [], []
    counts = np.zeros(len(events), dtype=np.int64)
    for k in np.flatnonzero(events.status == 1):
        event = events.index[k]
        parton = abs(events.pdg_id[k]) <= 5 or events.pdg_id[k] == 21
        num = per_parton if parton else 1
        if parton:
            species_ids = rng.choice(HADRONS, num)
            momenta = events.p4[k] * rng.dirichlet(np.ones(num))[:, None] + rng.normal(0, 0.3, (num, 4))
            momenta = kinematics.on_shell(momenta, species.masses(species_ids))
        else:
            species_ids, momenta = events.pdg_id[k : k + 1], events.p4[k : k + 1]
        ids.append(species_ids)
        p4.append(momenta)
        origin.append(np.full(num, k - events.offsets[event]))
        counts[event] += num
    particles = ParticleSet(offsets_from_counts(counts), np.concatenate(ids), np.concatenate(p4))
    return replace(events, particles=particles, origin=np.concatenate(origin))


INIT = """<LesHouchesEvents version="3.0">
<header>
x < y && z  <!-- run cards are not XML -->
</header>
<init>
2212 2212 6500. 6500. 0 0 0 0 -4 1
10.0 0.1 1.0 7
</init>
"""
LINES = (
    "4 7 1.0 91.0 0.0078 0.118",
    "2 -1 0 0 101 0 0 0 100. 100. 0. 0. 9.",
    "-2 -1 0 0 0 101 0 0 -100. 100. 0. 0. 9.",
    "21 1 1 2 103 102 60. 0. 80. 100. 0. 0. 9.",
    "21 1 1 2 102 103 -60. 0. -80. 100. 0. 0. 9.",
)


def event(*changes: tuple[int, int, str], tail: str = "", drop: int | None = None) -> str:
    """Return an LHE event u ubar -> g g.

    Args:
        changes: (line, column, text) to replace.
        tail: lines to add at the end.
        drop: a line to leave out.
    """
    rows = [line.split() for line in LINES]
    for line, column, text in changes:
        rows[line][column] = text
    lines = [" ".join(row) for k, row in enumerate(rows) if k != drop]
    return "\n".join(["<event>", *lines, *([tail] if tail else []), "</event>", ""])


def file(*events: str, end: str = "</LesHouchesEvents>\n") -> str:
    """Return the text of an LHE file with these events."""
    return INIT + "".join(events) + end
