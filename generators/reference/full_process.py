"""A process that runs ordinary Pythia on events it is sent, and ends when one of them takes too long.

Before each event the process sets an alarm of the system, counted in its own processor time: an event that never ends
takes the process with it, also when Pythia does not return to Python and nobody is left to watch. The parent starts
another process for the events after it.

References:
    Bierlich et al., A comprehensive guide to the physics and usage of PYTHIA 8.3, 2022, arXiv:2203.11601.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from fastsim.errors import FastsimError
from fastsim.event import HardEvents, RunInfo
from fastsim.event.hard import UNKNOWN
from fastsim.event.vertices import lifetimes
from generators.reference.event_record import EventRecord, read_record

SETTINGS: tuple[str, ...] = (
    "Beams:frameType = 5",
    "Check:abortIfVeto = on",  # else Pythia goes on to the next event, which here is the same one
    "Print:quiet = on",
    "SLHA:verbose = 0",
    "ParticleDecays:limitTau0 = on",
    "ParticleDecays:tau0Max = 10.0",
)
_ALARM = signal.SIGPROF
"""The signal of the timer of processor time, which ends a process that does not handle it."""
_PR_SET_PDEATHSIG = 1
"""The option of prctl(2) that names a signal to send when the parent ends."""
_LIFETIME_OF_ROW = 6
"""Column of the rows of :func:`_job` that holds lifetimes."""
_UNPOLARISED = 9.0
"""The SPINUP of a particle whose helicity is not known."""


class Completed(NamedTuple):
    """The particles of an event, and the weight that Pythia gives it."""

    record: EventRecord
    weight: float


class EndlessEvent:
    """Stands for an event that took longer than the limit."""


class PythiaProcess:
    """Pythia in another process.

    Args:
        run: beams and processes of the events.
        settings: further lines for Pythia.
        time_limit: seconds of processor time that an event may take.
        history: whether to read what decayed into the final particles too.

    Raises:
        FastsimError: if Pythia refuses a setting, or does not start with these beams and processes.
    """

    def __init__(self, run: RunInfo, settings: tuple[str, ...], time_limit: float, *, history: bool = True) -> None:
        self._arguments = run, settings, time_limit, history
        self._start()

    def complete(self, events: HardEvents, seed: int) -> Iterator[Completed | EndlessEvent | None]:
        """Yield what Pythia makes of each event; None if it rejects it, or dies of it."""
        jobs = [_job(events, i, seed) for i in range(len(events))]
        done = 0
        while done < len(jobs):
            try:
                self._connection.send(jobs[done:])
                while done < len(jobs):
                    answer = self._connection.recv()
                    done += 1
                    yield None if answer is None else Completed(*answer)
            except (EOFError, OSError):
                done += 1
                yield EndlessEvent() if self.close() == -_ALARM else None
                self._start()

    def close(self) -> int:
        """End the process, and return its exit status."""
        self._finalizer()
        return self._process.wait()

    def _start(self) -> None:
        """Start a process."""
        to_read, to_write = os.pipe(), os.pipe()
        command = (
            f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve({to_read[0]}, {to_write[1]})"
        )
        self._process = subprocess.Popen(  # not of multiprocessing: a worker process may not have such children
            [sys.executable, "-c", command],
            pass_fds=(to_read[0], to_write[1]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # libraries may print; standard output may carry events
        )
        os.close(to_read[0])
        os.close(to_write[1])
        self._connection = _Pipe(to_write[0], to_read[1])
        self._finalizer = weakref.finalize(self, _end, self._process, self._connection)
        try:
            self._connection.send(self._arguments)
            problem = self._connection.recv()
        except (EOFError, OSError):
            problem = f"Pythia's process ended when it started (exit status {self._process.wait()})"
        if problem:
            self.close()
            raise FastsimError(problem)


class _Pipe:
    """A connection to another process over two pipes, one for each direction."""

    def __init__(self, to_read: int, to_write: int) -> None:
        self._reader, self._writer = Connection(to_read, writable=False), Connection(to_write, readable=False)
        self.send, self.recv = self._writer.send, self._reader.recv

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


def _end(process: subprocess.Popen[bytes], connection: _Pipe) -> None:
    """End a process, if it is not at its end already."""
    connection.close()
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _job(events: HardEvents, i: int, seed: int) -> tuple[int, int, float, list[tuple[Any, ...]]]:
    """Return Pythia's seed for an event, its process, its scale in GeV, and the columns of its particles."""
    rows = slice(events.offsets[i], events.offsets[i + 1])
    none = np.zeros(len(events.pdg_id))
    spin = events.hard_columns.get("spin", none + _UNPOLARISED)
    table = zip(
        events.pdg_id[rows].tolist(),
        events.status[rows].tolist(),
        (events.mothers[rows] + 1).tolist(),
        events.colours[rows].tolist(),
        events.p4[rows].tolist(),
        events.mass[rows].tolist(),
        lifetimes(events)[rows].tolist(),
        np.nan_to_num(spin[rows], nan=_UNPOLARISED).tolist(),
        strict=True,
    )
    state = np.random.SeedSequence([seed, int(events.number[i])]).generate_state(1)[0]
    return int(state % 900_000_000) + 1, int(events.process[i]), float(events.scale[i]), list(table)


