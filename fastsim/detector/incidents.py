"""Particles at the front face of a calorimeter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import overload

import numpy as np

from fastsim.errors import InvalidValue
from fastsim.event import Floats, Ints
from fastsim.event.arrays import Row, RowNumber, Rows, is_number, row_number, same_fields


@dataclass(frozen=True, eq=False, repr=False)
class Incidents:
    """N particles at the front face of a calorimeter.

    ``pdg_id`` (N,); ``energy`` (N,) kinetic, in GeV; ``theta`` (N,) in rad from the normal of the layers; ``phi`` (N,)
    in rad, the azimuth of the direction of flight.

    Raises:
        InvalidValue: if the arrays differ in length, or hold NaN, infinity or an energy that is not positive.

    >>> incidents = Incidents.perpendicular(22, [1.0, 10.0, 200.0])
    >>> len(incidents), incidents[1:].energy.tolist()
    (3, [10.0, 200.0])
    """

    pdg_id: Ints
    energy: Floats
    theta: Floats
    phi: Floats

    def __post_init__(self) -> None:
        for name, kind in (("pdg_id", np.int64), ("energy", np.float64), ("theta", np.float64), ("phi", np.float64)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=kind))
        shapes = {getattr(self, name).shape for name in ("pdg_id", "energy", "theta", "phi")}
        if len(shapes) != 1 or self.pdg_id.ndim != 1:
            raise InvalidValue("pdg_id, energy, theta and phi must be arrays of one dimension and one length")
        if not all(np.isfinite(a).all() for a in (self.energy, self.theta, self.phi)):
            raise InvalidValue("an incident particle's energy or direction is NaN or infinite")
        if not (self.energy > 0).all():
            raise InvalidValue(f"an incident particle has a kinetic energy of {self.energy.min():g} GeV")

    @classmethod
    def perpendicular(cls, pdg_id: int, energy: Floats) -> Incidents:
        """Return N particles of one kind along the normal of the layers; ``energy`` (N,) kinetic, in GeV."""
        energy = np.asarray(energy, dtype=np.float64)
        zeros = np.zeros(energy.shape)
        return cls(np.full(energy.shape, pdg_id), energy, zeros, zeros)

    def __len__(self) -> int:
        return len(self.energy)

    def __iter__(self) -> Iterator[Row]:
        return (self[row] for row in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return same_fields(self, other) if isinstance(other, Incidents) else NotImplemented

    def __repr__(self) -> str:
        return f"<Incidents: {len(self):,}>"

    @overload
    def __getitem__(self, rows: RowNumber) -> Row: ...

    @overload
    def __getitem__(self, rows: Rows) -> Incidents: ...

    def __getitem__(self, rows: RowNumber | Rows) -> Row | Incidents:
        """Return one particle, its columns as numbers, or the particles of a slice, a mask or an array of indices."""
        if is_number(rows):
            k = row_number(rows, len(self))
            return Row(**{name: getattr(self, name)[k] for name in ("pdg_id", "energy", "theta", "phi")})
        return Incidents(self.pdg_id[rows], self.energy[rows], self.theta[rows], self.phi[rows])
