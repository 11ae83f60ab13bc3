"""A flow of voxels from files over its training to showers, and what an export of it draws without this package."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import ks_2samp

import fastsim
from fastsim.detector.detector import load_detector
from fastsim.errors import FastsimError, InvalidValue
from fastsim.formats.calochallenge import read_showers
from fastsim.sources import cards
from generators.nn.flow_matching import integrate
from generators.showers.cascade.features import all_nodes
from generators.showers.cascade.latent import COLUMNS, latent_of
from generators.showers.data import shower_sets
from generators.showers.flow.sampler import FlowSampler
from generators.showers.flow.sector_graph import SectorGraph
from generators.showers.flow.source import ShowerFlow
from generators.showers.flow.train import NETWORKS
from generators.showers.flow.voxels import VoxelFlow, conditions
from tests.helpers.showers import IRREGULAR, store, toy_showers

KINDS = ["flow", "rings", "fast"]
"""A flow of voxels, one of rings, and one distilled from it."""
SIZE = {"width": 16, "depth": 2, "num_components": 2}
LOOP = {"num_steps": 20, "learning_rate": 5e-3, "warmup": 2, "log_every": 20, "validate_every": 0}
NETWORK = {"width": 16, "depth": 2, "heads": 2, "hidden": 4}
FLOW: dict[str, Any] = {
    "num_validation": 40,
    "batch_size": 32,
    "network": {"denoiser": NETWORK, "decoder": NETWORK, "num_components": 2},
    "denoiser": {**LOOP, "num_steps": 60, "validate_every": 10},
    "decoder": {**LOOP, "num_steps": 60, "validate_every": 10},
}
LEVELS = [1.0, 0.7, 0.45]
STUDENT: dict[str, Any] = {
    "num_validation": 40,
    "batch_size": 32,
    "network": {"levels": LEVELS},
    "distil": {"teacher": "runs/rings/rings.json", "substeps": 3},
    "denoiser": {**LOOP, "num_steps": 300, "learning_rate": 1.5e-3, "validate_every": 60},
}


def write_config(folder: Path, name: str, **values: Any) -> Path:
    path = folder / f"{name}.json"
    data = [{"files": ["showers_gamma.h5"]}, {"files": ["showers_e-.h5"]}]
    common = {"name": name, "detector": "mine.toml", "energy": [1, 50], "data": data}
    path.write_text(json.dumps({**common, **values}))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector, showers in it, a cascade of it, and flows that have its first stages; all trained for a second."""
    folder = tmp_path_factory.mktemp("flow")
    (folder / "mine.toml").write_text(IRREGULAR)
    detector = load_detector(folder / "mine.toml")
    for seed, particle in enumerate(("gamma", "e-")):
        binning = detector.binning(particle)
        assert binning is not None
        showers = toy_showers(160, binning, np.random.default_rng(seed), energy=(1e3, 5e4), response=0.03, quantum=1.0)
        path = store(folder / f"showers_{particle}.h5", showers, binning)
        with h5py.File(path, "a") as file:
            del file.attrs["settings"]
    stage = {"num_showers": 32, "num_splits": 200, "loop": LOOP}
    stages = dict.fromkeys(("response", "latent", "layers", "rings", "sectors"), stage)
    sizes = dict.fromkeys(("response", "layers", "rings", "sectors"), SIZE)
    network = {**sizes, "latent": {"width": 16, "num_bins": 4}}
    cascade = write_config(
        folder, "cascade", kind="cascade", cascade={"num_validation": 30, "network": network, **stages}
    )
    with pytest.MonkeyPatch.context() as patch:  # in this process: others would have to import torch first
        patch.setattr("generators.showers.cascade.train.available_cpus", lambda: 1)
        patch.setattr("generators.showers.flow.train.available_cpus", lambda: 1)
        fastsim.train(cascade, folder / "runs" / "cascade")
        first = "runs/cascade/cascade.json"
        for name, flow in zip(KINDS, (FLOW, {**FLOW, "rings": True}, STUDENT), strict=True):
            fastsim.train(
                write_config(folder, name, kind="shower-flow", first=first, flow=flow), folder / "runs" / name
            )
    return folder


@pytest.fixture(params=KINDS)
def either(folder: Path, request: pytest.FixtureRequest) -> ShowerFlow:
    """A flow of voxels, one of rings, whose sectors the cascade splits, and a student of that one."""
    return load(folder, request.param)


@pytest.fixture
def model(folder: Path) -> ShowerFlow:
    return load(folder, "flow")


