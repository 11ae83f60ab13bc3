"""Particles and partons: rows of PDG ids and four-momenta."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self, overload

import numpy as np
from numpy.typing import ArrayLike

from fastsim.errors import InvalidValue
from fastsim.event import kinematics, species
from fastsim.event.arrays import (
    Floats,
    Ints,
    RowNumber,
    Rows,
    floats,
    four_momenta,
    ints,
    is_number,
    row_number,
    same_fields,
)
from fastsim.event.kinematics import p4_from_pt_eta_phi_m
from fastsim.event.species import PARTON_MASSES


class FourMomenta:
    """What follows from four-momenta ``p4`` (..., 4) as (E, px, py, pz) in GeV: one number for each, shape (...)."""

    p4: Floats

    @property
    def energy(self) -> Floats:
        """Energy in GeV."""
        return self.p4[..., 0]

    @property
    def px(self) -> Floats:
        """Momentum along x in GeV."""
        return self.p4[..., 1]

    @property
    def py(self) -> Floats:
        """Momentum along y in GeV."""
        return self.p4[..., 2]

    @property
    def pz(self) -> Floats:
        """Momentum along the beam in GeV."""
        return self.p4[..., 3]

    @property
    def pt(self) -> Floats:
        """Transverse momentum in GeV."""
        return kinematics.pt(self.p4)

    @property
    def eta(self) -> Floats:
        """Pseudorapidity; infinite along the beam."""
        return kinematics.eta(self.p4)

    @property
    def phi(self) -> Floats:
        """Azimuth in (-pi, pi]."""
        return kinematics.phi(self.p4)

    @property
    def rapidity(self) -> Floats:
        """Rapidity along the beam."""
        return kinematics.rapidity(self.p4)

    @property
    def mass(self) -> Floats:
        """Invariant mass in GeV."""
        return kinematics.mass(self.p4)


@dataclass(frozen=True, eq=False, repr=False)
class Particle(FourMomenta):
    """One particle: its ``pdg_id``, and ``p4`` (4,) as (E, px, py, pz) in GeV; so ``pt``, ``eta`` ... are numbers.

    >>> Particles([211, 22], [[5.0, 3.0, 4.0, 0.0], [1.0, 0.0, 1.0, 0.0]])[0]
    <pi+: pT = 5 GeV, eta = 0, phi = 0.9273>
    """

    pdg_id: int
    p4: Floats

    def __eq__(self, other: object) -> bool:
        return same_fields(self, other) if isinstance(other, Particle) else NotImplemented

    def __repr__(self) -> str:
        return (
            f"<{species.name(self.pdg_id)}: pT = {self.pt:.4g} GeV, eta = {self.eta + 0.0:.4g}, "
            f"phi = {self.phi + 0.0:.4g}>"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Particles(FourMomenta):
    """N particles: ``pdg_id`` (N,) and four-momenta ``p4`` (N, 4) as (E, px, py, pz) in GeV.

    ``particles[i]`` is one of them, a slice, a mask or indices give several, and a loop goes over them.

    Raises:
        InvalidValue: if PDG ids and four-momenta are no arrays of numbers that fit each other.
    """

    pdg_id: Ints
    p4: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "pdg_id", ints("PDG ids", self.pdg_id))
        object.__setattr__(self, "p4", four_momenta("four-momenta", self.p4))
        if len(self.pdg_id) != len(self.p4):
            raise InvalidValue(f"{len(self.pdg_id)} PDG ids but {len(self.p4)} four-momenta")

    def __len__(self) -> int:
        return len(self.pdg_id)

    @overload
    def __getitem__(self, rows: RowNumber) -> Particle: ...

    @overload
    def __getitem__(self, rows: Rows) -> Self: ...

    def __getitem__(self, rows: RowNumber | Rows) -> Particle | Self:
        """Return the particle of a number, or the particles of a slice, a mask or an array of indices."""
        if is_number(rows):
            number = row_number(rows, len(self))
            return Particle(int(self.pdg_id[number]), self.p4[number])
        return self._rows(rows)

    def _rows(self, rows: RowNumber | Rows) -> Self:
        """Return the particles of a slice, a mask or an array of indices."""
        return type(self)(self.pdg_id[rows], self.p4[rows])

    def __iter__(self) -> Iterator[Particle]:
        return (self[row] for row in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return same_fields(self, other) if isinstance(other, Particles) else NotImplemented

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self):,}>"

    def to_awkward(self) -> Any:
        """Return an awkward array of N records named Momentum4D: pdg_id, px, py, pz, E.

        Where the package vector is installed, they also know pt, eta, phi, mass, deltaR and the like.

        Raises:
            MissingLibrary: if awkward is not installed.
        """
        from fastsim.event.awkward_arrays import records

        return records(self, ("pdg_id", "p4"))

    @classmethod
    def concatenate(cls, batches: Sequence[Self]) -> Self:
        """Return the particles of at least one batch as one batch."""
        return cls(np.concatenate([b.pdg_id for b in batches]), np.concatenate([b.p4 for b in batches]))


@dataclass(frozen=True, eq=False, repr=False)
class Partons(Particles):
    """N partons: ``pdg_id`` (N,) and four-momenta ``p4`` (N, 4) as (E, px, py, pz) in GeV.

    ``scale`` (N,) is where their showers start at most, in GeV; None, or more than pT, stands for pT.

    >>> partons = Partons.from_pt_eta_phi([21, -2], [100.0, 50.0], [0.0, 1.0], [0.0, 2.0])
    >>> len(partons), partons[:1].p4.tolist(), partons.pt.round(6).tolist()
    (2, [[100.0, 100.0, 0.0, 0.0]], [100.0, 50.0])
    >>> Partons(partons.pdg_id, partons.p4, scale=[20.0, 80.0]).starting_scale.round(6).tolist()
    [20.0, 50.0]
    """

    scale: Floats | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale is None:
            return
        object.__setattr__(self, "scale", floats("scale", self.scale))
        if self.scale.shape != (len(self),):
            raise InvalidValue(f"{len(self)} partons, but scale has shape {self.scale.shape}")
        if not (self.scale > 0).all():
            row = int(np.argmin(self.scale > 0))
            raise InvalidValue(f"parton {row}: scale = {self.scale[row]:g}, must be above 0 GeV")

    @property
    def starting_scale(self) -> Floats:
        """Where the partons' showers start, in GeV, (N,): at ``scale``, but not above pT."""
        return self.pt if self.scale is None else np.minimum(self.scale, self.pt)

    def _rows(self, rows: RowNumber | Rows) -> Self:
        return type(self)(self.pdg_id[rows], self.p4[rows], None if self.scale is None else self.scale[rows])

    @classmethod
    def concatenate(cls, batches: Sequence[Self]) -> Self:
        """Return the partons of at least one batch as one batch."""
        scale = None
        if any(b.scale is not None for b in batches):
            scale = np.concatenate([b.starting_scale for b in batches])
        return cls(np.concatenate([b.pdg_id for b in batches]), np.concatenate([b.p4 for b in batches]), scale)

    @classmethod
    def from_pt_eta_phi(
        cls, pdg_id: ArrayLike, pt: ArrayLike, eta: ArrayLike, phi: ArrayLike, *, scale: ArrayLike | None = None
    ) -> Partons:
        """Return partons from pT (GeV), pseudorapidity and azimuth (rad), each (N,) or a number for all.

        Their masses are those that the Pythia gun gives its partons (:data:`fastsim.event.species.PARTON_MASSES`).
        ``scale``, where their showers start, is pT by default.

        Raises:
            InvalidValue: if a PDG id is no quark's or gluon's, a pT is not positive, a value is not finite, or the
                arrays differ in length.
        """
        given = {"pT": floats("pT", pt), "eta": floats("eta", eta), "phi": floats("phi", phi)}
        arrays = {"PDG ids": ints("PDG ids", np.atleast_1d(np.asarray(pdg_id))), **given}
        shapes = ", ".join(f"{name} {value.shape}" for name, value in arrays.items())
        try:
            size = np.broadcast_shapes(*(value.shape for value in arrays.values()))
        except ValueError:
            size = ()
        if len(size) != 1:
            raise InvalidValue(f"partons: shapes {shapes} do not fit: give arrays of one length, or numbers for all")
        ids = np.broadcast_to(arrays["PDG ids"], size)
        known = np.isin(np.abs(ids), tuple(PARTON_MASSES)) & (ids != -21)
        if not known.all():
            row = int(np.argmin(known))
            raise InvalidValue(
                f"parton {row}: PDG id {ids[row]} is no parton: 1 to 5 (d u s c b), -1 to -5, 21 (gluon)"
            )
        for name, value in given.items():
            values = np.broadcast_to(value, size)
            wrong = ~np.isfinite(values) | ((values <= 0) & (name == "pT"))
            if wrong.any():
                row = int(np.argmax(wrong))
                allowed = "above 0 GeV" if name == "pT" else "finite"
                raise InvalidValue(f"parton {row}: {name} = {values[row]:g}, must be {allowed}")
        m = np.array([PARTON_MASSES[abs(int(i))] for i in ids], dtype=np.float64)
        start = None if scale is None else np.broadcast_to(floats("scale", scale), size).copy()
        return cls(ids.copy(), p4_from_pt_eta_phi_m(given["pT"], given["eta"], given["phi"], m), start)
