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
EventBatch = tuple[ParticleSet, NDArray[Any]]
"""Final particles of E events, one set an event, and weights of the events (E, W)."""
PartonBatch = tuple[ParticleSet, Partons, NDArray[Any] | None]
"""N particle sets, the partons or jet axes that they are relative to, and their weights (N,)."""
CHUNK = 20_000
"""Sets or events that are read at a time."""


@dataclass(frozen=True)
class Reading:
    """How files become samples.

    Attributes:
        max_events: events that are read at most; None for all.
        radius: R of the anti-kt algorithm, for files of events.
        pt_min: least pT of a jet, in GeV.
        eta_max: largest absolute pseudorapidity of a jet; None for any.
        max_jets: leading jets of an event that count.
        binning: XML file of the voxels of a CaloChallenge file; default the file's own name with .xml, or binning.xml
            in its folder.
        final_status: status codes of the final particles of HepMC files.
    """

    max_events: int | None = None
    radius: float = 0.4
    pt_min: float = 20.0
    eta_max: float | None = None
    max_jets: int = 2
    binning: Path | None = None
    final_status: tuple[int, ...] = (1,)


def load(path: PathLike, reading: Reading | None = None) -> Sample:
    """Read a file as a sample.

    Particle sets (HDF5, gun layout) are relative to their partons. Events (HepMC of any origin, fastsim's HDF5 event
    layout and ROOT) are clustered into jets, each relative to its own axis. CaloChallenge HDF5 gives showers.

    Args:
        path: the file.
        reading: how to read it.

    Returns:
        The sample: ``condition`` holds what the events were generated for, or the jets' own pT ("jet pt") where they
        were clustered.

    Raises:
        FastsimError: if the file cannot be read or holds nothing to compare.
    """
    options = reading or Reading()
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise FastsimError(f"{name}: no such file")
    if name.endswith((".h5", ".hdf5")):
        layout = _layout(name)
        if layout == "showers":
            return _showers(name, options)
        if layout == "fastsim-gun":
            return _sets(name, options)
    return _jets(name, options)


def _layout(name: str) -> str:
    """Tell "showers", or the layout attribute of a fastsim file."""
    import h5py

    try:
        with h5py.File(name, "r") as file:
            if "showers" in file or "incident_energies" in file:
                return "showers"
            return str(file.attrs.get("layout", ""))
    except OSError as error:
        raise FastsimError(f"{name}: not a readable HDF5 file, or truncated ({error})") from error


def _sets(name: str, options: Reading) -> Sample:
    """Read particle sets that are relative to their partons."""
    from fastsim.formats import hdf5

    def batches() -> Iterator[PartonBatch]:
        first, last = 0, options.max_events
        while True:
            rows = slice(first, first + CHUNK if last is None else min(first + CHUNK, last))
            partons, particles, _ = hdf5.read(name, rows)
            yield particles, partons, _first_column(hdf5.read_weights(name, rows))
            first += len(partons)
            if len(partons) < CHUNK:
                return

    return _jet_sample(name, batches(), "the file holds no events")


def _showers(name: str, options: Reading) -> Sample:
    """Read calorimeter showers and their binning."""
    binning_path = options.binning or next((p for p in _binnings(name) if p.is_file()), None)
    if binning_path is None:
        candidates = " or ".join(p.name for p in _binnings(name))
        raise FastsimError(f"{name}: no binning XML given, and none beside it ({candidates})")
    binning = read_binning(binning_path)
    return showers_sample(read_showers(name, binning, max_events=options.max_events), binning)


def _binnings(name: str) -> tuple[Path, ...]:
    """List where the binning of a file of showers may lie, if it is not given."""
    path = Path(name)
    return path.with_suffix(".xml"), path.with_name("binning.xml")


def _jets(name: str, options: Reading) -> Sample:
    """Cluster the events of a file into jets."""

    def batches() -> Iterator[PartonBatch]:
        left = options.max_events
        for particles, columns in _events(name, options.final_status):
            if left is not None:
                particles, columns = particles[:left], columns[:left]
                left -= len(particles)
            jets = cluster(
                particles,
                radius=options.radius,
                pt_min=options.pt_min,
                eta_max=options.eta_max,
                max_jets=options.max_jets,
                weights=_first_column(columns),
            )
            yield jets.constituents, jets.axes, jets.weights
            if left == 0:
                return

    empty_message = f"no jet of R = {options.radius:g} above {options.pt_min:g} GeV in its events"
    sample = _jet_sample(name, batches(), empty_message)
    # nobody knows what a jet comes from; and its pT is an outcome here, not what it was generated for
    return replace(sample, condition={"jet pt": sample.condition["pt"]})


def _jet_sample(name: str, batches: Iterator[PartonBatch], empty_message: str) -> Sample:
    """Make one sample of all batches, of which only one is in memory as it was read.

    Raises:
        FastsimError: with the text ``empty_message`` if it has no sets; if a momentum or a weight is not allowed.
    """
    weights: list[NDArray[Any] | None] = []

    def sets() -> Iterator[tuple[ParticleSet, Partons]]:
        for particles, partons, batch_weights in batches:
            if len(partons):
                weights.append(batch_weights)
                yield particles, partons
        if not weights:
            raise FastsimError(f"{name}: {empty_message}")

    try:
        sample = jet_sample_of(sets(), groomed=True)
    except ValueError as error:
        raise FastsimError(f"{name}: {error}") from error
    known = [w for w in weights if w is not None]
    return replace(sample, weights=_one_weight(name, np.concatenate(known)) if len(known) == len(weights) else None)


def _events(name: str, final_status: tuple[int, ...]) -> Iterator[EventBatch]:
    """Yield the final particles of a file's events in batches, with their weights (E, W)."""
    from fastsim.formats import hdf5, hepmc, root

    if name.endswith((".h5", ".hdf5")):
        batches = hdf5.read_events(name, chunk_size=CHUNK)[1]
    elif name.endswith(".root"):
        batches = iter([root.read(name)[1]])
    else:
        yield from hepmc.read(name, chunk_size=CHUNK, final_status=final_status)
        return
    for events in batches:
        if events.particles is None:
            raise FastsimError(f"{name}: its events have no final particles; run 'fastsim generate' on it first")
        yield events.particles, events.weights


def _first_column(weights: NDArray[Any] | None) -> NDArray[Any] | None:
    """Return the first, nominal weight of every event, (N,), or None where there is none."""
    return None if weights is None or weights.shape[1:] == (0,) else weights.reshape(len(weights), -1)[:, 0]


def _one_weight(name: str, weights: NDArray[Any]) -> NDArray[Any] | None:
    """Return the weights, or None where all are equal."""
    if not np.isfinite(weights).all() or not weights.sum() > 0:
        raise FastsimError(f"{name}: event weights sum to {weights.sum():g}; a sample needs a positive sum")
    return None if np.ptp(weights) == 0 else weights
