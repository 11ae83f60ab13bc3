"""Lifetimes of hard records: flights by hand, particles moved with what they come from, the same in all outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyhepmc
import pytest

import fastsim
from fastsim.event import Decayed, HardEvents, History, ParticleSet
from fastsim.event.vertices import displaced, lifetimes, production_vertices
from fastsim.formats import hdf5, lhe, root
from tests.helpers.sources import hard_event


def cascade() -> HardEvents:
    """A -> B + mu, B -> 2 photons, beside a photon: A and B have lifetimes."""
    return hard_event(
        [
            (11, -1, (-1, -1), [10.0, 0.0, 0.0, 10.0]),
            (-11, -1, (-1, -1), [10.0, 0.0, 0.0, -10.0]),
            (1023, 2, (0, 1), [5.0, 3.0, 0.0, 0.0]),
            (22, 1, (0, 1), [3.0, -3.0, 0.0, 0.0]),
            (1024, 2, (2, 2), [2.5, 0.0, 1.5, 0.0]),
            (13, 1, (2, 2), [2.5, 3.0, -1.5, 0.0]),
            (22, 1, (4, 4), [1.25, 0.0, 0.75, 1.0]),
            (22, 1, (4, 4), [1.25, 0.0, 0.75, -1.0]),
        ]
    ).with_columns(hard={"lifetime": [5.0, 0.0, 8.0, 0.0, 2.0, np.nan, -1.0, np.inf]})


FIRST, SECOND = [10.0, 6.0, 0.0, 0.0], [12.5, 6.0, 1.5, 0.0]
"""Where A and B decay: 8 mm (5, 3, 0, 0) / 4, and 2 mm (2.5, 0, 1.5, 0) / 2 further."""


def test_flights_by_hand() -> None:
    events = HardEvents.concatenate([cascade(), cascade()])
    assert lifetimes(events).tolist() == [5.0, 0.0, 8.0, 0.0, 2.0, 0.0, 0.0, 0.0] * 2
    zero = [0.0] * 4
    assert production_vertices(events).tolist() == [zero, zero, zero, zero, FIRST, FIRST, SECOND, SECOND] * 2
    short = replace(events, hard_columns={"lifetime": np.full(16, 1e-10)})  # that of a Higgs boson, or shorter
    assert not lifetimes(short).any() and not production_vertices(short).any()
    bare = replace(events, hard_columns={})
    assert not production_vertices(bare).any() and displaced(bare) is bare


def test_particles_move_with_the_entries_that_they_come_from() -> None:
    """Two photons of a pi0 that flew from B, the muon, and a particle of unknown origin."""
    flown = np.array([1.0, 0.0, 0.0, 0.5])
    p4 = np.array([[1.25, 0.0, 0.75, 1.0]])
    pion = Decayed(np.array([0, 1]), np.array([111]), p4, np.array([-1]), np.zeros((1, 4)))
    history = History(pion, np.array([0, 0, -1, -1]), np.stack([flown, flown, 0 * flown, 0 * flown]))
    photons = ParticleSet(np.array([0, 4]), np.array([22, 22, 13, 22]), np.ones((4, 4)), history)
    events = cascade().with_particles(photons, np.array([6, 6, 5, -1]))
    particles = displaced(events).particles
    assert particles is not None and particles.history is not None
    assert particles.history.vertex.tolist() == [[13.5, 6.0, 1.5, 0.5]] * 2 + [FIRST, [0.0] * 4]
    assert particles.history.decayed.vertex.tolist() == [SECOND]
    assert particles.history.mother.tolist() == history.mother.tolist()
    without = displaced(replace(events, particles=photons.without_history())).particles
    assert without is not None and without.history is not None
    assert without.history.vertex.tolist() == [SECOND, SECOND, FIRST, [0.0] * 4]


@pytest.fixture(scope="module")
def outputs(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A heavy neutral lepton that flies 15 mm and decays to a muon and two quarks, in each format."""
    folder = tmp_path_factory.mktemp("outputs")
    for name in ("a.h5", "a.root", "a.hepmc3"):
        fastsim.reference(shared / "cases" / "p-hnl-decayed.lhe", folder / name, seed=3)
    return folder


