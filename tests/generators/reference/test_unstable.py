"""What is not final does not leave as final: new quarks, leptoquarks, onia and hadrons decay, the rest is counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastsim.event import HardEvents, kinematics
from fastsim.event.reconstruction import is_parton
from fastsim.event.species import STABLE
from fastsim.event.vertices import production_vertices
from fastsim.formats import lhe
from generators.reference.unstable import DecayUnstable

FINAL = (*STABLE, 11, 12, 13, 14, 15, 16, 22, 24)


def decayed(shared: Path, name: str) -> HardEvents:
    (events,) = lhe.read(shared / "cases" / f"{name}.lhe")[1]
    return DecayUnstable().step(events, rng=np.random.default_rng(1))


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("p-bprime", 8),
        ("p-leptoquark", 8),
        ("p-octet-onium", 4),
        ("p-jpsi-gluon", 4),
        ("p-bmesons", 8),
        ("p-pi0-rho", 8),
    ],
)
def test_unstable_states_decay(shared: Path, name: str, number: int) -> None:
    events = decayed(shared, name)
    assert events.notes == {"decayed_particles": number}
    out = events.status == 1
    ids = np.abs(events.pdg_id[out])
    assert (is_parton(ids) | np.isin(ids, FINAL)).all()
    # four-momentum: incoming and final agree event by event, and every decay has its mother's
    total = np.zeros((len(events), 4))
    sign = np.where(out, 1.0, np.where(events.status == -1, -1.0, 0.0))
    np.add.at(total, events.index, sign[:, None] * events.p4)
    assert np.abs(total).max() < 1e-6 * events.p4[:, 0].max()
    for mother in np.flatnonzero(events.status == 2):
        same = events.index == events.index[mother]
        children = same & (events.mothers[:, 0] == mother - events.offsets[events.index[mother]])
        assert children.any() and np.allclose(
            events.p4[children].sum(axis=0), events.p4[mother], atol=1e-6 * events.p4[mother, 0]
        )
    assert (kinematics.mass_squared(events.p4[out]) > -1e-3).all()


def test_colour_goes_to_the_products(shared: Path) -> None:
    """Of an octet onium its colours are the gluon's; each tag still runs between two legs."""
    events = decayed(shared, "p-octet-onium")
    for i in range(len(events)):
        rows = np.arange(events.offsets[i], events.offsets[i + 1])
        legs = rows[np.isin(events.status[rows], (-1, 1))]
        tags = events.colours[legs][events.colours[legs] != 0]
        assert (np.unique(tags, return_counts=True)[1] == 2).all() and len(tags) > 0


@pytest.mark.parametrize(
    ("name", "notes"),
    [
        ("p-darkphoton-final", {"unknown_particles": 4}),
        ("p-ldmx-beam0", {"unknown_particles": 8}),
        ("p-svj-darkquarks", {"unknown_particles": 8}),
        ("p-neutron-diquark", {"undecayed_particles": 4, "unknown_particles": 4}),
        ("p-tau-lh", {}),
    ],
)
def test_what_pythia_does_not_decay_stays_and_is_counted(shared: Path, name: str, notes: dict[str, int]) -> None:
    (events,) = lhe.read(shared / "cases" / f"{name}.lhe")[1]
    after = DecayUnstable().step(events, rng=np.random.default_rng(1))
    assert after.notes == notes and np.array_equal(after.pdg_id, events.pdg_id)


def test_branching_ratios_are_pythias(shared: Path) -> None:
    """rho0 -> pi+ pi- always but for a permille, pi0 -> 2 gamma in 98.8%: of 400 within four errors."""
    (events,) = lhe.read(shared / "cases" / "p-pi0-rho.lhe")[1]
    events = HardEvents.concatenate([events] * 100)
    after = DecayUnstable().step(events, rng=np.random.default_rng(2))
    pions = (np.abs(after.pdg_id) == 211).sum() / 2
    pairs = np.bincount(after.index[(after.pdg_id == 22) & (after.status == 1)], minlength=400)
    assert pions >= 394 and abs((pairs == 2).mean() - 0.988) < 4 * np.sqrt(0.988 * 0.012 / 400) + 0.02


def test_b_mesons_fly_before_they_decay(shared: Path) -> None:
    (events,) = lhe.read(shared / "cases" / "p-bmesons.lhe")[1]
    after = DecayUnstable().step(HardEvents.concatenate([events] * 50), rng=np.random.default_rng(3))
    mesons = (after.status == 2) & np.isin(np.abs(after.pdg_id), (511, 521)) & (after.mothers[:, 0] < 2)
    flights = after.hard_columns["lifetime"][mesons]
    assert mesons.sum() == 400 and flights.mean() == pytest.approx(0.458, rel=0.25) and (flights > 0).all()
    inner = np.flatnonzero(after.mothers[:, 0] >= 2)
    mother = after.mothers[inner, 0] + after.offsets[after.index[inner]]
    here = production_vertices(after)
    assert (here[inner, 0] >= here[mother, 0]).all() and here[inner, 0].min() > 0
