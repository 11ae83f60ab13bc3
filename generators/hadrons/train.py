"""Training of a model of primary hadrons from a JSON config: data from the reference, latent, particles, card, weights.

A config is that of a tree model (kind "primary-tree", section "tree") or of a diffusion model (kind "primary-flow",
section "flow"). All models of the family may share one latent: ``latent`` then names the model that it comes from.
With ``init`` a whole model is trained further: on other data, or to depend on tunes.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastsim.errors import FastsimError
from fastsim.production.options import available_cpus
from fastsim.shipped import sha256_of
from fastsim.sources import cards
from fastsim.sources.domains import QUARKS_AND_GLUONS, Domain
from generators.hadrons import data, records
from generators.hadrons.data import DataConfig
from generators.hadrons.flow.model import PrimaryFlow
from generators.hadrons.flow.train import FlowTraining, fit_flow
from generators.hadrons.latent_model import OF_CARRIERS, LatentModel
from generators.hadrons.latent_training import LatentTraining, fit_extras, fit_latent, tune_latent
from generators.hadrons.records import RecordConfig
from generators.hadrons.source import PrimaryModel
from generators.hadrons.tokens import TokenSample
from generators.hadrons.tree.model import PrimaryTree
from generators.hadrons.tree.train import TreeTraining, fit_tree
from generators.hadrons.tunes import NAMES
from generators.training.config import check_keys, from_dict, read_config
from generators.training.loop import FitResult, TrainingConfig

_log = logging.getLogger(__name__)

_KEYS = ("name", "kind", "version", "seed", "pt_min", "pt_max", "init", "only_tunes", "data", "latent")
_ONLY_TUNES = "only_tunes"
"""Key, beside "init": whether nothing but what depends on tunes is trained."""
_INIT = "init"
"""Key that names the model to begin with; in the section "latent", the model whose latent is taken."""


@dataclass(frozen=True)
class _Particles:
    """How models of a kind place their particles, and how that is trained.

    Attributes:
        section: of the config.
        model: the class of the kind.
        training: the dataclass of the section.
        settings: gives what ``model.build`` takes besides the sizes of the latent.
        fit: trains the network of a model on a sample: model, sample, section, seed, folder, whether to keep scales.
        figure: name in the card of the figure that chose the weights.
    """

    section: str
    model: type[PrimaryModel]
    training: type[Any]
    settings: Callable[[Any], dict[str, Any]]
    fit: Callable[[Any, TokenSample, Any, int, Path, bool], FitResult]
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


@dataclass(frozen=True)
class _Part:
    """A part of a model that is trained: name of its folder, its training on a sample, and its figure in the card."""

    name: str
    fit: Callable[[TokenSample, Path], FitResult]
    figure: str


def train(config_path: Path, output: Path, *, resume: bool = True) -> Path:
    """Train the model that a JSON config describes, and write its card and weights.

    The data are cached in the folder ``data`` next to ``output``; the parts are trained in ``output/latent`` and
    ``output/particles``, each of which resumes from its last checkpoint.

    Args:
        config_path: JSON with name, kind ("primary-tree", or "primary-flow"), seed, pt_min and pt_max (GeV), data,
            latent and tree or flow. The latent is its settings, the name or card of a model of the family to take it
            from, or an object with that name as "init" and the settings of what this model lacks: a diffusion model
            needs the extras, which a tree model goes without. "init" beside the sections is the name or card of a whole
            model to begin with: networks have its sizes, and a part without a section stays as it is. "only_tunes":
            true, with it, trains the weights of the parameters of tunes alone.
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
    required = ("name", "data") if _INIT in config else ("name", "data", "latent", particles.section)
    check_keys(config, (*_KEYS, particles.section), config_path, required=required)
    samples = data.read_configs(config["data"], config_path)
    names = data.tune_parameters(samples)
    prepare = _further if _INIT in config else _anew
    if config.get(_ONLY_TUNES) and _INIT not in config:
        raise FastsimError(f"{config_path}: {_ONLY_TUNES}: only of a model that {_INIT!r} names")
    if not resume:
        for folder in ("latent", "particles"):
            shutil.rmtree(output / folder, ignore_errors=True)
    torch.manual_seed(int(config.get("seed", 1)))
    model, parts = prepare(config, particles, names, config_path)
    cache = output.parent / "data"
    names = model.tune_parameters
    judge = model if _INIT in config and isinstance(model, PrimaryTree) else None
    sample = TokenSample.concatenate([_loaded(each, cache, names, judge, config_path) for each in samples])
    _log.info("data: %d sets", len(sample))
    figures: dict[str, Any] = {}
    for part in parts:
        _log.info("training the %s in %s", part.name, output / part.name)
        result = part.fit(sample, output / part.name)
        figures |= {"steps": result.step, "best_step": result.best_step, part.figure: result.best_value}
    return model.save(
        output,
        version=str(config.get("version", "1")),
        training={
            "command": f"fastsim train {config_path.name}",
            "config": config,
            "sets": len(sample),
            **figures,
            "pythia8mc": version("pythia8mc"),
            **_checksums(samples, config_path.parent),
        },
    )


