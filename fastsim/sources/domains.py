"""What sources are valid for: partons of a source of hadrons, particles of a source of showers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.detector import PARTICLES
from fastsim.detector.incidents import Incidents
from fastsim.event import Partons
from fastsim.event.kinematics import pt

_NAMES = {pdg_id: name for name, (pdg_id, _) in PARTICLES.items()}

QUARKS_AND_GLUONS = frozenset({1, 2, 3, 4, 5, -1, -2, -3, -4, -5, 21})
"""PDG ids of the partons that hadronise before they decay."""

ROUNDING = 1e-9
"""Relative distance from a limit within which a pT is at it: what px and py lose when they are computed or printed."""


@dataclass(frozen=True)
class Domain:
    """The partons that a source of hadrons is valid for: PDG ids, and pT in [pt_min, pt_max] GeV.

    Showers that start below pT are inside from ``scale_min`` (GeV) and from ``ratio_min`` times pT on.

    >>> domain = Domain(frozenset({21, 1, -1}), 20.0, 2000.0)
    >>> print(domain)
    partons -1, 1, 21 with pT 20-2000 GeV
    >>> domain.contains(Partons.from_pt_eta_phi([21, 5, 1], [30.0, 30.0, 10.0], [0.0] * 3, [0.0] * 3)).tolist()
    [True, False, False]
    """

    flavours: frozenset[int]
    pt_min: float
    pt_max: float
    scale_min: float = 0.0
    ratio_min: float = 0.0

    def contains(self, partons: Partons) -> NDArray[np.bool_]:
        """Return which partons lie inside, shape (N,); those at a limit do, whatever the rounding of their pT."""
        transverse = pt(partons.p4)
        known = np.isin(partons.pdg_id, sorted(self.flavours))
        low, high = self.pt_min * (1 - ROUNDING), self.pt_max * (1 + ROUNDING)
        inside = known & (transverse >= low) & (transverse <= high)
        if partons.scale is not None:
            scale, least = partons.starting_scale, np.maximum(self.scale_min, self.ratio_min * transverse)
            inside &= scale >= np.minimum(least, transverse) * (1 - ROUNDING)
        return np.asarray(inside)

    def describe(self, partons: Partons, row: int) -> str:
        """Return a phrase that names one of the partons."""
        one = partons[row : row + 1]
        transverse, scale = float(one.pt[0]), float(one.starting_scale[0])
        start = f", shower from {scale:.4g} GeV" if scale < transverse * (1 - ROUNDING) else ""
        return f"parton {row} (PDG id {partons.pdg_id[row]}, pT = {transverse:.4g} GeV{start})"

    def __str__(self) -> str:
        every = self.flavours == QUARKS_AND_GLUONS
        partons = "quarks and gluons" if every else f"partons {', '.join(map(str, sorted(self.flavours)))}"
        text = f"{partons} with pT {self.pt_min:g}-{self.pt_max:g} GeV"
        if self.scale_min or self.ratio_min:
            text += f", showers from {self.scale_min:g} GeV and {self.ratio_min:g} pT on"
        return text


@dataclass(frozen=True)
class ShowerDomain:
    """The particles that a source of showers is valid for.

    Attributes:
        particles: PDG ids.
        min_energy, max_energy: lowest and highest kinetic energy in GeV.
        max_theta: largest angle to the normal of the layers in rad.

    >>> domain = ShowerDomain(frozenset({22}), 1.0, 100.0)
    >>> print(domain)
    gamma of 1 to 100 GeV, theta up to 0 rad
    >>> domain.contains(Incidents.perpendicular(22, [1.0, 10.0, 200.0])).tolist()
    [True, True, False]
    """

    particles: frozenset[int]
    min_energy: float
    max_energy: float
    max_theta: float = 0.0

    def contains(self, incidents: Incidents) -> NDArray[np.bool_]:
        """Return which particles lie inside, shape (N,)."""
        known = np.isin(incidents.pdg_id, sorted(self.particles))
        energetic = (incidents.energy >= self.min_energy) & (incidents.energy <= self.max_energy)
        return np.asarray(known & energetic & (incidents.theta <= self.max_theta))

    def describe(self, incidents: Incidents, row: int) -> str:
        """Return a phrase that names one of the particles."""
        pdg_id, energy, theta = (getattr(incidents, name)[row] for name in ("pdg_id", "energy", "theta"))
        name = _NAMES.get(int(pdg_id), f"PDG id {pdg_id}")
        return f"particle {row} ({name}, {energy:.4g} GeV, theta {theta:.3g} rad)"

    def __str__(self) -> str:
        names = ", ".join(_NAMES.get(i, str(i)) for i in sorted(self.particles))
        return f"{names} of {self.min_energy:g} to {self.max_energy:g} GeV, theta up to {self.max_theta:g} rad"
