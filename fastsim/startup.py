"""The time that a process spends on starting: loading models, compiling kernels; rates of a run leave it out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_open = 0
_since = 0.0
_seconds = 0.0


@contextmanager
def starting() -> Iterator[None]:
    """Count the time in the block as start-up; what several threads spend at once counts once."""
    global _open, _since, _seconds
    with _lock:
        if _open == 0:
            _since = time.perf_counter()
        _open += 1
    try:
        yield
    finally:
        with _lock:
            _open -= 1
            if _open == 0:
                _seconds += time.perf_counter() - _since


def take() -> float:
    """Return the seconds of start-up since the last call, and begin to count anew.

    >>> _ = take()
    >>> with starting():
    ...     time.sleep(0.01)
    >>> take() > 0.009, take()
    (True, 0.0)
    """
    global _seconds
    with _lock:
        seconds, _seconds = _seconds, 0.0
    return seconds
