"""Training of a flow of voxels from a JSON config: showers, the first stages of a cascade, denoiser and decoder."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastsim.detector.detector import PARTICLES
from fastsim.errors import FastsimError
from fastsim.event import Ints
from fastsim.production.options import available_cpus
from generators.nn.distillation import Distillation, adopt, mean_velocity, window
from generators.nn.flow_matching import draw_sigma
from generators.showers.cascade.grid import Deposits
from generators.showers.cascade.initial import initial_model
from generators.showers.cascade.latent import Latent, latent_of, turned_latent
from generators.showers.data import TrainingShowers, initial_facts, read_detector, read_energies, shower_sets
from generators.showers.flow.initial import initial_flow, initialise
from generators.showers.flow.source import ShowerFlow, stages
from generators.showers.flow.voxels import FlowConfig, VoxelFlow, conditions
from generators.training.config import check_keys, from_dict, read_config
from generators.training.loop import FitResult, TrainingConfig, fit, write_atomically

_KEYS = ("name", "kind", "version", "seed", "detector", "energy", "data", "first", "init", "flow")
NETWORKS = ("denoiser", "decoder")
_AT_ONCE = 100
_FLOOR = 0.01
"""Deposits below this many units count as none: they are far below every threshold, and logarithms see them large."""
_LOOP = TrainingConfig(
    num_steps=6_500,
    learning_rate=2e-3,
    decay_fraction=0.6,
    ema_decay=0.998,
    weight_decay=0.02,
    optimizer="muon",
    precision="bfloat16",
    validate_every=500,
    checkpoint_every=250,
)

_SHORT = replace(_LOOP, num_steps=1_500)

Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Deposits (N, L, P) and energies of layers (N, L) in MeV, contexts (N, C), noise levels (N,), noise (N, L, P)."""


@dataclass(frozen=True)
class FlowTraining:
    """How a flow of voxels is trained.

    Attributes:
        network: sizes.
        denoiser, decoder: length and rates of the trainings of the two networks; None: it stays as ``init`` has it.
        batch_size: showers that a step takes.
        num_validation: showers, the last of all, that are held out to pick the checkpoints.
        rings: whether the flow draws whole rings, whose sectors the stage of the cascade draws.
        unit: of deposits, in MeV; None: a tenth of the deposit that one in ten deposits is below.
        scale: of the variable that the flow works in.
        sigma_mean, sigma_width: of the logits of the denoiser's noise levels.
        sigma_least: the lowest of them; None: a little below the one at which the decoder takes over.
        num_inference_steps: network evaluations of a shower, if nothing else is asked for.
        distil: the teacher of a flow that is distilled to the noise levels of ``network``; the decoder then stays,
            unless it has a section.
    """

    network: FlowConfig = field(default_factory=FlowConfig)
    denoiser: TrainingConfig | None = _LOOP
    decoder: TrainingConfig | None = _SHORT
    batch_size: int = 64
    num_validation: int = 600
    rings: bool = False
    unit: float | None = None
    scale: float = 1.3
    sigma_mean: float = 0.4
    sigma_width: float = 1.2
    sigma_least: float | None = None
    num_inference_steps: int = 8
    distil: Distillation | None = None


class FlowTask(nn.Module):
    """One of the two networks with its loss; the parameters are those of that network alone.

    Args:
        flow: both networks.
        name: "denoiser" or "decoder".
        teacher: whose paths the denoiser learns; None: it learns from data.
        substeps: see :class:`~generators.nn.distillation.Distillation`.
    """

    def __init__(self, flow: VoxelFlow, name: str, teacher: VoxelFlow | None = None, substeps: int = 1) -> None:
        super().__init__()
        self.flow, self.name, self.substeps = flow, name, substeps
        self._teacher = [teacher]  # in a list: not a part of this module, and so of no checkpoint
        for other in set(NETWORKS) - {name}:
            getattr(flow, other).requires_grad_(False)

    def loss(self, batch: Batch) -> Tensor:
        """Return the loss of a batch: the denoiser's error in units of the noise, or the decoder's nats a shower."""
        return self._of_denoiser(batch) if self.name == "denoiser" else self._of_decoder(batch)

    def _noisy(self, batch: Batch) -> tuple[Tensor, Tensor]:
        deposits, _, _, sigma, noise = batch
        patches = self.flow.patches
        v = torch.log1p(deposits / patches.unit) / patches.scale
        return v, torch.lerp(v, noise, sigma.view(-1, 1, 1)) * self.flow.mask

    def _of_denoiser(self, batch: Batch) -> Tensor:
        deposits, layers, context, sigma, noise = batch
        features, (teacher,) = self.flow.layer_features(layers), self._teacher
        if teacher is None:
            v, x = self._noisy(batch)
            target = noise - v
        else:
            start, end = window(sigma, self.flow.config.levels)
            sigma = start
            _, x = self._noisy((deposits, layers, context, start, noise))
            target = mean_velocity(
                lambda y, level: teacher.velocity(y, level, features, context),
                x,
                start,
                end,
                substeps=self.substeps,
                spread=lambda level: level.view(-1, 1, 1),
            )
        u = self.flow.velocity(x, sigma, features, context)
        # preconditioning makes the network's target of unit variance when the error is weighted so
        weight = sigma**2 + (1 - sigma) ** 2
        error = ((u - target) * self.flow.mask).square().sum((1, 2)) / self.flow.mask.sum()
        return (weight * error).mean()

    def _of_decoder(self, batch: Batch) -> Tensor:
        deposits, layers, context, _, _ = batch
        parameters = self.flow.decode(self._noisy(batch)[1], self.flow.layer_features(layers), context)
        return self.flow.decoder_nll(deposits, parameters).sum((1, 2)).mean()


