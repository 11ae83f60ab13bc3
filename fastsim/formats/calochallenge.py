"""Calorimeter showers in the CaloChallenge layout, in memory and in its HDF5 files.

A file holds ``incident_energies`` (N, 1) and ``showers`` (N, V), both in MeV, voxels in the order of
:mod:`fastsim.detector.binning`. Deposits are zero or positive: what lies below the readout threshold is 0. Files of
showers that are not along the normal of the layers have ``incident_theta`` and ``incident_phi`` (N, 1) too, in rad, and
their voxels lie about the lines of flight (:mod:`fastsim.detector.flight`). A file of a model may also hold ``latent``
(N, Z), what each shower was drawn from; its attribute ``columns`` names the columns.

References:
    Krause et al. 2024, arXiv:2410.21611 (CaloChallenge 2022).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import Binning
from fastsim.errors import FastsimError
from fastsim.event.arrays import Row, RowNumber, Rows, is_number, row_number, same_fields
from fastsim.formats.atomic import HDF5_ENDINGS, AtomicPath, AtomicWriter, PathLike, writing

CHUNK_VALUES = 4_000_000
"""Voxels of the showers that are read or written at once: 32 MB in float64."""
ROWS = 100
"""Showers that a :class:`Writer` compresses together."""
ANGLES = ("incident_theta", "incident_phi")
"""Data sets of the directions of flight."""


@dataclass(frozen=True, eq=False, repr=False)
class Showers:
    """N showers: ``incident`` energies (N,) and ``voxels`` (N, V) deposits, both in MeV.

    ``latent`` (N, Z) is what a model drew them from, where that was kept. ``direction`` (N, 2) are theta, to the normal
    of the layers, and phi of the particles in rad; None for showers along the normal.
    """

    incident: NDArray[np.float64]
    voxels: NDArray[np.float32]
    latent: NDArray[np.float32] | None = None
    direction: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.direction is not None and self.direction.shape != (len(self.voxels), 2):
            shape = self.direction.shape
            raise FastsimError(f"direction of shape {shape} for {len(self.voxels)} showers, expected (N, 2)")
        if self.latent is not None and (self.latent.ndim != 2 or len(self.latent) != len(self.voxels)):
            raise FastsimError(f"latent of shape {self.latent.shape} for {len(self.voxels)} showers, expected (N, Z)")
        if self.incident.ndim != 1 or self.voxels.ndim != 2 or len(self.incident) != len(self.voxels):
            raise FastsimError(
                f"incident energies of shape {self.incident.shape} and voxels of shape {self.voxels.shape}, "
                "expected (N,) and (N, V)"
            )

    def __len__(self) -> int:
        return len(self.voxels)

    def __eq__(self, other: object) -> bool:
        return same_fields(self, other) if isinstance(other, Showers) else NotImplemented

    def __repr__(self) -> str:
        return f"<Showers: {len(self):,}, {self.voxels.shape[1]:,} voxels each>"

    def __iter__(self) -> Iterator[Row]:
        return (self[row] for row in range(len(self)))

    @overload
    def __getitem__(self, rows: RowNumber) -> Row: ...

    @overload
    def __getitem__(self, rows: Rows) -> Showers: ...

    def __getitem__(self, rows: RowNumber | Rows) -> Row | Showers:
        """Return one shower, its ``incident`` and ``voxels``, or the showers of a slice, a mask or indices."""
        if is_number(rows):
            k = row_number(rows, len(self))
            return Row(incident=self.incident[k], voxels=self.voxels[k])
        latent = None if self.latent is None else self.latent[rows]
        direction = None if self.direction is None else self.direction[rows]
        return Showers(self.incident[rows], self.voxels[rows], latent, direction)

    @classmethod
    def concatenate(cls, batches: Sequence[Showers]) -> Showers:
        """Return the showers of at least one batch as one batch; those without direction are along the normal."""
        latents = [b.latent for b in batches if b.latent is not None]
        direction = None
        if any(b.direction is not None for b in batches):
            zeros = (np.zeros((len(b), 2)) if b.direction is None else b.direction for b in batches)
            direction = np.concatenate(list(zeros))
        return cls(
            np.concatenate([b.incident for b in batches]),
            np.concatenate([b.voxels for b in batches]),
            np.concatenate(latents) if len(latents) == len(batches) else None,
            direction,
        )

    def chunks(self) -> Iterator[Showers]:
        """Yield the showers in chunks of at most ``CHUNK_VALUES`` voxels, or of one shower where it has more."""
        size = chunk_size(self.voxels.shape[1])
        for first in range(0, len(self), size):
            yield self[first : first + size]


def chunk_size(num_voxels: int) -> int:
    """Return how many showers of ``num_voxels`` voxels have ``CHUNK_VALUES`` voxels together, at least 1."""
    return max(1, CHUNK_VALUES // max(1, num_voxels))


def check_showers(showers: Showers, binning: Binning | None = None, *, place: str = "showers", first: int = 0) -> None:
    """Refuse showers that no calorimeter records.

    Args:
        showers: N showers.
        binning: the binning that they have to fit, if given.
        place: file or model that they come from, for the message.
        first: number, in that file or model's run, of the first shower.

    Raises:
        FastsimError: if the number of voxels does not fit, an incident energy is not positive and finite, an angle is
            not finite or theta not in [0, pi/2), or a deposit is negative, NaN or infinite; the message names the
            shower.
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
    if showers.direction is not None:
        theta, phi = showers.direction.T
        bad = ~((theta >= 0) & (theta < np.pi / 2) & np.isfinite(phi))
        if bad.any():
            row = int(np.argmax(bad))
            raise FastsimError(
                f"{place}: shower {first + row} has theta {theta[row]:g} and phi {phi[row]:g} rad; theta must be in "
                "[0, pi/2), phi finite"
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
    path: str | os.PathLike[str],
    binning: Binning | None = None,
    *,
    max_events: int | None = None,
    threshold: float | None = None,
) -> Iterator[Showers]:
    """Yield the showers of a CaloChallenge HDF5 file in chunks, for files that do not fit into memory.

    Args:
        path: the file.
        binning: the binning that the showers have to fit, if given.
        max_events: how many showers at most, from the first; None for all.
        threshold: voxels below this energy in MeV, negative ones too, are read as zero; None to take them as they are.

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
                    present = ", ".join(sorted(map(str, file))) or "none"
                    raise FastsimError(
                        f"{place}: no data set {key!r}; a CaloChallenge file has it, here are: {present}"
                    )
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
            angles = _angles(file, len(voxels), place)
            latents = file.get("latent")
            if not (isinstance(latents, h5py.Dataset) and latents.ndim == 2 and latents.dtype.kind == "f"):
                latents = None
            elif len(latents) != len(voxels):
                raise FastsimError(f"{place}: {len(latents)} latents for {len(voxels)} showers")
            last = len(voxels) if max_events is None else min(max_events, len(voxels))
            size = chunk_size(voxels.shape[1])
            for start in range(0, last, size):
                rows = slice(start, min(start + size, last))
                incident = np.asarray(energies[rows], dtype=np.float64).reshape(-1)
                values = np.asarray(voxels[rows], dtype=np.float32)
                if threshold is not None:
                    values[values < threshold] = 0.0
                latent = None if latents is None else np.asarray(latents[rows], dtype=np.float32)
                direction = None
                if angles:
                    columns = [np.asarray(angle[rows], dtype=np.float64).reshape(-1) for angle in angles]
                    direction = np.column_stack(columns)
                chunk = Showers(incident, values, latent, direction)
                check_showers(chunk, place=place, first=start)
                yield chunk
    except DAMAGE as error:  # h5py's words for a missing, foreign, damaged or cut-off file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FastsimError(f"{place}: cannot be read as HDF5: {reason}") from error


def _angles(file: Any, num: int, place: str) -> list[Any]:
    """Return the data sets of theta and phi of a file of ``num`` showers; none if it has none.

    Raises:
        FastsimError: if it has one alone, or they are no angles of so many showers.
    """
    found = [name for name in ANGLES if name in file]
    if not found:
        return []
    for name in ANGLES:
        angle = file.get(name)
        if getattr(angle, "shape", None) not in ((num, 1), (num,)) or angle.dtype.kind not in "fiu":
            shape = "no such data set" if angle is None else getattr(angle, "shape", "a group")
            raise FastsimError(f"{place}: {name}: {shape}, expected numbers of shape (N, 1) beside {found[0]}")
    return [file[name] for name in ANGLES]


def read_showers(
    path: str | os.PathLike[str],
    binning: Binning | None = None,
    *,
    max_events: int | None = None,
    threshold: float | None = None,
) -> Showers:
    """Read all showers of a CaloChallenge HDF5 file.

    Args:
        path: the file.
        binning: the binning that the showers have to fit, if given.
        max_events: how many showers at most, from the first; None for all.
        threshold: voxels below this energy in MeV, negative ones too, are read as zero; None to take them as they are.

    Raises:
        FastsimError: if :func:`read_chunks` raises it, or there are no showers.
    """
    chunks = list(read_chunks(path, binning, max_events=max_events, threshold=threshold))
    if not chunks:
        raise FastsimError(f"{os.fspath(path)}: no showers to read")
    return Showers.concatenate(chunks)


def write_showers(path: str | os.PathLike[str], showers: Showers, *, force: bool = False) -> None:
    """Write a CaloChallenge HDF5 file (gzip, float32 voxels); it appears under its name when complete.

    Args:
        path: the output.
        showers: the showers to write.
        force: replace an existing file.

    Raises:
        FastsimError: if the showers are refused by :func:`check_showers`, or the output cannot be written.
    """
    import h5py

    check_showers(showers)
    target = AtomicPath(path, force=force)
    try:
        with writing(path), h5py.File(target.temporary, "w") as file:
            file["incident_energies"] = showers.incident.astype(np.float64)[:, None]
            for name, angle in zip(ANGLES, [] if showers.direction is None else showers.direction.T, strict=False):
                file[name] = angle.astype(np.float64)[:, None]
            voxels = showers.voxels.astype(np.float32)
            file.create_dataset("showers", data=voxels, compression="gzip", compression_opts=1)
    except BaseException:
        target.discard()
        raise
    target.commit()


class Writer(AtomicWriter):
    """Writes showers as they come, and the binning beside them (.xml); both appear on a clean exit, or neither.

    Args:
        path: the output, an HDF5 file.
        num: showers that will be written.
        num_voxels: voxels of each shower.
        binning: where the voxels lie; None for voxels that the challenge's XML cannot describe.
        settings: how the showers were made: an attribute of the file.
        latent_columns: columns of the latents that the showers have; none if they have none.
        directions: whether the showers have directions.
        force: replace existing files.

    Raises:
        OutputError: if one of the two exists, or cannot be written.
    """

    def __init__(
        self,
        path: PathLike,
        *,
        num: int,
        num_voxels: int,
        binning: Binning | None,
        settings: Mapping[str, Any],
        latent_columns: Sequence[str] = (),
        directions: bool = False,
        force: bool = False,
    ) -> None:
        import h5py

        from fastsim import __version__
        from fastsim.formats.hdf5 import FileOut

        check_name(path)
        super().__init__(path, force=force)
        self._xml: AtomicPath | None = None
        self._attributes = {"tool": "fastsim", "version": __version__, "settings": json.dumps(dict(settings))}
        self._row = 0  # an incomplete file is not kept: `num_written` stays 0
        packing: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "chunks": (min(num, ROWS), num_voxels)}
        try:
            if binning is not None:
                self._xml = AtomicPath(binning_path(path), force=force)
                with writing(self._xml.path):
                    self._xml.temporary.write_text(binning.to_xml(), encoding="utf-8")
            with writing(path):
                self._out = FileOut(self._place)
                self._file = h5py.File(self._out, "w")
                self._incident = self._file.create_dataset("incident_energies", (num, 1), "f8")
                self._voxels = self._file.create_dataset("showers", (num, num_voxels), "f4", **packing if num else {})
                self._angles = [self._file.create_dataset(name, (num, 1), "f8") for name in ANGLES if directions]
                self._latent = None
                if latent_columns:
                    self._latent = self._file.create_dataset("latent", (num, len(latent_columns)), "f4")
                    self._latent.attrs["columns"] = list(latent_columns)
        except BaseException:
            for target in (self._target, self._xml):
                if target is not None:
                    target.discard()
            raise

    def write(self, showers: Showers) -> None:
        """Add showers; the file takes ``num`` of them in all."""
        rows = slice(self._row, self._row + len(showers))
        with writing(self.path):
            self._incident[rows, 0] = showers.incident
            self._voxels[rows] = showers.voxels
            for column, angle in enumerate(self._angles):
                assert showers.direction is not None
                angle[rows, 0] = showers.direction[:, column]
            if self._latent is not None:
                self._latent[rows] = showers.latent
            self._out.check()
        self._row = rows.stop

    def _finish(self, complete: bool) -> None:
        try:
            self._file.attrs.update(self._attributes)
            self._file.close()
            self._out.close()
            if complete:
                self._out.check()
                if self._xml is not None:
                    self._xml.commit()
        finally:
            if self._xml is not None:
                self._xml.discard()  # without effect on a file that has its name


def binning_path(path: PathLike) -> Path:
    """Return the path of the binning (.xml) that belongs to a file of showers."""
    return Path(path).with_suffix(".xml")


def check_name(path: PathLike) -> None:
    """Raise FastsimError if the output's name does not end as that of an HDF5 file."""
    if Path(path).suffix.lower() not in HDF5_ENDINGS:
        raise FastsimError(f"{os.fspath(path)}: showers are written as HDF5; give a name that ends in .h5")
