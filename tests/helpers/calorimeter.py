"""A source of made-up showers with the limits a test wants, and events of given particles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import Binning, Layer
from fastsim.detector.incidents import Incidents
from fastsim.detector.towers import Towers
from fastsim.event import HardEvents, ParticleSet, kinematics, offsets_from_counts, species
from fastsim.sources.domains import ShowerDomain
from fastsim.sources.showers import ShowerSource

LAYERS = (Layer(0, (0.0, 10.0, 30.0), 4), Layer(1, (0.0, 20.0, 80.0), 8), Layer(2, (0.0, 120.0), 1))
TOWERS = Towers("toy", depths_mm=(100.0, 200.0, 400.0), segments=(1, 2))


class Drops(ShowerSource):
    """A source that puts a quarter of each particle's kinetic energy into about half of the voxels."""

    detector = "toy"

    def __init__(
        self, particles: tuple[int, ...] = (22, 211, -211, 13), low: float = 0.1, high: float = 1e4, name: str = "drops"
    ) -> None:
        self.name = name
        self.domain = ShowerDomain(frozenset(particles), low, high)
        self.calls: list[Incidents] = []

    def binning(self, pdg_id: int) -> Binning:
        return Binning(str(pdg_id), pdg_id, LAYERS)

    def draw(self, incidents: Incidents, rng: np.random.Generator) -> NDArray[np.float32]:
        self.calls.append(incidents)
        num_voxels = self.binning(22).num_voxels
        share = rng.dirichlet(np.ones(num_voxels), len(incidents)) * (rng.uniform(size=num_voxels) < 0.5)
        share[:, 0] += 1 - share.sum(axis=1)
        return (250 * incidents.energy[:, None] * share).astype(np.float32)


Row = tuple[int, float, float, float]
"""PDG id, kinetic energy in GeV, eta and phi."""


def events_of(rows: list[list[Row]]) -> HardEvents:
    """Return one event for each list of particles, which are put on their mass shells."""
    flat = [row for event in rows for row in event]
    ids, kinetic, eta, phi = (np.array(column) for column in zip(*flat, strict=True))
    m = species.masses(ids)
    p = np.sqrt(kinetic * (kinetic + 2 * m))
    p4 = kinematics.p4_from_pt_eta_phi_m(p / np.cosh(eta), eta, phi, m)
    particles = ParticleSet(offsets_from_counts(np.array([len(event) for event in rows])), ids, p4)
    return HardEvents.of_particles(particles, np.ones((len(rows), 1)), np.arange(len(rows)))
