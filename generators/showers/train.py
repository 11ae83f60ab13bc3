"""Trains a cascade from a JSON config: showers from Geant4, the networks, card and weights."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fastsim.detector.detector import PARTICLES, Detector, load_detector
from fastsim.detector.shower_gun import ShowerGun
from fastsim.errors import FastsimError
from fastsim.event import Floats, Ints
from fastsim.formats.calochallenge import read_showers
from fastsim.production.options import RunOptions, available_cpus
from generators.hadrons.train import from_dict, read_config
from generators.reference.geant4_run import make_showers
from generators.showers.cascade.network import STAGES, Cascade
from generators.showers.cascade.source import CascadeModel
from generators.showers.cascade.splits import Rows, SplitNet
from generators.showers.regroup import Regrouping
from generators.training.loop import FitResult, TrainingConfig, fit, write_atomically

_KEYS = ("name", "kind", "version", "seed", "detector", "showers_of", "energy", "data", "cascade")


@dataclass(frozen=True)
class StageTraining:
    """How one stage is trained: a step takes ``num_splits`` (None: all) of ``num_showers`` showers."""

    num_showers: int
    num_splits: int | None
    loop: TrainingConfig


_FAST = TrainingConfig(num_steps=8000, learning_rate=3e-3, warmup=100, decay_fraction=0.7, ema_decay=0.998)
_MANY = replace(_FAST, precision="bfloat16")
DEFAULTS = {
    "response": StageTraining(2048, None, replace(_FAST, num_steps=3000)),
    "layers": StageTraining(192, None, replace(_FAST, num_steps=6000)),
    "rings": StageTraining(64, 8192, _MANY),
    "sectors": StageTraining(64, 8192, _MANY),
}
"""The energy scale is decided by the first two stages: they are trained in single precision."""


@dataclass(frozen=True)
class CascadeTraining:
    """Stages by name, network sizes by stage, and the number of showers held out to pick each stage's checkpoint."""

    stages: dict[str, StageTraining] = field(default_factory=lambda: dict(DEFAULTS))
    network: dict[str, dict[str, int]] = field(default_factory=dict)
    num_validation: int = 1000

    @classmethod
    def of(cls, values: dict[str, Any], where: str) -> CascadeTraining:
        """From a config's JSON object: ``num_validation``, ``network``, and what differs from the defaults by stage.

        Raises:
            FastsimError: naming an unknown key.
        """
        rest = {k: v for k, v in values.items() if k not in STAGES}
        if "stages" in rest:
            raise FastsimError(f"{where}: unknown key 'stages'; stages are {', '.join(STAGES)}")
        stages = {}
        for stage, default in DEFAULTS.items():
            given = dict(values.get(stage, {}))
            loop = {**vars(default.loop), **given.pop("loop", {})}
            known = {k: v for k, v in vars(default).items() if k != "loop"}
            stages[stage] = from_dict(StageTraining, {**known, **given, "loop": loop}, f"{where}.{stage}")
        return from_dict(cls, {**rest, "stages": stages}, where)  # type: ignore[no-any-return]


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
    detector: Detector, energy: tuple[float, float], sets: list[dict[str, Any]], cache: Path, made: Detector
) -> TrainingShowers:
    """The showers of a config, made by Geant4 where ``cache`` does not hold them; shuffled in a fixed way.

    Args:
        detector: the target.
        energy: lowest and highest kinetic energy in GeV.
        sets: of ``particle``, ``num`` and ``seed`` each.
        cache: folder of the files, one a set.
        made: whose showers are made: ``detector``, or one of finer voxels, which are regrouped.
    """
    regroup = None if made == detector else Regrouping.of(made, detector)
    parts = []
    for values in sets:
        if set(values) != {"particle", "num", "seed"}:
            raise FastsimError(f"data: a set of showers has particle, num and seed, not {', '.join(sorted(values))}")
        gun = ShowerGun(made, values["particle"], energy, seed=int(values["seed"]))
        path = cache / f"{made.name}_{gun.particle}_{energy[0]:g}-{energy[1]:g}_{values['num']}_{gun.seed}.h5"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            make_showers(
                gun,
                path,
                num=int(values["num"]),
                options=RunOptions(seed=gun.seed, workers=available_cpus(), resume=True),
            )
        showers = read_showers(path, made.binning(gun.particle))
        voxels = showers.voxels if regroup is None else regroup(showers.voxels)
        pdg_id = np.full(len(showers), PARTICLES[gun.particle][0])
        parts.append(TrainingShowers(pdg_id, showers.incident / 1e3, voxels))
    columns = [np.concatenate([getattr(p, name) for p in parts]) for name in ("pdg_id", "energy", "voxels")]
    order = np.random.default_rng(0).permutation(len(columns[0]))
    return TrainingShowers(*(column[order] for column in columns))


