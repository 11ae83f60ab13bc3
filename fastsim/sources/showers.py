"""Sources of calorimeter showers: the contract of what turns particles into deposits."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsim.detector.binning import Binning
from fastsim.detector.detector import Detector
from fastsim.detector.incidents import Incidents
from fastsim.errors import FastsimError, InvalidValue, PipelineError
from fastsim.sources.domains import ShowerDomain
from fastsim.sources.source import RNG, Source, generator


class ShowerSource(Source[Incidents]):
    """A source of calorimeter showers: Geant4, a library of its showers, a trained model.

    A subclass gives ``name``, ``domain``, ``detector``, :meth:`binning` and :meth:`draw`. One with a latent, named
    numbers that it draws from the particle before the deposits, also gives ``latent_columns``, :meth:`draw_latent` and
    :meth:`draw_given`.

    Attributes:
        detector: name of the detector that the showers are in.
        geometry: the detector itself; None for the one that ships under that name.
        latent_columns: names of the columns of the latent; none without a latent.

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
    geometry: Detector | None = None
    latent_columns: tuple[str, ...] = ()

    @abstractmethod
    def binning(self, pdg_id: int) -> Binning:
        """Return the voxels of the showers of a particle; their number is the same for all particles."""

    @abstractmethod
    def draw(self, incidents: Incidents, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw the deposits of N particles within the domain, in MeV, shape (N, voxels).

        All randomness comes from ``rng``. Users call :meth:`sample`, which checks the particles first.
        """

    def draw_latent(self, incidents: Incidents, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw the latents of N particles, (N, Z)."""
        raise self._no_latent()

    def draw_given(
        self, incidents: Incidents, latent: NDArray[np.float32], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Draw the deposits of N particles from their latents (N, Z), in MeV, shape (N, voxels)."""
        raise self._no_latent()

    @property
    def has_latent(self) -> bool:
        """Whether the source draws a latent first."""
        return bool(self.latent_columns)

    def sample(
        self, incidents: Incidents, *, rng: RNG = None, seed: int | None = None, latent: ArrayLike | None = None
    ) -> NDArray[np.float32]:
        """Draw the deposits of each particle in the voxels of :meth:`binning`.

        Args:
            incidents: N particles within the domain.
            rng: a seed, a Generator, or None for randomness that differs from call to call.
            seed: the name of ``rng`` in fastsim 0.1.
            latent: latents (N, Z) to use, as :meth:`latent` gives them, changed or not; by default they are drawn too.

        Returns:
            Deposits in MeV, shape (N, voxels).

        Raises:
            OutOfDomain: naming a particle outside the domain.
            FastsimError: if a latent is given to a source that has none.
            InvalidValue: if the latents are not Z finite numbers a particle.
        """
        if latent is not None:
            return self.sample_with_latent(incidents, rng=rng, seed=seed, latent=latent)[0]
        self.refuse_outside(incidents)
        return self._one_each(incidents, self.draw(incidents, generator(rng, seed)))

    def sample_with_latent(
        self, incidents: Incidents, *, rng: RNG = None, seed: int | None = None, latent: ArrayLike | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Draw as :meth:`sample` does, and return the deposits with the latents (N, Z) that they were drawn from.

        Raises:
            OutOfDomain: naming a particle outside the domain.
            FastsimError: if the source has no latent.
            InvalidValue: if the latents are not Z finite numbers a particle.
        """
        if not self.has_latent:
            raise self._no_latent()
        self.refuse_outside(incidents)
        numbers = generator(rng, seed)
        given = self.draw_latent(incidents, numbers) if latent is None else self._checked(incidents, latent)
        return self._one_each(incidents, self.draw_given(incidents, given, numbers)), given

    def latent(self, incidents: Incidents, *, rng: RNG = None) -> NDArray[np.float32]:
        """Draw the latents (N, Z) that :meth:`sample` would draw with the same ``rng``; columns ``latent_columns``.

        Raises:
            OutOfDomain: naming a particle outside the domain.
            FastsimError: if the source has no latent.
        """
        if not self.has_latent:
            raise self._no_latent()
        self.refuse_outside(incidents)
        return self.draw_latent(incidents, generator(rng))

    def _checked(self, incidents: Incidents, latent: ArrayLike) -> NDArray[np.float32]:
        given, shape = np.asarray(latent, dtype=np.float32), (len(incidents), len(self.latent_columns))
        if given.shape != shape:
            columns = ", ".join(self.latent_columns)
            raise InvalidValue(f"latent of shape {given.shape}, expected {shape}: one row a particle of {columns}")
        if not (finite := np.isfinite(given)).all():
            row, column = np.argwhere(~finite)[0]
            raise InvalidValue(f"latent {row}: {self.latent_columns[column]} is {given[row, column]}, must be finite")
        return given

    def _no_latent(self) -> FastsimError:
        return FastsimError(f"model {self.name!r} has no latent")

    def _one_each(self, incidents: Incidents, showers: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(showers) != len(incidents):
            raise PipelineError(f"{self.name} was given {len(incidents)} particles and returned {len(showers)} showers")
        return showers


__all__ = ["Incidents", "ShowerDomain", "ShowerSource"]
