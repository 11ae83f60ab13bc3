"""The decay table: which species decay, how, and into what, as arrays for the compiled walk along decay chains."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Floats, Ints
from generators.decays.data import Channel, Species, particle_data
from generators.decays.line_shapes import NUM_PARAMETERS, line_shape

STABLE, DECAYS, PYTHIA = 0, 1, 2
"""What becomes of a species: nothing, a decay of the kernels here, or a decay by Pythia."""

PLAIN, OMEGA, VECTOR, WEAK, DALITZ, DALITZ_WITH_TWO, DOUBLE_DALITZ = 0, 1, 2, 22, 11, 12, 13
"""Pythia's codes of matrix elements (meMode); 3 to 7 are plain two-body decays with ratios that depend on the mass."""
_SIZES: dict[int, tuple[int, ...]] = {
    PLAIN: (1, 2, 3, 4),
    OMEGA: (3,),
    VECTOR: (2,),
    **dict.fromkeys(range(3, 8), (2,)),
    WEAK: (3,),
    DALITZ: (3,),
    DALITZ_WITH_TWO: (4,),
    DOUBLE_DALITZ: (4,),
}
"""Numbers of products that the kernels know for each matrix element."""
MAX_PRODUCTS = 4


class Table(NamedTuple):
    """The decay table of S species with C channels, for one limit of lifetimes.

    Attributes:
        pdg_id: sorted PDG ids, (S,).
        action: STABLE, DECAYS or PYTHIA, (S,).
        tau0: mean proper lifetimes in mm, (S,).
        shape: line shapes, (S, 5); the first column is the nominal mass in GeV.
        pseudoscalar: whether a species is a pseudoscalar meson, (S,).
        lepton: whether it is a lepton, (S,).
        first: species s has the channels ``first[s]:first[s+1]``, (S+1,).
        ratio: branching ratios, (C,).
        code: matrix elements, (C,).
        size: numbers of products, (C,).
        product: products as rows of this table, (C, 4).
        varying: row of ``ratios`` of a species whose branching ratios depend on the mass, else -1, (S,).
        ratios: these, at masses spread evenly over ``mass_range``, (V, masses, channels).
        mass_range: least and greatest mass in GeV, (V, 2).
        rho: squares of mass and width of the rho0 in GeV^2, (2,).
        longest: the greatest number of particles of a chain.
    """

    pdg_id: Ints
    action: Ints
    tau0: Floats
    shape: Floats
    pseudoscalar: NDArray[np.bool_]
    lepton: NDArray[np.bool_]
    first: Ints
    ratio: Floats
    code: Ints
    size: Ints
    product: Ints
    varying: Ints
    ratios: Floats
    mass_range: Floats
    rho: Floats
    longest: int


_PHOTON = Species(22, 0.0, 0.0, (0.0, 0.0), 0.0, 0.0, 0.0, 0, False, (), False, None)


@lru_cache(maxsize=16)
def decay_table(tau0_max: float) -> Table:
    """Return the decay table in which species of a mean proper lifetime above ``tau0_max`` (mm) are stable."""
    data = {**particle_data(), 22: _PHOTON}
    lengths: dict[int, int] = {}

    def length(pdg_id: int) -> int:
        """Return the greatest number of particles of a chain; 0 if it takes Pythia."""
        if pdg_id in lengths:
            return lengths[pdg_id]
        lengths[pdg_id] = 0  # a species that decays into itself would not end here
        species = data[pdg_id]
        if not species.may_decay or species.tau0 > tau0_max:
            lengths[pdg_id] = 1
        elif all(_is_simple(channel, data) for channel in species.channels) and (
            not species.varies or species.ratios is not None
        ):
            lengths[pdg_id] = 1 + max(sum(max(length(p), 1) for p in c.products) for c in species.channels)
        return lengths[pdg_id]

    ids = sorted(data)
    row = {pdg_id: k for k, pdg_id in enumerate(ids)}
    species = [data[i] for i in ids]
    total = np.array([length(i) for i in ids])
    action = np.where(total == 0, PYTHIA, np.where(total == 1, STABLE, DECAYS))
    channels = [s.channels if a == DECAYS else () for s, a in zip(species, action, strict=True)]
    flat = [c for own in channels for c in own]
    product = np.full((len(flat), MAX_PRODUCTS), -1, np.int64)
    for k, channel in enumerate(flat):
        product[k, : len(channel.products)] = [row[p] for p in channel.products]
    varying = [k for k, s in enumerate(species) if action[k] == DECAYS and s.ratios is not None]
    tables = [species[k].ratios for k in varying]
    width = max((t.shape[1] for t in tables if t is not None), default=1)
    padded = [np.pad(t, ((0, 0), (0, width - t.shape[1]))) for t in tables if t is not None]
    rho = data[113]
    place = np.full(len(ids), -1)
    place[varying] = np.arange(len(varying))
    return Table(
        pdg_id=np.array(ids, dtype=np.int64),
        action=action.astype(np.int64),
        tau0=np.array([s.tau0 for s in species]),
        shape=np.array([line_shape(s) for s in species]).reshape(-1, NUM_PARAMETERS),
        pseudoscalar=np.array([_is_pseudoscalar(i) for i in ids]),
        lepton=np.array([10 < abs(i) < 19 for i in ids]),
        first=np.concatenate([[0], np.cumsum([len(own) for own in channels])]).astype(np.int64),
        ratio=np.array([c.ratio for c in flat], dtype=np.float64),
        code=np.array([c.matrix_element for c in flat], dtype=np.int64),
        size=np.array([len(c.products) for c in flat], dtype=np.int64),
        product=product,
        varying=place.astype(np.int64),
        ratios=np.array(padded, dtype=np.float64).reshape(len(padded), -1, width),
        mass_range=np.array([species[k].mass_range for k in varying], dtype=np.float64).reshape(-1, 2),
        rho=np.array([rho.mass**2, rho.width**2]),
        longest=int(total.max()),
    )


def _is_simple(channel: Channel, data: dict[int, Species]) -> bool:
    """Return whether a channel is into known particles and by a matrix element of the kernels."""
    products = channel.products
    if len(products) not in _SIZES.get(channel.matrix_element, ()) or any(p not in data for p in products):
        return False
    pairs = {DALITZ: (-2,), DALITZ_WITH_TWO: (-2,), DOUBLE_DALITZ: (-4, -2)}.get(channel.matrix_element, ())
    return all(products[k] == -products[k + 1] and 10 < abs(products[k]) < 19 for k in pairs)


def _is_pseudoscalar(pdg_id: int) -> bool:
    """Return whether Pythia counts a species as a pseudoscalar where it polarises vector mesons."""
    number = abs(pdg_id)
    return number > 100 and number % 10 == 1 and number // 1000 % 10 == 0