def load(folder: Path, name: str) -> ShowerFlow:
    loaded = fastsim.load_showers(folder / "runs" / name / f"{name}.json")
    assert isinstance(loaded, ShowerFlow)
    return loaded


def photons(num: int, energy: float = 20.0) -> fastsim.Incidents:
    return fastsim.Incidents.perpendicular(22, np.full(num, energy))


@pytest.mark.parametrize("kind", ["flow", "rings"])
def test_training_learns_and_the_card_tells_of_it(folder: Path, kind: str) -> None:
    card, _ = cards.read(folder / "runs" / kind / f"{kind}.json")
    assert card.kind == "shower-flow" and card.training["showers"] == 320
    assert card.training["first"]["name"] == "cascade" and len(card.training["first"]["sha256"]) == 64
    assert card.config["geometry"]["absorber"] == "G4_W" and set(card.training["networks"]) == set(NETWORKS)
    for name in NETWORKS:
        rows = (folder / "runs" / kind / "shower-flow" / name / "log.csv").read_text().splitlines()
        losses = [float(row.split(",")[3]) for row in rows if "validation/loss" in row]
        assert len(losses) == 6 and losses[-1] < 0.9 * losses[0]


def test_showers_are_those_of_their_latents_and_layers(either: ShowerFlow) -> None:
    model = either
    showers, latent = model.sample_with_latent(photons(40), rng=1)
    assert showers.shape == (40, 40) and (showers >= 0).all() and 0.05 < (showers == 0).mean() < 0.95
    np.testing.assert_allclose(showers.sum(1), latent[:, COLUMNS.index("visible")], rtol=1e-4)
    np.testing.assert_array_equal(model.sample(photons(40), rng=1), showers)
    np.testing.assert_array_equal(
        model.sample(photons(40), rng=7, latent=latent).sum(1).round(1), showers.sum(1).round(1)
    )
    assert not np.array_equal(model.sample(photons(40), rng=2), showers)
    assert model.sample(photons(0), rng=1).shape == (0, 40)
    latent[3, 0] = 1e6
    with pytest.raises(InvalidValue, match="latent 3: a visible energy of 1e"):
        model.sample(photons(40), rng=1, latent=latent)


def test_sectors_of_a_flow_of_rings_add_up_to_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn has the flow's energies of rings, in layers of one ring and of two, and is split in sectors."""
    model, drawn, draw = load(folder, "rings"), [], FlowSampler._patches

    def record(*arguments: Any) -> NDArray[np.float32]:
        drawn.append(draw(*arguments))
        return drawn[-1]

    monkeypatch.setattr(FlowSampler, "_patches", record)
    heaps = model.grid.heaps(model.sample(photons(100), rng=1))
    rings = np.concatenate(drawn)
    np.testing.assert_allclose(heaps[..., 1], rings, rtol=1e-5, atol=1e-6)
    assert rings.shape == (100, 6, 2) and (rings[:, 4:, 1] == 0).all() and (rings[:, :4, 1] > 0).any()
    heaps = heaps[rings.sum((1, 2)) > 0]
    sides = np.einsum("nlrs,s->n", heaps[..., 4:], model.grid.directions[4:, 0]) / heaps[..., 1].sum((1, 2))
    assert abs(sides.mean()) < 4 * sides.std() / 10 and 0.0 < sides.std() < 0.7


def test_weights_decide_and_are_kept(either: ShowerFlow, tmp_path: Path) -> None:
    model = either
    before = model.sample(photons(8), rng=3)
    saved = model.save(tmp_path, version="2", training={})
    np.testing.assert_array_equal(fastsim.load_showers(saved).sample(photons(8), rng=3), before)
    with torch.no_grad():  # matrices keep their digits: in eight bits cores of the shipped model were too large
        model.flow.decoder.enter.weight *= 1 + 0.1 * torch.rand(model.flow.decoder.enter.weight.shape)
    kept = fastsim.load_showers(model.save(tmp_path / "half", version="2", training={}))
    assert isinstance(kept, ShowerFlow)
    torch.testing.assert_close(kept.flow.decoder.enter.weight, model.flow.decoder.enter.weight, rtol=1e-3, atol=1e-6)
    with torch.no_grad():
        model.flow.decoder.outputs.bias[0] -= 5.0  # deposits nearly nowhere
    assert (model.sample(photons(8), rng=3) > 0).mean() < (before > 0).mean() - 0.05


