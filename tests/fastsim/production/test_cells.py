"""Cells in production: slices, restarts, threads and workers give the same ones, and what decides them is compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import fastsim
from fastsim.detector.detector import load_detector
from fastsim.errors import FastsimError, Stopped
from fastsim.event import HardEvents
from fastsim.formats import hdf5, root
from fastsim.production import chunks, event_run
from fastsim.production import chunks as production
from fastsim.production.inputs import GunInput, Input
from fastsim.production.manifest import Manifest, manifest_path
from fastsim.production.options import EventRange
from fastsim.production.store import content_sha256 as digest
from fastsim.production.store import packed, unpacked
from fastsim.production.verify import verify, verify_together
from generators.reference.geant4 import DATA_SETS, DATA_VARIABLE
from tests.helpers.calorimeter import events_of
from tests.helpers.events import event, file
from tests.helpers.showers import store, toy_showers
from tests.helpers.sources import Spray

NUM = 22
BLOCK, CHUNK = 4, 8
GUN = f"flavour=u,g pt=10:80 num={NUM}"


@pytest.fixture(autouse=True)
def small_chunks_and_no_geant4(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and chunks of a few events, and no fallback: Geant4 without its data."""
    monkeypatch.setattr(chunks, "EVENTS_PER_BLOCK", BLOCK)
    monkeypatch.setattr(event_run, "EVENTS_PER_BLOCK", BLOCK)
    monkeypatch.setattr(Input, "chunk_size", CHUNK)
    monkeypatch.setattr(GunInput, "chunk_size", CHUNK)
    for name in (*DATA_SETS, "GEANT4_DATA_DIR", DATA_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Events, and two libraries of made-up showers of photons in copper."""
    made = tmp_path_factory.mktemp("cells")
    (made / "events.lhe").write_text(file(*[event()] * NUM))
    binning = load_detector("copper").binning("gamma")
    assert binning is not None
    for seed, name in enumerate(("library.h5", "other.h5")):
        showers = toy_showers(40, binning, np.random.default_rng(seed), energy=(200.0, 2e5), response=0.2)
        store(made / name, showers, binning, detector={"name": "copper"}, energy=[0.2, 200.0])
    return made


def options(folder: Path, **more: Any) -> dict[str, Any]:
    steps = more.get("steps", ("hadrons", "calorimeter"))
    model = {"model": Spray(20.0)} if "hadrons" in steps else {}
    return {**model, "steps": steps, "shower_model": str(folder / "library.h5"), "seed": 3, **more}


def contents(path: Path) -> HardEvents:
    return HardEvents.concatenate(list(hdf5.read_events(path)[1]))


def stop_at(events: int) -> Any:
    """A progress that presses Ctrl-C."""

    def progress(done: int, total: int | None) -> None:
        if done >= events:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("kind", ["events", "gun"])
def test_slices_restarts_and_workers_give_the_same_cells(kind: str, folder: Path, tmp_path: Path) -> None:
    source = GUN if kind == "gun" else folder / "events.lhe"
    whole = tmp_path / "whole.h5"
    summary = fastsim.generate(source, whole, **options(folder, threads=2), event="hard")
    events, manifest = contents(whole), verify(whole)
    assert events.cells is not None and summary.cells == manifest.cells == len(events.cells.id) > 0
    assert summary.visible == manifest.visible == pytest.approx(events.cells.sums().sum())
    assert [row.events for row in manifest.chunks] == [4, 4, 4, 4, 4, 2]
    assert manifest.settings["shower_fallback"] == "none" and manifest.notes["dropped_particles"] > 0
    # stopped and gone on with, and by a worker process
    for name, more in (("stopped.h5", {"threads": 1}), ("worker.h5", {"workers": 1})):
        with pytest.raises(Stopped, match="--resume goes on"):
            fastsim.generate(source, tmp_path / name, **options(folder, progress=stop_at(8), **more), event="hard")
        again = fastsim.generate(source, tmp_path / name, **options(folder, resume=True, **more), event="hard")
        assert again.resumed_events >= 8 and (again.cells, again.notes) == (summary.cells, summary.notes)
        assert (tmp_path / name).read_bytes() == whole.read_bytes()
    assert fastsim.generate(source, whole, **options(folder, resume=True), event="hard").resumed_events == NUM
    # in slices of a range that does not begin where a chunk does
    slices = [tmp_path / f"slice{i}.h5" for i in range(3)]
    for i, path in enumerate(slices):
        fastsim.generate(source, path, **options(folder, slice=(i, 3), first_event=3, num_events=17), event="hard")
    assert sum(m.events for m in verify_together(slices)) == 17
    joined = HardEvents.concatenate([contents(path) for path in slices])
    assert digest(joined) == digest(events[3:20])


def test_cells_of_a_file_of_hadrons_in_slices(folder: Path, tmp_path: Path) -> None:
    hadrons = tmp_path / "hadrons.h5"
    fastsim.generate(folder / "events.lhe", hadrons, model=Spray(20.0), seed=3, event="hard")
    both = [tmp_path / f"{i}.h5" for i in range(2)]
    for i, path in enumerate(both):
        fastsim.generate(hadrons, path, **options(folder, steps=("calorimeter",), slice=(i, 2)))
    assert [m.events for m in verify_together(both)] == [12, 10]
    fastsim.generate(folder / "events.lhe", tmp_path / "whole.h5", **options(folder), event="hard")
    whole, joined = contents(tmp_path / "whole.h5").cells, HardEvents.concatenate([contents(p) for p in both]).cells
    assert whole is not None and joined is not None
    assert np.array_equal(whole.id, joined.id) and np.array_equal(whole.energy, joined.energy)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"shower_model": "other.h5"}, "shower_model_sha256"),
        ({"steps": ("pythia", "calorimeter")}, "model, steps"),
        ({"seed": 4}, "seed"),
    ],
)
def test_only_a_run_of_the_same_settings_goes_on(
    change: dict[str, Any], named: str, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "a.h5"
    with pytest.raises(Stopped):
        fastsim.generate(folder / "events.lhe", output, **options(folder, progress=stop_at(4)), event="hard")
    if "shower_model" in change:
        change = {"shower_model": str(folder / change["shower_model"])}
    with pytest.raises(FastsimError, match=rf"a run of other settings \({named}\)"):
        fastsim.generate(folder / "events.lhe", output, **options(folder, resume=True, **change), event="hard")
    assert fastsim.generate(folder / "events.lhe", output, **options(folder, resume=True), event="hard").events == NUM


def test_a_run_of_another_range_goes_on_from_the_same_blocks(folder: Path, tmp_path: Path) -> None:
    """A block is computed whole, whatever is asked of it; a gun's last one too."""
    for kind, source in (("events", folder / "events.lhe"), ("gun", GUN)):
        whole, output = tmp_path / f"{kind}.h5", tmp_path / f"{kind}-slice.h5"
        fastsim.generate(source, whole, **options(folder), event="hard")
        with pytest.raises(Stopped):
            fastsim.generate(source, output, **options(folder, num_events=10, progress=stop_at(4)), event="hard")
        again = fastsim.generate(
            source, output, **options(folder, resume=True, first_event=1, num_events=9), event="hard"
        )
        assert again.resumed_events >= 3 and digest(contents(output)) == digest(contents(whole)[1:10])
    short = fastsim.generate(GUN.replace(f"num={NUM}", "num=6"), tmp_path / "short.h5", **options(folder))
    assert short.events == 6 and digest(contents(tmp_path / "short.h5")) == digest(contents(tmp_path / "gun.h5")[:6])


def test_a_range_beyond_the_input_is_refused(folder: Path, tmp_path: Path) -> None:
    """Also within the input's last block."""
    hadrons = tmp_path / "hadrons.h5"
    fastsim.generate(folder / "events.lhe", hadrons, model=Spray(20.0), seed=3, event="hard")
    cases: list[tuple[str | Path, tuple[str, ...], str]] = [
        (GUN, ("hadrons", "calorimeter"), "the gun shoots"),
        (folder / "events.lhe", ("hadrons", "calorimeter"), "the file holds"),
        (hadrons, ("calorimeter",), "the file holds"),
    ]
    for place, (source, steps, held) in enumerate(cases):
        nothing = fastsim.generate(
            source, tmp_path / f"{place}.h5", **options(folder, steps=steps, num_events=0, first_event=5), event="hard"
        )
        assert nothing.events == 0 and verify(nothing.output).events == 0
        for first in (NUM, NUM + 1, NUM + 50):
            with pytest.raises(FastsimError, match=f"first event {first} asked, but {held} {NUM} "):
                fastsim.generate(
                    source, tmp_path / "a.h5", **options(folder, steps=steps, first_event=first), event="hard"
                )


class Dice:
    """Gives events random numbers, and remembers which ones it was given."""

    name, requires, provides = "dice", frozenset[str](), frozenset[str]()

    def __init__(self) -> None:
        self.seen: list[int] = []

    def step(self, events: HardEvents, *, rng: np.random.Generator) -> HardEvents:
        self.seen.extend(events.number.tolist())
        return replace(events, number=rng.integers(0, 2**62, len(events)))


@pytest.mark.parametrize("per_event_seeds", [True, False])
def test_geant4s_events_draw_per_event_seeds_and_a_models_together(per_event_seeds: bool) -> None:
    """Any range gives the same events; where each draws by itself, none is computed that is not asked for."""
    events = events_of([[(22, 1.0, 0.0, 0.0)]] * NUM)

    def numbers(first: int, num: int | None) -> tuple[list[int], list[int]]:
        low, high = first, NUM if num is None else min(first + num, NUM)
        if not per_event_seeds:
            low, high = low // BLOCK * BLOCK, -(-high // BLOCK) * BLOCK
        # batches end where chunks do, wherever the range begins
        batches = (events[max(low, k) : min(high, k + CHUNK)] for k in range(0, NUM, CHUNK))
        dice = Dice()
        done = chunks.run_blocks(
            (chunks.Chunk(0, batch) for batch in batches if len(batch)),
            dice,
            seed=1,
            events=EventRange(first, num),
            per_event_seeds=per_event_seeds,
        )
        return [number for chunk in done for number in chunk.content.number.tolist()], dice.seen

    whole, _ = numbers(0, None)
    assert len(set(whole)) == NUM
    for first in range(NUM):
        for num in (None, 1, 3, 9, 13):
            found, seen = numbers(first, num)
            assert found == whole[first : None if num is None else first + num]
            assert not per_event_seeds or seen == list(range(first, first + len(found)))


def test_slices_of_hadrons_draw_by_their_events_numbers(folder: Path, tmp_path: Path) -> None:
    """A file that begins with event 8 has the cells of the whole from there."""
    hadrons: dict[str, Any] = {"model": Spray(20.0), "seed": 3}
    fastsim.generate(folder / "events.lhe", tmp_path / "hadrons.h5", **hadrons, event="hard")
    fastsim.generate(folder / "events.lhe", tmp_path / "slice.h5", first_event=8, **hadrons, event="hard")
    for name in ("hadrons", "slice"):
        fastsim.generate(
            tmp_path / f"{name}.h5", tmp_path / f"{name}-cells.h5", **options(folder, steps=("calorimeter",))
        )
    whole, cut = (contents(tmp_path / f"{name}-cells.h5") for name in ("hadrons", "slice"))
    assert cut.number.tolist() == list(range(8, NUM)) and digest(cut) == digest(whole[8:])


def test_a_chunk_with_cells_comes_back_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    fastsim.generate(folder / "events.lhe", tmp_path / "a.h5", **options(folder), event="hard")
    events = contents(tmp_path / "a.h5")
    back = unpacked(packed(events))
    assert isinstance(back, HardEvents) and back.cells is not None and digest(back) == digest(events)
    assert digest(events) != digest(events[:0]) and "cells.id" in packed(events)


def test_an_empty_slice_has_the_branches_of_cells(folder: Path, tmp_path: Path) -> None:
    fastsim.generate(folder / "events.lhe", tmp_path / "a.root", **options(folder, num_events=0), event="hard")
    events = root.read(tmp_path / "a.root")[1]
    assert len(events) == 0 and events.cells is not None
    assert Manifest.read(manifest_path(tmp_path / "a.root")).cells == 0


def test_what_cells_cannot_do_is_one_line(folder: Path, tmp_path: Path) -> None:
    for more, message in (
        ({"steps": ("hadrons",), "shower_model": None, "geant4_data": tmp_path}, "Geant4's data is given, but"),
    ):
        with pytest.raises(FastsimError, match=message):
            fastsim.generate(GUN, tmp_path / "a.h5", **options(folder, **more))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("shower_model", "named"), [("geant4", "makes all showers"), (None, "those outside the limits of library")]
)
def test_a_cluster_is_refused_where_geant4_makes_showers(
    shower_model: str | None, named: str, shared: Path, folder: Path, tmp_path: Path
) -> None:
    more = {"shower_model": shower_model or str(folder / "library.h5"), "geant4_data": shared / "geant4" / "copper"}
    with pytest.raises(FastsimError, match=r"Geant4 makes .*: give --workers instead of --scheduler") as error:
        fastsim.generate(GUN, tmp_path / "a.h5", **options(folder, scheduler="tcp://127.0.0.1:1", **more))
    assert named.removeprefix("makes ") in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_log_names_the_range_once(folder: Path, tmp_path: Path) -> None:
    with patch.object(production, "EVENTS_PER_BLOCK", 16):
        fastsim.generate(
            folder / "events.lhe",
            tmp_path / "a.h5",
            **options(folder, log=tmp_path / "log", first_event=2),
            event="hard",
        )
    first, *chunks, last = (tmp_path / "log").read_text().splitlines()
    assert first.count('"first_event": 2') == 1 and '"event": "end"' in last
    assert len(chunks) == 3 and all('"cells": ' in line for line in chunks)
