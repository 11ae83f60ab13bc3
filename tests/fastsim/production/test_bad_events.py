"""Events that are none: they end a run, or are skipped and counted; those around them are the same in any case."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import fastsim
from fastsim.cli import main
from fastsim.errors import FastsimError, InvalidEvent
from fastsim.event import HardEvents
from fastsim.formats import hdf5
from fastsim.production.inputs import Input
from fastsim.production.manifest import Manifest, manifest_path
from fastsim.production.verify import verify, verify_together
from tests.helpers.events import event, file
from tests.helpers.sources import Spray

BAD = event((4, 9, "-100."))
NUM = 12
OPTIONS: dict[str, Any] = {"model": Spray(20.0), "seed": 3}


def contents(path: Path) -> HardEvents:
    return HardEvents.concatenate(list(hdf5.read_events(path)[1]))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Events 5, 6 and 10 are bad; chunks have 4 events."""
    path = tmp_path / "events.lhe"
    path.write_text(file(*(BAD if i in (5, 6, 10) else event() for i in range(NUM))))
    return path


@pytest.fixture(autouse=True)
def chunks_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Input, "chunk_size", 4)


def momenta(events: HardEvents, numbers: list[int]) -> np.ndarray[Any, Any]:
    assert events.particles is not None
    rows = np.flatnonzero(np.isin(events.number, numbers))
    assert events.number[rows].tolist() == numbers
    return events.particles[rows].p4


def test_they_are_skipped_and_counted(source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    summary = fastsim.generate(source, tmp_path / "a.h5", **OPTIONS, skip_bad_events=True, event="hard")
    assert summary.events == 9 and summary.notes["bad_events"] == 3
    assert "3 events of the input are bad and left out" in summary.warnings()
    places = [f"events.lhe, event {i}, line {14 + 7 * i}" for i in (5, 6, 10)]
    assert [record.message.split(": ")[1] for record in caplog.records] == places
    manifest = verify(tmp_path / "a.h5")
    assert [row.notes.get("bad_events", 0) for row in manifest.chunks] == [0, 2, 1]
    assert [row.first_event for row in manifest.chunks] == [0, 4, 8] and manifest.settings["skip_bad_events"] is True


def test_events_are_the_same_however_bad_ones_are_met(source: Path, tmp_path: Path) -> None:
    """Skipped, ending the run, or outside the range: event 4 and 7 of their chunk do not change."""
    fastsim.generate(source, tmp_path / "all.h5", **OPTIONS, skip_bad_events=True, event="hard")
    whole = contents(tmp_path / "all.h5")
    with pytest.raises(InvalidEvent, match=r"event 5, line .*the 5 events before it are in .*partial"):
        fastsim.generate(source, tmp_path / "stopped.h5", **OPTIONS, event="hard")
    stopped = contents(tmp_path / "stopped.partial.h5")
    assert np.array_equal(momenta(stopped, [0, 1, 2, 3, 4]), momenta(whole, [0, 1, 2, 3, 4]))
    fastsim.generate(source, tmp_path / "after.h5", **OPTIONS, first_event=7, num_events=3, event="hard")
    after = contents(tmp_path / "after.h5")
    assert after.number.tolist() == [7, 8, 9]
    assert np.array_equal(momenta(after, [7, 8, 9]), momenta(whole, [7, 8, 9]))


def test_slices_add_up(source: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / f"{i}.h5" for i in range(5)]
    for i, path in enumerate(outputs):
        fastsim.generate(source, path, **OPTIONS, slice=(i, 5), skip_bad_events=True, event="hard")
    manifests = verify_together(outputs)
    assert sum(m.events for m in manifests) == 9 and sum(m.notes.get("bad_events", 0) for m in manifests) == 3
    with pytest.raises(FastsimError, match="events 2 to 3 are missing"):
        verify_together([outputs[0], outputs[2]])


def test_a_file_that_ends_with_bad_ones(tmp_path: Path) -> None:
    path = tmp_path / "bad.lhe"
    path.write_text(file(*[event()] * 3, *[BAD] * 7))
    summary = fastsim.generate(path, tmp_path / "a.h5", **OPTIONS, skip_bad_events=True, event="hard")
    assert (summary.events, summary.notes["bad_events"]) == (3, 7)
    assert verify(tmp_path / "a.h5").left_out == 7


def test_cells_of_the_events_after_one(source: Path, tmp_path: Path) -> None:
    """Blocks of showers are those of the events' numbers, so that a range has the cells of the whole."""
    from fastsim.detector.detector import load_detector
    from fastsim.production import chunks, event_run
    from tests.helpers.showers import store, toy_showers

    binning = load_detector("copper").binning("gamma")
    assert binning is not None
    showers = toy_showers(20, binning, np.random.default_rng(1), energy=(200.0, 2e5), response=0.2)
    store(tmp_path / "library.h5", showers, binning, detector={"name": "copper"}, energy=[0.2, 200.0])
    options = OPTIONS | {"steps": ("hadrons", "calorimeter"), "shower_model": tmp_path / "library.h5"}
    with patch.object(chunks, "EVENTS_PER_BLOCK", 4), patch.object(event_run, "EVENTS_PER_BLOCK", 4):
        summary = fastsim.generate(source, tmp_path / "all.h5", **options, skip_bad_events=True, event="hard")
        fastsim.generate(source, tmp_path / "after.h5", **options, first_event=7, num_events=3, event="hard")
    assert summary.notes["bad_events"] == 3 and verify(tmp_path / "all.h5").events == 9
    whole, after = contents(tmp_path / "all.h5"), contents(tmp_path / "after.h5")
    rows = np.flatnonzero(np.isin(whole.number, [7, 8, 9]))
    assert whole.cells is not None and after.cells is not None and after.number.tolist() == [7, 8, 9]
    assert np.array_equal(whole.cells[rows].energy, after.cells.energy) and len(after.cells.energy) > 0


def test_only_les_houches_files_have_them(tmp_path: Path) -> None:
    with pytest.raises(FastsimError, match="only events of a Les Houches file"):
        fastsim.generate("flavour=u num=1", tmp_path / "a.h5", **OPTIONS, skip_bad_events=True)


def test_the_command_line_says_what_it_left_out(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reference", str(source), "-o", str(tmp_path / "a.hepmc3"), "--skip-bad-events", "-n", "6"]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "fastsim: left out: events.lhe, event 5, line 49" in captured.err
    assert "1 event of the input is bad and left out" in captured.err
    assert Manifest.read(manifest_path(tmp_path / "a.hepmc3")).notes["bad_events"] == 1


def test_ten_are_reported_and_the_others_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "bad.lhe"
    path.write_text(file(event(), *[BAD] * 15))
    with caplog.at_level(logging.WARNING):
        fastsim.generate(path, tmp_path / "a.h5", **OPTIONS, skip_bad_events=True, event="hard")
    assert len(caplog.records) == 10 and caplog.records[-1].message.endswith("further ones are only counted")
