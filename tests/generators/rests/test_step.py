"""Whole collisions: momentum, charge and baryon number of the beams in every event, and who recoils."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fastsim
from fastsim.event import HardEvents, RunInfo
from fastsim.event.kinematics import mass, pt
from fastsim.event.species import baryon_numbers, charges, masses
from fastsim.formats import lhe
from generators.reference.rest_gun import RestGun
from generators.rests.library import RestLibrary
from generators.rests.step import AddRest, beam_momentum


def hard_events(path: Path, num: int) -> tuple[RunInfo, HardEvents]:
    run, batches = lhe.read(path, num_events=num)
    return run, fastsim.hadron_pipeline("hadron-tree").step(next(iter(batches)), rng=1)


def check_beams(events: HardEvents, run: RunInfo) -> None:
    """The sums of every event are those of the beams, and every particle is on its shell."""
    particles = events.particles
    assert particles is not None
    np.testing.assert_allclose(particles.sums(), np.tile(beam_momentum(run), (len(events), 1)), atol=6.5e-6)
    for values in (charges(particles.pdg_id), baryon_numbers(particles.pdg_id)):
        assert np.bincount(particles.index, values).tolist() == [2.0] * len(events)
    light = particles.p4[:, 0] < 500
    assert np.allclose(mass(particles.p4)[light], masses(particles.pdg_id)[light], atol=1e-4)


@pytest.mark.parametrize("name", ["pp_dijet.lhe.gz", "pp_mixed.lhe.gz"])
def test_rests_of_a_library(name: str, examples: Path, rest_library: Path) -> None:
    run, events = hard_events(examples / name, 48)
    step = AddRest(run, RestLibrary(rest_library), RestGun(run))
    whole = step.step(events, rng=np.random.default_rng(2))
    check_beams(whole, run)
    assert whole.notes["rests_from_library"] == 48 and step.name == "add-rest:library"
    particles, hard = whole.particles, events.particles
    assert particles is not None and hard is not None and whole.origin is not None and particles.history is not None
    own = whole.origin >= 0
    assert own.sum() == len(hard.pdg_id) and np.array_equal(particles.pdg_id[own], hard.pdg_id)
    assert (particles.counts > hard.counts + 20).all()
    # the hard process recoils, with its mass
    columns = [np.bincount(particles.index[own], particles.p4[own, k]) for k in range(4)]
    moved = np.stack(columns, axis=-1).astype(np.float64)
    np.testing.assert_allclose(mass(moved), mass(hard.sums()), rtol=1e-9)
    assert np.median(pt(moved)) > 2.0 and (pt(hard.sums()) < 1e-3).all()
    again = step.step(events, rng=np.random.default_rng(2))
    assert again == whole


def test_rests_of_pythia_and_of_no_one(examples: Path, rest_library: Path) -> None:
    """Beyond the library's scales, and with nothing left of a beam."""
    run, events = hard_events(examples / "pp_dijet.lhe.gz", 6)
    events.scale[0] = 9000.0
    rows = np.flatnonzero(events.status == -1)
    events.p4[rows[2:4]] *= 6500.0 / events.p4[rows[2:4], :1]  # of event 1
    step = AddRest(run, RestLibrary(rest_library), RestGun(run))
    whole = step.step(events, rng=np.random.default_rng(2))
    assert whole.notes["rests_from_library"] == 4
    assert whole.notes["rests_from_pythia"] == 1 and whole.notes["events_without_rest"] == 1
    check_beams(whole[np.array([0, 2, 3, 4, 5])], run)
    assert whole.particles is not None and events.particles is not None
    assert np.array_equal(whole.particles[1].p4, events.particles[1].p4)
    other = AddRest(RunInfo(beam_energy=(6800.0, 6800.0)), RestLibrary(rest_library), RestGun(run))
    assert other.name == "add-rest:pythia"


def test_the_rest_gun(examples: Path) -> None:
    run, events = hard_events(examples / "pp_dijet.lhe.gz", 8)
    whole = AddRest(run, None, RestGun(run)).step(events, rng=np.random.default_rng(2))
    check_beams(whole, run)
    assert whole.notes["rests_from_pythia"] == 8
