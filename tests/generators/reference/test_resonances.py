"""Resonance decays: momentum and charge are conserved, colours are consistent, the chain is complete."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastsim.errors import InvalidEvent
from fastsim.event import HardEvents, kinematics, species
from fastsim.formats import lhe
from fastsim.sources.pipeline import Pipeline
from generators.hadrons.step import Hadronize
from generators.reference.resonances import RESONANCES, DecayResonances
from tests.helpers.sources import Spray, closure, hard_event, outgoing, shell

M = {6: 172.5, 23: 91.2, 24: 80.4, 25: 125.0, 15: 1.777}


def pair(pdg_id: int, number: int, energy: float = 400.0) -> HardEvents:
    """e+ e- -> X Xbar at an angle; a top pair carries the colour tags 1 and 2."""
    p = np.sqrt(energy**2 - M[abs(pdg_id)] ** 2)
    other = pdg_id if pdg_id in (23, 25) else -pdg_id
    event = hard_event(
        [
            (11, -1, (-1, -1), [energy, 0, 0, energy]),
            (-11, -1, (-1, -1), [energy, 0, 0, -energy]),
            (pdg_id, 1, (0, 1), [energy, 0.6 * p, 0, 0.8 * p]),
            (other, 1, (0, 1), [energy, -0.6 * p, 0, -0.8 * p]),
        ],
        number,
    )
    if abs(pdg_id) == 6:
        event.colours[2:, :] = [[1, 0], [0, 1]]
    return event


@pytest.fixture(scope="module")
def decayed() -> HardEvents:
    events = HardEvents.concatenate([pair(k, 5 * i + j) for i in range(12) for j, k in enumerate((6, 23, 24, 25, 15))])
    return DecayResonances().step(events, rng=np.random.default_rng(1))


def test_every_decay_conserves_momentum_and_charge(decayed: HardEvents) -> None:
    assert not (np.isin(np.abs(decayed.pdg_id), sorted(RESONANCES)) & (decayed.status == 1)).any()
    start = decayed.offsets[decayed.index]
    mother = decayed.mothers[:, 0] + start
    for parent in np.flatnonzero(decayed.status == 2):
        children = np.flatnonzero((mother == parent) & (decayed.mothers[:, 0] >= 0))
        assert len(children) >= 1 and (children > parent).all()  # one: K0 -> K0_S in a tau decay
        total = decayed.p4[children].sum(axis=0)
        assert np.abs(total - decayed.p4[parent]).max() < 1e-9 * decayed.p4[parent, 0]
        charge = species.charges(decayed.pdg_id[children]).sum()
        assert charge == pytest.approx(species.charge(int(decayed.pdg_id[parent])), abs=1e-9)
    assert np.allclose(outgoing(decayed), [800.0, 0, 0, 0], atol=1e-6)
    assert decayed.notes["decayed_resonances"] == 120


def test_colours_of_final_partons_pair_up(decayed: HardEvents) -> None:
    for event in range(len(decayed)):
        rows = slice(int(decayed.offsets[event]), int(decayed.offsets[event + 1]))
        colours = decayed.colours[rows][decayed.status[rows] == 1]
        quark = decayed.pdg_id[rows][decayed.status[rows] == 1]
        assert ((colours[:, 0] > 0) == (((quark > 0) & (quark < 6)) | (quark == 21))).all()
        assert sorted(colours[colours[:, 0] > 0, 0]) == sorted(colours[colours[:, 1] > 0, 1])


def test_the_same_seed_gives_the_same_decays() -> None:
    a, b = (DecayResonances().step(pair(6, 0), rng=np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(a.p4, b.p4) and np.array_equal(a.pdg_id, b.pdg_id)
    c = DecayResonances().step(pair(6, 0), rng=np.random.default_rng(5))
    assert not np.array_equal(a.p4[4:6], c.p4[4:6])


def test_branching_ratios_of_the_w() -> None:
    events = HardEvents.concatenate([pair(24, i) for i in range(400)])
    done = DecayResonances().step(events, rng=np.random.default_rng(2))
    from_w = (done.mothers[:, 0] == 2) & np.isin(np.abs(done.pdg_id), (1, 3, 5))
    # Particle Data Group: W -> hadrons 67.4%; 400 W+, so +- 2.3%
    assert from_w.sum() / 400 == pytest.approx(0.674, abs=0.08)


def test_decays_then_hadrons(decayed: HardEvents) -> None:
    step = Pipeline([DecayResonances(), Hadronize(Spray(), Spray())])
    done = step.step(HardEvents.concatenate([pair(k, k) for k in (6, 23, 24, 25, 15)]), rng=np.random.default_rng(1))
    assert closure(done) < 1e-9 and shell(done) < 1e-9


def test_whizard_w_pairs(shared: Path) -> None:
    _, batches = lhe.read(shared / "lhe" / "whizard-3.1.4-eeWW.lhe")
    events = next(batches)
    done = DecayResonances().step(events, rng=np.random.default_rng(1))
    assert done.notes["decayed_resonances"] == 20
    assert np.abs(outgoing(done) - outgoing(events)).max() < 1e-9 * 500
    boson = (np.abs(done.pdg_id) == 24) & (done.status == 2)
    assert np.allclose(kinematics.mass(done.p4[boson]), 80.419, rtol=1e-6)


def test_what_cannot_decay_is_named() -> None:
    light = hard_event([(11, -1, (-1, -1), [1.0, 0, 0, 0.5]), (6, 1, (0, 0), [1.0, 0, 0, 0.5])], number=7)
    with pytest.raises(InvalidEvent, match=r"event 7: Pythia cannot decay particle 6 of mass 0\.866 GeV"):
        DecayResonances().step(light, rng=np.random.default_rng(1))
