"""Toy particle sets about partons: fast, no physics, the right shapes."""

from __future__ import annotations

import numpy as np

from fastsim.event import Decayed, History, ParticleSet, Partons, offsets_from_counts
from fastsim.event.kinematics import eta, p4_from_pt_eta_phi_m, phi, pt
from fastsim.event.species import masses


def partons_of(pdg_id: list[int], pt: list[float], eta: list[float], phi: list[float]) -> Partons:
    """Make partons from lists; pT in GeV."""
    return Partons.from_pt_eta_phi(np.array(pdg_id), np.array(pt), np.array(eta), np.array(phi))


def toy_sets(
    num: int, mean: float, rng: np.random.Generator, *, width: float = 0.3, flavours: tuple[int, ...] = (1, -1, 2, 3)
) -> tuple[ParticleSet, Partons]:
    """Return ``num`` sets of Poisson(mean) particles, exponential in pT, Gaussian in eta and phi about partons."""
    partons = Partons.from_pt_eta_phi(
        rng.choice(flavours, num),
        np.exp(rng.uniform(np.log(200), np.log(600), num)),
        rng.uniform(-2, 2, num),
        rng.uniform(-np.pi, np.pi, num),
    )
    counts = rng.poisson(mean, num)
    index = np.repeat(np.arange(num), counts)
    pdg_id = rng.choice([22, 22, 211, -211, 321, 130, 2212, -11, 12], len(index))
    p4 = p4_from_pt_eta_phi_m(
        pt(partons.p4)[index] * rng.exponential(1.0 / mean, len(index)),
        eta(partons.p4)[index] + rng.normal(0.0, width, len(index)),
        phi(partons.p4)[index] + rng.normal(0.0, width, len(index)),
        masses(pdg_id),
    )
    return ParticleSet(offsets_from_counts(counts), pdg_id, p4), partons


def with_history(
    particles: ParticleSet, partons: Partons, rng: np.random.Generator, *, ctau: float = 0.5
) -> ParticleSet:
    """Return the sets with a history: one B+ each, with the parton's momentum and proper decay length ``ctau`` (mm).

    Every third final particle comes from it, the others from the parton itself.
    """
    num = len(particles)
    mass = 5.279
    energy = np.sqrt(np.sum(partons.p4[:, 1:] ** 2, axis=1) + mass**2)
    p4 = np.concatenate([energy[:, None], partons.p4[:, 1:]], axis=1)
    end = p4 / mass * rng.exponential(ctau, num)[:, None]
    mother = np.where(np.arange(len(particles.pdg_id)) % 3 == 0, 0, -1)
    vertex = np.where(mother[:, None] == 0, end[particles.index], 0.0)
    decayed = Decayed(np.arange(num + 1), np.full(num, 521), p4, np.full(num, -1), np.zeros((num, 4)))
    return ParticleSet(particles.offsets, particles.pdg_id, particles.p4, History(decayed, mother, vertex))
