"""Single showers in production: whole or in slices, any threads, workers and restarts, the same ones bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastsim
from fastsim.cli import main
from fastsim.detector import shower_gun
from fastsim.errors import FastsimError, Stopped
from fastsim.formats import atomic
from fastsim.formats.calochallenge import Showers, read_showers
from fastsim.production import shower_run
from fastsim.production.manifest import Manifest, manifest_path
from fastsim.production.store import content_sha256 as digest
from fastsim.production.store import packed, unpacked
from fastsim.production.verify import verify, verify_together
from generators.reference import geant4_run
from tests.helpers.showers import SMALL, ToySource

NUM, CHUNK = 45, 8
WHOLE = {"particle": "gamma", "energy": (1.0, 100.0), "num": NUM, "seed": 9}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("showers")
    (made / "small.toml").write_text(SMALL)
    return made


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (shower_gun, geant4_run):
        monkeypatch.setattr(module, "SHOWERS_PER_CHUNK", CHUNK // 4)
    monkeypatch.setattr(shower_run, "DRAWS", 4)
    monkeypatch.setattr(shower_run, "CHUNK", CHUNK)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is lost here; a loaded disk takes long to say that it has everything."""
    monkeypatch.setattr(atomic, "_to_disk", lambda path: None)


@pytest.fixture
def make(folder: Path) -> Callable[..., Any]:
    """Showers of the small detector."""

    def make(output: Path, **more: Any) -> Any:
        detector = folder / "small.toml"
        return fastsim.generate_showers(output, **{"detector": detector, "model": ToySource(detector), **WHOLE, **more})

    return make


def stopping_after(chunks: int) -> Any:
    """A progress that presses Ctrl-C."""

    def progress(done: int, total: int | None) -> None:
        nonlocal chunks
        chunks -= 1
        if chunks == 0:
            raise KeyboardInterrupt

    return progress


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_way_of_running_gives_the_same_showers(
    data: st.DataObject, make: Callable[..., Any], small_chunks: None, folder: Path
) -> None:
    first = data.draw(st.integers(0, NUM - 1), "first shower")
    num = data.draw(st.none() | st.integers(1, NUM), "number of showers")
    num_slices = data.draw(st.integers(1, 6), "slices")
    threads = st.integers(1, 4)
    make(folder / "all.h5", threads=data.draw(threads), force=True)
    wanted = read_showers(folder / "all.h5")[first : None if num is None else first + num]
    outputs = [folder / f"slice{i}.h5" for i in range(num_slices)]
    for i in data.draw(st.permutations(range(num_slices)), "order of the jobs"):
        run = {"slice": (i, num_slices), "first_event": first, "num_events": num, "threads": data.draw(threads)}
        stop = data.draw(st.integers(0, 3), "chunks before it is stopped")
        try:
            make(outputs[i], **run, force=True, progress=stopping_after(stop))
        except Stopped:
            assert not outputs[i].exists() or Manifest.read(manifest_path(outputs[i]))  # an example before this one's
            make(outputs[i], **run, resume=True)
    manifests = verify_together(outputs)
    slices = [read_showers(path) for path in outputs if verify(path).events]
    assert digest(Showers.concatenate(slices)) == digest(wanted)
    assert sum(m.events for m in manifests) == len(wanted)
    assert sum(m.incident for m in manifests) == pytest.approx(wanted.incident.sum())
    assert {path.name for path in folder.iterdir() if path.name.startswith(".") or "parts" in path.name} == set()


def test_worker_processes_give_the_same_bytes(make: Callable[..., Any], tmp_path: Path) -> None:
    make(tmp_path / "threads.h5", num=1100, threads=2)
    make(tmp_path / "workers.h5", num=1100, workers=2)
    assert (tmp_path / "threads.h5").read_bytes() == (tmp_path / "workers.h5").read_bytes()
    assert (tmp_path / "threads.xml").read_bytes() == (tmp_path / "workers.xml").read_bytes()
    rows = [Manifest.read(manifest_path(tmp_path / f"{name}.h5")).chunks for name in ("threads", "workers")]
    assert [row.sha256 for row in rows[0]] == [row.sha256 for row in rows[1]]
    assert [row.events for row in rows[0]] == [500, 500, 100]


def test_a_slice_is_drawn_where_the_whole_draws_it(
    make: Callable[..., Any], small_chunks: None, tmp_path: Path
) -> None:
    make(tmp_path / "all.h5")
    summary = make(tmp_path / "some.h5", first_event=13, num_events=6)
    assert summary.events == 6 and dict(summary.rows())["showers"] == "6"
    assert digest(read_showers(tmp_path / "some.h5")) == digest(read_showers(tmp_path / "all.h5")[13:19])
    with h5py.File(tmp_path / "some.h5") as file:
        assert json.loads(file.attrs["settings"])["first_event"] == 13
    manifest = verify(tmp_path / "some.h5")
    assert [(row.chunk, row.first_event, row.events) for row in manifest.chunks] == [(1, 13, 3), (2, 16, 3)]
    voxels = read_showers(tmp_path / "some.h5").voxels
    assert manifest.cells == np.count_nonzero(voxels) and manifest.visible == pytest.approx(float(voxels.sum()))


