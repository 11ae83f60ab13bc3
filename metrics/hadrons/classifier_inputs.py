r"""Inputs of the set classifier: coordinates about the parton, or only Minkowski products.

The invariant inputs are logarithms of the products p_i . n of each particle with reference vectors n, of p_i . P with
the sum P of the set, of its mass squared, and of p_i . p_j of pairs. The references are the parton (massless) and the
two beams, which define the directions and scales of a collision: only the sign of py is lost, while a Lorentz
transformation of the whole event, references included, changes no input.

References:
    Gong et al. 2022, arXiv:2201.08187 (LorentzNet). Bogatskiy et al. 2022, arXiv:2211.00454 (PELICAN). Qu, Li, Qian
    2022, arXiv:2202.03772 (pair features).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastsim.event.species import charges
from metrics.hadrons.jets import Jets
from metrics.hadrons.observables import GROUPS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REFERENCES: Floats = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, -1.0]])
"""The parton and the two beams in the frame of ``Jets.p4_rel``."""
NUM_SPECIES = len(GROUPS) + 1
"""Kinds of particles: :data:`metrics.hadrons.observables.GROUPS`, then all others."""
FLOOR = 1e-9
"""Added before logarithms, in units of the parton's pT squared: a pion's mass squared at 2 TeV is 5e-9."""
PARTONS = (1, 2, 3, 4, 5, 21)
_METRIC = np.array([1.0, -1.0, -1.0, -1.0])


def condition(jets: Jets) -> Floats:
    """Compute log pT of the parton (GeV) and its flavour one-hot, shape (N, 7)."""
    return np.concatenate([np.log(jets.parton_pt)[:, None], jets.parton_id[:, None] == np.array(PARTONS)], axis=1)


def species(jets: Jets) -> Ints:
    """Look up the kind of each particle, a number below :data:`NUM_SPECIES`, shape (M,)."""
    place = {pdg: k for k, ids in enumerate(GROUPS.values()) for pdg in ids}
    unique, inverse = np.unique(jets.pdg_id, return_inverse=True)
    kinds = np.array([place.get(int(pdg), NUM_SPECIES - 1) for pdg in unique], dtype=np.int64)
    return kinds[inverse]


def coordinates(jets: Jets) -> tuple[Floats, Floats]:
    """Compute features about the parton: of each particle, shape (M, 10), and of each set, shape (N, 10).

    Particles: log pT, log E, sqrt pT, eta, phi, log Delta R, charge, px, py, pz. Sets: :func:`totals`, then py.
    """
    eta_rel, p4 = np.clip(jets.eta_rel, -8.0, 8.0), jets.p4_rel
    particles = [
        np.log(jets.pt_rel + FLOOR),
        np.log(p4[:, 0] + FLOOR),
        np.sqrt(jets.pt_rel),
        eta_rel,
        jets.phi_rel,
        np.log(np.hypot(eta_rel, jets.phi_rel) + 1e-3),
        charges(jets.pdg_id),
        *np.clip(p4[:, 1:], -3.0, 3.0).T,
    ]
    total = momentum(p4, jets.offsets)
    return np.stack(particles, axis=1), np.concatenate([totals(total, jets.counts, REFERENCES), total[:, 2:3]], axis=1)


def invariants(p4: Floats, offsets: Ints, pdg_id: Ints, references: Floats = REFERENCES) -> tuple[Floats, Floats]:
    """Compute Lorentz-invariant features: of each particle, shape (M, 6), and of each set, shape (N, 9).

    Args:
        p4: momenta of the particles of N sets, shape (M, 4); offsets: (N+1,); pdg_id: (M,).
        references: parton and beams in the frame of ``p4``, shape (3, 4).
    """
    counts = np.diff(offsets)
    total = momentum(p4, offsets)
    with_sum = np.sum(p4 * _METRIC * np.repeat(total, counts, axis=0), axis=1)
    products = np.column_stack([p4 @ (references * _METRIC).T, with_sum, np.sum(p4 * _METRIC * p4, axis=1)])
    return np.column_stack([_log(products), charges(pdg_id)]), totals(total, counts, references)


def totals(total: Floats, counts: Ints, references: Floats) -> Floats:
    """Compute features of the sum P of each set: invariants, their logarithms, and log(1 + count).

    Args:
        total: sums P, shape (N, 4).
        counts: particles of each set, (N,).
        references: vectors n, shape (3, 4).

    Returns:
        P^2 and the three P . n, the logarithms of these four, and log(1 + count), shape (N, 9).
    """
    products = np.column_stack([np.sum(total * _METRIC * total, axis=1), total @ (references * _METRIC).T])
    return np.column_stack([products, _log(products), np.log1p(counts)])


def pair_invariants(p4: Floats, total: Floats) -> Floats:
    """Compute Lorentz-invariant features of all pairs of K particles of n sets, shape (n, K, K, 4).

    log p_i.p_j; log p_i.p_j / (p_i.P p_j.P), an angle; and, with z = p.P, log min(z_i, z_j) and its logarithmic ratio
    to z_i + z_j: what Delta R, kT and z of a splitting are about an axis.

    Args:
        p4: momenta, shape (n, K, 4); total: P of each set, shape (n, 4).
    """
    product = _log((p4 * _METRIC) @ p4.transpose(0, 2, 1))
    z = p4 @ (total * _METRIC)[:, :, None]
    first, second = z, z.transpose(0, 2, 1)
    log_z = _log(z)
    softer = _log(np.minimum(first, second))
    angle = product - log_z - log_z.transpose(0, 2, 1)
    return np.stack([product, angle, softer, softer - _log(first + second)], axis=-1)


def momentum(p4: Floats, offsets: Ints) -> Floats:
    """Sum the momenta of each set, shape (N, 4).

    Args:
        p4: momenta of the particles, (M, 4).
        offsets: of the sets, (N+1,).
    """
    num_sets = len(offsets) - 1
    index = np.repeat(np.arange(num_sets), np.diff(offsets))
    return np.stack([np.bincount(index, weights=component, minlength=num_sets) for component in p4.T], axis=1)


def _log(x: Floats) -> Floats:
    logarithm: Floats = np.log(np.maximum(x, 0.0) + FLOOR)
    return logarithm
