"""The Pythia gun: hemispheres, seeds, symmetry."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.event import Partons
from fastsim.event.frames import to_axis
from fastsim.event.kinematics import mass
from fastsim.event.species import masses
from generators.reference.pythia import PythiaGun


def gun(num: int, flavour: int = 2, pt: float = 100.0, eta: float = 0.5) -> Partons:
    return Partons.from_pt_eta_phi(np.full(num, flavour), np.full(num, pt), np.full(num, eta), np.full(num, 1.0))


@pytest.mark.parametrize("flavour", [1, -2, 3, -4, 5, 21])
def test_hadrons_fill_the_partons_hemisphere(flavour: int) -> None:
    partons = gun(30, flavour)
    sets = PythiaGun().sample(partons, rng=np.random.default_rng(1))
    axis = to_axis(sets.p4, sets.offsets, partons)
    assert len(sets) == 30
    # hadrons of decays may cross the edge
    assert (axis[:, 3] > 0).mean() > 0.98
    assert np.abs(mass(sets.p4) - masses(sets.pdg_id)).max() < 1e-4
    assert 0.7 < sets.sums()[:, 0].mean() / partons.p4[0, 0] < 1.3


def test_workers_and_slices_do_not_change_the_events() -> None:
    partons = gun(300)
    serial = PythiaGun().sample(partons, rng=np.random.default_rng(2))
    parallel = PythiaGun(workers=2).sample(partons, rng=np.random.default_rng(2))
    assert (serial.p4 == parallel.p4).all() and (serial.pdg_id == parallel.pdg_id).all()
    first = PythiaGun().sample(partons[:100], rng=np.random.default_rng(2))
    assert (first.p4 == serial.p4[: len(first.p4)]).all()


def test_gun_depends_on_the_seed() -> None:
    a, b = (PythiaGun().sample(gun(5), rng=np.random.default_rng(seed)) for seed in (1, 2))
    assert len(a.pdg_id) != len(b.pdg_id) or (a.p4 != b.p4).any()
