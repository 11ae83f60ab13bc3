"""Steps, sources of hadrons, and pipelines of Steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Partons
from fastsim.kinematics import pt


@dataclass(frozen=True)
class Domain:
    """The partons a source of hadrons is valid for: PDG ids, and pT in [pt_min, pt_max] GeV."""

    flavours: frozenset[int]
    pt_min: float
    pt_max: float

    def contains(self, partons: Partons) -> NDArray[np.bool_]:
        """Which partons lie inside, shape (N,)."""
        transverse = pt(partons.p4)
        known = np.isin(partons.pdg_id, sorted(self.flavours))
        return np.asarray(known & (transverse >= self.pt_min) & (transverse <= self.pt_max))
