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
from fastsim.detector.incidents import Incidents
from fastsim.errors import FastsimError, WeightsError
from fastsim.sources.cards import ModelCard
from fastsim.sources.domains import ShowerDomain
from fastsim.sources.showers import ShowerSource
from generators.nn.derived import Derived
from generators.showers.cascade.grid import Grid
from generators.showers.cascade.network import Cascade
from generators.showers.cascade.sampler import CascadeSampler

_NAMES = {pdg_id: name for name, (pdg_id, _) in PARTICLES.items()}


class CascadeModel(ShowerSource):
    """P(deposits | particle) of one detector.

    Samples follow every change of weights that torch counts (see :class:`generators.nn.derived.Derived`).

    Args:
        name: of the model.
        detector: whose voxels it fills.
        domain: what it was trained on; showers are perpendicular.
        config: ``network`` (sizes by stage) and ``precision`` of rings and sectors, "bfloat16" (default) or "float32".
    """

    kind = "cascade"
    load_options: ClassVar[frozenset[str]] = frozenset()
    """Keyword arguments of :meth:`from_card` beside ``device``."""

    def __init__(self, name: str, detector: Detector, domain: ShowerDomain, config: Mapping[str, Any]) -> None:
        if unknown := sorted(set(config) - {"detector", "particles", "network", "precision"}):
            raise ValueError(f"unknown key {unknown[0]!r}: a cascade takes detector, particles, network, precision")
        self.name, self.detector, self.domain = name, detector.name, domain
        self.particles = tuple(int(i) for i in config["particles"])
        if set(self.particles) != domain.particles:
            raise ValueError(f"particles {self.particles} are not those of the domain")
        self._target, self._settings = detector, dict(config)
        grid = Grid.of(self.binning(self.particles[0]))
        self.cascade = Cascade(grid, self.particles, config.get("network", {}))
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
        return cls(name, detector, domain, {"detector": detector.name, "particles": list(particles), **config})

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
            model = cls(card.name, load_detector(card.config["detector"]), card.domain, card.config)
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
        binning = self._target.binning(_NAMES[pdg_id])
        if binning is None:
            raise FastsimError(f"detector {self.detector}: its cells lie in (x, y); a cascade needs (r, alpha)")
        return binning

    def draw(self, incidents: Incidents, rng: np.random.Generator) -> NDArray[np.float32]:
        if len(incidents) == 0:
            return np.zeros((0, self.cascade.grid.num_voxels), np.float32)
        sampler = self._sampler.of(self.cascade, self._settings.get("precision", "bfloat16"))
        return sampler.sample(incidents.pdg_id, incidents.energy, rng)

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
