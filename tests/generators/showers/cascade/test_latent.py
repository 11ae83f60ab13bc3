"""The latent of a cascade: what it says of showers, how it turns, and that showers drawn from it are as it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fastsim.detector.detector import Detector, Section
from fastsim.detector.incidents import Incidents
from fastsim.errors import FastsimError, InvalidValue
from fastsim.sources import cards
from generators.showers.cascade.grid import Grid
from generators.showers.cascade.initial import initialise
from generators.showers.cascade.latent import (
    COLUMNS,
    RING_BLUR,
    SECTOR_BLUR,
    Latent,
    blurred_rings,
    blurred_sectors,
    latent_of,
    turned_latent,
)
from generators.showers.cascade.network import STAGES, Cascade
from generators.showers.cascade.source import CascadeModel
from generators.showers.cascade.splits import Rows
from generators.showers.cascade.train import CascadeTraining, fit_stage
from generators.showers.data import TrainingShowers
from tests.helpers.showers import electron_binning, toy_showers

SIZES = {
    "response": {"width": 16, "depth": 2, "num_components": 3, "skip": True, "normal": True},
    **{stage: {"width": 32, "depth": 2, "num_components": 3} for stage in STAGES[1:]},
}
FLOW = {"width": 24, "num_layers": 2, "num_bins": 6}


def small_grid() -> Grid:
    return Grid(((0.0, 2.0, 6.0), (0.0, 2.0, 6.0), (0.0, 6.0)), 4)


def test_the_latent_is_what_the_sums_of_a_shower_say() -> None:
    grid = small_grid()
    # sectors have their middles at -135, -45, 45 and 135 degrees; 3 MeV in front, 1 MeV in the last layer
    heaps = np.zeros((2, *grid.shape), np.float32)
    voxels = np.zeros((2, grid.num_voxels), np.float32)
    voxels[0, 2 * 2] = 2.0  # layer 0, sector 2, ring 0: r = 1 mm
    voxels[0, 2 * 3 + 1] = 1.0  # layer 0, sector 3, ring 1: r = 4 mm
    voxels[0, 16 + 2] = 1.0  # layer 2, sector 2, its one ring: r = 3 mm
    heaps = grid.heaps(voxels)
    z = dict(zip(COLUMNS, latent_of(grid, heaps)[0].tolist(), strict=True))
    h = np.sqrt(0.5)
    mean, variance = (3 * 0.5 + 2.5) / 4, 0.75
    side = np.array([(2 - 1 + 1) * h, 4 * h]) / 4
    centre = np.array([(2 * 1 - 1 * 4 + 1 * 3) * h, (2 + 4 + 3) * h]) / 4
    front, back = np.array([h, 3 * h]) / 4, np.array([h, h]) / 4
    tilt = ((0.5 - mean) * front + (2.5 - mean) * back) / variance
    front, back = np.array([(2 - 4) * h, 6 * h]) / 4, np.array([3 * h, 3 * h]) / 4
    slope = ((0.5 - mean) * front + (2.5 - mean) * back) / variance
    growth = ((0.5 - mean) * 6 / 4 + (2.5 - mean) * 3 / 4) / variance
    expected = [4.0, mean, np.sqrt(variance), 0.04 / 3, 9 / 4, 3 / 4, growth, *side, *centre, *tilt, *slope]
    np.testing.assert_allclose(list(z.values()), expected, rtol=1e-5, atol=1e-6)
    assert (latent_of(grid, heaps)[1] == 0).all()  # no deposits


def test_the_latent_turns_with_the_shower() -> None:
    grid, rng = small_grid(), np.random.default_rng(1)
    voxels = rng.exponential(size=(40, grid.num_voxels)).astype(np.float32)
    sign, shift = grid.random_turns(40, rng)
    assert set(sign) == {-1, 1} and set(shift) == {0, 1, 2, 3}
    turned = latent_of(grid, grid.heaps(grid.turned(voxels, sign, shift)))
    mirrored, angle = grid.turn_back(sign, shift)
    np.testing.assert_allclose(
        turned_latent(turned, angle, mirrored), latent_of(grid, grid.heaps(voxels)), rtol=1e-4, atol=1e-5
    )


def test_blurs_are_as_wide_as_they_say() -> None:
    """In the unit of each column, and less where more energy is visible; other columns stay as they are."""
    num, column = 40_000, {name: k for k, name in enumerate(COLUMNS)}
    z = np.zeros((2 * num, len(COLUMNS)), np.float32)
    z[:, column["visible"]] = np.repeat([25.0, 400.0], num)
    for name, value in (("radius", 6.0), ("length", 5.0), ("core", 0.5), ("side_x", 0.3)):
        z[:, column[name]] = value
    rings, sectors = blurred_rings(z, np.random.default_rng(1)), blurred_sectors(z, np.random.default_rng(2))
    rings[:, column["radius"]] = 6 * (1 + np.log(rings[:, column["radius"]] / 6))
    expected = {
        "radius": 6 * RING_BLUR[0],
        "core": RING_BLUR[1],
        "growth": RING_BLUR[2] * 6 / 5,
        **{f"side_{axis}": SECTOR_BLUR[0] for axis in "xy"},
        **{f"centre_{axis}": SECTOR_BLUR[1] * 6 for axis in "xy"},
        **{f"side_tilt_{axis}": SECTOR_BLUR[2] / 5 for axis in "xy"},
        **{f"tilt_{axis}": SECTOR_BLUR[3] * 6 / 5 for axis in "xy"},
    }
    changes = (rings - z) + (sectors - z)
    for name, place in column.items():
        assert not ((rings - z)[:, place].any() and (sectors - z)[:, place].any())
        for unit, change in ((1 / 5, changes[:num, place]), (1 / 20, changes[num:, place])):
            width = expected.get(name, 0.0) * unit
            assert change.std() == pytest.approx(width, rel=0.02, abs=1e-6), name
            assert abs(change.mean()) <= 5 * width / num**0.5 + 1e-6, name


def test_the_flow_does_not_see_the_frame() -> None:
    """Its features are the same for a shower that is turned by any angle."""
    grid, rng = small_grid(), np.random.default_rng(2)
    z = latent_of(grid, grid.heaps(rng.exponential(size=(30, grid.num_voxels)).astype(np.float32)))
    flow = Cascade(grid, (11,), SIZES, FLOW).latent
    assert flow is not None
    turned = turned_latent(z, rng.uniform(-3, 3, 30), np.zeros(30, bool))
    torch.testing.assert_close(flow.features(turned), flow.features(z), rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[CascadeModel, Latent]:
    """A cascade that was trained a little on toy showers, and the latents of these."""
    section = Section(8, 2.5, 0.3, 4.65, rings=(1, 2, 6), num_alpha=8)
    detector = Detector("toy-ecal", "G4_Pb", "G4_Si", (section,), "em", ("e-",), 1.0, 100.0)
    torch.manual_seed(1)
    model = CascadeModel.build("toy", detector, [11], (5, 50), {"network": SIZES, "latent": FLOW})
    showers = toy_showers(800, model.binning(11), np.random.default_rng(0), energy=(5e3, 5e4), response=0.5)
    known = TrainingShowers(np.full(800, 11), showers.incident / 1e3, showers.voxels)
    loop = {"learning_rate": 5e-3, "warmup": 5, "validate_every": 0, "ema_decay": 0.98}
    steps = {"response": 100, "latent": 100, "layers": 150, "rings": 150, "sectors": 250}
    config = CascadeTraining.of(
        {
            "num_validation": 50,
            **{s: {"num_showers": 64, "num_splits": 1200, "loop": {**loop, "num_steps": n}} for s, n in steps.items()},
            "latent": {"num_showers": 200, "loop": {**loop, "num_steps": 100}},
        },
        "test",
    )
    folder = tmp_path_factory.mktemp("run")
    for stage in model.cascade.stages:
        fit_stage(model.cascade, stage, known, config, 1, folder / stage)
    return model, model.latent_of(showers.voxels)


def test_showers_are_as_their_latents_say(trained: tuple[CascadeModel, Latent]) -> None:
    """Energy exactly; the rest of the latent correlates with that of the shower that was drawn from it."""
    model, _ = trained
    hits = Incidents.perpendicular(11, np.geomspace(6, 45, 300))
    showers, asked = model.sample_with_latent(hits, rng=1)
    got = model.latent_of(showers)
    np.testing.assert_allclose(got[:, 0], asked[:, 0], rtol=1e-4)
    for name in ("depth", "radius", "side_x", "side_y", "centre_x", "centre_y"):
        column = COLUMNS.index(name)
        assert np.corrcoef(got[:, column], asked[:, column])[0, 1] > 0.45, name


def test_the_side_is_as_wide_as_in_the_showers_learned_from(trained: tuple[CascadeModel, Latent]) -> None:
    model, real = trained
    got = model.latent_of(model.sample(Incidents.perpendicular(11, np.geomspace(5, 50, 800)), rng=2))
    size = [np.hypot(z[:, COLUMNS.index("side_x")], z[:, COLUMNS.index("side_y")]) for z in (real, got)]
    assert size[1].mean() == pytest.approx(size[0].mean(), rel=0.15)


def test_a_latent_that_is_given_decides_the_shower(trained: tuple[CascadeModel, Latent]) -> None:
    model, _ = trained
    hits = Incidents.perpendicular(11, np.full(200, 20.0))
    z = model.latent(hits, rng=3)
    np.testing.assert_array_equal(model.sample(hits, rng=3, latent=None), model.sample(hits, rng=3))
    np.testing.assert_array_equal(model.sample_with_latent(hits, rng=3)[1], z)
    x, y = COLUMNS.index("side_x"), COLUMNS.index("side_y")
    for angle in (0.3, 2.5):  # no direction is special
        pushed = z.copy()
        pushed[:, x], pushed[:, y] = 0.2 * np.cos(angle), 0.2 * np.sin(angle)
        got = model.latent_of(model.sample(hits, rng=4, latent=pushed))
        along = np.cos(angle) * got[:, x] + np.sin(angle) * got[:, y]
        across = np.cos(angle) * got[:, y] - np.sin(angle) * got[:, x]
        assert along.mean() > 0.08 and abs(across.mean()) < 0.03


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda z: z[:, :3], r"latent of shape \(5, 3\), expected \(5, 15\)"),
        (lambda z: z[:4], r"expected \(5, 15\): one row a particle of visible, depth"),
        (lambda z: np.where(np.arange(15) == 4, np.nan, z), "latent 0: radius is nan, must be finite"),
        (lambda z: np.where(np.arange(15) == 0, 1e6, z), r"latent 0: a visible energy of 1e\+06 MeV, but .* 20000 MeV"),
    ],
)
def test_wrong_latents_are_named(trained: tuple[CascadeModel, Latent], change: object, words: str) -> None:
    model, _ = trained
    hits = Incidents.perpendicular(11, np.full(5, 20.0))
    with pytest.raises(InvalidValue, match=words):
        model.sample(hits, rng=1, latent=change(model.latent(hits, rng=1)))  # type: ignore[operator]


def test_card_and_weights_hold_the_latent(trained: tuple[CascadeModel, Latent], tmp_path: Path) -> None:
    model, _ = trained
    back = CascadeModel.from_card(*cards.load(model.save(tmp_path, version="1", training={})))
    assert back.latent_columns == COLUMNS and back.geometry == model.geometry and back.detector == "toy-ecal"
    hits = Incidents.perpendicular(11, np.geomspace(6, 45, 20))
    np.testing.assert_allclose(back.latent(hits, rng=1), model.latent(hits, rng=1), rtol=1e-5)
    assert back.sample(hits[:0], rng=1).shape == (0, 192) and back.latent(hits[:0], rng=1).shape == (0, 15)


def test_a_model_without_latent_says_so() -> None:
    model = CascadeModel.build("old", Detector.from_dict(small_detector()), [11], (5, 50), {"network": SIZES})
    assert not model.has_latent
    with pytest.raises(FastsimError, match="model 'old' has no latent"):
        model.latent(Incidents.perpendicular(11, np.full(2, 10.0)), rng=1)


def small_detector(rings: tuple[int, ...] = (1, 2), name: str = "mine") -> dict[str, object]:
    section = Section(4, 2.5, 0.3, 5.0, rings=rings, num_alpha=8)
    return Detector(name, "G4_Pb", "G4_Si", (section,), "em", ("e-", "gamma"), 1.0, 100.0).as_dict()


def test_a_training_starts_where_another_model_ended() -> None:
    """Splits with new features, and of fewer or other particles, have the densities of the model they start from."""
    grid = Grid.of(electron_binning(6, 3, 8))
    torch.manual_seed(3)
    old = Cascade(grid, (11, 22), SIZES)
    with torch.no_grad():
        for parameter in old.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    showers = toy_showers(20, electron_binning(6, 3, 8), np.random.default_rng(0), energy=(5e3, 5e4), response=0.5)
    given = np.full(20, 22), showers.incident / 1e3, grid.heaps(showers.voxels)
    for stage in STAGES:
        old.net(stage).set_scales(old.rows(*given)[stage].features)
    for particles in ((11, 22), (22,), (22, 211)):
        new = Cascade(grid, particles, SIZES, FLOW)
        kept = initialise(new, old, "test")
        for stage, rows in new.rows(*given).items():
            before = old.rows(*given)[stage]
            new.net(stage).set_scales(rows.features, kept=kept[stage])
            with torch.no_grad():
                torch.testing.assert_close(
                    new.net(stage).log_prob(rows), old.net(stage).log_prob(before), rtol=1e-3, atol=1e-3
                )
            assert isinstance(rows, Rows) and kept[stage].sum() <= before.features.shape[1]


def test_a_latent_starts_where_that_of_other_particles_ended() -> None:
    grid = Grid.of(electron_binning(6, 3, 8))
    torch.manual_seed(3)
    old = Cascade(grid, (22, 11), SIZES, FLOW)
    with torch.no_grad():
        for parameter in old.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    showers = toy_showers(20, electron_binning(6, 3, 8), np.random.default_rng(0), energy=(5e3, 5e4), response=0.5)
    pdg_id, energy, heaps = np.full(20, 11), showers.incident / 1e3, grid.heaps(showers.voxels)
    losses = []
    for particles in ((22, 11), (11,), (211, 11)):
        new = Cascade(grid, particles, SIZES, FLOW)
        initialise(new, old, "test")
        z = new.latents(heaps)
        assert new.latent is not None and z is not None
        with torch.no_grad():
            losses.append(float(new.latent.loss(new.latent_rows(pdg_id, energy, z))))
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-4)
    small = Cascade(grid, (11,), SIZES, {**FLOW, "width": 20})
    with pytest.raises(FastsimError, match="init: the latent's flow of that model has another size"):
        initialise(small, old, "c.json: init")


def test_models_that_do_not_fit_are_refused_as_a_start() -> None:
    old = Cascade(Grid.of(electron_binning(6, 3, 8)), (11,), SIZES, FLOW)
    with pytest.raises(
        FastsimError, match="init: that model has 6 layers of 3 rings and 8 sectors, and the detector 5"
    ):
        initialise(Cascade(Grid.of(electron_binning(5, 3, 8)), (11,), SIZES, FLOW), old, "c.json: init")
    with pytest.raises(FastsimError, match="that model has a latent, and the config none"):
        initialise(Cascade(Grid.of(electron_binning(6, 3, 8)), (11,), SIZES), old, "c.json: init")
    wide = {**SIZES, "rings": {"width": 48, "depth": 2, "num_components": 3}}
    with pytest.raises(FastsimError, match=r"stage rings has .*48.* and that model .*32"):
        initialise(Cascade(Grid.of(electron_binning(6, 3, 8)), (11,), wide, FLOW), old, "c.json: init")
