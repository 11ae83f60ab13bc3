"""From noise to the four-momenta of tokens: the flow is integrated, decoded and projected onto the total momentum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastsim.event import Floats, Ints, offsets_from_counts, ragged_indices
from generators.hadrons.flow.coordinates import decode, project
from generators.hadrons.flow.guidance import Guidance
from generators.hadrons.flow.network import Conditions, Given, SetFlow
from generators.hadrons.latent import Latent
from generators.hadrons.tokens import TokenSample
from generators.nn.flow_matching import integrate


def flow_momenta(
    flow: SetFlow, given: Given, noise: Tensor, *, guidance: Guidance | None = None, **sampler: Any
) -> Tensor:
    """Turn noise into the four-momenta of tokens: a differentiable function of noise, ``given`` and weights.

    Args:
        flow: the flow.
        given: what is known of the N sets.
        noise: normal numbers, (M, 3).
        guidance: towards larger values of an observable; such samples are not differentiable.
        sampler: ``solver``, ``num_inference_steps``, ``shift`` or ``levels`` instead of those of the flow's config;
            see :func:`generators.nn.flow_matching.integrate`.

    Returns:
        Four-momenta in GeV in the axis frame, in float64, (M, 4): on the mass shells, with the given totals.
    """
    config = flow.config
    names = ("solver", "num_inference_steps", "shift", "levels")
    settings = {name: getattr(config, name) for name in names}
    conditions = flow.conditions_of(given)

    def velocity(state: Tensor, sigma: float) -> Tensor:
        result: Tensor = flow(state, state.new_full((len(given),), sigma), conditions)
        return result

    chosen: Callable[[Tensor, float], Tensor] = velocity
    if guidance is not None:
        chosen = guidance.of(velocity, lambda data: _placed(data, given, conditions), given.index, len(given))
    return _placed(integrate(chosen, noise.float(), **{**settings, **sampler}), given, conditions)


def _placed(data: Tensor, given: Given, conditions: Conditions) -> Tensor:
    """Turn standardised coordinates (M, 3) of tokens into their four-momenta (M, 4) in GeV in the axis frame."""
    index, frame = given.index, given.frame
    scaled = data * conditions.spread
    x = torch.cat([scaled[:, :1] + conditions.mean[:, None], scaled[:, 1:]], 1).double()
    p4 = decode(x, frame.energy[index], given.mass)
    return frame.to_axis_frame(project(p4, given.mass, index, frame), index)


def _batches(counts: Ints, limit: int) -> Iterator[Ints]:
    """Yield the numbers of sets in batches of at most ``limit`` tokens (or one set), similar lengths together."""
    order = np.argsort(counts, kind="stable")
    first = 0
    while first < len(order):
        ends = np.cumsum(counts[order[first:]])
        last = first + max(1, int(np.searchsorted(ends, limit, side="right")))
        yield order[first:last]
        first = last


@torch.no_grad()
def batched_momenta(flow: SetFlow, given: Given, noise: Tensor, **sampler: Any) -> Tensor:
    """Compute what :func:`flow_momenta` does, without derivatives, in batches of sets of similar sizes, on the CPU."""
    offsets, device = offsets_from_counts(given.counts), flow.device
    p4 = torch.empty((len(noise), 4), dtype=torch.float64)
    for rows in _batches(given.counts, flow.config.batch_tokens):
        flat = torch.from_numpy(ragged_indices(offsets, rows))
        p4[flat] = flow_momenta(flow, given.rows(rows).to(device), noise[flat].to(device), **sampler).cpu()
    return p4


def sample_flow(
    flow: SetFlow, tokens: TokenSample, energy: Floats, latent: Latent, rng: torch.Generator, **sampler: Any
) -> Floats:
    """Draw the momenta of tokens whose species, masses and latents are given.

    Args:
        flow: the flow.
        tokens: the tokens of N sets; their momenta are not looked at.
        energy: half of the masses of the pairs in GeV, (N,).
        latent: of the sets, with extras.
        rng: all randomness.
        sampler: see :func:`flow_momenta`.

    Returns:
        Four-momenta in GeV of the tokens in the axis frame, (M, 4).
    """
    noise = torch.randn(len(tokens.species), 3, generator=rng)  # by the CPU, whatever the device
    p4: Floats = batched_momenta(flow, Given.of(tokens, energy, latent), noise, **sampler).numpy()
    return p4
