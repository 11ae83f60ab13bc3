"""The diffusion model of primary hadrons: their kinematics by flow matching, given parton, latent and masses.

The latent holds the counts of a set by species, its carrier, its total four-momentum and five more features
(:mod:`generators.hadrons.latent`). The flow places the tokens in the set's jet frame, in the coordinates of
:mod:`generators.hadrons.flow.coordinates`, and a projection makes the total exact.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from fastsim.errors import FastsimError
from fastsim.event import Floats, Ints, Partons
from fastsim.sources.domains import Domain
from fastsim.sources.source import RNG, generator
from generators.hadrons.flow.drafts import Draft, draft, momenta
from generators.hadrons.flow.guidance import Guidance, Observable
from generators.hadrons.flow.network import FlowConfig, SetFlow
from generators.hadrons.flow.sampler import sample_flow
from generators.hadrons.latent import Latent, tokens_of
from generators.hadrons.latent_model import LatentModel
from generators.hadrons.source import PrimaryModel
from generators.hadrons.tokens import TokenSample, parton_energy
from generators.nn.quantise import pack, unpack
from generators.training.config import from_dict

_QUICK = 4
"""Network evaluations of the samples that guidance chooses latents by."""


def _noise(rng: np.random.Generator) -> torch.Generator:
    return torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))


class PrimaryFlow(PrimaryModel):
    """The diffusion model as a source of hadrons.

    Args:
        name: of the model.
        domain: the partons that it is valid for.
        latent: draws counts, total momentum and extras.
        flow: places the tokens.
        latent_config: sizes of the latent model, for the card.
        num_inference_steps: network evaluations at most, instead of the flow config's.

    Raises:
        FastsimError: if the flow was distilled to another number of evaluations.
    """

    kind = "primary-flow"
    load_options = frozenset({"num_inference_steps"})
    devices = ("cpu", "cuda")

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
        steps = len(flow.config.levels) - 1
        if steps > 0 and num_inference_steps not in (None, steps):
            raise FastsimError(f"num_inference_steps = {num_inference_steps}: {name} was distilled to {steps}")
        self.num_inference_steps = num_inference_steps or (steps if steps > 0 else flow.config.num_inference_steps)
        self.guidance: Guidance | None = None

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
        flow["network"]["blocks"], flow["levels"] = list(flow["network"]["blocks"]), list(flow["levels"])
        return {"latent": self._latent_config, "flow": flow}

    def move(self, device: str) -> None:
        self.flow.to(device)

    def guided(self, observable: Observable, strength: float) -> Self:
        """Return the same model, with the same weights, that draws sets with larger values of an observable.

        A negative strength makes them smaller. Each set has the four-momentum and the species of its latent, as ever.
        Of hemispheres the latents are guided too, of singlets and of drafts the momenta alone. It costs about four
        times as much.

        Args:
            observable: see :data:`generators.hadrons.flow.guidance.Observable`; ``guidance.girth`` is one.
            strength: in the inverse unit of the observable.
        """
        model = copy.copy(self)
        model.guidance = Guidance(observable, strength)
        return model

    def sample_latent(self, flavour: Ints, pt: Floats, scale: Floats, rng: np.random.Generator) -> Latent:
        if self.guidance is None:
            return super().sample_latent(flavour, pt, scale, rng)
        num = self.guidance.candidates
        flavour, pt, scale = np.repeat(flavour, num), np.repeat(pt, num), np.repeat(scale, num)
        latent = super().sample_latent(flavour, pt, scale, rng)
        tokens, noise = tokens_of(latent, flavour, pt, scale, rng), _noise(rng)
        steps = min(_QUICK, self.num_inference_steps)
        p4 = sample_flow(self.flow, tokens, parton_energy(flavour, pt), latent, noise, num_inference_steps=steps)
        chosen = self.guidance.choose(torch.from_numpy(p4), torch.from_numpy(tokens.index), noise)
        return latent[chosen.numpy()]

    def draft(self, partons: Partons, *, rng: RNG = None, latent: Latent | None = None) -> Draft:
        """Draw all but the momenta of the hadrons of N partons: see :class:`generators.hadrons.flow.drafts.Draft`.

        Raises:
            OutOfDomain: if a parton is outside the domain.
        """
        self.refuse_outside(partons)
        return draft(self, partons, generator(rng), latent)

    def momenta(self, draft: Draft, *, num_inference_steps: int | None = None) -> Tensor:
        """Compute the four-momenta (M, 4) in GeV of a draft's hadrons, before decays, in the frame of the partons.

        They are differentiable in the tensors of the draft - parton, latent, noise - and in the weights; those of a
        guided model are not.
        """
        steps = num_inference_steps or self.num_inference_steps
        return momenta(self.flow, draft, num_inference_steps=steps, guidance=self.guidance)

    def place(self, tokens: TokenSample, energy: Floats, latent: Latent, rng: np.random.Generator) -> Floats:
        settings = {"num_inference_steps": self.num_inference_steps, "guidance": self.guidance}
        with torch.autocast("cpu", enabled=False):  # the network lowers its own precision
            return sample_flow(self.flow, tokens, energy, latent, _noise(rng), **settings)

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights to save: the flow's matrices in eight bits, the others as for other models."""
        packed = {f"flow.{n}" for n, p in self.flow.named_parameters() if p.dim() == 2 and p.shape[1] >= 64}
        exact = {name: value for name, value in self.state_dict().items() if name in packed}
        return {name: value.contiguous() for name, value in pack({**super().tensors(), **exact}, packed).items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights as any module does, also packed ones as :meth:`tensors` returns them."""
        return super().load_state_dict(unpack(state_dict), strict, assign)
