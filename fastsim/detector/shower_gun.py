"""The shower gun: shoots one kind of particle at a detector, with energies and directions drawn chunk by chunk."""

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

Range = tuple[float, float]
"""Lowest and highest value."""


@dataclass(frozen=True)
class ShowerGun:
    """A gun that shoots one kind of particle at a detector.

    Attributes:
        detector: the target.
        particle: a name from ``fastsim.detector.detector.PARTICLES``.
        energy: lowest and highest kinetic energy in GeV, log-uniform between; equal for one energy.
        theta, phi: direction of flight in rad, lowest and highest, uniform between; or one number. theta = 0 is
            perpendicular to the layers.
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
    energy: Range
    theta: float | Range = 0.0
    phi: float | Range = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        self.detector.check(self.particle, *self.energy)
        (low, high), (first, last) = self.thetas, self.phis
        if not (0 <= low <= high < math.pi / 2 and math.isfinite(first) and math.isfinite(last) and first <= last):
            raise FastsimError(
                f"direction theta={_text(self.theta)}, phi={_text(self.phi)}: theta must be in [0, pi/2) rad, phi "
                "finite, and the lower one first"
            )
        if self.seed < 0:
            raise FastsimError(f"seed is {self.seed}, must not be negative")

    @property
    def thetas(self) -> Range:
        """Lowest and highest angle to the normal of the layers in rad."""
        return _range(self.theta)

    @property
    def phis(self) -> Range:
        """Lowest and highest azimuth of flight in rad."""
        return _range(self.phi)

    @property
    def perpendicular(self) -> bool:
        """Whether all particles fly along the normal of the layers."""
        return self.thetas[1] == 0

    def draw(self, chunk: int) -> tuple[NDArray[np.float64], list[int]]:
        """Draw the kinetic energies in GeV, and the seeds for Geant4, of the showers of chunk number ``chunk``."""
        energies, seeds, _ = self._drawn(chunk)
        return energies, seeds

    def directions(self, chunk: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Draw theta and phi in rad of the showers of chunk number ``chunk``, each (100,).

        They are drawn after the energies and seeds: these are the same for any range of directions.
        """
        rng = self._drawn(chunk)[2]
        theta, phi = (
            np.full(SHOWERS_PER_CHUNK, low) if low == high else rng.uniform(low, high, SHOWERS_PER_CHUNK)
            for low, high in (self.thetas, self.phis)
        )
        return theta, phi

    def _drawn(self, chunk: int) -> tuple[NDArray[np.float64], list[int], np.random.Generator]:
        """Draw energies and seeds of a chunk, and return the randomness as they leave it."""
        rng = chunk_rng(self.seed, chunk)
        low, high = self.energy
        energies = np.exp(rng.uniform(math.log(low), math.log(high), SHOWERS_PER_CHUNK)).clip(low, high)
        return energies, rng.integers(1, 2**62, SHOWERS_PER_CHUNK).tolist(), rng

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as plain values, as JSON holds them; a direction that is one number as that number."""
        values = {name: getattr(self, name) for name in ("particle", "energy", "theta", "phi", "seed")}
        for name, (low, high) in (("theta", self.thetas), ("phi", self.phis)):
            values[name] = low if low == high else [low, high]
        return {"detector": self.detector.as_dict(), **values}


def _range(value: float | Range) -> Range:
    return value if isinstance(value, tuple) else (value, value)


def _text(value: float | Range) -> str:
    low, high = _range(value)
    return f"{low:g}" if low == high else f"{low:g}:{high:g}"
