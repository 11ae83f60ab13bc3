"""Sources, models and Steps by name: the only door to :mod:`generators`.

A trained model is a card and its weights; the card's ``kind`` names the class that makes a source of them. The kinds
that ship are listed here; another package adds one by an entry point of the group ``fastsim.models``, whose name is the
kind and whose value is the class::

    [project.entry-points."fastsim.models"]
    mykind = "mypackage.mymodule:MyModel"

The class is a :class:`fastsim.sources.hadrons.HadronSource` or :class:`fastsim.sources.showers.ShowerSource` with the
class method ``from_card(card, weights, *, device="cpu", **options)``, where ``options`` are those that its attribute
``load_options`` names; with a class method ``train_from_config(config, output, *, resume)`` it can be trained by
``fastsim train``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastsim.detector.detector import Detector
from fastsim.detector.towers import Towers
from fastsim.errors import FastsimError, PipelineError, WeightsError
from fastsim.event import RunInfo
from fastsim.formats.atomic import HDF5_ENDINGS, PathLike
from fastsim.sources import cards
from fastsim.sources.cards import DEFAULT_MODEL, HADRONS, SHOWERS, ModelCard
from fastsim.sources.displaced import Displace
from fastsim.sources.domains import ShowerDomain
from fastsim.sources.hadrons import HadronSource
from fastsim.sources.pipeline import Step
from fastsim.sources.showers import ShowerSource

if TYPE_CHECKING:
    from generators.reference.full import FullPythia

REFERENCE = "pythia"
"""The name that stands for the reference of hadrons where the name of a model is expected."""
GEANT4 = "geant4"
"""The name that stands for the reference of showers where the name of a model is expected."""

ENTRY_POINTS = "fastsim.models"
"""Group of the entry points by which other packages add kinds of models."""

_log = logging.getLogger(__name__)
_warned: set[str] = set()

_KINDS = {
    "primary-tree": "generators.hadrons.tree.model:PrimaryTree",
    "primary-flow": "generators.hadrons.flow.model:PrimaryFlow",
    "cascade": "generators.showers.cascade.source:CascadeModel",
    "shower-flow": "generators.showers.flow.source:ShowerFlow",
}
_DRAWS = {"primary-tree": "generators.hadrons.tree.source:TreeSource"}
"""Classes that draw what the models of a kind draw and do nothing else: they load torch when they need it, or never."""
_TRAININGS = {
    "primary-tree": "generators.hadrons.train:train",
    "primary-flow": "generators.hadrons.train:train",
    "cascade": "generators.showers.cascade.train:train",
    "shower-flow": "generators.showers.flow.train:train",
}

_RETIRED = {"tree": "primary-tree", "diffusion": "primary-flow"}
"""Kinds of models of hadrons of version 0.1, which made final particles, and the kinds that took their place."""

ShowerModelName = PathLike | Sequence[PathLike]
"""A model of showers or a library: its name or path, or the paths of a library's files."""


def installed_version(package: str) -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def kinds() -> list[str]:
    """Return the kinds of models that a card may name: those that ship, and those of other packages."""
    return sorted({*_KINDS, *(entry.name for entry in entry_points(group=ENTRY_POINTS))})


def model_class(kind: str, place: str) -> Any:
    """Return the class of a kind of model.

    Args:
        kind: name of the kind, as in a card or config.
        place: path of the card or config, for the message.

    Raises:
        WeightsError: if there is no such kind, or the package that adds it cannot be loaded.
    """
    if kind in _KINDS:
        return _named(_KINDS[kind])
    for entry in entry_points(group=ENTRY_POINTS, name=kind):
        try:
            return entry.load()
        except (ImportError, AttributeError) as error:
            raise WeightsError(f"{place}: kind {kind!r} of {entry.value} cannot be loaded: {error}") from error
    if kind in _RETIRED:
        raise WeightsError(
            f"{place}: kind {kind!r} is of fastsim 0.1, whose models made final particles: train the model anew, "
            f"with kind {_RETIRED[kind]!r} in its config (docs/training.md)"
        )
    raise WeightsError(
        f"{place}: unknown kind {kind!r}: there are {', '.join(kinds())}; install the package that adds it "
        f"(entry point group {ENTRY_POINTS})"
    )


