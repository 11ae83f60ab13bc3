"""Training of a cascade from a JSON config: showers from Geant4, the networks, card and weights."""

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
from generators.reference.geant4_run import make_showers
from generators.showers.cascade.network import STAGES, Cascade
from generators.showers.cascade.source import CascadeModel
from generators.showers.cascade.splits import Rows, SplitNet
from generators.showers.regroup import Regrouping
from generators.training.config import check_keys, from_dict, read_config
from generators.training.loop import FitResult, TrainingConfig, fit, write_atomically

_KEYS = ("name", "kind", "version", "seed", "detector", "showers_of", "energy", "data", "cascade")
_DATA_KEYS = {"particle", "num", "seed"}
_SHOWERS_PER_BLOCK = 2000
"""Showers whose heaps are computed at once: they take much more memory than voxels."""
_STEP_OF_SCALES = 2**31
"""The standardisation is taken from the splits of a step that no training reaches."""


@dataclass(frozen=True)
class StageTraining:
    """How one stage is trained.

    Attributes:
        num_showers: showers that a step takes.
        num_splits: splits of them that a step takes; None: all.
        loop: length and rates.
    """

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
    """How a cascade is trained.

    Attributes:
        stages: the training of each stage, by its name.
        network: sizes of the networks that differ from the defaults of
            :class:`~generators.showers.cascade.network.Cascade`, by stage.
        num_validation: showers, the last of all, that are held out to pick each stage's checkpoint.
    """

    stages: dict[str, StageTraining] = field(default_factory=lambda: dict(DEFAULTS))
    network: dict[str, dict[str, int]] = field(default_factory=dict)
    num_validation: int = 1000

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str) -> CascadeTraining:
        """Read a JSON object: ``num_validation``, ``network``, and what differs from the defaults by stage.

        Args:
            values: the JSON object.
            where: the file and the section that messages begin with.

        Raises:
            FastsimError: naming an unknown key.
        """
        general = {key: value for key, value in values.items() if key not in STAGES}
        if "stages" in general:
            raise FastsimError(f"{where}: unknown key 'stages'; stages are {', '.join(STAGES)}")
        stages = {
            stage: from_dict(StageTraining, values.get(stage, {}), f"{where}.{stage}", default=default)
            for stage, default in DEFAULTS.items()
        }
        return from_dict(cls, {**general, "stages": stages}, where)


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


def training_showers(
    detector: Detector, energy: tuple[float, float], sets: list[dict[str, Any]], cache: Path, simulated: Detector
) -> TrainingShowers:
    """Read the showers of a config, simulated by Geant4 where ``cache`` lacks them, and shuffle them in a fixed way.

    Args:
        detector: the detector that the showers are for.
        energy: lowest and highest kinetic energy in GeV.
        sets: ``particle``, ``num`` and ``seed`` of each set of showers.
        cache: folder of the files, one for each set.
        simulated: the detector that Geant4 simulates: ``detector``, or one of finer voxels, which are regrouped.

    Raises:
        FastsimError: if a set has other keys, or Geant4 is needed and missing.
    """
    regroup = None if simulated == detector else Regrouping.of(simulated, detector)
    parts = []
    for values in sets:
        if set(values) != _DATA_KEYS:
            raise FastsimError(f"data: a set of showers has particle, num and seed, not {', '.join(sorted(values))}")
        gun = ShowerGun(simulated, values["particle"], energy, seed=int(values["seed"]))
        path = cache / f"{simulated.name}_{gun.particle}_{energy[0]:g}-{energy[1]:g}_{values['num']}_{gun.seed}.h5"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            options = RunOptions(seed=gun.seed, workers=available_cpus(), resume=True)
            make_showers(gun, path, num=int(values["num"]), options=options)
        showers = read_showers(path, simulated.binning(gun.particle))
        voxels = showers.voxels if regroup is None else regroup(showers.voxels)
        pdg_id = np.full(len(showers), PARTICLES[gun.particle][0])
        parts.append(TrainingShowers(pdg_id, showers.incident / 1e3, voxels))
    columns = [np.concatenate([getattr(p, name) for p in parts]) for name in ("pdg_id", "energy", "voxels")]
    order = np.random.default_rng(0).permutation(len(columns[0]))
    return TrainingShowers(*(column[order] for column in columns))


