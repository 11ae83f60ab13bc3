"""Sources of calorimeter showers: the contract of what turns particles into deposits, and the particles themselves."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import Binning
from fastsim.detector.detector import PARTICLES
from fastsim.errors import PipelineError
from fastsim.event import Floats, Ints
from fastsim.sources.source import RNG, Source, generator

_NAMES = {pdg_id: name for name, (pdg_id, _) in PARTICLES.items()}


@dataclass(frozen=True)
class Incidents:
    """N particles at the front face of a calorimeter.

    ``pdg_id`` (N,); ``energy`` (N,) kinetic, in GeV; ``theta`` (N,) in rad from the normal of the layers; ``phi`` (N,)
    in rad, the azimuth of the direction of flight.

    Raises:
        ValueError: if the arrays differ in length, or hold NaN, infinity or an energy that is not positive.

    >>> incidents = Incidents.perpendicular(22, [1.0, 10.0, 200.0])
    >>> len(incidents), incidents[1:].energy.tolist()
    (3, [10.0, 200.0])
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
        """Return N particles of one kind along the normal of the layers; ``energy`` (N,) kinetic, in GeV."""
        energy = np.asarray(energy, dtype=np.float64)
        zeros = np.zeros(energy.shape)
        return cls(np.full(energy.shape, pdg_id), energy, zeros, zeros)

    def __len__(self) -> int:
        return len(self.energy)

    def __getitem__(self, rows: slice | NDArray[np.generic]) -> Incidents:
        """Return the particles of a slice, a mask or an array of indices."""
        return Incidents(self.pdg_id[rows], self.energy[rows], self.theta[rows], self.phi[rows])


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


class ShowerSource(Source[Incidents]):
    """A source of calorimeter showers: Geant4, a library of its showers, a trained model.

    A subclass gives ``name``, ``domain``, ``detector``, :meth:`binning` and :meth:`draw`.

    Attributes:
        detector: name of the detector that the showers are in.

    >>> from fastsim.detector.binning import Layer
    >>> class OneVoxel(ShowerSource):
    ...     name, detector, domain = "one-voxel", "toy", ShowerDomain(frozenset({22}), 1.0, 100.0)
    ...     def binning(self, pdg_id):
    ...         return Binning("gamma", 22, (Layer(0, (0.0, 100.0), 1),))
    ...     def draw(self, incidents, rng):  # a fluctuating fraction of the energy
    ...         return (rng.uniform(20.0, 30.0, len(incidents)) * incidents.energy).reshape(-1, 1).astype(np.float32)
    >>> OneVoxel().sample(Incidents.perpendicular(22, [1.0, 10.0]), rng=1).shape
    (2, 1)
    """

    domain: ShowerDomain
    detector: str

    @abstractmethod
    def binning(self, pdg_id: int) -> Binning:
        """Return the voxels of the showers of a particle; their number is the same for all particles."""

    @abstractmethod
    def draw(self, incidents: Incidents, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw the deposits of N particles within the domain, in MeV, shape (N, voxels).

        All randomness comes from ``rng``. Users call :meth:`sample`, which checks the particles first.
        """

    def sample(self, incidents: Incidents, *, rng: RNG = None, seed: int | None = None) -> NDArray[np.float32]:
        """Draw the deposits of each particle in the voxels of :meth:`binning`.

        Args:
            incidents: N particles within the domain.
            rng: a seed, a Generator, or None for randomness that differs from call to call.
            seed: the name of ``rng`` in fastsim 0.1.

        Returns:
            Deposits in MeV, shape (N, voxels).

        Raises:
            OutOfDomain: naming a particle outside the domain.
        """
        self.refuse_outside(incidents)
        showers = self.draw(incidents, generator(rng, seed))
        if len(showers) != len(incidents):
            raise PipelineError(f"{self.name} was given {len(incidents)} particles and returned {len(showers)} showers")
        return showers
