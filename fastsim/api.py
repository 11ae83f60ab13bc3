"""The library's face: :func:`generate`, :func:`generate_showers`, :func:`reference`, :func:`reference_showers`,
:func:`load_model`, :func:`train`.

>>> import fastsim
>>> model = fastsim.load_model("pythia")
>>> partons = fastsim.Partons.from_pt_eta_phi([21, -2], [100.0, 50.0], [0.0, 1.0], [0.0, 2.0])
>>> len(model.sample(partons, seed=1))
2
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fastsim import cards, production, stages
from fastsim.cards import DEFAULT_MODEL, SHOWER_KINDS, ModelCard
from fastsim.errors import FastsimError
from fastsim.event import HardEvents, ParticleSet, Partons, RunInfo
from fastsim.formats import lhe
from fastsim.formats.events import holds_particles, read_events
from fastsim.formats.output import PathLike, open_gun_writer, open_writer
from fastsim.gun import Gun, Shots, events_from_partons
from fastsim.manifest import versions
from fastsim.pipeline import Domain, HadronSource, Pipeline, Step
from fastsim.production import (
    Chunk,
    Crew,
    Draw,
    Progress,
    Summary,
    available_cpus,
    event_by_event,
    events_in_chunks,
    gun_in_chunks,
)
from fastsim.runs import Plan, Run
from fastsim.showers import ShowerSource

if TYPE_CHECKING:
    from generators.hadrons.step import Hadronize
    from generators.reference.showers import ShowerGun
    from generators.showers.step import Deposit

__all__ = ["Model", "Summary", "generate", "generate_showers", "load_model", "reference", "reference_showers", "train"]

REFERENCE = "pythia"
"""The name of the reference, where a model's is expected."""

_CLASSES = {
    "tree": ("generators.hadrons.tree", "TreeModel"),
    "diffusion": ("generators.hadrons.diffusion", "DiffusionModel"),
}

Input = str | os.PathLike[str] | Gun | lhe.Source


class Model:
    """A source of hadrons with its card: ``sample(partons, seed=...)``.

    ``source`` is the generator itself, ``card`` is None for the reference and for libraries, ``sha256`` is of the file
    of its weights or sets. A Model is a HadronSource: it goes into ``generators.hadrons.step.Hadronize`` and so into a
    Pipeline.
    """

    def __init__(self, source: HadronSource, card: ModelCard | None = None, *, sha256: str | None = None) -> None:
        self.source = source
        self.card = card
        self.sha256 = sha256 if card is None else card.sha256

    @property
    def name(self) -> str:
        return self.card.name if self.card is not None else self.source.name

    @property
    def domain(self) -> Domain:
        """The partons that the model was trained and validated on."""
        return self.source.domain

    @property
    def has_latent(self) -> bool:
        """Whether the model draws a named latent first (:meth:`latent`)."""
        return hasattr(self.source, "latent")

    def latent(self, partons: Partons, *, seed: int = 0, rng: np.random.Generator | None = None) -> Any:
        """What the model draws first, shared by the whole set of each parton: named arrays (N, ...)."""
        if not self.has_latent:
            raise FastsimError(f"model {self.name!r} has no latent")
        return self.source.latent(partons, rng=_rng(seed, rng))  # type: ignore[attr-defined]

    def sample(
        self,
        partons: Partons,
        *,
        seed: int = 0,
        rng: np.random.Generator | None = None,
        latent: Any = None,
    ) -> ParticleSet:
        """Hadrons of N partons: one set of final particles each, in the frame of ``partons.p4``.

        Args:
            partons: N partons within :attr:`domain`.
            seed: decides the result.
            rng: the source of randomness instead of a seed.
            latent: what :meth:`latent` gave, changed or not; drawn anew by default.
        """
        more = {} if latent is None else {"latent": latent}
        return self.source.sample(partons, rng=_rng(seed, rng), **more)


