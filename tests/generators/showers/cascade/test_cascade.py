"""The cascade: exact sums and zeros, symmetries, nothing read before it is known, densities and draws that agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from scipy.stats import kstest

from fastsim.detector.binning import Binning, Layer
from fastsim.detector.detector import Detector, Section
from fastsim.detector.incidents import Incidents
from fastsim.errors import FastsimError, OutOfDomain, WeightsError
from fastsim.event import Floats, Ints
from fastsim.sources import cards
from generators.showers.cascade.features import Numbers, compress_quickly, compressed
from generators.showers.cascade.grid import Grid
from generators.showers.cascade.latent import FIRST_VECTOR, VISIBLE, latent_of
from generators.showers.cascade.network import STAGES, Cascade
from generators.showers.cascade.sampler import CascadeSampler
from generators.showers.cascade.source import CascadeModel
from generators.showers.cascade.splits import FastNet, Rows, SplitNet, draw_splits, random_numbers
from generators.showers.cascade.tilt import tilt_of
from generators.showers.cascade.train import CascadeTraining, StageTraining, fit_stage
from generators.showers.data import TrainingShowers
from generators.training.loop import TrainingConfig
from tests.helpers.showers import electron_binning, toy_showers

SMALL = {stage: {"width": 16, "depth": 2, "num_components": 3} for stage in STAGES}


def unequal() -> Grid:
    """Layers of different rings, as in the copper calorimeter."""
    return Grid(((0.0, 1.0, 2.0, 3.0, 6.0), (0.0, 1.0, 2.0, 3.0, 6.0), (0.0, 2.0, 8.0), (0.0, 8.0)), 8)


def ten_sectors() -> Grid:
    """Layers of ten sectors, or of one, as in dataset 1 of the CaloChallenge."""
    edges = ((0.0, 5.0, 10.0), (0.0, 2.0, 4.0, 8.0), (0.0, 2.0, 4.0, 8.0), (0.0, 20.0), (0.0, 3.0, 9.0))
    return Grid(edges, 10, frozenset({0, 3}))


FLOW = {"width": 16, "num_layers": 2, "num_bins": 4}


def cascade(grid: Grid, seed: int = 0, latent: dict[str, int] | None = None, *, tilted: bool = False) -> Cascade:
    """Make an untrained cascade whose splits are of every kind."""
    torch.manual_seed(seed)
    model = Cascade(grid, (11, 22), SMALL, latent, tilted=tilted)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def particles(num: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """Draw PDG ids and kinetic energies in GeV."""
    return rng.choice([11, 22], num), np.exp(rng.uniform(0, 4, num))


def test_heaps_hold_voxels_and_their_sums() -> None:
    grid = unequal()
    voxels = np.random.default_rng(0).random((5, grid.num_voxels), dtype=np.float32)
    heaps = grid.heaps(voxels)
    np.testing.assert_array_equal(grid.voxels(heaps), voxels)
    np.testing.assert_allclose(heaps[..., 1].sum((1, 2)), voxels.sum(1), rtol=1e-6)
    np.testing.assert_allclose(heaps[:, 0, 2, 3], heaps[:, 0, 2, 12:].sum(-1), rtol=1e-6)
    assert (heaps[:, 3, 1:] == 0).all()


def test_showers_turn_and_mirror() -> None:
    """Sectors move together in all layers and rings; every turn comes, and both reflections."""
    grid = unequal()
    layer, ring, sector, _ = grid._voxels
    voxels = np.tile((100 * layer + 10 * ring + sector).astype(np.float32) + 1, (500, 1))
    turned = grid.turn(voxels, np.random.default_rng(0))
    np.testing.assert_array_equal((turned - 1) // 10, (voxels - 1) // 10)
    sectors = (turned - 1) % 10
    first, second = sectors[:, 0], sectors[:, np.flatnonzero((layer == 0) & (ring == 0))[1]]
    step = (second - first) % 8
    assert set(step.tolist()) == {1, 7} and len({(a, b) for a, b in zip(first, step, strict=True)}) == 16
    np.testing.assert_array_equal(sectors, (first[:, None] + step[:, None] * sector) % 8)


def test_neighbours_are_the_rings_around_a_middle() -> None:
    neighbours = unequal().neighbours
    assert neighbours[2, 0].tolist()[:2] == [1, 3]  # in front of rings at 1 and 5 mm: those from 1 and from 3 mm
    assert neighbours[1, 3].tolist() == [0, 0, 1, 1]
    assert (neighbours[0, 0] == -1).all() and (neighbours[3, 3] == -1).all()


def test_any_number_of_sectors_is_halved_until_one_is_left() -> None:
    """Heaps of ten sectors: sums of blocks, directions of sectors, and layers of one, whose energy has no direction."""
    grid = ten_sectors()
    assert grid.num_voxels == 2 + 30 + 30 + 1 + 20 and grid.shape == (5, 3, 32)
    voxels = np.random.default_rng(0).random((4, grid.num_voxels), dtype=np.float32)
    heaps = grid.heaps(voxels)
    np.testing.assert_array_equal(grid.voxels(heaps), voxels)
    np.testing.assert_allclose(heaps[..., 1].sum((1, 2)), voxels.sum(1), rtol=1e-6)
    rings = voxels[:, 2:32].reshape(4, 10, 3)
    for slot, (first, count) in enumerate(grid.blocks):
        np.testing.assert_allclose(heaps[:, 1, :, slot], rings[:, first : first + count].sum(1), rtol=1e-5)
        if grid.halved[slot]:
            halves = grid.blocks[2 * slot : 2 * slot + 2]
            assert halves[0][1] - halves[1][1] in (0, 1) and halves[:, 1].sum() == count
    assert (heaps[:, [0, 3], :, 2:] == 0).all()
    # leaves hold all energy of divided layers, and each has the direction of its sector
    leaves, directions = heaps[:, 1, :, 16:], grid.directions[16:]
    np.testing.assert_allclose(leaves.sum(2), heaps[:, 1, :, 1], rtol=1e-5)
    alpha = -np.pi + (np.arange(10) + 0.5) * 2 * np.pi / 10
    np.testing.assert_allclose(leaves @ directions[:, 0], np.einsum("nsr,s->nr", rings, np.cos(alpha)), atol=1e-5)
    z = latent_of(grid, grid.heaps(np.where(np.arange(grid.num_voxels) < 2, voxels, 0).astype(np.float32)))
    assert (z[:, VISIBLE] > 0).all() and (z[:, FIRST_VECTOR:] == 0).all()
    # turned showers keep what is in layers of one sector
    turned = grid.turn(voxels, np.random.default_rng(1))
    np.testing.assert_array_equal(turned[:, [0, 1, 62]], voxels[:, [0, 1, 62]])
    np.testing.assert_array_equal(np.sort(turned, axis=1), np.sort(voxels, axis=1))
    assert not np.array_equal(turned, voxels)


def test_layouts_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(FastsimError, match="no layer has sectors in alpha"):
        Grid(((0.0, 1.0),), 1)
    with pytest.raises(FastsimError, match="no layer has sectors in alpha"):
        Grid.of(Binning("e", 11, (Layer(0, (0.0, 1.0), 1), Layer(1, (0.0, 1.0), 1))))
    with pytest.raises(FastsimError, match="layers of 4, 8 sectors: a cascade needs the same number"):
        Grid.of(Binning("e", 11, (Layer(0, (0.0, 1.0), 4), Layer(1, (0.0, 1.0), 8))))


@pytest.mark.parametrize("grid", [unequal(), ten_sectors()])
def test_energies_add_up_and_are_the_seeds(grid: Grid) -> None:
    rng = np.random.default_rng(1)
    pdg_id, energy = particles(200, rng)
    sampler = CascadeSampler(cascade(grid))
    showers = sampler.sample(pdg_id, energy, np.random.default_rng(2))
    assert showers.shape == (200, grid.num_voxels) and showers.dtype == np.float32
    assert (showers >= 0).all() and (showers == 0).any()
    assert (showers.sum(1) <= 1e3 * energy * (1 + 1e-5)).all()
    np.testing.assert_array_equal(sampler.sample(pdg_id, energy, np.random.default_rng(2)), showers)
    assert not np.array_equal(sampler.sample(pdg_id, energy, np.random.default_rng(3)), showers)


@pytest.mark.parametrize(("latent", "tilted"), [(None, False), (FLOW, False), (FLOW, True)])
@pytest.mark.parametrize("grid", [unequal(), Grid.of(electron_binning(6, 3, 16)), ten_sectors()])
def test_sampling_sees_what_training_sees(
    grid: Grid, latent: dict[str, int] | None, tilted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features of every split, recorded while a shower grows, are those read from the finished shower."""
    monkeypatch.setattr("generators.showers.cascade.sampler.RINGS_AT_ONCE", 10)
    model, rng = cascade(grid, int(tilted), latent, tilted=tilted), np.random.default_rng(4)
    pdg_id, energy = particles(30, rng)
    tilt = tilt_of(rng.uniform(0, 0.8, 30), rng.uniform(-4, 4, 30)) if tilted else None
    sampler = CascadeSampler(model)
    recorded: dict[str, list[Numbers]] = {stage: [] for stage in STAGES}
    stage_of, evaluate = {id(net): stage for stage, net in sampler._nets.items()}, FastNet.__call__

    def record(net: FastNet, features: Numbers) -> Numbers:
        recorded[stage_of[id(net)]].append(features.copy())
        return evaluate(net, features)

    monkeypatch.setattr(FastNet, "__call__", record)
    finished: list[Numbers] = []

    asked: list[Numbers] = []
    flown: list[Numbers] = []

    def sectors(
        particle: Numbers, rings: Numbers, z: Numbers | None, tilt: Numbers | None, *, rng: np.random.Generator
    ) -> Numbers:
        finished.append(CascadeSampler._sectors(sampler, particle, rings, z, tilt, rng=rng))
        if z is not None:
            asked.append(z)
        if tilt is not None:
            flown.append(tilt)
        return finished[-1].copy()

    monkeypatch.setattr(sampler, "_sectors", sectors)
    for place in ("network", "sampler"):  # training and sampling would draw other blurs
        for blurred in ("blurred_rings", "blurred_sectors"):
            monkeypatch.setattr(f"generators.showers.cascade.{place}.{blurred}", lambda z, rng: z)
    sampler.sample(pdg_id, energy, rng, tilt)
    assert len(finished) > 1
    if latent is not None:  # the untrained cascade does not make what the latent asks for
        monkeypatch.setattr(model, "latents", lambda heaps: np.concatenate(asked))
    rows = model.rows(pdg_id, energy, np.concatenate(finished), np.concatenate(flown) if tilted else None)
    for stage in STAGES:
        # the two come in different orders
        one, two = np.concatenate(recorded[stage]), rows[stage].features.numpy()
        assert one.shape == two.shape
        key = [np.lexsort(np.round(x, 3).T) for x in (one, two)]
        np.testing.assert_allclose(one[key[0]], two[key[1]], atol=2e-3)


