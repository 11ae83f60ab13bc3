"""Weights of events for other tunes, from the likelihood of a model: ``fastsim reweight``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim.errors import FastsimError, InvalidEvent
from fastsim.event import Floats, HardEvents, Ints, Partons, RunInfo
from fastsim.formats.atomic import ENDINGS, HDF5_ENDINGS, HEPMC_ENDINGS, AtomicPath, PathLike
from fastsim.formats.events import holds_particles, read_events
from fastsim.formats.weight_names import safe_names
from fastsim.registry import REFERENCE, load_model
from fastsim.sources.collisions import WHOLE
from fastsim.sources.hadrons import HadronSource
from fastsim.tuning.description import MODEL
from fastsim.tuning.weights import MIN_SHARE, Variation, refuse_collapsed

if TYPE_CHECKING:
    from generators.hadrons.tree.model import PrimaryTree

TABLES = (".npz", ".csv")
"""Endings of files that hold the weights alone."""
BATCH = 500
"""Events whose density is computed at once."""

TuneLike = str | Mapping[str, float] | Any


@dataclass(frozen=True)
class Reweighting:
    """Weights of E events for other tunes.

    Attributes:
        tune: that the events are of.
        variations: the weights of each tune, by its name.
        number: of the events, (E,).
        elsewhere: partons of all events whose hadrons are not a model's: they do not change the weights.
        seconds: processor time.
    """

    tune: str
    variations: tuple[Variation, ...]
    number: Ints
    elsewhere: int
    seconds: float

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the weights in files."""
        return safe_names([variation.name for variation in self.variations])

    @property
    def weights(self) -> Floats:
        """p_B / p_A of each event and tune, (E, V)."""
        return np.stack([variation.weights for variation in self.variations], axis=-1)

    def __str__(self) -> str:
        lines = [variation.row() for variation in self.variations]
        if self.elsewhere:
            lines.append(f"{self.elsewhere:,} partons with hadrons of Pythia's have no part in the weights")
        return "\n".join(lines)


