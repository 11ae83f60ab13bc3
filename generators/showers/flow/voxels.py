r"""P(voxels | particle, latent, layers): a flow of the patches of all layers at once, and a decoder to exact deposits.

Noise flows to the voxels' variable v up to a noise level :math:`\sigma_0` above 0; there the decoder draws the deposits
themselves, voxel by voxel, from what is left open: whether there is one, which is exact, and its energy. So the flow
need not resolve what is narrower than :math:`\sigma_0`, and few steps are enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastsim.event import Floats
from generators.nn.flow_matching import preconditioning
from generators.showers.cascade.latent import (
    CORE,
    DEPTH,
    FIRST_VECTOR,
    GROWTH,
    LENGTH,
    MIN_LENGTH,
    RADIUS,
    STARTED,
    VISIBLE,
    Latent,
)
from generators.showers.flow.network import LayerNetwork, LayerNetworkConfig
from generators.showers.flow.patches import Patches, Voxels

NUM_LAYER_FEATURES = 4
_NUM_LATENT = 15
_NUM_SIGMA = 6
_SMALL = 1e-4
_LOG_WIDTHS = -4.0, 1.5
_DENOISER = LayerNetworkConfig()
_DECODER = LayerNetworkConfig(width=128, depth=3, heads=4, hidden=12)


@dataclass(frozen=True)
class FlowConfig:
    """Sizes of a :class:`VoxelFlow`.

    Attributes:
        denoiser, decoder: of the two networks.
        num_components: C, of the mixture of a voxel's log deposit.
        sigma_min: noise level at which the decoder takes over.
        levels: noise levels between the steps of a flow that was distilled to these, from 1 to ``sigma_min``; else
            none.
    """

    denoiser: LayerNetworkConfig = _DENOISER
    decoder: LayerNetworkConfig = _DECODER
    num_components: int = 4
    sigma_min: float = 0.45
    levels: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.levels:
            return
        if self.levels[0] != 1 or self.levels[-1] != self.sigma_min or any(np.diff(self.levels) >= 0):
            raise ValueError(f"levels {list(self.levels)}: noise levels fall from 1 to sigma_min, {self.sigma_min:g}")


def conditions(particle: Voxels, energy: Floats, z: Latent) -> Voxels:
    """Compute what a shower shares, (N, C): features of the particle (N, F), energies (N,) in GeV, latents (N, Z)."""
    z64 = z.astype(np.float64)
    length, radius = np.maximum(z64[:, LENGTH], MIN_LENGTH), np.maximum(z64[:, RADIUS], _SMALL)
    core = np.clip(z64[:, CORE], _SMALL, 1 - _SMALL)
    vectors = z64[:, FIRST_VECTOR:].reshape(len(z), -1, 2)
    # side, centre, side_tilt, tilt, relative to the mean radius and the length
    scale = np.stack([np.ones_like(length), 1 / radius, length, length / radius], axis=1)
    columns = [
        np.log(np.maximum(z64[:, VISIBLE], 1e-6) / (1e3 * energy)),
        z64[:, DEPTH],
        np.log(length),
        np.log(np.maximum(z64[:, STARTED], _SMALL)),
        np.log(radius),
        np.log(core) - np.log1p(-core),
        z64[:, GROWTH],
        *(scale[:, :, None] * vectors).reshape(len(z), -1).T,
    ]
    return np.column_stack([particle, *columns]).astype(np.float32)


class VoxelFlow(nn.Module):
    """Denoiser and decoder of the voxels of a shower.

    Args:
        patches: where the voxels lie, and their variable.
        num_particle: features of a particle.
        config: sizes.
    """

    shift: Tensor
    scale: Tensor
    mask: Tensor

    def __init__(self, patches: Patches, num_particle: int, config: FlowConfig) -> None:
        super().__init__()
        self.patches, self.config = patches, config
        num_layers, num_places = patches.shape
        num_context = num_particle + _NUM_LATENT
        shape = (num_layers, num_places, NUM_LAYER_FEATURES)
        self.denoiser = LayerNetwork(*shape, num_context + _NUM_SIGMA, 1, config.denoiser)
        length = 1 + 3 * config.num_components
        self.decoder = LayerNetwork(*shape, num_context, length, config.decoder)
        with torch.no_grad():  # components start apart, wide
            means = self.decoder.outputs.bias[1 + config.num_components : 1 + 2 * config.num_components]
            means.copy_(torch.linspace(-1, 1, config.num_components))
        self.register_buffer("shift", torch.zeros(num_context))
        self.register_buffer("scale", torch.ones(num_context))
        self.register_buffer("mask", torch.from_numpy(patches.mask).float(), persistent=False)

    def set_scales(self, context: Tensor) -> None:
        """Take the standardisation of contexts from those of many showers, (N, C)."""
        self.shift.copy_(context.mean(0))
        self.scale.copy_(context.std(0).clamp(min=1e-3))

    def layer_features(self, layers: Tensor) -> Tensor:
        """Compute the features (N, L, F) of layers with energies (N, L) in MeV."""
        unit, whole = self.patches.unit, layers.sum(1, keepdim=True).clamp(min=1e-9)
        share = layers / whole
        behind = (share.flip(1).cumsum(1)).flip(1)
        columns = [torch.log1p(layers / unit) / 4 - 1, (layers > 0).float(), behind, 10 * share]
        return torch.stack(columns, dim=2)

    def velocity(self, x: Tensor, sigma: Tensor, features: Tensor, context: Tensor) -> Tensor:
        """Estimate the velocity at x, both (N, L, P), and noise levels (N,), given features of layers and contexts."""
        level = sigma.view(-1, 1)
        c_in, c_skip, c_out = (each.view(-1, 1, 1) for each in preconditioning(level))
        angle = torch.pi * level * level.new_tensor([0.5, 1.0, 2.0])
        known = torch.cat([self.standard(context), level, level**2, angle.sin(), angle[:, :1].cos()], dim=1)
        output = self.denoiser(c_in * x, features, known)[..., 0].float()
        u: Tensor = (c_skip * x + c_out * output) * self.mask
        return u

    def standard(self, context: Tensor) -> Tensor:
        """Standardise contexts (N, C)."""
        return (context - self.shift) / self.scale

    def decode(self, y: Tensor, features: Tensor, context: Tensor) -> Tensor:
        """Compute the parameters (N, L, P, 1 + 3C) of the deposits, given x at the smallest noise level, (N, L, P)."""
        guess = y / (1 - self.config.sigma_min)
        raw = self.decoder(guess, features, self.standard(context)).float()
        num = self.config.num_components
        logit, weights, means, widths = torch.split(raw, [1, num, num, num], dim=3)
        # a log deposit is what the noisy voxel says, up to what the network adds
        start = self.patches.scale * guess.clamp(min=0.2)[..., None]
        low, high = _LOG_WIDTHS
        return torch.cat([logit, weights, start + means, low + (high - low) * torch.sigmoid(widths)], dim=3)

    def decoder_nll(self, deposits: Tensor, parameters: Tensor) -> Tensor:
        """Compute the negative log-likelihoods (N, L, P) of deposits in MeV; densities are those of log(E / unit)."""
        num = self.config.num_components
        logit, weights, means, widths = torch.split(parameters, [1, num, num, num], dim=3)
        some = deposits > 0
        value = torch.log(deposits.clamp(min=1e-12) / self.patches.unit)[..., None]
        normal = -0.5 * ((value - means) * torch.exp(-widths)) ** 2 - widths - 0.5 * np.log(2 * np.pi)
        density = torch.logsumexp(F.log_softmax(weights, dim=3) + normal, dim=3)
        logit = logit[..., 0]
        return (F.softplus(torch.where(some, -logit, logit)) - torch.where(some, density, 0.0)) * self.mask
