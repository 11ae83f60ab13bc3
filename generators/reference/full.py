"""Ordinary Pythia on an LHE file, as ``fastsim reference --full`` runs it: a comparison independent of the gun.

Initial- and final-state radiation, multiparton interactions, beam remnants, hadronisation and decays (Monash
tune, particles with c*tau > 10 mm stable). The hard record and the weights of the file are kept; the final
particles, and what decayed into them, belong to no parton (origin -1). Pythia itself reads the file; an event that it
rejects is left out and counted in the tally ``skipped_events`` of a neighbour.
"""

from __future__ import annotations

import gzip
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastsim.errors import FastsimError
from fastsim.event import HardEvents
from generators.reference.event_record import EventRecord, particle_sets, read_record

SETTINGS: tuple[str, ...] = (
    "Beams:frameType = 4",
    "Print:quiet = on",
    "SLHA:verbose = 0",
    "ParticleDecays:limitTau0 = on",
    "ParticleDecays:tau0Max = 10.0",
)
_NUMBER = "fastsim_number"
_of_thread = threading.local()


@dataclass(frozen=True)
class FullPythia:
    """The Step that has Pythia complete the events of a file; those that Pythia rejects are left out.

    Each thread, here or in a worker process, has its own Pythia that reads the file and skips the events of others.

    Attributes:
        file: a copy that :func:`numbered` made, from which the events were read too.
        seed: decides an event together with its number; the ``rng`` of a step is not used.
        settings: further lines for Pythia.
        history: whether to keep what decayed into the final particles, and where; reading it takes twice as long as
            reading these alone.
    """

    file: Path
    seed: int
    settings: tuple[str, ...] = ()
    history: bool = True

    name = "pythia-full"
    requires = frozenset({"partons"})
    provides = frozenset({"hadrons"})

    def step(self, events: HardEvents, *, rng: np.random.Generator) -> HardEvents:
        """Return the events that Pythia completes.

        Raises:
            FastsimError: if Pythia does not start on the file.
        """
        current: tuple[FullPythia, _Stream] | None = getattr(_of_thread, "current", None)
        # a stream does not go back to earlier events
        if current is None or current[0] != self or (len(events) and events.number[0] < current[1].next):
            current = _of_thread.current = self, _Stream(_start(self.file, self.settings), self.seed, self.history)
        return current[1].match(events)


@contextmanager
def numbered(source: str | os.PathLike[str] | BinaryIO) -> Iterator[Path]:
    """Make a copy of an LHE file for Pythia, unzipped and with numbered events; it is removed in the end.

    Args:
        source: path of a plain or gzipped LHE file, or a binary stream.

    Raises:
        FastsimError: if the file cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="fastsim-") as folder:
        plain = Path(folder) / "events.lhe"
        _copy(source, plain)
        yield plain


def _copy(source: str | os.PathLike[str] | BinaryIO, plain: Path) -> None:
    """Write the source, unzipped and with numbered events, as a file that Pythia can open."""
    with plain.open("wb") as target:
        if isinstance(source, str | os.PathLike):
            try:
                with open(source, "rb") as stream:
                    zipped = stream.read(2) == b"\x1f\x8b"
                with gzip.open(source, "rb") if zipped else open(source, "rb") as stream:
                    _numbered(stream, target)
            except (OSError, EOFError) as error:
                raise FastsimError(f"{os.fspath(source)}: cannot read: {error}") from error
        else:
            _numbered(source, target)


def _numbered(stream: Iterable[bytes], target: BinaryIO) -> None:
    """Copy the lines of an LHE file, and give each event its number as an attribute, which Pythia keeps."""
    number = 0
    for line in stream:
        text = line.lstrip()
        if text.startswith((b"<event>", b"<event ")):
            line = f'<event {_NUMBER}="{number}" '.encode() + text[len(b"<event") :]
            number += 1
        target.write(line)


def _start(plain: Path, settings: tuple[str, ...]) -> Any:
    """Return a Pythia that reads an LHE file.

    Raises:
        FastsimError: if it refuses a setting, or does not start on the file.
    """
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    for line in (*SETTINGS, f"Beams:LHEF = {plain}", *settings):
        if not pythia.readString(line):
            raise FastsimError(f"Pythia refuses the setting {line!r}")
    if not pythia.init():
        raise FastsimError("Pythia does not start on this LHE file: its beams or processes are unknown to it")
    return pythia


class _Stream:
    """The events that a Pythia completes, in the order of the file that it reads."""

    def __init__(self, pythia: Any, seed: int, history: bool) -> None:
        self.pythia = pythia
        self.seed = seed
        self.history = history
        self.next = 0  # number of the event that Pythia reads next
        self.number = -1  # number of the event that it completed last
        self.record: EventRecord | None = None  # what that event holds

    def match(self, batch: HardEvents) -> HardEvents:
        """Return the events of the batch that Pythia completes, with their particles."""
        completed: list[int] = []
        skipped: list[int] = []
        records: list[EventRecord] = []
        if len(batch) and (ahead := int(batch.number[0]) - self.next) > 0:
            self.pythia.LHAeventSkip(ahead)
            self.next += ahead
        for i, number in enumerate(batch.number):
            while self.number < number and self.next <= number and self._next():
                pass
            if self.number != number:
                skipped.append(len(completed))
                continue
            completed.append(i)
            assert self.record is not None
            records.append(self.record)
        events = batch[np.array(completed, dtype=np.int64)]
        particles = particle_sets(records)
        if not self.history:
            particles = particles.without_history()
        events = events.with_particles(particles, np.full(len(particles.pdg_id), -1))
        if not completed:
            return events
        # the next event counts those skipped before it, the last one those after it
        return events.tally("skipped_events", np.minimum(np.array(skipped, dtype=np.int64), len(completed) - 1))

    def _next(self) -> bool:
        """Have Pythia try the next event of the file; False at its end."""
        pythia = self.pythia
        if pythia.infoPython().atEndOfFile():  # infoPython() is a copy of that moment
            return False
        state = np.random.SeedSequence([self.seed, self.next]).generate_state(1)[0]
        pythia.rndm.init(int(state % 900_000_000) + 1)
        self.next += 1
        if pythia.next():
            self.number = int(pythia.infoPython().getEventAttribute(_NUMBER))
            self.next = self.number + 1
            self.record = read_record(pythia.event, history=self.history)
        return True
