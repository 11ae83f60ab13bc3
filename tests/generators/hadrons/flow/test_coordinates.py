"""The jet frame, the edge-respecting coordinates and the projection onto a total momentum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from generators.hadrons.flow.coordinates import JetFrame, decode, encode, project, sums

MASSES = torch.tensor([0.0, 0.00051, 0.13957, 0.49368, 0.93827, 1.67245, 5.27], dtype=torch.float64)


def on_shell(momentum: Tensor, mass: Tensor) -> Tensor:
    return torch.cat([(momentum.square().sum(1) + mass**2).sqrt()[:, None], momentum], 1)


def hemispheres(seed: int, num: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    """Return random sets with pz > 0 from soft to hard: p4 (M, 4), masses (M,), the set of each token (M,)."""
    rng = np.random.default_rng(seed)
    index = torch.from_numpy(np.repeat(np.arange(num), rng.integers(2, 30, num)))
    mass = MASSES[rng.integers(0, len(MASSES), len(index))]
    momentum = np.exp(rng.normal(0.5, 1.8, (len(index), 1))) * rng.normal(size=(len(index), 3))
    momentum[:, 2] = np.abs(momentum[:, 2]) + 1e-6
    return on_shell(torch.from_numpy(momentum), mass), mass, index


def mass_squared(p4: Tensor) -> Tensor:
    return p4[:, 0] ** 2 - p4[:, 1:].square().sum(1)


def test_jet_frame_has_no_transverse_momentum_and_keeps_pz() -> None:
    p4, _, index = hemispheres(1)
    frame = JetFrame.of(sums(p4, index, 40))
    inside = frame.from_axis_frame(p4, index)
    total = sums(inside, index, 40)
    assert (total[:, 1:3].abs() <= 1e-9 * total[:, :1]).all()
    torch.testing.assert_close(total[:, 0], frame.energy, rtol=1e-12, atol=0)
    assert torch.equal(inside[:, 3], p4[:, 3])
    torch.testing.assert_close(frame.to_axis_frame(inside, index), p4, rtol=1e-10, atol=1e-10)


def test_coordinates_do_not_change_under_rotations_about_the_axis() -> None:
    p4, _, index = hemispheres(2, 10)
    c, s = np.cos(2.3), np.sin(2.3)
    turned = torch.stack([p4[:, 0], c * p4[:, 1] - s * p4[:, 2], s * p4[:, 1] + c * p4[:, 2], p4[:, 3]], 1)

    def coordinates(momenta: Tensor) -> Tensor:
        frame = JetFrame.of(sums(momenta, index, 10))
        return encode(frame.from_axis_frame(momenta, index), frame.energy[index])

    torch.testing.assert_close(coordinates(p4), coordinates(turned), atol=1e-6, rtol=0)


def test_decode_inverts_encode() -> None:
    p4, mass, index = hemispheres(3)
    energy = sums(p4, index, 40)[index, 0]
    torch.testing.assert_close(decode(encode(p4, energy), energy, mass), p4, rtol=1e-8, atol=1e-9)


@given(st.lists(st.floats(-60, 60), min_size=3, max_size=3), st.floats(1.0, 5000.0), st.sampled_from(MASSES.tolist()))
def test_decode_never_leaves_the_hemisphere(x: list[float], energy: float, mass: float) -> None:
    as_row = (torch.tensor([v], dtype=torch.float64) for v in (x, energy, mass))
    p4 = decode(*as_row)
    assert torch.isfinite(p4).all()
    assert p4[0, 3] > 0
    assert p4[0, 1:].norm() <= energy * (1 + 1e-12)


@pytest.mark.parametrize("strength", [0.0, 0.1, 1.0])
def test_projection_is_exact_on_shell_and_inside(strength: float) -> None:
    p4, mass, index = hemispheres(4, 200)
    wanted = sums(p4, index, 200)
    frame = JetFrame.of(wanted)
    x = encode(frame.from_axis_frame(p4, index), frame.energy[index])
    x = x + strength * torch.from_numpy(np.random.default_rng(5).normal(size=x.shape))
    moved = project(decode(x, frame.energy[index], mass), mass, index, frame)
    total = sums(frame.to_axis_frame(moved, index), index, 200)
    assert ((total - wanted).abs() / wanted[:, :1]).max() < 1e-10
    assert ((mass_squared(moved) - mass**2).abs() <= 1e-9 * moved[:, 0] ** 2).all()
    assert (moved[:, 3] > 0).double().mean() > 0.999
    if strength == 0.0:
        torch.testing.assert_close(moved, frame.from_axis_frame(p4, index), rtol=1e-7, atol=1e-9)


def test_projection_of_a_single_token_and_of_sets_too_heavy_for_their_pz() -> None:
    mass = torch.tensor([0.13957, 0.93827, 0.93827, 0.0], dtype=torch.float64)
    index = torch.tensor([0, 1, 1, 2])
    # two protons back to back, nearly at rest, boosted: their pz would need more energy than the total has
    energy = np.hypot(0.93827, 0.05)
    gamma = 10.0 / np.sqrt(10.0**2 - 9.6**2)
    pair = torch.tensor([2 * gamma * energy, 0.0, 0.0, 2 * gamma * 0.96 * energy], dtype=torch.float64)
    alone = torch.tensor([np.hypot(5.0, 0.13957), 0.0, 0.0, 5.0], dtype=torch.float64)
    photon = torch.tensor([3.0, 0.0, 0.0, 3.0], dtype=torch.float64)
    total = torch.stack([alone, pair, photon])
    momentum = torch.tensor([[0.3, 0, 1.0], [0.2, 0.1, 20.0], [0.1, 0, 0.01], [0.1, 0, 2]], dtype=torch.float64)
    moved = project(on_shell(momentum, mass), mass, index, JetFrame.of(total))
    torch.testing.assert_close(sums(moved, index, 3), total, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(mass_squared(moved), mass**2, rtol=0, atol=1e-8)


def test_derivatives_are_those_of_the_implicit_solution() -> None:
    p4, mass, index = hemispheres(6, 3)
    frame = JetFrame.of(sums(p4, index, 3))
    x = encode(frame.from_axis_frame(p4, index), frame.energy[index])
    x = x + 0.3 * torch.from_numpy(np.random.default_rng(7).normal(size=x.shape))

    def moved(x: Tensor, energy: Tensor, pz: Tensor) -> Tensor:
        changed = JetFrame(energy, pz, frame.velocity, frame.cos, frame.sin)
        return project(decode(x, energy[index], mass), mass, index, changed)

    arguments = [a.clone().requires_grad_() for a in (x, frame.energy * 1.01, frame.pz)]
    assert torch.autograd.gradcheck(moved, arguments, eps=1e-6, atol=1e-5, rtol=1e-4)


def test_gradients_stay_finite_for_sets_without_freedom() -> None:
    mass = torch.tensor([0.13957, 0.0], dtype=torch.float64)
    total = torch.tensor([[np.hypot(5.0, 0.13957), 0.0, 0.0, 5.0], [3.0, 0.0, 0.0, 3.0]], dtype=torch.float64)
    frame, index = JetFrame.of(total), torch.arange(2)
    x = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(project(decode(x, frame.energy, mass), mass, index, frame).sum(), x)
    assert torch.isfinite(gradient).all()
