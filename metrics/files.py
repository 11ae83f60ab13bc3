"""Samples from files: particle sets, event records clustered into jets, calorimeter showers."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import read_binning
from fastsim.errors import FastsimError, InvalidValue
from fastsim.event import ParticleSet, Partons
from fastsim.extras import installed
from fastsim.formats.atomic import HDF5_ENDINGS
from fastsim.formats.calochallenge import read_showers
from fastsim.formats.lheh5 import is_lheh5, refusal
from fastsim.shipped import sha256_of
from metrics.hadrons.clustering import cluster
from metrics.hadrons.sample import jet_sample_of
from metrics.hadrons.whole_events import whole_sample
from metrics.inputs import array_sample, as_sample, padded_sample
from metrics.sample import Sample
from metrics.showers.features import showers_sample

PathLike = str | os.PathLike[str]
EventBatch = tuple[ParticleSet, NDArray[Any]]
"""Final particles of E events, one set an event, and weights of the events (E, W)."""
PartonBatch = tuple[ParticleSet, Partons, NDArray[Any] | None]
"""N particle sets, the partons or jet axes that they are relative to, and their weights (N,)."""
LAYOUTS = (
    "compared are fastsim's particle sets and events, CaloChallenge showers (incident_energies, showers), "
    "JetNet's jets (particle_features, jet_features)"
)
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
        whole: take the events of a file as they are, at rest, in place of their jets.
        binning: XML file of the voxels of a CaloChallenge file; default the file's own name with .xml, or binning.xml
            in its folder.
        threshold: readout threshold of showers in MeV: voxels below it, negative ones too, count as empty, as in the
            CaloChallenge (arXiv:2410.21611, 15.15 keV or 1 MeV for both samples).
        final_status: status codes of the final particles of HepMC files.
    """

    max_events: int | None = None
    radius: float = 0.4
    pt_min: float = 20.0
    eta_max: float | None = None
    max_jets: int = 2
    whole: bool = False
    binning: Path | None = None
    threshold: float | None = None
    final_status: tuple[int, ...] = (1,)


def load(path: PathLike, reading: Reading | None = None) -> Sample:
    """Read a file as a sample.

    Particle sets (HDF5, gun layout) are relative to their partons. Events (HepMC of any origin, fastsim's HDF5 event
    layout and ROOT) are clustered into jets, each relative to its own axis. CaloChallenge HDF5 gives showers. JetNet's
    HDF5 (``particle_features``, ``jet_features``) and padded particles (N, P, 3 or 4) in .npy or .npz give jets,
    features (N, D) or columns (N,) there give observables.

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
    lower = name.lower()
    if lower.endswith((".npy", ".npz")):
        return _arrays(name, options)
    if lower.endswith((".h5", ".hdf5")):
        layout = _layout(name)
        if layout == "jetnet":
            return _jetnet(name, options)
        if layout == "showers":
            return _showers(name, options)
        if layout == "fastsim-gun":
            return _sets(name, options)
        if is_lheh5(name):
            raise refusal(name)
        if layout != "fastsim-events":
            raise FastsimError(f"{name}: {_what_is_there(name)} is no layout that can be compared; {LAYOUTS}")
    return _whole(name, options) if options.whole else _jets(name, options)


def _whole(name: str, options: Reading) -> Sample:
    """Read the events of a file as they are."""
    batches, weights, left = [], [], options.max_events
    for particles, columns in _events(name, options.final_status):
        batches.append(particles[:left])
        weights.append(columns[:left])
        if left is not None:
            left -= len(batches[-1])
            if left == 0:
                break
    if not sum(map(len, batches)):
        raise FastsimError(f"{name}: the file holds no events")
    given = _first_column(np.concatenate(weights))
    try:
        return whole_sample(
            ParticleSet.concatenate(batches), weights=None if given is None else _one_weight(name, given)
        )
    except ValueError as error:
        raise FastsimError(f"{name}: {error}") from error


def _layout(name: str) -> str:
    """Tell "showers", "jetnet", or the layout attribute of a fastsim file."""
    import h5py

    try:
        with h5py.File(name, "r") as file:
            if "showers" in file or "incident_energies" in file:
                return "showers"
            if "particle_features" in file:
                return "jetnet"
            return str(file.attrs.get("layout", ""))
    except OSError as error:
        raise FastsimError(f"{name}: not a readable HDF5 file, or truncated ({error})") from error


def _what_is_there(name: str) -> str:
    """Return the names in an HDF5 file, for a message."""
    import h5py

    with h5py.File(name, "r") as file:
        return ", ".join(sorted(map(str, file))[:8]) or "an empty file"


def _jetnet(name: str, options: Reading) -> Sample:
    """Read jets in JetNet's layout: ``particle_features`` (N, P, 4), and ``jet_features`` with pT and eta first."""
    import h5py

    with h5py.File(name, "r") as file:
        rows = slice(options.max_events)
        if "jet_features" not in file:
            raise FastsimError(f"{name}: has particle_features, but no jet_features (pT in GeV, eta, mass, number)")
        tables = [file[key][rows] for key in ("particle_features", "jet_features")]
    try:
        return padded_sample(*tables)
    except InvalidValue as error:
        raise FastsimError(f"{name}: {error}") from error


