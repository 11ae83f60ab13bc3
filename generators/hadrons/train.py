"""Training of a model of primary hadrons from a JSON config: data from the reference, latent, particles, card, weights.

A config is that of a tree model (kind "primary-tree", section "tree") or of a diffusion model (kind "primary-flow",
section "flow"). All models of the family may share one latent: ``latent`` then names the model that it comes from.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from fastsim.errors import FastsimError
from fastsim.production.options import available_cpus
from fastsim.sources import cards
from fastsim.sources.domains import QUARKS_AND_GLUONS, Domain
from generators.hadrons import data
from generators.hadrons.data import DataConfig
from generators.hadrons.flow.model import PrimaryFlow
from generators.hadrons.flow.train import FlowTraining, fit_flow
from generators.hadrons.latent_training import LatentTraining, fit_extras, fit_latent
from generators.hadrons.source import PrimaryModel
from generators.hadrons.tokens import TokenSample
from generators.hadrons.tree.model import PrimaryTree
from generators.hadrons.tree.train import TreeTraining, fit_tree
from generators.training.config import check_keys, from_dict, read_config
from generators.training.loop import FitResult

_log = logging.getLogger(__name__)

_KEYS = ("name", "kind", "version", "seed", "pt_min", "pt_max", "data", "latent")
_INIT = "init"
"""Key of the section "latent" that names the model whose latent is taken."""


@dataclass(frozen=True)
class _Particles:
    """How models of a kind place their particles, and how that is trained.

    Attributes:
        section: of the config.
        model: the class of the kind.
        training: the dataclass of the section.
        settings: gives what ``model.build`` takes besides the sizes of the latent.
        fit: trains the network of a model on a sample: model, sample, section, seed, folder.
        figure: name in the card of the figure that chose the weights.
    """

    section: str
    model: type[PrimaryModel]
    training: type[Any]
    settings: Callable[[Any], dict[str, Any]]
    fit: Callable[[Any, TokenSample, Any, int, Path], FitResult]
    figure: str


_PARTICLES: dict[str, _Particles] = {
    PrimaryTree.kind: _Particles(
        "tree",
        PrimaryTree,
        TreeTraining,
        lambda training: {"splitting": training.network},
        lambda model, *rest: fit_tree(model.net, *rest),
        "validation_nll",
    ),
    PrimaryFlow.kind: _Particles(
        "flow",
        PrimaryFlow,
        FlowTraining,
        lambda training: {"flow": asdict(training.flow)},
        lambda model, *rest: fit_flow(model.flow, *rest),
        "validation_w1",
    ),
}


def train(config_path: Path, output: Path, *, resume: bool = True) -> Path:
    """Train the model that a JSON config describes, and write its card and weights.

    The data are cached in the folder ``data`` next to ``output``; the parts are trained in ``output/latent`` and
    ``output/particles``, each of which resumes from its last checkpoint.

    Args:
        config_path: JSON with name, kind ("primary-tree", or "primary-flow"), seed, pt_min and pt_max (GeV), data,
            latent and tree or flow. The latent is its settings, the name or card of a model of the family to take it
            from, or an object with that name as "init" and the settings of what this model lacks: a diffusion model
            needs the extras, which a tree model goes without.
        output: folder of the run.
        resume: go on from the checkpoints in it; otherwise they are removed first.

    Returns:
        The path of the card.

    Raises:
        FastsimError: if the config is not understood.
    """
    config = read_config(config_path)
    kind = str(config.get("kind", PrimaryTree.kind))
    if kind not in _PARTICLES:
        raise FastsimError(f"{config_path}: kind {kind!r}: one of {', '.join(_PARTICLES)}")
    particles = _PARTICLES[kind]
    check_keys(config, (*_KEYS, particles.section), config_path, required=("name", "data", "latent", particles.section))
    seed = int(config.get("seed", 1))
    data_config = from_dict(DataConfig, config["data"], f"{config_path}: data")
    particle_config = from_dict(particles.training, config[particles.section], f"{config_path}: {particles.section}")
    given, latent_config = _latent(config["latent"], config_path)
    folders = {name: output / name for name in ("latent", "particles")}
    if not resume:
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(seed)
    domain = Domain(QUARKS_AND_GLUONS, float(config.get("pt_min", 5.0)), float(config.get("pt_max", 2000.0)))
    try:
        sizes = {"latent": latent_config.network, **particles.settings(particle_config)}
        model = particles.model.build(config["name"], domain, sizes)
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
        if model.has_extras and not given.has_extras:
            _log.info("training the latent's extras in %s", folders["latent"])
            fit_extras(model.latent_model, sample, latent_config, seed, folders["latent"])
    _log.info("training the particles in %s", folders["particles"])
    result = particles.fit(model, sample, particle_config, seed, folders["particles"])
    return model.save(
        output,
        version=str(config.get("version", "1")),
        training={
            "command": f"fastsim train {config_path.name}",
            "config": config,
            "sets": len(sample),
            "steps": result.step,
            "best_step": result.best_step,
            particles.figure: result.best_value,
            "pythia8mc": version("pythia8mc"),
        },
    )


def _latent(section: Any, config_path: Path) -> tuple[PrimaryModel | None, LatentTraining]:
    """Return the model that the latent is taken from, None for a new one, and how the latent is trained."""
    settings: Mapping[str, Any] = {_INIT: section} if isinstance(section, str) else section
    where = f"{config_path}: latent"
    if not isinstance(settings, Mapping) or _INIT not in settings:
        return None, from_dict(LatentTraining, settings, where)
    card, weights = cards.load(settings[_INIT])
    if card.kind not in _PARTICLES:
        raise FastsimError(f"{config_path}: {card.name} is a {card.kind} model: it has no latent for this kind")
    if "network" in settings:
        raise FastsimError(f"{where}: the network is that of {card.name}: leave out 'network'")
    rest = {key: value for key, value in settings.items() if key != _INIT}
    rest["network"] = card.config.get("latent", {})
    return _PARTICLES[card.kind].model.from_card(card, weights), from_dict(LatentTraining, rest, where)
