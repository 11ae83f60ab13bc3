"""The particle species that hadronisation makes, with masses and charges.

Masses are those of Pythia 8.317 (GeV), so that model and reference share one mass shell; every other
species comes from the scikit-hep ``particle`` table.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsim.errors import UnknownSpecies

MASSES: dict[int, float] = {
    22: 0.0,
    111: 0.13498,
    221: 0.54785,
    211: 0.13957,
    321: 0.49368,
    130: 0.49761,
    310: 0.49761,
    2212: 0.93827,
    2112: 0.93957,
    3122: 1.11568,
    3222: 1.18937,
    3112: 1.19745,
    3212: 1.19264,
    3322: 1.31486,
    3312: 1.32171,
    3334: 1.67245,
    11: 0.000511,
    13: 0.10566,
    12: 0.0,
    14: 0.0,
    16: 0.0,
}
"""Mass in GeV of each species (antiparticles share it)."""

SELF_CONJUGATE = frozenset({21, 22, 23, 25, 111, 113, 130, 221, 223, 310, 331, 333, 441, 443, 551, 553})
NEUTRINOS = frozenset({12, 14, 16})
QUARKS = {"d": 1, "u": 2, "s": 3, "c": 4, "b": 5}
PARTON_MASSES: dict[int, float] = {1: 0.33, 2: 0.33, 3: 0.5, 4: 1.5, 5: 4.8, 21: 0.0}
"""Constituent masses (GeV) that the Pythia gun gives its partons."""
LEAST_MOMENTUM: dict[int, float] = {1: 0.5, 2: 0.5, 3: 0.5, 4: 2.0, 5: 3.5, 21: 0.5}
"""Momenta (GeV) of a pair at rest below which it has no mass for two hadrons of its flavour."""

PILE_UP = 83
"""PDG id of the pseudoparticle that stands for a further collision: 81-100 are the numbers left to generators."""

STABLE = tuple(pdg for pdg in MASSES if pdg not in (111, 221, 3212))
"""Species with c*tau > 10 mm: what an event generator hands to a detector simulation."""


@lru_cache(maxsize=4096)
def mass(pdg_id: int) -> float:
    """Return the mass of one species in GeV.

    Raises:
        UnknownSpecies: if neither the table nor ``particle`` knows the species.

    >>> mass(-211)
    0.13957
    """
    known = MASSES.get(abs(pdg_id))
    if known is not None:
        return known
    from particle import InvalidParticle, Particle, ParticleNotFound

    try:
        value = Particle.from_pdgid(pdg_id).mass
    except (ParticleNotFound, InvalidParticle) as error:
        raise UnknownSpecies(f"PDG id {pdg_id}: no such species") from error
    if value is None:
        raise UnknownSpecies(f"PDG id {pdg_id}: the particle table has no mass of it")
    return float(value) / 1000.0


def is_known(pdg_id: int) -> bool:
    """Return whether the mass of a species is in a table.

    >>> is_known(211), is_known(1023)
    (True, False)
    """
    try:
        mass(pdg_id)
    except KeyError:
        return False
    return True


@lru_cache(maxsize=4096)
def name(pdg_id: int) -> str:
    """Return the name of a species, such as ``pi+``; "PDG id N" of one that ``particle`` does not know.

    >>> name(211), name(21), name(0)
    ('pi+', 'g', 'PDG id 0')
    """
    from particle import InvalidParticle, Particle, ParticleNotFound

    try:
        return str(Particle.from_pdgid(pdg_id).name)
    except (ParticleNotFound, InvalidParticle):
        return f"PDG id {pdg_id}"


@lru_cache(maxsize=4096)
def charge(pdg_id: int) -> float:
    """Return the electric charge of one species in units of e; 0 where the table has none.

    >>> charge(-211)
    -1.0
    """
    from particle import PDGID

    value = PDGID(pdg_id).charge
    return float(value) if value is not None else 0.0


_DENSE = 10_000
"""Below this size of their PDG ids, what is known of species is looked up in an array."""
_known: dict[Callable[[int], float], NDArray[np.float64]] = {}


def _map(values: ArrayLike, function: Callable[[int], float]) -> NDArray[np.float64]:
    """Return what a function says of the species of an array of PDG ids, same shape; it is asked once a species."""
    pdg_id = np.asarray(values, dtype=np.int64)
    table = _known.setdefault(function, np.full(2 * _DENSE, np.nan))
    if (large := np.abs(pdg_id) >= _DENSE).any():  # few of many primary hadrons
        found = np.empty(pdg_id.shape)
        found[~large] = _map(pdg_id[~large], function)
        unique, inverse = np.unique(pdg_id[large], return_inverse=True)
        found[large] = np.array([function(int(species)) for species in unique], dtype=np.float64)[inverse]
        return found
    result = table[pdg_id]  # those of antiparticles are at its end
    if np.isnan(result).any():
        for species in np.unique(pdg_id[np.isnan(result)]).tolist():
            table[species] = function(species)
        result = table[pdg_id]
    return result


def masses(pdg_id: ArrayLike) -> NDArray[np.float64]:
    """Return the masses in GeV of an array of PDG ids, same shape. Raises UnknownSpecies, a KeyError."""
    return _map(pdg_id, mass)


def charges(pdg_id: ArrayLike) -> NDArray[np.float64]:
    """Return the charges in units of e of an array of PDG ids, same shape."""
    return _map(pdg_id, charge)


@lru_cache(maxsize=4096)
def quark_content(pdg_id: int) -> tuple[int, ...]:
    """Return the valence quarks of one hadron by their PDG ids, antiquarks negative; () for what is no hadron.

    Read off the digits of the PDG id (Review of Particle Physics, "Monte Carlo particle numbering scheme"). K0S and
    K0L, which are neither K0 nor anti-K0, have none.

    >>> quark_content(321), quark_content(-3122), quark_content(310)
    ((2, -3), (-3, -1, -2), ())
    """
    digits = abs(pdg_id) % 10_000
    first, second, third = digits // 1000, digits // 100 % 10, digits // 10 % 10
    if abs(pdg_id) >= 1_000_000_000 or not (second and third) or abs(pdg_id) in (130, 310):
        return ()
    sign = 1 if pdg_id > 0 else -1
    if first:
        return tuple(sign * q for q in (first, second, third))
    # of a meson with positive id the heavier quark is a quark if it is up-like, an antiquark if it is down-like
    quarks = (second, -third) if second % 2 == 0 else (third, -second)
    return tuple(sign * q for q in quarks)


def baryon_numbers(pdg_id: ArrayLike) -> NDArray[np.float64]:
    """Return the baryon numbers of an array of PDG ids, same shape.

    >>> baryon_numbers([2212, -3122, 211]).tolist()
    [1.0, -1.0, 0.0]
    """
    return _map(pdg_id, _baryon_number)


def _baryon_number(pdg_id: int) -> float:
    return float(np.sign(pdg_id)) if len(quark_content(pdg_id)) == 3 else 0.0


def strangeness(pdg_id: ArrayLike) -> NDArray[np.float64]:
    """Return the strangeness of an array of PDG ids, same shape; K0S and K0L, mixtures of both signs, have 0.

    >>> strangeness([321, 3122, -3312, 310]).tolist()
    [1.0, -1.0, 2.0, 0.0]
    """
    return _map(pdg_id, _strangeness)


def _strangeness(pdg_id: int) -> float:
    content = quark_content(pdg_id)
    return float(content.count(-3) - content.count(3))


def conjugate(pdg_id: ArrayLike) -> NDArray[np.int64]:
    """Return the PDG ids of the antiparticles, same shape; self-conjugate species stay.

    >>> conjugate([211, 22, -5]).tolist()
    [-211, 22, 5]
    """
    ids = np.asarray(pdg_id, dtype=np.int64)
    return np.where(np.isin(ids, tuple(SELF_CONJUGATE)), ids, -ids)


def parse_flavour(text: str) -> int:
    """Return the PDG id of a parton named as ``u``, ``ubar``, ``g`` or by its number.

    Raises:
        ValueError: if the name is not a quark (d u s c b, antiquarks) or a gluon.

    >>> parse_flavour("bbar"), parse_flavour("g"), parse_flavour("-3")
    (-5, 21, -3)
    """
    name = text.strip()
    if name in ("g", "21"):
        return 21
    base = name[:-3] if name.endswith("bar") else name
    if base in QUARKS:
        return -QUARKS[base] if name.endswith("bar") else QUARKS[base]
    try:
        number = int(name)
    except ValueError:
        number = 0
    if number == 0 or abs(number) > 5:
        raise ValueError(f"unknown parton {text!r}: use d u s c b, their 'bar', g, or PDG ids 1-5, -1..-5, 21")
    return number
