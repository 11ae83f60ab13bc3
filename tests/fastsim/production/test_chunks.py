"""Chunks: slices of a run are bitwise the whole run, bad input keeps what came before it."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsim.errors import FastsimError, InvalidEvent
from fastsim.event import HardEvents
from fastsim.event.rng import chunk_rng
from fastsim.production.chunks import HERE, ChunkRunner, in_order, one_torch_thread, torch_is_loaded
from fastsim.production.inputs import GunInput, Input, open_input
from fastsim.production.manifest import ChunkRow
from fastsim.production.options import ALL_EVENTS, EventRange
from fastsim.production.summary import Summary
from generators.hadrons.step import Hadronize, HadronizeSets
from tests.helpers.events import event, file
from tests.helpers.sources import Spray

STEP = Hadronize(Spray())


def run(text: str, first: int = 0, num: int | None = None, runner: ChunkRunner = HERE) -> list[HardEvents]:
    chunks = open_input(io.BytesIO(text.encode())).chunks(STEP, 5, EventRange(first, num), runner=runner)[1]
    return [chunk.content for chunk in chunks]


def particles(batches: list[HardEvents]) -> NDArray[Any]:
    return np.concatenate([p.particles.p4 for p in batches if p.particles is not None])


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Input, "chunk_size", 4)
    monkeypatch.setattr(GunInput, "chunk_size", 8)


@pytest.mark.parametrize(("first", "num"), [(0, 3), (0, 4), (2, 1), (3, 5), (5, None), (9, 1), (4, 100)])
def test_slices_are_bitwise_the_whole(first: int, num: int | None) -> None:
    text = file(*[event()] * 10)
    whole = HardEvents.concatenate(run(text))
    assert whole.number.tolist() == list(range(10))
    batch = HardEvents.concatenate(run(text, first, num))
    wanted = whole[first : None if num is None else first + num]
    assert batch.number.tolist() == wanted.number.tolist()
    assert batch.particles is not None and wanted.particles is not None
    assert np.array_equal(batch.particles.p4, wanted.particles.p4)
    assert np.array_equal(batch.particles.pdg_id, wanted.particles.pdg_id)
    assert batch.notes == wanted.notes


def test_threads_change_nothing() -> None:
    text = file(*[event()] * 30)
    one, three = (HardEvents.concatenate(run(text, 3, runner=runner)) for runner in (HERE, ChunkRunner(3)))
    assert one.number.tolist() == three.number.tolist() == list(range(3, 30))
    assert one.particles is not None and three.particles is not None
    assert np.array_equal(one.particles.p4, three.particles.p4)


def test_jobs_come_in_order_and_a_bad_one_after_the_good() -> None:
    def jobs() -> Iterator[int]:
        yield from range(5)
        raise InvalidEvent("event 5: bad")

    def slow_first(number: int) -> int:
        time.sleep(0.05 if number == 0 else 0.0)
        return number

    for threads in (1, 2, 4):
        results = []
        with pytest.raises(InvalidEvent, match="event 5"):
            for result in in_order(slow_first, jobs(), threads):
                results.append(result)
        assert results == [0, 1, 2, 3, 4]
    names = set(in_order(lambda _: threading.current_thread().name, iter(range(8)), 2))
    assert threading.current_thread().name not in names


def test_what_a_job_raises_is_raised() -> None:
    def fail(number: int) -> int:
        if number == 2:
            raise FastsimError("job 2")
        return number

    results = []
    with pytest.raises(FastsimError, match="job 2"):
        for result in in_order(fail, iter(range(9)), 2):
            results.append(result)
    assert results == [0, 1]


def test_equal_events_differ_and_seeds_matter() -> None:
    whole = HardEvents.concatenate(run(file(*[event()] * 10)))
    assert whole.particles is not None
    assert len(set(whole.particles.p4[:, 0])) == len(whole.particles.p4)
    assert chunk_rng(5, 0).random() != chunk_rng(5, 1).random() != chunk_rng(6, 0).random()


def test_no_events_and_too_few() -> None:
    text = file(*[event()] * 10)
    assert run(text, 0, 0) == []
    for first in (10, 30):
        with pytest.raises(FastsimError, match=f"first event {first} asked, but the file holds 10"):
            run(text, first)


def test_good_events_before_a_bad_one_come_out() -> None:
    text = file(*[event()] * 6, event((3, 6, "nan")), event())
    _, chunks = open_input(io.BytesIO(text.encode())).chunks(STEP, 5, ALL_EVENTS)
    done = []
    with pytest.raises(InvalidEvent, match="event 6"):
        for chunk in chunks:
            done.append(chunk.content)
    assert [n for batch in done for n in batch.number] == list(range(6))
    assert np.array_equal(particles(run(text, 0, 6)), particles(done))


def test_gun_slices_are_bitwise_the_whole() -> None:
    def shot(text: str, events: EventRange = ALL_EVENTS) -> list[HardEvents]:
        return [chunk.content for chunk in open_input(text).chunks(HadronizeSets(Spray(), Spray()), 1, events)[1]]

    gun = "flavour=u,g pt=20:200 num=20"
    batches = shot(gun)
    assert [len(batch) for batch in batches] == [8, 8, 4]
    whole, batch = HardEvents.concatenate(batches), HardEvents.concatenate(shot(gun, EventRange(6, 5)))
    assert whole.number.tolist() == list(range(20)) and batch.number.tolist() == list(range(6, 11))
    for some, wanted in ((batch, whole[6:11]), (shot("flavour=u,g pt=20:200 num=5")[0], whole[:5])):
        assert some.particles is not None and wanted.particles is not None
        assert np.array_equal(some.p4, wanted.p4) and np.array_equal(some.particles.p4, wanted.particles.p4)
    with pytest.raises(FastsimError, match="the gun shoots 20"):
        shot(gun, EventRange(20))


def test_summary_adds_up() -> None:
    summary = Summary(output="out.h5", source="spray")
    for batch in run(file(*[event()] * 10)):
        summary.add(ChunkRow.of(0, 0, batch, 0.1))
    assert (summary.events, summary.partons, summary.sum_weights) == (10, 20, 10.0)
    rows = dict(summary.rows())
    assert rows["events"] == "10" and rows["output"] == "out.h5" and "events/s" in rows["time"]


def test_torch_has_one_thread_while_a_run_goes_on() -> None:
    """Also where it is loaded on the way, and its own number of threads after it."""
    import torch

    number = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with one_torch_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
        with pytest.MonkeyPatch.context() as patch:
            patch.delitem(sys.modules, "torch")
            with one_torch_thread():
                sys.modules["torch"] = torch
                assert torch.get_num_threads() == 3
                torch_is_loaded()
                assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
        torch_is_loaded()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(number)