def _named(place: str) -> Any:
    """Return what ``module:name`` names."""
    module, name = place.split(":")
    return getattr(import_module(module), name)


def _from_card(name: PathLike, makes: str, *, device: str, draws_only: bool = False, **options: Any) -> Any:
    """Load the source that a card and its weights describe.

    Args:
        name: name or path of the card.
        makes: what it should make, "hadrons" or "showers".
        device: torch device.
        draws_only: whether nothing but draws is asked of it.
        options: further options of the model's class; None stands for its default.

    Raises:
        WeightsError: if there is no such card, or its model makes something else.
        FastsimError: if the model's class has no such option.
    """
    card, weights = cards.load(name)
    _warn_of_other_pythia(card)
    if card.makes != makes:
        place = "showers, load_showers" if card.makes == SHOWERS else "generate, load_model"
        what = "calorimeter showers" if card.makes == SHOWERS else "hadrons, not showers"
        raise WeightsError(f"model {card.name!r} makes {what}: see fastsim {place}")
    only = _DRAWS.get(card.kind) if draws_only else None
    cls = model_class(card.kind, os.fspath(name)) if only is None else _named(only)
    if not issubclass(cls, ShowerSource if makes == SHOWERS else HadronSource):
        raise WeightsError(f"{os.fspath(name)}: kind {card.kind!r} makes no {makes}, but the domain is one of {makes}")
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        if key not in cls.load_options:
            raise FastsimError(f"model {os.fspath(name)!r} takes no --{key.replace('_', '-')}")
    return cls.from_card(card, weights, device=device, **given)


def _warn_of_other_pythia(card: ModelCard) -> None:
    """Warn, once a model, if this Pythia is another than the one whose events the model learned from."""
    learned, here = card.training.get("pythia8mc"), installed_version("pythia8mc")
    if learned and here and learned.split(".")[:2] != here.split(".")[:2] and card.name not in _warned:
        _warned.add(card.name)
        _log.warning(
            "%s learned from Pythia %s, and this is %s: its defaults may differ, and so what fastsim compares with",
            card.name,
            learned,
            here,
        )


def load_model(
    name: PathLike | HadronSource = DEFAULT_MODEL,
    *,
    num_inference_steps: int | None = None,
    device: str = "cpu",
    workers: int = 0,
    tune: Any = None,
) -> HadronSource:
    """Load a source of hadrons by name.

    Args:
        name: a shipped model (``fastsim models`` lists them), the path of a card (.json), ``"pythia"``, or a
            library: the path of an HDF5 file made by ``fastsim reference --gun``. A source is returned as it is.
        num_inference_steps: network evaluations of a diffusion model; by default as many as its card says.
        device: torch device.
        workers: worker processes of Pythia.
        tune: values of Pythia's parameters, of a model of tunes (``hadron-tree-tunes``) or of Pythia: a text such as
            ``"aLund=0.5 alphaS=0.13"``, values by name, or a :class:`generators.hadrons.tunes.Tune`; by default those
            of the Monash tune.

    Returns:
        The source: ``sample(partons, rng=...)`` gives hadrons, ``card`` is the card of a trained model.

    Raises:
        WeightsError: if the model is unknown or makes no hadrons, or its card or weights are missing or altered.
        FastsimError: if ``num_inference_steps`` or a tune is given for a model that has none, or a value of the tune is
            outside its range.
    """
    return _load_hadrons(
        name,
        num_inference_steps=num_inference_steps,
        device=device,
        workers=workers,
        tune=tune,
        draws_only=False,
    )


def load_for_run(
    name: PathLike | HadronSource,
    *,
    num_inference_steps: int | None = None,
    device: str = "cpu",
    tune: Any = None,
) -> HadronSource:
    """Load a source of hadrons that nothing but draws is asked of: the same as of :func:`load_model`.

    Args:
        name, num_inference_steps, device, tune: see :func:`load_model`, also for what is raised.
    """
    return _load_hadrons(name, num_inference_steps=num_inference_steps, device=device, tune=tune, draws_only=True)