def test_a_run_that_is_complete_and_one_of_other_settings(
    make: Callable[..., Any], small_chunks: None, tmp_path: Path
) -> None:
    output = tmp_path / "a.h5"
    with pytest.raises(Stopped, match="--resume goes on"):
        make(output, threads=1, progress=stopping_after(2))
    assert not output.exists() and not output.with_suffix(".xml").exists()
    with pytest.raises(FastsimError, match=r"holds a run that was stopped; --resume goes on with it, --force"):
        make(output)
    for change, named in (({"seed": 1}, "seed"), ({"energy": 2.0}, "energy"), ({"particle": "e-"}, "particle")):
        with pytest.raises(FastsimError, match=rf"a run of other settings \({named}\)"):
            make(output, resume=True, **change)
    # another range of the same run goes on with its chunks
    summary = make(output, resume=True, num_events=20)
    assert summary.resumed_events >= 16 and summary.events == 20
    before = output.stat().st_mtime_ns
    again = make(output, resume=True, num_events=20)
    assert (again.resumed_events, again.computed, again.incident) == (20, 0, summary.incident)
    assert output.stat().st_mtime_ns == before and dict(again.rows())["showers"] == "20 (0 in this run)"
    with pytest.raises(FastsimError, match="exists already"):
        make(output, resume=True)


def test_log_and_progress(make: Callable[..., Any], small_chunks: None, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    make(tmp_path / "a.h5", num=20, log=tmp_path / "log", progress=lambda *now: seen.append(now))
    assert seen == [(8, 20), (16, 20), (20, 20)]
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", "chunk", "chunk", "chunk", "end"]
    assert lines[0]["particle"] == "gamma" and lines[-1]["incident"] > 0


def test_chunks_come_back_bit_for_bit(make: Callable[..., Any], small_chunks: None, tmp_path: Path) -> None:
    make(tmp_path / "a.h5")
    showers = read_showers(tmp_path / "a.h5")
    back = unpacked(packed(showers))
    assert isinstance(back, Showers) and digest(back) == digest(showers) != digest(showers[1:])


@pytest.fixture
def two(make: Callable[..., Any], small_chunks: None, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    outputs = tmp_path / "0.h5", tmp_path / "1.h5"
    for i, path in enumerate(outputs):
        make(path, slice=(i, 2))
    yield outputs


def test_verify_finds_what_is_wrong(two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = two
    assert [m.events for m in verify_together((second, first))] == [24, 21]
    assert main(["verify", str(first), str(second)]) == 0
    assert "cells with energy" in capsys.readouterr().out
    with h5py.File(first, "r+") as file:
        file["showers"][9, 3] += 1.0
    with pytest.raises(FastsimError, match=r"chunk 1 \(showers 8 to 15\) has other showers than were written"):
        verify(first)
    with pytest.raises(FastsimError, match="was altered"):
        verify(first, read=False)
    with h5py.File(second, "r+") as file:
        rows = {name: file[name][:20] for name in ("incident_energies", "showers")}
        for name, values in rows.items():
            del file[name]
            file[name] = values
    with pytest.raises(FastsimError, match=r"chunk 5 \(showers 40 to 44\) has 4 showers"):
        verify(second)


def test_empty_slices_are_outputs_too(make: Callable[..., Any], tmp_path: Path) -> None:
    outputs = [tmp_path / f"{i}.h5" for i in range(3)]
    for i, path in enumerate(outputs):
        make(path, num_events=2, slice=(i, 3))
    assert [m.events for m in verify_together(outputs)] == [0, 1, 1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"first_event": NUM}, f"first shower {NUM} asked, but there are {NUM} (numbered from 0)"),
        ({"slice": (3, 3)}, "slice 3/3: slices are numbered from 0"),
        ({"first_event": -1}, "none may be negative"),
        ({"workers": 1, "scheduler": "tcp://x:1"}, "not both"),
        ({"num": 0}, "num is 0, must be 1"),
    ],
)
def test_what_cannot_be_is_one_line(
    more: dict[str, Any], message: str, make: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(FastsimError) as error:
        make(tmp_path / "a.h5", **more)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_someone_else_is_left_alone(make: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "a.h5.parts").mkdir()
    (tmp_path / "a.h5.parts" / "mine").write_text("mine")
    for flags in ({"resume": True}, {"force": True}):
        with pytest.raises(FastsimError, match="is not the folder of a run"):
            make(tmp_path / "a.h5", **flags)
    assert [path.name for path in (tmp_path / "a.h5.parts").iterdir()] == ["mine"]
