"""A trained flow of voxels as a source of showers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from fastsim.detector.detector import Detector
from fastsim.errors import FastsimError
from fastsim.sources.domains import ShowerDomain
from generators.nn.derived import Derived
from generators.showers.cascade.latent import COLUMNS
from generators.showers.cascade.network import STAGES, Cascade
from generators.showers.flow.patches import Patches
from generators.showers.flow.sampler import FlowSampler
from generators.showers.flow.voxels import FlowConfig, VoxelFlow
from generators.showers.model import ShowerModel
from generators.training.config import from_dict

FIRST = STAGES[:2]
"""Stages of a cascade that draw what a flow is given."""
LAST = STAGES[3:]
"""The stage that splits the rings of a flow of rings into voxels."""
_STEPS, _TRIES = 8, 4


def stages(rings: bool) -> tuple[str, ...]:
    """Return the stages of a cascade that a flow of rings, or of voxels, has."""
    return FIRST + LAST if rings else FIRST


class ShowerFlow(ShowerModel):
    """P(deposits | particle) of one detector, by flow matching through a latent.

    Args:
        name: of the model.
        detector: whose voxels it fills.
        domain: what it was trained on; showers are perpendicular.
        config: ``network``, ``latent`` and ``ceiling`` of the stages of a cascade; ``flow``, the fields of
            :class:`~generators.showers.flow.voxels.FlowConfig`; ``unit`` in MeV, ``scale`` and ``rings`` of
            :class:`~generators.showers.flow.patches.Patches`: a flow of rings leaves their sectors to the cascade;
            ``solver``, ``num_inference_steps``, ``tries`` and
            ``precision`` of :class:`~generators.showers.flow.sampler.FlowSampler`.
    """

    kind = "shower-flow"
    keys: ClassVar = (
        "network", "latent", "ceiling", "flow", "unit", "scale", "rings", "solver", "num_inference_steps", "tries",
        "precision"
    )  # fmt: skip
    devices: ClassVar = ("cpu", "cuda")
    load_options: ClassVar = frozenset({"num_inference_steps"})

    def __init__(self, name: str, detector: Detector, domain: ShowerDomain, config: Mapping[str, Any]) -> None:
        super().__init__(name, detector, domain, config)
        sizes = from_dict(FlowConfig, config.get("flow", {}), "flow")
        steps = len(sizes.levels) - 1 if sizes.levels else int(config.get("num_inference_steps", _STEPS))
        if (asked := config.get("num_inference_steps", steps)) != steps:
            raise FastsimError(f"num_inference_steps = {asked}: {name} was distilled to {steps}")
        if steps < 1:
            raise FastsimError(f"num_inference_steps = {steps}: at least 1")
        self.num_inference_steps = steps
        """Network evaluations of a shower."""
        grid, rings = self._grid(), bool(config.get("rings", False))
        self.cascade = Cascade(
            grid,
            self.particles,
            config.get("network", {}),
            config.get("latent", {}),
            float(config.get("ceiling", 1.0)),
            splits=stages(rings),
        )
        patches = Patches(grid, float(config["unit"]), float(config["scale"]), rings)
        self.flow = VoxelFlow(patches, 2 + len(self.particles), sizes)
        self.network = nn.ModuleDict({"first": self.cascade, "flow": self.flow})
        self.latent_columns = COLUMNS
        self._sampler = Derived(self._make_sampler)

    @property
    def tries(self) -> int:
        """Draws of a layer's deposits, of which that is taken whose sum is nearest to the layer's energy."""
        return int(self._settings.get("tries", _TRIES))

    @property
    def provenance(self) -> dict[str, str]:
        return {**super().provenance, "num_inference_steps": str(self.num_inference_steps)}

    def _make_sampler(self, network: nn.Module, *options: Any) -> FlowSampler:
        return FlowSampler(self.cascade, self.flow, *options)

    @property
    def sampler(self) -> FlowSampler:
        get = self._settings.get
        options = (get("precision", "bfloat16"), get("solver", "dpm"), self.num_inference_steps)
        return self._sampler.of(self.network, *options, self.tries, self._device)

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights to save: the matrices of the flow as float16, the first stages as they are.

        In eight bits a decoder lost 13 nats a shower, and put too much energy into cores.
        """
        half = {f"flow.{n}" for n, p in self.flow.named_parameters() if p.dim() == 2}
        return {k: (v.half() if k in half else v).contiguous() for k, v in self.network.state_dict().items()}
