"""Les Houches event files, read as a stream and validated event by event.

The files are XML in name only: run cards hold bare ``&`` and ``<``, POWHEG writes text after the last tag,
and a file cut short by a full disk is common. An XML parser (and pylhe, which is built on one) stops
silently there, without saying how many events were lost, nor where. So the event body is parsed here line by
line, tolerant of what generators write and strict about what an event means; the tests compare it with pylhe.

References:
    Alwall et al. 2006, hep-ph/0609017 (the format); Andersen et al. 2014, 1405.1067 (version 3, weights).
"""

from __future__ import annotations

import gzip
import io
import math
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import BinaryIO, cast

import numpy as np

from fastsim.errors import FastsimError, InvalidEvent
from fastsim.event import HardEvents, RunInfo, offsets_from_counts
from fastsim.formats.validation import (
    COLOURS,
    ENERGY,
    INTEGERS,
    LIFETIME,
    MASS,
    MOTHERS,
    NUM_COLUMNS,
    PDG_ID,
    PX,
    PY,
    PZ,
    SPIN,
    STATUS,
    find_problem,
    on_file_shell,
)

Source = str | os.PathLike[str] | BinaryIO

MAX_LINE = 1 << 20
"""Bytes a line may have: a compressed file of endless lines must not fill the memory."""
MAX_ENTRIES = 10_000
"""Particles an event may declare (hard processes have about ten); also processes and weights of a file."""

NUM_BEAM_COLUMNS, NUM_PROCESS_COLUMNS, NUM_EVENT_COLUMNS = 10, 4, 6
"""Numbers in the first and in the other lines of the init block, and in the first line of an event."""
WEIGHT_STRATEGY, NUM_PROCESSES = 8, 9
"""Columns of the first line of the init block, which begins with ids and energies of the two beams."""
NUM_PARTICLES, PROCESS, WEIGHT, SCALE = 0, 1, 2, 3
"""Columns of the first line of an event."""