def test_the_number_of_evaluations_is_an_option(folder: Path, model: ShowerFlow, tmp_path: Path) -> None:
    card = folder / "runs" / "flow" / "flow.json"
    settings: dict[str, Any] = {
        "detector": folder / "mine.toml",
        "particle": "gamma",
        "energy": 5.0,
        "num": 4,
        "seed": 1,
    }
    for name, steps in (("a.h5", None), ("b.h5", 8), ("c.h5", 3)):
        fastsim.showers(tmp_path / name, **settings, model=card, num_inference_steps=steps, latent=True)
    one, same, other = (read_showers(tmp_path / name).voxels for name in ("a.h5", "b.h5", "c.h5"))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    with h5py.File(tmp_path / "c.h5") as file:
        assert json.loads(file.attrs["settings"])["model_num_inference_steps"] == "3"
    with pytest.raises(FastsimError, match="num_inference_steps = 0: at least 1"):
        fastsim.load_showers(card, num_inference_steps=0)
    cascade = folder / "runs" / "cascade" / "cascade.json"
    with pytest.raises(FastsimError, match="takes no --num-inference-steps"):
        fastsim.showers(tmp_path / "d.h5", **settings, model=cascade, num_inference_steps=3)
    with pytest.raises(FastsimError, match="Geant4 takes no --num-inference-steps"):
        fastsim.showers(tmp_path / "d.h5", **settings, model="geant4", num_inference_steps=3)
    if not torch.cuda.is_available():
        with pytest.raises(FastsimError, match="sees no CUDA device"):
            fastsim.load_showers(card, device="cuda")


def test_a_cascade_makes_showers_to_learn_from(folder: Path, tmp_path: Path) -> None:
    """They are those of ``fastsim showers``, are made once, and are other ones for other weights."""
    first, detector = folder / "runs" / "cascade" / "cascade.json", load_detector(folder / "mine.toml")
    data = {"particle": "e-", "num": 30, "seed": 5, "model": str(first)}
    (one,) = shower_sets(data, detector, (1.0, 50.0), folder / "flow.json")
    showers = one.read(detector, tmp_path)
    settings: dict[str, Any] = {"detector": folder / "mine.toml", "particle": "e-", "energy": (1, 50), "seed": 5}
    fastsim.showers(tmp_path / "same.h5", **settings, num=30, model=first)
    np.testing.assert_array_equal(showers.voxels, read_showers(tmp_path / "same.h5").voxels)
    assert (showers.pdg_id == 11).all() and (showers.voxels > 0).any()
    (kept,) = tmp_path.glob("mine_e-_1-50_30_5_cascade_*.h5")
    before = kept.stat().st_mtime_ns
    one.read(detector, tmp_path)
    assert kept.stat().st_mtime_ns == before
    with pytest.raises(FastsimError, match=r"data: model: .*rings.json is of kind 'shower-flow'; give a cascade"):
        shower_sets({**data, "model": "runs/rings/rings.json"}, detector, (1.0, 50.0), folder / "flow.json")
    (other,) = shower_sets({**data, "model": "pb-si-cascade"}, detector, (1.0, 50.0), folder / "flow.json")
    with pytest.raises(FastsimError, match="makes showers in pb-si-ecal, not in mine"):
        other.read(detector, tmp_path)


def test_what_does_not_fit_the_first_stages_is_named(folder: Path, tmp_path: Path) -> None:
    first = str(folder / "runs" / "cascade" / "cascade.json")
    for wrong, message in (
        ({"first": "nothing"}, "nothing"),
        ({"first": "copper-towers"}, r"first: copper-towers has no latent"),
        ({"first": "pb-si-cascade"}, r"first: pb-si-cascade is of detector pb-si-ecal, the config of mine"),
        ({"energy": [1, 60]}, r"first: cascade makes 1 to 50 GeV, the config asks for 1 to 60"),
        ({"data": {"files": "showers_e-.h5"}}, r"first: cascade is of particles \(22, 11\)|\(11, 22\)"),
        ({"flow": {"num_validation": 320}}, "320 showers with 320 held out: none to train on"),
        ({"flow": {"width": 3}}, "flow: unknown key 'width'"),
        ({"flow": {"network": {"decoder": {"with": 3}}}}, r"flow\.network\.decoder: unknown key 'with'"),
        ({"cascade": {}}, "unknown key 'cascade'"),
    ):
        config = write_config(folder, "wrong", **{"kind": "shower-flow", "first": first, "flow": FLOW, **wrong})
        with pytest.raises(FastsimError, match=message):
            fastsim.train(config, tmp_path / "wrong")