def _rng(seed: int, rng: np.random.Generator | None) -> np.random.Generator:
    return np.random.default_rng(seed) if rng is None else rng


def load_model(
    name: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    num_inference_steps: int | None = None,
    device: str = "cpu",
    workers: int = 0,
) -> Model:
    """A model by name.

    Args:
        name: a shipped model (``fastsim models`` lists them), the path of a card (.json), ``"pythia"``, or a
            library: the path of an HDF5 file made by ``fastsim reference --gun``.
        num_inference_steps: network evaluations of a diffusion model; its card's number by default.
        device: torch device.
        workers: worker processes of Pythia.

    Raises:
        WeightsError: if the model is unknown, or its card or weights are missing or altered.
        FastsimError: if ``num_inference_steps`` is given for a model that has none.
    """
    text = os.fspath(name)
    card: ModelCard | None = None
    source: HadronSource | None = None
    sha256: str | None = None
    if text == REFERENCE:
        from generators.reference.pythia import PythiaGun

        source = PythiaGun(workers)
    elif text.endswith((".h5", ".hdf5")):
        from generators.hadrons.library import Library

        source = Library(text)
        sha256 = cards.digest(Path(text))
    if source is None:
        card, weights = cards.load(name)
        if card.kind in cards.SHOWER_KINDS:
            raise FastsimError(f"model {card.name!r} makes calorimeter showers: fastsim generate --detector NAME ...")
        if card.kind not in _CLASSES:
            raise FastsimError(f"model {card.name!r}: a {card.kind} is given as the path of its .h5 file")
        module, cls = _CLASSES[card.kind]
        options: dict[str, Any] = {"device": device}
        if card.kind == "diffusion":
            options["num_inference_steps"] = num_inference_steps
        source = getattr(import_module(module), cls).from_card(card, weights, **options)
    if num_inference_steps is not None and (card is None or card.kind != "diffusion"):
        raise FastsimError(f"model {text!r} takes no --num-inference-steps: only diffusion models do")
    return Model(source, card, sha256=sha256)


