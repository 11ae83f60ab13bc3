"""The Step into the calorimeter: every MeV is accounted for, in the right event and place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsim.detector.detector import load_detector
from fastsim.detector.incidents import Incidents
from fastsim.detector.towers import towers_of
from fastsim.errors import InvalidEvent, PipelineError
from fastsim.event import ParticleSet
from fastsim.sources.pipeline import Pipeline, Step
from fastsim.sources.showers import ShowerSource
from generators.hadrons.step import Hadronize
from generators.showers.step import Deposit, collected
from tests.helpers.calorimeter import TOWERS, Drops, events_of
from tests.helpers.sources import Spray, hard_event

SOME = events_of(
    [
        [(22, 5.0, 0.3, 1.0), (211, 20.0, -1.5, 3.1), (13, 8.0, 2.0, -2.0), (12, 50.0, 0.0, 0.0)],
        [],
        [(-16, 3.0, 0.0, 0.0)],
        [(-211, 2.0, 0.0, -3.1), (22, 0.2, 1.0, 0.0)],
    ]
)


def test_cells_hold_what_the_showers_do_event_by_event(rng: np.random.Generator) -> None:
    source = Drops()
    step = Deposit(source, None, TOWERS)
    assert isinstance(step, Step) and isinstance(source, ShowerSource)
    after = step.step(SOME, rng=rng)
    assert after.cells is not None and SOME.cells is None
    assert after.cells.sums() == pytest.approx([250 * 33.0, 0.0, 0.0, 250 * 2.2], rel=1e-6)
    assert after.notes == {"showers": 5}, "neutrinos leave nothing and are no loss"
    assert after.tallies["showers"].tolist() == [3, 0, 0, 2]
    for row in range(len(after)):
        part = after.cells[np.array([row])]
        assert (np.diff(part.id) > 0).all() and (part.energy > 0).all() and (part.id < TOWERS.num_cells).all()
    (incidents,) = source.calls
    assert incidents.energy == pytest.approx([5.0, 20.0, 8.0, 2.0, 0.2]) and not incidents.theta.any()


def test_what_leaves_nothing_is_counted_with_its_energy(rng: np.random.Generator) -> None:
    rows = [
        [(22, 5.0, 0.0, 0.0), (211, 30.0, 3.5, 0.0), (211, 0.05, 0.0, 0.0), (2212, 7.0, 0.0, 0.0)],
        [(2212, 0.02, 0.0, 0.0), (22, 90.0, 1.0, 0.0), (310, 4.0, 1.0, 0.0), (-12, 9.0, 5.0, 0.0)],
    ]
    alone = Deposit(Drops(high=50.0), None, TOWERS).step(events_of(rows), rng=rng)
    assert alone.notes == {
        "showers": 1,
        "forward_particles": 1, "forward_energy_MeV": 30_000,
        "soft_particles": 2, "soft_energy_MeV": 70,
        "dropped_particles": 3, "dropped_energy_MeV": 101_000,
    }  # fmt: skip
    assert alone.tallies["dropped_energy_MeV"].tolist() == [7_000, 94_000]
    source, fallback = Drops(high=50.0), Drops((22, 211, 2212), low=0.03, name="other")
    helped = Deposit(source, fallback, TOWERS).step(events_of(rows), rng=rng)
    assert helped.notes == {
        "showers": 4, "fallback_showers": 3,
        "forward_particles": 1, "forward_energy_MeV": 30_000,
        "soft_particles": 1, "soft_energy_MeV": 20,
        "dropped_particles": 1, "dropped_energy_MeV": 4_000,
    }  # fmt: skip
    assert source.calls[0].pdg_id.tolist() == [22] and fallback.calls[0].pdg_id.tolist() == [211, 2212, 22]
    assert helped.cells is not None
    assert helped.cells.sums() == pytest.approx([250 * 12.05, 250 * 90.0], rel=1e-6)


def test_strange_particles_leave_the_showers_of_others(rng: np.random.Generator) -> None:
    """K0S as K0L, hyperons as nucleons of their sign; a source that knows them is asked first."""
    rows = [
        [
            (310, 4.0, 0.0, 0.0),
            (3122, 3.0, 1.0, 0.0),
            (-3312, 5.0, 0.5, 0.0),
            (3222, 9.0, 4.0, 0.0),
            (3122, 90.0, 1.0, 1.0),
        ]
    ]
    source = Drops((130, 2112, -2212, 2212), high=50.0)
    after = Deposit(source, None, TOWERS).step(events_of(rows), rng=rng)
    assert source.calls[0].pdg_id.tolist() == [130, 2112, -2212]
    assert after.notes == {
        "showers": 3, "stand_in_showers": 3,
        "forward_particles": 1, "forward_energy_MeV": 9_000,
        "dropped_particles": 1, "dropped_energy_MeV": 90_000,
    }  # fmt: skip
    assert after.cells is not None and after.cells.sums() == pytest.approx([250 * 12.0], rel=1e-6)
    knows = Drops((310, 3122), high=200.0, name="other")
    helped = Deposit(Drops((130, 2112, -2212)), knows, TOWERS).step(events_of(rows), rng=rng)
    assert knows.calls[0].pdg_id.tolist() == [310, 3122, 3122] and helped.notes["stand_in_showers"] == 1


def test_nothing_is_lost_at_the_edge(rng: np.random.Generator) -> None:
    events = events_of([[(211, 10.0, 2.995, 0.1 * k)] for k in range(40)])
    after = Deposit(Drops(), None, TOWERS).step(events, rng=rng)
    assert after.cells is not None
    leaked = after.tallies["leaked_energy_MeV"]
    assert leaked.sum() > 0 and (after.cells.sums() + leaked == pytest.approx(2500, abs=0.6))


def test_showers_lie_about_their_particles(rng: np.random.Generator) -> None:
    events = events_of([[(22, 10.0, 0.85, np.pi / 64 * 33)]] * 400)
    fine = replace(TOWERS, num_eta=600, num_phi=640)
    cells = Deposit(Drops(), None, fine).step(events, rng=rng).cells
    assert cells is not None
    eta, phi, layer = fine.centres(cells.id)
    for value, centre in ((eta, 0.85), (phi, np.pi / 64 * 33)):
        mean = np.average(value, weights=cells.energy)
        width = np.sqrt(np.average((value - centre) ** 2, weights=cells.energy))
        assert abs(mean - centre) < 4 * width / 20 and 0.002 < width < 0.05, "no azimuth is preferred"
    assert set(layer) == {0, 1}


def test_one_voxel_fills_its_ring_evenly(rng: np.random.Generator) -> None:
    """All energy in one voxel at r = 20 to 80 mm: turned at random and drawn over its area."""

    class Ring(Drops):
        def draw(self, incidents: Incidents, rng: np.random.Generator) -> NDArray[np.float32]:
            voxels = np.zeros((len(incidents), 25), np.float32)
            voxels[:, 9] = 100.0  # ring 1 of sector 0 of layer 1
            return voxels

    fine = replace(TOWERS, num_eta=3000, num_phi=3000)
    cells = Deposit(Ring(), None, fine).step(events_of([[(22, 1.0, 0.0, 0.0)]] * 2000), rng=rng).cells
    assert cells is not None and (cells.counts == 1).all() and (cells.energy == 100).all()
    eta, phi, layer = fine.centres(cells.id)
    assert (layer == 1).all()
    x, y = 1700 * np.sinh(eta), 1700 * np.tan(phi)  # 1500 mm, 100 mm of layer 0, the middle of 200 mm
    r2, angle = x**2 + y**2, np.arctan2(y, x)
    assert r2.min() > 18**2 and r2.max() < 82**2
    assert r2.mean() == pytest.approx((20**2 + 80**2) / 2, rel=0.05), "uniform in the area"
    assert abs(np.exp(1j * angle).mean()) < 4 / np.sqrt(2000)


def test_a_seed_decides_and_batches_of_one_event_are_theirs_alone() -> None:
    step = Deposit(Drops(), Drops((2212,)), TOWERS)
    one, two, other = (step.step(SOME, rng=np.random.default_rng(k)).cells for k in (1, 1, 2))
    assert one is not None and two is not None and other is not None
    assert np.array_equal(one.id, two.id) and np.array_equal(one.energy, two.energy)
    assert not np.array_equal(one.energy, other.energy)
    none = step.step(SOME[:0], rng=np.random.default_rng(1)).cells
    assert none is not None and len(none) == 0


def test_after_hadrons_in_a_pipeline(rng: np.random.Generator) -> None:
    event = hard_event(
        [
            (21, -1, (-1, -1), [50.0, 0, 0, 50.0]),
            (21, -1, (-1, -1), [50.0, 0, 0, -50.0]),
            (21, 1, (0, 1), [50.0, 30.0, 0, 40.0]),
            (21, 1, (0, 1), [50.0, -30.0, 0, -40.0]),
        ]
    )
    deposit = Deposit(Drops((22, 211, -211, 321, 130, 2212, -2112), low=1e-3), None, TOWERS)
    pipeline = Pipeline([Hadronize(Spray()), deposit])
    assert pipeline.provides == {"partons", "hadrons", "cells"}
    after = pipeline.step(event, rng=rng)
    assert after.cells is not None and after.cells.sums()[0] > 0 and after.notes["showers"] > 1
    with pytest.raises(PipelineError, match=r"'deposit:drops'\) requires hadrons"):
        Pipeline([deposit])
    Pipeline([deposit], given=frozenset({"hadrons"}))


def test_bad_events_and_sources_are_named(rng: np.random.Generator) -> None:
    assert SOME.particles is not None
    p4 = SOME.particles.p4.copy()
    p4[4, 2] = np.nan
    broken = replace(SOME, particles=ParticleSet(SOME.particles.offsets, SOME.particles.pdg_id, p4))
    step = Deposit(Drops(), None, TOWERS)
    with pytest.raises(InvalidEvent, match="event 2: a particle's momentum is not finite"):
        step.step(broken, rng=rng)
    with pytest.raises(PipelineError, match="was given events without particles"):
        step.step(replace(SOME, particles=None), rng=rng)

    class Short(Drops):
        def draw(self, incidents: Incidents, rng: np.random.Generator) -> NDArray[np.float32]:
            return super().draw(incidents, rng)[1:]

    class Negative(Drops):
        def draw(self, incidents: Incidents, rng: np.random.Generator) -> NDArray[np.float32]:
            return -super().draw(incidents, rng)

    with pytest.raises(PipelineError, match="was given 5 particles and returned 4 showers"):
        Deposit(Short(), None, TOWERS).step(SOME, rng=rng)
    with pytest.raises(PipelineError, match="negative or not finite"):
        Deposit(Negative(), None, TOWERS).step(SOME, rng=rng)
    with pytest.raises(PipelineError, match="showers in toy, but the towers are those of other"):
        Deposit(Drops(), None, replace(TOWERS, detector="other"))
    with pytest.raises(PipelineError, match="have 3 layers, but the towers 1"):
        Deposit(Drops(), None, replace(TOWERS, depths_mm=(1.0,), segments=(1,)))


def test_particles_at_rest_and_unknown_ones_are_counted(rng: np.random.Generator) -> None:
    p4 = np.array([[0.13957, 0.0, 0.0, 0.0], [10.0, 6.0, 0.0, 0.0], [0.3, 0.0, 0.0, 0.3]])
    particles = ParticleSet(np.array([0, 3]), np.array([211, 9_900_041, 22]), p4)
    events = replace(SOME[:1], particles=particles, origin=np.full(3, -1))
    after = Deposit(Drops(), None, TOWERS).step(events, rng=rng)
    assert after.notes == {
        "forward_particles": 2, "forward_energy_MeV": 300,
        "dropped_particles": 1, "dropped_energy_MeV": 2_000,
    }, "a particle of no known mass has that of its momentum: 10 GeV - 8 GeV"  # fmt: skip


def test_towers_of_detectors() -> None:
    copper = towers_of(load_detector("copper"))
    assert copper.segments == (4, 8, 8, 10, 10) and sum(copper.depths_mm) == pytest.approx(1650)
    lead = towers_of(load_detector("pb-si-ecal"), (15, 15, 15))
    assert lead.num_layers == 3 and lead.depths_mm == pytest.approx((2.8,) * 45)


def test_adding_up() -> None:
    at, cell = np.array([2, 0, 2, 2, 0]), np.array([7, 3, 7, -1, 1])
    cells = collected(3, at, cell, np.array([1.0, 2.0, 4.0, 8.0, 16.0]))
    assert cells.offsets.tolist() == [0, 2, 2, 3]
    assert cells.id.tolist() == [1, 3, 7] and cells.energy.tolist() == [16.0, 2.0, 5.0]
