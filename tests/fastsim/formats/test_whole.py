"""``fastsim.read``: what is in a file, whatever its format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fastsim
from fastsim.formats import hdf5, hepmc, lhe, root
from fastsim.formats.calochallenge import Showers, write_showers
from tests.helpers.events import with_hadrons
from tests.helpers.jets import toy_sets
from tests.helpers.showers import mixed_binning, toy_showers


def test_events_of_every_format(examples: Path, tmp_path: Path) -> None:
    run, batches = lhe.read(examples / "pp_dijet.lhe.gz", num_events=6)
    events = with_hadrons(next(batches))
    for name, writer in (("e.h5", hdf5.EventWriter), ("e.hepmc3.gz", hepmc.Writer), ("e.root", root.Writer)):
        with writer(tmp_path / name, run) as file:
            file.write(events)
        found = fastsim.read(tmp_path / name)
        assert isinstance(found, fastsim.HardEvents) and found.particles is not None and events.particles is not None
        np.testing.assert_allclose(found.particles.sums(), events.particles.sums(), rtol=1e-9, atol=1e-9)
        first = fastsim.read(tmp_path / name, num_events=2)
        assert isinstance(first, fastsim.HardEvents) and first.particles == found.particles[:2]
    partons = fastsim.read(examples / "pp_dijet.lhe.gz")
    assert isinstance(partons, fastsim.HardEvents) and len(partons) == 200 and partons.particles is None


def test_sets_of_a_gun_with_weights_latents_and_columns(tmp_path: Path) -> None:
    particles, partons = toy_sets(7, 5.0, np.random.default_rng(1))
    weights, total = np.arange(1.0, 8.0).reshape(-1, 1), np.random.default_rng(2).normal(size=(7, 2))
    with hdf5.Writer(tmp_path / "a.h5", {"latent_columns": '{"total": ["E", "px"]}'}) as file:
        file.write(partons, particles, weights)
        file.write_columns({"latent_total": total, "quality": np.arange(7)})
    events = fastsim.read(tmp_path / "a.h5", num_events=5)
    assert isinstance(events, fastsim.HardEvents) and events.particles is not None
    assert events.pdg_id.tolist() == partons.pdg_id[:5].tolist() and events.weights[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert events.event_columns["quality"].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(events.event_columns["latent_total"], total[:5])
    assert [len(event.particles) for event in events] == particles.counts[:5].tolist()
    import h5py

    with h5py.File(tmp_path / "a.h5") as content:
        assert list(content["latent/total"].attrs["columns"]) == ["E", "px"]


def test_showers(tmp_path: Path) -> None:
    showers = toy_showers(5, mixed_binning(), np.random.default_rng(1))
    write_showers(tmp_path / "s.h5", showers)
    found = fastsim.read(tmp_path / "s.h5", num_events=3)
    assert isinstance(found, Showers) and found == showers[:3] and found != showers
    assert [shower.incident for shower in found] == showers.incident[:3].tolist()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.h5", None, r"none\.h5: no such file"),
        ("a.txt", b"x", r"a\.txt: the ending names no format; use Les Houches \.lhe"),
        ("a.h5", b"x", "not HDF5"),
        ("a.lhe", b"", r"a\.lhe"),
    ],
)
def test_what_cannot_be_read_is_named(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(fastsim.FastsimError, match=message):
        fastsim.read(tmp_path / name)
