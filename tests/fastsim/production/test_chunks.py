"""Chunks: slices of a run are bitwise the whole run, bad input keeps what came before it."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from fastsim.errors import FastsimError, InvalidEvent
from fastsim.event import HardEvents, ParticleSet, Partons
from fastsim.event.gun import Gun
from fastsim.event.rng import chunk_rng
from fastsim.production import chunks as production
from fastsim.production.chunks import Crew, Summary, events_in_chunks, gun_in_chunks, in_order
from fastsim.production.manifest import ChunkRow
from generators.hadrons.step import Hadronize
from tests.helpers.events import event, file
from tests.helpers.sources import Spray

STEP = Hadronize(Spray())


def run(text: str, first: int = 0, num: int | None = None) -> list[HardEvents]:
    source = io.BytesIO(text.encode())
    return [chunk.content for chunk in events_in_chunks(source, STEP, seed=5, first_event=first, num_events=num)[1]]


def particles(parts: list[HardEvents]) -> np.ndarray:
    return np.concatenate([p.particles.p4 for p in parts if p.particles is not None])


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(production, "EVENTS_PER_CHUNK", 4)
    monkeypatch.setattr(production, "PARTONS_PER_CHUNK", 8)


@pytest.mark.parametrize(("first", "num"), [(0, 3), (0, 4), (2, 1), (3, 5), (5, None), (9, 1), (4, 100)])
def test_slices_are_bitwise_the_whole(first: int, num: int | None) -> None:
    text = file(*[event()] * 10)
    whole = HardEvents.concatenate(run(text))
    assert whole.number.tolist() == list(range(10))
    part = HardEvents.concatenate(run(text, first, num))
    wanted = whole[first : None if num is None else first + num]
    assert part.number.tolist() == wanted.number.tolist()
    assert part.particles is not None and wanted.particles is not None
    assert np.array_equal(part.particles.p4, wanted.particles.p4)
    assert np.array_equal(part.particles.pdg_id, wanted.particles.pdg_id)
    assert part.notes == wanted.notes


def test_threads_change_nothing() -> None:
    text = file(*[event()] * 30)
    one, three = (
        HardEvents.concatenate([chunk.content for chunk in chunks])
        for crew in (Crew(), Crew(3))
        for _, chunks in [events_in_chunks(io.BytesIO(text.encode()), STEP, seed=5, first_event=3, crew=crew)]
    )
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
    _, chunks = events_in_chunks(io.BytesIO(text.encode()), STEP, seed=5)
    done = []
    with pytest.raises(InvalidEvent, match="event 6"):
        for chunk in chunks:
            done.append(chunk.content)
    assert [n for part in done for n in part.number] == list(range(6))
    assert np.array_equal(particles(run(text, 0, 6)), particles(done))


def test_gun_slices_are_bitwise_the_whole() -> None:
    def draw(partons: Partons, rng: np.random.Generator) -> tuple[ParticleSet, dict[str, np.ndarray]]:
        sets, other = STEP.sets(partons, rng=rng)
        return sets, {"row": np.arange(len(partons)), "other": other}

    gun = Gun.parse("flavour=u,g pt=20:200 num=20")
    whole = [chunk.content for chunk in gun_in_chunks(gun, draw, seed=1)]
    assert [len(shots) for shots in whole] == [8, 8, 4]
    partons = Partons.concatenate([shots.partons for shots in whole])
    sets = ParticleSet.concatenate([shots.particles for shots in whole])
    part = [chunk.content for chunk in gun_in_chunks(gun, draw, seed=1, first_event=6, num_events=5)]
    assert np.array_equal(np.concatenate([shots.partons.p4 for shots in part]), partons.p4[6:11])
    assert np.array_equal(np.concatenate([shots.particles.p4 for shots in part]), sets[6:11].p4)
    assert np.concatenate([shots.extras["row"] for shots in part]).tolist() == [6, 7, 0, 1, 2]
    fewer = [chunk.content for chunk in gun_in_chunks(Gun.parse("flavour=u,g pt=20:200 num=5"), draw, seed=1)]
    assert np.array_equal(fewer[0].particles.p4, sets[:5].p4)
    with pytest.raises(FastsimError, match="the gun shoots 20"):
        list(gun_in_chunks(gun, draw, seed=1, first_event=20))


def test_summary_adds_up() -> None:
    summary = Summary(output="out.h5", source="spray")
    for part in run(file(*[event()] * 10)):
        summary.add(ChunkRow.of(0, 0, part, 0.1))
    assert (summary.events, summary.partons, summary.sum_weights) == (10, 20, 10.0)
    rows = dict(summary.rows())
    assert rows["events"] == "10" and rows["output"] == "out.h5" and "events/s" in rows["time"]
