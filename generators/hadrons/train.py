"""Training of a model of primary hadrons from a JSON config: data from the reference, latent, tree, card, weights."""

from __future__ import annotations

import logging
import shutil
from importlib.metadata import version
from pathlib import Path

import torch

from fastsim.errors import FastsimError
from fastsim.production.options import available_cpus
from fastsim.sources import cards
from fastsim.sources.domains import QUARKS_AND_GLUONS, Domain
from generators.hadrons import data
from generators.hadrons.data import DataConfig
from generators.hadrons.latent_training import LatentTraining, fit_latent
from generators.hadrons.tree.model import PrimaryTree
from generators.hadrons.tree.train import TreeTraining, fit_tree
from generators.training.config import check_keys, from_dict, read_config

_log = logging.getLogger(__name__)

_KEYS = ("name", "kind", "version", "seed", "pt_min", "pt_max", "data", "latent", "tree")


def train(config_path: Path, output: Path, *, resume: bool = True) -> Path:
    """Train the model that a JSON config describes, and write its card and weights.

    The data are cached in the folder ``data`` next to ``output``; the parts are trained in ``output/latent`` and
    ``output/particles``, each of which resumes from its last checkpoint.

    Args:
        config_path: JSON with name, kind ("primary-tree"), seed, pt_min and pt_max (GeV), data, latent (its settings,
            or the name or card of a model of this kind to take it from) and tree.
        output: folder of the run.
        resume: go on from the checkpoints in it; otherwise they are removed first.

    Returns:
        The path of the card.

    Raises:
        FastsimError: if the config is not understood.
    """
    config = read_config(config_path)
    check_keys(config, _KEYS, config_path, required=("name", "data", "latent", "tree"))
    seed = int(config.get("seed", 1))
    data_config = from_dict(DataConfig, config["data"], f"{config_path}: data")
    tree_config = from_dict(TreeTraining, config["tree"], f"{config_path}: tree")
    given: PrimaryTree | None = None
    if isinstance(config["latent"], str):
        card, weights = cards.load(config["latent"])
        if card.kind != PrimaryTree.kind:
            raise FastsimError(f"{config_path}: {card.name} is a {card.kind} model: it has no latent for this kind")
        given = PrimaryTree.from_card(card, weights)
        latent_config = LatentTraining(network=card.config.get("latent", {}))
    else:
        latent_config = from_dict(LatentTraining, config["latent"], f"{config_path}: latent")
    folders = {name: output / name for name in ("latent", "particles")}
    if not resume:
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(seed)
    domain = Domain(QUARKS_AND_GLUONS, float(config.get("pt_min", 5.0)), float(config.get("pt_max", 2000.0)))
    try:
        sizes = {"latent": latent_config.network, "splitting": tree_config.network}
        model = PrimaryTree.build(config["name"], domain, sizes)
    except (TypeError, ValueError) as error:
        raise FastsimError(f"{config_path}: {error}") from error
    cache = output.parent / "data"
    _log.info("data: %d shards of %d events, kept in %s", data_config.num_shards, data_config.shard_events, cache)
    sample = data.load(data_config, cache, workers=available_cpus())
    _log.info("data: %d sets", len(sample))
    if given is None:
        _log.info("training the latent model in %s", folders["latent"])
        fit_latent(model.latent_model, sample, latent_config, seed, folders["latent"])
    else:
        model.latent_model.load_state_dict(given.latent_model.state_dict())
    _log.info("training the particles in %s", folders["particles"])
    result = fit_tree(model.net, sample, tree_config, seed, folders["particles"])
    return model.save(
        output,
        version=str(config.get("version", "1")),
        training={
            "command": f"fastsim train {config_path.name}",
            "config": config,
            "sets": len(sample),
            "steps": result.step,
            "best_step": result.best_step,
            "validation_nll": result.best_value,
            "pythia8mc": version("pythia8mc"),
        },
    )
