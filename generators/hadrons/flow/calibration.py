"""How strong a guidance has to be for a wanted change of an observable."""

from __future__ import annotations

from fastsim.errors import FastsimError, InvalidValue
from fastsim.event import Partons
from fastsim.sources.source import RNG
from generators.hadrons.flow.drafts import given_of_draft
from generators.hadrons.flow.guidance import Guidance, Observable
from generators.hadrons.flow.model import PrimaryFlow
from generators.hadrons.flow.sampler import batched_momenta

_ROUNDS, _TOLERANCE = 8, 0.02
"""Most strengths that are tried, and the accuracy asked for, as a part of the change."""


def strength_for(
    model: PrimaryFlow, partons: Partons, observable: Observable, ratio: float, *, rng: RNG = None
) -> float:
    """Find the strength of a guidance that multiplies the mean of an observable by a ratio.

    The secant method is used on sets with the same latents and the same noise, which a few hundred partons make
    accurate: the error of the shift is that of a difference between paired samples.

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
    draft = model.draft(partons, rng=rng)
    given, steps = given_of_draft(draft), {"num_inference_steps": model.num_inference_steps}

    def values(strength: float) -> tuple[float, float]:
        guidance = Guidance(observable, strength)
        p4 = batched_momenta(model.flow, given, draft.noise, guidance=guidance, **steps)
        result = observable(p4, given.index, len(given))
        return float(result.mean()), float(result.var(correction=0))

    mean, variance = values(0.0)
    target = ratio * mean
    # for a Gaussian the shift is strength times variance
    before, strength, found = 0.0, (target - mean) / max(variance, 1e-12), mean
    last = mean
    for _ in range(_ROUNDS):
        found, _ = values(strength)
        if abs(found - target) <= _TOLERANCE * abs(target - mean):
            return strength
        slope = (found - last) / (strength - before)
        if slope == 0:
            break
        before, last, strength = strength, found, strength + (target - found) / slope
    raise FastsimError(f"no strength multiplies the mean by {ratio}: {found / mean:.3f} was reached")
