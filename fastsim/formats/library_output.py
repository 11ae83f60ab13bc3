"""Standard output without what compiled readers print there: programs may be writing events or results to it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

STDOUT, STDERR = 1, 2
"""File descriptors of the process."""
_lock = Lock()


def off_stdout(items: Iterator[Any]) -> Iterator[Any]:
    """Yield the items of an iterator of C or C++ code; what that code prints goes to standard error.

    HepMC3 prints some of its complaints on standard output whatever it is told. The descriptor is moved only while an
    item is made (some microseconds, of a millisecond for an event), so that the caller's own output stays where it was.

    Args:
        items: the iterator.
    """
    end = object()
    while True:
        with _on_stderr():
            item = next(items, end)
        if item is end:
            return
        yield item


@contextmanager
def _on_stderr() -> Iterator[None]:
    """Let the process's standard output be its standard error in the block, one thread at a time."""
    libc = ctypes.CDLL(None)
    with _lock:  # two threads would restore each other's descriptors
        try:
            saved = os.dup(STDOUT)
        except OSError:  # standard output is closed
            yield
            return
        try:
            libc.fflush(None)  # C keeps what it prints until its buffer is full: what came before belongs to stdout
            os.dup2(STDERR, STDOUT)
            yield
        finally:
            libc.fflush(None)
            os.dup2(saved, STDOUT)
            os.close(saved)