@pytest.mark.parametrize("normal", [False, True])
def test_density_integrates_to_one_and_draws_follow_it(normal: bool) -> None:
    torch.manual_seed(0)
    net = SplitNet(2, width=8, depth=2, num_components=3, skip=True, normal=normal)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    features = torch.tensor([[0.3, -0.2]])
    x = torch.linspace(-60, 60, 40_001)
    given = features.expand(len(x), 2)
    with torch.no_grad():
        density = net.log_prob(Rows(given, torch.zeros(len(x), dtype=torch.long), x)).exp().numpy()
        only = [float(net.log_prob(Rows(features, torch.tensor([c]), torch.zeros(1))).exp()) for c in (1, 2)]
    total = trapezoid(density, x.numpy())
    assert total + sum(only) == pytest.approx(1, abs=1e-4)
    num = 20_000
    rng = np.random.default_rng(1)
    parameters = FastNet(net)(features.repeat(num, 1).numpy())
    a, b = draw_splits(parameters, np.full(num, 2.0, np.float32), random_numbers((num,), rng, normal=normal))
    np.testing.assert_allclose(a + b, 2.0, rtol=1e-6)
    for alone, expected in ((b == 0, only[0]), (a == 0, only[1])):
        assert alone.mean() == pytest.approx(expected, abs=5 * np.sqrt(expected / num) + 1e-4)
    both = (a > 0) & (b > 0)
    cumulative = np.cumsum(density) / density.sum()
    ratio = np.log(a[both].astype(float)) - np.log(b[both].astype(float))
    assert kstest(ratio, lambda r: np.interp(r, x.numpy(), cumulative)).pvalue > 1e-3


