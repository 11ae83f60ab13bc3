"""Sources of hadrons: the contract of what turns partons into hadrons, and the partons that it is valid for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastsim.errors import FastsimError, PipelineError
from fastsim.event import Floats, Ints, ParticleSet, Partons
from fastsim.event.species import PARTON_MASSES
from fastsim.sources.domains import QUARKS_AND_GLUONS, Domain
from fastsim.sources.source import RNG, Source, generator


@dataclass(frozen=True)
class PartonPairs:
    """N colour singlets at rest of two partons: a quark and an antiquark, or two gluons.

    Attributes:
        pdg_id: of the two partons, (N, 2).
        mass: of the singlets in GeV, (N,).
    """

    pdg_id: Ints
    mass: Floats

    def __len__(self) -> int:
        return len(self.mass)

    @property
    def momenta(self) -> Floats:
        """The momentum of each of the partons in GeV, (N,); 0 below their threshold."""
        ids = np.abs(self.pdg_id).reshape(-1, 2)
        m = np.array([PARTON_MASSES[int(i)] for i in ids.ravel()]).reshape(-1, 2)
        product = (self.mass**2 - m.sum(1) ** 2) * (self.mass**2 - (m[:, 0] - m[:, 1]) ** 2)
        return np.asarray(np.sqrt(np.maximum(product, 0.0)) / (2 * self.mass))


class HadronSource(Source[Partons]):
    """A source of hadrons: Pythia, a library of its jets, a trained model.

    A subclass gives ``name``, ``domain`` and :meth:`draw`; if its hadrons still decay, :meth:`decay`; if it draws
    the two hemispheres of a colour singlet together, ``has_pairs`` and :meth:`draw_pairs`. One with a latent, named
    numbers that it draws from the parton before the hadrons, also sets ``has_latent`` and gives :meth:`draw_latent`
    and :meth:`draw_with_latent`.

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
    has_pairs: ClassVar[bool] = False
    latent_columns: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Names of the columns of each array of the latent, which files keep beside it."""

    @abstractmethod
    def draw(self, partons: Partons, rng: np.random.Generator) -> ParticleSet:
        """Draw one set of hadrons for each of N partons within the domain, in the frame of ``partons.p4``.

        They are final particles, or hadrons that :meth:`decay` makes final.

        All randomness comes from ``rng``. Users call :meth:`sample`, which checks the partons first.
        """

    def decay(self, particles: ParticleSet, rng: np.random.Generator) -> ParticleSet:
        """Decay what :meth:`draw` gives, in any frame; a source that draws final particles returns them."""
        return particles

    def draw_pairs(self, pairs: PartonPairs, rng: np.random.Generator) -> ParticleSet:
        """Draw the hadrons of N singlets at rest, one set for each, the first parton along +z.

        Four-momentum is exact, and so are charge and the net number of quarks of each flavour.
        """
        raise PipelineError(f"{self.name} draws no colour singlets")

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
        numbers = generator(rng, seed)
        return self._one_each(partons, self.decay(self.draw(partons, numbers), numbers))

    def primary(self, partons: Partons, *, rng: RNG = None) -> ParticleSet:
        """Draw hadrons as :meth:`sample` does, but before those decay that the source lets decay: one set a parton.

        Raises:
            OutOfDomain: if a parton is outside the domain.
        """
        self.refuse_outside(partons)
        return self._one_each(partons, self.draw(partons, generator(rng)))

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
        numbers = generator(rng, seed)
        particles, latent = self.draw_with_latent(partons, numbers, latent)
        return self._one_each(partons, self.decay(particles, numbers)), latent

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


__all__ = ["QUARKS_AND_GLUONS", "Domain", "HadronSource", "PartonPairs"]
