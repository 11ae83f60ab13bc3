"""Runs of hadrons and cells: from an input, through Steps in chunks, to an output (what :mod:`fastsim.api` calls)."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fastsim import stages
from fastsim.errors import FastsimError
from fastsim.event import HardEvents, ParticleSet, Partons, RunInfo
from fastsim.event.gun import Gun, Shots
from fastsim.formats import lhe
from fastsim.formats.atomic import PathLike
from fastsim.formats.events import holds_particles, read_events
from fastsim.formats.output import open_gun_writer, open_writer
from fastsim.models import Model
from fastsim.production import chunks as production
from fastsim.production.chunks import Chunk, Crew, Draw, Summary, events_in_chunks, gun_in_chunks, in_blocks
from fastsim.production.manifest import versions
from fastsim.production.run import Plan, Run
from fastsim.shipped import sha256_of
from fastsim.sources.pipeline import Pipeline, Step

if TYPE_CHECKING:
    from generators.hadrons.step import Hadronize
    from generators.showers.step import Deposit

Input = str | os.PathLike[str] | Gun | lhe.Source


@runtime_checkable
class _ExtrasWriter(Protocol):
    """A gun writer that takes named arrays (N, ...) beside each batch."""

    def write_extras(self, arrays: Mapping[str, NDArray[Any]]) -> None: ...


@dataclass(frozen=True)
class _Sets:
    """What a gun's chunk has beside its partons: a :data:`fastsim.production.chunks.Draw`."""

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


def make_hadrons(input: Input, output: PathLike, model: Model, fallback: Model, plan: Plan, latent: bool) -> Summary:
    from generators.hadrons.step import Hadronize

    hadronize = Hadronize(model, fallback)
    gun, plan = _as_gun(input), _ranged(input, plan)
    if latent and (gun is None or not os.fspath(output).lower().endswith((".h5", ".hdf5"))):
        raise FastsimError("the latent is saved for a gun's sets in HDF5: give a gun and an output ending in .h5")
    settings = _settings(input, _provenance(model, plan), plan, **({} if gun is None else {"latent": latent}))
    if gun is not None:
        with Run(output, settings, plan) as run:
            return run.summary(Summary) or _shoot(gun, _LatentSets(model) if latent else _Sets(hadronize), model, run)
    from generators.reference.resonances import DecayResonances

    pipeline = Pipeline([DecayResonances(), hadronize])
    with _opened(input) as stream, Run(output, settings, plan, again=not _is_stream(input)) as run:
        if (done := run.summary(Summary)) is not None:
            return done
        info, chunks = events_in_chunks(stream, pipeline, seed=plan.seed, **plan.range, crew=run.crew)
        return _drain(info, chunks, _provenance(model, plan), model.name, run)


def fill_cells(
    input: Input,
    output: PathLike,
    model: Model | None,
    fallback: Model,
    deposit: Deposit,
    told: dict[str, str],
    plan: Plan,
) -> Summary:
    """Writes the cells of events whose hadrons ``model`` makes first, or the input holds."""
    plan = _ranged(input, plan)
    held = isinstance(input, str | os.PathLike) and _as_gun(input) is None and holds_particles(input)
    before: list[Step] = []
    if model is None and not held:
        raise FastsimError(
            f"{input}: the step calorimeter alone takes events with hadrons from a file whose ending names its "
            "format: HepMC .hepmc3 or .hepmc (also .gz .bz2 .xz .zst of them), HDF5 .h5, ROOT .root"
        )
    if model is not None:
        from generators.hadrons.step import Hadronize
        from generators.reference.resonances import DecayResonances

        if held:
            raise FastsimError(f"{input}: has hadrons, not partons; run the step calorimeter alone")
        before = [DecayResonances(), Hadronize(model, fallback)]
    Pipeline([*before, deposit], given=frozenset({"hadrons" if held else "partons"}))  # says what is missing
    provenance = (_tool(plan) if model is None else _provenance(model, plan)) | told
    apart, size = stages.geant4_takes_part(deposit), production.EVENTS_PER_BLOCK
    more: dict[str, Any] = {"block": size}
    if apart:  # blocks begin where the range does: they belong to runs of the same range alone
        more |= {**plan.range, "versions": versions("geant4-pybind")}
    settings = _settings(input, provenance, plan, **more)
    source = deposit.source.name if model is None else f"{model.name}, {deposit.source.name}"
    with Run(output, settings, stages.shared_out(plan, deposit), again=not _is_stream(input)) as run:
        if (done := run.summary(Summary)) is not None:
            return done
        with _hadron_events(input, before, plan, border=1 if apart else size) as (info, batches):
            chunks = in_blocks(
                batches,
                deposit,
                seed=plan.seed,
                first_event=plan.first_event,
                num_events=plan.num_events,
                apart=apart,
                crew=run.crew,
            )
            return _drain(info, chunks, provenance, source, run)