def test_energies_are_compressed_alike_in_training_and_sampling() -> None:
    energy = np.concatenate([[0.0], np.geomspace(1e-12, 1e5, 2000)]).astype(np.float32)
    quick = np.array([compress_quickly(e) for e in energy], np.float32)
    np.testing.assert_allclose(quick, compressed(energy), rtol=3e-7)
    assert quick[0] == 0 and (quick[1:] > 0).all()


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("depth", [1, 3])
def test_the_fast_network_is_the_trained_one(skip: bool, depth: int) -> None:
    """For any number of rows: they go through it a few dozen at a time, and a single one in another way."""
    torch.manual_seed(0)
    net = SplitNet(7, width=32, depth=depth, num_components=4, skip=skip)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    features = torch.randn(700, 7)
    net.set_scales(features)
    fast = FastNet(net)
    for num in (0, 1, 3, 37, 700):
        expected = net(features[:num]).detach().numpy()
        np.testing.assert_allclose(fast(features[:num].numpy()), expected, atol=2e-5)


def toy_training(num: int) -> tuple[Cascade, TrainingShowers]:
    binning = electron_binning(8, 3, 8)
    showers = toy_showers(num, binning, np.random.default_rng(0), energy=(1e3, 1e5))
    torch.manual_seed(1)
    sizes = {stage: {**SMALL[stage], "width": 32} for stage in STAGES}
    model = Cascade(Grid.of(binning), (11,), sizes)
    return model, TrainingShowers(np.full(num, 11), showers.incident / 1e3, showers.voxels)


