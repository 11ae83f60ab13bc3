"""Ordinary Pythia on LHE files: whole events, the file's weights, slices."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import fastsim
from fastsim.errors import FastsimError, Stopped
from fastsim.event import HardEvents, RunInfo
from fastsim.formats import hdf5, lhe
from fastsim.production.inputs import Input, LheInput
from fastsim.production.options import EventRange
from fastsim.production.store import content_sha256 as digest
from fastsim.production.verify import verify, verify_together
from generators.reference.full import FullPythia
from generators.reference.full_process import PythiaProcess
from tests.helpers.events import event, file


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


def test_weights_do_not_decide_which_events_are_kept(shared: Path, tmp_path: Path) -> None:
    """IDWTUP 1: Pythia would unweight, and keep 2 of 40 events."""
    source = shared / "cases" / "idwtup1-weighted.lhe"
    summary = fastsim.reference(source, tmp_path / "a.h5", full=True, seed=3, num_events=12)
    assert summary.events == 12 and summary.sum_weights == pytest.approx(12 * 12.5)
    assert "rejected_events" not in summary.notes


def test_an_event_that_takes_too_long_is_left_out(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alarm rings during the second event: the first is made again, the third as it is without the second."""
    start, rung = PythiaProcess._start, list[int]()

    def watched(self: PythiaProcess) -> None:
        start(self)
        receive = self._connection.recv

        def ring() -> Any:
            if self._process.pid in rung:
                raise EOFError  # whatever it said before it noticed
            answer = receive()
            if answer == 1 and not rung:
                rung.append(self._process.pid)
                os.kill(self._process.pid, signal.SIGPROF)
                self._process.wait()
            return answer

        self._connection.recv = ring

    monkeypatch.setattr(PythiaProcess, "_start", watched)
    run, batches = lhe.read(io.BytesIO(file(event(), event(), event()).encode()))
    (events,) = batches
    done = FullPythia(run, 3, time_limit=20.0).step(events, rng=np.random.default_rng(0))
    assert done.number.tolist() == [0, 2] and done.notes == {"endless_events": 1}
    assert "event 1: Pythia did not finish it within 20 s" in caplog.text
    alone = FullPythia(run, 3).step(events[2:], rng=np.random.default_rng(0))
    assert digest(replace(alone, tallies={})) == digest(replace(done[1:], tallies={}))


def test_the_limit_of_time_is_obeyed(caplog: pytest.LogCaptureFixture) -> None:
    run, batches = lhe.read(io.BytesIO(file(event(), event()).encode()))
    (events,) = batches
    done = FullPythia(run, 3, time_limit=1e-5).step(events, rng=np.random.default_rng(0))
    assert len(done) == 0 and caplog.text.count("Pythia did not finish it within") == 2


def test_what_pythia_leaves_out_is_accounted_for(tmp_path: Path) -> None:
    """B mesons alone at a hadron collider: Pythia rejects them, and verify knows."""
    columns = ((4, "0"), (5, "0"), (10, "5.2797"))
    pair = [(k, 0, pdg) for k, pdg in ((1, "11"), (2, "-11"), (3, "511"), (4, "-511"))]
    meson = event(*pair, (1, 4, "0"), (2, 5, "0"), *((k, c, text) for k in (3, 4) for c, text in columns))
    source = tmp_path / "events.lhe"
    source.write_text(file(event(), meson, event()))
    summary = fastsim.reference(source, tmp_path / "a.h5", full=True, seed=1)
    assert summary.events == 2 and summary.notes == {"rejected_events": 1}
    assert verify(tmp_path / "a.h5").left_out == 1
    for i in range(3):
        fastsim.reference(source, tmp_path / f"{i}.h5", full=True, seed=1, slice=(i, 3))
    assert [m.events for m in verify_together([tmp_path / f"{i}.h5" for i in range(3)])] == [1, 0, 1]


def test_events_in_place_of_which_pythia_asks_for_others_cost_no_other_event() -> None:
    """A Higgs boson without mass for any decay: it alone is left out, and Pythia goes on."""
    incoming = ("2 -1 0 0 101 0 0 0 5e-5 5e-5 0 0 9", "-2 -1 0 0 0 101 0 0 -5e-5 5e-5 0 0 9")
    rows = ("3 7 1.0 91.0 0.0078 0.118", *incoming, "25 1 1 2 0 0 0 0 0 1e-4 1e-4 0 9")
    light = "\n".join(["<event>", *rows, "</event>", ""])
    for bad in ([0], [3, 4], [32], [0, 1, 2, 3, 32]):
        run, batches = lhe.read(io.BytesIO(file(*(light if i in bad else event() for i in range(33))).encode()))
        (events,) = batches
        kept = np.setdiff1d(np.arange(33), bad)
        process = PythiaProcess(run, ("PartonLevel:MPI = off",), 30.0)
        with patch.object(PythiaProcess, "_start", side_effect=AssertionError("Pythia was started anew")):
            done = process.complete(events, 7)
            others = process.complete(events[kept], 7)
        process.close()
        assert done.events.tolist() == kept.tolist() and not done.endless
        assert np.array_equal(others.particles.p4, done.particles.p4)
        assert np.array_equal(others.particles.pdg_id, done.particles.pdg_id)


