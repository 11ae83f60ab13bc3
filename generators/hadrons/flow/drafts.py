"""Sampling that can be differentiated: hadrons as a function of parton, latent, noise and weights.

What is discrete - species, masses, carriers - is drawn first and kept in a *draft*. The momenta then follow by smooth
maps alone: the total four-momentum from the parton and the latent's features, the tokens from the total, the features
and the noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fastsim.event import Floats, Ints, Partons
from fastsim.event.frames import rapidity
from fastsim.event.kinematics import phi
from fastsim.event.species import PARTON_MASSES
from generators.hadrons.count_shapes import least_masses
from generators.hadrons.flow.network import Given, SetFlow
from generators.hadrons.flow.sampler import flow_momenta
from generators.hadrons.latent import ANGLE, LEAST_LOGIT, MASS, MAX_ANGLE, NUM_TOTAL, RECOIL, Latent, tokens_of
from generators.hadrons.tokens import CONJUGATE, IDS, TokenSample, condition

if TYPE_CHECKING:
    from generators.hadrons.flow.model import PrimaryFlow


@dataclass(frozen=True)
class Draft:
    """Sets of hadrons of which all is drawn but the momenta.

    To differentiate in a tensor, put one that requires a gradient in its place, with ``dataclasses.replace``.

    Attributes:
        tokens: species, masses and carriers of N sets; antiquarks and their hadrons are conjugated.
        pdg_id: PDG ids of the hadrons, (M,).
        pt: of the partons in GeV, (N,).
        rapidity: of the partons, (N,).
        phi: azimuth of the partons in rad, (N,).
        scale_ratio: where their showers start, over pT, (N,).
        features: of the latents: columns :data:`generators.hadrons.latent.FEATURES`, (N, 8).
        azimuth: of the sets' momenta about their partons in rad, (N,).
        noise: of the tokens, (M, 3).
    """

    tokens: TokenSample
    pdg_id: Ints
    pt: Tensor
    rapidity: Tensor
    phi: Tensor
    scale_ratio: Tensor
    features: Tensor
    azimuth: Tensor
    noise: Tensor

    @property
    def index(self) -> Tensor:
        """The set of each hadron, (M,)."""
        return torch.from_numpy(self.tokens.index)


def draft(model: PrimaryFlow, partons: Partons, rng: np.random.Generator, latent: Latent | None = None) -> Draft:
    """Draw all but the momenta of the hadrons of partons.

    Args:
        model: the diffusion model.
        partons: N partons.
        rng: all randomness.
        latent: N latents to use, with extras; by default they are drawn too.
    """
    flavour, pt, conjugated = condition(partons)
    if latent is None:
        latent = model.draw_latent(partons, rng)
    scale = partons.starting_scale
    tokens = tokens_of(latent, flavour, pt, scale, rng)
    flipped = np.repeat(conjugated, tokens.counts)
    pdg_id = IDS[np.where(flipped, CONJUGATE[tokens.species], tokens.species)]
    azimuth = np.arctan2(latent.total[:, 2], latent.total[:, 1])
    return Draft(
        tokens,
        pdg_id,
        pt=_tensor(pt),
        rapidity=_tensor(rapidity(partons)),
        phi=_tensor(phi(partons.p4)),
        scale_ratio=_tensor(scale / pt),
        features=_tensor(latent.features),
        azimuth=_tensor(azimuth),
        noise=_tensor(rng.standard_normal((len(pdg_id), 3))),
    )


def _tensor(values: Floats) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def momenta(flow: SetFlow, draft: Draft, **sampler: Any) -> Tensor:
    """Compute the four-momenta of the hadrons of a draft: differentiable in all its tensors and in the weights.

    Args:
        flow: the flow of the model.
        draft: N sets of M hadrons.
        sampler: see :func:`generators.hadrons.flow.sampler.flow_momenta`.

    Returns:
        Four-momenta in GeV in the frame of the partons, in float64, (M, 4): on the mass shells; each set has the total
        four-momentum that parton and latent say.
    """
    index, device = draft.index, flow.device
    given = given_of_draft(draft).to(device)
    p4 = flow_momenta(flow, given, draft.noise.to(device), **sampler).to(draft.noise.device)
    # see fastsim.event.frames.to_lab
    c, s, ch, sh = (x[index] for x in (draft.phi.cos(), draft.phi.sin(), draft.rapidity.cosh(), draft.rapidity.sinh()))
    along, px, py = p4[:, 1], p4[:, 3] * c + p4[:, 2] * s, p4[:, 3] * s - p4[:, 2] * c
    return torch.stack([p4[:, 0] * ch + along * sh, px, py, along * ch + p4[:, 0] * sh], -1)


def given_of_draft(draft: Draft) -> Given:
    """Return what the flow is given of a draft."""
    tokens = draft.tokens
    flavour = torch.from_numpy(np.asarray(tokens.flavour))
    masses = torch.tensor([PARTON_MASSES[int(abs(f))] for f in tokens.flavour], dtype=torch.float64)
    energy = (draft.pt**2 + masses**2).sqrt()
    single = np.full(len(tokens), np.nan)
    alone = tokens.counts == 1
    single[alone] = tokens.mass[tokens.offsets[:-1][alone]]
    least = torch.from_numpy(least_masses(tokens.species_counts()))
    total = total_momentum(draft.features, least, torch.from_numpy(single), energy, draft.azimuth)
    extras, (species, carrier, mass) = (
        draft.features[:, NUM_TOTAL:],
        (torch.from_numpy(np.asarray(x)) for x in (tokens.species, tokens.carrier, tokens.mass)),
    )
    scale = draft.scale_ratio * draft.pt
    return Given(flavour, draft.pt, scale, energy, total, extras, tokens.counts, species, carrier, mass)


def total_momentum(features: Tensor, least: Tensor, exact: Tensor, energy: Tensor, azimuth: Tensor) -> Tensor:
    """Compute the four-momenta (N, 4) in GeV of sets whose opposite sets are not known.

    This is :func:`generators.hadrons.latent.total_momentum`, differentiable in features, energy and azimuth.

    Args:
        features: columns :data:`generators.hadrons.latent.FEATURES`, (N, 8).
        least: sums of the least masses of the tokens in GeV, (N,).
        exact: masses in GeV of the sets that are a single token, NaN for others, (N,).
        energy: of the partons in GeV, (N,).
        azimuth: of the momenta about the partons, in rad, (N,).
    """
    full = 2 * energy
    free = (full - least).clamp(min=0.0)
    mass = least + free * torch.sigmoid(features[:, MASS].clamp(min=LEAST_LOGIT))
    mass = torch.where(exact.isnan(), mass, exact)
    recoil = (full - mass).clamp(min=0.0) * torch.sigmoid(features[:, RECOIL])
    product = (full - mass - recoil) * (full + mass + recoil) * (full - mass + recoil) * (full + mass - recoil)
    p = product.clamp(min=1e-300).sqrt() / (2 * full)
    angle = (2 * torch.atan((0.5 * features[:, ANGLE]).exp())).clamp(max=MAX_ANGLE)
    across = p * angle.sin()
    energies = (p**2 + mass**2).sqrt()
    return torch.stack([energies, across * azimuth.cos(), across * azimuth.sin(), p * angle.cos()], -1)