class _Batches:
    """The splits of a stage's steps: a function of the step alone."""

    def __init__(self, model: Cascade, stage: str, showers: TrainingShowers, config: StageTraining, seed: int) -> None:
        self.model, self.stage, self.showers, self.config = model, stage, showers, config
        self.seed = [seed, STAGES.index(stage)]
        grid = model.grid
        self.rings = np.concatenate(
            [grid.heaps(showers.voxels[k : k + 2000])[..., 1] for k in range(0, len(showers), 2000)]
        )

    def __call__(self, step: int) -> Rows:
        rng = np.random.default_rng(np.random.SeedSequence([*self.seed, step]))
        some = rng.integers(0, len(self.showers), self.config.num_showers)
        most = self.config.num_splits
        if self.stage == "sectors":
            heaps = self.model.grid.heaps(self.model.grid.turn(self.showers.voxels[some], rng))
            return self.model.sector_rows(*_given(self.showers, some), heaps, most, rng)
        rows = _stage_rows(self.model, self.stage, *_given(self.showers, some), self.rings[some])
        return rows if most is None else rows.chosen(rng.integers(0, len(rows), most))


def _given(showers: TrainingShowers, rows: Ints) -> tuple[Ints, Floats]:
    return showers.pdg_id[rows], showers.energy[rows]


def _stage_rows(model: Cascade, stage: str, pdg_id: Ints, energy: Floats, rings: NDArray[np.float32]) -> Rows:
    """All splits of a stage before the sectors, from the energies of rings (N, L, R) in MeV."""
    if stage == "rings":
        return model.ring_rows(pdg_id, energy, rings)
    layers = rings.sum(-1)
    if stage == "layers":
        return model.layer_rows(pdg_id, energy, layers)
    return model.response_rows(pdg_id, energy, layers.sum(-1))


def fit_stage(
    model: Cascade, stage: str, showers: TrainingShowers, config: CascadeTraining, seed: int, run_dir: Path
) -> FitResult:
    """Trains one stage; the checkpoint is picked by the likelihood of held-out showers."""
    num = len(showers) - config.num_validation
    if num < 1:
        raise FastsimError(f"{len(showers)} showers with {config.num_validation} held out: none to train on")
    net, settings = model.net(stage), config.stages[stage]
    training = _Batches(model, stage, showers[:num], settings, seed)
    net.set_scales(training(2**31).features)
    check = [
        model.rows(part.pdg_id, part.energy, model.grid.heaps(part.voxels))[stage]
        for part in (showers[k : k + 200] for k in range(num, len(showers), 200))
    ]

    def validate(module: nn.Module) -> Mapping[str, float]:
        assert isinstance(module, SplitNet)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=settings.loop.precision == "bfloat16"):
            total = sum(float(module.log_prob(rows).sum()) for rows in check)
        return {"nll": -total / config.num_validation}

    return fit(net, training, settings.loop, run_dir, validate=validate, select="nll")


def _train_stage(config_path: Path, run: Path, cache: Path, stage: str, threads: int) -> tuple[FitResult, Path]:
    """Trains one stage of a config in a process of its own; its result, and the file of its weights."""
    torch.set_num_threads(threads)
    model, showers, settings, seed = _prepare(config_path, cache)
    result = fit_stage(model.cascade, stage, showers, settings, seed, run / stage)
    weights = run / stage / "weights.pt"
    write_atomically(model.cascade.net(stage).state_dict(), weights)
    return result, weights


def _prepare(config_path: Path, cache: Path) -> tuple[CascadeModel, TrainingShowers, CascadeTraining, int]:
    """The untrained model of a config, its showers, settings and seed.

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
    seed, settings = int(config.get("seed", 1)), CascadeTraining.of(config["cascade"], f"{config_path}: cascade")
    detector, (low, high) = load_detector(config["detector"]), config["energy"]
    particles = sorted({values["particle"] for values in config["data"]}, key=list(PARTICLES).index)
    torch.manual_seed(seed)
    model = CascadeModel.build(
        config["name"], detector, [PARTICLES[name][0] for name in particles], (low, high), {"network": settings.network}
    )
    made = load_detector(config.get("showers_of", config["detector"]))
    showers = load_showers(detector, (float(low), float(high)), config["data"], cache, made)
    return model, showers, settings, seed


def train(config_path: Path, output: Path, *, resume: bool = True) -> Path:
    """Trains the cascade of a JSON config; then writes card and weights.

    The showers are cached in ``data`` beside ``output``. The stages are trained side by side, in a process each.

    Args:
        config_path: JSON with name, kind "cascade", seed, detector, energy [low, high] in GeV, data and cascade; and
            showers_of, a detector of finer voxels, if its showers are to be regrouped.
        output: run folder.
        resume: go on from the checkpoints found there; otherwise they are removed first.

    Returns:
        The path of the card.

    Raises:
        FastsimError: if the config is not understood, or Geant4 is needed and missing.
    """
    run, cache = output / "cascade", output.parent / "data"
    if not resume:
        shutil.rmtree(run, ignore_errors=True)
    model, showers, *_ = _prepare(config_path, cache)
    workers = min(available_cpus(), len(STAGES))
    job = partial(_train_stage, config_path, run, cache, threads=available_cpus() // workers)
    # the last stages take longest
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = dict(zip(reversed(STAGES), pool.map(job, reversed(STAGES)), strict=True))
    for stage, (_, weights) in found.items():
        model.cascade.net(stage).load_state_dict(torch.load(weights, weights_only=True))
    config = read_config(config_path)
    return model.save(
        output,
        version=str(config.get("version", "1")),
        training={
            "command": f"fastsim train {config_path.name}",
            "config": config,
            "showers": len(showers),
            "stages": {
                stage: {
                    "steps": found[stage][0].step,
                    "best_step": found[stage][0].best_step,
                    "validation_nll": found[stage][0].best_value,
                }
                for stage in STAGES
            },
        },
    )
