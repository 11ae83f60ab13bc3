"""Training of a cascade from a JSON config: showers from Geant4 or from files, the networks, card and weights."""

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
from torch import Tensor, nn

from fastsim.detector.detector import PARTICLES
from fastsim.errors import FastsimError
from fastsim.event import Floats, Ints
from fastsim.production.options import available_cpus
from generators.showers.cascade.initial import Kept, initial_model, initialise
from generators.showers.cascade.latent import Latent, LatentFlow
from generators.showers.cascade.network import LATENT, STAGES, Cascade, most_visible
from generators.showers.cascade.source import CascadeModel
from generators.showers.cascade.splits import Rows, SplitNet
from generators.showers.cascade.tilt import Tilt, turned_tilt
from generators.showers.data import TrainingShowers, initial_facts, read_detector, read_energies, shower_sets
from generators.training.config import check_keys, from_dict, read_config
from generators.training.loop import FitResult, TrainingConfig, fit, write_atomically

_KEYS = (
    "name",
    "kind",
    "version",
    "seed",
    "detector",
    "showers_of",
    "energy",
    "max_theta",
    "data",
    "like",
    "init",
    "cascade",
)
_SHOWERS_PER_BLOCK = 2000
"""Showers whose heaps are computed at once: they take much more memory than voxels."""
_NUMBERS = {**{stage: number for number, stage in enumerate(STAGES)}, LATENT: len(STAGES)}
"""Numbers of the stages in the seeds of their batches."""
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
    LATENT: StageTraining(512, None, replace(_FAST, num_steps=4000, learning_rate=2e-3)),
    "layers": StageTraining(192, None, replace(_FAST, num_steps=6000)),
    "rings": StageTraining(64, 8192, _MANY),
    "sectors": StageTraining(64, 8192, _MANY),
}
"""The energy scale is decided by the first stages: they are trained in single precision."""


@dataclass(frozen=True)
class CascadeTraining:
    """How a cascade is trained.

    Attributes:
        stages: the training of each stage, by its name; of those that are trained.
        latent: whether the cascade has a latent.
        network: sizes of the networks that differ from the defaults of
            :class:`~generators.showers.cascade.network.Cascade`, by stage; of the latent's flow as "latent".
        num_validation: showers, the last of all, that are held out to pick each stage's checkpoint.
    """

    stages: dict[str, StageTraining] = field(default_factory=lambda: dict(DEFAULTS))
    network: dict[str, dict[str, int]] = field(default_factory=dict)
    num_validation: int = 1000
    latent: bool = True

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str) -> CascadeTraining:
        """Read a JSON object: ``num_validation``, ``network``, and what differs from the defaults by stage.

        A stage that is null stays as the model has it that the training starts from; the stage latent may be null
        without one, which means that there is no latent.

        Args:
            values: the JSON object.
            where: the file and the section that messages begin with.

        Raises:
            FastsimError: naming an unknown key.
        """
        general = {key: value for key, value in values.items() if key not in DEFAULTS}
        if "stages" in general:
            raise FastsimError(f"{where}: unknown key 'stages'; stages are {', '.join(DEFAULTS)}")
        stages = {
            stage: from_dict(StageTraining, values.get(stage, {}), f"{where}.{stage}", default=default)
            for stage, default in DEFAULTS.items()
            if values.get(stage, {}) is not None
        }
        return from_dict(cls, {**general, "stages": stages, "latent": LATENT in stages}, where)


class _Batches:
    """The splits that each step of a stage's training takes: a function of the step alone."""

    def __init__(self, model: Cascade, stage: str, showers: TrainingShowers, config: StageTraining, seed: int) -> None:
        self.model, self.stage, self.showers, self.config = model, stage, showers, config
        self.seed = [seed, _NUMBERS[stage]]
        self.tilt = showers.tilt if model.tilted else None
        rings, latents = [], []
        for start in range(0, len(showers), _SHOWERS_PER_BLOCK):
            heaps = model.grid.heaps(showers.voxels[start : start + _SHOWERS_PER_BLOCK])
            rings.append(heaps[..., 1])
            latents.append(model.latents(heaps))
        self.rings = np.concatenate(rings)
        known = [z for z in latents if z is not None]
        self.latents = np.concatenate(known) if known else None

    def __call__(self, step: int) -> Any:
        rng = np.random.default_rng(np.random.SeedSequence([*self.seed, step]))
        chosen = rng.integers(0, len(self.showers), self.config.num_showers)
        num_splits = self.config.num_splits
        pdg_id, energy = self.showers.pdg_id[chosen], self.showers.energy[chosen]
        tilt = None if self.tilt is None else self.tilt[chosen]
        if self.stage == "sectors":
            grid = self.model.grid
            turns = grid.random_turns(len(chosen), rng)
            heaps = grid.heaps(grid.turned(self.showers.voxels[chosen], *turns))
            if tilt is not None:
                mirrored, angle = grid.turn_back(*turns)
                tilt = turned_tilt(tilt, np.where(mirrored, angle, -angle), mirrored)
            return self.model.sector_rows(pdg_id, energy, heaps, num_splits, rng, tilt)
        z = None if self.latents is None else self.latents[chosen]
        rows = _stage_rows(self.model, self.stage, pdg_id, energy, self.rings[chosen], z, rng, tilt)
        if not isinstance(rows, Rows):
            return rows
        return rows if num_splits is None else rows.chosen(rng.integers(0, len(rows), num_splits))


