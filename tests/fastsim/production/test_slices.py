"""Whole or in slices, any threads, workers, chunk sizes and restarts: the same events, bit for bit."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastsim
from fastsim.errors import FastsimError, Stopped
from fastsim.event import HardEvents, ParticleSet
from fastsim.formats import atomic, hdf5, root
from fastsim.production.inputs import GunInput, Input
from fastsim.production.manifest import Manifest, manifest_path
from fastsim.production.store import content_sha256 as digest
from fastsim.production.verify import verify, verify_together
from tests.helpers.events import event, file
from tests.helpers.sources import Spray

NUM = 45
MODEL = Spray(20.0)
GUN = f"flavour=u,g pt=10:80 num={NUM}"


def contents(path: Path) -> HardEvents:
    """All of a file; a gun's sets as events of one parton each."""
    if hdf5.layout(path) == hdf5.EVENTS:
        return HardEvents.concatenate(list(hdf5.read_events(path)[1]))
    partons, particles, _ = hdf5.read(path)
    return HardEvents.of_partons(partons, particles)


def renumbered(events: HardEvents) -> HardEvents:
    """The events numbered from 0: files of a gun's sets keep no numbers."""
    return replace(events, number=np.arange(len(events)))


def stopping_after(chunks: int) -> Any:
    """A progress that presses Ctrl-C."""

    def progress(done: int, total: int | None) -> None:
        nonlocal chunks
        chunks -= 1
        if chunks == 0:
            raise KeyboardInterrupt

    return progress


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("slices")
    (made / "events.lhe").write_text(file(*[event()] * NUM))
    return made


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is lost here; a loaded disk takes long to say that it has everything."""
    monkeypatch.setattr(atomic, "_to_disk", lambda path: None)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("kind", ["events", "gun"])
def test_any_way_of_running_gives_the_same_events(kind: str, data: st.DataObject, folder: Path) -> None:
    size = data.draw(st.integers(1, NUM + 5), "events of a chunk")
    num_slices = data.draw(st.integers(1, 6), "slices")
    first = data.draw(st.integers(0, NUM - 1), "first event")
    num = data.draw(st.none() | st.integers(1, NUM), "number of events")
    threads = st.integers(1, 4)
    source = GUN if kind == "gun" else folder / "events.lhe"
    with patch.object(Input, "chunk_size", size), patch.object(GunInput, "chunk_size", size):
        fastsim.generate(
            source, folder / "all.h5", model=MODEL, seed=9, threads=data.draw(threads), force=True, event="hard"
        )
        whole = contents(folder / "all.h5")
        wanted = whole[first : None if num is None else first + num]
        outputs = [folder / f"slice{i}.h5" for i in range(num_slices)]
        for i in data.draw(st.permutations(range(num_slices)), "order of the jobs"):
            outputs[i].unlink(missing_ok=True)
            run: dict[str, Any] = {"model": MODEL, "seed": 9, "slice": (i, num_slices), "first_event": first}
            run |= {"num_events": num, "threads": data.draw(threads)}
            stop = data.draw(st.integers(0, 3), "chunks before it is stopped")
            try:
                fastsim.generate(source, outputs[i], **run, force=True, progress=stopping_after(stop), event="hard")
            except Stopped:
                fastsim.generate(source, outputs[i], **run, resume=True, event="hard")
        manifests = verify_together(outputs)
    slices = [contents(path) for path, m in zip(outputs, manifests, strict=True) if verify(path).events]
    assert digest(renumbered(HardEvents.concatenate(slices))) == digest(renumbered(wanted))
    assert sum(m.events for m in manifests) == len(wanted)
    assert {path.name for path in folder.iterdir() if path.name.startswith(".") or "parts" in path.name} == set()


def test_worker_processes_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    with patch.object(Input, "chunk_size", 8), patch.object(GunInput, "chunk_size", 8):
        sources: tuple[Path | str, ...] = (folder / "events.lhe", GUN)
        for number, source in enumerate(sources):
            outputs = tmp_path / f"{number}-threads.h5", tmp_path / f"{number}-workers.h5"
            fastsim.generate(source, outputs[0], model=MODEL, seed=2, threads=1, event="hard")
            fastsim.generate(source, outputs[1], model=MODEL, seed=2, workers=2, event="hard")
            one, two = (Manifest.read(manifest_path(path)) for path in outputs)
            assert one.sha256 == two.sha256 and outputs[0].read_bytes() == outputs[1].read_bytes()
            assert [row.sha256 for row in one.chunks] == [row.sha256 for row in two.chunks] and len(one.chunks) == 6
            assert one.notes == two.notes and ("fallback_partons" in one.notes) == (number == 1)


def test_the_reference_in_slices_and_by_workers(folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"seed": 2, "num_events": 10}
    with patch.object(Input, "chunk_size", 4):
        fastsim.reference(folder / "events.lhe", tmp_path / "whole.h5", **options, log=tmp_path / "log")
        fastsim.reference(folder / "events.lhe", tmp_path / "workers.h5", **options, workers=1)
        for i in range(2):
            fastsim.reference(folder / "events.lhe", tmp_path / f"{i}.h5", **options, slice=(i, 2))
    assert (tmp_path / "whole.h5").read_bytes() == (tmp_path / "workers.h5").read_bytes()
    slices = verify_together([tmp_path / "0.h5", tmp_path / "1.h5"])
    assert [m.events for m in slices] == [4, 6] and slices[0].settings["model"] == "pythia"
    joined = HardEvents.concatenate([contents(tmp_path / f"{i}.h5") for i in range(2)])
    assert digest(joined) == digest(contents(tmp_path / "whole.h5"))
    assert '"event": "end"' in (tmp_path / "log").read_text()


class Failing(Spray):
    """Refuses its second chunk."""

    def draw(self, partons: Any, rng: np.random.Generator) -> ParticleSet:
        if rng.bit_generator.seed_seq.entropy == [1, 1]:  # type: ignore[attr-defined]
            raise FastsimError("no second chunk")
        return super().draw(partons, rng)


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_chunk_raises_is_raised_and_the_others_are_kept(workers: int, tmp_path: Path) -> None:
    output = tmp_path / "a.h5"
    with patch.object(GunInput, "chunk_size", 8):
        with pytest.raises(FastsimError, match="no second chunk"):
            fastsim.generate(GUN, output, model=Failing(), seed=1, workers=workers, threads=1)
        assert sorted(p.name for p in (tmp_path / "a.h5.parts").glob("chunk*"))[:1] == ["chunk-000000.npz"]
        fastsim.generate(GUN, output, model=Spray(), seed=1, resume=True)
    assert verify(output).chunks[0].events == 8


def test_models_that_cannot_be_sent_are_refused(tmp_path: Path) -> None:
    class Local(Spray):
        pass

    with pytest.raises(FastsimError, match=r"cannot be sent to worker processes .*; use threads"):
        fastsim.generate(GUN, tmp_path / "a.h5", model=Local(), workers=1)
    assert list(tmp_path.iterdir()) == []


def test_resume_of_what_is_complete_does_nothing(tmp_path: Path) -> None:
    output = tmp_path / "a.h5"
    model = Spray()
    first = fastsim.generate(GUN, output, model=model, resume=True)
    before = output.stat().st_mtime_ns
    log = tmp_path / "log"
    again = fastsim.generate(GUN, output, model=model, resume=True, log=log)
    assert (again.events, again.resumed_events, again.particles) == (NUM, NUM, first.particles)
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()] == ["start", "end"]
    assert output.stat().st_mtime_ns == before and dict(again.rows())["events"] == f"{NUM} (0 in this run)"
    for change in ({"seed": 1}, {"num_events": 3}):
        with pytest.raises(FastsimError, match="exists already"):
            fastsim.generate(GUN, output, model=model, resume=True, **change)  # type: ignore[arg-type]
    with pytest.raises(FastsimError, match="can be resumed"):
        fastsim.generate(GUN, "-", model=model, resume=True)


def test_log_has_a_line_for_each_thing_that_happens(tmp_path: Path) -> None:
    with patch.object(GunInput, "chunk_size", 16):
        fastsim.generate(GUN, tmp_path / "a.h5", model=MODEL, log=tmp_path / "log")
        with pytest.raises(FastsimError, match="exists already"):
            fastsim.generate(GUN, tmp_path / "a.h5", model=MODEL, log=tmp_path / "log")
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", "chunk", "chunk", "chunk", "end", "start", "error"]
    assert lines[0]["seed"] == 0 and lines[4]["events"] == NUM and "exists already" in lines[6]["message"]
    assert all(line["time"].endswith("+00:00") for line in lines)


@pytest.fixture
def two(folder: Path, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    with patch.object(Input, "chunk_size", 8):
        outputs = tmp_path / "0.hepmc3", tmp_path / "1.hepmc3"
        for i, path in enumerate(outputs):
            fastsim.generate(folder / "events.lhe", path, model=MODEL, slice=(i, 2), event="hard")
        yield outputs


def test_verify_finds_what_is_wrong(two: tuple[Path, Path], folder: Path, tmp_path: Path) -> None:
    first, second = two
    assert [m.events for m in verify_together((second, first))] == [24, 21]
    with pytest.raises(FastsimError, match="events 24 to 44 are there twice"):
        third = tmp_path / "3.hepmc3"
        with patch.object(Input, "chunk_size", 8):
            fastsim.generate(folder / "events.lhe", third, model=MODEL, first_event=24, event="hard")
        verify_together((first, second, third))
    with patch.object(Input, "chunk_size", 8):
        fastsim.generate(folder / "events.lhe", third, model=MODEL, first_event=30, force=True, event="hard")
        with pytest.raises(FastsimError, match="events 24 to 29 are missing"):
            verify_together((first, third))
        fastsim.generate(folder / "events.lhe", third, model=MODEL, first_event=24, seed=1, force=True, event="hard")
        with pytest.raises(FastsimError, match="not of one run: seed differ"):
            verify_together((first, third))
    text = first.read_text()
    first.write_text(text.replace("E 3 ", "E 4 ", 1))
    with pytest.raises(FastsimError, match="was altered"):
        verify(first)
    start, end = text.index("E 9 "), text.index("E 10 ")
    first.write_text(text[:start] + text[end:])
    with pytest.raises(FastsimError, match=r"chunk 1 \(events 8 to 15\) has 8 events"):
        verify(first)
    with pytest.raises(FastsimError, match="was altered"):
        verify(first, read=False)
    first.unlink()
    with pytest.raises(FastsimError, match="is missing"):
        verify(first)
    with pytest.raises(FastsimError, match=r"none\.h5: no such file"):
        verify(tmp_path / "none.h5")
    with pytest.raises(FastsimError, match="is a manifest; give the output"):
        verify(manifest_path(first))


def test_verify_misses_the_first_and_the_last_slice(folder: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / f"{i}.h5" for i in range(3)]
    with patch.object(Input, "chunk_size", 8):
        for i, path in enumerate(outputs):
            fastsim.generate(folder / "events.lhe", path, model=MODEL, slice=(i, 3), event="hard")
    assert sum(m.events for m in verify_together(outputs)) == NUM
    for some, missing in ((outputs[1:], "events 0 to 15 are missing"), (outputs[:2], "events 32 to 44 are missing")):
        with pytest.raises(FastsimError, match=missing):
            verify_together(some)


def test_a_gun_of_more_sets_is_another_run(tmp_path: Path) -> None:
    fastsim.generate(GUN, tmp_path / "a.h5", model=MODEL)
    more = GUN.replace(f"num={NUM}", f"num={NUM + 1}")
    with pytest.raises(FastsimError, match="exists already"):
        fastsim.generate(more, tmp_path / "a.h5", model=MODEL, resume=True)
    # of a run that was stopped, the chunks are those of the larger one
    with patch.object(GunInput, "chunk_size", 16):
        with pytest.raises(Stopped):
            fastsim.generate(GUN, tmp_path / "b.h5", model=MODEL, progress=stopping_after(2))
        again = fastsim.generate(more, tmp_path / "b.h5", model=MODEL, resume=True)
        assert again.events == NUM + 1 and again.resumed_events >= 32


@pytest.mark.parametrize("ending", ["hepmc3", "root"])
def test_a_guns_events_keep_their_numbers_in_slices(ending: str, tmp_path: Path) -> None:
    with patch.object(GunInput, "chunk_size", 16):
        for i in range(3):
            fastsim.generate(GUN, tmp_path / f"{i}.{ending}", model=MODEL, slice=(i, 3))
        fastsim.generate(GUN, tmp_path / f"whole.{ending}", model=MODEL)

    def numbers(path: Path) -> list[int]:
        if ending == "root":
            return list(root.read(path)[1].number)
        return [int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith("E ")]

    slices = [n for i in range(3) for n in numbers(tmp_path / f"{i}.{ending}")]
    assert slices == numbers(tmp_path / f"whole.{ending}") == list(range(NUM))


def test_a_manifest_of_a_stream_has_the_settings_too(folder: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        with (folder / "events.lhe").open("rb") as stream:
            fastsim.generate(
                stream,
                tmp_path / f"{seed}.hepmc3",
                model=MODEL,
                seed=seed,
                first_event=20 * (seed - 1),
                num_events=20,
                event="hard",
            )
    with pytest.raises(FastsimError, match="not of one run: seed differ"):
        verify_together([tmp_path / "1.hepmc3", tmp_path / "2.hepmc3"])


def test_pipes_have_no_parts(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for kind in ("hard", None):  # nobody writes to the pipe: nothing of it is waited for
        for source in (tmp_path / "pipe", "-"):
            with pytest.raises(FastsimError, match="a stream has no slices"):
                fastsim.generate(source, tmp_path / "a.h5", model=MODEL, slice=(0, 2), event=kind)


def test_no_part_of_what_begins_beyond_the_end(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FastsimError, match=f"first event 99 asked, but there are {NUM}"):
        fastsim.generate(
            folder / "events.lhe", tmp_path / "a.h5", model=MODEL, first_event=99, slice=(0, 2), event="hard"
        )


def test_nothing_that_is_read_is_written(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.lhe"
    source.write_bytes((folder / "events.lhe").read_bytes())
    (tmp_path / "link.h5").symlink_to("in.h5")
    before = source.read_bytes()
    for output, log, message in (
        ("a.h5", source, "in.lhe: the run reads it; give another file to the log"),
        ("a.h5", tmp_path / "a.h5", "output and log at once"),
        ("a.h5", tmp_path / "a.h5.manifest.json", "output and log at once"),
    ):
        with pytest.raises(FastsimError, match=message):
            fastsim.generate(source, tmp_path / output, model=MODEL, log=log, force=True, event="hard")
    fastsim.generate(source, tmp_path / "in.h5", model=MODEL, event="hard")
    for output in ("in.h5", "link.h5"):
        with pytest.raises(FastsimError, match="the run reads it; give another output"):
            fastsim.generate(tmp_path / "in.h5", tmp_path / output, steps=("calorimeter",), force=True)
    assert source.read_bytes() == before and verify(tmp_path / "in.h5").events == NUM


def test_a_damaged_manifest_does_not_stop_a_run_that_replaces_it(tmp_path: Path) -> None:
    output = tmp_path / "a.h5"
    fastsim.generate(GUN, output, model=MODEL)
    manifest_path(output).write_text("{")
    with pytest.raises(FastsimError, match="exists already"):
        fastsim.generate(GUN, output, model=MODEL, resume=True)
    assert fastsim.generate(GUN, output, model=MODEL, resume=True, force=True).events == NUM
    assert verify(output).events == NUM


@pytest.mark.parametrize(
    "change",
    [
        {"cross_section": []},
        {"cross_section": [1.0, "2"]},
        {"sum_weights": "nan"},
        {"sum_weights": 10**400},
        {"events": 10**400},
        {"whole": 3},
        {"notes": 5},
        {"chunks": [{"chunk": 0}]},
    ],
)
def test_manifests_of_nonsense_are_refused_in_a_line(change: dict[str, Any], tmp_path: Path) -> None:
    output = tmp_path / "a.h5"
    fastsim.generate(GUN, output, model=MODEL)
    values = json.loads(manifest_path(output).read_text())
    manifest_path(output).write_text(json.dumps(values | change))
    with pytest.raises(FastsimError, match=r"manifest\.json: is not a"):
        verify(output)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"layout": "fastsim-manifest", "layout_version": 1}', "[" * 100_000])
def test_manifests_that_are_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.h5.manifest.json").write_text(text)
    with pytest.raises(FastsimError, match="manifest"):
        verify(tmp_path / "a.h5")


@pytest.mark.parametrize("name", ["a.root", "a.h5", "a.hepmc3.zst"])
def test_empty_slices_are_outputs_too(name: str, folder: Path, tmp_path: Path) -> None:
    for i in range(3):
        fastsim.generate(
            folder / "events.lhe", tmp_path / f"{i}{name}", model=MODEL, num_events=2, slice=(i, 3), event="hard"
        )
    found = verify_together([tmp_path / f"{i}{name}" for i in range(3)])
    assert [m.events for m in found] == [0, 1, 1]
    if name == "a.h5":
        with h5py.File(tmp_path / "0a.h5") as empty, h5py.File(tmp_path / "2a.h5") as full:
            tables: list[str] = []
            full.visit(tables.append)
            assert all(table in empty for table in tables if "columns" not in table)
            assert empty["particle/offsets"][:].tolist() == [0] and len(empty["event/number"]) == 0
