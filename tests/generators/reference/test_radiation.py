"""Photons off leptons of the hard process: as many and as hard as in ordinary Pythia, and nothing lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastsim.event import HardEvents, offsets_from_counts
from fastsim.event.kinematics import mass, on_shell
from fastsim.event.species import masses
from generators.reference.radiation import RADIATED, RadiatePhotons

BOSON = {"Z": (23, 91.188, (13, -13)), "W": (24, 80.4, (-11, 12))}


def decays(name: str, num: int, *, massless: bool = False) -> HardEvents:
    """Bosons of the same momentum that decay into leptons at random angles."""
    boson, m, leptons = BOSON[name]
    rng = np.random.default_rng(4)
    direction = rng.normal(size=(num, 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    own = np.zeros(2) if massless else masses(np.array(leptons))
    size = np.sqrt((m**2 - own.sum() ** 2) * (m**2 - (own[0] - own[1]) ** 2)) / (2 * m)
    p4 = np.zeros((num, 5, 4))
    p4[:, 0], p4[:, 1] = [m / 2, 0, 0, m / 2], [m / 2, 0, 0, -m / 2]
    p4[:, 2, 0] = m
    for k, sign in ((3, 1), (4, -1)):
        p4[:, k, 1:] = sign * size * direction
        p4[:, k] = on_shell(p4[:, k], np.full(num, own[k - 3]))
    flat = p4.reshape(-1, 4)
    return HardEvents(
        number=np.arange(num),
        offsets=offsets_from_counts(np.full(num, 5)),
        pdg_id=np.tile([2, -2, boson, *leptons], num),
        status=np.tile([-1, -1, 2, 1, 1], num),
        mothers=np.tile([[-1, -1], [-1, -1], [0, 1], [2, 2], [2, 2]], (num, 1)),
        colours=np.zeros((5 * num, 2), np.int64),
        p4=flat,
        mass=mass(flat),
        weights=np.ones((num, 1)),
        process=np.ones(num, np.int64),
        scale=np.full(num, m),
    )


def radiated(events: HardEvents) -> Any:
    """The energy that each event has in photons, in GeV."""
    photons = (events.pdg_id == 22) & (events.status == 1)
    return np.bincount(events.index[photons], events.p4[photons, 0], minlength=len(events))


@pytest.mark.parametrize("massless", [False, True])
@pytest.mark.parametrize("name", BOSON)
def test_momentum_and_record(name: str, massless: bool) -> None:
    events = decays(name, 400, massless=massless)
    done = RadiatePhotons().step(events, rng=np.random.default_rng(1))
    final = done.status == 1
    sums = np.stack([np.bincount(done.index[final], done.p4[final, k]) for k in range(4)], axis=-1)
    np.testing.assert_allclose(sums, np.tile([BOSON[name][1], 0, 0, 0], (400, 1)), atol=1e-9)
    photons = final & (done.pdg_id == 22)
    assert done.notes[RADIATED] == photons.sum() > 50
    radiating = np.bincount(done.index[photons], minlength=400) > 0
    assert np.array_equal(done[np.flatnonzero(~radiating)].p4, events[np.flatnonzero(~radiating)].p4)
    mother = done.mothers[:, 0] + done.offsets[done.index]
    assert np.isin(np.abs(done.pdg_id[mother[photons]]), (11, 13)).all() and (done.status[mother[photons]] == 2).all()
    leptons = final & (done.pdg_id != 22) & radiating[done.index]
    assert (done.pdg_id[mother[leptons]] == done.pdg_id[leptons]).all()
    assert np.allclose(mass(done.p4[leptons]), masses(done.pdg_id[leptons]), atol=1e-5)
    assert done == RadiatePhotons().step(events, rng=np.random.default_rng(1))


def test_energies_are_those_of_pythia() -> None:
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    for line in (
        "Print:quiet = on",
        "Beams:idA = 11",
        "Beams:idB = -11",
        "Beams:eCM = 91.188",
        "PDF:lepton = off",
        "WeakSingleBoson:ffbar2gmZ = on",
        "23:onMode = off",
        "23:onIfAny = 13",
        "Random:setSeed = on",
        "Random:seed = 5",
        "HadronLevel:all = off",
    ):
        assert pythia.readString(line)
    assert pythia.init()
    real: list[float] = []
    while len(real) < 3000:
        assert pythia.next()
        real.append(sum(p.e() for p in pythia.event if p.isFinal() and p.id() == 22))
    made = radiated(RadiatePhotons().step(decays("Z", 3000), rng=np.random.default_rng(2)))
    for least in (0.1, 1.0, 10.0):
        shares = [np.mean(np.array(energies) > least) for energies in (real, made)]
        error = np.sqrt(sum(share * (1 - share) / 3000 for share in shares))
        assert shares[0] > 10 * error / 3 and abs(shares[0] - shares[1]) < 3.5 * error


def test_events_without_leptons() -> None:
    events = decays("Z", 3)
    events.pdg_id[events.status == 1] = 5
    assert RadiatePhotons().step(events, rng=np.random.default_rng(1)) is events


def test_leptons_without_room() -> None:
    """Massless leptons side by side have no frame in which they could radiate."""
    events = decays("Z", 3)
    for k in (3, 4):
        events.p4[k::5] = [10.0, 0.0, 0.0, 10.0]
    assert RadiatePhotons().step(events, rng=np.random.default_rng(1)) is events
