"""Sources of hadrons: the contract of what turns partons into hadrons, and the partons that it is valid for."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError, PipelineError
from fastsim.event import Floats, Ints, ParticleSet, Partons, Ragged, kinematics
from fastsim.event.species import PARTON_MASSES
from fastsim.sources.domains import QUARKS_AND_GLUONS, Domain
from fastsim.sources.source import RNG, Source, generator

TAU0_MAX = 10.0
"""Mean proper lifetime times c in mm beyond which particles are stable, where nothing else is said."""


@dataclass(frozen=True)
class PartonPairs:
    """N colour singlets at rest of two partons: a quark and an antiquark, or two gluons.

    Attributes:
        pdg_id: of the two partons, (N, 2).
        mass: of the singlets in GeV, (N,).
        scale: where their showers start at most, in GeV, (N,); None, or more than the momenta, stands for the momenta.
    """

    pdg_id: Ints
    mass: Floats
    scale: Floats | None = None

    def __len__(self) -> int:
        return len(self.mass)

    def __getitem__(self, rows: NDArray[Any]) -> PartonPairs:
        """Return the pairs of a mask or an array of indices."""
        return PartonPairs(self.pdg_id[rows], self.mass[rows], None if self.scale is None else self.scale[rows])

    @property
    def starting_scale(self) -> Floats:
        """Where the showers start, in GeV, (N,)."""
        return self.momenta if self.scale is None else np.minimum(self.scale, self.momenta)

    def partons(self, side: int) -> Partons:
        """Return one parton of each pair, as a gun would shoot it: what a domain is asked about.

        Args:
            side: 0 for the first, 1 for the second.
        """
        size = np.maximum(self.momenta, np.finfo(float).tiny)  # direction and scale need some
        m = np.array([PARTON_MASSES[abs(int(i))] for i in self.pdg_id[:, side]])
        zero = np.zeros(len(self))
        p4 = np.stack([np.hypot(size, m), size, zero, zero], axis=-1)
        return Partons(self.pdg_id[:, side], p4, np.minimum(self.scale, size) if self.scale is not None else None)

    @property
    def momenta(self) -> Floats:
        """The momentum of each of the partons in GeV, (N,); 0 below their threshold."""
        ids = np.abs(self.pdg_id).reshape(-1, 2)
        m = np.array([PARTON_MASSES[int(i)] for i in ids.ravel()]).reshape(-1, 2)
        product = (self.mass**2 - m.sum(1) ** 2) * (self.mass**2 - (m[:, 0] - m[:, 1]) ** 2)
        return np.asarray(np.sqrt(np.maximum(product, 0.0)) / (2 * self.mass))


@dataclass(frozen=True)
class ColourChains(Ragged):
    """N colour singlets of two or more partons, M in all, each in its rest frame.

    The partons of a chain follow its colour lines: from a quark over gluons to an antiquark; a chain that begins with
    a gluon is a loop of gluons.

    Attributes:
        offsets: chain i has the partons ``offsets[i]:offsets[i+1]``, (N+1,).
        pdg_id: of the partons, (M,).
        p4: four-momenta in GeV, (M, 4).
        scale: where their showers start, in GeV, (N,).
    """

    offsets: Ints
    pdg_id: Ints
    p4: Floats
    scale: Floats

    _item_columns: ClassVar[tuple[str, ...]] = ("pdg_id", "p4")
    _row_columns: ClassVar[tuple[str, ...]] = ("scale",)
    _items: ClassVar[str] = "partons"

    def __post_init__(self) -> None:
        self._check()

    @property
    def mass(self) -> Floats:
        """Invariant masses in GeV, (N,)."""
        return kinematics.mass(np.add.reduceat(self.p4, self.offsets[:-1], axis=0) if len(self) else np.zeros((0, 4)))


class HadronSource(Source[Partons]):
    """A source of hadrons: Pythia, a library of its jets, a trained model.

    A subclass gives ``name``, ``domain`` and :meth:`draw`; if its hadrons still decay, ``has_history`` and
    :meth:`decay`; if it draws the two hemispheres of a colour singlet together, ``has_pairs`` and :meth:`draw_pairs`;
    if it draws singlets of any number of partons, ``has_chains`` and :meth:`draw_chains`; if the scale at which a
    parton's shower starts makes a difference, ``has_scale``. One with a latent, named numbers that it draws from the
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
    has_pairs: ClassVar[bool] = False
    has_chains: ClassVar[bool] = False
    has_scale: ClassVar[bool] = False
    has_history: ClassVar[bool] = False
    tau0_max: float = TAU0_MAX
    """Mean proper lifetime times c in mm beyond which hadrons do not decay."""
    tune: Any = None
    """Where a source that knows tunes stands (:class:`generators.hadrons.tunes.Tune`); None for others."""
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

    def takes(self, pairs: PartonPairs) -> NDArray[np.bool_]:
        """Return which of N singlets :meth:`draw_pairs` is valid for: by default those with both partons inside."""
        return self.domain.contains(pairs.partons(0)) & self.domain.contains(pairs.partons(1))

    def draw_pairs(self, pairs: PartonPairs, rng: np.random.Generator) -> ParticleSet:
        """Draw the hadrons of N singlets at rest, one set for each, the first parton along +z.

        Four-momentum is exact, and so are charge and the net number of quarks of each flavour.
        """
        raise PipelineError(f"{self.name} draws no colour singlets")

    def draw_chains(self, chains: ColourChains, rng: np.random.Generator) -> ParticleSet:
        """Draw the hadrons of N singlets, one set for each, in the frames of their partons.

        Four-momentum is exact, and so are charge and the net number of quarks of each flavour.

        Raises:
            LightSinglet: if a singlet is too light for hadrons of its flavours.
        """
        raise PipelineError(f"{self.name} draws no colour singlets")

    def log_likelihood(
        self, partons: Partons, particles: ParticleSet, *, numbers: Ints | None = None, whole_events: bool = False
    ) -> Floats:
        """Compute the log-density of the hadrons of N partons, (N,), if the source has one.

        Args:
            partons: the partons, within the domain.
            particles: one set of particles for each, with the history that says which are primary.
            numbers: how messages call the sets, (N,); by default from 0.
            whole_events: whether the sets are events, of which the hemisphere of the parton is meant.

        Raises:
            FastsimError: if the source has no likelihood.
            InvalidEvent: if the record lacks what it needs.
        """
        raise FastsimError(f"model {self.name!r} has no likelihood; hadron-tree has one")

    def with_tau0_max(self, tau0_max: float) -> Self:
        """Return the source with another limit of lifetimes: particles above it, in mm, are stable.

        Raises:
            FastsimError: if the limit is no length, or the source makes final particles of the default limit only.
        """
        if not tau0_max >= 0:
            raise FastsimError(f"tau0_max is {tau0_max}: give a length in mm that is not negative")
        if tau0_max == self.tau0_max:
            return self
        if not self.has_history:
            raise FastsimError(
                f"tau0_max is {tau0_max:g} mm: particles of {self.name} are stable from {self.tau0_max:g} mm on; "
                "other limits need a source of primary hadrons (hadron-tree, pythia)"
            )
        changed = copy.copy(self)
        changed.tau0_max = float(tau0_max)
        return changed

    def at(self, tune: Any) -> Self:
        """Return the source at another tune of Pythia's parameters, if it knows tunes.

        Args:
            tune: a text such as ``"aLund=0.5 alphaS=0.13"``, values by name, or None for the Monash tune.

        Raises:
            FastsimError: if the source knows none, or not this one.
        """
        raise FastsimError(
            f"model {self.name!r} is of one tune, that of its data: hadron-tree-tunes and pythia take others"
        )

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


__all__ = ["QUARKS_AND_GLUONS", "TAU0_MAX", "ColourChains", "Domain", "HadronSource", "PartonPairs"]
