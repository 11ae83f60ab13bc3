"""HepMC3 events (Asciiv3) that Rivet, Delphes and every HepMC3 reader understand.

The record is slim: beams (status 4) -> incoming partons (21) -> one vertex of the hard process -> partons (23)
and resonances (22), one vertex for each parton with its hadrons (1), one for each decayed resonance, and, where their
history is known, one for each hadron that decayed (2), with its place in mm if that is not the primary vertex. What
the hard process leaves of a beam is one pseudoparticle of status 63 (beam remnant, as Pythia numbers it) that
analyses and detector simulations pass over; with it the beam vertices conserve momentum. Momentum is conserved
by the hard process as a whole rather than at each parton's vertex: hadrons have a mass that the parton had not,
and the recoil is shared by all outgoing members.

The text is written here, by compiled functions for many events at once (:mod:`fastsim.formats.hepmc_text`), because
building pyhepmc objects one particle at a time costs more than making the hadrons; the tests compare every field
with pyhepmc, which also does the reading.

References:
    Buckley et al. 2021, 1912.08005 (HepMC3); Bierlich et al. 2022, 2203.11601 (Pythia 8 status codes).
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import logging
import lzma
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError, InvalidEvent, OutputError, PipelineError
from fastsim.event import Floats, HardEvents, Ints, ParticleSet, RunInfo, offsets_from_counts
from fastsim.formats.atomic import AtomicPath, AtomicWriter, PathLike, split_ending, writing
from fastsim.formats.cross_section import last_cross_section
from fastsim.formats.graph import EventHistory, history_of, joined
from fastsim.formats.library_output import off_stdout
from fastsim.formats.record import Record
from fastsim.formats.watched import WatchedFile
from fastsim.formats.weight_names import distinct, safe_names

logger = logging.getLogger(__name__)

EVENTS_PER_TEXT = 128
"""Events formatted at once: their text then stays in the processor's cache."""


class Writer(AtomicWriter):
    """Writes batches of events as HepMC3; compressed by ending (.gz .bz2 .xz .zst); ``-`` is standard output.

    Args:
        path: the output.
        run: beams, cross-section, weight names; its provenance becomes the run information (tool, model, seed...).
        force: replace an existing file.

    Raises:
        OutputError: if the output cannot be created.
    """

    def __init__(self, path: PathLike, run: RunInfo, *, force: bool = False) -> None:
        super().__init__(path, force=force)
        names = safe_names(run.weight_names)
        if names != run.weight_names:
            changed = [f"{old!r} -> {new}" for old, new in zip(run.weight_names, names, strict=True) if old != new]
            logger.warning("%s: names of weights that HepMC cannot hold are changed: %s", path, ", ".join(changed))
        self.run = replace(run, weight_names=names)
        with writing(path):
            if os.fspath(path) == "-":
                self._file = cast("IO[bytes]", sys.stdout.buffer)
            else:
                self._file = _open_to_write(self._place, split_ending(path)[1].lower())
            self._file.write(_run_header(self.run))

    def write(self, events: HardEvents) -> None:
        """Add a batch of events; where they have no final particles, the outgoing ones of the hard process are final.

        Raises:
            PipelineError: if an event has more or fewer weights than the run has names.
            InvalidEvent: if a momentum is not finite.
        """
        if len(events) == 0:
            return
        if events.weights.shape[1] != len(self.run.weight_names):
            raise PipelineError(
                f"{events.weights.shape[1]} weights an event, but the run names {len(self.run.weight_names)}"
            )
        for block in events.chunks(EVENTS_PER_TEXT):
            text = self._text(block)
            with writing(self.path):
                self._file.write(text)
            self.num_written += len(block)

    def _text(self, events: HardEvents) -> memoryview:
        """Return the lines of events."""
        from fastsim.formats.hepmc_text import text_of_events

        record = Record(events, self.run)
        p4 = record.p4
        if not np.isfinite(p4).all():
            event = int(events.number[record.event[np.argmin(np.isfinite(p4).all(axis=1))]])
            raise InvalidEvent(f"event {event}: a particle's momentum is not finite; the model failed there")
        cross_section = b""
        if self.run.cross_section != (0.0, 0.0):
            cross_section = b"A 0 GenCrossSection %.10e %.10e -1 -1\n" % self.run.cross_section
        columns = (events.number, record.num_vertices, np.diff(record.start), events.scale, events.process)
        heads = [
            b"E %d %d %d\nU GEV MM\nW %s\n%sA 0 event_scale %.10e\nA 0 signal_process_id %d\n"
            % (number, num_vertices, num, " ".join(map(repr, weights)).encode(), cross_section, scale, process)
            for weights, number, num_vertices, num, scale, process in zip(
                events.weights.tolist(), *(column.tolist() for column in columns), strict=True
            )
        ]
        vertices = [
            b"V %d 0 [%s]\n" % (-1 - num_beams, b",".join(b"%d" % k for k in range(num_beams + 1, num_beams + num + 1)))
            if num_incoming
            else b""
            for num_incoming, num_beams, num in zip(
                record.num_incoming.tolist(), record.num_beams.tolist(), record.num_to_hard.tolist(), strict=True
            )
        ]
        return text_of_events(record, heads, vertices)

    def _finish(self, complete: bool) -> None:
        if complete:
            self._file.write(b"HepMC::Asciiv3-END_EVENT_LISTING\n\n")
        if self._target is None:
            self._file.flush()
        else:
            self._file.close()


