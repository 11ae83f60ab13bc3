"""Sources of hadrons: the contract of what turns partons into hadrons, and the partons that it is valid for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from fastsim.errors import FastsimError, PipelineError
from fastsim.event import ParticleSet, Partons
from fastsim.sources.domains import QUARKS_AND_GLUONS, Domain
from fastsim.sources.source import RNG, Source, generator


class HadronSource(Source[Partons]):
    """A source of hadrons: Pythia, a library of its jets, a trained model.

    A subclass gives ``name``, ``domain`` and :meth:`draw`. One with a latent, named numbers that it draws from the
    parton before the hadrons, also sets ``has_latent`` and gives :meth:`draw_latent` and :meth:`draw_with_latent`.

    A set of hadrons is the hemisphere of a parton of the gun: it does not conserve four-momentum by itself,
    :mod:`fastsim.event.reconstruction` does that for whole events.

    >>> class Photons(HadronSource):
    ...     name, domain = "photons", Domain(QUARKS_AND_GLUONS, 1.0, 1000.0)
    ...     def draw(self, partons, rng):  # one photon with the parton's momentum
    ...         p4 = np.column_stack([np.linalg.norm(partons.p4[:, 1:], axis=1), partons.p4[:, 1:]])
    ...         return ParticleSet(np.arange(len(partons) + 1), np.full(len(partons), 22), p4)
    >>> Photons().sample(Partons.from_pt_eta_phi([1, 21], [50.0, 20.0], [0.0, 1.0], [0.0, 2.0]), rng=1).counts.tolist()
    [1, 1]
    """

    domain: Domain
    has_latent: ClassVar[bool] = False
    latent_columns: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Names of the columns of each array of the latent, which files keep beside it."""

    @abstractmethod
    def draw(self, partons: Partons, rng: np.random.Generator) -> ParticleSet:
        """Draw one set of final particles for each of N partons within the domain, in the frame of ``partons.p4``.

        All randomness comes from ``rng``. Users call :meth:`sample`, which checks the partons first.
        """

    def draw_latent(self, partons: Partons, rng: np.random.Generator) -> Any:
        """Draw the latents of N partons: arrays (N, ...) as attributes of one object."""
        raise self._no_latent()

    def draw_with_latent(self, partons: Partons, rng: np.random.Generator, latent: Any) -> tuple[ParticleSet, Any]:
        """Draw the final particles of N partons from latents; None draws these too. Return particles and latents."""
        raise self._no_latent()

    def sample(self, partons: Partons, *, rng: RNG = None, seed: int | None = None, latent: Any = None) -> ParticleSet:
        """Draw one set of final particles for each parton.

        Args:
            partons: N partons within the domain.
            rng: a seed, a Generator, or None for randomness that differs from call to call.
            seed: the name of ``rng`` in fastsim 0.1.
            latent: N latents to use, as :meth:`latent` gives them, changed or not; by default they are drawn too.

        Returns:
            N sets of particles, momenta in GeV, in the frame of ``partons.p4``.

        Raises:
            OutOfDomain: if a parton is outside the domain.
            FastsimError: if a latent is given to a source that has none.
        """
        if latent is not None:
            return self.sample_with_latent(partons, rng=rng, seed=seed, latent=latent)[0]
        self.refuse_outside(partons)
        return self._one_each(partons, self.draw(partons, generator(rng, seed)))

    def sample_with_latent(
        self, partons: Partons, *, rng: RNG = None, seed: int | None = None, latent: Any = None
    ) -> tuple[ParticleSet, Any]:
        """Draw as :meth:`sample` does, and return the sets with the latents that they were drawn from.

        Raises:
            OutOfDomain: if a parton is outside the domain.
            FastsimError: if the source has no latent, or the given latents are not one a parton.
        """
        if not self.has_latent:
            raise self._no_latent()
        self.refuse_outside(partons)
        if latent is not None and len(latent) != len(partons):
            raise FastsimError(f"{len(latent)} latents for {len(partons)} partons")
        particles, latent = self.draw_with_latent(partons, generator(rng, seed), latent)
        return self._one_each(partons, particles), latent

    def latent(self, partons: Partons, *, rng: RNG = None, seed: int | None = None) -> Any:
        """Draw the latents that :meth:`sample` would draw with the same ``rng``: named arrays (N, ...).

        Raises:
            OutOfDomain: if a parton is outside the domain.
            FastsimError: if the source has no latent.
        """
        if not self.has_latent:
            raise self._no_latent()
        self.refuse_outside(partons)
        return self.draw_latent(partons, generator(rng, seed))

    def _one_each(self, partons: Partons, particles: ParticleSet) -> ParticleSet:
        if len(particles) != len(partons):
            raise PipelineError(f"{self.name} was given {len(partons)} partons and returned {len(particles)} sets")
        return particles

    def _no_latent(self) -> FastsimError:
        return FastsimError(f"model {self.name!r} has no latent")


__all__ = ["QUARKS_AND_GLUONS", "Domain", "HadronSource"]
