r"""Latents of hadrons as a differentiable function of the parton, for the draw that was made.

What is discrete - the counts of species and the carrier - stays as drawn; its log-probability is differentiable in the
parton. The features x of a flow, :math:`T(x; c) = z` with normal noise z, move with the context c so that z stays:

.. math:: \mathrm{d}x = -\left(\frac{\partial T}{\partial x}\right)^{-1} \frac{\partial T}{\partial c} \, \mathrm{d}c

References:
    Figurnov, Mohamed, Mnih, Implicit reparameterization gradients, 2018, arXiv:1805.08498.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.autograd import grad

from fastsim.event import Ints
from fastsim.event.species import PARTON_MASSES
from generators.hadrons.count_shapes import NUM_SIDE, least_masses
from generators.hadrons.flow.drafts import total_momentum
from generators.hadrons.latent import NUM_TOTAL, Latent
from generators.hadrons.latent_model import LatentModel
from generators.hadrons.tokens import FLAVOURS, NUM_CONTENT
from generators.nn.flows import SplineFlow


def condition_of(flavour: Ints, pt: Tensor) -> Tensor:
    """Compute :meth:`LatentModel.condition` (N, C) of partons whose showers start at pT, differentiable in pT (N,)."""
    log_pt = (pt.log() - np.log(100.0)) / np.log(10.0)
    none = torch.zeros_like(log_pt)
    numbers = torch.stack([log_pt, log_pt**2, log_pt**3, none, none], -1)
    one_hot = torch.from_numpy(flavour[:, None] == np.array(FLAVOURS)).to(pt.dtype)
    return torch.cat([one_hot, numbers, none[:, None].expand(-1, NUM_SIDE)], -1).float()


def latent_of(model: LatentModel, flavour: Ints, pt: Tensor, latent: Latent) -> tuple[Tensor, Tensor, Tensor]:
    """Return what is continuous of drawn latents as a function of pT, and the log-probability of what is not.

    Args:
        model: what they were drawn from.
        flavour: of the partons, one of ``tokens.FLAVOURS``, (N,).
        pt: of the partons in GeV, (N,).
        latent: as drawn for these partons.

    Returns:
        Total four-momenta in the axis frame in GeV (N, 4), features (N, F) and log-probabilities of counts and
        carriers (N,).
    """
    counts, carrier = torch.from_numpy(np.asarray(latent.counts)), torch.from_numpy(np.asarray(latent.carrier))
    condition = condition_of(flavour, pt)
    context = model._context(condition, counts, carrier)
    drawn = torch.from_numpy(latent.features)
    parts = [_reparametrised(model.total_flow, context, drawn[:, :NUM_TOTAL])]
    if drawn.shape[1] > NUM_TOTAL:
        known = model._with_total(context, parts[0])
        parts.append(_reparametrised(model.extras_flow, known, drawn[:, NUM_TOTAL:]))
    features = torch.cat(parts, 1)
    masses = torch.tensor([PARTON_MASSES[int(f)] for f in flavour], dtype=pt.dtype)
    total = latent.total
    size = np.sqrt((total[:, 1:] ** 2).sum(1))
    mass = np.sqrt(np.maximum((total[:, 0] - size) * (total[:, 0] + size), 0.0))
    single = torch.from_numpy(np.where(latent.counts.sum(1) == 1, mass, np.nan))
    azimuth = torch.from_numpy(np.arctan2(total[:, 2], total[:, 1]))
    least = torch.from_numpy(least_masses(latent.counts))
    momentum = total_momentum(features, least, single, (pt**2 + masses**2).sqrt(), azimuth)
    free = torch.zeros(len(pt), NUM_CONTENT), torch.zeros(len(pt), dtype=torch.bool)
    return momentum, features, model.count_model.log_prob(condition, counts, carrier, *free)


def _reparametrised(flow: SplineFlow, context: Tensor, drawn: Tensor) -> Tensor:
    """Return drawn features (N, D) of a flow, in float64, with their derivatives by contexts (N, C)."""
    if not context.requires_grad:
        return drawn
    x = drawn.float().requires_grad_()
    with torch.enable_grad():
        noise = flow.transform((x - flow.mean) / flow.std, context.detach())[0]
        rows = [grad(noise[:, k].sum(), x, retain_graph=True)[0] for k in range(flow.num_features)]
    moved = flow.transform((x.detach() - flow.mean) / flow.std, context)[0]
    step = torch.linalg.solve(torch.stack(rows, 1).double(), (moved - moved.detach()).double())
    result: Tensor = drawn - step
    return result
