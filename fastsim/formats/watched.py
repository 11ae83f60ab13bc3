"""A file on its way to a library that ends silently, without an error, at the first thing it does not understand.

What passes by is looked at once: how it begins and ends, how many records begin in it, and what ended it. So the caller
knows afterwards whether the library saw all of the file, which need not be read twice for that.
"""

from __future__ import annotations

import re
from typing import IO, Any

KEPT = 256
"""Bytes kept of the beginning and of the end."""
_LONE = re.compile(rb"(?<!\\)(?:\\\\)*\\\n")


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
        self._held = b""
        self.count, self.head, self.tail = 0, b"", b""
        self.error: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        """Bytes that are not looked at: pyhepmc tells formats apart by them, then begins again."""
        block: bytes = self._file.read(size)
        return block

    def seekable(self) -> bool:
        return True

    def seek(self, place: int) -> int:
        moved: int = self._file.seek(place)
        return moved

    def readinto1(self, buffer: bytearray | memoryview) -> int:
        """Fills a buffer with what comes next; returns the number of bytes, 0 at the end and where reading fails.

        HepMC3 reads beyond a line that ends in a lone backslash, and takes the process with it: there the file ends.
        """
        if self.error is not None:
            return 0
        view, held = memoryview(buffer), self._held
        try:
            size = int(self._file.readinto1(view[len(held) :]))
        except Exception as error:  # every kind of compression has its own; the library would swallow them
            self.error = error
            return 0
        view[: len(held)] = held
        block = bytes(view[: len(held) + size])
        # backslashes at the end wait for what follows, so that what was passed on never ends in one
        passed = block.rstrip(b"\\") if size else block
        self._held = block[len(passed) :]
        lone = b"\\\n" in passed and _LONE.search(passed) is not None
        if lone or len(self._held) > KEPT or (not size and len(held) % 2):
            self.error = ValueError("a line ends in a lone backslash")
            return 0
        self._look(passed)
        return len(passed) if passed or not size else self.readinto1(buffer)

    def write(self, data: bytes) -> int:
        raise OSError("open for reading only")

    def finish(self) -> None:
        """Looks at what the library has left unread."""
        block = bytearray(1 << 16)
        while self.readinto1(block):
            pass

    def _look(self, block: bytes) -> None:
        if len(self.head) < KEPT:
            self.head = (self.head + block)[:KEPT]
        # a mark may lie across two blocks, but not the whole of it in the bytes that are looked at again
        self.count += (self.tail[1 - len(self._mark) :] + block).count(self._mark)
        self.tail = (self.tail + block)[-KEPT:]
