"""Token sets: the primary hadrons that the models generate, in the frame of their parton.

A token is what fragmentation makes before anything decays (``HadronLevel:Decay = off`` in Pythia 8): mesons and
baryons of all flavours, vector mesons and decuplet baryons among them, and the photons and leptons of the shower. Broad
states have a mass of their own. Decays come afterwards (:mod:`generators.decays`). The frame is the axis frame of
:mod:`fastsim.event.frames`.

Fragmentation conserves the net number of quarks of each flavour and of charged leptons of each kind
(:data:`CONTENT`); so it conserves charge, baryon number, strangeness, charm and beauty, which are sums of these.

The networks see *types* (:data:`TYPES`): a common species is a type of its own, rare ones share one. The hadron that
carries the parton's quark, its *carrier*, is a type too, whatever its species.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Floats, Ints, ParticleSet, Partons, Ragged
from fastsim.event.frames import to_lab
from fastsim.event.kinematics import pt
from fastsim.event.species import PARTON_MASSES

FLAVOURS: tuple[int, ...] = (1, 2, 3, 4, 5, 21)
"""Parton flavours after charge conjugation of antiquarks."""

_NEUTRAL = (22, 111, 113, 221, 223, 331, 333, 441, 443, 551, 553)
_MESONS = (211, 213, 311, 313, 321, 323, 411, 413, 421, 423, 431, 433, 511, 513, 521, 523, 531, 533, 541, 543)
_LIGHT_BARYONS = (2112, 2212, 1114, 2114, 2214, 2224, 3122, 3112, 3212, 3222)
_STRANGE_BARYONS = (3114, 3214, 3224, 3312, 3322, 3314, 3324, 3334)
_CHARM_BARYONS = (
    *(4122, 4112, 4212, 4222, 4114, 4214, 4224, 4132, 4232, 4312, 4322, 4314, 4324, 4332, 4334),
    *(4412, 4422, 4414, 4424, 4432, 4434, 4444),
)
_BEAUTY_BARYONS = (
    *(5122, 5112, 5212, 5222, 5114, 5214, 5224, 5132, 5232, 5312, 5322, 5314, 5324, 5332, 5334),
    *(5142, 5242, 5412, 5422, 5414, 5424, 5342, 5432, 5434, 5442, 5444),
    *(5512, 5522, 5514, 5524, 5532, 5534, 5542, 5544, 5554),
)
_LEPTONS = (11, 13, 15)
_SIGNED = (*_MESONS, *_LIGHT_BARYONS, *_STRANGE_BARYONS, *_CHARM_BARYONS, *_BEAUTY_BARYONS, *_LEPTONS)

SPECIES: tuple[int, ...] = (*_NEUTRAL, *(sign * pdg for pdg in _SIGNED for sign in (1, -1)))
"""PDG ids of all primary species: every hadron that Pythia 8 makes of quarks d, u, s, c, b; photon; charged leptons."""

IDS: Ints = np.array(SPECIES)
_BY_ID = np.argsort(SPECIES)
_SORTED = IDS[_BY_ID]


def species_index(pdg_id: Ints) -> Ints:
    """Return the index into :data:`SPECIES` of each PDG id, (M,).

    Raises:
        KeyError: on a PDG id that is no token's.
    """
    near: Ints = np.clip(np.searchsorted(_SORTED, pdg_id), 0, len(_SORTED) - 1)
    if len(unknown := np.flatnonzero(_SORTED[near] != pdg_id)):
        raise KeyError(int(np.asarray(pdg_id)[unknown[0]]))
    index: Ints = _BY_ID[near]
    return index


CONJUGATE: Ints = species_index(np.where(np.isin(IDS, _NEUTRAL), IDS, -IDS))
"""Index of each species' antiparticle."""


