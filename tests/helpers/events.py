"""Events with made-up hadrons, and LHE text with one thing wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fastsim.event import Decayed, HardEvents, History, ParticleSet, kinematics, offsets_from_counts, species

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
    return events.with_particles(particles, np.concatenate(origin))


CHAIN = (511, -413, -411, 111)
"""Decayed particles of :func:`with_decays`, the first three each from the one before."""


def with_decays(events: HardEvents, seed: int = 0) -> HardEvents:
    """Return the events with hadrons as :func:`with_hadrons` has them, some from decays away from the primary vertex.

    Of twelve hadrons of a parton number 0 comes from B0 -> D*- h, 1 from D*- -> D- h at the same place, 2 and 3 from
    D- -> h h, all of them displaced, 4 and 5 from a pi0 that decays at the primary vertex, the others from the parton.
    """
    events = with_hadrons(events, seed)
    final, origin = events.particles, events.origin
    assert final is not None and origin is not None
    rng = np.random.default_rng(seed + 1)
    _, start, size = np.unique(final.index * 1000 + origin, return_index=True, return_counts=True)
    start = start[size == 12]
    mother, vertex = np.full(len(origin), -1), np.zeros((len(origin), 4))
    num = np.zeros(len(events), np.int64)
    columns: list[list[np.ndarray]] = [[], [], [], []]  # type: ignore[type-arg]
    for row in start.tolist():
        event = final.index[row]
        first, p4 = num[event], final.p4[row : row + 12]
        mother[row : row + 6] = first + np.array([0, 1, 2, 2, 3, 3])
        beauty, charm = np.cumsum(rng.exponential([[3.0, 1.0, 0.5, 2.0]] * 2), axis=0)
        vertex[row : row + 4] = beauty, beauty, charm, charm
        sums = np.stack([p4[:4].sum(axis=0), p4[1:4].sum(axis=0), p4[2:4].sum(axis=0), p4[4:6].sum(axis=0)])
        made = np.stack([0 * beauty, beauty, beauty, 0 * beauty])
        for column, value in zip(columns, (CHAIN, sums, [-1, first, first + 1, -1], made), strict=True):
            column.append(np.asarray(value))
        num[event] += 4
    decayed = Decayed(offsets_from_counts(num), *(np.concatenate(column) for column in columns))
    return replace(events, particles=replace(final, history=History(decayed, mother, vertex)))


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
