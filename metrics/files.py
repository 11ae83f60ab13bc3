"""Samples from files: particle sets, event records clustered into jets, calorimeter showers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError
from fastsim.event import ParticleSet, Partons
from fastsim.formats.binning import read_binning
from fastsim.formats.calochallenge import read_showers
from metrics.hadrons.clustering import cluster
from metrics.hadrons.sample import jet_sample
from metrics.sample import Sample
from metrics.showers.features import showers_sample

PathLike = str | os.PathLike[str]
Batch = tuple[ParticleSet, NDArray[Any]]
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

    rows = slice(0, how.max_events)
    partons, particles, _ = hdf5.read(name, rows)
    return _jet_sample(name, particles, partons, _one_weight(name, hdf5.read_weights(name, rows)))


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
    constituents, axes, weights = [], [], []
    left = how.max_events
    for particles, columns in _events(name):
        if left is not None:
            particles, columns = particles[:left], columns[:left]
            left -= len(particles)
        try:
            jets = cluster(
                particles,
                radius=how.radius,
                pt_min=how.pt_min,
                eta_max=how.eta_max,
                max_jets=how.max_jets,
                weights=columns[:, 0] if columns.shape[1:] != (0,) else None,
            )
        except ValueError as error:
            raise FastsimError(f"{name}: {error}") from error
        constituents.append(jets.constituents)
        axes.append(jets.axes)
        weights.append(np.ones(len(jets)) if jets.weights is None else jets.weights)
        if left == 0:
            break
    if not sum(len(a) for a in axes):
        raise FastsimError(f"{name}: no jet of R = {how.radius:g} above {how.pt_min:g} GeV in its events")
    weight = np.concatenate(weights)
    sets, partons = ParticleSet.concatenate(constituents), Partons.concatenate(axes)
    sample = _jet_sample(name, sets, partons, _one_weight(name, weight))
    # nobody knows what a jet comes from; and its pT is an outcome here, not what it was generated for
    return replace(sample, condition={"jet pt": sample.condition["pt"]})


def _jet_sample(name: str, particles: ParticleSet, partons: Partons, weights: NDArray[Any] | None) -> Sample:
    if len(partons) == 0:
        raise FastsimError(f"{name}: the file holds no events")
    try:
        return jet_sample(particles, partons, weights=weights, groomed=True)
    except ValueError as error:
        raise FastsimError(f"{name}: {error}") from error


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


def _one_weight(name: str, weights: NDArray[Any] | None) -> NDArray[Any] | None:
    """The first weight of every event, or None where all are equal."""
    if weights is None or weights.size == 0:
        return None
    first = weights if weights.ndim == 1 else weights[:, 0]
    if not np.isfinite(first).all() or not first.sum() > 0:
        raise FastsimError(f"{name}: event weights sum to {first.sum():g}; a sample needs a positive sum")
    return None if np.ptp(first) == 0 else first
