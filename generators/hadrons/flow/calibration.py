"""How strong a guidance has to be for a wanted change of an observable."""

from __future__ import annotations

import numpy as np
import torch

from fastsim.errors import FastsimError, InvalidValue
from fastsim.event import Partons
from fastsim.event.frames import to_axis
from fastsim.sources.source import RNG, generator
from generators.hadrons.flow.guidance import Observable
from generators.hadrons.flow.model import PrimaryFlow

_ROUNDS, _TOLERANCE = 8, 0.1
"""Most strengths that are tried, and the accuracy asked for, as a part of the change."""
_MARGIN, _LARGEST_STEP = 0.15, 3.0
"""A strength between two others keeps this part of their distance from both; one beyond is so many times as large."""


def strength_for(
    model: PrimaryFlow, partons: Partons, observable: Observable, ratio: float, *, rng: RNG = None
) -> float:
    """Find the strength of a guidance that multiplies the mean of an observable by a ratio, to a tenth of the change.

    The secant method between a strength that is too small and one that is too large, on sets of the same partons and
    with the same random numbers. It takes a few hundred partons: with fewer, the change depends on which they are.

    Args:
        model: the diffusion model.
        partons: N partons of the kind that the guidance is for.
        observable: see :data:`generators.hadrons.flow.guidance.Observable`.
        ratio: of the guided mean to the model's own.
        rng: all randomness.

    Returns:
        The strength, for :meth:`generators.hadrons.flow.model.PrimaryFlow.guided`.

    Raises:
        InvalidValue: if the ratio is not positive.
        FastsimError: if no strength shifts the mean so far.
        OutOfDomain: if a parton is outside the domain.
    """
    if not ratio > 0:
        raise InvalidValue(f"ratio = {ratio}: positive numbers only")
    seed = int(generator(rng).integers(2**63 - 1))

    def values(strength: float) -> tuple[float, float]:
        sets = model.guided(observable, strength).primary(partons, rng=np.random.default_rng(seed))
        p4 = torch.from_numpy(to_axis(sets.p4, sets.offsets, partons))
        result = observable(p4, torch.from_numpy(sets.index), len(sets))
        return float(result.mean()), float(result.var(correction=0))

    mean, variance = values(0.0)
    change = (ratio - 1) * mean
    strength, found = change / max(variance, 1e-12), mean  # what a Gaussian takes
    # strengths that make less and more than the change, and the parts of it that they make
    less, more = (0.0, 0.0), (np.inf, np.inf)
    for _ in range(_ROUNDS):
        found, _ = values(strength)
        part = (found - mean) / change if change else 1.0
        if abs(part - 1) <= _TOLERANCE:
            return strength
        if found == mean:
            break
        less, more = (less, (strength, part)) if part > 1 else ((strength, part), more)
        if np.isfinite(more[0]):
            share = float(np.clip((1 - less[1]) / (more[1] - less[1]), _MARGIN, 1 - _MARGIN))
            strength = less[0] + share * (more[0] - less[0])
        else:
            strength /= float(np.clip(part, 1 / _LARGEST_STEP, 1 / 1.2))
    raise FastsimError(f"no strength multiplies the mean by {ratio}: {found / mean:.3f} was reached")
