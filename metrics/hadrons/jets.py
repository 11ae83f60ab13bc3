"""Particle sets in coordinates relative to the parton they come from: the input of every metric of hadrons.

All final particles count, neutrinos included. pT is relative to the true parton's pT, never to the sum over the
particles kept, and padding never enters a metric: padded slots have pT_rel = 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Ragged
from fastsim.event.kinematics import delta_phi, eta, mass, phi, pt, rapidity

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Sets(Protocol):
    """N particle sets: ``offsets`` (N+1,), ``pdg_id`` (M,), ``p4`` (M, 4) in GeV."""

    @property
    def offsets(self) -> Ints: ...
    @property
    def pdg_id(self) -> Ints: ...
    @property
    def p4(self) -> Floats: ...


class Conditions(Protocol):
    """N partons: ``pdg_id`` (N,), ``p4`` (N, 4) in GeV."""

    @property
    def pdg_id(self) -> Ints: ...
    @property
    def p4(self) -> Floats: ...


@dataclass(frozen=True, eq=False, repr=False)
class Jets(Ragged):
    """N particle sets relative to their partons, M particles in all, in decreasing pT within a set.

    Attributes:
        offsets: of the sets among the particles, (N+1,).
        pdg_id: (M,), conjugated where the parton is an antiquark, so that charges are those of a quark's set.
        pt_rel: pT / pT_parton, (M,).
        eta_rel: eta - eta_parton, (M,).
        phi_rel: azimuth about the parton in (-pi, pi], (M,).
        pz_rel: longitudinal momentum / pT_parton in the frame where the parton has zero rapidity, (M,).
        m_rel: mass / pT_parton, (M,); with ``pz_rel``, pT and azimuth it gives ``p4_rel``.
        parton_id: in {1..5, 21}, (N,).
        parton_pt: in GeV, (N,).
    """

    offsets: Ints
    pdg_id: Ints
    pt_rel: Floats
    eta_rel: Floats
    phi_rel: Floats
    pz_rel: Floats
    m_rel: Floats
    parton_id: Ints
    parton_pt: Floats

    _item_columns: ClassVar[tuple[str, ...]] = ("pdg_id", "pt_rel", "eta_rel", "phi_rel", "pz_rel", "m_rel")
    _row_columns: ClassVar[tuple[str, ...]] = ("parton_id", "parton_pt")
    _items: ClassVar[str] = "particles"
    _rows: ClassVar[str] = "sets"

    def __post_init__(self) -> None:
        self._check()

    @property
    def p4_rel(self) -> Floats:
        """Four-momentum / pT_parton in the frame where the parton has zero rapidity and azimuth, shape (M, 4)."""
        pt_rel, phi_rel, pz, m = (
            np.asarray(x, dtype=np.float64) for x in (self.pt_rel, self.phi_rel, self.pz_rel, self.m_rel)
        )
        px, py = pt_rel * np.cos(phi_rel), pt_rel * np.sin(phi_rel)
        return np.stack([np.sqrt(pt_rel**2 + pz**2 + m**2), px, py, pz], axis=1)

    def compact(self) -> Jets:
        """Convert to single precision (24 bytes a particle): masses stay as good, since the energy is not stored."""
        names = ("pt_rel", "eta_rel", "phi_rel", "pz_rel", "m_rel")
        columns: dict[str, Any] = {name: getattr(self, name).astype(np.float32) for name in names}
        return replace(self, pdg_id=self.pdg_id.astype(np.int32), **columns)

    @classmethod
    def concatenate(cls, parts: Sequence[Jets]) -> Jets:
        """Join the sets of at least one part to one batch."""
        return cls(**cls._joined(parts))

    def sum(self, values: NDArray[Any]) -> Floats:
        """Sum a per-particle quantity (M,) over each set, shape (N,); 0 for empty sets."""
        total = np.bincount(self.index, weights=values, minlength=len(self))
        return total.astype(np.float64)


def relative(particles: Sets, partons: Conditions) -> Jets:
    """Express particle sets in coordinates relative to their partons, leading particles first.

    Args:
        particles: N ragged sets; p4 in GeV.
        partons: the N partons they come from; p4 in GeV.

    Returns:
        The N sets.

    Raises:
        ValueError: if the numbers of sets and partons differ, or a momentum is not finite.

    >>> from fastsim.event import ParticleSet, Partons
    >>> up = Partons.from_pt_eta_phi(np.array([2]), np.array([100.0]), np.array([0.0]), np.array([0.0]))
    >>> photons = ParticleSet(np.array([0, 2]), np.array([22, 22]), np.array([[30.0, 30, 0, 0], [60.0, 0, 60, 0]]))
    >>> relative(photons, up).pt_rel.round(3).tolist()
    [0.6, 0.3]
    """
    offsets = np.asarray(particles.offsets, dtype=np.int64)
    parton_p4, p4 = np.asarray(partons.p4, dtype=np.float64), np.asarray(particles.p4, dtype=np.float64)
    if len(offsets) - 1 != len(parton_p4):
        raise ValueError(f"{len(offsets) - 1} particle sets but {len(parton_p4)} partons")
    if not (np.isfinite(p4).all() and np.isfinite(parton_p4).all()):
        raise ValueError("particle or parton momenta hold NaN or infinity: metrics need finite momenta")
    if not (pt(parton_p4) > 0).all():
        raise ValueError(f"parton {int(np.argmin(pt(parton_p4) > 0))} has no transverse momentum to be relative to")
    counts = np.diff(offsets)
    index = np.repeat(np.arange(len(counts)), counts)
    scale = pt(parton_p4)
    pt_rel = pt(p4) / scale[index]
    # one float key sorts by set, then by falling pT: x / (1 + x) keeps the order of pT within [0, 1)
    order = np.argsort(index + 1.0 - pt_rel / (1.0 + pt_rel), kind="stable")
    p4, pt_rel = p4[order], pt_rel[order]
    y, azimuth = rapidity(parton_p4)[index], phi(parton_p4)[index]
    phi_rel = delta_phi(phi(p4), azimuth)
    pz = p4[:, 3] * np.cosh(y) - p4[:, 0] * np.sinh(y)
    unit = scale[index]
    parton_id = np.asarray(partons.pdg_id, dtype=np.int64)
    pdg_id = np.asarray(particles.pdg_id, dtype=np.int64)[order]
    anti = (parton_id < 0)[index] & ~np.isin(pdg_id, (22, 130, 310, 111, 221))
    return Jets(
        offsets,
        np.where(anti, -pdg_id, pdg_id),
        pt_rel,
        eta(p4) - eta(parton_p4)[index],
        phi_rel,
        pz / unit,
        mass(p4) / unit,
        np.abs(parton_id),
        scale,
    )


def padded_batches(
    jets: Jets, max_particles: int, dtype: type[np.floating[Any]], num_pairs: int = 80_000
) -> Iterator[tuple[Ints, NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Yield batches of sets of similar multiplicity, padded to the largest of the batch.

    Args:
        jets: N sets.
        max_particles: keep the leading particles up to this number.
        dtype: float32 or float64.
        num_pairs: sets x width^2 of a batch at most (80,000 keeps pair matrices within a core's cache).

    Yields:
        rows (n,), then pt_rel, eta_rel, phi_rel, each (n, width) with width >= 1; padding is 0.
    """
    counts = np.minimum(jets.counts, max_particles)
    order = np.argsort(counts, kind="stable")[::-1]
    first = 0
    while first < len(order):
        width = max(int(counts[order[first]]), 1)
        rows = order[first : first + max(1, num_pairs // width**2)]
        kept = np.arange(width) < counts[rows, None]
        flat = np.where(kept, jets.offsets[rows, None] + np.arange(width), 0)
        if len(jets.pt_rel):
            columns = [np.where(kept, c[flat], 0.0).astype(dtype) for c in (jets.pt_rel, jets.eta_rel, jets.phi_rel)]
        else:
            columns = [np.zeros(flat.shape, dtype) for _ in range(3)]
        yield rows, columns[0], columns[1], columns[2]
        first += len(rows)


def padded(jets: Jets, *, num_particles: int = 30) -> Floats:
    """Copy the leading particles of sets into JetNet's layout.

    Args:
        jets: N sets.
        num_particles: leading particles that are kept.

    Returns:
        eta, phi, pT relative to the parton, 0 for padding, shape (N, num_particles, 3).

    >>> sets = Jets(np.array([0, 2]), np.array([22, 22]), np.array([0.6, 0.4]), np.array([0.1, -0.1]), np.zeros(2),
    ...             np.zeros(2), np.zeros(2), np.array([21]), np.array([100.0]))
    >>> padded(sets, num_particles=3)[0].tolist()
    [[0.1, 0.0, 0.6], [-0.1, 0.0, 0.4], [0.0, 0.0, 0.0]]
    """
    rows, slots = np.nonzero(np.arange(num_particles) < jets.counts[:, None])
    out = np.zeros((len(jets), num_particles, 3))
    out[rows, slots] = np.stack([jets.eta_rel, jets.phi_rel, jets.pt_rel], axis=1)[jets.offsets[rows] + slots]
    return out
