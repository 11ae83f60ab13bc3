"""A trained cascade as a source of showers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fastsim.detector.binning import Binning
from fastsim.detector.detector import PARTICLES, Detector, load_detector
from fastsim.detector.detector import available as shipped_detectors
from fastsim.detector.incidents import Incidents
from fastsim.errors import FastsimError, InvalidValue, WeightsError
from fastsim.sources.cards import ModelCard
from fastsim.sources.domains import ShowerDomain
from fastsim.sources.showers import ShowerSource
from generators.nn.derived import Derived
from generators.showers.cascade.grid import Deposits, Grid
from generators.showers.cascade.latent import COLUMNS, VISIBLE, latent_of
from generators.showers.cascade.network import LATENT, Cascade
from generators.showers.cascade.sampler import CascadeSampler

_KEYS = frozenset({"detector", "geometry", "particles", "network", "latent", "ceiling", "precision"})
_NAMES = {pdg_id: name for name, (pdg_id, _) in PARTICLES.items()}


class CascadeModel(ShowerSource):
    """P(deposits | particle) of one detector.

    Samples follow every change of weights that torch counts (see :class:`generators.nn.derived.Derived`).

    Args:
        name: of the model.
        detector: whose voxels it fills.
        domain: what it was trained on; showers are perpendicular.
        config: ``network`` (sizes by stage), ``latent`` (sizes of its flow; None or absent for a cascade without) and
            ``precision`` of rings and sectors, "bfloat16" (default) or "float32"; ``ceiling`` as
            :class:`~generators.showers.cascade.network.Cascade` takes it.
    """

    kind = "cascade"
    geometry: Detector
    load_options: ClassVar[frozenset[str]] = frozenset()
    """Keyword arguments of :meth:`from_card` beside ``device``."""

    def __init__(self, name: str, detector: Detector, domain: ShowerDomain, config: Mapping[str, Any]) -> None:
        if unknown := sorted(set(config) - _KEYS):
            raise ValueError(f"unknown key {unknown[0]!r}: a cascade takes {', '.join(sorted(_KEYS))}")
        self.name, self.detector, self.domain = name, detector.name, domain
        self.particles = tuple(int(i) for i in config["particles"])
        if set(self.particles) != domain.particles:
            raise ValueError(f"particles {self.particles} are not those of the domain")
        self.geometry, self._settings = detector, dict(config)
        grid = Grid.of(self.binning(self.particles[0]))
        self.cascade = Cascade(
            grid, self.particles, config.get("network", {}), config.get("latent"), float(config.get("ceiling", 1.0))
        )
        if self.cascade.latent is not None:
            self.latent_columns = COLUMNS
        self._sampler = Derived(CascadeSampler)

    @classmethod
    def build(
        cls,
        name: str,
        detector: Detector,
        particles: Sequence[int],
        energy: tuple[float, float],
        config: Mapping[str, Any],
    ) -> Self:
        """Make an untrained model of a detector, for particles (PDG ids) and a range of kinetic energies in GeV."""
        domain = ShowerDomain(frozenset(particles), float(energy[0]), float(energy[1]))
        settings = {"detector": detector.name, "particles": list(particles), **config}
        if detector.name not in shipped_detectors():
            settings["geometry"] = json.loads(json.dumps(detector.as_dict()))
        return cls(name, detector, domain, settings)

    @classmethod
    def from_card(cls, card: ModelCard, weights: Path, *, device: str = "cpu") -> Self:
        """Make the model of a card and its verified weights file.

        Raises:
            WeightsError: if config and weights do not fit each other.
        """
        from safetensors.torch import load_file

        if device != "cpu":
            raise FastsimError(f"device {device!r}: {card.name} runs on cpu only")
        assert isinstance(card.domain, ShowerDomain)
        try:
            geometry = card.config.get("geometry")
            detector = load_detector(card.config["detector"]) if geometry is None else Detector.from_dict(geometry)
            model = cls(card.name, detector, card.domain, card.config)
            tensors = {k: v.float() for k, v in load_file(weights).items()}
            model.cascade.load_state_dict(tensors)
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            line = " ".join(str(error).split())
            raise WeightsError(f"{weights}: weights and card of {card.name} do not fit: {line[:200]}") from error
        model.cascade.eval()
        model.card, model.sha256 = card, card.sha256
        return model

    def binning(self, pdg_id: int) -> Binning:
        """Return the voxels for a particle of the domain."""
        binning = self.geometry.binning(_NAMES[pdg_id])
        if binning is None:
            raise FastsimError(f"detector {self.detector}: its cells lie in (x, y); a cascade needs (r, alpha)")
        return binning

    def draw(self, incidents: Incidents, rng: np.random.Generator) -> NDArray[np.float32]:
        if len(incidents) == 0:
            return np.zeros((0, self.cascade.grid.num_voxels), np.float32)
        return self._fast.sample(incidents.pdg_id, incidents.energy, rng)

    def draw_latent(self, incidents: Incidents, rng: np.random.Generator) -> NDArray[np.float32]:
        if len(incidents) == 0:
            return np.zeros((0, len(self.latent_columns)), np.float32)
        return self._fast.latent(incidents.pdg_id, incidents.energy, rng)

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
        return self._fast.sample_given(incidents.pdg_id, incidents.energy, latent, rng)

    def latent_of(self, voxels: Deposits) -> NDArray[np.float32]:
        """Compute the latents (N, Z) of any showers in these voxels, deposits (N, V) in MeV: Geant4's, for example."""
        return latent_of(self.cascade.grid, self.cascade.grid.heaps(voxels))

    @property
    def sizes(self) -> dict[str, Any]:
        """Sizes of the networks by stage, as a config gives them."""
        return {**self._settings.get("network", {}), LATENT: self._settings.get("latent") or {}}

    @property
    def _fast(self) -> CascadeSampler:
        return self._sampler.of(self.cascade, self._settings.get("precision", "bfloat16"))

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights to save: rings and sectors in float16, which halves the file, others as they are."""
        small = {name for name, _ in self.cascade.named_parameters() if name.split(".")[1] in ("rings", "sectors")}
        return {k: (v.half() if k in small else v).contiguous() for k, v in self.cascade.state_dict().items()}

    def save(self, folder: Path, *, version: str, training: dict[str, Any]) -> Path:
        """Write card and weights under the model's name; the card's figures are filled by validation."""
        from fastsim.sources import cards

        json.dumps(training)  # a card holds JSON values only
        card = ModelCard(self.name, self.kind, version, self._settings, self.domain, training)
        return cards.save(card, self.tensors(), folder)
