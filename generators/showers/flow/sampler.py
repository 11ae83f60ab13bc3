"""Draws showers with a flow: latent and layers by a cascade's first stages, then the voxels of all layers at once.

Or the rings of all layers at once, whose sectors the cascade's last stage draws.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastsim.event import Floats, Ints
from generators.nn.flow_matching import Solver, integrate
from generators.showers.cascade.grid import Deposits
from generators.showers.cascade.latent import VISIBLE, Latent, turned_latent
from generators.showers.cascade.network import Cascade
from generators.showers.cascade.sampler import CascadeSampler
from generators.showers.cascade.tilt import Tilt
from generators.showers.flow.patches import Voxels, draw_deposits
from generators.showers.flow.voxels import VoxelFlow, conditions

_AT_ONCE = 64
"""Showers whose voxels are drawn side by side: with more the arrays leave the processor's cache."""
_FEW = 8
"""Up to so many showers the networks run in float32: the time then goes into calls, which cost more in bfloat16."""


class FlowSampler:
    """Draws showers from the networks, which it copies.

    Args:
        first: the stages that draw visible energy, latent and layers, and the sectors of a flow of rings.
        flow: the networks of the voxels or rings.
        precision: of these networks where they draw many showers at once, "bfloat16" or "float32".
        solver: see :func:`~generators.nn.flow_matching.integrate`.
        num_inference_steps: network evaluations, where the flow was not distilled to levels.
        tries: draws of a layer's deposits, of which that is taken whose sum is nearest to the layer's energy.
        device: of the networks of the voxels or rings.
    """

    def __init__(
        self,
        first: Cascade,
        flow: VoxelFlow,
        precision: str,
        solver: Solver,
        num_inference_steps: int,
        tries: int,
        device: str,
    ) -> None:
        if precision not in ("bfloat16", "float32"):
            raise ValueError(f"precision {precision!r}: bfloat16 or float32")
        self.first, self._tries, self._device = CascadeSampler(first), tries, device
        self.cascade, self.grid, self.patches = first, first.grid, flow.patches
        self._for_few = copy.deepcopy(flow).to(device)
        self._for_many = self._for_few
        if precision == "bfloat16":
            self._for_many = copy.deepcopy(self._for_few)
            self._for_many.denoiser.to(torch.bfloat16)
            self._for_many.decoder.to(torch.bfloat16)
        self._integration: dict[str, Any] = {
            "solver": solver,
            "num_inference_steps": num_inference_steps,
            "levels": flow.config.levels,
            "last": flow.config.sigma_min,
        }

    def latent(self, pdg_id: Ints, energy: Floats, rng: np.random.Generator, tilt: Tilt | None = None) -> Latent:
        """Draw the latents (N, Z) of particles (N,) with kinetic energies in GeV, along the normal."""
        return self.first.latent(pdg_id, energy, rng)

    def sample(self, pdg_id: Ints, energy: Floats, rng: np.random.Generator, tilt: Tilt | None = None) -> Deposits:
        """Draw deposits (N, V) in MeV of particles (N,) with kinetic energies in GeV, along the normal."""
        return self.sample_given(pdg_id, energy, self.latent(pdg_id, energy, rng), rng)

    def sample_given(
        self, pdg_id: Ints, energy: Floats, z: Latent, rng: np.random.Generator, tilt: Tilt | None = None
    ) -> Deposits:
        """Draw deposits (N, V) in MeV of particles (N,) with kinetic energies in GeV, given latents (N, Z).

        Each shower is drawn in a frame that is turned and mirrored at random, so that all directions are alike.
        """
        sign, shift = self.grid.random_turns(len(z), rng)
        mirrored, angle = self.grid.turn_back(sign, shift)
        inside = turned_latent(z, angle, mirrored)
        particle = self.cascade.given(pdg_id, energy)
        layers = self.first.layers(particle, energy, inside[:, VISIBLE].copy(), inside, rng)
        context = conditions(particle, energy, inside)
        parts = [slice(start, start + _AT_ONCE) for start in range(0, len(z), _AT_ONCE)]
        drawn = np.concatenate([self._patches(context[part], layers[part], rng) for part in parts])
        voxels = self.first.voxels(particle, drawn, inside, rng) if self.patches.rings else self.patches.voxels(drawn)
        return self.grid.turned(voxels, sign, shift)

    @torch.inference_mode()
    def _patches(self, context: Voxels, layers: Voxels, rng: np.random.Generator) -> Voxels:
        """Draw deposits (N, L, P) in MeV, given contexts (N, C) and energies of layers (N, L) in MeV."""
        flow, shape = self._for_few if len(layers) <= _FEW else self._for_many, (len(layers), *self.patches.shape)
        noise = torch.from_numpy(rng.standard_normal(shape, np.float32)).to(self._device) * flow.mask
        given = torch.from_numpy(context).to(self._device)
        features = flow.layer_features(torch.from_numpy(layers).to(self._device))

        def velocity(x: Tensor, sigma: float) -> Tensor:
            return flow.velocity(x, x.new_full((len(x),), sigma), features, given)

        y = integrate(velocity, noise, **self._integration)
        parameters = flow.decode(y, features, given).cpu().numpy()
        each = (*shape[:2], self._tries, shape[2])
        normal, uniform = rng.standard_normal(each, np.float32), rng.random((*each, 2), np.float32)
        out = np.empty(shape, np.float32)
        draw_deposits(parameters, layers, self.patches.mask, normal, uniform, self.patches.unit, out)
        return out
