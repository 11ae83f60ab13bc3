"""What the hadron models generate: sets of tokens in the frame of their parton.

A token is a final particle, or a pi0, eta or Sigma0 that decays with exact kinematics afterwards
(:mod:`generators.hadrons.decays`). Where a decay crosses the edge of the hemisphere, the products that
stay inside are tokens of their own, so that "token sets + decays" and "final particles" are the same
distribution.

The axis frame: boosted along the beam so that the parton has rapidity 0, then rotated so that it flies
along +z. The parton's hemisphere is pz > 0; rotations about z and reflections are exact symmetries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Floats, Ints, ParticleSet, Partons, offsets_from_counts, ragged_indices
from fastsim.kinematics import p4_from_pt_eta_phi_m, phi, pt
from fastsim.species import MASSES, PARTON_MASSES, SELF_CONJUGATE, conjugate


def _species() -> tuple[int, ...]:
    ids: list[int] = []
    for pdg in MASSES:
        ids += [pdg] if pdg in SELF_CONJUGATE else [pdg, -pdg]
    return tuple(ids)


SPECIES: tuple[int, ...] = _species()
"""PDG ids of the token species, in the order of every count vector."""

SPECIES_MASS: NDArray[np.float64] = np.array([MASSES[abs(i)] for i in SPECIES])
FLAVOURS: tuple[int, ...] = (1, 2, 3, 4, 5, 21)
"""Parton flavours after charge conjugation of antiquarks."""

_INDEX = {pdg: i for i, pdg in enumerate(SPECIES)}
_BY_ID = np.argsort(SPECIES)
_SORTED = np.array(SPECIES)[_BY_ID]
CONJUGATE: NDArray[np.int64] = np.array([_INDEX[int(i)] for i in conjugate(SPECIES)])
"""Index of each species' antiparticle."""


def species_index(pdg_id: Ints) -> Ints:
    """Index into :data:`SPECIES` of each PDG id. Raises KeyError on a species that is no token."""
    near: Ints = np.clip(np.searchsorted(_SORTED, pdg_id), 0, len(_SORTED) - 1)
    if len(unknown := np.flatnonzero(_SORTED[near] != pdg_id)):
        raise KeyError(int(pdg_id[unknown[0]]))
    index: Ints = _BY_ID[near]
    return index


@dataclass(frozen=True)
class TokenSample:
    """N token sets in the axis frame, antiquarks conjugated to quarks.

    ``flavour`` (N,) of :data:`FLAVOURS`, ``pt`` (N,) of the parton in GeV, ``offsets`` (N+1,),
    ``species`` (M,) indices into :data:`SPECIES`, ``p4`` (M, 4) in GeV.
    """

    flavour: Ints
    pt: Floats
    offsets: Ints
    species: Ints
    p4: Floats

    def __len__(self) -> int:
        return len(self.pt)

    @property
    def index(self) -> Ints:
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def counts(self) -> Ints:
        """Tokens of each species in each set, shape (N, len(SPECIES))."""
        num = len(SPECIES)
        flat = np.bincount(self.index * num + self.species, minlength=len(self) * num)
        return flat.reshape(len(self), num).astype(np.int64)

    def __getitem__(self, rows: slice | NDArray[np.generic]) -> TokenSample:
        chosen = np.arange(len(self), dtype=np.int64)[rows]
        flat = ragged_indices(self.offsets, chosen)
        return TokenSample(
            self.flavour[chosen],
            self.pt[chosen],
            offsets_from_counts(np.diff(self.offsets)[chosen]),
            self.species[flat],
            self.p4[flat],
        )

    @staticmethod
    def concatenate(parts: list[TokenSample]) -> TokenSample:
        return TokenSample(
            np.concatenate([p.flavour for p in parts]),
            np.concatenate([p.pt for p in parts]),
            offsets_from_counts(np.concatenate([np.diff(p.offsets) for p in parts])),
            np.concatenate([p.species for p in parts]),
            np.concatenate([p.p4 for p in parts]),
        )


def parton_energy(flavour: Ints, parton_pt: Floats) -> Floats:
    """Energy of the partons in the axis frame, sqrt(pT^2 + m^2), in GeV."""
    m = np.array([PARTON_MASSES[abs(int(f))] for f in FLAVOURS])
    order = np.searchsorted(FLAVOURS, np.abs(flavour))
    return np.sqrt(parton_pt**2 + m[order] ** 2)


def condition(partons: Partons) -> tuple[Ints, Floats, NDArray[np.bool_]]:
    """What p(tokens | parton) depends on: flavour (conjugated), pT in GeV, and whether it was conjugated."""
    return np.abs(partons.pdg_id), pt(partons.p4), partons.pdg_id < 0


def _gun_rapidity(partons: Partons) -> Floats:
    """Rapidity of partons put on the gun's mass shell along their own direction."""
    m = np.zeros(len(partons))
    for flavour in np.unique(np.abs(partons.pdg_id)):
        m[np.abs(partons.pdg_id) == flavour] = PARTON_MASSES[int(flavour)]
    transverse = pt(partons.p4)
    y: Floats = np.arcsinh(partons.p4[:, 3] / np.hypot(transverse, m))
    return y


def to_lab(p4: Floats, offsets: Ints, partons: Partons) -> Floats:
    """Tokens or particles (M, 4) from the axis frame to the frame of their partons' p4."""
    counts = np.diff(offsets)
    angle, y = phi(partons.p4), _gun_rapidity(partons)
    c, s, ch, sh = (np.repeat(f(x), counts) for f, x in ((np.cos, angle), (np.sin, angle), (np.cosh, y), (np.sinh, y)))
    # axes of the frame: z is the parton's transverse direction n, x the beam, y = z cross x
    px, py, pz = p4[:, 3] * c + p4[:, 2] * s, p4[:, 3] * s - p4[:, 2] * c, p4[:, 1]
    return np.stack([p4[:, 0] * ch + pz * sh, px, py, pz * ch + p4[:, 0] * sh], axis=-1)


def to_axis(p4: Floats, offsets: Ints, partons: Partons) -> Floats:
    """The inverse of :func:`to_lab`."""
    counts = np.diff(offsets)
    angle = np.repeat(phi(partons.p4), counts)
    y = np.repeat(_gun_rapidity(partons), counts)
    ch, sh = np.cosh(y), np.sinh(y)
    energy, pz = p4[:, 0] * ch - p4[:, 3] * sh, p4[:, 3] * ch - p4[:, 0] * sh
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([energy, pz, p4[:, 1] * s - p4[:, 2] * c, p4[:, 1] * c + p4[:, 2] * s], axis=-1)


def to_particles(tokens: TokenSample, partons: Partons, rng: np.random.Generator) -> ParticleSet:
    """Decays the short-lived tokens, conjugates back and moves each set to its parton's frame."""
    from generators.hadrons.decays import decay

    offsets, species, p4 = decay(tokens.offsets, tokens.species, tokens.p4, rng)
    flipped = np.repeat(partons.pdg_id < 0, np.diff(offsets))
    species = np.where(flipped, CONJUGATE[species], species)
    return ParticleSet(offsets, np.array(SPECIES)[species], to_lab(p4, offsets, partons))


def canonical_partons(flavour: Ints, parton_pt: Floats) -> Partons:
    """Partons at y = 0, phi = 0 with the given flavour and pT (GeV)."""
    m = np.array([PARTON_MASSES[abs(int(i))] for i in flavour])
    zero = np.zeros(len(parton_pt))
    return Partons(flavour, p4_from_pt_eta_phi_m(parton_pt, zero, zero, m))
