"""A trained cascade as a source of showers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from fastsim.detector.detector import Detector
from fastsim.sources.domains import ShowerDomain
from generators.nn.derived import Derived
from generators.showers.cascade.latent import COLUMNS
from generators.showers.cascade.network import LATENT, Cascade
from generators.showers.cascade.sampler import CascadeSampler
from generators.showers.model import ShowerModel


class CascadeModel(ShowerModel):
    """P(deposits | particle) of one detector, split by split.

    Args:
        name: of the model.
        detector: whose voxels it fills.
        domain: what it was trained on; with angles, the networks see them.
        config: ``network`` (sizes by stage), ``latent`` (sizes of its flow; None or absent for a cascade without) and
            ``ceiling`` as :class:`~generators.showers.cascade.network.Cascade` takes it.
    """

    kind = "cascade"
    keys: ClassVar = ("network", "latent", "ceiling")

    def __init__(self, name: str, detector: Detector, domain: ShowerDomain, config: Mapping[str, Any]) -> None:
        super().__init__(name, detector, domain, config)
        ceiling = float(config.get("ceiling", 1.0))
        self.network = self.cascade = Cascade(
            self._grid(),
            self.particles,
            config.get("network", {}),
            config.get("latent"),
            ceiling,
            tilted=domain.max_theta > 0,
        )
        if self.cascade.latent is not None:
            self.latent_columns = COLUMNS
        self._sampler = Derived(CascadeSampler)

    @property
    def sizes(self) -> dict[str, Any]:
        """Sizes of the networks by stage, as a config gives them."""
        return {**self._settings.get("network", {}), LATENT: self._settings.get("latent") or {}}

    @property
    def ceiling(self) -> float:
        """Largest visible energy over what the particle can deposit."""
        return self.cascade.ceiling

    @property
    def sampler(self) -> CascadeSampler:
        return self._sampler.of(self.cascade)

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights to save: rings and sectors in float16, which halves the file, others as they are."""
        small = {name for name, _ in self.cascade.named_parameters() if name.split(".")[1] in ("rings", "sectors")}
        return {k: (v.half() if k in small else v).contiguous() for k, v in self.cascade.state_dict().items()}