def serve(to_read: int, to_write: int) -> None:
    """Run the process: start Pythia, then answer lists of events, one by one, until the parent closes the pipe."""
    # batch systems and terminals signal all processes of a job: when to stop is the parent's business
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _die_with_parent()
    connection = _Pipe(to_read, to_write)
    try:
        run, settings, time_limit, history = connection.recv()
        try:
            pythia, events = _start(run, settings)
        except FastsimError as error:
            connection.send(str(error))
            return
        connection.send("")
        while True:
            for seed, process, scale, rows in connection.recv():
                signal.setitimer(signal.ITIMER_PROF, time_limit)
                pythia.rndm.init(seed)
                events.current = process, scale, rows
                answer = _particles(pythia, history, rows) if pythia.next() else None
                signal.setitimer(signal.ITIMER_PROF, 0.0)
                connection.send(answer)
    except (EOFError, OSError):  # the parent has no more events, or is gone
        pass


def _die_with_parent() -> None:
    """Ask Linux to end this process when its parent does, since an event that never ends would not notice."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _particles(pythia: Any, history: bool, rows: list[tuple[Any, ...]]) -> tuple[EventRecord, float]:
    """Return the particles of the event that Pythia has completed, and its weight.

    Args:
        pythia: the Pythia.
        history: whether to read what decayed too.
        rows: the hard process that it was given.
    """
    flights = any(row[_LIFETIME_OF_ROW] > 0 for row in rows)
    record = read_record(pythia.event, history=history, flights=flights)
    return record, float(pythia.infoPython().weight())


def _start(run: RunInfo, settings: tuple[str, ...]) -> tuple[Any, Any]:
    """Return a Pythia, and the source of its events, whose attribute ``current`` is the event that it takes next.

    Raises:
        FastsimError: if Pythia refuses a setting, or does not start.
    """
    import pythia8mc

    class Events(pythia8mc.LHAup):  # type: ignore[misc]
        """Gives Pythia beams, processes and events."""

        current: tuple[int, float, list[tuple[Any, ...]]] = (0, 0.0, [])

        def setInit(self) -> bool:
            for side, pdg_id, energy in zip("AB", run.beam_pdg_id, run.beam_energy, strict=True):
                getattr(self, f"setBeam{side}")(pdg_id, energy)
            self.setStrategy(3)  # events are taken as they come, with weight one
            for value, error, largest, process in run.processes:
                known = value != UNKNOWN
                self.addProcess(process, value if known else 1.0, error if known else 1.0, largest)
            return True

        def setEvent(self, process: int = 0) -> bool:
            process, scale, rows = self.current
            self.setProcess(process, 1.0, scale, 0.0, 0.0)
            for pdg_id, status, mothers, colours, (e, px, py, pz), mass, lifetime, spin in rows:
                self.addParticle(pdg_id, status, *mothers, *colours, px, py, pz, e, mass, lifetime, spin, -1.0)
            return True

    pythia, events = pythia8mc.Pythia("", False), Events()
    for line in (*SETTINGS, *settings):
        if not pythia.readString(line):
            raise FastsimError(f"Pythia refuses the setting {line!r}")
    if any(line.lstrip().startswith("JetMatching:") for line in settings):
        events.matching = pythia8mc.CombineMatchingInput()  # kept alive with the events
        events.matching.setHook(pythia)
    pythia.setLHAupPtr(events)
    if not pythia.init():
        raise FastsimError("Pythia does not start on this LHE file: its beams or processes are unknown to it")
    return pythia, events
