"""Trains a hadron model from a JSON config: data from the reference, the latent, the particles, card and weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastsim.errors import FastsimError
from fastsim.event import Floats
from fastsim.production.options import available_cpus
from fastsim.sources import cards
from fastsim.sources.hadrons import QUARKS_AND_GLUONS, Domain
from generators.hadrons import data
from generators.hadrons.data import DataConfig
from generators.hadrons.latent import Latent, LatentModel
from generators.hadrons.observables import distance
from generators.hadrons.source import HadronModel
from generators.hadrons.tokens import TokenSample, parton_energy
from generators.hadrons.tree.model import TreeModel, sample_tree
from generators.hadrons.tree.network import SplittingNet, Splittings
from generators.hadrons.tree.sampler import SplittingSampler
from generators.hadrons.tree.splittings import splittings
from generators.training.loop import FitResult, TrainingConfig, fit

_PREPARE = 40_000


@dataclass(frozen=True)
class TreeTraining:
    """How the splitting density is trained: rows a step, network sizes, loop, sets held out for validation.

    With a loop for ``pairs``, the network for nodes of two tokens is trained by itself after the rest, which has then
    seen all nodes; without one they are trained side by side, each on its own.
    """

    batch_size: int = 8192
    num_validation: int = 8000
    network: dict[str, Any] = field(default_factory=dict)
    loop: TrainingConfig = field(default_factory=lambda: TrainingConfig(num_steps=20_000))
    pairs: TrainingConfig | None = None


def split_validation(sample: TokenSample, num: int) -> tuple[TokenSample, TokenSample]:
    """Training and validation sets: the last ``num``, which are whole events of the last shard."""
    return sample[: len(sample) - num], sample[len(sample) - num :]


def prepare(sample: TokenSample) -> Splittings:
    """All splittings of a sample, in compact types (float16 context): 174 bytes each."""
    num, filled = int(np.maximum(np.diff(sample.offsets) - 1, 0).sum()), 0
    columns: list[Tensor] = []
    for start in range(0, len(sample), _PREPARE):
        rows, _, _ = splittings(sample[start : start + _PREPARE], seed=start)
        part = (rows.context.half(), rows.counts, rows.counts_a, rows.variables)
        columns = columns or [torch.empty(num, *x.shape[1:], dtype=x.dtype) for x in part]
        for column, x in zip(columns, part, strict=True):  # in place: they are most of the memory
            column[filled : filled + len(rows)] = x
        filled += len(rows)
    return Splittings(*columns)


def tree_batches(rows: Splittings, batch_size: int, seed: int) -> Callable[[int], Splittings]:
    """Random rows for each step, a function of (seed, step) alone."""

    def batch(step: int) -> Splittings:
        rng = np.random.default_rng(np.random.SeedSequence([seed, step]))
        chosen = rows.rows(torch.from_numpy(rng.integers(0, len(rows), batch_size)))
        return Splittings(chosen.context.float(), chosen.counts, chosen.counts_a, chosen.variables)

    return batch


def resample(net: SplittingNet, sample: TokenSample, seed: int) -> TokenSample:
    """Sets with the true latents (counts and total momentum) of ``sample`` and new trees."""
    total: Floats = np.stack([np.bincount(sample.index, sample.p4[:, k], len(sample)) for k in range(4)], -1)
    energy, counts = parton_energy(sample.flavour, sample.pt), sample.species_counts()
    rng, sampler = np.random.default_rng(seed), SplittingSampler(net)
    parts = []
    for start in range(0, len(sample), 2000):
        rows = slice(start, start + 2000)
        flavour = sample.flavour[rows]
        _, species, p4 = sample_tree(sampler, flavour, energy[rows], counts[rows], total[rows], rng)
        offsets = sample.offsets[start : start + 2001] - sample.offsets[start]
        parts.append(TokenSample(flavour, sample.pt[rows], offsets, species, p4))
    return TokenSample.concatenate(parts)


def fit_tree(net: SplittingNet, sample: TokenSample, config: TreeTraining, seed: int, run_dir: Path) -> FitResult:
    """Trains the splitting density; the checkpoint is picked by the likelihood of held-out sets.

    W1 of observables, logged beside it, is too noisy to pick by: 6,000 sets give it 0.001 where models differ by less.
    """
    torch.manual_seed(seed)
    training, held_out = split_validation(sample, config.num_validation)
    rows = prepare(training)
    net.set_scales(tree_batches(rows, min(len(rows), 1_000_000), seed)(-1 % 2**31))
    check = prepare(held_out)
    check = Splittings(check.context.float(), check.counts, check.counts_a, check.variables)

    def validate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, SplittingNet)
        with torch.no_grad():
            total = sum(
                float(model.log_prob(check.rows(r)).sum()) for r in torch.split(torch.arange(len(check)), 16384)
            )
        return {"nll": -total / len(held_out), **distance(held_out, resample(model, held_out, seed))}

    pair = net.pair
    if pair is None or config.pairs is None:
        batches = tree_batches(rows, config.batch_size, seed)
        return fit(net, batches, config.loop, run_dir, validate=validate, select="nll")
    net.pair = None
    fit(net, tree_batches(rows, config.batch_size, seed), config.loop, run_dir, validate=validate, select="nll")
    net.pair = pair
    rows = rows.rows(torch.nonzero(rows.counts.sum(-1, dtype=torch.int32) == 2)[:, 0])
    net.requires_grad_(False)
    pair.requires_grad_(True)
    batches = tree_batches(rows, config.batch_size, seed)
    result = fit(net, batches, config.pairs, run_dir / "pairs", validate=validate, select="nll")
    net.requires_grad_(True)
    return result


@dataclass(frozen=True)
class LatentTraining:
    """How the latent model is trained: sets a step, network sizes, loop."""

    batch_size: int = 2048
    network: dict[str, int] = field(default_factory=dict)
    loop: TrainingConfig = field(default_factory=lambda: TrainingConfig(num_steps=8000))


def fit_latent(model: LatentModel, sample: TokenSample, config: LatentTraining, seed: int, run_dir: Path) -> FitResult:
    """Trains p(z | parton); the checkpoint is picked by the likelihood of held-out sets."""
    latent = Latent.of(sample)
    condition = model.condition(sample.flavour, sample.pt)
    counts, features = torch.from_numpy(latent.counts), torch.from_numpy(latent.features).float()
    num_validation = min(20_000, len(sample) // 10)
    num_training = len(sample) - num_validation
    model.set_scales(features[:num_training])

    def batch(step: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng(np.random.SeedSequence([seed, step]))
        rows = torch.from_numpy(rng.integers(0, num_training, config.batch_size))
        return condition[rows], counts[rows], features[rows]

    def validate(module: nn.Module) -> dict[str, float]:
        assert isinstance(module, LatentModel)
        with torch.no_grad():
            found = module.loss((condition[num_training:], counts[num_training:], features[num_training:]))
        return {k: float(v) for k, v in found.items()}

    return fit(model, batch, config.loop, run_dir, validate=validate, select="loss")


_COMMON = ("name", "kind", "version", "seed", "pt_min", "pt_max", "data", "latent")
_SECTION = {"tree": "tree", "diffusion": "flow"}
SELECTED_BY = {"tree": "nll", "diffusion": "w1"}
"""The held-out figure that picks the checkpoint, by kind of model."""


def train(config_path: Path, output: Path, *, resume: bool = True) -> Path:
    """Trains the model of a JSON config: its data, its latent, its particles; then writes card and weights.

    The data are cached in ``data`` beside ``output``; the parts train in ``output/latent`` and
    ``output/particles``, each of which resumes from its last checkpoint.

    Args:
        config_path: JSON with name, kind ("tree" or "diffusion"), seed, pt_min, pt_max (GeV), data, latent (its
            settings, or the name or card of a tree model to take it from), and the kind's own section ("tree" or
            "flow").
        output: run folder.
        resume: go on from checkpoints found there; otherwise they are removed first.

    Returns:
        The path of the card.

    Raises:
        FastsimError: if the config is not understood.
    """
    config = read_config(config_path)
    kind = config.get("kind")
    if kind not in _SECTION:
        raise FastsimError(f"{config_path}: kind {kind!r}: allowed are {', '.join(_SECTION)}")
    section = _SECTION[kind]
    known = (*_COMMON, section)
    for key in config:
        if key not in known:
            raise FastsimError(f"{config_path}: unknown key {key!r}; known are {', '.join(known)}")
    for key in ("name", "data", "latent", section):
        if key not in config:
            raise FastsimError(f"{config_path}: missing key {key!r}")
    seed = int(config.get("seed", 1))
    data_config = from_dict(DataConfig, config["data"], f"{config_path}: data")
    taken: TreeModel | None = None
    if isinstance(config["latent"], str):
        card, weights = cards.load(config["latent"])
        if card.kind != TreeModel.kind:
            raise FastsimError(f"{config_path}: {card.name} is a {card.kind} model: a latent is taken from a tree")
        taken = TreeModel.from_card(card, weights)
        latent_config = LatentTraining(network=card.config.get("latent", {}))
    else:
        latent_config = from_dict(LatentTraining, config["latent"], f"{config_path}: latent")
    domain = Domain(QUARKS_AND_GLUONS, float(config.get("pt_min", 20.0)), float(config.get("pt_max", 2000.0)))
    parts = {name: output / name for name in ("latent", "particles")}
    if not resume:
        for folder in parts.values():
            shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(seed)
    model: HadronModel
    try:
        if kind == "tree":
            tree_config = from_dict(TreeTraining, config["tree"], f"{config_path}: tree")
            sizes = {"latent": latent_config.network, "splitting": tree_config.network}
            model = tree = TreeModel.build(config["name"], domain, sizes)
        else:
            from generators.hadrons.flow.model import DiffusionModel
            from generators.hadrons.flow.train import FlowTraining, fit_flow

            flow_config = FlowTraining.from_dict(config["flow"])
            sizes = {"latent": latent_config.network, "flow": asdict(flow_config.flow)}
            model = diffusion = DiffusionModel.build(config["name"], domain, sizes)
    except (TypeError, ValueError) as error:
        raise FastsimError(f"{config_path}: {error}") from error
    sample = data.load(data_config, output.parent / "data", workers=available_cpus())
    if taken is None:
        fit_latent(model.latent_model, sample, latent_config, seed, parts["latent"])
    else:
        model.latent_model.load_state_dict(taken.latent_model.state_dict())
    if kind == "tree":
        result = fit_tree(tree.net, sample, tree_config, seed, parts["particles"])
    else:
        result = fit_flow(diffusion.flow, sample, flow_config, seed, parts["particles"])
    return model.save(
        output,
        version=str(config.get("version", "1")),
        training={
            "command": f"fastsim train {config_path.name}",
            "config": config,
            "sets": len(sample),
            "steps": result.step,
            "best_step": result.best_step,
            f"validation_{SELECTED_BY[kind]}": result.best_value,
        },
    )


def from_dict(kind: type, values: dict[str, Any], where: str) -> Any:
    """A config dataclass from JSON values, nested ones included; unknown keys are refused.

    Raises:
        FastsimError: naming the unknown key and the known ones.
    """
    known = {f.name: f for f in fields(kind)}
    for key in values:
        if key not in known:
            raise FastsimError(f"{where}: unknown key {key!r}; known are {', '.join(sorted(known))}")
    nested = {"loop": TrainingConfig, "pairs": TrainingConfig}
    return kind(
        **{
            k: from_dict(nested[k], v, f"{where}.{k}") if k in nested else tuple(v) if isinstance(v, list) else v
            for k, v in values.items()
        }
    )


def read_config(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``. Raises FastsimError where there is none."""
    try:
        config = json.loads(path.read_text())
    except OSError as error:
        raise FastsimError(f"{path}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise FastsimError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    if not isinstance(config, dict):
        raise FastsimError(f"{path}: a config is a JSON object")
    return config
