"""``fastsim reference --full``: ordinary Pythia on an LHE file, the comparison from outside.

Initial- and final-state radiation, multiparton interactions, beam remnants, hadronisation and decays (Monash
tune, particles with c*tau > 10 mm stable). The hard record and the weights of the file are kept; the final
particles belong to no parton (origin -1). Pythia itself reads the file; an event that it rejects is left out and
counted in the tally ``skipped_events`` of a neighbour.
"""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastsim.errors import FastsimError
from fastsim.event import Floats, HardEvents, Ints, ParticleSet, RunInfo, offsets_from_counts
from fastsim.formats import lhe

SETTINGS: tuple[str, ...] = (
    "Beams:frameType = 4",
    "Print:quiet = on",
    "SLHA:verbose = 0",
    "ParticleDecays:limitTau0 = on",
    "ParticleDecays:tau0Max = 10.0",
)
_NUMBER = "fastsim_number"


def full_events(
    source: str | os.PathLike[str] | BinaryIO,
    *,
    seed: int,
    first_event: int = 0,
    num_events: int | None = None,
    chunk_size: int = 100,
    settings: tuple[str, ...] = (),
) -> tuple[RunInfo, Iterator[HardEvents]]:
    """Runs Pythia on the events of an LHE file, as a stream.

    Args:
        source: path of a plain or gzipped LHE file, or a binary stream (kept in a temporary file for Pythia).
        seed: with the number of the event it decides the event, wherever the run starts (but for an event
            after one that Pythia rejects).
        first_event: number of the first event wanted; num_events: how many at most.
        settings: further lines for Pythia.

    Raises:
        InvalidEvent: for a malformed file. FastsimError: if Pythia does not start on it.
    """
    folder = tempfile.TemporaryDirectory(prefix="fastsim-")
    try:
        plain = Path(folder.name) / "events.lhe"
        _copy(source, plain)
        run, batches = lhe.read(plain, chunk_size=chunk_size, first_event=first_event, num_events=num_events)
        pythia = _start(plain, settings)
        if first_event:
            pythia.LHAeventSkip(first_event)
    except BaseException:
        folder.cleanup()
        raise

    def events() -> Iterator[HardEvents]:
        with folder:
            stream = _Stream(pythia, seed)
            for batch in batches:
                done = stream.match(batch)
                if len(done):
                    yield done

    return run, events()


def _copy(source: str | os.PathLike[str] | BinaryIO, plain: Path) -> None:
    """The source, unzipped and with numbered events, as a file that Pythia can open."""
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
    """Copies an LHE file and gives each event its number as an attribute, which Pythia hands through."""
    number = 0
    for line in stream:
        text = line.lstrip()
        if text.startswith((b"<event>", b"<event ")):
            line = f'<event {_NUMBER}="{number}" '.encode() + text[len(b"<event") :]
            number += 1
        target.write(line)


def _start(plain: Path, settings: tuple[str, ...]) -> Any:
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    for line in (*SETTINGS, f"Beams:LHEF = {plain}", *settings):
        if not pythia.readString(line):
            raise FastsimError(f"Pythia refuses the setting {line!r}")
    if not pythia.init():
        raise FastsimError("Pythia does not start on this LHE file: its beams or processes are unknown to it")
    return pythia


class _Stream:
    """Pythia's events in the order of the file."""

    def __init__(self, pythia: Any, seed: int) -> None:
        self.pythia = pythia
        self.seed = seed
        self.number = -1
        self.ids: Ints = np.zeros(0, np.int64)
        self.p4: Floats = np.zeros((0, 4))

    def match(self, batch: HardEvents) -> HardEvents:
        """The events of the batch that Pythia completes, with their particles."""
        kept: list[int] = []
        skipped: list[int] = []
        ids, momenta = [], []
        for i, number in enumerate(batch.number):
            while self.number < number and self._next(int(number)):
                pass
            if self.number != number:
                skipped.append(len(kept))
                continue
            kept.append(i)
            ids.append(self.ids)
            momenta.append(self.p4)
        done = batch[np.array(kept, dtype=np.int64)]
        if not kept:
            return done
        offsets = offsets_from_counts(np.array([len(x) for x in ids]))
        particles = ParticleSet(offsets, np.concatenate(ids), np.concatenate(momenta))
        done = replace(done, particles=particles, origin=np.full(len(particles.pdg_id), -1))
        return done.tally("skipped_events", np.minimum(np.array(skipped, dtype=np.int64), len(kept) - 1))

    def _next(self, number: int) -> bool:
        """Runs Pythia to the next event that it completes; False at the end of the file."""
        pythia = self.pythia
        while not pythia.infoPython().atEndOfFile():  # a copy: asked anew each time
            state = np.random.SeedSequence([self.seed, number]).generate_state(1)[0]
            pythia.rndm.init(int(state % 900_000_000) + 1)
            if pythia.next():
                self.number = int(pythia.infoPython().getEventAttribute(_NUMBER))
                rows = [(p.id(), p.e(), p.px(), p.py(), p.pz()) for p in pythia.event if p.isFinal()]
                table = np.array(rows, dtype=np.float64)
                self.ids, self.p4 = table[:, 0].astype(np.int64), table[:, 1:]
                return True
        return False
