r"""Where the particles of N sets come from: what decayed into them, and how far from the primary vertex they were made.

A particle made at v with momentum p follows a straight line here, as tracks of hadrons do over millimetres in any
field. With t the unit vector along its transverse momentum, the point nearest to the beam line is

    d = v_T - (v_T . t) t,    |d_0| = |d|,    z_0 = v_z - (v_T . t) p_z / p_T,

relative to the primary vertex. d_0 is positive if d lies on the parton's side, as it does for what decayed in flight.

References:
    ALEPH 1993, Phys. Lett. B 313, 535 (signed impact parameters). Review of Particle Physics 2024 (lifetimes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Decayed, ParticleSet, Ragged, offsets_from_counts
from fastsim.event.kinematics import mass, pt
from fastsim.event.species import SELF_CONJUGATE, charges, quark_content
from metrics.hadrons.histograms import sum_per_set
from metrics.hadrons.jets import Conditions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

DISPLACED = (0.1, 0.5)
"""Tracks with a larger |d0|, in mm, are displaced."""
ORIGINS: dict[str, str] = {
    **{f"tracks_{cut:g}": f"charged particles with |d0| above {cut:g} mm" for cut in DISPLACED},
    "d0_1": "largest |d0|, mm",
    "d0_2": "second largest |d0|, mm",
    "displaced_mass": f"mass of the charged particles with |d0| above {DISPLACED[0]:g} mm, GeV",
    "displaced_z": "their pT / pT of the parton",
    "flight_b": "flight length of the leading b hadron that decays weakly, mm",
    "flight_c": "flight length of the leading c hadron that decays weakly, mm",
}
"""What the vertices say of a set; 0 where it has no such thing."""
FRACTIONS: dict[str, str] = {
    "x_b": "pT of the leading b hadron that decays weakly / pT of the parton",
    "x_c": "pT of the leading c hadron that decays weakly / pT of the parton",
}
"""What heavy hadrons have of the parton's momentum; 0 without one."""


@dataclass(frozen=True)
class Decays(Ragged):
    """The particles of N sets that decayed, D in all.

    Attributes:
        offsets: of the sets, (N+1,).
        pdg_id: (D,), conjugated where the parton is an antiquark.
        z: pT / pT of the parton, (D,).
        ctau: proper time from where it was made to where it decayed, times c, in mm, (D,).
    """

    offsets: Ints
    pdg_id: Ints
    z: Floats
    ctau: Floats

    _item_columns: ClassVar[tuple[str, ...]] = ("pdg_id", "z", "ctau")
    _items: ClassVar[str] = "decayed particles"

    def __post_init__(self) -> None:
        self._check()

    @classmethod
    def concatenate(cls, parts: Sequence[Decays]) -> Decays:
        """Join the sets of at least one part."""
        return cls(**cls._joined(parts))


@dataclass(frozen=True)
class Tracks(Ragged):
    """The charged final particles of N sets, K in all.

    Attributes:
        offsets: of the sets, (N+1,).
        d0: signed transverse impact parameter in mm, (K,).
        z0: longitudinal one in mm, (K,).
    """

    offsets: Ints
    d0: NDArray[np.float32]
    z0: NDArray[np.float32]

    _item_columns: ClassVar[tuple[str, ...]] = ("d0", "z0")
    _items: ClassVar[str] = "tracks"

    def __post_init__(self) -> None:
        self._check()

    @classmethod
    def concatenate(cls, parts: Sequence[Tracks]) -> Tracks:
        """Join the sets of at least one part."""
        return cls(**cls._joined(parts))


@dataclass(frozen=True)
class Origins:
    """Where the particles of N sets come from.

    Attributes:
        decays: what decayed.
        tracks: impact parameters of charged particles.
        vertices: by name of :data:`ORIGINS`, (N,) each.
        fractions: by name of :data:`FRACTIONS`, (N,) each.
    """

    decays: Decays
    tracks: Tracks
    vertices: dict[str, Floats]
    fractions: dict[str, Floats]

    def __len__(self) -> int:
        return len(self.decays)

    def __getitem__(self, rows: slice | NDArray[Any]) -> Origins:
        return Origins(
            self.decays[rows],
            self.tracks[rows],
            {name: column[rows] for name, column in self.vertices.items()},
            {name: column[rows] for name, column in self.fractions.items()},
        )

    @staticmethod
    def concatenate(parts: Sequence[Origins]) -> Origins:
        """Join the sets of at least one part."""
        return Origins(
            Decays.concatenate([p.decays for p in parts]),
            Tracks.concatenate([p.tracks for p in parts]),
            {name: np.concatenate([p.vertices[name] for p in parts]) for name in ORIGINS},
            {name: np.concatenate([p.fractions[name] for p in parts]) for name in FRACTIONS},
        )


