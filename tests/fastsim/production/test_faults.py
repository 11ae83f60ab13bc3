"""Runs that are killed, starved of disk or lose a worker: nothing lost, nothing twice, the same bytes in the end."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import fastsim
from fastsim.cli import GRACE
from fastsim.detector.detector import load_detector
from fastsim.production.store import chunk_path, load_chunk
from fastsim.production.verify import verify
from tests.helpers.events import event, file
from tests.helpers.production import CHUNK, Server, signal_when_stopped, wait_for_stop
from tests.helpers.showers import SMALL, store, toy_showers

NUM = 162
"""Events: 20 chunks and a quarter."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An LHE file, and a library of Pythia's jets to be the model."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "events.lhe").write_text(file(*[event()] * NUM))
    fastsim.reference("flavour=g pt=50:200 num=60", folder / "library.h5", seed=1)
    return folder / "events.lhe", folder / "library.h5"


class Job:
    """One command, to be run again and again."""

    def __init__(self, server: Server, words: Sequence[object], output: Path) -> None:
        self.server = server
        self.output = output
        self.errors = output.with_name("errors")
        self.words = [*words, "-o", output]

    def run(self, *more: object, **limits: int) -> int:
        self.start(*more, **limits)
        return self.server.wait()

    def start(self, *more: object, **limits: int) -> int:
        return self.server.start(*self.words, *more, errors=self.errors, **limits)

    @property
    def parts(self) -> Path:
        return self.output.with_name(f"{self.output.name}.parts")

    @property
    def count(self) -> int:
        """Chunks that are finished."""
        return len(list(self.parts.glob("chunk-*.npz")))

    def check_what_is_left(self) -> int:
        """Whole chunks and no output, or a whole output; returns the number of chunks."""
        chunks = sorted(self.parts.glob("chunk-*.npz"))
        for chunk in chunks:
            arrays = load_chunk(chunk)
            number = int(chunk.stem.removeprefix("chunk-"))
            assert arrays is not None, f"{chunk} is half-written"
            assert arrays["number"].tolist() == list(range(CHUNK * number, min(CHUNK * (number + 1), NUM)))
        if not self.parts.exists() and self.output.exists():
            verify(self.output)
        return len(chunks)


@pytest.fixture(scope="module")
def words(inputs: tuple[Path, Path]) -> list[object]:
    return ["generate", inputs[0], "--event", "hard", "--model", inputs[1], "--seed", 3, "--threads", 2]


@pytest.fixture
def job(server: Server, words: list[object], tmp_path: Path) -> Job:
    return Job(server, words, tmp_path / "events.hepmc3.gz")


@pytest.fixture(scope="module")
def undisturbed(server: Server, words: list[object], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    whole = Job(server, words, tmp_path_factory.mktemp("whole") / "events.hepmc3.gz")
    assert whole.run() == 0, whole.errors.read_text()
    assert [p.name for p in sorted(whole.output.parent.iterdir())] == [
        "errors", "events.hepmc3.gz", "events.hepmc3.gz.manifest.json",
    ]  # fmt: skip
    assert verify(whole.output).events == NUM
    return whole.output.read_bytes()


def kill_somewhere(job: Job, pid: int, rng: np.random.Generator) -> None:
    """Kills a run after some chunks more, or around its end, at a random moment."""
    wanted = job.count + rng.integers(0, 12)
    try:
        while job.count < wanted and not job.output.exists():
            os.kill(pid, 0)
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.03))
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


