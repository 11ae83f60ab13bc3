"""The Pythia gun: hemispheres, seeds, symmetry, exact agreement of token sets + decays with final particles."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.event import Partons
from fastsim.event.frames import to_axis
from fastsim.event.kinematics import mass
from fastsim.event.species import masses
from generators.hadrons.decays import decay
from generators.hadrons.tokens import SPECIES
from generators.reference.pythia import PythiaGun, token_sample


def gun(num: int, flavour: int = 2, pt: float = 100.0, eta: float = 0.5) -> Partons:
    return Partons.from_pt_eta_phi(np.full(num, flavour), np.full(num, pt), np.full(num, eta), np.full(num, 1.0))


@pytest.mark.parametrize("flavour", [1, -2, 3, -4, 5, 21])
def test_hadrons_fill_the_partons_hemisphere(flavour: int) -> None:
    partons = gun(30, flavour)
    sets = PythiaGun().sample(partons, rng=np.random.default_rng(1))
    axis = to_axis(sets.p4, sets.offsets, partons)
    assert (axis[:, 3] > 0).all() and len(sets) == 30
    assert np.abs(mass(sets.p4) - masses(sets.pdg_id)).max() < 1e-4
    assert 0.7 < sets.sums()[:, 0].mean() / partons.p4[0, 0] < 1.3


def test_workers_and_slices_do_not_change_the_events() -> None:
    partons = gun(300)
    serial = PythiaGun().sample(partons, rng=np.random.default_rng(2))
    parallel = PythiaGun(workers=2).sample(partons, rng=np.random.default_rng(2))
    assert (serial.p4 == parallel.p4).all() and (serial.pdg_id == parallel.pdg_id).all()
    first = PythiaGun().sample(partons[:100], rng=np.random.default_rng(2))
    assert (first.p4 == serial.p4[: len(first.p4)]).all()


def test_tokens_and_decays_are_the_final_particles() -> None:
    """Multiplicities of undecayed sets after our decays against Pythia's own, 1,500 hemispheres each."""
    num = 1500
    tokens = token_sample(np.full(num // 2, 21), np.full(num // 2, 60.0), seed=4)
    offsets, species, p4 = decay(tokens.offsets, tokens.species, tokens.p4, np.random.default_rng(1))
    real = PythiaGun().sample(gun(num, 21, 60.0, 0.0), rng=np.random.default_rng(5))
    assert (p4[:, 3] > 0).all()
    ours, theirs = np.diff(offsets), real.counts
    error = np.sqrt(ours.var() / num + theirs.var() / num)
    assert abs(ours.mean() - theirs.mean()) < 4 * error
    photons = np.array(SPECIES)[species] == 22
    share, other = photons.mean(), (real.pdg_id == 22).mean()
    assert abs(share - other) < 0.01
    assert abs(p4[photons, 0].mean() / real.p4[real.pdg_id == 22, 0].mean() - 1) < 0.12


def test_gun_depends_on_the_seed() -> None:
    a, b = (PythiaGun().sample(gun(5), rng=np.random.default_rng(seed)) for seed in (1, 2))
    assert len(a.pdg_id) != len(b.pdg_id) or (a.p4 != b.p4).any()
