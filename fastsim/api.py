"""The library's face: :func:`generate`, :func:`generate_showers`, :func:`reference`, :func:`reference_showers`,
:func:`load_model`, :func:`load_showers`, :func:`train`.

>>> import fastsim
>>> model = fastsim.load_model("pythia")
>>> partons = fastsim.Partons.from_pt_eta_phi([21, -2], [100.0, 50.0], [0.0, 1.0], [0.0, 2.0])
>>> len(model.sample(partons, seed=1))
2
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from fastsim import stages
from fastsim.errors import FastsimError
from fastsim.formats.atomic import PathLike
from fastsim.generation import Input, check_options, fill_cells, make_full_events, make_hadrons, part_range
from fastsim.models import REFERENCE, Model, load_model
from fastsim.production.chunks import Progress, Summary, available_cpus, one_torch_thread
from fastsim.production.run import Plan
from fastsim.sources.cards import DEFAULT_MODEL, SHOWER_KINDS
from fastsim.sources.showers import Incidents, ShowerSource
from fastsim.stages import load_showers

if TYPE_CHECKING:
    from fastsim.detector.shower_gun import ShowerGun

__all__ = [
    "Incidents",
    "Model",
    "Summary",
    "generate",
    "generate_showers",
    "load_model",
    "load_showers",
    "reference",
    "reference_showers",
    "train",
]


def generate(
    input: Input,
    output: PathLike,
    *,
    model: str | os.PathLike[str] | Model | None = None,
    steps: Sequence[str] = ("hadrons",),
    shower_model: stages.ShowerModelName | ShowerSource | None = None,
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
        model: of the step hadrons: name, card or :class:`Model`; see :func:`load_model`; default ``hadron-tree``.
        steps: ``hadrons`` (from ``model``) or ``pythia`` (from the reference), then or instead ``calorimeter``.
        shower_model: of the step calorimeter: a shipped model of showers, the path of a card (.json) or of a library
            (.h5), the paths of a library's files, ``"geant4"``, or a
            :class:`~fastsim.sources.showers.ShowerSource`; by default the model that ships, ``copper-towers``. What is
            outside its limits goes to Geant4, if that is installed.
        geant4_data: folder of Geant4's data sets; else FASTSIM_GEANT4_DATA or Geant4's own variables name them.
        seed: with ``model``, the numbers of the events and ``num_inference_steps`` it decides the result.
        num_events: how many events at most.
        first_event: number of the first event, from 0.
        num_inference_steps, device: see :func:`load_model`.
        threads: chunks of events that are computed at a time; None for one a CPU, four at most. The result depends
            neither on it nor on the next two.
        workers: worker processes: to compute the chunks instead of threads; with the step ``calorimeter``, of Geant4
            where that makes showers, else to fill the cells instead of threads. 0 for threads (and one of Geant4).
        scheduler: address of a Dask cluster to compute them (``tcp://host:8786``); not where Geant4 makes showers.
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
    check_options(output, with_cells, shower_model=shower_model, data=geant4_data, latent=latent)
    if stages.HADRONS not in words:
        if model is not None or num_inference_steps is not None:
            raise FastsimError(f"a model of hadrons, or its steps, are given, but {','.join(words)} takes none")
        model = REFERENCE
    elif model is None:
        model = DEFAULT_MODEL
    plan = Plan(
        seed=seed,
        **part_range(input, part, first_event, num_events, with_cells),
        reads=_files(input, model, shower_model),
        threads=min(available_cpus(), 4) if threads is None else threads,
        workers=workers,
        scheduler=scheduler,
        keep=True,
        resume=resume,
        force=force,
        log=log,
        progress=progress,
    )
    with one_torch_thread():
        loaded = (
            model
            if isinstance(model, Model)
            else load_model(model, num_inference_steps=num_inference_steps, device=device)
        )
        fallback = load_model(REFERENCE)
        if not with_cells:
            return make_hadrons(input, output, loaded, fallback, plan, latent)
        with stages.depositing(shower_model, data=geant4_data, workers=max(1, workers)) as (deposit, told):
            told["steps"] = ",".join(words)
            hadrons = None if words == (stages.CALORIMETER,) else loaded
            return fill_cells(input, output, hadrons, fallback, deposit, told, plan)


def reference(
    input: Input,
    output: PathLike,
    *,
    full: bool = False,
    seed: int = 0,
    num_events: int | None = None,
    first_event: int = 0,
    workers: int = 0,
    scheduler: str | None = None,
    part: tuple[int, int] | None = None,
    resume: bool = False,
    force: bool = False,
    log: PathLike | None = None,
    progress: Progress | None = None,
) -> Summary:
    """The same as :func:`generate` with Pythia instead of a model.

    Args:
        full: ordinary Pythia on an LHE file (ISR, FSR, MPI) instead of the gun on each parton.
        workers: worker processes; the result does not depend on them.
        scheduler: address of a Dask cluster instead, not with ``full``.

    The other arguments, and what is raised, are those of :func:`generate`.
    """
    plan = Plan(
        seed=seed,
        **part_range(input, part, first_event, num_events, False),
        reads=_files(input),
        workers=workers,
        scheduler=scheduler,
        keep=True,
        resume=resume,
        force=force,
        log=log,
        progress=progress,
    )
    if full:
        if scheduler is not None:
            raise FastsimError("ordinary Pythia runs in processes of this machine: give workers, no scheduler")
        return make_full_events(input, output, plan)
    gun = load_model(REFERENCE)
    return make_hadrons(input, output, gun, gun, plan, False)


def reference_showers(
    output: PathLike,
    *,
    detector: str | os.PathLike[str],
    particle: str,
    energy: float | Sequence[float],
    num: int,
    theta: float = 0.0,
    phi: float = 0.0,
    seed: int = 0,
    num_events: int | None = None,
    first_event: int = 0,
    workers: int = 1,
    data: str | os.PathLike[str] | None = None,
    part: tuple[int, int] | None = None,
    resume: bool = False,
    force: bool = False,
    log: PathLike | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Calorimeter showers from Geant4, as a CaloChallenge HDF5 file with the binning as XML beside it.

    Args:
        output: path that ends in .h5.
        detector: a detector that ships (pb-si-ecal, copper, copper-towers), or the path of a .toml file.
        particle: e-, e+, gamma, pi+, pi-, K+, K-, K0L, p, pbar, n, nbar, mu- or mu+, as the detector allows.
        energy: kinetic energy in GeV, or the lowest and highest, log-uniform between.
        num: how many showers the whole has.
        theta, phi: direction in rad; theta = 0 is perpendicular to the layers.
        seed: of the run; a shower depends on it and its own number alone.
        num_events: how many of them to make at most.
        first_event: number of the first one to make, from 0.
        workers: worker processes; the result does not depend on them.
        data: folder of Geant4's data sets; else FASTSIM_GEANT4_DATA or Geant4's own variables name them.
        part, resume, force, log, progress: see :func:`generate`.

    Raises:
        FastsimError: if something given is wrong, or Geant4 is missing or stops.
    """
    from generators.reference.geant4_run import make_showers

    return make_showers(
        _shower_gun(detector, particle, energy, theta, phi, seed),
        output,
        num=num,
        first_event=first_event,
        num_events=num_events,
        part=part,
        workers=workers,
        data=data,
        resume=resume,
        force=force,
        log=log,
        progress=progress,
    )


