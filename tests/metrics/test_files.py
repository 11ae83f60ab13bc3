"""Samples from files of every kind."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import fastsim
from fastsim.errors import FastsimError
from fastsim.formats import hdf5, hepmc, root
from fastsim.formats.calochallenge import write_showers
from metrics.files import Reading, load
from tests.helpers.jets import toy_sets
from tests.helpers.showers import mixed_binning, toy_showers


def test_particle_sets_with_weights(tmp_path: Path, rng: np.random.Generator) -> None:
    particles, partons = toy_sets(40, 20.0, rng)
    with hdf5.Writer(tmp_path / "a.h5") as file:
        file.write(partons, particles, rng.normal(1.0, 1.0, size=(40, 1)))
    sample = load(tmp_path / "a.h5", Reading(max_events=30))
    assert len(sample) == 30
    assert sample.kind == "jets"
    assert sample.weights is not None
    assert (sample.weights < 0).any()
    np.testing.assert_array_equal(sample.observables["multiplicity"], particles.counts[:30])
    assert {"groomed_mass", "number of photon"} <= set(sample.observables)
    assert list(sample.condition) == ["flavour", "pt"]


def test_events_of_all_formats_give_the_same_jets(tmp_path: Path) -> None:
    example = Path(fastsim.__file__).parents[1] / "data" / "examples" / "pp_dijet.lhe.gz"
    names = ("e.h5", "e.hepmc3", "e.root")
    fastsim.generate(example, tmp_path / names[0], num_events=12, seed=1, threads=1, event="hard")
    run, batches = hdf5.read_events(tmp_path / names[0])
    events = next(batches)
    for name, module in ((names[1], hepmc), (names[2], root)):
        with module.Writer(tmp_path / name, run) as file:
            file.write(events)
    first, *others = (load(tmp_path / name) for name in names)
    assert 12 <= len(first) <= 24
    for other in others:
        np.testing.assert_allclose(other.observables["mass"], first.observables["mass"], rtol=1e-5)
        np.testing.assert_array_equal(other.observables["multiplicity"], first.observables["multiplicity"])
    assert len(load(tmp_path / names[1], Reading(max_events=5))) < len(first)
    assert events.particles is not None
    whole = load(tmp_path / names[1], Reading(whole=True))
    assert (whole.kind, len(whole)) == ("events", 12)
    np.testing.assert_array_equal(whole.observables["multiplicity"], events.particles.counts)
    assert len(load(tmp_path / names[0], Reading(max_events=5, whole=True))) == 5
    with pytest.raises(FastsimError, match=r"no jet of R = 0\.4 above 9000 GeV"):
        load(tmp_path / names[1], Reading(pt_min=9000))


def test_showers_find_their_binning(tmp_path: Path, rng: np.random.Generator) -> None:
    binning = mixed_binning()
    write_showers(tmp_path / "s.h5", toy_showers(20, binning, rng))
    with pytest.raises(FastsimError, match=r"none beside it \(s.xml or binning.xml\)"):
        load(tmp_path / "s.h5")
    (tmp_path / "s.xml").write_text(binning.to_xml())
    sample = load(tmp_path / "s.h5")
    assert sample.kind == "showers"
    assert len(sample) == 20
    assert list(sample.condition) == ["energy"]


def test_what_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(FastsimError, match="no such file"):
        load(tmp_path / "none.h5")
    (tmp_path / "bad.h5").write_bytes(b"no HDF5")
    with pytest.raises(FastsimError, match="not a readable HDF5 file"):
        load(tmp_path / "bad.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.arange(3)
    with pytest.raises(FastsimError, match=r"other\.h5: x is no layout that can be compared; .* JetNet's jets"):
        load(tmp_path / "other.h5")
    (tmp_path / "bad.hepmc3").write_text("nothing")
    with pytest.raises(FastsimError):
        load(tmp_path / "bad.hepmc3")
    with hdf5.Writer(tmp_path / "empty.h5"):
        pass
    with pytest.raises(FastsimError, match="holds no events"):
        load(tmp_path / "empty.h5")


def test_jetnet_files_and_arrays_are_the_same_jets(tmp_path: Path, rng: np.random.Generator) -> None:
    particles = np.zeros((30, 12, 4), np.float32)
    counts = rng.integers(3, 13, 30)
    for row, count in zip(particles, counts, strict=True):
        row[:count] = np.column_stack([*rng.normal(0, 0.2, (2, count)), rng.dirichlet(np.ones(count)), np.ones(count)])
    jets = np.column_stack([rng.uniform(800, 1200, 30), rng.normal(size=30), np.full(30, 50.0), counts])
    with h5py.File(tmp_path / "g.hdf5", "w") as file:
        file["particle_features"], file["jet_features"] = particles, jets
    np.savez(tmp_path / "g.npz", particle_features=particles, jet_features=jets)
    np.save(tmp_path / "g.npy", particles)
    sample, same, bare = (load(tmp_path / name) for name in ("g.hdf5", "g.npz", "g.npy"))
    assert sample.kind == "jets" and list(sample.condition) == ["jet pt"] and bare.condition == {}
    np.testing.assert_allclose(sample.condition["jet pt"], jets[:, 0], rtol=1e-6)
    np.testing.assert_array_equal(sample.observables["multiplicity"], counts)
    np.testing.assert_allclose(sample.observables["sum_pt"], 1.0, rtol=1e-5)
    girth = (particles[..., 2] * np.hypot(particles[..., 0], particles[..., 1])).sum(axis=1)
    np.testing.assert_allclose(sample.observables["girth"], girth, rtol=1e-4)
    np.testing.assert_array_equal(same.embedding, sample.embedding)
    np.testing.assert_allclose(bare.observables["mass"], sample.observables["mass"], rtol=1e-4)
    assert not [name for name in sample.observables if name.startswith("number of")]
    assert len(load(tmp_path / "g.hdf5", Reading(max_events=7))) == 7
    with h5py.File(tmp_path / "half.h5", "w") as file:
        file["particle_features"] = particles
    with pytest.raises(FastsimError, match="has particle_features, but no jet_features"):
        load(tmp_path / "half.h5")


def test_numpy_files_of_features_and_columns(tmp_path: Path, rng: np.random.Generator) -> None:
    features = rng.normal(size=(20, 3))
    np.save(tmp_path / "f.npy", features)
    np.savez(tmp_path / "c.npz", mass=features[:, 0], pt=features[:, 1])
    assert list(load(tmp_path / "f.npy").observables) == ["column 0", "column 1", "column 2"]
    columns = load(tmp_path / "c.npz", Reading(max_events=5))
    assert list(columns.observables) == ["mass", "pt"] and len(columns) == 5
    np.savez(tmp_path / "one.npz", mass=features[:, 0])  # it keeps its name
    assert list(load(tmp_path / "one.npz").observables) == ["mass"]
    np.savez(tmp_path / "bad.npz", a=features, b=features[:3])
    with pytest.raises(FastsimError, match=r"bad\.npz: holds a \(20, 3\), b \(3, 3\); give features"):
        load(tmp_path / "bad.npz")
    (tmp_path / "no.npy").write_bytes(b"nothing")
    with pytest.raises(FastsimError, match=r"no\.npy: cannot be read as NumPy arrays"):
        load(tmp_path / "no.npy")
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(FastsimError, match="cannot be read"):
        load(tmp_path / "pickled.npy")