@pytest.fixture(scope="module")
def exports(folder: Path) -> dict[str, Path]:
    """The exports of all kinds."""
    targets = {name: folder / f"onnx_{name}" for name in KINDS}
    for name, target in targets.items():
        fastsim.export(folder / "runs" / name / f"{name}.json", target, num=3000, seed=1)
    return targets


def host(folder: Path) -> Any:
    """Load an export into the host of the examples."""
    spec = importlib.util.spec_from_file_location("onnx_showers", "examples/onnx_showers.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Host(folder)


def test_exported_networks_are_those_of_the_model(either: ShowerFlow, exports: dict[str, Path]) -> None:
    import onnxruntime

    model, rings = either, either.flow.patches.rings
    target = exports[model.name]
    names = {"denoiser.onnx", "decoder.onnx", "table.bin", "model.json", *(["sectors.onnx"] if rings else [])}
    assert {path.name for path in target.iterdir()} == names
    values = json.loads((target / "model.json").read_text())
    num_layers, num_places = values["denoiser"]["inputs"]["x"][1:]
    columns = list(values["table"]["columns"].values())
    rows = np.fromfile(target / "table.bin", "<f4").reshape(6000, sum(columns))
    _, layers, context, latent = (np.ascontiguousarray(each) for each in np.split(rows[:7], np.cumsum(columns)[:-1], 1))
    assert latent.shape[1] == (len(COLUMNS) if rings else 0)
    x, sigma = np.random.default_rng(1).normal(size=(7, num_layers, num_places)).astype(np.float32), 0.4
    flow, tensors = model.flow, (torch.from_numpy(layers), torch.from_numpy(context))
    features = flow.layer_features(tensors[0])
    with torch.inference_mode():
        u = flow.velocity(torch.from_numpy(x), torch.full((7,), sigma), features, tensors[1]).numpy()
        wanted = {"denoiser": x - sigma * u, "decoder": flow.decode(torch.from_numpy(x), features, tensors[1]).numpy()}
    given = {"x": x, "layers": layers, "context": context, "sigma": np.full(7, sigma, np.float32)}
    if rings:
        pdg_id, energy = np.full(50, 22), np.full(50, 20.0)
        heaps = model.grid.heaps(model.sample(photons(50), rng=2))
        nodes = all_nodes(heaps, model.grid.divided, model.grid.halved)
        of_showers = (heaps, latent_of(model.grid, heaps), model.cascade.given(pdg_id, energy), nodes)
        given |= dict(zip(("deposits", "latent", "particle", "nodes"), of_showers, strict=True))
        with torch.inference_mode():
            wanted["sectors"] = SectorGraph(model.cascade)(*(torch.from_numpy(each) for each in of_showers)).numpy()
    for name, expected in wanted.items():
        session = onnxruntime.InferenceSession(target / f"{name}.onnx", providers=["CPUExecutionProvider"])
        found = session.run(None, {each.name: given[each.name] for each in session.get_inputs()})[0]
        assert list(values[name]["inputs"]) == [each.name for each in session.get_inputs()]
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_host_draws_the_showers_of_the_model(either: ShowerFlow, exports: dict[str, Path]) -> None:
    """Energies, hits, depth, radius and side of what the example draws, and that a host with a fault is seen."""
    model, num, drawing = either, 1500, host(exports[either.name])
    energy = np.exp(np.random.default_rng(1).uniform(np.log(1.2), np.log(45), num))
    own = model.sample(fastsim.Incidents.perpendicular(22, energy), rng=5)
    drawn = drawing.sample(22, energy, np.random.default_rng(6))
    assert drawn.shape == own.shape

    def observables(voxels: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        z = latent_of(model.grid, model.grid.heaps(voxels)).astype(float)
        place = COLUMNS.index("side_x")
        columns = {column: z[:, COLUMNS.index(column)] for column in ("depth", "length", "radius", "core", "growth")}
        columns |= {"side": np.hypot(z[:, place], z[:, place + 1]), "visible": z[:, 0] / energy}
        return columns | {"hits": (voxels > 0).sum(1).astype(float), "highest": voxels.max(1) / z[:, 0].clip(min=1e-9)}

    one, two = observables(own), observables(drawn)
    for column in one:
        assert ks_2samp(one[column], two[column]).pvalue > 1e-3, column
        error = np.hypot(one[column].std(), two[column].std()) / num**0.5
        assert abs(one[column].mean() - two[column].mean()) < 4 * error, column
    drawing.values["decoder"]["tries"] = 0  # each layer's energy goes where a deposit is likeliest
    assert (
        ks_2samp(one["hits"], observables(drawing.sample(22, energy, np.random.default_rng(6)))["hits"]).pvalue < 1e-6
    )


def test_the_host_is_a_program_of_its_own(exports: dict[str, Path], tmp_path: Path) -> None:
    """It knows nothing of fastsim, and says in a line what it lacks."""
    program = shutil.copy(Path("examples/onnx_showers.py"), tmp_path / "host.py")
    for name in KINDS:
        target = Path(shutil.copytree(exports[name], tmp_path / name))
        run = [sys.executable, "-I", program, str(target), "--particle", "22", "--energy", "20", "-n", "20"]
        subprocess.run([*run, "-o", str(tmp_path / "showers.npy")], check=True, cwd=tmp_path)
        drawn = np.load(tmp_path / "showers.npy")
        assert drawn.shape == (20, 40) and (drawn >= 0).all() and (drawn > 0).any(1).mean() > 0.5
        values = json.loads((target / "model.json").read_text())
        broken: list[tuple[str, str | None, str]] = [
            ("decoder.onnx", None, "no decoder.onnx, which model.json names"),
            ("model.json", json.dumps({**values, "format": "other"}), "format 'other'"),
            ("model.json", None, "no model.json"),
        ]
        for file, content, message in broken:
            if content is None:
                (target / file).unlink()
            else:
                (target / file).write_text(content)
            failed = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path)
            assert failed.returncode == 2 and failed.stderr.count("\n") == 1 and message in failed.stderr


def test_a_training_starts_from_another_flow(folder: Path, tmp_path: Path) -> None:
    """With more units for each voxel it computes the same until it is trained; a network that is null stays."""
    first, before = "runs/cascade/cascade.json", load(folder, "rings")
    wider: dict[str, Any] = {"network": {"denoiser": {"hidden": 7}}, "num_validation": 40, "batch_size": 32}
    wider |= {"decoder": None, "num_inference_steps": 5}
    common = {"kind": "shower-flow", "first": first, "init": "runs/rings/rings.json"}
    none = write_config(folder, "same", **common, flow={**wider, "denoiser": {**LOOP, "learning_rate": 0.0}})
    some = write_config(folder, "further", **common, flow={**wider, "denoiser": LOOP})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("generators.showers.flow.train.available_cpus", lambda: 1)
        same, further = (fastsim.load_showers(fastsim.train(each, tmp_path / each.stem)) for each in (none, some))
    assert isinstance(same, ShowerFlow) and isinstance(further, ShowerFlow)
    assert same.num_inference_steps == 5 and before.num_inference_steps == 8
    assert same.flow.config.denoiser.hidden == 7 and same.flow.config.decoder.hidden == NETWORK["hidden"]
    card, _ = cards.read(tmp_path / "further" / "further.json")
    assert card.training["init"]["name"] == "rings" and set(card.training["networks"]) == {"denoiser"}
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.normal(size=(5, *before.flow.patches.shape)).astype(np.float32))
    layers, context = (torch.from_numpy(rng.random((5, n), np.float32)) for n in (len(x[0]), len(before.flow.shift)))

    @torch.inference_mode()
    def outputs(model: ShowerFlow) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        features = model.flow.layer_features(layers)
        u = model.flow.velocity(x, torch.full((5,), 0.3), features, context)
        return u.numpy(), model.flow.decode(x, features, context).numpy()

    wanted, found, trained = (outputs(each) for each in (before, same, further))
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-5)
    for each in (found, trained):
        np.testing.assert_allclose(each[1], wanted[1], atol=1e-5)
    assert np.abs(trained[0] - wanted[0]).max() > 1e-2
    for wrong, message in (
        ({"init": first}, "init: .*cascade.json is of kind 'cascade'; give one of kind 'shower-flow'"),
        ({"flow": {**wider, "rings": False}}, r"init: rings has \(unit, scale, rings\)"),
        (
            {"flow": {**wider, "network": {"denoiser": {"width": 32}}}},
            "networks of other sizes: only 'hidden' may grow",
        ),
        ({"flow": {**wider, "denoiser": None}}, "denoiser is null: one network may stay as that of 'init' is"),
        ({"init": None, "flow": {"decoder": None}}, "decoder is null: one network may stay"),
    ):
        with pytest.raises(FastsimError, match=message):
            fastsim.train(write_config(folder, "wrong", **{**common, "flow": wider, **wrong}), tmp_path / "wrong")