def _load_hadrons(
    name: PathLike | HadronSource,
    *,
    num_inference_steps: int | None,
    device: str,
    tune: Any,
    draws_only: bool,
    workers: int = 0,
) -> HadronSource:
    if tune is not None:
        monash = _load_hadrons(
            name,
            num_inference_steps=num_inference_steps,
            device=device,
            workers=workers,
            tune=None,
            draws_only=draws_only,
        )
        return monash.at(tune)
    if not isinstance(name, str | os.PathLike):
        if not isinstance(name, HadronSource):
            raise FastsimError(f"model={name!r}: give a name, a path or a HadronSource")
        source = name
    elif (text := os.fspath(name)) == REFERENCE:
        from generators.reference.pythia import PythiaGun

        source = PythiaGun(workers)
    elif text.lower().endswith(HDF5_ENDINGS):
        from generators.hadrons.library import Library

        source = Library(text)
    else:
        loaded: HadronSource = _from_card(
            name, HADRONS, device=device, draws_only=draws_only, num_inference_steps=num_inference_steps
        )
        return loaded
    if num_inference_steps is not None:
        raise FastsimError(f"model {source.name!r} takes no --num-inference-steps: only diffusion models do")
    return source


def load_showers(
    name: ShowerModelName | ShowerSource, *, num_inference_steps: int | None = None, device: str = "cpu"
) -> ShowerSource:
    """Load a source of calorimeter showers by name.

    Args:
        name: a shipped model (``fastsim models`` lists them), the path of a card (.json), or of a library (.h5) that
            ``fastsim showers --model geant4`` made; or the paths of a library's files. A source is returned as it is.
        num_inference_steps: network evaluations of a diffusion model; by default as many as its card says.
        device: torch device.

    Returns:
        The source: ``sample(incidents, rng=...)`` gives deposits, ``card`` is the card of a trained model.

    Raises:
        WeightsError: if there is no such model, it makes no showers, or its card or weights are missing or altered.
        FastsimError: if a library cannot be read, or ``num_inference_steps`` is given for a source that has none.
    """
    if isinstance(name, ShowerSource):
        source = name
    elif not isinstance(name, str | os.PathLike) or os.fspath(name).lower().endswith(HDF5_ENDINGS):
        from generators.showers.library import ShowerLibrary

        source = ShowerLibrary(name)
    else:
        loaded: ShowerSource = _from_card(name, SHOWERS, device=device, num_inference_steps=num_inference_steps)
        return loaded
    if num_inference_steps is not None:
        raise FastsimError(f"model {source.name!r} takes no --num-inference-steps: only diffusion models do")
    return source


def export_showers(source: ShowerSource, folder: Path, *, num: int, seed: int) -> list[Path]:
    """Write a source of showers as ONNX; see :func:`fastsim.api.export`.

    Raises:
        FastsimError: if it is of a kind that has no export.
    """
    from generators.showers.flow.export import export
    from generators.showers.flow.source import ShowerFlow

    if not isinstance(source, ShowerFlow):
        kind = type(source).__name__ if source.card is None else source.card.kind
        raise FastsimError(f"{source.name} is of kind {kind!r}; what has an export is {ShowerFlow.kind!r}")
    return export(source, folder, num=num, seed=seed)


def shipped_showers(detector: str) -> list[str]:
    """Return the names of the models of showers that ship for a detector."""
    return [name for name in cards.available(SHOWERS) if cards.read(name)[0].detector == detector]


def default_showers(detector: str, pdg_id: int) -> str:
    """Return the name of the model that ships for a detector: of several, the first that is valid for the particle.

    Args:
        detector: name of the detector.
        pdg_id: PDG id of the particle.

    Raises:
        WeightsError: if none ships for this detector.
    """
    fitting = [cards.read(name)[0] for name in shipped_showers(detector)]
    if not fitting:
        raise WeightsError(
            f"no model ships for detector {detector!r}; give --model geant4, a card (.json) or a library (.h5) made by "
            "fastsim showers --model geant4"
        )
    known = [c for c in fitting if isinstance(c.domain, ShowerDomain) and pdg_id in c.domain.particles]
    return (known or fitting)[0].name


