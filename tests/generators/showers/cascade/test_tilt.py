"""Tilted particles in a cascade: turns, the mirror at the plane of the tilt, densities, and the normal as a case."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from fastsim.event import Floats, Ints
from generators.showers.cascade.grid import Deposits, Grid
from generators.showers.cascade.initial import along_normal, initialise
from generators.showers.cascade.latent import FIRST_VECTOR, latent_of
from generators.showers.cascade.network import STAGES, Cascade, with_response
from generators.showers.cascade.sampler import CascadeSampler
from generators.showers.cascade.tilt import SideAngle, Tilt, slant_of, tilt_of, turned_tilt
from tests.helpers.showers import electron_binning

SIZES = {stage: {"width": 16, "depth": 2, "num_components": 3} for stage in STAGES}
FLOW = {"width": 16, "num_layers": 2, "num_bins": 4}
GRID = Grid.of(electron_binning(6, 3, 16))


def cascade(*, tilted: bool, seed: int = 1) -> Cascade:
    """Make an untrained cascade with a latent, all weights of which count."""
    torch.manual_seed(seed)
    model = Cascade(GRID, (11, 22), SIZES, FLOW, tilted=tilted)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for stage in STAGES:
            model.net(stage).shift.add_(0.2)
            model.net(stage).scale.add_(0.3)
    return model.eval()


def showers(num: int, rng: np.random.Generator) -> tuple[Ints, Floats, Deposits]:
    """Draw PDG ids, energies in GeV and voxels in MeV."""
    voxels = rng.exponential(size=(num, GRID.num_voxels)) * (rng.random((num, GRID.num_voxels)) < 0.7)
    return rng.choice([11, 22], num), np.exp(rng.uniform(0, 4, num)), voxels.astype(np.float32)


def test_the_slant_is_how_much_longer_the_way_through_a_layer_is() -> None:
    theta = np.array([0.0, 0.3, np.pi / 4])
    slant = slant_of(tilt_of(theta, np.array([1.0, 2.0, -3.0])))
    np.testing.assert_allclose(slant, 4 * (1 / np.cos(theta) - 1), atol=2e-6)


def test_the_latent_and_the_tilt_turn_together() -> None:
    """The flow sees the same of a shower that is turned and mirrored together with its direction of flight."""
    rng = np.random.default_rng(2)
    pdg_id, energy, voxels = showers(60, rng)
    tilt = tilt_of(rng.uniform(0, 0.8, 60), rng.uniform(-4, 4, 60))
    tilt[:5] = 0
    sign, shift = GRID.random_turns(60, rng)
    mirrored, angle = GRID.turn_back(sign, shift)
    around = turned_tilt(tilt, np.where(mirrored, angle, -angle), mirrored)
    # turn_back undoes it
    np.testing.assert_allclose(turned_tilt(around, angle, mirrored), tilt, atol=1e-6)
    model = cascade(tilted=True)
    rows = [
        model.latent_rows(pdg_id, energy, latent_of(GRID, GRID.heaps(v)), t)
        for v, t in ((voxels, tilt), (GRID.turned(voxels, sign, shift), around))
    ]
    for one, other in zip(*rows, strict=True):
        torch.testing.assert_close(one[5:], other[5:], rtol=1e-3, atol=1e-4)
    # along the normal the side is what fixes the frame: its mirror image is another shower
    torch.testing.assert_close(rows[0][1][:5], rows[1][1][:5])


def test_latents_are_drawn_about_the_tilt_as_its_density_says() -> None:
    model, rng, num = cascade(tilted=True), np.random.default_rng(3), 4000
    assert model.latent is not None and model.latent.angle is not None
    pdg_id, energy = np.full(num, 11), np.full(num, 5.0)
    tilt = tilt_of(np.full(num, 0.7), rng.uniform(-3, 3, num))
    visible = np.full(num, 150.0, np.float32)
    context = with_response(model.given(pdg_id, energy), visible, energy)
    z = model.latent.sample(context, visible, rng, tilt)
    side = np.arctan2(z[:, FIRST_VECTOR + 1], z[:, FIRST_VECTOR])
    apart = np.angle(np.exp(1j * (np.arctan2(tilt[:, 1], tilt[:, 0]) - side)))
    assert (apart > 0).mean() == pytest.approx(0.5, abs=5 / np.sqrt(4 * num))
    grid = np.linspace(0, np.pi, 2001)
    points = torch.from_numpy(np.sin(0.7) * np.column_stack([np.cos(grid), np.sin(grid)])).float()
    given = torch.from_numpy(np.column_stack([context, slant_of(tilt)])[:1]).expand(len(grid), -1)
    with torch.no_grad():
        density = model.latent.angle.log_prob(given, points).exp().numpy()
    cumulative = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)]) * np.pi / 2000
    assert cumulative[-1] == pytest.approx(1, abs=2e-3)
    assert density.max() > 1.1 * density.min(), "the angle is not flat, or the test says nothing"
    assert kstest(np.abs(apart), lambda x: np.interp(x, grid, cumulative)).pvalue > 1e-3


def test_along_the_normal_the_angle_is_flat() -> None:
    torch.manual_seed(0)
    angle = SideAngle(5)
    with torch.no_grad():
        angle.last.weight.normal_()
    context, size = torch.randn(20, 5), torch.zeros(20)
    np.testing.assert_allclose(angle(context, size).exp().detach().numpy(), 1 / 64, rtol=1e-5)


def test_mirror_images_at_the_plane_of_the_tilt_are_as_likely() -> None:
    """Showers drawn for opposite mirror images of a direction have mirror images as means."""
    model, num = cascade(tilted=True), 3000
    sampler, pdg_id, energy = CascadeSampler(model), np.full(num, 11), np.full(num, 20.0)
    tilt = tilt_of(np.full(num, 0.75), np.zeros(num))
    voxels = sampler.sample(pdg_id, energy, np.random.default_rng(1), tilt)
    sectors = voxels.reshape(num, 6, 16, 3).sum((1, 3))
    apart = sectors - sectors[:, ::-1]  # alpha to -alpha
    assert (np.abs(apart.mean(0)) <= 5 * apart.std(0) / np.sqrt(num) + 1e-9).all() and apart.std() > 0


def test_what_is_known_along_the_normal_is_kept_both_ways() -> None:
    """A tilted cascade starts as one along the normal, and gives one that is the same there."""
    rng = np.random.default_rng(4)
    pdg_id, energy, voxels = showers(20, rng)
    heaps, normal = GRID.heaps(voxels), np.zeros((20, 2), np.float32)

    def likelihoods(model: Cascade, tilt: Tilt | None) -> list[torch.Tensor]:
        assert model.latent is not None
        rows = model.rows(pdg_id, energy, heaps, tilt)
        latent = model.latent_rows(pdg_id, energy, latent_of(GRID, heaps), tilt)
        with torch.no_grad():
            splits = [model.net(stage).log_prob(rows[stage]) for stage in STAGES]
            return [*splits, model.latent.flow.log_prob(*latent)]

    tilted, plain = cascade(tilted=True), cascade(tilted=False, seed=2)
    plain.load_state_dict(along_normal(tilted))
    for one, other in zip(likelihoods(tilted, normal), likelihoods(plain, None), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    again, back = cascade(tilted=True, seed=3), cascade(tilted=False, seed=4)
    initialise(back, tilted, "c.json: init")
    kept = initialise(again, plain, "c.json: init")
    assert {stage: int((~mask).sum()) for stage, mask in kept.items()} == {
        "response": 1,
        "layers": 1,
        "rings": 1,
        "sectors": 3,
    }
    steep = tilt_of(np.full(20, 0.7), np.linspace(0, 6, 20))
    # the flow sees mirror images, so only the splits are the same at any angle
    for one, other in zip(likelihoods(plain, None)[:4], likelihoods(again, steep)[:4], strict=True):
        torch.testing.assert_close(one, other)
    for one, other in zip(likelihoods(plain, None), likelihoods(back, None), strict=True):
        torch.testing.assert_close(one, other)
    both = cascade(tilted=True, seed=5)
    initialise(both, tilted, "c.json: init")
    for one, other in zip(likelihoods(tilted, steep), likelihoods(both, steep), strict=True):
        torch.testing.assert_close(one, other)


def test_a_cascade_of_tilted_showers_needs_a_latent() -> None:
    with pytest.raises(ValueError, match="a cascade of tilted showers needs a latent"):
        Cascade(GRID, (11,), SIZES, tilted=True)