def test_a_student_learns_the_steps_of_its_teacher(folder: Path, exports: dict[str, Path]) -> None:
    """Two steps lead nearer to the end of the teacher's path than the teacher's own two do; the decoder stays."""
    student, teacher = load(folder, "fast"), load(folder, "rings")
    card, _ = cards.read(folder / "runs" / "fast" / "fast.json")
    assert student.num_inference_steps == 2 and card.config["flow"]["levels"] == LEVELS
    assert card.training["teacher"]["name"] == "rings" and set(card.training["networks"]) == {"denoiser"}
    for own, of in zip(student.flow.decoder.parameters(), teacher.flow.decoder.parameters(), strict=True):
        torch.testing.assert_close(own, of, rtol=1e-3, atol=1e-6)
    z = teacher.latent(photons(200), rng=1)
    particle, energy = teacher.cascade.given(np.full(200, 22), np.full(200, 20.0)), np.full(200, 20.0)
    layers = teacher.sampler.first.layers(particle, energy, z[:, 0].copy(), z, np.random.default_rng(2))
    context = torch.from_numpy(conditions(particle, energy, z))
    noise = torch.randn(200, *teacher.flow.patches.shape, generator=torch.Generator().manual_seed(3))

    @torch.inference_mode()
    def end(flow: VoxelFlow, levels: tuple[float, ...]) -> torch.Tensor:
        features = flow.layer_features(torch.from_numpy(layers))

        def velocity(x: torch.Tensor, sigma: float) -> torch.Tensor:
            return flow.velocity(x, torch.full((200,), sigma), features, context)

        return integrate(velocity, noise * flow.mask, levels=levels, last=levels[-1])

    truth = end(teacher.flow, (*np.linspace(1, 0.45, 60).tolist()[:-1], 0.45))
    error, before = ((end(flow, tuple(LEVELS)) - truth).square().mean() for flow in (student.flow, teacher.flow))
    assert error < 0.7 * before
    steps = json.loads((exports["fast"] / "model.json").read_text())["sampler"]["steps"]
    assert [step["sigma"] for step in steps] == LEVELS[:-1] and steps[-1]["a"] == pytest.approx(0.45 / 0.7)