def _content(pdg: int) -> list[int]:
    """Return the net numbers of d, u, s, c, b quarks and of e-, mu-, tau- of a species."""
    net, size, sign = [0] * 8, abs(pdg), 1 if pdg > 0 else -1
    if size in _LEPTONS:
        net[5 + (size - 11) // 2] += sign
    elif size >= 1000:
        for quark in (size // 1000, size // 100 % 10, size // 10 % 10):
            net[quark - 1] += sign
    elif pdg not in _NEUTRAL:
        heavy, light = size // 100, size // 10 % 10
        # the heavier of the two is the quark if it is of up type, else the antiquark
        sign = sign if heavy % 2 == 0 else -sign
        net[heavy - 1] += sign
        net[light - 1] -= sign
    return net


CONTENT: Ints = np.array([_content(pdg) for pdg in SPECIES])
"""Net numbers of d, u, s, c and b quarks and of electrons, muons and taus of each species, (S, 8)."""
NUM_CONTENT = 8


@lru_cache(maxsize=16)
def may_hold(quark: int) -> NDArray[np.bool_]:
    """Return which species may hold a quark, an antiquark if negative, among their valence quarks, (S,)."""
    size = np.abs(IDS)
    digit = size // 100 % 10
    # light neutral mesons are mixtures of flavours
    mixed = (CONTENT == 0).all(1) & (size > 100) & ((digit == abs(quark)) | (np.maximum(digit, abs(quark)) <= 3))
    return np.asarray((CONTENT[:, abs(quark) - 1] * np.sign(quark) > 0) | mixed)


def parton_content(pdg_id: Ints) -> Ints:
    """Return the net numbers of quarks and leptons (N, 8) of quarks and gluons."""
    net = np.zeros((len(pdg_id), NUM_CONTENT), dtype=np.int64)
    quark = np.flatnonzero(np.abs(pdg_id) <= 5)
    net[quark, np.abs(pdg_id[quark]) - 1] = np.sign(pdg_id[quark])
    return net


_MIN_MASSES: dict[int, float] = {
    **{22: 0.0, 11: 0.00051, 13: 0.10566, 15: 1.77682},
    **{111: 0.13498, 113: 0.3, 221: 0.54785, 223: 0.75, 331: 0.95578, 333: 1.0, 211: 0.13957, 213: 0.3},
    **{311: 0.49761, 313: 0.64527, 321: 0.49368, 323: 0.64527, 441: 2.7804, 443: 3.09602, 551: 9.3, 553: 9.4598},
    **{411: 1.86962, 413: 2.01028, 421: 1.86486, 423: 2.00698, 431: 1.96849, 433: 2.1123},
    **{511: 5.27958, 513: 5.3252, 521: 5.27925, 523: 5.3252, 531: 5.36677, 533: 5.4154, 541: 6.277, 543: 6.34},
    **{2112: 0.93957, 2212: 0.93827, 1114: 1.08, 2114: 1.08, 2214: 1.08, 2224: 1.08},
    **{3122: 1.11568, 3112: 1.19745, 3212: 1.19264, 3222: 1.18937, 3114: 1.3, 3214: 1.3, 3224: 1.3},
    **{3312: 1.32171, 3322: 1.31486, 3314: 1.5, 3324: 1.5, 3334: 1.67245},
    **{4122: 2.28646, 4112: 2.43176, 4212: 2.4309, 4222: 2.43202, 4114: 2.43, 4214: 2.43, 4224: 2.43},
    **{4132: 2.47088, 4232: 2.4678, 4312: 2.5779, 4322: 2.5756, 4314: 2.6359, 4324: 2.6359, 4332: 2.6952},
    **{4334: 2.7659, 4412: 3.59798, 4422: 3.59798, 4414: 3.65648, 4424: 3.65648, 4432: 3.78663, 4434: 3.82466},
    **{4444: 4.91594, 5122: 5.6194, 5112: 5.75, 5212: 5.75, 5222: 5.75, 5114: 5.8351, 5214: 5.81, 5224: 5.8321},
    **{5132: 5.7911, 5232: 5.788, 5312: 5.96, 5322: 5.96, 5314: 5.97, 5324: 5.97, 5332: 6.07, 5334: 6.13},
    **{5142: 7.00575, 5242: 7.00575, 5412: 7.03724, 5422: 7.03724, 5414: 7.0485, 5424: 7.0485, 5342: 7.19099},
    **{5432: 7.21101, 5434: 7.219, 5442: 8.30945, 5444: 8.31325, 5512: 10.42272, 5522: 10.42272, 5514: 10.44144},
    **{5524: 10.44144, 5532: 10.60209, 5534: 10.61426, 5542: 11.70767, 5544: 11.71147, 5554: 15.11061},
}
MIN_MASS: Floats = np.array([_MIN_MASSES[abs(pdg)] for pdg in SPECIES])
"""Least mass of each species in GeV: the lower end of its line shape, or its mass if it is narrow."""

LOG_MASS: Floats = np.log(np.maximum(MIN_MASS, 1e-3))
"""Logarithm of these: pions and rho mesons are as far apart as kaons and charmed hadrons."""
HIGHER_SPIN: NDArray[np.bool_] = (np.abs(IDS) > 100) & np.isin(np.abs(IDS) % 10, (3, 4))
"""Which species are vector mesons, or baryons of spin 3/2: the last digit of a PDG id is 2 J + 1."""

_COMMON = (
    *(22, 111, 113, 221, 223, 331, 333),
    *(sign * pdg for pdg in (211, 213, 311, 313, 321, 323, *_LIGHT_BARYONS) for sign in (1, -1)),
)
_GROUPS = (
    *((f"charm{sign}", s, (_MESONS[6:12], _CHARM_BARYONS)) for sign, s in (("+", 1), ("-", -1))),
    *((f"beauty{sign}", s, (_MESONS[12:], _BEAUTY_BARYONS)) for sign, s in (("+", 1), ("-", -1))),
    *((f"hyperon{sign}", s, (_STRANGE_BARYONS,)) for sign, s in (("+", 1), ("-", -1))),
    ("lepton+", 1, (_LEPTONS,)),
    ("lepton-", -1, (_LEPTONS,)),
    ("onium", 1, ((441, 443, 551, 553),)),
)
TYPES: tuple[str, ...] = ("carrier", *(name for name, _, _ in _GROUPS), *(str(pdg) for pdg in _COMMON))
"""Names of the types: the carrier, groups of rare species, and common species by their PDG ids."""
CARRIER = 0
NUM_GROUPS = len(_GROUPS)


def _types() -> Ints:
    of = {pdg: TYPES.index(str(pdg)) for pdg in _COMMON}
    for name, sign, families in _GROUPS:
        of |= {sign * pdg: TYPES.index(name) for family in families for pdg in family}
    return np.array([of[pdg] for pdg in SPECIES])


TYPE: Ints = _types()
"""Type of each species, where it is not the carrier."""
TYPE_SPECIES: Ints = np.array([int(np.flatnonzero(t == TYPE)[0]) if t else -1 for t in range(len(TYPES))])
"""Species of each type that holds a single one, and the first of those of a group; -1 for the carrier."""
TYPE_CONTENT: Floats = np.array([np.zeros(NUM_CONTENT) if s < 0 else CONTENT[s].astype(float) for s in TYPE_SPECIES])
TYPE_CONTENT[1 : 1 + NUM_GROUPS] = 0.0  # known once its species are


@dataclass(frozen=True)
class TokenSample(Ragged):
    """N token sets in the axis frame, with antiquarks and their hadrons conjugated.

    Attributes:
        flavour: of the parton, one of :data:`FLAVOURS`, (N,).
        pt: transverse momentum of the parton in GeV, (N,).
        scale: at which the shower of the parton starts, in GeV, (N,).
        offsets: set i has the tokens ``offsets[i]:offsets[i+1]``, (N+1,).
        species: index into :data:`SPECIES` of each token, (M,).
        p4: four-momenta of the tokens in GeV, (M, 4).
        mass: masses of the tokens in GeV, (M,).
        carrier: which token carries the parton's quark, (M,): none of a gluon, and none where it left the hemisphere.
        tune: vectors of the tunes (:mod:`generators.hadrons.tunes`) that the sets are of, as a model of tunes takes
            them, (N, P); by default (N, 0): nothing is said.
    """

    flavour: Ints
    pt: Floats
    scale: Floats
    offsets: Ints
    species: Ints
    p4: Floats
    mass: Floats
    carrier: NDArray[np.bool_]
    tune: Floats = field(default_factory=lambda: np.zeros((0, 0)))

    _item_columns: ClassVar[tuple[str, ...]] = ("species", "p4", "mass", "carrier")
    _row_columns: ClassVar[tuple[str, ...]] = ("flavour", "pt", "scale", "tune")
    _items: ClassVar[str] = "tokens"

    def __post_init__(self) -> None:
        self._check()
        if self.tune.shape[1] == 0:
            object.__setattr__(self, "tune", np.zeros((len(self), 0)))

    @property
    def types(self) -> Ints:
        """The type of each token, (M,)."""
        return np.where(self.carrier, CARRIER, TYPE[self.species])

    @property
    def carriers(self) -> Ints:
        """The species of each set's carrier, -1 where it has none, (N,)."""
        result = np.full(len(self), -1, dtype=np.int64)
        result[self.index[self.carrier]] = self.species[self.carrier]
        return result

    def species_counts(self) -> Ints:
        """Count the tokens of each species in each set, (N, S)."""
        num = len(SPECIES)
        return np.bincount(self.index * num + self.species, minlength=len(self) * num).reshape(len(self), num)

    def type_counts(self) -> Ints:
        """Count the tokens of each type in each set, (N, T)."""
        num = len(TYPES)
        return np.bincount(self.index * num + self.types, minlength=len(self) * num).reshape(len(self), num)

    def content(self) -> Ints:
        """Return the net numbers of quarks and leptons of each set, (N, 8)."""
        index = self.index
        columns = [np.bincount(index, CONTENT[self.species, k], len(self)) for k in range(NUM_CONTENT)]
        return np.rint(np.stack(columns, -1)).astype(np.int64)

    @classmethod
    def concatenate(cls, parts: Sequence[TokenSample]) -> TokenSample:
        """Return the sets of at least one part as one batch."""
        return cls(**cls._joined(parts))


def to_particles(tokens: TokenSample, partons: Partons) -> ParticleSet:
    """Return the primary hadrons of token sets, those of antiquarks conjugated, in their partons' frames.

    Args:
        tokens: N token sets in the axis frame.
        partons: their N partons.
    """
    flipped = np.repeat(partons.pdg_id < 0, tokens.counts)
    species = np.where(flipped, CONJUGATE[tokens.species], tokens.species)
    return ParticleSet(tokens.offsets, IDS[species], to_lab(tokens.p4, tokens.offsets, partons))


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
