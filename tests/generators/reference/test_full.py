"""Ordinary Pythia on LHE files: whole events, the file's weights, slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastsim.errors import FastsimError
from fastsim.formats import lhe
from generators.reference.full import full_events


def test_madgraph_events(shared: Path) -> None:
    path = shared / "lhe" / "madgraph5-3.5.8-pp_to_jj.lhe.gz"
    run, batches = full_events(path, seed=3, num_events=12, chunk_size=8)
    parts = list(batches)
    assert [len(part) for part in parts] == [8, 4] and run.cross_section[0] == pytest.approx(6.99671e8, rel=1e-3)
    _, hard = lhe.read(path, num_events=12, chunk_size=12)
    expected = next(hard)
    for part in parts:
        assert part.particles is not None and part.origin is not None
        # beams of 6.5 TeV come back whole: momentum and charge
        assert np.allclose(part.particles.sums(), [13000.0, 0, 0, 0], atol=1e-3)
        assert (part.particles.counts > 20).all() and (part.origin == -1).all()
    assert np.array_equal(np.concatenate([p.p4 for p in parts]), expected.p4)
    assert np.array_equal(np.concatenate([p.weights for p in parts]), expected.weights)
    _, slices = full_events(path, seed=3, first_event=5, num_events=3)
    some = next(slices)
    assert some.particles is not None and parts[0].particles is not None
    assert some.number.tolist() == [5, 6, 7]
    assert np.array_equal(some.particles.p4, parts[0].particles[5:].p4)


def test_lepton_beams_and_streams(shared: Path) -> None:
    with (shared / "lhe" / "whizard-3.1.4-eeWW.lhe").open("rb") as stream:
        _, batches = full_events(stream, seed=1)
        events = next(batches)
    assert events.particles is not None and len(events) == 10
    assert np.allclose(events.particles.sums(), [500.0, 0, 0, 0], atol=1e-4)


def test_rejected_settings_and_missing_files(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(FastsimError, match="cannot read"):
        full_events(tmp_path / "no.lhe", seed=1)
    with pytest.raises(FastsimError, match="refuses the setting 'Nothing:here = on'"):
        full_events(shared / "lhe" / "pr180.lhe", seed=1, settings=("Nothing:here = on",))
