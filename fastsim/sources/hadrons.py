"""What turns partons into hadrons: the contract of its sources, and the partons that they are valid for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fastsim.event import ParticleSet, Partons
from fastsim.event.kinematics import pt


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


@runtime_checkable
class HadronSource(Protocol):
    """Anything that turns partons into hadrons: Pythia, a library of its jets, a trained model.

    ``sample`` gives one set of final particles for each parton, in the frame of ``partons.p4``. A set is a
    gun hemisphere: it does not conserve momentum by itself, :mod:`fastsim.event.reconstruction` does that. Chunks
    of events are sampled in threads: a source keeps no state from one call to the next.
    """

    @property
    def name(self) -> str: ...

    @property
    def domain(self) -> Domain: ...

    def sample(self, partons: Partons, *, rng: np.random.Generator) -> ParticleSet: ...
