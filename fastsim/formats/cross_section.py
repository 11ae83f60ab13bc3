"""The cross-section in a HepMC file: the last one, for generators estimate it on their way."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from typing import IO

LINES = {
    b"HepMC::Asciiv3": re.compile(rb"\nA 0 GenCrossSection (\S+) (\S+)[^\n]*\n"),
    b"HepMC::IO_GenEvent": re.compile(rb"\nC (\S+) (\S+)[^\n]*\n"),
}
"""The line with cross-section and error, in pb, of the formats of text."""
BLOCK, OVERLAP = 1 << 20, 1 << 12
"""Bytes that are searched at a time, and how many of them again with the next ones: longer than a line."""


def last_cross_section(file: IO[bytes], head: bytes) -> tuple[float, float] | None:
    """Return the last cross-section of a file and its error, in pb; None if it has none, or is no text of HepMC.

    A plain file is searched from its end, a compressed one has to be gone through.

    Args:
        file: the file, open to read what is in it uncompressed.
        head: its first bytes.
    """
    pattern = next((regex for start, regex in LINES.items() if start in head), None)
    if pattern is None:
        return None
    last, plain = None, isinstance(file, io.BufferedReader)
    for block in _blocks(file, from_end=plain):
        for found in pattern.finditer(block):
            last = float(found[1]), float(found[2])
        if plain and last is not None:
            break
    return last


def _blocks(file: IO[bytes], *, from_end: bool) -> Iterator[bytes]:
    """Yield the bytes of a file in blocks that overlap, from its beginning or from its end."""
    if from_end:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - BLOCK)
            file.seek(start)
            yield file.read(end - start + OVERLAP)
            end = start
        return
    rest = b""
    while block := file.read(BLOCK):
        yield rest + block
        rest = (rest + block)[-OVERLAP:]
