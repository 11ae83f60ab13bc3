"""One sample of events as every metric wants it, whatever the events are: jets, calorimeter showers, plain arrays."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import Binning
from fastsim.errors import InvalidValue
from fastsim.event import ParticleSet
from fastsim.formats.calochallenge import Showers
from metrics.hadrons.jets import Jets
from metrics.hadrons.origins import Origins

Floats = NDArray[np.float64]
Kind = Literal["jets", "events", "showers", "cells", "arrays"]


@dataclass(frozen=True)
class Columns:
    """K columns (N,) side by side as a matrix (N, K), of which only the rows that are asked for are in memory.

    ``names`` (K,) says what they are.
    """

    columns: tuple[NDArray[np.floating[Any]], ...]
    names: tuple[str, ...]
    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), len(self.columns)

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, rows: slice | NDArray[Any]) -> Floats:
        return np.stack([column[rows] for column in self.columns], axis=1)


@dataclass(frozen=True)
class Sample:
    """N events of one kind.

    Attributes:
        kind: what the events are.
        observables: one value an event, (N,) each, in the units that their names state: compared one by one.
        embedding: the features that FPD, KPD, precision and recall are computed in (EFPs of jets, features of showers),
            shape (N, D).
        condition: what the events were generated for, (N,) each: bins, and input of every classifier.
        weights: event weights of either sign, (N,), or None where all are 1.
        events: the events themselves, for metrics of low-level data.
        binning: where the voxels of showers lie.
        content: charges, quantum numbers and combinations of particle sets (:mod:`metrics.hadrons.content`), (N,) each.
        origins: where the particles of sets come from, if that is known.

    Raises:
        ValueError: if the columns differ in length.

    >>> sample = Sample("arrays", {"mass / GeV": np.array([1.0, 2.0, 3.0])}, np.zeros((3, 2)))
    >>> len(sample), sample[1:].observables["mass / GeV"].tolist()
    (3, [2.0, 3.0])
    """

    kind: Kind
    observables: Mapping[str, Floats]
    embedding: NDArray[np.floating[Any]]
    condition: Mapping[str, Floats] = field(default_factory=dict)
    weights: Floats | None = None
    events: Jets | ParticleSet | Showers | None = None
    binning: Binning | None = None
    content: Mapping[str, NDArray[np.floating[Any]]] = field(default_factory=dict)
    origins: Origins | None = None

    def __post_init__(self) -> None:
        lengths = {"embedding": len(self.embedding)}
        lengths |= {k: len(v) for k, v in {**self.observables, **self.condition, **self.content}.items()}
        if self.origins is not None:
            lengths["origins"] = len(self.origins)
        if self.weights is not None:
            lengths["weights"] = len(self.weights)
        if len(set(lengths.values())) > 1:
            raise InvalidValue(f"columns of different lengths: {', '.join(f'{k} {n}' for k, n in lengths.items())}")

    def __len__(self) -> int:
        return len(self.embedding)

    def __getitem__(self, rows: slice | NDArray[Any]) -> Sample:
        """Select the events of a slice, a mask or an array of indices."""
        return Sample(
            self.kind,
            {k: v[rows] for k, v in self.observables.items()},
            self.embedding[rows],
            {k: v[rows] for k, v in self.condition.items()},
            None if self.weights is None else self.weights[rows],
            None if self.events is None else self.events[rows],
            self.binning,
            {k: v[rows] for k, v in self.content.items()},
            None if self.origins is None else self.origins[rows],
        )

    def classifier_inputs(
        self, without: Collection[str] = (), *, content: bool = True, origins: bool = False
    ) -> Columns:
        """Put observables and condition side by side, shape (N, K), with content and with what origins tell.

        Args:
            without: names of observables and conditions to leave out.
            content: take charges, quantum numbers and combinations.
            origins: take vertices and fractions, which not every sample has.
        """
        columns = [*self.observables.items(), *self.condition.items()]
        chosen = [(k, v) for k, v in columns if k not in without] or columns
        chosen += self.content.items() if content else []
        if origins and self.origins is not None:
            chosen += [*self.origins.vertices.items(), *self.origins.fractions.items()]
        return Columns(tuple(v for _, v in chosen), tuple(k for k, _ in chosen))


ROUNDING = 1e-9
"""Spread of an observable below which it is constant but for rounding, and tells nothing of the events: relative to
its size; of jets and showers, whose observables are mostly ratios, to 1 if that is larger."""


def constant_observables(real: Sample, generated: Sample) -> frozenset[str]:
    """Name the observables and conditions that are constant, and the same, in both samples but for rounding."""
    columns = ({**s.observables, **s.condition} for s in (real, generated))
    one, other = columns
    least = 0.0 if real.kind == "arrays" else 1.0
    return frozenset(name for name, values in one.items() if name in other and _constant(values, other[name], least))


def _constant(one: Floats, other: Floats, least: float) -> bool:
    if not (len(one) and len(other)):
        return False
    low, high = min(one.min(), other.min()), max(one.max(), other.max())
    return bool(np.isfinite(high - low) and high - low <= ROUNDING * max(abs(low), abs(high), least))


_KINDS = {
    "jets": "jets",
    "events": "whole events",
    "showers": "calorimeter showers",
    "cells": "calorimeter cells",
    "arrays": "plain arrays",
}


def check_alike(real: Sample, generated: Sample, names: tuple[str, str] = ("real", "generated")) -> None:
    """Check that two samples can be compared: equal kind, observables, condition, content and binning.

    Args:
        real, generated: the samples.
        names: what they are called in the message.

    Raises:
        InvalidValue: if they differ, saying in what.
    """
    if real.kind != generated.kind:
        what = [f"{name} holds {_KINDS[s.kind]}" for name, s in zip(names, (real, generated), strict=True)]
        raise InvalidValue(f"the samples differ in kind: {', '.join(what)}; compare like with like")
    for name in ("observables", "condition", "content", "binning"):
        one, other = getattr(real, name), getattr(generated, name)
        if isinstance(one, Mapping):
            one, other = list(one), list(other)
        if one != other:
            shown = f": {one} and {other}"
            if name == "binning":
                shown = ": their particles, layers or cells are others"
            elif isinstance(one, list):
                own = [key for key in {**dict.fromkeys(one), **dict.fromkeys(other)} if (key in one) != (key in other)]
                more = "..." if len(own) > 3 else ""
                shown = f" ({names[0]} and {names[1]}): one alone has {', '.join(own[:3])}{more}"
            raise InvalidValue(f"the samples differ in {name}{shown}")
