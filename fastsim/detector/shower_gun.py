"""The shower gun: shoots one kind of particle at a detector, with energies drawn chunk by chunk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.detector import Detector
from fastsim.errors import FastsimError
from fastsim.event.rng import chunk_rng

SHOWERS_PER_CHUNK = 100
"""Showers that are computed, kept and seeded together."""


@dataclass(frozen=True)
class ShowerGun:
    """A gun that shoots one kind of particle at a detector.

    Attributes:
        detector: the target.
        particle: a name from ``fastsim.detector.detector.PARTICLES``.
        energy: lowest and highest kinetic energy in GeV, log-uniform between; equal for one energy.
        theta, phi: direction of flight in rad; theta = 0 is perpendicular to the layers.
        seed: seed of the run.

    Raises:
        FastsimError: if the detector is not meant for this, or a value is out of range.

    >>> from fastsim.detector.detector import load_detector
    >>> energies, seeds = ShowerGun(load_detector("copper"), "pi-", (1.0, 100.0), seed=1).draw(0)
    >>> len(energies), len(seeds), bool((energies >= 1.0).all())
    (100, 100, True)
    """

    detector: Detector
    particle: str
    energy: tuple[float, float]
    theta: float = 0.0
    phi: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        self.detector.check(self.particle, *self.energy)
        if not (0 <= self.theta < math.pi / 2 and math.isfinite(self.phi)):
            raise FastsimError(f"direction theta={self.theta:g}, phi={self.phi:g}: theta must be in [0, pi/2) rad")
        if self.seed < 0:
            raise FastsimError(f"seed is {self.seed}, must not be negative")

    def draw(self, chunk: int) -> tuple[NDArray[np.float64], list[int]]:
        """Draw the kinetic energies in GeV, and the seeds for Geant4, of the showers of chunk number ``chunk``."""
        rng = chunk_rng(self.seed, chunk)
        low, high = self.energy
        energies = np.exp(rng.uniform(math.log(low), math.log(high), SHOWERS_PER_CHUNK)).clip(low, high)
        return energies, rng.integers(1, 2**62, SHOWERS_PER_CHUNK).tolist()

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as plain values, as JSON holds them."""
        values = {name: getattr(self, name) for name in ("particle", "energy", "theta", "phi", "seed")}
        return {"detector": self.detector.as_dict(), **values}
