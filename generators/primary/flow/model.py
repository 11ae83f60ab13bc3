"""The diffusion model of primary hadrons: their kinematics by flow matching, given parton, latent and masses.

The latent holds the counts of a set by species, its carrier, its total four-momentum and five more features
(:mod:`generators.primary.latent`). The flow places the tokens in the set's jet frame, in the coordinates of
:mod:`generators.primary.flow.coordinates`, and a projection makes the total exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastsim.event import Floats, Ints, offsets_from_counts, ragged_indices
from fastsim.sources.domains import Domain
from generators.nn.flow_matching import Solver, integrate
from generators.nn.quantise import pack, unpack
from generators.primary.flow.coordinates import decode, project
from generators.primary.flow.network import Conditions, FlowConfig, Given, SetFlow
from generators.primary.latent import Latent, LatentModel
from generators.primary.source import PrimaryModel
from generators.primary.tokens import TokenSample
from generators.training.config import from_dict


def flow_momenta(flow: SetFlow, given: Given, noise: Tensor, **sampler: Any) -> Tensor:
    """Turn noise into the four-momenta of tokens: a differentiable function of noise, ``given`` and weights.

    Args:
        flow: the flow.
        given: what is known of the N sets.
        noise: normal numbers, (M, 3).
        sampler: ``solver``, ``num_inference_steps`` and ``shift`` instead of those of the flow's config; see
            :func:`generators.nn.flow_matching.integrate`.

    Returns:
        Four-momenta in GeV in the axis frame, in float64, (M, 4): on the mass shells, with the given totals.
    """
    config = flow.config
    settings = {"solver": config.solver, "num_inference_steps": config.num_inference_steps, "shift": config.shift}
    conditions = flow.conditions_of(given)

    def velocity(state: Tensor, sigma: float) -> Tensor:
        result: Tensor = flow(state, state.new_full((len(given),), sigma), conditions)
        return result

    end = integrate(velocity, noise.float(), **{**settings, **sampler})
    return place(end, given, conditions)


def place(end: Tensor, given: Given, conditions: Conditions) -> Tensor:
    """Turn standardised coordinates (M, 3) of tokens into their four-momenta (M, 4) in GeV in the axis frame."""
    index, frame = given.index, given.frame
    scaled = end * conditions.spread
    x = torch.cat([scaled[:, :1] + conditions.mean[:, None], scaled[:, 1:]], 1).double()
    p4 = decode(x, frame.energy[index], given.mass)
    return frame.to_axis_frame(project(p4, given.mass, index, frame), index)


def batches(counts: Ints, limit: int) -> Iterator[Ints]:
    """Yield the numbers of sets in batches of at most ``limit`` tokens (or one set), similar lengths together."""
    order = np.argsort(counts, kind="stable")
    first = 0
    while first < len(order):
        ends = np.cumsum(counts[order[first:]])
        last = first + max(1, int(np.searchsorted(ends, limit, side="right")))
        yield order[first:last]
        first = last


@torch.no_grad()
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
    given = Given.of(tokens, energy, latent)
    noise = torch.randn(len(tokens.species), 3, generator=rng)
    p4 = np.empty((len(tokens.species), 4))
    for rows in batches(given.counts, flow.config.batch_tokens):
        flat = ragged_indices(tokens.offsets, rows)
        p4[flat] = flow_momenta(flow, given.rows(rows), noise[torch.from_numpy(flat)], **sampler).numpy()
    return p4


class PrimaryFlow(PrimaryModel):
    """The diffusion model as a source of hadrons.

    Args:
        name: of the model.
        domain: the partons that it is valid for.
        latent: draws counts, total momentum and extras.
        flow: places the tokens.
        latent_config: sizes of the latent model, for the card.
        num_inference_steps: network evaluations at most, instead of the flow config's.
    """

    kind = "primary-flow"
    load_options = frozenset({"num_inference_steps"})

    def __init__(
        self,
        name: str,
        domain: Domain,
        latent: LatentModel,
        flow: SetFlow,
        *,
        latent_config: Mapping[str, Any] | None = None,
        num_inference_steps: int | None = None,
    ) -> None:
        super().__init__(name, domain, latent, "float32")  # the network lowers its own precision
        self.flow, self._latent_config = flow, dict(latent_config or {})
        self.num_inference_steps = num_inference_steps or flow.config.num_inference_steps

    @classmethod
    def build(cls, name: str, domain: Domain, config: Mapping[str, Any]) -> PrimaryFlow:
        """Make an untrained model from ``latent`` (sizes), ``flow`` and perhaps ``num_inference_steps``.

        Raises:
            ValueError: if a key is unknown.
        """
        unknown = set(config) - {"latent", "flow", "num_inference_steps"}
        if unknown:
            raise ValueError(f"unknown key {sorted(unknown)[0]!r}: a diffusion model takes latent, flow")
        sizes = config.get("latent", {})
        latent = LatentModel(**sizes)  # first: a seed then gives it the same weights in every model
        flow = SetFlow(from_dict(FlowConfig, config["flow"], "flow"))
        steps = config.get("num_inference_steps")
        return cls(name, domain, latent, flow, latent_config=sizes, num_inference_steps=steps)

    def config(self) -> dict[str, Any]:
        flow = asdict(self.flow.config)
        flow["network"]["blocks"] = list(flow["network"]["blocks"])
        return {"latent": self._latent_config, "flow": flow}

    def place(self, tokens: TokenSample, energy: Floats, latent: Latent, rng: torch.Generator) -> Floats:
        """Draw the tokens' momenta; see :meth:`PrimaryModel.place`."""
        return sample_flow(self.flow, tokens, energy, latent, rng, num_inference_steps=self.num_inference_steps)

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights to save: the flow's matrices in eight bits, the others as for other models."""
        packed = {f"flow.{n}" for n, p in self.flow.named_parameters() if p.dim() == 2 and p.shape[1] >= 64}
        exact = {name: value for name, value in self.state_dict().items() if name in packed}
        return {name: value.contiguous() for name, value in pack({**super().tensors(), **exact}, packed).items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights as any module does, also packed ones as :meth:`tensors` returns them."""
        return super().load_state_dict(unpack(state_dict), strict, assign)
