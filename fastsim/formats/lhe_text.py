"""The text of Les Houches files: which lines are the init block and the events, whatever stands around them.

The files are XML in name only: run cards hold bare ``&`` and ``<``, POWHEG writes text after the last tag, and files
are joined by ``cat``. So tags are found line by line. Comments hide what is in them; a tag may have attributes, go over
several lines or share its line with others; a byte order mark is passed over; a file may hold several documents, one
after the other. All that reads such a file (events, their number, weights) reads it through :class:`LheText`.

References:
    Alwall et al. 2006, hep-ph/0609017 (the format); Andersen et al. 2014, 1405.1067 (version 3).
"""

from __future__ import annotations

import gzip
import io
import os
import re
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple, cast

from fastsim.errors import FastsimError, InvalidEvent
from fastsim.formats.lheh5 import MAGIC

Source = str | os.PathLike[str] | BinaryIO

MAX_LINE = 1 << 20
"""Bytes a line may have: a compressed file of endless lines must not fill the memory."""
MAX_EVENT = 64 * MAX_LINE
"""Characters an event, or an init block, may have."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_STRUCTURE = re.compile(r"<!--|</?(?:event|init|LesHouchesEvents)(?:[\s>/]|$)")
"""What decides about the lines around it."""
_TAG = re.compile(r"(</?(?:event|init|LesHouchesEvents)(?=[\s>/])[^>]*>)")
"""The tags that structure a file; they may share a line with others."""
_OPEN_TAG = re.compile(r"</?(?:event|init|LesHouchesEvents)(?:\s[^>]*)?$")
"""Such a tag that goes on in the next line."""
_BETWEEN_EVENTS = ("<eventgroup", "</eventgroup", "<?", "<!")


class Line(NamedTuple):
    """A line of the text, without surrounding blanks, and its number in the file, from 1."""

    text: str
    number: int


@dataclass
class EventText:
    """An event as text.

    Attributes:
        number: place of the event in the file, from 0.
        line: number of its first line.
        attributes: text of the attributes of its tag.
        lines: its lines but the tags, without empty ones and without comments that begin with ``#``.
        problem: what is wrong with its end, or empty.
    """

    number: int
    line: int
    attributes: str
    lines: list[Line] = field(default_factory=list)
    problem: str = ""


@dataclass(frozen=True)
class Preamble:
    """The lines before the events of a document: those of header and init block, without their tags."""

    header: list[Line]
    init: list[Line]


class LheText:
    """A Les Houches file, read once from its beginning.

    Args:
        source: path of a plain or gzipped file, or a binary stream.
        stack: closes the file.

    Attributes:
        name: the file's name, for messages.
        preamble: the preamble of the document that is being read.

    Raises:
        FastsimError: if the file cannot be opened.
        InvalidEvent: if it is empty, is not LHE or has no init block.
    """

    def __init__(self, source: Source, stack: ExitStack) -> None:
        self._stream, self.name = _open(source, stack)
        self._line_number = 0  # of the last line that was read
        self._cut = False  # whether it had no line feed
        self._pending: deque[Line] = deque()
        self._comment = 0  # line where the comment that is being read began
        self._num_events = 0
        self.preamble = self._read_preamble()

    def error(self, message: str, *, event: int | None = None, line: int | None = None) -> InvalidEvent:
        """Return the error to raise, with file, event and line (by default the last one read) before the message."""
        place = self.name if event is None else f"{self.name}, event {event}"
        return InvalidEvent(f"{place}, line {self._line_number if line is None else line}: {message}")

    def events(self) -> Iterator[EventText]:
        """Yield the events of all documents, in order.

        Raises:
            InvalidEvent: for text that is no event, for a further document with another init block, or at the end if
                the closing tag is missing.
        """
        while True:
            line = self._next()
            if line is None:
                raise self._ended(f"the file ends after {self._num_events} events without </LesHouchesEvents>")
            if line.text.startswith("</LesHouchesEvents"):
                if not self._next_document():
                    return
            elif _is_tag(line.text, "event"):
                yield self._read_event(line)
            elif line.text.startswith("<") and not line.text.startswith(_BETWEEN_EVENTS):
                message = f"unexpected {line.text[:40]!r} between events; <event> is expected"
                raise self.error(message, event=self._num_events)

    def _next_document(self) -> bool:
        """Go to the events of the next document, and return whether there is one."""
        while (line := self._next()) is not None:
            if _is_tag(line.text, "LesHouchesEvents"):
                self._pending.appendleft(line)
                self.preamble = self._read_preamble()
                return True
        return False

    def _read_preamble(self) -> Preamble:
        """Read all down to ``</init>``."""
        header: list[Line] = []
        opened = False
        size = 0
        while True:
            line = self._next()
            if line is None:
                if self._line_number == 0:
                    raise InvalidEvent(f"{self.name}: the file is empty; a Les Houches event file is expected")
                if opened:
                    raise self._ended("there is no <init> block")
                raise self.error("not a Les Houches event file")
            text = line.text
            if _is_tag(text, "LesHouchesEvents"):
                opened = True
            elif not opened and text and not text.startswith(("<?", "<!", "#")):
                raise self.error(f"not a Les Houches event file: it starts with {text[:40]!r}, not <LesHouchesEvents>")
            elif _is_tag(text, "init"):
                return Preamble(header, self._read_init())
            elif _is_tag(text, "event"):
                raise self.error("<event> before the <init> block")
            elif "<" in text:  # run cards are of no use here, and may be long
                header.append(line)
                size += len(text)
                if size > MAX_EVENT:
                    raise self.error("the header is longer than 64 MB; not an LHE file")

    def _read_init(self) -> list[Line]:
        """Read the lines of the init block, of which the opening tag is read already."""
        lines: list[Line] = []
        size = 0
        while (line := self._next()) is not None:
            if line.text.startswith("</init>") or re.match(r"</init\s", line.text):
                return lines
            if _is_tag(line.text, "event"):
                raise self.error("<event> inside the init block: </init> is missing")
            if line.text and not line.text.startswith("#"):
                lines.append(line)
                size += len(line.text)
                if size > MAX_EVENT:
                    raise self.error("the init block is longer than 64 MB; not an LHE file")
        raise self._ended("the file ends inside the <init> block")

    def _read_event(self, tag: Line) -> EventText:
        """Read one event, of which the opening tag is read already."""
        event = EventText(self._num_events, tag.number, tag.text[len("<event") : -1].strip())
        self._num_events += 1
        size = 0
        while (line := self._next()) is not None:
            text = line.text
            if not text or text[0] == "#":
                continue
            if text[0] == "<" and _STRUCTURE.match(text):
                if text.startswith("</event"):
                    return event
                event.problem = f"{text[:30]!r} inside an event: </event> is missing"
                self._pending.appendleft(line)
                return event
            event.lines.append(line)
            size += len(text)
            if size > MAX_EVENT:
                raise self.error("the event is longer than 64 MB; not an LHE file", event=event.number)
        raise self._ended("the file ends inside the event", event=event.number)

    def _ended(self, message: str, event: int | None = None) -> InvalidEvent:
        """Return the error of a file that ends too early."""
        if self._comment:
            message = f"the comment that begins in line {self._comment} has no end (-->)"
        elif self._cut:
            message = "the file ends in the middle of a line; it is truncated"
        else:
            message += "; the file is truncated" if "file" not in message else "; it is truncated"
        return self.error(message, event=event)

    def _next(self) -> Line | None:
        """Return the next line, without comments, and with structuring tags as lines of their own; None at the end."""
        if self._pending:
            return self._pending.popleft()
        text = self._read_line()
        if text is None:
            return None
        if not self._comment and ("<" not in text or text[0] == "#" or not _STRUCTURE.search(text)):
            return Line(text, self._line_number)
        text = self._without_comments(text)
        while _OPEN_TAG.search(text):
            more = self._read_line()
            if more is None:
                break
            text = f"{text} {self._without_comments(more)}"
            if len(text) > MAX_LINE:
                raise self.error(f"a tag longer than {MAX_LINE} bytes; not an LHE file")
        parts = [part.strip() for part in _TAG.split(text)]
        self._pending.extend(Line(part, self._line_number) for part in parts if part)
        return self._pending.popleft() if self._pending else Line("", self._line_number)

    def _without_comments(self, text: str) -> str:
        """Return a line without the parts that are in comments, which may begin before it and end after it."""
        kept = ""
        while True:
            if self._comment:
                _, end, text = text.partition("-->")
                if not end:
                    return kept
                self._comment = 0
            before, start, text = text.partition("<!--")
            kept += before
            if not start:
                return kept
            self._comment = self._line_number

    def _read_line(self) -> str | None:
        """Return the next line of the file without surrounding blanks; None at its end."""
        try:
            raw = self._stream.readline(MAX_LINE)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            where = f"{self.name}, line {self._line_number + 1}"
            raise InvalidEvent(f"{where}: the compressed file is truncated or damaged ({error})") from error
        except OSError as error:
            raise FastsimError(f"{self.name}: cannot read: {error.strerror or error}") from error
        if not raw:
            return None
        self._line_number += 1
        if self._line_number == 1:
            raw = raw.removeprefix(BYTE_ORDER_MARK)
        if len(raw) >= MAX_LINE:
            raise InvalidEvent(f"{self.name}, line {self._line_number}: longer than {MAX_LINE} bytes; not an LHE file")
        self._cut = not raw.endswith(b"\n")
        return raw.decode("utf-8", errors="replace").strip()


def _is_tag(text: str, name: str) -> bool:
    """Return whether a line begins with the opening tag of this name."""
    size = len(name) + 1
    return text.startswith(f"<{name}") and text[size : size + 1] in (">", " ", "\t", "/")


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
    if magic == MAGIC[:2]:
        raise InvalidEvent(f"{name}: is an HDF5 file; Les Houches events are read as text (.lhe, .lhe.gz)")
    if magic == b"\x1f\x8b":
        return cast("BinaryIO", stack.enter_context(gzip.GzipFile(fileobj=peekable))), name
    return cast("BinaryIO", peekable), name
