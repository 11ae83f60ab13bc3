"""The chains of Steps that the names given to ``--steps`` stand for, with the sources that the Steps use."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastsim import registry
from fastsim.blocks.steps import identity, is_own, load_step
from fastsim.collisions import collision_steps
from fastsim.detector.detector import Detector, load_detector
from fastsim.detector.towers import towers_of
from fastsim.errors import FastsimError, InvalidEvent, PipelineError, WeightsError
from fastsim.event import HardEvents, RunInfo
from fastsim.formats import lhe
from fastsim.formats.atomic import HDF5_ENDINGS, ROOT_ENDINGS, PathLike
from fastsim.production.event_run import COUNTED_BYTES, Stages
from fastsim.production.inputs import EventFileInput, GunInput, Input, LheInput, StepOfRun
from fastsim.production.manifest import versions
from fastsim.production.options import RunOptions
from fastsim.registry import GEANT4, REFERENCE, ShowerModelName
from fastsim.shipped import sha256_of
from fastsim.sources.collisions import HARD, WHOLE, Collisions
from fastsim.sources.hadrons import TAU0_MAX, HadronSource
from fastsim.sources.pipeline import Pipeline, Step
from fastsim.sources.record import FINAL, FULL, FinalParticles, check_record
from fastsim.sources.showers import ShowerSource

HADRONS, PYTHIA, CALORIMETER = "hadrons", "pythia", "calorimeter"
CHAINS = ((HADRONS,), (PYTHIA,), (HADRONS, CALORIMETER), (PYTHIA, CALORIMETER), (CALORIMETER,))
"""The chains that can be run: hadrons from a model or from Pythia, and then or instead their deposits."""

DETECTOR = "copper-towers"
"""The calorimeter of the step calorimeter, for which a model ships."""
FINE_DETECTOR = "copper"
"""The same calorimeter in finer voxels, for Geant4."""
HARD_ONLY = Collisions(HARD)
"""The hadrons of the hard partons alone."""
LONGEST = 1000.0
"""Largest limit of lifetimes times c in mm of whole collisions, whose charge is balanced with pions and kaons."""
NONE = "none"
FALLBACKS = (NONE, GEANT4)
"""What may make the showers of particles outside a model's limits."""
PION = 211
"""PDG id of the particle that the default model of showers has to be valid for."""


@dataclass(frozen=True)
class OwnSteps:
    """The Steps of a user among those of a chain, by where they stand.

    Attributes:
        before: the hadrons are made.
        between: the hadrons and what follows them.
        after: the cells.
        settings: names and versions of them all, which decide the content of an output; empty if there are none.
    """

    before: tuple[Step, ...] = ()
    between: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


NO_STEPS = OwnSteps()


def parse(steps: Sequence[str] | str) -> tuple[str, ...]:
    """Return the names of the steps, given in a list or in a text with commas between them.

    Steps of a user, ``package.module:object`` or an entry point of the group ``fastsim.steps``, may stand anywhere in a
    chain, or alone.

    Raises:
        PipelineError: if they do not make a chain.
    """
    words = tuple(word.strip() for word in steps.split(",")) if isinstance(steps, str) else tuple(steps)
    if not words or (chain_of(words) or CHAINS[0]) not in CHAINS:
        chains = ", ".join(",".join(chain) for chain in CHAINS)
        raise PipelineError(
            f"steps {','.join(map(str, words))!r} are none of {chains}; steps of your own, package.module:object, may "
            "stand among them"
        )
    return words