class _Batches:
    """The showers that each step takes, turned and mirrored, and their noise: a function of the step alone.

    Args:
        model: whose network is trained.
        name: "denoiser" or "decoder".
        showers: to take from.
        config: how to train.
        seed: decides the batches.
    """

    def __init__(self, model: ShowerFlow, name: str, showers: TrainingShowers, config: FlowTraining, seed: int) -> None:
        self.model, self.showers, self.config = model, showers, config
        self.decodes, self.seed = name == "decoder", [seed, NETWORKS.index(name)]
        # turned showers have the same rings: their sums are computed once
        self.rings = _rings(model, showers) if model.flow.patches.rings else None

    def __call__(self, step: int) -> Batch:
        rng = np.random.default_rng(np.random.SeedSequence([*self.seed, step]))
        return self.of(rng.integers(0, len(self.showers), self.config.batch_size), rng)

    def of(self, rows: Ints, rng: np.random.Generator) -> Batch:
        """Return the batch of showers, by their numbers (N,)."""
        model, patches, num = self.model, self.model.flow.patches, len(rows)
        sign, shift = model.grid.random_turns(num, rng)
        if self.rings is None:
            voxels = model.grid.turned(self.showers.voxels[rows], sign, shift)
            heaps = model.grid.heaps(voxels)
            deposits, z = patches.patches(voxels), latent_of(model.grid, heaps)
        else:
            deposits, z = (each[rows] for each in self.rings)
            mirrored, angle = model.grid.turn_back(sign, shift)
            z = turned_latent(z, angle, mirrored)
        pdg_id, energy = self.showers.pdg_id[rows], self.showers.energy[rows]
        context = conditions(model.cascade.given(pdg_id, energy), energy, z)
        sigma = np.full(num, self.config.network.sigma_min)
        if not self.decodes:
            levels = draw_sigma(num, self.config.sigma_mean, self.config.sigma_width, rng)
            sigma = np.clip(levels, self.config.sigma_least or 0.9 * self.config.network.sigma_min, 0.9999)
        noise = rng.standard_normal(deposits.shape, np.float32)
        return tuple(
            torch.from_numpy(np.asarray(each, np.float32))
            for each in (deposits, deposits.sum(2), context, sigma, noise)
        )  # type: ignore[return-value]


def _rings(model: ShowerFlow, showers: TrainingShowers) -> tuple[Deposits, Latent]:
    """Compute the energies of rings (N, L, R) in MeV and the latents (N, Z) of known showers."""
    parts = []
    for start in range(0, len(showers), _AT_ONCE):
        heaps = model.grid.heaps(showers.voxels[start : start + _AT_ONCE])
        parts.append((heaps[..., 1].copy(), latent_of(model.grid, heaps)))
    rings, z = (np.concatenate(column) for column in zip(*parts, strict=True))
    return rings, z


