"""A source of made-up hadrons: quick, deterministic, with the limits a test wants."""

from __future__ import annotations

import numpy as np

from fastsim.event import Floats, HardEvents, ParticleSet, Partons, kinematics, offsets_from_counts, species
from fastsim.sources.domains import QUARKS_AND_GLUONS, Domain
from fastsim.sources.hadrons import HadronSource

HADRONS = np.array([211, -211, 22, 321, 130, 2212, -2112, 12])


class Spray(HadronSource):
    """A source that makes on-shell hadrons along each parton, with transverse momenta of ``width`` GeV."""

    name = "spray"

    def __init__(self, pt_min: float = 0.0, pt_max: float = np.inf, *, width: float = 0.3, num: int = 9) -> None:
        self.domain = Domain(QUARKS_AND_GLUONS, pt_min, pt_max)
        self.width = width
        self.num = num
        self.calls: list[int] = []

    def draw(self, partons: Partons, rng: np.random.Generator) -> ParticleSet:
        self.calls.append(len(partons))
        counts = rng.integers(1, self.num + 1, len(partons))
        index = np.repeat(np.arange(len(partons)), counts)
        share = rng.uniform(0.1, 1.0, len(index))
        share /= np.bincount(index, weights=share)[index]
        ids = rng.choice(HADRONS, len(index))
        p4 = partons.p4[index] * share[:, None] + rng.normal(0, self.width, (len(index), 4))
        return ParticleSet(offsets_from_counts(counts), ids, kinematics.on_shell(p4, species.masses(ids)))


def hard_event(rows: list[tuple[int, int, tuple[int, int], list[float]]], number: int = 0) -> HardEvents:
    """Return one event from rows (PDG id, status, mothers within the event, p4 in GeV)."""
    p4 = np.array([row[3] for row in rows], dtype=np.float64)
    size = len(rows)
    return HardEvents(
        number=np.array([number]),
        offsets=np.array([0, size]),
        pdg_id=np.array([row[0] for row in rows]),
        status=np.array([row[1] for row in rows]),
        mothers=np.array([row[2] for row in rows]),
        colours=np.zeros((size, 2), dtype=np.int64),
        p4=p4,
        mass=kinematics.mass(p4),
        weights=np.ones((1, 1)),
        process=np.zeros(1, dtype=np.int64),
        scale=np.ones(1),
    )


def outgoing(events: HardEvents) -> Floats:
    """Return the total four-momentum of the outgoing entries of each of E events, as given, (E, 4) in GeV."""
    final = events.status == 1
    index = events.index[final]
    return np.stack([np.bincount(index, weights=c, minlength=len(events)) for c in events.p4[final].T], axis=-1)


def closure(events: HardEvents) -> float:
    """Return the largest relative difference between the sums of final particles and of outgoing entries."""
    assert events.particles is not None
    total = outgoing(events)
    return float((np.abs(events.particles.sums() - total).max(axis=1) / total[:, 0]).max())


def shell(events: HardEvents) -> float:
    """Return the largest |E^2 - p^2 - m^2| / E^2 of the final particles of known species."""
    assert events.particles is not None
    ids, p4 = events.particles.pdg_id, events.particles.p4
    known = np.isin(np.abs(ids), list(species.MASSES))
    off = np.abs(kinematics.mass_squared(p4[known]) - species.masses(ids[known]) ** 2) / p4[known, 0] ** 2
    return float(off.max(initial=0.0))