def _stage_rows(
    model: Cascade,
    stage: str,
    pdg_id: Ints,
    energy: Floats,
    rings: NDArray[np.float32],
    z: Latent | None,
    rng: np.random.Generator,
    tilt: Tilt | None,
) -> Rows | tuple[Tensor, Tensor]:
    """Compute all splits of a stage before the sectors, from the energies of rings (N, L, R) in MeV and latents (N, Z).

    Of the latent: features and contexts of its flow. ``rng`` draws the blur that rings see the latents with. ``tilt``
    (N, 2) is of the particles, for a cascade that knows tilted ones.
    """
    if stage == LATENT:
        assert z is not None
        return model.latent_rows(pdg_id, energy, z, tilt)
    if stage == "rings":
        return model.ring_rows(pdg_id, energy, rings, z, rng, tilt)
    layers = rings.sum(-1)
    if stage == "layers":
        return model.layer_rows(pdg_id, energy, layers, z, tilt)
    return model.response_rows(pdg_id, energy, layers.sum(-1), tilt)


def fit_stage(
    model: Cascade,
    stage: str,
    showers: TrainingShowers,
    config: CascadeTraining,
    seed: int,
    run_dir: Path,
    *,
    kept: Kept | None = None,
) -> FitResult:
    """Train one stage; the checkpoint with the best likelihood of the held-out showers is kept.

    Args:
        model: the cascade; the standardisation of the stage's features is taken from ``showers``.
        stage: one of ``model.stages``.
        showers: all showers, the last ``config.num_validation`` of which are held out.
        config: how to train.
        seed: decides the batches.
        run_dir: folder of checkpoints and logs; a run in it is resumed.
        kept: which features have their standardisation from the model that the training starts from, by stage.

    Raises:
        FastsimError: if no showers are left to train on.
    """
    num = len(showers) - config.num_validation
    if num < 1:
        raise FastsimError(f"{len(showers)} showers with {config.num_validation} held out: none to train on")
    settings = config.stages[stage]
    training = _Batches(model, stage, showers[:num], settings, seed)
    if stage == LATENT:
        return _fit_latent(model, showers[num:], training, settings, run_dir)
    net = model.net(stage)
    net.set_scales(training(_STEP_OF_SCALES).features, kept=None if kept is None else kept[stage])
    check = [
        model.rows(part.pdg_id, part.energy, model.grid.heaps(part.voxels), part.tilt if model.tilted else None)[stage]
        for part in (showers[k : k + 200] for k in range(num, len(showers), 200))
    ]

    def validate(module: nn.Module) -> Mapping[str, float]:
        assert isinstance(module, SplitNet)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=settings.loop.precision == "bfloat16"):
            total = sum(float(module.log_prob(rows).sum()) for rows in check)
        return {"nll": -total / config.num_validation}

    return fit(net, training, settings.loop, run_dir, validate=validate, select="nll")


def _fit_latent(
    model: Cascade, held_out: TrainingShowers, training: _Batches, settings: StageTraining, run_dir: Path
) -> FitResult:
    """Train the latent's flow; the standardisation is taken from all showers that it is trained on."""
    assert model.latent is not None and training.latents is not None
    showers = training.showers
    model.latent.flow.set_scales(model.latent_rows(showers.pdg_id, showers.energy, training.latents, training.tilt)[0])
    z = model.latents(model.grid.heaps(held_out.voxels))
    assert z is not None
    check = model.latent_rows(held_out.pdg_id, held_out.energy, z, held_out.tilt if model.tilted else None)

    def validate(module: nn.Module) -> Mapping[str, float]:
        assert isinstance(module, LatentFlow)
        with torch.no_grad():
            return {"nll": float(module.loss(check))}

    return fit(model.latent, training, settings.loop, run_dir, validate=validate, select="nll")


def _train_stage(config_path: Path, run: Path, cache: Path, stage: str, threads: int) -> tuple[FitResult, Path]:
    """Train one stage of a config in a process of its own; return its result and the file of its weights."""
    torch.set_num_threads(threads)
    prepared = _prepare(config_path, cache)
    cascade, settings = prepared.model.cascade, prepared.settings
    result = fit_stage(cascade, stage, prepared.showers, settings, prepared.seed, run / stage, kept=prepared.kept)
    weights = run / stage / "weights.pt"
    write_atomically(cascade.module(stage).state_dict(), weights)
    return result, weights


