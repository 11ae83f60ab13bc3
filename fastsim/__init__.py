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
        generate,
        generate_showers,
        load_model,
        load_showers,
        reference,
        reference_showers,
        train,
    )
    from fastsim.errors import FastsimError
    from fastsim.event import HardEvents, ParticleSet, Partons
    from fastsim.sources.pipeline import Pipeline
    from fastsim.sources.showers import Incidents

_HOMES = {
    "Summary": "fastsim.api",
    "generate": "fastsim.api",
    "generate_showers": "fastsim.api",
    "load_model": "fastsim.api",
    "load_showers": "fastsim.api",
    "reference": "fastsim.api",
    "reference_showers": "fastsim.api",
    "train": "fastsim.api",
    "FastsimError": "fastsim.errors",
    "HardEvents": "fastsim.event",
    "Incidents": "fastsim.sources.showers",
    "ParticleSet": "fastsim.event",
    "Partons": "fastsim.event",
    "Pipeline": "fastsim.sources.pipeline",
}
__all__ = [
    "FastsimError",
    "HardEvents",
    "Incidents",
    "ParticleSet",
    "Partons",
    "Pipeline",
    "Summary",
    "__version__",
    "generate",
    "generate_showers",
    "load_model",
    "load_showers",
    "reference",
    "reference_showers",
    "train",
]


def __getattr__(name: str) -> Any:
    # names are looked up when first used: `import fastsim` loads neither torch nor Pythia
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'fastsim' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