def fit_network(
    model: ShowerFlow,
    name: str,
    showers: TrainingShowers,
    config: FlowTraining,
    seed: int,
    run_dir: Path,
    teacher: ShowerFlow | None = None,
) -> FitResult:
    """Train the denoiser or the decoder; the checkpoint with the least loss of the held-out showers is kept.

    Args:
        model: whose network is trained; contexts are standardised already.
        name: "denoiser" or "decoder".
        showers: all showers, the last ``config.num_validation`` of which are held out.
        config: how to train.
        seed: decides the batches.
        run_dir: folder of checkpoints and logs; a run in it is resumed.
        teacher: of a denoiser that is distilled.
    """
    num = len(showers) - config.num_validation
    batches = _Batches(model, name, showers[:num], config, seed)
    held_out = _Batches(model, name, showers[num:], config, seed)
    rows = np.arange(config.num_validation)
    check = [held_out.of(rows[k : k + _AT_ONCE], np.random.default_rng(k)) for k in range(0, len(rows), _AT_ONCE)]
    loop: TrainingConfig = getattr(config, name)

    def validate(module: nn.Module) -> Mapping[str, float]:
        assert isinstance(module, FlowTask)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=loop.precision == "bfloat16"):
            losses = [float(module.loss(batch)) * len(batch[0]) for batch in check]
        return {"loss": sum(losses) / config.num_validation}

    task = FlowTask(model.flow, name)
    if teacher is not None and name == "denoiser":
        assert config.distil is not None
        task = FlowTask(model.flow, name, teacher.flow, config.distil.substeps)
    return fit(task, batches, loop, run_dir, validate=validate, select="loss")


def _train_network(config_path: Path, run: Path, cache: Path, name: str, threads: int) -> tuple[FitResult, Path]:
    """Train one network of a config in a process of its own; return its result and the file of its weights."""
    torch.set_num_threads(threads)
    prepared = _prepare(config_path, cache)
    known = prepared.model, name, prepared.showers, prepared.settings, prepared.seed, run / name
    result = fit_network(*known, prepared.teacher)
    weights = run / name / "weights.pt"
    write_atomically(getattr(prepared.model.flow, name).state_dict(), weights)
    return result, weights


@dataclass(frozen=True)
class _Prepared:
    """The model of a config before its training, and what it is trained with.

    ``first`` is where its stages are of, ``init`` where its networks start, if that is another model, ``teacher`` of
    what it is distilled.
    """

    model: ShowerFlow
    showers: TrainingShowers
    settings: FlowTraining
    seed: int
    first: dict[str, str]
    init: dict[str, Any] | None
    teacher: ShowerFlow | None

    @property
    def trained(self) -> tuple[str, ...]:
        """The networks that are trained."""
        return tuple(name for name in NETWORKS if getattr(self.settings, name) is not None)


