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
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError
from fastsim.event import Floats, HardEvents, Ints, ParticleSet, RunInfo
from fastsim.event.hard import UNKNOWN
from fastsim.event.vertices import lifetimes
from generators.reference.event_record import read_batch

SETTINGS: tuple[str, ...] = (
    "Beams:frameType = 5",
    "Check:abortIfVeto = on",  # else Pythia goes on to the next event, which here is the same one
    "Print:quiet = on",
    "SLHA:verbose = 0",
    "ParticleDecays:limitTau0 = on",
    "ParticleDecays:tau0Max = 10.0",
)
EVENTS_PER_BATCH = 32
"""Events that Pythia makes before they are read out together: the read-out costs 2 ms, and a third of one an event."""
Job = tuple[int, int, float, list[tuple[Any, ...]]]
"""What an event is made from: Pythia's seed, the process, the scale in GeV, and the columns of its particles."""
_ALARM = signal.SIGPROF
"""The signal of the timer of processor time, which ends a process that does not handle it."""
_TURNS = 3
"""Pythia's counter of how often it was told to make an event."""
_PR_SET_PDEATHSIG = 1
"""The option of prctl(2) that names a signal to send when the parent ends."""
_LIFETIME_OF_ROW = 6
"""Column of the rows of :func:`_job` that holds lifetimes."""
_UNPOLARISED = 9.0
"""The SPINUP of a particle whose helicity is not known."""


class Completed(NamedTuple):
    """What Pythia makes of a batch of events.

    Attributes:
        particles: the particles of the C events that it completes, one set an event.
        events: their indices in the batch, (C,).
        weights: the weights that Pythia gives them, (C,).
        endless: indices of the events that took longer than the limit; all others were rejected.
    """

    particles: ParticleSet
    events: Ints
    weights: Floats
    endless: list[int]


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

    def complete(self, events: HardEvents, seed: int) -> Completed:
        """Return what Pythia makes of events; those that it rejects, or dies of, are missing."""
        jobs = [_job(events, i, seed) for i in range(len(events))]
        parts: list[tuple[ParticleSet, Ints, Floats]] = []
        endless = []
        waiting = deque(range(i, min(i + EVENTS_PER_BATCH, len(jobs))) for i in range(0, len(jobs), EVENTS_PER_BATCH))
        while waiting:
            batch = waiting.popleft()
            number = batch.start
            try:
                self._connection.send([jobs[i] for i in batch])
                while not isinstance(answer := self._connection.recv(), tuple):
                    number = batch.start + answer
                particles, completed, weights = answer
                parts.append((particles, completed + batch.start, weights))
            except (EOFError, OSError):  # of this event; those before it are made again, which gives the same
                if self.close() == -_ALARM:
                    endless.append(number)
                self._start()
                waiting.extendleft(part for part in (range(number + 1, batch.stop), range(batch.start, number)) if part)
        if not parts:
            return Completed(ParticleSet.empty(), np.zeros(0, np.int64), np.zeros(0), endless)
        sets, numbers, factors = zip(*parts, strict=True)
        return Completed(ParticleSet.concatenate(sets), np.concatenate(numbers), np.concatenate(factors), endless)

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


def _job(events: HardEvents, i: int, seed: int) -> Job:
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
    """Run the process: start Pythia, then answer lists of events until the parent closes the pipe."""
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
            events.begin(connection.recv(), pythia, time_limit, connection.send)
            batch = pythia.nextBatch(len(events.jobs), errorMode="none")
            signal.setitimer(signal.ITIMER_PROF, 0.0)
            flights = [any(row[_LIFETIME_OF_ROW] > 0 for row in rows) for *_, rows in events.jobs]
            connection.send(_answer(batch, history, np.array(flights)))
    except (EOFError, OSError):  # the parent has no more events, or is gone
        pass


def _die_with_parent() -> None:
    """Ask Linux to end this process when its parent does, since an event that never ends would not notice."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _answer(batch: Any, history: bool, flights: NDArray[np.bool_]) -> tuple[ParticleSet, Ints, Floats]:
    """Return the particles of the events of a batch that Pythia completed, their places in it, and their weights.

    Args:
        batch: the N events.
        history: whether to read what decayed too.
        flights: which of them have resonances with lifetimes, (N,).
    """
    import awkward as ak

    completed = np.flatnonzero(~np.asarray(ak.is_none(batch)))
    if len(completed) == 0:
        return ParticleSet.empty(), completed, np.zeros(0)
    chosen = batch[completed]
    weights = np.asarray(ak.firsts(chosen.info.weights), dtype=np.float64)
    made = ak.drop_none(chosen, axis=0)
    return read_batch(made, history=history, flights=flights[completed]), completed, weights


def _start(run: RunInfo, settings: tuple[str, ...]) -> tuple[Any, Any]:
    """Return a Pythia, and the source of its events, which is told by its method ``begin`` which ones come next.

    Raises:
        FastsimError: if Pythia refuses a setting, or does not start.
    """
    import pythia8mc

    class Events(pythia8mc.LHAup):  # type: ignore[misc]
        """Gives Pythia beams, processes and events."""

        jobs: Sequence[Job] = ()

        def begin(self, jobs: Sequence[Job], pythia: Any, time_limit: float, report: Callable[[int], None]) -> None:
            """Take the events to give next; each is reported when Pythia asks for it."""
            self.jobs, self.pythia, self.time_limit, self.report = jobs, pythia, time_limit, report
            self.number = self.turn = -1

        def setInit(self) -> bool:
            for side, pdg_id, energy in zip("AB", run.beam_pdg_id, run.beam_energy, strict=True):
                getattr(self, f"setBeam{side}")(pdg_id, energy)
            self.setStrategy(3)  # events are taken as they come, with weight one
            for value, error, largest, process in run.processes:
                known = value != UNKNOWN
                self.addProcess(process, value if known else 1.0, error if known else 1.0, largest)
            return True

        def setEvent(self, process: int = 0) -> bool:
            if (turn := self.pythia.infoPython().getCounter(_TURNS)) == self.turn:
                return False  # Pythia asks for another event in place of one that it cannot use
            self.turn = turn
            self.number += 1
            seed, process, scale, rows = self.jobs[self.number]
            self.report(self.number)
            signal.setitimer(signal.ITIMER_PROF, self.time_limit)
            self.pythia.rndm.init(seed)  # an event depends on its seed alone, whatever came before it
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
