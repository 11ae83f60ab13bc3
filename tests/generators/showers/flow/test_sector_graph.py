"""The graph of the splits into sectors: densities of the cascade, from nothing but deposits and latents."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp

from fastsim.errors import FastsimError
from generators.showers.cascade.features import Numbers, all_nodes
from generators.showers.cascade.grid import Grid
from generators.showers.cascade.latent import blurred_sectors, latent_of
from generators.showers.cascade.network import STAGES, Cascade
from generators.showers.flow.sector_graph import SectorGraph
from tests.helpers.showers import electron_binning, toy_showers

SIZES = {stage: {"width": 16, "depth": 2, "num_components": 3} for stage in STAGES}
FLOW = {"width": 16, "num_layers": 2, "num_bins": 4}
GRIDS = {
    "as the lead-silicon calorimeter": Grid.of(electron_binning(6, 3, 16)),
    "layers of different rings": Grid(
        ((0.0, 1.0, 2.0, 3.0, 6.0), (0.0, 1.0, 2.0, 6.0), (0.0, 2.0, 8.0), (0.0, 8.0)), 8
    ),
    "ten sectors, or one": Grid(
        ((0.0, 5.0, 10.0), (0.0, 2.0, 4.0, 8.0), (0.0, 20.0), (0.0, 3.0, 9.0)), 10, frozenset({0, 2})
    ),
}


def cascade(grid: Grid) -> Cascade:
    """Make an untrained cascade whose splits depend on everything."""
    torch.manual_seed(1)
    model = Cascade(grid, (11, 22), SIZES, FLOW)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("name", GRIDS)
def test_the_graph_has_the_densities_of_the_cascade(name: str) -> None:
    grid, rng = GRIDS[name], np.random.default_rng(3)
    model, num = cascade(grid), 40
    sparse = rng.exponential(0.2, (num, grid.num_voxels)) * (rng.random((num, grid.num_voxels)) < 0.5)
    heaps = grid.heaps(sparse.astype(np.float32))
    pdg_id, energy = rng.choice([11, 22], num), np.exp(rng.uniform(0, 4, num))
    rows = model.sector_rows(pdg_id, energy, heaps)
    nodes = all_nodes(heaps, grid.divided, grid.halved)
    z = blurred_sectors(latent_of(grid, heaps), np.random.default_rng(0))  # as sector_rows blurs
    given = (heaps, z, model.given(pdg_id, energy), nodes)
    with torch.inference_mode():
        wanted = model.net("sectors").log_prob(rows).numpy()
        found = SectorGraph(model)(*(torch.from_numpy(each) for each in given)).numpy().astype(float)
    n, layer, ring, node = nodes.T
    first, second = heaps[n, layer, ring, 2 * node].astype(float), heaps[n, layer, ring, 2 * node + 1].astype(float)
    case = np.where(second <= 0, 1, np.where(first <= 0, 2, 0))
    density = np.take_along_axis(log_softmax(found[:, :3], axis=1), case[:, None], axis=1)[:, 0]
    both = case == 0
    weights, means, widths = np.split(found[both, 3:], 3, axis=1)
    x = (np.log(first[both]) - np.log(second[both]))[:, None]
    pull = (x - means) * np.exp(-widths)
    kernel = -pull - 2 * np.logaddexp(0, -pull) - widths
    density[both] += logsumexp(log_softmax(weights, axis=1) + kernel, axis=1)
    assert set(case) == {0, 1, 2} and len(nodes) > 500
    np.testing.assert_allclose(density, wanted, atol=1e-3)


def test_what_it_reads_of_a_shower_matters_and_no_more() -> None:
    """A split depends on the latent and on what is in front of it; not on the sectors of the layers behind."""
    grid = GRIDS["as the lead-silicon calorimeter"]
    showers = toy_showers(20, electron_binning(6, 3, 16), np.random.default_rng(1))
    heaps = grid.heaps(showers.voxels.astype(np.float32))
    model = cascade(grid)
    z, particle = latent_of(grid, heaps), model.given(np.full(20, 11), np.full(20, 5.0))
    nodes = np.array([(n, 2, r, q) for n in range(20) for r in range(3) for q in (1, 2, 3) if heaps[n, 2, r, q] > 0])
    graph = SectorGraph(model)

    def parameters(deposits: Numbers, latent: Numbers) -> Numbers:
        with torch.inference_mode():
            given = (deposits, latent, particle, nodes)
            return np.asarray(graph(*(torch.from_numpy(each) for each in given)).numpy())

    before = parameters(heaps, z)
    unknown = heaps.copy()
    unknown[:, 3:, :, 2:] = 0.0  # all sectors of the layers behind
    unknown[:, 2, :, 8:] = 0.0  # and those of the layer itself that later levels make
    np.testing.assert_allclose(parameters(unknown, z), before, atol=1e-5)
    in_front, other = heaps.copy(), z.copy()
    in_front[:, 1, :, 2:] = in_front[:, 1, :, [3, 2, *range(31, 3, -1)]].transpose(1, 2, 0)
    other[:, 7:] *= -1.0
    for changed in (parameters(in_front, z), parameters(heaps, other)):
        assert np.abs(changed - before).max() > 0.05


def test_splits_of_another_kind_are_refused() -> None:
    model = Cascade(GRIDS["as the lead-silicon calorimeter"], (11, 22), {"sectors": {"normal": True}}, FLOW)
    with pytest.raises(FastsimError, match="sectors split by normal distributions, or with a skip, have no graph"):
        SectorGraph(model)
