"""What can be compared, as samples: arrays of features, padded arrays of particles, events in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import InvalidValue
from fastsim.event import HardEvents, ParticleSet, Partons, offsets_from_counts
from fastsim.event.kinematics import p4_from_pt_eta_phi_m
from fastsim.extras import installed
from fastsim.formats.calochallenge import Showers
from metrics.arrays import as_array
from metrics.hadrons.sample import jet_sample
from metrics.sample import Sample

ETA, PHI, PT = range(3)
"""Columns of padded particles, relative to their jet, as JetNet has them: eta, phi, pT / pT of the jet, then a mask."""
_GLUON = 21
_MAX_COLUMNS = 1_000


def array_sample(columns: Any, *, weights: Any = None) -> Sample:
    """Make a sample of numbers: each column is an observable, and all together are the embedding.

    Args:
        columns: N events: features (N, D), one value an event (N,), or columns (N,) by name; of any array library.
        weights: of the events, (N,), of either sign.

    Raises:
        InvalidValue: if the columns are no numbers, are empty, or differ in length.

    >>> list(array_sample(np.zeros((5, 2))).observables), list(array_sample({"mass": [1.0, 2.0]}).observables)
    (['column 0', 'column 1'], ['mass'])
    """
    if isinstance(columns, Mapping):
        named = {str(name): as_array(values, f"column {name!r}", 1) for name, values in columns.items()}
    else:
        array = as_array(columns, "sample")
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2:
            raise InvalidValue(f"sample: shape {array.shape}, expected features (N, D) or one value an event (N,)")
        named = {f"column {k}": array[:, k] for k in range(array.shape[1])}
    if not named or len({len(values) for values in named.values()}) != 1 or len(next(iter(named.values()))) == 0:
        shown = ", ".join(f"{name} {len(values)}" for name, values in named.items()) or "no columns"
        raise InvalidValue(f"sample: {shown}; expected columns of one length, at least 1")
    if len(named) > _MAX_COLUMNS:
        raise InvalidValue(f"sample: {len(named)} columns are compared one by one; give {_MAX_COLUMNS} at most")
    values = {name: np.ascontiguousarray(column, dtype=np.float64) for name, column in named.items()}
    embedding = np.stack(list(values.values()), axis=1)
    return Sample("arrays", values, embedding, weights=None if weights is None else as_array(weights, "weights", 1))


def padded_sample(particles: Any, jets: Any = None, *, weights: Any = None) -> Sample:
    """Make a sample of jets given as padded arrays, in the layout of JetNet.

    Species are not known, so observables that need them are left out; particles are taken as massless.

    Args:
        particles: eta and phi relative to the jet, pT / pT of the jet, and optionally a mask, (N, P, 3) or (N, P, 4);
            rows whose mask is below 0.5, or without mask those of pT 0, are padding.
        jets: pT in GeV and eta of the jets in the first columns, (N, 2) or more; None for 1 GeV at eta = 0 for all.
        weights: of the jets, (N,), of either sign.

    Raises:
        InvalidValue: if the shapes do not fit, or a value is not finite.
    """
    array = as_array(particles, "particles", 3).astype(np.float64)
    num, _, width = array.shape
    if width not in (3, 4):
        raise InvalidValue(
            f"particles: {width} features, expected eta, phi, pT relative to the jet, and a mask or none"
        )
    if not np.isfinite(array).all():
        raise InvalidValue("particles: hold NaN or infinity")
    axis = np.column_stack([np.ones(num), np.zeros(num)])
    if jets is not None:
        axis = as_array(jets, "jets", 2)[:, :2].astype(np.float64)
        if axis.shape != (num, 2) or not (np.isfinite(axis).all() and (axis[:, 0] > 0).all()):
            raise InvalidValue(f"jets: shape {np.shape(jets)}; expected pT > 0 in GeV and eta of {num} jets, finite")
    real = array[..., 3] > 0.5 if width == 4 else array[..., PT] > 0
    index = np.repeat(np.arange(num), real.sum(axis=1))
    rows = array[real]
    zero = np.zeros(num)
    sets = ParticleSet(
        offsets_from_counts(real.sum(axis=1)),
        np.zeros(len(rows), np.int64),
        p4_from_pt_eta_phi_m(rows[:, PT] * axis[index, 0], rows[:, ETA] + axis[index, 1], rows[:, PHI], 0.0),
    )
    axes = Partons(np.full(num, _GLUON), p4_from_pt_eta_phi_m(axis[:, 0], axis[:, 1], zero, zero))
    sample = jet_sample(sets, axes, weights=None if weights is None else as_array(weights, "weights", 1))
    known = {k: v for k, v in sample.observables.items() if k != "charged" and not k.startswith("number of ")}
    condition = {} if jets is None else {"jet pt": sample.condition["pt"]}
    return Sample("jets", known, sample.embedding, condition, sample.weights, sample.events)


def event_sample(events: HardEvents) -> Sample:
    """Make a sample of events: sets of a gun relative to their partons, or anti-kt jets (:func:`metrics.cluster`).

    Raises:
        InvalidValue: if the events have no final particles, or no jet.
        MissingLibrary: if jets have to be clustered and FastJet is not installed.
    """
    if events.particles is None:
        raise InvalidValue("these events have no final particles: run a model or Pythia on them first")
    if len(events) == 0:
        raise InvalidValue("there are no events")
    weights, groomed = events.weights[:, 0], installed("fastjet")
    if (events.counts == 1).all() and (events.status == 1).all():
        partons = Partons(events.pdg_id, events.p4)
        return jet_sample(events.particles, partons, weights=_unless_equal(weights), groomed=groomed)
    from metrics.hadrons.clustering import cluster

    jets = cluster(events.particles, weights=weights)
    if len(jets.constituents) == 0:
        raise InvalidValue("these events have no jet of R = 0.4 above 20 GeV")
    sample = jet_sample(jets.constituents, jets.axes, weights=_unless_equal(jets.weights), groomed=groomed)
    return Sample(
        "jets",
        sample.observables,
        sample.embedding,
        {"jet pt": sample.condition["pt"]},
        sample.weights,
        sample.events,
    )


def as_sample(given: Any, name: str = "sample") -> Sample:
    """Return what is given as a sample: one already, events, features (N, D), columns by name, or padded particles.

    Args:
        given: a sample; events; an array (N,) or (N, D), or columns (N,) by name (:func:`array_sample`); padded
            particles (N, P, 3) or (N, P, 4) (:func:`padded_sample`).
        name: what it is, for messages.

    Raises:
        InvalidValue: if it is none of these.
    """
    if isinstance(given, Sample):
        return given
    if isinstance(given, HardEvents):
        return event_sample(given)
    if isinstance(given, ParticleSet):
        raise InvalidValue(f"{name}: particle sets are compared relative to their partons: jet_sample(sets, partons)")
    if isinstance(given, Showers):
        raise InvalidValue(f"{name}: showers are compared layer by layer: showers_sample(showers, binning)")
    if isinstance(given, Mapping):
        return array_sample(given)
    array = as_array(given, name)
    return padded_sample(array) if array.ndim == 3 else array_sample(array)


def _unless_equal(weights: NDArray[Any] | None) -> NDArray[Any] | None:
    return None if weights is None or math.isclose(float(np.ptp(weights)), 0.0) else weights