@contextmanager
def _hadron_events(
    input: Input, steps: list[Step], plan: Plan, border: int
) -> Iterator[tuple[RunInfo, Iterator[HardEvents]]]:
    """Events with hadrons: from a file that holds them where there are no steps, else made by the steps in threads."""
    wanted = {**plan.range, "border": border}
    made = {**wanted, "seed": plan.seed, "crew": Crew(plan.threads)}
    gun = _as_gun(input)
    if gun is not None:
        with closing(gun_in_chunks(gun, _Sets(steps[-1]), **made)) as shots:  # type: ignore[arg-type]
            yield RunInfo(provenance={"gun": str(gun)}), _as_events(shots, plan.first_event // border * border)
        return
    with _opened(input) as stream:
        if not steps:
            assert isinstance(stream, str | os.PathLike)
            yield read_events(stream, **wanted, chunk_size=production.EVENTS_PER_CHUNK)
            return
        info, chunks = events_in_chunks(stream, Pipeline(steps), **made)
        with closing(chunks):
            yield info, (chunk.content for chunk in chunks)


def _as_events(chunks: Iterator[Chunk[Shots]], number: int) -> Iterator[HardEvents]:
    """A gun's sets as events of one parton each, numbered from ``number``."""
    for chunk in chunks:
        shots = chunk.content
        events = HardEvents.of_partons(shots.partons, shots.particles, first_number=number)
        number += len(events)
        events = events.tally("partons", np.arange(len(events)))
        yield events.tally("fallback_partons", np.flatnonzero(shots.extras["fallback_partons"]))


def check_options(output: PathLike, with_cells: bool, *, shower_model: object, data: object, latent: bool) -> None:
    """Refuses what does not go with, or without, the step calorimeter."""
    if not with_cells:
        for name, value in (("a shower model", shower_model), ("Geant4's data", data)):
            if value is not None:
                raise FastsimError(f"{name} is given, but the steps do not end with calorimeter")
        return
    if latent:
        raise FastsimError("the latent is saved for a gun's sets, not with the step calorimeter")
    stages.check_output(output)


def part_range(
    input: Input, part: tuple[int, int] | None, first: int, num: int | None, with_cells: bool
) -> dict[str, Any]:
    """What a plan says of its range: of part (i, n) of what is wanted, or of all of it."""
    if part is None:
        return {"first_event": first, "num_events": num}
    gun = _as_gun(input)
    if _is_stream(input):
        raise FastsimError("a stream has no parts: give a file")
    held = _count(input) if gun is None else gun.num  # type: ignore[arg-type]
    if first > held:
        raise FastsimError(f"first event {first} asked, but there are {held} (numbered from 0)")
    num = held - first if num is None else min(num, held - first)
    size = production.EVENTS_PER_CHUNK if gun is None else production.PARTONS_PER_CHUNK
    start, count = production.part_range(part, first, num, production.EVENTS_PER_BLOCK if with_cells else size)
    return {"first_event": start, "num_events": count, "whole": (first, num)}


def _count(path: str | os.PathLike[str]) -> int:
    """Events of a file, with partons or particles."""
    if holds_particles(path):
        return sum(len(batch) for batch in read_events(path)[1])
    return lhe.count(path)


def _settings(input: Input, made: Mapping[str, str], plan: Plan, **more: Any) -> dict[str, Any]:
    """All that decides the content of a chunk, but not which chunks are wanted; a stream's content is not known.

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
        source = {"input": path.name, "input_sha256": sha256_of(path), "chunk": production.EVENTS_PER_CHUNK}
    else:
        source = {"input": "stream", "chunk": production.EVENTS_PER_CHUNK}
    made = {key: value for key, value in made.items() if key not in ("tool", "version")}
    return {**source, **made, "seed": plan.seed, "versions": versions(), **more}


def _drain(
    info: RunInfo,
    chunks: Generator[Chunk[HardEvents]],
    provenance: dict[str, str],
    source: str,
    run: Run,
) -> Summary:
    """Writes batches of events as they come."""
    # of what made the input, where this run says something else
    before = {f"input_{key}": info.provenance[key] for key in ("tool", "version", "seed") if key in info.provenance}
    info = replace(info, provenance={**info.provenance, **before, **provenance})
    summary = Summary(output=run.output, source=source, cross_section=info.cross_section)
    with (
        open_writer(run.output, info, force=run.replaces) as writer,
        run.contents(chunks, summary, run.plan.num_events) as batches,
    ):
        for events in batches:
            writer.write(events)
    run.commit(summary)
    return summary


def _ranged(input: Input, plan: Plan) -> Plan:
    """The plan with the number of events that a gun has in its range, which its settings leave out."""
    gun, first, num = _as_gun(input), plan.first_event, plan.num_events
    if gun is None or first >= gun.num:
        return plan
    return replace(plan, num_events=gun.num - first if num is None else min(gun.num - first, num))


def _shoot(gun: Gun, draw: Draw, model: Model, run: Run) -> Summary:
    """Writes a gun's sets as drawn."""
    plan = run.plan
    info = RunInfo(provenance={**_provenance(model, plan), "gun": str(gun)})
    summary = Summary(output=run.output, source=model.name)
    chunks = gun_in_chunks(gun, draw, seed=plan.seed, **plan.range, crew=run.crew)
    with (
        open_gun_writer(run.output, info, first_number=plan.first_event, force=run.replaces) as writer,
        run.contents(chunks, summary, plan.num_events) as batches,
    ):
        for shots in batches:
            writer.write(shots.partons, shots.particles)
            more = {key: values for key, values in shots.extras.items() if key.startswith("latent/")}
            if more and isinstance(writer, _ExtrasWriter):
                writer.write_extras(more)
    run.commit(summary)
    return summary


def make_full_events(input: Input, output: PathLike, plan: Plan) -> Summary:
    """Writes what ordinary Pythia makes of the events of an LHE file."""
    from generators.reference.full import FullPythia, numbered

    if _as_gun(input) is not None:
        raise FastsimError("full=True runs Pythia on an LHE file, not on a gun")
    provenance = {**_tool(plan), "model": "pythia-full", "settings": "Monash, ISR, FSR, MPI"}
    settings, again = _settings(input, provenance, plan), not _is_stream(input)
    with _opened(input) as stream, Run(output, settings, plan, again=again) as run:
        if (done := run.summary(Summary)) is not None:
            return done
        with numbered(stream) as file:
            step = FullPythia(file, plan.seed)
            info, chunks = events_in_chunks(file, step, seed=plan.seed, **plan.range, crew=run.crew)
            return _drain(info, chunks, provenance, "pythia-full", run)


def _as_gun(input: Input) -> Gun | None:
    if isinstance(input, Gun):
        return input
    if isinstance(input, str) and ("flavour=" in input or "pt=" in input) and not os.path.exists(input):
        return Gun.parse(input)
    return None


def _is_stream(input: Input) -> bool:
    """Whether the input can be read once only: a stream, or a pipe with a name."""
    if isinstance(input, str | os.PathLike):
        return input == "-" or (os.path.exists(input) and not os.path.isfile(input))
    return not isinstance(input, Gun)


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
