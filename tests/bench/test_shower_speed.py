"""The speed table: CPU time a shower of Geant4 and of a source, and their ratio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import shower_speed
from fastsim.detector.binning import Binning
from fastsim.detector.incidents import Incidents
from fastsim.sources.domains import ShowerDomain
from fastsim.sources.showers import ShowerSource
from tests.helpers.showers import electron_binning


class Busy(ShowerSource):
    """A source that spends CPU time by the shower, and notes the batches it was asked for."""

    name, detector = "busy", "pb-si-ecal"
    domain = ShowerDomain(frozenset({11}), 1.0, 100.0)
    batches: list[int]

    def __init__(self) -> None:
        self.batches = []

    def binning(self, pdg_id: int) -> Binning:
        return electron_binning()

    def draw(self, incidents: Incidents, rng: np.random.Generator) -> NDArray[Any]:
        self.batches.append(len(incidents))
        for _ in incidents.energy:
            np.sort(rng.uniform(size=20_000))
        return np.zeros((len(incidents), 1), np.float32)


def test_cost_is_by_the_shower() -> None:
    source = Busy()
    one, ten = (shower_speed.source_cost(source, 11, 10.0, batch, 0.2, 1) for batch in (1, 10))
    assert set(source.batches) == {1, 10} and 0.05 < one < 100
    assert 0.2 < ten / one < 5, "the same work a shower, whatever the batch; the machine may be busy"


def test_geant4_takes_longer_at_higher_energy(shared: Path) -> None:
    low, high = (shower_speed.geant4_cost("e-", energy, 1.5, 1, shared / "geant4" / "em") for energy in (1.0, 5.0))
    assert 2.0 < low < high


def test_table() -> None:
    costs = {("Geant4", 0): [10.0, 100.0, 500.0], ("model", 100): [2.0, 2.0, 2.5]}
    text = shower_speed.markdown(costs, "e-")
    assert "| Geant4 |  | 10 | 100 | 500 |" in text and "| model | 100 | 2 (×5) | 2 (×50) | 2.5 (×200) |" in text
