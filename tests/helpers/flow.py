"""Sizes of a diffusion model of primary hadrons that is small enough for tests."""

from __future__ import annotations

from typing import Any

from fastsim.sources.domains import QUARKS_AND_GLUONS, Domain
from generators.hadrons.flow.network import FlowConfig
from generators.nn.sets import NetworkConfig

NETWORK = NetworkConfig(
    width=32,
    heads=2,
    registers=1,
    context_width=32,
    blocks=("attention", "mean"),
    precision="float32",
    pair_features=4,
    pair_width=8,
)
CONFIG = FlowConfig(network=NETWORK, num_inference_steps=4, solver="rk2")
LATENT: dict[str, Any] = {"count_width": 8, "flow_width": 16, "num_bins": 4}
DOMAIN = Domain(QUARKS_AND_GLUONS, 5, 2000)