class _Batches:
    """The splits that each step of a stage's training takes: a function of the step alone."""

    def __init__(self, model: Cascade, stage: str, showers: TrainingShowers, config: StageTraining, seed: int) -> None:
        self.model, self.stage, self.showers, self.config = model, stage, showers, config
        self.seed = [seed, STAGES.index(stage)]
        starts = range(0, len(showers), _SHOWERS_PER_BLOCK)
        blocks = (model.grid.heaps(showers.voxels[start : start + _SHOWERS_PER_BLOCK]) for start in starts)
        self.rings = np.concatenate([heaps[..., 1] for heaps in blocks])

    def __call__(self, step: int) -> Rows:
        rng = np.random.default_rng(np.random.SeedSequence([*self.seed, step]))
        chosen = rng.integers(0, len(self.showers), self.config.num_showers)
        num_splits = self.config.num_splits
        pdg_id, energy = self.showers.pdg_id[chosen], self.showers.energy[chosen]
        if self.stage == "sectors":
            heaps = self.model.grid.heaps(self.model.grid.turn(self.showers.voxels[chosen], rng))
            return self.model.sector_rows(pdg_id, energy, heaps, num_splits, rng)
        rows = _stage_rows(self.model, self.stage, pdg_id, energy, self.rings[chosen])
        return rows if num_splits is None else rows.chosen(rng.integers(0, len(rows), num_splits))


def _stage_rows(model: Cascade, stage: str, pdg_id: Ints, energy: Floats, rings: NDArray[np.float32]) -> Rows:
    """Compute all splits of a stage before the sectors, from the energies of rings (N, L, R) in MeV."""
    if stage == "rings":
        return model.ring_rows(pdg_id, energy, rings)
    layers = rings.sum(-1)
    if stage == "layers":
        return model.layer_rows(pdg_id, energy, layers)
    return model.response_rows(pdg_id, energy, layers.sum(-1))


def fit_stage(
    model: Cascade, stage: str, showers: TrainingShowers, config: CascadeTraining, seed: int, run_dir: Path
) -> FitResult:
    """Train one stage; the checkpoint with the best likelihood of the held-out showers is kept.

    Args:
        model: the cascade; the standardisation of the stage's features is taken from ``showers``.
        stage: one of ``STAGES``.
        showers: all showers, the last ``config.num_validation`` of which are held out.
        config: how to train.
        seed: decides the batches.
        run_dir: folder of checkpoints and logs; a run in it is resumed.

    Raises:
        FastsimError: if no showers are left to train on.
    """
    num = len(showers) - config.num_validation
    if num < 1:
        raise FastsimError(f"{len(showers)} showers with {config.num_validation} held out: none to train on")
    net, settings = model.net(stage), config.stages[stage]
    training = _Batches(model, stage, showers[:num], settings, seed)
    net.set_scales(training(_STEP_OF_SCALES).features)
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
    """Train one stage of a config in a process of its own; return its result and the file of its weights."""
    torch.set_num_threads(threads)
    model, showers, settings, seed = _prepare(config_path, cache)
    result = fit_stage(model.cascade, stage, showers, settings, seed, run / stage)
    weights = run / stage / "weights.pt"
    write_atomically(model.cascade.net(stage).state_dict(), weights)
    return result, weights


def _prepare(config_path: Path, cache: Path) -> tuple[CascadeModel, TrainingShowers, CascadeTraining, int]:
    """Return the untrained model of a config, its showers, its settings and its seed.

    Raises:
        FastsimError: if the config is not understood, or Geant4 is needed and missing.
    """
    config = read_config(config_path)
    check_keys(config, _KEYS, config_path, required=("name", "detector", "energy", "data", "cascade"))
    seed, settings = int(config.get("seed", 1)), CascadeTraining.of(config["cascade"], f"{config_path}: cascade")
    detector, (low, high) = load_detector(config["detector"]), config["energy"]
    particles = sorted({values["particle"] for values in config["data"]}, key=list(PARTICLES).index)
    torch.manual_seed(seed)
    model = CascadeModel.build(
        config["name"], detector, [PARTICLES[name][0] for name in particles], (low, high), {"network": settings.network}
    )
    simulated = load_detector(config.get("showers_of", config["detector"]))
    showers = training_showers(detector, (float(low), float(high)), config["data"], cache, simulated)
    return model, showers, settings, seed


def train(config_path: Path, output: Path, *, resume: bool = True) -> Path:
    """Train the cascade that a JSON config describes, and write its card and weights.

    The showers are cached in the folder ``data`` next to ``output``. The stages are trained at the same time, in a
    process each.

    Args:
        config_path: JSON with name, kind "cascade", seed, detector, energy [low, high] in GeV, data and cascade; and
            showers_of, a detector of finer voxels, if its showers are to be regrouped.
        output: folder of the run.
        resume: go on from the checkpoints in it; otherwise they are removed first.

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
        results = dict(zip(reversed(STAGES), pool.map(job, reversed(STAGES)), strict=True))
    for stage, (_, weights) in results.items():
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
                    "steps": results[stage][0].step,
                    "best_step": results[stage][0].best_step,
                    "validation_nll": results[stage][0].best_value,
                }
                for stage in STAGES
            },
        },
    )
