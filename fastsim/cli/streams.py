"""Standard output for Python alone: what compiled libraries print there goes to standard error."""

from __future__ import annotations

import ctypes
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STDOUT, STDERR = 1, 2
"""File descriptors of the process."""


@contextmanager
def libraries_on_stderr() -> Iterator[None]:
    """Let what C and C++ code prints in the block go to standard error; Python's output stays where it was.

    HepMC3 and Pythia print some of their complaints on standard output whatever they are told, in the middle of what is
    written there for other programs.
    """
    before = sys.stdout
    try:
        saved = os.dup(STDOUT)
    except OSError:  # standard output is closed
        yield
        return
    if isinstance(before, io.TextIOWrapper) and _descriptor(before) == STDOUT:
        before.flush()
        binary = os.fdopen(os.dup(saved), "wb")
        sys.stdout = io.TextIOWrapper(binary, before.encoding, before.errors, line_buffering=before.line_buffering)
    os.dup2(STDERR, STDOUT)
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        finally:
            ctypes.CDLL(None).fflush(None)  # C keeps what it prints until its buffer is full
            os.dup2(saved, STDOUT)
            os.close(saved)
            sys.stdout = before


def _descriptor(stream: io.TextIOWrapper) -> int | None:
    """Return the file descriptor of a stream; None if it has none."""
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None