@pytest.mark.parametrize("kills", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_random_moments(kills: int, job: Job, undisturbed: bytes, rng: np.random.Generator) -> None:
    killed = finished = 0
    steps = set()
    while killed < kills:
        kill_somewhere(job, job.start("--resume"), rng)
        killed += job.server.wait() == -signal.SIGKILL
        steps.add(job.check_what_is_left())
        if job.output.exists():
            assert job.run("--resume") == 0, job.errors.read_text()
            assert job.output.read_bytes() == undisturbed
            assert verify(job.output).events == NUM
            finished += 1
            names = [job.output.name, f"{job.output.name}.manifest.json"]
            assert sorted(p.name for p in job.output.parent.iterdir() if p.name != "errors") == names
            for name in names:
                job.output.with_name(name).unlink()
    assert job.run("--resume") == 0, job.errors.read_text()
    assert job.output.read_bytes() == undisturbed
    assert len(steps) > 4 and finished > 0, "the runs were killed at different places"


def test_sigterm_keeps_the_chunks_that_have_begun(job: Job, undisturbed: bytes) -> None:
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        before = job.count
        signal_when_stopped(job.start("--resume", stop_after=3), number)
        sent = time.monotonic()
        assert job.server.wait() == status
        assert time.monotonic() - sent < GRACE
        assert job.errors.read_text().startswith("fastsim: interrupted; finished chunks are in")
        assert not list(job.output.parent.glob(".*")) and not list(job.parts.glob(".*"))
        assert job.check_what_is_left() >= before + 3
    assert job.run() == 1
    assert "--resume goes on with it, --force drops it" in job.errors.read_text()
    assert job.run("--resume", "--seed", 4) == 1
    assert "holds a run of other settings (seed)" in job.errors.read_text()
    assert job.run("--resume") == 0
    assert job.output.read_bytes() == undisturbed


def test_later_signals_change_nothing(job: Job, undisturbed: bytes) -> None:
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)):
        pid = job.start("--force", stop_after=2)  # anew: a signal that is sent twice may come many chunks later
        signal_when_stopped(pid, number)
        with suppress(ProcessLookupError):  # it may be quicker
            for _ in range(3):
                time.sleep(0.002)
                os.kill(pid, number)
        assert job.server.wait() == status
        assert job.errors.read_text().count("\n") == 1
        assert job.check_what_is_left() >= 2
    assert job.run("--resume") == 0
    assert job.output.read_bytes() == undisturbed


@pytest.mark.parametrize("size", [2_000, 48_000])
def test_full_disk(size: int, job: Job, undisturbed: bytes) -> None:
    """No file can grow beyond ``size`` bytes: not even a chunk's, or not the output."""
    assert job.run(file_size=size) == 1
    assert "the file would be larger than the system allows" in job.errors.read_text()
    assert not job.output.exists() and not list(job.output.parent.glob(".*"))
    assert (job.check_what_is_left() > 0) == (size > 10_000)
    assert job.run("--resume") == 0, job.errors.read_text()
    assert job.output.read_bytes() == undisturbed


def test_a_chunk_that_was_damaged_is_made_again(job: Job, undisturbed: bytes) -> None:
    assert job.run(file_size=48_000) == 1
    first, second, *_ = sorted(job.parts.glob("chunk-*.npz"))
    chunk_path(job.parts, 5).write_bytes(first.read_bytes())  # another chunk under its name
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)
    second.write_bytes(second.read_bytes()[:-100])
    np.save(job.parts / "array.npy", np.zeros(3))
    (job.parts / "array.npy").rename(chunk_path(job.parts, 6))
    assert job.run("--resume") == 0, job.errors.read_text()
    assert job.output.read_bytes() == undisturbed


