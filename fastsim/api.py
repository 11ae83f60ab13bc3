"""The functions that users call: :func:`generate`, :func:`reference`, :func:`showers`, :func:`load_model`,
:func:`load_showers`, :func:`train`.

>>> import fastsim
>>> model = fastsim.load_model("pythia")
>>> partons = fastsim.Partons.from_pt_eta_phi([21, -2], [100.0, 50.0], [0.0, 1.0], [0.0, 2.0])
>>> len(model.sample(partons, rng=1))
2
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Unpack

from fastsim import registry, stages
from fastsim.detector.detector import PARTICLES, load_detector
from fastsim.detector.shower_gun import ShowerGun
from fastsim.errors import FastsimError
from fastsim.formats.atomic import PathLike
from fastsim.production.chunks import one_torch_thread
from fastsim.production.event_run import run_events
from fastsim.production.inputs import InputLike, open_input
from fastsim.production.options import RunKeywords, RunOptions
from fastsim.production.shower_run import run_showers
from fastsim.production.summary import ShowerSummary, Summary
from fastsim.registry import REFERENCE, ShowerModelName, load_model, load_showers, train
from fastsim.sources.cards import DEFAULT_MODEL
from fastsim.sources.hadrons import HadronSource
from fastsim.sources.record import FULL
from fastsim.sources.showers import ShowerSource

__all__ = [
    "RunOptions",
    "Summary",
    "generate",
    "generate_showers",
    "load_model",
    "load_showers",
    "reference",
    "reference_showers",
    "showers",
    "train",
]


def generate(
    input: InputLike,
    output: PathLike,
    *,
    model: PathLike | HadronSource | None = None,
    steps: Sequence[str] = (stages.HADRONS,),
    shower_model: ShowerModelName | ShowerSource | None = None,
    geant4_data: PathLike | None = None,
    num_inference_steps: int | None = None,
    device: str = "cpu",
    latent: bool = False,
    record: str = FULL,
    final_status: Sequence[int] = (1,),
    **options: Unpack[RunKeywords],
) -> Summary:
    """Turn the partons of an LHE file, or of a gun, into hadrons and write them.

    Undecayed t, W, Z, H and tau are decayed by Pythia first; partons outside the model's domain go to the Pythia gun;
    every hard system keeps its four-momentum. Of a gun, the hadrons of each parton are written as the model draws them.
    With the step ``calorimeter`` the hadrons go on into the copper calorimeter.

    During a run the folder OUTPUT.parts holds its finished chunks; OUTPUT.manifest.json, written at the end, lists what
    is in the output (docs/production.md).

    Args:
        input: path of an LHE file (plain or .gz), ``"-"`` for stdin, a binary stream, a
            :class:`~fastsim.event.gun.Gun`, or its text (``"flavour=u,g pt=20:2000 num=1000"``). For the step
            ``calorimeter`` alone: a HepMC file of any origin, or events that fastsim wrote as .h5 or .root.
        output: path; its ending names the format (.hepmc3 and .gz .bz2 .xz .zst of it, .h5, .root); ``"-"`` for
            HepMC3 on stdout.
        model: the source of hadrons for the step hadrons: a name or path as :func:`load_model` takes it, or any
            :class:`~fastsim.sources.hadrons.HadronSource`; default ``hadron-tree``.
        steps: ``hadrons`` (from ``model``) or ``pythia`` (from the reference), then or instead ``calorimeter``.
        shower_model: the source of showers for the step calorimeter: a name or path as :func:`load_showers` takes it,
            ``"geant4"``, or any :class:`~fastsim.sources.showers.ShowerSource`; default the model that ships,
            ``copper-towers``. Particles outside its limits go to Geant4, if that is installed.
        geant4_data: folder of Geant4's data sets; else FASTSIM_GEANT4_DATA or Geant4's own variables name them.
        num_inference_steps, device: see :func:`load_model`.
        latent: save the model's latent of each gun parton, as ``latent/NAME`` (gun and HDF5 only).
        record: ``"full"`` to write the decayed particles too, with the places of their decays, where the source of
            hadrons gives them; ``"final"`` for the final particles alone.
        final_status: status codes of the final particles of a HepMC input.
        options: seed, range, workers and the like: the attributes of
            :class:`~fastsim.production.options.RunOptions`. With the step ``calorimeter`` the workers are Geant4's
            where that makes showers.

    Returns:
        What was written: counts, weights, time.

    Raises:
        FastsimError: its subclasses say what is wrong with input, output or model.
    """
    run = RunOptions.of(options)
    words = stages.parse(steps)
    with_cells = stages.CALORIMETER in words
    _check_options(with_cells, shower_model=shower_model, data=geant4_data, latent=latent)
    if stages.HADRONS not in words:
        if model is not None or num_inference_steps is not None:
            raise FastsimError(f"a model of hadrons, or its steps, are given, but {','.join(words)} takes none")
        model = REFERENCE
    given = open_input(input, final_status=final_status)
    reads = _files(model, shower_model)
    with one_torch_thread():
        source = load_model(
            DEFAULT_MODEL if model is None else model, num_inference_steps=num_inference_steps, device=device
        )
        if not with_cells:
            chain = stages.hadron_stages(given, source, latent=latent, output=output, record=record)
            return run_events(given, output, chain.reading(reads), run)
        hadrons = None if words == (stages.CALORIMETER,) else source
        with stages.cell_stages(
            given, words, hadrons, shower_model, output=output, data=geant4_data, options=run, record=record
        ) as (chain, run):
            return run_events(given, output, chain.reading(reads), run)


def reference(
    input: InputLike, output: PathLike, *, full: bool = False, record: str = FULL, **options: Unpack[RunKeywords]
) -> Summary:
    """Turn the partons of an LHE file, or of a gun, into hadrons with Pythia, and write them.

    Each parton goes through the Pythia gun that the models learn from, and events are built as :func:`generate` builds
    them, so that two outputs differ in the source of hadrons alone.

    Args:
        input, output: see :func:`generate`.
        full: run ordinary Pythia on an LHE file (initial- and final-state radiation, multiparton interactions) instead
            of the gun on each parton.
        record: see :func:`generate`.
        options: the attributes of :class:`~fastsim.production.options.RunOptions`; no scheduler with ``full``.

    Returns:
        What was written: counts, weights, time.

    Raises:
        FastsimError: its subclasses say what is wrong with input or output.
    """
    run = RunOptions.of({"threads": 1, **options})
    given = open_input(input)
    if full:
        chain = stages.full_stages(given, run, record=record)
    else:
        chain = stages.hadron_stages(given, load_model(REFERENCE), record=record)
    return run_events(given, output, chain, run)


def showers(
    output: PathLike,
    *,
    detector: PathLike,
    particle: str,
    energy: float | Sequence[float],
    num: int,
    model: ShowerModelName | ShowerSource | None = None,
    theta: float = 0.0,
    phi: float = 0.0,
    geant4_data: PathLike | None = None,
    **options: Unpack[RunKeywords],
) -> ShowerSummary:
    """Write single calorimeter showers as a CaloChallenge HDF5 file, with the binning as XML beside it.

    With one seed, shower i has the same incident energy for every model and for Geant4.

    Args:
        output: path that ends in .h5; the binning (.xml) is written beside it.
        detector: a detector that ships (pb-si-ecal, copper, copper-towers), or the path of a .toml file.
        particle: e-, e+, gamma, pi+, pi-, K+, K-, K0L, p, pbar, n, nbar, mu- or mu+, as the detector allows.
        energy: kinetic energy in GeV, or the lowest and highest, log-uniform between.
        num: number of showers.
        model: a name or path as :func:`load_showers` takes it, ``"geant4"``, or any
            :class:`~fastsim.sources.showers.ShowerSource`; default the model that ships for the detector.
        theta, phi: direction in rad; theta = 0 is perpendicular to the layers.
        geant4_data: folder of Geant4's data sets; else FASTSIM_GEANT4_DATA or Geant4's own variables name them.
        options: the attributes of :class:`~fastsim.production.options.RunOptions`; ``first_event``, ``num_events`` and
            ``slice`` choose some of the ``num`` showers.

    Returns:
        What was written: showers, energies, time.

    Raises:
        OutOfDomain: if the model is not valid for this detector, particle, energy or direction.
        FastsimError: if something else given is wrong, or Geant4 is missing or stops.
    """
    run = RunOptions.of(options)
    low, high = (energy, energy) if isinstance(energy, int | float) else energy
    gun = ShowerGun(load_detector(detector), particle, (float(low), float(high)), theta, phi, run.seed)
    if model == registry.GEANT4:
        summary: ShowerSummary = registry.run_geant4(gun, output, num=num, options=run, data=geant4_data)
        return summary
    if geant4_data is not None:
        raise FastsimError("Geant4's data is given, but the model is not geant4")
    if model is None:
        model = registry.default_showers(gun.detector.name, PARTICLES[particle][0])
    source = load_showers(model)
    with nullcontext() if source.card is None else one_torch_thread():
        provenance = {f"model_{key}": value for key, value in source.provenance.items()}
        return run_showers(source, gun, output, num=num, options=run, provenance=provenance, reads=_files(model))


def generate_showers(output: PathLike, **arguments: Any) -> ShowerSummary:
    """Write single calorimeter showers of a model: the name of :func:`showers` in fastsim 0.1."""
    return showers(output, **arguments)


def reference_showers(output: PathLike, *, data: PathLike | None = None, **arguments: Any) -> ShowerSummary:
    """Write single calorimeter showers of Geant4: :func:`showers` with ``model="geant4"``, as fastsim 0.1 called it."""
    return showers(output, model=registry.GEANT4, geant4_data=data, **arguments)


def _check_options(with_cells: bool, *, shower_model: object, data: object, latent: bool) -> None:
    """Raise FastsimError for options that do not go with, or without, the step calorimeter."""
    if with_cells:
        if latent:
            raise FastsimError("the latent is saved for a gun's sets, not with the step calorimeter")
        return
    for name, value in (("a shower model", shower_model), ("Geant4's data", data)):
        if value is not None:
            raise FastsimError(f"{name} is given, but the steps do not end with calorimeter")


def _files(*given: object) -> tuple[PathLike, ...]:
    """Return the paths of existing files among some arguments, which may be paths, sources, or lists of either."""
    paths = [item for value in given for item in (value if isinstance(value, list | tuple) else [value])]
    return tuple(path for path in paths if isinstance(path, str | os.PathLike) and os.path.isfile(path))
