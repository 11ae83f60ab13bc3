"""The latent: coordinates that are the kinematics, their Jacobian, counts that are a normalised distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastsim.event import Floats
from generators.hadrons.latent import (
    FEATURES,
    NUM_TOTAL,
    CountModel,
    Latent,
    LatentModel,
    total_log_jacobian,
    total_momentum,
)
from generators.hadrons.tokens import SPECIES, SPECIES_MASS, TokenSample, parton_energy
from generators.reference.pythia import token_sample

SIZES = {"width": 8, "max_size": 30, "max_pions": 12, "max_others": 6}


@pytest.fixture(scope="module")
def sample() -> TokenSample:
    rng = np.random.default_rng(1)
    return token_sample(rng.choice([1, 2, 3, 4, 5, 21], 60), np.exp(rng.uniform(3.0, 7.6, 60)), seed=4)


def test_features_give_the_total_back(sample: TokenSample) -> None:
    latent, energy = Latent.of(sample), parton_energy(sample.flavour, sample.pt)
    azimuth = np.arctan2(latent.total[:, 2], latent.total[:, 1])
    total = total_momentum(latent.features, latent.counts, energy, azimuth)
    assert (np.abs(total - latent.total).max(-1) / energy).max() < 1e-12


def test_any_features_leave_an_opposite_hemisphere(sample: TokenSample) -> None:
    latent, energy = Latent.of(sample), parton_energy(sample.flavour, sample.pt)
    rng = np.random.default_rng(2)
    wild = latent.features + rng.normal(0, 6, latent.features.shape)
    total = total_momentum(wild, latent.counts, energy, rng.uniform(-3, 3, len(energy)))
    momentum = np.sqrt((total[:, 1:] ** 2).sum(-1))
    assert (total[:, 3] >= 0).all()
    assert (total[:, 0] + momentum <= 2 * energy * (1 + 1e-12)).all()
    mass2 = (total[:, 0] - momentum) * (total[:, 0] + momentum)
    assert (mass2 >= (latent.counts @ SPECIES_MASS) ** 2 - 1e-9 * energy**2).all()


def test_jacobian_against_differences(sample: TokenSample) -> None:
    whole = Latent.of(sample)
    rows = np.flatnonzero(whole.counts.sum(-1) > 3)
    latent, energy = whole[rows], parton_energy(sample.flavour, sample.pt)[rows]

    def coordinates(total: Floats) -> Floats:
        """Features and azimuth / 2 pi of sets of one massive and one massless particle with this total."""
        p = np.sqrt((total[:, 1:] ** 2).sum(-1))
        mass = np.sqrt((total[:, 0] - p) * (total[:, 0] + p))
        recoil = np.sqrt((2 * energy - total[:, 0] - p) * (2 * energy - total[:, 0] + p))
        least = latent.counts @ SPECIES_MASS
        logit = [np.log((mass - least) / (2 * energy - mass)), np.log(recoil / (2 * energy - mass - recoil))]
        theta = np.arctan2(np.hypot(total[:, 1], total[:, 2]), total[:, 3])
        return np.stack([*logit, 2 * np.log(np.tan(theta / 2)), np.arctan2(total[:, 2], total[:, 1]) / (2 * np.pi)], -1)

    np.testing.assert_allclose(coordinates(latent.total)[:, :3], latent.features[:, :3], atol=1e-6)
    derivative = np.empty((len(rows), 4, 4))
    for k in range(4):
        step = np.zeros((len(rows), 4))
        step[:, k] = 1e-6 * energy
        difference = coordinates(latent.total + step) - coordinates(latent.total - step)
        derivative[:, :, k] = difference / (2e-6 * energy)[:, None]
    numerical = np.log(np.abs(np.linalg.det(derivative)))
    # the azimuth may wrap, and the lightest sets change within a step: nearly all rows
    assert np.quantile(np.abs(numerical - total_log_jacobian(latent, energy)), 0.9) < 1e-4


def test_counts_of_small_sets_sum_to_one() -> None:
    torch.manual_seed(1)
    model = CountModel(3, **SIZES).eval()
    for weight in model.parameters():
        weight.data += 0.2 * torch.randn_like(weight)
    singles = torch.eye(len(SPECIES), dtype=torch.long)
    pairs = torch.stack([a + b for i, a in enumerate(singles) for b in singles[i:]])
    condition = torch.tensor([[0.3, -1.0, 0.5]])
    with torch.no_grad():
        sizes = torch.softmax(model.size(condition), -1)[0]
        for number, counts in ((1, singles), (2, pairs)):
            total = model.log_prob(condition.expand(len(counts), -1), counts).exp().sum()
            assert float(total) == pytest.approx(float(sizes[number - 1]), rel=1e-4)


def test_drawn_counts_follow_the_density() -> None:
    torch.manual_seed(2)
    model = CountModel(3, **SIZES).eval()
    for weight in model.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    num, condition = 40_000, torch.tensor([[0.3, -1.0, 0.5]])
    drawn = model.sample(condition.expand(num, -1), torch.Generator().manual_seed(3))
    assert int(drawn.sum(-1).min()) >= 1 and int(drawn.sum(-1).max()) <= SIZES["max_size"]
    with torch.no_grad():
        sizes = torch.softmax(model.size(condition), -1)[0].numpy()
    frequencies = np.bincount(drawn.sum(-1).numpy() - 1, minlength=len(sizes)) / num
    # the networks run in bfloat16 when sampling
    assert np.abs(frequencies - sizes).max() < 0.01
    only_pi0 = torch.zeros(1, len(SPECIES), dtype=torch.long)
    only_pi0[0, SPECIES.index(111)] = 1
    with torch.no_grad():
        expected = float(model.log_prob(condition, only_pi0).exp())
    share = float((drawn == only_pi0).all(-1).float().mean())
    assert abs(share - expected) < 5 * np.sqrt(expected / num) + 0.03 * expected


def test_extras_are_drawn_where_asked(sample: TokenSample) -> None:
    torch.manual_seed(3)
    model = LatentModel(count_width=8, flow_width=16, max_size=60).eval()
    model.set_scales(torch.from_numpy(Latent.of(sample).features).float())
    both = [model.sample(sample.flavour, sample.pt, torch.Generator().manual_seed(4), extras=e) for e in (True, False)]
    assert both[0].features.shape[1] == len(FEATURES) and both[1].features.shape[1] == NUM_TOTAL
    assert (both[0].counts == both[1].counts).all() and (both[0].features[:, :NUM_TOTAL] == both[1].features).all()