def test_a_student_has_its_own_steps_and_one_teacher(folder: Path, tmp_path: Path) -> None:
    card = folder / "runs" / "fast" / "fast.json"
    with pytest.raises(FastsimError, match="num_inference_steps = 8: fast was distilled to 2"):
        fastsim.load_showers(card, num_inference_steps=8)
    common = {"kind": "shower-flow", "first": "runs/cascade/cascade.json"}
    for wrong, message in (
        ({"network": {}}, r"flow\.network: a student needs 'levels', from 1 to sigma_min"),
        (
            {"network": {"levels": [1.0, 0.2]}},
            r"flow\.network: levels \[1.0, 0.2\]: noise levels fall from 1 to sigma_min, 0.45",
        ),
        ({"network": {"levels": [1.0, 0.5, 0.7, 0.45]}}, "noise levels fall from 1 to sigma_min"),
        ({"distil": {"teacher": "runs/fast/fast.json"}}, "fast is a student itself"),
        ({"distil": {"teacher": "runs/cascade/cascade.json"}}, "flow.distil.teacher: .* is of kind 'cascade'"),
        ({"distil": None, "network": {"levels": LEVELS}, "init": "runs/rings/rings.json"}, "give 'distil' in flow"),
    ):
        values = {**STUDENT, **wrong}
        config = write_config(
            folder, "wrong", **common, **({"init": values.pop("init")} if "init" in values else {}), flow=values
        )
        with pytest.raises(FastsimError, match=message):
            fastsim.train(config, tmp_path / "wrong")


def test_what_cannot_be_exported_is_said(folder: Path, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from fastsim.cli.export import command

    with pytest.raises(FastsimError, match=r"pb-si-cascade is of kind 'cascade'; what has an export is 'shower-flow'"):
        fastsim.export("pb-si-cascade", tmp_path / "a")
    card = folder / "runs" / "flow" / "flow.json"
    with pytest.raises(FastsimError, match="3 rows a particle: a host chooses among 32"):
        fastsim.export(card, tmp_path / "a", num=3)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "model.json").write_text("{}")
    with pytest.raises(FastsimError, match=r"model\.json exists: give another folder"):
        fastsim.export(card, tmp_path / "b")
    assert CliRunner().invoke(command, ["--help"]).exit_code == 0
