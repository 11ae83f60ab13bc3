"""Every writer keeps one contract: what goes in comes out, whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastsim.errors import OutputError
from fastsim.event import HardEvents, ParticleSet, Partons, RunInfo
from fastsim.formats import hdf5
from fastsim.formats.events import read_events
from fastsim.formats.output import open_writer
from generators.hadrons.step import Hadronize, HadronizeSets
from tests.helpers.events import with_decays
from tests.helpers.sources import Spray, hard_event

ENDINGS = (".hepmc3", ".hepmc3.gz", ".hepmc3.zst", ".h5", ".root")
KEEP_COLUMNS = (".h5", ".root")
RUN = RunInfo(weight_names=("nominal",), provenance={"tool": "test"})


def events(num: int = 6) -> HardEvents:
    """Events of two quarks with hadrons, and named columns."""
    rows = [(2, 1, (-1, -1), [50.0, 30.0, 0.0, 40.0]), (-2, 1, (-1, -1), [50.0, -30.0, 0.0, -40.0])]
    hard = HardEvents.concatenate([hard_event(rows, number=k) for k in range(num)])
    done = Hadronize(Spray()).step(replace(hard, scale=np.full(num, 91.0)), rng=np.random.default_rng(1))
    assert done.particles is not None
    return done.with_columns(
        event={"trigger": np.arange(num), "thrust": np.linspace(0, 1, num)},
        hard={"tag": np.arange(2 * num)},
        particle={"d0": np.linspace(0, 5, len(done.particles.pdg_id))},
    )


def write(path: Path, batches: list[HardEvents], *, force: bool = False) -> None:
    with open_writer(path, RUN, force=force) as writer:
        for batch in batches:
            writer.write(batch)


def read(path: Path) -> HardEvents:
    return HardEvents.concatenate(list(read_events(path)[1]))


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_goes_in_comes_out(ending: str, tmp_path: Path) -> None:
    path, given = tmp_path / f"a{ending}", events()
    write(path, [given])
    back = read(path)
    assert back.particles is not None and given.particles is not None
    assert np.array_equal(back.particles.counts, given.particles.counts)
    assert np.array_equal(back.number, given.number) and np.array_equal(back.weights, given.weights)
    order = [np.lexsort((s.p4[:, 1], s.p4[:, 0], s.index)) for s in (back.particles, given.particles)]
    assert np.array_equal(back.particles.pdg_id[order[0]], given.particles.pdg_id[order[1]])
    np.testing.assert_allclose(back.particles.p4[order[0]], given.particles.p4[order[1]], rtol=1e-9, atol=1e-9)
    assert sorted(item.name for item in tmp_path.iterdir()) == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_batches_do_not_matter(ending: str, tmp_path: Path) -> None:
    given = events()
    write(tmp_path / f"one{ending}", [given])
    write(tmp_path / f"many{ending}", [given[:1], given[1:1], given[1:4], given[4:]])
    one, many = read(tmp_path / f"one{ending}"), read(tmp_path / f"many{ending}")
    assert one.particles is not None and many.particles is not None
    assert np.array_equal(one.particles.p4, many.particles.p4)
    if ending != ".root":  # its baskets are the batches, and its header has the time
        assert (tmp_path / f"one{ending}").read_bytes() == (tmp_path / f"many{ending}").read_bytes()


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_events_are_a_file_too(ending: str, tmp_path: Path) -> None:
    write(tmp_path / f"a{ending}", [])
    assert sum(map(len, read_events(tmp_path / f"a{ending}")[1])) == 0


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_is_whole_or_absent(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"

    def fail() -> None:
        with open_writer(path, RUN) as writer:
            writer.write(events())
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        fail()
    assert list(tmp_path.iterdir()) == []
    write(path, [events()])
    with pytest.raises(OutputError, match="exists already"):
        write(path, [events()])
    write(path, [events(2)], force=True)
    assert len(read(path)) == 2


def same_history(found: ParticleSet | None, wanted: ParticleSet | None) -> bool:
    """Return whether decayed particles, mothers and places are the same, places to the seven digits of files."""
    assert found is not None and wanted is not None
    if found.history is None or wanted.history is None:
        return found.history is wanted.history
    decayed, expected = found.history.decayed, wanted.history.decayed
    exact = [(getattr(decayed, name), getattr(expected, name)) for name in ("offsets", "pdg_id", "mother")]
    close = [(decayed.vertex, expected.vertex), (found.history.vertex, wanted.history.vertex)]
    return (
        all(np.array_equal(*pair) for pair in [*exact, (found.history.mother, wanted.history.mother)])
        and np.allclose(decayed.p4, expected.p4, rtol=1e-14, atol=1e-14)
        and all(np.allclose(*pair, rtol=1e-7, atol=0) for pair in close)
    )


@pytest.mark.parametrize("ending", KEEP_COLUMNS)
def test_what_decayed_is_kept(ending: str, tmp_path: Path) -> None:
    given = with_decays(events())
    write(tmp_path / f"a{ending}", [given[:1], given[1:1], given[1:]])
    assert same_history(read(tmp_path / f"a{ending}").particles, given.particles)


@pytest.mark.parametrize("ending", KEEP_COLUMNS)
def test_batches_without_history_fit_a_file_with(ending: str, tmp_path: Path) -> None:
    given = with_decays(events())
    assert given.particles is not None
    bare = replace(given, particles=given.particles.without_history())
    write(tmp_path / f"a{ending}", [given[:2], bare[2:4], given[4:]])
    back = read(tmp_path / f"a{ending}")
    for rows in (slice(2), slice(4, None)):
        assert same_history(back[rows].particles, given[rows].particles)
    between = back[2:4].particles
    assert between is not None and between.history is not None
    assert (between.history.mother == -1).all() and len(between.history.decayed.pdg_id) == 0


def test_batches_with_history_fit_a_file_without(tmp_path: Path) -> None:
    given = with_decays(events())
    assert given.particles is not None
    bare = replace(given, particles=given.particles.without_history())
    for ending, kept in ((".h5", True), (".root", False)):
        write(tmp_path / f"a{ending}", [bare[:2], given[2:]])
        back = read(tmp_path / f"a{ending}")
        assert back.particles is not None and (back.particles.history is not None) == kept
        if kept:
            assert same_history(back[2:].particles, given[2:].particles)


@pytest.mark.parametrize("ending", KEEP_COLUMNS)
def test_named_columns_are_kept(ending: str, tmp_path: Path) -> None:
    path, given = tmp_path / f"a{ending}", events()
    write(path, [given[:2], given[2:]])
    back = read(path)
    for kind in ("event_columns", "hard_columns", "particle_columns"):
        found, wanted = getattr(back, kind), getattr(given, kind)
        assert found.keys() == wanted.keys()
        assert all(np.array_equal(found[name], values) for name, values in wanted.items())


def test_the_layout_of_guns_keeps_sets_and_columns(tmp_path: Path) -> None:
    given = Partons.from_pt_eta_phi([21, 1, 5], [30.0, 40.0, 50.0], [0.0, 1.0, -1.0], [0.0, 1.0, 2.0])
    done = HadronizeSets(Spray(), Spray()).step(HardEvents.of_partons(given), rng=np.random.default_rng(1))
    done = done.with_columns(event={"trigger": np.arange(3), "latent_z": np.ones((3, 2))})
    with open_writer(tmp_path / "a.h5", RUN, gun=True) as writer:
        writer.write(done)
    partons, sets, _ = hdf5.read(tmp_path / "a.h5")
    assert sets.history is None
    assert done.particles is not None and np.array_equal(partons.p4, given.p4)
    np.testing.assert_allclose(sets.p4, done.particles.p4, rtol=1e-6)
    import h5py

    with h5py.File(tmp_path / "a.h5") as file:
        assert "decayed" not in file
        assert file["latent/z"].shape == (3, 2) and file["parton/columns/trigger"][:].tolist() == [0, 1, 2]


def test_the_layout_of_guns_keeps_what_decayed(tmp_path: Path) -> None:
    given = with_decays(
        HardEvents.of_partons(Partons.from_pt_eta_phi([21, 1, 5], [30.0, 40.0, 50.0], [0.0] * 3, [1.0] * 3))
    )
    with open_writer(tmp_path / "a.h5", RUN, gun=True) as writer:
        writer.write(given[:1])
        writer.write(given[1:])
    assert same_history(hdf5.read(tmp_path / "a.h5")[1], given.particles)
    assert given.particles is not None
    assert same_history(hdf5.read(tmp_path / "a.h5", slice(1, 3))[1], given.particles[1:])
    assert hdf5.read(tmp_path / "a.h5", history=False)[1].history is None
