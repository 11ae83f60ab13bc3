"""What Pythia's particle data say of hadrons and leptons: masses, widths, lifetimes, decay channels.

References:
    Bierlich et al., A comprehensive guide to the physics and usage of PYTHIA 8.3, 2022, arXiv:2203.11601.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from fastsim.errors import FastsimError
from fastsim.event import Floats
from fastsim.startup import starting

FIXED_RATIOS = frozenset({113, 213, 225})
"""Species with a width that depends on the mass, for which Pythia 8.317 nevertheless takes fixed branching ratios."""
_NUM_MASSES = 197
"""Masses of the tables of branching ratios: the 50 that Pythia tabulates widths at, and three between each two."""
_EXCITED = 10_000
"""PDG ids from here on are excited states that strings do not make by default."""


@dataclass(frozen=True)
class Channel:
    """One decay channel: branching ratio, Pythia's code of the matrix element, and the PDG ids of the products."""

    ratio: float
    matrix_element: int
    products: tuple[int, ...]


@dataclass(frozen=True)
class Species:
    """One species of hadron or lepton.

    Attributes:
        pdg_id: PDG id; antiparticles are species of their own.
        mass: nominal mass in GeV.
        width: of the Breit-Wigner line shape in GeV; 0 where Pythia takes the nominal mass.
        mass_range: least and greatest mass in GeV of a broad species.
        threshold: mean over the channels of the sum of the products' nominal masses, in GeV.
        tau0: mean proper lifetime times c, in mm.
        charge: in units of e.
        baryon_number: 1 for baryons, -1 for antibaryons.
        may_decay: whether it decays if lifetimes are not limited.
        channels: the decay channels.
        varies: whether branching ratios depend on the mass.
        ratios: these, at masses spread evenly over ``mass_range``, (masses, channels), for ground states.
    """

    pdg_id: int
    mass: float
    width: float
    mass_range: tuple[float, float]
    threshold: float
    tau0: float
    charge: float
    baryon_number: int
    may_decay: bool
    channels: tuple[Channel, ...]
    varies: bool
    ratios: Floats | None


@lru_cache(maxsize=1)
@starting()
def particle_data() -> dict[int, Species]:
    """Return all hadrons and leptons that Pythia knows and that are no beyond-standard-model states, by PDG id.

    Raises:
        FastsimError: if Pythia does not start.
    """
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    pythia.readString("Print:quiet = on")
    pythia.readString("ProcessLevel:all = off")
    if not pythia.init():
        raise FastsimError("Pythia did not start: its particle data cannot be read")
    data = pythia.particleData
    known: dict[int, Species] = {}
    pdg_id = data.nextId(1)
    while pdg_id > 0:
        entry = data.findParticle(pdg_id)
        if entry.isHadron() or (entry.isLepton() and pdg_id <= 16):
            for sign in (1, -1) if entry.hasAnti() else (1,):
                known[sign * pdg_id] = _species(entry, sign, data.hasAnti, data.m0, pythia.hadronWidths)
        pdg_id = data.nextId(pdg_id)
    return known


def _species(
    entry: Any, sign: int, has_anti: Callable[[int], bool], mass: Callable[[int], float], widths: Any
) -> Species:
    """Return a particle (sign 1) or its antiparticle (-1) of an entry of Pythia's particle data."""
    found = [entry.channel(k) for k in range(entry.sizeChannels())]
    found = [c for c in found if c.onMode() in (1, 2 if sign > 0 else 3) and c.bRatio() > 0]
    products = [tuple(int(c.product(j)) for j in range(c.multiplicity())) for c in found]
    sums = [sum(mass(p) for p in product) for product in products]
    threshold = float(np.average(sums, weights=[c.bRatio() for c in found])) if found else 0.0
    broad = entry.useBreitWigner() and entry.mWidth() > 1e-6 and threshold + 1e-6 <= entry.m0()
    bounds = (float(entry.mMin()), float(entry.mMax()))
    varies = bool(entry.varWidth()) and entry.id() not in FIXED_RATIOS
    ratios = None
    if varies and entry.id() < _EXCITED and all(len(product) == 2 for product in products):
        grid = np.linspace(*bounds, _NUM_MASSES)
        ratios = np.array([[widths.br(entry.id(), *product, float(m)) for product in products] for m in grid])
    return Species(
        pdg_id=sign * entry.id(),
        mass=float(entry.m0()),
        width=float(entry.mWidth()) if broad else 0.0,
        mass_range=bounds,
        threshold=threshold,
        tau0=float(entry.tau0()),
        charge=entry.chargeType(sign) / 3,
        baryon_number=entry.baryonNumberType(sign) // 3,
        may_decay=bool(entry.mayDecay() and entry.canDecay()),
        channels=tuple(
            Channel(float(c.bRatio()), int(c.meMode()), tuple(sign * p if has_anti(p) else p for p in product))
            for c, product in zip(found, products, strict=True)
        ),
        varies=varies,
        ratios=ratios,
    )
