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
def test_primary_hadrons_fill_the_partons_hemisphere_with_all_that_they_decay_into(flavour: int) -> None:
    partons = gun(30, flavour)
    sets = PythiaGun().sample(partons, rng=np.random.default_rng(1))
    history = sets.history
    assert history is not None and len(sets) == 30
    made = history.decayed
    first, direct = made.mother < 0, history.mother < 0
    for p4, index in ((made.p4[first], made.index[first]), (sets.p4[direct], sets.index[direct])):
        offsets = np.searchsorted(index, np.arange(31))
        assert (to_axis(p4, offsets, partons)[:, 3] > 0).all()
    assert np.abs(mass(sets.p4) - masses(sets.pdg_id)).max() < 1e-4
    assert 0.7 < sets.sums()[:, 0].mean() / partons.p4[0, 0] < 1.3
    primary = np.concatenate([made.p4[first], sets.p4[direct]])
    index = np.concatenate([made.index[first], sets.index[direct]])
    total = np.stack([np.bincount(index, column, 30) for column in primary.T], axis=-1)
    np.testing.assert_allclose(total, sets.sums(), rtol=1e-5, atol=1e-5)
    if abs(flavour) in (4, 5):
        assert (np.abs(history.vertex[:, 1:]).max(axis=1) > 0.01).any(), "decays of charm and bottom are displaced"


def test_hadrons_before_decays_are_those_of_the_same_hemisphere() -> None:
    partons = gun(200, 5, 40.0)
    primary = PythiaGun().primary(partons, rng=3)
    assert (to_axis(primary.p4, primary.offsets, partons)[:, 3] > 0).all()
    beauty = np.isin(np.abs(primary.pdg_id), [511, 513, 521, 523, 531, 533]).sum()
    assert beauty > 150
    ours = PythiaGun().decay(primary, np.random.default_rng(1))
    theirs = PythiaGun().sample(partons, rng=4)
    error = np.hypot(ours.counts.std(), theirs.counts.std()) / 200**0.5
    assert abs(ours.counts.mean() - theirs.counts.mean()) < 4 * error
    assert PythiaGun().decay(theirs, np.random.default_rng(1)) is theirs


@pytest.mark.parametrize(("limit", "final", "gone"), [(1000.0, 3122, 310), (0.01, 511, None), (10.0, 310, 511)])
def test_lifetimes_decide_what_is_final(limit: float, final: int, gone: int | None) -> None:
    partons = gun(150, 5, 60.0)
    gun_ = PythiaGun().with_tau0_max(limit)
    for sets in (gun_.sample(partons, rng=1), gun_.decay(gun_.primary(partons, rng=1), np.random.default_rng(2))):
        assert sets.history is not None
        assert gone is None or gone not in np.abs(sets.pdg_id)
        if limit == 1000.0:  # K0S and Lambda have decayed somewhere
            kaon = np.flatnonzero(sets.history.decayed.pdg_id == 310)
            assert len(kaon) > 20 and final not in np.abs(sets.pdg_id)
            assert (np.abs(sets.history.vertex[:, 1:]).max(axis=1) > 10.0).any()
        else:
            assert final in np.abs(sets.pdg_id)
    assert gun_.tau0_max == limit and PythiaGun().tau0_max == 10.0


def test_a_shower_from_a_lower_scale_makes_fewer_hadrons() -> None:
    partons = gun(150, 21, 200.0)
    low = Partons(partons.pdg_id, partons.p4, np.full(150, 5.0))
    for sample in (PythiaGun().sample, PythiaGun().primary):
        full, soft = sample(partons, rng=1), sample(low, rng=1)
        assert soft.counts.mean() < 0.7 * full.counts.mean()
    same = Partons(partons.pdg_id, partons.p4, np.full(150, 900.0))
    assert np.array_equal(PythiaGun().primary(same, rng=1).p4, PythiaGun().primary(partons, rng=1).p4)


def test_soft_heavy_quarks_still_become_their_hadrons() -> None:
    for flavour, digit in ((4, 4), (5, 5)):
        primary = PythiaGun().primary(gun(40, flavour, 0.6), rng=1)
        ids = np.abs(primary.pdg_id)
        heavy = np.bincount(primary.index[(ids // 100 % 10 == digit) | (ids // 1000 % 10 == digit)], minlength=40)
        assert (heavy > 0).mean() > 0.8 and not np.isin(ids, [441, 443, 551, 553]).any()


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