def _prepare(config_path: Path, cache: Path) -> _Prepared:
    """Make the model of a config, and read its showers.

    Raises:
        FastsimError: if the config is not understood, the cascade is of something else, or no showers are left.
    """
    config = read_config(config_path)
    check_keys(config, _KEYS, config_path, required=("name", "detector", "energy", "data", "first"))
    seed = int(config.get("seed", 1))
    default, initial, section, teacher = FlowTraining(), None, config.get("flow", {}), None
    if isinstance(section, dict) and (distil := section.get("distil")) is not None:
        teaching = from_dict(Distillation, distil, f"{config_path}: flow.distil")
        initial = teacher = initial_flow(teaching.teacher, config_path, "flow.distil.teacher")
    if config.get("init") is not None:
        initial = initial_flow(config["init"], config_path)
    if initial is not None:
        patches = initial.flow.patches
        default = FlowTraining(
            network=initial.flow.config,
            rings=patches.rings,
            unit=patches.unit,
            scale=patches.scale,
            num_inference_steps=initial.num_inference_steps,
        )
        if teacher is not None:
            default = replace(default, decoder=None)
    settings = from_dict(FlowTraining, section, f"{config_path}: flow", default=default)
    if teacher is not None:
        levels = settings.network.levels
        if not levels:
            raise FastsimError(f"{config_path}: flow.network: a student needs 'levels', from 1 to sigma_min")
        settings = replace(settings, num_inference_steps=len(levels) - 1)
        if teacher.flow.config.levels:
            raise FastsimError(f"{config_path}: flow.distil.teacher: {teacher.name} is a student itself")
    elif settings.network.levels and settings.denoiser is not None:
        raise FastsimError(f"{config_path}: a denoiser with levels learns from a teacher alone: give 'distil' in flow")
    stay = [name for name in NETWORKS if getattr(settings, name) is None]
    if stay and (initial is None or len(stay) == len(NETWORKS)):
        raise FastsimError(f"{config_path}: flow: {stay[0]} is null: one network may stay as that of 'init' is")
    energy, detector = read_energies(config["energy"], config_path), read_detector(config["detector"], config_path)
    first = initial_model(config["first"], config_path, "first")
    sets = shower_sets(config["data"], detector, energy, config_path)
    particles = tuple(PARTICLES[name][0] for name in sorted({s.particle for s in sets}, key=list(PARTICLES).index))
    place = f"{config_path}: first: {first.name}"
    if first.cascade.latent is None:
        raise FastsimError(f"{place} has no latent: train a cascade with one first")
    if first.geometry != detector:
        raise FastsimError(f"{place} is of detector {first.detector}, the config of {detector.name}")
    if first.particles != particles:
        raise FastsimError(f"{place} is of particles {first.particles}, the config's data of {particles}")
    if energy[0] < first.domain.min_energy or energy[1] > first.domain.max_energy:
        raise FastsimError(
            f"{place} makes {first.domain.min_energy:g} to {first.domain.max_energy:g} GeV, the config asks for "
            f"{energy[0]:g} to {energy[1]:g}"
        )
    showers = TrainingShowers.shuffled([each.read(detector, cache) for each in sets])
    num = len(showers) - settings.num_validation
    if num < 1:
        raise FastsimError(f"{len(showers)} showers with {settings.num_validation} held out: none to train on")
    unit = settings.unit or round(0.1 * float(np.quantile(showers.voxels[showers.voxels > 0], 0.1)), 6)
    showers.voxels[showers.voxels < _FLOOR * unit] = 0.0
    values = {
        "network": {stage: sizes for stage, sizes in first.sizes.items() if stage in stages(settings.rings)},
        "latent": first.sizes["latent"],
        "ceiling": first.ceiling,
        "flow": asdict(settings.network),
        "unit": unit,
        "scale": settings.scale,
        "rings": settings.rings,
        "num_inference_steps": settings.num_inference_steps,
    }
    torch.manual_seed(seed)
    model = ShowerFlow.build(config["name"], detector, particles, energy, values)
    known = model.cascade.state_dict()
    model.cascade.load_state_dict({k: v for k, v in first.cascade.state_dict().items() if k in known})
    model.cascade.requires_grad_(False)
    some = showers[: min(num, 5000)]
    heaps = model.grid.heaps(some.voxels)
    context = conditions(model.cascade.given(some.pdg_id, some.energy), some.energy, latent_of(model.grid, heaps))
    model.flow.set_scales(torch.from_numpy(context))
    if initial is not None:
        initialise(model, initial, f"{config_path}: {'init' if initial is not teacher else 'flow.distil.teacher'}")
    if teacher is not None:
        adopt(model.flow, teacher.flow, teacher.name, config_path, further=True)
    facts = None if initial is None or initial is teacher else initial_facts(initial)
    return _Prepared(model, showers, settings, seed, {"name": first.name, **first.provenance}, facts, teacher)


def train(config_path: Path, output: Path, *, resume: bool = True) -> Path:
    """Train the flow that a JSON config describes, and write its card and weights.

    Geant4's showers are cached in the folder ``data`` next to ``output``. Denoiser and decoder are trained at the same
    time, in a process each.

    Args:
        config_path: JSON with name, kind "shower-flow", seed, detector (a name, or the path of a TOML file), energy
            [low, high] in GeV, data (see :func:`~generators.showers.data.shower_sets`), first (name or path of the
            cascade whose response, latent and layers it takes), init (name or path of a flow to start from; without one
            a student starts from its teacher) and flow.
            Paths are relative to the config's folder.
        output: folder of the run.
        resume: go on from the checkpoints in it; otherwise they are removed first.

    Returns:
        The path of the card.

    Raises:
        FastsimError: if the config is not understood, or Geant4 is needed and missing.
    """
    run, cache = output / "shower-flow", output.parent / "data"
    if not resume:
        shutil.rmtree(run, ignore_errors=True)
    prepared = _prepare(config_path, cache)
    names = prepared.trained
    workers = min(available_cpus(), len(names))
    job = partial(_train_network, config_path, run, cache, threads=available_cpus() // workers)
    if workers == 1:
        results = {name: job(name) for name in names}
    else:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            results = dict(zip(names, pool.map(job, names), strict=True))
    for name, (_, weights) in results.items():
        getattr(prepared.model.flow, name).load_state_dict(torch.load(weights, weights_only=True))
    config = read_config(config_path)
    return prepared.model.save(
        output,
        version=str(config.get("version", "1")),
        training={
            "command": f"fastsim train {config_path.name}",
            "config": config,
            "showers": len(prepared.showers),
            "first": prepared.first,
            **({} if prepared.init is None else {"init": prepared.init}),
            **({} if prepared.teacher is None else {"teacher": initial_facts(prepared.teacher)}),
            "networks": {
                name: {"steps": result.step, "best_step": result.best_step, "validation_loss": result.best_value}
                for name, (result, _) in results.items()
            },
        },
    )
