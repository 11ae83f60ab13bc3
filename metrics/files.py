"""Samples from files: particle sets, event records clustered into jets, calorimeter showers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import read_binning
from fastsim.errors import FastsimError
from fastsim.event import ParticleSet, Partons
from fastsim.formats.calochallenge import read_showers
from metrics.hadrons.clustering import cluster
from metrics.hadrons.sample import jet_sample_of
from metrics.sample import Sample
from metrics.showers.features import showers_sample

PathLike = str | os.PathLike[str]
Batch = tuple[ParticleSet, NDArray[Any]]
Sets = tuple[ParticleSet, Partons, NDArray[Any] | None]
"""Particle sets, what they are relative to, and their weights (N,)."""
CHUNK = 20_000


@dataclass(frozen=True)
class Reading:
    """How files become samples.

    ``max_events``: read no more than these. Events are clustered with anti-kt of ``radius``; the leading ``max_jets``
    above ``pt_min`` (GeV) and within ``eta_max`` count. ``binning``: the XML of a CaloChallenge file; default the
    file's own name with .xml, or binning.xml beside it.
    """

    max_events: int | None = None
    radius: float = 0.4
    pt_min: float = 20.0
    eta_max: float | None = None
    max_jets: int = 2
    binning: Path | None = None


def load(path: PathLike, reading: Reading | None = None) -> Sample:
    """The sample in a file.

    Particle sets (HDF5, gun layout) are relative to their partons. Events (HepMC of any origin, fastsim's HDF5 event
    layout and ROOT) are clustered into jets, each relative to its own axis. CaloChallenge HDF5 gives showers.

    Args:
        path: the file.
        reading: how to read it.

    Raises:
        FastsimError: if the file cannot be read or holds nothing to compare.
    """
    how = reading or Reading()
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise FastsimError(f"{name}: no such file")
    if name.endswith((".h5", ".hdf5")):
        layout = _layout(name)
        if layout == "showers":
            return _showers(name, how)
        if layout == "fastsim-gun":
            return _sets(name, how)
    return _jets(name, how)


def _layout(name: str) -> str:
    """ "showers", or the layout attribute of a fastsim file."""
    import h5py

    try:
        with h5py.File(name, "r") as file:
            if "showers" in file or "incident_energies" in file:
                return "showers"
            return str(file.attrs.get("layout", ""))
    except OSError as error:
        raise FastsimError(f"{name}: not a readable HDF5 file, or truncated ({error})") from error


def _sets(name: str, how: Reading) -> Sample:
    from fastsim.formats import hdf5

    def batches() -> Iterator[Sets]:
        first, last = 0, how.max_events
        while True:
            rows = slice(first, first + CHUNK if last is None else min(first + CHUNK, last))
            partons, particles, _ = hdf5.read(name, rows)
            yield particles, partons, _first_column(hdf5.read_weights(name, rows))
            first += len(partons)
            if len(partons) < CHUNK:
                return

    return _jet_sample(name, batches(), "the file holds no events")


def _showers(name: str, how: Reading) -> Sample:
    place = how.binning or next((p for p in _binnings(name) if p.is_file()), None)
    if place is None:
        beside = " or ".join(p.name for p in _binnings(name))
        raise FastsimError(f"{name}: no binning XML given, and none beside it ({beside})")
    binning = read_binning(place)
    return showers_sample(read_showers(name, binning, max_events=how.max_events), binning)


def _binnings(name: str) -> tuple[Path, ...]:
    """Where the binning of a file of showers lies, if it is not given."""
    path = Path(name)
    return path.with_suffix(".xml"), path.with_name("binning.xml")


def _jets(name: str, how: Reading) -> Sample:
    def batches() -> Iterator[Sets]:
        left = how.max_events
        for particles, columns in _events(name):
            if left is not None:
                particles, columns = particles[:left], columns[:left]
                left -= len(particles)
            jets = cluster(
                particles,
                radius=how.radius,
                pt_min=how.pt_min,
                eta_max=how.eta_max,
                max_jets=how.max_jets,
                weights=_first_column(columns),
            )
            yield jets.constituents, jets.axes, jets.weights
            if left == 0:
                return

    sample = _jet_sample(name, batches(), f"no jet of R = {how.radius:g} above {how.pt_min:g} GeV in its events")
    # nobody knows what a jet comes from; and its pT is an outcome here, not what it was generated for
    return replace(sample, condition={"jet pt": sample.condition["pt"]})


def _jet_sample(name: str, batches: Iterator[Sets], if_empty: str) -> Sample:
    """The sample of all batches, of which only one is in memory as it was read.

    Raises:
        FastsimError: with the text ``if_empty`` if it has no sets; if a momentum or a weight is not allowed.
    """
    weights: list[NDArray[Any] | None] = []

    def sets() -> Iterator[tuple[ParticleSet, Partons]]:
        for particles, partons, given in batches:
            if len(partons):
                weights.append(given)
                yield particles, partons
        if not weights:
            raise FastsimError(f"{name}: {if_empty}")

    try:
        sample = jet_sample_of(sets(), groomed=True)
    except ValueError as error:
        raise FastsimError(f"{name}: {error}") from error
    known = [w for w in weights if w is not None]
    return replace(sample, weights=_one_weight(name, np.concatenate(known)) if len(known) == len(weights) else None)


def _events(name: str) -> Iterator[Batch]:
    """Final particles of a file's events in batches, with their weights (E, W)."""
    from fastsim.formats import hdf5, hepmc, root

    if name.endswith((".h5", ".hdf5")):
        batches = hdf5.read_events(name, chunk_size=CHUNK)[1]
    elif name.endswith(".root"):
        batches = iter([root.read(name)[1]])
    else:
        yield from hepmc.read(name, chunk_size=CHUNK)
        return
    for events in batches:
        if events.particles is None:
            raise FastsimError(f"{name}: its events have no final particles; run 'fastsim generate' on it first")
        yield events.particles, events.weights


def _first_column(weights: NDArray[Any] | None) -> NDArray[Any] | None:
    """The first, nominal weight of every event, (N,), or None where there is none."""
    return None if weights is None or weights.shape[1:] == (0,) else weights.reshape(len(weights), -1)[:, 0]


def _one_weight(name: str, weights: NDArray[Any]) -> NDArray[Any] | None:
    """The weights, or None where all are equal."""
    if not np.isfinite(weights).all() or not weights.sum() > 0:
        raise FastsimError(f"{name}: event weights sum to {weights.sum():g}; a sample needs a positive sum")
    return None if np.ptp(weights) == 0 else weights
