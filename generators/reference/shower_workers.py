"""Worker processes that compute chunks of showers with Geant4.

A worker is a fresh process, where Geant4 is initialised once; every chunk is computed in a fork of that state, and so
starts from the same one whatever the worker computed before. A chunk's result is its file, which appears complete.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim.errors import FastsimError
from fastsim.formats.output import AtomicPath
from generators.reference.geant4 import Calorimeter

if TYPE_CHECKING:
    from generators.reference.showers import ShowerGun

Job = tuple[int, int]
"""A chunk's number, and how many of its showers are wanted."""


def part_path(parts: Path, chunk: int) -> Path:
    """The file of a chunk."""
    return parts / f"chunk-{chunk:06d}.npz"


def computed(
    gun: ShowerGun, environment: dict[str, str], parts: Path, jobs: list[Job], workers: int
) -> Generator[Job, None, None]:
    """Has the chunks computed and yields each when its file is there, in any order."""
    context = multiprocessing.get_context("spawn")  # Geant4 is initialised once a process, in a fresh one
    crew: dict[Connection, tuple[Any, Path, Job | None]] = {}
    waiting = iter(jobs)
    try:
        for number in range(min(workers, len(jobs))):
            here, there = context.Pipe()
            log = parts / f"geant4-{number}.log"
            process = context.Process(target=_work, args=(gun, environment, parts, log, there), daemon=True)
            process.start()
            there.close()
            crew[here] = (process, log, None)
        busy = list(crew)
        while busy:
            for connection in wait(busy):
                assert isinstance(connection, Connection)
                process, log, job = crew[connection]
                try:
                    problem = connection.recv()
                except EOFError:
                    problem = _last_words(log)
                if problem:
                    raise FastsimError(f"{problem}; its log is {log}, finished showers are kept for --resume")
                following = next(waiting, None)
                crew[connection] = (process, log, following)
                if following is None:
                    busy.remove(connection)
                else:
                    connection.send(following)
                if job is not None:
                    yield job
    finally:
        for process, *_ in crew.values():
            process.terminate()
            process.join()


def _last_words(log: Path) -> str:
    """Why Geant4 stopped, from its log: the text of its last exception, else the last line."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    starts = [number for number, line in enumerate(lines) if line.startswith("*** G4Exception :")]
    said = lines[starts[-1] : starts[-1] + 3] if starts else [line for line in lines if line.strip()][-1:]
    return f"Geant4 stopped: {' '.join(line.strip('* ') for line in said) or 'it said nothing'}"


def _work(gun: ShowerGun, environment: dict[str, str], parts: Path, log: Path, jobs: Connection) -> None:
    """A worker: answers None when ready and after each chunk, a text when something is wrong."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business, who ends the workers
    os.environ.update(environment)
    # Geant4 writes to the process's own standard output, which may be a pipe with results
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    try:
        calorimeter = Calorimeter(gun.detector, gun.particle)
        problem = None
        while True:
            jobs.send(problem)
            chunk, count = jobs.recv()
            child = os.fork()
            if child == 0:
                _leave(_compute, calorimeter, gun, parts, chunk, count)
            with _ending(child):
                status = os.waitpid(child, 0)[1]
            problem = _last_words(log) if status else None
    except (EOFError, BrokenPipeError):
        pass
    except BaseException as error:
        traceback.print_exc()
        jobs.send(f"Geant4 did not start: {error}")
    os._exit(0)  # Geant4's destructors crash in the order that Python calls them


@contextmanager
def _ending(child: int) -> Iterator[None]:
    """While a chunk is computed, SIGTERM ends it with its worker."""

    def end(number: int, frame: FrameType | None) -> None:
        os.kill(child, signal.SIGKILL)
        os._exit(1)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _leave(function: Any, *arguments: Any) -> None:
    """Calls a function and ends the process without any cleaning up: 0, or 1 if it raised."""
    code = 1
    try:
        function(*arguments)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _compute(calorimeter: Calorimeter, gun: ShowerGun, parts: Path, chunk: int, count: int) -> None:
    """Computes one chunk and writes its file, which appears when complete."""
    energies, seeds = gun.draw(chunk)
    voxels = calorimeter.shoot(energies[:count], seeds[:count], gun.theta, gun.phi)
    target = AtomicPath(part_path(parts, chunk), force=True)
    with target.temporary.open("wb") as file:
        np.savez_compressed(file, incident=1e3 * energies[:count], voxels=voxels)
    target.commit()
