"""Libraries of rests: the same bytes for the same card, the nearest rests, turned and mirrored."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from fastsim.collisions import make_rests
from fastsim.errors import FastsimError, OutOfDomain, OutputError, WeightsError
from fastsim.event import RunInfo
from fastsim.event.kinematics import pt
from fastsim.formats import hdf5, lhe
from generators.decays.decay import decay
from generators.rests.conditions import JETS, Conditions
from generators.rests.halves import Halves
from generators.rests.library import RestLibrary
from generators.rests.make import RestCard


@pytest.fixture(scope="module")
def library(rest_library: Path) -> RestLibrary:
    return RestLibrary(rest_library)


def test_the_library_is_what_its_card_says(library: RestLibrary) -> None:
    assert len(library) == 100 and library.run.beam_energy == (6500.0, 6500.0)
    assert library.run.provenance["rests"] == "energy=13000 scale=8:2500 num=100"
    conditions = RestCard(13000.0, 100, seed=5).conditions(0, 100)
    assert np.allclose(library.conditions.x, conditions.x) and set(conditions.limits.tolist()) == {0, 1, 2}
    assert (conditions.x < 0.9001).all() and (conditions.scale >= 8).all() and (conditions.scale <= 2500).all()
    # rest and recoiling hard process have the momentum of the beams, up to Pythia's own precision
    sums = library.rests.particles.sums() + library.rests.recoil
    assert np.allclose(sums, [13000.0, 0, 0, 0], atol=0.02)
    # hadrons as they are before they decay
    assert library.rests.particles.history is None and (np.abs(library.rests.particles.pdg_id) == 113).any()


def test_draws_are_turned_and_mirrored_neighbours(library: RestLibrary) -> None:
    chosen = np.flatnonzero(library.conditions.limits == JETS)[:20]
    asked = library.conditions[np.repeat(chosen, 30)]
    near = RestLibrary(library.path, neighbours=1, whole=True)
    rests, before = near.draw(asked, np.random.default_rng(1))
    own = library.rests.recoil[np.repeat(chosen, 30)]
    assert np.allclose(pt(rests.recoil), pt(own)) and np.allclose(rests.recoil[:, 3], own[:, 3])
    assert np.allclose(before, asked.total)
    angles = np.arctan2(rests.recoil[:30, 2], rests.recoil[:30, 1])
    assert angles.std() > 1.0
    image = Conditions(asked.number, asked.energy, asked.x[:, ::-1], asked.incoming, asked.scale, asked.limits)
    mirrored, before = near.draw(image, np.random.default_rng(1))
    assert np.allclose(mirrored.recoil[:, 3], -own[:, 3]) and np.allclose(before, image.total)
    assert np.allclose(mirrored.particles.sums() + mirrored.recoil, [13000.0, 0, 0, 0], atol=0.02)


def test_halves_are_parts_of_two_rests(library: RestLibrary) -> None:
    """Above a cut particles are those of the nearest rest, below it those of another one."""
    chosen = np.flatnonzero(library.conditions.limits == JETS)
    asked = library.conditions[np.repeat(chosen, 5)]
    rests, _ = RestLibrary(library.path, neighbours=1).draw(asked, np.random.default_rng(1))
    halves = Halves(library.rests, library.conditions)
    same = others = 0
    for k in range(len(asked)):
        row = chosen[k // 5]
        made, stored = rests.particles[k], library.rests.particles[int(row)]
        kept, above = (particles.rapidity > halves.cut[row] for particles in (stored, made))
        assert np.array_equal(made.pdg_id[above], stored.pdg_id[kept])
        np.testing.assert_allclose(made.p4[above][:, [0, 3]], stored.p4[kept][:, [0, 3]], rtol=1e-9)
        if np.array_equal(np.sort(made.pdg_id[~above]), np.sort(stored.pdg_id[~kept])):
            same += 1
        else:
            others += 1
    assert others > 2 * same


def test_a_rest_alone_keeps_its_other_half(library: RestLibrary) -> None:
    halves = Halves(library.rests, library.conditions)
    alone = np.array([3])
    found = halves.others(halves.pool(alone), alone, library.conditions[alone], np.random.default_rng(1))
    assert found.tolist() == [3]
    whole = halves.joined(np.array([[3, 3]]), np.zeros((1, 2))).particles
    assert np.array_equal(np.sort(whole.pdg_id), np.sort(library.rests[alone].particles.pdg_id))


def test_its_domain(library: RestLibrary) -> None:
    one = library.conditions[np.arange(3)]
    assert library.contains(one).all()
    soft = Conditions(one.number, one.energy, one.x, one.incoming, np.full(3, 3.0), one.limits)
    all_of_the_beam = Conditions(one.number, one.energy, np.full((3, 2), 1.0), one.incoming, one.scale, one.limits)
    assert not library.contains(soft).any() and not library.contains(all_of_the_beam).any()
    assert library.fits(library.run) and not library.fits(RunInfo(beam_energy=(6800.0, 6800.0)))
    assert not library.fits(RunInfo(beam_pdg_id=(2212, -2212)))


def test_it_goes_to_other_processes_by_its_path(library: RestLibrary) -> None:
    sent = pickle.dumps(library)
    assert len(sent) < 1000 and len(pickle.loads(sent)) == len(library)


def test_the_same_card_gives_the_same_bytes(rest_library: Path, tmp_path: Path) -> None:
    again = make_rests(tmp_path / "again.h5", energy=13000.0, num=100, seed=5)
    assert again.read_bytes() == rest_library.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        make_rests(again, energy=13000.0, num=100, seed=5)


def test_bad_cards_and_files_are_refused_in_a_line(tmp_path: Path, examples: Path) -> None:
    with pytest.raises(OutOfDomain, match="energy 500 GeV"):
        RestCard(500.0)
    with pytest.raises(OutOfDomain, match="scale 2:100 GeV"):
        RestCard(scale=(2.0, 100.0))
    with pytest.raises(FastsimError, match="num=3"):
        RestCard(num=3)
    with pytest.raises(FastsimError, match="give a file of events, or an energy"):
        make_rests(tmp_path / "rests.h5")
    with pytest.raises(FastsimError, match="a library is HDF5"):
        make_rests(tmp_path / "rests.root", energy=13000.0)
    with pytest.raises(WeightsError, match="fastsim library rests"):
        RestLibrary(tmp_path / "no.h5")
    other = tmp_path / "other.h5"
    with hdf5.EventWriter(other, RunInfo()) as writer:
        writer.write(next(lhe.read(examples / "pp_dijet.lhe.gz", num_events=5)[1]))
    with pytest.raises(WeightsError, match="fastsim library rests"):
        RestLibrary(other)


def test_rests_that_have_decayed_are_refused(library: RestLibrary, tmp_path: Path) -> None:
    """Libraries of older versions hold final particles."""
    run, batches = hdf5.read_events(library.path)
    old = tmp_path / "old.h5"
    with hdf5.EventWriter(old, run) as writer:
        for events in batches:
            assert events.particles is not None and events.origin is not None
            decayed = decay(events.particles, np.random.default_rng(1))
            writer.write(events.with_particles(decayed, np.full(len(decayed.pdg_id), -1)))
    with pytest.raises(WeightsError, match="was made by an older version: its hadrons have decayed"):
        RestLibrary(old)
