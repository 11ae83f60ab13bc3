"""HDF5: round trips of both layouts, mass shells, streaming, and damaged files."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsim.errors import FastsimError
from fastsim.event import HardEvents, ParticleSet, Partons, RunInfo, kinematics, offsets_from_counts, species
from fastsim.event.gun import Gun
from fastsim.formats import hdf5, hepmc, lhe, output, root
from tests.helpers.events import with_hadrons


def sets(num: int, seed: int = 0) -> tuple[Partons, ParticleSet]:
    rng = np.random.default_rng(seed)
    partons = Gun().partons(rng, num)
    counts = rng.integers(0, 6, num)
    ids = rng.choice(np.array(species.STABLE), counts.sum())
    p = rng.normal(0, 50, (len(ids), 3))
    p4 = kinematics.on_shell(np.concatenate([np.zeros((len(ids), 1)), p], axis=1), species.masses(ids))
    return partons, ParticleSet(offsets_from_counts(counts), ids, p4)


@settings(max_examples=12)
@given(num=st.integers(0, 40), size=st.integers(1, 15), weighted=st.booleans())
def test_chunks_round_trip(tmp_path_factory: pytest.TempPathFactory, num: int, size: int, weighted: bool) -> None:
    path = tmp_path_factory.mktemp("h5") / "o.h5"
    partons, particles = sets(num)
    weights = np.linspace(-1, 2, num)[:, None] if weighted else None
    with hdf5.Writer(path, {"seed": 3, "settings": {"pt": [20, 2000]}}) as writer:
        for k in range(0, num, size):
            rows = slice(k, k + size)
            writer.write(partons[rows], particles[rows], None if weights is None else weights[rows])
    again, restored, attributes = hdf5.read(path)
    np.testing.assert_array_equal(again.p4, partons.p4)
    np.testing.assert_array_equal(again.pdg_id, partons.pdg_id)
    np.testing.assert_array_equal(restored.offsets, particles.offsets)
    np.testing.assert_array_equal(restored.pdg_id, particles.pdg_id)
    np.testing.assert_allclose(restored.p4, particles.p4, rtol=2e-7)
    read = hdf5.read_weights(path)
    if weights is None or num == 0:
        assert read is None
    else:
        assert read is not None
        np.testing.assert_array_equal(read, weights)
    assert attributes["seed"] == 3 and attributes["units"] == "GeV" and attributes["layout_version"] == 1
    assert json.loads(attributes["settings"]) == {"pt": [20, 2000]}


def test_float32_restores_the_mass_shell_and_float64_is_exact(tmp_path: Path) -> None:
    partons, particles = sets(200)
    hdf5.write(tmp_path / "a.h5", partons, particles)
    hdf5.write(tmp_path / "b.h5", partons, particles, precision="float64")
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["particle/p4"].dtype == np.float32
    p4 = hdf5.read(tmp_path / "a.h5")[1].p4
    np.testing.assert_array_equal(p4, kinematics.on_shell(p4, species.masses(particles.pdg_id)))
    np.testing.assert_array_equal(hdf5.read(tmp_path / "b.h5")[1].p4, particles.p4)


@pytest.mark.parametrize("pdg_id", [9000001, 211])
def test_unknown_and_off_shell_particles_are_kept_in_float64(tmp_path: Path, pdg_id: int) -> None:
    partons, particles = sets(20)
    odd = ParticleSet(np.array([0, 1]), np.array([pdg_id]), np.array([[100.0, 10.0, 20.0, 1 / 3]]))
    with hdf5.Writer(tmp_path / "o.h5") as writer:
        writer.write(partons, particles)
        writer.write(partons[:1], odd)
    read = hdf5.read(tmp_path / "o.h5")[1]
    np.testing.assert_array_equal(read.p4[-1:], odd.p4)
    np.testing.assert_allclose(read.p4[:-1], particles.p4, rtol=2e-7)


def test_rows(tmp_path: Path) -> None:
    partons, particles = sets(30)
    hdf5.write(tmp_path / "o.h5", partons, particles, precision="float64", weights=np.arange(30.0))
    for rows in (slice(0, 0), slice(5, 12), slice(25, None), slice(-3, None), slice(40, 50)):
        some, chosen, _ = hdf5.read(tmp_path / "o.h5", rows)
        np.testing.assert_array_equal(some.p4, partons[rows].p4)
        np.testing.assert_array_equal(chosen.p4, particles[rows].p4)
        np.testing.assert_array_equal(chosen.offsets, particles[rows].offsets)
        weights = hdf5.read_weights(tmp_path / "o.h5", rows)
        assert weights is not None and weights[:, 0].tolist() == np.arange(30.0)[rows].tolist()
    with pytest.raises(FastsimError, match="only step 1"):
        hdf5.read(tmp_path / "o.h5", slice(0, 10, 2))


def equal(a: HardEvents, b: HardEvents) -> None:
    hard = ["number", "offsets", "pdg_id", "status", "mothers", "colours", "p4", "mass"]
    for name in [*hard, "weights", "process", "scale", "origin"]:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
        assert getattr(a, name).dtype == getattr(b, name).dtype, name
    assert a.particles is not None and b.particles is not None
    np.testing.assert_array_equal(a.particles.offsets, b.particles.offsets)
    np.testing.assert_array_equal(a.particles.pdg_id, b.particles.pdg_id)
    np.testing.assert_array_equal(a.particles.p4, b.particles.p4)


@pytest.mark.parametrize("name", ["powheg-box-v2-hvq.lhe", "pr180.lhe", "whizard-3.1.4-eeWW.lhe"])
def test_hard_events_round_trip_in_hdf5_and_root(shared: Path, tmp_path: Path, name: str) -> None:
    run, batches = lhe.read(shared / "lhe" / name)
    events = with_hadrons(HardEvents.concatenate(list(batches)))
    for path in (tmp_path / "o.h5", tmp_path / "o.root"):
        with output.open_writer(path, run) as writer:
            for chunk in events.chunks(4):
                writer.write(chunk)
    again, pieces = hdf5.read_events(tmp_path / "o.h5", chunk_size=3)
    assert again == run
    equal(HardEvents.concatenate(list(pieces)), events)
    again, whole = root.read(tmp_path / "o.root")
    assert again == run
    equal(whole, events)


@pytest.mark.parametrize("ending", [".h5", ".root", ".hepmc3.gz"])
def test_gun_sets_in_every_format(tmp_path: Path, ending: str) -> None:
    partons, particles = sets(50)
    path = tmp_path / f"gun{ending}"
    given = HardEvents.of_partons(partons, particles)
    with output.open_writer(path, RunInfo(provenance={"seed": "4", "version": "0"}), gun=True) as writer:
        for batch in given.chunks(20):
            writer.write(batch)
    if ending == ".h5":
        read, attributes = hdf5.read(path)[1:]
        assert attributes["seed"] == "4"
    elif ending == ".root":
        run, events = root.read(path)
        assert run.provenance["seed"] == "4"
        assert events.number.tolist() == list(range(50))
        assert events.particles is not None
        np.testing.assert_array_equal(events.p4, partons.p4)
        read = events.particles
    else:
        read = ParticleSet.concatenate([batch[0] for batch in hepmc.read(path)])
    assert read.counts.tolist() == particles.counts.tolist()
    assert read.pdg_id.tolist() == particles.pdg_id.tolist()
    np.testing.assert_allclose(read.p4, particles.p4, rtol=2e-7)


def test_damaged_and_alien_files(tmp_path: Path) -> None:
    partons, particles = sets(500)
    good = tmp_path / "good.h5"
    hdf5.write(good, partons, particles)

    def refuse(name: str, message: str) -> None:
        with pytest.raises(FastsimError, match=message) as caught:
            hdf5.read(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name)) and "\n" not in str(caught.value)

    refuse("none.h5", "no such file")
    (tmp_path / "cut.h5").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    refuse("cut.h5", "not a readable HDF5 file, or truncated")
    (tmp_path / "text.h5").write_text("hello")
    refuse("text.h5", "not a readable HDF5 file")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    refuse("other.h5", "has layout None; 'fastsim-gun' is expected")
    for name, message in (("new", "has layout version 2; this fastsim reads 1"), ("hole", "damaged or incomplete")):
        path = tmp_path / f"{name}.h5"
        path.write_bytes(good.read_bytes())
        with h5py.File(path, "r+") as file:
            if name == "new":
                file.attrs["layout_version"] = 2
            else:
                del file["particle/p4"]
        refuse(path.name, message)
    with h5py.File(good, "r+") as file:
        file["particle/offsets"][3] = 10**6
    refuse("good.h5", "particle/offsets do not increase")
    with pytest.raises(FastsimError, match="'fastsim-events' is expected"):
        hdf5.read_events(good)


def test_root_refuses_alien_files(tmp_path: Path) -> None:
    (tmp_path / "o.root").write_text("hello")
    with pytest.raises(FastsimError, match="not a readable fastsim ROOT file"):
        root.read(tmp_path / "o.root")