@dataclass(frozen=True)
class _Prepared:
    """The model of a config before its training, and what it is trained with; see :func:`fit_stage`.

    ``initial`` says which model the training starts from; see :func:`~generators.showers.data.initial_facts`.
    """

    model: CascadeModel
    showers: TrainingShowers
    settings: CascadeTraining
    seed: int
    kept: Kept | None
    initial: dict[str, Any] | None


def _prepare(config_path: Path, cache: Path) -> _Prepared:
    """Make the model of a config, and read its showers.

    Raises:
        FastsimError: if the config is not understood, or Geant4 is needed and missing.
    """
    config = read_config(config_path)
    check_keys(config, _KEYS, config_path, required=("name", "detector", "energy", "data", "cascade"))
    seed, settings = int(config.get("seed", 1)), CascadeTraining.of(config["cascade"], f"{config_path}: cascade")
    energy = read_energies(config["energy"], config_path)
    detector = read_detector(config["detector"], config_path)
    simulated = read_detector(config.get("showers_of", config["detector"]), config_path)
    most = _read_angle(config.get("max_theta", 0.0), config_path)
    sets = shower_sets(config["data"], simulated, energy, config_path, learned=detector, max_theta=most)
    particles = sorted({each.particle for each in sets}, key=list(PARTICLES).index)
    initial = None if config.get("init") is None else initial_model(config["init"], config_path)
    if initial is None and (missing := [stage for stage in STAGES if stage not in settings.stages]):
        raise FastsimError(f"{config_path}: cascade.{missing[0]} is null: without init every stage is trained")
    showers = TrainingShowers.shuffled([each.read(detector, cache) for each in sets])
    sizes = {**({} if initial is None else initial.sizes), **settings.network}
    values: dict[str, Any] = {"network": {stage: size for stage, size in sizes.items() if stage != LATENT}}
    if settings.latent:
        values["latent"] = sizes.get(LATENT, {})
    if "like" in config:
        values["like"] = config["like"]
    ceiling = most_visible(showers.pdg_id, showers.energy, showers.voxels.sum(1))
    if ceiling != 1:
        values["ceiling"] = ceiling
    torch.manual_seed(seed)
    try:
        ids = [PARTICLES[name][0] for name in particles]
        model = CascadeModel.build(config["name"], detector, ids, energy, values, most)
    except (TypeError, ValueError) as error:
        where = "" if str(error).startswith(("like: ", "a cascade of tilted")) else "cascade.network: "
        raise FastsimError(f"{config_path}: {where}{error}") from error
    kept = None if initial is None else initialise(model.cascade, initial.cascade, f"{config_path}: init")
    facts = None if initial is None else initial_facts(initial)
    return _Prepared(model, showers, settings, seed, kept, facts)


def _read_angle(value: Any, config_path: Path) -> float:
    """Read the largest angle to the normal of a config, in rad.

    Raises:
        FastsimError: unless it is a number in [0, pi / 2).
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < np.pi / 2:
        raise FastsimError(f"{config_path}: max_theta is {value!r}: must be an angle in rad, from 0 to less than pi/2")
    return float(value)


def train(config_path: Path, output: Path, *, resume: bool = True) -> Path:
    """Train the cascade that a JSON config describes, and write its card and weights.

    Geant4's showers are cached in the folder ``data`` next to ``output``. The stages are trained at the same time, in a
    process each.

    Args:
        config_path: JSON with name, kind "cascade", seed, detector (a name, or the path of a TOML file), energy
            [low, high] in GeV, data (see :func:`~generators.showers.data.shower_sets`) and cascade; max_theta, the
            largest angle to the normal of the layers in rad, if it is not 0; like, particles that are drawn as others,
            such as {"e+": "e-"}; init, the name or path of a cascade to start from; and showers_of, a detector of finer
            voxels, if its showers are to be regrouped. Paths are relative to the config's folder.
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
    prepared = _prepare(config_path, cache)
    model = prepared.model
    # the last stages take longest
    stages = [stage for stage in reversed(model.cascade.stages) if stage in prepared.settings.stages]
    workers = max(1, min(available_cpus(), len(stages)))
    job = partial(_train_stage, config_path, run, cache, threads=available_cpus() // workers)
    if workers == 1:
        results = {stage: job(stage) for stage in stages}
    else:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            results = dict(zip(stages, pool.map(job, stages), strict=True))
    for stage, (_, weights) in results.items():
        model.cascade.module(stage).load_state_dict(torch.load(weights, weights_only=True))
    config = read_config(config_path)
    return model.save(
        output,
        version=str(config.get("version", "1")),
        training={
            "command": f"fastsim train {config_path.name}",
            "config": config,
            "showers": len(prepared.showers),
            **({} if prepared.initial is None else {"init": prepared.initial}),
            "stages": {
                stage: {
                    "steps": results[stage][0].step,
                    "best_step": results[stage][0].best_step,
                    "validation_nll": results[stage][0].best_value,
                }
                for stage in reversed(stages)
            },
        },
    )