def origins(particles: ParticleSet, partons: Conditions) -> Origins | None:
    """Compute where the particles of N sets come from.

    Args:
        particles: sets with their history, p4 in GeV and vertices in mm.
        partons: the N partons, or jet axes.

    Returns:
        The origins, or None for sets without history.

    Raises:
        ValueError: if a vertex is not finite.
    """
    history = particles.history
    if history is None:
        return None
    decayed, num = history.decayed, len(particles)
    if not (np.isfinite(history.vertex).all() and np.isfinite(decayed.vertex).all()):
        raise ValueError("vertices hold NaN or infinity: impact parameters need finite places")
    parton_p4 = np.asarray(partons.p4, dtype=np.float64)
    scale, axis = pt(parton_p4), parton_p4[:, 1:3] / pt(parton_p4)[:, None]
    index, owner = particles.index, decayed.index

    rows = np.flatnonzero((charges(particles.pdg_id) != 0) & (pt(particles.p4) > 0))
    d0, z0 = _impact_parameters(history.vertex[rows], particles.p4[rows], axis[index[rows]])
    own = index[rows]
    tracks = Tracks(offsets_from_counts(np.bincount(own, minlength=num)), d0.astype(np.float32), z0.astype(np.float32))

    # where a particle decayed is where its daughters were made
    end = decayed.vertex.copy()
    for vertex, mother, sets in ((history.vertex, history.mother, index), (decayed.vertex, decayed.mother, owner)):
        known = mother >= 0
        end[decayed.offsets[sets[known]] + mother[known]] = vertex[known]
    path = end - decayed.vertex
    ctau = path[:, 0] * np.divide(
        mass(decayed.p4), decayed.p4[:, 0], out=np.zeros(len(owner)), where=decayed.p4[:, 0] > 0
    )
    z = pt(decayed.p4) / scale[owner]
    species = _Species.of(decayed.pdg_id)
    anti = (np.asarray(partons.pdg_id)[owner] < 0) & species.conjugate
    flight = np.sqrt(np.sum(path[:, 1:] ** 2, axis=1))

    size = np.abs(d0)
    order = np.lexsort((-size, own))
    largest = np.zeros((2, num))
    counts = np.bincount(own, minlength=num)
    for place in range(2):
        has = counts > place
        largest[place, has] = size[order][(np.cumsum(counts) - counts)[has] + place]
    vertices = {f"tracks_{cut:g}": np.bincount(own[size > cut], minlength=num).astype(np.float64) for cut in DISPLACED}
    vertices |= {"d0_1": largest[0], "d0_2": largest[1]}
    away = rows[size > DISPLACED[0]]
    total = np.stack([sum_per_set(index[away], column, num) for column in particles.p4[away].T], axis=1)
    vertices |= {"displaced_mass": mass(total), "displaced_z": pt(total) / scale}
    fractions = {}
    for name, heavy in (("b", species.bottom), ("c", species.charm)):
        weak = _decays_weakly(heavy, decayed.mother, decayed.offsets[owner])
        vertices[f"flight_{name}"] = _leading(flight, z, owner, weak, num)
        fractions[f"x_{name}"] = _leading(z, z, owner, weak, num)
    return Origins(
        Decays(decayed.offsets, np.where(anti, -decayed.pdg_id, decayed.pdg_id), z, ctau), tracks, vertices, fractions
    )


def _impact_parameters(vertex: Floats, p4: Floats, axis: Floats) -> tuple[Floats, Floats]:
    """Compute d0, with the sign that the transverse axis (K, 2) gives it, and z0; mm, (K,) each."""
    direction = p4[:, 1:3] / pt(p4)[:, None]
    along = np.sum(vertex[:, 1:3] * direction, axis=1)
    nearest = vertex[:, 1:3] - along[:, None] * direction
    side = np.where(np.sum(nearest * axis, axis=1) < 0, -1.0, 1.0)
    return side * np.hypot(*nearest.T), vertex[:, 3] - along * p4[:, 3] / pt(p4)


@dataclass(frozen=True)
class _Species:
    """What the heavy quarks of D particles are, looked up once a species."""

    bottom: Ints
    charm: Ints
    conjugate: Bools

    @classmethod
    def of(cls, pdg_id: Ints) -> _Species:
        ids, place = np.unique(pdg_id, return_inverse=True)
        quarks = [quark_content(int(i)) for i in ids]
        numbers = [np.array([sum(abs(q) == heavy for q in own) for own in quarks], dtype=np.int64) for heavy in (5, 4)]
        # leptons and W have antiparticles; photons, Z, Higgs, K0S, K0L and flavourless mesons are their own
        paired = [
            len(own) == 3 or own[0] != -own[1] if own else abs(int(i)) not in SELF_CONJUGATE
            for i, own in zip(ids, quarks, strict=True)
        ]
        return cls(numbers[0][place], numbers[1][place], np.array(paired, dtype=bool)[place])


def _decays_weakly(heavy: Ints, mother: Ints, first: Ints) -> Bools:
    """Mark the hadrons with one heavy quark that no daughter of theirs has, (D,).

    Args:
        heavy: number of heavy quarks and antiquarks of each, (D,); of two, as in J/psi, they annihilate.
        mother: within the set, -1 for none, (D,).
        first: row of the first decayed particle of the set, (D,).
    """
    daughters = (heavy > 0) & (mother >= 0)
    passed_on = np.zeros(len(heavy), dtype=bool)
    passed_on[first[daughters] + mother[daughters]] = True
    return np.asarray((heavy == 1) & ~passed_on)


def weakly_decaying(decayed: Decayed, quark: int) -> Bools:
    """Mark the hadrons with one quark of a heavy flavour that no daughter of theirs has.

    Args:
        decayed: the D decayed particles of N sets.
        quark: PDG id of the flavour, 4 or 5.

    Returns:
        The marks, (D,).
    """
    species = _Species.of(decayed.pdg_id)
    heavy = species.bottom if quark == 5 else species.charm
    return _decays_weakly(heavy, decayed.mother, decayed.offsets[decayed.index])


def _leading(values: Floats, z: Floats, owner: Ints, chosen: Bools, num_sets: int) -> Floats:
    """Look up the value of each set's chosen decayed particle of largest z; 0 without one."""
    rows = np.flatnonzero(chosen)
    rows = rows[np.lexsort((z[rows], owner[rows]))]
    out = np.zeros(num_sets)
    out[owner[rows]] = values[rows]  # of several assignments to one place the last, the leading one, stays
    return out
