"""Minimum-bias collisions of Pythia: inelastic ones, diffraction among them, which pile-up is drawn from.

References:
    Bierlich et al., A comprehensive guide to the physics and usage of PYTHIA 8.3, 2022, arXiv:2203.11601.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from fastsim.errors import FastsimError, OutOfDomain
from fastsim.event import HardEvents, RunInfo
from generators.reference.event_record import read_batch
from generators.reference.library_file import BLOCK

SETTINGS = (
    "Print:quiet = on",
    "SoftQCD:inelastic = on",
    "ParticleDecays:limitTau0 = on",
    "ParticleDecays:tau0Max = 10.0",
)


@dataclass(frozen=True)
class MinimumBiasCard:
    """What a library of minimum-bias collisions holds.

    Attributes:
        energy: centre-of-mass energy of the protons in GeV.
        num: number of collisions.
        seed: seed of all randomness.

    Raises:
        FastsimError: if a value is out of range.
    """

    energy: float = 13600.0
    num: int = 4000
    seed: int = 0

    in_threads = False

    def __post_init__(self) -> None:
        if not 200.0 <= self.energy <= 100_000.0:
            raise OutOfDomain(f"energy {self.energy:g} GeV: Pythia makes inelastic collisions of 200 GeV to 100 TeV")
        if self.num < 1 or self.seed < 0:
            raise FastsimError(f"num={self.num}, seed={self.seed}: at least one collision, and no negative seed")

    @property
    def run(self) -> RunInfo:
        """The beams, and what the file says about itself."""
        card = f"energy={self.energy:g} num={self.num}"
        facts = {"tool": "fastsim", "beams": card, "seed": str(self.seed), "pythia8mc": version("pythia8mc")}
        return RunInfo((2212, 2212), (0.5 * self.energy, 0.5 * self.energy), provenance=facts)

    def blocks(self) -> Iterator[int]:
        """Return the number of the first collision of each block."""
        return iter(range(0, self.num, BLOCK))


_instances: dict[float, Any] = {}


def make_block(card: MinimumBiasCard, first: int) -> HardEvents:
    """Make a block of collisions; those in which Pythia fails are made again."""
    pythia = _instances.setdefault(card.energy, None) or _start(card.energy)
    _instances[card.energy] = pythia
    size = min(BLOCK, card.num - first)
    state = np.random.SeedSequence([card.seed, first]).generate_state(1)[0]
    pythia.rndm.init(int(state % 900_000_000) + 1)
    parts: list[HardEvents] = []
    while (made := sum(map(len, parts))) < size:
        particles = read_batch(pythia.nextBatch(size - made))
        number = first + made + np.arange(len(particles))
        parts.append(HardEvents.of_particles(particles, np.ones((len(particles), 1)), number))
    return HardEvents.concatenate(parts)


def _start(energy: float) -> Any:
    """Return a Pythia of minimum-bias collisions.

    Raises:
        FastsimError: if it does not start.
    """
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    for line in (*SETTINGS, f"Beams:eCM = {energy!r}"):
        if not pythia.readString(line):
            raise FastsimError(f"Pythia refuses the setting {line!r}")
    if not pythia.init():
        raise FastsimError(f"Pythia does not start for inelastic collisions of {energy:g} GeV")
    return pythia