def hadron_steps(source: HadronSource, *, whole_collisions: bool = False) -> list[Step]:
    """Return the Steps from undecayed partons to hadrons of a source; partons outside its domain go to Pythia.

    What is stable, the limit of lifetimes of the source says.

    Args:
        source: the source of hadrons.
        whole_collisions: whether the events become whole collisions, in which partons are connected to the beams.
    """
    from generators.hadrons.step import Hadronize
    from generators.reference.resonances import DecayResonances
    from generators.reference.unstable import DecayUnstable

    tau0_max = source.tau0_max
    resonances = DecayResonances(tau0_max=tau0_max, photons=True)
    hadronize = Hadronize(source, _reference_for(source), whole_collisions=whole_collisions)
    return [resonances, DecayUnstable(tau0_max), hadronize, Displace()]


def _reference_for(source: HadronSource) -> HadronSource:
    """Return the reference with the lifetimes and the tune of a source, which partons outside its domain go to."""
    return load_model(REFERENCE, tune=source.tune).with_tau0_max(source.tau0_max)


def gun_step(source: HadronSource, *, with_latent: bool = False) -> Step:
    """Return the Step from a gun's partons to their hadrons as the source draws them.

    Args:
        source: the source of hadrons.
        with_latent: also give the latents that the hadrons were drawn from.

    Raises:
        FastsimError: if a latent is wanted of a source that has none.
    """
    from generators.hadrons.step import HadronizeSets

    return HadronizeSets(source, _reference_for(source), with_latent=with_latent)


def tune_settings(tune: Any) -> tuple[str, ...]:
    """Return the settings of Pythia that make a tune, given as :func:`load_model` takes it.

    Raises:
        FastsimError: if a parameter is unknown or its value outside the range.
    """
    from generators.hadrons.tunes import tune_of

    return tune_of(tune).settings


def model_part(name: PathLike, part: str | None, *, log_prob: bool = False) -> Any:
    """Return a part of what a model does, as a torch module that has ``inputs`` and ``outputs``, names and shapes.

    The modules are those of :mod:`generators.hadrons.blocks` and :mod:`generators.showers.blocks`.

    Args:
        name: of a model of hadrons or showers; a path of its card, or of a library; or ``"pythia"``.
        part: "hadrons", "latent", "primary" or "decays" of hadrons; "cells" or "showers" of showers; by default the
            first of these.
        log_prob: whether it also gives the log-probability of what it draws.

    Raises:
        WeightsError: if there is no such model.
        PipelineError: if it has no such part, or no log-probability.
    """
    source: HadronSource | ShowerSource
    if _makes_showers(name):
        from generators.showers.blocks import PARTS as OF_SHOWERS

        source, parts = load_showers(name), dict[str, Any](OF_SHOWERS)
    else:
        from generators.hadrons.blocks import PARTS as OF_HADRONS

        source, parts = load_model(name), dict[str, Any](OF_HADRONS)
    if part is not None and part not in parts:
        raise PipelineError(f"{source.name} has no part {part!r}: there are {', '.join(parts)}")
    return parts[part or next(iter(parts))](source, log_prob=log_prob)


def is_model(name: str) -> bool:
    """Return whether a name stands for a model, a library or the reference of hadrons."""
    if name == REFERENCE or name.lower().endswith((".json", *HDF5_ENDINGS)):
        return True
    return any(name in cards.available(makes) for makes in (HADRONS, SHOWERS))


def _makes_showers(name: PathLike) -> bool:
    text = os.fspath(name)
    if text == REFERENCE:
        return False
    if text.lower().endswith(HDF5_ENDINGS):
        import h5py

        if not h5py.is_hdf5(text):
            return False  # the library of hadrons says what is wrong
        with h5py.File(text) as file:
            return "showers" in file
    return bool(cards.read(name)[0].makes == SHOWERS)


