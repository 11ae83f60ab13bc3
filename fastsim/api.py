"""The functions that users call: :func:`generate`, :func:`reference`, :func:`showers`, :func:`load_model`,
:func:`load_showers`, :func:`hadron_pipeline`, :func:`read`, :func:`evaluate`, :func:`train`, :func:`reweight`,
:func:`tune`.

>>> import fastsim
>>> model = fastsim.load_model("pythia")
>>> partons = fastsim.Partons.from_pt_eta_phi([21, -2], [100.0, 50.0], [0.0, 1.0], [0.0, 2.0])
>>> len(model.sample(partons, rng=1))
2
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from fastsim import registry, stages
from fastsim.detector.detector import PARTICLES, load_detector
from fastsim.detector.shower_gun import ShowerGun
from fastsim.errors import FastsimError, InvalidEvent, InvalidValue
from fastsim.event import Floats, HardEvents, Partons, RunInfo
from fastsim.formats.atomic import AtomicPath, PathLike, split_ending
from fastsim.formats.whole import read
from fastsim.production.chunks import one_torch_thread
from fastsim.production.event_run import run_events
from fastsim.production.inputs import InputLike, open_input
from fastsim.production.options import RunKeywords, RunOptions
from fastsim.production.shower_run import run_showers
from fastsim.production.summary import ShowerSummary, Summary
from fastsim.registry import REFERENCE, ShowerModelName, load_model, load_showers, train
from fastsim.sources.cards import DEFAULT_MODEL
from fastsim.sources.collisions import HARD, Collisions
from fastsim.sources.hadrons import TAU0_MAX, HadronSource
from fastsim.sources.pipeline import Pipeline
from fastsim.sources.record import FULL
from fastsim.sources.showers import ShowerSource
from fastsim.startup import starting
from fastsim.tune_fits import tune
from fastsim.variations import reweight

if TYPE_CHECKING:
    from metrics.evaluation import Evaluation
    from metrics.levels import Judged

__all__ = [
    "RunOptions",
    "Summary",
    "evaluate",
    "generate",
    "generate_showers",
    "hadron_pipeline",
    "load_model",
    "load_showers",
    "log_prob",
    "read",
    "reference",
    "reference_showers",
    "reweight",
    "showers",
    "train",
    "tune",
]


def generate(
    input: InputLike,
    output: PathLike,
    *,
    model: PathLike | HadronSource | None = None,
    steps: Sequence[str] | str = (stages.HADRONS,),
    shower_model: ShowerModelName | ShowerSource | None = None,
    shower_fallback: str | None = None,
    geant4_data: PathLike | None = None,
    num_inference_steps: int | None = None,
    device: str = "cpu",
    tune: Any = None,
    latent: bool = False,
    record: str = FULL,
    tau0_max: float = TAU0_MAX,
    final_status: Sequence[int] = (1,),
    event: str | None = None,
    rest: PathLike | None = None,
    pileup: float = 0.0,
    pileup_events: PathLike | None = None,
    beam_spot: float = 35.0,
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
        steps: ``hadrons`` (from ``model``) or ``pythia`` (from the reference), then or instead ``calorimeter``; a list,
            or a text with commas. Steps of your own stand among them, as ``package.module:object`` or by the name of
            an entry point (:func:`fastsim.blocks.steps.load_step`), or alone on a file of events.
        shower_model: the source of showers for the step calorimeter: a name or path as :func:`load_showers` takes it,
            ``"geant4"``, or any :class:`~fastsim.sources.showers.ShowerSource`; default the model that ships,
            ``copper-towers``.
        shower_fallback: ``"geant4"`` or ``"none"``: what makes the showers of particles outside the model's limits;
            with ``"none"`` they leave no energy and are counted. By default Geant4 if ``geant4_data`` is given.
        geant4_data: folder of Geant4's data sets; else FASTSIM_GEANT4_DATA or Geant4's own variables name them.
        num_inference_steps, device, tune: see :func:`load_model`.
        latent: save the model's latent of each gun parton, as ``latent/NAME`` (gun and HDF5 only).
        record: ``"full"`` to write the decayed particles too, with the places of their decays, where the source of
            hadrons gives them; ``"final"`` for the final particles alone.
        tau0_max: particles with a mean proper lifetime times c above this, in mm, are stable. At 10 these are K0S and
            hyperons, which decay at 1000; below 0.1 charm and bottom hadrons stay. Models that make final particles
            take the default only.
        final_status: status codes of the final particles of a HepMC input.
        event: ``"full"`` for whole collisions of hadron beams, with initial-state radiation, multiparton interactions
            and beam remnants; ``"hard"`` for the hadrons of the hard partons alone. By default events of proton,
            neutron and antiproton beams are whole, those of other beams, of files without beams and of guns hard.
        rest: the source of what whole collisions have besides: the path of a library that ``fastsim library rests``
            made, or one that is open (:class:`generators.rests.library.RestLibrary`), or ``"pythia"``, which makes one
            for each event. By default events draw from a library that is made
            for their file once on this machine; in files of fewer than 512 events, and where the library has none like
            it, Pythia makes each one.
        pileup: mean of the Poisson number of minimum-bias collisions to add to each event.
        pileup_events: file to draw them from, HepMC of any origin, .h5 or .root; by default Pythia's, made once.
        beam_spot: standard deviation of their places along the beam in mm, and of ct; the event's own is one of them.
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
    _check_options(with_cells, shower_model=shower_model, fallback=shower_fallback, data=geant4_data, latent=latent)
    base = stages.chain_of(words)
    if stages.HADRONS not in words:
        if model is not None or num_inference_steps is not None or (tune is not None and stages.PYTHIA not in words):
            raise FastsimError(f"a model of hadrons, its steps or a tune are given, but {','.join(words)} takes none")
        model = REFERENCE
    given = open_input(input, final_status=final_status)
    _refuse_output(output, run)
    collisions = Collisions(event, rest, pileup, pileup_events, beam_spot)
    partons = stages.HADRONS in words or stages.PYTHIA in words
    if event != HARD:
        if run.slice is not None and not given.rereadable:
            given.count()  # which a stream refuses, before its beams are waited for
        beams = given.beams() if partons else None
        collisions = collisions.of_beams(RunInfo((0, 0)) if beams is None else beams)
    if collisions.any and not partons:
        raise FastsimError("whole collisions and pile-up need partons: use them with the step hadrons or pythia")
    reads = _files(model, shower_model, rest, pileup_events)
    with ExitStack() as stack:
        with starting():
            stack.enter_context(one_torch_thread())
            own = stages.own_steps(words)
            if not base:
                return run_events(given, output, stages.own_stages(given, words, own, record=record), run)
            source = registry.load_for_run(
                DEFAULT_MODEL if model is None else model,
                num_inference_steps=num_inference_steps,
                device=device,
                tune=tune,
            ).with_tau0_max(tau0_max)
        if not with_cells:
            chain = stages.hadron_stages(
                given,
                source,
                latent=latent,
                output=output,
                record=record,
                collisions=collisions,
                own=own,
                options=run,
            )
            return run_events(given, output, chain.reading(reads), run)
        hadrons = None if base == (stages.CALORIMETER,) else source
        cells = stages.cell_stages(
            given,
            words,
            hadrons,
            shower_model,
            output=output,
            data=geant4_data,
            options=run,
            fallback=shower_fallback,
            record=record,
            collisions=collisions,
            own=own,
        )
        with cells as (chain, run):
            return run_events(given, output, chain.reading(reads), run)


def reference(
    input: InputLike,
    output: PathLike,
    *,
    full: bool = False,
    pythia_settings: Sequence[str] = (),
    tune: Any = None,
    record: str = FULL,
    tau0_max: float = TAU0_MAX,
    **options: Unpack[RunKeywords],
) -> Summary:
    """Turn the partons of an LHE file, or of a gun, into hadrons with Pythia, and write them.

    Each parton goes through the Pythia gun that the models learn from, and events are built as :func:`generate` builds
    them, so that two outputs differ in the source of hadrons alone.

    Args:
        input, output: see :func:`generate`.
        full: run ordinary Pythia on an LHE file (initial- and final-state radiation, multiparton interactions) instead
            of the gun on each parton.
        pythia_settings: further settings of Pythia with ``full``, one line each: another tune, or those that have it
            merge samples of several multiplicities (CKKW-L, MLM; docs/physics.md).
        tune: values of Pythia's parameters, of the gun too: see :func:`load_model`.
        record, tau0_max: see :func:`generate`.
        options: the attributes of :class:`~fastsim.production.options.RunOptions`; no scheduler with ``full``.

    Returns:
        What was written: counts, weights, time.

    Raises:
        FastsimError: its subclasses say what is wrong with input or output.
    """
    run = RunOptions.of({"threads": 1, **options})
    given = open_input(input)
    if pythia_settings and not full:
        raise FastsimError("pythia_settings go with full=True: the gun's are those that the models learned from")
    _refuse_output(output, run)
    chain = (
        stages.full_stages(
            given, run, (*registry.tune_settings(tune), *pythia_settings), record=record, tau0_max=tau0_max
        )
        if full
        else stages.hadron_stages(given, load_model(REFERENCE, tune=tune).with_tau0_max(tau0_max), record=record)
    )
    return run_events(given, output, chain, run)


def showers(
    output: PathLike,
    *,
    detector: PathLike,
    particle: str,
    energy: float | Sequence[float],
    num: int | None = None,
    model: ShowerModelName | ShowerSource | None = None,
    theta: float | Sequence[float] = 0.0,
    phi: float | Sequence[float] = 0.0,
    geant4_data: PathLike | None = None,
    latent: bool = False,
    num_inference_steps: int | None = None,
    **options: Unpack[RunKeywords],
) -> ShowerSummary:
    """Write single calorimeter showers as a CaloChallenge HDF5 file, with the binning as XML beside it.

    With one seed, shower i has the same incident energy for every model and for Geant4.

    Args:
        output: path that ends in .h5; the binning (.xml) is written beside it.
        detector: a detector that ships (pb-si-ecal, copper, copper-towers), or the path of a .toml file.
        particle: e-, e+, gamma, pi+, pi-, K+, K-, K0L, p, pbar, n, nbar, mu- or mu+, as the detector allows.
        energy: kinetic energy in GeV, or the lowest and highest, log-uniform between.
        num: number of showers in all, of which ``first_event``, ``num_events`` and ``slice`` choose some; by default as
            many as ``num_events`` asks for.
        model: a name or path as :func:`load_showers` takes it, ``"geant4"``, or any
            :class:`~fastsim.sources.showers.ShowerSource`; default the model that ships for the detector.
        theta, phi: direction in rad, or the lowest and highest, uniform between; theta = 0 is perpendicular to the
            layers. Voxels lie about the line of flight: ``fastsim.detector.flight``.
        geant4_data: folder of Geant4's data sets; else FASTSIM_GEANT4_DATA or Geant4's own variables name them.
        latent: write what the model drew each shower from, too: the data set ``latent``, whose attribute ``columns``
            names its columns.
        num_inference_steps: network evaluations of a diffusion model; by default as many as its card says.
        options: the attributes of :class:`~fastsim.production.options.RunOptions`.

    Returns:
        What was written: showers, energies, time.

    Raises:
        OutOfDomain: if the model is not valid for this detector, particle, energy or direction.
        FastsimError: if something else given is wrong, or Geant4 is missing or stops.
    """
    run = RunOptions.of(options)
    if num is None:
        if run.num_events is None:
            raise FastsimError("how many showers? give num_events")
        num = run.first_event + run.num_events
    gun = ShowerGun(load_detector(detector), particle, _range(energy), _range(theta), _range(phi), run.seed)
    if model == registry.GEANT4:
        if latent:
            raise FastsimError("Geant4 has no latent: ask a model for it")
        if num_inference_steps is not None:
            raise FastsimError("Geant4 takes no --num-inference-steps: only diffusion models do")
        summary: ShowerSummary = registry.run_geant4(gun, output, num=num, options=run, data=geant4_data)
        return summary
    if geant4_data is not None:
        raise FastsimError("Geant4's data is given, but the model is not geant4")
    if model is None:
        model = registry.default_showers(gun.detector.name, PARTICLES[particle][0])
    with ExitStack() as stack:
        with starting():
            source = load_showers(model, num_inference_steps=num_inference_steps)
            stack.enter_context(nullcontext() if source.card is None else one_torch_thread())
        provenance = {f"model_{key}": value for key, value in source.provenance.items()}
        return run_showers(
            source, gun, output, num=num, options=run, provenance=provenance, reads=_files(model), latent=latent
        )


def _range(value: float | Sequence[float]) -> tuple[float, float]:
    """Return the lowest and the highest of one number or two."""
    low, high = (value, value) if isinstance(value, int | float) else value
    return float(low), float(high)


def export(
    model: PathLike | ShowerSource,
    output: PathLike,
    *,
    num: int = 20_000,
    num_inference_steps: int | None = None,
    seed: int = 1,
) -> list[Path]:
    """Write a diffusion model of showers, kind shower-flow, as ONNX for simulations in C++ or any other language.

    Args:
        model: a name or path as :func:`load_showers` takes it, or the source itself.
        output: a folder, which is made.
        num: showers a particle whose latents and energies of layers are drawn beforehand, for the table of the export.
        num_inference_steps: network evaluations of a shower; by default as many as the card says.
        seed: of the table.

    Returns:
        The files: the networks, the table, and ``model.json``, which says what a host has to know.

    Raises:
        MissingLibrary: if onnx or onnxscript is missing.
        FastsimError: if the model is of another kind, ``num`` is too small, or the folder holds an export.
    """
    source = load_showers(model, num_inference_steps=num_inference_steps)
    return registry.export_showers(source, Path(output), num=num, seed=seed)


def hadron_pipeline(model: PathLike | HadronSource = DEFAULT_MODEL) -> Pipeline:
    """Return the pipeline from undecayed partons to hadrons that :func:`generate` runs, for events in memory.

    Its steps are ``decay-resonances``, Pythia's decays of t, W, Z, H and tau, and ``hadronize``, which takes the
    hadrons from the model, or from Pythia for partons outside the model's limits, and keeps every hard system's
    four-momentum. Steps of your own go before or after it: ``Pipeline([fastsim.hadron_pipeline(), MyStep()])``.

    Args:
        model: a name or path as :func:`load_model` takes it, or any :class:`~fastsim.sources.hadrons.HadronSource`.

    >>> import fastsim
    >>> from fastsim.shipped import data_folder
    >>> partons = fastsim.read(data_folder() / "examples" / "pp_dijet.lhe.gz", num_events=2)
    >>> pipeline = hadron_pipeline("pythia")
    >>> pipeline
    <Pipeline: decay-resonances, decay-unstable, hadronize:pythia, displace>
    >>> events = pipeline.step(partons, rng=1)
    >>> len(events), (events.particles.counts > 10).all().item()
    (2, True)
    """
    return Pipeline(registry.hadron_steps(load_model(model)))


def log_prob(
    events: PathLike | HardEvents,
    model: PathLike | HadronSource = DEFAULT_MODEL,
    *,
    partons: Partons | None = None,
) -> Floats:
    """Compute the log-density that a model gives the hadrons of each event, shape (E,).

    It is the density of the primary hadrons, those that fragmentation makes, given their parton: the record must keep
    them, with what they decay into. Decays do not enter. Which hadron carries the parton's quark no record says; it is
    summed over. The measure is prod d^3p / 2E in GeV^2 for each primary hadron.

    Args:
        events: the path of a HepMC, HDF5 or ROOT file, or events in memory, with the history of their particles.
        model: a model that has a likelihood.
        partons: the parton of each event, (E,); the hadrons of its hemisphere, p . nT > 0, then are those meant. By
            default the events are sets of a gun, and have one parton each.

    Raises:
        InvalidEvent: if the record lacks what is needed.
        OutOfDomain: if a parton is outside the model's domain.
        FastsimError: if the file cannot be read, or the model has no likelihood.

    >>> events = HardEvents.of_partons(Partons.from_pt_eta_phi([2], [50.0], [0.0], [0.0]))
    >>> log_prob(events)
    Traceback (most recent call last):
    fastsim.errors.InvalidEvent: the events have no particles: generate hadrons first
    """
    name = "the events" if isinstance(events, HardEvents) else os.fspath(events)
    found = events if isinstance(events, HardEvents) else read(events, history=True)
    if not isinstance(found, HardEvents) or found.particles is None:
        raise InvalidEvent(f"{name} have no particles: generate hadrons first")
    whole_events = partons is not None
    if partons is None:
        outgoing = np.flatnonzero(found.status == 1)
        num = np.bincount(found.index[outgoing], minlength=len(found))
        if len(found) and (num != 1).any():
            row = int(np.argmax(num != 1))
            raise InvalidEvent(
                f"{name}: event {found.number[row]} has {num[row]} partons in its record; say which one is meant "
                "(partons=)"
            )
        scale = np.where(found.scale > 0, found.scale, np.inf)
        partons = Partons(found.pdg_id[outgoing], found.p4[outgoing], scale)
    if len(partons) != len(found):
        raise InvalidValue(f"{len(partons)} partons for {len(found)} events of {name}")
    source = load_model(model)
    try:
        return source.log_likelihood(partons, found.particles, numbers=found.number, whole_events=whole_events)
    except InvalidEvent as error:
        raise InvalidEvent(f"{name}: {error}") from None


def evaluate(
    real: Any,
    generated: Any,
    *,
    null: Any = None,
    report: PathLike | None = None,
    max_events: int | None = None,
    radius: float = 0.4,
    pt_min: float = 20.0,
    binning: PathLike | None = None,
    threshold: float | None = None,
    judged: Judged | None = None,
    **options: Any,
) -> Evaluation:
    """Compare generated samples with a real one: files, events in memory, arrays; as ``fastsim evaluate`` does.

    Args:
        real: the real sample: the path of a file (:func:`metrics.load` says which), events, features (N, D), or a
            :class:`~metrics.sample.Sample`.
        generated: the sample to judge, or several: a list of paths, or samples by name.
        null: a second, independent real sample, which then gives every null in place of permutations.
        report: folder in which to write a page with pictures, ``index.html``.
        max_events, radius, pt_min, binning, threshold: how files are read, as in :class:`metrics.files.Reading`.
        judged: what of event files is judged: "hadrons", "cells" or "both"; None for the hadrons, and the cells of the
            calorimeter too if all samples are files that have them.
        options: metrics, bins, protocol, seed, workers, progress of :func:`metrics.evaluate`.

    Returns:
        The results; ``print(evaluation)`` shows them as a table.

    Raises:
        FastsimError: if a file cannot be read, or samples do not fit each other.

    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> evaluation = evaluate(rng.normal(size=(300, 2)), {"shifted": rng.normal(1.0, size=(300, 2))}, metrics="w1")
    >>> evaluation.results["shifted"]["w1 column 0"].sigmas > 5
    True
    """
    from metrics.files import Reading, sample_names
    from metrics.inputs import as_sample
    from metrics.levels import Level, evaluate_levels, load_level, plan
    from metrics.sample import Sample

    reading = Reading(
        max_events, radius, pt_min, binning=None if binning is None else Path(binning), threshold=threshold
    )

    def sample(given: Any, name: str, level: Level) -> Sample:
        return load_level(os.fspath(given), level, reading) if is_path(given) else as_sample(given, name)

    def is_path(given: Any) -> bool:
        return isinstance(given, str | os.PathLike)

    if isinstance(generated, str | os.PathLike):
        generated = [generated]
    paths = isinstance(generated, list | tuple) and all(isinstance(path, str | os.PathLike) for path in generated)
    named = generated if isinstance(generated, Mapping) else {"generated": generated}
    real_name = "real" if not isinstance(real, str | os.PathLike) or Path(real).name in named else Path(real).name
    if paths:
        files = [os.fspath(path) for path in generated]
        if isinstance(real, str | os.PathLike):
            names = sample_names([os.fspath(real), *files], refuse_equal=True)
            real_name = names[os.fspath(real)]
        else:
            names = sample_names(files, refuse_equal=True)
        named = {names[path]: path for path in files}
    given = {real_name: real, **{str(name): value for name, value in named.items()}}
    every = [*given.values(), *([] if null is None else [null])]
    files_alone = all(is_path(value) for value in every)
    if judged in ("cells", "both") and not files_alone:
        raise InvalidValue(f"judged={judged!r}: cells are judged of files; give metrics.cells samples, or paths")
    levels = plan([os.fspath(value) for value in every], judged).levels if files_alone else ("hadrons",)
    samples = {level: {name: sample(value, name, level) for name, value in given.items()} for level in levels}
    nulls = {} if null is None else {level: sample(null, "null", level) for level in levels}
    evaluation, tests = evaluate_levels(samples, real_name, nulls=nulls, **options)
    if report is not None:
        from metrics.report.html import write

        first, *others = samples.values()
        write(report, evaluation, first, tests, cells=others[0] if others else None)
    return evaluation


def generate_showers(output: PathLike, **arguments: Any) -> ShowerSummary:
    """Write single calorimeter showers of a model: the name of :func:`showers` in fastsim 0.1."""
    return showers(output, **arguments)


def reference_showers(output: PathLike, *, data: PathLike | None = None, **arguments: Any) -> ShowerSummary:
    """Write single calorimeter showers of Geant4: :func:`showers` with ``model="geant4"``, as fastsim 0.1 called it."""
    return showers(output, model=registry.GEANT4, geant4_data=data, **arguments)


def _check_options(with_cells: bool, *, shower_model: object, fallback: object, data: object, latent: bool) -> None:
    """Raise FastsimError for options that do not go with, or without, the step calorimeter."""
    if with_cells:
        if latent:
            raise FastsimError("the latent is saved for a gun's sets, not with the step calorimeter")
        return
    for name, value in (("a shower model", shower_model), ("a shower fallback", fallback), ("Geant4's data", data)):
        if value is not None:
            raise FastsimError(f"{name} is given, but the steps do not end with calorimeter")


def _refuse_output(output: PathLike, options: RunOptions) -> None:
    """Raise OutputError, before anything is loaded, for an output of unknown ending, or one that exists.

    A run with a log refuses what exists itself, and says so in the log.
    """
    if os.fspath(output) != "-":
        split_ending(output)
        if not (options.force or options.resume or options.log):
            AtomicPath(output, force=False).discard()


def _files(*given: object) -> tuple[PathLike, ...]:
    """Return the paths of existing files among some arguments, which may be paths, sources, or lists of either."""
    paths = [item for value in given for item in (value if isinstance(value, list | tuple) else [value])]
    return tuple(path for path in paths if isinstance(path, str | os.PathLike) and os.path.isfile(path))
