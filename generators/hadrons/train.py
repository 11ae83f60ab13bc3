"""Training of a hadron model from a JSON config: data from the reference, latent, particles, card and weights."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastsim.errors import FastsimError
from fastsim.production.options import available_cpus
from fastsim.sources import cards
from fastsim.sources.domains import QUARKS_AND_GLUONS, Domain
from generators.hadrons import data
from generators.hadrons.data import DataConfig
from generators.hadrons.flow.model import DiffusionModel
from generators.hadrons.flow.train import FlowTraining, fit_flow
from generators.hadrons.latent import Latent, LatentModel
from generators.hadrons.source import HadronModel
from generators.hadrons.tokens import TokenSample
from generators.hadrons.tree.model import TreeModel
from generators.hadrons.tree.train import TreeTraining, fit_tree
from generators.training.config import check_keys, from_dict, read_config
from generators.training.loop import FitResult, TrainingConfig, fit

_log = logging.getLogger(__name__)

Fit = Callable[[TokenSample, int, Path], FitResult]
"""Trains the particles of a model: from token sets, with a seed, in a folder."""

_COMMON_KEYS = ("name", "kind", "version", "seed", "pt_min", "pt_max", "data", "latent")
_SECTION = {"tree": "tree", "diffusion": "flow"}
"""The section of the config that describes the particles' training, by kind of model."""
_SELECTED_BY = {"tree": "nll", "diffusion": "w1"}
"""The validation figure that picks the checkpoint of the particles, by kind of model."""


@dataclass(frozen=True)
class LatentTraining:
    """How the latent model is trained: token sets in a step, sizes of the networks, length and rates."""

    batch_size: int = 2048
    network: dict[str, int] = field(default_factory=dict)
    loop: TrainingConfig = field(default_factory=lambda: TrainingConfig(num_steps=8000))


def fit_latent(model: LatentModel, sample: TokenSample, config: LatentTraining, seed: int, run_dir: Path) -> FitResult:
    """Train p(z | parton); the checkpoint with the best likelihood of the held-out sets is kept.

    The last tenth of the sample, 20,000 sets at most, is held out. A run in ``run_dir`` is resumed.
    """
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
            losses = module.loss((condition[num_training:], counts[num_training:], features[num_training:]))
        return {name: float(value) for name, value in losses.items()}

    return fit(model, batch, config.loop, run_dir, validate=validate, select="loss")


def train(config_path: Path, output: Path, *, resume: bool = True) -> Path:
    """Train the model that a JSON config describes, and write its card and weights.

    The data are cached in the folder ``data`` next to ``output``; the parts are trained in ``output/latent`` and
    ``output/particles``, each of which resumes from its last checkpoint.

    Args:
        config_path: JSON with name, kind ("tree" or "diffusion"), seed, pt_min and pt_max (GeV), data, latent (its
            settings, or the name or card of a tree model to take it from), and the kind's own section ("tree" or
            "flow").
        output: folder of the run.
        resume: go on from the checkpoints in it; otherwise they are removed first.

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
    check_keys(config, (*_COMMON_KEYS, section), config_path, required=("name", "data", "latent", section))
    seed = int(config.get("seed", 1))
    data_config = from_dict(DataConfig, config["data"], f"{config_path}: data")
    trained_latent: LatentModel | None = None
    if isinstance(config["latent"], str):
        trained_latent, sizes = _latent_of(config["latent"], config_path)
        latent_config = LatentTraining(network=sizes)
    else:
        latent_config = from_dict(LatentTraining, config["latent"], f"{config_path}: latent")
    folders = {name: output / name for name in ("latent", "particles")}
    if not resume:
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(seed)
    model, fit_particles = _untrained(config, latent_config.network, config_path)
    cache = output.parent / "data"
    _log.info("data: %d shards of %d events, kept in %s", data_config.num_shards, data_config.shard_events, cache)
    sample = data.load(data_config, cache, workers=available_cpus())
    _log.info("data: %d sets", len(sample))
    if trained_latent is None:
        _log.info("training the latent model in %s", folders["latent"])
        fit_latent(model.latent_model, sample, latent_config, seed, folders["latent"])
    else:
        model.latent_model.load_state_dict(trained_latent.state_dict())
    _log.info("training the particles in %s", folders["particles"])
    result = fit_particles(sample, seed, folders["particles"])
    return model.save(
        output,
        version=str(config.get("version", "1")),
        training={
            "command": f"fastsim train {config_path.name}",
            "config": config,
            "sets": len(sample),
            "steps": result.step,
            "best_step": result.best_step,
            f"validation_{_SELECTED_BY[kind]}": result.best_value,
            "pythia8mc": version("pythia8mc"),
        },
    )


def _latent_of(name: str, config_path: Path) -> tuple[LatentModel, dict[str, int]]:
    """Load the latent model of a tree model, by its name or card; with the sizes of its networks."""
    card, weights = cards.load(name)
    if card.kind != TreeModel.kind:
        raise FastsimError(f"{config_path}: {card.name} is a {card.kind} model: a latent is taken from a tree")
    return TreeModel.from_card(card, weights).latent_model, card.config.get("latent", {})


def _untrained(config: Mapping[str, Any], latent_sizes: Mapping[str, int], path: Path) -> tuple[HadronModel, Fit]:
    """Build the model of a config, and what trains its particles.

    Raises:
        FastsimError: if a section is not understood, or a size is refused by the network.
    """
    name, section = config["name"], _SECTION[config["kind"]]
    domain = Domain(QUARKS_AND_GLUONS, float(config.get("pt_min", 20.0)), float(config.get("pt_max", 2000.0)))
    where = f"{path}: {section}"
    try:
        if config["kind"] == "tree":
            tree_config = from_dict(TreeTraining, config[section], where)
            tree = TreeModel.build(name, domain, {"latent": latent_sizes, "splitting": tree_config.network})
            return tree, lambda sample, seed, folder: fit_tree(tree.net, sample, tree_config, seed, folder)
        flow_config = from_dict(FlowTraining, config[section], where)
        diffusion = DiffusionModel.build(name, domain, {"latent": latent_sizes, "flow": asdict(flow_config.flow)})
        return diffusion, lambda sample, seed, folder: fit_flow(diffusion.flow, sample, flow_config, seed, folder)
    except FastsimError:
        raise
    except (TypeError, ValueError) as error:
        raise FastsimError(f"{path}: {error}") from error
