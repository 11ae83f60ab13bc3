"""fastsim: a generative fast-simulation engine for particle physics.

>>> import fastsim
>>> fastsim.Partons([21], [[100.0, 100.0, 0.0, 0.0]]).pdg_id.tolist()
[21]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fastsim.api import (
        Summary,
        evaluate,
        export,
        generate,
        generate_showers,
        hadron_pipeline,
        load_model,
        load_showers,
        log_prob,
        read,
        reference,
        reference_showers,
        reweight,
        showers,
        train,
        tune,
    )
    from fastsim.blocks.block import Block
    from fastsim.blocks.chain import Chain
    from fastsim.blocks.choice import Choice
    from fastsim.detector.incidents import Incidents
    from fastsim.errors import FastsimError
    from fastsim.event import HardEvents, ParticleSet, Partons
    from fastsim.event.gun import Gun
    from fastsim.model_blocks import block
    from fastsim.sources.domains import Domain, ShowerDomain
    from fastsim.sources.hadrons import HadronSource
    from fastsim.sources.pipeline import Pipeline
    from fastsim.sources.showers import ShowerSource

_HOMES = {
    "fastsim.api": (
        "Summary",
        "evaluate",
        "export",
        "generate",
        "generate_showers",
        "hadron_pipeline",
        "load_model",
        "load_showers",
        "log_prob",
        "read",
        "reference",
        "reference_showers",
        "reweight",
        "showers",
        "train",
        "tune",
    ),
    "fastsim.blocks.block": ("Block",),
    "fastsim.blocks.chain": ("Chain",),
    "fastsim.blocks.choice": ("Choice",),
    "fastsim.errors": ("FastsimError",),
    "fastsim.event": ("HardEvents", "ParticleSet", "Partons"),
    "fastsim.event.gun": ("Gun",),
    "fastsim.detector.incidents": ("Incidents",),
    "fastsim.model_blocks": ("block",),
    "fastsim.sources.domains": ("Domain", "ShowerDomain"),
    "fastsim.sources.hadrons": ("HadronSource",),
    "fastsim.sources.pipeline": ("Pipeline",),
    "fastsim.sources.showers": ("ShowerSource",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = [
    "Block",
    "Chain",
    "Choice",
    "Domain",
    "FastsimError",
    "Gun",
    "HadronSource",
    "HardEvents",
    "Incidents",
    "ParticleSet",
    "Partons",
    "Pipeline",
    "ShowerDomain",
    "ShowerSource",
    "Summary",
    "__version__",
    "block",
    "evaluate",
    "export",
    "generate",
    "generate_showers",
    "hadron_pipeline",
    "load_model",
    "load_showers",
    "log_prob",
    "read",
    "reference",
    "reference_showers",
    "reweight",
    "showers",
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    # names are looked up when first used: `import fastsim` loads neither torch nor Pythia
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'fastsim' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
