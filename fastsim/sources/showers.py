"""Sources of calorimeter showers: the contract of what turns particles into deposits."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import Binning
from fastsim.detector.incidents import Incidents
from fastsim.errors import PipelineError
from fastsim.sources.domains import ShowerDomain
from fastsim.sources.source import RNG, Source, generator


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


__all__ = ["Incidents", "ShowerDomain", "ShowerSource"]