def chain_of(words: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the steps that are not a user's own.

    >>> chain_of(("hadrons", "mypackage:smear", "calorimeter"))
    ('hadrons', 'calorimeter')
    """
    return tuple(word for word in words if not (isinstance(word, str) and is_own(word)))


def own_steps(words: Sequence[str]) -> OwnSteps:
    """Load the Steps of a user that a chain names.

    Raises:
        PipelineError: if one cannot be loaded.
    """
    own = {word: load_step(word) for word in words if is_own(word)}
    if not own:
        return NO_STEPS
    hadrons = next((place for place, word in enumerate(words) if word in (HADRONS, PYTHIA)), -1)
    cells = words.index(CALORIMETER) if CALORIMETER in words else len(words)
    places = [(place, own[word]) for place, word in enumerate(words) if word in own]
    return OwnSteps(
        before=tuple(step for place, step in places if place < hadrons),
        between=tuple(step for place, step in places if hadrons < place < cells),
        after=tuple(step for place, step in places if place > cells),
        settings={"steps": ",".join(words), "own_steps": {word: identity(word) for word in own}},
    )


def own_stages(given: Input, words: Sequence[str], own: OwnSteps, *, record: str = FULL) -> Stages:
    """Return the stages of a user's Steps alone, on events with hadrons from a file.

    Raises:
        FastsimError: if the input has no hadrons.
    """
    check_record(record)
    if not isinstance(given, EventFileInput):
        name = given.source if isinstance(given, LheInput) else given
        raise FastsimError(f"{name}: {','.join(words)} alone takes events with hadrons from a file; put hadrons before")
    steps = Pipeline([*_record_steps(record), *own.between], given=given.carries, name="own steps")
    return Stages(
        source=", ".join(step.name for step in own.between),
        step=None,
        blocks=steps,
        provenance={"steps": ",".join(words)},
        settings={"record": record, **own.settings},
    )


def hadron_stages(
    given: Input,
    source: HadronSource,
    *,
    latent: bool = False,
    output: PathLike = "",
    record: str = FULL,
    collisions: Collisions = HARD_ONLY,
    own: OwnSteps = NO_STEPS,
    options: RunOptions | None = None,
) -> Stages:
    """Return the stages from partons to hadrons.

    Args:
        given: the input; the hadrons of a gun's partons are not reconstructed to events.
        source: the source of hadrons.
        latent: save the latent from which the source draws the hadrons of each gun parton.
        output: path of the output, for the message.
        record: ``"full"`` keeps what decayed into the final particles, where the source gives it, ``"final"`` drops it.
        collisions: what the events are to hold besides the hadrons of the hard partons.
        own: Steps of the user before and after the hadrons.
        options: options of the run, for a library of rests that the machine does not have yet.

    Raises:
        FastsimError: if a latent is asked for and the source has none, or the output cannot hold it.
    """
    check_record(record)
    _refuse(given, source, collisions)
    if isinstance(given, GunInput):
        if latent and not os.fspath(output).lower().endswith(HDF5_ENDINGS):
            raise FastsimError("the latent is saved for a gun's sets in HDF5: give a gun and an output ending in .h5")
        steps = [registry.gun_step(source, with_latent=latent)]
        if own.between:
            own = replace(own, between=(*own.between, _SetsOnly()))
        settings: dict[str, Any] = {"latent": latent}
    else:
        if latent:
            raise FastsimError("the latent is saved for a gun's sets in HDF5: give a gun and an output ending in .h5")
        steps, settings = registry.hadron_steps(source, whole_collisions=collisions.event == WHOLE), {}
    provenance = _hadron_provenance(source)
    if latent and source.latent_columns:
        provenance["latent_columns"] = json.dumps(source.latent_columns)
    if own.settings:
        provenance["steps"] = str(own.settings["steps"])
    last = [*_record_steps(record), *own.between]
    return Stages(
        source=source.name,
        step=None if collisions.any else Pipeline([*own.before, *steps, *last]),
        provenance={**provenance, **_collision_provenance(collisions)},
        settings={
            **settings,
            "record": record,
            "tau0_max": source.tau0_max,
            **_collision_settings(collisions),
            **own.settings,
        },
        of_run=(
            _with_collisions(given, source, [*own.before, *steps], collisions, last, options or RunOptions())
            if collisions.any
            else None
        ),
    )


def full_stages(
    given: Input,
    options: RunOptions,
    settings: Sequence[str] = (),
    *,
    record: str = FULL,
    tau0_max: float = TAU0_MAX,
) -> Stages:
    """Return the stages of ordinary Pythia on an LHE file, with initial-state radiation and multiparton interactions.

    Args:
        given: the input.
        options: the options of the run.
        settings: further lines for Pythia, such as ``"Tune:pp = 21"``.
        record: ``"full"`` or ``"final"``; see :func:`hadron_stages`.
        tau0_max: mean proper lifetime times c in mm beyond which particles are stable.

    Raises:
        FastsimError: if the input is no LHE file, the options name a cluster, or the limit is no length.
    """
    check_record(record)
    if not tau0_max >= 0:
        raise FastsimError(f"tau0_max is {tau0_max}: give a length in mm that is not negative")
    if tau0_max != TAU0_MAX:
        settings = (f"ParticleDecays:tau0Max = {tau0_max:f}", *settings)
    if not isinstance(given, LheInput):
        raise FastsimError("full=True runs Pythia on an LHE file, not on a gun")
    if options.scheduler is not None:
        raise FastsimError("ordinary Pythia runs in processes of this machine: give workers, no scheduler")

    provenance = {"model": "pythia-full", "settings": "; ".join(("Monash, ISR, FSR, MPI", *settings))}
    return Stages(
        source="pythia-full",
        step=None,
        provenance=provenance,
        settings={"record": record, "tau0_max": tau0_max},
        of_run=lambda run: registry.full_pythia(run, options.seed, settings, history=record == FULL),
    )


@contextmanager
def cell_stages(
    given: Input,
    steps: Sequence[str],
    source: HadronSource | None,
    showers: ShowerModelName | ShowerSource | None,
    *,
    output: PathLike,
    data: PathLike | None,
    options: RunOptions,
    fallback: str | None = None,
    record: str = FULL,
    collisions: Collisions = HARD_ONLY,
    own: OwnSteps = NO_STEPS,
) -> Iterator[tuple[Stages, RunOptions]]:
    """Give the stages to the cells of a calorimeter, and the options to run them with; end Geant4's workers after it.

    Particles outside the shower model's limits go to the fallback, or are dropped and counted.

    Args:
        given: the input.
        steps: the names of the chain.
        source: the source of hadrons; None if the input has hadrons.
        showers: a shipped model of showers, the path of a card (.json) or of a library (.h5), the paths of a library's
            files, ``"geant4"``, or a source; by default the model that ships for the detector.
        output: path of the output.
        data: folder of Geant4's data sets.
        options: options of the run.
        fallback: :data:`GEANT4` or :data:`NONE`; by default Geant4 where its data is given here. What the environment
            has does not decide: the same arguments make the same cells everywhere, or say what is missing.
        record: ``"full"`` or ``"final"``; see :func:`hadron_stages`.
        collisions: see :func:`hadron_stages`.
        own: Steps of the user before and after the hadrons, and after the cells.

    Raises:
        FastsimError: if there is no such model, Geant4 is asked for and not installed, or the options name a cluster
            and Geant4 makes showers.
    """
    check_record(record)
    if not os.fspath(output).lower().endswith((*HDF5_ENDINGS, *ROOT_ENDINGS)):
        raise FastsimError(f"{os.fspath(output)}: cells are written as HDF5 (.h5) or ROOT (.root); give such a name")
    if source is None and not isinstance(given, EventFileInput):
        name = given.source if isinstance(given, LheInput) else given
        raise FastsimError(
            f"{name}: the step calorimeter alone takes events with hadrons from a file whose ending names its "
            "format: HepMC .hepmc3 or .hepmc (also .gz .bz2 .xz .zst of them), HDF5 .h5, ROOT .root"
        )
    _refuse(given, source, collisions)
    step: Step | None = None
    of_run: StepOfRun | None = None
    if source is not None and collisions.any:
        hadron_steps = registry.hadron_steps(source, whole_collisions=collisions.event == WHOLE)
        of_run = _with_collisions(given, source, [*own.before, *hadron_steps], collisions, [], options)
    elif source is not None:
        sets = isinstance(given, GunInput)
        hadron_steps = [registry.gun_step(source)] if sets else registry.hadron_steps(source)
        step = Pipeline([*own.before, *hadron_steps])
    wanted = fallback or (NONE if data is None else GEANT4)
    if wanted not in FALLBACKS:
        raise FastsimError(f"shower_fallback={wanted!r}: must be one of {', '.join(FALLBACKS)}")
    with _showers(showers, data, max(1, options.workers), wanted == GEANT4) as (main, other):
        towers = towers_of(_detector_of(main))
        deposit = registry.deposit_step(main, other, towers)
        blocks = Pipeline([*_record_steps(record), *own.between, deposit, *own.after], given=deposit.requires)
        own_processes = main.owns_processes or (other is not None and other.owns_processes)
        provenance = {
            **({} if source is None else _hadron_provenance(source)),
            "shower_model": main.name,
            "shower_fallback": NONE if other is None else other.name,
            "calorimeter": towers.to_json(),
            **{f"shower_model_{key}": value for key, value in main.provenance.items()},
            "steps": ",".join(steps),
            **_collision_provenance(collisions),
        }
        kept = {"record": record} if source is None else {"record": record, "tau0_max": source.tau0_max}
        yield (
            Stages(
                source=main.name if source is None else f"{source.name}, {main.name}",
                step=step,
                blocks=blocks,
                provenance=provenance,
                settings={
                    **kept,
                    **({"versions": versions("geant4-pybind")} if own_processes else {}),
                    **_collision_settings(collisions),
                    **own.settings,
                },
                per_event_seeds=own_processes,
                of_run=of_run,
            ),
            _with_geant4_workers(options, main, other),
        )


@contextmanager
def _showers(
    model: ShowerModelName | ShowerSource | None, data: PathLike | None, workers: int, with_fallback: bool
) -> Iterator[tuple[ShowerSource, ShowerSource | None]]:
    """Give the source of showers, and Geant4 for particles outside its domain, if that is wanted."""
    source = None if model == GEANT4 else _shower_source(model)
    reference: ShowerSource | None = None
    if source is None or with_fallback:
        detector = load_detector(FINE_DETECTOR) if source is None else _detector_of(source)
        reference = registry.geant4_showers(detector, data=data, workers=workers)
    with nullcontext() if reference is None else closing(reference):
        if source is None:
            assert reference is not None
            yield reference, None
        else:
            yield source, reference


def _detector_of(source: ShowerSource) -> Detector:
    """Return the detector of a source's showers: its own, or the one that ships under that name."""
    return source.geometry or load_detector(source.detector)


def _shower_source(model: ShowerModelName | ShowerSource | None) -> ShowerSource:
    """Load the source of showers; for None, the model that ships for :data:`DETECTOR`."""
    try:
        return registry.load_showers(registry.default_showers(DETECTOR, PION) if model is None else model)
    except WeightsError as error:
        if model is not None:
            raise
        raise WeightsError(
            f"no shower model ships for {DETECTOR}: give --shower-model {GEANT4}, or the path of a card (.json) "
            "or of a library (.h5) that fastsim showers --model geant4 made"
        ) from error


def _with_geant4_workers(options: RunOptions, main: ShowerSource, fallback: ShowerSource | None) -> RunOptions:
    """Return the options for filling cells: if Geant4 makes showers, worker processes are left to it alone.

    If it makes all showers, one block of events at a time keeps its workers busy.

    Raises:
        FastsimError: if Geant4 makes showers and the options name a cluster.
    """
    if not (main.owns_processes or (fallback is not None and fallback.owns_processes)):
        return options
    if options.scheduler:
        which = "all showers" if fallback is None else f"those outside the limits of {main.name}"
        raise FastsimError(
            f"Geant4 makes {which}, in processes of this machine, not of a cluster: give --workers instead of "
            "--scheduler, or --shower-fallback none"
        )
    return options.replace(workers=0, threads=1) if main.owns_processes else options.replace(workers=0)


def _refuse(given: Input, source: HadronSource | None, collisions: Collisions) -> None:
    """Raise FastsimError if whole collisions or pile-up are asked of what is no event of a collider.

    Nor can they have other stable particles than those that Pythia's libraries are made with.
    """
    if not collisions.any:
        return
    if not isinstance(given, LheInput):
        name = given.path if isinstance(given, EventFileInput) else "a gun"
        raise FastsimError(f"{name}: whole collisions and pile-up are made from the events of an LHE file")
    if source is None:
        return
    if collisions.pileup and source.tau0_max != TAU0_MAX:
        raise FastsimError(f"tau0_max={source.tau0_max:g} mm: pile-up is made for {TAU0_MAX:g} mm")
    if source.tau0_max > LONGEST:
        raise FastsimError(
            f"tau0_max={source.tau0_max:g} mm: whole collisions are made for {LONGEST:g} mm at most; use --event hard"
        )


def _with_collisions(
    given: Input,
    source: HadronSource,
    steps: Sequence[Step],
    collisions: Collisions,
    last: Sequence[Step],
    options: RunOptions,
) -> StepOfRun:
    """Return what makes the Steps from partons to whole collisions once the beams are known."""
    path = given.paths[0] if given.rereadable and given.paths else None
    settings = registry.tune_settings(source.tune)

    def count() -> int:
        try:
            return given.count()
        except InvalidEvent:  # a truncated file: the run says so after the events before that
            if path is None:
                raise
            return lhe.count(path, until_damage=True)

    def events() -> tuple[int, int | None]:
        wanted = given.range(options).stop
        counted = wanted is None or sum(map(os.path.getsize, given.paths)) <= COUNTED_BYTES
        size = count() if counted else None  # once: who watches the run is told it too
        return (wanted if wanted is not None else count()), size

    def step(run: RunInfo) -> Step:
        added = collision_steps(
            run,
            collisions,
            source=path,
            events=events,
            settings=settings,
            tau0_max=source.tau0_max,
            jobs=options.workers or options.num_threads,
        )
        return Pipeline([*steps, *added, *last])

    return step


def _collision_provenance(collisions: Collisions) -> dict[str, str]:
    """Return the facts in an output about what its events hold besides the hadrons of the hard partons."""
    values: dict[str, str] = {}
    if collisions.event == WHOLE:
        values |= {"events": WHOLE, "rest": _file_name(collisions.rest, "library")}
    if collisions.pileup:
        spread = f"{collisions.beam_spot:g} mm"
        pileup_events = _file_name(collisions.pileup_events, REFERENCE)
        values |= {"pileup": f"{collisions.pileup:g}", "pileup_events": pileup_events, "beam_spot": spread}
    return values


def _file_name(path: PathLike | None, default: str) -> str:
    return default if path is None else os.path.basename(os.fspath(path))


def _collision_settings(collisions: Collisions) -> dict[str, Any]:
    """Return the checksums of the files that whole collisions and pile-up are drawn from."""
    files = {"rest_sha256": collisions.rest, "pileup_sha256": collisions.pileup_events}
    # a library of rests may have several files
    named = {key: getattr(path, "paths", [path]) for key, path in files.items() if path is not None}
    return {
        key: " ".join(sha256_of(Path(path)) for path in paths)
        for key, paths in named.items()
        if all(map(os.path.isfile, paths))
    }


class _SetsOnly:
    """The Step that refuses columns that the file of a gun's sets does not hold."""

    name = "sets-only"
    requires = provides = frozenset({"hadrons"})

    def step(self, events: HardEvents, *, rng: np.random.Generator) -> HardEvents:
        for name in events.particle_columns:
            raise PipelineError(
                f"{name!r} is a column of particles, which the sets of a gun's partons have no place for: give an LHE "
                "file, or columns of events"
            )
        return events


def _record_steps(record: str) -> list[Step]:
    """Return the Steps after the hadrons that leave of their history what a record keeps."""
    return [FinalParticles()] if record == FINAL else []


def _hadron_provenance(source: HadronSource) -> dict[str, str]:
    """Return the facts in an output about the source of its hadrons: name, version, checksum of its weights."""
    values = {"model": source.name, **{f"model_{key}": value for key, value in source.provenance.items()}}
    if source.tau0_max != TAU0_MAX:
        values["tau0_max"] = f"{source.tau0_max:g}"
    steps = getattr(source, "num_inference_steps", None)
    return values if steps is None else {**values, "num_inference_steps": str(steps)}


__all__ = [
    "CALORIMETER",
    "CHAINS",
    "DETECTOR",
    "HADRONS",
    "PYTHIA",
    "REFERENCE",
    "cell_stages",
    "chain_of",
    "full_stages",
    "hadron_stages",
    "own_stages",
    "own_steps",
    "parse",
]
