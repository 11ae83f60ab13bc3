"""Pile-up: numbers, places, marks, and files that it cannot be taken from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyhepmc
import pytest

import fastsim
from fastsim.collisions import make_minimum_bias
from fastsim.errors import FastsimError
from fastsim.event import HardEvents, RunInfo
from fastsim.event.species import PILE_UP
from fastsim.formats import hepmc
from generators.pileup.library import CollisionLibrary
from generators.pileup.step import AddPileUp
from tests.helpers.events import with_decays


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty minimum-bias collisions of Pythia."""
    return make_minimum_bias(tmp_path_factory.mktemp("pileup") / "pileup.h5", energy=13000.0, num=40)


@pytest.fixture(scope="module")
def events() -> HardEvents:
    partons = fastsim.read(Path(__file__).parents[3] / "data" / "examples" / "pp_dijet.lhe.gz", num_events=60)
    assert isinstance(partons, HardEvents)
    return with_decays(partons)


def test_collisions_are_added_at_places_of_their_own(file: Path, events: HardEvents) -> None:
    library = CollisionLibrary(file)
    done = AddPileUp(4.0, library, 35.0).step(events, rng=np.random.default_rng(1))
    number, particles = done.particle_columns["collision"], done.particles
    assert particles is not None and particles.history is not None and events.particles is not None
    assert done.origin is not None and events.origin is not None
    mark = particles.history.decayed
    pseudo = mark.pdg_id == PILE_UP
    assert pseudo.sum() == done.notes["pileup_collisions"] and abs(pseudo.sum() / 60 - 4.0) < 5 * np.sqrt(4.0 / 60)
    # the event itself is as it was
    own = number == 0
    assert np.array_equal(particles.p4[own], events.particles.p4) and np.array_equal(done.origin[own], events.origin)
    assert (done.origin[~own] == -1).all()
    # a mark has the momentum of its collision, which is that of the beams
    assert np.allclose(mark.p4[pseudo], [13000.0, 0, 0, 0], atol=0.02)
    assert np.allclose(
        np.bincount(particles.index[~own], particles.p4[~own, 0]),
        13000.0 * np.bincount(mark.index[pseudo], minlength=60),
        rtol=1e-5,
    )
    # what is made at once is where its collision is; relative places spread more than those in the beam
    above = particles.history.mother + mark.offsets[particles.index]
    prompt = np.flatnonzero(~own & (particles.history.mother >= 0))
    prompt = prompt[pseudo[above[prompt]]]
    assert len(prompt) > 1000
    assert np.array_equal(particles.history.vertex[prompt], mark.vertex[above[prompt]])
    assert np.allclose(mark.vertex[pseudo][:, [0, 3]].std(axis=0), 35.0 * np.sqrt(2), rtol=0.35)
    roots = particles.roots()[0]
    assert (mark.pdg_id[roots[~own]] == PILE_UP).all()
    assert number.max() == np.bincount(mark.index[pseudo]).max()


def test_no_collision_is_twice_in_an_event_as_long_as_there_are_enough(file: Path, events: HardEvents) -> None:
    library = CollisionLibrary(file)
    rows = library.choose(np.array([40, 0, 41]), np.random.default_rng(1))
    assert len(set(rows[:40].tolist())) == 40 and len(rows) == 81
    done = AddPileUp(60.0, CollisionLibrary(file, max_collisions=5), 35.0).step(
        events[:3], rng=np.random.default_rng(1)
    )
    assert done.notes["events_with_repeated_pileup"] == 3


def test_hepmc_has_them_at_vertices_of_their_own(file: Path, events: HardEvents, tmp_path: Path) -> None:
    done = AddPileUp(3.0, CollisionLibrary(file), 35.0).step(events[:4], rng=np.random.default_rng(3))
    path = tmp_path / "a.hepmc3"
    with hepmc.Writer(path, RunInfo()) as writer:
        writer.write(done)
    with pyhepmc.open(str(path)) as opened:
        (first, *_) = list(opened)
    marks = [p for p in first.particles if p.pid == PILE_UP]
    assert len(marks) == done[:1].notes["pileup_collisions"] > 0
    for k, mark in enumerate(marks, start=1):
        assert mark.status == 2 and not mark.production_vertex.particles_in
        assert mark.end_vertex.position.z != 0.0
        total = sum(p.momentum.e for p in mark.end_vertex.particles_out)
        assert total == pytest.approx(13000.0, rel=1e-4), k
    # a file with pile-up can be a source of pile-up
    assert len(CollisionLibrary(path)) == 4


def test_files_that_hold_no_collisions(tmp_path: Path) -> None:
    with pytest.raises(FastsimError, match="no such file of pile-up"):
        CollisionLibrary(tmp_path / "no.hepmc3")
    text = tmp_path / "a.txt"
    text.write_text("nothing")
    with pytest.raises(FastsimError, match="HepMC, HDF5 or ROOT"):
        CollisionLibrary(text)
    empty = tmp_path / "empty.hepmc3"
    with hepmc.Writer(empty, RunInfo()):
        pass
    with pytest.raises(FastsimError, match="holds no events"):
        CollisionLibrary(empty)


def test_a_file_that_ends_in_the_middle_of_an_event(file: Path, events: HardEvents, tmp_path: Path) -> None:
    whole, cut = tmp_path / "a.hepmc3", tmp_path / "cut.hepmc3"
    with hepmc.Writer(whole, RunInfo()) as writer:
        writer.write(events[:4])
    cut.write_bytes(whole.read_bytes()[:-2000])
    with pytest.raises(FastsimError, match="cut short"):
        CollisionLibrary(cut)
