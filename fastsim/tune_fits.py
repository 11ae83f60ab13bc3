"""Fits of Pythia's parameters through a model of tunes: ``fastsim tune``.

A fit is to a sample of events, whose likelihood the model gives (:mod:`fastsim.tuning.likelihood_fit`), or to measured
tables, whose predictions and their derivatives come from samples of the model (:mod:`fastsim.tuning.table_fit`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError, InvalidEvent, OutputError
from fastsim.event import Floats, HardEvents
from fastsim.formats.atomic import AtomicPath, PathLike
from fastsim.registry import REFERENCE, load_model
from fastsim.tuning import likelihood_fit, table_fit
from fastsim.tuning.description import Description, EventData, TableData, described, read
from fastsim.tuning.information import Directions
from fastsim.tuning.result import Comparison, FitResult, Parameter, direction_flag, edge_flags
from fastsim.variations import BATCH, batches_of

if TYPE_CHECKING:
    from generators.hadrons.event_density import EventDensity
    from generators.hadrons.tree.model import PrimaryTree
    from generators.hadrons.tunes import Tune
    from metrics.hadrons.tables import Filled, Table

FOR_PAIRS = 2000
"""Events of a table fit that are made at once."""
_UNIT = 3.0
"""Factor between the integrals of a measured and a predicted table beyond which they are not the same quantity."""


def tune(
    description: PathLike | Mapping[str, Any],
    output: PathLike | None = None,
    *,
    events: HardEvents | None = None,
    model: Any = None,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> FitResult:
    """Fit parameters of tunes to a sample of events or to measured tables, and write the result.

    Args:
        description: path of a TOML file, or its tables as a mapping (docs/tunes.md lists the keys).
        output: path without ending: OUTPUT.json and OUTPUT.png are written; None to write nothing.
        events: events in memory, in place of the files of ``[events]``.
        model: the model of tunes, in place of the one that the description names: a name, path or loaded model.
        force: replace outputs that exist.
        progress: called with a line on each point at which the model was evaluated.

    Returns:
        Values, covariance, agreement before and after, flags; ``print(result)`` shows them as a table.

    Raises:
        FastsimError: if the description is not understood, a parameter is unknown or outside its range, a table is not
            what the model predicts, or there are too few events.
    """
    given = described(description, "the fit") if isinstance(description, Mapping) else read(description)
    paths = [] if output is None else [f"{os.fspath(output)}{ending}" for ending in (".json", ".png")]
    for path in paths:
        AtomicPath(path, force=force).discard()
    if paths:
        from fastsim.extras import library

        library("matplotlib")  # a missing one is named before the work, not after
    fit = _Fit.of(given, model, progress or (lambda line: None))
    result = fit.to_events(given.data, events) if isinstance(given.data, EventData) else fit.to_tables(given.data)
    if paths:
        _write(Path(paths[0]), json.dumps(result.to_dict(), indent=1).encode() + b"\n", force=force)
        from fastsim.tuning.pictures import picture

        _write(Path(paths[1]), picture(result), force=force)
    return result


def _write(path: Path, content: bytes, *, force: bool) -> None:
    place = AtomicPath(path, force=force)
    try:
        place.temporary.write_bytes(content)
    except OSError as error:
        place.discard()
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    place.commit()


@dataclass(frozen=True)
class _Fit:
    """A model, and the parameters of it that are fitted.

    Attributes:
        place: what messages begin with.
        model: the model.
        start: the tune that the fit starts at, with the values of fixed parameters.
        parameters: what is fitted.
        seed: of all randomness.
        progress: is told what was found at each point.
    """

    place: str
    model: PrimaryTree
    start: Tune
    parameters: tuple[Parameter, ...]
    seed: int
    progress: Callable[[str], None]

    @classmethod
    def of(cls, given: Description, model: Any, progress: Callable[[str], None]) -> _Fit:
        """Return the fit that a description asks for.

        Raises:
            FastsimError: if the model does not know a parameter, or a value is outside its range.
        """
        from generators.hadrons import tunes
        from generators.hadrons.event_density import checked_model

        loaded = checked_model(load_model(given.model if model is None else model))
        fitted = []
        for name, (start, low, high) in given.parameters.items():
            known = tunes.parameter(name)
            low, high = known.low if low is None else low, known.high if high is None else high
            start = known.default if start is None else start
            if not known.low <= low < high <= known.high:
                raise FastsimError(
                    f"{given.place}: parameters: {name}: {low:g} to {high:g} is no part of {known.low:g} to "
                    f"{known.high:g}, the range of the model"
                )
            if not low <= start <= high:
                raise FastsimError(
                    f"{given.place}: parameters: {name}: the start {start:g} is outside {low:g} to {high:g}"
                )
            fitted.append(Parameter(name, start, low, high))
        try:
            start_tune = tunes.Tune.of({**given.fixed, **{p.name: p.start for p in fitted}})
            loaded.at(start_tune)
            if lost := [p.name for p in fitted if p.name not in loaded.tune_parameters]:
                raise FastsimError(f"model {loaded.name!r} does not know {lost[0]}")
        except FastsimError as error:
            raise FastsimError(f"{given.place}: {error}") from error
        return cls(given.place, loaded, start_tune, tuple(fitted), given.seed, progress)

    @cached_property
    def columns(self) -> list[int]:
        """Places of the fitted parameters in the vectors of the model's tunes."""
        return [self.model.tune_parameters.index(p.name) for p in self.parameters]

    def vector(self, point: Floats) -> Floats:
        """Return the vector of the model's tune (P,) at a point of the fit, which is in units of half ranges."""
        vector = self.model.at(self.start).vector.copy()
        vector[self.columns] = point
        return vector

    def tune(self, point: Floats) -> Tune:
        """Return the tune at a point of the fit."""
        from generators.hadrons.tunes import Tune

        values = dict(zip((p.name for p in self.parameters), self.values(point), strict=True))
        return Tune.of({**self.start.changed, **values})

    @cached_property
    def _scales(self) -> tuple[Floats, Floats]:
        from generators.hadrons.tunes import parameter

        known = [parameter(p.name) for p in self.parameters]
        return np.array([p.default for p in known]), np.array([p.scale for p in known])

    def values(self, point: Floats) -> Floats:
        """Return the values of the parameters at a point."""
        default, scale = self._scales
        return np.asarray(np.clip(default + scale * point, *self._ends))

    def point(self, values: Floats) -> Floats:
        """Return the point of values of the parameters."""
        default, scale = self._scales
        return np.asarray((values - default) / scale)

    @property
    def _ends(self) -> tuple[Floats, Floats]:
        return np.array([p.low for p in self.parameters]), np.array([p.high for p in self.parameters])

    @property
    def _from(self) -> tuple[Floats, Floats, Floats]:
        low, high = self._ends
        return self.point(np.array([p.start for p in self.parameters])), self.point(low), self.point(high)

    # the unbinned fit

    def to_events(self, data: EventData, given: HardEvents | None) -> FitResult:
        """Fit a sample of events."""
        started = time.process_time()
        events, density = self._density(data, given)
        num = len(density)

        def scores(point: Floats, some: slice) -> tuple[Floats, Floats]:
            value, score = density.block(some.start, some.stop).gradient(self.vector(point))
            if some.stop == num:
                self.progress(f"{self.tune(point)}: mean log-density {value.mean():.4f}")
            return value, score[:, self.columns]

        found = likelihood_fit.maximise(scores, num, *self._from)
        comparisons, chi2 = self._observables(events, found.point)
        flags = [f"{int(density.elsewhere.sum()):,} partons with hadrons of Pythia's have no part in the likelihood"]
        flags = flags if density.elsewhere.any() else []
        lost = sum(len(batch) for batch in events) - num
        if lost:
            flags.append(f"{lost} events that the model cannot make were left out: a parton has no hadrons on its side")
        return self._result(
            "likelihood",
            found.point,
            found.covariance,
            found.directions,
            converged=found.converged,
            comparisons=comparisons,
            chi2=chi2,
            flags=flags,
            iterations=found.num_points,
            num=num,
            started=started,
            provenance={"log_likelihood_gain": f"{found.gain:.3f}"},
        )

    def _density(self, data: EventData, given: HardEvents | None) -> tuple[list[HardEvents], EventDensity]:
        """Read events, and prepare their density."""
        from generators.hadrons.event_density import EventDensity

        start = self.vector(self._from[0])
        sources: list[PathLike | HardEvents] = [given] if given is not None else list(data.files)
        batches: list[HardEvents] = []
        parts: list[EventDensity] = []
        left = data.num
        for source in sources:
            name = "the events" if isinstance(source, HardEvents) else os.fspath(source)
            try:
                for batch in batches_of(source, left):
                    batches.append(batch)
                    parts.append(EventDensity.of(self.model, batch).likely(start))
                    left -= len(batch)
            except InvalidEvent as error:
                raise InvalidEvent(f"{name}: {error}") from None
            if left <= 0:
                break
        num = sum(len(part) for part in parts)
        if num < likelihood_fit.MIN_EVENTS:
            raise FastsimError(f"{self.place}: {num} events: a fit needs {likelihood_fit.MIN_EVENTS} at least")
        return batches, EventDensity.concatenate(parts).without_void()

    def _observables(self, events: list[HardEvents], point: Floats) -> tuple[tuple[Comparison, ...], dict[str, float]]:
        """Compare means of observables of the data with those of the model at the start and at the result.

        Returns:
            The comparisons, and chi2 with the covariance of the means, its number of degrees and its p-value.
        """
        from scipy.stats import chi2 as distribution

        from generators.hadrons.primary_observables import NAMES, observables
        from generators.hadrons.step import Hadronize, HadronizeSets

        real = np.concatenate([observables(batch) for batch in events])
        made = []
        for k, where in enumerate((self._from[0], point)):
            source, fallback = self.model.at(self.tune(where)), load_model(REFERENCE, tune=self.tune(where))
            rng = np.random.default_rng([self.seed, k])
            rows = []
            for batch in events:
                gun = (np.diff(batch.offsets) == 1).all()
                step = HadronizeSets(source, fallback) if gun else Hadronize(source, fallback)
                rows.append(observables(step.step(batch, rng=rng)))
            made.append(np.concatenate(rows))

        def mean(table: Floats) -> tuple[Floats, Floats]:
            return table.mean(axis=0), np.cov(table.T) / len(table)

        data, of_data = mean(real)
        predictions = [mean(table) for table in made]
        none, comparisons = np.zeros(0), []
        for k, name in enumerate(NAMES):
            one = slice(k, k + 1)
            (before, of_before), (after, of_after) = ((v[one], np.sqrt(c[one, k])) for v, c in predictions)
            error = np.sqrt(of_data[one, k])
            comparisons.append(Comparison(name, name, none, none, data[one], error, before, of_before, after, of_after))
        values = []
        for value, covariance in predictions:
            inverse = np.linalg.pinv(of_data + covariance, rcond=1e-10, hermitian=True)
            values.append(float((value - data) @ inverse @ (value - data)))
        chi2 = {"before": values[0], "after": values[1], "bins": float(len(NAMES))}
        return tuple(comparisons), {**chi2, "p": float(distribution.sf(values[1], len(NAMES)))}

    # the fit of tables

    def to_tables(self, data: TableData) -> FitResult:
        """Fit measured tables."""
        from metrics.hadrons.tables import read_tables

        started = time.process_time()
        chosen, masks, weights = self._chosen(data, read_tables(*data.files))
        keep = np.concatenate(masks)
        measured = np.concatenate([table.value for table in chosen.values()])[keep]
        sigma = np.concatenate([table.error for table in chosen.values()])[keep]
        sigma = np.hypot(sigma, data.relative_error * np.abs(measured))
        names = np.repeat(list(chosen), [len(table.value) for table in chosen.values()])[keep]
        of_bins = np.concatenate([np.full(len(mask), w) for mask, w in zip(masks, weights, strict=True)])[keep]
        if (sigma <= 0).any():
            row = int(np.argmin(sigma))
            raise FastsimError(f"{self.place}: {names[row]} has a bin without an error: leave it out (PATH@LOW:HIGH)")

        def predict(point: Floats, number: int) -> table_fit.Prediction:
            filled, scores = self._sample(point, chosen, data, number, scored=True)
            if number == 0:
                self._check_units(filled, masks)
            value = np.concatenate([each.value for each in filled])[keep]
            influence = np.concatenate([each.influence for each in filled], axis=1)[:, keep]
            found = table_fit.Prediction.of(value, influence, scores)
            chi2 = np.sum((value - measured) ** 2 / (sigma**2 + found.error**2))
            self.progress(f"point {number}: {self.tune(point)}, chi2 {chi2:.1f} of {len(measured)} bins")
            return found

        found = table_fit.minimise(predict, measured, sigma, of_bins, *self._from, max_points=data.max_points)
        # fresh samples: that of the fit was chosen for its chi2
        ends = [self._sample(where, chosen, data, 1000 + k)[0] for k, where in enumerate((self._from[0], found.point))]
        comparisons = []
        for name, mask, weight, before, after in zip(chosen, masks, weights, *ends, strict=True):
            table = chosen[name]
            error = np.hypot(table.error, data.relative_error * np.abs(table.value))
            values = [(each.agreement.value[mask], each.agreement.error[mask]) for each in (before, after)]
            comparisons.append(
                Comparison(
                    name,
                    before.what,
                    table.low[mask],
                    table.high[mask],
                    table.value[mask],
                    error[mask],
                    *values[0],
                    *values[1],
                    weight,
                )
            )
        chi2 = {key: sum(c.chi2(after=key == "after") for c in comparisons) for key in ("before", "after")}
        return self._result(
            "tables",
            found.point,
            found.covariance,
            found.directions,
            converged=found.converged,
            comparisons=tuple(comparisons),
            chi2={**chi2, "bins": float(len(measured))},
            flags=[],
            iterations=found.num_points,
            num=data.num,
            started=started,
            provenance={},
        )

    def _chosen(
        self, data: TableData, tables: Mapping[str, Table]
    ) -> tuple[dict[str, Table], list[NDArray[np.bool_]], list[float]]:
        """Return the tables that are fitted, which of their bins, and their weights.

        Raises:
            FastsimError: if a table is missing, is none that the model predicts at this energy, or has no such bins.
        """
        from metrics.hadrons.tables import ENERGY, prediction_of

        chosen: dict[str, Table] = {}
        masks, weights = [], []
        for entry, weight in data.observables.items():
            name, _, span = entry.partition("@")
            name = "/".join(name.split("/")[-2:])
            where = f"{self.place}: tables: {name}"
            if name not in tables:
                near = [each for each in tables if each.split("/")[0] == name.split("/")[0]]
                known = f"they have {len(near)} of {name.split('/')[0]}" if near else f"they have {len(tables)} others"
                raise FastsimError(f"{where}: is in none of the files; {known}")
            if name in chosen:
                raise FastsimError(f"{where}: is given twice")
            table = tables[name]
            if prediction_of(table) is None:
                raise FastsimError(f"{where}: fastsim has no prediction of this table, or it is of another energy")
            if abs(data.energy - ENERGY) > 1:
                raise FastsimError(f"{where}: is of {ENERGY:g} GeV, the energy of the fit is {data.energy:g} GeV")
            if not (table.high > table.low).all() and len(table.low) > 1:
                raise FastsimError(f"{where}: has bins without a width: it is another kind of table")
            order = np.argsort(table.low)
            if (table.low[order][1:] < table.high[order][:-1] - 1e-9).any():
                raise FastsimError(f"{where}: its bins overlap")
            chosen[name] = table
            masks.append(_within(table, span, where))
            weights.append(weight)
        return chosen, masks, weights

    def _check_units(self, filled: list[Filled], masks: list[NDArray[np.bool_]]) -> None:
        """Raise FastsimError for a table whose integral is far from that of the prediction."""
        for each, mask in zip(filled, masks, strict=True):
            table = each.table
            width = np.where(table.high > table.low, table.high - table.low, 1.0) if len(table.low) > 1 else np.ones(1)
            measured, predicted = (float(np.sum((v * width)[mask])) for v in (table.value, each.value))
            if not (predicted > 0 and 1 / _UNIT < measured / predicted < _UNIT):
                raise FastsimError(
                    f"{self.place}: tables: {table.name} ({each.what}) sums to {measured:.3g} over its bins, the model "
                    f"to {predicted:.3g}: it is in other units, normalised in another way, or another quantity"
                )

    def _sample(
        self, point: Floats, tables: Mapping[str, Table], data: TableData, number: int, *, scored: bool = False
    ) -> tuple[list[Filled], Floats]:
        """Sample the model at a point, fill the tables, and compute scores (N, P) of the events if asked for."""
        from generators.decays import decay
        from generators.hadrons.event_density import EventDensity
        from generators.hadrons.primary import particles_of_pairs
        from generators.reference.annihilation import TAU0_MAX, quark_pairs
        from metrics.hadrons.tables import fill_tables, joined

        model, rng = self.model.at(self.tune(point)), np.random.default_rng([self.seed, number])
        flavours = int(rng.integers(2**31))
        pairs = quark_pairs(data.num, flavours, energy=data.energy)
        parts, scores = [], [np.zeros((0, len(self.parameters)))]
        for start in range(0, data.num, FOR_PAIRS):
            some = pairs[np.arange(start, min(start + FOR_PAIRS, data.num))]
            tokens = model.draw_pair_tokens(some, rng)
            particles = decay(particles_of_pairs(tokens, some), rng, tau0_max=TAU0_MAX)
            parts.append(fill_tables(particles, tables, energy=data.energy))
            if scored:
                together = np.arange(2 * len(some)).reshape(2, -1).T.ravel()
                density = EventDensity.of_tokens(model, tokens[together], pairs=True)
                scores.append(density.gradient(model.vector)[1][:, self.columns])
        return [joined(tables_of) for tables_of in zip(*parts, strict=True)], np.concatenate(scores)

    # what both share

    def _result(
        self,
        kind: str,
        point: Floats,
        covariance: Floats,
        directions: Directions,
        *,
        converged: bool,
        comparisons: tuple[Comparison, ...],
        chi2: dict[str, float],
        flags: list[str],
        iterations: int,
        num: int,
        started: float,
        provenance: dict[str, str],
    ) -> FitResult:
        values, (_, scale) = self.values(point), self._scales
        spread = directions.spread(covariance) * np.outer(scale, scale)
        errors = np.sqrt(np.diag(spread))
        flags = flags + edge_flags(self.parameters, values, errors)
        flags += [direction_flag(self.parameters, direction) for direction in directions.degenerate.T]
        flags += [] if converged else [f"no convergence after {iterations} points"]
        return FitResult(
            kind,
            self.parameters,
            values,
            spread,
            comparisons,
            chi2,
            tuple(flags),
            iterations,
            num,
            time.process_time() - started,
            {"model": self.model.name, "start": str(self.start), "fit": self.place, **provenance},
        )


def _within(table: Table, span: str, where: str) -> NDArray[np.bool_]:
    """Return which bins of a table are within ``LOW:HIGH``; all for an empty text."""
    if not span:
        return np.ones(len(table.low), dtype=bool)
    try:
        low, high = (float(word) if word else end for word, end in zip(span.split(":"), (-np.inf, np.inf), strict=True))
    except ValueError:
        raise FastsimError(f"{where}: {span!r} is no range of bins: write PATH@LOW:HIGH") from None
    chosen = np.asarray((table.low >= low - 1e-9) & (table.high <= high + 1e-9))
    if not chosen.any():
        raise FastsimError(
            f"{where}: no bin is within {span}: they go from {table.low.min():g} to {table.high.max():g}"
        )
    return chosen


__all__ = ["BATCH", "FitResult", "tune"]
