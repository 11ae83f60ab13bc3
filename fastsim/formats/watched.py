"""A file that remembers what a library reads from it, to tell whether the library saw all of it.

pyhepmc ends silently, without an error, at the first line that it does not understand. The bytes that it takes are
looked at on their way: how they begin and end, how many records begin in them, and what ended the reading. So the
caller knows afterwards whether the whole file was read, without reading it twice.
"""

from __future__ import annotations

import re
from typing import IO, Any

NUM_EDGE_BYTES = 256
"""Bytes that are remembered of the beginning and of the end of a file."""
_OPEN_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\\n")


class WatchedFile:
    """A binary file open for reading, as pyhepmc wants it: read once from start to end.

    ``head`` and ``tail``: its first and last bytes so far. ``count``: lines so far that begin with ``mark``, without
    the first line. ``error``: what ended the reading, if that was not the end of the file.

    >>> import io
    >>> file = WatchedFile(io.BytesIO(b"header\\nE 0\\nP 1\\nE 1\\nend"), b"E ")
    >>> file.finish()
    >>> file.count, file.tail[-3:], file.error
    (2, b'end', None)
    """

    def __init__(self, file: IO[bytes], mark: bytes) -> None:
        self._file: Any = file
        self._mark = b"\n" + mark
        self._pending = b""
        self.count, self.head, self.tail = 0, b"", b""
        self.error: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        """Read bytes without looking at them: pyhepmc tells formats apart by them, then begins again."""
        block: bytes = self._file.read(size)
        return block

    def seekable(self) -> bool:
        return True

    def seek(self, place: int) -> int:
        moved: int = self._file.seek(place)
        return moved

    def readinto1(self, buffer: bytearray | memoryview) -> int:
        """Fill a buffer with the next bytes, and return their number: 0 at the end and where reading fails.

        An escape that a line leaves open ends the file: what HepMC3 makes of it is not an error that could be caught.
        """
        if self.error is not None:
            return 0
        view, pending = memoryview(buffer), self._pending
        try:
            size = int(self._file.readinto1(view[len(pending) :]))
        except Exception as error:  # every kind of compression has its own; the library would swallow them
            self.error = error
            return 0
        view[: len(pending)] = pending
        block = bytes(view[: len(pending) + size])
        # backslashes at the end wait for what follows, so that what was passed on never ends in one
        passed = block.rstrip(b"\\") if size else block
        self._pending = block[len(passed) :]
        open_escape = b"\\\n" in passed and _OPEN_ESCAPE.search(passed) is not None
        if open_escape or len(self._pending) > NUM_EDGE_BYTES or (not size and len(pending) % 2):
            self.error = ValueError("a line ends in an open escape")
            return 0
        self._look(passed)
        return len(passed) if passed or not size else self.readinto1(buffer)

    def write(self, data: bytes) -> int:
        raise OSError("open for reading only")

    def finish(self) -> None:
        """Read and look at what the library has left unread."""
        block = bytearray(1 << 16)
        while self.readinto1(block):
            pass

    def _look(self, block: bytes) -> None:
        """Update ``head``, ``tail`` and ``count`` with the next bytes of the file."""
        if len(self.head) < NUM_EDGE_BYTES:
            self.head = (self.head + block)[:NUM_EDGE_BYTES]
        # a mark may lie across two blocks, but not the whole of it in the bytes that are looked at again
        self.count += (self.tail[1 - len(self._mark) :] + block).count(self._mark)
        self.tail = (self.tail + block)[-NUM_EDGE_BYTES:]