def _loaded(
    config: DataConfig | RecordConfig, cache: Path, names: tuple[str, ...], judge: PrimaryTree | None, config_path: Path
) -> TokenSample:
    """Return the sets of a sample, with the vectors of their tunes for all parameters of the model.

    Args:
        config: of the sample.
        cache: folder of what Pythia made.
        names: of the parameters.
        judge: model that says which hadrons of records may be carriers.
        config_path: where the config is from.
    """
    if isinstance(config, RecordConfig):
        _log.info("data: reading %s", ", ".join(file.path for file in config.files))
        sample = records.load(config, config_path.parent, judge, f"{config_path}: data")
        return replace(sample, tune=np.tile(config.tune.vector(names), (len(sample), 1)))
    _log.info("data: %d shards of %d events, kept in %s", config.num_shards, config.shard_events, cache)
    sample = data.load(config, cache, workers=available_cpus())
    vectors = np.zeros((len(sample), len(names)))
    vectors[:, [names.index(name) for name in config.tunes]] = sample.tune
    return replace(sample, tune=vectors)


def _checksums(samples: Sequence[DataConfig | RecordConfig], folder: Path) -> dict[str, dict[str, str]]:
    """Return the checksums of all files of records under the key "files", for the card."""
    paths = [file.path for each in samples if isinstance(each, RecordConfig) for file in each.files]
    return {"files": {path: sha256_of(folder / path) for path in paths}} if paths else {}


def _domain(config: Mapping[str, Any], default: Domain) -> Domain:
    limits = {name: float(config.get(name, getattr(default, name))) for name in ("pt_min", "pt_max")}
    return Domain(default.flavours, **limits)


def _anew(
    config: Mapping[str, Any], particles: _Particles, names: tuple[str, ...], config_path: Path
) -> tuple[PrimaryModel, list[_Part]]:
    """Return a new model, and its parts that are trained: the latent, or what another model's lacks, and the particles.

    Args:
        config: the config.
        particles: how models of its kind are made and trained.
        names: of the parameters of tunes that the model depends on.
        config_path: where the config is from, for messages.
    """
    seed, section = int(config.get("seed", 1)), particles.section
    particle_config = from_dict(particles.training, config[section], f"{config_path}: {section}")
    given, latent_config = _latent(config["latent"], config_path)
    try:
        sizes = _for_tunes({"latent": latent_config.network, **particles.settings(particle_config)}, names, particles)
        domain = _domain(config, Domain(QUARKS_AND_GLUONS, 5.0, 2000.0))
        model = particles.model.build(config["name"], domain, sizes)
        if given is not None:
            model.latent_model.load_state_dict(given.latent_model.state_dict())
    except (TypeError, ValueError, RuntimeError) as error:
        raise FastsimError(f"{config_path}: {error}") from error
    parts, latent = [], model.latent_model
    if given is None:
        fit = partial(_fit_latent, fit_latent, latent, latent_config, seed)
        parts.append(_Part("latent", fit, "latent_validation_nll"))
    elif model.has_extras and not given.has_extras:
        fit = partial(_fit_latent, fit_extras, latent, latent_config, seed)
        parts.append(_Part("latent", fit, "latent_validation_nll"))
    return model, [*parts, _particles_part(model, particles, particle_config, seed, keep_scales=False)]


