"""Guidance: it moves the observable, and leaves what is exact exact; on a Gaussian it does what it promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fastsim.errors import FastsimError, InvalidValue
from fastsim.event import ParticleSet, Partons
from fastsim.event.frames import to_axis
from generators.hadrons.flow.calibration import strength_for
from generators.hadrons.flow.guidance import Guidance, girth
from generators.hadrons.flow.model import PrimaryFlow
from generators.hadrons.latent import Latent
from generators.hadrons.tokens import IDS, TokenSample
from generators.nn.flow_matching import integrate
from tests.helpers.partons import spread


def test_a_gaussian_is_tilted_by_the_exponential_of_the_observable() -> None:
    # data N(0, s^2) times exp(lambda x) is N(lambda s^2, s^2)
    spread_, strength = 0.5, 1.2
    noise = torch.randn(20_000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def velocity(x: Tensor, sigma: float) -> Tensor:
        alpha = 1 - sigma
        return x * (sigma - alpha * spread_**2) / (sigma**2 + (alpha * spread_) ** 2)

    guidance = Guidance(lambda p4, index, num: p4[:, 0], strength)
    guided = guidance.of(velocity, lambda data: data, torch.arange(len(noise)), len(noise))
    data = integrate(guided, noise, solver="rk2", num_inference_steps=32)
    assert float(data.mean()) == pytest.approx(strength * spread_**2, abs=0.02)
    assert float(data.std()) == pytest.approx(spread_, abs=0.02)


def mean_girth(sets: ParticleSet, partons: Partons) -> float:
    p4 = torch.from_numpy(to_axis(sets.p4, sets.offsets, partons))
    return float(girth(p4, torch.from_numpy(sets.index), len(sets)).mean())


def test_momenta_move_and_totals_and_species_stay(model: PrimaryFlow, sample: TokenSample) -> None:
    latent = Latent.of(sample)
    partons = Partons.from_pt_eta_phi(sample.flavour, sample.pt, np.zeros(len(sample)), np.zeros(len(sample)))
    wider, narrower = model.guided(girth, 40.0), model.guided(girth, -40.0)
    assert model.guidance is None and wider.flow is model.flow
    means = []
    for each in (narrower, model, wider):
        sets, same = each.draw_with_latent(partons, np.random.default_rng(1), latent)
        assert same is latent
        totals = np.add.reduceat(to_axis(sets.p4, sets.offsets, partons), sets.offsets[:-1], axis=0)
        # exact up to the rounding of boosts, which a guidance as strong as this makes large
        assert (np.abs(totals - latent.total) / latent.total[:, :1]).max() < 1e-7
        assert (np.sort(sets.pdg_id) == np.sort(IDS[sample.species])).all()
        means.append(mean_girth(sets, partons))
    assert means[0] < means[1] < means[2]


def test_candidates_are_chosen_by_the_exponential_of_the_observable() -> None:
    guidance = Guidance(lambda p4, index, num: p4[:, 0], 1.0, candidates=2)
    p4 = torch.tensor([[0.0, 0, 0, 0], [np.log(3.0), 0, 0, 0]], dtype=torch.float64).repeat(4000, 1)
    chosen = guidance.choose(p4, torch.arange(8000), torch.Generator().manual_seed(1))
    assert torch.equal(chosen // 2, torch.arange(4000))
    assert float((chosen % 2).double().mean()) == pytest.approx(0.75, abs=0.03)


def test_girth_is_that_of_its_definition() -> None:
    p4 = torch.tensor([[2.0, 0.6, 0.8, 1.0], [1.0, 0.0, 0.0, 1.0], [3.0, 0.0, 3.0, 0.0]], dtype=torch.float64)
    values = girth(p4, torch.tensor([0, 0, 1]), 2)
    assert values.tolist() == pytest.approx([2 * np.pi / 4 / 3, np.pi / 2])


def test_the_strength_of_a_ten_percent_shift_is_found(model: PrimaryFlow) -> None:
    partons = spread([21, 1] * 50, [30.0] * 100)
    strength = strength_for(model, partons, girth, 1.1, rng=1)
    seed = int(np.random.default_rng(1).integers(2**63 - 1))  # the sets that the strength was found on
    own, wider = (model.guided(girth, x).primary(partons, rng=seed) for x in (0.0, strength))
    assert mean_girth(wider, partons) / mean_girth(own, partons) == pytest.approx(1.1, abs=0.011)


def test_shifts_that_cannot_be_are_refused(model: PrimaryFlow) -> None:
    partons = spread([1, 2], [50.0, 60.0])
    with pytest.raises(InvalidValue, match="ratio = -1"):
        strength_for(model, partons, girth, -1, rng=1)
    with pytest.raises(FastsimError, match="no strength multiplies the mean by 2"):
        strength_for(model, partons, lambda p4, index, num: p4.new_ones(num) + 0 * p4.sum(), 2.0, rng=1)
