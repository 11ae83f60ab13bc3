"""Samples of calorimeter cells from event files, in HDF5 and ROOT."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastsim.detector.towers import Towers
from fastsim.errors import FastsimError
from fastsim.event import Cells, Floats, HardEvents, RunInfo
from fastsim.formats.atomic import HDF5_ENDINGS
from metrics.cells.observables import THRESHOLD, cell_sample
from metrics.sample import Sample

CHUNK = 2_000
"""Events that are read at a time."""


def has_cells(name: str) -> bool:
    """Tell whether a file holds events with calorimeter cells; a file that cannot be read holds none."""
    lower = name.lower()
    try:
        if lower.endswith(HDF5_ENDINGS):
            import h5py

            with h5py.File(name, "r") as file:
                return "cell" in file and "offsets" in file["cell"]
        if lower.endswith(".root"):
            import uproot

            with uproot.open(name) as file:
                return "ncell" in file["events"].keys()  # noqa: SIM118 - keys of a tree are not its members
    except (OSError, KeyError, ValueError, TypeError):
        return False
    return False


def load_cells(
    name: str, *, max_events: int | None = None, threshold: float | None = None, radius: float | None = 0.4
) -> Sample:
    """Read the cells of a file of events as a sample.

    Args:
        name: the file, in fastsim's HDF5 event layout or ROOT.
        max_events: events that are read at most; None for all.
        threshold: MeV; cells below it count as empty.
        radius: R of the anti-kt jets of towers; None for no jets.

    Raises:
        FastsimError: if the file cannot be read, has no events, no cells or no towers, or its cells are not allowed.
        MissingLibrary: if FastJet is not installed and jets are wanted.
    """
    run, batches = _open(name)
    cells: list[Cells] = []
    weights: list[Floats] = []
    left = max_events
    for events in batches:
        if events.cells is None:
            raise FastsimError(f"{name}: its events have no calorimeter cells; 'fastsim generate --steps' makes them")
        cells.append(events.cells[:left])
        weights.append(events.weights[:left])
        if left is not None:
            left -= len(cells[-1])
            if left == 0:
                break
    if not sum(map(len, cells)):
        raise FastsimError(f"{name}: the file holds no events")
    if "calorimeter" not in run.provenance:
        raise FastsimError(f"{name}: the attribute 'calorimeter' is missing: nothing says where its cells lie")
    try:
        towers = Towers.from_json(str(run.provenance["calorimeter"]))
        every = Cells.concatenate(cells)
        if threshold is not None:
            every = _above(every, threshold)
        sample = cell_sample(
            every,
            towers,
            weights=_nominal(np.concatenate(weights)),
            threshold=THRESHOLD if threshold is None else threshold,
            radius=radius,
        )
    except ValueError as error:
        raise FastsimError(f"{name}: {error}") from error
    return sample


def _open(name: str) -> tuple[RunInfo, Iterator[HardEvents]]:
    """Open a file of events."""
    from fastsim.formats import hdf5, root

    if name.lower().endswith(".root"):
        run, events = root.read(name)
        return run, iter([events])
    return hdf5.read_events(name, chunk_size=CHUNK, history=False)


def _above(cells: Cells, threshold: float) -> Cells:
    """Return the cells of at least a threshold in MeV."""
    kept = cells.energy >= threshold
    counts = np.bincount(cells.index[kept], minlength=len(cells))
    return Cells(np.concatenate([[0], np.cumsum(counts)]), cells.id[kept], cells.energy[kept])


def _nominal(weights: Floats) -> Floats | None:
    """Return the first, nominal weight of every event, or None where there is none or all are equal.

    Raises:
        FastsimError: if they do not sum to more than 0.
    """
    if weights.shape[1:] == (0,):
        return None
    nominal = weights.reshape(len(weights), -1)[:, 0]
    if not np.isfinite(nominal).all() or not nominal.sum() > 0:
        raise FastsimError(f"event weights sum to {nominal.sum():g}; a sample needs a positive sum")
    return None if np.ptp(nominal) == 0 else nominal