def _for_tunes(sizes: dict[str, Any], names: tuple[str, ...], particles: _Particles) -> dict[str, Any]:
    """Return the sizes of a model that depends on the parameters ``names`` of tunes, if there are any."""
    if not names:
        return sizes
    own = {"splitting": {**sizes.get("splitting", {}), OF_CARRIERS: True}} if particles.section == "tree" else {}
    return {**sizes, **own, "tune": list(names)}


def _further(
    config: Mapping[str, Any], particles: _Particles, names: tuple[str, ...], config_path: Path
) -> tuple[PrimaryModel, list[_Part]]:
    """Return a model with the weights of another, and its parts that are trained; see :func:`_anew`."""
    seed, section = int(config.get("seed", 1)), particles.section
    card, weights = cards.load(config[_INIT])
    if card.kind != particles.model.kind:
        raise FastsimError(f"{config_path}: {_INIT}: {card.name} is a {card.kind} model, not {particles.model.kind}")
    init = particles.model.from_card(card, weights)
    for key in ("latent", section):
        if isinstance(config.get(key), Mapping) and "network" in config[key]:
            raise FastsimError(f"{config_path}: {key}: the network is that of {card.name}: leave out 'network'")
    if "latent" not in config and section not in config:
        raise FastsimError(f"{config_path}: missing keys 'latent' and {section!r}: give what is trained further")
    all_names = tuple(name for name in NAMES if name in {*names, *init.tune_parameters})
    domain = _domain(config, init.domain)
    try:
        sizes = init.config()
        if all_names:  # a tree that is not trained stays as it is
            sizes = _for_tunes(sizes, all_names, particles) if section in config else {**sizes, "tune": list(all_names)}
        if "scoring" in config.get("latent", {}):
            sizes["latent"] = {**sizes.get("latent", {}), OF_CARRIERS: True}
        if "responses" in config.get("latent", {}):
            sizes["latent"] = {**sizes.get("latent", {}), "responses": True}
        model = particles.model.build(config["name"], domain, sizes)
        model.take_weights(init)
        if config.get(_ONLY_TUNES, False):
            model.only_tunes_learn()
    except (TypeError, ValueError, RuntimeError) as error:
        raise FastsimError(f"{config_path}: {error}") from error
    parts: list[_Part] = []
    loops: list[TrainingConfig | None] = []
    if "latent" in config:
        latent_config = from_dict(LatentTraining, config["latent"], f"{config_path}: latent")
        if not (latent_config.counts or latent_config.totals):
            raise FastsimError(f"{config_path}: latent: without 'counts' and 'totals' nothing is trained: leave it out")
        further = partial(tune_latent, extras=model.has_extras)
        fit = partial(_fit_latent, further, model.latent_model, latent_config, seed)
        parts.append(_Part("latent", fit, "latent_validation_nll"))
        loops.append(latent_config.loop)
    if section in config:
        particle_config = from_dict(particles.training, config[section], f"{config_path}: {section}")
        parts.append(_particles_part(model, particles, particle_config, seed, keep_scales=True))
        loops += [particle_config.loop, getattr(particle_config, "pairs", None)]
    if config.get(_ONLY_TUNES) and any(loop is not None and loop.weight_decay for loop in loops):
        raise FastsimError(f"{config_path}: {_ONLY_TUNES}: weight_decay would change other weights: leave it out")
    return model, parts


def _fit_latent(
    fit: Callable[..., FitResult],
    model: LatentModel,
    config: LatentTraining,
    seed: int,
    sample: TokenSample,
    folder: Path,
) -> FitResult:
    return fit(model, sample, config, seed, folder)


def _particles_part(model: PrimaryModel, particles: _Particles, config: Any, seed: int, *, keep_scales: bool) -> _Part:
    def fit(sample: TokenSample, folder: Path) -> FitResult:
        return particles.fit(model, sample, config, seed, folder, keep_scales)

    return _Part("particles", fit, particles.figure)


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