def reweight(
    events: PathLike | HardEvents,
    output: PathLike | None = None,
    *,
    to: TuneLike | Sequence[TuneLike],
    tune: TuneLike | None = None,
    model: PathLike | HadronSource | None = None,
    partons: PathLike | None = None,
    min_ess: float = MIN_SHARE,
    num_events: int | None = None,
    force: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> Reweighting:
    """Compute weights p_B / p_A that move events of one tune to others, and write them.

    p is the density that a model of tunes gives to all hadrons that it made in an event, before decays. Which hadron
    carries a parton's quark is drawn as the model finds it likely at the tune of the events. All tunes are done in one
    pass. The same events give the same weights. See docs/tunes.md.

    Args:
        events: path of a file that ``fastsim generate`` wrote (.h5, .root) with ``record="full"``, of a HepMC file of
            any generator with its primary hadrons, or events in memory.
        output: a file of events (.hepmc3, .h5, .root ...), which gets the events with one more named weight for each
            tune, or weights alone (.npz, .csv); None to write nothing.
        to: the tune, or tunes, to move to: ``"aLund=0.5 alphaS=0.13"``, or values by name.
        tune: that the events are of; by default what the file says.
        model: the model of tunes; by default what the file says, else ``hadron-tree-tunes``.
        partons: LHE file with the hard processes of a HepMC file, event by event: two partons each.
        min_ess: least effective sample size over the number of events: below, the weights are refused.
        num_events: how many events at most.
        force: replace an output that exists.
        progress: called with the number of events that are done, and of all where it is known.

    Returns:
        The weights, with the effective sample size of each tune.

    Raises:
        FastsimError: if a tune is outside the ranges, the record lacks what is needed, or the effective sample is too
            small.
    """
    from generators.hadrons.tunes import tune_of

    started = time.process_time()
    wanted: Sequence[Any] = to if isinstance(to, list | tuple) else [to]
    tunes = [tune_of(each) for each in wanted]
    if not tunes:
        raise FastsimError("reweight: to which tune? give at least one (--to)")
    if not 0 <= min_ess <= 1:
        raise FastsimError(f"reweight: min_ess is {min_ess:g}: a share of the events, from 0 to 1")
    if output is not None:
        _refuse_output(output, events, force)
    source = _Events.of(events, num_events, partons)
    loaded = _model(source, model)
    own = tune_of(source.tune if tune is None else tune)
    if tune is not None and source.tune is not None and tune_of(source.tune) != own:
        raise FastsimError(f"{source.name}: its events are of the tune {source.tune}, not {own}")
    if tune is None and source.tune is None:
        raise FastsimError(f"{source.name}: does not say which tune its events are of: give it (--tune; Monash is one)")
    vectors = [loaded.at(each).vector for each in tunes]
    weights, numbers, elsewhere = [np.zeros((0, len(tunes)))], [np.zeros(0, np.int64)], 0
    done, rng = 0, np.random.default_rng(0)
    for batch in source.batches():
        ratio, others = _ratios(loaded, batch, loaded.at(own).vector, vectors, source.name, rng)
        weights.append(ratio)
        numbers.append(batch.number)
        elsewhere += others
        done += len(batch)
        if progress is not None:
            progress(done, num_events)
    if done == 0:
        raise FastsimError(f"{source.name}: no events")
    columns = np.concatenate(weights).T
    names = safe_names([str(each).replace(" ", "_") for each in tunes])
    variations = tuple(Variation(name, column) for name, column in zip(names, columns, strict=True))
    refuse_collapsed(variations, min_ess, source.name)
    seconds = time.process_time() - started
    result = Reweighting(str(own), variations, np.concatenate(numbers), elsewhere, seconds)
    if output is not None and os.fspath(output).lower().endswith(TABLES):
        _write_table(output, result, force=force)
    elif output is not None:
        source.write(output, result, force=force)
    return result


def _ratios(
    model: PrimaryTree,
    events: HardEvents,
    own: Floats,
    others: Sequence[Floats],
    name: str,
    rng: np.random.Generator,
) -> tuple[Floats, int]:
    """Return p_B / p_A of events (E, V) for the vectors of other tunes, and the partons that are no model's."""
    from generators.hadrons.event_density import EventDensity

    try:
        density = EventDensity.of(model, events)
    except InvalidEvent as error:
        raise InvalidEvent(f"{name}: {error}") from None
    if density.void.any():
        number = events.number[int(np.argmax(density.void))]
        raise InvalidEvent(f"{name}: event {number} is none that the model makes: a parton has no hadrons on its side")
    ratios = np.exp(density.log_ratios(own, others, rng)).T
    if not np.isfinite(ratios).all():
        number = events.number[int(np.argmin(np.isfinite(ratios).all(axis=1)))]
        raise InvalidEvent(f"{name}: event {number} has no finite weight: the model gives it no density")
    return ratios, int(density.elsewhere.sum())


def _refuse_output(output: PathLike, events: PathLike | HardEvents, force: bool) -> None:
    """Raise FastsimError, before the work, for an output of unknown ending, or one that cannot be written."""
    text = os.fspath(output)
    if not text.lower().endswith(TABLES) and not holds_particles(text):
        raise FastsimError(
            f"{text}: the ending names no format: events {ENDINGS}, or weights alone {', '.join(TABLES)}"
        )
    if not isinstance(events, HardEvents) and os.path.realpath(text) == os.path.realpath(os.fspath(events)):
        raise FastsimError(f"{text} is the input")
    if isinstance(events, HardEvents) and not text.lower().endswith(TABLES):
        raise FastsimError(f"{text}: of events in memory the weights alone are written ({', '.join(TABLES)})")
    AtomicPath(output, force=force).discard()


def _model(source: _Events, given: PathLike | HadronSource | None) -> PrimaryTree:
    """Return the model of tunes that is asked for, or that a file names.

    Raises:
        FastsimError: if it has no density at other tunes, or the file's events are of another one.
    """
    from generators.hadrons.event_density import checked_model

    of_model = source.tune is not None and source.model != REFERENCE
    name = source.model if given is None and of_model else given
    return checked_model(load_model(MODEL if name is None else name))


def _write_table(output: PathLike, result: Reweighting, *, force: bool) -> None:
    """Write the weights alone: arrays of NumPy, or text with a line an event."""
    place = AtomicPath(output, force=force)
    path = place.temporary
    if os.fspath(output).lower().endswith(".npz"):
        shares = np.array([variation.share for variation in result.variations])
        with open(path, "wb") as file:
            names = np.array(result.names)
            tune = np.array(result.tune)
            np.savez(file, number=result.number, weights=result.weights, names=names, share=shares, tune=tune)
    else:
        lines = [",".join(("number", *result.names))]
        rows = zip(result.number.tolist(), result.weights.tolist(), strict=True)
        lines += [",".join((str(number), *map(repr, row))) for number, row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    place.commit()


def batches_of(events: PathLike | HardEvents, num: int | None) -> Iterator[HardEvents]:
    """Yield the events of a file, or those in memory, some at a time, ``num`` at most."""
    return _Events.of(events, num).batches()


@dataclass(frozen=True)
class _Events:
    """Events of a file, or in memory, in batches, and what the file says of them.

    Attributes:
        name: for messages.
        num: how many events at most.
        events: those in memory; None for a file.
        gun: whether the file is one of a gun's sets.
        provenance: what the file says.
        run: its run information.
        partons: the LHE file with the hard processes of a HepMC file.
    """

    name: str
    num: int | None
    events: HardEvents | None
    gun: bool
    provenance: Mapping[str, str]
    run: RunInfo
    partons: str | None = None

    @classmethod
    def of(cls, given: PathLike | HardEvents, num: int | None, partons: PathLike | None = None) -> _Events:
        hepmc = not isinstance(given, HardEvents) and os.fspath(given).lower().endswith(HEPMC_ENDINGS)
        if partons is not None and not hepmc:
            raise FastsimError(f"{os.fspath(partons)}: partons are given to HepMC files: other events have theirs")
        if isinstance(given, HardEvents):
            return cls("the events", num, given, False, {}, RunInfo())
        name = os.fspath(given)
        if not os.path.isfile(name):
            raise FastsimError(f"{name}: no such file")
        if not holds_particles(name):
            raise FastsimError(f"{name}: the ending names no file of events: use {ENDINGS}")
        if hepmc:
            return cls._of_hepmc(name, num, partons)
        if name.lower().endswith(HDF5_ENDINGS):
            from fastsim.formats import hdf5

            if hdf5.layout(name) == hdf5.GUN:
                _, _, attributes = hdf5.read(name, slice(0, 0))
                texts = {key: value for key, value in attributes.items() if isinstance(value, str)}
                return cls(name, num, None, True, texts, RunInfo(provenance=texts))
        run, _ = read_events(name, num_events=num)
        if run.provenance.get("events") == WHOLE or "pileup" in run.provenance:
            raise FastsimError(
                f"{name}: its events are whole collisions (--event full, --pileup), whose other hadrons come from no "
                "parton of the hard process: give the events of --event hard without pile-up"
            )
        return cls(name, num, None, False, run.provenance, run)

    @classmethod
    def _of_hepmc(cls, name: str, num: int | None, partons: PathLike | None) -> _Events:
        from fastsim.formats import hepmc

        if partons is None:
            raise FastsimError(
                f"{name}: HepMC files are read without their partons: give the .h5 or .root file that fastsim generate "
                "wrote, or, to fastsim reweight, the LHE file with the same events too (--partons)"
            )
        if not os.path.isfile(partons):
            raise FastsimError(f"{os.fspath(partons)}: no such file")
        run, _ = read_events(name, num_events=num)
        return cls(name, num, None, False, hepmc.provenance(name), run, os.fspath(partons))

    @property
    def tune(self) -> str | None:
        """The tune that the file says its events are of."""
        return self.provenance.get("model_tune")

    @property
    def model(self) -> str | None:
        """The name of the model that made the file."""
        return self.provenance.get("model")

    def batches(self) -> Iterator[HardEvents]:
        """Yield the events, some at a time."""
        if self.events is not None:
            yield from self.events[: self.num].chunks(BATCH)
        elif self.gun:
            yield from self._sets()
        else:
            _, found = read_events(self.name, num_events=self.num, chunk_size=BATCH, history=True)
            left = self.num
            for batch in found if self.partons is None else self._with_partons(found):
                part = batch if left is None else batch[:left]
                left = None if left is None else left - len(part)
                if len(part):
                    yield part

    def _with_partons(self, found: Iterator[HardEvents]) -> Iterator[HardEvents]:
        """Yield the events of a HepMC file with the partons of its LHE file."""
        from fastsim.formats import lhe
        from generators.hadrons.records import with_partons

        assert self.partons is not None
        given = lhe.read(self.partons, chunk_size=BATCH)[1]
        for batch in found:
            hard = next(given, None)
            if hard is None or len(hard) < len(batch):
                raise FastsimError(f"{self.partons}: has fewer events than {self.name}")
            try:
                yield with_partons(batch, hard[: len(batch)])
            except InvalidEvent as error:
                raise InvalidEvent(f"{self.name} with {self.partons}: {error}") from None

    def _sets(self) -> Iterator[HardEvents]:
        from fastsim.formats import hdf5

        start = 0
        while self.num is None or start < self.num:
            stop = start + BATCH if self.num is None else min(start + BATCH, self.num)
            batch = hdf5.read_gun(self.name, slice(start, stop))
            if len(batch):
                yield batch
            if len(batch) < stop - start:
                return
            start = stop

    def write(self, output: PathLike, result: Reweighting, *, force: bool) -> None:
        """Write the events with the weights after those that they have, each that of the event times the ratio.

        Records of HepMC files stay as they are in HepMC files.
        """
        if self.partons is not None and os.fspath(output).lower().endswith(HEPMC_ENDINGS):
            from fastsim.formats import hepmc

            hepmc.add_weights(self.name, output, result.names, result.weights, force=force)
            return
        start, ratios = 0, result.weights
        sets = self.gun and os.fspath(output).lower().endswith(HDF5_ENDINGS)
        provenance = {**self.provenance, "reweighted_from": result.tune}
        with self._writer(output, result, provenance, sets=sets, force=force) as writer:
            for batch in self.batches():
                own = ratios[start : start + len(batch)]
                start += len(batch)
                weights = np.concatenate([batch.weights, batch.weights[:, :1] * own], axis=1)
                if sets:
                    assert batch.particles is not None
                    writer.write(Partons(batch.pdg_id, batch.p4), batch.particles, weights)
                    writer.write_columns(batch.event_columns)
                else:
                    writer.write(replace(batch, weights=weights))

    def _writer(
        self, output: PathLike, result: Reweighting, provenance: Mapping[str, str], *, sets: bool, force: bool
    ) -> Any:
        names = safe_names([*self.run.weight_names, *result.names])
        if sets:
            from fastsim.formats import hdf5

            kept = {k: v for k, v in provenance.items() if k not in ("layout", "layout_version", "producer", "units")}
            return hdf5.Writer(output, {**kept, "weight_names": json.dumps(names)}, force=force)
        from fastsim.formats.output import open_writer

        return open_writer(output, replace(self.run, weight_names=names, provenance=dict(provenance)), force=force)


__all__ = ["BATCH", "Reweighting", "reweight"]
