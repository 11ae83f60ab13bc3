"""Particles that hit a calorimeter, and what turns them into deposits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import Binning
from fastsim.errors import OutOfDomain
from fastsim.event import Floats, Ints


@dataclass(frozen=True)
class Incidents:
    """N particles at the front face of a calorimeter.

    ``pdg_id`` (N,); ``energy`` (N,) kinetic, in GeV; ``theta`` (N,) in rad from the normal of the layers; ``phi`` (N,)
    in rad, the azimuth of the direction of flight.

    Raises:
        ValueError: if the arrays differ in length, or hold NaN, infinity or an energy that is not positive.
    """

    pdg_id: Ints
    energy: Floats
    theta: Floats
    phi: Floats

    def __post_init__(self) -> None:
        for name, kind in (("pdg_id", np.int64), ("energy", np.float64), ("theta", np.float64), ("phi", np.float64)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=kind))
        shapes = {getattr(self, name).shape for name in ("pdg_id", "energy", "theta", "phi")}
        if len(shapes) != 1 or self.pdg_id.ndim != 1:
            raise ValueError("pdg_id, energy, theta and phi must be arrays of one dimension and one length")
        if not all(np.isfinite(a).all() for a in (self.energy, self.theta, self.phi)):
            raise ValueError("an incident particle's energy or direction is NaN or infinite")
        if not (self.energy > 0).all():
            raise ValueError(f"an incident particle has a kinetic energy of {self.energy.min():g} GeV")

    @classmethod
    def perpendicular(cls, pdg_id: int, energy: Floats) -> Incidents:
        """Particles of one kind along the normal of the layers; ``energy`` (N,) in GeV."""
        energy = np.asarray(energy, dtype=np.float64)
        zeros = np.zeros(energy.shape)
        return cls(np.full(energy.shape, pdg_id), energy, zeros, zeros)

    def __len__(self) -> int:
        return len(self.energy)

    def __getitem__(self, rows: slice | NDArray[np.generic]) -> Incidents:
        """Those of a slice, a mask or an array of indices."""
        return Incidents(self.pdg_id[rows], self.energy[rows], self.theta[rows], self.phi[rows])


@dataclass(frozen=True)
class ShowerDomain:
    """The incident particles a source of showers is valid for.

    PDG ids, kinetic energies in [min_energy, max_energy] GeV, angles to the normal up to ``max_theta`` rad.
    """

    particles: frozenset[int]
    min_energy: float
    max_energy: float
    max_theta: float = 0.0

    def contains(self, incidents: Incidents) -> NDArray[np.bool_]:
        """Which particles lie inside, shape (N,)."""
        known = np.isin(incidents.pdg_id, sorted(self.particles))
        energetic = (incidents.energy >= self.min_energy) & (incidents.energy <= self.max_energy)
        return np.asarray(known & energetic & (incidents.theta <= self.max_theta))


@runtime_checkable
class ShowerSource(Protocol):
    """Anything that turns particles into calorimeter deposits: Geant4, a library of its showers, a trained model.

    ``sample`` gives the deposits of each particle in the voxels of ``binning(pdg_id)``, in MeV, float32 (N, voxels);
    the number of voxels is the same for all particles. Chunks are sampled in threads: a source keeps no state from one
    call to the next.
    """

    @property
    def name(self) -> str: ...

    @property
    def detector(self) -> str: ...

    @property
    def domain(self) -> ShowerDomain: ...

    def binning(self, pdg_id: int) -> Binning: ...

    def sample(self, incidents: Incidents, *, rng: np.random.Generator) -> NDArray[np.float32]: ...


class ShowerModel:
    """A :class:`ShowerSource` that was asked for by name, and is one itself; see :func:`fastsim.load_showers`.

    ``source`` is the generator, ``made`` what a file says about it: version and SHA-256 of a model, or of a library.
    """

    def __init__(self, source: ShowerSource, made: dict[str, str]) -> None:
        self.source = source
        self.made = made

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def detector(self) -> str:
        return self.source.detector

    @property
    def domain(self) -> ShowerDomain:
        """The particles that the model was trained and validated on."""
        return self.source.domain

    def binning(self, pdg_id: int) -> Binning:
        """The voxels of a particle's showers."""
        return self.source.binning(pdg_id)

    def sample(
        self, incidents: Incidents, *, seed: int = 0, rng: np.random.Generator | None = None
    ) -> NDArray[np.float32]:
        """Deposits of N particles in MeV, (N, voxels).

        Args:
            incidents: N particles within :attr:`domain`.
            seed: decides the result.
            rng: the source of randomness instead of a seed.

        Raises:
            OutOfDomain: naming a particle outside the domain.
        """
        outside = np.flatnonzero(~self.domain.contains(incidents))
        if len(outside):
            one = incidents[outside[:1]]
            raise OutOfDomain(
                f"{self.name} is not valid for particle {outside[0]}: {one.pdg_id[0]} of {one.energy[0]:g} GeV, theta "
                f"{one.theta[0]:g} rad; it takes {sorted(self.domain.particles)} of {self.domain.min_energy:g} to "
                f"{self.domain.max_energy:g} GeV, up to {self.domain.max_theta:g} rad"
            )
        return self.source.sample(incidents, rng=np.random.default_rng(seed) if rng is None else rng)
