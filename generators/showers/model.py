"""A trained model of the showers in one detector: what all kinds of them share."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fastsim.detector.binning import Binning
from fastsim.detector.detector import PARTICLES, Detector, load_detector
from fastsim.detector.detector import available as shipped_detectors
from fastsim.detector.incidents import Incidents
from fastsim.errors import FastsimError, InvalidValue, WeightsError
from fastsim.event import Floats, Ints
from fastsim.sources.cards import ModelCard
from fastsim.sources.domains import ShowerDomain
from fastsim.sources.showers import ShowerSource
from generators.nn.devices import checked
from generators.nn.quantise import unpack
from generators.showers.cascade.grid import Deposits, Grid
from generators.showers.cascade.latent import COLUMNS, VISIBLE, Latent, latent_of
from generators.showers.cascade.network import Cascade
from generators.showers.cascade.tilt import Tilt, tilt_of

_NAMES = {pdg_id: name for name, (pdg_id, _) in PARTICLES.items()}


class Sampler(Protocol):
    """Draws showers of particles (N,) with kinetic energies in GeV: deposits (N, V) in MeV, latents (N, Z).

    A model that knows tilted particles is given their tilts (N, 2), see :mod:`generators.showers.cascade.tilt`.
    """

    def sample(self, pdg_id: Ints, energy: Floats, rng: np.random.Generator, tilt: Tilt | None = None) -> Deposits:
        """Draw deposits."""

    def latent(self, pdg_id: Ints, energy: Floats, rng: np.random.Generator, tilt: Tilt | None = None) -> Latent:
        """Draw latents."""

    def sample_given(
        self, pdg_id: Ints, energy: Floats, z: Latent, rng: np.random.Generator, tilt: Tilt | None = None
    ) -> Deposits:
        """Draw deposits given latents."""


class ShowerModel(ShowerSource):
    """P(deposits | particle) of one detector: a cascade, or the first stages of one with what follows them.

    A subclass gives ``kind``, ``keys``, ``network``, ``cascade``, :attr:`sampler` and :meth:`tensors`. Samples follow
    every change of weights that torch counts (see :class:`generators.nn.derived.Derived`).

    Args:
        name: of the model.
        detector: whose voxels it fills.
        domain: what it was trained on.
        config: ``particles`` (PDG ids) that the networks know, ``like``, particles that are drawn as one of those, by
            names ({"e+": "e-"}), and the ``keys`` of the kind.
    """

    keys: ClassVar[Collection[str]]
    """Keys of a config beside those that all kinds have."""
    devices: ClassVar[Collection[str]] = ("cpu",)
    """Kinds of devices that it runs on."""
    load_options: ClassVar[frozenset[str]] = frozenset()
    """Keyword arguments of :meth:`from_card` beside ``device``."""
    geometry: Detector
    network: nn.Module
    """All weights."""
    cascade: Cascade
    """The stages that draw the visible energy and the latent."""

    def __init__(self, name: str, detector: Detector, domain: ShowerDomain, config: Mapping[str, Any]) -> None:
        known = {"detector", "geometry", "particles", "like", *self.keys}
        if unknown := sorted(set(config) - known):
            raise ValueError(f"unknown key {unknown[0]!r}: a {self.kind} takes {', '.join(sorted(known))}")
        self.name, self.detector, self.domain = name, detector.name, domain
        self.particles = tuple(int(i) for i in config["particles"])
        self._like = _likenesses(config.get("like", {}), self.particles)
        if {*self.particles, *self._like} != domain.particles:
            raise ValueError(f"particles {(*self.particles, *self._like)} are not those of the domain")
        self.geometry, self._settings, self._device = detector, dict(config), "cpu"

    @property
    @abstractmethod
    def sampler(self) -> Sampler:
        """What draws showers with the weights as they are."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return the weights to save."""

    @classmethod
    def build(
        cls,
        name: str,
        detector: Detector,
        particles: Sequence[int],
        energy: tuple[float, float],
        config: Mapping[str, Any],
        max_theta: float = 0.0,
    ) -> Self:
        """Make an untrained model of a detector, for particles (PDG ids) and a range of kinetic energies in GeV.

        ``max_theta`` is the largest angle to the normal of the layers in rad.
        """
        alike = _likenesses(config.get("like", {}), particles)
        domain = ShowerDomain(frozenset((*particles, *alike)), float(energy[0]), float(energy[1]), max_theta)
        settings = {"detector": detector.name, "particles": list(particles), **config}
        if detector.name not in shipped_detectors():
            settings["geometry"] = json.loads(json.dumps(detector.as_dict()))
        return cls(name, detector, domain, settings)

    @classmethod
    def from_card(cls, card: ModelCard, weights: Path, *, device: str = "cpu", **options: Any) -> Self:
        """Make the model of a card and its verified weights file.

        Args:
            card: of the model.
            weights: its file.
            device: that the networks run on.
            options: of :attr:`load_options`.

        Raises:
            FastsimError: if the model does not run on the device, or an option is refused.
            WeightsError: if config and weights do not fit each other.
        """
        from safetensors.torch import load_file

        device = checked(device, cls.devices, card.name)
        assert isinstance(card.domain, ShowerDomain)
        try:
            geometry = card.config.get("geometry")
            detector = load_detector(card.config["detector"]) if geometry is None else Detector.from_dict(geometry)
            model = cls(card.name, detector, card.domain, {**card.config, **options})
            model.network.load_state_dict({k: v.float() for k, v in unpack(load_file(weights)).items()})
        except FastsimError:
            raise
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            line = " ".join(str(error).split())
            raise WeightsError(f"{weights}: weights and card of {card.name} do not fit: {line[:200]}") from error
        model.network.eval()
        model._device = device
        model.card, model.sha256 = card, card.sha256
        return model

    @property
    def grid(self) -> Grid:
        """The layers, rings and sectors of the voxels."""
        return self.cascade.grid

    def _grid(self) -> Grid:
        return Grid.of(self.binning(self.particles[0]))

    def binning(self, pdg_id: int) -> Binning:
        """Return the voxels for a particle of the domain."""
        binning = self.geometry.binning(_NAMES[pdg_id])
        if binning is None:
            raise FastsimError(f"detector {self.detector}: its cells lie in (x, y); a {self.kind} needs (r, alpha)")
        return binning

    def draw(self, incidents: Incidents, rng: np.random.Generator) -> NDArray[np.float32]:
        if len(incidents) == 0:
            return np.zeros((0, self.grid.num_voxels), np.float32)
        return self.sampler.sample(self._known(incidents.pdg_id), incidents.energy, rng, self._tilt(incidents))

    def draw_latent(self, incidents: Incidents, rng: np.random.Generator) -> NDArray[np.float32]:
        if len(incidents) == 0:
            return np.zeros((0, len(COLUMNS)), np.float32)
        return self.sampler.latent(self._known(incidents.pdg_id), incidents.energy, rng, self._tilt(incidents))

    def draw_given(self, incidents: Incidents, latent: NDArray[np.float32], rng: np.random.Generator) -> Deposits:
        if len(incidents) == 0:
            return self.draw(incidents, rng)
        most, visible = self.cascade.available(incidents.pdg_id, incidents.energy), latent[:, VISIBLE]
        wrong = ~((visible >= 0) & (visible <= most))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InvalidValue(
                f"latent {row}: a visible energy of {visible[row]:g} MeV, but its particle can deposit 0 to "
                f"{most[row]:g} MeV"
            )
        known, tilt = self._known(incidents.pdg_id), self._tilt(incidents)
        return self.sampler.sample_given(known, incidents.energy, latent, rng, tilt)

    def _tilt(self, incidents: Incidents) -> Tilt | None:
        """Return the tilts (N, 2) of particles; None if the model knows none."""
        return tilt_of(incidents.theta, incidents.phi) if self.cascade.tilted else None

    def _known(self, pdg_id: Ints) -> Ints:
        """Return PDG ids (N,) with those that the networks know in place of others that are drawn like them."""
        known = pdg_id.copy()
        for particle, other in self._like.items():
            known[pdg_id == particle] = other
        return known

    def latent_of(self, voxels: Deposits) -> NDArray[np.float32]:
        """Compute the latents (N, Z) of any showers in these voxels, deposits (N, V) in MeV: Geant4's, for example."""
        return latent_of(self.grid, self.grid.heaps(voxels))

    def save(self, folder: Path, *, version: str, training: dict[str, Any]) -> Path:
        """Write card and weights under the model's name; the card's figures are filled by validation."""
        from fastsim.sources import cards

        json.dumps(training)  # a card holds JSON values only
        card = ModelCard(self.name, self.kind, version, self._settings, self.domain, training)
        return cards.save(card, self.tensors(), folder)


def _likenesses(like: Mapping[str, str], particles: Collection[int]) -> dict[int, int]:
    """Return the PDG ids of particles that are drawn as others, and of those, from their names.

    Raises:
        ValueError: if it is no object of names, a name is unknown, a particle is known itself, or the other is not.
    """
    if not isinstance(like, Mapping) or not all(isinstance(name, str) for name in like.values()):
        raise ValueError(f'like: {like!r}; give names of particles, such as {{"e+": "e-"}}')
    if unknown := sorted({*like, *like.values()} - set(PARTICLES)):
        raise ValueError(f"like: {unknown[0]!r} is none of {', '.join(PARTICLES)}")
    result = {PARTICLES[name][0]: PARTICLES[other][0] for name, other in like.items()}
    for particle, other in result.items():
        if particle in particles or other not in particles:
            raise ValueError(f"like: {_NAMES[particle]} as {_NAMES[other]}: known are {[_NAMES[i] for i in particles]}")
    return result