def _escape(text: str) -> str:
    """Return text as Asciiv3 writes it on one line."""
    return text.replace("\\", "\\\\").replace("\n", "\\|")


def _run_header(run: RunInfo) -> bytes:
    """Return the lines above the events: weight names, the tool, and the provenance as attributes."""
    names = "\n".join(run.weight_names)
    tool = "\n".join([run.provenance.get("producer", "fastsim"), run.provenance.get("version", ""), ""])
    lines = [
        "HepMC::Version 3.02.05",
        "HepMC::Asciiv3-START_EVENT_LISTING",
        f"W {_escape(names)}",
        f"T {_escape(tool)}",
        *(f"A {key.replace(' ', '_')} {_escape(value)}" for key, value in sorted(run.provenance.items())),
    ]
    return ("\n".join(lines) + "\n").encode()


def _open_to_write(path: Path, ending: str) -> IO[bytes]:
    """Open a new binary file, compressed as the ending says, at the levels where speed and size balance."""
    if ending.endswith(".gz"):
        # without the file's name, which is a temporary one: equal events are equal files
        file = gzip.GzipFile("", "wb", compresslevel=4, fileobj=open(path, "wb"), mtime=0)  # noqa: SIM115
        file.myfileobj = cast("Any", file.fileobj)  # closed with it
        return cast("IO[bytes]", file)
    if ending.endswith(".bz2"):
        return bz2.open(path, "wb", compresslevel=5)
    if ending.endswith(".xz"):
        return lzma.open(path, "wb", preset=1)
    if ending.endswith(".zst"):
        return cast("IO[bytes]", _zstd().open(path, "wb"))
    return open(path, "wb")