_ATTRIBUTE = re.compile(r"""([\w.:-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_WEIGHT_ID = re.compile(r"""<weight\b[^>]*?\bid\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_WGT = re.compile(r"""<wgt\b[^>]*?\bid\s*=\s*(?:"([^"]*)"|'([^']*)')[^>]*>([^<]*)<""")
_WEIGHTS = re.compile(r"<weights\b[^>]*>([^<]*)<")
_NAMED = re.compile(r"""<weight\b[^>]*?\bname\s*=\s*(?:"([^"]*)"|'([^']*)')[^>]*>([^<]*)<""")
_BETWEEN_EVENTS = ("<eventgroup", "</eventgroup", "<!--", "-->", "<?")


def read(
    source: Source, *, chunk_size: int = 1000, first_event: int = 0, num_events: int | None = None
) -> tuple[RunInfo, Iterator[HardEvents]]:
    """Open an LHE file: return its run information, and a lazy iterator over its events in batches.

    Events are numbered from 0 in the file. A bad event ends the iteration with :class:`InvalidEvent`, after
    the good events before it have been yielded. Energies of outgoing particles are put back on the mass
    shell of the file's mass column where they differ from it by no more than the printed digits; momenta
    are kept as they are. The hard columns ``lifetime`` (VTIMUP, c*tau in mm) and ``spin`` (SPINUP, the cosine of
    the angle between spin and momentum; 9 for unknown) are those of the file.

    Args:
        source: path of a plain or gzipped file, or a binary stream such as ``sys.stdin.buffer``.
        chunk_size: events in a batch; the last one may be shorter.
        first_event: number of the first event wanted.
        num_events: how many events at most; None for all.

    Raises:
        FastsimError: if the file cannot be opened, or ends before ``first_event``.
        InvalidEvent: at once for a file that is empty, is not LHE or has a bad init block; while iterating for
            a bad event or a truncated file.
    """
    if chunk_size < 1 or first_event < 0 or (num_events is not None and num_events < 0):
        raise FastsimError(
            f"chunk_size={chunk_size}, first_event={first_event}, num_events={num_events}: "
            "the chunk size must be positive, the others not negative"
        )
    stack = ExitStack()
    try:
        lines = _Lines(*_open(source, stack))
        run, declared = _read_preamble(lines)
    except BaseException:
        stack.close()
        raise
    # the names of the weights are those of the first event, which is read ahead
    events = _events(lines)
    head: list[_Event] = []
    failure: InvalidEvent | None = None
    try:
        head = list(islice(events, 1))
    except InvalidEvent as error:
        failure = error
    ids = _event_weights(head[0])[0] if head else declared
    run = replace(run, weight_names=("nominal", *_weight_names(ids, declared)))
    stop = None if num_events is None else first_event + num_events

    def batches() -> Iterator[HardEvents]:
        with stack:
            if failure is not None:
                raise failure
            if not head:
                raise InvalidEvent(f"{lines.name}: the file holds no events")
            yield from _batches(chain(head, events), lines.name, ids, chunk_size, first_event, stop)

    return run, batches()


def count(path: str | os.PathLike[str]) -> int:
    """Count the events of a plain or gzipped file by their opening tags, which is faster than reading them.

    Raises:
        FastsimError: if the file cannot be opened.
        InvalidEvent: if it is empty, is not LHE or has a bad init block.
    """
    with ExitStack() as stack:
        lines = _Lines(*_open(path, stack))
        _read_preamble(lines)
        num = 0
        while (text := lines.next()) is not None:
            num += text.startswith(("<event>", "<event "))
        return num


@dataclass
class _Event:
    """One event as text: its number, header and particle columns, and the lines after them."""

    number: int
    line: int
    header: list[float]
    rows: list[list[float]]
    row_lines: list[int]
    tail: str
    tail_line: int


@dataclass
class _Lines:
    """Lines of a binary stream with their numbers, for messages."""

    stream: BinaryIO
    name: str
    number: int = 0
    cut: bool = False

    def next(self) -> str | None:
        """Return the next line without surrounding blanks; None at the end of the file."""
        try:
            raw = self.stream.readline(MAX_LINE)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            where = f"{self.name}, line {self.number + 1}"
            raise InvalidEvent(f"{where}: the compressed file is truncated or damaged ({error})") from error
        except OSError as error:
            raise FastsimError(f"{self.name}: cannot read: {error.strerror or error}") from error
        if not raw:
            return None
        self.number += 1
        if len(raw) >= MAX_LINE:
            raise InvalidEvent(f"{self.name}, line {self.number}: longer than {MAX_LINE} bytes; not an LHE file")
        self.cut = not raw.endswith(b"\n")
        return raw.decode("utf-8", errors="replace").strip()

    def error(self, message: str, event: int | None = None, line: int | None = None) -> InvalidEvent:
        """Return the error to raise, with file, event and line (by default the last one read) before the message."""
        if self.cut:
            message = "the file ends in the middle of a line; it is truncated"
        place = self.name if event is None else f"{self.name}, event {event}"
        return InvalidEvent(f"{place}, line {self.number if line is None else line}: {message}")


def _open(source: Source, stack: ExitStack) -> tuple[BinaryIO, str]:
    """Open the source as a buffered stream of plain text; return it with the name to show in messages."""
    if isinstance(source, str | os.PathLike):
        name = os.path.basename(os.fspath(source))
        try:
            stream = stack.enter_context(open(source, "rb"))  # noqa: SIM115
        except OSError as error:
            raise FastsimError(f"{os.fspath(source)}: cannot open: {error.strerror}; give an existing file") from error
    else:
        name = getattr(source, "name", "")
        name = os.path.basename(name) if isinstance(name, str) and name else "stream"
        stream = cast("io.BufferedReader", source)
    peekable = stream if hasattr(stream, "peek") else io.BufferedReader(cast("io.RawIOBase", stream))
    try:
        magic = peekable.peek(2)[:2]
    except OSError as error:
        raise FastsimError(f"{name}: cannot read: {error.strerror or error}") from error
    if magic == b"\x1f\x8b":
        return cast("BinaryIO", stack.enter_context(gzip.GzipFile(fileobj=peekable))), name
    return cast("BinaryIO", peekable), name


def _numbers(text: str) -> list[float]:
    """Read the blank-separated numbers of a line, with exponents after E or, as Fortran writes them, after D.

    Raises:
        ValueError: if a word is no number.
    """
    try:
        return [float(word) for word in text.split()]
    except ValueError:
        return [float(word.replace("D", "E").replace("d", "e")) for word in text.split()]


def _read_preamble(lines: _Lines) -> tuple[RunInfo, list[str]]:
    """Read all down to ``</init>``: return the run information and the ids of the weights that the header declares."""
    declared: list[str] = []
    opened = reweight = False
    while True:
        text = lines.next()
        if text is None:
            if lines.number == 0:
                raise InvalidEvent(f"{lines.name}: the file is empty; a Les Houches event file is expected")
            what = "there is no <init> block; the file is truncated" if opened else "not a Les Houches event file"
            raise lines.error(what)
        if text.startswith("<LesHouchesEvents"):
            opened = True
        elif not opened and text and not text.startswith(("<?", "<!", "#")):
            raise lines.error(f"not a Les Houches event file: it starts with {text[:40]!r}, not <LesHouchesEvents>")
        elif text.startswith("<init>") or re.match(r"<init\s", text):
            return _read_init(lines), declared
        elif text.startswith("<event"):
            raise lines.error("<event> before the <init> block")
        reweight = (reweight or "<initrwgt" in text) and "</initrwgt" not in text
        if reweight and (match := _WEIGHT_ID.search(text)):
            declared.append((match[1] or match[2] or "").strip())
            if len(declared) > MAX_ENTRIES:
                raise lines.error(f"the header declares more than {MAX_ENTRIES} weights")


def _read_init(lines: _Lines) -> RunInfo:
    """Read the init block: a line of beams, and one line for each process."""
    rows: list[list[float]] = []
    provenance: dict[str, str] = {}
    while (text := lines.next()) is not None and not text.startswith("</init"):
        if text.startswith("<generator"):
            attributes = {k: a or b for k, a, b in _ATTRIBUTE.findall(text)}
            name = attributes.get("name") or re.sub(r"<[^>]*>", "", text).strip()
            provenance["input_generator"] = f"{name} {attributes.get('version', '')}".strip()
        if not text or text.startswith(("<", "#")):
            continue
        try:
            rows.append(_numbers(text))
        except ValueError:
            if len(rows) < 1 or len(rows) <= int(rows[0][NUM_PROCESSES]):
                raise lines.error(f"the init block has {text[:60]!r} where numbers are expected") from None
            continue
        num_columns = NUM_BEAM_COLUMNS if len(rows) == 1 else NUM_PROCESS_COLUMNS
        if len(rows[-1]) < num_columns or not all(map(math.isfinite, rows[-1])):
            line = "beams" if len(rows) == 1 else "process"
            raise lines.error(f"the init block has {text[:60]!r} where {num_columns} numbers ({line}) are expected")
        if len(rows) > MAX_ENTRIES:
            raise lines.error(f"the init block has more than {MAX_ENTRIES} processes")
    if text is None:
        raise lines.error("the file ends inside the <init> block; it is truncated")
    if not rows:
        raise lines.error("the <init> block is empty")
    beams, num = rows[0], int(rows[0][NUM_PROCESSES])
    if len(rows) - 1 < num:
        raise lines.error(f"the init block announces {num} processes but has {len(rows) - 1}")
    return RunInfo(
        beam_pdg_id=(int(beams[0]), int(beams[1])),
        beam_energy=(beams[2], beams[3]),
        processes=tuple((r[0], r[1], r[2], int(r[3])) for r in rows[1 : num + 1]),
        weight_strategy=int(beams[WEIGHT_STRATEGY]),
        provenance=provenance,
    )


def _events(lines: _Lines) -> Iterator[_Event]:
    """Yield the events of the file one by one.

    Raises:
        InvalidEvent: for text that is no event, or at the end if the closing tag is missing.
    """
    number = 0
    while True:
        text = lines.next()
        if text is None:
            raise lines.error(f"the file ends after {number} events without </LesHouchesEvents>; it is truncated")
        if text.startswith("</LesHouchesEvents"):
            return
        if text.startswith("<event>") or re.match(r"<event\s", text):
            yield _read_event(lines, number)
            number += 1
        elif text.startswith("<") and not text.startswith(_BETWEEN_EVENTS):
            raise lines.error(f"unexpected {text[:40]!r} between events; <event> is expected", number)


def _read_event(lines: _Lines, number: int) -> _Event:
    """Read one event, of which the opening tag is read already."""

    def data_line() -> str:
        while True:
            text = lines.next()
            if text is None:
                raise lines.error("the file ends inside the event; it is truncated", number)
            if text and not text.startswith("#"):
                return text

    def columns(text: str, num: int, what: str) -> list[float]:
        try:
            values = _numbers(text)
        except ValueError:
            values = []
        if len(values) != num:
            content = f"{len(text.split())} columns" if values or text[:1] != "<" else "a tag"
            raise lines.error(f"{what} needs {num} numbers, found {content}: {text[:60]!r}", number)
        return values

    start = lines.number
    header = columns(data_line(), NUM_EVENT_COLUMNS, "the event line")
    if not all(map(math.isfinite, header)):
        raise lines.error("the event line holds a number that is not finite", number)
    size = header[NUM_PARTICLES]
    if size != int(size) or not 1 <= size <= MAX_ENTRIES:
        raise lines.error(f"the event announces {size:g} particles; 1 to {MAX_ENTRIES} are allowed", number)
    rows, row_lines = [], []
    for k in range(int(size)):
        text = data_line()
        rows.append(columns(text, NUM_COLUMNS, f"particle {k + 1} of {int(size)}"))
        row_lines.append(lines.number)
    tail: list[str] = []
    tail_line = lines.number + 1
    length = 0
    while not (text := data_line()).startswith("</event"):
        if text.startswith(("<event>", "<event ", "</LesHouchesEvents", "</init")):
            raise lines.error(f"{text[:30]!r} inside an event: </event> is missing", number)
        if not tail and not text.startswith("<"):
            raise lines.error(f"the event announces {int(size)} particles but has more: {text[:60]!r}", number)
        tail.append(text)
        length += len(text)
        if length > 64 * MAX_LINE:
            raise lines.error("the event is longer than 64 MB; not an LHE file", number)
    return _Event(number, start, header, rows, row_lines, "\n".join(tail), tail_line)


def _event_weights(event: _Event) -> tuple[list[str], list[str]]:
    """Return ids (empty where the file gives none) and texts of an event's weights, without the nominal one."""
    if "<wgt" in event.tail:
        matches = _WGT.findall(event.tail)
        return [(a or b).strip() for a, b, _ in matches], [text for _, _, text in matches]
    if block := _WEIGHTS.search(event.tail):
        values = block[1].split()
        return [""] * len(values), values
    # Whizard stores the squared matrix element in the same tag: it is no weight of the event
    named = [((a or b).strip(), text) for a, b, text in _NAMED.findall(event.tail)]
    named = [(name, text) for name, text in named if not name.startswith("sqme")]
    return [name for name, _ in named], [text for _, text in named]


def _weight_names(ids: list[str], declared: list[str]) -> tuple[str, ...]:
    """Return the names of the weights: the ids of the first event, or those of the header where it has none.

    A name that is there already gets a number, so that no two are alike.
    """
    if ids and not any(ids):
        ids = declared if len(declared) == len(ids) else [f"weight_{i + 1}" for i in range(len(ids))]
    seen = {"nominal": 1}
    names = []
    for name in ids:
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return tuple(names)


def _weights(event: _Event, expected: list[str], name: str) -> list[float]:
    """Return all weights of an event, nominal first, in the order of the ids ``expected``, those of the first event.

    Raises:
        InvalidEvent: if a weight is missing, no number or not finite.
    """
    place = f"{name}, event {event.number}, line {event.tail_line}"
    ids, texts = _event_weights(event)
    if len(texts) != len(expected):
        raise InvalidEvent(f"{place}: {len(texts)} weights, but the first event has {len(expected)}")
    try:
        values = [_numbers(text)[0] for text in texts]
    except (ValueError, IndexError):
        raise InvalidEvent(f"{place}: a weight is not a number") from None
    for k, value in enumerate(values):
        if not math.isfinite(value):
            raise InvalidEvent(f"{place}: weight {ids[k] or k + 1!r} is {value}; weights must be finite")
    if ids != expected:
        table = dict(zip(ids, values, strict=True))
        if missing := [n for n in expected if n not in table]:
            raise InvalidEvent(f"{place}: weight {missing[0]!r} of the first event is missing")
        values = [table[n] for n in expected]
    return [event.header[WEIGHT], *values]


def _batches(
    events: Iterator[_Event], name: str, ids: list[str], size: int, first: int, stop: int | None
) -> Iterator[HardEvents]:
    """Yield batches of validated events.

    Raises:
        InvalidEvent: at a bad event, after the good events before it.
        FastsimError: if the file ends before event ``first``.
    """
    pending: list[_Event] = []
    weights: list[list[float]] = []
    total = 0

    def batch() -> Iterator[HardEvents]:
        good, error = _build(pending, weights, name)
        if len(good):
            yield good
        pending.clear()
        weights.clear()
        if error is not None:
            raise error

    try:
        for event in events:
            total = event.number + 1
            if event.number < first:
                continue
            if stop is not None and event.number >= stop:
                break
            weights.append(_weights(event, ids, name))
            pending.append(event)
            if len(pending) == size:
                yield from batch()
            if stop is not None and total >= stop:
                break
    except InvalidEvent:
        if pending:
            yield from batch()
        raise
    if pending:
        yield from batch()
    if total <= first and (stop is None or stop > first):
        raise FastsimError(f"{name}: first event {first} asked, but the file holds {total} (numbered from 0)")


def _build(events: list[_Event], weights: list[list[float]], name: str) -> tuple[HardEvents, InvalidEvent | None]:
    """Return the events as one batch, cut before the first bad one, and the error to raise for that one, if any."""
    table = np.array(list(chain.from_iterable(e.rows for e in events)), dtype=np.float64)
    header = np.array([e.header for e in events], dtype=np.float64)
    offsets = offsets_from_counts(np.array([len(e.rows) for e in events], dtype=np.int64))
    error = None
    if (problem := find_problem(table, offsets)) is not None:
        bad = events[problem.event]
        line = bad.line if problem.entry is None else bad.row_lines[problem.entry]
        error = InvalidEvent(f"{name}, event {bad.number}, line {line}: {problem.message}")
        events = events[: problem.event]
        offsets = offsets[: len(events) + 1]
        table, header = table[: offsets[-1]], header[: len(events)]
    integers = table[:, INTEGERS].astype(np.int64)
    mothers = integers[:, MOTHERS]  # one of the two may be 0: then both are the other
    mothers = np.where(mothers > 0, mothers, mothers[:, ::-1]) - 1
    p4 = table[:, [ENERGY, PX, PY, PZ]]
    good = HardEvents(
        number=np.array([e.number for e in events], dtype=np.int64),
        offsets=offsets,
        pdg_id=integers[:, PDG_ID],
        status=integers[:, STATUS],
        mothers=mothers,
        colours=integers[:, COLOURS],
        p4=on_file_shell(p4, table[:, MASS], integers[:, STATUS]),
        mass=table[:, MASS],
        weights=np.array(weights, dtype=np.float64)[: len(events)],
        process=header[:, PROCESS].astype(np.int64),
        scale=header[:, SCALE],
        hard_columns={"lifetime": table[:, LIFETIME], "spin": table[:, SPIN]},
    )
    return good, error
