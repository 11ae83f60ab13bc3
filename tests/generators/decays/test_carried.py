"""Decays carried along with the hadrons that they come from."""

from __future__ import annotations

import numpy as np
import torch

from fastsim.event import ParticleSet
from generators.decays import decay
from generators.decays.carried import carried

IDS = np.array([111, 221, 323, 521, -5122, 443, 113, 211, 4122, 22, 331, -15])
MASSES = np.array([0.13498, 0.54785, 0.89, 5.27925, 5.6194, 3.09692, 0.77, 0.13957, 2.28646, 0.0, 0.95778, 1.77682])


def hadrons(momenta: torch.Tensor) -> ParticleSet:
    p = momenta.numpy()
    energy = np.sqrt((p**2).sum(1) + np.tile(MASSES, 2) ** 2)
    return ParticleSet(np.array([0, len(IDS), 2 * len(IDS)]), np.tile(IDS, 2), np.column_stack([energy, p]))


def test_final_momenta_and_their_derivatives() -> None:
    """Chains of kernels and of Pythia: the values are those that were drawn, and they move as a new draw would."""
    torch.manual_seed(3)
    momenta = 10 * torch.randn(2 * len(IDS), 3, dtype=torch.float64)
    primary = hadrons(momenta)
    final = decay(primary, np.random.default_rng(2), tau0_max=10.0)
    assert len(final.pdg_id) > 3 * len(IDS)
    start = momenta.clone().requires_grad_()
    energy = ((start**2).sum(1) + torch.from_numpy(np.tile(MASSES, 2)) ** 2).sqrt()
    p4 = carried(torch.cat([energy[:, None], start], 1), primary, final, 10.0)
    torch.testing.assert_close(p4.detach(), torch.from_numpy(final.p4), rtol=1e-9, atol=1e-7)

    weights = torch.randn(p4.shape, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weights * p4).sum(), start)
    direction, step = torch.randn_like(momenta), 1e-5
    moved = [decay(hadrons(momenta + s * step * direction), np.random.default_rng(2), tau0_max=10.0) for s in (1, -1)]
    assert all(np.array_equal(sets.pdg_id, final.pdg_id) for sets in moved)
    difference = float((weights.numpy() * (moved[0].p4 - moved[1].p4)).sum() / (2 * step))
    assert abs(float((gradient * direction).sum()) - difference) < 1e-4 * abs(difference)
