"""Runs of the command line that a test may kill: forked from a process that has imported everything already.

``python -m tests.helpers.production`` reads jobs, one JSON object a line, and answers each with the process id of the
run and, when it has ended, with its exit status.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CHUNK = 8
"""Events, partons or showers of a chunk in these runs."""


class Server:
    """A process that starts one run at a time: :meth:`start`, then :meth:`wait`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.production"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def start(self, *words: object, errors: Path, file_size: int | None = None, stop_after: int | None = None) -> int:
        """Start ``fastsim WORDS`` and return its process id.

        Args:
            words: the command line.
            errors: file for its messages.
            file_size: bytes at which a file can grow no further; None for no limit.
            stop_after: chunks that it stores before it stops, as SIGSTOP stops it; None for no stop.
        """
        assert self._process.stdin is not None
        job = {"words": list(map(str, words)), "errors": str(errors), "file_size": file_size, "stop_after": stop_after}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return self._line()

    def wait(self) -> int:
        """Wait for the end of the run, and return its exit status: negative for a signal."""
        return self._line()

    def _line(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


def wait_for_stop(pid: int) -> None:
    """Wait until a run with ``stop_after`` has stopped."""
    deadline = time.monotonic() + 100
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline, "the run has not stopped"
        time.sleep(0.002)


def signal_when_stopped(pid: int, number: signal.Signals) -> None:
    """Send a signal to a run with ``stop_after`` once it has stopped: the first thing that it sees when it goes on."""
    wait_for_stop(pid)
    os.kill(pid, number)
    os.kill(pid, signal.SIGCONT)


def run(job: dict[str, Any]) -> int:
    """Run a job in this process, and return its exit status."""
    from fastsim.cli import main
    from fastsim.detector import shower_gun
    from fastsim.production import shower_run, store
    from fastsim.production.inputs import GunInput, Input
    from generators.reference import geant4_run

    os.dup2(os.open(job["errors"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    # a shell starts background jobs, and so their children, with SIGINT ignored, and nohup with SIGHUP
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if job["file_size"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_size"], job["file_size"]))
    save, stored = store.save_chunk, 0

    def save_and_stop(*args: Any, **options: Any) -> None:
        nonlocal stored
        save(*args, **options)
        stored += 1
        if stored == job["stop_after"]:
            os.kill(os.getpid(), signal.SIGSTOP)
        elif job["stop_after"] is not None and stored > job["stop_after"]:
            time.sleep(0.2)  # a signal that Python drops is sent again after 0.05 s: the run is still there then

    vars(store)["save_chunk"] = save_and_stop
    Input.chunk_size = GunInput.chunk_size = shower_run.CHUNK = CHUNK
    shower_gun.SHOWERS_PER_CHUNK = CHUNK
    vars(geant4_run)["SHOWERS_PER_CHUNK"] = CHUNK
    shower_run.DRAWS = 1
    return main(job["words"])


def serve() -> None:
    """Read jobs, and answer each with a process id and an exit status."""
    import pyhepmc  # noqa: F401
    import torch  # noqa: F401

    import generators.hadrons.library
    import generators.hadrons.step
    import generators.reference.pythia
    import generators.reference.resonances
    import generators.showers.library  # noqa: F401

    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os._exit(run(json.loads(line)))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