def generate(
    input: Input,
    output: PathLike,
    *,
    model: str | os.PathLike[str] | Model = DEFAULT_MODEL,
    steps: Sequence[str] = ("hadrons",),
    shower_model: stages.ShowerModel | ShowerSource | None = None,
    geant4_data: str | os.PathLike[str] | None = None,
    seed: int = 0,
    num_events: int | None = None,
    first_event: int = 0,
    num_inference_steps: int | None = None,
    device: str = "cpu",
    threads: int | None = None,
    workers: int = 0,
    scheduler: str | None = None,
    part: tuple[int, int] | None = None,
    latent: bool = False,
    resume: bool = False,
    force: bool = False,
    log: PathLike | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Turns the partons of an LHE file, or of a gun, into hadrons and writes them.

    Undecayed t, W, Z, H and tau are decayed by Pythia first; partons outside the model's domain go to the Pythia gun;
    every hard system keeps its four-momentum. A gun's sets are written as drawn. With the step ``calorimeter`` the
    hadrons go on into the copper calorimeter (:class:`generators.showers.step.Deposit`).

    While a run goes on, OUTPUT.parts holds its finished chunks; after it, OUTPUT.manifest.json says what was written
    (docs/production.md).

    Args:
        input: path of an LHE file (plain or .gz), ``"-"`` for stdin, a binary stream, a :class:`Gun`, or its text
            (``"flavour=u,g pt=20:2000 num=1000"``). For the step ``calorimeter`` alone: a HepMC file of any origin, or
            events that fastsim wrote as .h5 or .root.
        output: path; its ending names the format (.hepmc3 and .gz .bz2 .xz .zst of it, .h5, .root); ``"-"`` for
            HepMC3 on stdout.
        model: name, card or :class:`Model`; see :func:`load_model`.
        steps: ``hadrons`` (from ``model``) or ``pythia`` (from the reference), then or instead ``calorimeter``.
        shower_model: of the step calorimeter: a shipped model of showers, the path of a card (.json) or of a library
            (.h5), the paths of a library's files, ``"geant4"``, or a :class:`fastsim.showers.ShowerSource`; default the
            model that ships for copper. What is outside its limits goes to Geant4, if that is installed.
        geant4_data: folder of Geant4's data sets; else FASTSIM_GEANT4_DATA or Geant4's own variables name them.
        seed: with ``model``, the numbers of the events and ``num_inference_steps`` it decides the result.
        num_events: how many events at most.
        first_event: number of the first event, from 0.
        num_inference_steps, device: see :func:`load_model`.
        threads: chunks of events that are computed at a time; None for one a CPU, four at most. The result depends
            neither on it nor on the next two.
        workers: worker processes: to compute the chunks instead of threads; with the step ``calorimeter``, of Geant4
            where that makes showers, else to fill the cells instead of threads. 0 for threads (and one of Geant4).
        scheduler: address of a Dask cluster to compute them (``tcp://host:8786``); not with the step ``calorimeter``.
        part: (i, n) for part i, from 0, of n parts of about as many events: what the range given above has is cut at
            borders of chunks. The n outputs are the whole, one after the other.
        latent: save the model's latent of each gun parton, as ``latent/NAME`` (gun and HDF5 only).
        resume: go on with a run of the same settings that was stopped; what is complete is left as it is.
        force: replace an output that exists, and drop a run that was stopped.
        log: file to which JSON lines of what happens are added.
        progress: called with (events done, total or None) after each chunk.

    Raises:
        FastsimError: its subclasses say what is wrong with input, output or model.
    """
    words = stages.parse(steps)
    with_cells = stages.CALORIMETER in words
    _check_options(output, with_cells, shower_model=shower_model, data=geant4_data, latent=latent, scheduler=scheduler)
    if stages.HADRONS not in words:
        model = REFERENCE
    if part is not None:
        first_event, num_events = _part_range(input, part, first_event, num_events, with_cells)
    plan = Plan(
        seed=seed,
        first_event=first_event,
        num_events=num_events,
        threads=min(available_cpus(), 4) if threads is None else threads,
        workers=workers,
        scheduler=scheduler,
        keep=True,
        resume=resume,
        force=force,
        log=log,
        progress=progress,
    )
    with _one_torch_thread():
        loaded = (
            model
            if isinstance(model, Model)
            else load_model(model, num_inference_steps=num_inference_steps, device=device)
        )
        fallback = load_model(REFERENCE)
        if not with_cells:
            return _produce(input, output, loaded, fallback, plan, latent)
        with stages.depositing(shower_model, data=geant4_data, workers=max(1, workers)) as (deposit, told):
            told["steps"] = ",".join(words)
            hadrons = None if words == (stages.CALORIMETER,) else loaded
            return _fill_cells(input, output, hadrons, fallback, deposit, told, plan)


def reference(
    input: Input,
    output: PathLike,
    *,
    full: bool = False,
    seed: int = 0,
    num_events: int | None = None,
    first_event: int = 0,
    workers: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """The same as :func:`generate` with Pythia instead of a model.

    Args:
        full: ordinary Pythia on an LHE file (ISR, FSR, MPI) instead of the gun on each parton.
        workers: worker processes; the result does not depend on them.

    The other arguments, and what is raised, are those of :func:`generate`.
    """
    plan = Plan(seed=seed, first_event=first_event, num_events=num_events, force=force, progress=progress)
    if full:
        return _full(input, output, plan)
    gun = load_model(REFERENCE, workers=workers)
    return _produce(input, output, gun, gun, plan, False)


def reference_showers(
    output: PathLike,
    *,
    detector: str | os.PathLike[str],
    particle: str,
    energy: float | tuple[float, float],
    num: int,
    theta: float = 0.0,
    phi: float = 0.0,
    seed: int = 0,
    workers: int = 1,
    data: str | os.PathLike[str] | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Calorimeter showers from Geant4, as a CaloChallenge HDF5 file with the binning as XML beside it.

    Args:
        output: path that ends in .h5; chunks of an unfinished run are in OUTPUT.parts.
        detector: a detector that ships (pb-si-ecal, copper), or the path of a .toml file.
        particle: e-, e+, gamma, pi+, pi-, K+, K-, K0L, p, pbar, n, nbar, mu- or mu+, as the detector allows.
        energy: kinetic energy in GeV, or the lowest and highest, log-uniform between.
        num: how many showers.
        theta, phi: direction in rad; theta = 0 is perpendicular to the layers.
        seed: of the run; a shower depends on it and its own number alone.
        workers: worker processes; the result does not depend on them.
        data: folder of Geant4's data sets; else FASTSIM_GEANT4_DATA or Geant4's own variables name them.
        resume: go on with a run of the same settings that was stopped.
        force: replace an output that exists, and drop a run that was stopped.
        progress: called with (showers done, num) after each chunk.

    Raises:
        FastsimError: if something is wrong with what is given, or Geant4 or its data is missing.
    """
    from generators.reference.showers import make_showers

    gun = _shower_gun(detector, particle, energy, theta, phi, seed)
    return make_showers(gun, output, num=num, workers=workers, data=data, resume=resume, force=force, progress=progress)


def generate_showers(
    output: PathLike,
    *,
    detector: str | os.PathLike[str],
    particle: str,
    energy: float | tuple[float, float],
    num: int,
    theta: float = 0.0,
    phi: float = 0.0,
    model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | ShowerSource | None = None,
    seed: int = 0,
    threads: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Calorimeter showers from a model, in the files of :func:`reference_showers`.

    Of one seed, shower i has the same incident energy in both.

    Args:
        output: path that ends in .h5; the binning (.xml) is written beside it.
        model: a shipped model, the path of a card (.json) or library (.h5), the paths of a library's files, or any
            :class:`fastsim.showers.ShowerSource`; default the model that ships for the detector.
        seed: with the model it decides the result.
        threads: chunks that are computed at a time; None for one a CPU, four at most. The result does not depend on it.
        force: replace an output that exists.

    The other arguments are those of :func:`reference_showers`.

    Raises:
        OutOfDomain: if the model is not valid for this detector, particle, energy or direction.
        FastsimError: if something else given is wrong.
    """
    from generators.reference.detectors import PARTICLES
    from generators.showers.produce import produce
    from generators.showers.sources import default_model, load_source

    gun = _shower_gun(detector, particle, energy, theta, phi, seed)
    if model is None:
        model = default_model(gun.detector.name, PARTICLES[particle][0])
    source, card = (model, None) if isinstance(model, ShowerSource) else load_source(model)
    provenance = {} if card is None else {"model_version": card.version, "model_sha256": card.sha256}
    with nullcontext() if card is None else _one_torch_thread():
        return produce(
            source,
            gun,
            output,
            num=num,
            provenance=provenance,
            threads=min(available_cpus(), 4) if threads is None else threads,
            force=force,
            progress=progress,
        )


def _shower_gun(
    detector: str | os.PathLike[str],
    particle: str,
    energy: float | tuple[float, float],
    theta: float,
    phi: float,
    seed: int,
) -> ShowerGun:
    from generators.reference.detectors import load_detector
    from generators.reference.showers import ShowerGun

    low, high = energy if isinstance(energy, tuple) else (energy, energy)
    return ShowerGun(load_detector(detector), particle, (float(low), float(high)), theta, phi, seed)


def train(config: str | os.PathLike[str], output: str | os.PathLike[str], *, resume: bool = True) -> Path:
    """Trains the model that a JSON config describes: see ``generators.hadrons.train`` and ``generators.showers.train``.

    Args:
        config: path of the config.
        output: folder of checkpoints, logs, card and weights.
        resume: go on from the last checkpoint, if there is one.

    Returns:
        the path of the model's card.
    """
    from generators.hadrons.train import read_config

    of_showers = read_config(Path(config)).get("kind") in SHOWER_KINDS
    module = import_module("generators.showers.train" if of_showers else "generators.hadrons.train")
    path: Path = module.train(Path(config), Path(output), resume=resume)
    return path


@runtime_checkable
class _ExtrasWriter(Protocol):
    """A gun writer that takes named arrays (N, ...) beside each batch."""

    def write_extras(self, arrays: Mapping[str, NDArray[Any]]) -> None: ...


@dataclass(frozen=True)
class _Sets:
    """What a gun's chunk has beside its partons: a :data:`fastsim.production.Draw`."""

    hadronize: Hadronize

    def __call__(self, partons: Partons, rng: np.random.Generator) -> tuple[ParticleSet, dict[str, NDArray[Any]]]:
        particles, other = self.hadronize.sets(partons, rng=rng)
        return particles, {"fallback_partons": other}


@dataclass(frozen=True)
class _LatentSets:
    """The same with the model's latent."""

    model: Model

    def __call__(self, partons: Partons, rng: np.random.Generator) -> tuple[ParticleSet, dict[str, NDArray[Any]]]:
        if not self.model.domain.contains(partons).all():
            raise FastsimError("the latent exists inside the model's domain only: narrow the gun's flavours or pT")
        particles, drawn = self.model.source.sample_with_latent(partons, rng=rng)  # type: ignore[attr-defined]
        more = {f"latent/{key}": np.asarray(values) for key, values in vars(drawn).items()}
        return particles, {"fallback_partons": np.zeros(len(partons), bool), **more}


def _produce(input: Input, output: PathLike, model: Model, fallback: Model, plan: Plan, latent: bool) -> Summary:
    from generators.hadrons.step import Hadronize

    hadronize = Hadronize(model, fallback)
    gun = _as_gun(input)
    if latent and (gun is None or not os.fspath(output).lower().endswith((".h5", ".hdf5"))):
        raise FastsimError("the latent is saved for a gun's sets in HDF5: give a gun and an output ending in .h5")
    settings = _settings(input, _provenance(model, plan), plan, **({} if gun is None else {"latent": latent}))
    if gun is not None:
        with Run(output, settings, plan) as run:
            return run.summary() or _shoot(gun, _LatentSets(model) if latent else _Sets(hadronize), model, run)
    from generators.reference.resonances import DecayResonances

    pipeline = Pipeline([DecayResonances(), hadronize])
    with _opened(input) as stream, Run(output, settings, plan) as run:
        if (done := run.summary()) is not None:
            return done
        info, chunks = events_in_chunks(stream, pipeline, seed=plan.seed, **plan.range, crew=run.crew)
        return _drain(info, chunks, _provenance(model, plan), model.name, run)


def _fill_cells(
    input: Input,
    output: PathLike,
    model: Model | None,
    fallback: Model,
    deposit: Deposit,
    told: dict[str, str],
    plan: Plan,
) -> Summary:
    """Writes the cells of events whose hadrons ``model`` makes first, or the input holds."""
    held = isinstance(input, str | os.PathLike) and _as_gun(input) is None and holds_particles(input)
    before: list[Step] = []
    if model is not None:
        from generators.hadrons.step import Hadronize
        from generators.reference.resonances import DecayResonances

        if held:
            raise FastsimError(f"{input}: has hadrons, not partons; run the step calorimeter alone")
        before = [DecayResonances(), Hadronize(model, fallback)]
    Pipeline([*before, deposit], given=frozenset({"hadrons" if held else "partons"}))  # says what is missing
    provenance = (_tool(plan) if model is None else _provenance(model, plan)) | told
    # chunks are cut where the range begins: they belong to runs of the same range alone
    more = {"block": production.EVENTS_PER_BLOCK, "versions": versions("geant4-pybind")}
    settings = _settings(input, provenance, plan, **plan.range, **more)
    source = deposit.source.name if model is None else f"{model.name}, {deposit.source.name}"
    with Run(output, settings, stages.shared_out(plan, deposit)) as run:
        if (done := run.summary()) is not None:
            return done
        with _hadron_events(input, before, plan) as (info, batches):
            chunks = event_by_event(batches, deposit, seed=plan.seed, crew=run.crew)
            return _drain(info, chunks, provenance, source, run)


@contextmanager
def _hadron_events(input: Input, steps: list[Step], plan: Plan) -> Iterator[tuple[RunInfo, Iterator[HardEvents]]]:
    """Events with hadrons: from a file that holds them where there are no steps, else made by the steps in threads."""
    crew = Crew(plan.threads)
    gun = _as_gun(input)
    if gun is not None:
        shots = gun_in_chunks(gun, _Sets(steps[-1]), seed=plan.seed, **plan.range, crew=crew)  # type: ignore[arg-type]
        with closing(shots):
            yield RunInfo(provenance={"gun": str(gun)}), _as_events(shots, plan.first_event)
        return
    with _opened(input) as stream:
        if not steps:
            assert isinstance(stream, str | os.PathLike)
            yield read_events(stream, **plan.range)
            return
        info, chunks = events_in_chunks(stream, Pipeline(steps), seed=plan.seed, **plan.range, crew=crew)
        with closing(chunks):
            yield info, (chunk.content for chunk in chunks)


def _as_events(chunks: Iterator[Chunk[Shots]], number: int) -> Iterator[HardEvents]:
    """A gun's sets as events of one parton each, numbered from ``number``."""
    for chunk in chunks:
        shots = chunk.content
        events = events_from_partons(shots.partons, shots.particles, first_number=number)
        number += len(events)
        events = events.tally("partons", np.arange(len(events)))
        yield events.tally("fallback_partons", np.flatnonzero(shots.extras["fallback_partons"]))


def _check_options(
    output: PathLike, with_cells: bool, *, shower_model: object, data: object, latent: bool, scheduler: str | None
) -> None:
    """Refuses what does not go with, or without, the step calorimeter."""
    if not with_cells:
        for name, value in (("a shower model", shower_model), ("Geant4's data", data)):
            if value is not None:
                raise FastsimError(f"{name} is given, but the steps do not end with calorimeter")
        return
    if latent:
        raise FastsimError("the latent is saved for a gun's sets, not with the step calorimeter")
    if scheduler is not None:
        raise FastsimError("a cluster (--scheduler) computes hadrons alone: the step calorimeter takes --workers")
    stages.check_output(output)


def _part_range(input: Input, part: tuple[int, int], first: int, num: int | None, with_cells: bool) -> tuple[int, int]:
    """First event and number of events of part (i, n) of a range."""
    gun = _as_gun(input)
    if (gun is None and not isinstance(input, str | os.PathLike)) or input == "-":
        raise FastsimError("standard input has no parts: give a file")
    held = _count(input) if gun is None else gun.num  # type: ignore[arg-type]
    num = held - first if num is None else min(num, held - first)
    size = production.EVENTS_PER_CHUNK if gun is None else production.PARTONS_PER_CHUNK
    return production.part_range(part, first, max(num, 0), production.EVENTS_PER_BLOCK if with_cells else size)


def _count(path: str | os.PathLike[str]) -> int:
    """Events of a file, with partons or particles."""
    if holds_particles(path):
        return sum(len(batch) for batch in read_events(path)[1])
    return lhe.count(path)


def _settings(input: Input, made: Mapping[str, str], plan: Plan, **more: Any) -> dict[str, Any] | None:
    """All that decides the content of a chunk, but not which chunks are wanted; None if the input is no file or gun.

    Args:
        made: what the output says about how it was made.
        more: what else decides.
    """
    gun = _as_gun(input)
    if gun is not None:
        source: dict[str, Any] = {"gun": str(replace(gun, num=1)).removesuffix(" num=1")}
        source["chunk"] = production.PARTONS_PER_CHUNK
    elif isinstance(input, str | os.PathLike) and os.path.isfile(input):
        path = Path(input)
        source = {"input": path.name, "input_sha256": cards.digest(path), "chunk": production.EVENTS_PER_CHUNK}
    else:
        return None
    made = {key: value for key, value in made.items() if key not in ("tool", "version")}
    return {**source, **made, "seed": plan.seed, "versions": versions(), **more}


def _drain(
    info: RunInfo, chunks: Generator[Chunk[HardEvents]], provenance: dict[str, str], source: str, run: Run
) -> Summary:
    """Writes batches of events as they come."""
    info = replace(info, provenance={**info.provenance, **provenance})
    summary = Summary(output=run.output, source=source, cross_section=info.cross_section)
    with (
        open_writer(run.output, info, force=run.replaces) as writer,
        run.contents(chunks, summary, run.plan.num_events) as batches,
    ):
        for events in batches:
            writer.write(events)
    run.commit(summary)
    return summary


def _shoot(gun: Gun, draw: Draw, model: Model, run: Run) -> Summary:
    """Writes a gun's sets as drawn."""
    plan = run.plan
    total = gun.num if plan.num_events is None else min(gun.num - plan.first_event, plan.num_events)
    info = RunInfo(provenance={**_provenance(model, plan), "gun": str(gun)})
    summary = Summary(output=run.output, source=model.name)
    chunks = gun_in_chunks(gun, draw, seed=plan.seed, **plan.range, crew=run.crew)
    with (
        open_gun_writer(run.output, info, force=run.replaces) as writer,
        run.contents(chunks, summary, total) as batches,
    ):
        for shots in batches:
            writer.write(shots.partons, shots.particles)
            more = {key: values for key, values in shots.extras.items() if key.startswith("latent/")}
            if more and isinstance(writer, _ExtrasWriter):
                writer.write_extras(more)
    run.commit(summary)
    return summary


def _full(input: Input, output: PathLike, plan: Plan) -> Summary:
    from generators.reference.full import full_events

    if _as_gun(input) is not None:
        raise FastsimError("full=True runs Pythia on an LHE file, not on a gun")
    provenance = {**_tool(plan), "model": "pythia-full", "settings": "Monash, ISR, FSR, MPI"}
    with _opened(input) as stream, Run(output, None, plan) as run:
        info, events = full_events(stream, seed=plan.seed, **plan.range)
        chunks = (Chunk(number, batch) for number, batch in enumerate(events))
        return _drain(info, chunks, provenance, "pythia-full", run)


def _as_gun(input: Input) -> Gun | None:
    if isinstance(input, Gun):
        return input
    if isinstance(input, str) and ("flavour=" in input or "pt=" in input) and not os.path.exists(input):
        return Gun.parse(input)
    return None


@contextmanager
def _opened(input: Input) -> Iterator[lhe.Source]:
    """The path or stream to read, stdin for ``-``."""
    if isinstance(input, Gun):
        raise FastsimError("a gun is no LHE file")
    yield sys.stdin.buffer if isinstance(input, str) and input == "-" else input


def _tool(plan: Plan) -> dict[str, str]:
    from fastsim import __version__

    return {"tool": "fastsim", "version": __version__, "seed": str(plan.seed)}


def _provenance(model: Model, plan: Plan) -> dict[str, str]:
    """What a file says about how it was made: tool, version, seed, model and the hash of its weights."""
    values = {**_tool(plan), "model": model.name}
    if model.card is not None:
        values["model_version"] = model.card.version
    if model.sha256 is not None:
        values["model_sha256"] = model.sha256
    steps = getattr(model.source, "num_inference_steps", None)
    return values if steps is None else {**values, "num_inference_steps": str(steps)}


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Runs torch with one thread an operation, since chunks run side by side, and puts the number back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
