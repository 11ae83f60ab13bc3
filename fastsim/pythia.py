"""The engine's models inside Pythia 8: a learned hadronisation in real events."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

from fastsim.sources.cards import DEFAULT_MODEL

if TYPE_CHECKING:
    from fastsim.sources.hadrons import HadronSource
    from generators.reference.fragmentation import SourceFragmentation

SCALE = 1.0
"""GeV; the lowest at which showers start in the training data of the models."""


def attach(
    pythia: Any, model: str | PathLike[str] | HadronSource = DEFAULT_MODEL, *, scale: float = SCALE
) -> SourceFragmentation:
    """Let a model fragment colour singlets inside ``pythia.next()``, in the place of Lund strings.

    A shipped model takes singlets of two partons (a quark and an antiquark, or two gluons) of the masses of its domain;
    a source of one's own with ``has_chains`` takes those of any number of partons. Lund strings make the rest:
    junctions, diquarks, others. Pythia decays what the model makes. The same seeds give the same events.

    Args:
        pythia: a ``pythia8mc.Pythia``, before its ``init()``.
        model: name or card of a model of hadrons, or a source.
        scale: where the model's showers start, in GeV: low, since Pythia's shower has run. With
            ``PartonLevel:FSR = off`` give the scale at which showers are to start; momenta of partons limit it.

    Returns:
        An object whose ``counts`` say how many singlets the source and Lund fragmented.

    Raises:
        FastsimError: if the model draws no singlets, or Pythia has started.
    """
    from fastsim.registry import load_model
    from fastsim.sources.hadrons import HadronSource
    from generators.reference.fragmentation import put_into

    source = model if isinstance(model, HadronSource) else load_model(model)
    return put_into(pythia, source, scale)