@pytest.mark.parametrize("stage", STAGES)
def test_training_learns_and_resumes_to_the_same_bits(stage: str, tmp_path: Path) -> None:
    loop = TrainingConfig(60, learning_rate=5e-3, warmup=5, validate_every=30, checkpoint_every=20, decay_fraction=0)
    weights = []
    for stops in ((60,), (20, 60)):
        for stop in stops:
            model, showers = toy_training(600)
            settings = StageTraining(64, 1000, replace(loop, num_steps=stop))
            config = CascadeTraining({stage: settings}, num_validation=100)
            result = fit_stage(model, stage, showers, config, 1, tmp_path / str(len(stops)))
        weights.append(model.net(stage).state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    log = (tmp_path / "1" / "log.csv").read_text().splitlines()
    nll = [float(line.split(",")[3]) for line in log if "validation/nll," in line]
    assert result.best_value is not None and nll[-1] < nll[0]


def small_detector() -> Detector:
    section = Section(num_layers=4, absorber_mm=2.5, active_mm=0.3, cell_mm=5.0, rings=(1, 2), num_alpha=8)
    return Detector("pb-si-ecal", "G4_Pb", "G4_Si", (section,), "em", ("e-", "gamma"), 1.0, 100.0)


def test_a_model_is_refused_what_it_was_not_trained_on() -> None:
    model = CascadeModel.build("tiny", small_detector(), [11, 22], (1, 50), {"network": SMALL})
    assert model.sample(Incidents.perpendicular(22, np.array([1.0, 50.0])), rng=np.random.default_rng(0)).shape == (
        2,
        64,
    )
    assert model.sample(Incidents.perpendicular(22, np.zeros(0)), rng=np.random.default_rng(0)).shape == (0, 64)
    for pdg_id, energy, theta, words in (
        (22, 60.0, 0, "gamma, 60 GeV"),
        (211, 5.0, 0, "pi+"),
        (11, 5.0, 0.1, "theta 0.1"),
    ):
        hit = Incidents(np.array([11, pdg_id]), np.array([5.0, energy]), np.array([0.0, theta]), np.zeros(2))
        with pytest.raises(OutOfDomain, match="particle 1") as caught:
            model.sample(hit, rng=np.random.default_rng(0))
        assert words in str(caught.value)


def test_a_particle_is_drawn_as_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its showers and latents are those of the other, bit by bit, also from a card; in a mixture it has its place."""
    monkeypatch.setattr("generators.showers.model.load_detector", lambda name: small_detector())
    config = {"network": SMALL, "latent": FLOW, "like": {"e+": "e-"}}
    model = CascadeModel.build("tiny", small_detector(), [11, 22], (1, 50), config)
    assert model.domain.particles == {-11, 11, 22} and model.particles == (11, 22)
    model.cascade.load_state_dict(cascade(model.cascade.grid, latent=FLOW).state_dict())
    back = CascadeModel.from_card(*cards.load(model.save(tmp_path, version="1", training={})))
    energy = np.geomspace(1, 50, 40)
    kinds = np.tile([11, 22], 20)
    swapped = np.where(kinds == 11, -11, kinds)
    electrons, positrons = (Incidents(ids, energy, np.zeros(40), np.zeros(40)) for ids in (kinds, swapped))
    latent = back.latent(positrons, rng=1)
    np.testing.assert_array_equal(latent, back.latent(electrons, rng=1))
    np.testing.assert_array_equal(back.sample(positrons, rng=2), back.sample(electrons, rng=2))
    np.testing.assert_array_equal(
        back.sample(positrons, rng=3, latent=latent), back.sample(electrons, rng=3, latent=latent)
    )
    assert (positrons.pdg_id == swapped).all()


@pytest.mark.parametrize(
    ("like", "words"),
    [
        ({"e+": "muon"}, "'muon' is none of e-"),
        ({"e-": "gamma"}, "e- as gamma: known are"),
        ({"e+": "pi+"}, r"e\+ as pi\+: known are"),
        ({"e+": ["e-"]}, "give names of particles"),
        (["e+"], "give names of particles"),
    ],
)
def test_a_particle_is_drawn_as_one_that_is_known_only(like: object, words: str) -> None:
    with pytest.raises(ValueError, match=f"like: .*{words}"):
        CascadeModel.build("tiny", small_detector(), [11, 22], (1, 50), {"network": SMALL, "like": like})


def test_card_and_weights_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generators.showers.model.load_detector", lambda name: small_detector())
    model = CascadeModel.build("tiny", small_detector(), [11, 22], (1, 100), {"network": SMALL})
    model.cascade.load_state_dict(cascade(model.cascade.grid).state_dict())
    path = model.save(tmp_path, version="1", training={})
    back = CascadeModel.from_card(*cards.load(path))
    hits = Incidents.perpendicular(11, np.geomspace(1, 100, 50))
    showers = back.sample(hits, rng=np.random.default_rng(3))
    others = CascadeModel.from_card(*cards.load(path)).sample(hits, rng=np.random.default_rng(3))
    np.testing.assert_array_equal(showers, others)
    card, weights = cards.load(path)
    card.config["network"] = {"sectors": {"width": 8}}
    with pytest.raises(WeightsError, match="do not fit"):
        CascadeModel.from_card(card, weights)


def test_rows_have_a_length() -> None:
    model = cascade(unequal())
    rows = model.rows(
        np.array([11]), np.array([5.0]), model.grid.heaps(np.ones((1, model.grid.num_voxels), np.float32))
    )
    assert all(isinstance(r, Rows) and len(r) == len(r.features) == len(r.ratio) for r in rows.values())
    assert len(rows["layers"]) == 3 and len(rows["rings"]) == 3 + 3 + 1