def _arrays(name: str, options: Reading) -> Sample:
    """Read a NumPy file: features (N, D) or padded particles (N, P, 3 or 4); of .npz one of these, or columns (N,)."""
    rows = slice(options.max_events)
    try:
        loaded = np.load(name, allow_pickle=False)
        arrays = {"": loaded[rows]} if isinstance(loaded, np.ndarray) else {k: loaded[k][rows] for k in loaded.files}
    except (OSError, ValueError, EOFError, IndexError, zipfile.BadZipFile) as error:
        raise FastsimError(f"{name}: cannot be read as NumPy arrays ({error})") from error
    try:
        if {"particle_features", "jet_features"} <= arrays.keys():
            return padded_sample(arrays["particle_features"], arrays["jet_features"])
        if arrays and "" not in arrays and all(array.ndim == 1 for array in arrays.values()):
            return array_sample(arrays)
        if len(arrays) == 1:
            return as_sample(next(iter(arrays.values())))
    except InvalidValue as error:
        raise FastsimError(f"{name}: {error}") from error
    shapes = ", ".join(f"{key} {array.shape}" for key, array in arrays.items()) or "nothing"
    raise FastsimError(
        f"{name}: holds {shapes}; give features (N, D), particles (N, P, 3 or 4), columns (N,), or particle_features "
        "with jet_features"
    )


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
    return showers_sample(
        read_showers(name, binning, max_events=options.max_events, threshold=options.threshold), binning
    )


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
        sample = jet_sample_of(sets(), groomed=installed("fastjet"))
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


def sample_names(paths: Sequence[str], *, refuse_equal: bool = False) -> dict[str, str]:
    """Return a name for each path: that of its file, or the path itself if two files have one name.

    Args:
        paths: paths of files.
        refuse_equal: whether files with the same content are refused.

    Raises:
        InvalidValue: if a file, or a copy of it, is given twice: every sample has to be independent of the others.

    >>> sample_names(["a/real.h5", "b/model.h5"]), sample_names(["a/x.h5", "b/x.h5"])
    ({'a/real.h5': 'real.h5', 'b/model.h5': 'model.h5'}, {'a/x.h5': 'a/x.h5', 'b/x.h5': 'b/x.h5'})
    """
    if refuse_equal:
        refuse_equal_files(paths)
    short = [Path(p).name for p in paths]
    return dict(zip(paths, short if len(set(short)) == len(short) else paths, strict=True))


def refuse_equal_files(paths: Sequence[str]) -> None:
    """Refuse a file that is given twice, under one path or two, and a copy of it.

    Raises:
        InvalidValue: naming both paths.
    """
    seen: dict[object, str] = {}
    for path in paths:
        if not os.path.isfile(path):
            continue
        size = os.path.getsize(path)
        alike = any(os.path.getsize(other) == size for other in paths if other is not path and os.path.isfile(other))
        key = sha256_of(Path(path)) if alike else os.path.realpath(path)
        if key in seen:
            raise InvalidValue(
                f"{seen[key]} and {path} are the same events, given twice: every sample has to be independent of the "
                "others"
            )
        seen[key] = path


def describe(path: PathLike) -> str:
    """Say what a file is, for a report: size, checksum, and, where the file or its manifest says so, what made it."""
    name = os.fspath(path)
    parts = [os.path.abspath(name), f"{os.path.getsize(name):,} bytes", f"SHA-256 {sha256_of(Path(name))[:16]}..."]
    return ", ".join([*parts, *(f"{key} {value}" for key, value in _origin(name).items())])


def _origin(name: str) -> dict[str, str]:
    """Return model, version and seed of a file of fastsim, from its manifest or its attributes."""
    manifest = Path(f"{name}.manifest.json")
    values: dict[str, Any] = {}
    if manifest.is_file():
        try:
            settings = json.loads(manifest.read_text(encoding="utf-8")).get("settings", {})
        except (OSError, ValueError, AttributeError):
            settings = {}
        values = {**settings, **settings.get("provenance", {})}
    elif name.lower().endswith(HDF5_ENDINGS):
        import h5py

        with h5py.File(name, "r") as file:
            values = dict(file.attrs)
    return {key: str(values[key]) for key in ("model", "model_version", "shower_model", "seed") if key in values}
