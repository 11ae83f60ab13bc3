"""Flow matching against closed forms: the sampler carries noise into a known Gaussian."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from generators.nn.flow_matching import draw_sigma, integrate, interpolate, preconditioning

MEAN, SPREAD = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 1.5])


def gaussian_velocity(x: Tensor, sigma: float) -> Tensor:
    """E[noise - data | x] where data is normal with MEAN and SPREAD, in closed form."""
    alpha = 1 - sigma
    variance = (alpha * SPREAD) ** 2 + sigma**2
    return (sigma - alpha * SPREAD**2) / variance * (x - alpha * MEAN) - MEAN


@pytest.mark.parametrize(
    ("solver", "steps", "tolerance"), [("euler", 200, 0.02), ("heun", 64, 0.01), ("dpm", 64, 0.02)]
)
def test_sampler_maps_noise_onto_the_analytic_gaussian(solver: str, steps: int, tolerance: float) -> None:
    noise = torch.randn(2000, 2, generator=torch.Generator().manual_seed(1))
    data = integrate(gaussian_velocity, noise, solver=solver, num_inference_steps=steps)  # type: ignore[arg-type]
    # the flow of a Gaussian is the affine map, point by point
    assert torch.allclose(data, MEAN + SPREAD * noise, atol=4 * tolerance)
    assert float((data - MEAN - SPREAD * noise).abs().mean()) < tolerance


@pytest.mark.parametrize(("solver", "most"), [("euler", 16), ("heun", 16), ("dpm", 16)])
def test_network_evaluations_are_bounded(solver: str, most: int) -> None:
    levels: list[float] = []

    def velocity(x: Tensor, sigma: float) -> Tensor:
        levels.append(sigma)
        return torch.zeros_like(x)

    integrate(velocity, torch.zeros(3, 2), solver=solver, num_inference_steps=most)  # type: ignore[arg-type]
    assert most - 1 <= len(levels) <= most
    assert levels[0] > 0.99
    assert levels == sorted(levels, reverse=True)


def test_euler_steps_are_even() -> None:
    """The scheduler's own last step goes from noise level 0.001 to 0."""
    levels: list[float] = []

    def velocity(x: Tensor, sigma: float) -> Tensor:
        levels.append(sigma)
        return x

    data = integrate(velocity, torch.ones(1, 1), solver="euler", num_inference_steps=4)
    assert levels == pytest.approx([1.0, 0.75, 0.5, 0.25])
    assert float(data) == pytest.approx(0.75**4, rel=1e-5)


def test_more_steps_are_closer() -> None:
    noise = torch.randn(500, 2, generator=torch.Generator().manual_seed(2))
    truth = MEAN + SPREAD * noise

    def error(steps: int) -> float:
        return float((integrate(gaussian_velocity, noise, solver="euler", num_inference_steps=steps) - truth).norm())

    assert error(64) < 0.6 * error(32) < 0.36 * error(16)


def test_shift_moves_levels_towards_the_data() -> None:
    def levels(shift: float) -> list[float]:
        evaluated: list[float] = []

        def velocity(x: Tensor, sigma: float) -> Tensor:
            evaluated.append(sigma)
            return torch.zeros_like(x)

        integrate(velocity, torch.zeros(1, 1), solver="euler", num_inference_steps=8, shift=shift)
        return evaluated

    assert all(a < b for a, b in zip(levels(0.5)[1:], levels(1.0)[1:], strict=True))


def test_preconditioned_zero_network_is_the_best_linear_guess() -> None:
    rng = torch.Generator().manual_seed(3)
    x, noise = torch.randn(200_000, generator=rng), torch.randn(200_000, generator=rng)
    for level in (0.1, 0.5, 0.9):
        sigma = torch.tensor(level)
        mixed, velocity = interpolate(x, noise, sigma), noise - x
        c_in, c_skip, c_out = preconditioning(sigma)
        residual = (velocity - c_skip * mixed) / c_out
        assert float((c_in * mixed).std()) == pytest.approx(1.0, abs=0.01)
        assert float(residual.std()) == pytest.approx(1.0, abs=0.01)
        assert float((residual * mixed).mean()) == pytest.approx(0.0, abs=0.01)


def test_noise_levels_are_logit_normal_and_stratified() -> None:
    sigma = draw_sigma(1000, 0.3, 0.8, np.random.default_rng(4))
    logit = np.log(sigma / (1 - sigma))
    assert logit.mean() == pytest.approx(0.3, abs=0.01)
    assert logit.std() == pytest.approx(0.8, abs=0.02)
    few = draw_sigma(10, 0.0, 1.0, np.random.default_rng(5))
    uniform = np.sort([0.5 * (1 + math.erf(math.log(s / (1 - s)) / math.sqrt(2))) for s in few])
    assert np.array_equal(np.floor(10 * uniform), np.arange(10))


def test_unknown_solver_and_too_few_evaluations_are_refused() -> None:
    noise = torch.zeros(1, 1)
    with pytest.raises(ValueError, match="unknown solver 'rk4'"):
        integrate(gaussian_velocity, noise, solver="rk4", num_inference_steps=8)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_inference_steps = 2: heun needs"):
        integrate(gaussian_velocity, noise, solver="heun", num_inference_steps=2)
