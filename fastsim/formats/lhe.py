"""Les Houches event files, read as a stream and validated event by event.

Tolerant of what generators write, strict about what an event means. pylhe is not used: it is built on an XML parser,
which stops silently at the first line that is no XML, without saying how many events were lost, nor where
(docs/formats.md has what the two do with the same files). The tests compare with it.

References:
    Alwall et al. 2006, hep-ph/0609017 (the format); Andersen et al. 2014, 1405.1067 (version 3, weights).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, islice

import numpy as np

from fastsim.errors import FastsimError, InvalidEvent
from fastsim.event import HardEvents, RunInfo, offsets_from_counts
from fastsim.formats import lhe_weights
from fastsim.formats.lhe_text import EventText, LheText, Preamble, Source
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

BadEvent = Callable[[int, InvalidEvent], bool]
"""Called with the number of a bad event and what is wrong with it; returns whether to go on without the event."""

MAX_ENTRIES = 10_000
"""Particles an event may declare (hard processes have about ten); also processes of a file."""
READ_AHEAD = 100
"""Events in which the names of the weights are looked for, if those before are bad."""

NUM_BEAM_COLUMNS, NUM_PROCESS_COLUMNS, NUM_EVENT_COLUMNS = 10, 4, 6
"""Numbers in the first and in the other lines of the init block, and in the first line of an event."""
WEIGHT_STRATEGY, NUM_PROCESSES = 8, 9
"""Columns of the first line of the init block, which begins with ids and energies of the two beams."""
NUM_PARTICLES, PROCESS, WEIGHT, SCALE = 0, 1, 2, 3
"""Columns of the first line of an event; the couplings after them are not used."""
MEAN_WEIGHT_STRATEGY = 4
"""The absolute IDWTUP whose events have the cross-section as their mean weight."""

_ATTRIBUTE = re.compile(r"""([\w.:-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_NO_LETTER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([+-]\d+)")
"""A number whose exponent has three digits, as Fortran writes it: 1.25-100."""


def read(
    source: Source,
    *,
    chunk_size: int = 1000,
    first_event: int = 0,
    num_events: int | None = None,
    on_bad: BadEvent | None = None,
) -> tuple[RunInfo, Iterator[HardEvents]]:
    """Open an LHE file: return its run information, and a lazy iterator over its events in batches.

    Events are numbered from 0 in the file, over all documents that it holds. A bad event ends the iteration with
    :class:`InvalidEvent`, after the good events before it have been yielded, or is left out. Energies of outgoing
    particles are put back on the mass shell of the file's mass column where they differ from it by no more than the
    printed digits; momenta are kept as they are. The hard columns ``lifetime`` (VTIMUP, c*tau in mm) and ``spin``
    (SPINUP, the cosine of the angle between spin and momentum; 9 for unknown) are those of the file.

    Args:
        source: path of a plain or gzipped file, or a binary stream such as ``sys.stdin.buffer``.
        chunk_size: batches are cut at the numbers ``first_event + k * chunk_size``; empty ones are not given.
        first_event: number of the first event wanted.
        num_events: how many events at most, bad ones counted; None for all.
        on_bad: decides about each bad event; by default all end the iteration.

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
        text = LheText(source, stack)
        run, declared = _run_info(text.preamble, text)
    except BaseException:
        stack.close()
        raise
    # the names of the weights are those of the first event, which is read ahead
    events = _one_run(text, run)
    head: list[EventText] = []
    failure: InvalidEvent | None = None
    ids = declared
    try:
        for event in events:
            head.append(event)
            ids = lhe_weights.weights_of(_tail(event))[0]
            if len(event.lines) > 1 or len(head) == READ_AHEAD:
                break
    except InvalidEvent as error:
        failure = error
    run = replace(run, weight_names=("nominal", *lhe_weights.names(ids, declared)))
    stop = None if num_events is None else first_event + num_events

    def all_events() -> Iterator[EventText]:
        yield from head
        if failure is not None:
            raise failure
        yield from events

    def batches() -> Iterator[HardEvents]:
        with stack:
            if not head and failure is None:
                raise InvalidEvent(f"{text.name}: the file holds no events")
            yield from _Batches(text, ids, chunk_size, first_event, stop, on_bad).read(all_events())

    return run, batches()


def run_info(source: Source) -> RunInfo:
    """Read the run information of a file alone, without the names of its weights, which its first event decides.

    Args:
        source: path of a plain or gzipped file, or a binary stream, which is read some way into its events.

    Raises:
        FastsimError: if the file cannot be opened.
        InvalidEvent: if it is empty, is not LHE or has a bad init block.
    """
    with ExitStack() as stack:
        text = LheText(source, stack)
        return _run_info(text.preamble, text)[0]


def count(path: str | os.PathLike[str], most: int | None = None, *, until_damage: bool = False) -> int:
    """Count the events of a plain or gzipped file, bad ones too, which is faster than reading them.

    Args:
        path: the file.
        most: where to stop; by default at its end.
        until_damage: count those before where the file is truncated, in place of an error.

    Raises:
        FastsimError: if the file cannot be opened.
        InvalidEvent: if it is empty, is not LHE, has a bad init block or is truncated.
    """
    found = 0
    with ExitStack() as stack:
        text = LheText(path, stack)
        run, _ = _run_info(text.preamble, text)
        try:
            for _ in islice(_one_run(text, run), most):
                found += 1
        except InvalidEvent:
            if not until_damage:
                raise
    return found


def with_mean_weights(run: RunInfo, path: str | os.PathLike[str]) -> RunInfo:
    """Return the run information with cross-sections from the events' weights, whose mean they are for IDWTUP 4 and -4.

    The cross-section of a process is the sum of the nominal weights of its events over the number of all events, its
    error the standard error of that mean.

    Args:
        run: the run information of the file.
        path: the file, which is read once.

    Raises:
        FastsimError: if the file cannot be opened.
        InvalidEvent: if it is truncated.
    """
    sums: dict[int, tuple[float, float]] = {}
    num = 0
    with ExitStack() as stack:
        for event in LheText(path, stack).events():
            try:
                header = _words(event.lines[0].text.split(), NUM_EVENT_COLUMNS, used=SCALE) if event.lines else []
            except ValueError:
                continue
            if header and all(map(math.isfinite, header[:SCALE])):
                num += 1
                total, squares = sums.get(int(header[PROCESS]), (0.0, 0.0))
                sums[int(header[PROCESS])] = total + header[WEIGHT], squares + header[WEIGHT] ** 2
    if num == 0:
        return run
    processes = []
    for _, _, largest, process in run.processes:
        total, squares = sums.get(process, (0.0, 0.0))
        mean = total / num
        processes.append((mean, math.sqrt(max(squares / num - mean**2, 0.0) / num), largest, process))
    return replace(run, processes=tuple(processes))


@dataclass
class _Event:
    """One event as numbers: header and particle columns, all weights, and lines for messages."""

    number: int
    line: int
    header: list[float]
    rows: list[list[float]]
    row_lines: list[int]
    weights: list[float]


def _number(word: str) -> float:
    """Read a number as C or Fortran writes it: with its exponent after E, D or, if it has three digits, a sign alone.

    Raises:
        ValueError: if it is no number.
    """
    try:
        return float(word)
    except ValueError:
        if match := _NO_LETTER.fullmatch(word):
            return float(f"{match[1]}e{match[2]}")
        return float(word.replace("D", "E").replace("d", "e"))


def _words(words: list[str], num: int, *, used: int) -> list[float]:
    """Read the numbers of a line.

    Args:
        words: its words.
        num: how many there must be.
        used: columns after this one are not used, and NaN where they are no numbers.

    Raises:
        ValueError: if there are more or fewer, or a word that is used is no number.
    """
    if len(words) != num:
        raise ValueError(f"needs {num} numbers, found {len(words)} columns")
    try:
        return [float(word) for word in words]
    except ValueError:
        values = []
    for column, word in enumerate(words):
        try:
            values.append(_number(word))
        except ValueError:
            if column <= used:
                raise ValueError(f"has {word[:40]!r} where a number is expected") from None
            values.append(math.nan)
    return values


def _run_info(preamble: Preamble, text: LheText) -> tuple[RunInfo, list[str]]:
    """Return the run information of an init block, and the ids of the weights that it or the header declares."""
    rows: list[list[float]] = []
    provenance: dict[str, str] = {}
    inside = False  # of <initrwgt> or another element that is not the init block's own
    for line in preamble.init:
        if line.text.startswith("<generator"):
            attributes = {k: a or b for k, a, b in _ATTRIBUTE.findall(line.text)}
            name = attributes.get("name") or re.sub(r"<[^>]*>", "", line.text).strip()
            provenance["input_generator"] = f"{name} {attributes.get('version', '')}".strip()
        inside = (inside or "<initrwgt" in line.text) and "</initrwgt" not in line.text and "/>" not in line.text
        if inside or line.text.startswith("<"):
            continue
        try:
            rows.append([_number(word) for word in line.text.split()])
        except ValueError:
            if len(rows) < 1 or len(rows) <= int(rows[0][NUM_PROCESSES]):
                message = f"the init block has {line.text[:60]!r} where numbers are expected"
                raise text.error(message, line=line.number) from None
            continue
        num_columns = NUM_BEAM_COLUMNS if len(rows) == 1 else NUM_PROCESS_COLUMNS
        if len(rows[-1]) < num_columns or not all(map(math.isfinite, rows[-1])):
            kind = "beams" if len(rows) == 1 else "process"
            message = f"the init block has {line.text[:60]!r} where {num_columns} numbers ({kind}) are expected"
            raise text.error(message, line=line.number)
        if len(rows) > MAX_ENTRIES:
            raise text.error(f"the init block has more than {MAX_ENTRIES} processes", line=line.number)
    if not rows:
        raise text.error("the <init> block is empty")
    beams, num = rows[0], int(rows[0][NUM_PROCESSES])
    if len(rows) - 1 < num:
        raise text.error(f"the init block announces {num} processes but has {len(rows) - 1}")
    try:
        declared = lhe_weights.declared_ids([*preamble.header, *preamble.init])
    except lhe_weights.WeightError as error:
        raise text.error(str(error)) from None
    run = RunInfo(
        beam_pdg_id=(int(beams[0]), int(beams[1])),
        beam_energy=(beams[2], beams[3]),
        processes=tuple((r[0], r[1], r[2], int(r[3])) for r in rows[1 : num + 1]),
        weight_strategy=int(beams[WEIGHT_STRATEGY]),
        provenance=provenance,
    )
    return run, declared


def _one_run(text: LheText, run: RunInfo) -> Iterator[EventText]:
    """Yield the events of all documents of a file.

    Raises:
        InvalidEvent: where a document begins whose beams, processes or meaning of weights are not those of the first.
    """
    checked = text.preamble
    for event in text.events():
        if text.preamble is not checked:
            checked = text.preamble
            other, _ = _run_info(checked, text)
            for what, mine, its in (
                ("beams", run.beam_pdg_id, other.beam_pdg_id),
                ("beam energies", run.beam_energy, other.beam_energy),
                ("weight strategy (IDWTUP)", run.weight_strategy, other.weight_strategy),
                ("process ids", [p[3] for p in run.processes], [p[3] for p in other.processes]),
            ):
                if mine != its:
                    raise text.error(
                        f"a further document has {what} {its}, the first {mine}; make each a file of its own",
                        event=event.number,
                        line=event.line,
                    )
        yield event


def _tail(event: EventText) -> str:
    """Return the lines of an event from the first tag on, as one text."""
    for k, line in enumerate(event.lines):
        if line.text[0] == "<":
            return "\n".join(line.text for line in event.lines[k:])
    return ""


def _parsed(event: EventText, ids: list[str], text: LheText) -> _Event:
    """Return an event as numbers.

    Args:
        event: the event.
        ids: the ids of the weights of the first event.
        text: the file, for messages.

    Raises:
        InvalidEvent: if lines, columns, numbers or weights are missing or wrong.
    """

    def wrong(message: str, line: int) -> InvalidEvent:
        return text.error(message, event=event.number, line=line)

    lines = event.lines
    end = lines[-1].number if lines else event.line
    if not lines or lines[0].text[0] == "<":
        raise wrong("the event has no line with the number of its particles", lines[0].number if lines else end)
    try:
        header = _words(lines[0].text.split(), NUM_EVENT_COLUMNS, used=SCALE)
    except ValueError as error:
        raise wrong(f"the event line {error}: {lines[0].text[:60]!r}", lines[0].number) from None
    if not all(map(math.isfinite, header[: SCALE + 1])):
        column = next(k for k in range(SCALE + 1) if not math.isfinite(header[k]))
        word, name = lines[0].text.split()[column], ("NUP", "IDPRUP", "XWGTUP", "SCALUP")[column]
        raise wrong(f"the event line holds a number that is not finite: {name} is {word}", lines[0].number)
    size = header[NUM_PARTICLES]
    if size != int(size) or not 1 <= size <= MAX_ENTRIES:
        raise wrong(f"the event announces {size:g} particles; 1 to {MAX_ENTRIES} are allowed", lines[0].number)
    num = int(size)
    rows = []
    for k, line in enumerate(lines[1 : num + 1]):
        try:
            rows.append(_words(line.text.split(), NUM_COLUMNS, used=MASS))
        except ValueError as error:
            problem = f"needs {NUM_COLUMNS} numbers, found a tag" if line.text[0] == "<" else error
            raise wrong(f"particle {k + 1} of {num} {problem}: {line.text[:60]!r}", line.number) from None
    if len(rows) < num and not event.problem:
        raise wrong(f"the event announces {num} particles but has {len(rows)}", end)
    if event.problem:
        raise wrong(event.problem, end + 1)
    if len(lines) > num + 1 and lines[num + 1].text[0] != "<":
        more = lines[num + 1]
        raise wrong(f"the event announces {num} particles but has more: {more.text[:60]!r}", more.number)
    try:
        weights = lhe_weights.values(_tail(event), ids)
    except lhe_weights.WeightError as error:
        raise wrong(str(error), lines[num + 1].number if len(lines) > num + 1 else end + 1) from None
    row_lines = [line.number for line in lines[1 : num + 1]]
    return _Event(event.number, lines[0].number - 1, header, rows, row_lines, [header[WEIGHT], *weights])


@dataclass
class _Batches:
    """Makes batches of validated events of a file.

    Attributes:
        text: the file.
        ids: the ids of the weights of its first event.
        size: batches are cut at the numbers ``first + k * size``.
        first, stop: the events wanted.
        on_bad: decides about bad events.
    """

    text: LheText
    ids: list[str]
    size: int
    first: int
    stop: int | None
    on_bad: BadEvent | None

    def read(self, events: Iterator[EventText]) -> Iterator[HardEvents]:
        """Yield batches of the events.

        Raises:
            InvalidEvent: at a bad event that is not left out, after the good events before it.
            FastsimError: if the file ends before event ``first``.
        """
        pending: list[_Event] = []
        total = 0
        try:
            for event in events:
                total = event.number + 1
                if event.number < self.first:
                    continue
                if self.stop is not None and event.number >= self.stop:
                    break
                if event.number > self.first and (event.number - self.first) % self.size == 0:
                    yield from self._batch(pending)
                try:
                    pending.append(_parsed(event, self.ids, self.text))
                except InvalidEvent as error:
                    self._leave_out(event.number, error)
                if total == self.stop:
                    break
        except InvalidEvent:
            yield from self._batch(pending)
            raise
        yield from self._batch(pending)
        if total <= self.first and (self.stop is None or self.stop > self.first):
            raise FastsimError(
                f"{self.text.name}: first event {self.first} asked, but the file holds {total} (numbered from 0)"
            )

    def _leave_out(self, number: int, error: InvalidEvent) -> None:
        """Return if a bad event is to be left out; else raise what is wrong with it."""
        if self.on_bad is None or not self.on_bad(number, error):
            raise error

    def _batch(self, pending: list[_Event]) -> Iterator[HardEvents]:
        """Yield the pending events as one batch, if any are good, and forget them.

        Raises:
            InvalidEvent: at a bad event that is not left out, after the good events before it.
        """
        events = list(pending)
        pending.clear()
        while events:
            good, bad = _build(events)
            if bad is None:
                yield good
                return
            place, line, message = bad
            error = self.text.error(message, event=events[place].number, line=line)
            try:
                self._leave_out(events[place].number, error)
            except InvalidEvent:
                if len(good):
                    yield good
                raise
            del events[place]


def _build(events: list[_Event]) -> tuple[HardEvents, tuple[int, int, str] | None]:
    """Return the events as one batch, cut before the first bad one, and the place, line and problem of that one."""
    table = np.array(list(chain.from_iterable(e.rows for e in events)), dtype=np.float64)
    header = np.array([e.header for e in events], dtype=np.float64)
    offsets = offsets_from_counts(np.array([len(e.rows) for e in events], dtype=np.int64))
    bad = None
    if (problem := find_problem(table, offsets)) is not None:
        event = events[problem.event]
        bad = problem.event, event.line if problem.entry is None else event.row_lines[problem.entry], problem.message
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
        weights=np.array([e.weights for e in events], dtype=np.float64),
        process=header[:, PROCESS].astype(np.int64),
        scale=header[:, SCALE],
        hard_columns={"lifetime": table[:, LIFETIME], "spin": table[:, SPIN]},
    )
    return good, bad