def _zstd() -> Any:
    """Return the module of Zstandard: of the standard library from Python 3.14, before that a backport."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise OutputError("zstd compression is not installed: `pip install backports.zstd`, or write .hepmc3.gz")


FINAL = (1,)
"""Status of the particles that are final by the rules of HepMC."""


class _Event(NamedTuple):
    """What is read of one event: ids (M,) and momenta (M, 4) in GeV of its final particles, and what it says itself."""

    pdg_id: Ints
    p4: Floats
    history: EventHistory | None
    weights: list[float]
    process: int
    scale: float


def read(
    path: PathLike, *, chunk_size: int = 1000, history: bool = False, final_status: Sequence[int] = FINAL
) -> Iterator[tuple[ParticleSet, Floats]]:
    """Yield the final particles of a HepMC file in batches of N events, with the weights, shape (N, W).

    Any HepMC version and compression that pyhepmc knows; momenta in GeV. A file of HepMC3 (Asciiv3) or HepMC2 text is
    refused at its end, after the batches before, if an event that begins in it could not be read, or if it ends without
    the line ``...END_EVENT_LISTING``: every writer of these formats closes a file with it, so one without was cut,
    maybe just between two events.

    Args:
        path: the file.
        chunk_size: events in a batch.
        history: read also what decayed into the final particles (status 2), and where, in mm from the vertex where the
            beams meet.
        final_status: status codes of final particles.

    Raises:
        FastsimError: if the file cannot be read, is cut short or damaged, or its first event has no final particles.
    """
    for particles, weights, _, _ in _read(path, chunk_size, history, final_status):
        yield particles, weights


def _read(
    path: PathLike, chunk_size: int, history: bool, final_status: Sequence[int]
) -> Iterator[tuple[ParticleSet, Floats, Ints, Floats]]:
    """Yield final particles, weights (N, W), process ids and scales in GeV of a HepMC file, in batches of N events.

    Where the file does not give an id (N,) or a scale (N,), it is 0.

    Raises:
        FastsimError: if the file cannot be read, is cut short or damaged, or its first event has no final particles.
    """
    pyhepmc, name = _pyhepmc(), os.fspath(path)
    if not os.path.isfile(name):
        raise FastsimError(f"{name}: no such file")
    pending: list[_Event] = []
    num_read = num_weights = 0
    try:
        with _open_to_read(name) as raw:
            watched = WatchedFile(raw, b"E ")
            for event in off_stdout(iter(pyhepmc.open(watched))):
                status = event.numpy.particles.status
                final = np.isin(status, final_status)
                if num_read == 0 and len(final) and not final.any():
                    raise FastsimError(_without_finals(name, status, final_status))
                pending.append(_event(event, final, history))
                num_weights = len(pending[-1].weights) if num_read == 0 else num_weights
                if len(pending[-1].weights) != num_weights:
                    raise FastsimError(
                        f"{name}: event {num_read} has {len(pending[-1].weights)} weights, those before it "
                        f"{num_weights}; all events must have as many"
                    )
                num_read += 1
                if len(pending) == chunk_size:
                    yield _batch(pending)
                    pending.clear()
            watched.finish()
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise FastsimError(f"{name}: not a readable HepMC file ({error})") from error
    _check_whole(name, watched, num_read)
    if pending:
        yield _batch(pending)


def _event(event: Any, final: NDArray[np.bool_], with_history: bool) -> _Event:
    """Return what is read of an event whose final particles are given by a mask; momenta in GeV, places in mm."""
    import pyhepmc

    unit = 1.0 if event.momentum_unit == pyhepmc.Units.GEV else 1e-3
    table, attributes = event.numpy.particles, event.attributes
    p4 = np.stack([table.e, table.px, table.py, table.pz], axis=1)[final] * unit
    process, scale = (_number(attributes, key) for key in ("signal_process_id", "event_scale"))
    history = None
    if with_history:
        length = 1.0 if event.length_unit == pyhepmc.Units.MM else 10.0
        history = history_of(event, final).in_units(unit, length)
    return _Event(table.pid[final].astype(np.int64), p4, history, list(event.weights), int(process), scale * unit)


def _batch(events: list[_Event]) -> tuple[ParticleSet, Floats, Ints, Floats]:
    """Return the particles, weights (N, W), process ids (N,) and scales (N,) in GeV of N events."""
    pdg_id, p4, histories, weights, process, scale = zip(*events, strict=True)
    offsets = offsets_from_counts(np.array([len(ids) for ids in pdg_id]))
    history = None if histories[0] is None else joined(histories)
    particles = ParticleSet(offsets, np.concatenate(pdg_id), np.concatenate(p4), history)
    return particles, np.array(weights, dtype=np.float64), np.array(process), np.array(scale, dtype=np.float64)


def _without_finals(name: str, status: Ints, final_status: Sequence[int]) -> str:
    """Return the message for a file whose first event has no final particles."""
    wanted, found = (", ".join(str(code) for code in codes) for codes in (final_status, np.unique(status).tolist()))
    return (
        f"{name}: its first event has no final particle: none of status {wanted}, but of {found}; --final-status "
        "(final_status=) says which are final"
    )


def read_events(
    path: PathLike, *, chunk_size: int = 1000, history: bool = False, final_status: Sequence[int] = FINAL
) -> tuple[RunInfo, Iterator[HardEvents]]:
    """Open a HepMC file of any origin for its final particles.

    Events are numbered from 0 in the file. Of the hard process they have its id and its scale, where the file gives
    them. The run information is that of the first event: beams (status 4) and names of weights; weights without names
    are numbered from 0, with a warning. The cross-section is the last one in the file, as generators estimate it on
    their way.

    Args:
        path: the file.
        chunk_size: events in a batch.
        history, final_status: see :func:`read`.

    Returns:
        The run information, and an iterator over batches of events.

    Raises:
        FastsimError: if the file cannot be read, now or in the iteration.
    """

    def batches() -> Iterator[HardEvents]:
        number = 0
        for particles, weights, process, scale in _read(path, chunk_size, history, final_status):
            numbers = np.arange(number, number + len(particles))
            weights = weights if weights.size else np.ones((len(numbers), 1))
            yield replace(HardEvents.of_particles(particles, weights, numbers), process=process, scale=scale)
            number += len(numbers)

    return _run_of(path), batches()


def _run_of(path: PathLike) -> RunInfo:
    """Return the run information of a file: that of its first event, and its last cross-section."""
    pyhepmc, name = _pyhepmc(), os.fspath(path)
    if not os.path.isfile(name):
        raise FastsimError(f"{name}: no such file")
    try:
        with _open_to_read(name) as raw:
            watched = WatchedFile(raw, b"E ")
            event = next(off_stdout(iter(pyhepmc.open(watched))), None)
            if event is None:
                watched.finish()
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise FastsimError(f"{name}: not a readable HepMC file ({error})") from error
    if event is None:
        if b"HepMC::Asciiv3-START_EVENT_LISTING" not in watched.head or watched.count:
            raise FastsimError(f"{name}: holds no event that can be read")
        _check_whole(name, watched, 0)
        return RunInfo((0, 0), (0.0, 0.0))  # a run that had no events, as a slice may be
    unit = 1.0 if event.momentum_unit == pyhepmc.Units.GEV else 1e-3
    beams = [(int(p.pid), float(p.momentum.e) * unit) for p in event.particles if p.status == 4]
    ids, energies = zip(*beams, strict=True) if len(beams) == 2 else ((0, 0), (0.0, 0.0))
    measured = event.cross_section
    first = None if measured is None else (measured.xsec(), measured.xsec_err())
    try:
        with _open_to_read(name) as raw:
            last = last_cross_section(raw, watched.head) or first
    except Exception:  # every kind of compression has its own; the reading of the events will say what is wrong
        last = first
    process = () if last is None or last[0] <= 0 else ((*last, 0.0, 0),)
    return RunInfo(ids, energies, process, _names_of_weights(event, name))


def provenance(path: PathLike) -> dict[str, str]:
    """Return what a file that fastsim wrote says of its making; nothing of the files of others.

    Raises:
        FastsimError: if the file cannot be read.
    """
    with _open_to_read(os.fspath(path)) as raw:
        try:
            event = next(off_stdout(iter(_pyhepmc().open(WatchedFile(raw, b"E ")))), None)
        except (OSError, RuntimeError, ValueError, EOFError) as error:
            raise FastsimError(f"{os.fspath(path)}: not a readable HepMC file ({error})") from error
    given = None if event is None else event.run_info
    texts = {} if given is None else {str(key): str(value) for key, value in given.attributes.items()}
    return texts if texts.get("tool") == "fastsim" else {}


def add_weights(path: PathLike, output: PathLike, names: Sequence[str], ratios: Floats, *, force: bool = False) -> None:
    """Copy the first events of a HepMC file, records as they are, with further weights: the first one times ratios.

    Args:
        path: the file.
        output: HepMC3, compressed by ending.
        names: of the further weights, (V,).
        ratios: of these to the first weight, (E, V), for the first E events.
        force: replace an output that exists.

    Raises:
        FastsimError: if the file cannot be read, or holds fewer events.
        OutputError: if the output cannot be written.
    """
    pyhepmc, name, done = _pyhepmc(), os.fspath(path), 0
    place = AtomicPath(output, force=force)
    try:
        with (
            writing(output),
            _open_to_read(name) as raw,
            _open_to_write(place.temporary, split_ending(output)[1].lower()) as file,
            pyhepmc.open(file, "w") as writer,
        ):
            for event in off_stdout(iter(pyhepmc.open(WatchedFile(raw, b"E ")))):
                if done == len(ratios):
                    break
                own = list(event.weights) or [1.0]
                if done == 0:
                    run = _run_with(event.run_info, safe_names([*_names_of_weights(event, name), *names]))
                event.run_info = run  # one of its own: the reader goes on with that of the file
                event.weights = [*own, *(own[0] * ratios[done]).tolist()]
                writer.write(event)
                done += 1
        if done < len(ratios):
            raise FastsimError(f"{name}: has {done} events, not {len(ratios)}")
    except (RuntimeError, ValueError, EOFError) as error:
        place.discard()
        raise FastsimError(f"{name}: not a readable HepMC file ({error})") from error
    except BaseException:
        place.discard()
        raise
    place.commit()


def _run_with(given: Any, names: Sequence[str]) -> Any:
    """Return run information of pyhepmc like what is given, which may be None, with other names of weights."""
    run = _pyhepmc().GenRunInfo()
    run.weight_names = list(names)
    if given is not None:
        run.tools = given.tools
        for key, value in given.attributes.items():
            run.attributes[key] = str(value)
    return run


def _names_of_weights(event: Any, name: str) -> tuple[str, ...]:
    """Return the names of an event's weights, one each; those without a name are called by their number, from 0."""
    num = len(event.weights)
    if num == 0:
        return ("nominal",)
    try:
        given = [str(text) for text in event.weight_names][:num]
    except RuntimeError:  # the file has none
        given = []
    if len(given) < num:
        made = [str(k) for k in range(len(given), num)]
        logger.warning("%s: %d of %d weights have no name; they are called %s", name, len(made), num, ", ".join(made))
        given = list(distinct([*given, *made]))
    return tuple(given)


