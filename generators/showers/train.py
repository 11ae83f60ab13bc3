"""Trains a cascade from a JSON config: showers from Geant4, the networks, card and weights."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fastsim.errors import FastsimError
from fastsim.event import Floats, Ints
from fastsim.formats.calochallenge import read_showers
from fastsim.production import available_cpus
from generators.hadrons.train import from_dict, read_config
from generators.reference.detectors import PARTICLES, Detector, load_detector
from generators.reference.showers import ShowerGun, make_showers
from generators.showers.cascade import Cascade, Rows
from generators.showers.model import CascadeModel
from generators.training import FitResult, TrainingConfig, fit

_KEYS = ("name", "kind", "version", "seed", "detector", "energy", "data", "cascade")


@dataclass(frozen=True)
class CascadeTraining:
    """Showers and splits a step, network sizes by stage, loop.

    A step sees ``num_response`` showers for the response, ``num_layers`` for the layers and ``num_showers`` for rings
    and sectors, of which it takes ``num_splits`` each. ``num_validation`` showers are held out.
    """

    num_response: int = 2048
    num_layers: int = 192
    num_showers: int = 64
    num_splits: int = 8192
    num_validation: int = 1000
    network: dict[str, dict[str, int]] = field(default_factory=dict)
    loop: TrainingConfig = field(default_factory=lambda: TrainingConfig(num_steps=10_000))


@dataclass(frozen=True)
class TrainingShowers:
    """N showers and their particles: ``pdg_id`` (N,), ``energy`` (N,) in GeV, ``voxels`` (N, V) in MeV."""

    pdg_id: Ints
    energy: Floats
    voxels: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.energy)

    def __getitem__(self, rows: slice | Ints) -> TrainingShowers:
        return TrainingShowers(self.pdg_id[rows], self.energy[rows], self.voxels[rows])


def load_showers(
    detector: Detector, energy: tuple[float, float], sets: list[dict[str, Any]], cache: Path
) -> TrainingShowers:
    """The showers of a config, made by Geant4 where ``cache`` does not hold them; shuffled in a fixed way.

    Args:
        detector: the target.
        energy: lowest and highest kinetic energy in GeV.
        sets: of ``particle``, ``num`` and ``seed`` each.
        cache: folder of the files, one a set.
    """
    parts = []
    for values in sets:
        if set(values) != {"particle", "num", "seed"}:
            raise FastsimError(f"data: a set of showers has particle, num and seed, not {', '.join(sorted(values))}")
        gun = ShowerGun(detector, values["particle"], energy, seed=int(values["seed"]))
        path = cache / f"{detector.name}_{gun.particle}_{energy[0]:g}-{energy[1]:g}_{values['num']}_{gun.seed}.h5"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            make_showers(gun, path, num=int(values["num"]), workers=available_cpus(), resume=True)
        showers = read_showers(path, detector.binning(gun.particle))
        pdg_id = np.full(len(showers), PARTICLES[gun.particle][0])
        parts.append(TrainingShowers(pdg_id, showers.incident / 1e3, showers.voxels))
    columns = [np.concatenate([getattr(p, name) for p in parts]) for name in ("pdg_id", "energy", "voxels")]
    order = np.random.default_rng(0).permutation(len(columns[0]))
    return TrainingShowers(*(column[order] for column in columns))


class _Batches:
    """The splits of a step: a function of the step alone."""

    def __init__(self, model: Cascade, showers: TrainingShowers, config: CascadeTraining, seed: int) -> None:
        self.model, self.showers, self.config, self.seed = model, showers, config, seed
        grid = model.grid
        self.rings = np.concatenate(
            [grid.heaps(showers.voxels[k : k + 2000])[..., 1] for k in range(0, len(showers), 2000)]
        )
        self.layers = self.rings.sum(-1)
        self.visible = self.layers.sum(-1)

    def __call__(self, step: int) -> dict[str, Rows]:
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, step]))
        showers, config, model = self.showers, self.config, self.model
        some = [rng.integers(0, len(showers), num) for num in (config.num_response, config.num_layers)]
        rows = {
            "response": model.response_rows(*_given(showers, some[0]), self.visible[some[0]]),
            "layers": model.layer_rows(*_given(showers, some[1]), self.layers[some[1]]),
        }
        few = rng.integers(0, len(showers), config.num_showers)
        rings = model.ring_rows(*_given(showers, few), self.rings[few])
        chosen = torch.from_numpy(rng.integers(0, len(rings), config.num_splits))
        rows["rings"] = Rows(rings.features[chosen], rings.case[chosen], rings.ratio[chosen])
        heaps = model.grid.heaps(model.grid.turn(showers.voxels[few], rng))
        rows["sectors"] = model.sector_rows(*_given(showers, few), heaps, config.num_splits, rng)
        return rows


def _given(showers: TrainingShowers, rows: Ints) -> tuple[Ints, Floats]:
    return showers.pdg_id[rows], showers.energy[rows]


def fit_cascade(
    model: Cascade, showers: TrainingShowers, config: CascadeTraining, seed: int, run_dir: Path
) -> FitResult:
    """Trains all stages side by side; the checkpoint is picked by the likelihood of held-out showers."""
    num = len(showers) - config.num_validation
    if num < 1:
        raise FastsimError(f"{len(showers)} showers with {config.num_validation} held out: none to train on")
    training = _Batches(model, showers[:num], config, seed)
    first = training(2**31)
    for stage, rows in first.items():
        model.net(stage).set_scales(rows.features)
    held_out = showers[num:]
    check = [_rows_of(model, held_out[k : k + 200]) for k in range(0, len(held_out), 200)]

    def validate(module: nn.Module) -> Mapping[str, float]:
        assert isinstance(module, Cascade)
        found = {}
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.loop.precision == "bfloat16"):
            for stage in check[0]:
                total = sum(float(module.log_prob(stage, rows[stage]).sum()) for rows in check)
                found[f"nll_{stage}"] = -total / len(held_out)
        return {"nll": sum(found.values()), **found}

    return fit(model, training, config.loop, run_dir, validate=validate, select="nll")


def _rows_of(model: Cascade, showers: TrainingShowers) -> dict[str, Rows]:
    return model.rows(showers.pdg_id, showers.energy, model.grid.heaps(showers.voxels))


def train(config_path: Path, output: Path, *, resume: bool = True) -> Path:
    """Trains the cascade of a JSON config; then writes card and weights.

    The showers are cached in ``data`` beside ``output``.

    Args:
        config_path: JSON with name, kind "cascade", seed, detector, energy [low, high] in GeV, data and cascade.
        output: run folder.
        resume: go on from the checkpoint found there; otherwise it is removed first.

    Returns:
        The path of the card.

    Raises:
        FastsimError: if the config is not understood, or Geant4 is needed and missing.
    """
    config = read_config(config_path)
    for key in config:
        if key not in _KEYS:
            raise FastsimError(f"{config_path}: unknown key {key!r}; known are {', '.join(_KEYS)}")
    for key in ("name", "detector", "energy", "data", "cascade"):
        if key not in config:
            raise FastsimError(f"{config_path}: missing key {key!r}")
    seed, settings = (
        int(config.get("seed", 1)),
        from_dict(CascadeTraining, config["cascade"], f"{config_path}: cascade"),
    )
    detector, (low, high) = load_detector(config["detector"]), config["energy"]
    run = output / "cascade"
    if not resume:
        shutil.rmtree(run, ignore_errors=True)
    particles = sorted({values["particle"] for values in config["data"]}, key=list(PARTICLES).index)
    torch.manual_seed(seed)
    model = CascadeModel.build(
        config["name"], detector, [PARTICLES[name][0] for name in particles], (low, high), {"network": settings.network}
    )
    showers = load_showers(detector, (float(low), float(high)), config["data"], output.parent / "data")
    result = fit_cascade(model.cascade, showers, settings, seed, run)
    return model.save(
        output,
        version=str(config.get("version", "1")),
        training={
            "command": f"fastsim train {config_path.name}",
            "config": config,
            "showers": len(showers),
            "steps": result.step,
            "best_step": result.best_step,
            "validation_nll": result.best_value,
        },
    )