def test_further_settings_are_used_and_recorded(shared: Path, tmp_path: Path) -> None:
    source = shared / "lhe" / "madgraph5-3.5.8-pp_to_jj.lhe.gz"
    settings = ("PartonLevel:MPI = off", "PartonLevel:ISR = off")
    quiet = fastsim.reference(source, tmp_path / "a.h5", full=True, num_events=4, pythia_settings=settings)
    plain = fastsim.reference(source, tmp_path / "b.h5", full=True, num_events=4)
    assert quiet.particles < plain.particles
    assert verify(tmp_path / "a.h5").settings["settings"].endswith("PartonLevel:MPI = off; PartonLevel:ISR = off")
    with pytest.raises(FastsimError, match="pythia_settings go with full=True"):
        fastsim.reference(source, tmp_path / "c.h5", pythia_settings=settings)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_sigterm_ends_a_run_whose_pythia_does_not_answer(tmp_path: Path, examples: Path) -> None:
    source = examples / "pp_dijet.lhe.gz"
    words = [sys.executable, "-m", "fastsim.cli", "reference", str(source), "--full", "-o", str(tmp_path / "a.h5")]
    patch_grace = "import sys, fastsim.cli as cli; cli.GRACE = 1.0; sys.exit(cli.main(sys.argv[1:]))"
    process = subprocess.Popen([words[0], "-c", patch_grace, *words[3:]], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        deadline = time.monotonic() + 60
        while not children(process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        (pythia,) = children(process.pid)
        while not ignores(pythia, signal.SIGTERM) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1.0)
        os.kill(pythia, signal.SIGSTOP)
        time.sleep(1.0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
        assert "interrupted" in process.stderr.read()  # up to its end: Pythia's process is gone too
    finally:
        process.kill()
        process.wait()


def ignores(process: int, number: int) -> bool:
    """Whether a process ignores a signal: Pythia's does once it has begun, and ends with its parent soon after."""
    text = Path(f"/proc/{process}/status").read_text()
    mask = int(next(line for line in text.splitlines() if line.startswith("SigIgn")).split()[1], 16)
    return bool(mask >> (number - 1) & 1)


def children(parent: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def test_pythia_merges_samples(shared: Path, tmp_path: Path) -> None:
    """MLM rejects events whose jets are not the partons; CKKW-L gives every event a weight of its own."""
    source = shared / "lhe" / "madgraph5-3.5.8-pp_to_jj.lhe.gz"
    fast = ("PartonLevel:MPI = off", "HadronLevel:all = off")
    matching = (
        "merge = on",
        "scheme = 1",
        "setMad = off",
        "qCut = 20.",
        "nJetMax = 2",
        "jetAlgorithm = 2",
        "slowJetPower = 1",
    )
    settings = (*fast, *(f"JetMatching:{line}" for line in matching))
    mlm = fastsim.reference(source, tmp_path / "a.h5", full=True, num_events=20, pythia_settings=settings)
    assert 0 < mlm.notes["rejected_events"] < 20 and mlm.events + mlm.notes["rejected_events"] == 20
    merging = ("doKTMerging = on", "Process = pp>jj", "TMS = 30.", "nJetMax = 0")
    settings = (*fast, *(f"Merging:{line}" for line in merging))
    ckkwl = fastsim.reference(source, tmp_path / "b.h5", full=True, num_events=5, pythia_settings=settings)
    hard = next(lhe.read(source, num_events=5)[1])
    (merged,) = hdf5.read_events(tmp_path / "b.h5")[1]
    factors = merged.weights / hard.weights
    assert ckkwl.events == 5 and len(np.unique(factors[:, 0].round(6))) == 5 and (factors[:, 0] > 0.5).all()
    assert np.allclose(factors, factors[:, :1])


def test_events_without_colour_tags_get_a_flow(shared: Path, tmp_path: Path) -> None:
    """Pythia rejects them as they are. One whose quarks nothing joins is left to it; the file's others go on."""
    text = (shared / "cases" / "p-colour-none.lhe").read_text().replace("2212 2212 6.5e+03 6.5e+03", "11 -11 250. 250.")
    source = tmp_path / "events.lhe"
    source.write_text(" 2 1 1 2 0 0 ".join(text.rsplit(" -2 1 1 2 0 0 ", 1)))
    summary = fastsim.reference(source, tmp_path / "a.h5", full=True, seed=3)
    assert summary.events == 3 and summary.notes == {"assigned_colours": 3, "rejected_events": 1}
    assert ("events without colour tags, given a flow that their flavours allow", "3") in summary.rows()
    (events,) = hdf5.read_events(tmp_path / "a.h5")[1]
    assert events.particles is not None and np.allclose(events.particles.sums(), [500.0, 0, 0, 0], atol=1e-4)
    assert events.colours[:4].tolist() == [[0, 0], [0, 0], [501, 0], [0, 501]]


def test_leptons_out_of_protons_are_named(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    run, batches = lhe.read(shared / "cases" / "p-colour-none.lhe")
    done = FullPythia(run, 3).step(next(batches), rng=np.random.default_rng(0))
    assert len(done) == 0 and caplog.messages == [
        "event 0: Pythia rejects it: incoming 11 and -11 in the beams 2212 and 2212 of the init block, where there are "
        "none"
    ]


def test_dijets_without_tags_are_as_many_as_with_them(shared: Path) -> None:
    run, batches = lhe.read(shared / "lhe" / "madgraph5-3.5.8-pp_to_jj.lhe.gz", num_events=16)
    events = next(batches)
    bare = replace(events, colours=np.zeros_like(events.colours))
    quick = ("PartonLevel:MPI = off", "HadronLevel:Decay = off")
    done = FullPythia(run, 3, quick).step(bare, rng=np.random.default_rng(0))
    assert done.notes == {"assigned_colours": 16} and done.particles is not None
    assert np.allclose(done.particles.sums(), [13000.0, 0, 0, 0], atol=1e-3)
