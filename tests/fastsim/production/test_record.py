"""The record of a run: with what decayed into the final particles, or without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyhepmc
import pytest

import fastsim
from fastsim.errors import FastsimError, Stopped
from fastsim.event import HardEvents
from fastsim.formats import hdf5, hepmc, root
from fastsim.production.manifest import Manifest, manifest_path
from fastsim.production.store import content_sha256, packed, unpacked
from tests.helpers.events import event, file, with_decays
from tests.helpers.sources import Spray, hard_event

FULL: dict[str, Any] = {"full": True, "seed": 3, "num_events": 6}


def read(path: Path) -> HardEvents:
    return HardEvents.concatenate(list(hdf5.read_events(path)[1]))


def test_a_full_record_has_the_same_final_particles_and_what_decayed(examples: Path, tmp_path: Path) -> None:
    source = examples / "pp_dijet.lhe.gz"
    for record in ("full", "final"):
        for ending in ("h5", "root", "hepmc3"):
            path = tmp_path / f"{record}.{ending}"
            fastsim.reference(source, path, record=record, **FULL)
            assert Manifest.read(manifest_path(path)).settings["record"] == record
    full, final = read(tmp_path / "full.h5").particles, read(tmp_path / "final.h5").particles
    assert full is not None and final is not None and full.history is not None
    assert np.array_equal(full.p4, final.p4) and final.history is None
    with h5py.File(tmp_path / "final.h5") as tables:
        assert "decayed" not in tables and "mother" not in tables["particle"]
    decayed = full.history.decayed
    for other in (root.read(tmp_path / "full.root")[1].particles, root.read(tmp_path / "final.root")[1].particles):
        assert other is not None and np.array_equal(other.p4, full.p4)
        if other.history is not None:
            assert np.array_equal(other.history.vertex, full.history.vertex)
            assert np.array_equal(other.history.decayed.p4, decayed.p4)
    with pyhepmc.open(str(tmp_path / "full.hepmc3")) as events:
        status = [[p.status for p in read.particles] for read in events]
    assert [row.count(2) for row in status] == decayed.counts.tolist()
    assert [row.count(1) for row in status] == full.counts.tolist()
    with pyhepmc.open(str(tmp_path / "final.hepmc3")) as events:
        assert not any(p.status == 2 for read in events for p in read.particles)
    assert sum(len(sets) for sets, _ in hepmc.read(tmp_path / "final.hepmc3")) == 6


def test_a_run_goes_on_with_the_same_record_only(examples: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    source, output = examples / "pp_dijet.lhe.gz", tmp_path / "a.h5"
    with pytest.raises(Stopped):
        fastsim.reference(source, output, **FULL, progress=stop)
    with pytest.raises(FastsimError, match=r"other settings \(record\)"):
        fastsim.reference(source, output, **FULL, record="final", resume=True)
    assert fastsim.reference(source, output, **FULL, resume=True).resumed_events == 6
    whole = tmp_path / "whole.h5"
    fastsim.reference(source, whole, **FULL)
    assert output.read_bytes() == whole.read_bytes()


def test_other_records_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.lhe").write_text(file(event()))
    with pytest.raises(FastsimError, match="record 'all': must be full or final"):
        fastsim.generate(tmp_path / "a.lhe", tmp_path / "a.h5", model=Spray(), record="all", event="hard")
    assert not (tmp_path / "a.h5").exists()


def test_chunks_keep_the_history_bit_for_bit() -> None:
    given = with_decays(hard_event([(1, 1, (-1, -1), [50.0, 30.0, 0.0, 40.0])]))
    assert given.particles is not None and given.particles.history is not None
    back = unpacked(packed(given))
    assert isinstance(back, HardEvents) and back.particles is not None and back.particles.history is not None
    assert content_sha256(back) == content_sha256(given)
    assert np.array_equal(back.particles.history.vertex, given.particles.history.vertex)
    bare = HardEvents.with_particles(given, given.particles.without_history(), np.zeros(12, np.int64))
    assert content_sha256(bare) != content_sha256(given)
    again = unpacked(packed(bare))
    assert isinstance(again, HardEvents) and again.particles is not None and again.particles.history is None
