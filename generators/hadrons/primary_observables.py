"""Observables of the primary hadrons of an event, to see whether two samples agree in what a tune changes."""

from __future__ import annotations

import numpy as np

from fastsim.event import Floats, HardEvents
from fastsim.event.species import charges
from generators.hadrons.likelihood import primary_hadrons
from generators.hadrons.tokens import CONTENT, species_index

NAMES: tuple[str, ...] = (
    "primary hadrons",
    "charged",
    "vector mesons",
    "strange",
    "baryons",
    "photons and leptons",
    "log x1",
    "log x2",
    "log pTD",
    "log dispersion",
)
"""Numbers of primary hadrons by kind; logarithms of the shares that the hardest and the second have of the sum of
momenta; of pTD = sqrt(sum p^2) / sum p; and of 1 - |sum p| / sum |p|, in the frame of the events."""


def observables(events: HardEvents) -> Floats:
    """Return the observables (E, O) of events with the history of their particles.

    Raises:
        InvalidEvent: if they have none.
    """
    assert events.particles is not None
    sets = primary_hadrons(events.particles, events.number)
    index, num, pdg_id = sets.index, len(sets), np.abs(sets.pdg_id)
    content = CONTENT[species_index(sets.pdg_id)]
    hadron = pdg_id > 100
    vector = hadron & (pdg_id < 1000) & (pdg_id % 10 == 3)
    kinds = (hadron, charges(sets.pdg_id) != 0, vector, content[:, 2] != 0, pdg_id > 1000, ~hadron)
    counts = [np.bincount(index, kind, num) for kind in kinds]
    p = np.linalg.norm(sets.p4[:, 1:], axis=1)
    total = np.maximum(np.bincount(index, p, num), 1e-9)
    order = np.lexsort((-p, index))
    rank = np.arange(len(p)) - sets.offsets[index]
    first, second = np.zeros(num), np.zeros(num)
    first[index[rank == 0]], second[index[rank == 1]] = p[order][rank == 0], p[order][rank == 1]
    net = np.linalg.norm(sets.sums()[:, 1:], axis=1)
    shapes = (first / total, second / total, np.sqrt(np.bincount(index, p**2, num)) / total, 1 - net / total)
    return np.stack([*counts, *(np.log(np.maximum(shape, 1e-6)) for shape in shapes)], axis=-1)
