"""The networks of the voxels: densities that are normalised, and a start from what is known without learning."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from generators.nn.flow_matching import dpm_between, integrate
from generators.showers.cascade.grid import Grid
from generators.showers.cascade.latent import COLUMNS, turned_latent
from generators.showers.flow.network import LayerNetwork, LayerNetworkConfig
from generators.showers.flow.patches import Patches
from generators.showers.flow.voxels import FlowConfig, VoxelFlow, conditions

SMALL = LayerNetworkConfig(width=16, depth=2, heads=2, hidden=4)
CONFIG = FlowConfig(denoiser=SMALL, decoder=SMALL, num_components=3, sigma_min=0.3)
GRID = Grid(((0.0, 2.0, 6.0), (0.0, 6.0), (0.0, 2.0, 6.0)), 4)


def flow() -> VoxelFlow:
    torch.manual_seed(1)
    return VoxelFlow(Patches(GRID, 0.01, 1.3), 3, CONFIG)


def given(num: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of layers and contexts of some showers."""
    rng = np.random.default_rng(2)
    z = np.abs(rng.normal(1, 0.3, (num, len(COLUMNS)))).astype(np.float32)
    context = conditions(np.ones((num, 3), np.float32), np.full(num, 5.0), z)
    layers = torch.from_numpy(rng.exponential(1.0, (num, 3)).astype(np.float32))
    return flow().layer_features(layers), torch.from_numpy(context)


def test_a_new_network_gives_the_best_linear_guess() -> None:
    model, (features, context) = flow(), given(4)
    x, sigma = torch.randn(4, 3, 8), torch.full((4,), 0.6)
    u = model.velocity(x, sigma, features, context)
    torch.testing.assert_close(u, (2 * 0.6 - 1) / (0.36 + 0.16) * x * model.mask)
    assert (u[:, 1, 4:] == 0).all() and model.mask.sum() == GRID.num_voxels


def test_all_is_computed_on_one_device() -> None:
    """torch's device "meta" computes shapes alone, and refuses numbers of another device as CUDA does."""
    model, (features, context) = flow().to("meta"), (each.to("meta") for each in given(4))
    x = torch.zeros(4, 3, 8, device="meta")
    layers = torch.ones(4, 3, device="meta")
    assert model.layer_features(layers).shape == features.shape
    assert model.velocity(x, x.new_full((4,), 0.5), features, context).shape == x.shape
    assert model.decode(x, features, context).shape == (4, 3, 8, 10)


def test_layers_see_each_other_and_showers_do_not() -> None:
    torch.manual_seed(3)
    network = LayerNetwork(3, 8, 4, 5, 2, SMALL)
    for parameter in network.parameters():  # new blocks are the identity, new outputs 0
        torch.nn.init.normal_(parameter, std=0.3)
    patches, features, context = torch.randn(2, 3, 8), torch.randn(2, 3, 4), torch.randn(2, 5)
    before = network(patches, features, context)
    assert before.shape == (2, 3, 8, 2)
    patches[0, 2, 5] += 1.0
    changed = (network(patches, features, context) - before).abs().amax((2, 3)) > 1e-6
    assert changed[0].all() and not changed[1].any()


@pytest.mark.parametrize("column", [0, 5])
def test_the_density_of_deposits_is_normalised(column: int) -> None:
    model, (features, context) = flow(), given(1)
    torch.nn.init.normal_(model.decoder.outputs.weight, std=0.5)
    parameters = model.decode(torch.rand(1, 3, 8), features, context).detach()
    logs = torch.linspace(-25, 25, 20_001)
    deposits = torch.zeros(len(logs) + 1, 3, 8)
    deposits[1:, 0, column] = 0.01 * torch.exp(logs)
    nll = model.decoder_nll(deposits, parameters.expand(len(deposits), -1, -1, -1))[:, 0, column].double()
    none, density = torch.exp(-nll[0]), torch.exp(-nll[1:])
    assert float(none + density.sum() * (logs[1] - logs[0])) == pytest.approx(1.0, abs=1e-3)
    assert 0.01 < float(none) < 0.99


def test_contexts_of_scalars_do_not_turn() -> None:
    rng = np.random.default_rng(4)
    z = np.abs(rng.normal(1, 0.3, (20, len(COLUMNS)))).astype(np.float32)
    particle, energy = np.ones((20, 3), np.float32), np.full(20, 5.0)
    one = conditions(particle, energy, z)
    two = conditions(particle, energy, turned_latent(z, rng.uniform(-3, 3, 20), rng.random(20) < 0.5))
    np.testing.assert_allclose(two[:, :10], one[:, :10])
    lengths = [np.hypot(c[:, 10::2], c[:, 11::2]) for c in (one, two)]
    np.testing.assert_allclose(lengths[0], lengths[1], rtol=1e-4)


@pytest.mark.parametrize("width", [0.02, 0.1, 0.5, 1.0])
def test_few_steps_keep_the_width_of_a_gaussian(width: float) -> None:
    """The exact flow of a Gaussian, stopped at 0.2: eight evaluations of dpm give its spread to 1%; euler's is less."""
    noise = torch.randn(100_000, 1, generator=torch.Generator().manual_seed(1))
    noise = (noise - noise.mean()) / noise.std()

    def velocity(x: torch.Tensor, sigma: float) -> torch.Tensor:
        signal = 1 - sigma
        return (sigma - signal * width**2) / (signal**2 * width**2 + sigma**2) * x

    wanted = ((0.8 * width) ** 2 + 0.2**2) ** 0.5
    dpm = float(integrate(velocity, noise, solver="dpm", num_inference_steps=8, last=0.2).std())
    assert dpm == pytest.approx(wanted, rel=0.01)
    euler = float(integrate(velocity, noise, solver="euler", num_inference_steps=8, last=0.2).std())
    assert euler == pytest.approx(wanted, rel=0.12)
    if width == 1.0:
        assert euler < 0.92 * wanted


def test_the_steps_are_those_of_diffusers() -> None:
    noise = torch.from_numpy(np.random.default_rng(3).normal(size=(5, 4)))
    wanted, scheduler = noise, dpm_between([float(level) for level in np.linspace(1.0, 0.15, 9)])
    for timestep in scheduler.timesteps:
        sigma = float(timestep) / 1000
        wanted = scheduler.step((wanted**3 - 1) * sigma, timestep, wanted, return_dict=False)[0]
    found = integrate(lambda x, sigma: (x**3 - 1) * sigma, noise, solver="dpm", num_inference_steps=8, last=0.15)
    assert float(abs(wanted - noise).max()) > 0.5
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_what_cannot_stop_above_zero_says_so() -> None:
    noise = torch.zeros(1, 1)
    with pytest.raises(ValueError, match=r"solver 'rk2', 8 steps: above 0 stop euler and dpm"):
        integrate(lambda x, sigma: x, noise, solver="rk2", num_inference_steps=8, last=0.2)
    with pytest.raises(ValueError, match="end above 0"):
        dpm_between([1.0, 0.5, 0.0])