def _number(attributes: Any, key: str) -> float:
    """Return the value of an event's attribute; 0 if it is missing, no number, or negative, which means unknown."""
    try:
        value = float(str(attributes[key])) if key in attributes else 0.0
    except ValueError:
        return 0.0
    return value if 0 < value < 1e18 else 0.0


def _pyhepmc() -> Any:
    """Import pyhepmc and switch off its messages: :func:`_check_whole` says in one line what they say in many."""
    import pyhepmc

    pyhepmc.Setup.print_errors, pyhepmc.Setup.debug_level = False, 0
    return pyhepmc


def _check_whole(name: str, file: WatchedFile, num_read: int) -> None:
    """Raise FastsimError unless all events that begin in a file were read, and it ends as its format demands.

    Args:
        name: path of the file, for the message.
        file: the file after pyhepmc has read it.
        num_read: events that pyhepmc gave.
    """
    if file.error is not None:
        reason = f"{type(file.error).__name__}: {file.error}"
        raise FastsimError(f"{name}: cut short or damaged, {num_read} whole events are readable ({reason})")
    if not any(start in file.head for start in (b"HepMC::Asciiv3", b"HepMC::IO_GenEvent")):
        return
    if num_read < file.count:
        raise FastsimError(
            f"{name}: cut short or damaged, {file.count} events begin in it but the one after the first {num_read} is "
            "not whole"
        )
    if not file.tail.rstrip().endswith(b"-END_EVENT_LISTING"):
        raise FastsimError(
            f"{name}: cut short, it does not end with the line HepMC::Asciiv3-END_EVENT_LISTING (or HepMC2's) that "
            f"closes a file; {num_read} whole events are before the cut"
        )


def _open_to_read(name: str) -> IO[bytes]:
    """Open a file to read its bytes, decompressed as the ending says."""
    if name.endswith(".gz"):
        return cast("IO[bytes]", gzip.open(name, "rb"))
    if name.endswith(".bz2"):
        return cast("IO[bytes]", bz2.open(name, "rb"))
    if name.endswith(".xz"):
        return cast("IO[bytes]", lzma.open(name, "rb"))
    if name.endswith((".zst", ".zstd")):
        return cast("IO[bytes]", _zstd().open(name, "rb"))
    return open(name, "rb")
