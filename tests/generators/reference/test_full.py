"""Ordinary Pythia on LHE files: whole events, the file's weights, slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import fastsim
from fastsim.errors import FastsimError, Stopped
from fastsim.event import HardEvents, RunInfo
from fastsim.formats import lhe
from fastsim.production.inputs import Input, LheInput
from fastsim.production.options import EventRange
from fastsim.production.store import content_sha256 as digest
from fastsim.production.verify import verify, verify_together
from generators.reference.full import FullPythia


def full_events(source: object, *, seed: int, size: int = 512, **more: Any) -> tuple[RunInfo, list[HardEvents]]:
    """Hadronise a file by ordinary Pythia; return its record of the run and the events of each chunk."""
    settings = more.pop("settings", ())
    with patch.object(Input, "chunk_size", size):
        events = EventRange(more.pop("first_event", 0), more.pop("num_events", None))
        given = LheInput(source)  # type: ignore[arg-type]
        run, chunks = given.chunks(lambda run: FullPythia(run, seed, settings), seed, events, **more)
        return run, [chunk.content for chunk in chunks]


def test_madgraph_events(shared: Path) -> None:
    path = shared / "lhe" / "madgraph5-3.5.8-pp_to_jj.lhe.gz"
    run, parts = full_events(path, seed=3, num_events=12, size=8)
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
    _, (some,) = full_events(path, seed=3, first_event=5, num_events=3, size=8)
    assert some.particles is not None and parts[0].particles is not None
    assert some.number.tolist() == [5, 6, 7]
    assert np.array_equal(some.particles.p4, parts[0].particles[5:].p4)


def test_lepton_beams_and_streams(shared: Path) -> None:
    with (shared / "lhe" / "whizard-3.1.4-eeWW.lhe").open("rb") as stream:
        _, (events,) = full_events(stream, seed=1)
    assert events.particles is not None and len(events) == 10
    assert np.allclose(events.particles.sums(), [500.0, 0, 0, 0], atol=1e-4)


def test_rejected_settings_and_missing_files(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(FastsimError, match="cannot open"):
        full_events(tmp_path / "no.lhe", seed=1)
    with pytest.raises(FastsimError, match="refuses the setting 'Nothing:here = on'"):
        full_events(shared / "lhe" / "pr180.lhe", seed=1, settings=("Nothing:here = on",))


def test_batches_in_any_order(shared: Path) -> None:
    """A worker that takes over the chunk of one that died may have to go back."""
    path = shared / "lhe" / "madgraph5-3.5.8-pp_to_jj.lhe.gz"
    run, some = lhe.read(path, num_events=6, chunk_size=2)
    batches = list(some)
    step, rng = FullPythia(run, 3), np.random.default_rng(0)
    ahead = [step.step(batch, rng=rng) for batch in batches]
    back = [step.step(batch, rng=rng) for batch in reversed(batches)][::-1]
    assert sum(map(len, ahead)) == 6 and list(map(digest, ahead)) == list(map(digest, back))


def test_slices_restarts_and_workers(shared: Path, tmp_path: Path) -> None:
    source = shared / "lhe" / "madgraph5-3.5.8-pp_to_jj.lhe.gz"
    options: dict[str, Any] = {"full": True, "seed": 3, "num_events": 18}

    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with patch.object(Input, "chunk_size", 4):
        for name in ("whole.h5", "workers.h5", "stopped.h5"):
            fastsim.reference(source, tmp_path / name, **options, workers=2 if name == "workers.h5" else 0)
        (tmp_path / "stopped.h5").unlink()
        with pytest.raises(Stopped):
            fastsim.reference(source, tmp_path / "stopped.h5", **options, progress=stop)
        assert fastsim.reference(source, tmp_path / "stopped.h5", **options, resume=True).resumed_events > 0
        for i in range(2):
            fastsim.reference(source, tmp_path / f"{i}.h5", **options, slice=(i, 2))
    whole = (tmp_path / "whole.h5").read_bytes()
    assert whole == (tmp_path / "workers.h5").read_bytes() == (tmp_path / "stopped.h5").read_bytes()
    slices = verify_together([tmp_path / "0.h5", tmp_path / "1.h5"])
    rows = verify(tmp_path / "whole.h5").chunks
    assert [row.sha256 for m in slices for row in m.chunks] == [row.sha256 for row in rows] and len(rows) == 5