def expected_vertices(shared: Path) -> dict[int, np.ndarray]:  # type: ignore[type-arg]
    """Where the lepton of each event decays, by number of the event."""
    (events,) = lhe.read(shared / "cases" / "p-hnl-decayed.lhe")[1]
    rows = np.flatnonzero(events.pdg_id == 9900012)
    return dict(enumerate(15.0 / 40.0 * events.p4[rows]))


@pytest.mark.parametrize("name", ["a.h5", "a.root"])
def test_files_hold_the_vertices(shared: Path, outputs: Path, name: str) -> None:
    path = outputs / name
    events = next(hdf5.read_events(path)[1]) if name.endswith("h5") else root.read(path)[1]
    particles, origin = events.particles, events.origin
    assert particles is not None and particles.history is not None and origin is not None and len(events) == 4
    for number, place in expected_vertices(shared).items():
        chosen = particles.index == number
        far = origin[chosen] >= 4
        at = particles.history.vertex[chosen]
        assert far.sum() > 5 and np.allclose(at[far & (particles.history.mother[chosen] < 0)], place, rtol=1e-6)
        assert not at[~far].any()  # the muon beside the lepton


def test_hepmc_files_hold_the_vertices(shared: Path, outputs: Path) -> None:
    with pyhepmc.open(outputs / "a.hepmc3") as stream:
        events = list(stream)
    for number, place in expected_vertices(shared).items():
        (lepton,) = [p for p in events[number].particles if p.pid == 9900012]
        vertex = lepton.end_vertex
        assert lepton.status == 2 and [p.pid for p in vertex.particles_out] == [13, 2, -1]
        ct, x, y, z = place
        assert (vertex.position.t, vertex.position.x, vertex.position.y, vertex.position.z) == pytest.approx(
            (ct, x, y, z)
        )
        for quark in vertex.particles_out[1:]:
            at = quark.end_vertex.position
            assert (at.t, at.x, at.y, at.z) == pytest.approx((ct, x, y, z)) and len(quark.end_vertex.particles_out) > 0


def test_ordinary_pythia_lets_the_lepton_fly(shared: Path, tmp_path: Path) -> None:
    """Its recoils change the lepton, whose own momentum gives the place then; its record is that of any decay."""
    fastsim.reference(shared / "cases" / "p-hnl-decayed.lhe", tmp_path / "a.h5", seed=3, full=True)
    (events,) = hdf5.read_events(tmp_path / "a.h5")[1]
    assert events.particles is not None and events.particles.history is not None
    for number in range(4):
        one = events.particles[np.array([number])]
        history = one.history
        assert history is not None
        (lepton,) = np.flatnonzero(history.decayed.pdg_id == 9900012)
        place = 15.0 / 40.0 * history.decayed.p4[lepton]
        daughters = history.mother == lepton
        assert 13 in one.pdg_id[daughters] and not history.decayed.vertex[lepton].any()
        assert history.decayed.mother[lepton] == -1
        assert np.allclose(history.vertex[daughters], place, rtol=1e-5)
        below = np.zeros(len(history.decayed.pdg_id), bool)
        below[lepton] = True
        for row in range(len(below)):
            below[row] |= history.decayed.mother[row] >= 0 and below[history.decayed.mother[row]]
        total = one.p4[(history.mother >= 0) & below[history.mother]].sum(axis=0)
        assert np.allclose(total, history.decayed.p4[lepton], rtol=1e-6, atol=1e-3)
        away = np.linalg.norm(history.vertex[:, 1:3], axis=1) > 1.0
        assert below[history.mother[away & (history.mother >= 0)]].sum() > 3


def test_bosons_of_top_decays_are_resonances_and_their_leptons_are_prompt(examples: Path, tmp_path: Path) -> None:
    """Pythia gives the W of a decayed top quark a c tau of 1e-13 mm, of its width."""
    fastsim.generate(examples / "pp_mixed.lhe.gz", tmp_path / "o.hepmc3", seed=1, event="hard")
    with pyhepmc.open(str(tmp_path / "o.hepmc3")) as file:
        events = list(file)
    bosons = [p for event in events for p in event.particles if abs(p.pid) == 24]
    assert len(bosons) == 32
    assert {p.status for p in bosons} == {22}
    assert not any(p.end_vertex.has_set_position() for p in bosons)
