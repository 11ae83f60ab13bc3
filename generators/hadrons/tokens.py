"""Token sets: what the hadron models generate, in the frame of their parton.

A token is a final particle, or a pi0, eta or Sigma0 that decays with exact kinematics afterwards
(:mod:`generators.hadrons.decays`). Where a decay crosses the edge of the hemisphere, the products that
stay inside are tokens of their own, so that "token sets + decays" and "final particles" are the same
distribution. Their frame is the axis frame of :mod:`fastsim.event.frames`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Floats, Ints, Partons, Ragged
from fastsim.event.kinematics import p4_from_pt_eta_phi_m, pt
from fastsim.event.species import MASSES, PARTON_MASSES, SELF_CONJUGATE, conjugate


def _species() -> tuple[int, ...]:
    ids: list[int] = []
    for pdg in MASSES:
        ids += [pdg] if pdg in SELF_CONJUGATE else [pdg, -pdg]
    return tuple(ids)


SPECIES: tuple[int, ...] = _species()
"""PDG ids of the token species, in the order of every count vector."""

SPECIES_MASS: NDArray[np.float64] = np.array([MASSES[abs(i)] for i in SPECIES])
"""Mass of each species in GeV."""
FLAVOURS: tuple[int, ...] = (1, 2, 3, 4, 5, 21)
"""Parton flavours after charge conjugation of antiquarks."""

_INDEX = {pdg: i for i, pdg in enumerate(SPECIES)}
_BY_ID = np.argsort(SPECIES)
_SORTED = np.array(SPECIES)[_BY_ID]
CONJUGATE: NDArray[np.int64] = np.array([_INDEX[int(i)] for i in conjugate(SPECIES)])
"""Index of each species' antiparticle."""


def species_index(pdg_id: Ints) -> Ints:
    """Return the index into :data:`SPECIES` of each PDG id, (M,).

    Raises:
        KeyError: on a PDG id that is no token's.
    """
    near: Ints = np.clip(np.searchsorted(_SORTED, pdg_id), 0, len(_SORTED) - 1)
    if len(unknown := np.flatnonzero(_SORTED[near] != pdg_id)):
        raise KeyError(int(pdg_id[unknown[0]]))
    index: Ints = _BY_ID[near]
    return index


@dataclass(frozen=True)
class TokenSample(Ragged):
    """N token sets in the axis frame, with antiquarks and their hadrons conjugated.

    Attributes:
        flavour: of the parton, one of :data:`FLAVOURS`, (N,).
        pt: transverse momentum of the parton in GeV, (N,).
        offsets: set i has the tokens ``offsets[i]:offsets[i+1]``, (N+1,).
        species: index into :data:`SPECIES` of each token, (M,).
        p4: four-momenta of the tokens in GeV, (M, 4).
    """

    flavour: Ints
    pt: Floats
    offsets: Ints
    species: Ints
    p4: Floats

    _item_columns: ClassVar[tuple[str, ...]] = ("species", "p4")
    _row_columns: ClassVar[tuple[str, ...]] = ("flavour", "pt")
    _items: ClassVar[str] = "tokens"

    def __post_init__(self) -> None:
        self._check()

    def species_counts(self) -> Ints:
        """Count the tokens of each species in each set, (N, len(SPECIES))."""
        num = len(SPECIES)
        flat = np.bincount(self.index * num + self.species, minlength=len(self) * num)
        return flat.reshape(len(self), num).astype(np.int64)

    @classmethod
    def concatenate(cls, parts: Sequence[TokenSample]) -> TokenSample:
        """Return the sets of at least one part as one batch."""
        return cls(**cls._joined(parts))


def parton_energy(flavour: Ints, parton_pt: Floats) -> Floats:
    """Compute the energy sqrt(pT^2 + m^2) of partons in the axis frame, in GeV, (N,)."""
    m = np.array([PARTON_MASSES[abs(int(f))] for f in FLAVOURS])
    order = np.searchsorted(FLAVOURS, np.abs(flavour))
    return np.sqrt(parton_pt**2 + m[order] ** 2)


def condition(partons: Partons) -> tuple[Ints, Floats, NDArray[np.bool_]]:
    """Compute what p(tokens | parton) depends on, each (N,).

    Returns:
        The flavour, with antiquarks conjugated to quarks; pT in GeV; and which partons were conjugated.
    """
    return np.abs(partons.pdg_id), pt(partons.p4), partons.pdg_id < 0


def canonical_partons(flavour: Ints, parton_pt: Floats) -> Partons:
    """Make partons at y = 0 and phi = 0 with the given flavours (N,) and pT (N,) in GeV."""
    m = np.array([PARTON_MASSES[abs(int(i))] for i in flavour])
    zero = np.zeros(len(parton_pt))
    return Partons(flavour, p4_from_pt_eta_phi_m(parton_pt, zero, zero, m))