def deposit_step(source: ShowerSource, fallback: ShowerSource | None, towers: Towers) -> Step:
    """Return the Step from hadrons to the cells of a calorimeter.

    Args:
        source: the source of showers.
        fallback: source of showers for particles outside its domain; None to drop them.
        towers: the cells.

    Raises:
        PipelineError: if sources and towers do not belong to one detector.
    """
    from generators.showers.step import Deposit

    return Deposit(source, fallback, towers)


def full_pythia(run: RunInfo, seed: int, settings: Sequence[str] = (), *, history: bool = True) -> FullPythia:
    """Return the Step of ordinary Pythia on the events of a file.

    Args:
        run: beams and processes of the file.
        seed: seed of the run.
        settings: further lines for Pythia.
        history: whether to keep what decayed into the final particles.
    """
    from generators.reference.full import FullPythia

    return FullPythia(run, seed, tuple(settings), history=history)


def geant4_showers(detector: Detector, *, data: PathLike | None, workers: int) -> ShowerSource:
    """Return Geant4 as a source of showers.

    Args:
        detector: the detector.
        data: folder of Geant4's data sets; None for those that the environment names.
        workers: worker processes.

    Raises:
        FastsimError: if Geant4 or its data is missing.
    """
    from generators.reference.geant4_showers import Geant4Showers

    return Geant4Showers(detector, data=data, workers=workers)


def geant4_status() -> str:
    """Return a text that says whether Geant4 and its data sets are installed."""
    if find_spec("geant4_pybind") is None:
        return "not installed (the extra geant4)"
    from generators.reference.geant4 import REQUIRED, data_environment

    states = []
    for physics in REQUIRED:
        try:
            data_environment(physics)
            states.append(f"{physics}: data found")
        except FastsimError as error:
            states.append(f"{physics}: {error}")
    return "; ".join(states)


def kernel_folders() -> list[str]:
    """Return the folders that hold the compiled kernels of the models loaded so far; none if none is writable."""
    from fastsim.compiled import cache_folders

    return cache_folders()


def run_geant4(*args: Any, **keywords: Any) -> Any:
    """Write showers of Geant4, with the arguments of :func:`generators.reference.geant4_run.make_showers`."""
    from generators.reference.geant4_run import make_showers

    return make_showers(*args, **keywords)


def fit(model: Any, batches: Any, settings: dict[str, Any], folder: Path, *, validate: Any, select: str) -> Any:
    """Train a module with the training loop of the models (:func:`generators.training.loop.fit`).

    Args:
        model: a module with ``loss(batch)``.
        batches: the batch of a step.
        settings: attributes of :class:`generators.training.loop.TrainingConfig`.
        folder: of checkpoints and logs; a run in it is resumed.
        validate: figures of the averaged model.
        select: the figure to minimise.

    Raises:
        FastsimError: if there is no such setting.
    """
    from generators.training.config import from_dict
    from generators.training.loop import TrainingConfig
    from generators.training.loop import fit as fit_model

    config = from_dict(TrainingConfig, settings, "training")
    return fit_model(model, batches, config, folder, validate=validate, select=select)


def train(config: PathLike, output: PathLike, *, resume: bool = True) -> Path:
    """Train the model that a JSON config describes.

    Args:
        config: path of the config, whose key "kind" names the kind of model.
        output: folder of checkpoints, logs, card and weights.
        resume: go on from the last checkpoint, if there is one.

    Returns:
        The path of the model's card.

    Raises:
        FastsimError: if the config is wrong, or models of its kind cannot be trained.
    """
    from generators.training.config import read_config

    kind = read_config(Path(config)).get("kind")
    if not isinstance(kind, str):
        raise FastsimError(f"{config}: missing key 'kind': one of {', '.join(kinds())}")
    if kind in _TRAININGS:
        training = _named(_TRAININGS[kind])
    else:
        training = getattr(model_class(kind, os.fspath(config)), "train_from_config", None)
        if training is None:
            raise FastsimError(f"{config}: models of kind {kind!r} have no training")
    path: Path = training(Path(config), Path(output), resume=resume)
    return path