def test_workers_that_die_are_replaced(job: Job, undisturbed: bytes) -> None:
    log = job.output.with_name("log")
    pid = job.start("--workers", 2, "--log-json", log)
    children = Path(f"/proc/{pid}/task/{pid}/children")
    killed = 0
    deadline = time.monotonic() + 100
    while killed < 2 and time.monotonic() < deadline:
        # threads start the workers: the children of all threads
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in path.read_text().split():
                command = Path(f"/proc/{child}/cmdline").read_bytes()
                if killed < 2 and b"spawn_main" in command:
                    os.kill(int(child), signal.SIGKILL)
                    killed += 1
        time.sleep(0.05)
    assert killed == 2, children
    assert job.server.wait() == 0, job.errors.read_text()
    assert job.output.read_bytes() == undisturbed
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["event"] for line in lines].count("worker died") >= 1
    assert {line["exit_status"] for line in lines if line["event"] == "worker died"} == {-9}
    assert [line["chunk"] for line in lines if line["event"] == "chunk"] == list(range(-(-NUM // CHUNK)))


def test_a_second_run_of_the_same_output_is_refused(job: Job, undisturbed: bytes) -> None:
    other = Server()
    pid = job.start(stop_after=1)
    wait_for_stop(pid)
    try:
        for more in (["--resume"], ["--force"], []):
            other.start(*job.words, *more, errors=job.output.with_name("other"))
            assert other.wait() == 1
            assert "another run is writing there" in job.output.with_name("other").read_text()
    finally:
        os.kill(pid, signal.SIGCONT)
        other.close()
    assert job.server.wait() == 0, job.errors.read_text()
    assert job.output.read_bytes() == undisturbed


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of made-up photons in the small detector, whose file is beside it."""
    folder = tmp_path_factory.mktemp("showers")
    (folder / "small.toml").write_text(SMALL)
    detector = load_detector(folder / "small.toml")
    binning = detector.binning("gamma")
    assert binning is not None
    showers = toy_showers(60, binning, np.random.default_rng(1), energy=(1e3, 1e5))
    return store(folder / "library.h5", showers, binning, detector=detector.as_dict())


@pytest.mark.parametrize("kind", ["showers", "reference"])
def test_showers_and_the_reference_go_on_too(
    kind: str, server: Server, inputs: tuple[Path, Path], library: Path, tmp_path: Path
) -> None:
    """Killed, then told to end, then left alone."""
    gun = ["--particle", "gamma", "--energy", "1:100", "--num", 320]
    words: list[object] = ["generate", "--detector", library.with_name("small.toml"), *gun, "--model", library]
    if kind == "reference":
        words = ["reference", inputs[0], "--num-events", 80]
    whole, job = Job(server, words, tmp_path / "whole.h5"), Job(server, words, tmp_path / "a.h5")
    assert whole.run() == 0, whole.errors.read_text()
    for number, status in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        before = job.count
        signal_when_stopped(job.start("--resume", stop_after=3), number)
        assert server.wait() == status, job.errors.read_text()
        assert not job.output.exists() and job.count >= before + 3
        assert all(load_chunk(chunk) is not None for chunk in job.parts.glob("chunk-*.npz"))
    assert not list(tmp_path.glob(".*")), "SIGTERM leaves nothing half-written"
    assert job.run("--resume") == 0, job.errors.read_text()
    assert job.output.read_bytes() == whole.output.read_bytes()
    assert not job.parts.exists() and verify(job.output).events in (80, 320)
    assert server_verify(server, job) == 0, job.errors.read_text()


def server_verify(server: Server, job: Job) -> int:
    """Exit status of ``fastsim verify``."""
    server.start("verify", job.output, errors=job.errors)
    return server.wait()


def test_full_disk_under_showers(server: Server, library: Path, tmp_path: Path) -> None:
    """The output does not fit, the chunks do; later both do."""
    gun = ["--particle", "gamma", "--energy", "1:100", "--num", 320]
    words: list[object] = ["generate", "--detector", library.with_name("small.toml"), *gun, "--model", library]
    whole, job = Job(server, words, tmp_path / "whole.h5"), Job(server, words, tmp_path / "a.h5")
    assert whole.run() == 0, whole.errors.read_text()
    assert job.run(file_size=6_000) == 1
    assert "the file would be larger than the system allows" in job.errors.read_text()
    assert job.errors.read_text().count("\n") == 1 and job.count > 0
    assert sorted(p.name for p in tmp_path.glob("*a.*")) == ["a.h5.parts"], "no output, nothing half-written"
    assert job.run("--resume") == 0, job.errors.read_text()
    assert job.output.read_bytes() == whole.output.read_bytes()
