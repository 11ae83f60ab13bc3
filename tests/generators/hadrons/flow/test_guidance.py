"""Guidance: it moves the observable, and leaves what is exact exact; on a Gaussian it does what it promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fastsim.errors import FastsimError, InvalidValue
from fastsim.event import kinematics
from fastsim.event.frames import to_axis
from generators.hadrons.flow.calibration import strength_for
from generators.hadrons.flow.guidance import Guidance, girth
from generators.hadrons.flow.model import PrimaryFlow
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


def test_girth_moves_and_four_momenta_and_species_stay(model: PrimaryFlow) -> None:
    partons = spread([21] * 40, [100.0] * 40)
    wider = model.guided(girth, 60.0)
    narrower = model.guided(girth, -60.0)
    drawn = {name: m.primary(partons, rng=1) for name, m in (("own", model), ("+", wider), ("-", narrower))}
    assert model.guidance is None and wider.flow is model.flow
    means = {}
    for name, sets in drawn.items():
        np.testing.assert_allclose(sets.sums(), drawn["own"].sums(), rtol=1e-9, atol=1e-7)
        assert np.array_equal(sets.pdg_id, drawn["own"].pdg_id)
        mass = kinematics.mass(sets.p4)
        np.testing.assert_allclose(mass, kinematics.mass(drawn["own"].p4), atol=1e-5)
        p4 = torch.from_numpy(to_axis(sets.p4, sets.offsets, partons))
        means[name] = float(girth(p4, torch.from_numpy(sets.index), len(sets)).mean())
    assert means["-"] < means["own"] < means["+"]


def test_girth_is_that_of_its_definition() -> None:
    p4 = torch.tensor([[2.0, 0.6, 0.8, 1.0], [1.0, 0.0, 0.0, 1.0], [3.0, 0.0, 3.0, 0.0]], dtype=torch.float64)
    values = girth(p4, torch.tensor([0, 0, 1]), 2)
    assert values.tolist() == pytest.approx([2 * np.pi / 4 / 3, np.pi / 2])


def test_the_strength_of_a_ten_percent_shift_is_found(model: PrimaryFlow) -> None:
    partons = spread([21, 1] * 40, [100.0] * 80)
    strength = strength_for(model, partons, girth, 1.1, rng=1)
    sets = [m.primary(partons, rng=2) for m in (model, model.guided(girth, strength))]
    means = []
    for drawn in sets:
        p4 = torch.from_numpy(to_axis(drawn.p4, drawn.offsets, partons))
        means.append(float(girth(p4, torch.from_numpy(drawn.index), len(drawn)).mean()))
    assert means[1] / means[0] == pytest.approx(1.1, abs=0.02)
    np.testing.assert_allclose(sets[1].sums(), sets[0].sums(), rtol=1e-9, atol=1e-7)


def test_shifts_that_cannot_be_are_refused(model: PrimaryFlow) -> None:
    partons = spread([1, 2], [50.0, 60.0])
    with pytest.raises(InvalidValue, match="ratio = -1"):
        strength_for(model, partons, girth, -1, rng=1)
    with pytest.raises(FastsimError, match="no strength multiplies the mean by 2"):
        strength_for(model, partons, lambda p4, index, num: p4.new_ones(num) + 0 * p4.sum(), 2.0, rng=1)
