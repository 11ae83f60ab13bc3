"""Calorimeter showers in the CaloChallenge layout, in memory and in its HDF5 files.

A file holds ``incident_energies`` (N, 1) and ``showers`` (N, V), both in MeV, voxels in the order of
:mod:`fastsim.formats.binning`. Deposits are zero or positive: what lies below the readout threshold is 0.

References:
    Krause et al. 2024, arXiv:2410.21611 (CaloChallenge 2022).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError
from fastsim.formats.binning import Binning

CHUNK_VALUES = 4_000_000
"""Voxels handled at once: 32 MB in float64."""


@dataclass(frozen=True)
class Showers:
    """N showers: ``incident`` energies (N,) and ``voxels`` (N, V) deposits, both in MeV."""

    incident: NDArray[np.float64]
    voxels: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.incident.ndim != 1 or self.voxels.ndim != 2 or len(self.incident) != len(self.voxels):
            raise FastsimError(
                f"incident energies of shape {self.incident.shape} and voxels of shape {self.voxels.shape}, "
                "expected (N,) and (N, V)"
            )

    def __len__(self) -> int:
        return len(self.voxels)

    def __getitem__(self, rows: slice | NDArray[Any]) -> Showers:
        return Showers(self.incident[rows], self.voxels[rows])

    def chunks(self) -> Iterator[Showers]:
        """The showers in parts of at most ``CHUNK_VALUES`` voxels (at least one shower each)."""
        step = chunk_size(self.voxels.shape[1])
        for first in range(0, len(self), step):
            yield self[first : first + step]


def chunk_size(num_voxels: int) -> int:
    """Showers of ``num_voxels`` voxels that make up ``CHUNK_VALUES``, at least 1."""
    return max(1, CHUNK_VALUES // max(1, num_voxels))


def check_showers(showers: Showers, binning: Binning | None = None, *, place: str = "showers", first: int = 0) -> None:
    """Refuses what no calorimeter records.

    Args:
        showers: N showers.
        binning: what they have to fit, if given.
        place: where they come from, for the message.
        first: number of the first of them there.

    Raises:
        FastsimError: if the number of voxels does not fit, an incident energy is not positive and finite, or a
            deposit is negative, NaN or infinite; the message names the shower.
    """
    incident, voxels = showers.incident, showers.voxels
    if binning is not None:
        binning.check(voxels.shape[1], place)
    bad = ~((incident > 0) & np.isfinite(incident))
    if bad.any():
        row = int(np.argmax(bad))
        raise FastsimError(
            f"{place}: shower {first + row} has an incident energy of {incident[row]} MeV, must be positive"
        )
    # one pass each that allocates nothing; a NaN fails both comparisons
    if voxels.size and not (voxels.min() >= 0 and voxels.max() < np.inf):
        row = int(np.argmax(~((voxels >= 0) & np.isfinite(voxels)).all(axis=1)))
        value = voxels[row][~((voxels[row] >= 0) & np.isfinite(voxels[row]))][0]
        raise FastsimError(
            f"{place}: shower {first + row} has a voxel of {value} MeV, must be finite and not negative; "
            "set what a model leaves below 0 to 0, and repair or drop NaN"
        )


def read_chunks(
    path: str | os.PathLike[str], binning: Binning | None = None, *, max_events: int | None = None
) -> Iterator[Showers]:
    """The showers of a CaloChallenge HDF5 file, part by part, for files that do not fit into memory.

    Args:
        path: the file.
        binning: what the showers have to fit, if given.
        max_events: read the first ones up to this number.

    Raises:
        FastsimError: if the file is unreadable or cut off, lacks a key, or holds showers that :func:`check_showers`
            refuses.
    """
    import h5py

    from fastsim.formats.hdf5 import DAMAGE, bomb

    place = os.fspath(path)
    if max_events is not None and max_events < 0:
        raise FastsimError(f"max_events is {max_events}, must not be negative")
    try:
        with h5py.File(path, "r") as file:
            if problem := bomb(file):
                raise FastsimError(f"{place}: {problem}")
            for key in ("incident_energies", "showers"):
                if not isinstance(file.get(key), h5py.Dataset):
                    found = ", ".join(sorted(map(str, file))) or "none"
                    raise FastsimError(f"{place}: no data set {key!r}; a CaloChallenge file has it, here are: {found}")
            energies, voxels = file["incident_energies"], file["showers"]
            if voxels.ndim != 2 or energies.shape not in ((len(voxels), 1), (len(voxels),)):
                raise FastsimError(
                    f"{place}: incident_energies of shape {energies.shape} and showers of shape {voxels.shape}, "
                    "expected (N, 1) and (N, V)"
                )
            if not all(d.dtype.kind in "fiu" for d in (energies, voxels)):
                raise FastsimError(f"{place}: energies of type {energies.dtype} and {voxels.dtype}, expected numbers")
            if binning is not None:
                binning.check(voxels.shape[1], place)
            last = len(voxels) if max_events is None else min(max_events, len(voxels))
            step = chunk_size(voxels.shape[1])
            for start in range(0, last, step):
                rows = slice(start, min(start + step, last))
                incident = np.asarray(energies[rows], dtype=np.float64).reshape(-1)
                part = Showers(incident, np.asarray(voxels[rows], dtype=np.float32))
                check_showers(part, place=place, first=start)
                yield part
    except DAMAGE as error:  # h5py's words for a missing, foreign, damaged or cut-off file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FastsimError(f"{place}: cannot be read as HDF5: {reason}") from error


def read_showers(
    path: str | os.PathLike[str], binning: Binning | None = None, *, max_events: int | None = None
) -> Showers:
    """All showers of a CaloChallenge HDF5 file; arguments and errors as :func:`read_chunks`."""
    parts = list(read_chunks(path, binning, max_events=max_events))
    if not parts:
        raise FastsimError(f"{os.fspath(path)}: no showers to read")
    return Showers(np.concatenate([p.incident for p in parts]), np.concatenate([p.voxels for p in parts]))


def write_showers(path: str | os.PathLike[str], showers: Showers, *, force: bool = False) -> None:
    """Writes a CaloChallenge HDF5 file (gzip, float32 voxels); it appears under its name when complete.

    Args:
        path: the output.
        showers: what to write.
        force: replace an existing file.

    Raises:
        FastsimError: if the showers are refused by :func:`check_showers`, or the output cannot be written.
    """
    import h5py

    from fastsim.formats.output import AtomicPath, writing

    check_showers(showers)
    target = AtomicPath(path, force=force)
    try:
        with writing(path), h5py.File(target.temporary, "w") as file:
            file["incident_energies"] = showers.incident.astype(np.float64)[:, None]
            voxels = showers.voxels.astype(np.float32)
            file.create_dataset("showers", data=voxels, compression="gzip", compression_opts=1)
    except BaseException:
        target.discard()
        raise
    target.commit()
