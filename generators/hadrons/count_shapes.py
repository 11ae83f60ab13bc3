"""What is fixed of the distributions of counts (:mod:`generators.hadrons.counts`): their order, shapes and inputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Ints
from generators.hadrons.tokens import FLAVOURS, MIN_MASS, NUM_CONTENT, NUM_GROUPS, SPECIES, TYPES, may_hold

PIONS = tuple(TYPES.index(name) for name in ("211", "-211"))
LAST_PION, PI0 = TYPES.index("-211"), TYPES.index("111")
LAST_STRANGE, LAST_BARYON = TYPES.index("-321"), TYPES.index("-2212")


def _order() -> list[int]:
    """Return the order in which the common types are drawn: rare ones first, pi0 last."""
    names = (
        *("22", "333", "331"),
        *(f"{sign}{pdg}" for pdg in (3122, 3212, 3112, 3222, 1114, 2114, 2214, 2224, 2112, 2212) for sign in ("", "-")),
        *(f"{sign}{pdg}" for pdg in (313, 323, 311, 321) for sign in ("", "-")),
        *("221", "223", "113", "213", "-213", "211", "-211", "111"),
    )
    return [TYPES.index(name) for name in names]


ORDER = [*range(1, 1 + NUM_GROUPS), *_order()]
"""Types in the order in which their counts are drawn; the carrier comes before them."""
PLACE = np.argsort([0, *ORDER])  # the carrier is known to all
SIZE_SCALE, COUNT_SCALE, CONTENT_SCALE = 32, 16, 4
"""Counts enter the networks as log(1 + n) and as n over these."""
CORRECTION = 6.0
"""Largest correction of the logarithm of a known shape."""
SIZE_OFFSET = 3.0
"""Mean of sqrt(n) of a network whose output is zero."""
LEAST_SPREAD = 0.15
"""Least width of the Gaussian in sqrt(n): a set can be of one size for certain."""
NUM_SIDE = 1 + NUM_CONTENT + 3
"""Inputs about the opposite set: whether it is given; missing quantum numbers; its size, twice, and least mass."""


def may_carry() -> NDArray[np.bool_]:
    """Return which species may carry the quark of a parton of each flavour, or none (the last), (6, S + 1)."""
    allowed = np.zeros((len(FLAVOURS), len(SPECIES) + 1), dtype=bool)
    allowed[:, -1] = True
    for k, flavour in enumerate(FLAVOURS[:-1]):
        allowed[k, :-1] = may_hold(flavour)
    return allowed


def drawn_types(max_pions: int, max_others: int) -> list[tuple[int, Ints]]:
    """Return the types whose counts are drawn by the largest count that is, lowest first: charged pions, and others."""
    types = np.array([t for t in range(len(TYPES)) if t not in (0, PI0)])
    limits = np.where(np.isin(types, PIONS), max_pions, max_others)
    return [(int(limit), types[limits == limit]) for limit in np.unique(limits)]


def least_masses(counts: Ints) -> NDArray[np.float64]:
    """Return the sums of the tokens' least masses (N,) in GeV for counts of the species (N, S)."""
    return np.asarray(counts @ MIN_MASS)