def generate_showers(
    output: PathLike,
    *,
    detector: str | os.PathLike[str],
    particle: str,
    energy: float | Sequence[float],
    num: int,
    model: stages.ShowerModelName | ShowerSource | None = None,
    theta: float = 0.0,
    phi: float = 0.0,
    seed: int = 0,
    num_events: int | None = None,
    first_event: int = 0,
    threads: int | None = None,
    workers: int = 0,
    scheduler: str | None = None,
    part: tuple[int, int] | None = None,
    resume: bool = False,
    force: bool = False,
    log: PathLike | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Calorimeter showers from a model, in the files of :func:`reference_showers`.

    Of one seed, shower i has the same incident energy in both.

    Args:
        output: path that ends in .h5; the binning (.xml) is written beside it.
        model: a shipped model, the path of a card (.json) or library (.h5), the paths of a library's files, or any
            :class:`fastsim.sources.showers.ShowerSource`; default the model that ships for the detector.
        seed: with the model it decides the result.
        threads, workers, scheduler: who computes the chunks: see :func:`generate`.

    The other arguments are those of :func:`reference_showers`.

    Raises:
        OutOfDomain: if the model is not valid for this detector, particle, energy or direction.
        FastsimError: if something else given is wrong.
    """
    from fastsim.detector.detector import PARTICLES
    from generators.showers.produce import produce

    gun = _shower_gun(detector, particle, energy, theta, phi, seed)
    source, made = stages.shower_source(model, gun.detector.name, PARTICLES[particle][0])
    with one_torch_thread() if "version" in made else nullcontext():
        return produce(
            source,
            gun,
            output,
            num=num,
            provenance={f"model_{key}": value for key, value in made.items()},
            reads=_files(model),
            first_event=first_event,
            num_events=num_events,
            part=part,
            threads=min(available_cpus(), 4) if threads is None else threads,
            workers=workers,
            scheduler=scheduler,
            resume=resume,
            force=force,
            log=log,
            progress=progress,
        )


def _files(*given: object) -> tuple[PathLike, ...]:
    """The paths among what is given, and in lists of it, at which there is a file."""
    paths = [one for value in given for one in (value if isinstance(value, list | tuple) else [value])]
    return tuple(path for path in paths if isinstance(path, str | os.PathLike) and os.path.isfile(path))


def _shower_gun(
    detector: str | os.PathLike[str],
    particle: str,
    energy: float | Sequence[float],
    theta: float,
    phi: float,
    seed: int,
) -> ShowerGun:
    from fastsim.detector.detector import load_detector
    from fastsim.detector.shower_gun import ShowerGun

    low, high = energy if isinstance(energy, Sequence) else (energy, energy)
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
