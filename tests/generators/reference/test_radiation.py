"""Photons off leptons of the hard process: as many and as hard as in ordinary Pythia, and nothing lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastsim
from fastsim.event import HardEvents, offsets_from_counts
from fastsim.event.kinematics import mass, on_shell
from fastsim.event.species import masses
from fastsim.formats.events import read_events
from generators.reference.radiation import RADIATED, radiate_photons
from generators.reference.resonances import DecayResonances

BOSON = {
    "Z": (23, 91.188, (13, -13)),
    "W": (24, 80.4, (-11, 12)),
    "Z to taus": (23, 91.188, (15, -15)),
    "W to a tau": (24, 80.4, (-15, 16)),
}


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
    done = radiate_photons(events, np.random.default_rng(1))
    final = done.status == 1
    sums = np.stack([np.bincount(done.index[final], done.p4[final, k]) for k in range(4)], axis=-1)
    np.testing.assert_allclose(sums, np.tile([BOSON[name][1], 0, 0, 0], (400, 1)), atol=1e-9)
    photons = final & (done.pdg_id == 22)
    assert done.notes[RADIATED] == photons.sum() > 50
    radiating = np.bincount(done.index[photons], minlength=400) > 0
    assert np.array_equal(done[np.flatnonzero(~radiating)].p4, events[np.flatnonzero(~radiating)].p4)
    mother = done.mothers[:, 0] + done.offsets[done.index]
    assert (
        np.isin(np.abs(done.pdg_id[mother[photons]]), (11, 13, 15)).all() and (done.status[mother[photons]] == 2).all()
    )
    leptons = final & (done.pdg_id != 22) & radiating[done.index]
    assert (done.pdg_id[mother[leptons]] == done.pdg_id[leptons]).all()
    assert np.allclose(mass(done.p4[leptons]), masses(done.pdg_id[leptons]), atol=1e-5)
    assert done == radiate_photons(events, np.random.default_rng(1))


@pytest.mark.parametrize(("name", "least"), [("Z", (0.1, 1.0, 10.0)), ("Z to taus", (0.1, 1.0, 5.0))])
def test_energies_are_those_of_pythia(name: str, least: tuple[float, ...]) -> None:
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
        f"23:onIfAny = {BOSON[name][2][0]}",
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
    made = radiated(radiate_photons(decays(name, 3000), np.random.default_rng(2)))
    for energy in least:
        shares = [np.mean(np.array(energies) > energy) for energies in (real, made)]
        error = np.sqrt(sum(share * (1 - share) / 3000 for share in shares))
        assert shares[0] > 10 * error / 3 and abs(shares[0] - shares[1]) < 3.5 * error


def test_taus_radiate_before_they_decay_with_their_spins_and_flights() -> None:
    """The helicity and the lifetime that the file gives a tau are those of what it has become."""
    num = 1500
    events = decays("Z to taus", num)
    spin, flight = np.full(5 * num, 9.0), np.zeros(5 * num)
    spin[3::5], spin[4::5], flight[3::5] = -1.0, 1.0, 7.0
    events = events.with_columns(hard={"spin": spin, "lifetime": flight})
    one_channel = ("15:onMode = off", "15:onIfMatch = 16 211")
    done = DecayResonances(one_channel, photons=True).step(events, rng=np.random.default_rng(3))
    mother = done.mothers[:, 0] + done.offsets[done.index]
    photons = np.flatnonzero((done.pdg_id == 22) & (done.status == 1))
    assert done.notes[RADIATED] == len(photons) > 100
    assert not done.hard_columns["lifetime"][mother[photons]].any()
    minus = np.flatnonzero((done.pdg_id == 15) & (done.hard_columns["lifetime"] == 7.0))
    assert len(minus) == num
    copied = np.abs(done.pdg_id[mother[minus]]) == 15
    assert 50 < copied.sum() < num - 50
    pion = np.flatnonzero((done.pdg_id == -211) & (done.pdg_id[mother] == 15))
    assert np.array_equal(mother[pion], minus)
    share = done.p4[pion, 0] / done.p4[minus, 0]
    for chosen in (copied, ~copied):  # left-handed tau-: a mean of 1/3, but for masses
        assert abs(share[chosen].mean() - 0.336) < 3.5 * share[chosen].std() / np.sqrt(chosen.sum())


def test_hard_events_have_the_photons_of_pythia(tmp_path: Path) -> None:
    """What is made of a file without the rest of its collisions has as many photons beside its muons as Pythia has."""
    num = 2000
    batch = decays("Z", num)
    batch = replace(batch, colours=np.tile([[501, 0], [0, 501], [0, 0], [0, 0], [0, 0]], (num, 1)))
    lines = ['<LesHouchesEvents version="3.0">', "<init>", "2212 2212 6500 6500 0 0 0 0 3 1", "1 1 1 1", "</init>"]
    for i in range(num):
        lines += ["<event>", "5 1 1 91.188 0.0078 0.118"]
        for k in range(5 * i, 5 * i + 5):
            mothers, (e, *momentum) = batch.mothers[k] + 1, batch.p4[k].tolist()
            row = [batch.pdg_id[k], batch.status[k], *mothers, *batch.colours[k], *momentum, e, batch.mass[k], 0, 9]
            lines.append(" ".join(f"{value:.12g}" for value in row))
        lines.append("</event>")
    file = tmp_path / "z.lhe"
    file.write_text("\n".join([*lines, "</LesHouchesEvents>", ""]))
    fastsim.generate(file, tmp_path / "hard.h5", event="hard", seed=1)
    quiet = ("PartonLevel:MPI = off", "SpaceShower:QCDshower = off", "SpaceShower:QEDshowerByQ = off")
    fastsim.reference(file, tmp_path / "pythia.h5", full=True, seed=2, pythia_settings=quiet)
    shares = []
    for name in ("hard", "pythia"):
        sets = [events.particles for events in read_events(tmp_path / f"{name}.h5")[1]]
        found = []
        for particles in sets:
            assert particles is not None
            for i in range(len(particles)):
                ids, p4 = particles[i].pdg_id, particles[i].p4
                muons, photons = unit(p4[np.abs(ids) == 13]), unit(p4[(ids == 22) & (p4[:, 0] > 3.0)])
                central = np.abs(muons[:, 2]) < 0.8  # remnants of the beams, which Pythia has, are not there
                found.append(bool((muons[central] @ photons.T > np.cos(0.3)).any()))
        shares.append(np.mean(found))
    error = np.sqrt(sum(share * (1 - share) / num for share in shares))
    assert min(shares) > 0.03 and abs(shares[0] - shares[1]) < 3.5 * error


def unit(p4: Any) -> Any:
    return p4[:, 1:] / np.linalg.norm(p4[:, 1:], axis=1, keepdims=True)


def test_events_without_leptons() -> None:
    events = decays("Z", 3)
    events.pdg_id[events.status == 1] = 5
    assert radiate_photons(events, np.random.default_rng(1)) is events


def test_leptons_without_room() -> None:
    """Massless leptons side by side have no frame in which they could radiate."""
    events = decays("Z", 3)
    for k in (3, 4):
        events.p4[k::5] = [10.0, 0.0, 0.0, 10.0]
    assert radiate_photons(events, np.random.default_rng(1)) is events
